//! The main job on a real API server, through a real ingress controller, with a real CA.

use std::collections::BTreeSet;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scene::{Ran, Scene, break_dns, cluster, decoded, eventually, kubectl};

/// 20 Ingresses in 5 namespaces with 20 hosts. The last two share a Secret, and host 0 is dead.
fn twenty(scene: &Scene) -> Vec<(String, String, String)> {
    let namespaces: Vec<_> = (0..5).map(|n| scene.namespace(&format!("n{n}"))).collect();
    let mut manifests = String::new();
    let mut wanted = Vec::new();
    for n in 0..20 {
        let namespace = &namespaces[n % 5];
        let host = format!("h{n}.{}.example", scene.name);
        // 14 and 19 are in the same namespace.
        let secret = if n == 19 {
            "tls-14".to_owned()
        } else {
            format!("tls-{n}")
        };
        manifests.push_str(&scene.ingress(namespace, &format!("web-{n}"), &secret, &[&host]));
        wanted.push((namespace.clone(), secret, host));
    }
    scene.apply(&manifests);
    break_dns(&wanted[0].2);
    wanted
}

#[test]
#[ignore = "needs the test cluster"]
fn twenty_ingresses_one_dead_host_and_then_nothing_to_do() {
    let scene = Scene::new("twenty");
    let wanted = twenty(&scene);

    let first = scene.run(&[]).exits(1);
    assert!(
        first
            .stdout
            .contains("19 certificates: 18 issued, 1 failed, 0 valid, 0 refused"),
        "{}",
        first.stdout
    );
    assert!(
        first.stdout.contains(&format!("`{}`", wanted[0].2)),
        "the dead host is named:\n{}",
        first.stdout
    );

    let stored: BTreeSet<_> = wanted[1..]
        .iter()
        .map(|(namespace, secret, _)| (namespace, secret))
        .collect();
    assert_eq!(stored.len(), 18);
    let root = scene.pebble.root();
    for (namespace, secret, host) in &wanted[1..] {
        assert_eq!(
            scene.get("secret", namespace, secret)["type"],
            "kubernetes.io/tls",
            "{namespace}/{secret}"
        );
        https(host, &root);
    }
    assert_eq!(
        scene.get("secret", &wanted[0].0, &wanted[0].1),
        Value::Null,
        "nothing is stored for the dead host"
    );
    assert_eq!(
        scene.pebble.count("Added order"),
        18,
        "an order a certificate, none for the dead host"
    );
    assert_eq!(
        scene.pebble.count(&wanted[0].2),
        0,
        "the CA never heard of the dead host"
    );
    scene.assert_nothing_is_left();

    kubectl(&["delete", "ingress", "web-0", "-n", &wanted[0].0], "");
    let before = scene.requests().len();
    let second = scene.run(&[]).exits(0);
    assert!(
        second.stdout.contains("18 certificates: 0 due, 18 valid, 0 refused"),
        "{}",
        second.stdout
    );
    let since = scene.requests().split_off(before);
    assert!(
        since
            .iter()
            .any(|request| request.verb == "list" && request.resource == "ingresses"),
        "the audit log has this run: {since:?}"
    );
    let written: Vec<_> = since.iter().filter(|request| request.writes()).collect();
    assert!(
        written.is_empty(),
        "a run with nothing to do writes nothing: {written:?}"
    );
    assert_eq!(scene.pebble.count("Added order"), 18);
}

#[test]
#[ignore = "needs the test cluster"]
fn foreign_keys_labels_and_annotations_survive_a_renewal() {
    let scene = Scene::new("survive");
    let namespace = scene.namespace("web");
    let host = "a.survive.example";
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &[host]));
    let more = json!({"labels": {"team": "web"}, "annotations": {"note": "mine"}});
    let secret = scene.expired_secret(&namespace, "a-tls", host, more, json!({"ca.crt": "theirs"}));
    scene.apply(&secret.to_string());

    let ran = scene.run(&[]).exits(0);
    assert!(ran.stdout.contains("issued   Expired"), "{}", ran.stdout);
    let stored = scene.get("secret", &namespace, "a-tls");
    assert_eq!(stored["metadata"]["labels"]["team"], "web");
    assert_eq!(stored["metadata"]["annotations"]["note"], "mine");
    assert_eq!(stored["metadata"]["annotations"]["kubernetes.io/tls-acme"], "true");
    assert_eq!(stored["data"]["ca.crt"], "dGhlaXJz");
    assert!(stored["metadata"]["annotations"]["kube-lego-once.dev/issued-by"].is_string());
    https(host, &scene.pebble.root());
    scene.run(&[]).exits(0);
    assert_eq!(scene.pebble.count("Added order"), 1);
}

