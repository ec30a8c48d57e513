//! What an operator meets in the first ten minutes. Each row is run as a user would run it, and must end in a sentence that
//! says what to do, with nothing ordered and nothing left.
//!
//! `tests/cluster/cluster run -- cargo test --test it bad_input -- --ignored --nocapture` prints the table.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::quota::set_quota;
use crate::scene::{Ran, Scene, decoded, kubectl, program, rights_without};

/// How a row must end.
struct Expected<'a> {
    status: i32,
    /// In what it says on stderr or in the report.
    words: &'a [&'a str],
    hint: bool,
}

/// Runs one row, prints it, and checks what every row must meet.
#[track_caller]
fn row(scene: &Scene, name: &str, command: &mut Command, expected: &Expected<'_>) {
    let orders = scene.pebble.count("Added order");
    let ran = Ran::from(command.output().expect("the program"));
    let said = format!("{}{}", ran.stdout, ran.stderr);
    println!("## {name}: exit status {}\n{}", ran.status, said.trim_end());
    assert_eq!(ran.status, expected.status, "{name}");
    for words in expected.words {
        assert!(said.contains(words), "{name}: `{words}` is not in what was said");
    }
    if expected.status == 2 {
        assert_eq!(
            ran.stderr.lines().filter(|line| line.starts_with("error: ")).count(),
            1,
            "{name}: one error"
        );
    }
    assert_eq!(said.contains("hint: "), expected.hint, "{name}: a hint");
    assert!(!said.contains("panicked"), "{name}");
    assert_eq!(scene.pebble.count("Added order"), orders, "{name}: nothing is ordered");
    scene.assert_nothing_is_left();
}

/// A scene with one certificate that is due.
fn due(name: &'static str) -> (Scene, String) {
    let scene = Scene::new(name);
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &[&format!("a.{name}.example")]));
    (scene, namespace)
}

/// An address where nobody listens.
fn refusing() -> String {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("an address")
        .to_string()
}

#[test]
#[ignore = "needs the test cluster"]
fn the_way_to_the_cluster() {
    let (scene, _) = due("way");
    let good = fs::read_to_string(scene.kubeconfig()).expect("the kubeconfig");
    let changed = |name: &str, change: &dyn Fn(&mut Value)| -> PathBuf {
        let mut config: Value = serde_json::from_str(&good).expect("JSON");
        change(&mut config);
        let path = scene.kubeconfig().with_file_name(name);
        fs::write(&path, config.to_string()).expect("a file");
        path
    };
    let down = refusing();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let silent_server = format!("https://{}", silent.local_addr().expect("an address"));
    let cluster = |key: &'static str, value: String| {
        move |config: &mut Value| config["clusters"][0]["cluster"][key] = json!(value)
    };
    for (name, kubeconfig, words) in [
        (
            "a kubeconfig that is not there",
            PathBuf::from("/nonexistent/config"),
            "/nonexistent/config",
        ),
        (
            "a kubeconfig that is none",
            changed("none", &|config| *config = json!("hello")),
            "none",
        ),
        (
            "an API server that is down",
            changed("down", &cluster("server", format!("https://{down}"))),
            "refused",
        ),
        (
            "an API server that does not answer",
            changed("silent", &cluster("server", silent_server)),
            "timed out",
        ),
        (
            "an API server of another CA",
            changed("ca", &cluster("certificate-authority", scene.pebble.authority_file())),
            "certificate",
        ),
        (
            "an unknown token",
            changed("token", &|config| config["users"][0]["user"]["token"] = json!("x")),
            "log in again",
        ),
    ] {
        let mut command = scene.command("run");
        command.env("KUBECONFIG", kubeconfig);
        row(
            &scene,
            name,
            &mut command,
            &Expected {
                status: 2,
                words: &[words],
                hint: true,
            },
        );
    }
    let mut command = scene.command("run");
    command.args(["--context", "nosuch"]);
    row(
        &scene,
        "a context that is not there",
        &mut command,
        &Expected {
            status: 2,
            words: &["nosuch"],
            hint: true,
        },
    );
    row(
        &scene,
        "no cluster at all",
        program().arg("run"),
        &Expected {
            status: 2,
            words: &["no cluster found"],
            hint: true,
        },
    );
}

