//! `make bench`: how long the shipped program takes, each figure beside its floor, measured in the same run.
//!
//! The floors are the same requests without a decision (idle), and a bare instant-acme loop at the same concurrency against the
//! same Pebble (issue). `ONLY=idle|issue|dead` runs one part, a run of all parts writes `docs/benchmarks.md`; `SIZES=100,1000` says other sizes. A run that stands still is
//! ended and said, never counted: Pebble 2.10.1 deadlocks now and then under load.

#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
#[path = "../tests/it/scene/mod.rs"]
mod scene;

mod floor;
mod objects;
mod plot;
mod table;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use scene::{Scene, break_dns, requests};
use serde_json::{Value, json};
use table::{Row, Table};

/// What a run may take until it counts as standing still.
const STANDS_STILL: Duration = Duration::from_secs(120);
/// Orders at the same time, as the program has them.
const CONCURRENT_ORDERS: usize = 40;

fn main() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only == part;
    let mut table = Table::default();
    if wanted("issue") {
        for count in sizes(&[1, 30, 100, 300]) {
            table.push(issue(count));
        }
    }
    if wanted("dead") {
        table.push(dead(60));
    }
    if wanted("idle") {
        for count in sizes(&[100, 1_000, 10_000]) {
            table.push(idle(count));
        }
    }
    table.write();
    if only.is_empty() {
        table.publish();
    }
}

fn sizes(usual: &[usize]) -> Vec<usize> {
    match std::env::var("SIZES") {
        Ok(text) => text.split(',').map(|size| size.parse().expect("a number")).collect(),
        Err(_) => usual.to_vec(),
    }
}

/// A scene whose CA validates nothing and refuses no nonce: what is left is the clients' own time.
fn quick_scene(name: String) -> Scene {
    let environment = json!({"PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_WFE_NONCEREJECT": "0"});
    Scene::with_authority(Box::leak(name.into_boxed_str()), |config| {
        config["environment"] = environment;
        // Of what Pebble says when it has an order to finalize, the program waits for a second, as it is told (RFC 8555 section 7.4), and
        // the library of the bare loop does not look at it.
        config["pebble"]["retryAfter"] = json!({"authz": 0, "order": 0});
    })
}

/// So many certificates, through Contour and Pebble.
fn issue(count: usize) -> Row {
    let scene = quick_scene(format!("issue{count}"));
    let namespaces: Vec<String> = (0..5).map(|n| scene.namespace(&format!("n{n}"))).collect();
    let ingresses = (0..count).map(|n| {
        let host = format!("h{n}.{}.example", scene.name);
        scene.ingress(&namespaces[n % 5], &format!("web-{n}"), &format!("tls-{n}"), &[&host])
    });
    objects::create(&ingresses.collect::<Vec<_>>());
    let before = requests().len();
    let used = run(&scene, &["-o", "json"]);
    let writes = requests()
        .split_off(before)
        .into_iter()
        .filter(|it| it.writes() && it.resource != "events")
        .count();
    let report: Value = serde_json::from_str(&used.stdout).unwrap_or_default();
    let issued = report["summary"]["issued"].as_u64().unwrap_or_default();
    let floor = floor::acme(
        &scene.pebble.directory,
        &scene.pebble.authority_file(),
        count,
        CONCURRENT_ORDERS,
    );
    Row {
        what: format!("{count} certificates"),
        size: count,
        seconds: used.seconds,
        floor_seconds: floor,
        cpu_seconds: used.cpu_seconds,
        peak_mib: used.peak_mib,
        note: format!("{issued} issued, {:.2} writes each", writes as f64 / count as f64),
    }
}

/// One healthy host beside so many dead ones: when its certificate is stored.
fn dead(count: usize) -> Row {
    let alone = healthy_beside(0);
    let beside = healthy_beside(count);
    Row {
        what: format!("1 healthy host beside {count} dead"),
        size: count,
        seconds: beside,
        floor_seconds: Some(alone),
        cpu_seconds: 0.0,
        peak_mib: 0.0,
        note: "until it is stored; the floor is the same alone".into(),
    }
}

fn healthy_beside(dead: usize) -> f64 {
    let scene = quick_scene(format!("dead{dead}"));
    let namespace = scene.namespace("web");
    let mut ingresses = vec![scene.ingress(&namespace, "zz", "zz-tls", &[&format!("zz.{}.example", scene.name)])];
    for n in 0..dead {
        let host = format!("d{n}.{}.example", scene.name);
        break_dns(&host);
        ingresses.push(scene.ingress(&namespace, &format!("d{n}"), &format!("d{n}-tls"), &[&host]));
    }
    objects::create(&ingresses);
    let mut command = scene.command("run");
    command
        .args(["--probe-timeout", "5s"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().expect("the program");
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut stored = f64::NAN;
    for line in lines.map_while(Result::ok) {
        if line.contains("stored `") {
            stored = begun.elapsed().as_secs_f64();
        }
    }
    child.wait().expect("its end");
    stored
}

/// So many Ingresses of 2.4 kB with valid certificates.
fn idle(count: usize) -> Row {
    let scene = Scene::new(Box::leak(format!("idle{count}").into_boxed_str()));
    let namespace = scene.namespace("web");
    objects::create_valid(&scene, &namespace, count);
    let run_once = || run(&scene, &["--dry-run"]);
    let floor_once = || floor::list(&scene, &namespace, count);
    // Once each to warm up, then in turn.
    drop((run_once(), floor_once()));
    let mut runs: Vec<(Used, f64)> = (0..3).map(|_| (run_once(), floor_once())).collect();
    runs.sort_by(|a, b| a.0.seconds.total_cmp(&b.0.seconds));
    let mut floors: Vec<f64> = runs.iter().map(|(_, floor)| *floor).collect();
    floors.sort_by(f64::total_cmp);
    let (used, _) = &runs[1];
    assert!(
        used.stdout.contains(&format!("{count} valid")),
        "{}",
        used.stdout.lines().last().unwrap_or_default()
    );
    Row {
        what: format!("nothing due, {count} Ingresses"),
        size: count,
        seconds: used.seconds,
        floor_seconds: Some(floors[1]),
        cpu_seconds: used.cpu_seconds,
        peak_mib: used.peak_mib,
        note: format!(
            "{:.2} kB of memory each",
            (used.peak_mib - 6.0).max(0.0) * 1_048.576 / count as f64
        ),
    }
}

/// What a run took.
struct Used {
    seconds: f64,
    cpu_seconds: f64,
    peak_mib: f64,
    stdout: String,
}

/// Runs the program under `time`, which says what the kernel counted.
fn run(scene: &Scene, arguments: &[&str]) -> Used {
    let inner = scene.command("run");
    let mut command = Command::new("timeout");
    command
        .arg(STANDS_STILL.as_secs().to_string())
        .args(["/usr/bin/time", "-f", "%e %U %S %M"]);
    command
        .arg(inner.get_program())
        .arg("run")
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = command.output().expect("timeout and time");
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(124) {
        println!("a run stood still for {} s and was ended", STANDS_STILL.as_secs());
    }
    let counted: Vec<f64> = stderr
        .lines()
        .last()
        .unwrap_or_default()
        .split(' ')
        .filter_map(|it| it.parse().ok())
        .collect();
    let [seconds, user, system, peak_kib] = counted[..] else {
        panic!("{stderr}")
    };
    Used {
        seconds,
        cpu_seconds: user + system,
        peak_mib: peak_kib / 1_024.0,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}
