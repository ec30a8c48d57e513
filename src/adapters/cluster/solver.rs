//! The solver Pod: started for a run that the cluster cannot reach. It goes as the other challenge objects go.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use tokio::time::{Instant, sleep};

use crate::decide::observed::{Leftover, LeftoverKind};
use crate::decide::route::Home;
use crate::decide::solver_pod::{Standing, standing};

use super::challenge::PresentError;
use super::target::{Target, Verb};
use super::{Cluster, ClusterError, FIELD_MANAGER};

/// How long a Pod may take until it runs: a node may have to pull the image, or to come up.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Who waits longer than usual is told what for.
const SAY_AFTER: Duration = Duration::from_secs(3);
/// Between two looks while challenges are answered.
const WATCH_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(300);

/// Where to change what is asked of a solver Pod.
const LIKE_THE_CRONJOB: &str =
    "its resources, node selector and tolerations are those of the CronJob's Pods: set there what is asked for";

/// Why nobody answers.
#[derive(Debug, thiserror::Error)]
pub enum SolverError {
    /// There is no Pod.
    #[error(transparent)]
    Create(#[from] PresentError),
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
        let first = match self {
            Self::Look(error) => return error.hint(),
            Self::Create(cause) => cause.hint().or_else(|| match cause {
                PresentError::Cluster(error) if error.is_refused_by_admission() => Some(LIKE_THE_CRONJOB.to_owned()),
                _ => None,
            }),
            Self::NotRunning { why, .. } if why.contains("Unschedulable") => Some(LIKE_THE_CRONJOB.to_owned()),
            Self::NotRunning { why, .. } if why.contains("Image") => Some("`--image` names another image".to_owned()),
            Self::NotRunning { .. } => None,
        };
        Some(match first {
            Some(first) => format!("{first}; {instead}"),
            None => instead.to_owned(),
        })
    }
}

impl Cluster {
    /// Does everything that [`Cluster::start_solver`] begins with, short of writing: where no Pod may be made, nothing need be
    /// begun.
    pub async fn rehearse_solver(&self, pod: &Pod) -> Result<(), SolverError> {
        let metadata = &pod.metadata;
        let target = Target::of::<Pod>(metadata.namespace.as_deref(), metadata.name.as_deref());
        let params = PostParams {
            dry_run: true,
            field_manager: Some(FIELD_MANAGER.into()),
        };
        let request = serde_json::to_vec(pod)
            .map_err(kube::core::request::Error::SerializeBody)
            .and_then(|body| target.request().create(&params, body));
        match self.call_text(Verb::Create, &target, request).await {
            // Whose that one is, is asked when ours is made.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(PresentError::Cluster(error).into()),
            Ok(_) => Ok(()),
        }
    }

    /// Ends when the Pod does not run any more, with why. What cannot be read now is read a little later.
    pub async fn solver_ended(&self, pod: &Leftover) -> String {
        loop {
            sleep(WATCH_PAUSE).await;
            match self.solver_standing(pod).await {
                Ok(Standing::Ended(why)) => {
                    return format!("Pod `{}/{}` runs no more: {why}", pod.namespace, pod.name);
                }
                Ok(Standing::Running | Standing::Waiting(_)) => {}
                Err(error) => log::debug!("{error}"),
            }
        }
    }

    /// How this very Pod stands: the next run's has the same name.
    async fn solver_standing(&self, pod: &Leftover) -> Result<Standing, ClusterError> {
        let target = Target::of::<Pod>(Some(&pod.namespace), Some(&pod.name));
        match self.get::<Pod>(&target).await {
            Ok(found) if found.metadata.uid.as_ref() == Some(&pod.uid) => Ok(standing(&found)),
            Ok(_) => Ok(Standing::Ended("somebody replaced it".to_owned())),
            Err(error) if error.is_not_found() => Ok(Standing::Ended("somebody deleted it".to_owned())),
            Err(error) => Err(error),
        }
    }

    /// Creates the Pod and returns it once it runs.
    ///
    /// It may be dropped at any time: [`Cluster::withdraw`] finds the Pod.
    ///
    /// # Errors
    /// Where it cannot be created, or does not come up.
    pub async fn start_solver(&self, home: &Home, pod: &Pod) -> Result<Leftover, SolverError> {
        let made = self.make(LeftoverKind::Pod, home, pod).await?;
        let begun = Instant::now();
        let mut said = String::new();
        loop {
            let standing = match self.solver_standing(&made).await {
                Err(error) if error.is_forbidden() => return Err(error.into()),
                // It may be readable a little later.
                Err(error) => Standing::Waiting(error.to_string()),
                Ok(standing) => standing,
            };
            let why = match standing {
                Standing::Running => return Ok(made),
                Standing::Ended(why) => why,
                Standing::Waiting(why) if begun.elapsed() >= START_LIMIT => {
                    format!("after {} s, {why}", START_LIMIT.as_secs())
                }
                Standing::Waiting(why) => {
                    if why != said && begun.elapsed() >= SAY_AFTER {
                        log::info!("Pod `{}/{}` does not run yet: {why}", made.namespace, made.name);
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
    use crate::decide::solver_pod::{Template, solver_pod};

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
        json!({"metadata": {"uid": "u"}, "status": {"phase": "Running", "containerStatuses": [container]}})
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
            Reply::new(
                "GET",
                &format!("{PODS}/kube-lego-once"),
                200,
                json!({"metadata": {"uid": "u"}}),
            ),
            Reply::new(
                "GET",
                &format!("{PODS}/kube-lego-once"),
                500,
                status(500, "InternalError", "etcd"),
            ),
            Reply::new(
                "GET",
                &format!("{PODS}/kube-lego-once"),
                200,
                stands(json!({"running": {}})),
            ),
        ]);
        let made = cluster.start_solver(&home(), &pod()).await.expect("it runs");
        assert_eq!(made.uid, "u");
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

    #[tokio::test(start_paused = true)]
    async fn that_it_runs_no_more_is_noticed_and_an_error_is_no_end() {
        let of = |code, body| Reply::new("GET", &format!("{PODS}/kube-lego-once"), code, body);
        let ended = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        for (last, expected) in [
            (
                of(200, stands(ended)),
                "runs no more: it ended with exit code 137: OOMKilled",
            ),
            (
                of(404, status(404, "NotFound", "none")),
                "runs no more: somebody deleted it",
            ),
            (
                of(200, json!({"metadata": {"uid": "another"}})),
                "runs no more: somebody replaced it",
            ),
        ] {
            let running = of(200, stands(json!({"running": {}})));
            let (cluster, server) = script([running, of(500, status(500, "InternalError", "etcd")), last]);
            let pod = Leftover {
                kind: LeftoverKind::Pod,
                namespace: "home".into(),
                name: "kube-lego-once".into(),
                uid: "u".into(),
                run: "ours".into(),
            };
            let why = cluster.solver_ended(&pod).await;
            assert_eq!(why, format!("Pod `home/kube-lego-once` {expected}"));
            server.finish().await;
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
            hint.starts_with(
                "the user of this request has no right to `create` `pods`. A run by hand needs more rights than rbac.yaml grants"
            ),
            "{hint}"
        );
    }
}
