//! A CA that has lost its accounts, as staging directories and restored private CAs do.

use crate::scene::{Scene, decoded};

#[test]
#[ignore = "needs the test cluster"]
fn a_run_registers_again_says_so_and_issues() {
    let mut scene = Scene::new("lost");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.lost.example"]));
    let first = scene.run(&[]).exits(0);
    assert!(first.stderr.contains("registered the account `"), "{}", first.stderr);
    let before = account(&scene);

    scene.pebble.restart();
    let second = scene.run(&["--force", "a-tls", "-n", &namespace]).exits(0);
    let said = "any more: registered its key again, as the account `";
    assert!(second.stderr.contains(said), "{}", second.stderr);
    assert!(second.stdout.contains("1 issued"), "{}", second.stdout);
    let after = account(&scene);
    assert_ne!(before["id"], after["id"]);
    assert_eq!(before["key_pkcs8"], after["key_pkcs8"], "by the same key");

    let third = scene.run(&["--force", "a-tls", "-n", &namespace]).exits(0);
    assert!(!third.stderr.contains("registered"), "once: {}", third.stderr);
    assert_eq!(scene.pebble.count("accounts in memory"), 1);
    scene.assert_nothing_is_left();
}

/// What is stored of the account.
fn account(scene: &Scene) -> serde_json::Value {
    let secret = scene.get("secret", &scene.home, "kube-lego-account");
    let data = secret["data"].as_object().expect("data");
    let stored = data.values().next().expect("an account");
    serde_json::from_str(&decoded(stored)).expect("JSON")
}
