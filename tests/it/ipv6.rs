//! Certificates on a cluster that has IPv6 addresses: no others, or beside IPv4.

use std::process::Child;

use serde_json::json;

use crate::scene::{Ran, Scene, cluster};

/// The CA asks at the IPv6 address (Pebble asks at no other one where there is an AAAA record), and the controller asks a responder that listens on nothing else.
#[test]
#[ignore = "needs the test cluster"]
fn a_certificate_is_issued_over_ipv6() {
    let Some(address) = cluster()["address6"].as_str() else {
        eprintln!("SKIPPED: this cluster has IPv4 only (`tests/cluster/cluster run --ip-family ipv6`, or `dual`)");
        return;
    };
    let families = match cluster()["ip_family"].as_str() {
        Some("dual") => json!(["IPv4", "IPv6"]),
        _ => json!(["IPv6"]),
    };
    let scene = Scene::new("six");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.six.example"]));
    let running: Child = scene.start_and_pause_the_authority();
    let service = scene.get("service", &scene.home, "kube-lego-once");
    assert_eq!(service["spec"]["ipFamilies"], families);
    let slice = scene.get("endpointslice", &scene.home, "kube-lego-once");
    assert_eq!(slice["addressType"], "IPv6");
    assert_eq!(slice["endpoints"][0]["addresses"], json!([address]));
    scene.pebble.pause(false);
    let ran = Ran::from(running.wait_with_output().expect("the program")).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{}", ran.stdout);
    scene.assert_nothing_is_left();
}
