//! Many objects, quickly.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::scene::{Scene, kubectl};

/// Objects in one call of kubectl; as many calls as there are cores, and some.
const AT_ONCE: usize = 250;

/// Creates manifests.
pub fn create(manifests: &[String]) {
    let chunks: Vec<&[String]> = manifests.chunks(AT_ONCE).collect();
    for some in chunks.chunks(4) {
        std::thread::scope(|scope| {
            for chunk in some {
                scope.spawn(|| kubectl(&["create", "-f", "-"], &chunk.concat()));
            }
        });
    }
}

/// Creates so many Ingresses of 2.4 kB, whose Secrets of 1.7 kB hold valid certificates.
pub fn create_valid(scene: &Scene, namespace: &str, count: usize) {
    let story = "what people write into annotations ".repeat(40);
    let ingress = |n: usize| {
        let host = format!("h{n}.{}.example", scene.name);
        let text = scene.ingress(namespace, &format!("web-{n}"), &format!("tls-{n}"), &[&host]);
        let text = text.replace("\"ingressClassName\":\"contour\"", "\"ingressClassName\":\"nobody\"");
        text.replacen(
            "\"annotations\":{",
            &format!("\"annotations\":{{\"example.com/story\":\"{story}\","),
            1,
        )
    };
    let secret = |n: usize| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new([format!("h{n}.{}.example", scene.name)]).expect("a name");
        let now = SystemTime::now();
        let day = Duration::from_secs(86_400);
        params.not_before = (now - day).into();
        params.not_after = (now + 89 * day).into();
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"namespace": namespace, "name": format!("tls-{n}")},
            "stringData": {"tls.crt": certificate.repeat(2), "tls.key": key.serialize_pem()},
        });
        format!("---\n{secret}\n")
    };
    create(&(0..count).map(ingress).collect::<Vec<_>>());
    create(&(0..count).map(secret).collect::<Vec<_>>());
}
