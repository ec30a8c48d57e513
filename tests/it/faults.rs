//! An API server or a CA in trouble, and runs that are killed at each of their requests: nothing is lost, doubled or left.

use std::collections::HashSet;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::five::{AT_A_TIME, CERTIFICATES, Figures, each, scene};
use crate::proxy::{Asked, Fate, Proxy};
use crate::scene::Scene;

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
    table(Server::Api, ("409", "status 409", Fate::Refused(409)));
}

/// The same at the CA.
#[test]
#[ignore = "needs the test cluster"]
fn each_fault_at_each_kind_of_request_to_the_ca_costs_no_certificate() {
    table(Server::Ca, ("504", "status 504", Fate::Refused(504)));
}

#[derive(Clone, Copy, PartialEq)]
enum Server {
    Api,
    Ca,
}

/// With `TABLES=1` it is written into `docs/security.md` too.
fn table(server: Server, further: (&str, &str, Fate)) {
    let faults = [
        ("500", "status 500", Fate::Refused(500)),
        ("502", "status 502", Fate::Refused(502)),
        ("503", "status 503, `Retry-After: 1`", Fate::Refused(503)),
        ("429", "status 429, `Retry-After: 1`", Fate::Refused(429)),
        further,
        (
            "reset",
            "the connection is reset before the request is passed on",
            Fate::Reset,
        ),
        ("reset-after", "... after it", Fate::ResetAfter),
        ("truncated", "the answer is cut off", Fate::Truncated),
        ("garbled", "the answer is no JSON, and no certificate", Fate::Garbled),
        (
            "delayed",
            "the answer comes one second late",
            Fate::Delayed(Duration::from_secs(1)),
        ),
    ];
    let title = match server {
        Server::Api => "at the API server",
        Server::Ca => "at the CA",
    };
    let lines = each(&faults, 5, |(name, what, fate)| with_fault(name, what, *fate, server));
    let (rows, failures): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
    let table = format!(
        "| fault {title}, once at each kind of request | kinds | certificates stored | orders | status | time |\n|---|---|---|---|---|---|\n{}\n",
        rows.join("\n")
    );
    println!("{table}");
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if std::env::var_os("TABLES").is_some() {
        write_table(title, &table);
    }
}

fn write_table(title: &str, table: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().expect("a lock");
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
    let text = std::fs::read_to_string(document).expect("the document");
    let head = format!("| fault {title},");
    let begin = text.find(&head).expect("the table's first line");
    let end = begin + text[begin..].find("\n\n").expect("a blank line after the table") + 1;
    std::fs::write(document, format!("{}{table}{}", &text[..begin], &text[end..])).expect("written");
}

fn with_fault(name: &str, what: &str, fate: Fate, server: Server) -> (String, Option<String>) {
    let prefix = if server == Server::Api { "fault" } else { "ca-fault" };
    let (scene, namespace) = scene(format!("{prefix}-{name}"));
    let (told, kinds) = mpsc::channel();
    let mut seen = HashSet::new();
    let fate_of = move |asked: &Asked| {
        // A read conflicts with nothing.
        let applies = fate != Fate::Refused(409) || !asked.kind.starts_with("GET");
        if applies && seen.insert(asked.kind.clone()) {
            let _ = told.send(asked.kind.clone());
            return fate;
        }
        Fate::Pass
    };
    let mut run = scene.command("run");
    let _proxy = match server {
        Server::Api => {
            let proxy = Proxy::before_the_api_server(&scene, fate_of);
            run.env("KUBECONFIG", lead_to(&scene, &proxy));
            proxy
        }
        Server::Ca => {
            let proxy = Proxy::before_the_ca(&scene, fate_of);
            run.env("KUBE_LEGO_ONCE_DIRECTORY", &proxy.url);
            proxy
        }
    };
    let began = Instant::now();
    let output = run.output().expect("the program");
    let took = began.elapsed();
    let Figures {
        stored, objects: left, ..
    } = Figures::of(&scene, &namespace);
    let orders = scene.pebble.count("Added order");
    let kinds: Vec<String> = kinds.try_iter().collect();
    let status = output.status.code().unwrap_or(-1);
    let row = format!(
        "| {what} | {} | {stored} of {CERTIFICATES} | {orders} | {status} | {:.1} s |",
        kinds.len(),
        took.as_secs_f64()
    );
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let at_least = match (server, fate) {
        (Server::Ca, _) | (_, Fate::Refused(409)) => 8,
        _ => 15,
    };
    let good = stored == CERTIFICATES && status == 0 && left == 0 && kinds.len() >= at_least;
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
    let proxy = Proxy::before_the_api_server(&scene, move |_| {
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
    let proxy = Proxy::before_the_api_server(&scene, move |asked| match asked.number.cmp(&number) {
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
