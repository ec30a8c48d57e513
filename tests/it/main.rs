//! The program as its users run it: its command line, its rooms, and the main job on a real cluster.
//!
//! What is `#[ignore = "needs the test cluster"]` runs in `make test`, under `tests/cluster/cluster run`; what needs Pods
//! runs there for root, and says so otherwise.

mod allocations;
mod arm64;
mod bad_input;
mod caa;
mod chains;
mod cli;
mod controllers;
mod cronjob;
mod documents;
mod end_to_end;
mod faults;
mod five;
mod fuzz;
mod gateways;
mod hostile_ca;
mod ipv6;
mod key_types;
mod kills;
mod laptop;
mod listeners;
mod lost_account;
mod manifests;
mod memory;
mod metrics;
mod migration;
mod offline;
mod operating;
mod page;
mod permissions;
mod picture;
mod pods;
mod properties;
mod proxy;
mod pushgateway;
mod quick_start;
mod quota;
mod refusals;
mod repeated;
mod report;
mod scene;
mod served;
mod servers;
mod shipped;
mod suggestions;
mod tidy;
mod upgrade;
mod written;
