//! How each certificate ended, kept as it comes: a run that dies later has said what it did.

use std::sync::{Mutex, PoisonError};

use crate::decide::outcome::{Outcome, Outcomes};
use crate::decide::plan::Decision;

/// The outcomes of a run so far.
#[derive(Debug, Default)]
pub struct OutcomeLog(Mutex<Outcomes>);

impl OutcomeLog {
    /// Keeps an outcome, and says so.
    pub fn ended(&self, decision: &Decision, outcome: Outcome) {
        let secret = &decision.certificate.secret;
        match &outcome {
            Outcome::Issued { not_after, .. } => log::info!("stored `{secret}`, valid until {not_after}"),
            Outcome::Failed(failure) => log::warn!("`{secret}` failed: {}", failure.message),
            Outcome::Stopped | Outcome::Interrupted => log::debug!("`{secret}` was not obtained"),
        }
        self.keep(decision, outcome);
    }

    /// The certificate's order begins: whoever is stopped from here on leaves something to go on with.
    pub fn begun(&self, decision: &Decision) {
        self.keep(decision, Outcome::Interrupted);
    }

    /// All of them.
    pub fn into_outcomes(self) -> Outcomes {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, decision: &Decision, outcome: Outcome) {
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.insert(decision.certificate.secret.clone(), outcome);
    }
}
