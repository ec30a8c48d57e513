//! Input that somebody else wrote: no panic, no overflow of the stack, no second of thinking, no memory without end.
//!
//! `corpus/` holds the seeds: all of them are replayed, then a few thousand edits of them, or as many as `FUZZ_EXECUTIONS` says.
//! The number of an execution is its input: `FUZZ_FIRST` starts at another one. What fails is written to `target/tmp/`, and
//! belongs into the corpus once it is understood.

pub(crate) mod mutate;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use kube_lego_once::adapters::manifests::{self, Manifests};
use kube_lego_once::decide::directory::Directory;
use kube_lego_once::decide::explanation::explanation;
use kube_lego_once::decide::inspection::{Inspection, MARKER, inspect, verify_issued};
use kube_lego_once::decide::ledger::Ledger;
use kube_lego_once::decide::name::{DnsName, RunId, SecretRef};
use kube_lego_once::decide::observed::{Observed, Read, RenewalWindow};
use kube_lego_once::decide::plan::{plan, renewal_information_wanted, secrets_wanted};
use kube_lego_once::decide::policy::Policy;
use kube_lego_once::decide::report::Report;
use kube_lego_once::decide::route::{Home, challenge_ingress, chunks};
use kube_lego_once::decide::selection::LabelSelector;
use kube_lego_once::decide::text::Style;
use kube_lego_once::observe::of_manifests;
use mutate::Rng;
use serde::Deserialize as _;
use serde_json::Value;

/// Enough for each target to be reached in `cargo test`; a long run says its own number.
const EXECUTIONS: u64 = 2_000;
/// The longest that an execution may take, and be it a debug build on a busy machine.
const LONGEST: Duration = Duration::from_secs(1);
/// What a worker thread of the program's runtime has.
const STACK: usize = 2 << 20;
/// The most that the process may ever have had, in KiB: seeds and threads take a small part of it.
const MOST_MEMORY: u64 = 512 << 10;

/// What is tried: where its inputs come from, and what is done with them.
struct Target {
    name: &'static str,
    /// Of a hundred executions.
    share: usize,
    seeds: fn(&Corpus) -> Vec<Input>,
    edited: fn(&Corpus, &mut Rng) -> Input,
    /// Whether the input was taken for what it should be: the share of these says whether more than the first check is tried.
    execute: fn(&Input) -> bool,
}

/// A certificate and a key have two parts, most others one.
pub(crate) type Input = Vec<Vec<u8>>;

const TARGETS: &[Target] = &[
    Target {
        name: "secret",
        share: 35,
        seeds: |corpus| corpus.secrets.clone(),
        edited: edited_secret,
        execute: secret,
    },
    Target {
        name: "manifests",
        share: 25,
        seeds: |corpus| corpus.manifests.iter().map(|text| vec![text.clone()]).collect(),
        edited: |corpus, rng| edited_text(rng, &corpus.manifests),
        execute: manifests,
    },
    Target {
        name: "objects",
        share: 20,
        seeds: |corpus| {
            corpus
                .objects
                .iter()
                .map(|object| vec![object.to_string().into_bytes()])
                .collect()
        },
        edited: edited_objects,
        execute: objects,
    },
    Target {
        name: "ledger",
        share: 8,
        seeds: |corpus| corpus.entries.iter().map(|text| vec![text.clone()]).collect(),
        edited: |corpus, rng| edited_text(rng, &corpus.entries),
        execute: ledger,
    },
    Target {
        name: "line",
        share: 12,
        seeds: |corpus| corpus.lines.iter().map(|text| vec![text.clone()]).collect(),
        edited: |corpus, rng| edited_text(rng, &corpus.lines),
        execute: line,
    },
];

