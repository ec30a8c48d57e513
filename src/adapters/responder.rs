//! The only HTTP server: it answers the authority's HTTP-01 questions (RFC 8555 section 8.3).
//!
//! The answer is `TOKEN.THUMBPRINT`, so a responder that knows the thumbprint needs no list of tokens: it answers any
//! well-formed one. RFC 8555 section 11.3 warns of servers that do so, because they may outlive the client that they
//! were set up for and then vouch for whoever asks. Ours may: it dies with the run, and the thumbprint binds each
//! answer to our own account, so what it says is of no use to anybody else's order.
//!
//! `tiny_http` speaks the HTTP, and a *front* of our own stands between it and the world. Taken alone, tiny_http 0.12
//! starts a thread per connection without a bound, has no time-outs, never answers again after one failed `accept`,
//! and loses a thread for ever to each request that calls itself HTTP/2.0. So the front owns the public socket and
//! bounds connections, bytes and time; only a complete, well-formed request line is handed on, over loopback:
//!
//! ```text
//! client -> front (public address, one thread) -> tiny_http (127.0.0.1, a port of the system's choice) -> answer
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use tiny_http::{Header, Method, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout};

use crate::decide::name::RunId;
use crate::decide::observed::CHALLENGE_PATH;
use crate::decide::route::RUN_HEADER;

/// Connections held at once; the next one waits until one of them has ended or is let go.
const CONNECTIONS_MAX: usize = 128;
/// Connections that the system holds for us until then. An authority asks for all hosts at once, and from several places: a
/// certificate of 100 hosts is 300 questions and more.
const BACKLOG: i32 = 1024;
/// A request comes with its connection: who has said nothing for so long has nothing to say.
const SILENCE_MAX: Duration = Duration::from_millis(500);
/// Between two looks at whether there is room.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
/// Requests that tiny_http sees at once, hence about the number of its threads.
const REQUESTS_MAX: usize = 8;
/// A request line and its header fields. Proxies send a few KiB; more is nobody's question about a challenge.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// An answer of ours is under 1 KiB.
const ANSWER_BYTES_MAX: u64 = 8 * 1024;
/// From accept to the last byte of the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// After the answer: how long the client has to close, and how much of an unwanted body is read meanwhile.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: u64 = 64 * 1024;

const BAD_REQUEST: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const HEAD_TOO_LARGE: &str =
    "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Why there is no responder.
#[derive(Debug, thiserror::Error)]
pub enum ResponderError {
    /// The address is taken, privileged or not this machine's.
    #[error("cannot listen on `{address}` for challenges: {cause}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The system gave no loopback socket, thread or event queue.
    #[error("cannot start the responder: {0}")]
    Start(String),
}

impl ResponderError {
    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { .. } => {
                Some("`--listen` names another address and port of this machine; port 0 takes a free one".into())
            }
            Self::Start(_) => None,
        }
    }
}

/// An HTTP server that answers challenges until it is stopped or dropped.
#[derive(Debug)]
pub struct Responder {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    front: Option<JoinHandle<()>>,
}

impl Responder {
    /// Listens on `listen` (port 0: the system chooses) and answers with this account key's thumbprint (RFC 7638,
    /// base64url), naming `run` in each answer. It has threads of its own and needs no async runtime.
    ///
    /// # Errors
    ///
    /// [`ResponderError::Listen`] where the address cannot be had, [`ResponderError::Start`] where the system has no
    /// resources left.
    pub fn start(listen: SocketAddr, thumbprint: &str, run: &RunId) -> Result<Self, ResponderError> {
        let failed = |cause| ResponderError::Listen { address: listen, cause };
        let listener = std::net::TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        // The standard library asks for a queue of 128. Once more is no other socket, but a longer queue.
        SockRef::from(&listener).listen(BACKLOG).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let engine = Engine::new(Answers::new(thumbprint, run))?;
        let start_failed = |error: io::Error| ResponderError::Start(error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(start_failed)?;
        let (stop, stopped) = oneshot::channel();
        let front = std::thread::Builder::new()
            .name("responder".into())
            .spawn(move || {
                // The runtime's end drops the listener and every connection with it.
                runtime.block_on(accept(listener, engine, stopped));
            })
            .map_err(start_failed)?;
        log::debug!("the responder listens on `{address}`");
        Ok(Self {
            address,
            stop: Some(stop),
            front: Some(front),
        })
    }

    /// Where it listens; the port is the one that the system chose, if it was asked to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`Self::local_addr`].
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Stops listening and waits until the socket is closed: a connection from then on is refused.
impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It fails only where the front is gone already.
            let _ = stop.send(());
        }
        if let Some(front) = self.front.take()
            && front.join().is_err()
        {
            log::warn!("the responder's thread panicked");
        }
    }
}

