//! A person's run: a kubeconfig and no address that the cluster could reach. The CronJob says what to do, and a Pod answers.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cronjob::{install, one_due, one_due_slowly, start};
use crate::documents::{commands_for, read};
use crate::end_to_end::https;
use crate::scene::{Ran, Scene, cluster, has_nodes, image, kubectl, program};

/// Somebody with the rights that `docs/security.md` asks of a person, and no others.
struct Person<'a> {
    scene: &'a Scene,
    folder: PathBuf,
}

fn text(key: &str) -> &'static str {
    cluster()[key].as_str().expect("text")
}

impl<'a> Person<'a> {
    fn new(scene: &'a Scene) -> Self {
        let home = &scene.home;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(scene.name);
        kubectl(&["create", "serviceaccount", "person", "-n", home], "");
        let person = Self { scene, folder };
        person.permit(&format!("--serviceaccount={home}:person"), "account");
        person
    }

    /// What the commands of `docs/security.md` for a person's run grant, to this subject.
    fn permit(&self, subject: &str, suffix: &str) {
        let home = &self.scene.home;
        let commands = commands_for(&read("docs/security.md"), "person");
        let (roles, bindings): (Vec<_>, Vec<_>) = commands
            .iter()
            .filter_map(|command| command.strip_prefix("kubectl create "))
            .filter(|command| command.starts_with("role ") || command.ends_with("--user PERSON"))
            .partition(|command| command.starts_with("role "));
        assert_eq!((roles.len(), bindings.len()), (2, 4), "{commands:?}");
        for command in roles.into_iter().chain(bindings) {
            let command = command
                .replace("-n kube-lego", &format!("-n {home}"))
                .replace("--user PERSON", subject);
            let words: Vec<&str> = command.split(' ').collect();
            let made = kubectl(
                &[&["create"], words.as_slice(), &["--dry-run=client", "-o", "json"]].concat(),
                "",
            );
            let mut made: Value = serde_json::from_str(&made).expect("an object");
            // Those of a cluster and those of a second subject need names of their own.
            if words[0] != "role" {
                made["metadata"]["name"] = format!("{home}-{}-{suffix}", words[1]).into();
            }
            kubectl(&["apply", "-f", "-"], &made.to_string());
        }
    }

    fn token(&self) -> String {
        let token = ["create", "token", "person", "-n", &self.scene.home, "--duration=2h"];
        kubectl(&token, "").trim().to_owned()
    }

