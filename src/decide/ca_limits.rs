//! The CA's limits, by its own word: until when it takes no order of the account, or for new names under a registered domain.
//!
//! Let's Encrypt takes 300 orders of an account in 3 hours, and issues 50 certificates for new names under a registered domain in 7 days
//! (<https://letsencrypt.org/docs/rate-limits/>). Which orders count cannot be seen from here: other clusters order too, Secrets are
//! deleted, anybody can write dates into a certificate, and only the CA knows a renewal. Its refusal costs nothing, and names the time.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::backoff::Refused;
use super::name::DnsName;
use super::observed::Observed;
use super::outcome::{Failure, Outcome};
use super::plan::Decision;
use super::policy::Policy;

/// What the CA takes no order for, and until when.
#[derive(Debug, Default)]
pub struct CaLimits {
    account: Option<Timestamp>,
    domains: BTreeMap<String, Timestamp>,
}

impl CaLimits {
    /// What the CA refused earlier runs, where that is not over.
    pub(super) fn of(observed: &Observed, policy: &Policy) -> Self {
        let mut limits = Self::default();
        let (Some(ledger), Some(directory)) = (observed.ledger.found(), &policy.directory) else {
            return limits;
        };
        let account = observed.account.as_deref();
        let theirs = ledger.attempts.iter().filter(|it| it.are_at(directory, account));
        for attempts in theirs {
            // Not its next attempt: that is later after each refusal, up to a day, which is nobody else's matter.
            if let Some(until) = attempts.not_before.filter(|until| *until > observed.now) {
                limits.add(&attempts.class, &attempts.problem, until);
            }
        }
        limits
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
        if class != "rateLimited" {
            return;
        }
        if problem.contains(ACCOUNT) {
            self.account = self.account.max(Some(until));
        } else if let Some(domain) = domain(problem) {
            self.domains.insert(domain.to_ascii_lowercase(), until);
        }
    }

    /// Until when a certificate for these names that replaces none is held back, and why.
    pub(super) fn hold_of(&self, names: &[DnsName]) -> Option<Hold> {
        let domains = names.iter().filter_map(|name| self.domain_of(name));
        let of_domain = domains.max_by_key(|(_, until)| **until).map(|(domain, until)| Hold {
            until: *until,
            why: format!(
                "the CA has issued enough certificates for new names under `{domain}` for now, and takes the next order at {until:.0}"
            ),
        });
        let of_account = self.account.map(|until| Hold {
            until,
            why: format!("the CA takes no more new orders of this account for now, and the next one at {until:.0}"),
        });
        of_domain.into_iter().chain(of_account).max_by_key(|hold| hold.until)
    }

    /// The name itself, or a domain above it.
    fn domain_of(&self, name: &DnsName) -> Option<(&String, &Timestamp)> {
        let name = name.as_str();
        let above = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
        let mut domains = std::iter::once(name).chain(above);
        domains.find_map(|domain| self.domains.get_key_value(domain))
    }

    /// Why a certificate is not ordered in this run; nothing where it is. What replaces a certificate goes to the CA all the same:
    /// most renewals do not count.
    pub fn hold(&self, decision: &Decision) -> Option<Outcome> {
        let Hold { until, why } = self
            .hold_of(&decision.certificate.hosts)
            .filter(|_| decision.facts().is_none())?;
        let refused = Refused {
            class: "rateLimited".to_owned(),
            problem: why.clone(),
            not_before: Some(until),
        };
        Some(Outcome::Failed(Failure {
            refused: Some(refused.into()),
            ..Failure::new(format!("no order was made: {why}"), None)
        }))
    }
}

/// Why there is no order, and until when.
pub(super) struct Hold {
    pub(super) until: Timestamp,
    pub(super) why: String,
}

/// How Let's Encrypt (Boulder) refuses for the account:
/// `too many new orders (300) from this account in the last 3h0m0s, retry after ...`.
const ACCOUNT: &str = " from this account in the last ";

