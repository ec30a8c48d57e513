//! Runs of five certificates that something happens to, some at a time, and what became of each.

use crate::scene::{Scene, kubectl};

pub const CERTIFICATES: usize = 5;
/// Runs at the same time: after a kill, the next run waits half a minute for the Lease of the one that was killed.
pub const AT_A_TIME: usize = 6;

/// A scene with five certificates that are due, and their namespace.
pub fn scene(name: String) -> (Scene, String) {
    let scene = Scene::new(Box::leak(name.clone().into_boxed_str()));
    let namespace = scene.namespace("web");
    let ingresses = (0..CERTIFICATES).map(|n| {
        let host = format!("h{n}.{name}.example");
        scene.ingress(&namespace, &format!("web-{n}"), &format!("tls-{n}"), &[&host])
    });
    scene.apply(&ingresses.collect::<String>());
    (scene, namespace)
}

/// What is there after the runs of a scene.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub stored: usize,
    pub issued: usize,
    pub accounts: usize,
    pub entries: usize,
    pub objects: usize,
}

impl Figures {
    /// Of a scene whose work is done, and nothing twice.
    pub const GOOD: Self = Self {
        stored: CERTIFICATES,
        issued: CERTIFICATES,
        accounts: 1,
        entries: 0,
        objects: 0,
    };

    pub fn of(scene: &Scene, namespace: &str) -> Self {
        let held = |n: &usize| scene.get("secret", namespace, &format!("tls-{n}"))["data"]["tls.crt"].is_string();
        let ledger = scene.get("secret", &scene.home, "kube-lego-once-ledger");
        let kinds = "ingresses,services,endpointslices,endpoints,pods";
        let objects = kubectl(&["get", kinds, "-n", &scene.home, "-o", "name"], "");
        Self {
            stored: (0..CERTIFICATES).filter(held).count(),
            issued: scene.pebble.count("Issued certificate serial"),
            accounts: scene.pebble.count("accounts in memory"),
            entries: ledger["data"].as_object().map_or(0, serde_json::Map::len),
            objects: objects.lines().count(),
        }
    }
}

/// Does the work for each of these, so many at a time.
pub fn each<T: Sync, R: Send>(of: &[T], at_a_time: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let mut done = Vec::new();
    for some in of.chunks(at_a_time) {
        std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|one| scope.spawn(|| work(one))).collect();
            done.extend(running.into_iter().map(|one| one.join().expect("its end")));
        });
    }
    done
}
