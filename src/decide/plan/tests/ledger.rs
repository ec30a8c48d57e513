//! What the ledger has to say in a plan.

use super::*;
use crate::decide::backoff::{Attempt, Attempts, Refused};
use crate::decide::ledger::PrivateKeyPem;

/// One refusal of this certificate, a minute ago.
fn attempts(secret: &str, hosts: &[&str], directory: &str) -> Attempts {
    let hosts: Vec<DnsName> = hosts.iter().map(|host| host.parse().expect("a name")).collect();
    let attempt = Attempt {
        secret: &SecretRef::new("web", secret),
        hosts: &hosts,
        directory,
        account: "https://ca.example/acct/1",
    };
    let refused = Refused {
        class: "unauthorized".into(),
        problem: "`a.example`: no answer".into(),
        not_before: None,
    };
    Attempts::after(None, &attempt, &refused, now() - SignedDuration::from_mins(1))
}

#[test]
fn a_key_that_nobody_needs_any_more_is_something_to_do() {
    let entry = |hours| {
        let at = now() - SignedDuration::from_hours(hours);
        serde_json::json!({
            "namespace": "web", "secret": "gone-tls", "directory": DIRECTORY, "account": "a", "order": "o",
            "hosts": ["a.example"], "key": "k", "at": at.to_string(),
        })
        .to_string()
    };
    for (hours, forgotten) in [
        (47, vec![]),
        (
            48,
            vec![EntryKey::new(EntryKind::Pending, SecretRef::new("web", "gone-tls"))],
        ),
    ] {
        let mut observed = Observed::at(now());
        let ledger = Ledger::from_data([("pending.web.gone-tls", entry(hours).as_bytes())]);
        observed.ledger = Read::Found(ledger);
        let plan = plan(&observed, &policy());
        assert_eq!(plan.is_idle(), forgotten.is_empty());
        assert_eq!(plan.forget, forgotten);
    }
}

#[test]
fn an_entry_of_the_ledger_goes_once_its_certificate_is_stored() {
    let (stored, other) = (with_days_left(60), with_days_left(60));
    let entry = |key: &str, hours_ago: i64| Pending {
        namespace: "web".into(),
        secret: "a-tls".into(),
        directory: DIRECTORY.into(),
        account: "https://ca.example/acct/1".into(),
        order: "https://ca.example/order/1".into(),
        hosts: vec!["a.example".into(), "b.example".into()],
        profile: None,
        key: PrivateKeyPem(key.to_owned()),
        certificate: None,
        at: now() - SignedDuration::from_hours(hours_ago),
    };
    let found = |pair: &(String, String)| Read::Found(secret(pair, Some(DIRECTORY)));
    let broken = (String::new(), stored.1.clone());
    for (what, read, hours_ago, wanted, expected) in [
        ("its certificate is stored", found(&stored), 1, true, true),
        (
            "stored, and no Ingress wants it any more",
            found(&stored),
            1,
            false,
            true,
        ),
        ("the Secret has another", found(&other), 1, true, false),
        (
            "the Secret has its key and no certificate",
            found(&broken),
            1,
            true,
            false,
        ),
        ("no Secret", Read::Absent, 1, true, false),
        ("a read that failed", Read::Unknown("timed out".into()), 1, true, false),
        ("too old", Read::Absent, 48, true, true),
    ] {
        let mut observed = observed(if wanted { vec![web()] } else { vec![] }, read);
        let pending = vec![entry(&stored.1, hours_ago)];
        observed.ledger = Read::Found(Ledger {
            pending,
            ..Ledger::default()
        });
        assert!(
            secrets_wanted(&observed, &policy()).contains(&SecretRef::new("web", "a-tls")),
            "{what}"
        );
        let plan = plan(&observed, &policy());
        assert_eq!(plan.forget.len(), usize::from(expected), "{what}");
        assert_eq!(plan.is_idle(), plan.issue.is_empty() && !expected, "{what}");
        let taken_up = plan.issue.iter().any(|decision| decision.pending.is_some());
        assert!(!(taken_up && expected), "{what}: what is forgotten is not taken up");
    }
}

