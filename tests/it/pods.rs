//! The image, and the program in Pods of a real kubelet under Pod Security `restricted`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scene::{Ran, Scene, has_nodes, image, image_archive, kubectl};

const MAX_IMAGE_BYTES: u64 = 12_500_000;

#[test]
#[ignore = "needs the test cluster with nodes"]
fn the_image_is_small_and_the_same_input_gives_the_same_bytes() {
    if !has_nodes("the image") {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
    fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join("kube-lego-once");
    fs::write(&program, layer_file(&fs::read(image_archive()).expect("the archive"))).expect("a file");
    let build = |name: &str| {
        let archive = folder.join(name);
        let output = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/image.py"))
            .args([&archive, &program])
            .args(["--reference", "kube-lego-once:test", "--label", "a=b"])
            .output()
            .expect("python3");
        let ran = Ran::from(output).exits(0);
        let last = ran.stdout.lines().last().expect("a line").to_owned();
        let (path, digest) = last.split_once(' ').expect("path and digest");
        assert_eq!(Path::new(path), archive);
        assert!(digest.starts_with("sha256:"), "{last}");
        (fs::read(&archive).expect("the archive"), digest.to_owned())
    };
    let (first, second) = (build("first.tar"), build("second.tar"));
    assert!(first == second, "the same input gave {} and {}", first.1, second.1);

    let image = platforms();
    let names: Vec<_> = image.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["amd64", "arm64"]);
    for (architecture, size) in image {
        assert!(size < MAX_IMAGE_BYTES, "the image for {architecture} has {size} bytes");
        println!("MEASURED: the image for {architecture} has {size} bytes");
    }
}

