//! What a run takes of a Pod's memory, read from the Pod's cgroup: cronjob.yaml's request and limit come from here.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::cronjob::{container_of, install, pod_of, start};
use crate::end_to_end::https;
use crate::pods::layer_file;
use crate::scene::{Scene, cluster, has_nodes, image_archive, kubectl};

/// For the whole Pod, the pages of the program's file included.
const MAX_PEAK_BYTES: u64 = 26 << 20;
/// The counter only rises, so what is lost is what the last moments before a container's end added.
const SAMPLE_PAUSE: Duration = Duration::from_millis(2);

#[test]
#[ignore = "needs the test cluster with nodes"]
fn a_hundred_certificates_fit_in_little_memory() {
    if !has_nodes("the memory of a hundred orders") {
        return;
    }
    let scene = Scene::new("memory");
    let namespace = scene.namespace("web");
    let host = |n: usize| format!("h{n}.memory.example");
    let ingresses: String = (0..100)
        .map(|n| scene.ingress(&namespace, &format!("web-{n}"), &format!("tls-{n}"), &[&host(n)]))
        .collect();
    scene.apply(&ingresses);
    install(&scene);

    let peak = measured(&scene, "now");
    say(&format!("100 Ingresses, all due: {peak}"));
    let said = kubectl(&["logs", "-n", &scene.home, "job/now"], "");
    assert!(said.contains("100 certificates: 100 issued, 0 failed"), "{said}");
    https(&host(99), &scene.pebble.root());
    assert!(peak.with_the_program() < MAX_PEAK_BYTES, "{peak}");
}

/// `MEMORY_INGRESSES=5000` asks for more, by hand. The kubelet enforces the shipped limit in any case.
#[test]
#[ignore = "needs the test cluster with nodes"]
fn many_ingresses_with_nothing_due_fit_too() {
    if !has_nodes("the memory of a long list") {
        return;
    }
    let count = std::env::var("MEMORY_INGRESSES").map_or(100, |text| text.parse().expect("a number"));
    let scene = Scene::new("memory-idle");
    let namespace = scene.namespace("web");
    for first in (0..count).step_by(500) {
        let some = first..count.min(first + 500);
        // Ingresses as people make them, with kubectl's copy of the whole in an annotation, and Secrets as programs do.
        scene.apply(
            &some
                .clone()
                .map(|n| unserved(&scene, &namespace, n))
                .collect::<String>(),
        );
        kubectl(
            &["create", "-f", "-"],
            &some.map(|n| valid(&namespace, n)).collect::<String>(),
        );
    }
    install(&scene);

    let peak = measured(&scene, "now");
    say(&format!("{count} Ingresses, nothing due: {peak}"));
    let said = kubectl(&["logs", "-n", &scene.home, "job/now"], "");
    assert!(said.contains(&format!("0 due, {count} valid")), "{said}");
    assert!(count > 100 || peak.with_the_program() < MAX_PEAK_BYTES, "{peak}");
}

/// An Ingress of a class that nobody serves.
fn unserved(scene: &Scene, namespace: &str, n: usize) -> String {
    let host = format!("h{n}.memory-idle.example");
    let ingress = scene.ingress(namespace, &format!("web-{n}"), &format!("tls-{n}"), &[&host]);
    ingress.replace("\"ingressClassName\":\"contour\"", "\"ingressClassName\":\"nobody\"")
}

/// A Secret with a certificate for it.
fn valid(namespace: &str, n: usize) -> String {
    let host = format!("h{n}.memory-idle.example");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new([host.clone()]).expect("a name");
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    params.not_before = (now - day).into();
    params.not_after = (now + 89 * day).into();
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"namespace": namespace, "name": format!("tls-{n}")},
        // A leaf and an intermediate, as most CAs give.
        "stringData": {"tls.crt": certificate.repeat(2), "tls.key": key.serialize_pem()},
    });
    format!("---\n{secret}\n")
}

/// Past the test harness, which would keep the figure of a test that passes to itself.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "MEASURED: {line}");
}

