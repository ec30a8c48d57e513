//! Input that somebody else wrote: no panic, no overflow of the stack, no second of thinking, no memory without end.
//!
//! `corpus/` holds the seeds: all of them are replayed, then a few thousand edits of them, or as many as `FUZZ_EXECUTIONS` says.
//! The number of an execution is its input: `FUZZ_FIRST` starts at another one. What fails is written to `target/tmp/`, and
//! belongs into the corpus once it is understood.

mod corpus;
mod edits;
mod executions;
pub mod mutate;
mod runner;
mod target;

use std::time::Instant;

pub use corpus::Corpus;
pub use edits::edited_secret;
pub use target::Input;

use edits::{edited_objects, edited_text};
use mutate::Rng;
use runner::{Seen, on_threads};
use target::Target;

/// Enough for each target to be reached in `cargo test`; a long run says its own number.
const EXECUTIONS: u64 = 2_000;
const TARGETS: &[Target] = &[
    Target {
        name: "secret",
        share: 35,
        seeds: |corpus| corpus.secrets.clone(),
        edited: edited_secret,
        execute: executions::secret,
    },
    Target {
        name: "manifests",
        share: 25,
        seeds: |corpus| corpus.manifests.iter().map(|text| vec![text.clone()]).collect(),
        edited: |corpus, rng| edited_text(rng, &corpus.manifests),
        execute: executions::manifests,
    },
    Target {
        name: "objects",
        share: 20,
        seeds: |corpus| {
            corpus
                .objects
                .iter()
                .map(|object| vec![object.to_string().into_bytes()])
                .collect()
        },
        edited: edited_objects,
        execute: executions::objects,
    },
    Target {
        name: "ledger",
        share: 8,
        seeds: |corpus| corpus.entries.iter().map(|text| vec![text.clone()]).collect(),
        edited: |corpus, rng| edited_text(rng, &corpus.entries),
        execute: executions::ledger,
    },
    Target {
        name: "line",
        share: 12,
        seeds: |corpus| corpus.lines.iter().map(|text| vec![text.clone()]).collect(),
        edited: |corpus, rng| edited_text(rng, &corpus.lines),
        execute: executions::line,
    },
];
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("`{name}` is no number"))
    })
}

#[test]
fn the_corpus_is_survived() {
    let started = Instant::now();
    let corpus = Corpus::read();
    let seen = on_threads(1, |_| {
        let mut seen = Seen::default();
        for target in TARGETS {
            for (number, input) in (target.seeds)(&corpus).iter().enumerate() {
                seen.execute(target, input, &format!("seed-{number}"));
            }
        }
        seen
    });
    seen.finish(started);
}

#[test]
fn edits_of_the_corpus_are_survived() {
    let started = Instant::now();
    let corpus = Corpus::read();
    let (first, count) = (setting("FUZZ_FIRST", 0), setting("FUZZ_EXECUTIONS", EXECUTIONS));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let seen = on_threads(threads, |thread| {
        let mut seen = Seen::default();
        for number in (first..first + count).filter(|number| number % threads == thread) {
            let mut rng = Rng::new(number);
            let mut share = rng.below(TARGETS.iter().map(|target| target.share).sum());
            let chosen = TARGETS.iter().find(|target| {
                let chosen = share < target.share;
                share = share.saturating_sub(target.share);
                chosen
            });
            let target = chosen.expect("shares add up");
            seen.execute(target, &(target.edited)(&corpus, &mut rng), &number.to_string());
            if number % 1_000_000 == 999_999 {
                println!("{number}: {:.0?}", started.elapsed());
            }
        }
        seen
    });
    seen.finish(started);
}
