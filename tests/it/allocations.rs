//! What 10,000 certificates cost in memory. Allocations are counted, not timed: the count is the same on every machine.

use std::io;

use allocation_counter::{AllocationInfo, measure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{core::v1 as core, networking::v1 as networking};
use kube_lego_once::decide::inspection::{Inspection, MARKER};
use kube_lego_once::decide::name::SecretRef;
use kube_lego_once::decide::observed::{Ingress, Observed, Read, Secret};
use kube_lego_once::decide::plan::plan;
use kube_lego_once::decide::policy::Policy;
use kube_lego_once::report::Report;
use kube_lego_once::report::text::Style;
use serde_json::json;

/// The certificates: one Ingress and one Secret each, with nothing due.
const COUNT: usize = 10_000;

/// A step of a run, and what it took for each certificate when it was last measured: allocations, and bytes at its peak.
const MEASURED: [(&str, usize, usize); 5] = [
    ("observe", 94, 892),
    ("plan", 24, 295),
    ("table", 60, 32),
    ("json", 3, 32),
    ("page", 7, 32),
];

/// More than this share above the measured value fails.
const TOLERATED: f64 = 0.10;

fn ingress(policy: &Policy, number: usize) -> Ingress {
    let object: networking::Ingress = serde_json::from_value(json!({
        "metadata": {
            "namespace": format!("team-{}", number % 100), "name": format!("web-{number}"),
            "uid": "00000000-0000-0000-0000-000000000000", "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"kubernetes.io/tls-acme": "true", "example.com/story": "x".repeat(1_000)},
            "labels": {"app": "web"},
        },
        "spec": {
            "ingressClassName": "contour",
            "tls": [{"hosts": [format!("h{number}.example.com")], "secretName": format!("tls-{number}")}],
            "rules": [{
                "host": format!("h{number}.example.com"),
                "http": {"paths": [{
                    "path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}},
                }]},
            }],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    }))
    .expect("an Ingress");
    let mut ingress = Ingress::from(object);
    policy.strip(&mut ingress);
    ingress
}

/// A Secret as the API server has it, inspected once; the others differ in the name, and share the texts that
/// [`Texts`](kube_lego_once::decide::observed::Texts) would share.
fn secret(now: Timestamp) -> Secret {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(["h.example.com".to_owned()]).expect("a name");
    let day = SignedDuration::from_hours(24);
    params.not_before = std::time::SystemTime::from(now - day).into();
    params.not_after = std::time::SystemTime::from(now + day * 89).into();
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    let data = |text: String| k8s_openapi::ByteString(text.into_bytes());
    let mut object = core::Secret {
        type_: Some("kubernetes.io/tls".into()),
        data: Some(
            [
                ("tls.crt".to_owned(), data(certificate)),
                ("tls.key".to_owned(), data(key.serialize_pem())),
            ]
            .into(),
        ),
        ..core::Secret::default()
    };
    let marker = json!({"directory": "https://ca.example/directory", "account": "https://ca.example/account/123456"});
    object.metadata.annotations = Some([(MARKER.to_owned(), marker.to_string())].into());
    object.metadata.uid = Some("00000000-0000-0000-0000-000000000000".into());
    object.metadata.resource_version = Some("1234567".into());
    Secret::from(object)
}

fn named(secret: &Secret, number: usize) -> Secret {
    let mut secret = secret.clone();
    if let Inspection::Certificate(facts) = &mut secret.inspection {
        facts.names = vec![format!("h{number}.example.com").into()];
    }
    secret
}

#[test]
fn ten_thousand_certificates_cost_no_more_than_was_measured() {
    let now = Timestamp::now();
    let policy = Policy::default();
    let secret = secret(now);
    let mut observed = Observed::at(now);
    let mut found: Vec<AllocationInfo> = Vec::new();
    found.push(measure(|| {
        for number in 0..COUNT {
            observed.ingresses.push(ingress(&policy, number).into());
            let name = SecretRef::new(format!("team-{}", number % 100), format!("tls-{number}"));
            observed
                .secrets
                .insert(name, Read::Found(named(&secret, number).into()));
        }
    }));
    let kept = usize::try_from(found[0].bytes_current).expect("more was kept than freed") / COUNT;
    let mut decided = None;
    found.push(measure(|| decided = Some(plan(&observed, &policy))));
    let decided = decided.expect("a plan");
    assert_eq!(decided.keep.len(), COUNT, "{:?}", decided.decisions().first());
    let report = Report::of_plan(decided, None);
    let style = Style::default();
    found.push(measure(|| report.write_text(&mut io::sink(), &style).expect("written")));
    found.push(measure(|| report.write_json(&mut io::sink()).expect("written")));
    found.push(measure(|| report.write_html(&mut io::sink()).expect("written")));

    eprintln!("kept of an Ingress and its Secret: {kept} bytes");
    let mut failures = Vec::new();
    for ((step, allocations, bytes), found) in MEASURED.into_iter().zip(found) {
        for (what, measured, found) in [
            ("allocations", allocations, found.count_total),
            ("bytes at the peak", bytes, found.bytes_max),
        ] {
            let found = found as usize / COUNT;
            eprintln!("{step}: {found} {what} for each certificate; {measured} when last measured");
            if found as f64 > measured as f64 * (1.0 + TOLERATED) {
                failures.push(format!("{step}: {found} {what}, {measured} before"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
