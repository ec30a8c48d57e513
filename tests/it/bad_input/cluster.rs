//! The way to the cluster is wrong.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::row::{due, refusing, row};
use crate::scene::program;

#[test]
#[ignore = "needs the test cluster"]
fn the_way_to_the_cluster() {
    let (scene, _) = due("way");
    let good = fs::read_to_string(scene.kubeconfig()).expect("the kubeconfig");
    let changed = |name: &str, change: &dyn Fn(&mut Value)| -> PathBuf {
        let mut config: Value = serde_json::from_str(&good).expect("JSON");
        change(&mut config);
        let path = scene.kubeconfig().with_file_name(name);
        fs::write(&path, config.to_string()).expect("a file");
        path
    };
    let down = refusing();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let silent_server = format!("https://{}", silent.local_addr().expect("an address"));
    let cluster = |key: &'static str, value: String| {
        move |config: &mut Value| config["clusters"][0]["cluster"][key] = json!(value)
    };
    for (name, kubeconfig, words) in [
        (
            "a kubeconfig that is not there",
            PathBuf::from("/nonexistent/config"),
            "/nonexistent/config",
        ),
        (
            "a kubeconfig that is none",
            changed("none", &|config| *config = json!("hello")),
            "none",
        ),
        (
            "an API server that is down",
            changed("down", &cluster("server", format!("https://{down}"))),
            "refused",
        ),
        (
            "an API server that does not answer",
            changed("silent", &cluster("server", silent_server)),
            "timed out",
        ),
        (
            "an API server of another CA",
            changed("ca", &cluster("certificate-authority", scene.pebble.authority_file())),
            "certificate",
        ),
        (
            "an unknown token",
            changed("token", &|config| config["users"][0]["user"]["token"] = json!("x")),
            "log in again",
        ),
    ] {
        let mut command = scene.command("run");
        command.env("KUBECONFIG", kubeconfig);
        row(&scene, name, &mut command, 2, &[words]);
    }
    let mut command = scene.command("run");
    command.args(["--context", "nosuch"]);
    row(&scene, "a context that is not there", &mut command, 2, &["nosuch"]);
    row(
        &scene,
        "no cluster at all",
        program().arg("run"),
        2,
        &["no cluster found"],
    );
}

#[test]
#[ignore = "needs the test cluster"]
fn a_home_namespace_that_is_not_there_is_not_created() {
    let (scene, _) = due("homeless");
    let mut command = scene.command("run");
    command
        .env("KUBE_LEGO_ONCE_HOME_NAMESPACE", "homeless-nowhere")
        .env("KUBECONFIG", scene.admin_kubeconfig());
    let words = &["homeless-nowhere", "kubectl create namespace homeless-nowhere"];
    row(&scene, "a home namespace that is not there", &mut command, 2, words);
}
