//! Gateways and ListenerSets on a real implementation: certificates that their listeners serve, and routes that nobody loses.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::controllers::{ask_until, is_served, usual_answer};
use crate::documents::{blocks, read};
use crate::permissions::unused_rights_of_gateways;
use crate::scene::{Controller, Ran, Scene, kubectl, web};

struct Site<'a> {
    scene: &'a Scene,
    namespace: String,
}

impl Site<'_> {
    /// An annotated object with these listeners. `spec` is what stands before them.
    fn object(&self, kind: &str, name: &str, spec: &str, listeners: &[String]) -> String {
        let (annotation, namespace) = (&self.scene.annotation, &self.namespace);
        let listeners = listeners.concat();
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}, annotations: {{{annotation}: \"true\"}}}}
spec:
  {spec}
  listeners:{listeners}
---"
        )
    }

    fn gateway(&self, name: &str, listeners: &[String]) -> String {
        let class = format!("gatewayClassName: {}", self.scene.controller.class);
        self.object("Gateway", name, &class, listeners)
    }

    fn http(&self) -> String {
        format!(
            "\n  - {{name: http, port: {}, protocol: HTTP}}",
            self.scene.controller.http_port
        )
    }

    fn https(&self, name: &str, host: &str, secret: &str) -> String {
        let port = self.scene.controller.https_port;
        format!(
            "\n  - {{name: {name}, port: {port}, protocol: HTTPS, hostname: '{host}', tls: {{certificateRefs: [{{name: {secret}}}]}}}}"
        )
    }

    /// What serves hosts; `section` is a listener of `gateway`.
    fn route(&self, name: &str, parent: &str, hostnames: &str, rule: &str) -> String {
        let namespace = &self.namespace;
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{parentRefs: [{parent}], hostnames: [{hostnames}], rules: [{rule}]}}
---"
        )
    }

    fn served(&self, name: &str, gateway: &str, hostnames: &str) -> String {
        self.route(
            name,
            &format!("{{name: {gateway}}}"),
            hostnames,
            "{backendRefs: [{name: web, port: 80}]}",
        )
    }
}

const REDIRECT: &str = "{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}";

