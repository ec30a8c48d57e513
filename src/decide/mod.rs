//! Pure: values in, values out. No client, clock, randomness, environment, file, socket or printing in here.

pub mod checks;
mod der;
pub mod desired;
pub mod directory;
pub mod events;
pub mod explanation;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod inspection;
pub mod installation;
pub mod kube_lego;
pub mod ledger;
pub mod name;
pub mod observed;
mod pem;
pub mod plan;
pub mod policy;
mod private_key;
pub mod report;
pub mod route;
pub mod selection;
pub mod solver;
mod strictness;
mod table;
pub mod text;
pub mod validity;
