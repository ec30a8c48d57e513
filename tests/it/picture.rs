//! `docs/run.svg`: a run and an explanation as a terminal shows them, drawn from what the program really printed.
//!
//! `make picture` draws it. The same test, without that, compares what the program prints today with the picture.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anstyle_svg::Term;
use serde_json::json;

use crate::scene::{Scene, break_dns, web};

const COLUMNS: usize = 104;

/// Runs a command on a terminal of its own: what is on it afterwards, with its colours. stderr comes first, as it did.
fn on_a_terminal(scene: &Scene, shown: &str, arguments: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(scene.name);
    let said = folder.join("stderr");
    let program = env!("CARGO_BIN_EXE_kube-lego-once");
    let line = format!(
        "stty cols {COLUMNS} rows 50; {program} {} 2>{}",
        arguments.join(" "),
        said.display()
    );
    let mut command = scene.command("run");
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
        .collect();
    command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env_clear().envs(environment);
    command.env("PATH", std::env::var("PATH").unwrap_or_default());
    let output = command.output().expect("script");
    let printed = String::from_utf8(output.stdout).expect("text").replace("\r\n", "\n");
    format!("$ {shown}\n{}{printed}", fs::read_to_string(said).expect("stderr"))
}

fn picture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/run.svg")
}

/// The lines of a picture, without its marks. What differs from run to run has a word of its own; all else must be the same.
fn words(svg: &str) -> Vec<String> {
    let body = svg.rsplit_once("</style>").map_or(svg, |(_, body)| body);
    let lines = body.split("</tspan>\n").map(|line| {
        let mut plain = String::new();
        for part in line.split('<') {
            plain.push_str(part.split_once('>').map_or(part, |(_, text)| text));
        }
        let mut last = "";
        let mut same = Vec::new();
        for word in plain.split_whitespace() {
            same.push(constant(last, word));
            last = word;
        }
        same.join(" ")
    });
    lines.filter(|line| !line.is_empty()).collect()
}

/// A word, or what kind of word it is where the next run has another one: times, the CA's port, and the name that it made up.
fn constant<'a>(before: &str, word: &'a str) -> &'a str {
    let bare = word.trim_matches(['`', ',', ';']);
    let days = bare.strip_suffix('d').is_some_and(|days| days.parse::<u16>().is_ok());
    match bare {
        _ if bare.parse::<jiff::Timestamp>().is_ok() => "TIME",
        _ if days => "DAYS",
        _ if bare.starts_with("https://") => "URL",
        _ if before == "CA" && bare.len() == 6 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) => "ID",
        _ => word,
    }
}

#[test]
fn a_picture_of_another_program_is_seen() {
    let line = |text: &str| words(&format!("<svg><style></style>\n<tspan>{text}</tspan>\n</svg>"));
    let drawn =
        line("1 failed, `Intermediate CA 1a97e2`, 89d left, until 2027-02-24T18:12:17Z, `https://192.0.2.2:38829/dir`");
    let again =
        line("1 failed, `Intermediate CA ffffff`, 90d left, until 2027-02-25T18:12:17Z, `https://192.0.2.2:1/dir`");
    assert_eq!(drawn, again);
    for other in ["2 failed", "1 faded", "1 failed,"] {
        assert_ne!(line("1 failed"), line(other));
    }
}

#[test]
#[ignore = "needs the test cluster"]
fn the_picture_is_what_the_program_prints() {
    let scene = Scene::new("picture");
    // Names that read well; no other test has them.
    for namespace in ["blog", "shop"] {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        scene.apply(&format!("{object}\n---\n{}", web(namespace)));
    }
    let site =
        |namespace: &str, name: &str, hosts: &[&str]| scene.ingress(namespace, name, &format!("{name}-tls"), hosts);
    scene.apply(&site("blog", "blog", &["blog.example", "www.blog.example"]));
    scene.run(&[]).exits(0);
    let new = [
        site("shop", "cart", &["cart.example"]),
        site("shop", "shop", &["shop.example"]),
        site("shop", "wiki", &["*.wiki.example"]),
    ];
    scene.apply(&new.concat());
    break_dns("cart.example");

    let screen = [
        on_a_terminal(&scene, "kube-lego-once run", &["run"]),
        on_a_terminal(
            &scene,
            "kube-lego-once explain blog-tls -n blog",
            &["explain", "blog-tls", "-n", "blog"],
        ),
    ];
    let screen = screen.join("\n");
    assert!(screen.contains('\u{1b}'), "in colour:\n{screen}");
    assert!(
        !screen.contains("/tmp") && !screen.contains(env!("CARGO_MANIFEST_DIR")),
        "no path of this machine:\n{screen}"
    );

    let drawn = Term::new().render_svg(&screen);
    if std::env::var_os("PICTURE").is_some() {
        fs::write(picture(), drawn).expect("docs/run.svg");
        return;
    }
    let kept = fs::read_to_string(picture()).expect("docs/run.svg");
    assert_eq!(
        words(&kept),
        words(&drawn),
        "the picture is of another program: `make picture` draws it anew"
    );
}
