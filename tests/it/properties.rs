//! What holds for every plan, over generated worlds. `PROPTEST_CASES` says how many; 32 without it.
//!
//! Most certificates here are facts without bytes: plans rest on facts, and thus every name and every time can be drawn.
//! What "applying" stores is a real chain of certificates, read back as the API server would return it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use kube_lego_once::decide::checks::{Answer, Reason, claims_to_remove};
use kube_lego_once::decide::desired::desired;
use kube_lego_once::decide::inspection::{
    CertificateFacts, CertificateId, Inspection, KeyMatch, MARKER, Marker, inspect,
};
use kube_lego_once::decide::name::{ClassName, DnsName, IngressRef, SecretRef};
use kube_lego_once::decide::observed::{
    Ingress, IngressClass, Leftover, LeftoverKind, Observed, Read, RenewalWindow, RetiredIngress, Secret,
    SecretVersion, Tls,
};
use kube_lego_once::decide::plan::{Decision, Plan, Verdict, explain, plan, secrets_wanted};
use kube_lego_once::decide::policy::{Policy, SharedHosts, TLS_ACME};
use kube_lego_once::decide::report::Report;
use kube_lego_once::decide::selection::Selection;
use kube_lego_once::decide::validity::{moment, renew_at};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

const NAMESPACES: &[&str] = &["web", "shop", "ops"];
const SECRETS: &[&str] = &["a-tls", "b-tls", "10.0.0.1", "Not_A_Name"];
const HOSTS: &[&str] = &["a.example", "b.example", "c.b.example", "d.example"];
const ODD_HOSTS: &[&str] = &[
    "*.b.example",
    "*.example",
    "localhost",
    "ca.internal",
    "A.example",
    "10.0.0.1",
    "",
    "e.example.",
];
const CLASSES: &[&str] = &["contour", "nginx", "gce", "plus"];
const RUNS: &[&str] = &["run-1", "run-2"];
const DIRECTORIES: &[&str] = &["https://ca.example/dir", "letsencrypt", "letsencrypt-staging"];

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().expect("a time")
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn text(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(choices).prop_map(str::to_owned)
}

/// A few in a hundred: what is rare in a cluster is rare here, so that it does not hide everything else.
fn rarely(percent: u32) -> impl Strategy<Value = bool> {
    prop::bool::weighted(f64::from(percent) / 100.0)
}

fn hosts() -> impl Strategy<Value = Vec<String>> {
    vec(prop_oneof![12 => text(HOSTS), 1 => text(ODD_HOSTS)], 0..4)
}

fn class() -> impl Strategy<Value = ClassName> {
    prop_oneof![
        6 => Just(ClassName::Spec("contour".into())),
        1 => text(CLASSES).prop_map(ClassName::Spec),
        1 => text(CLASSES).prop_map(ClassName::Annotation),
        1 => Just(ClassName::Default),
    ]
}

fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let opt_in = prop_oneof![
        8 => Just(Some("true")),
        1 => Just(Some("TRUE")),
        1 => select(&["1", "yes", "false", ""][..]).prop_map(Some),
        3 => Just(None),
    ];
    let cert_manager = prop_oneof![
        14 => Just(None),
        1 => select(&["cert-manager.io/issuer", "cert-manager.io/cluster-issuer"][..]).prop_map(Some),
    ];
    (opt_in, cert_manager).prop_map(|(opt_in, cert_manager)| {
        let opt_in = opt_in.map(|value| (TLS_ACME.to_owned(), value.to_owned()));
        let cert_manager = cert_manager.map(|name| (name.to_owned(), "issuer".to_owned()));
        opt_in.into_iter().chain(cert_manager).collect()
    })
}

/// An Ingress without its name: a world numbers them, since no two objects of a cluster have the same one.
fn ingress() -> impl Strategy<Value = Ingress> {
    let tls = (hosts(), prop_oneof![9 => text(SECRETS).prop_map(Some), 1 => Just(None)])
        .prop_map(|(hosts, secret_name)| Tls { hosts, secret_name });
    // Few values: two of the same age are the case that is worth seeing.
    let created = option::weighted(0.8, (0_i64..4).prop_map(|days| now() - hours(24 * days)));
    let labels = btree_set(select(&["web", "db"][..]), 0..2);
    (
        text(NAMESPACES),
        created,
        rarely(10),
        annotations(),
        class(),
        vec(tls, 0..3),
        vec(text(HOSTS), 0..2),
        labels,
    )
        .prop_map(
            |(namespace, created, deleting, annotations, class, tls, rule_hosts, labels)| Ingress {
                uid: String::new(),
                name: IngressRef::new(namespace, ""),
                created,
                deleting,
                labels: labels.into_iter().map(|app| ("app".into(), app.into())).collect(),
                annotations,
                class,
                tls,
                rule_hosts,
                challenge_services: BTreeSet::new(),
                serves_only_challenges: false,
                addresses: Vec::new(),
            },
        )
}

