//! How many orders a run may make: what the operator says, and what the CA's published limits leave.
//!
//! What was ordered lately is seen in the Secrets that carry our marker, and in the ledger.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use thin_vec::ThinVec;

use super::checks::Reason;
use super::desired::Certificate;
use super::directory::{Directory, Limit, Limits};
use super::name::{DnsName, SecretRef};
use super::observed::{Observed, Read, Secret};
use super::orders::is_for;
use super::plan::{Decision, though_due};
use super::policy::Policy;
use super::turns::Turns;

/// Let's Encrypt dates certificates back by an hour.
const DATED_BACK: SignedDuration = SignedDuration::from_hours(1);

/// What there is a limit for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Limited {
    /// Orders of the account.
    Account,
    /// Certificates for new sets of names under a registered domain.
    Domain(String),
    /// Certificates for exactly these names, sorted.
    Names(Vec<String>),
}

/// The domain that a registrar sells, by the public suffix list (<https://publicsuffix.org>).
fn registered_domains<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut domains: Vec<String> = names
        .into_iter()
        .filter_map(|name| Some(psl::domain_str(name)?.to_owned()))
        .collect();
    domains.sort();
    domains.dedup();
    domains
}

/// Where the CA's limits stand: what was ordered lately, as far as this run can see, and what this run orders.
struct Room<'a> {
    limits: &'a Limits,
    now: Timestamp,
    /// When each was made.
    made: HashMap<Limited, Vec<Timestamp>>,
}

impl<'a> Room<'a> {
    fn of(observed: &Observed, policy: &'a Policy) -> Option<Self> {
        let directory = policy.directory.as_ref()?;
        let mut room = Self {
            limits: directory.limits()?,
            now: observed.now,
            made: HashMap::new(),
        };
        for secret in observed.secrets.values().filter_map(Read::found) {
            room.count(secret, directory);
        }
        let failed = observed.ledger.found().into_iter().flat_map(|ledger| &ledger.attempts);
        for attempts in failed.filter(|attempts| attempts.directory == directory.url()) {
            room.add(Limited::Account, attempts.at);
        }
        Some(room)
    }

    fn count(&mut self, secret: &Secret, directory: &Directory) {
        let Some(facts) = secret.facts() else { return };
        let issued = facts.not_before + DATED_BACK;
        if self.now.duration_since(issued) > self.limits.names.within.max(self.limits.domain.within)
            || secret.marker().is_none_or(|marker| marker.directory != directory.url())
        {
            return;
        }
        let Some(orders) = &secret.orders else {
            // An older version stored it: whether it was a renewal, or exempt, is not known.
            self.add(Limited::Account, issued);
            return;
        };
        let mut names: Vec<String> = facts.names.iter().map(ToString::to_string).collect();
        names.sort();
        for order in orders {
            self.add(Limited::Account, order.at);
            self.add(Limited::Names(names.clone()), order.at);
            if order.first {
                for domain in registered_domains(names.iter().map(String::as_str)) {
                    self.add(Limited::Domain(domain), order.at);
                }
            }
        }
    }

    fn add(&mut self, limited: Limited, at: Timestamp) {
        if self.now.duration_since(at) < self.limit(&limited).within {
            self.made.entry(limited).or_default().push(at);
        }
    }

    fn limit(&self, limited: &Limited) -> Limit {
        match limited {
            Limited::Account => self.limits.account,
            Limited::Domain(_) => self.limits.domain,
            Limited::Names(_) => self.limits.names,
        }
    }

    /// Takes the place of an order, of each limit that holds for it, or of none.
    fn take(&mut self, certificate: &Certificate, stored: Option<&Secret>, directory: &Directory) -> Result<(), Wait> {
        let names = || certificate.hosts.iter().map(DnsName::as_str);
        let mut limits = vec![Limited::Account, Limited::Names(names().map(str::to_owned).collect())];
        if stored.is_none_or(|secret| !is_for(secret, &certificate.hosts, directory.url())) {
            limits.extend(registered_domains(names()).into_iter().map(Limited::Domain));
        }
        if let Some(wait) = limits.iter().find_map(|limited| self.full(limited)) {
            return Err(wait);
        }
        for limited in limits {
            self.add(limited, self.now);
        }
        Ok(())
    }

