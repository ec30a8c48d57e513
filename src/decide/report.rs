//! Plan and outcomes -> what people and machines read, and the exit status.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::checks::Reason;
use super::name::SecretRef;
use super::observed::Leftover;
use super::plan::{Decision, Plan, Verdict};
use super::validity::short;

/// How the obtaining of a certificate ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Issued {
        /// End of validity.
        not_after: Timestamp,
        /// The issuer's name.
        issuer: String,
    },
    /// It is not, and the Secret is as it was.
    Failed(Failure),
    /// The run was stopped before its turn came.
    Stopped,
}

/// What was seen when a certificate could not be obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One sentence: operation, object, cause.
    pub message: String,
    /// What a person can do.
    pub hint: Option<String>,
}

/// Outcomes by Secret. A certificate that was to be issued and has none was never reached.
pub type Outcomes = BTreeMap<SecretRef, Outcome>;

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

/// How text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether there is a bar for the lifetime that is left.
    pub bar: bool,
    /// Whether there is colour.
    pub color: bool,
}

/// What is printed at the end of a run, and of a dry run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    api_version: &'static str,
    kind: &'static str,
    at: Timestamp,
    directory: Option<String>,
    certificates: Vec<CertificateRow>,
    rejected: Vec<RejectedRow>,
    leftovers: Vec<LeftoverRow>,
    summary: Summary,
    notes: Vec<String>,
    /// Whether outcomes are in it: a dry run decides and does nothing.
    #[serde(skip)]
    applied: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateRow {
    namespace: String,
    secret: String,
    hosts: Vec<String>,
    ingresses: Vec<String>,
    action: &'static str,
    reason: &'static str,
    message: String,
    not_after: Option<Timestamp>,
    issuer: Option<String>,
    renew_at: Option<Timestamp>,
    notes: Vec<String>,
    outcome: Option<OutcomeRow>,
}

#[derive(Clone, Debug, Serialize)]
struct OutcomeRow {
    result: &'static str,
    message: Option<String>,
    hint: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct RejectedRow {
    namespace: String,
    ingress: String,
    reason: &'static str,
    message: String,
}

#[derive(Clone, Debug, Serialize)]
struct LeftoverRow {
    kind: String,
    namespace: String,
    name: String,
    run: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Summary {
    due: usize,
    issued: usize,
    failed: usize,
    kept: usize,
    refused: usize,
    rejected: usize,
    unknown: usize,
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
            .map(|(verdict, decision)| CertificateRow::new(verdict, decision, outcomes))
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
            at: plan.at,
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

    /// The table as kubectl prints one, the sentences below it, and a summary.
    pub fn to_text(&self, _style: &Style) -> String {
        let mut text = String::new();
        if !self.certificates.is_empty() {
            text.push_str(&columns(&self.table()));
            text.push('\n');
        }
        for row in &self.certificates {
            row.write_sentences(&mut text);
        }
        for row in &self.rejected {
            let _ = writeln!(
                text,
                "rejected ingress {}/{} {}: {}",
                row.namespace, row.ingress, row.reason, row.message
            );
        }
        for row in &self.leftovers {
            let verb = if self.applied { "removed" } else { "leftover" };
            let _ = writeln!(
                text,
                "{verb} {} {}/{} of run {}",
                row.kind, row.namespace, row.name, row.run
            );
        }
        text.push_str(&self.summary_line());
        text
    }

    /// The table with all hosts, Ingresses and issuers.
    pub fn to_wide_text(&self, style: &Style) -> String {
        self.to_text(style)
    }

    /// One JSON document.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The same as YAML.
    pub fn to_yaml(&self) -> String {
        serde_yaml_ng::to_string(self).unwrap_or_default()
    }

    /// `secret/NAME` of what is due, a line each.
    pub fn to_names(&self) -> String {
        let due = self.certificates.iter().filter(|row| row.action == "issue");
        due.map(|row| format!("secret/{}\n", row.secret)).collect()
    }

    fn table(&self) -> Vec<Vec<String>> {
        let header = ["NAMESPACE", "SECRET", "HOSTS", "EXPIRES", "DUE", "ACTION", "REASON"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.certificates.iter().map(|row| row.cells(self.at)));
        rows
    }

    fn summary_line(&self) -> String {
        let Summary {
            due,
            issued,
            failed,
            kept,
            refused,
            rejected,
            ..
        } = self.summary;
        let mut parts = if self.applied {
            vec![format!("{issued} issued"), format!("{failed} failed")]
        } else {
            vec![format!("{due} due")]
        };
        parts.push(format!("{kept} valid"));
        parts.push(format!("{refused} refused"));
        if rejected > 0 {
            parts.push(format!("{rejected} rejected"));
        }
        let count = self.certificates.len();
        let noun = if count == 1 { "certificate" } else { "certificates" };
        format!("{count} {noun}: {}\n", parts.join(", "))
    }
}

impl CertificateRow {
    fn new(verdict: Verdict, decision: &Decision, outcomes: Option<&Outcomes>) -> Self {
        let certificate = &decision.certificate;
        let outcome = outcomes
            .filter(|_| verdict == Verdict::Issue)
            .map(|outcomes| outcomes.get(&certificate.secret).unwrap_or(&Outcome::Stopped));
        let facts = decision.facts();
        let (not_after, issuer) = match outcome {
            Some(Outcome::Issued { not_after, issuer }) => (Some(*not_after), Some(issuer.clone())),
            _ => (
                facts.map(|facts| facts.not_after),
                facts.map(|facts| facts.issuer.clone()),
            ),
        };
        Self {
            namespace: certificate.secret.namespace.clone(),
            secret: certificate.secret.name.clone(),
            hosts: certificate
                .hosts
                .iter()
                .map(ToString::to_string)
                .chain(certificate.invalid_hosts.keys().cloned())
                .collect(),
            ingresses: certificate
                .contributions
                .iter()
                .map(|contribution| contribution.ingress.name.clone())
                .collect(),
            action: match verdict {
                Verdict::Issue => "issue",
                Verdict::Keep => "keep",
                Verdict::Refuse => "refuse",
            },
            reason: decision.reason.word(),
            message: decision.message.clone(),
            not_after,
            issuer,
            renew_at: decision
                .renew_at
                .filter(|_| !matches!(outcome, Some(Outcome::Issued { .. }))),
            notes: decision.notes.clone(),
            outcome: outcome.map(OutcomeRow::from),
        }
    }

