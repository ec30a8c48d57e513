//! Generators of clusters, policies and selections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use compact_str::CompactString;

use jiff::{SignedDuration, Timestamp};
use kube_lego_once::decide::inspection::{CertificateFacts, CertificateId, Inspection, KeyMatch, Marker, inspect};
use kube_lego_once::decide::name::{ClassName, IngressRef, SecretRef};
use kube_lego_once::decide::observed::{
    CERT_MANAGER, Ingress, IngressClass, Leftover, LeftoverKind, Observed, OneOrMore, Read, RenewalWindow,
    RetiredIngress, Secret, SecretVersion, Tls,
};
use kube_lego_once::decide::policy::{Policy, SharedHosts, TLS_ACME};
use kube_lego_once::decide::selection::Selection;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const NAMESPACES: &[&str] = &["web", "shop", "ops"];
const SECRETS: &[&str] = &["a-tls", "b-tls", "10.0.0.1", "Not_A_Name"];
pub(super) const HOSTS: &[&str] = &["a.example", "b.example", "c.b.example", "d.example"];
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
const WILDCARDS: &[&str] = &["*.example", "*.b.example"];
const CLASSES: &[&str] = &["contour", "nginx", "gce", "plus"];
const RUNS: &[&str] = &["run-1", "run-2"];
pub(super) const DIRECTORIES: &[&str] = &["https://ca.example/dir", "letsencrypt", "letsencrypt-staging"];

pub(super) fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().expect("a time")
}

pub(super) fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn text(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(choices).prop_map(str::to_owned)
}

/// A few in a hundred: what is rare in a cluster is rare here, so that it does not hide everything else.
fn rarely(percent: u32) -> impl Strategy<Value = bool> {
    prop::bool::weighted(f64::from(percent) / 100.0)
}

pub(super) fn hosts() -> impl Strategy<Value = Vec<CompactString>> {
    vec(
        prop_oneof![12 => text(HOSTS), 1 => text(ODD_HOSTS)].prop_map(Into::into),
        0..4,
    )
}

pub(super) fn class() -> impl Strategy<Value = ClassName> {
    prop_oneof![
        6 => Just(ClassName::Spec("contour".into())),
        1 => text(CLASSES).prop_map(|name| ClassName::Spec(name.into())),
        1 => text(CLASSES).prop_map(|name| ClassName::Annotation(name.into())),
        1 => Just(ClassName::Default),
    ]
}

pub(super) fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
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
pub(super) fn ingress() -> impl Strategy<Value = Ingress> {
    let tls = (
        hosts(),
        prop_oneof![9 => text(SECRETS).prop_map(|name| Some(name.into())), 1 => Just(None)],
    )
        .prop_map(|(hosts, secret_name)| Tls {
            hosts: hosts.into(),
            secret_name,
        });
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
        vec(
            prop_oneof![4 => text(HOSTS), 1 => text(WILDCARDS)].prop_map(Into::into),
            0..2,
        ),
        rarely(15),
        labels,
    )
        .prop_map(
            |(namespace, created, deleting, annotations, class, tls, rule_hosts, serves_any_host, labels)| Ingress {
                uid: "".into(),
                name: IngressRef::new(namespace, ""),
                created,
                deleting,
                labels: labels.into_iter().map(|app| ("app".into(), app.into())).collect(),
                annotations: annotations
                    .into_iter()
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect(),
                class,
                tls: tls.into(),
                rule_hosts: rule_hosts.into(),
                challenge_services: thin_vec::ThinVec::new(),
                challenge_hosts: thin_vec::ThinVec::new(),
                serves_only_challenges: false,
                pathless_hosts: thin_vec::ThinVec::new(),
                serves_any_host,
                addresses: OneOrMore::new(),
            },
        )
}

/// A certificate at any point of its life, the edges of it included.
pub(super) fn facts() -> impl Strategy<Value = CertificateFacts> {
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
                names: names.into_iter().map(Into::into).collect(),
                not_before,
                not_after: not_before + hours(lifetime),
                chain_not_after: Some(now() - hours(1)).filter(|_| old_chain),
                issuer: issuer.into(),
                key,
                refusal: None,
                id: id.map(|byte| CertificateId {
                    authority_key_identifier: vec![byte].into(),
                    serial: vec![byte, 1].into(),
                }),
            }
        },
    )
}

pub(super) fn secret() -> impl Strategy<Value = Secret> {
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
        1 => Just(Some(CERT_MANAGER)),
    ];
    (inspection, marker, annotation, rarely(5), rarely(5), rarely(5)).prop_map(
        |(inspection, marker, annotation, immutable, deleting, opaque)| {
            let version = SecretVersion {
                resource_version: "1".into(),
                uid: "uid".into(),
                type_: if opaque { "Opaque" } else { "kubernetes.io/tls" }.into(),
                marker: marker.map(Into::into),
                data_digest: Default::default(),
                key_digest: Default::default(),
            };
            Secret {
                version,
                immutable,
                deleting,
                opt_ins: annotation
                    .filter(|name| *name == TLS_ACME)
                    .map(Into::into)
                    .into_iter()
                    .collect(),
                cert_manager: annotation.filter(|name| *name == CERT_MANAGER).map(Into::into),
                inspection,
            }
        },
    )
}

pub(super) fn read() -> impl Strategy<Value = Read<Secret>> {
    prop_oneof![
        4 => Just(Read::Absent),
        1 => Just(Read::Unknown("timed out".into())),
        12 => secret().prop_map(Read::Found),
    ]
}

pub(super) fn leftover() -> impl Strategy<Value = Leftover> {
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

pub(super) fn window() -> impl Strategy<Value = RenewalWindow> {
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
    pub(super) fn observed()(
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
        let named = |(number, mut ingress): (usize, Ingress)| {
            ingress.name.name = format!("i{number}").into();
            Arc::new(ingress)
        };
        observed.ingresses = ingresses.into_iter().enumerate().map(named).collect();
        observed.retired = (0..retired).map(|number| RetiredIngress {
            name: IngressRef::new("web", format!("r{number}")),
            version: "extensions/v1beta1".into(),
            labels: Default::default(),
            class: ClassName::Default,
        }).collect();
        observed.secrets = all_secrets().into_iter().zip(reads.into_iter().map(Into::into)).collect();
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

pub(super) fn shared_hosts() -> impl Strategy<Value = SharedHosts> {
    prop_oneof![
        4 => Just(SharedHosts::None),
        1 => subsequence(HOSTS, 1..3).prop_map(|hosts| SharedHosts::Listed(hosts.into_iter().map(str::to_owned).collect())),
        1 => Just(SharedHosts::All),
    ]
}

prop_compose! {
    pub(super) fn policy()(
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
    pub(super) fn selection()(
        namespaces in btree_set(text(NAMESPACES), 0..3),
        names in btree_set(prop_oneof![text(SECRETS), (0..7).prop_map(|number| format!("i{number}"))], 0..3),
        classes in btree_set(text(CLASSES), 0..2),
        labels in select(&["", "app=web", "app!=web", "!app"][..]),
    ) -> Selection {
        let labels = labels.parse().expect("a selector");
        let names = names.iter().map(|name| name.parse().expect("a name")).collect();
        Selection { namespaces, labels, names, classes }
    }
}

pub(super) fn url(directory: &str) -> String {
    let directory = directory
        .parse::<kube_lego_once::decide::directory::Directory>()
        .expect("a directory");
    directory.url().to_owned()
}

pub(super) fn marker(directory: String) -> String {
    let account = "https://ca.example/acct/1".into();
    serde_json::to_string(&Marker { directory, account }).expect("json")
}
