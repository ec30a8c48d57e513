//! Bars on stderr while a batch is at work, where a person looks on; in a log there are the plain lines instead.

use std::io::{self, Write};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The one place from which bars are drawn: log lines have to go around them. It draws nothing where stderr is no terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// How far a batch is. The bars go when this goes.
pub struct Progress {
    probes: ProgressBar,
    orders: ProgressBar,
}

impl Progress {
    /// Bars for so many certificates.
    pub fn of(certificates: usize) -> Self {
        let bar = |what: &'static str| {
            let bar = BARS.add(ProgressBar::new(certificates as u64));
            let template = ProgressStyle::with_template("{prefix:8} {bar:30} {pos}/{len}");
            bar.set_style(
                template
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("▰▰▱"),
            );
            bar.set_prefix(what);
            // Drawn from the start: the first answer may take a minute.
            bar.tick();
            bar
        };
        Self {
            probes: bar("probed"),
            orders: bar("done"),
        }
    }

    /// The routes of one more certificate have answered, or failed to.
    pub fn probed(&self) {
        self.probes.inc(1);
    }

    /// One more certificate has its outcome.
    pub fn ended(&self) {
        self.orders.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.probes.finish_and_clear();
        self.orders.finish_and_clear();
    }
}

/// Stderr for log lines: the bars make way for each.
pub struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
