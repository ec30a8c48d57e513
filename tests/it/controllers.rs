//! Each ingress controller with each way in which people use it: a table, all of whose cells are run.
//!
//! `make test-controllers` runs it on clusters with all controllers, and writes the table into `docs/reference.md`.

mod front;
mod sites;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::five::each;
use crate::repeated::runs;
use crate::scene::{Controller, Scene, cluster, kubectl, shipped};
use crate::served::answer;
use sites::{ALONE, Case, Ends, SIDE_BY_SIDE, Site};

/// How often a site is asked during a run.
const PAUSE: Duration = Duration::from_millis(30);
/// Scenes at the same time: nginx reloads for each of them in turn.
const AT_A_TIME: usize = 4;

/// Held by all that is not to see what a case does to a controller as a whole, and alone by such a case.
static OTHERS: RwLock<()> = RwLock::new(());

/// What became of a cell.
#[derive(Clone, Debug)]
struct Cell {
    word: String,
    failure: Option<String>,
}

/// `CONTROLLER` and `CASE` choose one.
#[test]
#[ignore = "needs the test cluster"]
fn every_controller_serves_every_case() {
    let chosen = |variable: &str, name: &str| std::env::var(variable).is_ok_and(|it| it != name);
    let asked = |case: &&Case| !chosen("CASE", case.name);
    let side_by_side: Vec<&Case> = SIDE_BY_SIDE.iter().filter(asked).collect();
    let alone: Vec<&Case> = ALONE.iter().filter(asked).collect();
    let mut failures = Vec::new();
    let mut table = Table::read();
    for controller in Controller::all() {
        if chosen("CONTROLLER", &controller.name) {
            continue;
        }
        let _open = kept_open(&controller);
        let cells = each(&side_by_side, AT_A_TIME, |case| run(&controller, case));
        let nobody_else = OTHERS.write().unwrap_or_else(PoisonError::into_inner);
        let cells: Vec<_> = cells
            .into_iter()
            .chain(each(&alone, 1, |case| run(&controller, case)))
            .collect();
        drop(nobody_else);
        for (case, cell) in side_by_side.iter().chain(&alone).zip(cells) {
            failures.extend(cell.failure);
            table.set(case, &controller, cell.word);
        }
    }
    table.write();
    println!("{}", table.markdown());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if std::env::var("TABLES").is_ok_and(|it| it == "1") {
        write_table(HEAD, &table.markdown());
    }
}

/// `RUNS=50` takes more of them: a route is taken up anew for each, and a site is asked all the time.
#[test]
#[ignore = "needs the test cluster"]
fn runs_in_a_row_have_no_failed_validation() {
    let runs = runs(3);
    for controller in Controller::all() {
        let _one_of_others = OTHERS.read().unwrap_or_else(PoisonError::into_inner);
        let name: &'static str = Box::leak(format!("row-{}", controller.name).into_boxed_str());
        let scene = Scene::on(&controller, name);
        let namespace = scene.namespace("web");
        let host = |run: usize| format!("h{run}.{name}.example");
        let ingress = |run| scene.ingress(&namespace, &format!("i{run}"), &format!("tls-{run}"), &[&host(run)]);
        scene.apply(&ingress(0));
        let usual = usual_answer(&controller, &host(0), false).expect("a site that is served");
        let over = AtomicBool::new(false);
        let (count, wrong) = std::thread::scope(|scope| {
            let client = scope.spawn(|| ask_until(&over, &controller, &host(0), &usual));
            for run in 0..runs {
                scene.apply(&ingress(run));
                let ran = scene.run(&[]);
                assert_eq!(ran.status, 0, "{name}, run {run}: {}\n{}", ran.stdout, ran.stderr);
            }
            over.store(true, Ordering::Relaxed);
            client.join().expect("a client")
        });
        let (issued, invalid) = (
            scene.pebble.count("Issued certificate serial"),
            scene.pebble.count("set INVALID"),
        );
        println!(
            "{}: {runs} runs in a row with a fresh host each: {issued} issued, {invalid} failed validations; {} of {count} answers to a client are not the usual one",
            controller.name,
            wrong.len()
        );
        assert_eq!((issued, invalid), (runs, 0));
        assert!(wrong.is_empty(), "{wrong:#?}");
        scene.assert_nothing_is_left();
        kubectl(&["delete", "ingress", "--all", "-n", &namespace], "");
    }
}

