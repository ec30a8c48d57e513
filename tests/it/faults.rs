//! An API server in trouble, and runs that are killed at each of their requests: nothing is lost, doubled or left.

mod proxy;

use std::collections::HashSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::five::{AT_A_TIME, CERTIFICATES, Figures, each, scene};
use crate::scene::Scene;
use proxy::{Fate, Proxy};

/// A kubeconfig that leads to the proxy.
fn lead_to(scene: &Scene, proxy: &Proxy) -> std::path::PathBuf {
    let path = scene.kubeconfig().with_extension("proxy");
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": proxy.url}}],
        "contexts": [{"name": "test", "context": {"cluster": "test"}}],
    });
    std::fs::write(&path, config.to_string()).expect("a kubeconfig");
    path
}

/// Each kind of request has its fault once; the run still does all of its work.
#[test]
#[ignore = "needs the test cluster"]
fn each_fault_at_each_kind_of_request_costs_no_certificate() {
    let faults = [
        ("500", Fate::Refused(500)),
        ("502", Fate::Refused(502)),
        ("503", Fate::Refused(503)),
        ("429", Fate::Refused(429)),
        ("409", Fate::Refused(409)),
        ("reset", Fate::Reset),
        ("reset-after", Fate::ResetAfter),
        ("truncated", Fate::Truncated),
        ("garbled", Fate::Garbled),
        ("delayed", Fate::Delayed(Duration::from_secs(1))),
    ];
    let lines = each(&faults, 5, |(name, fate)| with_fault(name, *fate));
    println!(
        "| fault, once at each kind of request | kinds | certificates stored | status | time |\n|---|---|---|---|---|"
    );
    let (rows, failures): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
    println!("{}", rows.join("\n"));
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn with_fault(name: &str, fate: Fate) -> (String, Option<String>) {
    let (scene, namespace) = scene(format!("fault-{name}"));
    let (told, kinds) = mpsc::channel();
    let mut seen = HashSet::new();
    let proxy = Proxy::start(&scene, move |asked| {
        // A read conflicts with nothing.
        let applies = fate != Fate::Refused(409) || !asked.kind.starts_with("GET");
        if applies && seen.insert(asked.kind.clone()) {
            let _ = told.send(asked.kind.clone());
            return fate;
        }
        Fate::Pass
    });
    let began = Instant::now();
    let output = scene.command("run").env("KUBECONFIG", lead_to(&scene, &proxy)).output();
    let output = output.expect("the program");
    let took = began.elapsed();
    let Figures {
        stored, objects: left, ..
    } = Figures::of(&scene, &namespace);
    let kinds: Vec<String> = kinds.try_iter().collect();
    let status = output.status.code().unwrap_or(-1);
    let row = format!(
        "| {name} | {} | {stored} of {CERTIFICATES} | {status} | {:.1} s |",
        kinds.len(),
        took.as_secs_f64()
    );
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let good = stored == CERTIFICATES
        && status == 0
        && left == 0
        && kinds.len() >= if fate == Fate::Refused(409) { 8 } else { 15 };
    let failure = (!good).then(|| format!("{row}\n{left} objects left; faults at {kinds:?}\n{stderr}"));
    (row, failure)
}

/// `CUTS=all` kills before and after each request of a run; without it a sample.
#[test]
#[ignore = "needs the test cluster"]
fn whichever_request_a_run_is_killed_at_the_next_one_finishes() {
    let whole = requests_of_a_run();
    let step = match std::env::var("CUTS").as_deref() {
        Ok("all") => 1,
        _ => whole / 5,
    };
    let cuts: Vec<(usize, Fate)> = (0..whole)
        .step_by(step)
        .flat_map(|number| [(number, Fate::Silent), (number, Fate::SilentAfter)])
        .collect();
    let (issued, failures): (Vec<_>, Vec<_>) = each(&cuts, AT_A_TIME, |(number, fate)| cut(*number, *fate))
        .into_iter()
        .unzip();
    let certificates: usize = issued.iter().sum();
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    println!(
        "{} cut points of {whole} requests: {certificates} certificates issued for {} wanted, {} failures",
        cuts.len(),
        cuts.len() * CERTIFICATES,
        failures.len()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn requests_of_a_run() -> usize {
    let (scene, _) = scene("cuts".into());
    let (told, count) = mpsc::channel();
    let proxy = Proxy::start(&scene, move |_| {
        let _ = told.send(());
        Fate::Pass
    });
    let output = scene.command("run").env("KUBECONFIG", lead_to(&scene, &proxy)).output();
    assert!(output.expect("the program").status.success());
    count.try_iter().count()
}

/// Kills a run at a request, and runs again. How many certificates the CA issued, and what is wrong.
fn cut(number: usize, fate: Fate) -> (usize, Option<String>) {
    let when = if fate == Fate::Silent { "before" } else { "after" };
    let (scene, namespace) = scene(format!("cut-{when}-{number}"));
    let (told, reached) = mpsc::channel();
    let proxy = Proxy::start(&scene, move |asked| match asked.number.cmp(&number) {
        std::cmp::Ordering::Less => Fate::Pass,
        std::cmp::Ordering::Equal => {
            let _ = told.send(asked.kind.clone());
            fate
        }
        std::cmp::Ordering::Greater => Fate::Silent,
    });
    let mut run = scene.command("run");
    run.env("KUBECONFIG", lead_to(&scene, &proxy))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut run = run.spawn().expect("the program");
    let kind = reached.recv_timeout(Duration::from_secs(30)).unwrap_or_default();
    // What gets through has its time to do so.
    std::thread::sleep(Duration::from_millis(300));
    run.kill().expect("killed");
    run.wait().expect("its end");
    let ran = scene.run(&[]);
    let figures = Figures::of(&scene, &namespace);
    let good = ran.status == 0 && figures == Figures::GOOD;
    let failure = || {
        format!(
            "{when} request {number} (`{kind}`): status {}, {figures:?}\n{}",
            ran.status, ran.stderr
        )
    };
    (figures.issued, (!good).then(failure))
}

#[test]
#[ignore = "needs the test cluster"]
fn a_run_whose_time_is_over_ends_with_its_report_and_leaves_nothing() {
    let scene = Scene::new("overtime");
    let namespace = scene.namespace("web");
    // No controller serves this class: the probe waits as long as it may.
    let ingress = scene.ingress(&namespace, "a", "a-tls", &["a.overtime.example"]);
    scene.apply(&ingress.replace("\"contour\"", "\"nobody\""));
    let began = Instant::now();
    let ran = scene.run(&["--probe-timeout", "60s", "--timeout", "3s"]).exits(1);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(
        ran.stderr.contains("the run's time is over (`--timeout 3s`)"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains("0 issued, 1 failed"), "{}", ran.stdout);
    assert!(ran.stdout.contains("stopped"), "{}", ran.stdout);
    scene.assert_nothing_is_left();
}
