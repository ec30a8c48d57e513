//! The inner server: tiny_http on a loopback port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::answers::Answers;
use super::error::ResponderError;

/// Requests that tiny_http gets at once. It has about as many threads.
const REQUESTS_MAX: usize = 8;
/// An answer of ours is under 1 KiB.
const ANSWER_BYTES_MAX: u64 = 8 * 1024;
/// tiny_http on a loopback port. If it has ended, a new one is started.
///
/// Every process of this machine (in a Pod: our own containers) can connect to the port. It gives no answer that the
/// public port does not give.
pub(super) struct Engine {
    answers: Answers,
    inner: Mutex<Inner>,
    requests: Semaphore,
}

impl Engine {
    pub(super) fn new(answers: Answers) -> Result<Self, ResponderError> {
        Ok(Self {
            inner: Mutex::new(Inner::start(answers.clone())?),
            answers,
            requests: Semaphore::new(REQUESTS_MAX),
        })
    }

    /// The answer to a well-formed request line, as the client gets it.
    pub(super) async fn ask(&self, line: &str) -> io::Result<Vec<u8>> {
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
        // tiny_http does not let us set it. Without it, a proxy would send its next request on a closed connection.
        answer.splice(end..end, *b"\r\nConnection: close");
        Ok(answer)
    }

    fn address(&self) -> SocketAddr {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).address
    }

    /// Replaces the server at `dead`, unless another request has done so. If the process has no file descriptor left for
    /// a moment, tiny_http's accept loop ends for good.
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
        // The error is not `Sync`, so only its text is kept.
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

impl Drop for Inner {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(answering) = self.answering.take() {
            let _ = answering.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::observed::CHALLENGE_PATH;

    const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";

    #[test]
    fn a_dead_inner_server_is_replaced() {
        let engine = Engine::new(Answers::new("THUMB", &"run-1".parse().expect("a run's id"))).expect("an engine");
        let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        engine.inner.lock().expect("a lock").address = closed.expect("an address");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let answer = runtime
            .expect("a runtime")
            .block_on(engine.ask(&format!("GET {CHALLENGE_PATH}/{TOKEN} HTTP/1.1")));
        assert!(answer.expect("an answer").ends_with(b".THUMB"));
    }
}