/// Accepts until told to stop. A failed accept (no file descriptors left, say) is waited out, never the end.
async fn accept(listener: std::net::TcpListener, engine: Engine, mut stopped: oneshot::Receiver<()>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return log::error!("the responder cannot accept: {error}"),
    };
    let engine = Arc::new(engine);
    let mut connections: VecDeque<Connection> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                make_room(&mut connections).await;
                let stage = Arc::new(AtomicU8::new(SILENT));
                let task = tokio::spawn(serve(stream, peer, Arc::clone(&engine), Arc::clone(&stage)));
                let since = Instant::now();
                connections.push_back(Connection { task, stage, since });
                // There may be a thousand more in the queue, and nobody is asked what it wants while this goes on.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                log::debug!("a connection to the responder failed: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// A connection that is being served.
struct Connection {
    task: tokio::task::JoinHandle<()>,
    /// [`SILENT`], [`ASKING`] or [`ANSWERED`].
    stage: Arc<AtomicU8>,
    since: Instant,
}

/// Its request is not read yet.
const SILENT: u8 = 0;
/// Its request is read and its answer not yet sent.
const ASKING: u8 = 1;
/// It has its answer.
const ANSWERED: u8 = 2;

impl Connection {
    /// Whether nothing is lost by its end: it has its answer, or nothing to say.
    fn is_idle(&self) -> bool {
        match self.stage.load(Ordering::Relaxed) {
            SILENT => self.since.elapsed() >= SILENCE_MAX,
            stage => stage == ANSWERED,
        }
    }
}

/// Waits until fewer than [`CONNECTIONS_MAX`] are left: idle clients make room, and whoever asks is answered first.
async fn make_room(connections: &mut VecDeque<Connection>) {
    loop {
        connections.retain(|connection| !connection.task.is_finished());
        if connections.len() < CONNECTIONS_MAX {
            return;
        }
        match connections.iter().position(Connection::is_idle) {
            Some(idle) => {
                if let Some(connection) = connections.remove(idle) {
                    connection.task.abort();
                }
            }
            // Each is served for ten seconds at most.
            None => tokio::time::sleep(ROOM_PAUSE).await,
        }
    }
}

/// One connection: one request, one answer.
async fn serve(mut stream: TcpStream, peer: SocketAddr, engine: Arc<Engine>, stage: Arc<AtomicU8>) {
    let answered = timeout(CONNECTION_TIMEOUT, async {
        let (line, answer) = match read_head(&mut stream).await? {
            Head::Request(line) => {
                stage.store(ASKING, Ordering::Relaxed);
                let answer = match engine.ask(&line).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        log::warn!("the responder's inner server did not answer: {error}");
                        UNAVAILABLE.as_bytes().to_vec()
                    }
                };
                (line, answer)
            }
            Head::Refused(answer) => (String::new(), answer.as_bytes().to_vec()),
            Head::Nothing => return Ok(()),
        };
        let status = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        log::debug!("answered `{line}` of `{peer}`: {}", String::from_utf8_lossy(status));
        stream.write_all(&answer).await?;
        let ended = stream.shutdown().await;
        stage.store(ANSWERED, Ordering::Relaxed);
        ended
    })
    .await;
    match answered {
        // Closing while something unread is left would reset the connection and may take the answer with it.
        Ok(Ok(())) => {
            let mut rest = stream.take(LINGER_BYTES_MAX);
            let _ = timeout(LINGER_TIMEOUT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
        }
        Ok(Err(error)) => log::debug!("`{peer}` hung up: {error}"),
        Err(_) => log::debug!("`{peer}` took too long"),
    }
}

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// A request line, without its end, that tiny_http can be given.
    Request(String),
    /// Something that it cannot be given, and the answer to it.
    Refused(&'static str),
    /// It hung up.
    Nothing,
}

