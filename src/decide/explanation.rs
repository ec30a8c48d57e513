//! What `explain` prints: each check's answer, with the values that it compared. It decides nothing.

use std::fmt::Write as _;

use super::checks::Answer;
use super::observed::Observed;
use super::plan::{Explained, Plan, Verdict, explain};
use super::policy::Policy;

/// The explanation of every decision of a plan that was made from this observation.
pub fn explanation(observed: &Observed, policy: &Policy, plan: &Plan) -> String {
    let mut text = String::new();
    for (verdict, decision) in plan.decisions() {
        let action = match verdict {
            Verdict::Issue => "issue",
            Verdict::Keep => "keep",
            Verdict::Refuse => "refuse",
        };
        let _ = writeln!(
            text,
            "secret {}: {action}, {}",
            decision.certificate.secret,
            decision.reason.word()
        );
        let _ = writeln!(text, "  {}", decision.message);
        for contribution in &decision.certificate.contributions {
            let hosts: Vec<_> = contribution.hosts.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                text,
                "  ingress {} (class {}): {}",
                contribution.ingress,
                contribution.class,
                hosts.join(", ")
            );
        }
        for explained in explain(observed, policy, decision) {
            let _ = writeln!(text, "{}", line(&explained));
        }
        for note in &decision.notes {
            let _ = writeln!(text, "  note: {note}");
        }
    }
    text
}

fn line(explained: &Explained) -> String {
    let (sign, sentence) = match &explained.answer {
        Some(Answer::Yes(sentence)) => ("yes", sentence.as_str()),
        Some(Answer::No(sentence)) => ("no", sentence.as_str()),
        Some(Answer::NotAsked(why)) => ("-", *why),
        None => ("-", "asked only when something is due"),
    };
    format!("  {:<22} {sign:<4} {sentence}", explained.reason.word())
}
