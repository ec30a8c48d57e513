//! Which cluster, and as whom: as kubectl has it, but what the user named is never passed over.

use std::env;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::client::AuthError;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use serde::Deserialize as _;
use serde_json::Value;

use super::Cluster;
use super::error::chain;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Where a Pod finds its own namespace,
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api>.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// How to reach the API server.
#[derive(Clone, Debug, Default)]
pub struct ConnectSettings {
    /// `--kubeconfig`: this file and no other.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`: instead of the kubeconfig's `current-context`.
    pub context: Option<String>,
}

/// Why there is no cluster to talk to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig that was named, or that is in its usual place, is of no use.
    #[error("the kubeconfig of {source_name} cannot be used: {cause}")]
    Kubeconfig {
        /// Who named it: the flag, the environment, or its usual place.
        source_name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// `--context` without a kubeconfig to look it up in.
    #[error("`--context {context}` needs a kubeconfig, and there is none at `{path}`")]
    NoContext {
        /// What `--context` said.
        context: String,
        /// The usual place.
        path: PathBuf,
    },
    /// Nothing was named, and nothing was found.
    #[error("no cluster found: {}", tried.join("; "))]
    Nothing {
        /// What was tried, and what came of it.
        tried: Vec<String>,
    },
    /// There is a configuration, and no client can be made of it.
    #[error("cannot talk to `{server}`: {cause}")]
    Client {
        /// The API server's URL.
        server: String,
        /// What is missing: a credential plugin, a certificate.
        cause: String,
        /// How the plugin is installed, by the kubeconfig's own words.
        install_hint: Option<String>,
    },
}

impl ConnectError {
    /// What the user can do about it; to be printed on a line of its own.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Kubeconfig { .. } => "`kubectl config view` shows what kubectl reads".into(),
            Self::NoContext { .. } => "name the file with `--kubeconfig` or `KUBECONFIG`".into(),
            Self::Nothing { .. } => {
                "name a kubeconfig with `--kubeconfig` or `KUBECONFIG`; in a Pod, let it mount its ServiceAccount's token"
                    .into()
            }
            Self::Client { install_hint, .. } => return install_hint.clone(),
        })
    }
}

