//! A cluster as kube-lego 0.1.7 leaves it, taken over by a run.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::end_to_end::https;
use crate::scene::{Scene, kubectl};

/// kube-lego's name for its Ingress and its Service.
const NGINX: &str = "kube-lego-nginx";
/// And for its Service on GCE.
const GCE: &str = "kube-lego-gce";

/// An RSA key made for tests, and its PKCS#1 PEM, which is what kube-lego wrote for accounts and certificates alike.
fn rsa_key() -> (KeyPair, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/corpus/secrets/rsa-pkcs8.key");
    let key = KeyPair::from_pem(&fs::read_to_string(path).expect("a key")).expect("an RSA key");
    // PKCS#8 puts version, algorithm and the header of an OCTET STRING in front of the PKCS#1 key: 26 bytes (RFC 5958).
    let text = STANDARD.encode(&key.serialized_der()[26..]);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let pem = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
        lines.join("\n")
    );
    (key, pem)
}

/// A TLS Secret of kube-lego's: the bundle of leaf and issuer, of 90 days with so many left, and no other annotation than
/// the one that `LEGO_KUBE_ANNOTATION` names.
fn tls_secret(scene: &Scene, namespace: &str, name: &str, host: &str, days_left: u64) -> Value {
    let (key, pem) = rsa_key();
    let day = Duration::from_secs(86_400);
    let until = SystemTime::now() + day * u32::try_from(days_left).expect("days");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(DnType::CommonName, "Let's Encrypt Authority X3");
    let ca_key = KeyPair::generate().expect("a key");
    let issuer = ca.self_signed(&ca_key).expect("a certificate").pem();
    let mut leaf = CertificateParams::new([host.to_owned()]).expect("a name");
    leaf.distinguished_name.push(DnType::CommonName, host);
    leaf.not_before = (until - 90 * day).into();
    leaf.not_after = until.into();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).expect("a certificate");
    let annotation = &scene.annotation;
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"namespace": namespace, "name": name, "annotations": {annotation: "true"}},
        "stringData": {"tls.crt": leaf.pem() + &issuer, "tls.key": pem},
    })
}

/// The account's Secret: kube-lego sets no type. The URL is of versions since 0.1.3, the JSON of those before; no cluster has
/// both, and neither may be touched.
fn account(home: &str) -> Value {
    let registration = "{\"body\":{\"resource\":\"reg\"},\"uri\":\"https://acme-v01.api.letsencrypt.org/acme/reg/1\",\n \"new_authzr_uri\":\"\",\"terms_of_service\":\"\"}\n";
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": home, "name": "kube-lego-account"},
        "stringData": {
            "tls.key": rsa_key().1,
            "acme-registration-url": "https://acme-v01.api.letsencrypt.org/acme/reg/1",
            "acme-registration.json": registration,
        },
    })
}

/// What leads challenges to kube-lego, for the hosts of the Ingress that it processed last.
fn challenge_objects(home: &str, host: &str) -> [Value; 2] {
    let managed = json!({"kubernetes.io/kube-lego-managed": "true"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": home, "name": NGINX, "annotations": managed},
        "spec": {"type": "ClusterIP", "selector": {"app": "kube-lego"}, "ports": [{"port": 8080, "targetPort": 8080}]},
    });
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": home, "name": NGINX, "annotations": {
            "kubernetes.io/ingress.class": "nginx", "kubernetes.io/ingress.provider": "nginx",
            "kubernetes.io/tls-acme-challenge-endpoints": "true", "ingress.kubernetes.io/ssl-redirect": "false",
            "ingress.kubernetes.io/whitelist-source-range": "0.0.0.0/0,::/0",
        }},
        "spec": {"rules": [{"host": host, "http": {"paths": [challenge_path("/.well-known/acme-challenge", NGINX)]}}]},
    });
    [service, ingress]
}

/// `extensions/v1beta1` had no path type; this is the one that the API server gives such a path now.
fn challenge_path(path: &str, service: &str) -> Value {
    let port = json!({"number": 8080});
    json!({"path": path, "pathType": "ImplementationSpecific", "backend": {"service": {"name": service, "port": port}}})
}

/// A user's Ingress on GCE with the path that kube-lego put first, and its Service in that namespace.
fn gce_objects(scene: &Scene, namespace: &str, host: &str) -> [Value; 3] {
    let mut ingress: Value =
        serde_yaml_ng::from_str(&scene.ingress(namespace, "gce", "gce-tls", &[host])).expect("an Ingress");
    ingress["spec"]["ingressClassName"] = Value::Null;
    ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"] = json!("gce");
    let paths = ingress["spec"]["rules"][0]["http"]["paths"]
        .as_array_mut()
        .expect("paths");
    paths.insert(0, challenge_path("/.well-known/acme-challenge/*", GCE));
    let managed = json!({"kubernetes.io/kube-lego-managed": "true"});
    let metadata = json!({"namespace": namespace, "name": GCE, "annotations": managed});
    let spec = json!({"type": "NodePort", "ports": [{"port": 8080, "targetPort": 8080}]});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"namespace": namespace, "name": GCE},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 8080}]}],
    });
    [ingress, service, endpoints]
}

