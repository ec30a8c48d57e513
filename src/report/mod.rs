//! Plan and outcomes -> the report that machines read, and the exit status. `table.rs` writes it for people.
//!
//! `report.schema.json` beside this file is the JSON's contract: a test holds every report to it.

pub mod events;
pub mod explanation;
mod table;
pub mod text;

use jiff::Timestamp;
use serde::Serialize;

use crate::decide::checks::Reason;
use crate::decide::inspection::CertificateFacts;
use crate::decide::observed::Leftover;
use crate::decide::outcome::{Failure, Outcome, Outcomes};
use crate::decide::plan::{Decision, Plan, Verdict};
use crate::decide::validity::lifetime;

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
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) at: Timestamp,
    pub(super) directory: Option<String>,
    pub(super) certificates: Vec<CertificateRow>,
    pub(super) rejected: Vec<RejectedRow>,
    pub(super) leftovers: Vec<LeftoverRow>,
    pub(super) summary: Summary,
    pub(super) notes: Vec<String>,
    /// Whether outcomes are in it: a dry run decides and does nothing.
    #[serde(skip)]
    pub(super) applied: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CertificateRow {
    pub(super) namespace: String,
    pub(super) secret: String,
    pub(super) hosts: Vec<String>,
    pub(super) ingresses: Vec<String>,
    pub(super) action: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) not_after: Option<Timestamp>,
    pub(super) issuer: Option<String>,
    pub(super) renew_at: Option<Timestamp>,
    pub(super) notes: Vec<String>,
    pub(super) outcome: Option<OutcomeRow>,
    /// What is left of the lifetime, from 0 to 1.
    #[serde(skip)]
    pub(super) left: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct OutcomeRow {
    pub(super) result: &'static str,
    pub(super) message: Option<String>,
    pub(super) hint: Option<String>,
    /// The message in its parts, for people.
    #[serde(skip)]
    pub(super) failure: Option<Failure>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RejectedRow {
    pub(super) namespace: String,
    pub(super) ingress: String,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct LeftoverRow {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) run: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    pub(super) due: usize,
    pub(super) issued: usize,
    pub(super) failed: usize,
    pub(super) kept: usize,
    pub(super) refused: usize,
    pub(super) rejected: usize,
    pub(super) unknown: usize,
}

impl Report {
    /// The report of a plan that nobody applied.
    pub fn of_plan(plan: &Plan, directory: Option<&str>) -> Self {
        Self::build(plan, None, directory)
    }

    /// The report of a plan that was applied.
    pub fn of_run(plan: &Plan, outcomes: &Outcomes, directory: Option<&str>) -> Self {
        Self::build(plan, Some(outcomes), directory)
    }

    fn build(plan: &Plan, outcomes: Option<&Outcomes>, directory: Option<&str>) -> Self {
        let certificates: Vec<_> = plan
            .decisions()
            .into_iter()
            .map(|(verdict, decision)| CertificateRow::new(verdict, decision, plan.at, outcomes))
            .collect();
        let count = |action: &str| certificates.iter().filter(|row| row.action == action).count();
        let issued = certificates.iter().filter(|row| row.result() == Some("issued")).count();
        let summary = Summary {
            due: count("issue"),
            issued,
            failed: if outcomes.is_some() { count("issue") - issued } else { 0 },
            kept: count("keep"),
            refused: count("refuse"),
            rejected: plan.rejected.len(),
            unknown: plan
                .refuse
                .iter()
                .filter(|decision| decision.reason == Reason::Unknown)
                .count(),
        };
        Self {
            api_version: "kube-lego-once.dev/v1",
            kind: "Report",
            at: whole_seconds(plan.at),
            directory: directory.map(str::to_owned),
            certificates,
            rejected: plan.rejected.iter().map(RejectedRow::from).collect(),
            leftovers: plan.sweep.iter().map(LeftoverRow::from).collect(),
            summary,
            notes: plan.notes.clone(),
            applied: outcomes.is_some(),
        }
    }

    /// 1 where a due certificate has no good outcome or a read was unknown; a refusal alone is no failure of the run.
    pub fn exit_status(&self) -> ExitStatus {
        if self.summary.failed > 0 || self.summary.unknown > 0 {
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
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The same as YAML.
    pub fn to_yaml(&self) -> String {
        serde_yaml_ng::to_string(self).unwrap_or_default()
    }

    /// `secret/NAME -n NAMESPACE` of what is due, a line each. A bare `secret/NAME`, as kubectl prints it, would not say
    /// which one is meant, since a report is about several namespaces: `xargs -L1 kubectl describe` takes these as they are.
    pub fn to_names(&self) -> String {
        let due = self.certificates.iter().filter(|row| row.action == "issue");
        due.map(|row| format!("secret/{} -n {}\n", row.secret, row.namespace))
            .collect()
    }
}

impl CertificateRow {
    fn new(verdict: Verdict, decision: &Decision, now: Timestamp, outcomes: Option<&Outcomes>) -> Self {
        let certificate = &decision.certificate;
        let outcome = outcomes
            .filter(|_| verdict == Verdict::Issue)
            .map(|outcomes| outcomes.get(&certificate.secret).unwrap_or(&Outcome::Stopped));
        let facts = decision.facts();
        let (not_after, issuer, left) = match outcome {
            Some(Outcome::Issued { not_after, issuer }) => (Some(*not_after), Some(issuer.clone()), Some(1.0)),
            _ => (
                facts.map(|facts| facts.not_after),
                facts.map(|facts| facts.issuer.to_string()),
                facts.and_then(|facts| share_left(facts, now)),
            ),
        };
        Self {
            namespace: certificate.secret.namespace.to_string(),
            secret: certificate.secret.name.to_string(),
            hosts: certificate
                .hosts
                .iter()
                .map(ToString::to_string)
                .chain(certificate.invalid_hosts.keys().cloned())
                .collect(),
            ingresses: certificate
                .contributions
                .iter()
                .map(|contribution| contribution.ingress.name.name.to_string())
                .collect(),
            action: verdict.word(),
            reason: decision.reason.word(),
            message: decision.message.clone(),
            not_after,
            issuer,
            renew_at: decision
                .renew_at
                .filter(|_| !matches!(outcome, Some(Outcome::Issued { .. })))
                .map(whole_seconds),
            notes: decision.notes.clone(),
            outcome: outcome.map(OutcomeRow::from),
            left,
        }
    }

    /// How the obtaining ended, in a word.
    pub(super) fn result(&self) -> Option<&'static str> {
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

impl From<&Outcome> for OutcomeRow {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Issued { .. } => Self {
                result: "issued",
                message: None,
                hint: None,
                failure: None,
            },
            Outcome::Failed(failure) => Self {
                result: "failed",
                message: Some(failure.to_string()),
                hint: failure.hint.clone(),
                failure: Some(failure.clone()),
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

impl From<&crate::decide::desired::Rejected> for RejectedRow {
    fn from(rejected: &crate::decide::desired::Rejected) -> Self {
        Self {
            namespace: rejected.ingress.namespace.to_string(),
            ingress: rejected.ingress.name.to_string(),
            reason: rejected.reason.word(),
            message: rejected.reason.message(),
        }
    }
}

impl From<&Leftover> for LeftoverRow {
    fn from(leftover: &Leftover) -> Self {
        Self {
            kind: format!("{:?}", leftover.kind),
            namespace: leftover.namespace.clone(),
            name: leftover.name.clone(),
            run: leftover.run.clone(),
        }
    }
}
