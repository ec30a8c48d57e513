//! Plan and outcomes -> the Events that tell an Ingress's owner, who may never see a report, what became of a certificate.

use super::desired::Certificate;
use super::name::{IngressRef, RunId};
use super::plan::{Decision, Plan};
use super::report::{Outcome, Outcomes};
use super::text::plain;

/// What a note may have, in bytes (`events.k8s.io/v1`).
const MOST_NOTE_BYTES: usize = 1024;
/// What the name of an object may have (RFC 1123 subdomain).
const MOST_NAME_BYTES: usize = 253;

/// An Event on an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The Event's own name; it is in the Ingress's namespace.
    pub name: String,
    /// The Ingress.
    pub ingress: IngressRef,
    /// Its UID, by which `kubectl describe` finds the Event.
    pub uid: String,
    /// What happened.
    pub kind: EventKind,
    /// A sentence about it.
    pub note: String,
}

/// What an Event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// A certificate is stored.
    Issued,
    /// It could not be obtained.
    Failed,
    /// It must not be, or not now.
    Refused,
}

impl EventKind {
    /// The Event's `reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Issued => "Issued",
            Self::Failed => "Failed",
            Self::Refused => "Refused",
        }
    }

    /// Whether somebody has to do something.
    pub fn is_warning(self) -> bool {
        self != Self::Issued
    }
}

/// The Events of a run, what was done before what was not: where time is short the latter go unsaid.
///
/// A certificate that was never reached has none, nor has one that is kept.
pub fn events(plan: &Plan, outcomes: &Outcomes, run: &RunId) -> Vec<Event> {
    let mut events = Vec::new();
    for decision in &plan.issue {
        let certificate = &decision.certificate;
        let (kind, note) = match outcomes.get(&certificate.secret) {
            Some(Outcome::Issued { not_after, issuer }) => {
                (EventKind::Issued, format!("valid until {not_after}, by `{issuer}`"))
            }
            Some(Outcome::Failed(failure)) => (EventKind::Failed, failure.message.clone()),
            Some(Outcome::Stopped | Outcome::Interrupted) | None => continue,
        };
        // Each run's attempt is news, though it failed as the one before.
        events.extend(on_each_ingress(certificate, kind, &note, run.as_str()));
    }
    for decision in &plan.refuse {
        // The same refusal has the same name in each run: the API server, which keeps Events for an hour, takes it once.
        let note = format!("{}: {}", decision.reason.word(), decision.message);
        events.extend(on_each_ingress(
            &decision.certificate,
            EventKind::Refused,
            &note,
            &refusal_key(decision),
        ));
    }
    events
}

/// By its reason alone: a sentence may hold what differs from run to run, such as a time or a request's number.
fn refusal_key(decision: &Decision) -> String {
    format!("refused {}", decision.reason.word())
}

fn on_each_ingress<'a>(
    certificate: &'a Certificate,
    kind: EventKind,
    note: &str,
    key: &str,
) -> impl Iterator<Item = Event> + 'a {
    let secret = &certificate.secret;
    let note = within(
        &plain(&format!("certificate in Secret `{}`: {note}", secret.name)),
        MOST_NOTE_BYTES,
    );
    let key = format!("{key} {}", secret.name);
    certificate.contributions.iter().map(move |contribution| Event {
        name: name(&contribution.ingress.name, &format!("{} {key}", contribution.uid)),
        ingress: contribution.ingress.clone(),
        uid: contribution.uid.clone(),
        kind,
        note: note.clone(),
    })
}

/// The Ingress's name and a digest, as other programs name Events.
fn name(ingress: &str, key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    let hex: String = digest
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let room = MOST_NAME_BYTES - hex.len() - 1;
    let head = ingress.get(..room).unwrap_or(ingress).trim_end_matches(['-', '.']);
    format!("{head}.{hex}")
}

/// Text in at most so many bytes.
fn within(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let room = bytes - '…'.len_utf8();
    let end = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ingress, now, observed};
    use super::super::name::SecretRef;
    use super::super::observed::{Ingress, Read};
    use super::super::plan::plan;
    use super::super::policy::Policy;
    use super::super::report::Failure;
    use super::*;

    fn run(id: &str) -> RunId {
        id.parse().expect("a run's id")
    }

    fn with_uid(uid: &str, ingress: Ingress) -> Ingress {
        Ingress {
            uid: uid.into(),
            ..ingress
        }
    }

    fn of(ingresses: Vec<Ingress>, outcome: Option<Outcome>, id: &str) -> Vec<Event> {
        let plan = plan(&observed(ingresses, Read::Absent), &Policy::default());
        let outcomes = outcome.map(|outcome| (SecretRef::new("web", "a-tls"), outcome));
        events(&plan, &outcomes.into_iter().collect(), &run(id))
    }

    fn failed(message: &str) -> Option<Outcome> {
        Some(Outcome::Failed(Failure {
            message: message.into(),
            hint: None,
        }))
    }

    #[test]
    fn every_ingress_that_contributes_is_told() {
        let ingresses = vec![
            with_uid("1", ingress("web", "a").tls("a-tls", &["a.example"])),
            with_uid("2", ingress("web", "b").tls("a-tls", &["b.example"])),
        ];
        let issued = Outcome::Issued {
            not_after: now(),
            issuer: "CN=Test".into(),
        };
        let events = of(ingresses.clone(), Some(issued), "r1");
        let told: Vec<_> = events
            .iter()
            .map(|event| (event.ingress.to_string(), event.uid.as_str()))
            .collect();
        assert_eq!(told, [("web/a".to_owned(), "1"), ("web/b".to_owned(), "2")]);
        assert!(!events[0].kind.is_warning());
        assert_eq!(
            events[0].note,
            "certificate in Secret `a-tls`: valid until 2026-11-24T12:00:00Z, by `CN=Test`"
        );
        assert_eq!(of(ingresses.clone(), Some(Outcome::Stopped), "r1"), []);
        assert_eq!(of(ingresses, None, "r1"), []);
    }

    #[test]
    fn a_failure_is_news_on_each_run_and_a_refusal_is_not() {
        let good = || vec![ingress("web", "a").tls("a-tls", &["a.example"])];
        assert_ne!(
            of(good(), failed("no"), "r1")[0].name,
            of(good(), failed("no"), "r2")[0].name
        );
        let bad = |host| vec![ingress("web", "a").tls("a-tls", &[host])];
        let refused = of(bad("*.a.example"), None, "r1");
        assert_eq!(refused[0].kind, EventKind::Refused);
        assert!(
            refused[0]
                .note
                .starts_with("certificate in Secret `a-tls`: WildcardHost: host `*.a.example`"),
            "{}",
            refused[0].note
        );
        assert_eq!(refused, of(bad("*.a.example"), None, "r2"));
        assert_ne!(refused[0].name, of(bad("A.example"), None, "r1")[0].name);
    }

    #[test]
    fn names_and_notes_have_a_length_that_the_api_server_takes() {
        let long = format!("{}-{}", "a".repeat(235), "b".repeat(17));
        let ingresses = vec![ingress("web", &long).tls("a-tls", &["a.example"])];
        let events = of(ingresses, failed(&"ü".repeat(1000)), "r1");
        assert_eq!(events[0].name.len(), 252);
        assert!(!events[0].name.contains("-."), "{}", events[0].name);
        assert!(
            (1020..=1024).contains(&events[0].note.len()),
            "{}",
            events[0].note.len()
        );
        assert!(events[0].note.ends_with('…'));
    }
}
