//! A test's own corner of the test cluster: namespaces, an annotation, a ServiceAccount and an authority nobody else uses.

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
    let mut command = Command::new(env!("CARGO_BIN_EXE_kube-lego-once"));
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
    /// Its own Pebble: what the authority saw is what this test made it see.
    pub pebble: Pebble,
    kubeconfig: PathBuf,
}

impl Scene {
    /// Makes the home namespace and a ServiceAccount in it, and starts an authority.
    pub fn new(name: &'static str) -> Self {
        Self::with_authority(name, |_| {})
    }

    /// With an authority whose configuration is changed first.
    pub fn with_authority(name: &'static str, change: impl FnOnce(&mut Value)) -> Self {
        let home = format!("{name}-home");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let scene = Self {
            name,
            annotation: format!("{name}.example/tls-acme"),
            kubeconfig: folder.join("kubeconfig"),
            pebble: Pebble::start(&folder, change),
            home,
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
        kubectl(&["delete", "clusterrolebinding", &self.home, "--ignore-not-found"], "");
        for role in rights {
            let mut role = role.clone();
            let cluster_wide = role["kind"] == "ClusterRole";
            let (name, namespace) = if cluster_wide {
                (&self.home, namespace)
            } else {
                (&self.home, self.home.as_str())
            };
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
        namespace
    }

    /// An annotated Ingress for one TLS entry; its class is the test cluster's controller.
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
            "spec": {"ingressClassName": "contour", "tls": [{"hosts": hosts, "secretName": secret}], "rules": rules},
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
            .env("KUBE_LEGO_ONCE_LISTEN", "0.0.0.0:0")
            .env("KUBE_LEGO_ONCE_PROBE_TIMEOUT", "10s")
            .env("KUBE_LEGO_ONCE_ADVERTISE_ADDRESS", state("address"))
            .env("KUBE_LEGO_ONCE_RESOLVER", state("dns"))
            .env("KUBE_LEGO_ONCE_PROBE_HTTP_PORT", cluster()["http_port"].to_string())
            .env("KUBE_LEGO_ONCE_PROBE_HTTPS_PORT", cluster()["https_port"].to_string());
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

    /// Starts the program, and stops the authority once it has an order of it.
    #[track_caller]
    pub fn start_and_pause_the_authority(&self) -> Child {
        self.start_and_pause_the_authority_at("Added order")
    }

    /// Starts the program, and stops the authority once its log has a line with these words.
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

/// The test cluster's web server, as Service `web` of a namespace.
pub fn web(namespace: &str) -> String {
    let (address, port) = state("web").rsplit_once(':').expect("address and port");
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {namespace}}}
spec: {{ports: [{{name: http, port: 80, targetPort: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web, namespace: {namespace}, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: [{{addresses: [{address}]}}]
ports: [{{name: http, port: {port}, protocol: TCP}}]
"
    )
}

/// The two roles of `rbac.yaml` without one verb on one resource.
pub fn rights_without(kind: &str, group: &str, resource: &str, verb: &str) -> Vec<Value> {
    let mut roles: Vec<Value> = shipped()
        .into_iter()
        .filter(|object| object["rules"].is_array())
        .collect();
    let mut taken = 0;
    for role in roles.iter_mut().filter(|role| role["kind"] == kind) {
        let mut rules = Vec::new();
        for rule in role["rules"].as_array().expect("rules") {
            let has = |list: &str, text: &str| rule[list].as_array().expect("a list").contains(&json!(text));
            if !(has("apiGroups", group) && has("resources", resource) && has("verbs", verb)) {
                rules.push(rule.clone());
                continue;
            }
            taken += 1;
            let without = |list: &str, text: &str| {
                let all = rule[list].as_array().expect("a list").iter();
                all.filter(|item| **item != json!(text)).cloned().collect::<Vec<_>>()
            };
            let mut others = rule.clone();
            others["resources"] = json!(without("resources", resource));
            let mut same = rule.clone();
            same["resources"] = json!([resource]);
            same["verbs"] = json!(without("verbs", verb));
            rules.extend(
                [others, same]
                    .into_iter()
                    .filter(|rule| rule["resources"] != json!([]) && rule["verbs"] != json!([])),
            );
        }
        role["rules"] = json!(rules);
    }
    assert!(taken > 0, "rbac.yaml grants no {verb} on {resource} in the {kind}");
    roles
}

/// The objects of `rbac.yaml`.
pub fn shipped() -> Vec<Value> {
    documents("rbac.yaml")
}

/// `cronjob.yaml`.
pub fn cronjob() -> Value {
    documents("cronjob.yaml").pop().expect("a CronJob")
}

fn documents(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name);
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .collect()
}

/// `rbac.yaml` as it is shipped, for another home namespace.
fn rbac(home: &str) -> String {
    let mut documents = Vec::new();
    for mut object in shipped() {
        for place in ["/metadata/namespace", "/subjects/0/namespace"] {
            if let Some(namespace) = object.pointer_mut(place) {
                *namespace = json!(home);
            }
        }
        if ["Namespace", "ClusterRoleBinding"]
            .iter()
            .any(|kind| object["kind"] == *kind)
        {
            object["metadata"]["name"] = json!(home);
        }
        documents.push(object.to_string());
    }
    documents.join("\n---\n")
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

/// A request that a run of the program made, as the audit log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The home namespace of the ServiceAccount that asked.
    pub home: String,
    pub verb: String,
    pub group: String,
    pub resource: String,
    /// Empty for objects of the cluster, and for lists of all namespaces.
    pub namespace: String,
    pub name: String,
    /// The status of the answer.
    pub code: u64,
    /// `dryRun` in its URL.
    pub dry_run: bool,
}

impl Request {
    /// Whether it changed something.
    pub fn writes(&self) -> bool {
        !self.dry_run && !["get", "list", "watch"].contains(&self.verb.as_str())
    }
}

/// The requests of all runs by this suite's ServiceAccounts.
pub fn requests() -> Vec<Request> {
    let log = fs::read_to_string(state("audit_log")).expect("the audit log");
    log.lines()
        .filter(|line| line.contains("-home:kube-lego-once\"") && line.contains("\"ResponseComplete\""))
        .filter_map(|line| request(&serde_json::from_str(line).ok()?))
        .collect()
}

fn request(event: &Value) -> Option<Request> {
    let user = event["user"]["username"].as_str()?;
    let home = user
        .strip_prefix("system:serviceaccount:")?
        .strip_suffix(":kube-lego-once")?;
    let about = |key: &str| event["objectRef"][key].as_str().unwrap_or_default().to_owned();
    Some(Request {
        home: home.to_owned(),
        verb: event["verb"].as_str()?.to_owned(),
        group: about("apiGroup"),
        resource: about("resource"),
        namespace: about("namespace"),
        name: about("name"),
        code: event["responseStatus"]["code"].as_u64()?,
        dry_run: event["requestURI"].as_str()?.contains("dryRun="),
    })
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

/// What a value of a Secret's `data` is.
#[track_caller]
pub fn decoded(value: &Value) -> String {
    let value = STANDARD.decode(value.as_str().expect("base64")).expect("base64");
    String::from_utf8(value).expect("text")
}

/// kubectl as the cluster's admin. Panics where it fails.
#[track_caller]
pub fn kubectl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(state("kubectl"))
        .args(["--kubeconfig", state("kubeconfig")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes())
        .expect("kubectl reads");
    let output = child.wait_with_output().expect("kubectl ends");
    assert!(
        output.status.success(),
        "kubectl {arguments:?}: {}\n{input}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// The authority's DNS: makes every lookup of a host fail.
pub fn break_dns(host: &str) {
    let url = format!("{}/set-servfail", state("challtestsrv_management"));
    curl(&["-X", "POST", "-d", &json!({"host": host}).to_string(), &url]);
}

/// curl until it succeeds: its output. Panics where it does not within 20 s.
#[track_caller]
pub fn eventually(arguments: &[&str]) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let output = Command::new("curl").args(arguments).output().expect("curl");
        if output.status.success() {
            return String::from_utf8(output.stdout).expect("text");
        }
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(Instant::now() < deadline, "curl {arguments:?}: {error}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// curl, its output. Panics where it fails.
#[track_caller]
pub fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20"])
        .args(arguments)
        .output()
        .expect("curl");
    assert!(
        output.status.success(),
        "curl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// An authority of this test's own.
pub struct Pebble {
    /// Its directory's URL.
    pub directory: String,
    /// Where its roots, renewal windows and certificates are managed.
    pub management: String,
    log: PathBuf,
    child: Child,
}

impl Pebble {
    fn start(folder: &Path, change: impl FnOnce(&mut Value)) -> Self {
        // Not on loopback, which is another one in Pods.
        let [listen, manage] = free_addresses(state("address"));
        let mut config: Value =
            serde_json::from_str(&fs::read_to_string(state("pebble_config")).expect("Pebble's configuration"))
                .expect("JSON");
        config["pebble"]["listenAddress"] = json!(listen);
        config["pebble"]["managementListenAddress"] = json!(manage);
        change(&mut config);
        let path = folder.join("pebble.json");
        fs::write(&path, config.to_string()).expect("Pebble's configuration");
        let directory = format!("https://{listen}/dir");
        Self {
            child: Self::started(&path, &directory),
            directory,
            management: format!("https://{manage}"),
            log: path.with_extension("log"),
        }
    }

    fn started(config: &Path, directory: &str) -> Child {
        let mut command = Command::new(cluster()["bin"]["pebble"].as_str().expect("pebble"));
        command
            .args(["-strict", "-dnsserver", state("dns"), "-config"])
            .arg(config);
        for (key, value) in cluster()["pebble_environment"].as_object().expect("an object") {
            command.env(key, value.as_str().expect("text"));
        }
        let output = fs::File::create(config.with_extension("log")).expect("a log");
        let child = command
            .stdout(output.try_clone().expect("a log"))
            .stderr(output)
            .spawn()
            .expect("pebble starts");
        let ca = state("directory_ca");
        eventually(&["-sS", "--fail", "--cacert", ca, "-o", "/dev/null", directory]);
        child
    }

    /// Ends it and starts it anew: it knows no account, order or certificate any more.
    pub fn restart(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("its end");
        self.child = Self::started(&self.log.with_extension("json"), &self.directory);
    }

    /// Stops its process, or lets it go on: between order and certificate is then all the time that a test needs.
    pub fn pause(&self, pause: bool) {
        let signal = if pause { "-STOP" } else { "-CONT" };
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// How often its log has a line with these words.
    pub fn count(&self, words: &str) -> usize {
        let log = fs::read_to_string(&self.log).expect("Pebble's log");
        log.lines().filter(|line| line.contains(words)).count()
    }

    /// The file with the authority of its own HTTPS.
    pub fn authority_file(&self) -> String {
        state("directory_ca").to_owned()
    }

    /// A file with its root.
    pub fn root(&self) -> PathBuf {
        let root = curl(&[
            "--cacert",
            state("directory_ca"),
            &format!("{}/roots/0", self.management),
        ]);
        let path = self.log.with_file_name("root.pem");
        fs::write(&path, root).expect("a file");
        path
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two free ports of an address. Both are held until both are known, so that they differ.
fn free_addresses(address: &str) -> [String; 2] {
    let listeners = [0; 2].map(|port| std::net::TcpListener::bind((address, port)).expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").to_string())
}
