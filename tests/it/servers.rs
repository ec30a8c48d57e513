//! A Secret is judged as servers judge it: by what Go's `tls.X509KeyPair` and OpenSSL say of the same bytes.
//!
//! The table has the accidents of real life, each with who takes it. The mutations are numbered: `SERVERS_FIRST` and
//! `SERVERS_MUTATIONS` say which of them are tried, and what fails is printed with its number and written to `target/tmp/`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use jiff::Timestamp;
use kube_lego_once::decide::inspection::{Inspection, KeyMatch, Library, inspect};

use crate::fuzz::mutate::{self, Rng};
use crate::fuzz::{Corpus, Input, edited_secret};
use crate::scene::tool;

mod accidents;
mod judged;
mod mutations;

use accidents::{Accident, Takers, Takers::*, table};
use judged::{Judged, judged};
use mutations::mutation;

/// As many as the issue asks for, in about 20 seconds on two cores.
const MUTATIONS: u64 = 100_000;

#[test]
fn every_accident_of_the_table_is_judged_as_servers_judge_it() {
    let table = table();
    let wrong: Vec<_> = table
        .iter()
        .map(|accident| (accident, Takers::ours(&inspect(&accident.pair[0], &accident.pair[1]))))
        .filter(|(accident, ours)| accident.takers != *ours)
        .map(|(accident, ours)| {
            format!(
                "{}: taken by {:?}, judged as by {ours:?}",
                accident.name, accident.takers
            )
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        table.len(),
        wrong.join("\n")
    );
}

// The mutations.

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
#[ignore = "needs the test cluster"]
fn no_secret_is_judged_otherwise_than_by_every_server() {
    let table = table();
    let mut wrong = falsehoods(&table);
    let first = number("SERVERS_FIRST", 0);
    let numbers: Vec<u64> = (first..first + number("SERVERS_MUTATIONS", MUTATIONS)).collect();
    let corpus = Corpus::read();
    let (one, two) = numbers.split_at(numbers.len() / 2);
    let judged = thread::scope(|scope| {
        let one = scope.spawn(|| mutations_judged(&corpus, one));
        let two = mutations_judged(&corpus, two);
        [one.join().expect("one half"), two].concat()
    });
    let count = |what: &dyn Fn(&Judged) -> bool| judged.iter().filter(|(.., judged)| what(judged)).count();
    let mut otherwise = 0;
    for (number, judged) in &judged {
        if let Some(failure) = judged.failure() {
            otherwise += 1;
            let _ = writeln!(wrong, "mutation {number}: {failure}");
            keep(*number, &mutation(&corpus, *number));
        }
    }
    println!(
        "{} pairs and {} mutations, {otherwise} judged otherwise than by every server",
        table.len(),
        judged.len()
    );
    println!(
        "both take {}, Go alone {}, OpenSSL alone {}; of the rest {} are kept since their key cannot be checked; {} have a wrong note",
        count(&|judged| judged.theirs == Both),
        count(&|judged| judged.theirs == Go),
        count(&|judged| judged.theirs == OpenSsl),
        count(&|judged| judged.theirs == Neither && judged.unchecked && judged.ours != Neither),
        count(&|judged| judged.theirs != judged.ours),
    );
    assert!(wrong.is_empty(), "{wrong}");
}

/// Where the table is not what the libraries say.
fn falsehoods(table: &[Accident]) -> String {
    let pairs: Vec<Input> = table.iter().map(|accident| accident.pair.clone()).collect();
    let mut wrong = String::new();
    for (
        Accident { name, takers, .. },
        Judged {
            theirs, why, otherwise, ..
        },
    ) in table.iter().zip(judged(&pairs))
    {
        if *takers != theirs {
            let _ = writeln!(wrong, "{name}: {takers:?} in the table, {theirs:?} in truth: {why}");
        }
        if let Some(otherwise) = otherwise {
            let _ = writeln!(wrong, "{name}: {otherwise}");
        }
    }
    wrong
}

/// So many pairs are in memory at a time.
const CHUNK: usize = 5_000;

fn mutations_judged(corpus: &Corpus, numbers: &[u64]) -> Vec<(u64, Judged)> {
    let mut all = Vec::new();
    for numbers in numbers.chunks(CHUNK) {
        let pairs: Vec<Input> = numbers.iter().map(|number| mutation(corpus, *number)).collect();
        all.extend(numbers.iter().copied().zip(judged(&pairs)));
    }
    all
}

fn keep(number: u64, pair: &Input) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (file, kind) in pair.iter().zip(["crt", "key"]) {
        fs::write(folder.join(format!("servers-{number}.{kind}")), file).expect("a file in `target/tmp/`");
    }
}