/// A certificate at any point of its life, the edges of it included.
fn facts() -> impl Strategy<Value = CertificateFacts> {
    let lifetime = select(&[1_i64, 144, 240, 2160, 9600][..]);
    let age = prop_oneof![
        6 => 0.0..0.6_f64,
        3 => 0.0..1.2_f64,
        1 => Just(-0.1),
        1 => Just(1.0),
    ];
    let names = prop_oneof![
        4 => Just(HOSTS.iter().map(ToString::to_string).collect()),
        3 => subsequence(HOSTS, 1..=HOSTS.len()).prop_map(|names| names.into_iter().map(str::to_owned).collect()),
        1 => Just(vec!["*.b.example".to_owned(), "*.example".to_owned()]),
        1 => Just(Vec::<String>::new()),
    ];
    let issuer = prop_oneof![4 => Just("Test CA"), 1 => Just("(STAGING) Wannabe (Let's Encrypt)")];
    let key = prop_oneof![
        14 => Just(KeyMatch::Matches),
        1 => Just(KeyMatch::Differs),
        1 => Just(KeyMatch::Unchecked("a key of some kind".into())),
    ];
    (lifetime, age, names, issuer, key, option::of(any::<u8>()), rarely(10)).prop_map(
        |(lifetime, age, names, issuer, key, id, old_chain)| {
            let lived = hours(lifetime).mul_f64(age);
            let not_before = now() - lived;
            CertificateFacts {
                names,
                not_before,
                not_after: not_before + hours(lifetime),
                chain_not_after: Some(now() - hours(1)).filter(|_| old_chain),
                issuer: issuer.into(),
                key,
                refusal: None,
                id: id.map(|byte| CertificateId {
                    authority_key_identifier: vec![byte],
                    serial: vec![byte, 1],
                }),
            }
        },
    )
}

fn secret() -> impl Strategy<Value = Secret> {
    let inspection = prop_oneof![
        9 => facts().prop_map(|facts| Inspection::Certificate(Box::new(facts))),
        1 => Just(Inspection::Empty),
        1 => Just(inspect(b"garbage", b"\x00\xff")),
    ];
    let marker = prop_oneof![
        4 => text(DIRECTORIES).prop_map(|directory| Some(marker(url(&directory)))),
        4 => Just(None),
        1 => Just(Some("{".to_owned())),
    ];
    let annotation = prop_oneof![
        8 => Just(None),
        3 => Just(Some(TLS_ACME)),
        1 => Just(Some("cert-manager.io/certificate-name")),
    ];
    (inspection, marker, annotation, rarely(5), rarely(5), rarely(5)).prop_map(
        |(inspection, marker, annotation, immutable, deleting, opaque)| {
            let version = SecretVersion {
                resource_version: "1".into(),
                uid: "uid".into(),
                type_: if opaque { "Opaque" } else { "kubernetes.io/tls" }.into(),
                marker: marker.clone(),
                data_digest: Vec::new(),
            };
            let marker = marker.map(|marker| (MARKER.to_owned(), marker));
            let annotation = annotation.map(|name| (name.to_owned(), "true".to_owned()));
            Secret {
                version,
                immutable,
                deleting,
                annotations: marker.into_iter().chain(annotation).collect(),
                inspection,
            }
        },
    )
}

fn read() -> impl Strategy<Value = Read<Secret>> {
    prop_oneof![
        4 => Just(Read::Absent),
        1 => Just(Read::Unknown("timed out".into())),
        12 => secret().prop_map(Read::Found),
    ]
}

fn leftover() -> impl Strategy<Value = Leftover> {
    let kind = select(&[LeftoverKind::Ingress, LeftoverKind::Service, LeftoverKind::Endpoints][..]);
    (kind, any::<u8>(), text(RUNS)).prop_map(|(kind, number, run)| Leftover {
        kind,
        namespace: "kube-lego".into(),
        name: format!("kube-lego-once-{number}"),
        uid: format!("uid-{number}"),
        run,
    })
}

fn ingress_class() -> impl Strategy<Value = IngressClass> {
    let controller = select(
        &[
            "projectcontour.io/contour",
            "nginx.org/ingress-controller",
            "k8s.io/ingress-gce",
        ][..],
    );
    (text(CLASSES), controller, any::<bool>()).prop_map(|(name, controller, is_default)| IngressClass {
        name,
        controller: controller.into(),
        is_default,
    })
}

fn window() -> impl Strategy<Value = RenewalWindow> {
    // A window may also end before it starts: nothing of it is ours.
    (-480_i64..480, -24_i64..96).prop_map(|(start, length)| RenewalWindow {
        start: now() + hours(start),
        end: now() + hours(start + length),
    })
}

