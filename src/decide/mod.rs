//! Pure: values in, values out. No client, clock, randomness, environment, file, socket or printing in here.

pub mod checks;
pub mod cronjob;
mod der;
pub mod desired;
mod digest;
pub mod directory;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod inspection;
pub mod kube_lego;
pub mod ledger;
pub mod name;
pub mod observed;
pub mod outcome;
mod pem;
pub mod plan;
pub mod policy;
mod private_key;
pub mod route;
pub mod selection;
pub mod solver_pod;
mod strictness;
pub mod validity;
