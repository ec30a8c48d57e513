//! How many orders a run may make: what the operator says, and what the CA's published limits leave.
//!
//! Nothing is stored for it: what was ordered lately is seen in the Secrets that carry our marker, and in the ledger.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use thin_vec::ThinVec;

use super::checks::Reason;
use super::digest::digest;
use super::directory::{Directory, OrderLimit};
use super::name::SecretRef;
use super::observed::{Observed, Secret};
use super::plan::{Decision, though_due};
use super::policy::Policy;
use super::turns::Turns;

/// Let's Encrypt dates certificates back by an hour.
const DATED_BACK: SignedDuration = SignedDuration::from_hours(1);

/// How many orders of this directory were made since then, as far as this run can see. Anybody can write Secrets that look like
/// ours, so one namespace's count for half of the limit at most; if more were made, the CA says so.
fn used(directory: &Directory, since: Timestamp, limit: usize, observed: &Observed) -> usize {
    let is_counted = |secret: &Secret| {
        // Anybody may write any time into a certificate of his own.
        let lately = secret.facts().is_some_and(|facts| {
            (since..=observed.now + DATED_BACK)
                .contains(&facts.not_before.saturating_add(DATED_BACK).unwrap_or(Timestamp::MAX))
        });
        lately
            && secret
                .marker()
                .is_some_and(|marker| marker.directory == directory.url())
    };
    let mut stored: HashMap<&str, usize> = HashMap::new();
    for (place, secret) in &observed.secrets {
        if secret.found().is_some_and(|secret| is_counted(secret)) {
            *stored.entry(&place.namespace).or_default() += 1;
        }
    }
    let ledger = observed.ledger.found();
    let failed = ledger.into_iter().flat_map(|ledger| &ledger.attempts);
    let failed = failed.filter(|attempts| attempts.at >= since && attempts.directory == directory.url());
    stored.into_values().map(|count| count.min(limit / 2)).sum::<usize>() + failed.count()
}

/// How many orders there is room for, and why for no more.
struct Ceiling {
    orders: usize,
    why: String,
}

impl Ceiling {
    fn of_the_run(policy: &Policy) -> Option<Self> {
        let orders = policy.max_orders?;
        let why = format!("a run makes at most {orders} orders (`--max-orders`)");
        Some(Self { orders, why })
    }

    fn of_the_ca(observed: &Observed, policy: &Policy) -> Option<Self> {
        let directory = policy.directory.as_ref()?;
        let OrderLimit { whose, orders, within } = *directory.order_limit()?;
        let since = observed.now - within;
        let used = used(directory, since, orders, observed);
        Some(Self {
            orders: orders.saturating_sub(used),
            why: format!(
                "{whose} accepts {orders} orders of an account in {} h, and {used} were made since {since:.0}",
                within.as_hours()
            ),
        })
    }

    /// Takes the place of one order, or says why there is none.
    fn take(ceiling: &mut Option<Self>) -> Result<(), String> {
        let Some(ceiling) = ceiling else { return Ok(()) };
        ceiling.orders = ceiling.orders.checked_sub(1).ok_or_else(|| ceiling.why.clone())?;
        Ok(())
    }
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
    let mut of_the_run = Ceiling::of_the_run(policy);
    let mut of_the_ca = Ceiling::of_the_ca(observed, policy);
    let mut turns = Turns::default();
    // A host that does not answer takes a place here, makes no order, and is back in the next run: in another hour others come first.
    let hour = observed.now.as_second() / 3600;
    let mut new: Vec<&Decision> = due.iter().filter(is_new).collect();
    new.sort_by_cached_key(|decision| {
        let SecretRef { namespace, name } = &decision.certificate.secret;
        digest(&[namespace.as_bytes(), name.as_bytes(), &hour.to_be_bytes()])
    });
    for decision in new {
        let ends = decision.facts().map(|facts| facts.not_after);
        let secret = &decision.certificate.secret;
        // A renewal that names the certificate before it is exempt (<https://letsencrypt.org/docs/rate-limits/#limit-exemptions-for-renewals>).
        turns.push(&secret.namespace, ends, (secret.clone(), decision.replaces.is_some()));
    }
    let mut waiting: HashMap<SecretRef, String> = HashMap::new();
    while let Some((secret, exempt)) = turns.pop() {
        let by_the_ca = |ca: &mut _| if exempt { Ok(()) } else { Ceiling::take(ca) };
        if let Err(why) = Ceiling::take(&mut of_the_run).and_then(|()| by_the_ca(&mut of_the_ca)) {
            waiting.insert(secret, why);
        }
    }
    due.extract_if(.., |decision| waiting.contains_key(&decision.certificate.secret))
        .map(|decision| {
            let why = &waiting[&decision.certificate.secret];
            deferred(decision, why, observed.now)
        })
        .collect()
}

