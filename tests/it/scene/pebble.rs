//! A CA of a test's own.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use super::*;

/// A CA of this test's own.
pub struct Pebble {
    /// Its directory's URL.
    pub directory: String,
    /// Where its roots, renewal windows and certificates are managed.
    pub management: String,
    log: PathBuf,
    /// What `change` put under `environment`: variables of its process beside the usual ones.
    environment: Value,
    child: Child,
}

impl Pebble {
    pub fn start(folder: &Path, change: impl FnOnce(&mut Value)) -> Self {
        // Not on loopback, which is another one in Pods.
        let [listen, manage] = free_addresses(state("address"));
        let mut config: Value =
            serde_json::from_str(&fs::read_to_string(state("pebble_config")).expect("Pebble's configuration"))
                .expect("JSON");
        config["pebble"]["listenAddress"] = json!(listen);
        config["pebble"]["managementListenAddress"] = json!(manage);
        change(&mut config);
        let environment = config["environment"].take();
        let path = folder.join("pebble.json");
        fs::write(&path, config.to_string()).expect("Pebble's configuration");
        let directory = format!("https://{listen}/dir");
        Self {
            child: Self::started(&path, &directory, &environment),
            environment,
            directory,
            management: format!("https://{manage}"),
            log: path.with_extension("log"),
        }
    }

    fn started(config: &Path, directory: &str, environment: &Value) -> Child {
        let mut command = tool("pebble");
        command
            .args(["-strict", "-dnsserver", state("dns"), "-config"])
            .arg(config);
        let usual = cluster()["pebble_environment"].as_object().expect("an object");
        for (key, value) in usual.iter().chain(environment.as_object().into_iter().flatten()) {
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
        self.child = Self::started(&self.log.with_extension("json"), &self.directory, &self.environment);
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

    /// The file with the CA of its own HTTPS.
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

/// The next two ports of an address that are free. A port that the system chose would be one of those that it gives to connections, and so to another
/// program before Pebble has it, or to another test.
fn free_addresses(address: &str) -> [String; 2] {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Below the ports of connections (`net.ipv4.ip_local_port_range`). Two processes begin at different ones.
    let (first, count) = (10_000, 20_000);
    let begin = u16::try_from(std::process::id() * 101 % u32::from(count)).expect("less than the count");
    [(); 2].map(|()| {
        loop {
            let port = first + (begin + TRIED.fetch_add(1, Ordering::Relaxed)) % count;
            if TcpListener::bind((address, port)).is_ok() {
                return format!("{address}:{port}");
            }
        }
    })
}
