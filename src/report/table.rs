//! The report for people: a table as kubectl prints one, sentences below it, and a summary.

use std::io::Write;

use jiff::Timestamp;

use super::text::{Color, Style, plain, shortened};
use super::{CertificateRow, OutcomeRow, Report, Summary};
use crate::decide::outcome::Failure;
use crate::decide::plan::{Decision, Verdict};
use crate::decide::validity::short;

/// Between two columns, as kubectl has it.
const GAP: &str = "   ";
/// Of a bar.
const BAR_CELLS: usize = 5;
/// The columns that are shortened where a terminal is too narrow: NAMESPACE, SECRET and HOSTS.
const FLEXIBLE: std::ops::Range<usize> = 0..3;
/// To no less than this.
const LEAST_COLUMNS: usize = 10;

impl Report {
    /// The table, the sentences below it, and a summary.
    ///
    /// # Errors
    /// Where `out` takes no more; so it is of all that is written here.
    pub fn write_text(&self, out: &mut dyn Write, style: &Style) -> std::io::Result<()> {
        const HEADER: [&str; 7] = ["NAMESPACE", "SECRET", "HOSTS", "EXPIRES", "DUE", "ACTION", "REASON"];
        let cells = |row: &CertificateRow| row.cells(self.at, style).to_vec();
        self.write_table(out, style, &HEADER, style.width, cells)
    }

    /// What `clean` did: what is gone, how much of it, and whether that is `all`.
    pub fn write_clean_text(&self, out: &mut dyn Write, style: &Style, all: bool) -> std::io::Result<()> {
        self.write_sentences(out, style)?;
        match self.plan.sweep.len() {
            0 if all => writeln!(out, "nothing of an earlier run is left"),
            1 => writeln!(out, "1 object removed"),
            count => writeln!(out, "{count} objects removed"),
        }
    }

    /// The table with all hosts, Ingresses and issuers, as wide as it needs to be.
    pub fn write_wide_text(&self, out: &mut dyn Write, style: &Style) -> std::io::Result<()> {
        const HEADER: [&str; 10] = [
            "NAMESPACE",
            "SECRET",
            "HOSTS",
            "EXPIRES",
            "DUE",
            "ACTION",
            "REASON",
            "NOT AFTER",
            "INGRESSES",
            "ISSUER",
        ];
        self.write_table(out, style, &HEADER, None, |row| row.wide_cells(self.at, style))
    }

    fn write_table(
        &self,
        out: &mut dyn Write,
        style: &Style,
        header: &[&str],
        width: Option<usize>,
        cells: impl Fn(&CertificateRow) -> Vec<Cell>,
    ) -> std::io::Result<()> {
        let header: Vec<Cell> = header.iter().map(|word| Cell::from(*word)).collect();
        // The rows are made twice, to learn how wide they are and to write them: less than keeping them costs.
        let rows = || std::iter::once(header.clone()).chain(self.certificates().map(|row| cells(&row)));
        if self.summary.certificates() > 0 {
            let widths = widths(rows(), width);
            for row in rows() {
                write_row(out, &row, &widths, style)?;
            }
            writeln!(out)?;
        }
        self.write_sentences(out, style)?;
        out.write_all(self.summary_line().as_bytes())
    }

    /// What matters most comes last: after ten thousand lines that is what a terminal still shows.
    fn write_sentences(&self, out: &mut dyn Write, style: &Style) -> std::io::Result<()> {
        let decisions = self.plan.decisions();
        for (_, decision) in &decisions {
            for note in &decision.notes {
                let note = format!("note {}: {note}", decision.certificate.secret);
                out.write_all(style.wrapped("", &plain(&note), 2).as_bytes())?;
            }
        }
        for row in self.leftovers() {
            let verb = if self.outcomes.is_some() { "removed" } else { "leftover" };
            writeln!(
                out,
                "{verb} {} {}/{} of run {}",
                row.kind, row.namespace, row.name, row.run
            )?;
        }
        for row in self.rejected() {
            let place = row.place();
            let rest = format!("{place} {}: {}", row.reason, row.message);
            write_sentence(out, style, "rejected", &rest)?;
        }
        for decision in &self.plan.refuse {
            write_sentence(out, style, "refused", &self.reasoned(decision))?;
        }
        for (_, decision) in decisions.iter().filter(|(_, decision)| decision.waits()) {
            write_sentence(out, style, "waiting", &self.reasoned(decision))?;
        }
        for decision in &self.plan.issue {
            let row = self.row(Verdict::Issue, decision);
            let Some(OutcomeRow {
                result,
                message,
                hint,
                failure,
            }) = &row.outcome
            else {
                continue;
            };
            if *result == "issued" && message.is_none() {
                continue;
            }
            match failure {
                Some(Failure { message, causes, .. }) if causes.len() > 1 => {
                    write_sentence(out, style, result, &format!("{}: {message}:", row.place()))?;
                    for cause in causes {
                        out.write_all(style.wrapped("  ", &plain(cause), 4).as_bytes())?;
                    }
                }
                _ => {
                    let message = message.as_deref().unwrap_or("the run ended before its turn");
                    write_sentence(out, style, result, &format!("{}: {message}", row.place()))?;
                }
            }
            if let Some(hint) = hint {
                out.write_all(style.wrapped("  hint: ", &plain(hint), 8).as_bytes())?;
            }
        }
        Ok(())
    }

