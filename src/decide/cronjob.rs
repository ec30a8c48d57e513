//! What the CronJob of an installation says about its runs: a person's run from elsewhere does the same.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::solver_pod::Template;

/// The CronJob in the home namespace, and its container.
pub const CRONJOB: &str = "kube-lego-once";
/// What every variable of ours begins with.
const VARIABLES: &str = "KUBE_LEGO_ONCE_";
/// What may run anything.
const SHELLS: [&str; 4] = ["sh", "ash", "bash", "dash"];

/// A ConfigMap or a Secret of the home namespace, from which a Pod has variables or files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keeper {
    /// Whether it is a Secret.
    pub secret: bool,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.secret { "Secret" } else { "ConfigMap" };
        write!(f, "{kind} `{}`", self.name)
    }
}

impl Keeper {
    fn config_map(name: &str) -> Self {
        Self {
            secret: false,
            name: name.to_owned(),
        }
    }

    fn secret(name: &str) -> Self {
        Self {
            secret: true,
            name: name.to_owned(),
        }
    }
}

/// What keepers hold, by key.
pub type Kept = BTreeMap<Keeper, BTreeMap<String, Vec<u8>>>;

/// What can be known of the CronJob without running it.
#[derive(Clone, Debug, PartialEq)]
pub struct Installation {
    /// Where the CronJob is: `namespace/name`.
    pub name: String,
    /// The home namespace.
    pub namespace: String,
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// The environment's variables.
    pub variables: BTreeMap<String, String>,
    /// Those whose value only the Pod knows, and why.
    pub unknown: BTreeMap<String, String>,
    /// The Pod that a run is made of.
    pub template: Template,
    mounts: Vec<Mount>,
}

/// A folder or a file of a Pod, and where what is in it is kept.
#[derive(Clone, Debug, PartialEq)]
struct Mount {
    path: PathBuf,
    /// Where it begins in the volume.
    within: PathBuf,
    /// The first that has a file is where it is from. None where the volume is of another kind.
    sources: Vec<(Keeper, Vec<core::KeyToPath>)>,
}

/// What has to be read for [`Installation::of`]; `true` where the Pod starts without, too.
pub fn keepers_of_variables(cronjob: &batch::CronJob) -> Vec<(Keeper, bool)> {
    let Ok((_, _, container)) = parts(cronjob) else {
        return Vec::new();
    };
    let whole = container.env_from.iter().flatten().filter_map(keeper_of_all);
    let whole = whole.map(|(keeper, optional, _)| (keeper, optional));
    let variables = container.env.iter().flatten();
    let ours = variables.filter(|variable| variable.name.starts_with(VARIABLES));
    let single = ours.filter_map(|variable| keeper_of_one(variable.value_from.as_ref()?));
    whole
        .chain(single.map(|(keeper, _, optional)| (keeper, optional)))
        .collect()
}

impl Installation {
    /// Reads a CronJob, with what its variables are kept in.
    ///
    /// # Errors
    /// What is wrong with it, or known to its Pods alone.
    pub fn of(cronjob: &batch::CronJob, kept: &Kept) -> Result<Self, String> {
        let (metadata, spec, container) = parts(cronjob)?;
        let program = container.command.iter().flatten().next();
        if let Some(shell) = program.filter(|program| SHELLS.contains(&program.rsplit('/').next().unwrap_or_default()))
        {
            return Err(format!("its command is `{shell}`, and what that runs is not known"));
        }
        let namespace = cronjob.metadata.namespace.clone().unwrap_or_default();
        let (variables, unknown) = environment(container, &namespace, kept);
        // The program itself is the image's, or the first word of `command`.
        let command = container.command.iter().flatten().skip(1);
        let words = command.chain(container.args.iter().flatten());
        let arguments = words.map(|word| expand(word, &variables, &unknown));
        let arguments: Result<_, _> = arguments.collect();
        Ok(Self {
            name: format!("{namespace}/{}", cronjob.metadata.name.clone().unwrap_or_default()),
            namespace,
            arguments: arguments.map_err(|name| format!("its arguments have `$({name})`, which only its Pods know"))?,
            mounts: mounts(container, spec),
            template: Template::of(metadata, spec.clone(), container.clone()),
            variables,
            unknown,
        })
    }