/// Runs a Job of the shipped CronJob to its end, and says what its Pod took.
fn measured(scene: &Scene, job: &str) -> Peak {
    let sampler = Sampler::start();
    let begun = Instant::now();
    start(scene, job);
    let succeeded = scene.wait_for_job(job);
    let seconds = begun.elapsed().as_secs_f64();
    let samples = sampler.end();
    let logs = kubectl(&["logs", "-n", &scene.home, &format!("job/{job}")], "");
    assert!(
        succeeded,
        "{}\n{logs}",
        kubectl(&["describe", "pods", "-n", &scene.home], "")
    );
    let pod = pod_of(scene, job);
    let uid = kubectl(
        &["get", "pod", &pod, "-n", &scene.home, "-o", "jsonpath={.metadata.uid}"],
        "",
    );
    let program = container_of(scene, &pod);
    let of = |id: &String| samples.get(id).copied().unwrap_or_default();
    let pause = containers_of(&uid)
        .iter()
        .filter(|id| **id != program)
        .map(|id| of(id).peak)
        .sum();
    assert!(of(&program).peak > 0, "no cgroup of `{program}` was seen");
    Peak {
        program: of(&program),
        pause,
        seconds,
    }
}

/// The ids of a Pod's containers, the one that only holds its network among them.
fn containers_of(pod_uid: &str) -> Vec<String> {
    let text = |key: &str| cluster()[key].as_str().expect("text").to_owned();
    let output = Command::new(text("ctr"))
        .args([
            "-a",
            &text("containerd_socket"),
            "-n",
            "k8s.io",
            "containers",
            "list",
            "-q",
        ])
        .arg(format!("labels.\"io.kubernetes.pod.uid\"=={pod_uid}"))
        .output()
        .expect("ctr");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ids = String::from_utf8(output.stdout).expect("text");
    ids.lines().map(str::to_owned).collect()
}

/// What the Pod took at most: the sum of its containers' peaks.
struct Peak {
    program: Sample,
    pause: u64,
    seconds: f64,
}

impl Peak {
    fn bytes(&self) -> u64 {
        self.program.peak + self.pause
    }

    /// Where nobody has read the program's file before, its pages are charged to the Pod, at most all of them. Here it is
    /// containerd that reads it first, to copy it.
    fn with_the_program(&self) -> u64 {
        self.bytes() + program_size()
    }
}

/// The bytes of the program in the image.
fn program_size() -> u64 {
    layer_file(&fs::read(image_archive()).expect("the archive")).len() as u64
}

impl fmt::Display for Peak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "peak memory of the Pod {:.1} MiB (the program's cgroup {:.1}, of it anonymous {:.1} and page cache {:.1}; the pause container's {:.1}), {:.1} MiB with all pages of the program's file, in {:.1} s",
            mib(self.bytes()),
            mib(self.program.peak),
            mib(self.program.anonymous),
            mib(self.program.cache),
            mib(self.pause),
            mib(self.with_the_program()),
            self.seconds,
        )
    }
}

/// The highest values of one cgroup that were seen.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// The kernel's own high-water mark.
    peak: u64,
    anonymous: u64,
    cache: u64,
}

/// Reads the memory of every container while there is one: the cgroup goes with the container.
struct Sampler {
    end: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<String, Sample>>,
}

impl Sampler {
    fn start() -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = spawn(move || {
            let mut samples = BTreeMap::new();
            while !ended.load(Ordering::Relaxed) {
                for folder in fs::read_dir(containers()).into_iter().flatten().flatten() {
                    let id = folder.file_name().to_string_lossy().into_owned();
                    sample(&folder.path(), samples.entry(id).or_default());
                }
                sleep(SAMPLE_PAUSE);
            }
            samples
        });
        Self { end, thread }
    }

    fn end(self) -> BTreeMap<String, Sample> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sampler")
    }
}

/// The folder with a cgroup for each container. Version 1 has a hierarchy for memory alone.
fn containers() -> PathBuf {
    let hierarchy = Path::new("/sys/fs/cgroup/memory");
    let hierarchy = if hierarchy.exists() {
        hierarchy
    } else {
        Path::new("/sys/fs/cgroup")
    };
    let cgroup = cluster()["cgroup"].as_str().expect("text").trim_start_matches('/');
    hierarchy.join(cgroup).join("k8s.io")
}

fn sample(folder: &Path, highest: &mut Sample) {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let number = |text: &str| text.trim().parse::<u64>().unwrap_or_default();
    let statistics = read("memory.stat");
    let statistic = |names: [&str; 2]| {
        let lines = statistics.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter(|(name, _)| names.contains(name))
            .map(|(_, value)| number(value))
            .max()
    };
    // In each pair version 1 has the first name, and version 2 the second.
    let peak = ["memory.max_usage_in_bytes", "memory.peak"].map(|name| number(&read(name)));
    highest.peak = highest.peak.max(peak[0]).max(peak[1]);
    highest.anonymous = highest.anonymous.max(statistic(["rss", "anon"]).unwrap_or_default());
    highest.cache = highest.cache.max(statistic(["cache", "file"]).unwrap_or_default());
}
