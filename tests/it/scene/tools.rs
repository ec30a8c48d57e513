//! kubectl and curl, and what they print.

use super::*;

/// What a value of a Secret's `data` is.
#[track_caller]
pub fn decoded(value: &Value) -> String {
    let value = STANDARD.decode(value.as_str().expect("base64")).expect("base64");
    String::from_utf8(value).expect("text")
}

/// A program that the test cluster has built.
#[track_caller]
pub fn tool(name: &str) -> Command {
    Command::new(cluster()["bin"][name].as_str().expect("a program"))
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

/// This machine as the cluster reaches it, and where to listen for that: by IPv6 alone where the cluster has it.
pub(super) fn own_address() -> (&'static str, String) {
    match cluster()["address6"].as_str() {
        Some(six) => (six, format!("[{six}]:0")),
        None => (state("address"), "0.0.0.0:0".into()),
    }
}

/// The CA's DNS: makes every lookup of a host fail.
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
