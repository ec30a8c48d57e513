//! The report as metrics, in a text that is both OpenMetrics and Prometheus' own format: gauges alone.
//!
//! One series for each certificate, and fewer than 60 others, which are always there: a rule need not ask whether one is absent.

use std::io::Write;
use std::sync::atomic::AtomicU64;

use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Report;
use crate::decide::checks::Reason;
use crate::decide::outcome::{FAILURE_CLASSES, Outcome};
use crate::decide::plan::Decision;

/// Of a run that is over.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took.
    pub duration: SignedDuration,
    /// Whether its exit status is 0.
    pub succeeded: bool,
}

type ByWord = Family<[(&'static str, &'static str); 1], Gauge>;

impl Report {
    /// Adds what is known once the run is over.
    pub fn timed(self, timing: Timing) -> Self {
        Self {
            timing: Some(timing),
            ..self
        }
    }

    /// The metrics.
    ///
    /// # Errors
    /// Where `out` takes no more.
    pub fn write_prometheus(&self, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(self.metrics().map_err(std::io::Error::other)?.as_bytes())
    }

    /// The same as text.
    ///
    /// # Errors
    /// None that is known.
    pub fn metrics(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("kube_lego_once");
        let ends = Family::<[(&str, String); 2], Gauge>::default();
        for row in self.certificates() {
            if let Some(end) = row.not_after {
                let labels = [
                    ("namespace", row.namespace.to_owned()),
                    ("secret", row.secret.to_owned()),
                ];
                ends.get_or_create(&labels).set(end.as_second());
            }
        }
        let help = "When the certificate in the Secret ends";
        registry.register("certificate_not_after_timestamp_seconds", help, ends);
        let summary = &self.summary;
        count(
            &mut registry,
            "certificates_due",
            "Certificates that were due when the run began",
            summary.due,
        );
        count(
            &mut registry,
            "certificates_kept",
            "Certificates for which nothing is due",
            summary.kept,
        );
        count(
            &mut registry,
            "ingresses_rejected",
            "Entries of annotated Ingresses that name no certificate that could be made",
            summary.rejected,
        );
        registry.register(
            "certificates_refused",
            "Certificates that are left until somebody does something",
            by_reason(Reason::refusals(), &self.plan.refuse),
        );
        let waits = Reason::ALL.iter().copied().filter(|reason| reason.waits());
        registry.register(
            "certificates_waiting",
            "Certificates that are due and not tried yet",
            by_reason(waits, &self.plan.keep),
        );
        if let Some(outcomes) = &self.outcomes {
            count(
                &mut registry,
                "certificates_issued",
                "Certificates that the run stored",
                summary.issued,
            );
            let failed = by_word("class", FAILURE_CLASSES.iter().copied());
            for decision in &self.plan.issue {
                let outcome = outcomes.get(&decision.certificate.secret).unwrap_or(&Outcome::Stopped);
                add(&failed, "class", outcome.failure_class());
            }
            let help = "Certificates that were due and that the run did not store";
            registry.register("certificates_failed", help, failed);
        }
        if let Some(timing) = &self.timing {
            let duration = Gauge::<f64, AtomicU64>::default();
            duration.set(timing.duration.as_secs_f64());
            registry.register("run_duration_seconds", "How long the run took", duration);
            let ended = timing.ended.as_second();
            gauge(
                &mut registry,
                "last_run_timestamp_seconds",
                "When the last run ended",
                ended,
            );
            if timing.succeeded {
                let help = "When the last run ended whose exit status was 0";
                gauge(&mut registry, "last_success_timestamp_seconds", help, ended);
            }
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn count(registry: &mut Registry, name: &str, help: &str, count: usize) {
    gauge(registry, name, help, i64::try_from(count).unwrap_or(i64::MAX));
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

/// A series for each word, at 0.
fn by_word(label: &'static str, words: impl Iterator<Item = &'static str>) -> ByWord {
    let family = ByWord::default();
    for word in words {
        family.get_or_create(&[(label, word)]).set(0);
    }
    family
}

fn add(family: &ByWord, label: &'static str, word: Option<&'static str>) {
    if let Some(word) = word {
        family.get_or_create(&[(label, word)]).inc();
    }
}

fn by_reason(reasons: impl Iterator<Item = Reason> + Clone, decisions: &[Decision]) -> ByWord {
    let family = by_word("reason", reasons.clone().map(|reason| reason.word()));
    for reason in decisions.iter().map(|decision| decision.reason) {
        let known = reasons.clone().any(|it| it == reason);
        add(&family, "reason", known.then(|| reason.word()));
    }
    family
}
