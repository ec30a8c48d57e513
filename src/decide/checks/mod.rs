//! The checks: why a certificate is due, why it has to wait, and why it is refused. A new reason is one function and one row.

mod check;
mod due;
mod reason;
mod refusals;
mod waits;

pub use check::Answer;
pub use reason::Reason;
pub use refusals::{MOST_HOSTS, claims_to_remove};

pub(super) use check::{Asked, Check, Subject, classes};
pub(super) use due::DUE;
pub(super) use refusals::REFUSALS;
pub(super) use waits::WAITS;
