//! What holds for every plan, over generated worlds. `PROPTEST_CASES` says how many; 32 without it.
//!
//! Most certificates here are facts without bytes: plans rest on facts, and thus every name and every time can be drawn.
//! What "applying" stores is a real chain of certificates, read back as the API server would return it.

mod applied;
mod slow;
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use applied::applied;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::networking::v1 as networking;
use kube_lego_once::decide::checks::{Answer, Reason};
use kube_lego_once::decide::desired::desired;
use kube_lego_once::decide::inspection::CertificateId;
use kube_lego_once::decide::name::DnsName;
use kube_lego_once::decide::observed::{Observed, Read};
use kube_lego_once::decide::plan::{Plan, Verdict, explain, plan, secrets_wanted};
use kube_lego_once::decide::policy::Policy;
use kube_lego_once::decide::route::controller;
use kube_lego_once::decide::selection::Selection;
use kube_lego_once::decide::validity::{moment, renew_at};
use kube_lego_once::report::Report;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::written::written;
use slow::{owner, rules_of, served_by};
use worlds::{DIRECTORIES, HOSTS, hours, observed, policy, selection, window};

/// Everything that a plan says, in a form that can be compared.
fn said(plan: &Plan) -> String {
    let mut plan = plan.clone();
    plan.classes.sort_by(|a, b| a.name.cmp(&b.name));
    format!("{plan:?}")
}

fn config() -> ProptestConfig {
    let config = ProptestConfig {
        // A case that once failed becomes a row of a table, which says what it is about.
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => ProptestConfig { cases: 32, ..config },
    }
}

