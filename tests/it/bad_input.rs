//! What an operator meets in the first ten minutes. Each row is run as a user would run it, and must end in a sentence that
//! says what to do, with nothing ordered and nothing left.
//!
//! `tests/cluster/cluster run -- cargo test --test it bad_input -- --ignored --nocapture` prints the table.

mod api_server;
mod ca;
mod causes;
mod challenge;
mod cluster;
mod row;
mod secrecy;
