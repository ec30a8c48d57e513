//! Gateways and ListenerSets on real implementations: certificates that their listeners serve, and routes that nobody loses.
//!
//! `make test-gateways` runs it, and `make TABLES=1 test-gateways` writes the table into `docs/reference.md`.

mod bad;
mod cases;
mod kinds;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::controllers::{ask_until, is_served, usual_answer, write_table};
use crate::documents::{blocks, read};
use crate::scene::{Controller, Ran, Scene, kubectl, web};
use cases::{CASES, Case, Ends, Site, WEB};

/// All that serve Gateways here.
fn implementations() -> Vec<Controller> {
    let mut all = Controller::all();
    all.retain(|it| it.name.ends_with("-gateway"));
    assert!(
        !all.is_empty(),
        "run this under `tests/cluster/cluster run --controllers traefik-gateway,contour-gateway,istio-gateway -- ...`"
    );
    all
}

/// One that serves Gateways of any name.
fn gateways() -> Controller {
    let found = implementations().into_iter().find(|it| it.gateways_in.is_none());
    found.expect("run this under `tests/cluster/cluster run --controllers traefik-gateway -- ...`")
}

fn issued(ran: &Ran, what: &str) {
    assert_eq!(ran.status, 0, "{what}: {}\n{}", ran.stdout, ran.stderr);
}

/// Every implementation by itself, its cases one after the other: Contour serves one Gateway. `CASE` chooses one.
#[test]
#[ignore = "needs the test cluster with Gateways"]
fn every_gateway_gets_its_certificates_and_its_clients_see_nothing() {
    let chosen = |case: &&Case| std::env::var("CASE").map_or(true, |name| name == case.name);
    let cases: Vec<&Case> = CASES.iter().filter(chosen).collect();
    let implementations = implementations();
    let columns: Vec<Vec<Result<String, String>>> = std::thread::scope(|scope| {
        let running: Vec<_> = implementations
            .iter()
            .map(|controller| scope.spawn(|| cases.iter().map(|case| run(controller, case)).collect()))
            .collect();
        running.into_iter().map(|one| one.join().expect("its cases")).collect()
    });
    let names: Vec<&str> = implementations.iter().map(|it| it.name.as_str()).collect();
    let mut table = format!("{HEAD} {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for (row, case) in cases.iter().enumerate() {
        let cells = columns.iter().map(|column| column[row].as_deref().unwrap_or("failed"));
        table.push_str(&format!(
            "| {} | {} |\n",
            case.what,
            cells.collect::<Vec<_>>().join(" | ")
        ));
    }
    println!("{table}");
    let failures: Vec<&String> = columns.iter().flatten().filter_map(|it| it.as_ref().err()).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    if std::env::var("TABLES").is_ok_and(|it| it == "1") {
        write_table(HEAD, &table);
    }
}

const HEAD: &str = "| Gateway |";

/// A case: a run for its certificates, and, where there are any, one that renews them; a host is asked all the time.
fn run(controller: &Controller, case: &Case) -> Result<String, String> {
    let name: &'static str = Box::leak(format!("{}-{}", controller.name, case.name).into_boxed_str());
    let scene = Scene::on(controller, name);
    let namespace = match &controller.gateways_in {
        None => scene.namespace("web"),
        Some(namespace) => {
            scene.apply(&format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"
            ));
            scene.apply(&web(namespace));
            namespace.clone()
        }
    };
    let site = Site {
        scene: &scene,
        namespace,
    };
    let host = |label: &str| format!("{label}.{name}.example");
    let mut manifests = (case.manifests)(&site, &host);
    if let Some(only) = &controller.only_gateway {
        // Not the others' name: Contour (1.33) takes a route of any namespace whose parent has this name for one of its Gateway's.
        manifests = manifests.replace("name: g", &format!("name: {only}"));
    }
    scene.apply(&manifests);
    let ends = (case.ends)(controller);
    if manifests.contains("kind: HTTPRoute") && !matches!(ends, Ends::Untried(_)) {
        let host = host(case.secrets[0].1);
        let deadline = Instant::now() + Duration::from_secs(8);
        // Contour serves a host by HTTP at a listener of any hostname only once its HTTPS listener has a certificate.
        while usual_answer(controller, &host, true).is_none_or(|said| is_nobodys(&said)) && Instant::now() < deadline {}
    }
    let done = match ends {
        Ends::Untried(why) => Ok(why.to_owned()),
        Ends::Served | Ends::Stored => issue_and_renew(&site, case, ends, &host),
    };
    let left = scene.names("httproutes", &site.namespace);
    assert!(
        !left.iter().any(|name| name.contains("kube-lego-once")),
        "{name}: {left:?}"
    );
    assert_eq!(
        scene.names("referencegrants", &scene.home),
        Vec::<String>::new(),
        "{name}"
    );
    scene.assert_nothing_is_left();
    let namespaces = [site.namespace.clone(), format!("{name}-app")];
    for namespace in &namespaces {
        let kinds = "gateways,listenersets,httproutes,ingresses,secrets";
        kubectl(&["delete", kinds, "--all", "-n", namespace], "");
    }
    done.map_err(|why| format!("{name}: {why}"))
}

