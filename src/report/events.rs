//! Plan and outcomes -> the Events that tell an Ingress's owner, who may never see a report, what became of a certificate.

use super::text::plain;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1 as events;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::decide::desired::Certificate;
use crate::decide::digest::hex;
use crate::decide::name::{DnsName, MANAGED_BY, RunId, SourceRef};
use crate::decide::outcome::{Outcome, Outcomes};
use crate::decide::plan::{Decision, Plan};

/// What a note may have, in bytes (`events.k8s.io/v1`).
const MOST_NOTE_BYTES: usize = 1024;
/// What the name of an object may have (RFC 1123 subdomain).
const MOST_NAME_BYTES: usize = 253;

/// `reportingController`.
const CONTROLLER: &str = "kube-lego-once.dev/kube-lego-once";
/// `action`: what was done or not done.
const ACTION: &str = "Issue";

/// An Event on an object that wants a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The Event's own name; it is in the Ingress's namespace.
    pub name: String,
    /// The object.
    pub source: SourceRef,
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
    /// It is stored, and lacks a host that it had.
    HostDropped,
}

impl Event {
    /// The object, as the API server takes it.
    pub fn object(&self, run: &RunId, at: Timestamp) -> events::Event {
        let (label, us) = MANAGED_BY;
        events::Event {
            metadata: ObjectMeta {
                namespace: Some(self.source.namespace.to_string()),
                name: Some(self.name.clone()),
                labels: Some([(label.to_owned(), us.to_owned())].into()),
                ..ObjectMeta::default()
            },
            regarding: Some(ObjectReference {
                api_version: Some(format!("{}/{}", self.source.kind.group(), self.source.kind.version())),
                kind: Some(self.source.kind.kind().into()),
                namespace: Some(self.source.namespace.to_string()),
                name: Some(self.source.name.to_string()),
                uid: Some(self.uid.clone()),
                ..ObjectReference::default()
            }),
            type_: Some(if self.kind.is_warning() { "Warning" } else { "Normal" }.into()),
            reason: Some(self.kind.reason().into()),
            action: Some(ACTION.into()),
            note: Some(self.note.clone()),
            event_time: Some(MicroTime(at)),
            reporting_controller: Some(CONTROLLER.into()),
            reporting_instance: Some(run.to_string()),
            ..events::Event::default()
        }
    }
}

impl EventKind {
    /// The Event's `reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Issued => "Issued",
            Self::Failed => "Failed",
            Self::Refused => "Refused",
            Self::HostDropped => "HostDropped",
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
            Some(Outcome::Issued {
                not_after,
                issuer,
                dropped,
            }) => {
                for host in dropped {
                    let note = dropped_note(host);
                    let key = format!("{} {host}", run.as_str());
                    events.extend(on_each_ingress(certificate, EventKind::HostDropped, &note, &key));
                }
                (EventKind::Issued, format!("valid until {not_after}, by `{issuer}`"))
            }
            Some(Outcome::Failed(failure)) => (EventKind::Failed, failure.to_string()),
            Some(Outcome::Stopped | Outcome::Interrupted) | None => continue,
        };
        // Each run's attempt is news, though it failed as the one before.
        events.extend(on_each_ingress(certificate, kind, &note, run.as_str()));
    }
    for decision in &plan.refuse {
        // The same refusal has the same name in each run: the API server, which keeps Events for an hour, takes it once.
        let note = format!("{}: {}", decision.reason.word(), decision.message(plan.at));
        events.extend(on_each_ingress(
            &decision.certificate,
            EventKind::Refused,
            &note,
            &refusal_key(decision),
        ));
    }
    events
}

/// Why a certificate was renewed without a host.
pub(super) fn dropped_note(host: &DnsName) -> String {
    format!(
        "it was renewed without `{host}`, which did not answer: less than a tenth of the lifetime was left; it gets `{host}` back when all hosts answer"
    )
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
        name: name(
            &contribution.source.place().name,
            &format!("{} {key}", contribution.source.uid()),
        ),
        source: contribution.source.place(),
        uid: contribution.source.uid().to_string(),
        kind,
        note: note.clone(),
    })
}

/// The Ingress's name and a digest, as other programs name Events.
fn name(ingress: &str, key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    let hex = hex(&digest.as_ref()[..8]);
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
    use serde_json::json;

    use super::*;
    use crate::decide::fixtures::{ingress, now, observed};
    use crate::decide::name::SecretRef;
    use crate::decide::observed::{Ingress, Read};
    use crate::decide::outcome::Failure;
    use crate::decide::plan::plan;
    use crate::decide::policy::Policy;

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
        Some(Outcome::Failed(Failure::new(message, None)))
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
            dropped: Vec::new(),
        };
        let events = of(ingresses.clone(), Some(issued), "r1");
        let told: Vec<_> = events
            .iter()
            .map(|event| (event.source.to_string(), event.uid.as_str()))
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

    #[test]
    fn an_event_has_all_that_the_api_server_asks_for() {
        let ingresses = vec![with_uid("7", ingress("web", "a").tls("a-tls", &["a.example"]))];
        let event = of(ingresses, failed("no"), "r1").remove(0);
        let mut object = serde_json::to_value(event.object(&run("r1"), now())).expect("JSON");
        // The API server's own form, `2006-01-02T15:04:05.000000Z07:00`, has six digits and no other number of them.
        let time = object["eventTime"].take();
        assert_eq!(time, "2026-11-24T12:00:00.000000Z");
        let expected = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {
                "namespace": "web", "name": event.name, "labels": {"app.kubernetes.io/managed-by": "kube-lego-once"},
            },
            "regarding": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "namespace": "web", "name": "a", "uid": "7"},
            "type": "Warning", "reason": "Failed", "action": "Issue", "note": "certificate in Secret `a-tls`: no",
            "eventTime": null, "reportingController": "kube-lego-once.dev/kube-lego-once", "reportingInstance": "r1",
        });
        assert_eq!(object, expected);
    }
}
