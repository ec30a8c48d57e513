//! What the CronJob of an installation says about its runs: a person's run from elsewhere does the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::core::v1 as core;

use super::solver::Template;

/// The CronJob in the home namespace, and its container.
pub const CRONJOB: &str = "kube-lego-once";

/// What can be read from the CronJob without running it.
#[derive(Clone, Debug, PartialEq)]
pub struct Installation {
    /// Where the CronJob is: `namespace/name`.
    pub name: String,
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// The environment's variables that have their value in the CronJob.
    pub variables: BTreeMap<String, String>,
    /// Those that have it elsewhere, and where.
    pub elsewhere: BTreeMap<String, String>,
    /// The Pod that a run is made of.
    pub template: Template,
    mounts: Vec<(PathBuf, Mounted)>,
}

/// What a Pod finds in a folder.
#[derive(Clone, Debug, PartialEq)]
enum Mounted {
    ConfigMap(Option<core::ConfigMapVolumeSource>),
    Secret(Option<core::SecretVolumeSource>),
}

/// A file of a Pod, where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFile {
    /// Whether it is in a Secret; else it is in a ConfigMap.
    pub secret: bool,
    /// The object's name.
    pub name: String,
    /// The key in its data.
    pub key: String,
}

impl Installation {
    /// Reads a CronJob.
    ///
    /// # Errors
    /// What is wrong with it: it has no container of ours.
    pub fn of(cronjob: batch::CronJob) -> Result<Self, String> {
        let metadata = cronjob.metadata;
        let job = cronjob.spec.job_template.spec;
        let template = job.unwrap_or_default().template;
        let spec = template.spec.unwrap_or_default();
        let container = match spec.containers.as_slice() {
            [only] => only,
            several => several
                .iter()
                .find(|container| container.name == CRONJOB)
                .ok_or_else(|| format!("it has no container `{CRONJOB}`"))?,
        };
        let (variables, elsewhere) = environment(container);
        // The program itself is the image's, or the first word of `command`.
        let command = container.command.iter().flatten().skip(1);
        let words = command.chain(container.args.iter().flatten());
        Ok(Self {
            name: format!(
                "{}/{}",
                metadata.namespace.unwrap_or_default(),
                metadata.name.unwrap_or_default()
            ),
            arguments: words.map(|word| expand(word, &variables)).collect(),
            mounts: mounts(container, &spec),
            template: Template::of(
                template.metadata.and_then(|metadata| metadata.labels),
                spec.clone(),
                container.clone(),
            ),
            variables,
            elsewhere,
        })
    }

    /// Where a file of the Pod is kept; nothing where it is the image's, or in a volume of another kind.
    pub fn file(&self, path: &Path) -> Option<KeptFile> {
        let mounted = self.mounts.iter().filter(|(folder, _)| path.starts_with(folder));
        let (folder, mounted) = mounted.max_by_key(|(folder, _)| folder.components().count())?;
        let rest = path.strip_prefix(folder).ok()?.to_str()?;
        let (secret, name, items) = match mounted {
            Mounted::ConfigMap(source) => {
                let source = source.as_ref()?;
                (false, source.name.clone(), source.items.as_deref())
            }
            Mounted::Secret(source) => {
                let source = source.as_ref()?;
                (true, source.secret_name.clone()?, source.items.as_deref())
            }
        };
        let key = match items.unwrap_or_default() {
            [] => rest.to_owned(),
            items => items.iter().find(|item| item.path == rest)?.key.clone(),
        };
        Some(KeptFile { secret, name, key })
    }
}

fn mounts(container: &core::Container, spec: &core::PodSpec) -> Vec<(PathBuf, Mounted)> {
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let mounted = mounts.iter().filter_map(|mount| {
        let volume = volumes.iter().find(|volume| volume.name == mount.name)?;
        // A part of a volume is a file or a folder by a name that only the kubelet resolves.
        let whole = mount.sub_path.is_none() && mount.sub_path_expr.is_none();
        let mounted = match volume {
            _ if !whole => Mounted::ConfigMap(None),
            core::Volume {
                config_map: Some(source),
                ..
            } => Mounted::ConfigMap(Some(source.clone())),
            core::Volume { secret, .. } => Mounted::Secret(secret.clone()),
        };
        Some((PathBuf::from(&mount.mount_path), mounted))
    });
    mounted.collect()
}