/// The architectures of the image, as its index has them (OCI image index), and the bytes of each one's layers.
fn platforms() -> Vec<(String, u64)> {
    let archive = image_archive();
    let read = |file: &str| -> Value {
        let output = Command::new("tar")
            .args(["-xOf"])
            .arg(&archive)
            .arg(file)
            .output()
            .expect("tar");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    let blob = |descriptor: &Value| {
        read(
            &descriptor["digest"]
                .as_str()
                .expect("a digest")
                .replace("sha256:", "blobs/sha256/"),
        )
    };
    let index = blob(&read("index.json")["manifests"][0]);
    let manifests = index["manifests"].as_array().expect("an index").iter();
    manifests
        .map(|descriptor| {
            let layers = blob(descriptor)["layers"].as_array().expect("layers").clone();
            let size = layers.iter().filter_map(|layer| layer["size"].as_u64()).sum();
            (
                descriptor["platform"]["architecture"]
                    .as_str()
                    .expect("a name")
                    .to_owned(),
                size,
            )
        })
        .collect()
}

/// The only big thing in an archive of one layer with one file: the program.
pub fn layer_file(archive: &[u8]) -> &[u8] {
    let elf = archive
        .windows(4)
        .position(|bytes| bytes == b"\x7fELF")
        .expect("a program");
    let size = std::str::from_utf8(&archive[elf - 512 + 124..elf - 512 + 135]).expect("an octal number");
    let size = usize::from_str_radix(size, 8).expect("an octal number");
    &archive[elf..elf + size]
}

#[test]
#[ignore = "needs the test cluster with nodes"]
fn a_restricted_pod_runs_the_program_with_its_service_account() {
    if !has_nodes("a Pod of the program") {
        return;
    }
    let scene = Scene::new("in-a-pod");
    let namespace = scene.namespace("web");
    scene.apply(&scene.ingress(&namespace, "site", "site-tls", &["www.in-a-pod.example"]));

    let version = scene.job("version", &["--version"], &[]);
    assert_eq!(
        version.exits(0).stdout,
        format!("kube-lego-once {}\n", env!("CARGO_PKG_VERSION"))
    );

    // No kubeconfig and no address: it asks 10.96.0.1, as its ServiceAccount, which kube-proxy leads to the API server.
    let environment = [
        ("KUBE_LEGO_ONCE_ANNOTATION", scene.annotation.as_str()),
        ("KUBE_LEGO_ONCE_NO_CRONJOB", "true"),
    ];
    let ran = scene.job("dry-run", &["run", "--dry-run"], &environment).exits(0);
    assert!(ran.stdout.contains("site-tls"), "{}", ran.stdout);
    let lists = |request: &crate::scene::Request| request.verb == "list" && request.resource == "ingresses";
    assert!(scene.requests().iter().any(lists), "{:?}", scene.requests());
}

impl Scene {
    /// Runs the program in a Pod of a Job of a CronJob of the home namespace, to its end. Both outputs are in `stdout`.
    fn job(&self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let pod = json!({
            "serviceAccountName": "kube-lego-once",
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "kube-lego-once",
                "image": image(),
                "imagePullPolicy": "Never",
                "args": arguments,
                "env": environment,
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        });
        let cronjob = json!({
            "apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": name, "namespace": self.home},
            "spec": {
                "schedule": "0 0 1 1 *",
                "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod}}},
            },
        });
        self.apply(&cronjob.to_string());
        let from = format!("--from=cronjob/{name}");
        kubectl(&["create", "job", name, &from, "-n", &self.home], "");
        let succeeded = self.wait_for_job(name);
        Ran {
            status: i32::from(!succeeded),
            stdout: kubectl(&["logs", &format!("job/{name}"), "-n", &self.home], ""),
            stderr: String::new(),
        }
    }

    /// Waits for the end of a Job, and says whether it succeeded.
    #[track_caller]
    pub fn wait_for_job(&self, name: &str) -> bool {
        let deadline = Instant::now() + Duration::from_secs(150);
        loop {
            let job = self.get("job", &self.home, name);
            let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is = |kind: &str| conditions.iter().any(|each: &Value| each["type"] == kind);
            if is("Complete") || is("Failed") {
                return is("Complete");
            }
            assert!(
                Instant::now() < deadline,
                "the Job `{name}` has not ended:\n{}",
                kubectl(&["describe", "pods", "-n", &self.home], "")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// What a test cluster does to the machine ends with it, even when nobody had the time to tidy up.
#[test]
#[ignore = "needs the test cluster with nodes"]
fn a_killed_cluster_leaves_nothing_on_the_machine() {
    if !has_nodes("the end of a cluster with a node") {
        return;
    }
    let name = format!("killed-{}", std::process::id());
    let cluster = |command: &str, more: &[&str]| {
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/cluster"))
            .args([command, "--name", &name])
            .args(more)
            .output()
            .expect("the cluster command");
        Ran::from(output).exits(0).stdout
    };
    cluster("up", &["--nodes"]);
    let state: Value = serde_json::from_str(&cluster("env", &[])).expect("JSON");
    let text = |key: &str| state[key].as_str().expect("text").to_owned();
    let (socket, cgroup) = (text("containerd_socket"), text("cgroup"));
    let interface = cgroup.rsplit('/').next().expect("a name");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waits"},
        "spec": {"containers": [{"name": "c", "image": "kube-lego-once.test/pause:1", "imagePullPolicy": "Never"}]},
    });
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
    fs::write(&file, pod.to_string()).expect("a file");
    cluster("kubectl", &["--", "apply", "-f", file.to_str().expect("a path")]);
    cluster(
        "kubectl",
        &["--", "wait", "pod/waits", "--for=condition=Ready", "--timeout=60s"],
    );
    assert!(!processes_with(&socket).is_empty(), "containerd and its shims");

    let killed = Command::new("kill")
        .args(["-KILL", &state["supervisor_pid"].to_string()])
        .status();
    assert!(killed.expect("kill").success());
    cluster("down", &[]);
    assert_eq!(processes_with(&socket), Vec::<String>::new());
    assert!(
        !Path::new("/sys/class/net").join(interface).exists(),
        "the interface {interface}"
    );
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(&name), "{mounts}");
    for hierarchy in mounts.lines().filter(|line| line.contains(" cgroup")) {
        let folder = hierarchy.split(' ').nth(1).expect("a mount point").to_owned() + &cgroup;
        assert!(!Path::new(&folder).exists(), "{folder}");
    }
}

/// The command lines of processes that have such an argument.
fn processes_with(argument: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines
        .filter(|line| line.split(' ').any(|word| word == argument))
        .collect()
}
