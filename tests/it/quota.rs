//! A namespace's quota that has room for some of the Secrets that are due there.

use serde_json::{Value, json};

use crate::scene::{Scene, kubectl};

/// Sets a quota and what it counts: without nodes no controller manager runs, which would count.
pub fn set_quota(scene: &Scene, namespace: &str, resource: &str, hard: &str, used: &str) {
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full", "namespace": namespace},
        "spec": {"hard": {resource: hard}},
    });
    scene.apply(&quota.to_string());
    let status = json!({"status": {"hard": {resource: hard}, "used": {resource: used}}}).to_string();
    let quota = [
        "patch",
        "resourcequota",
        "full",
        "-n",
        namespace,
        "--subresource=status",
    ];
    kubectl(&[quota.as_slice(), &["--type=merge", "-p", &status]].concat(), "");
}

#[test]
#[ignore = "needs the test cluster"]
fn what_does_not_fit_into_a_quota_is_not_ordered() {
    let scene = Scene::new("quota");
    let namespace = scene.namespace("web");
    let ingresses = (0..3).map(|n| {
        let host = format!("h{n}.quota.example");
        scene.ingress(&namespace, &format!("web-{n}"), &format!("tls-{n}"), &[&host])
    });
    scene.apply(&ingresses.collect::<String>());
    set_quota(&scene, &namespace, "count/secrets", "5", "3");
    let ran = scene.run(&[]).exits(1);
    assert!(
        ran.stdout.contains("3 certificates: 2 issued, 1 failed"),
        "{}",
        ran.stdout
    );
    let words = "the quota `full` has no room for all 3 Secrets that are due in namespace `quota-web`";
    assert!(ran.stdout.contains(words), "{}", ran.stdout);
    assert!(
        ran.stdout
            .contains("`kubectl describe resourcequota -n quota-web full`"),
        "{}",
        ran.stdout
    );
    assert_eq!(scene.pebble.count("Added order"), 2);
    assert_eq!(scene.get("secret", &namespace, "tls-2"), Value::Null);
    scene.assert_nothing_is_left();
}
