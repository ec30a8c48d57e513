//! Metrics of runs, as a real Pushgateway takes them.

use std::process::{Child, Stdio};

use crate::cronjob;
use crate::scene::{Scene, break_dns, cluster, eventually, has_nodes, tool};

/// A Pushgateway of a test's own.
struct Gateway {
    child: Child,
    url: String,
}

impl Gateway {
    /// At this address of the machine.
    fn start(address: &str) -> Self {
        let listener = std::net::TcpListener::bind((address, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let child = tool("pushgateway")
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pushgateway starts");
        let url = format!("http://{address}");
        eventually(&["-sS", "--fail", "-o", "/dev/null", &format!("{url}/-/ready")]);
        Self { child, url }
    }

    /// What a server would scrape, as NAME{LABELS} and value.
    fn samples(&self) -> Vec<(String, String)> {
        let text = eventually(&["-sS", "--fail", &format!("{}/metrics", self.url)]);
        let lines = text.lines().filter(|line| line.starts_with("kube_lego_once_"));
        let samples = lines.filter_map(|line| line.rsplit_once(' '));
        samples
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn value(&self, name: &str, label: &str) -> Option<f64> {
        let all = self.samples();
        let found = all
            .iter()
            .find(|(it, _)| it.starts_with(&format!("{name}{{")) && it.contains(label));
        found.map(|(_, value)| value.parse().expect("a number"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs the test cluster"]
fn a_run_is_seen_in_a_pushgateway() {
    let scene = Scene::new("pushed");
    let namespace = scene.namespace("web");
    for (name, host) in [("good", "good.pushed.example"), ("wild", "*.pushed.example")] {
        scene.apply(&scene.ingress(&namespace, name, name, &[host]));
    }
    let gateway = Gateway::start("127.0.0.1");
    let url = gateway.url.clone();
    let push = ["--pushgateway", &url, "-o", "prometheus"];

    let ran = scene.run(&push).exits(0);
    assert!(ran.stdout.ends_with("# EOF\n"), "{}", ran.stdout);
    println!("{}", ran.stdout);
    let success = gateway
        .value("kube_lego_once_last_success_timestamp_seconds", "")
        .expect("a success");
    let end = gateway.value(
        "kube_lego_once_certificate_not_after_timestamp_seconds",
        "secret=\"good\"",
    );
    assert!(end.expect("an end") > success);
    assert_eq!(gateway.value("kube_lego_once_certificates_issued", ""), Some(1.0));
    assert_eq!(
        gateway.value("kube_lego_once_certificates_refused", "WildcardHost"),
        Some(1.0)
    );
    assert_eq!(
        gateway.value("kube_lego_once_certificates_refused", "ForeignSecret"),
        Some(0.0)
    );
    assert!(
        gateway
            .value("kube_lego_once_run_duration_seconds", "")
            .expect("a duration")
            > 0.0
    );

    // A run that fails says so, and the last success stays.
    break_dns("dead.pushed.example");
    scene.apply(&scene.ingress(&namespace, "dead", "dead", &["dead.pushed.example"]));
    scene.run(&push).exits(1);
    assert_eq!(
        gateway.value("kube_lego_once_certificates_failed", "noAnswer"),
        Some(1.0)
    );
    assert_eq!(
        gateway.value("kube_lego_once_last_success_timestamp_seconds", ""),
        Some(success)
    );

    // What is gone is gone there too, once a run succeeds: it replaces the group.
    for name in ["dead", "good", "wild"] {
        crate::scene::kubectl(&["delete", "ingress", name, "-n", &namespace], "");
    }
    scene.run(&push).exits(0);
    assert_eq!(
        gateway.value("kube_lego_once_certificate_not_after_timestamp_seconds", ""),
        None
    );
    assert!(
        gateway
            .value("kube_lego_once_last_success_timestamp_seconds", "")
            .expect("a success")
            >= success
    );
    drop(gateway);

    let ran = scene.run(&push).exits(0);
    assert!(
        ran.stderr
            .contains("warning: could not push the metrics to `http://127.0.0.1:"),
        "{}",
        ran.stderr
    );
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn the_cronjobs_pod_pushes() {
    if !has_nodes("a Pushgateway that a Pod pushes to") {
        return;
    }
    let scene = Scene::new("pod-pushed");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.pod-pushed.example"]));
    let gateway = Gateway::start(cluster()["address"].as_str().expect("an address"));
    let more = [
        ("ANNOTATION", scene.annotation.as_str()),
        ("PUSHGATEWAY", gateway.url.as_str()),
    ];
    scene.apply(&cronjob::manifests(&scene, &scene.home, &more));
    cronjob::start(&scene, "now");
    assert!(scene.wait_for_job("now"));
    assert_eq!(gateway.value("kube_lego_once_certificates_issued", ""), Some(1.0));
    println!("{:#?}", gateway.samples());
}
