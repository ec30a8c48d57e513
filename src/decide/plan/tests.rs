mod ledger;

use super::*;
use crate::decide::fixtures::{self, certificate, ingress, now, observed, secret};
use crate::decide::name::{DnsName, SecretRef, SourceKind, SourceRef};
use crate::decide::observed::{Ingress, LeftoverKind, RenewalWindow, Secret};
use crate::decide::policy::TLS_ACME;
use jiff::SignedDuration;

const DIRECTORY: &str = "https://ca.example/dir";

fn policy() -> Policy {
    Policy {
        directory: Some(DIRECTORY.parse().expect("a directory")),
        ..Policy::default()
    }
}

/// The one decision of a plan, as `action Reason`.
fn verdict(observed: &Observed, policy: &Policy) -> String {
    let plan = plan(observed, policy);
    let decisions = plan.decisions();
    let [(verdict, decision)] = decisions.as_slice() else {
        panic!("{plan:?}")
    };
    assert!(!decision.message(observed.now).to_string().is_empty());
    format!("{verdict:?} {}", decision.reason.word())
}

fn web() -> Ingress {
    ingress("web", "a").tls("a-tls", &["a.example", "b.example"])
}

/// A 90 days' certificate for both hosts with so many days left.
fn with_days_left(days: i64) -> (String, String) {
    let until = now() + fixtures::days(days);
    certificate(
        &["a.example", "b.example"],
        "Test CA",
        until - fixtures::days(90),
        until,
    )
}

#[test]
fn a_certificate_is_due_for_the_first_reason_that_holds() {
    let good = with_days_left(60);
    let other_key = with_days_left(60).1;
    let narrow = certificate(&["a.example"], "Test CA", now(), now() + fixtures::days(90));
    let wildcard = certificate(&["*.example"], "Test CA", now(), now() + fixtures::days(90));
    let staging = certificate(
        &["a.example", "b.example"],
        "(STAGING) Wannabe",
        now(),
        now() + fixtures::days(90),
    );
    let ours = |pair: &(String, String)| Read::Found(secret(pair, Some(DIRECTORY)));
    for (name, read, expected) in [
        ("no Secret", Read::Absent, "Issue Missing"),
        (
            "a read that failed",
            Read::Unknown("timed out".into()),
            "Refuse Unknown",
        ),
        (
            "nothing in it",
            ours(&(String::new(), String::new())),
            "Issue Unreadable",
        ),
        (
            "words in it",
            ours(&("hello".into(), "world".into())),
            "Issue Unreadable",
        ),
        ("another key", ours(&(good.0.clone(), other_key)), "Issue KeyMismatch"),
        ("a host is not covered", ours(&narrow), "Issue HostNotCovered"),
        ("a wildcard covers", ours(&wildcard), "Keep Valid"),
        (
            "another directory",
            Read::Found(secret(&good, Some("https://other.example/dir"))),
            "Issue WrongIssuer",
        ),
        ("whatever its own CA is called", ours(&staging), "Keep Valid"),
        (
            "a staging issuer, and nothing says whose",
            Read::Found(secret(&staging, None)),
            "Refuse ForeignSecret",
        ),
        ("over", ours(&with_days_left(-1)), "Issue Expired"),
        ("less than a third left", ours(&with_days_left(29)), "Issue Expiring"),
        ("exactly a third left", ours(&with_days_left(30)), "Keep Valid"),
        ("good", ours(&good), "Keep Valid"),
        ("good and not ours", Read::Found(secret(&good, None)), "Keep Valid"),
        (
            "over and not ours",
            Read::Found(secret(&with_days_left(-1), None)),
            "Refuse ForeignSecret",
        ),
    ] {
        assert_eq!(verdict(&observed(vec![web()], read), &policy()), expected, "{name}");
    }
}

#[test]
fn a_minimum_validity_is_capped_at_two_thirds_of_the_lifetime() {
    for (days_left, minimum_days, expected) in [
        (61, 3650, "Keep Valid"),
        (59, 3650, "Issue Expiring"),
        (44, 45, "Issue Expiring"),
        (29, 10, "Keep Valid"),
    ] {
        let minimum_validity = Some(fixtures::days(minimum_days));
        let policy = Policy {
            minimum_validity,
            ..policy()
        };
        let read = Read::Found(secret(&with_days_left(days_left), Some(DIRECTORY)));
        assert_eq!(
            verdict(&observed(vec![web()], read), &policy),
            expected,
            "{days_left} left, {minimum_days} asked"
        );
    }
}

