//! cronjob.yaml as it is shipped, on a real kubelet: with another image, CA and DNS, and nothing else changed.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::end_to_end::https;
use crate::scene::{Scene, cluster, cronjob, has_nodes, image, kubectl};

/// The shipped CronJob in a home namespace, with the two values set, and what a private CA and `more` need.
pub fn manifests(scene: &Scene, home: &str, more: &[(&str, &str)]) -> String {
    let mut cronjob = cronjob();
    cronjob["metadata"]["namespace"] = json!(home);
    // Its runs are those that a test starts, whatever the minute of the hour.
    cronjob["spec"]["schedule"] = json!("0 0 1 1 *");
    let pod = &mut cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    pod["volumes"] = json!([{"name": "authority", "configMap": {"name": "authority"}}]);
    let container = &mut pod["containers"][0];
    container["image"] = json!(image());
    container["imagePullPolicy"] = json!("Never");
    container["volumeMounts"] = json!([{"name": "authority", "mountPath": "/authority"}]);
    let environment = container["env"].as_array_mut().expect("variables");
    environment.retain(|variable| variable["name"] != "KUBE_LEGO_ONCE_DIRECTORY");
    let (http_port, https_port) = (cluster()["http_port"].to_string(), cluster()["https_port"].to_string());
    let always = [
        ("DIRECTORY", scene.pebble.directory.as_str()),
        ("CA_BUNDLE", "/authority/ca.pem"),
        ("PROFILE", "default"),
        ("PROBE_HTTP_PORT", &http_port),
        ("PROBE_HTTPS_PORT", &https_port),
    ];
    for (name, value) in always.iter().chain(more) {
        environment.push(json!({"name": format!("KUBE_LEGO_ONCE_{name}"), "value": value}));
    }
    let authority = fs::read_to_string(scene.pebble.authority_file()).expect("the CA's file");
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority", "namespace": home},
        "data": {"ca.pem": authority},
    });
    format!("{config}\n---\n{cronjob}\n")
}

/// The same in a scene's home namespace, for its Ingresses.
pub fn install(scene: &Scene) {
    scene.apply(&manifests(scene, &scene.home, &[("ANNOTATION", &scene.annotation)]));
}

/// A scene with the shipped CronJob and one Ingress, `a`, for `a.NAME.example` with `a-tls`. Nothing, and that is said, where
/// the test cluster runs no Pods.
pub fn one_due(name: &'static str, what: &str) -> Option<Scene> {
    has_nodes(what).then(|| due(Scene::new(name)))
}

/// The same with a CA that takes its time: whoever waits for an order can do something before it is fulfilled.
pub fn one_due_slowly(name: &'static str, what: &str) -> Option<Scene> {
    let slow = |config: &mut Value| config["pebble"]["retryAfter"] = json!({"authz": 4, "order": 4});
    has_nodes(what).then(|| due(Scene::with_authority(name, slow)))
}

fn due(scene: Scene) -> Scene {
    let name = scene.name;
    let namespace = scene.namespace("web");
    let host = format!("a.{name}.example");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &[&host]));
    install(&scene);
    scene
}

/// `kubectl create job --from`, as the README says.
pub fn start(scene: &Scene, name: &str) {
    kubectl(
        &[
            "create",
            "job",
            "-n",
            &scene.home,
            "--from=cronjob/kube-lego-once",
            name,
        ],
        "",
    );
}

