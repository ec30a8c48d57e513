//! A proxy before the API server, or before the CA, that does harm: one request a connection, and a thread for each.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use socket2::SockRef;

use crate::scene::{Scene, cluster};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It gets through, and its answer back.
    Pass,
    /// It does not get through: this status instead, and a `Retry-After` of a second where it asks for patience.
    Refused(u16),
    /// It does not get through: the CA limits rates, for three hours, with this detail.
    Limited(&'static str),
    /// It does not get through: the connection is reset.
    Reset,
    /// It gets through, and the connection is reset instead of an answer.
    ResetAfter,
    /// It gets through, and half of its answer back.
    Truncated,
    /// It gets through, and the answer is no JSON.
    Garbled,
    /// It gets through, and this is answered instead, with status 200.
    Instead(&'static str),
    /// It does not get through: it is sent elsewhere.
    Redirected(&'static str),
    /// It gets through late.
    Delayed(Duration),
    /// It does not get through, and nothing is answered any more.
    Silent,
    /// It gets through, and nothing is answered any more.
    SilentAfter,
}

/// A request as it is decided upon.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which one of all, from 0.
    pub number: usize,
    /// Verb and resource, without names: `PATCH secrets`, `POST finalize-order`.
    pub kind: String,
}

/// The proxy, until it is dropped.
pub struct Proxy {
    kubectl: Option<Child>,
    /// `http://127.0.0.1:PORT`, or `https://`.
    pub url: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(kubectl) = &mut self.kubectl {
            let _ = kubectl.kill();
            let _ = kubectl.wait();
        }
    }
}

/// A connection, with TLS or without.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// What is behind the proxy.
#[derive(Clone)]
struct Upstream {
    address: String,
    /// How TLS is spoken to both sides, where it is.
    tls: Option<(Arc<ServerConfig>, Arc<ClientConfig>)>,
    kind: fn(&str) -> String,
    refusal: fn(u16) -> String,
}

impl Upstream {
    fn accept(&self, stream: TcpStream) -> Box<dyn Stream> {
        match &self.tls {
            None => Box::new(stream),
            Some((server, _)) => {
                let connection = ServerConnection::new(Arc::clone(server)).expect("a TLS server");
                Box::new(StreamOwned::new(connection, stream))
            }
        }
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(&self.address)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((_, client)) => {
                let name = ServerName::from(stream.peer_addr()?.ip());
                let connection = ClientConnection::new(Arc::clone(client), name).expect("a TLS client");
                Box::new(StreamOwned::new(connection, stream))
            }
        })
    }
}

/// The CA's own certificate and key serve the proxy's clients too.
fn tls() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = fs::read(cluster()["pebble_config"].as_str().expect("a path")).expect("Pebble's configuration");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let file = |key: &str| config["pebble"][key].as_str().expect("a path").to_owned();
    let read = |path: &str| -> Vec<_> {
        let certificates = CertificateDer::pem_file_iter(path).expect("a file");
        certificates.map(|it| it.expect("a certificate")).collect()
    };
    let key = PrivateKeyDer::from_pem_file(file("privateKey")).expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(read(&file("certificate")), key)
        .expect("a certificate and its key");
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read(cluster()["directory_ca"].as_str().expect("a path")));
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

impl Proxy {
    /// Before the API server, as the scene's ServiceAccount. `fate` is asked about each request.
    pub fn before_the_api_server(scene: &Scene, fate: impl FnMut(&Asked) -> Fate + Send + 'static) -> Self {
        // kubectl speaks TLS, and has the token.
        let mut kubectl = Command::new(cluster()["kubectl"].as_str().expect("kubectl"))
            .args(["proxy", "--port=0", "--kubeconfig"])
            .arg(scene.kubeconfig())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl proxy");
        let mut line = String::new();
        let stdout = kubectl.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("its address");
        let upstream = Upstream {
            address: line.trim().rsplit(' ').next().expect("an address").to_owned(),
            tls: None,
            kind: kind_of_api,
            refusal: status,
        };
        let address = listen(upstream, fate);
        Self {
            kubectl: Some(kubectl),
            url: format!("http://{address}"),
        }
    }

    /// Before the scene's CA, which takes the host that it is asked for into its URLs: all requests come here.
    pub fn before_the_ca(scene: &Scene, fate: impl FnMut(&Asked) -> Fate + Send + 'static) -> Self {
        let url = scene.pebble.directory.strip_prefix("https://").expect("https");
        let upstream = Upstream {
            address: url.split('/').next().expect("an address").to_owned(),
            tls: Some(tls()),
            kind: kind_of_acme,
            refusal: problem,
        };
        let address = listen(upstream, fate);
        Self {
            kubectl: None,
            url: format!("https://{address}/dir"),
        }
    }
}

