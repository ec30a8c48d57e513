//! A row: one wrong input, run as a user would run it, and how it must end.

use std::net::TcpListener;
use std::process::Command;

use crate::scene::{Ran, Scene};

/// Runs one row, prints it, and checks how it ends: with this exit status, with these words on stderr or in the report, with a
/// hint, and with nothing ordered or left.
#[track_caller]
pub(super) fn row(scene: &Scene, name: &str, command: &mut Command, status: i32, words: &[&str]) {
    let orders = scene.pebble.count("Added order");
    let ran = Ran::from(command.output().expect("the program"));
    let said = format!("{}{}", ran.stdout, ran.stderr);
    println!("## {name}: exit status {}\n{}", ran.status, said.trim_end());
    assert_eq!(ran.status, status, "{name}");
    for word in words {
        assert!(said.contains(word), "{name}: `{word}` is not in what was said");
    }
    if status == 2 {
        assert_eq!(
            ran.stderr.lines().filter(|line| line.starts_with("error: ")).count(),
            1,
            "{name}: one error"
        );
    }
    assert!(said.contains("hint: "), "{name}: a hint");
    assert!(!said.contains("panicked"), "{name}");
    assert_eq!(scene.pebble.count("Added order"), orders, "{name}: nothing is ordered");
    scene.assert_nothing_is_left();
}

/// A scene with one certificate that is due.
pub(super) fn due(name: &'static str) -> (Scene, String) {
    let scene = Scene::new(name);
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &[&format!("a.{name}.example")]));
    (scene, namespace)
}

/// An address where nobody listens.
pub(super) fn refusing() -> String {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("an address")
        .to_string()
}
