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
        let expanded = |word: &String| {
            expand(word, &variables, &unknown).map_err(|name| {
                format!("only its Pods know the value of `$({name})`, which its argument `{word}` needs")
            })
        };
        Ok(Self {
            name: format!("{namespace}/{}", cronjob.metadata.name.clone().unwrap_or_default()),
            namespace,
            arguments: words.map(expanded).collect::<Result<_, _>>()?,
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
mod tests;
