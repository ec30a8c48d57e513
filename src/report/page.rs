//! The report as one HTML page. It loads nothing, and what a cluster or a CA says is only ever text in it.
//!
//! askama makes code of `page.html` when the program is built. What speaks for it, and against `write!` by hand: the page can be
//! read as a page; every `{{ ... }}` goes through [`Harmless`], so escaping is what happens when nobody thinks of it; it is written
//! as it is made; and it needs nothing but this code at run time. A browser runs and shows only the script and the style whose
//! digests the page's policy names, so text that came through as an element would still do nothing.

mod calendar;
mod findings;

use std::borrow::Borrow;
use std::fmt;
use std::io::Write;

use askama::Template;
use askama::filters::Escaper;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::Offset;
use ring::digest::{SHA256, digest};

use super::text::harmless;
use super::{CertificateRow, Report};
use crate::decide::checks::Reason;
use crate::decide::name::SecretRef;
use crate::decide::plan::{Decision, Verdict};
use crate::decide::validity::short;

use calendar::Calendar;
use findings::{Section, sections};

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// So many findings of a kind are open; the others are folded, so that what comes next is not out of sight.
const MOST_OPEN: usize = 50;

impl Report {
    /// The page.
    ///
    /// # Errors
    /// Where `out` takes no more.
    pub fn write_html(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let decisions = self.plan.decisions();
        let page = Page {
            report: self,
            sections: sections(self, &decisions),
            calendar: Calendar::of(self, &decisions),
            decisions,
        };
        page.write_into(out)
    }
}

#[derive(Template)]
#[template(path = "page.html", config = "src/report/page/askama.toml")]
struct Page<'a> {
    report: &'a Report,
    decisions: Vec<(Verdict, &'a Decision)>,
    sections: Vec<Section<'a>>,
    calendar: Calendar<'a>,
}

/// A figure of the summary.
struct Figure {
    count: usize,
    word: &'static str,
    class: &'static str,
    /// The section that lists what is counted.
    leads_to: Option<&'static str>,
    /// What is counted, as a selector: the script counts again.
    counted: &'static str,
}

/// The certificates of a namespace.
struct Rows<'a, 'p> {
    namespace: &'a str,
    decisions: &'p [(Verdict, &'a Decision)],
}

/// A line of the table.
struct Line<'a> {
    row: CertificateRow<'a>,
    renewal: Option<Timestamp>,
    state: &'static str,
    now: Timestamp,
}

