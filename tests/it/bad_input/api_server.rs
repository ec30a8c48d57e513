//! The API server refuses: a quota, an admission policy, a missing right.

use serde_json::json;

use super::row::{due, row};
use crate::quota::set_quota;
use crate::scene::{Scene, kubectl, rights_without};

#[test]
#[ignore = "needs the test cluster"]
fn what_the_api_server_does_not_take() {
    let (scene, namespace) = due("refusing");
    for (name, namespace, resource, status, words) in [
        (
            "a full quota on the owner's Secrets",
            &namespace,
            "secrets",
            1,
            "the Secret could not be stored",
        ),
        (
            "a full quota on Services at home",
            &scene.home,
            "services",
            2,
            "could not create Service",
        ),
        (
            "a full quota on Ingresses at home",
            &scene.home,
            "count/ingresses.networking.k8s.io",
            1,
            "the challenge object could not be made, and without it the CA's request cannot reach this run",
        ),
    ] {
        set_quota(&scene, namespace, resource, "0", "0");
        let what_to_do = format!("`kubectl describe resourcequota -n {namespace} full`");
        row(
            &scene,
            name,
            &mut scene.command("run"),
            status,
            &["exceeded quota", words, &what_to_do],
        );
        kubectl(&["delete", "resourcequota", "full", "-n", namespace], "");
    }

    // One host is refused, in the challenge Ingress only; the others are not held up.
    scene.apply(&scene.ingress(&namespace, "b", "b-tls", &["b.refusing.example"]));
    scene.apply(&scene.ingress(&namespace, "c", "c-tls", &["c.refusing.example"]));
    scene.apply(&policy(&scene));
    let mut ran = scene.run(&[]);
    for _ in 0..50 {
        // A policy counts a moment after it is made; the certificates are made due again until it does.
        if ran.status == 1 {
            break;
        }
        kubectl(&["delete", "secret", "-n", &namespace, "a-tls", "b-tls", "c-tls"], "");
        ran = scene.run(&[]);
    }
    let ran = ran.exits(1);
    assert!(ran.stdout.contains("2 issued, 1 failed"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("b.refusing.example is not welcome"),
        "{}",
        ran.stdout
    );
    assert_eq!(scene.pebble.count("b.refusing.example is"), 0);
    scene.assert_nothing_is_left();
}

/// Refuses challenge Ingresses of a scene that have the host `b.refusing.example`.
fn policy(scene: &Scene) -> String {
    let name = &scene.home;
    let expression = "!has(object.spec.rules) || !object.spec.rules.exists(rule, has(rule.host) && rule.host == 'b.refusing.example')";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["ingresses"]}]},
            "validations": [{"expression": expression, "message": "b.refusing.example is not welcome"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}},
    });
    format!("{policy}\n---\n{binding}\n")
}

/// Every right without which something cannot happen is taken away once, on its own; the others are notes.
#[test]
#[ignore = "needs the test cluster"]
fn each_missing_right_is_named() {
    let scene = Scene::new("denied-rights");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.denied-rights.example"]));
    let secret = scene.expired_secret(&namespace, "old-tls", "old.denied-rights.example", json!({}), json!({}));
    for (role, group, resource, verb, status) in [
        ("ClusterRole", "networking.k8s.io", "ingresses", "list", 2),
        // While there is no Lease yet.
        ("Role", "coordination.k8s.io", "leases", "create", 2),
        ("ClusterRole", "", "secrets", "get", 1),
        ("ClusterRole", "", "secrets", "create", 1),
        ("ClusterRole", "", "secrets", "patch", 1),
        ("Role", "", "secrets", "create", 2),
        ("Role", "", "secrets", "get", 2),
        ("Role", "", "secrets", "patch", 2),
        ("Role", "coordination.k8s.io", "leases", "get", 2),
        ("Role", "coordination.k8s.io", "leases", "update", 2),
        ("Role", "", "endpoints", "list", 2),
        ("Role", "discovery.k8s.io", "endpointslices", "list", 2),
        ("Role", "networking.k8s.io", "ingresses", "list", 2),
        ("Role", "networking.k8s.io", "ingresses", "create", 2),
        ("Role", "networking.k8s.io", "ingresses", "delete", 2),
        ("Role", "", "services", "list", 2),
        ("Role", "", "services", "create", 2),
        ("Role", "", "services", "delete", 2),
        ("Role", "", "endpoints", "create", 2),
        ("Role", "", "endpoints", "delete", 2),
        ("Role", "discovery.k8s.io", "endpointslices", "create", 2),
        ("Role", "discovery.k8s.io", "endpointslices", "delete", 2),
    ] {
        // In single namespaces, so that the home Role alone gives what is in it.
        scene.grant(&rights_without(role, group, resource, verb), &namespace);
        let patch = (role, verb) == ("ClusterRole", "patch");
        if patch {
            scene.apply(&scene.ingress(&namespace, "old", "old-tls", &["old.denied-rights.example"]));
            scene.apply(&secret.to_string());
        }
        let name = format!("no right to {verb} {resource} by the {role}");
        let mut command = scene.command("run");
        command.args(["-n", &namespace]);
        if patch {
            command.arg("old-tls");
        }
        row(
            &scene,
            &name,
            &mut command,
            status,
            &[&format!("cannot {verb} resource \"{resource}\"")],
        );
    }
}
