//! What an earlier version left goes on working: its objects, recorded in `upgrade/`, under today's program.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::scene::{Scene, curl, kubectl};

const RECORDED: &str = include_str!("upgrade/0.1.0.yaml");
/// The directory as the recording names it.
const DIRECTORY: &str = "https://authority.upgrade.example/dir";

/// The data key of a directory's account in 0.1.0: written out, since today's program must find the entry by itself.
fn entry_name(directory: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, directory.as_bytes());
    let hex: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("acme-{hex}.json")
}

/// The recorded objects, for this scene's CA.
///
/// A CA knows the accounts that were registered with it, and a new Pebble knows none. So the recorded key is
/// registered with this one, and its URLs take the place of the recorded ones: shape and key of the entry are 0.1.0's. The
/// orders in the ledger cannot be brought along; here they are what they are once a CA has forgotten them.
fn recorded(scene: &Scene) -> String {
    let account: Value = serde_yaml_ng::Deserializer::from_str(RECORDED)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .find(|object| object["metadata"]["name"] == "kube-lego-account")
        .expect("an account");
    let entry = account["stringData"][entry_name(DIRECTORY)].as_str().expect("an entry");
    let entry: Value = serde_json::from_str(entry).expect("JSON");
    let text = |key: &str| entry[key].as_str().expect("text").to_owned();
    let base = |directory: &str| directory.strip_suffix("/dir").expect("Pebble's path").to_owned();
    written_now(RECORDED)
        .replace(&text("id"), &register(scene, &text("key_pkcs8")))
        .replace(&entry_name(DIRECTORY), &entry_name(&scene.pebble.directory))
        .replace(&base(DIRECTORY), &base(&scene.pebble.directory))
}

/// With ledger entries of now: what is old is forgotten, and a recording only gets older.
fn written_now(text: &str) -> String {
    let mut parts = text.split("\"at\":\"");
    let first = parts.next().expect("text").to_owned();
    let now = jiff::Timestamp::now();
    parts.fold(first, |text, part| {
        let (_, rest) = part.split_once('"').expect("the end of a time");
        format!("{text}\"at\":\"{now}\"{rest}")
    })
}

/// Registers a key (RFC 8555 section 7.3): the account's URL.
fn register(scene: &Scene, key_pkcs8: &str) -> String {
    let authority = scene.pebble.authority_file();
    let ask = |arguments: &[&str]| curl(&[&["--cacert", &authority], arguments].concat());
    let header = |answer: &str, name: &str| {
        let mut headers = answer.lines().filter_map(|line| line.split_once(": "));
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let directory: Value = serde_json::from_str(&ask(&[&scene.pebble.directory])).expect("a directory");
    let [new_nonce, new_account] = ["newNonce", "newAccount"].map(|key| directory[key].as_str().expect("a URL"));

    let random = SystemRandom::new();
    let key = URL_SAFE_NO_PAD.decode(key_pkcs8).expect("base64url");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).expect("a P-256 key");
    let [x, y] = [1..33, 33..65].map(|part| URL_SAFE_NO_PAD.encode(&key.public_key().as_ref()[part]));
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
    let payload = URL_SAFE_NO_PAD.encode(json!({"termsOfServiceAgreed": true}).to_string());
    // Pebble refuses some good nonces on purpose.
    for _ in 0..10 {
        let nonce = header(&ask(&["--head", new_nonce]), "replay-nonce").expect("a nonce");
        let protected = json!({"alg": "ES256", "jwk": jwk, "nonce": nonce, "url": new_account});
        let protected = URL_SAFE_NO_PAD.encode(protected.to_string());
        let signature = key
            .sign(&random, format!("{protected}.{payload}").as_bytes())
            .expect("signed");
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let body = json!({"protected": protected, "payload": payload, "signature": signature}).to_string();
        let content = "Content-Type: application/jose+json";
        if let Some(url) = header(
            &ask(&["--include", "-H", content, "-d", &body, new_account]),
            "location",
        ) {
            return url;
        }
    }
    panic!("the CA takes no account")
}

#[test]
#[ignore = "needs the test cluster"]
fn what_version_0_1_0_left_is_swept_kept_and_understood() {
    let scene = Scene::new("upgrade");
    let namespace = scene.namespace("web");
    for name in ["kept", "killed", "lost"] {
        let host = format!("{name}.upgrade.example");
        scene.apply(&scene.ingress(&namespace, name, &format!("{name}-tls"), &[&host]));
    }
    kubectl(&["create", "-f", "-"], &recorded(&scene));
    let kept = || scene.get("secret", &namespace, "kept-tls")["metadata"]["resourceVersion"].clone();
    let account = || scene.get("secret", &scene.home, "kube-lego-account")["data"].clone();
    let lease = || scene.get("lease", &scene.home, "kube-lego-once")["spec"]["leaseTransitions"].as_u64();
    let before = (kept(), account());
    assert_eq!(lease(), Some(2));

    // The dead run holds the Lease until it expires.
    let ran = scene.run(&[]).exits(0);
    assert_eq!(ran.stdout.matches("removed ").count(), 4, "{}", ran.stdout);
    assert!(ran.stdout.contains(" 0 failed, 1 valid, 0 refused"), "{}", ran.stdout);
    scene.assert_nothing_is_left();
    assert_eq!(lease(), Some(3), "it was taken over");

    assert_eq!((kept(), account()), before, "nothing was written where nothing was due");
    assert_eq!(
        scene.pebble.count("accounts in memory"),
        1,
        "no other account was registered"
    );
    assert_eq!(scene.pebble.count("kept.upgrade.example"), 0, "and nothing was ordered");

    assert!(!ran.stderr.contains("the ledger's data key"), "{}", ran.stderr);
    let ledger = scene.get("secret", &scene.home, "kube-lego-once-ledger");
    assert!(!ledger["data"].to_string().contains("pending."), "{}", ledger["data"]);
    let again = scene.run(&[]).exits(0);
    let summary = "3 certificates: 0 due, 3 valid, 0 refused";
    assert!(again.stdout.contains(summary), "{}", again.stdout);
}
