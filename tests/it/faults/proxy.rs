//! A proxy before the API server that does harm: one request a connection, plain HTTP, and a thread for each.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;

use crate::scene::{Scene, cluster};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It gets through, and its answer back.
    Pass,
    /// It does not get through: this status instead, and a `Retry-After` of a second where it asks for patience.
    Refused(u16),
    /// It does not get through: the connection is reset.
    Reset,
    /// It gets through, and the connection is reset instead of an answer.
    ResetAfter,
    /// It gets through, and half of its answer back.
    Truncated,
    /// It gets through, and the answer is no JSON.
    Garbled,
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
    /// Verb and resource, without names: `PATCH secrets`.
    pub kind: String,
}

/// The proxy, until it is dropped.
pub struct Proxy {
    upstream: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.upstream.kill();
        let _ = self.upstream.wait();
    }
}

impl Proxy {
    /// Before the API server, as the scene's ServiceAccount. `fate` is asked about each request.
    pub fn start(scene: &Scene, fate: impl FnMut(&Asked) -> Fate + Send + 'static) -> Self {
        // kubectl speaks TLS, and has the token.
        let mut upstream = Command::new(cluster()["kubectl"].as_str().expect("kubectl"))
            .args(["proxy", "--port=0", "--kubeconfig"])
            .arg(scene.kubeconfig())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl proxy");
        let mut line = String::new();
        let stdout = upstream.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("its address");
        let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new((0, fate)));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, address) = (Arc::clone(&state), address.clone());
                std::thread::spawn(move || {
                    // Whoever gives up while it is served is not served any more.
                    let _ = serve(stream, &address, |kind| {
                        let (number, fate) = &mut *state.lock().expect("a lock");
                        let asked = Asked { number: *number, kind };
                        *number += 1;
                        fate(&asked)
                    });
                });
            }
        });
        Self { upstream, url }
    }
}

fn serve(mut client: TcpStream, upstream: &str, fate: impl FnOnce(String) -> Fate) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
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
        if !lower.starts_with("connection:") && !lower.starts_with("accept-encoding:") && !lower.starts_with("host:") {
            head.push(line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let fate = fate(kind(&head[0]));
    let forward = || -> std::io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(upstream)?;
        write!(server, "{}Host: {upstream}\r\nConnection: close\r\n\r\n", head.concat())?;
        server.write_all(&body)?;
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
        Fate::Refused(status) => client.write_all(refusal(status).as_bytes()),
        Fate::Reset => reset(&client),
        Fate::ResetAfter => {
            forward()?;
            reset(&client)
        }
        Fate::Truncated => {
            let answer = forward()?;
            client.write_all(&answer[..answer.len() - answer.len().min(30)])
        }
        Fate::Garbled => {
            forward()?;
            let body = "{\"kind\":\"Gar";
            let length = body.len();
            write!(
                client,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        }
        Fate::Silent => silence(),
        Fate::SilentAfter => {
            forward()?;
            silence()
        }
    }
}

fn silence() -> std::io::Result<()> {
    std::thread::sleep(Duration::from_secs(120));
    Ok(())
}

/// A `RST` instead of a `FIN`.
fn reset(client: &TcpStream) -> std::io::Result<()> {
    SockRef::from(client).set_linger(Some(Duration::ZERO))
}

fn refusal(status: u16) -> String {
    let (reason, more) = match status {
        409 => ("Conflict", ""),
        429 => ("TooManyRequests", "Retry-After: 1\r\n"),
        503 => ("ServiceUnavailable", "Retry-After: 1\r\n"),
        _ => ("InternalError", ""),
    };
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason, "message": "a fault",
    })
    .to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\n{more}Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// `PATCH secrets` of `PATCH /api/v1/namespaces/a/secrets/b?... HTTP/1.1`.
fn kind(line: &str) -> String {
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