proptest! {
    #![proptest_config(config())]

    /// I8: with the challenge rules beside the others, every host goes where it went.
    #[test]
    fn no_challenge_takes_a_host_from_what_serves_it(observed in observed(), policy in policy()) {
        let plan = plan(&observed, &policy);
        let classes = observed.classes.found().expect("classes");
        for route in plan.issue.iter().flat_map(|decision| &decision.routes) {
            let deeper = controller(route.via.class().expect("a class"), classes).hosts.deeper;
            let before = rules_of(route.via.class().expect("a class"), &observed);
            let mut after = before.clone();
            after.insert(route.rule.name().map(DnsName::as_str).unwrap_or_default());
            for host in HOSTS.iter().chain(&["z.example", "z.b.example", "z.c.b.example", "z.d.example"]) {
                if let Some(rule) = served_by(host, &before, deeper) {
                    prop_assert_eq!(served_by(host, &after, deeper), Some(rule), "{} by {:?}", host, route);
                }
            }
        }
    }

    #[test]
    fn each_wanted_certificate_has_exactly_one_verdict(observed in observed(), policy in policy()) {
        let wanted = desired(&observed.ingresses, &observed.gateways, &policy.annotation).certificates;
        let plan = plan(&observed, &policy);
        let decided: Vec<_> = plan.decisions().into_iter().map(|(_, decision)| decision.certificate.clone()).collect();
        prop_assert_eq!(decided, wanted);
        for (verdict, decision) in plan.decisions() {
            prop_assert!(!decision.message(plan.at).to_string().is_empty());
            prop_assert_eq!(verdict == Verdict::Keep, decision.reason == Reason::Valid);
        }
    }

    #[test]
    fn the_same_observation_gives_the_same_plan(observed in observed(), policy in policy()) {
        prop_assert_eq!(said(&plan(&observed, &policy)), said(&plan(&observed, &policy)));
    }

    #[test]
    fn after_an_applied_plan_nothing_is_to_be_done(
        mut observed in observed(),
        mut policy in policy(),
        selection in prop_oneof![Just(Selection::default()), selection()],
        lifetime in select(&[144_i64, 1128, 2160][..]),
    ) {
        // What is applied was planned by a run that held the Lease, for a CA; `--force` asks for another each time.
        observed.lease_holder = Some("this-run".into());
        policy.force = false;
        policy.selection = selection;
        policy.directory.get_or_insert_with(|| DIRECTORIES[0].parse().expect("a directory"));
        let first = plan(&observed, &policy);
        let mut after = applied(&observed, &first, &policy, hours(lifetime));
        let second = plan(&after, &policy);
        prop_assert!(second.is_idle(), "{:#?}", second);
        prop_assert_eq!(first.refuse.len(), second.refuse.len());
        prop_assert_eq!(first.issue.len() + first.keep.len(), second.keep.len());
        // A minute later something else may have fallen due, and none of these.
        after.now += SignedDuration::from_secs(60);
        let issued: BTreeSet<_> = first.issue.iter().map(|decision| &decision.certificate.secret).collect();
        for decision in plan(&after, &policy).issue {
            prop_assert!(!issued.contains(&decision.certificate.secret), "{:#?}", decision);
        }
    }

    #[test]
    fn the_order_of_objects_does_not_matter(
        (observed, shuffled) in observed().prop_flat_map(|observed| {
            let classes = match &observed.classes { Read::Found(classes) => classes.clone(), _ => Vec::new() };
            let orders = (
                Just(observed.ingresses.clone()).prop_shuffle(),
                Just(observed.retired.clone()).prop_shuffle(),
                Just(observed.leftovers.clone()).prop_shuffle(),
                Just(classes).prop_shuffle(),
            );
            (Just(observed), orders).prop_map(|(observed, (ingresses, retired, leftovers, classes))| {
                let classes = Read::Found(classes);
                let shuffled = Observed { ingresses, retired, leftovers, classes, ..observed.clone() };
                (observed, shuffled)
            })
        }),
        policy in policy(),
    ) {
        prop_assert_eq!(said(&plan(&observed, &policy)), said(&plan(&shuffled, &policy)));
    }

    #[test]
    fn no_host_is_issued_to_two_namespaces(
        observed in observed(),
        mut policy in policy(),
        selection in prop_oneof![3 => Just(Selection::default()), 1 => selection()],
    ) {
        policy.selection = selection;
        let plan = plan(&observed, &policy);
        let mut issued: BTreeMap<&DnsName, &str> = BTreeMap::new();
        for decision in &plan.issue {
            let namespace = decision.certificate.secret.namespace.as_str();
            for host in decision.certificate.hosts.iter().filter(|host| !policy.shared_hosts.contain(host.as_str())) {
                prop_assert_eq!(issued.insert(host, namespace).unwrap_or(namespace), namespace, "{}", host);
                // Nor in two runs, one for each: what one plan issues is its owner's.
                prop_assert_eq!(owner(host, &observed), Some(namespace), "{}", host);
            }
        }
    }

    #[test]
    fn what_was_not_read_is_never_issued(observed in observed(), policy in policy()) {
        for decision in plan(&observed, &policy).issue {
            let read = observed.secrets.get(&decision.certificate.secret);
            prop_assert!(!matches!(read, Some(Read::Unknown(_))));
            prop_assert_eq!(decision.reason == Reason::Missing, matches!(read, Some(Read::Absent)));
        }
    }

    #[test]
    fn a_selection_changes_no_verdict(observed in observed(), policy in policy(), selection in selection()) {
        let classes = observed.classes.found().expect("classes");
        let whole = plan(&observed, &policy);
        let selective = Policy { selection, ..policy };
        // As on a cluster: what is not selected is not read.
        let mut part = observed.clone();
        let wanted = secrets_wanted(&part, &selective);
        part.secrets.retain(|secret, _| wanted.contains(secret));
        let part = plan(&part, &selective);
        let expected: Vec<_> = whole
            .decisions()
            .into_iter()
            .filter(|(_, decision)| selective.selection.selects(&decision.certificate, classes))
            .map(|decision| format!("{decision:?}"))
            .collect();
        let got: Vec<_> = part.decisions().into_iter().map(|decision| format!("{decision:?}")).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(part.sweep, whole.sweep);
    }

    #[test]
    fn an_explanation_agrees_with_the_decision(observed in observed(), policy in policy()) {
        for (verdict, decision) in plan(&observed, &policy).decisions() {
            let yes = explain(&observed, &policy, decision).into_iter().find_map(|explained| match explained.answer {
                Some(Answer::Yes(sentence)) => Some((explained.verdict, explained.reason, sentence)),
                _ => None,
            });
            match yes {
                Some(yes) => prop_assert_eq!(yes, (verdict, decision.reason, decision.message(observed.now).to_string())),
                None => prop_assert_eq!((verdict, decision.reason), (Verdict::Keep, Reason::Valid)),
            }
        }
    }

    #[test]
    fn what_is_kept_has_time_left(observed in observed(), policy in policy()) {
        for decision in plan(&observed, &policy).keep {
            let facts = decision.facts().expect("only a certificate can be kept");
            prop_assert!(facts.not_after > observed.now);
            prop_assert!(renew_at(facts, None, &policy).is_some_and(|at| at >= observed.now && at <= facts.not_after));
            prop_assert!(decision.certificate.hosts.iter().all(|host| facts.names.iter().any(|name| host.is_covered_by(name))));
        }
    }

    #[test]
    fn a_renewal_moment_lies_in_its_window(window in window(), bytes in vec(any::<u8>(), 0..20)) {
        let id = CertificateId { authority_key_identifier: bytes.as_slice().into(), serial: bytes.into() };
        let at = moment(&window, &id);
        prop_assert!(at >= window.start.min(window.end) && at <= window.end.max(window.start));
        prop_assert_eq!(at, moment(&window, &id));
    }

    #[test]
    fn every_plan_can_be_printed(observed in observed(), policy in policy()) {
        let plan = plan(&observed, &policy);
        let report = Report::of_plan(plan.clone(), policy.directory.as_ref().map(|directory| directory.url()));
        let json: serde_json::Value = serde_json::from_str(&written(|out| report.write_json(out))).expect("json");
        prop_assert_eq!(json["certificates"].as_array().map(Vec::len), Some(plan.decisions().len()));
        let yaml: serde_json::Value = serde_yaml_ng::from_str(&written(|out| report.write_yaml(out))).expect("yaml");
        prop_assert_eq!(yaml, json);
    }
}

