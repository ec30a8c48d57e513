//! What the CA refused is remembered: a run that comes soon does not ask for the same again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::proxy::{Fate, Proxy};
use crate::repeated::runs;
use crate::scene::{Ran, Scene, decoded};

/// A CA whose validations all fail, since it asks at a port where nothing listens; the run's own probe goes to port 80.
fn scene_without_validations(name: &'static str) -> Scene {
    Scene::with_authority(name, |config| config["pebble"]["httpPort"] = json!(9))
}

fn attempts(scene: &Scene, namespace: &str) -> Value {
    let ledger = scene.get("secret", &scene.home, "kube-lego-once-ledger");
    match &ledger["data"][format!("attempts.{namespace}.a-tls")] {
        Value::Null => Value::Null,
        entry => serde_json::from_str(&decoded(entry)).expect("JSON"),
    }
}

#[test]
#[ignore = "needs the test cluster"]
fn a_hundred_runs_ask_a_ca_that_refuses_as_often_as_the_schedule_says() {
    const HOST: &str = "a.refusals.example";
    let runs = runs(20);
    let scene = scene_without_validations("refusals");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &[HOST]));
    let began = Instant::now();
    let first = scene.run(&[]).exits(1);
    assert!(first.stdout.contains("1 failed"), "{}", first.stdout);
    assert!(first.stderr.contains("is not tried again before"), "{}", first.stderr);
    for _ in 1..runs {
        let ran = scene.run(&[]).exits(1);
        assert!(ran.stdout.contains("BackingOff"), "{}", ran.stdout);
        assert!(ran.stdout.contains("0 valid, 1 waiting, 0 refused"), "{}", ran.stdout);
    }
    assert!(
        began.elapsed() < Duration::from_secs(600),
        "a second attempt was due meanwhile"
    );
    assert_eq!(scene.pebble.count("Added order"), 1, "of {runs} runs");
    println!("{runs} runs, 1 attempt");
    assert_ne!(
        scene.pebble.count("set INVALID"),
        0,
        "the words by which a failed validation is known"
    );

    let explained = scene
        .command("explain")
        .args(["a-tls", "-n", &namespace])
        .output()
        .expect("explain");
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(
        explained.contains("BackingOff") && explained.contains("the CA refused this certificate once"),
        "{explained}"
    );

    // The schedule's next attempt: ten minutes pass in the ledger.
    let mut entry = attempts(&scene, &namespace);
    let next: jiff::Timestamp = entry["next"].as_str().expect("a time").parse().expect("a time");
    let at: jiff::Timestamp = entry["at"].as_str().expect("a time").parse().expect("a time");
    assert!((600..=660).contains(&next.duration_since(at).as_secs()), "{entry}");
    entry["next"] = json!(at);
    scene.write_to_the_ledger(&format!("attempts.{namespace}.a-tls"), &entry.to_string());
    scene.run(&[]).exits(1);
    assert_eq!(scene.pebble.count("Added order"), 2);
    let entry = attempts(&scene, &namespace);
    assert_eq!(entry["count"], 2, "{entry}");
    assert!(!entry["problem"].as_str().unwrap_or_default().is_empty(), "{entry}");

    // Who names it is obeyed, and other hosts are another matter.
    scene.run(&["a-tls", "-n", &namespace, "--retry-now"]).exits(1);
    assert_eq!(scene.pebble.count("Added order"), 3);
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &[HOST, "b.refusals.example"]));
    scene.run(&[]).exits(1);
    assert_eq!(scene.pebble.count("Added order"), 4);
    assert_eq!(
        attempts(&scene, &namespace)["count"],
        1,
        "the old names' attempts are forgotten"
    );

    // What nobody asks for any more has no entry.
    crate::scene::kubectl(&["delete", "ingress", "a", "-n", &namespace], "");
    scene.run(&[]).exits(0);
    assert_eq!(attempts(&scene, &namespace), Value::Null);
    scene.assert_no_challenge_is_left();
}

#[test]
#[ignore = "needs the test cluster"]
fn what_ends_soon_is_renewed_without_the_host_that_does_not_answer() {
    const DEAD: &str = "dead.dropped.example";
    let scene = Scene::new("dropped");
    let namespace = scene.namespace("web");
    crate::scene::break_dns(DEAD);
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.dropped.example", DEAD]));
    let first = scene.run(&["--probe-timeout", "2s"]).exits(1);
    assert!(
        first.stdout.contains("0 issued, 1 failed"),
        "nothing to lose: {}",
        first.stdout
    );
    assert_eq!(scene.pebble.count("Added order"), 0);

    let annotation = json!({"annotations": {"kubernetes.io/tls-acme": "true"}});
    let expired = scene.expired_secret(&namespace, "a-tls", "a.dropped.example", annotation, json!({}));
    scene.apply(&expired.to_string());
    let ran = scene.run(&["--probe-timeout", "2s"]).exits(1);
    assert!(ran.stdout.contains("1 issued, 0 failed"), "{}", ran.stdout);
    let words = format!("HostDropped: it was renewed without `{DEAD}`");
    assert!(ran.stdout.contains(&words), "{}", ran.stdout);
    let events = crate::scene::kubectl(&["get", "events", "-n", &namespace], "");
    assert!(events.contains("HostDropped"), "{events}");

    // The new certificate has a whole lifetime: it waits until all hosts answer.
    let next = scene.run(&["--probe-timeout", "2s"]).exits(1);
    assert!(
        next.stdout.contains("HostNotCovered") && next.stdout.contains("0 issued, 1 failed"),
        "{}",
        next.stdout
    );
    assert_eq!(scene.pebble.count("Added order"), 1);
    scene.assert_nothing_is_left();
}

