//! A kind of input that is tried.

use super::corpus::Corpus;
use super::mutate::Rng;

/// What is tried: where its inputs come from, and what is done with them.
pub(super) struct Target {
    pub(super) name: &'static str,
    /// Of a hundred executions.
    pub(super) share: usize,
    pub(super) seeds: fn(&Corpus) -> Vec<Input>,
    pub(super) edited: fn(&Corpus, &mut Rng) -> Input,
    /// Whether the input was taken for what it should be: the share of these says whether more than the first check is tried.
    pub(super) execute: fn(&Input) -> bool,
}

/// A certificate and a key have two parts, most others one.
pub type Input = Vec<Vec<u8>>;
