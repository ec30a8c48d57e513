//! Pure: values in, values out. No client, clock, randomness, environment, file, socket or printing in here.

pub mod desired;
pub mod directory;
pub mod inspection;
pub mod ledger;
pub mod name;
pub mod observed;
pub mod plan;
pub mod report;
pub mod route;
