//! The documents: their commands are commands, their links lead somewhere, and their tables are complete.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kube_lego_once::cli::Cli;
use kube_lego_once::decide::checks::Reason;
use serde::Deserialize as _;
use serde_json::Value;

use crate::scene::cluster;

/// Each kind of block, the document that may have it (none: all), and what tests it.
const KINDS: &[(&str, &str, &str)] = &[
    (
        "sh",
        "",
        "`every_command_of_every_document_is_one`, and the API server for kubectl's",
    ),
    (
        "sh public",
        "",
        "the same; to be run as they stand they need a cluster that a public CA can reach",
    ),
    ("sh operator", "docs/operations.md", "operating.rs runs them"),
    ("sh person", "docs/security.md", "laptop.rs runs them"),
    (
        "console",
        "README.md",
        "quick_start.rs runs them, and compares what they print",
    ),
    ("yaml", "", "`every_yaml_block_of_every_document_is_yaml`"),
    ("mermaid", "README.md", "nothing: it is a picture"),
];

/// The most lines of the README: what it is, and how to begin. The rest is in `docs/`.
const MOST_README_LINES: usize = 200;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect(name)
}

/// Every document, by its path in the repository. Listed, so that none is forgotten.
fn documents() -> Vec<String> {
    let mut names = vec!["README.md".to_owned(), "tests/cluster/README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).expect("docs/") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    names
}

/// The lines of a text's shell blocks, without comments. `public` blocks need a public cluster to be run.
pub fn commands_of(text: &str) -> Vec<String> {
    commands(blocks(text, "sh"))
}

/// The lines of the shell blocks with this word behind `sh`.
pub fn commands_for(text: &str, word: &str) -> Vec<String> {
    commands(blocks(text, &format!("sh {word}")))
}

fn commands<'a>(blocks: impl Iterator<Item = &'a str>) -> Vec<String> {
    blocks
        .flat_map(|block| block.lines().skip(1))
        .map(|line| line.split(" #").next().expect("a line").trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// What is between a fence of this language and the next one, the rest of the fence's own line included.
pub fn blocks<'a>(text: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let rests = text.split(&format!("```{language}")).skip(1).collect::<Vec<_>>();
    rests.into_iter().map(|rest| rest.split("```").next().expect("a block"))
}

#[test]
fn every_block_of_every_document_has_a_test() {
    for document in documents() {
        let text = read(&document);
        let mut inside = false;
        for line in text.lines() {
            if let Some(kind) = line.trim_start().strip_prefix("```") {
                inside = !inside;
                let known = |(name, only, _): &&(&str, &str, &str)| *name == kind && [&document, ""].contains(only);
                assert!(
                    !inside || KINDS.iter().any(|row| known(&row)),
                    "{document}: who tests a block `{kind}`?"
                );
            }
            assert!(
                inside || !line.starts_with("    "),
                "{document}: a block without a fence: {line}"
            );
        }
        assert!(!inside, "{document}: a block does not end");
    }
    assert_eq!(
        blocks(&read("README.md"), "console").count(),
        2,
        "quick_start.rs runs the first, gateways.rs the second"
    );
}

#[test]
fn every_command_of_every_document_is_one() {
    let makefile = read("Makefile");
    let mut count = 0;
    for document in documents() {
        for command in commands_of(&read(&document)) {
            count += 1;
            check_command(&command, &makefile, &document);
        }
    }
    assert!(count > 40, "{count}");
}

fn check_command(command: &str, makefile: &str, document: &str) {
    // What becomes of its output is the shell's affair.
    let first = command.split(" | ").flat_map(|part| part.split(" > ")).next();
    let first = first.expect("a command");
    let mut words: Vec<_> = first.split_whitespace().collect();
    // Variables before a command.
    while words[0]
        .split_once('=')
        .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    {
        words.remove(0);
    }
    match words[0] {
        "kube-lego-once" => {
            Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{document}: {command}: {error}"));
        }
        "make" => assert!(makefile.contains(&format!("\n{}:", words[1])), "{document}: {command}"),
        "tests/cluster/cluster" => {
            let verb = format!("command(\"{}\",", words[1]);
            assert!(
                read("tests/cluster/commands.py").contains(&verb),
                "{document}: {command}"
            );
            let run = words
                .iter()
                .position(|word| *word == "--")
                .filter(|_| words[1] == "run");
            if let Some(at) = run.filter(|at| words[at + 1] != "COMMAND") {
                check_command(&words[at + 1..].join(" "), makefile, document);
            }
        }
        // What follows `--test it` must name a test; a part of a name will do.
        "cargo" => {
            if let Some(at) = words.windows(2).position(|pair| pair == ["--test", "it"]) {
                let name = words[at + 2].split("::").last().expect("a name");
                assert!(is_a_test(name), "{document}: {command}: no test is called `{name}`");
            }
        }
        // `every_kubectl_command_of_every_document_is_taken`
        "kubectl" => {}
        _ => panic!("{document}: {command}: who tests this?"),
    }
}

fn is_a_test(name: &str) -> bool {
    let sources = fs::read_dir(root().join("tests/it")).expect("tests/it");
    let mut paths = sources.map(|entry| entry.expect("an entry").path());
    paths.any(|path| {
        let module = path.file_stem().is_some_and(|stem| stem == name);
        module || path.extension().is_some_and(|extension| extension == "rs") && has_function(&path, name)
    })
}

/// Whether a function of a source has this in its name.
fn has_function(source: &Path, name: &str) -> bool {
    let text = fs::read_to_string(source).expect("a source");
    let functions = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
    functions
        .into_iter()
        .any(|line| line.split('(').next().expect("a name").contains(name))
}

/// kubectl and the API server take each command, without doing what it says. That an object is there or not is no mistake.
#[test]
#[ignore = "needs the test cluster"]
fn every_kubectl_command_of_every_document_is_taken() {
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        // The others are run as they stand by other tests.
        let of_all = blocks(&text, "sh").filter(|block| block.starts_with('\n') || block.starts_with(" public\n"));
        let of_all = commands(of_all);
        for command in of_all.iter().filter_map(|command| command.strip_prefix("kubectl ")) {
            let mut kubectl = Command::new(cluster()["kubectl"].as_str().expect("kubectl"));
            kubectl.args(["--kubeconfig", cluster()["kubeconfig"].as_str().expect("kubeconfig")]);
            kubectl.args(command.split_whitespace());
            if command.starts_with("create ") || command.starts_with("delete ") {
                kubectl.arg("--dry-run=server");
            }
            let output = kubectl.output().expect("kubectl");
            let error = String::from_utf8(output.stderr).expect("text");
            let about_an_object = ["not found", "already exists"].iter().any(|word| error.contains(word));
            assert!(
                output.status.success() || about_an_object,
                "{document}: kubectl {command}: {error}"
            );
            count += 1;
        }
    }
    assert!(count > 5, "{count}");
}

