//! Worlds of certificates that are fine, and some that are not.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube_lego_once::decide::backoff::Refused;
use kube_lego_once::decide::inspection::Inspection;
use kube_lego_once::decide::name::SecretRef;
use kube_lego_once::decide::observed::{Leftover, LeftoverKind, Observed, Read, Secret};
use kube_lego_once::decide::outcome::{Failure, Outcome, Outcomes};
use kube_lego_once::decide::plan::plan;
use kube_lego_once::decide::policy::Policy;
use kube_lego_once::report::Report;
use kube_lego_once::report::prometheus::Timing;
use serde_json::json;

use crate::report::{days, ingress, secret};

/// So many certificates a page is made of.
pub const COUNTS: [usize; 3] = [10, 1_000, 10_000];
/// The first namespaces. A world has more, the more certificates are in it.
pub const NAMESPACES: [&str; 3] = ["blog", "shop", "web"];
const NAMES: [&str; 10] = [
    "api", "app", "auth", "cart", "docs", "mail", "media", "search", "status", "www",
];

/// What becomes of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    NoAnswer,
    RateLimited,
    Wildcard,
    Unread,
    Issued,
    Renewed,
    Foreign,
    Valid,
}

/// One of each in ten certificates, or in a hundred where there are more.
fn fate(number: usize, count: usize) -> Fate {
    match number % count.min(100) {
        0 => Fate::NoAnswer,
        1 => Fate::RateLimited,
        2 => Fate::Wildcard,
        3 => Fate::Unread,
        4 => Fate::Issued,
        6 => Fate::Renewed,
        7 => Fate::Foreign,
        _ => Fate::Valid,
    }
}

fn place(number: usize, count: usize) -> SecretRef {
    // With no factor of a hundred, so that each namespace gets some of each fate.
    let namespaces = NAMESPACES.len().max(count / 25 + 1);
    let at = number % namespaces;
    let namespace = NAMESPACES
        .get(at)
        .map_or_else(|| format!("team-{at}"), ToString::to_string);
    let name = NAMES[number / namespaces % NAMES.len()];
    match number / namespaces / NAMES.len() {
        0 => SecretRef::new(namespace, format!("{name}-tls")),
        round => SecretRef::new(namespace, format!("{name}-{round}-tls")),
    }
}

/// Until when its certificate is good; nothing if there is none, or if it could not be read.
fn days_left(number: usize, fate: Fate) -> Option<i64> {
    match fate {
        Fate::NoAnswer | Fate::Unread | Fate::Issued => None,
        Fate::RateLimited => Some(12),
        Fate::Wildcard => Some(-2),
        Fate::Renewed => Some(25),
        Fate::Foreign => Some(6),
        Fate::Valid => Some(31 + i64::try_from(number * 37 % 59).expect("days")),
    }
}

/// A run over so many certificates.
pub fn report(count: usize) -> Report {
    let now: Timestamp = "2026-11-24T03:12:00Z".parse().expect("a time");
    let mut observed = Observed::at(now);
    let mut outcomes = Outcomes::new();
    let foreign = secret("www.example.com", now + days(6));
    let mut ours = foreign.clone();
    let marker = json!({"directory": "https://ca.example/dir", "account": "https://ca.example/account/1"});
    ours.version.marker = Some(marker.to_string().into());
    assert!(ours.marker().is_some(), "a marker");
    for number in 0..count {
        let place = place(number, count);
        let fate = fate(number, count);
        let name = place.name.trim_end_matches("-tls").to_owned();
        let host = match fate {
            Fate::Wildcard => format!("*.{name}.{}.example", place.namespace),
            _ => format!("{name}.{}.example", place.namespace),
        };
        let tls = json!([{"secretName": place.name, "hosts": [host]}]);
        observed
            .ingresses
            .push(Arc::new(ingress(&place.namespace, &name, &tls)));
        let read = match (fate, days_left(number, fate)) {
            (Fate::Unread, _) => Read::Unknown("the API server did not answer within 30 s".into()),
            (_, None) => Read::Absent,
            (fate, Some(left)) => {
                let base = if fate == Fate::Foreign { &foreign } else { &ours };
                Read::Found(of(base, &host, now + days(left)).into())
            }
        };
        observed.secrets.insert(place.clone(), read);
        if let Some(outcome) = outcome(fate, &host, now) {
            outcomes.insert(place, outcome);
        }
    }
    observed.ingresses.push(Arc::new(ingress("web", "landing", &json!([]))));
    observed.leftovers = vec![Leftover {
        kind: LeftoverKind::Ingress,
        namespace: "kube-lego".into(),
        name: "kube-lego-once-contour".into(),
        uid: "1".into(),
        run: "k7x2p".into(),
    }];
    observed.notes =
        vec!["IngressClasses could not be read: every class is taken as it is written (`forbidden`)".into()];
    let policy = Policy {
        directory: Some("https://ca.example/dir".parse().expect("a directory")),
        ..Policy::default()
    };
    let plan = plan(&observed, &policy);
    let timing = Timing {
        ended: now + SignedDuration::from_secs(48),
        duration: SignedDuration::from_secs(48),
        succeeded: false,
    };
    Report::of_run(plan, outcomes, Some("https://ca.example/dir")).timed(timing)
}

fn of(base: &Secret, host: &str, until: Timestamp) -> Secret {
    let mut secret = base.clone();
    let Inspection::Certificate(facts) = &mut secret.inspection else {
        panic!("no certificate")
    };
    facts.names = vec![host.into()];
    facts.not_before = until - days(90);
    facts.not_after = until;
    secret
}

fn outcome(fate: Fate, host: &str, now: Timestamp) -> Option<Outcome> {
    let failure = match fate {
        Fate::NoAnswer => Failure {
            causes: vec![
                format!(
                    "`http://{host}/.well-known/acme-challenge/` answered `404 Not Found` from another server (192.0.2.7), not from this run"
                ),
                format!("`{host}` has an AAAA record, `2001:db8::7`, and nothing answers there"),
            ],
            unanswered: true,
            ..Failure::new(
                "no order was made, because the CA would not get an answer",
                Some(format!("look at where `{host}` leads: `dig {host}`")),
            )
        },
        Fate::RateLimited => Failure {
            slows_down: true,
            refused: Some(Box::new(Refused {
                class: "rateLimited".into(),
                problem: "too many".into(),
                not_before: None,
            })),
            ..Failure::new(
                "the CA refused the order: `rateLimited`: too many certificates already issued for this exact set of names in the last 168 hours, retry after 2026-11-25 09:00:00 UTC",
                None,
            )
        },
        Fate::Issued | Fate::Renewed => {
            return Some(Outcome::Issued {
                not_after: now + days(90),
                issuer: "CN=Test".into(),
                dropped: Vec::new(),
            });
        }
        Fate::Wildcard | Fate::Unread | Fate::Foreign | Fate::Valid => return None,
    };
    Some(Outcome::Failed(failure))
}
