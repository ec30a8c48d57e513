//! The command line without a cluster: what it refuses, and in which words.

use std::process::Stdio;

use crate::scene::{Ran, program};

fn run(arguments: &[&str]) -> Ran {
    program().args(arguments).output().expect("the program").into()
}

#[test]
fn bad_arguments_end_with_2_and_say_what_to_do() {
    for (arguments, words) in [
        (
            &["run", "--directory", "http://ca.example"] as &[_],
            "neither an https URL nor one of",
        ),
        (
            &["run", "--directory", "https://acme-v01.api.letsencrypt.org/directory"],
            "use `letsencrypt`",
        ),
        (
            &["run", "--minimum-validity", "30"],
            "not a duration such as `30d` or `720h`",
        ),
        (
            &["run", "--kubeconfig", "/nonexistent/config", "--dry-run"],
            "/nonexistent/config",
        ),
        (
            &[
                "run",
                "--directory",
                "https://ca.example/dir",
                "--ca-bundle",
                "/nonexistent/ca.pem",
            ],
            "/nonexistent/ca.pem",
        ),
        (
            &["run", "--key-type", "rsa"],
            "possible values: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-4096",
        ),
        (&["run", "--dry-rum"], "--dry-run"),
    ] {
        let ran = run(arguments).exits(2);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}: stdout is for data");
    }
}

#[test]
fn without_a_cluster_all_that_was_tried_is_named() {
    let ran = run(&["run", "--dry-run"]).exits(2);
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
}

#[test]
fn an_error_that_nobody_reads_ends_with_2_all_the_same() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = program().args(["run", "--dry-run"]).stderr(writer).status();
    assert_eq!(status.expect("the program").code(), Some(2));
}

#[test]
fn help_and_version_are_data() {
    assert!(run(&["--version"]).exits(0).stdout.starts_with("kube-lego-once "));
    assert!(run(&["run", "--help"]).exits(0).stdout.contains("--dry-run"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    // `completions` says more than a pipe holds once its reader is gone.
    let mut child = program()
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().expect("the program ends")).exits(0);
    assert_eq!(ran.stderr, "");
}

#[test]
fn completions_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            run(&["completions", shell]).exits(0).stdout.contains("kube-lego-once"),
            "{shell}"
        );
    }
}

#[test]
fn what_the_environment_gives_is_not_said_to_be_missing() {
    for (verb, usage) in [
        ("run", "Usage: kube-lego-once run [OPTIONS] [NAME]...\n"),
        (
            "explain",
            "Usage: kube-lego-once explain [OPTIONS] --namespace <NAMESPACE> <NAME>\n",
        ),
        ("clean", "Usage: kube-lego-once clean [OPTIONS]\n"),
    ] {
        let mut command = program();
        command.args([verb, "--nosuch"]);
        command
            .env("KUBE_LEGO_ONCE_DIRECTORY", "letsencrypt")
            .env("KUBE_LEGO_ONCE_HOME_NAMESPACE", "home");
        let ran = Ran::from(command.output().expect("the program")).exits(2);
        assert!(ran.stderr.contains(usage), "{}", ran.stderr);
    }
}

#[test]
fn a_name_that_is_of_another_kind_is_refused() {
    let ran = run(&["run", "pod/shop", "-n", "web"]).exits(2);
    assert!(
        ran.stderr
            .contains("`pod` is none of `secret`, `ingress`, `gateway` and `listenerset`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_last_word_is_json_where_the_log_is() {
    let ran = run(&["run", "--log-format", "json"]).exits(2);
    let line: serde_json::Value = serde_json::from_str(ran.stderr.lines().last().expect("a line")).expect("JSON");
    assert_eq!(line["level"], "error");
    assert!(line["hint"].is_string());
}

#[test]
fn every_flag_of_a_run_is_under_a_heading_and_names_its_variable() {
    let help = run(&["run", "--help"]).exits(0).stdout;
    for heading in [
        "Selection:",
        "Source:",
        "Cluster:",
        "CA:",
        "Decision:",
        "Challenge:",
        "Logging:",
    ] {
        assert!(help.contains(heading), "{heading}\n{help}");
    }
    for variable in ["DIRECTORY", "CA_BUNDLE", "MINIMUM_VALIDITY", "LISTEN", "HOME_NAMESPACE"] {
        assert!(help.contains(&format!("KUBE_LEGO_ONCE_{variable}=")), "{variable}");
    }
    assert!(help.contains("Examples:"), "{help}");
}