/// What another ACME client left in a namespace that the run may not see is known to ingress-nginx's webhook alone. Of an
/// Ingress with several rules it looks at the first one only: once it has met the Ingress itself, it looks no further
/// (`checkOverlap` in its source).
#[test]
#[ignore = "needs the test cluster"]
fn what_the_webhook_refuses_costs_one_certificate_of_eight() {
    let Some(controller) = Controller::all().into_iter().find(|it| it.name == "nginx") else {
        return println!("SKIPPED: the webhook of ingress-nginx, which is not in this cluster");
    };
    let _one_of_others = OTHERS.read().unwrap_or_else(PoisonError::into_inner);
    let scene = Scene::on(&controller, "webhook");
    let (namespace, elsewhere) = (scene.namespace("web"), scene.namespace("elsewhere"));
    let host = |n: usize| format!("h{n}.webhook.example");
    scene.apply(&sites::leftover(&controller.class, &elsewhere, &host(0)));
    let ingresses = (0..8).map(|n| scene.ingress(&namespace, &format!("web-{n}"), &format!("tls-{n}"), &[&host(n)]));
    scene.apply(&ingresses.collect::<String>());
    let roles = shipped().into_iter().filter(|object| object["rules"].is_array());
    scene.grant(&roles.collect::<Vec<_>>(), &namespace);
    let ran = scene.run(&["-n", &namespace, "--probe-timeout", "20s"]).exits(1);
    for words in [
        "8 certificates: 7 issued, 1 failed",
        "admission webhook \"validate.nginx.ingress.kubernetes.io\" denied the request",
    ] {
        assert!(ran.stdout.contains(words), "{words}\n{}\n{}", ran.stdout, ran.stderr);
    }
    let created = scene.requests().into_iter().filter(|asked| {
        asked.writes()
            && asked.namespace == scene.home
            && (asked.resource.as_str(), asked.verb.as_str()) == ("ingresses", "create")
    });
    let (made, refused): (Vec<_>, Vec<_>) = created.partition(|asked| asked.code == 201);
    // Refused: all eight, the first four of them, the first two of those, and the one. Made: what was left each time.
    assert_eq!((made.len(), refused.len()), (3, 4), "{made:#?}\n{refused:#?}");
    println!("the webhook refused 4 of 7 challenge Ingresses, and 7 of 8 certificates were issued");
    scene.assert_nothing_is_left();
    kubectl(&["delete", "ingress", "--all", "-n", &namespace], "");
    kubectl(&["delete", "ingress", "--all", "-n", &elsewhere], "");
}

/// What was measured so far, by the names of controllers and cases: several clusters make one table.
#[derive(Default, Serialize, Deserialize)]
struct Table(BTreeMap<String, BTreeMap<String, String>>);

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/controllers.json");
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference.md");
const HEAD: &str = "| case |";