    fn result(&self) -> Option<&'static str> {
        self.outcome.as_ref().map(|outcome| outcome.result)
    }

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let until = |time: Option<Timestamp>| time.map_or_else(|| "-".into(), |time| short(time.duration_since(now)));
        let hosts = match self.hosts.as_slice() {
            [] => "-".into(),
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} +{}", rest.len()),
        };
        let due = match self.action {
            "issue" if self.outcome.is_none() => "now".into(),
            _ => until(self.renew_at),
        };
        vec![
            self.namespace.clone(),
            self.secret.clone(),
            hosts,
            until(self.not_after),
            due,
            self.result().unwrap_or(self.action).to_owned(),
            self.reason.to_owned(),
        ]
    }

    fn write_sentences(&self, text: &mut String) {
        let place = format!("{}/{}", self.namespace, self.secret);
        match &self.outcome {
            Some(OutcomeRow {
                result: result @ ("failed" | "stopped"),
                message,
                hint,
            }) => {
                let message = message.as_deref().unwrap_or("the run ended before its turn");
                let _ = writeln!(text, "{result} {place}: {message}");
                if let Some(hint) = hint {
                    let _ = writeln!(text, "  hint: {hint}");
                }
            }
            _ if self.action == "refuse" => {
                let _ = writeln!(text, "refused {place} {}: {}", self.reason, self.message);
            }
            _ => {}
        }
        for note in &self.notes {
            let _ = writeln!(text, "note {place}: {note}");
        }
    }
}

impl From<&Outcome> for OutcomeRow {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Issued { .. } => Self {
                result: "issued",
                message: None,
                hint: None,
            },
            Outcome::Failed(Failure { message, hint }) => Self {
                result: "failed",
                message: Some(message.clone()),
                hint: hint.clone(),
            },
            Outcome::Stopped => Self {
                result: "stopped",
                message: None,
                hint: None,
            },
        }
    }
}

impl From<&super::desired::Rejected> for RejectedRow {
    fn from(rejected: &super::desired::Rejected) -> Self {
        Self {
            namespace: rejected.ingress.namespace.clone(),
            ingress: rejected.ingress.name.clone(),
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

/// Aligns cells as kubectl does: three spaces between columns, none after the last.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("   ").trim_end());
        text.push('\n');
    }
    text
}
