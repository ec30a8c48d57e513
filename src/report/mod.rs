//! Plan and outcomes -> the report that machines read, and the exit status. `table.rs` and `page.rs` write it for people.
//!
//! `report.schema.json` beside this file is the JSON's contract: a test holds every report to it.

pub mod events;
pub mod explanation;
mod page;
pub mod prometheus;
mod table;
pub mod text;

use compact_str::CompactString;
use std::io::Write;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::decide::checks::Reason;
use crate::decide::desired::Rejected;
use crate::decide::inspection::CertificateFacts;
use crate::decide::name::{DnsName, SourceRef};
use crate::decide::observed::Leftover;
use crate::decide::outcome::{Failure, Outcome, Outcomes};
use crate::decide::plan::{Decision, Message, Plan, Verdict};
use crate::decide::validity::lifetime;

use events::dropped_note;
use prometheus::Timing;

/// The process's exit status: one place decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Nothing to do, or all that was due is done.
    Success,
    /// A due certificate failed, or a read was unknown.
    Failure,
    /// The run could not happen.
    Error,
    /// A dry run that was asked to say so found something due.
    Due,
    /// A dry run that was asked to say so found something refused or rejected.
    Refused,
}

impl ExitStatus {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Error => 2,
            Self::Due => 3,
            Self::Refused => 4,
        }
    }
}

/// What is printed at the end of a run, and of a dry run.
///
/// Nothing of the plan is copied: there may be 100,000 rows, so each is made when it is written.
#[derive(Clone, Debug)]
pub struct Report {
    at: Timestamp,
    directory: Option<String>,
    plan: Plan,
    /// Nothing where nobody applied the plan: a dry run decides and does nothing.
    outcomes: Option<Outcomes>,
    /// Nothing before the run is over, nor for a dry run.
    timing: Option<Timing>,
    summary: Summary,
}

/// The report as JSON and YAML have it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    at: Timestamp,
    directory: Option<&'a str>,
    certificates: Rows<'a>,
    rejected: Vec<RejectedRow<'a>>,
    leftovers: Vec<LeftoverRow<'a>>,
    summary: Summary,
    notes: &'a [String],
}

struct Rows<'a>(&'a Report);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.certificates())
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateRow<'a> {
    namespace: &'a str,
    secret: &'a str,
    hosts: Vec<&'a str>,
    ingresses: Vec<CompactString>,
    action: &'static str,
    reason: &'static str,
    #[serde(serialize_with = "written")]
    message: Message<'a>,
    not_after: Option<Timestamp>,
    issuer: Option<&'a str>,
    renew_at: Option<Timestamp>,
    notes: &'a [String],
    outcome: Option<OutcomeRow<'a>>,
    /// Whether it is due, and not tried yet.
    #[serde(skip)]
    waits: bool,
    /// What is left of the lifetime, from 0 to 1.
    #[serde(skip)]
    left: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
struct OutcomeRow<'a> {
    result: &'static str,
    message: Option<String>,
    hint: Option<&'a str>,
    /// The message in its parts, for people.
    #[serde(skip)]
    failure: Option<&'a Failure>,
}

#[derive(Clone, Debug, Serialize)]
struct RejectedRow<'a> {
    namespace: &'a str,
    ingress: CompactString,
    #[serde(skip)]
    source: &'a SourceRef,
    reason: &'static str,
    message: String,
}

#[derive(Clone, Debug, Serialize)]
struct LeftoverRow<'a> {
    kind: &'static str,
    namespace: &'a str,
    name: &'a str,
    run: &'a str,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Summary {
    due: usize,
    issued: usize,
    failed: usize,
    kept: usize,
    waiting: usize,
    refused: usize,
    rejected: usize,
    unknown: usize,
}

impl Summary {
    /// All of them.
    fn certificates(&self) -> usize {
        self.due + self.kept + self.waiting + self.refused
    }
}

impl Report {
    /// The report of a plan that nobody applied.
    pub fn of_plan(plan: Plan, directory: Option<&str>) -> Self {
        Self::build(plan, None, directory)
    }

    /// The report of a plan that was applied.
    pub fn of_run(plan: Plan, outcomes: Outcomes, directory: Option<&str>) -> Self {
        Self::build(plan, Some(outcomes), directory)
    }