    /// The program with this user of a kubeconfig, and nothing else but how this machine finds names.
    fn command(&self, server: &str, user: &Value) -> Command {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": match server.starts_with("https") {
                true => json!({"server": server, "certificate-authority": text("server_ca")}),
                false => json!({"server": server}),
            }}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        let path = self.folder.join("person.kubeconfig");
        fs::write(&path, config.to_string()).expect("a kubeconfig");
        let mut command = program();
        command
            .arg("run")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KUBECONFIG", path)
            .env("KUBE_LEGO_ONCE_HOME_NAMESPACE", &self.scene.home)
            .env("KUBE_LEGO_ONCE_RESOLVER", text("dns"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// With a token.
    fn run(&self) -> Command {
        self.command(text("server"), &json!({"token": self.token()}))
    }
}

fn ended(mut command: Command) -> Ran {
    command.output().expect("the program").into()
}

fn solver(scene: &Scene) -> Value {
    scene.get("pod", &scene.home, "kube-lego-once")
}

/// Starts a run and stops the CA once it has the order: the solver Pod is there then.
fn at_the_order(scene: &Scene, mut command: Command) -> Child {
    let mut running = command.spawn().expect("the program");
    let deadline = Instant::now() + Duration::from_secs(60);
    while scene.pebble.count("Added order") == 0 {
        if let Some(status) = running.try_wait().expect("a status") {
            let ran = Ran::from(running.wait_with_output().expect("its output"));
            panic!("{status} before an order: {}", ran.stderr);
        }
        assert!(Instant::now() < deadline, "no order");
        std::thread::sleep(Duration::from_millis(10));
    }
    scene.pebble.pause(true);
    running
}

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.expect("kill").success());
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn a_bare_run_does_what_the_cronjob_does() {
    let Some(scene) = one_due("bare-run", "the solver Pod") else {
        return;
    };
    let person = Person::new(&scene);

    let dry = ended({
        let mut command = person.run();
        command.arg("--dry-run");
        command
    });
    assert!(dry.stdout.contains("a-tls") && dry.stdout.contains("1 due"), "{dry:?}");
    assert!(solver(&scene).is_null(), "a dry run starts nothing");

    let ran = ended(person.run()).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{ran:?}");
    let from = ran
        .stderr
        .lines()
        .find(|line| line.starts_with("from CronJob `bare-run-home/kube-lego-once`: "));
    let from = from.unwrap_or_else(|| panic!("it says where it took them from: {}", ran.stderr));
    for taken in [
        format!("`--directory={}`", scene.pebble.directory),
        format!("`--annotation={}`", scene.annotation),
        "`--ca-bundle=/authority/ca.pem`".to_owned(),
        "`--interval=15m`".to_owned(),
        format!("image `{}`", image()),
    ] {
        assert!(from.contains(&taken), "{taken}: {from}");
    }
    https("a.bare-run.example", &scene.pebble.root());
    scene.assert_nothing_is_left();

    let again = ended(person.run()).exits(0);
    assert!(again.stdout.contains("0 due, 1 valid"), "{again:?}");
    start(&scene, "after");
    assert!(scene.wait_for_job("after"));
    let said = kubectl(&["logs", "-n", &scene.home, "job/after"], "");
    assert!(said.contains("0 due, 1 valid"), "the CronJob agrees: {said}");
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn the_solver_pod_knows_no_secret_and_goes_with_the_run() {
    let Some(scene) = one_due_slowly("solver-pod", "what is in the solver Pod") else {
        return;
    };
    let person = Person::new(&scene);

    let running = at_the_order(&scene, person.run());
    let pod = solver(&scene);
    let spec = &pod["spec"];
    let container = &spec["containers"][0];
    assert_eq!(container["args"][0], "solve", "{pod:#}");
    assert_eq!(spec["activeDeadlineSeconds"], 3600);
    assert_eq!(spec["automountServiceAccountToken"], false);
    for absent in [
        &spec["volumes"],
        &container["volumeMounts"],
        &container["env"],
        &container["envFrom"],
    ] {
        assert!(absent.is_null(), "{pod:#}");
    }
    let service = scene.get("service", &scene.home, "kube-lego-once");
    assert_eq!(service["metadata"]["ownerReferences"][0]["uid"], pod["metadata"]["uid"]);
    assert_eq!(
        service["spec"]["selector"],
        json!({"kube-lego-once.dev/run": pod["metadata"]["labels"]["kube-lego-once.dev/run"]})
    );
    signal(&running, "-INT");
    let stopped = Ran::from(running.wait_with_output().expect("its output"));
    assert_ne!(stopped.status, 0, "{stopped:?}");
    scene.assert_nothing_is_left();
    scene.pebble.pause(false);

    let ran = ended(person.run()).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{ran:?}");
    https("a.solver-pod.example", &scene.pebble.root());
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn a_killed_persons_pod_is_swept_by_the_next_run() {
    let Some(scene) = one_due_slowly("killed-person", "a solver Pod whose run was killed") else {
        return;
    };
    let person = Person::new(&scene);
    let mut running = at_the_order(&scene, person.run());
    running.kill().expect("SIGKILL");
    running.wait().expect("its end");
    scene.pebble.pause(false);
    assert!(!solver(&scene).is_null(), "nobody took it away");

    start(&scene, "next");
    let succeeded = scene.wait_for_job("next");
    let said = kubectl(&["logs", "-n", &scene.home, "job/next"], "");
    assert!(succeeded && said.contains("1 issued"), "{said}");
    assert!(
        said.contains("removed Pod `killed-person-home/kube-lego-once`"),
        "{said}"
    );
    assert!(solver(&scene).is_null());
    scene.assert_no_challenge_is_left();
    https("a.killed-person.example", &scene.pebble.root());
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn an_image_that_is_not_there_ends_the_run_before_any_order() {
    let Some(scene) = one_due("no-image", "a solver Pod without its image") else {
        return;
    };
    let person = Person::new(&scene);
    let mut command = person.run();
    command.args(["--image", "nobody.example/kube-lego-once:0"]);
    let ran = ended(command).exits(2);
    let expected = "error: Pod `no-image-home/kube-lego-once` of image `nobody.example/kube-lego-once:0`, which was to answer \
                    the challenges, does not run: ErrImageNeverPull";
    assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("hint: `--image` names another image"),
        "{}",
        ran.stderr
    );
    assert_eq!(scene.pebble.count("Added order"), 0);
    scene.assert_nothing_is_left();
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn every_kind_of_kubeconfig_will_do() {
    if !has_nodes("a run with each kind of kubeconfig") {
        return;
    }
    let scene = Scene::new("kubeconfigs");
    let namespace = scene.namespace("web");
    install(&scene);
    let person = Person::new(&scene);
    let certified = &cluster()["user"];
    person.permit(
        &format!("--user={}", certified["name"].as_str().expect("a name")),
        "certified",
    );
    let proxy = Proxy::start();
    let plugin = person.folder.join("plugin");
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": person.token()},
    });
    fs::write(&plugin, credential.to_string()).expect("a file");
    let exec = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": "cat", "args": [plugin],
    }});
    let certificate = json!({"client-certificate": certified["certificate"], "client-key": certified["key"]});
    for (kind, server, user) in [
        ("token", text("server"), json!({"token": person.token()})),
        ("certificate", text("server"), certificate),
        ("plugin", text("server"), exec),
        ("proxy", proxy.url.as_str(), json!({})),
    ] {
        let (secret, host) = (format!("{kind}-tls"), format!("{kind}.kubeconfigs.example"));
        scene.apply(&scene.ingress(&namespace, kind, &secret, &[&host]));
        let mut command = person.command(server, &user);
        command.args([secret.as_str(), "-n", &namespace]);
        let ran = ended(command).exits(0);
        assert!(ran.stdout.contains("1 issued"), "{kind}: {ran:?}");
        https(&host, &scene.pebble.root());
    }
    scene.assert_nothing_is_left();
}

