//! The program as its users run it: its command line, its rooms, and the main job on a real cluster.
//!
//! What is `#[ignore = "needs the test cluster"]` runs in `make test`, under `tests/cluster/cluster run`.

mod bad_input;
mod cli;
mod end_to_end;
mod fuzz;
mod manifests;
mod offline;
mod permissions;
mod properties;
mod report;
mod scene;
mod shipped;
mod suggestions;
mod tidy;
