//! Pure: values in, values out. No client, clock, randomness, environment, file, socket or printing in here.

pub mod backoff;
pub mod ca_limits;
pub mod caa;
mod ceiling;
pub mod checks;
pub mod cronjob;
pub mod desired;
pub(crate) mod digest;
pub mod directory;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod inspection;
pub mod key_type;
pub mod kube_lego;
pub mod ledger;
pub mod name;
pub mod observed;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod route;
pub mod selection;
pub mod solver_pod;
pub mod turns;
pub mod validity;