fn deferred(decision: Decision, why: &str, now: Timestamp) -> Decision {
    let why = format!("not ordered in this run: {why}, and other certificates come first; a later run orders this one");
    Decision {
        said: Some(though_due(&why, decision.reason, &decision.message(now).to_string()).into()),
        reason: Reason::Deferred,
        renew_at: Some(now),
        replaces: None,
        routes: ThinVec::new(),
        ..decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::{certificate, ingress, now, observed, secret};
    use crate::decide::name::DnsName;
    use crate::decide::observed::Read;
    use crate::decide::plan::plan;

    const LETS_ENCRYPT_URL: &str = "https://acme-v02.api.letsencrypt.org/directory";

    fn due(many: usize, few: usize) -> Observed {
        let of = |namespace: &'static str, count| {
            (0..count).map(move |n| {
                let (name, host) = (format!("i{n}"), format!("h{n}.{namespace}.example.com"));
                ingress(namespace, &name).tls(&format!("tls-{n}"), &[&host])
            })
        };
        let mut observed = observed(of("many", many).chain(of("few", few)).collect(), Read::Absent);
        observed.secrets.clear();
        for ingress in &observed.ingresses {
            for tls in &ingress.tls {
                let name = tls.secret_name.clone().expect("a name");
                let secret = crate::decide::name::SecretRef::new(ingress.name.namespace.clone(), name);
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
            let place = crate::decide::name::SecretRef::new("many", "other");
            observed.secrets.insert(place, Read::Found(stored.into()));
            assert_eq!(plan(&observed, &policy).issue.len(), room, "{hours_ago} {marked}");
        }
    }

    #[test]
    fn a_time_that_somebody_made_up_counts_for_nothing() {
        let policy = Policy {
            directory: Some(LETS_ENCRYPT_URL.parse().expect("a directory")),
            ..Policy::default()
        };
        let day = SignedDuration::from_hours(24);
        for begin in [
            now() + day,
            Timestamp::MAX - day,
            Timestamp::MAX - SignedDuration::from_mins(1),
        ] {
            let mut observed = due(310, 0);
            let pair = certificate(&["x.example.com"], "R11", begin, Timestamp::MAX);
            let stored = secret(&pair, Some(LETS_ENCRYPT_URL));
            let place = crate::decide::name::SecretRef::new("many", "other");
            observed.secrets.insert(place, Read::Found(stored.into()));
            assert_eq!(plan(&observed, &policy).issue.len(), 300, "{begin}");
        }
    }

    #[test]
    fn those_that_take_a_place_and_make_no_order_do_not_take_it_for_ever() {
        let policy = Policy {
            max_orders: Some(5),
            directory: Some("https://ca.example/dir".parse().expect("a directory")),
            ..Policy::default()
        };
        let mut seen = std::collections::BTreeSet::new();
        for hours in 0..60 {
            let mut observed = due(30, 0);
            observed.now += SignedDuration::from_hours(hours);
            let plan = plan(&observed, &policy);
            assert_eq!(plan.issue.len(), 5);
            seen.extend(plan.issue.iter().map(|decision| decision.certificate.secret.clone()));
        }
        assert_eq!(seen.len(), 30);
    }

    #[test]
    fn one_namespaces_secrets_leave_room_for_others() {
        let policy = Policy {
            directory: Some(LETS_ENCRYPT_URL.parse().expect("a directory")),
            ..Policy::default()
        };
        for (namespaces, room) in [(1, 150), (2, 0)] {
            let mut observed = due(310, 0);
            let pair = certificate(&["x.example.com"], "R11", now(), now() + SignedDuration::from_hours(24));
            for n in 0..400 {
                let place = crate::decide::name::SecretRef::new(format!("forger-{}", n % namespaces), format!("x{n}"));
                let stored = secret(&pair, Some(LETS_ENCRYPT_URL));
                observed.secrets.insert(place, Read::Found(stored.into()));
            }
            assert_eq!(plan(&observed, &policy).issue.len(), room, "{namespaces}");
        }
    }
}