fn issue_and_renew(site: &Site<'_>, case: &Case, ends: Ends, host: &dyn Fn(&str) -> String) -> Result<String, String> {
    let scene = site.scene;
    let first = asked_all_the_time(scene, &host(case.secrets[0].1), &["--probe-timeout", "20s"])?;
    let mut stored_in = site.namespace.clone();
    for (secret, label) in case.secrets {
        let namespaces = [site.namespace.clone(), format!("{}-app", scene.name)];
        let found = namespaces
            .iter()
            .find(|it| scene.names("secrets", it).contains(&format!("secret/{secret}")));
        stored_in = found.ok_or_else(|| format!("`{secret}` is not stored"))?.clone();
        if ends == Ends::Served && !is_served(scene, &host(label)) {
            return Err(format!("`{secret}` is not served for {label}"));
        }
    }
    let mut names: Vec<&str> = case.secrets.iter().map(|(secret, _)| *secret).collect();
    names.dedup();
    let force = [&names[..], &["-n", &stored_in, "--force", "--probe-timeout", "20s"]].concat();
    let again = asked_all_the_time(scene, &host(case.secrets[0].1), &force)?;
    let (certificates, invalid) = (
        scene.pebble.count("Issued certificate serial"),
        scene.pebble.count("set INVALID"),
    );
    if certificates != 2 * names.len() || invalid > 0 {
        return Err(format!(
            "{certificates} certificates for {} issued twice, {invalid} failed validations",
            names.len()
        ));
    }
    let served = if ends == Ends::Served { "" } else { ", not served" };
    Ok(format!("{first:.1} s, renewed {again:.1} s{served}"))
}

/// A run, and how long it took. The host says the same all the time; where nothing serves it, nothing else does meanwhile.
fn asked_all_the_time(scene: &Scene, host: &str, arguments: &[&str]) -> Result<f64, String> {
    let usual = usual_answer(&scene.controller, host, true).ok_or("the site says something else each time")?;
    let over = AtomicBool::new(false);
    let (ran, took, (count, mut wrong)) = std::thread::scope(|scope| {
        let client = scope.spawn(|| ask_until(&over, &scene.controller, host, &usual));
        let begun = Instant::now();
        let ran = scene.run(arguments);
        let took = begun.elapsed();
        // An implementation takes a moment to see that the challenge is gone.
        std::thread::sleep(Duration::from_secs(1));
        over.store(true, Ordering::Relaxed);
        (ran, took, client.join().expect("a client"))
    });
    // Where nobody served the host before: Envoy has a listener's port closed while nothing at all is attached, and the application
    // may answer from the moment at which the certificate is there, with a moment of Envoy's own 503 before it.
    let is_right = |said: &String| {
        is_nobodys(said) || said.contains(&format!("hello from {host}")) || said == "HTTP/1.1 503 Service Unavailable "
    };
    wrong.retain(|said| !(is_nobodys(&usual) && is_right(said)));
    let (what, first) = (scene.name, usual.lines().next().unwrap_or_default());
    println!(
        "{what}: {} of {count} answers to a client are not the usual one, `{first}`",
        wrong.len()
    );
    match ran.status == 0 && wrong.is_empty() {
        true => Ok(took.as_secs_f64()),
        false => Err(format!("{wrong:#?} {}\n{}", ran.stdout, ran.stderr)),
    }
}

fn is_nobodys(said: &str) -> bool {
    said.starts_with("HTTP/1.1 404") || !said.starts_with("HTTP/")
}