    fn build(plan: Plan, outcomes: Option<Outcomes>, directory: Option<&str>) -> Self {
        let issued = outcomes.as_ref().map(|outcomes| {
            let of = |decision: &&Decision| {
                matches!(outcomes.get(&decision.certificate.secret), Some(Outcome::Issued { .. }))
            };
            plan.issue.iter().filter(of).count()
        });
        let due = plan.issue.len();
        let waiting = plan.keep.iter().filter(|decision| decision.waits()).count();
        let is_unknown = |decision: &&Decision| decision.reason == Reason::Unknown;
        let summary = Summary {
            due,
            issued: issued.unwrap_or(0),
            failed: issued.map_or(0, |issued| due - issued),
            kept: plan.keep.len() - waiting,
            waiting,
            refused: plan.refuse.len(),
            rejected: plan.rejected.len(),
            unknown: plan.refuse.iter().filter(is_unknown).count(),
        };
        Self {
            at: whole_seconds(plan.at),
            directory: directory.map(str::to_owned),
            plan,
            outcomes,
            timing: None,
            summary,
        }
    }

    fn certificates(&self) -> impl Iterator<Item = CertificateRow<'_>> {
        let decisions = self.plan.decisions().into_iter();
        decisions.map(|(verdict, decision)| self.row(verdict, decision))
    }

    fn row<'a>(&'a self, verdict: Verdict, decision: &'a Decision) -> CertificateRow<'a> {
        CertificateRow::new(verdict, decision, self.plan.at, self.outcome(verdict, decision))
    }

    /// How the obtaining of a certificate ended; nothing where nobody tried.
    fn outcome(&self, verdict: Verdict, decision: &Decision) -> Option<&Outcome> {
        let outcomes = self.outcomes.as_ref().filter(|_| verdict == Verdict::Issue)?;
        Some(outcomes.get(&decision.certificate.secret).unwrap_or(&Outcome::Stopped))
    }

    fn rejected(&self) -> impl Iterator<Item = RejectedRow<'_>> {
        self.plan.rejected.iter().map(RejectedRow::from)
    }

    fn leftovers(&self) -> impl Iterator<Item = LeftoverRow<'_>> {
        self.plan.sweep.iter().map(LeftoverRow::from)
    }

    fn document(&self) -> Document<'_> {
        Document {
            api_version: "kube-lego-once.dev/v1",
            kind: "Report",
            at: self.at,
            directory: self.directory.as_deref(),
            certificates: Rows(self),
            rejected: self.rejected().collect(),
            leftovers: self.leftovers().collect(),
            summary: self.summary,
            notes: &self.plan.notes,
        }
    }

    /// 1 where a due certificate has no good outcome, lacks a host or the CA refused it lately, or a read was unknown; a refusal alone is no failure of the run.
    pub fn exit_status(&self) -> ExitStatus {
        let refused_lately = |decision: &Decision| decision.reason == Reason::BackingOff;
        let drops = |outcome: &Outcome| matches!(outcome, Outcome::Issued { dropped, .. } if !dropped.is_empty());
        let dropped = self.outcomes.iter().flat_map(Outcomes::values).any(drops);
        if self.summary.failed + self.summary.unknown > 0 || dropped || self.plan.keep.iter().any(refused_lately) {
            return ExitStatus::Failure;
        }
        ExitStatus::Success
    }

    /// What `--exit-code` says of a plan. What could not be read outweighs the rest: the plan may be another.
    pub fn finding(&self) -> ExitStatus {
        match self.exit_status() {
            ExitStatus::Success if self.summary.refused + self.summary.rejected > 0 => ExitStatus::Refused,
            ExitStatus::Success if self.summary.due > 0 => ExitStatus::Due,
            status => status,
        }
    }

    /// One JSON document.
    ///
    /// # Errors
    /// Where `out` takes no more; so it is of all that is written here.
    pub fn write_json(&self, out: &mut dyn Write) -> std::io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, &self.document())?;
        writeln!(out)
    }

    /// The same as YAML.
    pub fn write_yaml(&self, out: &mut dyn Write) -> std::io::Result<()> {
        // Its own writer would hide a broken pipe in an error of its own kind.
        let text = serde_yaml_ng::to_string(&self.document()).map_err(std::io::Error::other)?;
        out.write_all(text.as_bytes())
    }

    /// `secret/NAME -n NAMESPACE` of what is due, a line each. A bare `secret/NAME`, as kubectl prints it, would not say
    /// which one is meant, since a report is about several namespaces: `xargs -L1 kubectl describe` takes these as they are.
    pub fn write_names(&self, out: &mut dyn Write) -> std::io::Result<()> {
        for decision in &self.plan.issue {
            let secret = &decision.certificate.secret;
            writeln!(out, "secret/{} -n {}", secret.name, secret.namespace)?;
        }
        Ok(())
    }
}