    /// Why there is no room, and when there is some again.
    fn full(&self, limited: &Limited) -> Option<Wait> {
        let Limit { count, within } = self.limit(limited);
        let made = self.made.get(limited)?;
        if made.len() < count {
            return None;
        }
        let (whose, made_so_far) = (self.limits.whose, made.len());
        let until = made.iter().min().copied().unwrap_or(self.now) + within;
        let what = match limited {
            Limited::Account => "of an account".to_owned(),
            Limited::Domain(domain) => format!("for new names under `{domain}`"),
            Limited::Names(_) => "for exactly these names".to_owned(),
        };
        let time = match within.as_hours() {
            hours if hours % 24 == 0 => format!("{} days", hours / 24),
            hours => format!("{hours} h"),
        };
        let why = format!(
            "{whose} accepts {count} orders {what} in {time}, and this one would be number {}; there is room again at {until:.0}",
            made_so_far + 1
        );
        Some(Wait { why, until })
    }
}

/// Why an order waits, and until when.
struct Wait {
    why: String,
    until: Timestamp,
}

/// Takes out of `due` what has to wait. Those that are left are no more than there is room for: namespaces in rotation, in each
/// what ends first (I9).
pub(super) fn defer(due: &mut Vec<Decision>, observed: &Observed, policy: &Policy) -> Vec<Decision> {
    // An order that is there already is no new one.
    let is_new = |decision: &&Decision| decision.pending.is_none();
    // Most runs have nothing due: what was ordered lately is counted only where it matters.
    if !due.iter().any(|decision| is_new(&decision)) {
        return Vec::new();
    }
    let mut room = Room::of(observed, policy);
    let mut turns = Turns::default();
    for decision in due.iter().filter(is_new) {
        let ends = decision.facts().map(|facts| facts.not_after);
        turns.push(&decision.certificate.secret.namespace, ends, decision);
    }
    let mut waiting: HashMap<SecretRef, Wait> = HashMap::new();
    let mut orders = 0;
    while let Some(decision) = turns.pop() {
        let mut take = || {
            if let Some(most) = policy.max_orders.filter(|most| orders >= *most) {
                let why =
                    format!("a run makes at most {most} orders (`--max-orders`), and other certificates come first");
                return Err(Wait {
                    why,
                    until: observed.now,
                });
            }
            // A renewal that names the certificate before it is exempt (<https://letsencrypt.org/docs/rate-limits/#limit-exemptions-for-renewals>).
            if let (Some(room), Some(directory), None) = (&mut room, &policy.directory, &decision.replaces) {
                room.take(&decision.certificate, decision.secret.as_deref(), directory)?;
            }
            orders += 1;
            Ok(())
        };
        if let Err(wait) = take() {
            waiting.insert(decision.certificate.secret.clone(), wait);
        }
    }
    due.extract_if(.., |decision| waiting.contains_key(&decision.certificate.secret))
        .map(|decision| {
            let wait = &waiting[&decision.certificate.secret];
            deferred(decision, wait, observed.now)
        })
        .collect()
}