/// What this run may not make, or a quota has no room for, costs the certificates of Gateways and no other.
#[test]
#[ignore = "needs the test cluster with Gateways"]
fn what_cannot_be_made_for_a_gateway_costs_its_certificate_alone() {
    let controller = gateways();
    let quota = r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"none"},"spec":{"hard":{"count/httproutes.gateway.networking.k8s.io":"0"}}}"#;
    let name = "denied-gw";
    let scene = Scene::on(&controller, name);
    let site = Site::of(&scene);
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

/// HTTPRoutes of all installations stand beside the Gateways: each sweeps its own, since another's may belong to a run that goes on.
#[test]
#[ignore = "needs the test cluster with Gateways"]
fn an_installation_sweeps_what_it_left_itself() {
    let controller = gateways();
    let scene = Scene::on(&controller, "gw-sweep");
    let site = Site::of(&scene);
    for (name, home) in [("ours", scene.home.as_str()), ("theirs", "another-installation")] {
        let route = site.route(name, "{name: g}", "", WEB).replace(
            &format!("{{name: {name}, "),
            &format!("{{name: {name}, labels: {{kube-lego-once.dev/run: dead, kube-lego-once.dev/home: {home}}}, "),
        );
        scene.apply(&route);
    }
    let ran = Ran::from(scene.command("clean").output().expect("the program")).exits(0);
    assert_eq!(
        ran.stdout,
        format!(
            "removed HTTPRoute {}/ours of run dead\n1 object removed\n",
            site.namespace
        )
    );
    let left = scene.names("httproutes", &site.namespace);
    assert_eq!(left.len(), 1, "{left:?}");
    kubectl(&["delete", "httproutes", "--all", "-n", &site.namespace], "");
}

/// Whoever may make HTTPRoutes in a namespace can give one our labels or our name there: that costs the certificates of its Gateway
/// at most.
#[test]
#[ignore = "needs the test cluster with Gateways"]
fn another_hands_http_route_costs_no_other_certificate() {
    let controller = gateways();
    let scene = Scene::on(&controller, "gw-hands");
    let site = Site::of(&scene);
    scene.apply(&web(&site.namespace));
    let elsewhere = scene.namespace("elsewhere");
    let host = |label: &str| format!("{label}.gw-hands.example");
    for (gateway, secret) in [("g", "a-tls"), ("taken", "b-tls")] {
        scene.apply(&site.gateway(gateway, &[site.http(), site.https("s", &host(gateway), secret)]));
    }
    let taken = format!("kube-lego-once-{}-taken", scene.home);
    scene.apply(&site.route(&taken, "{name: nowhere}", "", WEB));
    let (held, home) = ("held", &scene.home);
    let in_its_namespace = site
        .route(held, "{name: nowhere}", "", WEB)
        .replace(&site.namespace, &elsewhere);
    let labels = format!("labels: {{kube-lego-once.dev/run: dead, kube-lego-once.dev/home: {home}}}");
    scene.apply(&in_its_namespace.replace(
        &format!("{{name: {held}, "),
        &format!("{{name: {held}, {labels}, finalizers: [example.com/for-ever], "),
    ));
    let ran = scene.run(&["--probe-timeout", "20s"]).exits(1);
    for words in [
        "1 issued, 1 failed",
        &format!("`{}/{taken}` is not ours", site.namespace),
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}\n{}", ran.stdout, ran.stderr);
    }
    let why =
        format!("HTTPRoute `{elsewhere}/held` of run `dead` was deleted and is still there: its finalizers hold it");
    assert!(ran.stderr.contains(&why), "{}", ran.stderr);
    assert!(!ran.stdout.contains("removed HTTPRoute"), "{}", ran.stdout);
    assert!(is_served(&scene, &host("g")));
    let cleaned = Ran::from(scene.command("clean").output().expect("the program")).exits(1);
    assert!(cleaned.stderr.contains(&why), "{}", cleaned.stderr);
    assert_eq!(cleaned.stdout, "0 objects removed\n");

    let none = r#"{"metadata":{"finalizers":null}}"#;
    kubectl(
        &["patch", "httproute", held, "-n", &elsewhere, "--type=merge", "-p", none],
        "",
    );
    kubectl(&["delete", "httproute", &taken, "-n", &site.namespace], "");
    let ran = scene.run(&["--probe-timeout", "20s"]).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{}", ran.stdout);
    scene.assert_nothing_is_left();
    kubectl(&["delete", "gateways,httproutes", "--all", "-n", &site.namespace], "");
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
        .replace("port: 80", &format!("port: {}", controller.listener_ports.0))
        .replace("port: 443", &format!("port: {}", controller.listener_ports.1))
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
