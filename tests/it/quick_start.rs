//! The README's transcript, run as it stands there: from a cluster with a controller to a valid certificate.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cronjob::manifests;
use crate::end_to_end::https;
use crate::scene::{Ran, Scene, cluster, has_nodes, web};

/// A line behind a prompt, and what it is said to print.
struct Step {
    command: String,
    output: Vec<String>,
}

fn transcript() -> Vec<Step> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    let (_, block) = readme.split_once("```console\n").expect("a transcript");
    let (block, _) = block.split_once("```").expect("its end");
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step {
                command: command.to_owned(),
                output: Vec::new(),
            }),
            (None, Some(step)) => step.output.push(line.to_owned()),
            (None, None) => panic!("output before a command: {line}"),
        }
    }
    steps
}

/// What of a line is the same in every cluster: without the CA, its times, and what this test's CA needs.
fn constant(line: &str) -> &str {
    for prefix in [
        "from CronJob `kube-lego/kube-lego-once`: ",
        "registered the account `",
        "stored `default/demo-tls`",
    ] {
        if line.starts_with(prefix) {
            return prefix;
        }
    }
    // The test cluster's tests share these.
    for suffix in [" created", " configured", " unchanged"] {
        if let Some(object) = line.strip_suffix(suffix) {
            return object;
        }
    }
    line
}

/// A folder with what the transcript needs: the manifests, with the two values set, and the two programs.
fn folder(scene: &Scene) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(scene.name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::copy(root.join("rbac.yaml"), folder.join("rbac.yaml")).expect("rbac.yaml");
    fs::write(folder.join("cronjob.yaml"), manifests(scene, "kube-lego", &[])).expect("cronjob.yaml");
    let kubectl = cluster()["kubectl"].as_str().expect("kubectl");
    for (name, program) in [
        ("kubectl", kubectl),
        ("kube-lego-once", env!("CARGO_BIN_EXE_kube-lego-once")),
    ] {
        let link = folder.join(name);
        let _ = fs::remove_file(&link);
        symlink(program, link).expect("a link");
    }
    folder
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn three_commands_lead_to_a_certificate() {
    if !has_nodes("the README's quick start") {
        return;
    }
    let scene = Scene::new("quick-start");
    scene.apply(&web("default"));
    let folder = folder(&scene);
    let steps = transcript();
    assert_eq!(steps.len(), 3, "three commands");
    for Step { command, output } in steps {
        let path = std::env::var("PATH").expect("a PATH");
        let ran: Ran = Command::new("sh")
            .args(["-c", &command])
            .current_dir(&folder)
            .env("PATH", format!("{}:{path}", folder.display()))
            .env("KUBECONFIG", scene.admin_kubeconfig())
            .env(
                "KUBE_LEGO_ONCE_RESOLVER",
                cluster()["dns"].as_str().expect("an address"),
            )
            .output()
            .expect("a shell")
            .into();
        let ran = ran.exits(0);
        let printed = format!("{}{}", ran.stderr, ran.stdout);
        let printed: BTreeSet<&str> = printed.lines().map(constant).collect();
        for line in &output {
            assert!(
                printed.contains(constant(line)),
                "`{command}` does not print `{line}`:\n{printed:#?}"
            );
        }
    }
    https("demo.example", &scene.pebble.root());
}
