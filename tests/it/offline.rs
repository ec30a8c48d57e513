//! The table of decisions: YAML in, report out, through `--dry-run -f`. A case is one file in `cases/`, found by its name.
//!
//! Its first document says which flags are given (beside a private directory, and a time that stands still) and each line of
//! the report; the rest are manifests. `{{certificate ...}}` and `{{ours}}` in them are written out by [`template`].

mod template;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kube_lego_once::apply::stop::Stop;
use kube_lego_once::cli::Cli;
use kube_lego_once::decide::checks::Reason;
use kube_lego_once::problem;
use serde::Deserialize;
use serde_json::Value;

use crate::written::written;

/// The private CA that is asked where a case names none.
const DIRECTORY: &str = "https://ca.example/dir";
/// The time at which every case looks.
pub const NOW: &str = "2026-12-01T12:00:00Z";

/// The first document of a case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Case {
    /// Flags, separated by blanks. `--directory=` removes the directory.
    #[serde(default)]
    flags: String,
    /// The lines of the report: `PLACE action Reason: words of the message`, `rejected ...`, `note ...`, `error: ...`.
    report: Vec<String>,
}

#[test]
fn every_case_is_decided_as_it_says() {
    let mut seen = BTreeSet::new();
    let mut failures = Vec::new();
    let cases = cases();
    for path in &cases {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let (case, manifests) = parse(path);
        let lines = report(&name, &case.flags, &manifests);
        seen.extend(
            lines
                .iter()
                .filter_map(|line| line.split([' ', ':']).nth(2).map(str::to_owned)),
        );
        failures.extend(difference(&case.report, &lines).map(|difference| format!("{name}\n{difference}")));
    }
    assert!(
        failures.is_empty(),
        "{} cases fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(cases.len() >= 80, "{} cases", cases.len());
    // What a cluster's errors and a CA's suggestions cause are rows beside `plan`.
    let beyond_manifests = [Reason::Unknown, Reason::Suggested, Reason::BackingOff];
    let unseen: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !beyond_manifests.contains(reason) && !seen.contains(reason.word()))
        .collect();
    assert!(unseen.is_empty(), "no case for {unseen:?}");
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

fn parse(path: &Path) -> (Case, String) {
    let text = fs::read_to_string(path).expect("a case");
    let (case, manifests) = text.split_once("\n---\n").unwrap_or((&text, ""));
    let case = serde_yaml_ng::from_str(case).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (case, template::expand(manifests))
}

/// The report of manifests, a line for each thing that it says.
fn report(name: &str, flags: &str, manifests: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("offline").join(name);
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("case.yaml");
    fs::write(&file, manifests).expect("a file");
    let json = dry_run(&file, flags);
    match json {
        Err(error) => vec![format!("error: {error}").replace(&format!("{}/", folder.display()), "")],
        Ok(json) => lines(&json)
            .into_iter()
            .map(|line| line.replace(&format!("{}/", folder.display()), ""))
            .collect(),
    }
}

fn dry_run(file: &Path, flags: &str) -> Result<Value, String> {
    let file = file.to_string_lossy();
    let mut arguments = vec!["kube-lego-once", "run", "--dry-run", "-o", "json", "-f", &file];
    if !flags.contains("--at") {
        arguments.extend(["--at", NOW]);
    }
    if !flags.contains("--directory") {
        arguments.extend(["--directory", DIRECTORY]);
    }
    arguments.extend(flags.split_whitespace().filter(|flag| *flag != "--directory="));
    let cli = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let (_stopper, stop) = Stop::pair();
    match runtime.block_on(kube_lego_once::run(&cli, &stop)) {
        Ok(ending) => Ok(serde_json::from_str(&written(|out| (ending.write)(out))).expect("JSON")),
        Err(error) => Err(match problem::hint(&error) {
            Some(hint) => format!("{} (hint: {hint})", problem::one_line(&error)),
            None => problem::one_line(&error),
        }),
    }
}

fn lines(report: &Value) -> Vec<String> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let words = |value: &Value| {
        list(value)
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let mut lines = Vec::new();
    for row in list(&report["certificates"]) {
        let place = format!("{}/{}", text(&row, "namespace"), text(&row, "secret"));
        lines.push(format!(
            "{place} {} {}: {} [{} from {}]",
            text(&row, "action"),
            text(&row, "reason"),
            text(&row, "message"),
            words(&row["hosts"]).join(" "),
            words(&row["ingresses"]).join(" "),
        ));
        lines.extend(words(&row["notes"]).iter().map(|note| format!("note {place}: {note}")));
    }
    for row in list(&report["rejected"]) {
        let place = format!("{}/{}", text(&row, "namespace"), text(&row, "ingress"));
        lines.push(format!(
            "rejected {place} {}: {}",
            text(&row, "reason"),
            text(&row, "message")
        ));
    }
    lines.extend(words(&report["notes"]).iter().map(|note| format!("note: {note}")));
    lines
}

/// Nothing where each line is as expected: the same in front of the first `: `, and behind it at least the words, which
/// `...` separates.
fn difference(expected: &[String], lines: &[String]) -> Option<String> {
    let fits = |(expected, line): (&String, &String)| {
        let (head, words) = expected
            .split_once(": ")
            .unwrap_or((expected.trim_end_matches(':'), ""));
        let (start, sentence) = line.split_once(": ").unwrap_or((line, ""));
        head == start && words.split("...").all(|words| sentence.contains(words.trim()))
    };
    let same = expected.len() == lines.len() && expected.iter().zip(lines).all(fits);
    let list = |sign: &str, lines: &[String]| {
        lines
            .iter()
            .map(|line| format!("  {sign} {line}\n"))
            .collect::<String>()
    };
    (!same).then(|| list("-", expected) + &list("+", lines))
}
