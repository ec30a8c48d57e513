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

/// The words of a picture, without its marks, and without what differs from run to run: times, ports and identifiers.
fn words(svg: &str) -> Vec<String> {
    let body = svg.rsplit_once("</style>").map_or(svg, |(_, body)| body);
    let lines = body.split("</tspan>\n").map(|line| {
        let mut plain = String::new();
        for part in line.split('<') {
            plain.push_str(part.split_once('>').map_or(part, |(_, text)| text));
        }
        let same: String = plain
            .chars()
            .map(|c| if c.is_ascii_hexdigit() { '0' } else { c })
            .collect();
        same.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .replace("00", "0")
            .replace("00", "0")
            .replace("00", "0")
    });
    lines.filter(|line| !line.is_empty()).collect()
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
        "no place of this machine:\n{screen}"
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