/// `kubectl proxy`: plain HTTP, and nobody to be.
struct Proxy {
    url: String,
    child: Child,
}

impl Proxy {
    fn start() -> Self {
        let mut child = Command::new(text("kubectl"))
            .args(["--kubeconfig", text("kubeconfig"), "proxy", "--port=0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
        said.read_line(&mut line).expect("where it listens");
        let address = line.trim().rsplit(' ').next().expect("an address");
        Self {
            url: format!("http://{address}"),
            child,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs the test cluster"]
fn without_a_cronjob_what_is_missing_is_asked_for_by_name() {
    let scene = Scene::new("denied-by-hand");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.denied-by-hand.example"]));
    let person = Person::new(&scene);
    let run = |arguments: &[&str]| {
        let mut command = person.run();
        command.args(["--annotation", &scene.annotation]).args(arguments);
        ended(command).exits(2).stderr
    };
    let expected = "error: certificates are due, but no ACME directory is given: there is no CronJob \
                    `denied-by-hand-home/kube-lego-once` to follow\nhint: add `--directory letsencrypt-staging`, or an https URL, \
                    and `--image` or `--advertise-address`, so that challenges can be answered; `--dry-run` needs none\n";
    let nothing = run(&[]);
    assert!(nothing.ends_with(expected), "{nothing}");

    let authority = scene.pebble.authority_file();
    let directory = [
        "--directory",
        &scene.pebble.directory,
        "--ca-bundle",
        &authority,
        "--profile",
        "default",
    ];
    let no_way = run(&directory);
    for words in [
        "it is not known how challenges can be answered: there is no CronJob",
        "`--image` names",
        "`--advertise-address` names",
    ] {
        assert!(no_way.contains(words), "{words}: {no_way}");
    }

    // What the CronJob's own account may do is not enough: it needs no Pod.
    let mut command = scene.command("run");
    command
        .env_remove("KUBE_LEGO_ONCE_ADVERTISE_ADDRESS")
        .args(["--image", "kube-lego-once:none"]);
    let denied = ended(command).exits(2).stderr;
    for words in [
        "could not create Pod `denied-by-hand-home/kube-lego-once`",
        "hint: the user of this request has no right to `create` `pods`. A run by hand needs more rights than rbac.yaml grants",
    ] {
        assert!(denied.contains(words), "{words}: {denied}");
    }
    assert_eq!(
        scene.pebble.count("accounts in memory"),
        0,
        "no account was made for nothing"
    );
    scene.assert_nothing_is_left();
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn a_pod_that_ends_in_mid_run_is_noticed() {
    if !has_nodes("the end of a solver Pod") {
        return;
    }
    let scene = Scene::new("lost-solver");
    let namespace = scene.namespace("web");
    install(&scene);
    let person = Person::new(&scene);
    // Nobody serves this class, so the probe asks for as long as it may.
    let ingress = scene.ingress(&namespace, "a", "a-tls", &["a.lost-solver.example"]);
    scene.apply(&ingress.replace("\"contour\"", "\"nobody\""));
    let mut command = person.run();
    command.args(["--probe-timeout", "60s"]);
    let running = command.spawn().expect("the program");
    let deadline = Instant::now() + Duration::from_secs(30);
    while scene.get("service", &scene.home, "kube-lego-once").is_null() {
        assert!(Instant::now() < deadline, "no challenge Service");
        std::thread::sleep(Duration::from_millis(100));
    }
    let begun = Instant::now();
    let delete = [
        "delete",
        "pod",
        "kube-lego-once",
        "-n",
        &scene.home,
        "--grace-period=0",
        "--force",
    ];
    kubectl(&delete, "");
    let ran = Ran::from(running.wait_with_output().expect("its output")).exits(1);
    let expected =
        "nothing answers challenges any more: Pod `lost-solver-home/kube-lego-once` runs no more: somebody deleted it";
    assert!(ran.stdout.contains(expected), "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(scene.pebble.count("Added order"), 0);
    scene.assert_nothing_is_left();
}
