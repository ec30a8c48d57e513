//! `--preferred-chain`: which of the chains that a CA offers is stored.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::end_to_end::https;
use crate::scene::{Scene, curl, decoded};

/// The common name of the issuer of the last certificate in PEM.
fn topmost_issuer(chain: &str) -> String {
    let last = CertificateDer::pem_slice_iter(chain.as_bytes())
        .last()
        .expect("a certificate")
        .expect("PEM");
    let (_, certificate) = X509Certificate::from_der(&last).expect("a certificate");
    let name = certificate.issuer().iter_common_name().next().expect("a name");
    name.as_str().expect("text").to_owned()
}

#[test]
#[ignore = "needs the test cluster"]
fn the_preferred_chain_is_stored_and_an_unknown_one_is_a_warning() {
    let scene = Scene::with_authority("chains", |config| {
        config["environment"] = json!({"PEBBLE_ALTERNATE_ROOTS": "2", "PEBBLE_WFE_NONCEREJECT": "30"})
    });
    let namespace = scene.namespace("web");
    let hosts = ["a", "b", "c", "d"].map(|name| (name, format!("{name}.chains.example")));
    for (name, host) in &hosts {
        scene.apply(&scene.ingress(&namespace, name, name, &[host]));
    }
    let roots: Vec<String> = (0..3)
        .map(|n| {
            let url = format!("{}/roots/{n}", scene.pebble.management);
            curl(&["--cacert", &scene.pebble.authority_file(), &url])
        })
        .collect();
    // A root is its own issuer.
    let names: Vec<String> = roots.iter().map(|root| topmost_issuer(root)).collect();
    let stored = |name: &str| decoded(&scene.get("secret", &namespace, name)["data"]["tls.crt"]);

    for (n, (name, host)) in hosts.iter().take(3).enumerate() {
        let ran = scene
            .run(&["-n", &namespace, name, "--preferred-chain", &names[n]])
            .exits(0);
        assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
        assert_eq!(topmost_issuer(&stored(name)), names[n]);
        let root = scene.kubeconfig().with_file_name(format!("root-{n}.pem"));
        std::fs::write(&root, &roots[n]).expect("a file");
        https(host, &root);
    }

    let ran = scene
        .run(&["-n", &namespace, "d", "--preferred-chain", "Nobody Root"])
        .exits(0);
    let mut offered: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    offered.sort();
    let warning = format!(
        "warning: the CA offers no chain that ends with `Nobody Root` (`--preferred-chain`), but these: {}; its default chain is stored",
        offered.join(", ")
    );
    assert!(ran.stderr.contains(&warning), "{warning}\n{}", ran.stderr);
    println!("{warning}");
    assert_eq!(topmost_issuer(&stored("d")), names[0]);
}