/// The variables whose value is known, and where the others have theirs.
fn environment(container: &core::Container) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut known, mut elsewhere) = (BTreeMap::new(), BTreeMap::new());
    for variable in container.env.iter().flatten() {
        let source = variable.value_from.as_ref();
        let config_map = source.and_then(|source| source.config_map_key_ref.as_ref());
        let secret = source.and_then(|source| source.secret_key_ref.as_ref());
        let place = match (config_map, secret) {
            (Some(config_map), _) => format!("ConfigMap `{}`", config_map.name),
            (None, Some(secret)) => format!("Secret `{}`", secret.name),
            (None, None) if source.is_some() => "the Pod".to_owned(),
            (None, None) => {
                let value = expand(variable.value.as_deref().unwrap_or_default(), &known);
                known.insert(variable.name.clone(), value);
                continue;
            }
        };
        elsewhere.insert(variable.name.clone(), place);
    }
    (known, elsewhere)
}

/// `$(NAME)` is the variable's value where there is one, `$$` is `$`,
/// <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Container>.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let named = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        rest = if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            after
        } else if let Some((value, after)) = named.and_then(|(name, after)| Some((variables.get(name)?, after))) {
            expanded.push_str(value);
            after
        } else {
            expanded.push('$');
            after
        };
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cronjob(pod: Value) -> Result<Installation, String> {
        let object = json!({
            "metadata": {"namespace": "home", "name": "kube-lego-once"},
            "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
        });
        Installation::of(serde_json::from_value(object).expect("a CronJob"))
    }

    #[test]
    fn the_command_line_is_that_of_the_pod() {
        let installation = cronjob(json!({"containers": [{
            "name": "any",
            "command": ["/program", "run"],
            "args": ["--directory=$(KUBE_LEGO_ONCE_DIRECTORY)", "-l", "$(NONE)=$$x", "-n", "$"],
            "env": [
                {"name": "HOST", "value": "ca.example"},
                {"name": "KUBE_LEGO_ONCE_DIRECTORY", "value": "https://$(HOST)/dir"},
                {"name": "KUBE_LEGO_ONCE_EMAIL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "email"}}},
                {"name": "KUBE_LEGO_ONCE_HOME_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            ],
        }]}))
        .expect("an installation");
        assert_eq!(installation.name, "home/kube-lego-once");
        assert_eq!(
            installation.arguments,
            [
                "run",
                "--directory=https://ca.example/dir",
                "-l",
                "$(NONE)=$x",
                "-n",
                "$"
            ]
        );
        assert_eq!(
            installation.variables["KUBE_LEGO_ONCE_DIRECTORY"],
            "https://ca.example/dir"
        );
        assert_eq!(installation.elsewhere["KUBE_LEGO_ONCE_EMAIL"], "ConfigMap `settings`");
        assert_eq!(installation.elsewhere["KUBE_LEGO_ONCE_HOME_NAMESPACE"], "the Pod");
    }

    #[test]
    fn of_several_containers_ours_is_known_by_name() {
        let others = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        assert_eq!(cronjob(others), Err("it has no container `kube-lego-once`".into()));
        let ours = json!({"containers": [{"name": "a"}, {"name": "kube-lego-once", "image": "x"}]});
        assert_eq!(cronjob(ours).expect("ours").template.image(), Some("x"));
    }

    #[test]
    fn a_file_of_the_pod_is_found_where_it_is_kept() {
        let installation = cronjob(json!({
            "volumes": [
                {"name": "ca", "configMap": {"name": "roots"}},
                {"name": "eab", "secret": {"secretName": "account", "items": [{"key": "k", "path": "hmac/key"}]}},
                {"name": "host", "hostPath": {"path": "/etc"}},
            ],
            "containers": [{"name": "any", "volumeMounts": [
                {"name": "ca", "mountPath": "/etc/ca"},
                {"name": "eab", "mountPath": "/etc/ca/eab"},
                {"name": "host", "mountPath": "/host"},
                {"name": "ca", "mountPath": "/part.pem", "subPath": "part.pem"},
            ]}],
        }))
        .expect("an installation");
        let kept = |secret, name: &str, key: &str| {
            Some(KeptFile {
                secret,
                name: name.into(),
                key: key.into(),
            })
        };
        for (path, expected) in [
            ("/etc/ca/root.pem", kept(false, "roots", "root.pem")),
            ("/etc/ca/eab/hmac/key", kept(true, "account", "k")),
            ("/etc/ca/eab/other", None),
            ("/host/ca.pem", None),
            ("/part.pem", None),
            ("/etc/ssl/ca.pem", None),
        ] {
            assert_eq!(installation.file(Path::new(path)), expected, "{path}");
        }
    }
}