    /// Where a file of the Pod may be kept, and under which key; nowhere where it is the image's, or in a volume of another kind.
    pub fn file(&self, path: &Path) -> Vec<(Keeper, String)> {
        let mounted = self.mounts.iter().filter(|mount| path.starts_with(&mount.path));
        let Some(mount) = mounted.max_by_key(|mount| mount.path.components().count()) else {
            return Vec::new();
        };
        let rest = path.strip_prefix(&mount.path).unwrap_or(path);
        let within: PathBuf = mount.within.components().chain(rest.components()).collect();
        let within = within.to_string_lossy();
        let sources = mount.sources.iter().filter_map(|(keeper, items)| {
            let key = match items.as_slice() {
                [] => within.clone().into_owned(),
                items => items.iter().find(|item| item.path == within)?.key.clone(),
            };
            Some((keeper.clone(), key))
        });
        sources.collect()
    }
}

/// The Pod's metadata, the Pod, and our container in it.
fn parts(cronjob: &batch::CronJob) -> Result<(Option<&ObjectMeta>, &core::PodSpec, &core::Container), String> {
    let template = cronjob.spec.job_template.spec.as_ref().map(|job| &job.template);
    let spec = template.and_then(|template| template.spec.as_ref());
    let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let container = match containers {
        [only] => Some(only),
        several => several.iter().find(|container| container.name == CRONJOB),
    };
    let (Some(template), Some(spec), Some(container)) = (template, spec, container) else {
        return Err(format!("it has no container `{CRONJOB}`"));
    };
    Ok((template.metadata.as_ref(), spec, container))
}

fn mounts(container: &core::Container, spec: &core::PodSpec) -> Vec<Mount> {
    let mounts = container.volume_mounts.iter().flatten();
    let mounted = mounts.map(|mount| {
        let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
        // What the name is made of, only the kubelet knows.
        let volume = volume.filter(|_| mount.sub_path_expr.is_none());
        Mount {
            path: PathBuf::from(&mount.mount_path),
            within: mount.sub_path.as_deref().unwrap_or_default().into(),
            sources: volume.map(sources).unwrap_or_default(),
        }
    });
    mounted.collect()
}

fn sources(volume: &core::Volume) -> Vec<(Keeper, Vec<core::KeyToPath>)> {
    let mut sources = Vec::new();
    let mut add = |keeper: Keeper, items: &Option<Vec<core::KeyToPath>>| {
        sources.push((keeper, items.clone().unwrap_or_default()));
    };
    if let Some(source) = &volume.config_map {
        add(Keeper::config_map(&source.name), &source.items);
    }
    if let Some(source) = &volume.secret {
        add(
            Keeper::secret(source.secret_name.as_deref().unwrap_or_default()),
            &source.items,
        );
    }
    let projected = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    for source in projected {
        if let Some(source) = &source.config_map {
            add(Keeper::config_map(&source.name), &source.items);
        }
        if let Some(source) = &source.secret {
            add(Keeper::secret(&source.name), &source.items);
        }
    }
    sources
}

fn keeper_of_all(source: &core::EnvFromSource) -> Option<(Keeper, bool, &str)> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let config_map = source
        .config_map_ref
        .as_ref()
        .map(|it| (Keeper::config_map(&it.name), it.optional));
    let secret = source
        .secret_ref
        .as_ref()
        .map(|it| (Keeper::secret(&it.name), it.optional));
    let (keeper, optional) = config_map.or(secret)?;
    Some((keeper, optional.unwrap_or_default(), prefix))
}

fn keeper_of_one(source: &core::EnvVarSource) -> Option<(Keeper, &str, bool)> {
    let config_map = source.config_map_key_ref.as_ref();
    let config_map = config_map.map(|it| (Keeper::config_map(&it.name), it.key.as_str(), it.optional));
    let secret = source.secret_key_ref.as_ref();
    let secret = secret.map(|it| (Keeper::secret(&it.name), it.key.as_str(), it.optional));
    let (keeper, key, optional) = config_map.or(secret)?;
    Some((keeper, key, optional.unwrap_or_default()))
}

/// The variables whose value is known, and why the others are not. Of two of one name the later one counts.
fn environment(
    container: &core::Container,
    namespace: &str,
    kept: &Kept,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let mut known = BTreeMap::new();
    for (keeper, _, prefix) in container.env_from.iter().flatten().filter_map(keeper_of_all) {
        let pairs = kept.get(&keeper).into_iter().flatten();
        known.extend(pairs.map(|(key, value)| (format!("{prefix}{key}"), text(value))));
    }
    let mut unknown = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let name = variable.name.clone();
        let value = match &variable.value_from {
            None => expand(variable.value.as_deref().unwrap_or_default(), &known, &unknown)
                .map(Some)
                .map_err(|other| format!("it has `$({other})`")),
            Some(source) => match keeper_of_one(source) {
                Some((keeper, key, optional)) if name.starts_with(VARIABLES) => {
                    match kept.get(&keeper).and_then(|data| data.get(key)) {
                        Some(value) => Ok(Some(text(value))),
                        // It leaves no variable.
                        None if optional => Ok(None),
                        None => Err(format!("{keeper} has no key `{key}`, and no Pod starts without it")),
                    }
                }
                Some((keeper, ..)) => Err(format!("it is in `{}`", keeper.name)),
                None if is_namespace(source) => Ok(Some(namespace.to_owned())),
                None => Err("it is the Pod's own".to_owned()),
            },
        };
        known.remove(&name);
        unknown.remove(&name);
        match value {
            Ok(Some(value)) => drop(known.insert(name, value)),
            Ok(None) => {}
            Err(why) => drop(unknown.insert(name, why)),
        }
    }
    (known, unknown)
}