#[test]
#[ignore = "needs the test cluster"]
fn the_authority() {
    let (scene, _) = due("authority");
    let closed = format!("https://{}/dir", refusing());
    let directory = |url: &str| {
        let mut command = scene.command("run");
        command.env("KUBE_LEGO_ONCE_DIRECTORY", url);
        command
    };
    let expect = |words| Expected {
        status: 2,
        words,
        hint: true,
    };
    row(
        &scene,
        "no directory",
        scene.command("run").env_remove("KUBE_LEGO_ONCE_DIRECTORY"),
        &expect(&["--directory"]),
    );
    row(
        &scene,
        "a directory that is down",
        &mut directory(&closed),
        &expect(&["directory", "refused"]),
    );
    let page = format!("{}/roots/0", scene.pebble.management);
    row(
        &scene,
        "a page that is no directory",
        &mut directory(&page),
        &expect(&["directory"]),
    );
    let mut untrusted = scene.command("run");
    untrusted.env_remove("KUBE_LEGO_ONCE_CA_BUNDLE");
    row(
        &scene,
        "a directory of an unknown CA",
        &mut untrusted,
        &expect(&["--ca-bundle"]),
    );
    let mut profile = scene.command("run");
    profile.args(["--profile", "nosuch"]);
    row(
        &scene,
        "a profile that the authority does not have",
        &mut profile,
        &expect(&["nosuch", "shortlived"]),
    );
    let mut email = scene.command("run");
    email.args(["--email", "nobody@example.com,x"]);
    row(
        &scene,
        "an e-mail address that the authority rejects",
        &mut email,
        &expect(&["--email"]),
    );
    // Only the authority is asked through it: the API server is exempt.
    let mut proxy = directory(&scene.pebble.directory.replace("127.0.0.1", "localhost"));
    proxy
        .env("HTTPS_PROXY", format!("http://{}", refusing()))
        .env("NO_PROXY", "127.0.0.1");
    row(&scene, "a proxy that is down", &mut proxy, &expect(&["proxy"]));
}

#[test]
#[ignore = "needs the test cluster"]
fn an_authority_that_demands_an_external_account() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let scene = Scene::with_authority("eab", |config| {
        config["pebble"]["externalAccountBindingRequired"] = json!(true);
        config["pebble"]["externalAccountMACKeys"] = json!({"kid-1": key});
    });
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.eab.example"]));
    let words = &["--eab-key-id", "--eab-hmac-key-file"];
    row(
        &scene,
        "an external account is demanded",
        &mut scene.command("run"),
        &Expected {
            status: 2,
            words,
            hint: true,
        },
    );

    let file = scene.kubeconfig().with_file_name("hmac-key");
    fs::write(&file, key).expect("a file");
    let ran = scene
        .run(&[
            "--eab-key-id",
            "kid-1",
            "--eab-hmac-key-file",
            file.to_str().expect("a path"),
        ])
        .exits(0);
    assert!(ran.stdout.contains("1 issued"), "{}", ran.stdout);
}