#[test]
#[ignore = "needs the test cluster"]
fn what_somebody_changes_meanwhile_is_not_overwritten_but_labels_are_no_matter() {
    // Nothing is validated: a CA that stands still while it asks DNS loses the answer.
    let scene = Scene::with_authority("meddle", |config| {
        config["environment"] = json!({"PEBBLE_VA_ALWAYS_VALID": "1"})
    });
    let namespace = scene.namespace("web");
    let mut manifests = String::new();
    for name in ["type", "marker", "crt", "key", "deleted", "label"] {
        let host = format!("{name}.meddle.example");
        manifests.push_str(&scene.ingress(&namespace, name, name, &[&host]));
        let secret = scene.expired_secret(&namespace, name, &host, json!({}), json!({}));
        manifests.push_str(&format!("---\n{secret}\n"));
    }
    scene.apply(&manifests);

    let running = scene.start_and_pause_the_authority();
    let patch = |name: &str, patch: &Value| {
        kubectl(
            &[
                "patch",
                "secret",
                name,
                "-n",
                &namespace,
                "--type=merge",
                "-p",
                &patch.to_string(),
            ],
            "",
        );
    };
    patch(
        "marker",
        &json!({"metadata": {"annotations": {"kube-lego-once.dev/issued-by": "theirs"}}}),
    );
    patch("crt", &json!({"stringData": {"tls.crt": "theirs"}}));
    patch("key", &json!({"stringData": {"tls.key": "theirs"}}));
    patch("label", &json!({"metadata": {"labels": {"new": "label"}}}));
    kubectl(&["delete", "secret", "type", "deleted", "-n", &namespace], "");
    kubectl(
        &[
            "create",
            "secret",
            "generic",
            "type",
            "-n",
            &namespace,
            "--from-literal=theirs=1",
        ],
        "",
    );
    let changed = |name: &str| scene.get("secret", &namespace, name)["metadata"]["resourceVersion"].clone();
    let before: Vec<_> = ["type", "marker", "crt", "key"].map(changed).into();
    scene.pebble.pause(false);

    let ran = Ran::from(running.wait_with_output().expect("the program ends")).exits(1);
    assert!(
        ran.stdout.contains("6 certificates: 1 issued, 5 failed"),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.stdout.matches("was left alone").count(), 5, "{}", ran.stdout);
    let after: Vec<_> = ["type", "marker", "crt", "key"].map(changed).into();
    assert_eq!(before, after, "what somebody changed is as they left it");
    assert_eq!(
        scene.get("secret", &namespace, "deleted"),
        Value::Null,
        "what somebody deleted stays so"
    );
    assert_eq!(
        scene.get("secret", &namespace, "label")["metadata"]["labels"]["new"],
        "label"
    );
    https("label.meddle.example", &scene.pebble.root());

    // Issued and not stored: the key, the order's URL and the certificate are in the ledger (I7).
    let ledger = scene.get("secret", &scene.home, "kube-lego-once-ledger");
    let entries: Vec<_> = ledger["data"].as_object().expect("entries").keys().cloned().collect();
    let pending = |name: &str| format!("pending.{namespace}.{name}");
    assert_eq!(entries, ["crt", "deleted", "key", "marker", "type"].map(pending));
    scene.assert_nothing_is_left();

    // What is due all the same gets the certificate that was kept for it; a Secret of another type takes none.
    let again = scene.run(&[]).exits(0);
    let summary = "6 certificates: 4 issued, 0 failed, 1 valid, 1 refused";
    assert!(again.stdout.contains(summary), "{}", again.stdout);
    assert_eq!(scene.pebble.count("Added order"), 6, "nothing was ordered twice");
    https("deleted.meddle.example", &scene.pebble.root());
    let ledger = scene.get("secret", &scene.home, "kube-lego-once-ledger");
    let entries: Vec<_> = ledger["data"].as_object().expect("entries").keys().cloned().collect();
    assert_eq!(entries, [pending("type")]);
}

