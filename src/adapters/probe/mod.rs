//! The only other HTTP client: it asks each route as the CA would, before the CA is asked for a certificate.
//!
//! A CA counts failed validations, and many things can break a route. So no order is made before every host has given this
//! run's answer to a random token, several times in a row. A probe does what CAs do: plain HTTP on port 80, IPv6 before
//! IPv4; it follows redirects and does not check certificates.
//!
//! There are two ways to a host:
//!
//! - *public*: to the addresses in DNS. With a public CA, only to addresses that such a CA can reach.
//! - *ingress*: to the addresses that a controller wrote into an Ingress's status. This is for networks in which a cluster
//!   cannot reach its own public address.

mod caa;
mod failure;
mod places;
mod prober;
mod proof;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod wire;

pub use self::failure::{ChallengeObject, ProbeFailure, Speaker};
pub use self::prober::{ProbeError, Probed, Prober};
pub use self::proof::{Proved, Way};
pub use self::settings::{ProbeMode, ProbeSettings};