fn is_namespace(source: &core::EnvVarSource) -> bool {
    let field = source.field_ref.as_ref();
    field.is_some_and(|field| field.field_path == "metadata.namespace")
}

/// `$(NAME)` is the variable's value where there is such a variable, `$$` is `$`,
/// <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Container>.
///
/// # Errors
/// The variable whose value is not known.
fn expand(text: &str, known: &BTreeMap<String, String>, unknown: &BTreeMap<String, String>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let named = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        if let Some((name, _)) = named.filter(|(name, _)| unknown.contains_key(*name)) {
            return Err(name.to_owned());
        }
        rest = if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            after
        } else if let Some((value, after)) = named.and_then(|(name, after)| Some((known.get(name)?, after))) {
            expanded.push_str(value);
            after
        } else {
            expanded.push('$');
            after
        };
    }
    Ok(expanded + rest)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kept() -> Kept {
        let data = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect()
        };
        Kept::from([
            (
                Keeper::config_map("settings"),
                data(&[("email", "a@b.example"), ("DIRECTORY", "https://all.example/dir")]),
            ),
            (Keeper::secret("eab"), data(&[("kid", "k1")])),
        ])
    }

    fn cronjob(pod: Value) -> batch::CronJob {
        let object = json!({
            "metadata": {"namespace": "home", "name": "kube-lego-once"},
            "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
        });
        serde_json::from_value(object).expect("a CronJob")
    }

    fn installation(pod: Value) -> Result<Installation, String> {
        Installation::of(&cronjob(pod), &kept())
    }

    fn with(arguments: Value, env: Value, env_from: Value) -> Value {
        let command = json!(["/program", "run"]);
        json!({"containers": [
            {"name": "any", "command": command, "args": arguments, "env": env, "envFrom": env_from},
        ]})
    }

    #[test]
    fn the_command_line_is_that_of_the_pod() {
        let found = installation(with(
            json!([
                "--directory=$(KUBE_LEGO_ONCE_DIRECTORY)",
                "-l",
                "$(NONE)=$$x",
                "-n",
                "$"
            ]),
            json!([
                {"name": "HOST", "value": "ca.example"},
                {"name": "KUBE_LEGO_ONCE_DIRECTORY", "value": "https://$(HOST)/dir"},
            ]),
            json!([]),
        ))
        .expect("an installation");
        assert_eq!(found.name, "home/kube-lego-once");
        assert_eq!(
            found.arguments,
            [
                "run",
                "--directory=https://ca.example/dir",
                "-l",
                "$(NONE)=$x",
                "-n",
                "$"
            ]
        );
    }

    #[test]
    fn variables_come_from_where_the_pod_has_them_and_the_later_one_counts() {
        let from = |kind: &str, name: &str, key: &str| json!({kind: {"name": name, "key": key}});
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let pod = with(
            json!([]),
            json!([
                {"name": "KUBE_LEGO_ONCE_EMAIL", "value": "no"},
                {"name": "KUBE_LEGO_ONCE_EMAIL", "valueFrom": from("configMapKeyRef", "settings", "email")},
                {"name": "KUBE_LEGO_ONCE_EAB_KEY_ID", "valueFrom": from("secretKeyRef", "eab", "kid")},
                {"name": "KUBE_LEGO_ONCE_HOME_NAMESPACE", "valueFrom": field("metadata.namespace")},
                {"name": "KUBE_LEGO_ONCE_POD_NAME", "valueFrom": field("metadata.name")},
                {"name": "PROXY", "valueFrom": from("secretKeyRef", "proxy", "url")},
                {"name": "KUBE_LEGO_ONCE_PROFILE", "value": "$(PROXY)"},
            ]),
            json!([{"prefix": "KUBE_LEGO_ONCE_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "none", "optional": true}}]),
        );
        let read: Vec<_> = keepers_of_variables(&cronjob(pod.clone()));
        let expected = [
            (Keeper::config_map("settings"), false),
            (Keeper::secret("none"), true),
            (Keeper::config_map("settings"), false),
            (Keeper::secret("eab"), false),
        ];
        assert_eq!(read, expected, "another program's Secrets are nothing to us");
        let found = installation(pod).expect("an installation");
        for (name, value) in [
            ("EMAIL", "a@b.example"),
            ("DIRECTORY", "https://all.example/dir"),
            ("EAB_KEY_ID", "k1"),
            ("HOME_NAMESPACE", "home"),
        ] {
            assert_eq!(found.variables[&format!("KUBE_LEGO_ONCE_{name}")], value);
        }
        let unknown: Vec<_> = found.unknown.keys().map(String::as_str).collect();
        assert_eq!(unknown, ["KUBE_LEGO_ONCE_POD_NAME", "KUBE_LEGO_ONCE_PROFILE", "PROXY"]);
    }

    #[test]
    fn what_only_a_pod_knows_is_no_argument() {
        let ip = json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
        let error = installation(with(json!(["-n", "$(IP)"]), ip, json!([]))).expect_err("nobody knows");
        assert_eq!(error, "its arguments have `$(IP)`, which only its Pods know");
    }

    #[test]
    fn a_key_that_no_pod_starts_without_is_not_left_out() {
        let from = |optional: bool| {
            json!([{"name": "KUBE_LEGO_ONCE_EMAIL", "valueFrom": {
                "configMapKeyRef": {"name": "settings", "key": "no", "optional": optional},
            }}])
        };
        let found = installation(with(json!([]), from(true), json!([]))).expect("an installation");
        assert_eq!((found.variables.len(), found.unknown.len()), (0, 0));
        let found = installation(with(json!([]), from(false), json!([]))).expect("an installation");
        let expected = "ConfigMap `settings` has no key `no`, and no Pod starts without it";
        assert_eq!(found.unknown["KUBE_LEGO_ONCE_EMAIL"], expected);
    }

    #[test]
    fn what_a_shell_runs_is_not_known() {
        let shell = json!({"containers": [{"name": "any", "command": ["/bin/sh", "-c", "kube-lego-once run"]}]});
        let expected = "its command is `/bin/sh`, and what that runs is not known";
        assert_eq!(installation(shell), Err(expected.into()));
    }

    #[test]
    fn of_several_containers_ours_is_known_by_name() {
        let others = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        assert_eq!(installation(others), Err("it has no container `kube-lego-once`".into()));
        let ours = json!({"containers": [{"name": "a"}, {"name": "kube-lego-once", "image": "x"}]});
        assert_eq!(installation(ours).expect("ours").template.image(), Some("x"));
    }

    #[test]
    fn a_file_of_the_pod_is_found_where_it_is_kept() {
        let found = installation(json!({
            "volumes": [
                {"name": "ca", "configMap": {"name": "roots"}},
                {"name": "eab", "secret": {"secretName": "account", "items": [{"key": "k", "path": "hmac/key"}]}},
                {"name": "both", "projected": {"sources": [{"secret": {"name": "a"}}, {"configMap": {"name": "b"}}]}},
                {"name": "host", "hostPath": {"path": "/etc"}},
            ],
            "containers": [{"name": "any", "volumeMounts": [
                {"name": "ca", "mountPath": "/etc/ca/"},
                {"name": "eab", "mountPath": "/etc/ca/eab"},
                {"name": "both", "mountPath": "/both"},
                {"name": "host", "mountPath": "/host"},
                {"name": "ca", "mountPath": "/one.pem", "subPath": "root.pem"},
                {"name": "ca", "mountPath": "/made.pem", "subPathExpr": "$(X)"},
            ]}],
        }))
        .expect("an installation");
        let roots = (Keeper::config_map("roots"), "root.pem".to_owned());
        for (path, expected) in [
            ("/etc/ca/root.pem", vec![roots.clone()]),
            ("/one.pem", vec![roots]),
            ("/etc/ca/eab/hmac/key", vec![(Keeper::secret("account"), "k".into())]),
            (
                "/both/x",
                vec![(Keeper::secret("a"), "x".into()), (Keeper::config_map("b"), "x".into())],
            ),
            ("/etc/ca/eab/other", vec![]),
            ("/host/ca.pem", vec![]),
            ("/made.pem", vec![]),
            ("/etc/ssl/ca.pem", vec![]),
        ] {
            assert_eq!(found.file(Path::new(path)), expected, "{path}");
        }
    }
}