/// As many hosts as an order may have: the CA asks for all of them at once, each three times.
#[test]
#[ignore = "needs the test cluster"]
fn a_certificate_of_a_hundred_hosts_is_issued() {
    let scene = Scene::new("hundred");
    let namespace = scene.namespace("web");
    let hosts: Vec<String> = (0..100).map(|n| format!("h{n}.hundred.example")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &hosts));
    let ran = scene.run(&[]).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{}", ran.stdout);
    https("h99.hundred.example", &scene.pebble.root());
    scene.assert_nothing_is_left();
}

#[test]
#[ignore = "needs the test cluster"]
fn a_killed_run_is_swept_by_the_next_and_by_clean() {
    let scene = Scene::new("killed");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.killed.example"]));
    let mut running = scene.start_and_pause_the_authority();
    running.kill().expect("SIGKILL");
    running.wait().expect("it is dead");
    scene.pebble.pause(false);
    assert!(
        !scene.names("ingresses", &scene.home).is_empty(),
        "there is something to sweep"
    );
    // The dead run holds the Lease until it expires: nobody else may judge that it is dead.
    let cleaned = Ran::from(scene.command("clean").output().expect("the program")).exits(0);
    assert!(cleaned.stdout.contains("removed Ingress"), "{}", cleaned.stdout);
    scene.assert_nothing_is_left();

    let ran = scene.run(&[]).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{}", ran.stdout);
    scene.assert_nothing_is_left();
}

#[test]
#[ignore = "needs the test cluster"]
fn the_order_of_a_killed_run_is_taken_up_by_the_next() {
    let scene = Scene::new("resumed");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.resumed.example"]));
    let mut running = scene.start_and_pause_the_authority_at("POST /finalize-order");
    running.kill().expect("SIGKILL");
    running.wait().expect("it is dead");
    scene.pebble.pause(false);
    assert_eq!(
        scene.get("secret", &namespace, "a-tls"),
        Value::Null,
        "nothing is stored yet"
    );

    let foreseen = scene.run(&["--dry-run", "-o", "json"]).exits(0);
    assert!(
        foreseen.stdout.contains("this run continues the order"),
        "{}",
        foreseen.stdout
    );
    // That its order cannot be asked for now is no reason to give the key up: nothing listens at port 1.
    let key = format!("pending.{namespace}.a-tls");
    let ledger = || scene.get("secret", &scene.home, "kube-lego-once-ledger")["data"][&key].clone();
    let before = ledger();
    let mut entry: Value = serde_json::from_str(&decoded(&before)).expect("an entry");
    entry["order"] = "https://127.0.0.1:1/my-order/none".into();
    scene.write_to_the_ledger(&key, &entry.to_string());
    let unanswered = scene.run(&[]).exits(1);
    for words in [
        "Connection refused",
        "the next run asks the CA about this same order again",
    ] {
        assert!(unanswered.stdout.contains(words), "{unanswered:?}");
    }
    assert_eq!(decoded(&ledger()), entry.to_string());
    scene.write_to_the_ledger(&key, &decoded(&before));

    let ran = scene.run(&[]).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{}", ran.stdout);
    assert_eq!(scene.pebble.count("Added order"), 1, "and not a second one");
    https("a.resumed.example", &scene.pebble.root());
    let ledger = scene.get("secret", &scene.home, "kube-lego-once-ledger");
    assert!(!ledger["data"].to_string().contains("pending."), "{}", ledger["data"]);
    scene.assert_nothing_is_left();
}

#[test]
#[ignore = "needs the test cluster"]
fn a_run_that_is_told_to_stop_cleans_up_within_ten_seconds() {
    let scene = Scene::new("stopped");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.stopped.example"]));
    let running = scene.start_and_pause_the_authority();
    let asked = Instant::now();
    let status = Command::new("kill")
        .args(["-TERM", &running.id().to_string()])
        .status()
        .expect("kill");
    assert!(status.success());
    let ran = Ran::from(running.wait_with_output().expect("the program ends")).exits(1);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(
        ran.stdout.contains("1 certificate: 0 issued, 1 failed"),
        "{}",
        ran.stdout
    );
    scene.assert_nothing_is_left();
}