/// What manifests, JSON and the texts of the command line are made of.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "---\n", "...\n", "- ", ": ", "? ", "{", "}", "[", "]", ", ", "\"", "'", "|\n", ">-\n", "#", "\t", "  ", "\n",
    "\r\n", "&a ", "*a", "<<: *a", "<<: [*a, *a]", "!!binary ", "!!str ", "!x ", "%YAML 1.2\n", "~", "null", "true",
    "yes", "\"true\"", ".nan", "-.inf", "0x1f", "1e999", "18446744073709551616", "-9223372036854775809",
    "2024-05-01T10:00:00Z", "9999-12-30T22:00:00.999999999Z", "-009999-01-02T01:59:59Z", "apiVersion: v1\n",
    "kind: List\n", "kind: Ingress\n", "kind: Secret\n", "items:\n", "metadata:\n", "data:\n", "stringData:\n",
    "spec:\n", "tls:\n", "hosts:\n", "secretName: a-tls\n", "networking.k8s.io/v1", "extensions/v1beta1",
    "networking.k8s.io/v1beta1", "kubernetes.io/tls-acme", "kubernetes.io/tls", "kubernetes.io/ingress.class",
    "cert-manager.io/issuer", MARKER, "a.example", "*.a.example", "a-tls", "web", "contour", "gce", "{{ .Values.x }}",
    "\u{feff}", "\u{0}", "\u{7f}", "\u{2028}", "\u{1f512}", "e\u{301}", "\\u0000", "\\ud800", "\\", "/", "(", ")",
    " in (", " notin (", "!=", "==", "!", "https://", "letsencrypt", "-", ".", "*.", "::", "pending.",
    "/.well-known/acme-challenge", "deletionTimestamp", "namespace",
];

pub(crate) struct Corpus {
    pub(crate) secrets: Vec<Input>,
    manifests: Vec<Vec<u8>>,
    /// The objects of the manifests that are any.
    objects: Vec<Value>,
    entries: Vec<Vec<u8>>,
    lines: Vec<Vec<u8>>,
}

impl Corpus {
    pub(crate) fn read() -> Self {
        let manifests: Vec<_> = files("manifests").iter().map(|path| content(path)).collect();
        let entries = files("entries");
        let keys = files("secrets")
            .into_iter()
            .filter(|path| path.extension().is_some_and(|kind| kind == "key"));
        Self {
            secrets: keys
                .map(|key| vec![content(&key.with_extension("crt")), content(&key)])
                .collect(),
            objects: manifests.iter().flat_map(|text| objects_of(text)).collect(),
            manifests,
            lines: lines(
                entries
                    .iter()
                    .find(|path| path.ends_with("lines.txt"))
                    .expect("the lines"),
            ),
            entries: entries.iter().map(|path| content(path)).collect(),
        }
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/corpus")
        .join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("list `{}`: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

pub(crate) fn content(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("read `{}`: {error}", path.display()))
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    content(path).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn objects_of(text: &[u8]) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_slice(text);
    // A text that cannot be read gives errors for ever.
    let values = documents.map(Value::deserialize).map_while(Result::ok);
    let objects = values.flat_map(|value| match value.get("items") {
        Some(Value::Array(items)) => items.clone(),
        _ => vec![value],
    });
    objects.filter(|object| !kind(object).is_empty()).collect()
}

fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

// Inputs.

fn any<'a, T>(rng: &mut Rng, items: &'a [T]) -> &'a T {
    &items[rng.below(items.len())]
}

fn edited_text(rng: &mut Rng, seeds: &[Vec<u8>]) -> Input {
    let mut text = any(rng, seeds).clone();
    let other = any(rng, seeds);
    mutate::bytes(rng, &mut text, WORDS, other);
    vec![text]
}

/// Mostly DER under intact PEM: see there. One part alone is edited more often than both.
pub(crate) fn edited_secret(corpus: &Corpus, rng: &mut Rng) -> Input {
    let mut secret = any(rng, &corpus.secrets).clone();
    let other = any(rng, &corpus.secrets).clone();
    for part in 0..2 {
        if !rng.percent(if part == 0 { 85 } else { 40 }) {
            continue;
        }
        if rng.percent(15) {
            let words = [
                "-----BEGIN ",
                "-----END ",
                "CERTIFICATE-----\n",
                "PRIVATE KEY-----\n",
                "EC ",
                "RSA ",
                "=",
                "\n",
                "\r\n",
            ];
            mutate::bytes(rng, &mut secret[part], &words, &other[part]);
            continue;
        }
        let mut blocks = mutate::pem_blocks(&secret[part]);
        let others = mutate::pem_blocks(&other[rng.below(2)]);
        if rng.percent(15) {
            blocks.extend(others.iter().cloned());
        }
        if blocks.is_empty() {
            continue;
        }
        let at = rng.below(blocks.len());
        let foreign = others.first().map(|(_, der)| der.as_slice()).unwrap_or_default();
        mutate::der(rng, &mut blocks[at].1, foreign);
        match rng.below(20) {
            0 => {
                blocks[at].0 = rng
                    .pick(&[
                        "CERTIFICATE",
                        "PRIVATE KEY",
                        "EC PRIVATE KEY",
                        "RSA PRIVATE KEY",
                        "X509 CRL",
                    ])
                    .into()
            }
            1 => blocks.rotate_left(at),
            _ => {}
        }
        secret[part] = mutate::pem(&blocks);
    }
    secret
}

