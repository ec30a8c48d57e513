//! Runs inputs on threads, and keeps what was seen.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use super::target::{Input, Target};

/// The longest that an execution may take, and be it a debug build on a busy machine.
const LONGEST: Duration = Duration::from_secs(1);
/// What a worker thread of the program's runtime has.
const STACK: usize = 2 << 20;
/// The most that the process may ever have had, in KiB: seeds and threads take a small part of it.
const MOST_MEMORY: u64 = 512 << 10;
/// Executions of a target, and the time that they took together.
#[derive(Clone, Copy, Default)]
struct Tally {
    count: u64,
    taken: u64,
    time: Duration,
}

/// What this thread has had of the processor so far.
fn time_on_cpu() -> Duration {
    let read = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says it");
    let nanoseconds = read.split(' ').next().expect("the first figure");
    Duration::from_nanos(nanoseconds.parse().expect("a number"))
}

/// What a thread saw.
#[derive(Default)]
pub(super) struct Seen {
    executions: BTreeMap<&'static str, Tally>,
    slowest: Duration,
    failures: Vec<String>,
}

impl Seen {
    pub(super) fn execute(&mut self, target: &Target, input: &Input, which: &str) {
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (target.execute)(input)));
        let mut took = start.elapsed();
        if result.is_ok() && took > LONGEST {
            // The machine may have been busy with something else: what counts is the thread's own time.
            let before = time_on_cpu();
            (target.execute)(input);
            took = took.min(time_on_cpu() - before);
        }
        let tally = self.executions.entry(target.name).or_default();
        tally.count += 1;
        tally.taken += u64::from(matches!(result, Ok(true)));
        tally.time += took;
        self.slowest = self.slowest.max(took);
        let problem = match result {
            Err(panic) => words(panic.as_ref()),
            Ok(_) if took > LONGEST => format!("took {took:?}"),
            Ok(_) => return,
        };
        for (part, bytes) in input.iter().enumerate() {
            let name = format!("fuzz-{}-{which}-{part}", target.name);
            fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), bytes).expect("a file");
        }
        self.failures.push(format!("{} {which}: {problem}", target.name));
    }

    fn add(&mut self, other: Self) {
        for (name, tally) in other.executions {
            let sum = self.executions.entry(name).or_default();
            sum.count += tally.count;
            sum.taken += tally.taken;
            sum.time += tally.time;
        }
        self.slowest = self.slowest.max(other.slowest);
        self.failures.extend(other.failures);
    }

    pub(super) fn finish(self, started: Instant) {
        let count: u64 = self.executions.values().map(|tally| tally.count).sum();
        println!(
            "{count} executions in {:.0?}, the slowest {:.0?}",
            started.elapsed(),
            self.slowest
        );
        for (name, tally) in &self.executions {
            let each = tally.time / u32::try_from(tally.count).unwrap_or(u32::MAX);
            println!(
                "  {name}: {}, {}% of them taken, {each:.0?} each",
                tally.count,
                tally.taken * 100 / tally.count
            );
        }
        assert!(
            self.failures.is_empty(),
            "inputs in `target/tmp`:\n{}",
            self.failures.join("\n")
        );
        if let Some(memory) = peak_memory() {
            println!("  memory: {} MiB at most", memory >> 10);
            assert!(memory < MOST_MEMORY, "{memory} KiB of memory");
        }
    }
}

pub(super) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_default()
}

/// In KiB, where the kernel says so.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Runs on threads whose stacks are as small as any that the program has.
pub(super) fn on_threads(count: u64, work: impl Fn(u64) -> Seen + Sync) -> Seen {
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        let work = &work;
        let spawn = |thread| {
            let builder = std::thread::Builder::new().stack_size(STACK);
            builder.spawn_scoped(scope, move || work(thread)).expect("a thread")
        };
        let threads: Vec<_> = (0..count).map(spawn).collect();
        for thread in threads {
            seen.add(thread.join().expect("panics are caught"));
        }
    });
    seen
}
