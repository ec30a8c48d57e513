//! The CA is wrong, cannot be reached or wants more.

use std::fs;

use serde_json::json;

use super::row::{due, refusing, row};
use crate::scene::Scene;

#[test]
#[ignore = "needs the test cluster"]
fn the_authority() {
    let (scene, _) = due("authority");
    let closed = format!("https://{}/dir", refusing());
    let directory = |url: &str| {
        let mut command = scene.command("run");
        command.env("KUBE_LEGO_ONCE_DIRECTORY", url);
        command
    };
    row(
        &scene,
        "no directory",
        scene.command("run").env_remove("KUBE_LEGO_ONCE_DIRECTORY"),
        2,
        &["--directory"],
    );
    row(
        &scene,
        "a directory that is down",
        &mut directory(&closed),
        2,
        &["directory", "refused"],
    );
    let page = format!("{}/roots/0", scene.pebble.management);
    row(
        &scene,
        "a page that is no directory",
        &mut directory(&page),
        2,
        &["directory"],
    );
    let mut untrusted = scene.command("run");
    untrusted.env_remove("KUBE_LEGO_ONCE_CA_BUNDLE");
    row(
        &scene,
        "a directory of an unknown CA",
        &mut untrusted,
        2,
        &["--ca-bundle"],
    );
    let mut profile = scene.command("run");
    profile.args(["--profile", "nosuch"]);
    row(
        &scene,
        "a profile that the CA does not have",
        &mut profile,
        2,
        &["nosuch", "shortlived"],
    );
    let mut email = scene.command("run");
    email.args(["--email", "nobody@example.com,x"]);
    row(
        &scene,
        "an e-mail address that the CA rejects",
        &mut email,
        2,
        &["--email"],
    );
    // Only the CA is asked through it: the API server is exempt.
    let mut proxy = directory(&scene.pebble.directory.replace("127.0.0.1", "localhost"));
    proxy
        .env("HTTPS_PROXY", format!("http://{}", refusing()))
        .env("NO_PROXY", "127.0.0.1");
    row(&scene, "a proxy that is down", &mut proxy, 2, &["proxy"]);
}

#[test]
#[ignore = "needs the test cluster"]
fn an_authority_that_demands_an_external_account() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let scene = Scene::with_authority("eab", |config| {
        config["pebble"]["externalAccountBindingRequired"] = json!(true);
        config["pebble"]["externalAccountMACKeys"] = json!({"kid-1": key});
    });
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.eab.example"]));
    let words = &["--eab-key-id", "--eab-hmac-key-file"];
    row(
        &scene,
        "an external account is demanded",
        &mut scene.command("run"),
        2,
        words,
    );

    let file = scene.kubeconfig().with_file_name("hmac-key");
    fs::write(&file, key).expect("a file");
    let ran = scene
        .run(&[
            "--eab-key-id",
            "kid-1",
            "--eab-hmac-key-file",
            file.to_str().expect("a path"),
        ])
        .exits(0);
    assert!(ran.stdout.contains("1 issued"), "{}", ran.stdout);
}
