//! Holds the rooms of `src/` to their rules: who may use whom, what is pure, and how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

mod paths;

use paths::paths;

/// Each room below `lib.rs` and `main.rs`, and the rooms that it may use.
const ROOMS: &[(&str, &[&str])] = &[
    ("decide", &[]),
    ("report", &["decide"]),
    ("adapters", &["decide"]),
    ("problem", &["adapters", "decide"]),
    ("cli", &["adapters", "decide", "problem", "report"]),
    ("observe", &["adapters", "cli", "decide", "problem"]),
    ("apply", &["adapters", "cli", "decide", "observe", "problem"]),
];

/// The rooms that compute and do nothing else.
const PURE_ROOMS: &[&str] = &["decide", "report"];

/// What a pure room may not name, and why. A path is forbidden where it starts with one of these.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "a runtime"),
    ("futures", "a runtime"),
    ("kube", "the cluster's client"),
    ("instant_acme", "the CA's client"),
    ("tiny_http", "a server"),
    ("hyper", "a client"),
    ("hickory_resolver", "a client"),
    ("std::env", "the environment"),
    ("std::fs", "files"),
    ("std::io", "input and output"),
    ("std::net", "sockets"),
    ("std::process", "the process"),
    ("std::thread", "threads"),
    ("std::time::Instant", "a clock"),
    ("std::time::SystemTime", "a clock"),
    ("jiff::Timestamp::now", "a clock"),
    ("Timestamp::now", "a clock"),
    ("jiff::Zoned", "a clock"),
    ("ring::rand", "randomness"),
    ("log", "logging"),
    ("println", "printing"),
    ("eprintln", "printing"),
    ("print", "printing"),
    ("eprint", "printing"),
    ("dbg", "printing"),
    ("kube_lego_once", "what is above"),
];

/// `IpAddr` and its kin are values; where a `Write` leads to is its caller's affair.
const PURE: &[&str] = &[
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::io::Write",
    "std::io::Result",
    "std::io::Error",
];

/// Globs that would hide what is used.
const HIDING: &[&str] = &["std", "std::*", "jiff::*", "std::net::*", "std::time::*"];

/// The most lines of a file, its tests included where they stand beside the code.
const MOST_LINES: usize = 500;