/// The command that a message about this object gives, without `kubectl`.
fn command(said: &str, object: &str) -> Vec<String> {
    let line = said
        .lines()
        .find(|line| line.contains(object))
        .unwrap_or_else(|| panic!("nothing about {object}:\n{said}"));
    let command = line.split('`').find_map(|part| part.strip_prefix("kubectl delete "));
    let words = command.unwrap_or_else(|| panic!("no command: {line}")).split(' ');
    ["delete"].into_iter().chain(words).map(str::to_owned).collect()
}

/// Everything that kube-lego left for three Ingresses: two whose certificates are good, one of them on GCE, and one that is due.
fn leave(scene: &Scene, namespace: &str) {
    let mut objects = vec![account(&scene.home)];
    for (name, days_left) in [("kept", 60), ("due", 3), ("gce", 60)] {
        let host = format!("{name}.migration.example");
        let secret = format!("{name}-tls");
        objects.push(tls_secret(scene, namespace, &secret, &host, days_left));
        if name != "gce" {
            scene.apply(&scene.ingress(namespace, name, &secret, &[&host]));
        }
    }
    objects.extend(challenge_objects(&scene.home, "due.migration.example"));
    objects.extend(gce_objects(scene, namespace, "gce.migration.example"));
    // `kubectl create` adds no annotation of its own: kube-lego's objects had none.
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    kubectl(&["create", "-f", "-"], &list.to_string());
}

/// Each key of the account's Secret is byte for byte as it was, and there is one more.
#[track_caller]
fn assert_account_has_one_key_more(scene: &Scene, before: &Value) {
    let mut now = scene.get("secret", &scene.home, "kube-lego-account")["data"].clone();
    let now = now.as_object_mut().expect("data");
    for (key, value) in before["data"].as_object().expect("data") {
        assert_eq!(now.remove(key).as_ref(), Some(value), "`{key}`");
    }
    let added: Vec<_> = now.keys().collect();
    assert!(
        matches!(added.as_slice(), [key] if key.starts_with("acme-")),
        "{added:?}"
    );
}

/// Does what the messages about both leftovers say.
fn clear_away(said: &str, namespace: &str, leftovers: &[String]) {
    let edit = format!("`kubectl edit ingress gce -n {namespace}`");
    assert!(said.contains(&edit), "{said}");
    // There is no editor here: the path that is meant is taken out.
    let patch = json!([{"op": "remove", "path": "/spec/rules/0/http/paths/0"}]).to_string();
    kubectl(
        &["patch", "ingress", "gce", "-n", namespace, "--type=json", "-p", &patch],
        "",
    );
    for leftover in leftovers {
        let command = command(said, leftover);
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        kubectl(&command, "");
    }
}

#[test]
#[ignore = "needs the test cluster"]
fn what_kube_lego_left_is_kept_renewed_or_named_and_its_account_stays() {
    let scene = Scene::new("migration");
    let namespace = scene.namespace("web");
    let home = &scene.home;
    leave(&scene, &namespace);
    let untouched = || {
        [
            ("secret", namespace.as_str(), "kept-tls"),
            ("secret", &namespace, "gce-tls"),
            ("ingress", &namespace, "gce"),
            ("ingress", home, NGINX),
            ("service", home, NGINX),
        ]
        .map(|(kind, namespace, name)| scene.get(kind, namespace, name)["metadata"]["resourceVersion"].clone())
    };
    let before = untouched();
    let account = scene.get("secret", home, "kube-lego-account");

    let ran = scene.run(&[]).exits(0);
    let summary = "3 certificates: 1 issued, 0 failed, 2 valid, 0 refused";
    assert!(ran.stdout.contains(summary), "{}", ran.stdout);
    assert_eq!(scene.pebble.count("Added order"), 1);
    assert_eq!(untouched(), before, "what is valid, and what is not ours, is as it was");
    assert_account_has_one_key_more(&scene, &account);
    let renewed = scene.get("secret", &namespace, "due-tls");
    assert_eq!(renewed["metadata"]["annotations"][&scene.annotation], "true");
    https("due.migration.example", &scene.pebble.root());

    let leftovers = [format!("`{home}/{NGINX}`"), format!("`{namespace}/gce`")];
    clear_away(&ran.stderr, &namespace, &leftovers);
    let cleared = scene.run(&["--dry-run"]).exits(0);
    for leftover in leftovers {
        assert!(!cleared.stderr.contains(&leftover), "{}", cleared.stderr);
    }
    assert_eq!(scene.get("service", &namespace, GCE), Value::Null);
    assert_eq!(scene.get("endpoints", &namespace, GCE), Value::Null);
    assert_ne!(scene.get("ingress", &namespace, "gce"), Value::Null, "it is the user's");
    scene.assert_no_challenge_is_left();
}
