//! A test's own corner of the test cluster: namespaces, an annotation, a ServiceAccount and a CA nobody else uses.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize as _;
use serde_json::{Value, json};

mod audit;
mod controller;
mod manifests;
mod namespaces;
mod pebble;
mod tools;

pub use audit::{Request, requests};
pub use controller::Controller;
pub use manifests::{cronjob, rights_without, shipped, web};
pub use pebble::Pebble;
pub use tools::{break_dns, curl, decoded, eventually, kubectl, tool};

use manifests::rbac;
use namespaces::Namespaces;
use tools::own_address;

/// The state file of `tests/cluster/cluster run`.
pub fn cluster() -> &'static Value {
    static CLUSTER: OnceLock<Value> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let path = std::env::var("KUBE_LEGO_ONCE_CLUSTER")
            .expect("KUBE_LEGO_ONCE_CLUSTER is not set: run this under `tests/cluster/cluster run -- cargo test ...`");
        serde_json::from_str(&fs::read_to_string(path).expect("the cluster's state")).expect("JSON")
    })
}

fn state(key: &str) -> &'static str {
    cluster()[key]
        .as_str()
        .unwrap_or_else(|| panic!("no `{key}` in the cluster's state"))
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

impl Ran {
    /// Asserts the exit status, showing everything where it is another.
    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(
            self.status, status,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

/// The program, with an environment that says nothing.
pub fn program() -> Command {
    // A benchmark measures the program that is shipped.
    let built = env!("CARGO_BIN_EXE_kube-lego-once").to_owned();
    let mut command = Command::new(std::env::var("KUBE_LEGO_ONCE_PROGRAM").unwrap_or(built));
    command.env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// A test's corner of the cluster.
pub struct Scene {
    /// The first part of every name that the test makes.
    pub name: &'static str,
    /// Its home namespace.
    pub home: String,
    /// Its opt-in annotation.
    pub annotation: String,
    /// Its own Pebble: what the CA saw is what this test made it see.
    pub pebble: Pebble,
    /// Which controller serves its Ingresses.
    pub controller: Controller,
    kubeconfig: PathBuf,
    namespaces: Namespaces,
}

impl Scene {
    /// Makes the home namespace and a ServiceAccount in it, and starts a CA.
    pub fn new(name: &'static str) -> Self {
        Self::with_authority(name, |_| {})
    }

    /// With a CA whose configuration is changed first.
    pub fn with_authority(name: &'static str, change: impl FnOnce(&mut Value)) -> Self {
        Self::of(name, Controller::contour(), change)
    }

    /// Whose Ingresses another controller serves: the CA asks there.
    pub fn on(controller: &Controller, name: &'static str) -> Self {
        Self::of(name, controller.clone(), |config| {
            config["pebble"]["httpPort"] = json!(controller.http_port);
            config["pebble"]["tlsPort"] = json!(controller.https_port);
        })
    }

    fn of(name: &'static str, controller: Controller, change: impl FnOnce(&mut Value)) -> Self {
        let home = format!("{name}-home");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let scene = Self {
            name,
            annotation: format!("{name}.example/tls-acme"),
            kubeconfig: folder.join("kubeconfig"),
            pebble: Pebble::start(&folder, change),
            home,
            controller,
            namespaces: Namespaces::default(),
        };
        {
            // All scenes share one ClusterRole, and two `apply`s that both find it missing cannot both make it.
            static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
            let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            scene.apply(&rbac(&scene.home));
        }
        scene.log_in();
        scene
    }

    /// Writes a kubeconfig with a new token of this scene's ServiceAccount.
    pub fn log_in(&self) {
        let arguments = ["create", "token", "kube-lego-once", "-n", &self.home, "--duration=2h"];
        self.write_kubeconfig(kubectl(&arguments, "").trim());
    }

    /// The kubeconfig of this scene's ServiceAccount.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The kubeconfig of the cluster's admin.
    pub fn admin_kubeconfig(&self) -> &'static str {
        state("kubeconfig")
    }

    /// Gives these rights to the scene's ServiceAccount, in one namespace and at home, and no others.
    pub fn grant(&self, rights: &[Value], namespace: &str) {
        let account = json!([{"kind": "ServiceAccount", "name": "kube-lego-once", "namespace": self.home}]);
        let mut manifests = String::new();
        let gateways = format!("{}-gateways", self.home);
        kubectl(
            &[
                "delete",
                "clusterrolebinding",
                &self.home,
                &gateways,
                "--ignore-not-found",
            ],
            "",
        );
        for role in rights {
            let mut role = role.clone();
            let cluster_wide = role["kind"] == "ClusterRole";
            // Roles of one kind are told apart by what follows the shipped name.
            let shipped = role["metadata"]["name"].as_str().unwrap_or_default();
            let further = shipped.strip_prefix("kube-lego-once").unwrap_or_default();
            let name = format!("{}{further}", self.home);
            let namespace = if cluster_wide { namespace } else { self.home.as_str() };
            role["metadata"] = if cluster_wide {
                json!({"name": name})
            } else {
                json!({"name": name, "namespace": namespace})
            };
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": name, "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": name},
                "subjects": account,
            });
            manifests.push_str(&format!("---\n{role}\n---\n{binding}\n"));
        }
        kubectl(
            &[
                "delete",
                "rolebinding",
                "kube-lego-once",
                "kube-lego-once-gateways",
                "-n",
                &self.home,
                "--ignore-not-found",
            ],
            "",
        );
        self.apply(&manifests);
    }