/// The domain in a refusal of it for a registered domain:
/// `too many certificates (50) already issued for "example.com" in the last 168h0m0s, retry after ...`.
fn domain(problem: &str) -> Option<&str> {
    let (_, rest) = problem.split_once(ALREADY)?;
    rest.strip_prefix('"')?.split_once('"').map(|(domain, _)| domain)
}

const ALREADY: &str = " already issued for ";

/// Whether a CA's limit is for some names only: it is no reason to ask it more slowly for others.
pub fn is_of_names(detail: &str) -> bool {
    detail.contains(ALREADY)
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
        // The tenth in a row: its own next attempt is a day later.
        let before = until - jiff::SignedDuration::from_hours(1);
        let attempts = (0..10).fold(None, |attempts, _| {
            Some(Attempts::after(attempts.as_ref(), &attempt, &refused, before))
        });
        let attempts = attempts.expect("ten");
        assert!(attempts.next > until + jiff::SignedDuration::from_hours(20));
        Observed {
            account: Some("https://ca.example/acct/1".to_owned()),
            ledger: Read::Found(Ledger {
                attempts: vec![attempts],
                ..Ledger::default()
            }),
            ..Observed::at(now())
        }
    }

    #[test]
    fn a_domain_is_held_back_at_this_ca_until_the_time_that_it_says() {
        let until = now() + jiff::SignedDuration::from_hours(3);
        let with = |directory: &str, observed: &Observed| {
            let policy = Policy {
                directory: Some(directory.parse().expect("a directory")),
                ..Policy::default()
            };
            CaLimits::of(observed, &policy)
        };
        let at = |directory: &str, until, class| with(directory, &refused_until(until, class));
        let limits = at("https://ca.example/dir", until, "rateLimited");
        for (wanted, expected) in [
            (&["example.co.uk"][..], Some("example.co.uk")),
            (&["a.b.example.co.uk"], Some("example.co.uk")),
            (&["a.example", "b.example.co.uk"], Some("example.co.uk")),
            (&["other-example.co.uk"], None),
            (&["example.co.uk.example"], None),
            (&["co.uk"], None),
        ] {
            let found = limits.hold_of(&names(wanted));
            let held = found
                .as_ref()
                .map(|hold| (hold.until, hold.why.contains("`example.co.uk`")));
            assert_eq!(held, expected.map(|_: &str| (until, true)), "{wanted:?}");
        }
        let mut with_another_account = refused_until(until, "rateLimited");
        with_another_account.account = Some("https://ca.example/acct/2".to_owned());
        // Another CA's, another account's, one that is over, and a problem of another class, which may quote a host's answer.
        for limits in [
            with("https://ca.example/dir", &with_another_account),
            at("https://other.example/dir", until, "rateLimited"),
            at("https://ca.example/dir", now(), "rateLimited"),
            at("https://ca.example/dir", until, "unauthorized"),
        ] {
            assert!(limits.hold_of(&names(&["example.co.uk"])).is_none(), "{limits:?}");
        }
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
        let later = now() + jiff::SignedDuration::from_hours(1);
        let account = "rateLimited: too many new orders (300) from this account in the last 3h0m0s, retry after";
        let set = "too many certificates (5) already issued for this exact set of identifiers";
        for (problem, until, held) in [
            (REFUSED, Some(later), [true, false]),
            (REFUSED, None, [false, false]),
            (account, Some(later), [true, true]),
            (set, Some(later), [false, false]),
            (
                "too many certificates already issued for \"",
                Some(later),
                [false, false],
            ),
        ] {
            let mut limits = CaLimits::default();
            limits.learn(&failed(problem, until));
            let found = ["a.example.co.uk", "other.example"].map(|name| limits.hold_of(&names(&[name])).is_some());
            assert_eq!(found, held, "{problem}");
        }
    }
}
