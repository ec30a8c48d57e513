//! The solver Pod: it answers the challenges of a run that the cluster cannot reach, and knows no secret.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::route::{CHALLENGE_NAME, Home};

/// Where the responder of a solver Pod listens, unless its run says otherwise.
pub const SOLVER_PORT: u16 = 8080;
/// Its container.
const CONTAINER: &str = "solver";
/// When the kubelet ends a Pod whose run was killed, in seconds: more than the CronJob gives a whole run.
const DEADLINE_SECONDS: i64 = 3600;
/// It has nothing to finish.
const GRACE_SECONDS: i64 = 5;
/// Why a container waits that will not start by waiting. `ErrImagePull` is not among them: the kubelet tries again, and says
/// `ImagePullBackOff` once that failed too.
const HOPELESS: &[&str] = &[
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// A Pod of the CronJob, less what is secret or its run's own: what is left says where and as whom it may run.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    labels: BTreeMap<String, String>,
    annotations: Option<BTreeMap<String, String>>,
    spec: core::PodSpec,
}

impl Default for Template {
    /// What Pod Security `restricted` admits, <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.
    fn default() -> Self {
        let quantities = |list: &[(&str, &str)]| {
            let pairs = list
                .iter()
                .map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned())));
            Some(pairs.collect::<BTreeMap<_, _>>())
        };
        let container = core::Container {
            resources: Some(core::ResourceRequirements {
                requests: quantities(&[("cpu", "10m"), ("memory", "24Mi")]),
                limits: quantities(&[("memory", "64Mi")]),
                ..Default::default()
            }),
            security_context: Some(core::SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                capabilities: Some(core::Capabilities {
                    drop: Some(vec!["ALL".into()]),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let spec = core::PodSpec {
            security_context: Some(core::PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(65532),
                run_as_group: Some(65532),
                seccomp_profile: Some(core::SeccompProfile {
                    type_: "RuntimeDefault".into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let labels = BTreeMap::from([("app.kubernetes.io/name".to_owned(), "kube-lego-once".to_owned())]);
        let metadata = ObjectMeta {
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        Self::of(Some(&metadata), spec, container)
    }
}

impl Template {
    /// Keeps of a Pod and its container what a solver may have: no environment, no volume, no token, no second container.
    pub fn of(metadata: Option<&ObjectMeta>, spec: core::PodSpec, container: core::Container) -> Self {
        let container = core::Container {
            name: CONTAINER.into(),
            image: container.image,
            image_pull_policy: container.image_pull_policy,
            // The program, without what it was to do.
            command: container.command.map(|words| words.into_iter().take(1).collect()),
            resources: container.resources,
            security_context: container.security_context,
            // The last lines of its log are in its status then, and outlive it in a message.
            termination_message_policy: Some("FallbackToLogsOnError".into()),
            ..core::Container::default()
        };
        let spec = core::PodSpec {
            containers: vec![container],
            init_containers: None,
            ephemeral_containers: None,
            volumes: None,
            // Gates are for controllers that wait for the CronJob's Pods.
            readiness_gates: None,
            scheduling_gates: None,
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            restart_policy: Some("Never".into()),
            active_deadline_seconds: Some(DEADLINE_SECONDS),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            ..spec
        };
        Self {
            labels: metadata.and_then(|it| it.labels.clone()).unwrap_or_default(),
            // Some say what may be put into a Pod: a mesh's proxy, for one.
            annotations: metadata.and_then(|it| it.annotations.clone()),
            spec,
        }
    }

    /// The image.
    pub fn image(&self) -> Option<&str> {
        let container = self.spec.containers.first()?;
        container.image.as_deref().filter(|image| !image.is_empty())
    }

    /// The same Pod of another image.
    #[must_use]
    pub fn with_image(mut self, image: String) -> Self {
        for container in &mut self.spec.containers {
            container.image = Some(image.clone());
        }
        self
    }
}

/// The Pod that answers for this account's thumbprint, in the name of this run.
pub fn solver_pod(home: &Home, template: &Template, thumbprint: &str, listen: &str) -> core::Pod {
    let mut metadata = home.metadata(CHALLENGE_NAME.to_owned());
    metadata.annotations = template.annotations.clone();
    let labels = metadata.labels.get_or_insert_default();
    for (name, value) in &template.labels {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let mut spec = template.spec.clone();
    for container in &mut spec.containers {
        let run = home.run.as_str();
        let words = ["solve", "--thumbprint", thumbprint, "--run", run, "--listen", listen];
        container.args = Some(words.map(str::to_owned).into());
    }
    core::Pod {
        metadata,
        spec: Some(spec),
        status: None,
    }
}

/// How far a Pod has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its container runs.
    Running,
    /// It may run yet; what it waits for.
    Waiting(String),
    /// It will not run, or no more; why.
    Ended(String),
}

/// How far a Pod has come, by its status,
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/>.
pub fn standing(pod: &core::Pod) -> Standing {
    let status = pod.status.clone().unwrap_or_default();
    // Somebody may have put another one beside it.
    let mut containers = status.container_statuses.iter().flatten();
    let container = containers.find(|container| container.name == CONTAINER);
    let state = container
        .and_then(|container| container.state.clone())
        .unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    if let Some(ended) = state.terminated {
        let why = [ended.reason, ended.message].into_iter().flatten();
        let why: Vec<_> = why
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .collect();
        return Standing::Ended(format!(
            "it ended with exit code {}: {}",
            ended.exit_code,
            why.join(": ")
        ));
    }
    if ["Failed", "Succeeded"].contains(&phase.as_str()) {
        let reason = status.reason.unwrap_or(phase);
        return Standing::Ended(sentence(&reason, status.message.as_deref()));
    }
    if let Some(waiting) = state
        .waiting
        .filter(|waiting| waiting.reason.as_deref() != Some("ContainerCreating"))
    {
        let reason = waiting.reason.unwrap_or_default();
        let why = sentence(&reason, waiting.message.as_deref());
        return match HOPELESS.contains(&reason.as_str()) {
            true => Standing::Ended(why),
            false => Standing::Waiting(why),
        };
    }
    if phase == "Running" && state.running.is_some() {
        return Standing::Running;
    }
    let mut conditions = status.conditions.iter().flatten();
    let unscheduled = conditions.find(|it| it.type_ == "PodScheduled" && it.status == "False");
    Standing::Waiting(match unscheduled {
        Some(condition) => sentence(
            condition.reason.as_deref().unwrap_or("Pending"),
            condition.message.as_deref(),
        ),
        None => "its container is not there yet".to_owned(),
    })
}

fn sentence(reason: &str, message: Option<&str>) -> String {
    match message.filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn nothing_secret_of_the_cronjobs_pod_is_in_the_solver() {
        let spec = json!({
            "serviceAccountName": "kube-lego-once",
            "imagePullSecrets": [{"name": "registry"}],
            "nodeSelector": {"zone": "a"},
            "readinessGates": [{"conditionType": "x"}],
            "initContainers": [{"name": "other"}],
            "volumes": [{"name": "key", "secret": {"secretName": "eab"}}],
            "containers": [],
        });
        let container = json!({
            "name": "kube-lego-once", "image": "i:1", "command": ["/program", "run"], "args": ["--adopt"],
            "env": [{"name": "TOKEN", "value": "SECRET"}], "envFrom": [{"secretRef": {"name": "eab"}}],
            "volumeMounts": [{"name": "key", "mountPath": "/key"}],
        });
        let metadata = json!({"labels": {"team": "web"}, "annotations": {"sidecar.istio.io/inject": "false"}});
        let template = Template::of(
            Some(&serde_json::from_value(metadata).expect("metadata")),
            serde_json::from_value(spec).expect("a spec"),
            serde_json::from_value(container).expect("a container"),
        );
        let home = Home {
            namespace: "home".into(),
            run: "r1".parse().expect("an id"),
            owner: None,
        };
        let pod = serde_json::to_value(solver_pod(&home, &template, "T", "0.0.0.0:8080")).expect("JSON");
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "kube-lego-once", "namespace": "home", "annotations": {"sidecar.istio.io/inject": "false"}, "labels": {
                "app.kubernetes.io/managed-by": "kube-lego-once", "kube-lego-once.dev/run": "r1", "team": "web",
            }},
            "spec": {
                "activeDeadlineSeconds": 3600, "automountServiceAccountToken": false, "enableServiceLinks": false,
                "imagePullSecrets": [{"name": "registry"}], "nodeSelector": {"zone": "a"}, "restartPolicy": "Never",
                "serviceAccountName": "kube-lego-once", "terminationGracePeriodSeconds": 5,
                "containers": [{
                    "name": "solver", "image": "i:1", "command": ["/program"],
                    "args": ["solve", "--thumbprint", "T", "--run", "r1", "--listen", "0.0.0.0:8080"],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                }],
            },
        });
        assert_eq!(pod, expected, "{pod:#}");
    }

    #[test]
    fn a_pods_standing_is_read_from_its_status() {
        let waiting = |reason: &str, message: &str| {
            json!({"phase": "Pending", "containerStatuses": [{
                "name": "solver", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": message}},
            }]})
        };
        let state = |phase: &str, state: Value| {
            json!({"phase": phase, "containerStatuses": [{
                "name": "solver", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state,
            }]})
        };
        let unscheduled = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"},
        ]});
        let ended = json!({"terminated": {"exitCode": 2, "reason": "Error", "message": "error: no `solve`\n"}});
        for (status, expected) in [
            (json!({}), Standing::Waiting("its container is not there yet".into())),
            (unscheduled, Standing::Waiting("Unschedulable: 0/1 nodes".into())),
            (
                waiting("ContainerCreating", ""),
                Standing::Waiting("its container is not there yet".into()),
            ),
            (
                waiting("ErrImagePull", "no host"),
                Standing::Waiting("ErrImagePull: no host".into()),
            ),
            (
                waiting("ImagePullBackOff", "no host"),
                Standing::Ended("ImagePullBackOff: no host".into()),
            ),
            (
                waiting("ErrImageNeverPull", ""),
                Standing::Ended("ErrImageNeverPull".into()),
            ),
            (state("Running", json!({"running": {}})), Standing::Running),
            (
                state("Failed", ended),
                Standing::Ended("it ended with exit code 2: Error: error: no `solve`".into()),
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "disk"}),
                Standing::Ended("Evicted: disk".into()),
            ),
        ] {
            let pod = serde_json::from_value(json!({"status": status})).expect("a Pod");
            assert_eq!(standing(&pod), expected, "{status}");
        }
    }
}
