//! Pure: values in, values out. No client, clock, randomness, environment, file, socket or printing in here.

pub mod checks;
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
pub mod plan;
pub mod policy;
pub mod report;
pub mod route;
pub mod selection;
pub mod solver;
mod table;
pub mod text;
pub mod validity;
