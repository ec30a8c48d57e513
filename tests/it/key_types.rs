//! Types of private keys: issued by a real CA, stored, and served over HTTPS by a real ingress controller.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use serde_json::Value;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;
use x509_parser::public_key::PublicKey;

use crate::five::each;
use crate::scene::{Ran, Scene, cluster, decoded};

const TYPES: [&str; 4] = ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-4096"];

/// Ingresses whose annotations ask for each type; the first says nothing.
fn of_each_type(scene: &Scene, namespace: &str) -> Vec<(&'static str, String)> {
    let of = |key_type: &&'static str| {
        let host = format!("{key_type}.{}.example", scene.name);
        let ingress = scene.ingress(namespace, key_type, key_type, &[&host]);
        let mut ingress: Value = serde_json::from_str(ingress.trim().trim_start_matches("---")).expect("an Ingress");
        if *key_type != "ecdsa-p256" {
            ingress["metadata"]["annotations"]["kube-lego-once.dev/key-type"] = (*key_type).into();
        }
        scene.apply(&ingress.to_string());
        (*key_type, host)
    };
    TYPES.iter().map(of).collect()
}

#[test]
#[ignore = "needs the test cluster"]
fn each_type_is_issued_and_served_over_https_by_contour() {
    let scene = Scene::new("keytypes");
    let namespace = scene.namespace("web");
    let wanted = of_each_type(&scene, &namespace);
    let ran = scene.run(&["-vv"]).exits(0);
    assert!(!ran.stderr.contains("PRIVATE KEY"), "{}", ran.stderr);
    let root = std::fs::read(scene.pebble.root()).expect("the root");
    for (key_type, host) in &wanted {
        let served = served(host, &root);
        println!("{key_type}: {served}");
        assert_eq!(served, *key_type);
    }

    // Another default asks for another key of the first one alone, and orders nothing before it is due.
    let orders = scene.pebble.count("Added order");
    scene.run(&["--key-type", "rsa-2048"]).exits(0);
    assert_eq!(scene.pebble.count("Added order"), orders);
    let named = ["ecdsa-p256", "-n", &namespace, "--force", "--key-type", "rsa-2048"];
    scene.run(&named).exits(0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while served(&wanted[0].1, &root) != "rsa-2048" {
        assert!(Instant::now() < deadline, "the new certificate is not served");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "needs the test cluster"]
fn a_killed_run_loses_no_key_of_any_type() {
    each(&TYPES, TYPES.len(), |key_type| {
        let key_type = *key_type;
        let scene = Scene::new(Box::leak(format!("killed-{key_type}").into_boxed_str()));
        let namespace = scene.namespace("web");
        scene.apply(&scene.ingress(&namespace, "a", "a-tls", &[&format!("a.{}.example", scene.name)]));
        let mut running = scene
            .command("run")
            .args(["--key-type", key_type])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program");
        let deadline = Instant::now() + Duration::from_secs(60);
        while scene.pebble.count("POST /finalize-order") == 0 {
            assert!(Instant::now() < deadline, "{key_type}: nothing is finalized");
            std::thread::sleep(Duration::from_millis(5));
        }
        scene.pebble.pause(true);
        running.kill().expect("SIGKILL");
        let killed = Ran::from(running.wait_with_output().expect("it is dead"));
        scene.pebble.pause(false);
        assert_eq!(scene.get("secret", &namespace, "a-tls"), Value::Null, "{key_type}");
        let ledger = scene.get("secret", &scene.home, "kube-lego-once-ledger");
        let entry = decoded(&ledger["data"][format!("pending.{namespace}.a-tls")]);
        let entry: Value = serde_json::from_str(&entry).expect("an entry");

        // The order's key is kept, although this run would make one of another type.
        let other = if key_type == "ecdsa-p256" {
            "ecdsa-p384"
        } else {
            "ecdsa-p256"
        };
        let resumed = scene.run(&["--key-type", other]).exits(0);
        let secret = scene.get("secret", &namespace, "a-tls");
        assert_eq!(decoded(&secret["data"]["tls.key"]), entry["key"], "{key_type}");
        assert_eq!(type_of(&decoded(&secret["data"]["tls.crt"])), key_type);
        assert_eq!(scene.pebble.count("Added order"), 1, "{key_type}: {}", resumed.stderr);
        for said in [killed.stderr, resumed.stderr, resumed.stdout] {
            assert!(!said.contains("PRIVATE KEY"), "{said}");
        }
    });
}

/// The type of the key that answers for a host over HTTPS: it signed the handshake, and the chain leads to the root.
fn served(host: &str, root: &[u8]) -> &'static str {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root).expect("a root"))
        .expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let address = cluster()["address"].as_str().expect("an address");
    let port = u16::try_from(cluster()["https_port"].as_u64().expect("a port")).expect("a port");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let mut connection = ClientConnection::new(Arc::clone(&config), name).expect("a connection");
        let shaken = TcpStream::connect((address, port)).and_then(|mut tcp| {
            tcp.set_read_timeout(Some(Duration::from_secs(5)))?;
            let mut stream = Stream::new(&mut connection, &mut tcp);
            std::io::Write::flush(&mut stream)?;
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(stream.sock)?;
            }
            Ok(())
        });
        match (shaken, connection.peer_certificates()) {
            (Ok(()), Some([leaf, ..])) => return key_type(leaf),
            (shaken, _) => assert!(Instant::now() < deadline, "{host}: {shaken:?}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn type_of(chain: &str) -> &'static str {
    key_type(&CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate"))
}

fn key_type(leaf: &CertificateDer<'_>) -> &'static str {
    let (_, leaf) = X509Certificate::from_der(leaf).expect("a certificate");
    match leaf.public_key().parsed() {
        Ok(PublicKey::EC(point)) if point.key_size() == 256 => "ecdsa-p256",
        Ok(PublicKey::EC(point)) if point.key_size() == 384 => "ecdsa-p384",
        Ok(PublicKey::RSA(key)) if key.key_size() == 2048 => "rsa-2048",
        Ok(PublicKey::RSA(key)) if key.key_size() == 4096 => "rsa-4096",
        other => panic!("another key: {other:?}"),
    }
}