/// Reads to the end of the header fields. They are not kept: no answer depends on one.
async fn read_head(stream: &mut TcpStream) -> io::Result<Head> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let seen = head.len();
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(Head::Nothing);
        }
        if let Some(complete) = parse_head(&head, seen) {
            return Ok(complete);
        }
    }
}

/// The request in `head`, or nothing while it is incomplete; its first `seen` bytes were incomplete alone.
fn parse_head(head: &[u8], seen: usize) -> Option<Head> {
    let mut windows = head[seen.saturating_sub(3)..].windows(4);
    if !windows.any(|window| window == b"\r\n\r\n") {
        return (head.len() > HEAD_BYTES_MAX).then_some(Head::Refused(HEAD_TOO_LARGE));
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let well_formed = |line: &&str| {
        let parts: Vec<&str> = line.split(' ').collect();
        let words = parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic()));
        // tiny_http answers a later version by waiting for itself, for ever.
        words && parts.len() == 3 && matches!(parts[2], "HTTP/1.0" | "HTTP/1.1")
    };
    Some(match std::str::from_utf8(line).ok().filter(well_formed) {
        Some(line) => Head::Request(line.to_owned()),
        None => Head::Refused(BAD_REQUEST),
    })
}

/// tiny_http on a loopback port, and a new one wherever the last has died.
///
/// The port can be reached by whoever can open sockets on this machine (in a Pod: our own containers); it answers
/// nothing that the public one does not.
#[derive(Debug)]
struct Engine {
    answers: Answers,
    inner: Mutex<Inner>,
    requests: Semaphore,
}

impl Engine {
    fn new(answers: Answers) -> Result<Self, ResponderError> {
        Ok(Self {
            inner: Mutex::new(Inner::start(answers.clone())?),
            answers,
            requests: Semaphore::new(REQUESTS_MAX),
        })
    }

    /// The answer to a well-formed request line, as it goes to the client.
    async fn ask(&self, line: &str) -> io::Result<Vec<u8>> {
        let _turn = self.requests.acquire().await.map_err(io::Error::other)?;
        let address = self.address();
        let mut stream = match TcpStream::connect(address).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                TcpStream::connect(self.revive(address)?).await?
            }
            connected => connected?,
        };
        stream
            .write_all(format!("{line}\r\nConnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut answer = Vec::with_capacity(512);
        (&mut stream).take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        let Some(end) = answer.windows(2).position(|window| window == b"\r\n") else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        // tiny_http refuses to set it; without it a proxy would send its next request into a closed connection.
        answer.splice(end..end, *b"\r\nConnection: close");
        Ok(answer)
    }

    fn address(&self) -> SocketAddr {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).address
    }

    /// Replaces the server that was at `dead`, unless another request has done so: where the process had no file
    /// descriptor left for a moment, tiny_http's accept loop has ended for good.
    fn revive(&self, dead: SocketAddr) -> io::Result<SocketAddr> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.address == dead {
            *inner = Inner::start(self.answers.clone()).map_err(io::Error::other)?;
            log::debug!("the responder's inner server was started again");
        }
        Ok(inner.address)
    }
}

/// A running tiny_http and the thread that answers its requests.
struct Inner {
    address: SocketAddr,
    server: Arc<tiny_http::Server>,
    answering: Option<JoinHandle<()>>,
}

impl Inner {
    fn start(answers: Answers) -> Result<Self, ResponderError> {
        // Its error is not `Sync`, so only its text goes on.
        let server = tiny_http::Server::http((Ipv4Addr::LOCALHOST, 0))
            .map_err(|error| ResponderError::Start(error.to_string()))?;
        let address = server.server_addr().to_ip();
        let address = address.ok_or_else(|| ResponderError::Start("the loopback socket has no address".into()))?;
        let server = Arc::new(server);
        let requests = Arc::clone(&server);
        let answering = std::thread::Builder::new()
            .name("responder-answers".into())
            .spawn(move || {
                for request in requests.incoming_requests() {
                    let response = answers.to(request.method(), request.url());
                    if let Err(error) = request.respond(response) {
                        log::debug!("an answer was not taken: {error}");
                    }
                }
            })
            .map_err(|error| ResponderError::Start(error.to_string()))?;
        Ok(Self {
            address,
            server,
            answering: Some(answering),
        })
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(answering) = self.answering.take() {
            let _ = answering.join();
        }
    }
}