fn all_secrets() -> Vec<SecretRef> {
    let of = |namespace: &&str| {
        SECRETS
            .iter()
            .map(|name| SecretRef::new(*namespace, *name))
            .collect::<Vec<_>>()
    };
    NAMESPACES.iter().flat_map(of).collect()
}

prop_compose! {
    fn observed()(
        ingresses in vec(ingress(), 0..7),
        retired in 0_usize..2,
        reads in vec(read(), all_secrets().len()),
        windows in vec(option::weighted(0.3, window()), all_secrets().len()),
        leftovers in vec(leftover(), 0..3),
        holder in option::of(text(RUNS)),
        classes in vec(ingress_class(), 0..3),
        terminating in rarely(5),
    ) -> Observed {
        let mut observed = Observed::at(now());
        observed.ingresses = ingresses;
        for (number, ingress) in observed.ingresses.iter_mut().enumerate() {
            ingress.name.name = format!("i{number}");
        }
        observed.retired = (0..retired).map(|number| RetiredIngress {
            name: IngressRef::new("web", format!("r{number}")),
            version: "extensions/v1beta1".into(),
            labels: BTreeMap::new(),
            class: ClassName::Default,
        }).collect();
        observed.secrets = all_secrets().into_iter().zip(reads).collect();
        let windows = all_secrets().into_iter().zip(windows);
        observed.renewal_windows = windows.filter_map(|(secret, window)| Some((secret, window?))).collect();
        observed.leftovers = distinct(leftovers, |leftover| (leftover.kind, leftover.name.clone()));
        observed.lease_holder = holder;
        observed.classes = Read::Found(distinct(classes, |class| class.name.clone()));
        observed.terminating_namespaces = Some("ops".to_owned()).filter(|_| terminating).into_iter().collect();
        observed
    }
}

fn distinct<T, K: Ord>(objects: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = BTreeSet::new();
    objects.into_iter().filter(|object| seen.insert(key(object))).collect()
}

fn shared_hosts() -> impl Strategy<Value = SharedHosts> {
    prop_oneof![
        4 => Just(SharedHosts::None),
        1 => subsequence(HOSTS, 1..3).prop_map(|hosts| SharedHosts::Listed(hosts.into_iter().map(str::to_owned).collect())),
        1 => Just(SharedHosts::All),
    ]
}

prop_compose! {
    fn policy()(
        directory in option::weighted(0.9, text(DIRECTORIES)),
        minimum_validity in option::weighted(0.3, (0_i64..5000).prop_map(hours)),
        shared_hosts in shared_hosts(),
        adopt in any::<bool>(),
        single_label_hosts in any::<bool>(),
        interval in select(&[0_i64, 24, 720][..]),
        force in rarely(10),
    ) -> Policy {
        Policy {
            directory: directory.map(|name| name.parse().expect("a directory")),
            minimum_validity,
            shared_hosts,
            adopt,
            single_label_hosts,
            interval: hours(interval),
            force,
            ..Policy::default()
        }
    }
}

prop_compose! {
    fn selection()(
        namespaces in btree_set(text(NAMESPACES), 0..3),
        names in btree_set(prop_oneof![text(SECRETS), (0..7).prop_map(|number| format!("i{number}"))], 0..3),
        classes in btree_set(text(CLASSES), 0..2),
        labels in select(&["", "app=web", "app!=web", "!app"][..]),
    ) -> Selection {
        let labels = labels.parse().expect("a selector");
        Selection { namespaces, labels, names, classes }
    }
}

fn url(directory: &str) -> String {
    let directory = directory
        .parse::<kube_lego_once::decide::directory::Directory>()
        .expect("a directory");
    directory.url().to_owned()
}

fn marker(directory: String) -> String {
    let account = "https://ca.example/acct/1".into();
    serde_json::to_string(&Marker { directory, account }).expect("json")
}

/// A chain for these names that an authority signed an hour ago by its own clock, and its key. Keys are slow to make: one serves all.
fn signed(hosts: &BTreeSet<DnsName>, issuer: &str, lifetime: SignedDuration) -> (String, String) {
    static KEYS: OnceLock<[KeyPair; 2]> = OnceLock::new();
    let [ca_key, key] = KEYS.get_or_init(|| [(); 2].map(|()| KeyPair::generate().expect("a key")));
    let time = |time: Timestamp| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(time.as_second()).expect("after 1970"))
    };
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, issuer);
    let mut leaf = CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("names");
    leaf.not_before = time(now() - hours(1));
    leaf.not_after = time(now() - hours(1) + lifetime);
    leaf.use_authority_key_identifier_extension = true;
    let chain = leaf
        .signed_by(key, &Issuer::new(ca, ca_key))
        .expect("a certificate")
        .pem();
    (chain, key.serialize_pem())
}

