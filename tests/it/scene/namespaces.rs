//! The namespaces of a test: what its controller serves in them goes when the test ends.

use std::fs;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::state;

/// Emptied when they go. What a test leaves the controller looks at again with every change that a later one makes: with the
/// Ingresses of forty tests in the cluster, a route took more than ten seconds. The namespace itself stays, since its deletion never
/// ends on a cluster without a controller manager.
#[derive(Default)]
pub struct Namespaces(Mutex<Vec<String>>);

impl Namespaces {
    pub fn add(&self, namespace: &str) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.push(namespace.to_owned());
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let names = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            for (group, resources) in [("apis/networking.k8s.io/v1", "ingresses"), ("api/v1", "services")] {
                delete_all(&format!("{group}/namespaces/{name}/{resources}"));
            }
        }
    }
}

/// By curl, since kubectl takes a quarter of a second of CPU to start. A test that fails is worse than one that leaves something.
fn delete_all(path: &str) {
    let kubeconfig = fs::read_to_string(state("kubeconfig")).unwrap_or_default();
    let token = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("token: "));
    let authorization = format!("Authorization: Bearer {}", token.unwrap_or_default());
    let server = state("server");
    let deleted = Command::new("curl")
        .args(["-sS", "--fail", "--max-time", "20", "-X", "DELETE", "-o", "/dev/null"])
        .args(["--cacert", state("server_ca"), "-H", &authorization])
        .arg(format!("{server}/{path}"))
        .status();
    if !deleted.is_ok_and(|status| status.success()) {
        eprintln!("NOT DELETED: {path}");
    }
}
