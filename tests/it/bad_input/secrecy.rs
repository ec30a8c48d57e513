//! No private key is in any output.

use serde_json::Value;

use super::row::due;
use crate::scene::{Ran, decoded};

#[test]
#[ignore = "needs the test cluster"]
fn no_key_is_ever_said_at_any_level() {
    let (scene, namespace) = due("secrecy");
    let mut said = String::new();
    for arguments in [
        &["run"] as &[_],
        &["run", "a-tls", "-n", &namespace, "--force"],
        &["run", "--dry-run", "-o", "json"],
    ] {
        let mut command = scene.command(arguments[0]);
        command.args(&arguments[1..]).env("RUST_LOG", "trace");
        let ran = Ran::from(command.output().expect("the program")).exits(0);
        said.push_str(&ran.stdout);
        said.push_str(&ran.stderr);
        let stored = scene.get("secret", &namespace, "a-tls");
        let account = scene.get("secret", &scene.home, "kube-lego-account");
        for value in [&stored["data"]["tls.key"]]
            .into_iter()
            .chain(account["data"].as_object().expect("data").values())
        {
            assert_unsaid(value, &said);
        }
    }
    assert!(said.len() > 20_000, "trace says a lot: {}", said.len());
}

/// Neither a value of a Secret nor any long part of it, nor what it decodes to, is in a text.
fn assert_unsaid(value: &Value, said: &str) {
    for text in [value.as_str().expect("base64"), &decoded(value)] {
        for line in text
            .split(|c: char| !c.is_ascii_alphanumeric() && !"+/=_-".contains(c))
            .filter(|line| line.len() >= 40)
        {
            for start in (0..line.len() - 32).step_by(8) {
                assert!(!said.contains(&line[start..start + 32]), "a key was said");
            }
        }
    }
}
