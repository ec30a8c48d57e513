//! The documents: their commands are commands, their links lead somewhere, and their tables are complete.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kube_lego_once::cli::Cli;
use kube_lego_once::decide::checks::Reason;
use serde::Deserialize as _;
use serde_json::Value;

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
    let first = command.split(" | ").next().expect("a command");
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
        // What follows `--test it` must name a test; a part of a name will do.
        "cargo" | "tests/cluster/cluster" => {
            if let Some(at) = words.windows(2).position(|pair| pair == ["--test", "it"]) {
                let name = words[at + 2].split("::").next().expect("a name");
                assert!(is_a_test(name), "{document}: {command}: no test is called `{name}`");
            }
        }
        "kubectl" => {}
        _ => panic!("{document}: {command}: who tests this?"),
    }
}

fn is_a_test(name: &str) -> bool {
    let sources = fs::read_dir(root().join("tests/it")).expect("tests/it");
    let mut paths = sources.map(|entry| entry.expect("an entry").path());
    paths.any(|path| {
        let module = path.file_stem().is_some_and(|stem| stem == name);
        let source = path.extension().is_some_and(|extension| extension == "rs");
        module || source && fs::read_to_string(&path).expect("a source").contains(name)
    })
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

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(
        lines <= MOST_README_LINES,
        "the README has {lines} lines: the rest belongs into docs/"
    );
}