impl<'a> Page<'a> {
    /// What a browser may load, run and show: this script, this style, and nothing else.
    fn policy(&self) -> String {
        let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'",
            hash(STYLE),
            hash(SCRIPT)
        )
    }

    /// Whether it is of a run, and not of what a run would do.
    fn is_of_run(&self) -> bool {
        self.report.outcomes.is_some() || self.report.timing.is_some()
    }

    fn figures(&self) -> Vec<Figure> {
        let summary = &self.report.summary;
        let section = |id: &str| self.sections.iter().find(|section| section.words.id == id);
        let without_host = section("dropped").map_or(0, Section::count);
        let is_of_run = self.is_of_run();
        // Of these, what nobody need look at is not said.
        let figure = |count, word, id, counted, class, always| {
            let class = if count == 0 { "none" } else { class };
            let leads_to = section(id).map(|section| section.words.id);
            (always || count > 0).then_some(Figure {
                count,
                word,
                class,
                leads_to,
                counted,
            })
        };
        [
            figure(
                summary.failed,
                "failed",
                "failed",
                "td .failed, td .stopped",
                "bad",
                is_of_run,
            ),
            figure(
                without_host,
                "without a host",
                "dropped",
                "#dropped li[data-namespace]",
                "bad",
                false,
            ),
            figure(summary.waiting, "waiting", "waiting", "td .waiting", "warn", false),
            figure(summary.refused, "refused", "refused", "td .refused", "warn", true),
            figure(
                summary.rejected,
                "rejected",
                "rejected",
                "#rejected li[data-namespace]",
                "warn",
                false,
            ),
            figure(
                summary.due - summary.issued - summary.failed,
                "due",
                "due",
                "td .due",
                "",
                !is_of_run,
            ),
            figure(summary.issued, "issued", "", "td .issued", "", is_of_run),
            figure(summary.kept, "valid", "", "td .valid", "", true),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What a tab of the browser says.
    fn headline(&self) -> String {
        let figures = self.figures();
        let said = |class: fn(&str) -> bool| -> Vec<String> {
            let figures = figures.iter().filter(|figure| class(figure.class));
            figures
                .map(|figure| format!("{} {}", Number(figure.count), figure.word))
                .collect()
        };
        let mut parts = said(|class| ["bad", "warn"].contains(&class));
        if parts.is_empty() {
            parts = said(str::is_empty);
        }
        if parts.is_empty() {
            return "none".into();
        }
        parts.join(", ")
    }

    /// When it was, and how long it took.
    fn occasion(&self) -> String {
        let at = |time| format!("{} UTC", Offset::UTC.to_datetime(time).strftime("%Y-%m-%d %H:%M"));
        match self.report.timing {
            Some(timing) => {
                let seconds = timing.duration.as_secs();
                format!(
                    "Run that ended {} and took {} s",
                    at(timing.ended),
                    Number(seconds.unsigned_abs() as usize)
                )
            }
            None if self.is_of_run() => format!("Run of {}", at(self.report.at)),
            None => format!("Dry run of {}: nothing was changed", at(self.report.at)),
        }
    }

    /// Where there is no section of what somebody has to look at.
    fn calm(&self) -> &'static str {
        match () {
            () if self.decisions.is_empty() => "No annotated object asks for a certificate.",
            () if self.is_of_run() => "Nothing failed, and nothing is refused.",
            () => "Nothing is due, and nothing is refused.",
        }
    }

    /// A count, which the template has as a value or by reference.
    fn number(&self, count: impl Borrow<usize>) -> Number {
        Number(*count.borrow())
    }

    /// The parts of a sentence, and whether each is code. A sentence whose backticks are no pairs is one part.
    fn parts<'t>(&self, text: &'t str) -> impl Iterator<Item = (bool, &'t str)> {
        let pairs = text.matches('`').count().is_multiple_of(2);
        let parts = text.split(move |letter| pairs && letter == '`').enumerate();
        parts.map(|(at, part)| (at % 2 == 1, part))
    }

    fn notes(&self) -> impl Iterator<Item = (&'a SecretRef, &'a str)> {
        let of = |decision: &'a Decision| {
            let notes = decision.notes.iter();
            notes.map(|note| (&decision.certificate.secret, note.as_str()))
        };
        self.decisions.iter().flat_map(move |(_, decision)| of(decision))
    }

    fn by_namespace(&self) -> impl Iterator<Item = Rows<'a, '_>> {
        let namespace = |(_, decision): &(Verdict, &'a Decision)| decision.certificate.secret.namespace.as_str();
        let groups = self
            .decisions
            .chunk_by(move |one, other| namespace(one) == namespace(other));
        groups.map(move |decisions| Rows {
            namespace: decisions.first().map_or("", namespace),
            decisions,
        })
    }

    fn lines(&self, decisions: &[(Verdict, &'a Decision)]) -> impl Iterator<Item = Line<'a>> {
        let report = self.report;
        decisions.iter().map(|(verdict, decision)| {
            let row = report.row(*verdict, decision);
            Line {
                renewal: row.renewal(report.at),
                state: row.state(),
                now: report.at,
                row,
            }
        })
    }
}

impl Line<'_> {
    fn day(&self, time: &Timestamp) -> Day {
        Day(*time)
    }

    fn away(&self, time: &Timestamp) -> String {
        away(*time, self.now)
    }

    fn when(&self, time: &Timestamp) -> String {
        if *time <= self.now {
            return "now".into();
        }
        Day(*time).to_string()
    }
}

impl CertificateRow<'_> {
    /// How it stands, in the words of the summary.
    fn state(&self) -> &'static str {
        match self.result().unwrap_or(self.action) {
            "keep" if self.waits => "waiting",
            "keep" => "valid",
            "refuse" => "refused",
            "issue" => "due",
            result => result,
        }
    }

    /// When it is renewed, where that is known and nothing is in the way.
    fn renewal(&self, now: Timestamp) -> Option<Timestamp> {
        match self.state() {
            "refused" | "issued" => None,
            "due" | "failed" | "stopped" => Some(now),
            _ => self.renew_at.map(|time| time.max(now)),
        }
    }

    /// Whether it is not renewed until something changes.
    fn is_at_risk(&self) -> bool {
        match self.state() {
            "failed" | "stopped" => true,
            // cert-manager renews these.
            "refused" => self.reason != Reason::ManagedElsewhere.word(),
            _ => self.reason == Reason::BackingOff.word(),
        }
    }
}

/// The day of a time, in UTC.
struct Day(Timestamp);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Offset::UTC.to_datetime(self.0).date().fmt(f)
    }
}

/// How far away a time is.
fn away(time: Timestamp, now: Timestamp) -> String {
    match time.duration_since(now) {
        left if left.is_negative() => format!("{} ago", short(-left)),
        left => format!("in {}", short(left)),
    }
}

/// `10,000`.
struct Number(usize);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// Makes text of what a cluster or a CA says: no mark of HTML, in an element or in a quoted attribute, and nothing that moves
/// or hides letters.
#[derive(Clone, Copy)]
struct Harmless;

impl Escaper for Harmless {
    fn write_escaped_str<W: fmt::Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        let mut written = 0;
        for (at, letter) in text.char_indices() {
            let shown = harmless(letter);
            let name = match letter {
                '<' => "&lt;",
                '>' => "&gt;",
                '&' => "&amp;",
                '"' => "&quot;",
                '\'' => "&#39;",
                _ if shown == letter => continue,
                _ => "",
            };
            dest.write_str(&text[written..at])?;
            match name {
                "" => dest.write_char(shown)?,
                name => dest.write_str(name)?,
            }
            written = at + letter.len_utf8();
        }
        dest.write_str(&text[written..])
    }
}

#[cfg(test)]
mod tests;
