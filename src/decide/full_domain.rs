//! Registered domains for whose new names the CA has issued enough certificates for now.
//!
//! Let's Encrypt issues 50 a week (<https://letsencrypt.org/docs/rate-limits/#new-certificates-per-registered-domain>), less renewals.
//! Which orders count cannot be seen from here: other clusters order too, Secrets are deleted, and only the CA knows a renewal. So the
//! CA's own refusal is the limit: it names the domain, and the time of the next place.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::backoff::Refused;
use super::name::DnsName;
use super::observed::Observed;
use super::outcome::{Failure, Outcome};
use super::plan::Decision;
use super::policy::Policy;

/// The domains that are full.
#[derive(Debug, Default)]
pub struct FullDomains(BTreeMap<String, Timestamp>);

impl FullDomains {
    /// What the CA refused earlier runs, where that is not over.
    pub(super) fn of(observed: &Observed, policy: &Policy) -> Self {
        let mut full = Self::default();
        let (Some(ledger), Some(directory)) = (observed.ledger.found(), &policy.directory) else {
            return full;
        };
        let at_directory = ledger
            .attempts
            .iter()
            .filter(|attempts| attempts.directory == directory.url());
        for attempts in at_directory.filter(|attempts| attempts.next > observed.now) {
            full.add(&attempts.class, &attempts.problem, attempts.next);
        }
        full
    }

    /// Takes note of how an order ended.
    pub fn learn(&mut self, outcome: &Outcome) {
        if let Outcome::Failed(Failure {
            refused: Some(refused), ..
        }) = outcome
            && let Some(until) = refused.not_before
        {
            self.add(&refused.class, &refused.problem, until);
        }
    }

    /// Other problems may quote what a host answered, so anybody's words.
    fn add(&mut self, class: &str, problem: &str, until: Timestamp) {
        if class == "rateLimited"
            && let Some(domain) = domain(problem)
        {
            self.0.insert(domain.to_ascii_lowercase(), until);
        }
    }

    /// The domain that holds a certificate for these names back, and until when.
    pub(super) fn of_names(&self, names: &[DnsName]) -> Option<(&str, Timestamp)> {
        let of = |name: &DnsName| {
            // The name itself, and each domain above it.
            let mut domains = name
                .as_str()
                .match_indices('.')
                .map(|(dot, _)| &name.as_str()[dot + 1..]);
            let domain = std::iter::once(name.as_str())
                .chain(&mut domains)
                .find(|domain| self.0.contains_key(*domain))?;
            self.0.get_key_value(domain)
        };
        let full = names.iter().filter_map(of).max_by_key(|(_, until)| **until);
        full.map(|(domain, until)| (domain.as_str(), *until))
    }

    /// Why a certificate is not ordered in this run; nothing where it is. What replaces a certificate goes to the CA all the same:
    /// most renewals do not count.
    pub fn hold(&self, decision: &Decision) -> Option<Outcome> {
        let (domain, until) = self.of_names(&decision.certificate.hosts)?;
        decision.facts().is_none().then(|| {
            let refused = Refused {
                class: "rateLimited".to_owned(),
                problem: format!("the CA refused another certificate for a new name under `{domain}`"),
                not_before: Some(until),
            };
            let message = format!("no order was made: {}", sentence(domain, until));
            Outcome::Failed(Failure {
                refused: Some(refused.into()),
                ..Failure::new(message, None)
            })
        })
    }
}

/// What the CA said, for people.
pub(super) fn sentence(domain: &str, until: Timestamp) -> String {
    format!(
        "the CA has issued enough certificates for new names under `{domain}` for now, and takes the next order at {until:.0}"
    )
}

/// The domain in a refusal of Let's Encrypt's (Boulder):
/// `too many certificates (50) already issued for "example.com" in the last 168h0m0s, retry after ...`.
fn domain(problem: &str) -> Option<&str> {
    let (_, rest) = problem.split_once(" already issued for \"")?;
    rest.split_once('"').map(|(domain, _)| domain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::backoff::{Attempt, Attempts};
    use crate::decide::fixtures::now;
    use crate::decide::ledger::Ledger;
    use crate::decide::name::SecretRef;
    use crate::decide::observed::Read;

    const REFUSED: &str = "rateLimited: too many certificates (50) already issued for \"example.co.uk\" in the last 168h0m0s, retry after 2027-01-02 03:04:05 UTC: see https://letsencrypt.org/docs/rate-limits/";

    fn names(names: &[&str]) -> Vec<DnsName> {
        names.iter().map(|name| name.parse().expect("a name")).collect()
    }

    fn refused_until(until: Timestamp, class: &str) -> Observed {
        let hosts = names(&["x.example.co.uk"]);
        let attempt = Attempt {
            secret: &SecretRef::new("web", "x-tls"),
            hosts: &hosts,
            directory: "https://ca.example/dir",
            account: "https://ca.example/acct/1",
        };
        let refused = Refused {
            class: class.into(),
            problem: REFUSED.into(),
            not_before: Some(until),
        };
        let attempts = Attempts::after(None, &attempt, &refused, until - jiff::SignedDuration::from_hours(1));
        Observed {
            ledger: Read::Found(Ledger {
                attempts: vec![attempts],
                ..Ledger::default()
            }),
            ..Observed::at(now())
        }
    }

    #[test]
    fn a_domain_is_full_for_its_names_at_this_ca_until_the_time_that_it_says() {
        let until = now() + jiff::SignedDuration::from_hours(3);
        let at = |directory: &str, until, class| {
            let policy = Policy {
                directory: Some(directory.parse().expect("a directory")),
                ..Policy::default()
            };
            FullDomains::of(&refused_until(until, class), &policy)
        };
        let full = at("https://ca.example/dir", until, "rateLimited");
        for (wanted, expected) in [
            (&["example.co.uk"][..], Some("example.co.uk")),
            (&["a.b.example.co.uk"], Some("example.co.uk")),
            (&["a.example", "b.example.co.uk"], Some("example.co.uk")),
            (&["other-example.co.uk"], None),
            (&["example.co.uk.example"], None),
            (&["co.uk"], None),
        ] {
            let found = full.of_names(&names(wanted));
            assert_eq!(found, expected.map(|domain| (domain, until)), "{wanted:?}");
        }
        assert!(at("https://other.example/dir", until, "rateLimited").0.is_empty());
        assert!(at("https://ca.example/dir", now(), "rateLimited").0.is_empty());
        // A host's answer may be quoted in a problem of another class.
        assert!(at("https://ca.example/dir", until, "unauthorized").0.is_empty());
    }

    #[test]
    fn a_refusal_teaches_where_it_names_domain_and_time() {
        let failed = |problem: &str, not_before| {
            let (class, problem) = ("rateLimited".into(), problem.into());
            let refused = Refused {
                class,
                problem,
                not_before,
            };
            Outcome::Failed(Failure {
                refused: Some(refused.into()),
                ..Failure::new("no", None)
            })
        };
        for (problem, until, learnt) in [
            (REFUSED, Some(now()), 1),
            (REFUSED, None, 0),
            (
                "too many certificates (5) already issued for this exact set of identifiers",
                Some(now()),
                0,
            ),
            ("already issued for \"", Some(now()), 0),
        ] {
            let mut full = FullDomains::default();
            full.learn(&failed(problem, until));
            assert_eq!(full.0.len(), learnt, "{problem}");
        }
    }
}