/// What is answered.
#[derive(Clone, Debug)]
struct Answers {
    thumbprint: String,
    run: String,
}

impl Answers {
    fn new(thumbprint: &str, run: &RunId) -> Self {
        Self {
            thumbprint: thumbprint.to_owned(),
            run: run.to_string(),
        }
    }

    /// The answer to a request. A `HEAD` is answered like a `GET`; tiny_http leaves the body out.
    fn to(&self, method: &Method, url: &str) -> Response<io::Cursor<Vec<u8>>> {
        let token = token(url);
        let (status, body) = match (method, token) {
            (Method::Get | Method::Head, Some(token)) => (200, format!("{token}.{}", self.thumbprint)),
            (Method::Get | Method::Head, None) => (404, "not a challenge\n".to_owned()),
            _ => (405, "only GET and HEAD\n".to_owned()),
        };
        let mut response = Response::from_data(body).with_status_code(status);
        let mut fields = vec![
            ("Content-Type", "text/plain"),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            (RUN_HEADER, &self.run),
        ];
        if status == 405 {
            fields.push(("Allow", "GET, HEAD"));
        }
        for (name, value) in fields {
            // None fails: the names are ours, and a run's id is a header value.
            if let Ok(header) = Header::from_bytes(name, value) {
                response.add_header(header);
            }
        }
        response
    }
}