    fn write_kubeconfig(&self, token: &str) {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": state("server"), "certificate-authority": state("server_ca")}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        fs::write(&self.kubeconfig, config.to_string()).expect("a kubeconfig");
    }

    /// `kubectl apply`.
    pub fn apply(&self, manifests: &str) {
        kubectl(&["apply", "-f", "-"], manifests);
    }

    /// Makes a namespace of this test's, with the test cluster's web server as Service `web`.
    pub fn namespace(&self, suffix: &str) -> String {
        let namespace = format!("{}-{suffix}", self.name);
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        self.apply(&format!("{object}\n---\n{}", web(&namespace)));
        self.namespaces.add(&namespace);
        namespace
    }

    /// An annotated Ingress for one TLS entry; its class is the scene's controller.
    pub fn ingress(&self, namespace: &str, name: &str, secret: &str, hosts: &[&str]) -> String {
        let annotation = &self.annotation;
        let rules: Vec<_> = hosts
            .iter()
            .map(|host| {
                json!({"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix",
                    "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}})
            })
            .collect();
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": namespace, "name": name, "annotations": {annotation: "true"}},
            "spec": {"ingressClassName": self.controller.class, "tls": [{"hosts": hosts, "secretName": secret}], "rules": rules},
        });
        format!("---\n{ingress}\n")
    }

