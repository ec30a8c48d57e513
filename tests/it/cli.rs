//! The command line without a cluster: what it refuses, and in which words.

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
fn help_and_version_are_data() {
    assert!(run(&["--version"]).exits(0).stdout.starts_with("kube-lego-once "));
    assert!(run(&["run", "--help"]).exits(0).stdout.contains("--dry-run"));
}
