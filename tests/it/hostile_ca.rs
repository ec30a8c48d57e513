//! A CA that lies, or that somebody has taken over: a run ends with a sentence, and what serves stays as it is.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::proxy::{Fate, Proxy};
use crate::scene::Scene;

/// All that is asked of a CA in a run of one certificate.
const KINDS: [&str; 9] = [
    "GET dir",
    "HEAD nonce-plz",
    "POST sign-me-up",
    "POST order-plz",
    "POST authZ",
    "POST chalZ",
    "POST my-order",
    "POST finalize-order",
    "POST certZ",
];

fn kept(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// Does this to each request of a kind, in a run that should renew what serves. Its words, once nothing was lost.
#[track_caller]
fn run_against(name: String, kind: &str, fate: Fate) -> String {
    let name = kept(name);
    let host = format!("a.{name}.example");
    let scene = Scene::new(name);
    let namespace = scene.namespace("web");
    let serving = scene.expired_secret(&namespace, "a-tls", &host, json!({}), json!({}));
    scene.apply(&serving.to_string());
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &[&host]));
    let before = scene.get("secret", &namespace, "a-tls")["data"].clone();
    let harmed = kept(kind.to_owned());
    let proxy = Proxy::before_the_ca(
        &scene,
        move |asked| if asked.kind == harmed { fate } else { Fate::Pass },
    );
    let begun = Instant::now();
    let mut run = scene.command("run");
    run.env("KUBE_LEGO_ONCE_DIRECTORY", &proxy.url)
        .args(["--timeout", "20s"]);
    let output = run.output().expect("the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let words = format!("{name}: {}\n{}", text(&output.stderr), text(&output.stdout));
    assert_ne!(output.status.code(), Some(0), "{words}");
    assert!(begun.elapsed() < Duration::from_secs(40), "{words}");
    assert_eq!(scene.get("secret", &namespace, "a-tls")["data"], before, "{words}");
    scene.assert_nothing_is_left();
    words
}

#[test]
#[ignore = "needs the test cluster"]
fn an_endless_answer_is_not_read_to_its_end() {
    let body = kept("x".repeat(2 << 20));
    for (number, kind) in KINDS.iter().enumerate().filter(|(_, kind)| !kind.starts_with("HEAD")) {
        let words = run_against(format!("endless-{number}"), kind, Fate::Instead(body));
        assert!(words.contains("longer than"), "{kind}: {words}");
        assert!(words.len() < 5_000, "{kind}: {words}");
    }
}

#[test]
#[ignore = "needs the test cluster"]
fn a_redirect_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("no waiting");
    let url = kept(format!("http://{}/x", elsewhere.local_addr().expect("an address")));
    for (number, kind) in KINDS.iter().enumerate() {
        let words = run_against(format!("redirected-{number}"), kind, Fate::Redirected(url));
        assert!(words.contains("307 Temporary Redirect"), "{kind}: {words}");
    }
    assert!(elsewhere.accept().is_err(), "somebody followed");
}

#[test]
#[ignore = "needs the test cluster"]
fn a_certificate_for_another_key_is_not_stored() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["a.another-key.example".to_owned()]).expect("a name");
    let certificate = kept(params.self_signed(&key).expect("a certificate").pem());
    let words = run_against("another-key".into(), "POST certZ", Fate::Instead(certificate));
    assert!(words.contains("another key than the order's"), "{words}");
}

#[test]
#[ignore = "needs the test cluster"]
fn a_page_instead_of_a_certificate_is_not_stored() {
    let words = run_against(
        "a-page".into(),
        "POST certZ",
        Fate::Instead("<html>\u{1b}[2Jbuy</html>"),
    );
    assert!(words.contains("the answer is no certificate"), "{words}");
    assert!(!words.contains('\u{1b}'), "{words}");
}
