//! The solver Pod: started for a run that the cluster cannot reach. It goes as the other challenge objects go.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, sleep};

use crate::decide::observed::LeftoverKind;
use crate::decide::route::Home;
use crate::decide::solver::{Standing, standing};

use super::challenge::PresentCause;
use super::target::Target;
use super::{Cluster, ClusterError};

/// How long a Pod may take until it runs: a node may have to pull the image, or to come up.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(300);

/// Why nobody answers.
#[derive(Debug, thiserror::Error)]
pub enum SolverError {
    /// There is no Pod.
    #[error(transparent)]
    Create(#[from] PresentCause),
    /// It could not be looked at.
    #[error(transparent)]
    Look(#[from] ClusterError),
    /// There is one, and it does not run.
    #[error("Pod `{pod}` of image `{image}`, which was to answer the challenges, does not run: {why}")]
    NotRunning {
        /// Its namespace and name.
        pod: String,
        /// Its image.
        image: String,
        /// What its status says.
        why: String,
    },
}

impl SolverError {
    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let instead = "`--advertise-address`, an address of this machine that Pods can connect to, does without";
        match self {
            // Not what rbac.yaml grants: that is for the CronJob, which needs no Pod.
            Self::Create(PresentCause::Cluster(error)) if error.is_forbidden() => {
                Some(format!("it needs the verb `create` on `pods`; {instead}"))
            }
            Self::Create(cause) => cause.hint(),
            Self::Look(error) => error.hint(),
            Self::NotRunning { .. } => Some(format!("`--image` names another image; {instead}")),
        }
    }
}

impl Cluster {
    /// Creates the Pod and returns its UID once it runs.
    ///
    /// It may be dropped at any time: [`Cluster::withdraw`] finds the Pod.
    ///
    /// # Errors
    /// Where it cannot be created, or does not come up.
    pub async fn start_solver(&self, home: &Home, pod: &Pod) -> Result<String, SolverError> {
        let made = self.make(LeftoverKind::Pod, home, pod).await?;
        let target = Target::of::<Pod>(Some(&made.namespace), Some(&made.name));
        let give_up = Instant::now() + START_LIMIT;
        let mut said = String::new();
        loop {
            let found: Pod = self.get(&target).await?;
            let why = match standing(&found) {
                Standing::Running => return Ok(made.uid),
                Standing::Ended(why) => why,
                Standing::Waiting(why) if Instant::now() >= give_up => {
                    format!("after {} s, {why}", START_LIMIT.as_secs())
                }
                Standing::Waiting(why) => {
                    if why != said {
                        log::debug!("Pod `{}/{}` does not run yet: {why}", made.namespace, made.name);
                        said = why;
                    }
                    sleep(LOOK_PAUSE).await;
                    continue;
                }
            };
            let container = pod.spec.iter().flat_map(|spec| &spec.containers).next();
            let image = container.and_then(|container| container.image.clone());
            return Err(SolverError::NotRunning {
                pod: format!("{}/{}", made.namespace, made.name),
                image: image.unwrap_or_default(),
                why,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Reply, script, serve, status};
    use super::*;
    use crate::decide::solver::{Template, solver_pod};

    const PODS: &str = "/api/v1/namespaces/home/pods";

    fn home() -> Home {
        Home {
            namespace: "home".into(),
            run: "ours".parse().expect("an id"),
            owner: None,
        }
    }

    fn pod() -> Pod {
        solver_pod(
            &home(),
            &Template::default().with_image("i:1".into()),
            "T",
            "0.0.0.0:8080",
        )
    }

    fn stands(state: Value) -> Value {
        let container =
            json!({"name": "solver", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state});
        json!({"status": {"phase": "Running", "containerStatuses": [container]}})
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_there_once_it_runs() {
        let (cluster, server) = script([
            Reply::new(
                "POST",
                &format!("{PODS}?"),
                201,
                json!({"metadata": {"name": "kube-lego-once", "uid": "u"}}),
            ),
            Reply::new("GET", &format!("{PODS}/kube-lego-once"), 200, json!({})),
            Reply::new(
                "GET",
                &format!("{PODS}/kube-lego-once"),
                200,
                stands(json!({"running": {}})),
            ),
        ]);
        assert_eq!(cluster.start_solver(&home(), &pod()).await.expect("it runs"), "u");
        let seen = server.finish().await;
        assert_eq!(seen[0].body["metadata"]["labels"]["kube-lego-once.dev/run"], "ours");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_come_up_is_given_up_with_what_was_seen() {
        for (state, expected) in [
            (
                json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
                "does not run: ImagePullBackOff: no such image",
            ),
            (
                json!({"waiting": {"reason": "ErrImagePull", "message": "no host"}}),
                "does not run: after 120 s, ErrImagePull: no host",
            ),
        ] {
            let (cluster, _server) = serve(move |seen| match seen.method.as_str() {
                "POST" => (201, json!({"metadata": {"name": "kube-lego-once", "uid": "u"}})),
                _ => (200, stands(state.clone())),
            });
            let error = cluster.start_solver(&home(), &pod()).await.expect_err("it does not");
            let text = error.to_string();
            assert!(text.starts_with("Pod `home/kube-lego-once` of image `i:1`"), "{text}");
            assert!(text.ends_with(expected), "{text}");
            assert!(error.hint().expect("a hint").contains("--image"));
        }
    }

    #[tokio::test]
    async fn without_the_right_the_hint_names_it() {
        let denied = r#"pods is forbidden: User "u" cannot create resource "pods""#;
        let reply = Reply::new("POST", &format!("{PODS}?"), 403, status(403, "Forbidden", denied));
        let (cluster, _server) = script([reply]);
        let error = cluster.start_solver(&home(), &pod()).await.expect_err("denied");
        let hint = error.hint().expect("a hint");
        assert!(
            hint.starts_with("it needs the verb `create` on `pods`; `--advertise-address`"),
            "{hint}"
        );
    }
}