/// Waits until the CA has an order of the Job, and stops it there.
fn pause_at_the_order(scene: &Scene, job: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while scene.pebble.count("Added order") == 0 {
        let about = || {
            kubectl(
                &["describe", "pods", "-n", &scene.home, "-l", &format!("job-name={job}")],
                "",
            )
        };
        assert!(Instant::now() < deadline, "no order:\n{}", about());
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.pebble.pause(true);
}

/// The name of a Job's Pod.
pub fn pod_of(scene: &Scene, job: &str) -> String {
    let label = format!("job-name={job}");
    kubectl(
        &[
            "get",
            "pods",
            "-n",
            &scene.home,
            "-l",
            &label,
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ],
        "",
    )
}

/// The addresses behind the challenge Service.
fn endpoints(scene: &Scene) -> Vec<Value> {
    let slices = kubectl(&["get", "endpointslices", "-n", &scene.home, "-o", "json"], "");
    let slices: Value = serde_json::from_str(&slices).expect("JSON");
    let slices = slices["items"].as_array().expect("slices").clone();
    let endpoints = slices
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    endpoints
        .filter(|endpoint| endpoint["conditions"]["ready"] != false)
        .collect()
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn its_job_issues_from_inside_a_pod() {
    let Some(scene) = one_due("by-cronjob", "the CronJob") else {
        return;
    };
    start(&scene, "now");
    let succeeded = scene.wait_for_job("now");
    let said = kubectl(&["logs", "-n", &scene.home, "job/now"], "");
    assert!(succeeded && said.contains("1 issued"), "{said}");
    https("a.by-cronjob.example", &scene.pebble.root());
    scene.assert_no_challenge_is_left();
    assert!(
        scene
            .requests()
            .iter()
            .any(|request| request.verb == "patch" && request.resource == "secrets")
    );

    start(&scene, "again");
    assert!(scene.wait_for_job("again"));
    let said = kubectl(&["logs", "-n", &scene.home, "job/again"], "");
    assert!(said.contains("0 due, 1 valid"), "{said}");
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn a_pod_that_is_deleted_in_mid_run_takes_its_objects_with_it() {
    let Some(scene) = one_due_slowly("deleted-pod", "a deleted Pod") else {
        return;
    };
    start(&scene, "first");
    pause_at_the_order(&scene, "first");
    kubectl(
        &[
            "delete",
            "pod",
            "-n",
            &scene.home,
            &pod_of(&scene, "first"),
            "--wait=true",
        ],
        "",
    );
    scene.assert_no_challenge_is_left();
    scene.pebble.pause(false);
    start(&scene, "second");
    let succeeded = scene.wait_for_job("second");
    let said = kubectl(&["logs", "-n", &scene.home, "job/second"], "");
    assert!(succeeded && said.contains("1 issued"), "{said}");
    scene.assert_no_challenge_is_left();
    https("a.deleted-pod.example", &scene.pebble.root());
}

/// What `kubectl drain` does to a Pod, without the node.
#[test]
#[ignore = "needs the test cluster with nodes"]
fn an_evicted_run_is_done_by_another_pod_of_the_same_job() {
    let Some(scene) = one_due_slowly("evicted-pod", "an evicted Pod") else {
        return;
    };
    start(&scene, "now");
    pause_at_the_order(&scene, "now");
    let pod = pod_of(&scene, "now");
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", scene.home);
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": scene.home, "name": pod},
    });
    kubectl(&["create", "--raw", &path, "-f", "-"], &eviction.to_string());
    kubectl(
        &["wait", "pod", &pod, "-n", &scene.home, "--for=delete", "--timeout=60s"],
        "",
    );
    scene.pebble.pause(false);
    assert!(scene.wait_for_job("now"), "{:#}", scene.get("job", &scene.home, "now"));
    let said = kubectl(&["logs", "-n", &scene.home, "job/now"], "");
    assert!(said.contains("1 issued"), "{said}");
    scene.assert_no_challenge_is_left();
    https("a.evicted-pod.example", &scene.pebble.root());
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn a_killed_pods_leftover_service_leads_nowhere() {
    let Some(scene) = one_due_slowly("killed-pod", "a killed Pod") else {
        return;
    };
    start(&scene, "first");
    pause_at_the_order(&scene, "first");
    assert_eq!(endpoints(&scene).len(), 1, "the Service selects the run's Pod");
    kill_the_program(&scene, &pod_of(&scene, "first"));
    assert!(!scene.wait_for_job("first"), "the Job failed");
    assert!(
        !scene.get("service", &scene.home, "kube-lego-once").is_null(),
        "nobody withdrew"
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    while !endpoints(&scene).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", endpoints(&scene));
        std::thread::sleep(Duration::from_millis(200));
    }
    scene.pebble.pause(false);
    start(&scene, "second");
    let succeeded = scene.wait_for_job("second");
    let said = kubectl(&["logs", "-n", &scene.home, "job/second"], "");
    assert!(succeeded && said.contains("1 issued"), "{said}");
    scene.assert_no_challenge_is_left();
    https("a.killed-pod.example", &scene.pebble.root());
}

/// The id of a Pod's container.
pub fn container_of(scene: &Scene, pod: &str) -> String {
    let path = "jsonpath={.status.containerStatuses[0].containerID}";
    let id = kubectl(&["get", "pod", pod, "-n", &scene.home, "-o", path], "");
    id.rsplit('/').next().expect("an id").to_owned()
}

/// SIGKILL to the process of a Pod, as an out-of-memory killer would.
fn kill_the_program(scene: &Scene, pod: &str) {
    let id = container_of(scene, pod);
    let text = |key: &str| cluster()[key].as_str().expect("text").to_owned();
    let output = Command::new(text("ctr"))
        .args([
            "-a",
            &text("containerd_socket"),
            "-n",
            "k8s.io",
            "tasks",
            "kill",
            "-s",
            "SIGKILL",
            &id,
        ])
        .output()
        .expect("ctr");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
