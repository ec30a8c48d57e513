//! What somebody has to look at: a section for each kind, in it a group for each reason, what ends first at the top.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Day, away};
use crate::decide::checks::Reason;
use crate::decide::desired::Rejected;
use crate::decide::outcome::{Failure, Outcome};
use crate::decide::plan::{Decision, Verdict};
use crate::report::{OutcomeRow, RejectedRow, Report};

/// The kinds, in the order of the page: failures first. What waits has failed in an earlier run, or is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Failed,
    WithoutHost,
    Waiting,
    Refused,
    Rejected,
    Due,
}

/// How a section is called.
pub(super) struct Words {
    pub(super) id: &'static str,
    pub(super) class: &'static str,
    pub(super) title: &'static str,
    pub(super) meaning: &'static str,
}

impl Kind {
    fn words(self) -> Words {
        let (id, class, title, meaning) = match self {
            Self::Failed => (
                "failed",
                "bad",
                "Failed",
                "They are due, and the run could not obtain them. Their Secrets are as they were.",
            ),
            Self::WithoutHost => (
                "dropped",
                "bad",
                "Renewed without a host",
                "The old certificate was about to end, and a host did not answer.",
            ),
            Self::Waiting => (
                "waiting",
                "warn",
                "Waiting",
                "They are due, and a later run tries them.",
            ),
            Self::Refused => (
                "refused",
                "warn",
                "Refused",
                "Nothing is ordered for them until somebody changes what is said here.",
            ),
            Self::Rejected => (
                "rejected",
                "warn",
                "Rejected",
                "Annotated objects, or parts of them, that name no certificate that could be made.",
            ),
            Self::Due => ("due", "", "Due", "A run would obtain these now."),
        };
        Words {
            id,
            class,
            title,
            meaning,
        }
    }
}

/// What is of one kind.
pub(super) struct Section<'a> {
    pub(super) words: Words,
    pub(super) groups: Vec<Group<'a>>,
}

impl Section<'_> {
    pub(super) fn count(&self) -> usize {
        self.groups.iter().map(|group| group.entries.len()).sum()
    }
}

/// What has the same reason.
pub(super) struct Group<'a> {
    pub(super) word: &'static str,
    pub(super) entries: Vec<Entry<'a>>,
}

/// What was found, in no more room than it takes to find it again: there may be as many as certificates.
pub(super) enum Entry<'a> {
    Certificate(Verdict, &'a Decision),
    Rejected(&'a Rejected),
}

/// What is said of an entry.
pub(super) struct Finding<'a> {
    pub(super) namespace: &'a str,
    pub(super) place: String,
    pub(super) ends: Option<String>,
    pub(super) hosts: Vec<&'a str>,
    pub(super) message: Cow<'a, str>,
    pub(super) causes: &'a [String],
    pub(super) hint: Option<&'a str>,
}

/// The sections that are not empty.
pub(super) fn sections<'a>(report: &'a Report, decisions: &[(Verdict, &'a Decision)]) -> Vec<Section<'a>> {
    let mut found: BTreeMap<(Kind, usize, &'static str), Vec<Entry<'a>>> = BTreeMap::new();
    for (verdict, decision) in decisions {
        if let Some(place) = place(report, *verdict, decision) {
            let entry = Entry::Certificate(*verdict, decision);
            found.entry(place).or_default().push(entry);
        }
    }
    for rejected in &report.plan.rejected {
        let place = (Kind::Rejected, 0, rejected.reason.word());
        found.entry(place).or_default().push(Entry::Rejected(rejected));
    }
    let mut sections: Vec<(Kind, Section<'a>)> = Vec::new();
    for ((kind, _, word), mut entries) in found {
        // What has no certificate comes before what has one.
        entries.sort_by_key(Entry::end);
        let group = Group { word, entries };
        match sections.last_mut() {
            Some((last, section)) if *last == kind => section.groups.push(group),
            _ => {
                let section = Section {
                    words: kind.words(),
                    groups: vec![group],
                };
                sections.push((kind, section));
            }
        }
    }
    sections.into_iter().map(|(_, section)| section).collect()
}

/// Where a certificate stands on the page, if somebody has to look at it: its kind, the place of its group in it, and the group's word.
fn place(report: &Report, verdict: Verdict, decision: &Decision) -> Option<(Kind, usize, &'static str)> {
    let reason = decision.reason;
    let by_reason = |kind| Some((kind, reason as usize + 1, reason.word()));
    match (verdict, report.outcome(verdict, decision)) {
        (Verdict::Issue, None) => by_reason(Kind::Due),
        (Verdict::Issue, Some(Outcome::Issued { dropped, .. })) => {
            (!dropped.is_empty()).then_some((Kind::WithoutHost, 0, "HostDropped"))
        }
        (Verdict::Issue, Some(outcome)) => {
            let class = outcome.failure_class().unwrap_or("other");
            // What the run did not get to is no trouble of its own.
            Some((Kind::Failed, usize::from(class == "stopped"), class))
        }
        (Verdict::Keep, _) if decision.waits() => by_reason(Kind::Waiting),
        (Verdict::Keep, _) => None,
        // A read that failed is a failure of the run.
        (Verdict::Refuse, _) if reason == Reason::Unknown => Some((Kind::Refused, 0, reason.word())),
        (Verdict::Refuse, _) => by_reason(Kind::Refused),
    }
}

impl<'a> Entry<'a> {
    fn end(&self) -> Option<Timestamp> {
        match self {
            Self::Certificate(_, decision) => decision.facts().map(|facts| facts.not_after),
            Self::Rejected(_) => None,
        }
    }

    pub(super) fn finding(&self, report: &'a Report) -> Finding<'a> {
        match self {
            Self::Certificate(verdict, decision) => of_certificate(report, *verdict, decision),
            Self::Rejected(rejected) => {
                let row = RejectedRow::from(*rejected);
                Finding {
                    namespace: row.namespace,
                    place: row.place(),
                    ends: None,
                    hosts: Vec::new(),
                    message: row.message.into(),
                    causes: &[],
                    hint: None,
                }
            }
        }
    }
}

fn of_certificate<'a>(report: &'a Report, verdict: Verdict, decision: &'a Decision) -> Finding<'a> {
    let row = report.row(verdict, decision);
    let ends = match row.not_after {
        Some(end) if end < report.at => Some(format!("ended {}, {}", Day(end), away(end, report.at))),
        Some(end) => Some(format!("ends {}, {}", Day(end), away(end, report.at))),
        // What could not be read is not known.
        None => (decision.reason != Reason::Unknown).then(|| "no certificate".to_owned()),
    };
    let (message, causes, hint) = match row.outcome {
        Some(OutcomeRow {
            failure: Some(Failure {
                message, causes, hint, ..
            }),
            ..
        }) if causes.len() > 1 => (format!("{message}:").into(), causes.as_slice(), hint.as_deref()),
        Some(OutcomeRow { message, hint, .. }) => {
            let message = message.map_or("the run ended before its turn".into(), Cow::Owned);
            (message, &[] as &[_], hint)
        }
        None => (row.message.to_string().into(), &[] as &[_], None),
    };
    Finding {
        namespace: row.namespace,
        place: decision.certificate.secret.to_string(),
        ends,
        hosts: row.hosts,
        message,
        causes,
        hint,
    }
}
