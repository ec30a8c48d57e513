//! The challenge objects: created for one run, found again by their label, and deleted.

mod create;
mod kinds;
mod present;
#[cfg(test)]
mod tests;
mod withdraw;

pub use self::create::PresentError;
pub use self::present::Presented;