/// The namespace of the Pod that this process runs in, where it does.
pub fn in_cluster_namespace() -> Option<String> {
    let text = std::fs::read_to_string(NAMESPACE_FILE).ok()?;
    Some(text.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

impl Cluster {
    /// Finds the cluster and makes a client for it; nothing is asked of it yet.
    ///
    /// The first of these that there is: `--kubeconfig`, the files of `KUBECONFIG` merged, `~/.kube/config`, the
    /// credentials of a Pod. A kubeconfig's credential plugin is run when it is needed, the first time in here.
    pub async fn connect(settings: &ConnectSettings) -> Result<Self, ConnectError> {
        let mut config = configuration(settings, env::var_os("KUBECONFIG"), default_path()).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(ANSWER_TIMEOUT);
        config.write_timeout = Some(ANSWER_TIMEOUT);
        // Else the time that a connection sat idle counts as waiting for an answer.
        config.reset_reader_on_write = true;
        let plugin = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = kube::Client::try_from(config).map_err(|error| ConnectError::Client {
            server: server.clone(),
            install_hint: match &error {
                kube::Error::Auth(AuthError::AuthExecStart(_)) => plugin.as_deref().and_then(|plugin| {
                    kubeconfig_paths(settings)
                        .iter()
                        .find_map(|path| install_hint(path, plugin))
                }),
                _ => None,
            },
            cause: match &error {
                kube::Error::Auth(error) => super::error::auth(error, plugin.as_deref()),
                error => chain(error),
            },
        })?;
        Ok(Self::of(client, &server))
    }
}

/// `installHint` of a credential plugin (<https://kubernetes.io/docs/reference/config-api/client-authentication.v1/>), which
/// kube does not keep.
fn install_hint(path: &Path, plugin: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let documents = serde_yaml_ng::Deserializer::from_str(&text).filter_map(|it| Value::deserialize(it).ok());
    let users: Vec<Value> = documents
        .filter_map(|it| it.get("users")?.as_array().cloned())
        .flatten()
        .collect();
    let execs = users.iter().filter_map(|user| user.get("user")?.get("exec"));
    let mut of_plugin = execs.filter(|exec| exec["command"] == plugin);
    // Somebody's text: no terminal escapes, no line breaks.
    let plain = of_plugin
        .find_map(|exec| exec["installHint"].as_str())?
        .replace(char::is_control, " ");
    Some(plain.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|hint| !hint.is_empty())
}

/// The kubeconfig files that count: those that were named, else the usual one.
fn kubeconfig_paths(settings: &ConnectSettings) -> Vec<PathBuf> {
    match (&settings.kubeconfig, listed_paths(env::var_os("KUBECONFIG"))) {
        (Some(path), _) => vec![path.clone()],
        (None, listed) if listed.is_empty() => default_path().into_iter().collect(),
        (None, listed) => listed,
    }
}

/// What `KUBECONFIG` lists.
fn listed_paths(listed: Option<OsString>) -> Vec<PathBuf> {
    let paths = listed.iter().flat_map(env::split_paths);
    paths.filter(|path| !path.as_os_str().is_empty()).collect()
}

fn default_path() -> Option<PathBuf> {
    env::home_dir().map(|home| home.join(".kube").join("config"))
}

/// The two places come as arguments so that tests can say what they hold.
async fn configuration(
    settings: &ConnectSettings,
    listed: Option<OsString>,
    usual: Option<PathBuf>,
) -> Result<Config, ConnectError> {
    if let Some(path) = &settings.kubeconfig {
        let source = format!("`--kubeconfig {}`", path.display());
        return from_files(settings, source, std::slice::from_ref(path)).await;
    }
    let listed = listed_paths(listed);
    if !listed.is_empty() {
        return from_files(settings, "the environment's `KUBECONFIG`".into(), &listed).await;
    }
    if let Some(path) = usual.as_deref().filter(|path| path.exists()) {
        return from_files(settings, format!("`{}`", path.display()), &[path.to_owned()]).await;
    }
    let usual = usual.unwrap_or_else(|| PathBuf::from("~/.kube/config"));
    if let Some(context) = &settings.context {
        return Err(ConnectError::NoContext {
            context: context.clone(),
            path: usual,
        });
    }
    Config::incluster().map_err(|error| ConnectError::Nothing {
        tried: vec![
            "`--kubeconfig` and `KUBECONFIG` are not set".into(),
            format!("`{}` does not exist", usual.display()),
            format!("this is no Pod with credentials ({})", chain(&error)),
        ],
    })
}

async fn from_files(settings: &ConnectSettings, source: String, paths: &[PathBuf]) -> Result<Config, ConnectError> {
    let fail = |cause: String| ConnectError::Kubeconfig {
        source_name: source.clone(),
        cause,
    };
    let kubeconfig = merged(paths).map_err(&fail)?;
    let proxy_is_named = names_a_proxy(&kubeconfig, settings.context.as_deref());
    let options = KubeConfigOptions {
        context: settings.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|error| fail(describe(error)))?;
    // kube 5.0 holds `NO_PROXY` against the proxy's name, not the API server's.
    if !proxy_is_named && Matcher::from_env().intercept(&config.cluster_url).is_none() {
        config.proxy_url = None;
    }
    Ok(config)
}

/// The files as one. Of several, those that do not exist are passed over, as kubectl does; one must.
fn merged(paths: &[PathBuf]) -> Result<Kubeconfig, String> {
    let mut merged: Option<Kubeconfig> = None;
    let mut absent = Vec::new();
    for path in paths {
        let next = match Kubeconfig::read_from(path) {
            Ok(next) => next,
            Err(KubeconfigError::ReadConfig(error, path)) if error.kind() == ErrorKind::NotFound => {
                absent.push(path);
                continue;
            }
            Err(error) => return Err(in_file(path, error)),
        };
        merged = Some(match merged {
            Some(kubeconfig) => kubeconfig.merge(next).map_err(|error| in_file(path, error))?,
            None => next,
        });
    }
    let list = |paths: &[PathBuf]| {
        let names: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
        names.join(", ")
    };
    if merged.is_some() && !absent.is_empty() {
        log::warn!("`KUBECONFIG` names what does not exist: {}", list(&absent));
    }
    merged.ok_or_else(|| format!("no such file: {}", list(&absent)))
}

fn names_a_proxy(kubeconfig: &Kubeconfig, context: Option<&str>) -> bool {
    let Some(context) = context.or(kubeconfig.current_context.as_deref()) else {
        return false;
    };
    let context = kubeconfig.contexts.iter().find(|named| named.name == context);
    let Some(cluster) = context.and_then(|named| named.context.as_ref()).map(|it| &it.cluster) else {
        return false;
    };
    let cluster = kubeconfig.clusters.iter().find(|named| &named.name == cluster);
    let proxy = cluster.and_then(|named| named.cluster.as_ref()?.proxy_url.as_deref());
    proxy.is_some_and(|url| !url.is_empty())
}

fn in_file(path: &Path, error: KubeconfigError) -> String {
    match &error {
        // Its own message names the file.
        KubeconfigError::ReadConfig(source, path) => format!("`{}`: {source}", path.display()),
        _ => format!("`{}`: {}", path.display(), describe(error)),
    }
}

/// A parser's message quotes the lines around the place, and a kubeconfig's lines hold tokens and keys.
fn describe(error: KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(place) => format!("no kubeconfig at line {} column {}", place.line(), place.column()),
            None => "no kubeconfig".into(),
        },
        KubeconfigError::CurrentContextNotSet => "no `current-context`, and no `--context`".into(),
        KubeconfigError::LoadContext(name) if name.is_empty() => "no `current-context`, and no `--context`".into(),
        KubeconfigError::LoadContext(name) => format!("no context `{name}`"),
        KubeconfigError::LoadClusterOfContext(name) => format!("no cluster `{name}`, which the context names"),
        error => chain(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = env::temp_dir().join(format!("kube-lego-once-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).expect("a file");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const A: &str = "{current-context: a, contexts: [{name: a, context: {cluster: a}}], clusters: [{name: a, cluster: {server: 'https://a:1'}}]}";
    const B: &str =
        "{contexts: [{name: b, context: {cluster: b}}], clusters: [{name: b, cluster: {server: 'https://b:1'}}]}";

    async fn server(settings: &ConnectSettings, listed: Option<&[&Path]>, usual: &Path) -> Result<String, String> {
        let listed = listed.map(|paths| env::join_paths(paths).expect("paths"));
        let config = configuration(settings, listed, Some(usual.to_owned())).await;
        config
            .map(|config| config.cluster_url.to_string())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_flag_comes_first_then_the_environment_then_the_usual_place() {
        let folder = Folder::new("order");
        let (a, b) = (folder.file("a", A), folder.file("b", B));
        let absent = folder.0.join("absent");
        let flag = ConnectSettings {
            kubeconfig: Some(a.clone()),
            context: None,
        };
        let context = ConnectSettings {
            kubeconfig: None,
            context: Some("b".into()),
        };
        let nothing = ConnectSettings::default();
        assert_eq!(server(&flag, Some(&[&b]), &b).await, Ok("https://a:1/".into()));
        assert_eq!(server(&nothing, Some(&[&b, &a]), &b).await, Ok("https://a:1/".into()));
        assert_eq!(
            server(&context, Some(&[&absent, &a, &b]), &a).await,
            Ok("https://b:1/".into())
        );
        assert_eq!(server(&nothing, None, &a).await, Ok("https://a:1/".into()));
    }

    #[tokio::test]
    async fn a_credential_plugin_is_run_and_what_it_prints_is_not_shown() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = Folder::new("plugin");
        let connect = async |script: &str| {
            let user = format!(
                "{{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sh, args: ['-c', '{script}']}}"
            );
            let text = A.replace("cluster: a}}", "cluster: a, user: a}}")
                + &format!("\n---\nusers: [{{name: a, user: {{exec: {user}}}}}]");
            let settings = ConnectSettings {
                kubeconfig: Some(folder.file("config", &text)),
                context: None,
            };
            Cluster::connect(&settings).await.map_err(|error| error.to_string())
        };
        let credential =
            r#"echo "{apiVersion: client.authentication.k8s.io/v1, kind: ExecCredential, status: {token: SECRET}}""#;
        let cluster = connect(credential).await.expect("a client");
        assert_eq!(cluster.server(), "https://a:1");
        let error = connect("echo SECRET; echo log in first >&2; exit 3")
            .await
            .expect_err("a failure");
        let expected = "cannot talk to `https://a:1`: the kubeconfig's credential plugin `sh` failed with exit status: 3: log in first";
        assert_eq!(error, expected);
        let error = connect("echo SECRET").await.expect_err("no credential");
        assert!(!error.contains("SECRET"), "{error}");
    }

    #[tokio::test]
    async fn a_credential_plugin_that_is_missing_says_how_it_is_installed() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = Folder::new("no-plugin");
        for (hint, expected) in [
            (
                "installHint: \"run\\n  `apt install it`\"",
                Some("run `apt install it`"),
            ),
            ("installHint: ''", None),
            ("env: []", None),
        ] {
            let exec = format!(
                "{{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: /no/such/plugin, {hint}}}"
            );
            let text = A.replace("cluster: a}}", "cluster: a, user: a}}")
                + &format!("\n---\nusers: [{{name: a, user: {{exec: {exec}}}}}]");
            let settings = ConnectSettings {
                kubeconfig: Some(folder.file("config", &text)),
                context: None,
            };
            let error = Cluster::connect(&settings).await.expect_err("no plugin");
            assert!(
                error.to_string().contains("`/no/such/plugin` does not start"),
                "{error}"
            );
            assert_eq!(error.hint().as_deref(), expected, "{hint}");
        }
    }

    #[tokio::test]
    async fn what_was_named_is_never_passed_over() {
        let folder = Folder::new("named");
        let a = folder.file("a", A);
        let token = folder.file("token", "users: [{name: a, user: {token: SECRET}}\nbroken: [");
        let absent = folder.0.join("absent");
        let named = |kubeconfig: Option<&Path>, context: Option<&str>| ConnectSettings {
            kubeconfig: kubeconfig.map(Path::to_owned),
            context: context.map(str::to_owned),
        };
        for (settings, listed, usual, words) in [
            (named(Some(&absent), None), Some(&a), &a, "no such file: `"),
            (
                named(None, None),
                Some(&absent),
                &a,
                "the environment's `KUBECONFIG` cannot be used",
            ),
            (named(None, Some("c")), Some(&a), &a, "no context `c`"),
            (
                named(None, Some("c")),
                None,
                &absent,
                "`--context c` needs a kubeconfig",
            ),
            (named(Some(&token), None), None, &a, "no kubeconfig at line"),
            (
                named(None, None),
                None,
                &absent,
                "does not exist; this is no Pod with credentials",
            ),
        ] {
            let listed: Option<Vec<&Path>> = listed.map(|path| vec![path.as_path()]);
            let error = server(&settings, listed.as_deref(), usual).await.expect_err(words);
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