#[test]
#[ignore = "needs the test cluster"]
fn a_second_signal_ends_the_run_at_once() {
    let scene = Scene::new("impatient");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.impatient.example"]));
    let running = scene.start_and_pause_the_authority();
    let asked = Instant::now();
    let interrupt = || {
        Command::new("kill")
            .args(["-INT", &running.id().to_string()])
            .status()
            .expect("kill")
    };
    // `timeout` sends one twice.
    assert!(interrupt().success());
    std::thread::sleep(Duration::from_millis(50));
    assert!(interrupt().success());
    std::thread::sleep(Duration::from_millis(700));
    assert!(interrupt().success());
    let ran = Ran::from(running.wait_with_output().expect("the program ends")).exits(130);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert!(
        ran.stderr.contains("a second signal ends the run without cleaning up"),
        "{}",
        ran.stderr
    );
    scene.pebble.pause(false);
}

#[test]
#[ignore = "needs the test cluster"]
fn a_run_that_waits_for_the_lease_can_be_stopped() {
    let scene = Scene::new("waiting");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.waiting.example"]));
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "kube-lego-once", "namespace": scene.home},
        "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 30, "renewTime": "2026-01-01T00:00:00.000000Z"},
    });
    scene.apply(&lease.to_string());
    let mut waiting = scene.start();
    let said = wait_until_said(&mut waiting, "waiting for the Lease");
    let status = Command::new("kill")
        .args(["-TERM", &waiting.id().to_string()])
        .status()
        .expect("kill");
    assert!(status.success());
    Ran::from(waiting.wait_with_output().expect("the program ends")).exits(2);
    let said = said.join().expect("the reader ends");
    assert!(said.contains("stopped while waiting for the Lease"), "{said}");
    assert_eq!(scene.pebble.count("Added order"), 0);
    kubectl(&["delete", "lease", "kube-lego-once", "-n", &scene.home], "");
    scene.assert_nothing_is_left();
}

/// Waits until a child has said something on stderr; the rest of what it says is read to its end meanwhile.
fn wait_until_said(child: &mut Child, words: &'static str) -> JoinHandle<String> {
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        said.push_str(&line.expect("text"));
        said.push('\n');
        if said.contains(words) {
            break;
        }
    }
    assert!(said.contains(words), "{said}");
    std::thread::spawn(move || lines.map(|line| line.expect("text") + "\n").collect())
}

#[test]
#[ignore = "needs the test cluster"]
fn owners_are_told_by_events_and_of_a_refusal_only_once() {
    let scene = Scene::new("told");
    let namespace = scene.namespace("web");
    let hosts = [
        ("good", "good.told.example"),
        ("dead", "dead.told.example"),
        ("wild", "*.told.example"),
    ];
    for (name, host) in hosts {
        scene.apply(&scene.ingress(&namespace, name, name, &[host]));
    }
    break_dns("dead.told.example");
    let told = || {
        let events = kubectl(&["get", "events.events.k8s.io", "-n", &namespace, "-o", "json"], "");
        let events: Value = serde_json::from_str(&events).expect("JSON");
        let mut told = Vec::new();
        for event in events["items"].as_array().expect("Events") {
            // The ingress controller has things to say too.
            if event["reportingController"] == "kube-lego-once.dev/kube-lego-once" {
                let text = |field: &Value| field.as_str().expect("text").to_owned();
                told.push(format!(
                    "{} {}",
                    text(&event["regarding"]["name"]),
                    text(&event["reason"])
                ));
            }
        }
        told.sort();
        told
    };

    scene.run(&[]).exits(1);
    assert_eq!(told(), ["dead Failed", "good Issued", "wild Refused"]);
    let described = kubectl(&["describe", "ingress", "wild", "-n", &namespace], "");
    assert!(described.contains("WildcardHost: host `*.told.example`"), "{described}");

    let second = scene.run(&[]).exits(1);
    assert_eq!(told(), ["dead Failed", "dead Failed", "good Issued", "wild Refused"]);
    assert!(!second.stderr.contains("Events"), "{}", second.stderr);
}

/// Asks a host through the ingress controller, trusting this test's CA alone.
#[track_caller]
pub fn https(host: &str, root: &std::path::Path) {
    let port = &cluster()["https_port"];
    let address = cluster()["address"].as_str().expect("an address");
    let resolve = format!("{host}:{port}:{address}");
    let url = format!("https://{host}:{port}/");
    let root = root.to_str().expect("a path");
    // The controller takes up a new Secret a moment after it is stored, the first of all with a new listener.
    let page = eventually(&["-sS", "--max-time", "5", "--cacert", root, "--resolve", &resolve, &url]);
    assert!(page.starts_with("hello from "), "{page}");
}
