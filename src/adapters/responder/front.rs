//! The front: it owns the public socket and bounds connections, bytes and time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::engine::Engine;
use super::head::{Head, read_head};

/// Connections held at once. The next one waits until one of them has ended or is closed.
pub(super) const CONNECTIONS_MAX: usize = 128;
/// A client sends its request at once. If room is needed, a connection without a request after this time is closed.
const SILENCE_MAX: Duration = Duration::from_millis(500);
/// The pause between two checks for room.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
/// The time from accept to the last byte of the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// After the answer: the time that the client has to close, and the bytes of an unwanted body that are read meanwhile.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: u64 = 64 * 1024;
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// Accepts until told to stop. After a failed accept (for instance, no file descriptors left) it waits and tries again.
pub(super) async fn accept(listener: std::net::TcpListener, engine: Engine, mut stopped: oneshot::Receiver<()>) {
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
                // A thousand more may be in the queue. Without this, none would be served before all are accepted.
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
    /// Whether it may be closed: it has its answer, or it sent no request in time.
    fn is_idle(&self) -> bool {
        match self.stage.load(Ordering::Relaxed) {
            SILENT => self.since.elapsed() >= SILENCE_MAX,
            stage => stage == ANSWERED,
        }
    }
}

/// Waits until fewer than [`CONNECTIONS_MAX`] are left. Idle connections are closed; open requests are answered first.
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
            // Each connection ends after [`CONNECTION_TIMEOUT`] at the latest.
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
        // If unread bytes are left, closing resets the connection, and the client may lose the answer.
        Ok(Ok(())) => {
            let mut rest = stream.take(LINGER_BYTES_MAX);
            let _ = timeout(LINGER_TIMEOUT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
        }
        Ok(Err(error)) => log::debug!("`{peer}` closed the connection: {error}"),
        Err(_) => log::debug!("`{peer}` took too long"),
    }
}
