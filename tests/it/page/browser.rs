//! A browser without a window, and the proxy through which all its requests go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tiny_http::{Header, Response, Server};

/// By these names distributions call it.
const PROGRAMS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
/// What the browser does of its own accord, and what needs a screen or a user's session, is turned off.
const QUIET: &[&str] = &[
    "--headless=new",
    // It starts as root, in containers: there it has no sandbox, and it is shown nothing but this test's pages.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--hide-scrollbars",
    // Requests to this machine go through the proxy too.
    "--proxy-bypass-list=<-loopback>",
    // What a page says on its console.
    "--enable-logging=stderr",
    // Until nothing is left to be done, and no longer than this by the page's clock.
    "--virtual-time-budget=20000",
];

/// What it asks all the same, of these hosts: for the time, for newer parts of itself, and who is logged in.
const ITS_OWN: &[&str] = &["clients2.google.com", "update.googleapis.com", "accounts.google.com"];

/// Chromium, with a proxy that has the pages and knows what was asked.
pub struct Browser {
    program: &'static str,
    server: Arc<Server>,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    pages: BTreeMap<String, String>,
    asked: Vec<String>,
}

/// Whether the browser asks that itself: `http://HOST/...`, or `HOST:443` to be connected.
fn is_its_own(url: &str) -> bool {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    ITS_OWN.contains(&&rest[..end])
}

/// What a page came to.
#[derive(Debug)]
pub struct Seen {
    /// The document, once its script has run.
    pub dom: String,
    /// The requests, by URL.
    pub asked: Vec<String>,
    /// The lines of the console.
    pub said: Vec<String>,
}

impl Browser {
    /// The browser, if there is one.
    pub fn start() -> Option<Self> {
        let is_there = |program: &&&str| {
            let mut version = Command::new(program);
            version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            version.status().is_ok_and(|status| status.success())
        };
        let program = PROGRAMS.iter().find(is_there)?;
        let server = Arc::new(Server::http("127.0.0.1:0").expect("a port"));
        let state = Arc::new(Mutex::new(State::default()));
        let (serving, known) = (Arc::clone(&server), Arc::clone(&state));
        let thread = std::thread::spawn(move || {
            for request in serving.incoming_requests() {
                let page = {
                    let mut state = known.lock().expect("the state");
                    if !is_its_own(request.url()) {
                        state.asked.push(request.url().to_owned());
                    }
                    state.pages.get(request.url()).cloned()
                };
                let status = if page.is_some() { 200 } else { 404 };
                let html: Header = "Content-Type: text/html; charset=utf-8".parse().expect("a header");
                let response = Response::from_string(page.unwrap_or_default()).with_status_code(status);
                // A browser that has ended needs no answer.
                let _ = request.respond(response.with_header(html));
            }
        });
        Some(Self {
            program,
            server,
            state,
            thread: Some(thread),
        })
    }

    /// Has a page at hand, and says where.
    pub fn serve(&self, name: &str, page: &str) -> String {
        let url = format!("http://page.example/{name}");
        self.state
            .lock()
            .expect("the state")
            .pages
            .insert(url.clone(), page.to_owned());
        url
    }

    /// Opens a page.
    pub fn dom(&self, url: &str) -> Seen {
        self.state.lock().expect("the state").asked.clear();
        let output = self.run(&["--dump-dom"], url);
        let lines = String::from_utf8_lossy(&output.stderr).into_owned();
        Seen {
            dom: String::from_utf8(output.stdout).expect("text"),
            asked: self.state.lock().expect("the state").asked.clone(),
            said: lines
                .lines()
                .filter(|line| line.contains("CONSOLE"))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Draws the top of a page.
    pub fn picture(&self, url: &str, file: &Path, more: &[&str]) {
        let screenshot = format!("--screenshot={}", file.display());
        self.run(&[&[&*screenshot, "--window-size=1280,2000"], more].concat(), url);
        let image = std::fs::read(file).expect("a picture");
        assert!(
            image.starts_with(b"\x89PNG") && image.len() > 20_000,
            "{}: {} bytes",
            file.display(),
            image.len()
        );
    }

    /// Prints a page.
    pub fn print(&self, url: &str, file: &Path) {
        let to = format!("--print-to-pdf={}", file.display());
        self.run(&[&to, "--no-pdf-header-footer"], url);
        assert!(
            std::fs::read(file).expect("a document").starts_with(b"%PDF"),
            "{}",
            file.display()
        );
    }

    fn run(&self, arguments: &[&str], url: &str) -> Output {
        let proxy = self.server.server_addr().to_ip().expect("an address");
        // Two browsers do not share a profile.
        let profile: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{}", proxy.port()));
        let output = Command::new(self.program)
            .args(QUIET)
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--proxy-server=http://{proxy}"))
            .args(arguments)
            .arg(url)
            .stdin(Stdio::null())
            .output()
            .expect("the browser");
        assert!(
            output.status.success(),
            "{arguments:?} {url}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let _ = std::fs::remove_dir_all(profile);
        output
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
