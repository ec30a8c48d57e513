//! The Lease that keeps two runs apart, <https://kubernetes.io/docs/concepts/architecture/leases/>.
//!
//! Clocks of different machines are never compared. A waiting run measures by its own clock how long the Lease did not
//! change. Once that is as long as the Lease's duration, the holder counts as dead.

mod acquire;
mod error;
mod held;
mod object;
#[cfg(test)]
mod tests;

pub use self::acquire::LeaseWait;
pub use self::error::LeaseError;
pub use self::held::Held;
