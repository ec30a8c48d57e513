//! Gateways that cannot get what they ask for: each is told so, nothing is ordered, and nothing is left.

use std::time::{Duration, Instant};

use super::cases::{Site, WEB};
use super::gateways;
use crate::scene::{Ran, Scene, kubectl};

type Row = (
    &'static str,
    // What is applied, for a host.
    fn(&Site<'_>, &str) -> String,
    // What is done to it then.
    fn(&Site<'_>),
    // Arguments, the exit status, and words that the run says.
    &'static [&'static str],
    i32,
    &'static [&'static str],
);

const ROWS: &[Row] = &[
    (
        "path",
        |site, host| {
            let rule = format!(
                "{{matches: [{{path: {{type: PathPrefix, value: /.well-known/acme-challenge}}}}], {}",
                &WEB[1..]
            );
            site.gateway("g", &[site.http(), site.https("a", host, "a-tls")])
                + &site.served("r", "g", host)
                + &site.route("other-client", "{name: g}", host, &rule)
        },
        |_| {},
        &[],
        0,
        &["ChallengePathTaken", "kubectl delete httproute other-client"],
    ),
    (
        "deleting",
        |site, host| {
            let gateway = site.gateway("g", &[site.http(), site.https("a", host, "a-tls")]);
            gateway.replace("name: g,", "name: g, finalizers: [example.com/wait],")
        },
        |site| {
            drop(kubectl(
                &["delete", "gateway", "g", "-n", &site.namespace, "--wait=false"],
                "",
            ))
        },
        &["gateway/g"],
        2,
        &[
            "no annotated object is named `gateway/g`",
            "`kubectl get gateway -A` lists the Gateways",
        ],
    ),
    (
        "set",
        |site, host| {
            let parent = "parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}";
            let listeners = [
                site.http_for("own", &format!(", hostname: {host}")),
                site.https("a", host, "a-tls"),
            ];
            site.open_gateway(&[site.http()], "Same") + &site.object("ListenerSet", "s", parent, &listeners)
        },
        // Else that is what the run speaks of.
        |site| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while site.scene.get("gateway", &site.namespace, "g")["status"]["addresses"][0].is_null() {
                assert!(Instant::now() < deadline, "the Gateway has no address");
                std::thread::sleep(Duration::from_millis(200));
            }
        },
        &["--probe-timeout", "2s"],
        1,
        &[
            "answered `404 Not Found`",
            "took up the challenge HTTPRoute `kube-lego-once-bad-gw-set-home-s`",
        ],
    ),
];

#[test]
#[ignore = "needs the test cluster with Gateways"]
fn what_a_gateway_cannot_get_is_said_and_not_ordered() {
    let controller = gateways();
    for (row, manifests, then, arguments, status, words) in ROWS {
        let name: &'static str = Box::leak(format!("bad-gw-{row}").into_boxed_str());
        let scene = Scene::on(&controller, name);
        let site = Site::of(&scene);
        scene.apply(&manifests(&site, &format!("a.{name}.example")));
        then(&site);
        let ran = scene.run(arguments);
        refused(&scene, &ran, *status, words);
        let patch = [
            "patch",
            "gateway",
            "g",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":null}}"#,
            "-n",
        ];
        kubectl(&[&patch[..], &[&site.namespace]].concat(), "");
        let kinds = "gateways,listenersets,httproutes";
        kubectl(
            &["delete", kinds, "--all", "--ignore-not-found", "-n", &site.namespace],
            "",
        );
    }
}

/// The API server's own word: no two listeners have the same port, protocol and hostname.
#[test]
#[ignore = "needs the test cluster with Gateways"]
fn two_listeners_for_the_same_host_do_not_exist() {
    let scene = Scene::on(&gateways(), "gw-twice");
    let site = Site::of(&scene);
    let https = |name: &str| site.https(name, "a.gw-twice.example", "a-tls");
    let file = scene.kubeconfig().with_file_name("twice.yaml");
    std::fs::write(&file, site.gateway("g", &[https("a"), https("b")])).expect("a file");
    let output = std::process::Command::new(crate::scene::cluster()["kubectl"].as_str().expect("kubectl"))
        .args(["--kubeconfig", scene.admin_kubeconfig(), "apply", "-f"])
        .arg(&file)
        .output();
    let ran = Ran::from(output.expect("kubectl"));
    assert!(
        ran.status != 0 && ran.stderr.contains("must be unique for each listener"),
        "{ran:?}"
    );
}

pub fn refused(scene: &Scene, ran: &Ran, status: i32, words: &[&str]) {
    let all = format!("{}{}", ran.stdout, ran.stderr);
    println!("{}:\n{all}", scene.name);
    assert_eq!(ran.status, status, "{}: {all}", scene.name);
    for word in words {
        assert!(all.contains(word), "{}: `{word}` is not said: {all}", scene.name);
    }
    assert_eq!(scene.pebble.count("Added order"), 0, "{}: {all}", scene.name);
    scene.assert_nothing_is_left();
}