impl Table {
    fn read() -> Self {
        let kept = std::fs::read(KEPT).ok();
        kept.and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    fn set(&mut self, case: &Case, controller: &Controller, word: String) {
        let column = self.0.entry(controller.name.clone()).or_default();
        column.insert(case.name.to_owned(), word);
    }

    fn write(&self) {
        std::fs::create_dir_all(Path::new(KEPT).parent().expect("a folder")).expect("a folder");
        std::fs::write(KEPT, serde_json::to_vec(&self.0).expect("JSON")).expect("written");
    }

    fn markdown(&self) -> String {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let mut text = format!("{HEAD} {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
        for case in SIDE_BY_SIDE.iter().chain(ALONE) {
            let word = |column: &BTreeMap<String, String>| column.get(case.name).cloned().unwrap_or_default();
            let words: Vec<String> = self.0.values().map(word).collect();
            text.push_str(&format!("| {} | {} |\n", case.what, words.join(" | ")));
        }
        text
    }
}

/// Puts a table in the place of the one in the document that begins so.
pub fn write_table(head: &str, table: &str) {
    let text = std::fs::read_to_string(DOCUMENT).expect("the document");
    let begin = text.find(head).expect("the table's first line");
    let end = begin + text[begin..].find("\n\n").expect("a blank line after the table") + 1;
    std::fs::write(DOCUMENT, format!("{}{table}{}", &text[..begin], &text[end..])).expect("written");
}

/// A site that is there for as long as this: Envoy closes its port when the last one goes, and a case whose own Ingress nobody serves
/// would see that of the others.
fn kept_open(controller: &Controller) -> Scene {
    let name: &'static str = Box::leak(format!("open-{}", controller.name).into_boxed_str());
    let scene = Scene::on(controller, name);
    let host = format!("{name}.example");
    scene.apply(&scene.ingress(&scene.namespace("web"), "open", "open-tls", &[&host]));
    usual_answer(controller, &host, false).expect("a site that is served");
    scene
}

/// One case on one controller: a site of its own that is asked all the time, and a run. The challenge Ingress is in another
/// namespace than the site.
fn run(controller: &Controller, case: &Case) -> Cell {
    let controller = &(case.entrance)(controller);
    let name: &'static str = Box::leak(format!("{}-{}", controller.name, case.name).into_boxed_str());
    let scene = Scene::on(controller, name);
    let namespace = scene.namespace("web");
    let host = format!("site.{name}.example");
    let site = Site {
        scene: &scene,
        namespace: &namespace,
        host: &host,
    };
    let Some(manifests) = (case.manifests)(&site) else {
        return Cell {
            word: "-".into(),
            failure: None,
        };
    };
    let failed = |what: String| Cell {
        word: "failed".into(),
        failure: Some(format!("{name}: {what}")),
    };
    scene.apply(&manifests);
    let Some(usual) = usual_answer(controller, &host, false) else {
        (case.after)(controller);
        return failed(format!(
            "the site is not served: {}",
            answer(controller.http_port, &host)
        ));
    };
    let over = AtomicBool::new(false);
    let (ran, took, asked) = std::thread::scope(|scope| {
        let client = scope.spawn(|| ask_until(&over, controller, &host, &usual));
        let begun = Instant::now();
        let ran = scene.run(&["--probe-timeout", "20s"]);
        let took = begun.elapsed();
        // A controller takes a moment to see that the challenge is gone.
        std::thread::sleep(Duration::from_secs(1));
        over.store(true, Ordering::Relaxed);
        (ran, took, client.join().expect("a client"))
    });
    let served = ran.status == 0 && is_served(&scene, &host);
    kubectl(&["delete", "ingress", "--all", "-n", &namespace], "");
    (case.after)(controller);
    let (count, wrong) = asked;
    let refused = scene.pebble.count("authorization error") + scene.pebble.count("set INVALID");
    let issued = scene.pebble.count("Issued certificate serial");
    let seconds = took.as_secs_f64();
    let all = format!(
        "status {}, {issued} of {} issued in {seconds:.1} s, {refused} failed validations, {} of {count} answers are not the usual one {}\n{}\n{}",
        ran.status,
        case.certificates,
        wrong.len(),
        wrong.first().map(String::as_str).unwrap_or_default(),
        ran.stdout,
        ran.stderr
    );
    println!("{name}: {}", all.lines().next().unwrap_or_default());
    let (words, status, word) = match (case.ends)(controller) {
        Ends::Issued => ("", 0, String::new()),
        Ends::Refused(reason) => (reason, 0, format!("refused: `{reason}`")),
        Ends::Failed(hint) => (hint, 1, "no order".to_owned()),
    };
    if !words.is_empty() {
        let nothing = issued == 0 && scene.pebble.count("Added order") == 0;
        return match ran.stdout.contains(words) && ran.status == status && nothing && wrong.is_empty() {
            true => Cell { word, failure: None },
            false => failed(all),
        };
    }
    if ran.status != 0 || issued != case.certificates || refused > 0 || !wrong.is_empty() {
        return failed(all);
    }
    scene.assert_nothing_is_left();
    let lived = challenge_lived(&scene, case.classes).expect("challenge Ingresses that came and went");
    // Whoever gets a certificate that is not served is told so, also by Traefik in the place of ingress-nginx.
    let told = ran
        .stdout
        .contains("serves a certificate only for hosts that a rule names");
    if served == told && controller.name != "traefik-nginx" {
        return failed(format!("over HTTPS it is served: {served}\n{all}"));
    }
    let word = format!("{seconds:.1} s ({lived:.1} s)");
    Cell {
        word: if served { word } else { format!("{word}, not served") },
        failure: None,
    }
}

/// Whether the host is served over HTTPS with a certificate by the scene's CA.
pub fn is_served(scene: &Scene, host: &str) -> bool {
    let port = scene.controller.https_port;
    let address = cluster()["address"].as_str().expect("an address");
    let root = scene.pebble.root();
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-o", "/dev/null", "--max-time", "5", "--cacert"])
            .arg(&root);
        curl.args([
            "--resolve",
            &format!("{host}:{port}:{address}"),
            &format!("https://{host}:{port}/"),
        ]);
        if curl.output().expect("curl").status.success() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    false
}

/// For how many seconds there was a challenge Ingress; nothing unless there was one for each class.
fn challenge_lived(scene: &Scene, classes: usize) -> Option<f64> {
    let all = scene.requests().into_iter();
    let all: Vec<_> = all
        .filter(|asked| asked.resource == "ingresses" && asked.namespace == scene.home && asked.writes())
        .collect();
    let created = all.iter().filter(|asked| asked.verb == "create");
    if created.clone().count() != classes {
        return None;
    }
    let deleted = all.iter().rfind(|asked| asked.verb == "delete")?.at;
    let lived = deleted.duration_since(created.map(|asked| asked.at).min()?);
    Some(lived.as_secs_f64())
}

/// What the site says, once it says the same for a second: a controller takes a moment. Envoy has its port closed until it serves
/// something.
pub fn usual_answer(controller: &Controller, host: &str, may_be_closed: bool) -> Option<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let (mut last, mut same) = (String::new(), 0);
    while Instant::now() < deadline {
        let now = told(&answer(controller.http_port, host));
        same = if now == last { same + 1 } else { 0 };
        let nobody = now.starts_with("HTTP/1.1 404") || !now.starts_with("HTTP/");
        // A site without HTTP of its own is a 404 for good.
        if same >= if nobody { 60 } else { 10 } {
            return (may_be_closed || now.starts_with("HTTP/")).then_some(now);
        }
        last = now;
        std::thread::sleep(Duration::from_millis(100));
    }
    None
}

/// The status line and the body: dates, cookies and ids of requests differ.
fn told(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    format!("{} {body}", head.lines().next().unwrap_or_default())
}

pub fn ask_until(over: &AtomicBool, controller: &Controller, host: &str, usual: &str) -> (usize, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        let said = told(&answer(controller.http_port, host));
        count += 1;
        if said != usual {
            wrong.push(said);
        }
        std::thread::sleep(PAUSE);
    }
    (count, wrong)
}