#[test]
#[ignore = "needs the test cluster"]
fn one_tenants_three_hundred_cost_another_tenants_ten_nothing() {
    let scene = Scene::new("ceiling");
    let (many, few) = (scene.namespace("many"), scene.namespace("few"));
    let of = |namespace: &str, count: usize| -> String {
        (0..count)
            .map(|n| {
                let host = format!("h{n}.{namespace}.example");
                scene.ingress(namespace, &format!("i{n}"), &format!("tls-{n}"), &[&host])
            })
            .collect()
    };
    scene.apply(&(of(&many, 300) + &of(&few, 10)));
    let ran = scene.run(&["--max-orders", "50"]).exits(0);
    let words = "310 certificates: 50 issued, 0 failed, 0 valid, 260 waiting, 0 refused";
    assert!(ran.stdout.contains(words), "{}", ran.stdout);
    assert_eq!(scene.pebble.count("Added order"), 50);
    let stored = |namespace: &str| {
        let secrets = scene.names("secrets", namespace);
        secrets.iter().filter(|name| name.starts_with("secret/tls-")).count()
    };
    assert_eq!((stored(&few), stored(&many)), (10, 40));
    scene.assert_nothing_is_left();
}

/// Let's Encrypt's words. Of a hundred new names it takes ten; no more than are under way at once learn that from it.
#[test]
#[ignore = "needs the test cluster"]
fn a_registered_domain_that_the_ca_calls_full_is_left_alone_until_the_time_that_it_says() {
    const FULL: &str = "too many certificates (50) already issued for \"limits.example\" in the last 168h0m0s, retry after 2099-01-02 03:04:05 UTC: see https://letsencrypt.org/docs/rate-limits/#new-certificates-per-registered-domain";
    let scene = Scene::new("limits");
    let namespace = scene.namespace("web");
    let ingress = |name: &str, host: &str| scene.ingress(&namespace, name, &format!("{name}-tls"), &[host]);
    let hundred = (0..100).map(|n| ingress(&format!("h{n}"), &format!("h{n}.limits.example")));
    scene.apply(&hundred.collect::<String>());
    let asked = Arc::new(AtomicUsize::new(0));
    let orders = Arc::clone(&asked);
    let proxy = Proxy::before_the_ca(&scene, move |request| match request.kind.as_str() {
        "POST order-plz" if orders.fetch_add(1, Ordering::Relaxed) >= 10 => Fate::Limited(FULL),
        _ => Fate::Pass,
    });
    let run = |arguments: &[&str]| {
        let mut run = scene.command("run");
        run.env("KUBE_LEGO_ONCE_DIRECTORY", &proxy.url).args(arguments);
        Ran::from(run.output().expect("the program"))
    };

    // Pebble refuses a nonce now and then, and the same is asked once more.
    let first = run(&[]).exits(1);
    let stored = scene.names("secrets", &namespace);
    let issued = stored.len();
    assert!((5..=10).contains(&issued), "{first:?}");
    let held = "the CA has issued enough certificates for new names under `limits.example` for now, and takes the next order at 2";
    assert!(first.stdout.contains(held), "{first:?}");
    let asked_first = asked.swap(0, Ordering::Relaxed);
    println!("{asked_first} orders were asked for, for 100 certificates of which {issued} are issued");
    assert!(asked_first < 60, "{asked_first}");

    scene.apply(&ingress("other", "a.unlimited.example"));
    let second = run(&[]).exits(1);
    let waiting = 100 - issued;
    let words = format!("101 certificates: 1 issued, 0 failed, {issued} valid, {waiting} waiting, 0 refused");
    assert!(second.stdout.contains(&words), "{second:?}");
    assert!(asked.swap(0, Ordering::Relaxed) <= 3, "the other domain's alone");

    // What somebody names is asked for all the same; the CA takes it by now.
    let missing = (0..100)
        .map(|n| format!("h{n}-tls"))
        .find(|name| !stored.contains(&format!("secret/{name}")));
    let missing = missing.expect("one that waits");
    let ran = run(&[&missing, "-n", &namespace, "--retry-now"]).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{ran:?}");
    scene.assert_nothing_is_left();
}
