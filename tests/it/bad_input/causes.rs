//! Somebody else answers the CA's question: each cause is made by the server or the controller that has it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::row::{due, refusing, row};
use crate::scene::{cluster, curl, eventually, kubectl, program};

/// A server of this test's; it ends with the value.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Self {
        Self(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("a server"),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs the test cluster"]
fn the_responder_of_another_run_answers() {
    let (scene, _) = due("other-run");
    let port = refusing().rsplit(':').next().expect("a port").to_owned();
    let listen = format!("{}:{port}", cluster()["address"].as_str().expect("an address"));
    let thumbprint = "x".repeat(43);
    let _other = Server::start(program().args([
        "solve",
        "--run",
        "r-other",
        "--thumbprint",
        &thumbprint,
        "--listen",
        &listen,
    ]));
    eventually(&["-sS", "-o", "/dev/null", &format!("http://{listen}/")]);
    let mut command = scene.command("run");
    command
        .env("KUBE_LEGO_ONCE_PROBE_HTTP_PORT", &port)
        .env("KUBE_LEGO_ONCE_PROBE_TIMEOUT", "3s");
    let words = [
        "from another run, `r-other`",
        "two installations",
        "-l kube-lego-once.dev/run=r-other`",
    ];
    row(&scene, "the responder of another run answers", &mut command, 1, &words);
}

#[test]
#[ignore = "needs the test cluster"]
fn an_ipv6_address_leads_elsewhere() {
    let (scene, _) = due("elsewhere");
    let port = scene.controller.http_port.to_string();
    let _stranger = Server::start(Command::new("python3").args(["-m", "http.server", "--bind", "::1", &port]));
    eventually(&["-sS", "-o", "/dev/null", &format!("http://[::1]:{port}/")]);
    let url = format!(
        "{}/add-aaaa",
        cluster()["challtestsrv_management"].as_str().expect("a URL")
    );
    let record = json!({"host": "a.elsewhere.example", "addresses": ["::1"]}).to_string();
    curl(&["--fail", "-X", "POST", "-d", &record, &url]);
    let mut command = scene.command("run");
    command.env("KUBE_LEGO_ONCE_PROBE_TIMEOUT", "3s");
    let words = [
        "404 Not Found",
        "the AAAA record of `a.elsewhere.example` leads to `::1`",
        "CAs ask IPv6 first",
    ];
    row(&scene, "an IPv6 address leads elsewhere", &mut command, 1, &words);
}

/// Contour's own kind of route, which says what becomes of the challenge path of a host. The condition on a header makes it win over
/// the challenge Ingress.
fn proxy(namespace: &str, host: &str, route: Value) -> String {
    let mut route = route;
    route["conditions"] = json!([
        {"prefix": "/.well-known/acme-challenge/"},
        {"header": {"name": "user-agent", "contains": "kube-lego-once"}},
    ]);
    let proxy = json!({
        "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": {"name": "theirs", "namespace": namespace},
        "spec": {"ingressClassName": "contour", "virtualhost": {"fqdn": host}, "routes": [route]},
    });
    proxy.to_string()
}

#[test]
#[ignore = "needs the test cluster"]
fn a_route_of_contour_redirects_in_a_circle_or_lets_few_addresses_in() {
    let (scene, namespace) = due("theirs");
    let host = "a.theirs.example";
    let circle = json!({"requestRedirectPolicy": {"hostname": host, "statusCode": 301}});
    let list = json!({
        "services": [{"name": "web", "port": 80}],
        "ipAllowPolicy": [{"source": "Peer", "cidr": "203.0.113.0/24"}],
    });
    for (name, route, words) in [
        (
            "a redirect to itself",
            circle,
            [
                "the redirects go in a circle",
                "must not redirect paths under `/.well-known/acme-challenge/`",
            ],
        ),
        (
            "a list of addresses that may come",
            list,
            ["403 Forbidden", "from authentication and address lists"],
        ),
    ] {
        scene.apply(&proxy(&namespace, host, route));
        std::thread::sleep(Duration::from_secs(2));
        let mut command = scene.command("run");
        command.env("KUBE_LEGO_ONCE_PROBE_TIMEOUT", "4s");
        row(&scene, name, &mut command, 1, &words);
        kubectl(&["delete", "httpproxy", "theirs", "-n", &namespace], "");
    }
}