#[test]
fn every_room_keeps_to_its_rules() {
    let top = list(&source(""));
    let rooms = top
        .iter()
        .map(|place| name_of(place))
        .filter(|name| !["lib", "main"].contains(&name.as_str()));
    let mut known: Vec<_> = ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect();
    known.sort();
    assert_eq!(rooms.collect::<Vec<_>>(), known, "a room of `src/` has no rule here");
    let broken: Vec<String> = top
        .iter()
        .flat_map(|place| rust_files(place))
        .flat_map(|file| {
            let place = file
                .strip_prefix(source(""))
                .expect("a file of `src/`")
                .display()
                .to_string();
            broken_by(&place, &read(&file))
                .into_iter()
                .map(move |what| format!("src/{place}: {what}"))
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = rust_files(&root.join("src"))
        .into_iter()
        .chain(rust_files(&root.join("tests/it")));
    let long: Vec<String> = files
        .map(|file| (read(&file).lines().count(), file))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, file)| format!("{} has {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn the_rules_see_what_they_forbid() {
    for (place, forbidden) in [
        ("decide/plan.rs", "use tokio::time::sleep;"),
        ("decide/plan.rs", "use std::{collections::BTreeMap, fs};"),
        ("decide/plan.rs", "use std::net::{IpAddr, TcpStream};"),
        ("decide/plan.rs", "use std as s;"),
        ("decide/plan.rs", "use std::*;"),
        ("decide/plan.rs", "use kube::Client;"),
        ("decide/plan.rs", "fn f() { let now = jiff::Timestamp::now(); }"),
        ("decide/plan.rs", "fn f() { println!(\"x\"); }"),
        ("decide/plan.rs", "fn f() { foo!(std::env::var(\"X\")) }"),
        ("report/table.rs", "fn f() { log::info!(\"x\"); }"),
        ("report/table.rs", "use ::instant_acme::Account;"),
        ("report/table.rs", "use crate::adapters::cluster::Cluster;"),
        ("decide/plan.rs", "use crate::report::Report;"),
        ("decide/plan.rs", "use super::super::adapters::cluster::Cluster;"),
        (
            "decide/route/objects.rs",
            "use super::super::super::apply::context::Context;",
        ),
        ("adapters/probe/mod.rs", "use crate::adapters::cluster::Cluster;"),
        ("adapters/probe/mod.rs", "use super::cluster::Cluster;"),
        ("adapters/probe/wire.rs", "use super::super::cluster::Cluster;"),
        ("adapters/probe/wire.rs", "use crate::report::Report;"),
        ("adapters/responder/mod.rs", "use super::super::cli::Cli;"),
        ("cli/settings.rs", "use crate::observe::site::Site;"),
        ("observe/mod.rs", "use crate::apply::context::Context;"),
    ] {
        assert!(!broken_by(place, forbidden).is_empty(), "{place}: {forbidden}");
    }
    for (place, allowed) in [
        ("decide/plan.rs", "use std::net::IpAddr;"),
        ("decide/plan.rs", "use k8s_openapi::api::core::v1::Secret;"),
        (
            "decide/plan.rs",
            "// use tokio::x;\nfn f() -> &'static str { \"std::fs::read\" }",
        ),
        (
            "decide/route/objects.rs",
            "use super::rule::RuleHost; use crate::decide::name::DnsName;",
        ),
        ("decide/plan.rs", "use std::{fmt, collections::BTreeMap};"),
        ("report/table.rs", "use crate::decide::plan::Plan;"),
        (
            "adapters/probe/wire.rs",
            "use crate::decide::name::RunId; use super::super::cluster_name;",
        ),
        (
            "apply/batch.rs",
            "use crate::adapters::probe::Prober; use tokio::time::sleep;",
        ),
    ] {
        assert_eq!(broken_by(place, allowed), Vec::<String>::new(), "{place}: {allowed}");
    }
}

/// What a file at this place of `src/` says that its room may not.
fn broken_by(place: &str, text: &str) -> Vec<String> {
    let mut parts = place.split('/').map(|part| part.trim_end_matches(".rs"));
    let room = parts.next().unwrap_or_default();
    let Some((_, used)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return Vec::new();
    };
    let adapter = parts.next().filter(|_| room == "adapters").unwrap_or_default();
    let adapters = list(&source("adapters"));
    let is_another_adapter = |name: &str| name != adapter && adapters.iter().any(|it| name_of(it) == name);
    let what = |path: &String| {
        let outside = |name: &str| name != room && !used.contains(&name) && ROOMS.iter().any(|(room, _)| *room == name);
        let inside = path
            .strip_prefix("crate::")
            .or_else(|| Some(path.trim_start_matches("super::")).filter(|rest| rest != path));
        let mut names = inside.unwrap_or_default().split("::");
        let (first, second) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        let neighbour = !adapter.is_empty()
            && (is_another_adapter(first) && !path.starts_with("crate::")
                || first == "adapters" && is_another_adapter(second));
        if outside(first) {
            return Some(format!("`{path}` is above `{room}/`"));
        }
        if neighbour {
            return Some(format!("`{path}` is another adapter"));
        }
        if !PURE_ROOMS.contains(&room) || PURE.iter().any(|pure| starts_with(path, pure)) {
            return None;
        }
        let hit = IMPURE.iter().find(|(forbidden, _)| starts_with(path, forbidden));
        let hides = HIDING
            .contains(&path.as_str())
            .then(|| format!("`{path}` hides what is used"));
        hit.map(|(_, what)| format!("`{path}` is {what}")).or(hides)
    };
    paths(text).iter().filter_map(what).collect()
}

fn starts_with(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn name_of(place: &Path) -> String {
    place.file_stem().expect("a name").to_string_lossy().into_owned()
}

fn source(room: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room)
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("list `{}`: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// The Rust files at a place: itself, or everything below it.
fn rust_files(place: &Path) -> Vec<PathBuf> {
    if place.is_dir() {
        return list(place).iter().flat_map(|path| rust_files(path)).collect();
    }
    Some(place.to_owned())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .into_iter()
        .collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("read `{}`: {error}", file.display()))
}
