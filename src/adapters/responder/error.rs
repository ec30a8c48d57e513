//! Why there is no responder.

use std::io;
use std::net::SocketAddr;

/// Why there is no responder.
#[derive(Debug, thiserror::Error)]
pub enum ResponderError {
    /// The address is in use, needs privileges, or is not an address of this machine.
    #[error("cannot listen on `{address}` for challenges: {cause}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The system gave no loopback socket, thread or event queue.
    #[error("cannot start the responder: {0}")]
    Start(String),
}

impl ResponderError {
    /// What the user can do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { .. } => {
                Some("give another address and port of this machine with `--listen`; port 0 takes a free port".into())
            }
            Self::Start(_) => None,
        }
    }
}