#[test]
fn a_short_lived_certificate_is_renewed_at_half_its_life() {
    for (hours_left, expected) in [(73, "Keep Valid"), (71, "Issue Expiring")] {
        let until = now() + SignedDuration::from_hours(hours_left);
        let pair = certificate(&["a.example", "b.example"], "Test CA", until - fixtures::days(6), until);
        let read = Read::Found(secret(&pair, Some(DIRECTORY)));
        assert_eq!(
            verdict(&observed(vec![web()], read), &policy()),
            expected,
            "{hours_left} h"
        );
    }
}

/// An observation of a certificate with so many days of 90 left, and a window so many hours from now.
fn with_window(days_left: i64, from: i64, until: i64) -> Observed {
    let read = Read::Found(secret(&with_days_left(days_left), Some(DIRECTORY)));
    let mut observed = observed(vec![web()], read);
    let window = RenewalWindow {
        start: now() + SignedDuration::from_hours(from),
        end: now() + SignedDuration::from_hours(until),
    };
    observed.renewal_windows.insert(SecretRef::new("web", "a-tls"), window);
    observed
}

#[test]
fn a_suggestion_is_due_when_it_falls_before_the_next_run() {
    let suggested = "Issue Suggested";
    for (name, days_left, (from, until), interval, expected) in [
        ("in the past", 50, (-100, -50), 24, suggested),
        ("in the past, and shorter than a second", 50, (-50, -50), 24, suggested),
        ("closes before the next run", 50, (1, 23), 24, suggested),
        ("closes as the next run begins", 50, (24, 24), 24, suggested),
        ("opens after the next run", 50, (25, 50), 24, "Keep Valid"),
        ("opens after a run that comes sooner", 50, (2, 23), 1, "Keep Valid"),
        ("closes before a run that comes later", 50, (25, 50), 72, suggested),
        ("young, and not open yet", 80, (1, 23), 24, "Keep Valid"),
        ("young, and open", 80, (-2, -1), 24, suggested),
        ("as old as a third of its life", 60, (1, 23), 24, suggested),
        ("expiring in any case", 20, (100, 200), 24, "Issue Expiring"),
        ("over in any case", -1, (-100, -50), 24, "Issue Expired"),
    ] {
        let policy = Policy {
            interval: SignedDuration::from_hours(interval),
            ..policy()
        };
        assert_eq!(
            verdict(&with_window(days_left, from, until), &policy),
            expected,
            "{name}"
        );
    }
}

#[test]
fn within_a_window_the_certificates_own_moment_decides_the_same_on_each_run() {
    let (mut due, mut kept) = (0, 0);
    for _ in 0..24 {
        // The next run falls into the middle of it.
        let mut observed = with_window(50, -24, 72);
        let first = verdict(&observed, &policy());
        assert_eq!(verdict(&observed, &policy()), first);
        let renew_at = plan(&observed, &policy()).decisions()[0].1.renew_at.expect("a time");
        assert_eq!(
            first == "Issue Suggested",
            renew_at <= now() + policy().interval,
            "{first}"
        );
        // Once it has come it stays.
        observed.now = renew_at;
        assert_eq!(verdict(&observed, &policy()), "Issue Suggested");
        if first == "Issue Suggested" {
            due += 1
        } else {
            kept += 1
        }
    }
    assert!(
        due > 0 && kept > 0,
        "{due} due, {kept} kept: no moment differs from another"
    );
}