/// As it is written for people.
fn written<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl<'a> CertificateRow<'a> {
    fn new(verdict: Verdict, decision: &'a Decision, now: Timestamp, outcome: Option<&'a Outcome>) -> Self {
        let certificate = &decision.certificate;
        let facts = decision.facts();
        let (not_after, issuer, left) = match outcome {
            Some(Outcome::Issued { not_after, issuer, .. }) => (Some(*not_after), Some(issuer.as_str()), Some(1.0)),
            _ => (
                facts.map(|facts| facts.not_after),
                facts.map(|facts| &*facts.issuer),
                facts.and_then(|facts| share_left(facts, now)),
            ),
        };
        Self {
            namespace: &certificate.secret.namespace,
            secret: &certificate.secret.name,
            hosts: certificate
                .hosts
                .iter()
                .map(DnsName::as_str)
                .chain(certificate.invalid_hosts.iter().map(|(host, _)| host.as_str()))
                .collect(),
            ingresses: certificate
                .contributions
                .iter()
                .map(|contribution| contribution.source.place().titled())
                .collect(),
            action: verdict.word(),
            reason: decision.reason.word(),
            message: decision.message(now),
            not_after,
            issuer,
            renew_at: decision
                .renew_at
                .filter(|_| !matches!(outcome, Some(Outcome::Issued { .. })))
                .map(whole_seconds),
            notes: &decision.notes,
            outcome: outcome.map(OutcomeRow::from),
            waits: decision.waits(),
            left,
        }
    }

    /// How the obtaining ended, in a word.
    fn result(&self) -> Option<&'static str> {
        self.outcome.as_ref().map(|outcome| outcome.result)
    }
}

/// A time as jq's `fromdateiso8601` can read it, which knows no fractions.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// What is left of a lifetime, from 0 to 1; nothing where that cannot be told.
fn share_left(facts: &CertificateFacts, now: Timestamp) -> Option<f64> {
    let whole = lifetime(facts).as_secs_f64();
    let left = facts.not_after.duration_since(now).as_secs_f64();
    (whole > 0.0).then(|| (left / whole).clamp(0.0, 1.0))
}

impl<'a> From<&'a Outcome> for OutcomeRow<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Issued { dropped, .. } => Self {
                result: "issued",
                message: (!dropped.is_empty()).then(|| {
                    let notes: Vec<_> = dropped.iter().map(dropped_note).collect();
                    format!("HostDropped: {}", notes.join("; "))
                }),
                hint: None,
                failure: None,
            },
            Outcome::Failed(failure) => Self {
                result: "failed",
                message: Some(failure.to_string()),
                hint: failure.hint.as_deref(),
                failure: Some(failure),
            },
            Outcome::Interrupted => Self {
                result: "stopped",
                message: Some(
                    "the run was stopped while it was being obtained; the next run goes on with what there is".into(),
                ),
                hint: None,
                failure: None,
            },
            Outcome::Stopped => Self {
                result: "stopped",
                message: None,
                hint: None,
                failure: None,
            },
        }
    }
}

impl RejectedRow<'_> {
    /// Kind and place, as a sentence names it.
    fn place(&self) -> String {
        format!("{} {}", self.source.kind.word(), self.source)
    }
}

impl<'a> From<&'a Rejected> for RejectedRow<'a> {
    fn from(rejected: &'a Rejected) -> Self {
        Self {
            namespace: &rejected.source.namespace,
            ingress: rejected.source.titled(),
            source: &rejected.source,
            reason: rejected.reason.word(),
            message: rejected.reason.message(),
        }
    }
}

impl<'a> From<&'a Leftover> for LeftoverRow<'a> {
    fn from(leftover: &'a Leftover) -> Self {
        Self {
            kind: leftover.kind.kind(),
            namespace: &leftover.namespace,
            name: &leftover.name,
            run: &leftover.run,
        }
    }
}