#[test]
fn every_yaml_block_of_every_document_is_yaml() {
    let mut rules = 0;
    for document in documents() {
        let text = read(&document);
        for parsed in blocks(&text, "yaml").flat_map(serde_yaml_ng::Deserializer::from_str) {
            let value = Value::deserialize(parsed).unwrap_or_else(|error| panic!("{document}: {error}"));
            let of_groups = value["groups"][0]["rules"].as_array().into_iter().flatten();
            for rule in of_groups {
                assert!(rule["expr"].is_string(), "{document}: {rule}");
                rules += 1;
            }
        }
    }
    assert!(rules >= 4, "{rules} alerts");
}

#[test]
fn every_reason_has_its_row_in_the_reference() {
    let reference = read("docs/reference.md");
    for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::Valid) {
        assert!(reference.contains(&format!("\n| `{}` |", reason.word())), "{reason:?}");
    }
}

#[test]
fn every_link_leads_to_a_file_or_a_heading() {
    for document in documents() {
        let text = read(&document);
        let folder = Path::new(&document).parent().expect("a folder").to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("https://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                PathBuf::from(&document)
            } else {
                folder.join(file)
            };
            assert!(root().join(&target).exists(), "{document}: `{link}` leads nowhere");
            if !heading.is_empty() {
                let anchors = anchors(&read(&target.display().to_string()));
                assert!(
                    anchors.contains(heading),
                    "{document}: `{link}`: there is no such heading"
                );
            }
        }
    }
}

/// The headings of a document as links name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| {
        line.trim_start_matches('#')
            .strip_prefix(' ')
            .filter(|_| line.starts_with('#'))
    });
    headings
        .map(|heading| {
            let plain = heading.to_lowercase().replace(' ', "-");
            plain.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
        })
        .collect()
}

#[test]
fn every_file_that_a_newcomer_is_sent_to_is_there() {
    let text = read("docs/development.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|it| it.starts_with("src/") || it.starts_with("tests/") || it.starts_with("docs/"));
    let mut count = 0;
    for path in paths.filter(|path| !path.contains(' ') && !path.contains("NAME")) {
        assert!(root().join(path).exists(), "docs/development.md: there is no `{path}`");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

/// Each claim of the threat model names a test, and the test is there.
#[test]
fn every_claim_of_the_threat_model_has_its_test() {
    let mut code = String::new();
    let mut paths = vec![root().join("src"), root().join("tests/it")];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(
                fs::read_dir(&path)
                    .expect("a folder")
                    .map(|entry| entry.expect("an entry").path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).expect("a file"));
        }
    }
    let text = read("docs/security.md");
    let mut claims = 0;
    for table in text.split("| tested by |\n").skip(1) {
        for row in table.lines().skip(1).take_while(|line| line.starts_with('|')) {
            let name = row.rsplit('`').nth(1).unwrap_or_default();
            assert!(
                code.contains(&format!("fn {name}(")),
                "docs/security.md: no test `{name}` of: {row}"
            );
            claims += 1;
        }
    }
    assert!(claims >= 18, "{claims}");
}

#[test]
fn every_document_that_is_named_elsewhere_is_there() {
    let mut names = BTreeSet::new();
    let mut paths: Vec<_> = ["src", "tests/it", "rbac.yaml", "cronjob.yaml", "Makefile", "Cargo.toml"]
        .map(|it| root().join(it))
        .into();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(
                fs::read_dir(&path)
                    .expect("a folder")
                    .map(|entry| entry.expect("an entry").path()),
            );
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned();
        for (at, _) in text.match_indices("docs/") {
            let name: String = text[at..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || "/._".contains(*c))
                .collect();
            let own = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '/' || c == '.');
            if own && name.ends_with(".md") {
                assert!(root().join(&name).exists(), "{}: there is no `{name}`", path.display());
                names.insert(name);
            }
        }
    }
    assert!(names.len() >= 4, "{names:?}");
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(
        lines <= MOST_README_LINES,
        "the README has {lines} lines: the rest belongs into docs/"
    );
}