#[test]
#[ignore = "needs the test cluster"]
fn the_way_of_the_challenge() {
    let (scene, _) = due("challenge");
    let taken = TcpListener::bind("0.0.0.0:0").expect("a listener");
    let address = taken.local_addr().expect("an address").to_string();
    let with = |key: &str, value: &str| {
        let mut command = scene.command("run");
        command.env(key, value);
        command
    };
    let expect = |words| Expected {
        status: 2,
        words,
        hint: true,
    };
    row(
        &scene,
        "no address",
        scene.command("run").env_remove("KUBE_LEGO_ONCE_ADVERTISE_ADDRESS"),
        &expect(&["--advertise-address"]),
    );
    row(
        &scene,
        "a listen port that is taken",
        &mut with("KUBE_LEGO_ONCE_LISTEN", &address),
        &Expected {
            status: 2,
            words: &[&address, "--listen"],
            hint: true,
        },
    );
    row(
        &scene,
        "an address that EndpointSlices refuse",
        &mut with("KUBE_LEGO_ONCE_ADVERTISE_ADDRESS", "127.0.0.1"),
        &expect(&["127.0.0.1", "--advertise-address"]),
    );
    let failed = |words| Expected {
        status: 1,
        words,
        hint: true,
    };
    let mut resolver = with("KUBE_LEGO_ONCE_RESOLVER", &refusing());
    row(
        &scene,
        "a resolver that is down",
        resolver.env("KUBE_LEGO_ONCE_PROBE_TIMEOUT", "12s"),
        &failed(&["no order was made"]),
    );
    let mut port = with(
        "KUBE_LEGO_ONCE_PROBE_HTTP_PORT",
        refusing().rsplit(':').next().expect("a port"),
    );
    row(
        &scene,
        "nobody listens where the host leads",
        port.env("KUBE_LEGO_ONCE_PROBE_TIMEOUT", "2s"),
        &failed(&["no order was made"]),
    );
    drop(taken);

    let foreign = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "kube-lego-once-contour", "namespace": scene.home},
        "spec": {"defaultBackend": {"service": {"name": "theirs", "port": {"number": 80}}}},
    });
    scene.apply(&foreign.to_string());
    let ran = scene.run(&[]).exits(2);
    assert!(ran.stderr.contains("is not ours"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: `kubectl delete ingress"), "{}", ran.stderr);
    kubectl(&["delete", "ingress", "kube-lego-once-contour", "-n", &scene.home], "");
    scene.assert_nothing_is_left();
}

#[test]
#[ignore = "needs the test cluster"]
fn a_controller_that_does_not_route() {
    let scene = Scene::new("unrouted");
    let namespace = scene.namespace("web");
    let ingress = scene
        .ingress(&namespace, "a", "a-tls", &["a.unrouted.example"])
        .replace("\"contour\"", "\"nobody\"");
    scene.apply(&ingress);
    let mut command = scene.command("run");
    command.env("KUBE_LEGO_ONCE_PROBE_TIMEOUT", "3s");
    row(
        &scene,
        "a class that nobody serves",
        &mut command,
        &Expected {
            status: 1,
            words: &["a.unrouted.example", "404"],
            hint: true,
        },
    );
}

#[test]
#[ignore = "needs the test cluster"]
fn what_the_api_server_does_not_take() {
    let (scene, namespace) = due("refusing");
    for (name, namespace, resource, status, words) in [
        (
            "a full quota on the owner's Secrets",
            &namespace,
            "secrets",
            1,
            "the Secret could not be stored",
        ),
        (
            "a full quota on Services at home",
            &scene.home,
            "services",
            2,
            "could not create Service",
        ),
        (
            "a full quota on Ingresses at home",
            &scene.home,
            "count/ingresses.networking.k8s.io",
            1,
            "the challenge Ingress was refused",
        ),
    ] {
        set_quota(&scene, namespace, resource, "0", "0");
        let what_to_do = format!("`kubectl describe resourcequota -n {namespace} full`");
        row(
            &scene,
            name,
            &mut scene.command("run"),
            &Expected {
                status,
                words: &["exceeded quota", words, &what_to_do],
                hint: true,
            },
        );
        kubectl(&["delete", "resourcequota", "full", "-n", namespace], "");
    }

    // One host is refused, in the challenge Ingress only; the others are not held up.
    scene.apply(&scene.ingress(&namespace, "b", "b-tls", &["b.refusing.example"]));
    scene.apply(&scene.ingress(&namespace, "c", "c-tls", &["c.refusing.example"]));
    scene.apply(&policy(&scene));
    let mut ran = scene.run(&[]);
    for _ in 0..50 {
        // A policy counts a moment after it is made; the certificates are made due again until it does.
        if ran.status == 1 {
            break;
        }
        kubectl(&["delete", "secret", "-n", &namespace, "a-tls", "b-tls", "c-tls"], "");
        ran = scene.run(&[]);
    }
    let ran = ran.exits(1);
    assert!(ran.stdout.contains("2 issued, 1 failed"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("b.refusing.example is not welcome"),
        "{}",
        ran.stdout
    );
    assert_eq!(scene.pebble.count("b.refusing.example is"), 0);
    scene.assert_nothing_is_left();
}

/// Refuses challenge Ingresses of a scene that have the host `b.refusing.example`.
fn policy(scene: &Scene) -> String {
    let name = &scene.home;
    let expression = "!has(object.spec.rules) || !object.spec.rules.exists(rule, has(rule.host) && rule.host == 'b.refusing.example')";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["ingresses"]}]},
            "validations": [{"expression": expression, "message": "b.refusing.example is not welcome"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}},
    });
    format!("{policy}\n---\n{binding}\n")
}

/// Every right without which something cannot happen is taken away once, on its own; the others are notes.
#[test]
#[ignore = "needs the test cluster"]
fn each_missing_right_is_named() {
    let scene = Scene::new("denied-rights");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.denied-rights.example"]));
    let secret = scene.expired_secret(&namespace, "old-tls", "old.denied-rights.example", json!({}), json!({}));
    for (role, group, resource, verb, status) in [
        ("ClusterRole", "networking.k8s.io", "ingresses", "list", 2),
        // While there is no Lease yet.
        ("Role", "coordination.k8s.io", "leases", "create", 2),
        ("ClusterRole", "", "secrets", "get", 1),
        ("ClusterRole", "", "secrets", "create", 1),
        ("ClusterRole", "", "secrets", "patch", 1),
        ("Role", "", "secrets", "create", 2),
        ("Role", "", "secrets", "get", 2),
        ("Role", "", "secrets", "patch", 2),
        ("Role", "coordination.k8s.io", "leases", "get", 2),
        ("Role", "coordination.k8s.io", "leases", "update", 2),
        ("Role", "", "endpoints", "list", 2),
        ("Role", "discovery.k8s.io", "endpointslices", "list", 2),
        ("Role", "networking.k8s.io", "ingresses", "list", 2),
        ("Role", "networking.k8s.io", "ingresses", "create", 2),
        ("Role", "networking.k8s.io", "ingresses", "delete", 2),
        ("Role", "", "services", "list", 2),
        ("Role", "", "services", "create", 2),
        ("Role", "", "services", "delete", 2),
        ("Role", "", "endpoints", "create", 2),
        ("Role", "", "endpoints", "delete", 2),
        ("Role", "discovery.k8s.io", "endpointslices", "create", 2),
        ("Role", "discovery.k8s.io", "endpointslices", "delete", 2),
    ] {
        // In single namespaces, so that the home Role alone gives what is in it.
        scene.grant(&rights_without(role, group, resource, verb), &namespace);
        let patch = (role, verb) == ("ClusterRole", "patch");
        if patch {
            scene.apply(&scene.ingress(&namespace, "old", "old-tls", &["old.denied-rights.example"]));
            scene.apply(&secret.to_string());
        }
        let name = format!("no right to {verb} {resource} by the {role}");
        let mut command = scene.command("run");
        command.args(["-n", &namespace]);
        if patch {
            command.arg("old-tls");
        }
        row(
            &scene,
            &name,
            &mut command,
            &Expected {
                status,
                words: &[&format!("cannot {verb} resource \"{resource}\"")],
                hint: true,
            },
        );
    }
}

#[test]
#[ignore = "needs the test cluster"]
fn a_home_namespace_that_is_not_there_is_not_created() {
    let (scene, _) = due("homeless");
    let mut command = scene.command("run");
    command
        .env("KUBE_LEGO_ONCE_HOME_NAMESPACE", "homeless-nowhere")
        .env("KUBECONFIG", scene.admin_kubeconfig());
    let words = &["homeless-nowhere", "kubectl create namespace homeless-nowhere"];
    row(
        &scene,
        "a home namespace that is not there",
        &mut command,
        &Expected {
            status: 2,
            words,
            hint: true,
        },
    );
}

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