/// The Secret after a store: data and marker replaced, other programs' claims gone, the rest as it was.
fn stored(decision: &Decision, directory: &str, issuer: &str, lifetime: SignedDuration) -> Secret {
    let (chain, key) = signed(&decision.certificate.hosts, issuer, lifetime);
    let before = decision.secret.as_ref();
    let mut annotations = before.map(|secret| secret.annotations.clone()).unwrap_or_default();
    annotations.retain(|name, _| !claims_to_remove().contains(name));
    annotations.insert(MARKER.into(), marker(directory.to_owned()));
    let mut object = k8s_openapi::api::core::v1::Secret {
        type_: Some(
            before
                .map_or("kubernetes.io/tls", |secret| &secret.version.type_)
                .to_owned(),
        ),
        immutable: before.map(|secret| secret.immutable),
        data: Some(
            [("tls.crt", chain), ("tls.key", key)]
                .map(|(name, pem)| (name.into(), ByteString(pem.into_bytes())))
                .into(),
        ),
        ..Default::default()
    };
    object.metadata.annotations = Some(annotations);
    object.into()
}

/// The cluster after a plan was applied. New certificates have new windows: near their end, as authorities choose them.
fn applied(observed: &Observed, plan: &Plan, policy: &Policy, lifetime: SignedDuration) -> Observed {
    let directory = policy.directory.as_ref().expect("a directory").url();
    let issuer = if directory.contains("staging") {
        "(STAGING) Test CA"
    } else {
        "Test CA"
    };
    let mut after = observed.clone();
    for decision in &plan.issue {
        let place = decision.certificate.secret.clone();
        let secret = stored(decision, directory, issuer, lifetime);
        if let Inspection::Certificate(facts) = &secret.inspection {
            let end = facts.not_after - lifetime / 4;
            let start = end - lifetime / 24;
            after
                .renewal_windows
                .insert(place.clone(), RenewalWindow { start, end });
        }
        after.secrets.insert(place, Read::Found(secret));
    }
    after.leftovers.retain(|leftover| !plan.sweep.contains(leftover));
    after.lease_holder = None;
    after
}

/// Everything that a plan says, in a form that can be compared.
fn said(plan: &Plan) -> String {
    let mut plan = plan.clone();
    plan.classes.sort_by(|a, b| a.name.cmp(&b.name));
    format!("{plan:?}")
}

/// The namespaces that own a host, found the slow way: of all Ingresses that are there to stay and name it, the oldest one's.
fn owner<'a>(host: &DnsName, observed: &'a Observed) -> Option<&'a str> {
    let names = |ingress: &&Ingress| {
        let mut all = ingress.tls.iter().flat_map(|tls| &tls.hosts).chain(&ingress.rule_hosts);
        !ingress.deleting && all.any(|name| name == host.as_str())
    };
    let age = |ingress: &&Ingress| {
        (
            ingress.created.is_none(),
            ingress.created,
            ingress.name.namespace.clone(),
            ingress.name.name.clone(),
        )
    };
    observed
        .ingresses
        .iter()
        .filter(names)
        .min_by_key(age)
        .map(|ingress| ingress.name.namespace.as_str())
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

    #[test]
    fn each_wanted_certificate_has_exactly_one_verdict(observed in observed(), policy in policy()) {
        let wanted = desired(&observed.ingresses, &policy.annotation).certificates;
        let plan = plan(&observed, &policy);
        let decided: Vec<_> = plan.decisions().into_iter().map(|(_, decision)| decision.certificate.clone()).collect();
        prop_assert_eq!(decided, wanted);
        for (verdict, decision) in plan.decisions() {
            prop_assert!(!decision.message.is_empty());
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
        // What is applied was planned by a run that held the Lease, for an authority; `--force` asks for another each time.
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
            .filter(|(_, decision)| selective.selection.selects(&decision.certificate))
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
                Some(yes) => prop_assert_eq!(yes, (verdict, decision.reason, decision.message.clone())),
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
        let id = CertificateId { authority_key_identifier: bytes.clone(), serial: bytes };
        let at = moment(&window, &id);
        prop_assert!(at >= window.start.min(window.end) && at <= window.end.max(window.start));
        prop_assert_eq!(at, moment(&window, &id));
    }

    #[test]
    fn every_plan_can_be_printed(observed in observed(), policy in policy()) {
        let plan = plan(&observed, &policy);
        let report = Report::of_plan(&plan, policy.directory.as_ref().map(|directory| directory.url()));
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("json");
        prop_assert_eq!(json["certificates"].as_array().map(Vec::len), Some(plan.decisions().len()));
        let yaml: serde_json::Value = serde_yaml_ng::from_str(&report.to_yaml()).expect("yaml");
        prop_assert_eq!(yaml, json);
    }
}
