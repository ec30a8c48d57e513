//! The CA's question does not reach the challenge responder.

use std::net::TcpListener;

use serde_json::json;

use super::row::{due, refusing, row};
use crate::scene::{Scene, kubectl};

#[test]
#[ignore = "needs the test cluster"]
fn the_way_of_the_challenge() {
    let (scene, _) = due("challenge");
    let taken = TcpListener::bind("0.0.0.0:0").expect("a listener");
    let address = taken.local_addr().expect("an address").to_string();
    let with = |key: &str, value: &str| {
        let mut command = scene.command("run");
        command.env(key, value);
        command
    };
    row(
        &scene,
        "no address",
        scene.command("run").env_remove("KUBE_LEGO_ONCE_ADVERTISE_ADDRESS"),
        2,
        &["--advertise-address"],
    );
    row(
        &scene,
        "a listen port that is taken",
        &mut with("KUBE_LEGO_ONCE_LISTEN", &address),
        2,
        &[&address, "--listen"],
    );
    row(
        &scene,
        "an address that EndpointSlices refuse",
        &mut with("KUBE_LEGO_ONCE_ADVERTISE_ADDRESS", "127.0.0.1"),
        2,
        &["127.0.0.1", "--advertise-address"],
    );
    let mut resolver = with("KUBE_LEGO_ONCE_RESOLVER", &refusing());
    row(
        &scene,
        "a resolver that is down",
        resolver.env("KUBE_LEGO_ONCE_PROBE_TIMEOUT", "12s"),
        1,
        &["no order was made"],
    );
    let mut port = with(
        "KUBE_LEGO_ONCE_PROBE_HTTP_PORT",
        refusing().rsplit(':').next().expect("a port"),
    );
    row(
        &scene,
        "nobody listens where the host leads",
        port.env("KUBE_LEGO_ONCE_PROBE_TIMEOUT", "2s"),
        1,
        &["no order was made", "is the controller's own address", "(hairpin)"],
    );
    drop(taken);

    let foreign = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "kube-lego-once-contour", "namespace": scene.home},
        "spec": {"defaultBackend": {"service": {"name": "theirs", "port": {"number": 80}}}},
    });
    scene.apply(&foreign.to_string());
    let ran = scene.run(&[]).exits(2);
    assert!(ran.stderr.contains("is not ours"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: `kubectl delete ingress"), "{}", ran.stderr);
    kubectl(&["delete", "ingress", "kube-lego-once-contour", "-n", &scene.home], "");
    scene.assert_nothing_is_left();
}

#[test]
#[ignore = "needs the test cluster"]
fn a_controller_that_does_not_route() {
    let scene = Scene::new("unrouted");
    let namespace = scene.namespace("web");
    let ingress = scene
        .ingress(&namespace, "a", "a-tls", &["a.unrouted.example"])
        .replace("\"contour\"", "\"nobody\"");
    scene.apply(&ingress);
    let mut command = scene.command("run");
    command.env("KUBE_LEGO_ONCE_PROBE_TIMEOUT", "3s");
    row(
        &scene,
        "a class that nobody serves",
        &mut command,
        1,
        &["a.unrouted.example", "404"],
    );
}