fn deferred(decision: Decision, wait: &Wait, now: Timestamp) -> Decision {
    let why = format!("not ordered in this run: {}; a later run orders this one", wait.why);
    Decision {
        said: Some(though_due(&why, decision.reason, &decision.message(now).to_string()).into()),
        reason: Reason::Deferred,
        renew_at: Some(wait.until),
        replaces: None,
        routes: ThinVec::new(),
        ..decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::{certificate, ingress, now, observed, secret};
    use crate::decide::orders::Counted;
    use crate::decide::plan::plan;

    const LETS_ENCRYPT_URL: &str = "https://acme-v02.api.letsencrypt.org/directory";

    /// Each under a registered domain of its own.
    fn due(many: usize, few: usize) -> Observed {
        let of = |namespace, count| (0..count).map(move |n| (namespace, format!("{namespace}-{n}.example")));
        due_for(of("many", many).chain(of("few", few)))
    }

    fn due_for(hosts: impl IntoIterator<Item = (&'static str, String)>) -> Observed {
        let one = |(n, (namespace, host)): (usize, (&str, String))| {
            ingress(namespace, &format!("i{n}")).tls(&format!("tls-{n}"), &[&host])
        };
        let mut observed = observed(hosts.into_iter().enumerate().map(one).collect(), Read::Absent);
        observed.secrets.clear();
        for ingress in &observed.ingresses {
            for tls in &ingress.tls {
                let name = tls.secret_name.clone().expect("a name");
                let secret = SecretRef::new(ingress.name.namespace.clone(), name);
                observed.secrets.insert(secret, Read::Absent);
            }
        }
        observed
    }

    #[test]
    fn one_namespaces_many_cost_another_nothing() {
        let policy = Policy {
            max_orders: Some(50),
            directory: Some("https://ca.example/dir".parse().expect("a directory")),
            ..Policy::default()
        };
        let plan = plan(&due(300, 10), &policy);
        let of = |namespace: &str| {
            let issue = plan.issue.iter();
            issue
                .filter(|decision| decision.certificate.secret.namespace == namespace)
                .count()
        };
        assert_eq!((of("few"), of("many")), (10, 40));
        assert_eq!(plan.keep.len(), 260);
        let waiting = &plan.keep[0];
        assert_eq!(waiting.reason, Reason::Deferred);
        let said = waiting.message(plan.at).to_string();
        assert!(said.contains("`--max-orders`") && said.contains("`Missing`"), "{said}");
        assert!(waiting.routes.is_empty());
    }

    #[test]
    fn lets_encrypts_limit_holds_without_a_flag_and_nobody_elses_is_known() {
        for (directory, count, room) in [
            (LETS_ENCRYPT_URL, 310, 300),
            (LETS_ENCRYPT_URL, 300, 300),
            ("https://ca.example/dir", 310, 310),
        ] {
            let policy = Policy {
                directory: Some(directory.parse().expect("a directory")),
                ..Policy::default()
            };
            assert_eq!(plan(&due(count, 0), &policy).issue.len(), room, "{directory}");
        }
    }

    #[test]
    fn renewals_that_name_their_predecessor_do_not_count_for_the_ca() {
        let renewals = |max_orders| {
            let policy = Policy {
                directory: Some(LETS_ENCRYPT_URL.parse().expect("a directory")),
                max_orders,
                ..Policy::default()
            };
            let mut observed = due(310, 5);
            for decision in plan(&observed, &Policy::default()).issue.iter().take(305) {
                let names: Vec<&str> = decision.certificate.hosts.iter().map(DnsName::as_str).collect();
                let begin = observed.now - SignedDuration::from_hours(85 * 24);
                let pair = certificate(&names, "R11", begin, begin + SignedDuration::from_hours(90 * 24));
                let stored = secret(&pair, Some(LETS_ENCRYPT_URL));
                let place = decision.certificate.secret.clone();
                observed.secrets.insert(place, Read::Found(stored.into()));
            }
            let plan = plan(&observed, &policy);
            let exempt = plan.issue.iter().filter(|decision| decision.replaces.is_some());
            (exempt.count(), plan.issue.len())
        };
        assert_eq!(renewals(None), (305, 315));
        assert_eq!(renewals(Some(100)).1, 100);
    }

    #[test]
    fn what_was_ordered_lately_counts() {
        let policy = Policy {
            directory: Some(LETS_ENCRYPT_URL.parse().expect("a directory")),
            ..Policy::default()
        };
        for (hours_ago, marked, room) in [(2, true, 299), (5, true, 300), (2, false, 300)] {
            let mut observed = due(310, 0);
            let begin = now() - SignedDuration::from_hours(hours_ago);
            let pair = certificate(
                &["x.example.com"],
                "R11",
                begin,
                begin + SignedDuration::from_hours(90 * 24),
            );
            let stored = secret(&pair, marked.then_some(LETS_ENCRYPT_URL));
            let place = SecretRef::new("many", "other");
            observed.secrets.insert(place, Read::Found(stored.into()));
            assert_eq!(plan(&observed, &policy).issue.len(), room, "{hours_ago} {marked}");
        }
    }

    /// Marked Secrets for these names that were ordered so many hours ago, each by as many orders.
    fn ordered(observed: &mut Observed, names: &[&str], hours_ago: &[i64], first: bool) {
        let begin = observed.now - SignedDuration::from_hours(hours_ago[0] + 1);
        let pair = certificate(names, "R11", begin, begin + SignedDuration::from_hours(90 * 24));
        let mut stored = secret(&pair, Some(LETS_ENCRYPT_URL));
        let at = |hours: &i64| Counted {
            at: observed.now - SignedDuration::from_hours(*hours),
            first,
        };
        stored.orders = Some(hours_ago.iter().map(at).collect());
        let place = SecretRef::new("elsewhere", format!("{}-{}", names[0], observed.secrets.len()));
        observed.secrets.insert(place, Read::Found(stored.into()));
    }

    #[test]
    fn new_names_under_one_domain_have_a_limit_of_their_own_and_renewals_do_not_count() {
        let policy = Policy {
            directory: Some(LETS_ENCRYPT_URL.parse().expect("a directory")),
            ..Policy::default()
        };
        let new = |domain: &'static str, count| (0..count).map(move |n| ("web", format!("h{n}.{domain}")));
        for (domain, hours_ago, first, room) in [
            ("example.com", 24, true, 20),
            ("example.com", 24, false, 50),
            ("example.com", 169, true, 50),
            ("example.org", 24, true, 50),
        ] {
            let mut observed = due_for(new("example.com", 60).chain(new("example.co.uk", 1)));
            for number in 0..30 {
                ordered(
                    &mut observed,
                    &[&format!("n{number}.deep.{domain}")],
                    &[hours_ago],
                    first,
                );
            }
            let plan = plan(&observed, &policy);
            // Another domain's are in no way held back.
            assert_eq!(plan.issue.len(), room + 1, "{domain} {hours_ago} {first}");
            let waiting = plan.keep.iter().find(|decision| decision.reason == Reason::Deferred);
            let said = waiting.expect("one that waits").message(plan.at).to_string();
            assert!(
                said.contains("50 orders for new names under `example.com` in 7 days"),
                "{said}"
            );
        }
    }

    #[test]
    fn the_same_names_are_ordered_five_times_a_week() {
        let policy = Policy {
            directory: Some(LETS_ENCRYPT_URL.parse().expect("a directory")),
            ..Policy::default()
        };
        for (hours_ago, waits) in [
            (&[1, 2, 3, 4][..], false),
            (&[1, 2, 3, 4, 100], true),
            (&[1, 2, 3, 4, 200], false),
        ] {
            let mut observed = due(1, 0);
            ordered(&mut observed, &["many-0.example"], hours_ago, false);
            let plan = plan(&observed, &policy);
            assert_eq!(plan.issue.is_empty(), waits, "{hours_ago:?}");
            if let Some(waiting) = plan.keep.first() {
                let said = waiting.message(plan.at).to_string();
                assert!(said.contains("5 orders for exactly these names in 7 days"), "{said}");
                let oldest = observed.now - SignedDuration::from_hours(100);
                assert_eq!(waiting.renew_at, Some(oldest + SignedDuration::from_hours(7 * 24)));
            }
        }
    }
}
