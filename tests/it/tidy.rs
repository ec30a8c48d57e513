//! Holds the folders of `src/` to their rules: `decide/` is pure, and no adapter uses another.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::LazyLock;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What `decide/` may not name, and why. A path is forbidden where it starts with one of these.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "a runtime"),
    ("futures", "a runtime"),
    ("kube", "the cluster's client"),
    ("instant_acme", "the authority's client"),
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
    ("crate::adapters", "an adapter"),
    ("crate::run", "what is above"),
    ("kube_lego_once", "what is above"),
];

/// `IpAddr` and its kin are values.
const PURE: &[&str] = &["std::net::IpAddr", "std::net::Ipv4Addr", "std::net::Ipv6Addr"];

#[test]
fn decide_is_pure() {
    let mut broken = Vec::new();
    for file in rust_files(&source("decide")) {
        broken.extend(
            impurities(&read(&file))
                .into_iter()
                .map(|what| format!("{}: {what}", file.display())),
        );
    }
    assert!(
        broken.is_empty(),
        "`src/decide/` names what it may not:\n{}",
        broken.join("\n")
    );
}

#[test]
fn no_adapter_uses_another() {
    let adapters = source("adapters");
    let mut broken = Vec::new();
    for entry in list(&adapters) {
        let own = entry.file_stem().expect("a name").to_string_lossy().into_owned();
        let others: Vec<String> = list(&adapters)
            .iter()
            .map(|other| other.file_stem().expect("a name").to_string_lossy().into_owned())
            .filter(|other| *other != own && other != "mod")
            .collect();
        for file in rust_files(&entry).iter().filter(|_| own != "mod") {
            let used = neighbours(&read(file), &others);
            broken.extend(used.into_iter().map(|path| format!("{}: {path}", file.display())));
        }
    }
    assert!(
        broken.is_empty(),
        "an adapter uses another, or what is above it:\n{}",
        broken.join("\n")
    );
}

#[test]
fn the_rules_see_what_they_forbid() {
    for forbidden in [
        "use tokio::time::sleep;",
        "use std::{collections::BTreeMap, fs};",
        "use std::net::{IpAddr, TcpStream};",
        "use std as s;",
        "use std::*;",
        "use kube::Client;",
        "fn f() { let now = jiff::Timestamp::now(); }",
        "fn f() { println!(\"x\"); }",
        "fn f() { foo!(std::env::var(\"X\")) }",
        "fn f() { log::info!(\"x\"); }",
        "use ::instant_acme::Account;",
        "use crate::adapters::cluster::Cluster;",
        "use super::super::adapters::cluster::Cluster;",
        "use crate::batch::Batch;",
        "use super::super::world::World;",
    ] {
        assert!(!impurities(forbidden).is_empty(), "{forbidden}");
    }
    for allowed in [
        "use std::net::IpAddr;",
        "use k8s_openapi::api::core::v1::Secret;",
        "// use tokio::x;\nfn f() -> &'static str { \"std::fs::read\" }",
        "use super::name::DnsName;",
        "use std::{fmt, collections::BTreeMap};",
    ] {
        assert_eq!(impurities(allowed), Vec::<String>::new(), "{allowed}");
    }
    let others = ["cluster".to_owned()];
    for forbidden in [
        "use crate::adapters::cluster::Cluster;",
        "use super::cluster::Cluster;",
        "use crate::prepare::prepare;",
        "use super::super::cli::Cli;",
    ] {
        assert!(!neighbours(forbidden, &others).is_empty(), "{forbidden}");
    }
    assert_eq!(
        neighbours("use crate::decide::name::RunId; use super::cluster_name;", &others),
        Vec::<String>::new()
    );
}

/// The forbidden paths of a source text.
fn impurities(text: &str) -> Vec<String> {
    let name = |path: &str| {
        if PURE.iter().any(|pure| starts_with(path, pure)) {
            return None;
        }
        let hit = IMPURE.iter().find(|(forbidden, _)| starts_with(path, forbidden));
        let whole = ["std", "std::*", "jiff::*", "std::net::*", "std::time::*"].contains(&path);
        let place = path
            .strip_prefix("super::")
            .map(|rest| rest.trim_start_matches("super::"));
        let above = reaches_above(path, "crate")
            || place.is_some_and(|place| starts_with(place, "adapters") || is_above(place));
        match hit {
            Some((_, what)) => Some(format!("`{path}` is {what}")),
            None if whole => Some(format!("`{path}` hides what is used")),
            None if above => Some(format!("`{path}` is above this room")),
            None => None,
        }
    };
    paths(text).iter().filter_map(|path| name(path)).collect()
}

/// Paths by which an adapter reaches another one, or the floors above.
fn neighbours(text: &str, others: &[String]) -> Vec<String> {
    let reaches = |path: &String| {
        let other = |other: &String| {
            starts_with(path, &format!("crate::adapters::{other}"))
                || starts_with(path, &format!("super::{other}"))
                || starts_with(path, &format!("super::super::{other}"))
        };
        others.iter().any(other) || reaches_above(path, "crate") || reaches_above(path, "super::super")
    };
    paths(text).into_iter().filter(reaches).collect()
}

/// The rooms of `src/` but the two that others stand on.
static ROOMS_ABOVE: LazyLock<Vec<String>> = LazyLock::new(|| {
    let rooms = list(&source(""));
    let names = rooms
        .iter()
        .map(|room| room.file_stem().expect("a name").to_string_lossy().into_owned());
    names.filter(|name| name != "decide" && name != "adapters").collect()
});

fn is_above(place: &str) -> bool {
    ROOMS_ABOVE.iter().any(|room| starts_with(place, room))
}

fn reaches_above(path: &str, root: &str) -> bool {
    let inside = path.strip_prefix(root).and_then(|rest| rest.strip_prefix("::"));
    inside.is_some_and(is_above)
}

fn starts_with(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every path of a text, in `use` items (their braces multiplied out) and anywhere else, macros' arguments included.
/// Comments and strings are no tokens of a path.
fn paths(text: &str) -> Vec<String> {
    let tokens = TokenStream::from_str(text).expect("a Rust source file");
    let mut found = Vec::new();
    walk(tokens, "", &mut found);
    found
}

fn walk(tokens: TokenStream, prefix: &str, found: &mut Vec<String>) {
    let mut path = prefix.to_owned();
    let mut colons = 0;
    let end = |path: &mut String, found: &mut Vec<String>| {
        if path != prefix {
            found.push(std::mem::replace(path, prefix.to_owned()));
        }
    };
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ':' => {
                colons += 1;
                continue;
            }
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                if colons != 2 {
                    end(&mut path, found);
                }
                if !path.is_empty() {
                    path.push_str("::");
                }
                path.push_str(&word);
                // A path may follow, and this is not its first part.
                if ["as", "else", "in", "pub", "return", "use"].contains(&word.as_str()) {
                    path = prefix.to_owned();
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == '*' && colons == 2 => {
                path.push_str("::*");
                end(&mut path, found);
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && colons == 2 => {
                let stem = std::mem::replace(&mut path, prefix.to_owned());
                walk(group.stream(), &stem, found);
            }
            TokenTree::Group(group) => {
                end(&mut path, found);
                walk(group.stream(), "", found);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => end(&mut path, found),
        }
        colons = 0;
    }
    end(&mut path, found);
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
        let files: Vec<PathBuf> = list(place).iter().flat_map(|path| rust_files(path)).collect();
        assert!(!files.is_empty(), "`{}` is empty", place.display());
        return files;
    }
    Some(place.to_owned())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .into_iter()
        .collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("read `{}`: {error}", file.display()))
}