type Case = (&'static str, Manifests, &'static [(&'static str, &'static str)]);
type Manifests = fn(&Site<'_>, &dyn Fn(&str) -> String) -> String;

/// What is applied, by a function from a host's first label to the host; and the Secrets, each with a host that it must serve.
const CASES: &[Case] = &[
    (
        "plain",
        |site, host| {
            site.gateway("g", &[site.http(), site.https("a", &host("a"), "a-tls")]) + &site.served("r", "g", &host("a"))
        },
        &[("a-tls", "a")],
    ),
    (
        "redirected",
        |site, host| {
            site.gateway("g", &[site.http(), site.https("a", &host("a"), "a-tls")])
                + &site.route("to-https", "{name: g, sectionName: http}", "", REDIRECT)
                + &site.route(
                    "r",
                    "{name: g, sectionName: a}",
                    &host("a"),
                    "{backendRefs: [{name: web, port: 80}]}",
                )
        },
        &[("a-tls", "a")],
    ),
    (
        "wildcard",
        |site, host| {
            let wildcard = host("*");
            site.gateway("g", &[site.http(), site.https("a", &host("a"), "a-tls")])
                + &site.served("r", "g", &format!("'{wildcard}'"))
        },
        &[("a-tls", "a")],
    ),
    (
        "shared",
        |site, host| {
            site.gateway("g1", &[site.http(), site.https("a", &host("a"), "both-tls")])
                + &site.gateway("g2", &[site.http(), site.https("b", &host("b"), "both-tls")])
                + &site.served("r1", "g1", &host("a"))
                + &site.served("r2", "g2", &host("b"))
        },
        &[("both-tls", "a"), ("both-tls", "b")],
    ),
    (
        "same",
        |site, host| {
            let http = site
                .http()
                .replace("HTTP}", "HTTP, allowedRoutes: {namespaces: {from: Same}}}");
            site.gateway("g", &[http, site.https("a", &host("a"), "a-tls")]) + &site.served("r", "g", &host("a"))
        },
        &[("a-tls", "a")],
    ),
    (
        "moving",
        |site, host| {
            let ingress = site
                .scene
                .ingress(&site.namespace, "old", "a-tls", &[&host("a"), &host("b")]);
            let gateway = site.gateway(
                "g",
                &[
                    site.http(),
                    site.https("a", &host("a"), "a-tls"),
                    site.https("b", &host("b"), "a-tls"),
                ],
            );
            format!("{ingress}\n---{gateway}") + &site.served("r", "g", &format!("{}, {}", host("a"), host("b")))
        },
        &[("a-tls", "a"), ("a-tls", "b")],
    ),
    (
        "set",
        |site, host| {
            let open = site.gateway("g", &[site.http()]).replace(
                "  listeners:",
                "  allowedListeners: {namespaces: {from: Same}}\n  listeners:",
            );
            let parent = "parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}";
            let attached = "{group: gateway.networking.k8s.io, kind: ListenerSet, name: s}";
            open.replace("tls-acme: \"true\"", "tls-acme: \"false\"")
                + &site.object("ListenerSet", "s", parent, &[site.https("a", &host("a"), "a-tls")])
                + &site.route("to-https", "{name: g, sectionName: http}", "", REDIRECT)
                + &site.route("r", attached, &host("a"), "{backendRefs: [{name: web, port: 80}]}")
        },
        &[("a-tls", "a")],
    ),
    (
        "twenty",
        |site, host| {
            let names: Vec<String> = (0..20).map(|n| host(&format!("h{n}"))).collect();
            let listeners = names
                .iter()
                .enumerate()
                .map(|(n, name)| site.https(&format!("l{n}"), name, "many-tls"));
            let listeners: Vec<String> = [site.http()].into_iter().chain(listeners).collect();
            site.gateway("g", &listeners)
                + &site.served("r1", "g", &names[..10].join(", "))
                + &site.served("r2", "g", &names[10..].join(", "))
        },
        &[("many-tls", "h0"), ("many-tls", "h19")],
    ),
];

fn gateways() -> Controller {
    let found = Controller::all().into_iter().find(|it| it.name.ends_with("-gateway"));
    found.expect("run this under `tests/cluster/cluster run --controllers traefik-gateway -- ...`")
}

fn issued(ran: &Ran, what: &str) {
    assert_eq!(ran.status, 0, "{what}: {}\n{}", ran.stdout, ran.stderr);
}

#[test]
#[ignore = "needs the test cluster with Gateways"]
fn a_gateway_gets_its_certificates_and_its_clients_see_nothing() {
    let controller = gateways();
    for (name, manifests, secrets) in CASES {
        let scene_name: &'static str = Box::leak(format!("gw-{name}").into_boxed_str());
        let scene = Scene::on(&controller, scene_name);
        let namespace = scene.namespace("web");
        let site = Site {
            scene: &scene,
            namespace,
        };
        let host = |label: &str| format!("{label}.{scene_name}.example");
        scene.apply(&web(&site.namespace));
        scene.apply(&manifests(&site, &host));
        let asked = host(secrets[0].1);
        let usual = usual_answer(&controller, &asked, false).expect("a site that is served");
        assert!(
            ["200", "301"].iter().any(|status| usual.contains(status)),
            "{name}: {usual}"
        );
        let over = AtomicBool::new(false);
        let (ran, (count, wrong)) = std::thread::scope(|scope| {
            let client = scope.spawn(|| ask_until(&over, &controller, &asked, &usual));
            let ran = scene.run(&["--probe-timeout", "20s"]);
            over.store(true, Ordering::Relaxed);
            (ran, client.join().expect("a client"))
        });
        issued(&ran, name);
        for (secret, label) in *secrets {
            // Traefik 3.7 does not read ListenerSets; the Gateway's own HTTP listener brought the CA's request in.
            if *name == "set" {
                let stored = scene.names("secrets", &site.namespace);
                assert!(stored.iter().any(|it| it.contains(secret)), "{name}: {stored:?}");
                continue;
            }
            assert!(
                is_served(&scene, &host(label)),
                "{name}: `{secret}` is not served for {label}"
            );
        }
        println!(
            "{name}: {} of {count} answers to a client are not the usual one",
            wrong.len()
        );
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        assert_eq!(scene.pebble.count("set INVALID"), 0, "{name}");
        let left = scene.names("httproutes", &site.namespace);
        assert!(!left.iter().any(|name| name.contains("kube-lego-once")), "{left:?}");
        assert_eq!(scene.names("referencegrants", &scene.home), Vec::<String>::new());
        scene.assert_nothing_is_left();
        kubectl(
            &[
                "delete",
                "gateways,listenersets,httproutes,ingresses",
                "--all",
                "-n",
                &site.namespace,
            ],
            "",
        );
    }
    assert_eq!(unused_rights_of_gateways(), Vec::<String>::new());
}

/// What this run may not make, or a quota has no room for, costs the certificates of Gateways and no other.
#[test]
#[ignore = "needs the test cluster with Gateways"]
fn what_cannot_be_made_for_a_gateway_costs_its_certificate_alone() {
    let controller = gateways();
    let quota = r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"none"},"spec":{"hard":{"count/httproutes.gateway.networking.k8s.io":"0"}}}"#;
    let name = "denied-gw";
    let scene = Scene::on(&controller, name);
    let site = Site {
        scene: &scene,
        namespace: scene.namespace("web"),
    };
    let host = |label: &str| format!("{label}.{name}.example");
    scene.apply(&web(&site.namespace));
    // Nobody serves its class here: what it fails of is its own route, which shows that the run went on.
    scene.apply(&scene.ingress(&site.namespace, "other", "other-tls", &[&host("other")]));
    scene.apply(&site.gateway("g", &[site.http(), site.https("a", &host("a"), "a-tls")]));
    kubectl(&["apply", "-n", &site.namespace, "-f", "-"], quota);
    // No controller manager runs here, which would write down what is used.
    let counted = r#"{"status":{"hard":{"count/httproutes.gateway.networking.k8s.io":"0"},"used":{"count/httproutes.gateway.networking.k8s.io":"0"}}}"#;
    let patch = [
        "patch",
        "resourcequota",
        "none",
        "--subresource=status",
        "--type=merge",
        "-n",
    ];
    kubectl(&[&patch[..], &[&site.namespace, "-p", counted]].concat(), "");
    let ran = scene.run(&["--probe-timeout", "2s"]);
    let all = format!("{}{}", ran.stdout, ran.stderr);
    println!("{all}");
    assert_eq!(ran.status, 1, "{all}");
    for words in ["exceeded quota: none", "the CA would not get an answer"] {
        assert!(all.contains(words), "{words}: {all}");
    }
    assert_eq!(scene.pebble.count("Added order"), 0, "{all}");
    scene.assert_nothing_is_left();

    // Without the roles for Gateways a run does the rest, and says so to who asks for one.
    kubectl(
        &["delete", "clusterrolebinding", &format!("{}-gateways", scene.home)],
        "",
    );
    let ran = scene.run(&["--dry-run"]).exits(0);
    assert!(
        !ran.stdout.contains("a-tls") && ran.stdout.contains("other-tls"),
        "{ran:?}"
    );
    let ran = scene.run(&["--dry-run", "gateway/g"]);
    let all = format!("{}{}", ran.stdout, ran.stderr);
    println!("{all}");
    assert!(
        all.contains("(Gateways are not known: could not list Gateways"),
        "{all}"
    );
    kubectl(&["delete", "gateways,ingresses", "--all", "-n", &site.namespace], "");
}

