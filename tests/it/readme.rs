//! The README's commands are commands: what a shell block says is parsed by what it calls.

use std::fs;
use std::path::Path;

use kube_lego_once::cli::Cli;
use kube_lego_once::decide::checks::Reason;
use serde::Deserialize as _;
use serde_json::Value;

pub fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

/// The lines of a text's shell blocks, without comments; those of blocks marked `public` need a public cluster to be run.
pub fn commands_of(text: &str) -> Vec<String> {
    blocks(text, "sh")
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
fn every_command_of_the_readme_is_one() {
    let commands = commands_of(&read("README.md"));
    assert!(commands.len() > 20, "{commands:?}");
    let makefile = read("Makefile");
    for command in commands {
        let first = command.split(" | ").next().expect("a command");
        let words: Vec<_> = first.split(' ').collect();
        match words[0] {
            "kube-lego-once" => {
                Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{command}: {error}"));
            }
            "make" => assert!(makefile.contains(&format!("\n{}:", words[1])), "{command}"),
            variable if variable.starts_with("FUZZ_") || variable.starts_with("PROPTEST_") => {}
            "cargo" | "kubectl" | "tests/cluster/cluster" => {}
            _ => panic!("{command}: who tests this?"),
        }
    }
}

#[test]
fn every_yaml_block_of_the_readme_is_yaml() {
    let readme = read("README.md");
    let parsed: Vec<Value> = blocks(&readme, "yaml")
        .flat_map(serde_yaml_ng::Deserializer::from_str)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .collect();
    let rules = parsed
        .iter()
        .find_map(|value| value["groups"][0]["rules"].as_array())
        .expect("rules");
    assert!(rules.iter().all(|rule| rule["expr"].is_string()), "{rules:?}");
}

#[test]
fn every_reason_has_its_row_in_the_readme() {
    let readme = read("README.md");
    for reason in Reason::ALL {
        assert!(readme.contains(&format!("`{}`", reason.word())), "{reason:?}");
    }
}
