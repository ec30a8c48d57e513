//! The only HTTP server: it answers the HTTP-01 questions of the ACME server (RFC 8555 section 8.3).
//!
//! The answer is `TOKEN.THUMBPRINT`. The responder knows the thumbprint, so it keeps no list of tokens and answers every
//! well-formed one. RFC 8555 section 11.3 warns of such servers: they may outlive their client and then confirm the orders
//! of a stranger. This one ends with its run, and its answers hold for the orders of our own account only.
//!
//! `tiny_http` speaks HTTP. A *front* of our own stands before it:
//!
//! ```text
//! client -> front (public address, one thread) -> tiny_http (127.0.0.1, a free port) -> answer
//! ```
//!
//! Why two servers: tiny_http 0.12 accepts connections itself, starts a thread for each without a bound and has no
//! time-outs; its accept loop ends for good at the first failed `accept`, and a request line with `HTTP/2.0` blocks a
//! thread for ever. It takes a listener but never a single connection, so these bounds can only be set before it.
//! Without its server, only its response type would be left: one server fewer, but the HTTP server would be ours.
//! So the front bounds connections, bytes and time, and passes on only a complete, well-formed request line.

mod answers;
mod engine;
mod error;
mod front;
mod head;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use socket2::SockRef;
use tokio::sync::oneshot;

use self::answers::Answers;
use self::engine::Engine;
pub use self::error::ResponderError;
use self::front::accept;
use crate::decide::name::RunId;

/// Connections that the system holds until the front accepts them. A CA asks for all hosts at once, and from several
/// places: for a certificate of 100 hosts, 300 connections and more arrive together.
const BACKLOG: i32 = 1024;
/// An HTTP server that answers challenges until it is stopped or dropped.
#[derive(Debug)]
pub struct Responder {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    front: Option<JoinHandle<()>>,
}

impl Responder {
    /// Listens on `listen` (port 0: the system chooses) and answers with this account key's thumbprint (RFC 7638,
    /// base64url). Each answer names `run`. The responder has threads of its own and needs no async runtime.
    ///
    /// # Errors
    ///
    /// [`ResponderError::Listen`] if it cannot listen on the address, [`ResponderError::Start`] if the system has no
    /// resources left.
    pub fn start(listen: SocketAddr, thumbprint: &str, run: &RunId) -> Result<Self, ResponderError> {
        let failed = |cause| ResponderError::Listen { address: listen, cause };
        let listener = std::net::TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        // The standard library asks for a queue of 128. A second `listen` on the same socket makes it longer.
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
                // When the runtime ends, the listener and all connections are dropped.
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

    /// The address it listens on. If port 0 was asked for, this has the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`Self::local_addr`].
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Stops listening and waits until the socket is closed. From then on, connections are refused.
impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // This fails only if the front has ended already.
            let _ = stop.send(());
        }
        if let Some(front) = self.front.take()
            && front.join().is_err()
        {
            log::warn!("the responder's thread panicked");
        }
    }
}