/// As many as fit into an object of the API server's: sorting them anew for each would take minutes, while the Lease runs out.
#[test]
fn an_ingress_with_very_many_entries_is_planned_at_once() {
    const ENTRIES: usize = 20_000;
    type Entry = fn(usize) -> serde_json::Value;
    let cases: [(&str, Entry, usize, usize); 3] = [
        (
            "names",
            |n| json!({"hosts": [format!("h{n}.example")], "secretName": "a"}),
            1,
            0,
        ),
        (
            "no names",
            |n| json!({"hosts": [format!("h{n}_.example")], "secretName": "a"}),
            1,
            0,
        ),
        ("empty entries", |_| json!({}), 0, 1),
    ];
    for (what, entry, certificates, rejected) in cases {
        let entries: Vec<_> = (0..ENTRIES).map(entry).collect();
        let ingress: networking::Ingress = serde_json::from_value(json!({
            "metadata": {"namespace": "web", "name": "many", "annotations": {"kubernetes.io/tls-acme": "true"}},
            "spec": {"tls": entries},
        }))
        .expect("an Ingress");
        let mut many = Observed::at(Timestamp::now());
        many.ingresses = vec![Arc::new(ingress.into())];
        let begun = Instant::now();
        let plan = plan(&many, &Policy::default());
        let took = begun.elapsed();
        assert_eq!(
            (plan.decisions().len(), plan.rejected.len()),
            (certificates, rejected),
            "{what}"
        );
        assert!(took < Duration::from_secs(5), "{what}: {took:?}");
    }
}