/// A few objects, edited as values: every one of them is JSON.
fn edited_objects(corpus: &Corpus, rng: &mut Rng) -> Input {
    let object = |rng: &mut Rng| {
        let mut object = any(rng, &corpus.objects).clone();
        for _ in 0..rng.below(4) {
            mutate::json(rng, &mut object, WORDS);
        }
        object.to_string().into_bytes()
    };
    (0..=rng.below(4)).map(|_| object(rng)).collect()
}

// Executions.

fn now() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().expect("a time")
}

fn secret(input: &Input) -> bool {
    let [certificate, key] = input.as_slice() else {
        return false;
    };
    let Inspection::Certificate(facts) = inspect(certificate, key) else {
        let verified = verify_issued(certificate, key, &[], now());
        assert!(verified.is_err(), "what cannot be read is not to be stored");
        return false;
    };
    assert!(facts.names.is_sorted());
    if let Ok(verified) = verify_issued(certificate, key, &facts.names, now()) {
        assert_eq!(verified, *facts);
        assert!(facts.not_after > now());
    }
    let data =
        [("tls.crt", certificate), ("tls.key", key)].map(|(name, bytes)| (name.into(), ByteString(bytes.clone())));
    let object = k8s_openapi::api::core::v1::Secret {
        type_: Some("kubernetes.io/tls".into()),
        data: Some(data.into()),
        ..Default::default()
    };
    let place = SecretRef::new("web", "a-tls");
    let mut observed = Observed::at(now());
    observed.ingresses = vec![wanting_ingress().into()];
    observed.secrets.insert(place.clone(), Read::Found(object.into()));
    // The certificate's own ends make a window: as odd as they are.
    observed.renewal_windows.insert(
        place,
        RenewalWindow {
            start: facts.not_after,
            end: facts.not_before,
        },
    );
    decide(&observed, input);
    true
}

fn wanting_ingress() -> k8s_openapi::api::networking::v1::Ingress {
    let json = serde_json::json!({
        "metadata": {"name": "a", "namespace": "web", "annotations": {"kubernetes.io/tls-acme": "true"}},
        "spec": {"tls": [{"hosts": ["a.example"], "secretName": "a-tls"}]},
    });
    serde_json::from_value(json).expect("an Ingress")
}

