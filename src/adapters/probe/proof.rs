//! When a route counts as proved: good answers in a row.

use std::fmt;
use std::net::SocketAddr;

use tokio::time::Instant;

use crate::decide::route::Proof;

/// The way by which an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An address in DNS.
    Public,
    /// An address in an Ingress's status.
    Ingress,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "the address in DNS",
            Self::Ingress => "the address in the Ingress's status",
        })
    }
}

/// How a route was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The way of the last answer.
    pub way: Way,
    /// The address that gave the last answer.
    pub address: SocketAddr,
    /// How many good answers there were in a row.
    pub answers: u32,
}

impl fmt::Display for Proved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} good answers in a row, the last from {} `{}`",
            self.answers, self.way, self.address
        )
    }
}

/// One good answer.
pub(super) struct Answered {
    pub(super) way: Way,
    pub(super) address: SocketAddr,
}

/// Good answers in a row.
#[derive(Default)]
pub(super) struct Row {
    pub(super) answers: u32,
    since: Option<Instant>,
    /// A row stays on one way. Otherwise each question would first wait for the public address.
    pub(super) way: Option<Way>,
}

impl Row {
    pub(super) fn add(&mut self, answered: &Answered, now: Instant, proof: Proof) -> Option<Proved> {
        self.answers += 1;
        self.way = Some(answered.way);
        let since = *self.since.get_or_insert(now);
        let proved = self.answers >= proof.answers && now.duration_since(since) >= proof.over;
        proved.then_some(Proved {
            way: answered.way,
            address: answered.address,
            answers: self.answers,
        })
    }
}