/// The token that a request's target asks about, if it is one: base64url of at least 128 bits (RFC 8555 section 8.3).
fn token(target: &str) -> Option<&str> {
    // A server must also take the form with scheme and authority (RFC 9112 section 3.2.2).
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => &rest[rest.find('/')?..],
        _ => target,
    };
    let path = path.split('?').next().unwrap_or_default();
    let token = path.strip_prefix(CHALLENGE_PATH)?.strip_prefix('/')?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    ((22..=128).contains(&token.len()) && token.bytes().all(letters)).then_some(token)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Instant;

    use super::*;

    const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
    const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn responder() -> Responder {
        Responder::start(LOCALHOST, "THUMB", &"run-1".parse().expect("a run's id")).expect("a responder")
    }

    fn say(responder: &Responder, request: &str) -> String {
        let mut stream = TcpStream::connect(responder.local_addr()).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer that ends");
        answer
    }

    fn get(responder: &Responder, target: &str) -> String {
        say(responder, &format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
    }

    fn challenge() -> String {
        format!("{CHALLENGE_PATH}/{TOKEN}")
    }

    #[test]
    fn a_challenge_is_answered_and_the_run_named() {
        let answer = get(&responder(), &challenge());
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body, format!("{TOKEN}.THUMB"));
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for field in [
            "Content-Type: text/plain",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "kube-lego-once-run: run-1",
            "Connection: close",
            "Content-Length: 49",
        ] {
            assert!(head.lines().any(|line| line == field), "no {field:?} in {head}");
        }
    }

    #[test]
    fn only_well_formed_tokens_under_the_path_are_tokens() {
        let longest = "a".repeat(128);
        let path = challenge();
        for (target, expected) in [
            (path.clone(), Some(TOKEN)),
            (format!("{path}?x=1"), Some(TOKEN)),
            (format!("http://a.example{path}"), Some(TOKEN)),
            (format!("HTTP://a.example:80{path}"), Some(TOKEN)),
            (format!("{CHALLENGE_PATH}/{longest}"), Some(longest.as_str())),
            (format!("{CHALLENGE_PATH}/{longest}a"), None),
            (format!("{CHALLENGE_PATH}/{}", "a".repeat(22)), Some(&longest[..22])),
            (format!("{CHALLENGE_PATH}/{}", "a".repeat(21)), None),
            (format!("{path}/"), None),
            (format!("{path}%2e"), None),
            (format!("{path}="), None),
            (format!("/x{path}"), None),
            (format!("{CHALLENGE_PATH}{TOKEN}"), None),
            (format!("ftp://a.example{path}"), None),
            ("http://a.example".to_owned(), None),
            ("/".to_owned(), None),
            ("*".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(token(&target), expected, "{target:?}");
        }
    }

    #[test]
    fn anything_else_is_not_found_but_names_the_run() {
        let answer = get(&responder(), "/");
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
        assert!(answer.contains("kube-lego-once-run: run-1"), "{answer}");
    }

    #[test]
    fn head_has_no_body_and_other_methods_are_refused() {
        let responder = responder();
        let answer = say(&responder, &format!("HEAD {} HTTP/1.1\r\n\r\n", challenge()));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        let answer = say(
            &responder,
            &format!(
                "POST {} HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
                challenge()
            ),
        );
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("Allow: GET, HEAD"), "{answer}");
    }

    #[test]
    fn what_tiny_http_cannot_bear_never_reaches_it() {
        let responder = responder();
        for request in [
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            "GET / HTTP/3.0\r\n\r\n".to_owned(),
            "GET /\r\n\r\n".to_owned(),
            "GET  / HTTP/1.1\r\n\r\n".to_owned(),
            "GET /\u{fc} HTTP/1.1\r\n\r\n".to_owned(),
            "\r\n\r\n".to_owned(),
        ] {
            let answer = say(&responder, &request);
            assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
        }
        let answer = say(&responder, &format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(17 * 1024)));
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(get(&responder, &challenge()).ends_with(".THUMB"));
    }

    #[test]
    fn a_head_may_come_in_pieces() {
        let request = format!("GET {} HTTP/1.1\r\nHost: a.example\r\n\r\n", challenge());
        for end in 0..request.len() {
            assert_eq!(
                parse_head(&request.as_bytes()[..end], end.saturating_sub(1)),
                None,
                "{end}"
            );
        }
        let line = format!("GET {} HTTP/1.1", challenge());
        for seen in 0..request.len() {
            assert_eq!(parse_head(request.as_bytes(), seen), Some(Head::Request(line.clone())));
        }
    }

    #[test]
    fn idle_and_dripping_clients_keep_nobody_waiting() {
        let responder = responder();
        let mut crowd = Vec::new();
        for index in 0..CONNECTIONS_MAX * 3 {
            let mut stream = TcpStream::connect(responder.local_addr()).expect("a connection");
            if index % 2 == 0 {
                stream.write_all(b"GET /").expect("a first drop");
            }
            crowd.push(stream);
        }
        let start = Instant::now();
        for _ in 0..20 {
            assert!(get(&responder, &challenge()).ends_with(".THUMB"));
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn many_ask_at_once_and_all_are_answered() {
        let responder = responder();
        std::thread::scope(|scope| {
            for _ in 0..400 {
                scope.spawn(|| assert!(get(&responder, &challenge()).ends_with(".THUMB")));
            }
        });
    }

    #[test]
    fn a_dead_inner_server_is_replaced() {
        let engine = Engine::new(Answers::new("THUMB", &"run-1".parse().expect("a run's id"))).expect("an engine");
        let closed = std::net::TcpListener::bind(LOCALHOST).and_then(|listener| listener.local_addr());
        engine.inner.lock().expect("a lock").address = closed.expect("an address");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let answer = runtime
            .expect("a runtime")
            .block_on(engine.ask(&format!("GET {} HTTP/1.1", challenge())));
        assert!(answer.expect("an answer").ends_with(b".THUMB"));
    }

    #[test]
    fn once_dropped_connections_are_refused_and_the_port_is_free() {
        let responder = responder();
        let address = responder.local_addr();
        assert_eq!(responder.port(), address.port());
        let _idle = TcpStream::connect(address).expect("a connection");
        drop(responder);
        let error = TcpStream::connect(address).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        drop(Responder::start(address, "THUMB", &"run-2".parse().expect("a run's id")).expect("the port is free"));
    }

    /// A run starts it inside its own runtime, where no other one may be dropped.
    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = responder();
        let error = Responder::start(first.local_addr(), "THUMB", &"run-2".parse().expect("a run's id"))
            .expect_err("the port is taken");
        let expected = format!("cannot listen on `{}` for challenges: ", first.local_addr());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}