    fn summary_line(&self) -> String {
        let Summary {
            due,
            issued,
            failed,
            kept,
            waiting,
            refused,
            rejected,
            ..
        } = self.summary;
        let mut parts = if self.outcomes.is_some() {
            vec![format!("{issued} issued"), format!("{failed} failed")]
        } else {
            vec![format!("{due} due")]
        };
        parts.push(format!("{kept} valid"));
        if waiting > 0 {
            parts.push(format!("{waiting} waiting"));
        }
        parts.push(format!("{refused} refused"));
        if rejected > 0 {
            parts.push(format!("{rejected} rejected"));
        }
        let count = self.summary.certificates();
        let noun = if count == 1 { "certificate" } else { "certificates" };
        format!("{count} {noun}: {}\n", parts.join(", "))
    }

    /// The certificate, and why it is not obtained.
    fn reasoned(&self, decision: &Decision) -> String {
        let secret = &decision.certificate.secret;
        let message = decision.message(self.plan.at);
        format!("{secret} {}: {message}", decision.reason.word())
    }
}

/// Adds a sentence that begins with what has gone wrong.
fn write_sentence(out: &mut dyn Write, style: &Style, word: &str, rest: &str) -> std::io::Result<()> {
    let lines = style.wrapped(&format!("{word} "), &plain(rest), 2);
    let (word, rest) = lines.split_at(word.len());
    write!(out, "{}{rest}", style.paint(Color::Red, word))
}

impl CertificateRow<'_> {
    fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.secret)
    }

    fn cells(&self, now: Timestamp, style: &Style) -> [Cell; 7] {
        let hosts = match self.hosts.as_slice() {
            [] => "-".into(),
            [only] => (*only).to_owned(),
            [first, rest @ ..] => format!("{first} +{}", rest.len()),
        };
        let done = self.result().unwrap_or(self.action);
        let color = match done {
            "keep" if self.waits => Color::Yellow,
            "issued" | "keep" => Color::Green,
            "failed" | "refuse" => Color::Red,
            _ => Color::Yellow,
        };
        [
            Cell::from(self.namespace),
            Cell::from(self.secret),
            Cell::from(&*hosts),
            Cell::from(&*self.expires(now, style)),
            Cell::from(&*self.due(now)),
            Cell {
                color: Some(color),
                ..Cell::from(done)
            },
            Cell::from(self.reason),
        ]
    }

    fn wide_cells(&self, now: Timestamp, style: &Style) -> Vec<Cell> {
        let mut cells = self.cells(now, style).to_vec();
        cells[2] = Cell::from(&*self.hosts.join(","));
        let not_after = self.not_after.map(|time| time.to_string());
        cells.push(Cell::from(not_after.as_deref().unwrap_or("-")));
        cells.push(Cell::from(&*self.ingresses.join(",")));
        cells.push(Cell::from(self.issuer.unwrap_or("-")));
        cells
    }

    /// The time that is left, and on a terminal a bar for the share of the lifetime.
    fn expires(&self, now: Timestamp, style: &Style) -> String {
        let text = match self.not_after.map(|time| time.duration_since(now)) {
            None => "-".into(),
            Some(left) if left.is_negative() => format!("{} ago", short(-left)),
            Some(left) => short(left),
        };
        match self.left {
            _ if !style.bar => text,
            Some(left) => format!("{} {text}", bar(left)),
            None => format!("{:BAR_CELLS$} {text}", ""),
        }
    }

    fn due(&self, now: Timestamp) -> String {
        match self.renew_at {
            _ if self.action == "issue" && self.outcome.is_none() => "now".into(),
            Some(time) if time <= now => "now".into(),
            Some(time) => short(time.duration_since(now)),
            None => "-".into(),
        }
    }
}

/// A share from 0 to 1; whatever is left shows.
fn bar(share: f64) -> String {
    let full = (1..=BAR_CELLS)
        .filter(|cell| (*cell as f64 - 1.0) < share * BAR_CELLS as f64)
        .count();
    "▰".repeat(full) + &"▱".repeat(BAR_CELLS - full)
}

#[derive(Clone, Debug)]
struct Cell {
    text: String,
    color: Option<Color>,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        // An empty cell would hide in which column the next one is.
        let text = if text.is_empty() { "-".into() } else { plain(text) };
        Self { text, color: None }
    }
}

/// Aligns cells as kubectl does: three spaces between columns, none after the last.
fn write_row(out: &mut dyn Write, row: &[Cell], widths: &[usize], style: &Style) -> std::io::Result<()> {
    let mut line = String::new();
    for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
        let shown = shortened(&cell.text, *width);
        let blanks = width - shown.chars().count();
        match cell.color {
            Some(color) => line.push_str(&style.paint(color, &shown)),
            None => line.push_str(&shown),
        }
        if at + 1 < row.len() {
            line.push_str(&" ".repeat(blanks));
            line.push_str(GAP);
        }
    }
    writeln!(out, "{}", line.trim_end())
}

/// What each column needs. On a terminal that is too narrow the widest of the flexible ones give way.
fn widths(rows: impl Iterator<Item = Vec<Cell>>, available: Option<usize>) -> Vec<usize> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(row.len(), 0);
        for (width, cell) in widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let Some(available) = available else { return widths };
    let gaps = GAP.len() * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > available {
        let widest = widths[FLEXIBLE].iter_mut().max();
        match widest {
            Some(width) if *width > LEAST_COLUMNS => *width -= 1,
            _ => break,
        }
    }
    widths
}

#[cfg(test)]
mod tests;
