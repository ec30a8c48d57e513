//! `docs/operations.md`: its commands work, and what it says of a token that ends is what is said.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cronjob::{one_due, start};
use crate::documents::{commands_for, read};
use crate::scene::{Ran, Scene, cluster, kubectl};

#[test]
#[ignore = "needs the test cluster with nodes"]
fn its_commands_work() {
    let Some(scene) = one_due("operating", "the operator's commands") else {
        return;
    };
    start(&scene, "now");
    assert!(scene.wait_for_job("now"));

    let commands = commands_for(&read("docs/operations.md"), "operator");
    assert!(commands.len() > 5, "{commands:?}");
    let kubectl = Path::new(cluster()["kubectl"].as_str().expect("text"));
    let folder = kubectl.parent().expect("a folder").display().to_string();
    for command in commands {
        let here = command.replace("-n kube-lego", &format!("-n {}", scene.home));
        let output = Command::new("sh")
            .args(["-c", &here])
            .env(
                "PATH",
                format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()),
            )
            .env("KUBECONFIG", scene.admin_kubeconfig())
            .output()
            .expect("sh");
        let ran = Ran::from(output).exits(0);
        println!("$ {command}\n{}{}", ran.stdout, ran.stderr);
        // That nothing went wrong is no mistake of the command's.
        assert!(!ran.stdout.is_empty() || command.contains("type=Warning"), "{command}");
    }
}

#[test]
#[ignore = "needs the test cluster"]
fn a_run_whose_token_ends_says_what_it_leaves_and_the_next_one_sweeps() {
    let scene = Scene::new("token");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.token.example"]));
    let running = scene.start_and_pause_the_authority();
    let account = scene.get("serviceaccount", &scene.home, "kube-lego-once");
    kubectl(&["delete", "serviceaccount", "kube-lego-once", "-n", &scene.home], "");
    // The API server remembers a good token for 10 s.
    std::thread::sleep(Duration::from_secs(11));
    scene.pebble.pause(false);
    let ran = Ran::from(running.wait_with_output().expect("the program")).exits(1);
    let left = "error: the challenge objects are left for the next run to remove: could not list HTTPRoutes";
    for words in [left, "Unauthorized", "hint: ", "log in again"] {
        assert!(ran.stderr.contains(words), "`{words}`: {}", ran.stderr);
    }
    assert_eq!(scene.get("secret", &namespace, "a-tls"), Value::Null);

    scene.apply(
        &serde_json::json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"namespace": scene.home, "name": account["metadata"]["name"]},
        })
        .to_string(),
    );
    scene.log_in();
    let ran = scene.run(&[]).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{}", ran.stdout);
    scene.assert_nothing_is_left();
}