#[test]
fn a_refusal_names_the_first_obstacle() {
    let over = with_days_left(-1);
    let changed = |change: fn(&mut Secret)| {
        let mut secret = secret(&over, Some(DIRECTORY));
        change(&mut secret);
        Read::Found(secret)
    };
    let one = |ingress: Ingress| vec![ingress];
    for (name, ingresses, read, expected) in [
        (
            "upper case",
            one(ingress("web", "a").tls("a-tls", &["A.example"])),
            Read::Absent,
            "Refuse InvalidHost",
        ),
        (
            "an address",
            one(ingress("web", "a").tls("a-tls", &["10.0.0.1"])),
            Read::Absent,
            "Refuse InvalidHost",
        ),
        (
            "no dot",
            one(ingress("web", "a").tls("a-tls", &["intranet"])),
            Read::Absent,
            "Refuse InvalidHost",
        ),
        (
            "a wildcard",
            one(ingress("web", "a").tls("a-tls", &["*.a.example"])),
            Read::Absent,
            "Refuse WildcardHost",
        ),
        (
            "an older Ingress elsewhere",
            vec![
                web(),
                ingress("shop", "old").without_annotation().rule("a.example").created(9),
            ],
            Read::Absent,
            "Refuse HostClaimed",
        ),
        (
            "cert-manager by annotation",
            one(web().annotated("cert-manager.io/cluster-issuer", "le")),
            Read::Absent,
            "Refuse ManagedElsewhere",
        ),
        (
            "being deleted",
            one(web()),
            changed(|secret| secret.deleting = true),
            "Refuse Terminating",
        ),
        (
            "a wrong type",
            one(web()),
            changed(|secret| secret.version.type_ = "Opaque".into()),
            "Refuse WrongSecretType",
        ),
        (
            "immutable",
            one(web()),
            changed(|secret| secret.immutable = true),
            "Refuse ImmutableSecret",
        ),
        (
            "a host of another Ingress would go",
            vec![
                ingress("web", "a").tls("a-tls", &["a.example"]),
                ingress("web", "b").without_annotation().tls("a-tls", &["b.example"]),
            ],
            changed(|_| {}),
            "Refuse WouldDropHosts",
        ),
    ] {
        assert_eq!(verdict(&observed(ingresses, read), &policy()), expected, "{name}");
    }
}

#[test]
fn refusals_about_a_store_are_not_asked_while_nothing_is_due() {
    let mut good = secret(&with_days_left(60), None);
    good.immutable = true;
    assert_eq!(
        verdict(&observed(vec![web()], Read::Found(good)), &policy()),
        "Keep Valid"
    );
}

#[test]
fn a_claim_on_a_host_ends_with_its_ingress_and_does_not_reach_into_a_wildcard() {
    let deleting = Ingress {
        deleting: true,
        ..ingress("shop", "old").rule("a.example").created(9)
    };
    let wildcard = ingress("shop", "old").rule("*.example").created(9).without_annotation();
    let younger = ingress("shop", "new").rule("a.example").created(0).without_annotation();
    for other in [deleting, wildcard, younger] {
        assert_eq!(
            verdict(&observed(vec![web(), other], Read::Absent), &policy()),
            "Issue Missing"
        );
    }
}

#[test]
fn what_a_dead_run_left_is_swept_and_what_the_holder_has_is_waited_for() {
    let leftover = |run: &str| Leftover {
        kind: LeftoverKind::Ingress,
        namespace: "kube-lego".into(),
        name: "kube-lego-once-contour".into(),
        uid: "1".into(),
        run: run.into(),
    };
    let mut observed = Observed::at(now());
    assert!(plan(&observed, &policy()).is_idle());
    observed.leftovers = vec![leftover("dead"), leftover("alive")];
    observed.lease_holder = Some("alive".into());
    let plan = plan(&observed, &policy());
    assert_eq!(plan.sweep, [leftover("dead")]);
    assert_eq!(plan.awaited.as_deref(), Some("alive"));
    assert!(!plan.is_idle());
}

#[test]
fn a_selection_of_nothing_is_said() {
    let said = |namespace: &str| {
        let mut policy = policy();
        policy.selection.namespaces.insert(namespace.to_owned());
        let plan = plan(&observed(vec![web()], Read::Absent), &policy);
        plan.notes.iter().any(|note| note.starts_with("nothing is selected"))
    };
    assert_eq!((said("web"), said("wbe")), (false, true));
}

#[test]
fn only_true_opts_in_and_a_near_miss_is_named() {
    let observed = observed(vec![web().annotated(TLS_ACME, "yes")], Read::Absent);
    let plan = plan(&observed, &policy());
    assert!(plan.decisions().is_empty());
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("web/a") && note.contains("`yes`")),
        "{:?}",
        plan.notes
    );
}

#[test]
fn a_host_is_united_over_ingresses_and_contributions_are_kept_apart() {
    let ingresses = vec![
        ingress("web", "b").tls("a-tls", &["b.example", "a.example"]),
        ingress("web", "a").tls("a-tls", &["a.example"]),
    ];
    let plan = plan(&observed(ingresses, Read::Absent), &policy());
    let certificate = &plan.issue[0].certificate;
    let hosts: Vec<_> = certificate.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["a.example", "b.example"]);
    let names: Vec<_> = certificate
        .contributions
        .iter()
        .map(|contribution| contribution.source.place())
        .collect();
    assert_eq!(
        names,
        ["a", "b"].map(|name| SourceRef::new(SourceKind::Ingress, "web", name))
    );
}