    /// The program on this scene, to be given arguments.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = program();
        command
            .arg(verb)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBE_LEGO_ONCE_HOME_NAMESPACE", &self.home)
            .env("KUBE_LEGO_ONCE_NO_CRONJOB", "true")
            .env("KUBE_LEGO_ONCE_DIRECTORY", &self.pebble.directory)
            .env("KUBE_LEGO_ONCE_CA_BUNDLE", state("directory_ca"))
            .env("KUBE_LEGO_ONCE_PROFILE", "default")
            .env("KUBE_LEGO_ONCE_ANNOTATION", &self.annotation)
            .env("KUBE_LEGO_ONCE_LISTEN", own_address().1)
            .env("KUBE_LEGO_ONCE_PROBE_TIMEOUT", "10s")
            .env("KUBE_LEGO_ONCE_ADVERTISE_ADDRESS", own_address().0)
            .env("KUBE_LEGO_ONCE_RESOLVER", state("dns"))
            .env("KUBE_LEGO_ONCE_PROBE_HTTP_PORT", self.controller.http_port.to_string())
            .env(
                "KUBE_LEGO_ONCE_PROBE_HTTPS_PORT",
                self.controller.https_port.to_string(),
            );
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.command("run")
            .args(arguments)
            .output()
            .expect("the program")
            .into()
    }

    /// Starts the program, and leaves it to itself.
    pub fn start(&self) -> Child {
        let mut command = self.command("run");
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program")
    }

    /// Starts the program, and stops the CA once it has an order of it.
    #[track_caller]
    pub fn start_and_pause_the_authority(&self) -> Child {
        self.start_and_pause_the_authority_at("Added order")
    }

    /// Starts the program, and stops the CA once its log has a line with these words.
    #[track_caller]
    pub fn start_and_pause_the_authority_at(&self, words: &str) -> Child {
        let running = self.start();
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.pebble.count(words) == 0 {
            assert!(Instant::now() < deadline, "no `{words}`");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.pebble.pause(true);
        running
    }

    /// A Secret with the certificate and key of such a name that ended yesterday, and more metadata and data, as JSON.
    pub fn expired_secret(&self, namespace: &str, name: &str, host: &str, metadata: Value, data: Value) -> Value {
        let (certificate, key) = expired_certificate(host);
        let mut secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"annotations": {"kubernetes.io/tls-acme": "true"}},
            "stringData": {"tls.crt": certificate, "tls.key": key},
        });
        merge(&mut secret["metadata"], metadata);
        merge(&mut secret["stringData"], data);
        merge(&mut secret["metadata"], json!({"namespace": namespace, "name": name}));
        secret
    }

    /// An object, or null.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Value {
        let text = kubectl(
            &["get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found"],
            "",
        );
        if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).expect("JSON")
        }
    }

    /// Writes an entry of the ledger, which has to be there.
    pub fn write_to_the_ledger(&self, key: &str, entry: &str) {
        let patch = json!({"stringData": {key: entry}}).to_string();
        let secret = ["patch", "secret", "kube-lego-once-ledger", "-n", &self.home];
        kubectl(&[secret.as_slice(), &["--type=merge", "-p", &patch]].concat(), "");
    }

    /// The names of what is there.
    pub fn names(&self, kinds: &str, namespace: &str) -> Vec<String> {
        kubectl(&["get", kinds, "-n", namespace, "-o", "name"], "")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// What this test's ServiceAccount asked of the API server, from the audit log.
    pub fn requests(&self) -> Vec<Request> {
        let mut requests = requests();
        requests.retain(|request| request.home == self.home);
        requests
    }

    /// No challenge object is left, beside what a Job leaves of itself, and nobody holds the Lease.
    #[track_caller]
    pub fn assert_no_challenge_is_left(&self) {
        // Controllers take away what they made of the Service a moment after it.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.names("endpointslices,endpoints", &self.home).is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(
            self.names("ingresses,services,endpointslices,endpoints", &self.home),
            Vec::<String>::new()
        );
        let lease = self.get("lease", &self.home, "kube-lego-once");
        assert_eq!(
            lease["spec"]["holderIdentity"].as_str().unwrap_or_default(),
            "",
            "the Lease is held"
        );
    }

    /// Nothing of a run is left: no challenge object, and nobody holds the Lease.
    #[track_caller]
    pub fn assert_nothing_is_left(&self) {
        let kinds = "ingresses,services,endpointslices,endpoints,pods";
        assert_eq!(
            self.names(kinds, &self.home),
            Vec::<String>::new(),
            "challenge objects are left"
        );
        let lease = self.get("lease", &self.home, "kube-lego-once");
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        assert_eq!(holder, "", "the Lease is held");
    }
}

fn merge(into: &mut Value, from: Value) {
    let Value::Object(from) = from else {
        panic!("an object: {from}")
    };
    for (key, value) in from {
        match &mut into[&key] {
            present @ Value::Object(_) => merge(present, value),
            present => *present = value,
        }
    }
}

/// A self-signed certificate that ended yesterday, and its key.
fn expired_certificate(host: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new([host.to_owned()]).expect("a name");
    let now = std::time::SystemTime::now();
    let day = Duration::from_secs(86_400);
    params.not_before = (now - 91 * day).into();
    params.not_after = (now - day).into();
    (
        params.self_signed(&key).expect("a certificate").pem(),
        key.serialize_pem(),
    )
}

/// Whether the test cluster runs Pods. Where it does not, this says that a test was skipped: past the test harness, which
/// would keep it to itself.
pub fn has_nodes(test: &str) -> bool {
    let nodes = cluster()["nodes"] == true;
    if !nodes {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {test}: this test cluster runs no Pods (`tests/cluster/cluster run --nodes`, as root)"
        );
    }
    nodes
}

/// The archive that `make image` wrote.
pub fn image_archive() -> PathBuf {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/image/kube-lego-once.tar");
    assert!(archive.exists(), "`{}` is not there: `make image`", archive.display());
    archive
}

/// The image of the program, by a name that Pods can use with `imagePullPolicy: Never`.
pub fn image() -> &'static str {
    static LOADED: OnceLock<()> = OnceLock::new();
    LOADED.get_or_init(|| {
        let output = Command::new(state("ctr"))
            .args(["-a", state("containerd_socket"), "-n", "k8s.io", "images", "import"])
            .arg(image_archive())
            .output()
            .expect("ctr");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ctr images import: {error}");
    });
    concat!("kube-lego-once:", env!("CARGO_PKG_VERSION"))
}
