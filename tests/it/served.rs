//! I8: while a run goes on, whoever asks a site gets the site's answer.
//!
//! These tests make an Ingress that serves every host there is, so nothing else runs beside them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scene::{Controller, Scene, break_dns, cluster, decoded, kubectl};

/// How often each site is asked.
const PAUSE: Duration = Duration::from_millis(30);

/// An annotated Ingress whose certificate is for `host`, and whose rules are `spec`.
fn site(scene: &Scene, namespace: &str, name: &str, host: &str, spec: Value) -> String {
    let annotation = &scene.annotation;
    let mut ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": namespace, "name": name, "annotations": {annotation: "true"}},
        "spec": {"ingressClassName": "contour", "tls": [{"hosts": [host], "secretName": name}]},
    });
    for (key, value) in spec.as_object().expect("a part of a spec") {
        ingress["spec"][key] = value.clone();
    }
    format!("---\n{ingress}\n")
}

fn rule(host: Option<&str>) -> Value {
    let mut rule = json!({"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": web()}]}});
    if let Some(host) = host {
        rule["host"] = json!(host);
    }
    json!({"rules": [rule]})
}

fn web() -> Value {
    json!({"service": {"name": "web", "port": {"number": 80}}})
}

#[test]
#[ignore = "needs the test cluster"]
fn a_run_takes_no_host_from_the_site_that_it_is_for() {
    let scene = Scene::new("served");
    let namespace = scene.namespace("web");
    let wildcard = "*.wild.served.example";
    let sites = [
        ("exact", "exact.served.example", rule(Some("exact.served.example"))),
        ("wildcard", "a.wild.served.example", rule(Some(wildcard))),
        ("beside", "b.wild.served.example", rule(Some(wildcard))),
        ("default", "default.served.test", json!({"defaultBackend": web()})),
        ("hostless", "hostless.served.test", rule(None)),
    ];
    let dead = "dead.wild.served.example";
    let mut manifests: String = sites
        .iter()
        .map(|(name, host, spec)| site(&scene, &namespace, name, host, spec.clone()))
        .collect();
    // With this one in the batch the challenge objects live until its probe is given up.
    manifests.push_str(&site(&scene, &namespace, "dead", dead, rule(Some(wildcard))));
    break_dns(dead);
    scene.apply(&manifests);

    let port = scene.controller.http_port;
    let hosts: Vec<&str> = sites.iter().map(|(_, host, _)| *host).chain([dead]).collect();
    for host in &hosts {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_the_sites(host, &answer(port, host)) {
            assert!(
                Instant::now() < deadline,
                "{host} is not served: {}",
                answer(port, host)
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let over = AtomicBool::new(false);
    let (ran, asked) = std::thread::scope(|scope| {
        let clients: Vec<_> = hosts
            .iter()
            .map(|host| scope.spawn(|| ask_until(&over, host)))
            .collect();
        let ran = scene.run(&[]);
        // A controller takes a moment to see that the challenge is gone.
        std::thread::sleep(Duration::from_secs(1));
        over.store(true, Ordering::Relaxed);
        let asked: Vec<(usize, Vec<String>)> = clients.into_iter().map(|it| it.join().expect("a client")).collect();
        (ran, asked)
    });
    let ran = ran.exits(1);
    assert!(
        ran.stdout.contains("6 certificates: 5 issued, 1 failed"),
        "{}",
        ran.stdout
    );
    let questions: usize = asked.iter().map(|(count, _)| count).sum();
    let wrong: Vec<&String> = asked.iter().flat_map(|(_, wrong)| wrong).collect();
    println!(
        "{questions} questions to {} sites while a run of 6 certificates went on, {} answers that are not the application's",
        hosts.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(questions > 500, "the sites were asked all the time: {questions}");
    for (name, ..) in &sites {
        let secret = scene.get("secret", &namespace, name);
        assert!(
            decoded(&secret["data"]["tls.crt"]).contains("BEGIN CERTIFICATE"),
            "{name}"
        );
    }
    scene.assert_nothing_is_left();
    // An Ingress that serves every host serves those of the tests after this one, too.
    kubectl(&["delete", "ingress", "--all", "-n", &namespace], "");
}

fn ask_until(over: &AtomicBool, host: &str) -> (usize, Vec<String>) {
    let port = Controller::contour().http_port;
    let (mut count, mut wrong) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        let said = answer(port, host);
        count += 1;
        if !is_the_sites(host, &said) {
            wrong.push(format!("{host}: {said}"));
        }
        std::thread::sleep(PAUSE);
    }
    (count, wrong)
}

fn is_the_sites(host: &str, answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&format!("hello from {host} at /\n"))
}

/// What a host's site says, by HTTP/1.1 on a connection of its own, or what went wrong.
pub fn answer(port: u16, host: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((cluster()["address"].as_str().expect("an address"), port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        // Not to its end where a length is given: Envoy (Istio's) keeps a connection open for a second longer.
        let mut stream = BufReader::new(stream);
        let (mut said, mut length) = (String::new(), None);
        while !said.ends_with("\r\n\r\n") && stream.read_line(&mut said)? > 0 {
            let last = said.lines().last().unwrap_or_default().to_ascii_lowercase();
            length = length.or_else(|| last.strip_prefix("content-length:")?.trim().parse().ok());
        }
        stream.take(length.unwrap_or(u64::MAX)).read_to_string(&mut said)?;
        Ok(said)
    };
    ask().unwrap_or_else(|error| error.to_string())
}