#[test]
fn who_serves_a_host_out_of_sight_is_a_note_only_where_nobody_in_sight_does() {
    let wanted = || ingress("web", "a").tls("a-tls", &["a.x.example", "b.example"]);
    let wildcard = || ingress("web", "w").rule("*.x.example").without_annotation();
    for (what, ingresses, unseen, expected) in [
        ("all are in sight", vec![wanted()], false, None),
        (
            "nobody in sight serves them",
            vec![wanted()],
            true,
            Some("`a.x.example`, `b.example`"),
        ),
        (
            "one is served in sight",
            vec![wanted(), wildcard()],
            true,
            Some("`b.example`"),
        ),
        ("both are", vec![wanted().rule("b.example"), wildcard()], true, None),
    ] {
        let mut observed = observed(ingresses, Read::Absent);
        observed.namespaces_unseen = unseen;
        let plan = plan(&observed, &policy());
        let [decision] = plan.issue.as_slice() else {
            panic!("{plan:?}")
        };
        let notes = decision.notes.join("\n");
        let note = expected.map(|hosts| format!("visitors of {hosts} may get 404 during the challenge"));
        assert_eq!(
            note.as_deref().is_some_and(|note| notes.contains(note)),
            unseen && expected.is_some(),
            "{what}: {notes}"
        );
        assert_eq!(
            notes.contains("in another namespace"),
            expected.is_some(),
            "{what}: {notes}"
        );
    }
}

/// Measured: Contour and ingress-nginx serve a Secret only for hosts of rules, Traefik for all of `spec.tls`.
#[test]
fn a_certificate_that_will_not_be_served_is_noted() {
    for (class, rule, noted) in [
        ("contour", "*.example", true),
        ("nginx", "*.example", true),
        ("nginx", "a.example", false),
        ("traefik", "*.example", false),
    ] {
        let mut site = ingress("web", "a").tls("a-tls", &["a.example"]).rule(rule);
        site.class = crate::decide::name::ClassName::Spec(class.into());
        let plan = plan(&observed(vec![site], Read::Absent), &policy());
        let notes = plan.issue[0].notes.join("\n");
        let note = "add a rule for `a.example` to ingress `web/a`";
        assert_eq!(notes.contains(note), noted, "{class} {rule}: {notes}");
    }
}

/// Whoever may write a Secret can stop its renewal, and no other.
#[test]
fn a_forged_certificate_stops_no_renewal_but_its_own() {
    let evil = ingress("evil", "e").tls("e-tls", &["e.example"]);
    let mut observed = observed(
        vec![web(), evil],
        Read::Found(secret(&with_days_left(8), Some(DIRECTORY))),
    );
    let forged = certificate(
        &["a.example", "b.example", "e.example"],
        "Test CA",
        now(),
        now() + fixtures::days(36_500),
    );
    let forged = secret(&forged, Some(DIRECTORY));
    let place = SecretRef::new("evil", "e-tls");
    observed.secrets.insert(place, Read::Found(forged.into()));
    let plan = plan(&observed, &policy());
    let secrets = |decisions: &[Decision]| -> Vec<String> {
        let name = |decision: &Decision| decision.certificate.secret.to_string();
        decisions.iter().map(name).collect()
    };
    assert_eq!(secrets(&plan.issue), ["web/a-tls"]);
    assert_eq!(secrets(&plan.keep), ["evil/e-tls"]);
}

#[test]
fn a_host_that_does_not_answer_is_left_out_in_the_last_tenth_of_the_lifetime_only() {
    let name = |host: &str| host.parse().expect("a name");
    let (a, b): (DnsName, DnsName) = (name("a.example"), name("b.example"));
    for (days_left, dead, expected) in [
        (8, vec![b.clone()], Some(vec![a.clone()])),
        (10, vec![b.clone()], None),
        (-1, vec![b.clone()], Some(vec![a.clone()])),
        (8, vec![a.clone(), b.clone()], None),
    ] {
        let observed = observed(
            vec![web()],
            Read::Found(secret(&with_days_left(days_left), Some(DIRECTORY))),
        );
        let plan = plan(&observed, &policy());
        let narrowed = plan.issue[0].without(&dead, now());
        let hosts = narrowed.as_ref().map(|it| it.certificate.hosts.to_vec());
        assert_eq!(hosts, expected, "{days_left} days left, {dead:?} dead");
        assert!(narrowed.is_none_or(|it| it.dropped == dead));
    }
    let nothing_yet = plan(&observed(vec![web()], Read::Absent), &policy());
    assert!(
        nothing_yet.issue[0].without(&[b], now()).is_none(),
        "there is nothing to lose"
    );
}