/// Through a file, as `-f` gets them: the rules for encodings and sizes are part of it.
fn manifests(input: &Input) -> bool {
    let thread = format!("{:?}", std::thread::current().id());
    let number: String = thread.chars().filter(char::is_ascii_digit).collect();
    let path = std::env::temp_dir().join(format!("kube-lego-once-fuzz-{}-{number}.yaml", std::process::id()));
    fs::write(&path, &input[0]).expect("a temporary file");
    let read = manifests::read(std::slice::from_ref(&path), false);
    fs::remove_file(&path).expect("a temporary file");
    match read {
        Ok(manifests) => {
            decide(&of_manifests(manifests), input);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn objects(input: &Input) -> bool {
    fn taken<T: serde::de::DeserializeOwned>(object: Value, into: &mut Vec<T>) -> bool {
        serde_json::from_value(object).map(|object| into.push(object)).is_ok()
    }
    let mut manifests = Manifests::default();
    let mut all = true;
    for text in input {
        // Only a mutation that nests too deep is not read again.
        let Ok(object) = serde_json::from_slice::<Value>(text) else {
            return false;
        };
        all &= match kind(&object) {
            "Ingress" => taken(object, &mut manifests.ingresses),
            "Secret" => taken(object, &mut manifests.secrets),
            "IngressClass" => taken(object, &mut manifests.classes),
            "Namespace" => taken(object, &mut manifests.namespaces),
            _ => true,
        };
    }
    decide(&of_manifests(manifests), input);
    all
}

/// All that is done with an observation before anything is asked of anybody. `input` chooses between policies: all of them
/// for each would be a third of the inputs in the same time.
fn decide(observed: &Observed, input: &Input) {
    let policies = [
        (Some("https://ca.example/dir"), None),
        (Some("letsencrypt-staging"), Some(SignedDuration::MAX)),
        (None, Some(SignedDuration::MIN)),
    ];
    let (directory, minimum_validity) = policies[input.concat().len() % policies.len()];
    let policy = Policy {
        directory: directory.map(|url| url.parse().expect("a directory")),
        minimum_validity,
        ..Policy::default()
    };
    let plan = plan(observed, &policy);
    let wanted = secrets_wanted(observed, &policy);
    assert_eq!(plan.decisions().len(), wanted.len());
    drop(renewal_information_wanted(observed, &policy));
    let report = Report::of_plan(&plan, directory);
    let json: Value = serde_json::from_str(&report.to_json()).expect("JSON");
    assert_eq!(json["certificates"].as_array().map(Vec::len), Some(wanted.len()));
    drop((
        report.to_yaml(),
        report.to_names(),
        report.to_wide_text(&Style::default()),
    ));
    drop(report.to_text(&Style {
        bar: true,
        color: true,
        width: Some(80),
    }));
    drop(explanation(observed, &policy, &plan, &Style::default()));
    let home = Home {
        namespace: "kube-lego".into(),
        run: "run-1".parse::<RunId>().expect("a run's id"),
        owner: None,
    };
    let routes: BTreeSet<_> = plan.issue.iter().flat_map(|decision| decision.routes()).collect();
    for chunk in chunks(&routes) {
        drop(challenge_ingress(&home, "kube-lego-once".into(), &chunk, &plan.classes));
    }
}

fn ledger(input: &Input) -> bool {
    let ledger = Ledger::from_data([
        ("pending.web.a-tls", input[0].as_slice()),
        ("other", input[0].as_slice()),
    ]);
    assert_eq!(ledger.pending.len() + ledger.unreadable.len(), 1);
    for pending in &ledger.pending {
        let written = serde_json::to_vec(pending).expect("JSON");
        assert_eq!(
            Ledger::from_data([("pending.", written.as_slice())]).pending,
            ledger.pending
        );
        assert!(Ledger::pending_key(&pending.secret()).len() <= 253);
        assert!(pending.key.0.len() < 16 || !format!("{:?}", pending.key).contains(&pending.key.0));
    }
    // What could not be read may hold a key: its text is never quoted.
    assert!(ledger.unreadable.iter().all(|(_, why)| why.len() < 64));
    !ledger.pending.is_empty()
}

fn line(input: &Input) -> bool {
    let text = String::from_utf8_lossy(&input[0]);
    let name = text.parse::<DnsName>();
    if let Ok(name) = &name {
        assert_eq!(name.to_string(), text);
        assert!(name.is_covered_by(&text) && name.is_covered_by(&text.to_ascii_uppercase()));
        assert!((1..=127).contains(&name.label_count()));
    }
    let covered: DnsName = "a.example".parse().expect("a name");
    assert_eq!(
        covered.is_covered_by(&text),
        ["a.example", "*.example"].contains(&text.to_ascii_lowercase().as_str())
    );
    let selector = text.parse::<LabelSelector>();
    if let Ok(selector) = &selector {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        assert!(!selector.is_empty() || selector.matches(&labels));
    }
    let directory = text.parse::<Directory>();
    if let Ok(directory) = &directory {
        assert_eq!(directory.url().parse::<Directory>().as_ref(), Ok(directory));
    }
    if let Ok(run) = text.parse::<RunId>() {
        assert_eq!(run.as_str(), text);
    }
    name.is_ok() || selector.is_ok() || directory.is_ok()
}

// Running them.

/// Executions of a target, and the time that they took together.
#[derive(Clone, Copy, Default)]
struct Tally {
    count: u64,
    taken: u64,
    time: Duration,
}

/// What a thread saw.
#[derive(Default)]
struct Seen {
    executions: BTreeMap<&'static str, Tally>,
    slowest: Duration,
    failures: Vec<String>,
}

impl Seen {
    fn execute(&mut self, target: &Target, input: &Input, which: &str) {
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (target.execute)(input)));
        let mut took = start.elapsed();
        if result.is_ok() && took > LONGEST {
            // The machine may have been busy with something else: it is slow if it is so again.
            let start = Instant::now();
            (target.execute)(input);
            took = took.min(start.elapsed());
        }
        let tally = self.executions.entry(target.name).or_default();
        tally.count += 1;
        tally.taken += u64::from(matches!(result, Ok(true)));
        tally.time += took;
        self.slowest = self.slowest.max(took);
        let problem = match result {
            Err(panic) => words(panic.as_ref()),
            Ok(_) if took > LONGEST => format!("took {took:?}"),
            Ok(_) => return,
        };
        for (part, bytes) in input.iter().enumerate() {
            let name = format!("fuzz-{}-{which}-{part}", target.name);
            fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), bytes).expect("a file");
        }
        self.failures.push(format!("{} {which}: {problem}", target.name));
    }

    fn add(&mut self, other: Self) {
        for (name, tally) in other.executions {
            let sum = self.executions.entry(name).or_default();
            sum.count += tally.count;
            sum.taken += tally.taken;
            sum.time += tally.time;
        }
        self.slowest = self.slowest.max(other.slowest);
        self.failures.extend(other.failures);
    }

    fn finish(self, started: Instant) {
        let count: u64 = self.executions.values().map(|tally| tally.count).sum();
        println!(
            "{count} executions in {:.0?}, the slowest {:.0?}",
            started.elapsed(),
            self.slowest
        );
        for (name, tally) in &self.executions {
            let each = tally.time / u32::try_from(tally.count).unwrap_or(u32::MAX);
            println!(
                "  {name}: {}, {}% of them taken, {each:.0?} each",
                tally.count,
                tally.taken * 100 / tally.count
            );
        }
        assert!(
            self.failures.is_empty(),
            "inputs in `target/tmp`:\n{}",
            self.failures.join("\n")
        );
        if let Some(memory) = peak_memory() {
            println!("  memory: {} MiB at most", memory >> 10);
            assert!(memory < MOST_MEMORY, "{memory} KiB of memory");
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_default()
}

/// In KiB, where the kernel says so.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Runs on threads whose stacks are as small as any that the program has.
fn on_threads(count: u64, work: impl Fn(u64) -> Seen + Sync) -> Seen {
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        let work = &work;
        let spawn = |thread| {
            let builder = std::thread::Builder::new().stack_size(STACK);
            builder.spawn_scoped(scope, move || work(thread)).expect("a thread")
        };
        let threads: Vec<_> = (0..count).map(spawn).collect();
        for thread in threads {
            seen.add(thread.join().expect("panics are caught"));
        }
    });
    seen
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("`{name}` is no number"))
    })
}