/// The README's variant of the quick start: its manifest, its commands, and each line that they print.
#[test]
#[ignore = "needs the test cluster with Gateways"]
fn the_readmes_gateway_gets_its_certificate() {
    let controller = gateways();
    let scene = Scene::on(&controller, "gw-readme");
    let readme = read("README.md");
    let (_, section) = readme.split_once("### On a Gateway").expect("the section");
    let block = |language: &str| blocks(section, language).next().expect("a block");
    let manifest = block("yaml")
        .replace("port: 80", &format!("port: {}", controller.http_port))
        .replace("port: 443", &format!("port: {}", controller.https_port))
        .replace("kubernetes.io/tls-acme", &scene.annotation);
    let mut printed = String::new();
    for line in block("console").lines() {
        match line.strip_prefix("$ ") {
            Some("kubectl apply -f gateway.yaml") => printed = kubectl(&["apply", "-f", "-"], &manifest),
            Some("kube-lego-once run") => {
                let ran = scene.run(&["--probe-timeout", "20s"]);
                issued(&ran, "the README's Gateway");
                printed = format!("{}{}", ran.stderr, ran.stdout);
            }
            Some(command) => panic!("nobody runs `{command}`"),
            None => {
                let constant = line.split(", valid until").next().unwrap_or_default();
                assert!(printed.contains(constant), "`{line}` is not printed:\n{printed}");
            }
        }
    }
    assert!(is_served(&scene, "gateway.example"));
    kubectl(&["delete", "gateway", "demo-gateway", "-n", "default"], "");
    kubectl(&["delete", "secret", "gateway-tls", "-n", "default"], "");
}
