//! CAA records (RFC 8659), asked for at the test cluster's DNS server before anything is ordered.
//!
//! Pebble asks for none: what is refused here is refused by the program. In its directory Pebble calls itself
//! `pebble.letsencrypt.org`.

use serde_json::{Value, json};

use crate::scene::{Scene, break_dns, cluster, curl};

/// Tells the DNS server something.
fn dns(what: &str, body: &Value) {
    let url = format!(
        "{}/{what}",
        cluster()["challtestsrv_management"].as_str().expect("a URL")
    );
    curl(&["--fail", "-X", "POST", "-d", &body.to_string(), &url]);
}

/// Gives a name this one CAA record. The server's names end with the root's dot.
fn set_caa(owner: &str, value: &str) {
    dns("clear-caa", &json!({"host": owner}));
    dns(
        "add-caa",
        &json!({"host": owner, "policies": [{"tag": "issue", "value": value}]}),
    );
}

#[test]
#[ignore = "needs the test cluster"]
fn a_record_that_forbids_the_ca_stops_the_order_and_nothing_else() {
    let scene = Scene::new("caa");
    let namespace = scene.namespace("web");
    for (name, host) in [
        ("parent", "a.parent.caa.example"),
        ("nobody", "nobody.caa.example"),
        ("alias", "alias.caa.example"),
        // Its own record is the one that counts, not that of the name above.
        ("own", "own.parent.caa.example"),
        ("broken", "a.broken.caa.example"),
        ("plain", "plain.caa.example"),
    ] {
        scene.apply(&scene.ingress(&namespace, name, name, &[host]));
    }
    set_caa("parent.caa.example", "ca.invalid");
    set_caa("nobody.caa.example", ";");
    set_caa("target.caa.example", "ca.invalid; account=1");
    dns(
        "set-cname",
        &json!({"host": "alias.caa.example", "target": "target.caa.example"}),
    );
    set_caa("own.parent.caa.example", "pebble.letsencrypt.org; account=1");
    // DNS does not say for a name above: the CA decides.
    break_dns("broken.caa.example");

    let ran = scene.run(&[]).exits(1);
    assert!(ran.stdout.contains("3 issued, 3 failed"), "{}", ran.stdout);
    for words in [
        "no order was made, because the CA would refuse it",
        "`a.parent.caa.example`: the CAA record `0 issue \"ca.invalid\"` of `parent.caa.example` does not let this CA sign, which CAA records call `pebble.letsencrypt.org`",
        "hint: add the CAA record `0 issue \"pebble.letsencrypt.org\"` to `parent.caa.example` in DNS",
        "the CAA record `0 issue \";\"` of `nobody.caa.example`",
        "`alias.caa.example`: the CAA record `0 issue \"ca.invalid; account=1\"` of `target.caa.example`",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    assert_eq!(scene.pebble.count("Added order"), 3);
    // It cost nothing at the CA, so that nothing waits.
    let ledger = scene.get("secret", &scene.home, "kube-lego-once-ledger");
    let entries = ledger["data"].as_object().map_or(0, serde_json::Map::len);
    assert_eq!(entries, 0, "{}", ledger["data"]);
    scene.assert_nothing_is_left();

    dns("clear-caa", &json!({"host": "nobody.caa.example"}));
    dns("clear-caa", &json!({"host": "target.caa.example"}));
    set_caa("parent.caa.example", "PEBBLE.letsencrypt.org");
    let ran = scene.run(&[]).exits(0);
    assert!(ran.stdout.contains("3 issued"), "{}", ran.stdout);
    assert_eq!(scene.pebble.count("Added order"), 6);
}