#[test]
fn what_the_ca_refused_lately_waits() {
    let entry = |hosts: &[&str], directory: &str| Attempts {
        count: 3,
        next: now() + SignedDuration::from_mins(40),
        ..attempts("a-tls", hosts, directory)
    };
    let both: &[&str] = &["a.example", "b.example"];
    let late = |mut entry: Attempts, minutes: i64| {
        entry.next = now() - SignedDuration::from_mins(minutes);
        entry
    };
    let other = Some("https://ca.example/acct/2");
    let week = 7 * 24 * 60;
    for (what, entry, account, retry, waits, forgotten) in [
        ("just now", entry(both, DIRECTORY), None, false, true, false),
        (
            "for other hosts",
            entry(&both[..1], DIRECTORY),
            None,
            false,
            false,
            true,
        ),
        (
            "at another directory",
            entry(both, "https://other.example"),
            None,
            false,
            false,
            false,
        ),
        ("another account", entry(both, DIRECTORY), other, false, false, false),
        ("`--retry-now`", entry(both, DIRECTORY), None, true, false, false),
        (
            "its time has come",
            late(entry(both, DIRECTORY), 0),
            None,
            false,
            false,
            false,
        ),
        ("long ago", late(entry(both, DIRECTORY), week), None, false, false, true),
    ] {
        let mut observed = observed(vec![web()], Read::Absent);
        observed.account = account.map(str::to_owned);
        observed.ledger = Read::Found(Ledger {
            attempts: vec![entry],
            ..Ledger::default()
        });
        let policy = Policy {
            retry_now: retry,
            ..policy()
        };
        let plan = plan(&observed, &policy);
        assert_eq!(plan.forget.len(), usize::from(forgotten), "{what}");
        let (verdict, decision) = plan.decisions()[0];
        let expected = if waits {
            (Verdict::Keep, Reason::BackingOff)
        } else {
            (Verdict::Issue, Reason::Missing)
        };
        assert_eq!(
            (verdict, decision.reason),
            expected,
            "{what}: {}",
            decision.message(observed.now)
        );
        if waits {
            assert!(plan.is_idle(), "{what}");
            assert_eq!(decision.renew_at, Some(now() + SignedDuration::from_mins(40)));
            let said = decision.message(observed.now).to_string();
            assert!(
                said.contains("3 times in a row") && said.contains("no answer") && said.contains("`Missing`"),
                "{said}"
            );
        }
    }
    // An Ingress that another run may look after, by another annotation, keeps them; without it they go.
    for (ingresses, forgotten) in [(vec![web().without_annotation()], 0), (vec![], 1)] {
        let mut observed = observed(ingresses, Read::Absent);
        observed.ledger = Read::Found(Ledger {
            attempts: vec![entry(both, DIRECTORY)],
            ..Ledger::default()
        });
        assert_eq!(plan(&observed, &policy()).forget.len(), forgotten);
    }
    // What is valid does not wait, whatever was refused: an Ingress may have had these hosts before.
    let mut observed = observed(vec![web()], Read::Found(secret(&with_days_left(60), Some(DIRECTORY))));
    observed.ledger = Read::Found(Ledger {
        attempts: vec![entry(both, DIRECTORY)],
        ..Ledger::default()
    });
    assert_eq!(plan(&observed, &policy()).keep[0].reason, Reason::Valid);
}

/// On most clusters nobody serves Gateways; that is no reason to keep anything.
#[test]
fn attempts_that_nobody_in_sight_asks_for_stay_only_while_somebody_out_of_sight_may() {
    let because = String::new;
    for (unseen, namespaces_unseen, forgotten) in [
        (Unseen::NotServed(because()), false, 1),
        (Unseen::Forbidden(because()), false, 0),
        (Unseen::Outdated, false, 0),
        (Unseen::NotServed(because()), true, 0),
    ] {
        let mut observed = observed(Vec::new(), Read::Absent);
        let what = format!("{unseen:?}, {namespaces_unseen}");
        observed.gateways_unseen = Some(unseen);
        observed.namespaces_unseen = namespaces_unseen;
        observed.ledger = Read::Found(Ledger {
            attempts: vec![attempts("a-tls", &["a.example"], DIRECTORY)],
            ..Ledger::default()
        });
        assert_eq!(plan(&observed, &policy()).forget.len(), forgotten, "{what}");
    }
}

#[test]
fn refusals_leave_room_in_the_ledger_for_orders() {
    let refused = |count: usize| {
        let mut observed = observed(Vec::new(), Read::Absent);
        // Nothing is forgotten for being unwanted.
        observed.namespaces_unseen = true;
        let attempts = (0..count).map(|number| {
            let mut attempts = attempts(&format!("{number}-tls"), &["a.example"], DIRECTORY);
            attempts.problem = "x".repeat(500);
            attempts.next = now() + SignedDuration::from_mins(number as i64);
            attempts
        });
        observed.ledger = Read::Found(Ledger {
            attempts: attempts.collect(),
            ..Ledger::default()
        });
        let forgotten = plan(&observed, &policy()).forget.into_iter();
        forgotten.map(|key| key.secret.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(refused(600), Vec::<String>::new());
    let forgotten = refused(2_000);
    assert!((900..1_300).contains(&forgotten.len()), "{}", forgotten.len());
    // The ones that would be tried again first.
    let first: Vec<String> = (0..forgotten.len()).map(|number| format!("{number}-tls")).collect();
    assert_eq!(forgotten, first);
}