#[test]
fn the_corpus_is_survived() {
    let started = Instant::now();
    let corpus = Corpus::read();
    let seen = on_threads(1, |_| {
        let mut seen = Seen::default();
        for target in TARGETS {
            for (number, input) in (target.seeds)(&corpus).iter().enumerate() {
                seen.execute(target, input, &format!("seed-{number}"));
            }
        }
        seen
    });
    seen.finish(started);
}

#[test]
fn edits_of_the_corpus_are_survived() {
    let started = Instant::now();
    let corpus = Corpus::read();
    let (first, count) = (setting("FUZZ_FIRST", 0), setting("FUZZ_EXECUTIONS", EXECUTIONS));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let seen = on_threads(threads, |thread| {
        let mut seen = Seen::default();
        for number in (first..first + count).filter(|number| number % threads == thread) {
            let mut rng = Rng::new(number);
            let mut share = rng.below(TARGETS.iter().map(|target| target.share).sum());
            let chosen = TARGETS.iter().find(|target| {
                let chosen = share < target.share;
                share = share.saturating_sub(target.share);
                chosen
            });
            let target = chosen.expect("shares add up");
            seen.execute(target, &(target.edited)(&corpus, &mut rng), &number.to_string());
            if number % 1_000_000 == 999_999 {
                println!("{number}: {:.0?}", started.elapsed());
            }
        }
        seen
    });
    seen.finish(started);
}
