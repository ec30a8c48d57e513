//! `rbac.yaml` and `cronjob.yaml` as the API server sees them.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::scene::{Ran, Scene, cluster, cronjob, shipped};

/// What the API server says of an object without keeping it, fields that it does not know included.
fn validate(object: &Value) -> Ran {
    let state = |key: &str| cluster()[key].as_str().expect("text").to_owned();
    let mut child = Command::new(state("kubectl"))
        .args([
            "--kubeconfig",
            &state("kubeconfig"),
            "apply",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), object.to_string().as_bytes())
        .expect("kubectl reads");
    child.wait_with_output().expect("kubectl ends").into()
}

/// A Pod of the CronJob's template.
fn pod(cronjob: &Value) -> Value {
    let template = &cronjob["spec"]["jobTemplate"]["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = json!("from-the-template");
    metadata["namespace"] = cronjob["metadata"]["namespace"].clone();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

#[test]
#[ignore = "needs the test cluster"]
fn the_shipped_manifests_are_strictly_valid_and_run_under_restricted_pod_security() {
    // Its home namespace enforces and warns of `restricted`, as rbac.yaml makes it.
    let scene = Scene::new("shipped");
    let mut cronjob = cronjob();
    cronjob["metadata"]["namespace"] = json!(scene.home);
    for object in shipped().into_iter().chain([cronjob.clone()]) {
        let mut object = object;
        if object["metadata"]["namespace"].is_string() {
            object["metadata"]["namespace"] = json!(scene.home);
        }
        let said = validate(&object).exits(0);
        // kubectl's own advice about objects that it did not create is about this test's set-up.
        let warnings: Vec<_> = said
            .stderr
            .lines()
            .filter(|line| !line.contains("last-applied-configuration"))
            .collect();
        assert!(warnings.is_empty(), "{}: {warnings:?}", object["kind"]);
    }
    let admitted = validate(&pod(&cronjob)).exits(0);
    assert!(
        !admitted.stderr.contains("would violate PodSecurity"),
        "{}",
        admitted.stderr
    );

    let context = &mut cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["securityContext"];
    context
        .as_object_mut()
        .expect("a security context")
        .remove("runAsNonRoot");
    let warned = validate(&cronjob).exits(0);
    assert!(warned.stderr.contains("runAsNonRoot"), "{}", warned.stderr);
    let refused = validate(&pod(&cronjob)).exits(1);
    assert!(
        refused.stderr.contains("violates PodSecurity") && refused.stderr.contains("runAsNonRoot"),
        "{}",
        refused.stderr
    );
}
