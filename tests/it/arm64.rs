//! The program for arm64, run by qemu.

use std::path::Path;
use std::process::Command;

use crate::scene::{Ran, Scene, has_nodes};

/// Runs a command of the program on another processor, to its end.
fn emulated(command: &Command) -> Ran {
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/arm64/aarch64-unknown-linux-gnu/release/kube-lego-once");
    assert!(
        program.exists(),
        "`{}` is not there: `make build-arm64`",
        program.display()
    );
    let mut emulated = Command::new("qemu-aarch64-static");
    emulated.arg(program).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            emulated.env(name, value);
        }
    }
    emulated.output().expect("qemu-aarch64-static").into()
}

#[test]
#[ignore = "needs the test cluster, and the image with both programs"]
fn its_program_plans_and_issues() {
    if !has_nodes("the program for arm64") {
        return;
    }
    let mut version = Command::new("");
    version.arg("--version");
    let version = emulated(&version).exits(0).stdout;
    assert_eq!(version, format!("kube-lego-once {}\n", env!("CARGO_PKG_VERSION")));

    let scene = Scene::new("arm");
    let namespace = scene.namespace("web");
    let manifests = scene.ingress(&namespace, "a", "a-tls", &["a.arm.example"]);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("arm.yaml");
    std::fs::write(&file, &manifests).expect("a file");
    let mut offline = scene.command("run");
    offline.args(["--dry-run", "-o", "name", "-f"]).arg(file);
    let planned = emulated(&offline).exits(0).stdout;
    assert_eq!(planned, format!("secret/a-tls -n {namespace}\n"));

    scene.apply(&manifests);
    let ran = emulated(&scene.command("run")).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{}", ran.stdout);
    scene.assert_nothing_is_left();
    let idle = emulated(&scene.command("run")).exits(0);
    assert!(idle.stdout.contains("1 valid"), "{}", idle.stdout);
}