fn listen(upstream: Upstream, fate: impl FnMut(&Asked) -> Fate + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let state = Arc::new(Mutex::new((0, fate)));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (state, upstream) = (Arc::clone(&state), upstream.clone());
            std::thread::spawn(move || {
                // Whoever gives up while it is served is not served any more.
                let _ = serve(stream, &upstream, |kind| {
                    let (number, fate) = &mut *state.lock().expect("a lock");
                    let asked = Asked { number: *number, kind };
                    *number += 1;
                    fate(&asked)
                });
            });
        }
    });
    address
}

fn serve(stream: TcpStream, upstream: &Upstream, fate: impl FnOnce(String) -> Fate) -> io::Result<()> {
    let raw = stream.try_clone()?;
    let mut reader = BufReader::new(upstream.accept(stream));
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line == "\r\n" {
            break;
        }
        // One request a connection, to both sides; compressed answers could not be garbled alike.
        if !lower.starts_with("connection:") && !lower.starts_with("accept-encoding:") {
            head.push(line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let client = reader.get_mut();
    let fate = fate((upstream.kind)(&head[0]));
    let forward = || -> io::Result<Vec<u8>> {
        let mut server = upstream.connect()?;
        write!(server, "{}Connection: close\r\n\r\n", head.concat())?;
        server.write_all(&body)?;
        server.flush()?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    };
    match fate {
        Fate::Pass => client.write_all(&forward()?),
        Fate::Delayed(time) => {
            std::thread::sleep(time);
            client.write_all(&forward()?)
        }
        Fate::Refused(status) => client.write_all((upstream.refusal)(status).as_bytes()),
        Fate::Limited(detail) => client.write_all(limited(detail).as_bytes()),
        Fate::Reset => reset(&raw),
        Fate::ResetAfter => {
            forward()?;
            reset(&raw)
        }
        Fate::Truncated => {
            let answer = forward()?;
            client.write_all(&answer[..answer.len() - answer.len().min(30)])
        }
        Fate::Garbled => {
            forward()?;
            client.write_all(answer(200, "application/json", "{\"kind\":\"Gar").as_bytes())
        }
        Fate::Instead(body) => {
            forward()?;
            client.write_all(answer(200, "application/json", body).as_bytes())
        }
        Fate::Redirected(url) => write!(
            client,
            "HTTP/1.1 307 Elsewhere\r\nLocation: {url}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        Fate::Silent => silence(),
        Fate::SilentAfter => {
            forward()?;
            silence()
        }
    }
}

fn silence() -> io::Result<()> {
    std::thread::sleep(Duration::from_secs(120));
    Ok(())
}

/// A `RST` instead of a `FIN`.
fn reset(client: &TcpStream) -> io::Result<()> {
    SockRef::from(client).set_linger(Some(Duration::ZERO))
}

/// A refusal as the API server writes it.
fn status(status: u16) -> String {
    let reason = match status {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason, "message": "a fault",
    })
    .to_string();
    answer(status, "application/json", &body)
}

/// A refusal as a CA writes it (RFC 8555 section 6.7), or, of 502 and 504, as the load balancer before it.
fn problem(status: u16) -> String {
    let kind = match status {
        502 | 504 => return answer(status, "text/html", "<html>a fault</html>"),
        429 => "rateLimited",
        _ => "serverInternal",
    };
    let body = serde_json::json!({
        "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "a fault", "status": status,
    });
    answer(status, "application/problem+json", &body.to_string())
}

fn limited(detail: &str) -> String {
    let kind = "urn:ietf:params:acme:error:rateLimited";
    let body = serde_json::json!({"type": kind, "detail": detail, "status": 429});
    patient_answer(429, Some(3 * 3600), "application/problem+json", &body.to_string())
}

fn answer(status: u16, media_type: &str, body: &str) -> String {
    patient_answer(status, matches!(status, 429 | 503).then_some(1), media_type, body)
}

/// With the seconds of a `Retry-After`.
fn patient_answer(status: u16, patience: Option<u32>, media_type: &str, body: &str) -> String {
    let patience = patience.map_or(String::new(), |seconds| format!("Retry-After: {seconds}\r\n"));
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Fault\r\n{patience}Content-Type: {media_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// `PATCH secrets` of `PATCH /api/v1/namespaces/a/secrets/b?... HTTP/1.1`.
fn kind_of_api(line: &str) -> String {
    let mut words = line.split(' ');
    let (verb, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let parts: Vec<&str> = path.split('?').next().unwrap_or_default().split('/').collect();
    let rest = match parts.iter().position(|part| *part == "namespaces") {
        Some(at) if parts.len() > at + 2 => &parts[at + 2..],
        Some(at) => &parts[at..],
        None => &parts[parts.len().saturating_sub(1)..],
    };
    format!("{verb} {}", rest.first().unwrap_or(&""))
}

/// `POST finalize-order` of `POST /finalize-order/ID HTTP/1.1`.
fn kind_of_acme(line: &str) -> String {
    let mut words = line.split(' ');
    let (verb, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rest = path
        .trim_start_matches("/draft-ietf-acme-ari-03")
        .trim_start_matches('/');
    format!("{verb} {}", rest.split('/').next().unwrap_or_default())
}
