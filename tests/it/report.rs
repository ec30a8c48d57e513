//! The report as programs read it: its schema, the recipes for `jq` in `docs/reference.md`, and how long ten thousand rows take.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kube_lego_once::decide::checks::Reason;
use kube_lego_once::decide::desired::Rejection;
use kube_lego_once::decide::name::{IngressRef, SecretRef, SourceKind};
use kube_lego_once::decide::observed::{
    Gateway, GatewayObject, Ingress, Leftover, LeftoverKind, Observed, Read, RetiredIngress, Secret,
};
use kube_lego_once::decide::outcome::{Failure, Outcome, Outcomes};
use kube_lego_once::decide::plan::{Plan, plan};
use kube_lego_once::decide::policy::Policy;
use kube_lego_once::report::Report;
use kube_lego_once::report::prometheus::Timing;
use kube_lego_once::report::text::Style;
use serde_json::{Value, json};

use crate::written::written;

const SCHEMA: &str = include_str!("../../src/report/report.schema.json");
const REFERENCE: &str = include_str!("../../docs/reference.md");

pub(crate) fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

pub(crate) fn ingress(namespace: &str, name: &str, tls: &Value) -> Ingress {
    let object = json!({
        "metadata": {"namespace": namespace, "name": name, "annotations": {"kubernetes.io/tls-acme": "true"}},
        "spec": {"ingressClassName": "contour", "tls": tls},
    });
    let object: k8s_openapi::api::networking::v1::Ingress = serde_json::from_value(object).expect("an Ingress");
    object.into()
}

/// A self-signed certificate of 90 days.
pub(crate) fn secret(host: &str, until: Timestamp) -> Secret {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new([host.to_owned()]).expect("a name");
    let time = |time: Timestamp| std::time::SystemTime::from(time).into();
    params.not_before = time(until - days(90));
    params.not_after = time(until);
    let pem = params.self_signed(&key).expect("a certificate").pem();
    let bytes = |text: String| k8s_openapi::ByteString(text.into_bytes());
    let data = json!({"tls.crt": bytes(pem), "tls.key": bytes(key.serialize_pem())});
    let object: k8s_openapi::api::core::v1::Secret =
        serde_json::from_value(json!({"type": "kubernetes.io/tls", "data": data})).expect("a Secret");
    object.into()
}

/// Certificates that are kept, due and refused, every sort of rejection, and a leftover.
fn observed() -> Observed {
    let now = Timestamp::now();
    let mut observed = Observed::at(now);
    let tls = |name: &str| json!([{"secretName": format!("{name}-tls"), "hosts": [format!("{name}.example.com")]}]);
    observed.ingresses = [
        ingress("web", "good", &tls("good")),
        ingress("web", "soon", &tls("soon")),
        ingress("web", "new", &tls("new")),
        ingress("web", "stopped", &tls("stopped")),
        ingress(
            "shop",
            "wild",
            &json!([{"secretName": "wild-tls", "hosts": ["*.example.com", "Shop"]}]),
        ),
        ingress("shop", "unread", &tls("unread")),
        ingress("shop", "bare", &json!([])),
        ingress("shop", "unnamed", &json!([{"hosts": ["a.example.com"]}])),
        ingress("shop", "hostless", &json!([{"secretName": "hostless-tls"}])),
    ]
    .map(Arc::new)
    .into();
    observed.gateways = vec![
        Arc::new(every_rejected_listener()),
        Arc::new(gateway("none", json!([]))),
    ];
    observed.retired = vec![RetiredIngress {
        name: IngressRef::new("old", "old"),
        version: "extensions/v1beta1".into(),
        labels: Default::default(),
        class: ingress("old", "old", &json!([])).class,
    }];
    for (name, left) in [("good", 80), ("soon", 10)] {
        let found = secret(&format!("{name}.example.com"), now + days(left));
        let place = SecretRef::new("web", format!("{name}-tls"));
        observed.secrets.insert(place, Read::Found(found.into()));
    }
    let unread = SecretRef::new("shop", "unread-tls");
    observed.secrets.insert(unread, Read::Unknown("timed out".into()));
    observed.leftovers = LeftoverKind::ALL
        .map(|kind| Leftover {
            kind,
            namespace: "kube-lego".into(),
            name: "kube-lego-once-contour".into(),
            uid: "1".into(),
            run: "dead".into(),
        })
        .into();
    observed
}

fn gateway(name: &str, listeners: Value) -> Gateway {
    let object = json!({
        "metadata": {"namespace": "shop", "name": name, "annotations": {"kubernetes.io/tls-acme": "true"}},
        "spec": {"gatewayClassName": "x", "listeners": listeners},
    });
    let object: GatewayObject = serde_json::from_value(object).expect("a Gateway");
    object.into_gateway(SourceKind::Gateway)
}

fn every_rejected_listener() -> Gateway {
    let https = |name: &str, hostname: &str, tls: Value| json!({"name": name, "port": 443, "protocol": "HTTPS", "hostname": hostname, "tls": tls});
    let refs = |reference: Value| json!({"certificateRefs": [reference]});
    gateway(
        "rejected",
        json!([
            https("any", "", refs(json!({"name": "a"}))),
            https("through", "a.example.com", json!({"mode": "Passthrough"})),
            https("bare", "a.example.com", json!({})),
            https(
                "elsewhere",
                "a.example.com",
                refs(json!({"name": "a", "namespace": "other"}))
            ),
            https(
                "kind",
                "a.example.com",
                refs(json!({"name": "a", "group": "x.example", "kind": "Vault"}))
            ),
        ]),
    )
}

fn planned() -> Plan {
    let policy = Policy {
        adopt: true,
        ..Policy::default()
    };
    plan(&observed(), &policy)
}

fn of_run() -> Report {
    let issued = Outcome::Issued {
        not_after: Timestamp::now() + days(90),
        issuer: "CN=Test".into(),
        dropped: Vec::new(),
    };
    let failed = Outcome::Failed(Failure::new("no answer", Some("ask again".into())));
    let secret = |name| SecretRef::new("web", name);
    let outcomes = Outcomes::from([
        (secret("soon-tls"), issued),
        (secret("new-tls"), failed),
        (secret("stopped-tls"), Outcome::Stopped),
    ]);
    Report::of_run(planned(), outcomes, Some("https://ca.example/dir"))
}

fn parsed(report: &Report) -> Value {
    serde_json::from_str(&written(|out| report.write_json(out))).expect("JSON")
}

#[test]
fn reports_keep_to_their_schema_and_the_schema_knows_every_word() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    jsonschema::meta::validate(&schema).expect("a schema");
    let options = jsonschema::options().should_validate_formats(true);
    let validator = options.build(&schema).expect("a schema");
    let reports = [
        Report::of_plan(planned(), None),
        of_run(),
        Report::of_plan(plan(&Observed::at(Timestamp::now()), &Policy::default()), None),
    ];
    for report in &reports {
        let report = parsed(report);
        let errors: Vec<_> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{report:#}");
        let mut more = report.clone();
        more["summary"]["more"] = json!(1);
        assert!(!validator.is_valid(&more), "no field is unknown to the schema");
    }
    let yaml: Value = serde_yaml_ng::from_str(&written(|out| reports[1].write_yaml(out))).expect("YAML");
    assert_eq!(yaml, parsed(&reports[1]), "YAML is the same document");

    let words = |place: &str| -> BTreeSet<String> {
        serde_json::from_value(schema.pointer(place).expect(place)["enum"].clone()).expect("words")
    };
    let reasons: BTreeSet<String> = Reason::ALL.iter().map(|reason| reason.word().to_owned()).collect();
    assert_eq!(words("/$defs/certificate/properties/reason"), reasons);
    let rejections = planned()
        .rejected
        .iter()
        .map(|rejected| known(&rejected.reason))
        .collect();
    assert_eq!(words("/$defs/rejected/properties/reason"), rejections);
    let seen = |list: &str, field: &str| -> BTreeSet<String> {
        let report = parsed(&of_run());
        let rows = report[list].as_array().expect("rows").clone();
        rows.iter()
            .filter_map(|row| Some(row.pointer(field)?.as_str()?.to_owned()))
            .collect()
    };
    assert_eq!(
        words("/$defs/certificate/properties/action"),
        seen("certificates", "/action")
    );
    assert_eq!(words("/$defs/leftover/properties/kind"), seen("leftovers", "/kind"));
    assert_eq!(
        words("/$defs/outcome/properties/result"),
        seen("certificates", "/outcome/result")
    );
}

#[test]
fn the_reference_counts_the_series_of_each_metric() {
    let timing = Timing {
        ended: Timestamp::now(),
        duration: SignedDuration::from_secs(1),
        succeeded: true,
    };
    let metrics = of_run().timed(timing).metrics().expect("metrics");
    let of = |name: &str| {
        let names = [format!("kube_lego_once_{name} "), format!("kube_lego_once_{name}{{")];
        let lines = metrics.lines();
        lines
            .filter(|line| names.iter().any(|name| line.starts_with(name.as_str())))
            .count()
    };
    let mut others = 0;
    for row in REFERENCE.split("| series |").nth(1).expect("the table").lines().skip(2) {
        let Some((names, count)) = row
            .strip_prefix("| `")
            .and_then(|row| row.trim_end_matches(" |").rsplit_once("| "))
        else {
            break;
        };
        let names = names.split(" | ").next().unwrap_or_default().split("`, `");
        let seen: usize = names.map(|name| of(name.trim_end_matches('`'))).sum();
        match count.parse::<usize>() {
            Ok(said) => assert_eq!(seen, said, "{row}\n{metrics}"),
            Err(_) => continue,
        }
        others += seen;
    }
    assert!(others > 0);
    assert!(REFERENCE.contains(&format!("and {others} others")), "{others} others");
}

/// Whoever adds a rejection is stopped here by the compiler, and adds it to [`observed`] and to the schema.
fn known(rejection: &Rejection) -> String {
    match rejection {
        Rejection::RetiredVersion { .. }
        | Rejection::NoTls
        | Rejection::NoSecretName { .. }
        | Rejection::NoHosts { .. }
        | Rejection::NoHttpsListener
        | Rejection::NoHostname { .. }
        | Rejection::Passthrough { .. }
        | Rejection::NoCertificateRef { .. }
        | Rejection::CrossNamespaceReference { .. }
        | Rejection::UnsupportedReference { .. } => rejection.word().to_owned(),
    }
}

/// The recipes: what follows `| jq` between single quotes, with the options before it.
fn recipes() -> Vec<(String, String)> {
    let recipe = |line: &str| {
        let (_, call) = line.split_once("| jq ")?;
        let (options, rest) = call.split_once('\'')?;
        let (program, _) = rest.rsplit_once('\'')?;
        Some((options.trim().to_owned(), program.to_owned()))
    };
    REFERENCE.lines().filter_map(recipe).collect()
}

#[test]
fn the_documented_recipes_answer() {
    let recipes = recipes();
    if Command::new("jq").arg("--version").output().is_err() {
        eprintln!("NOT TESTED: there is no `jq` here, so the recipes of docs/reference.md were not run");
        return;
    }
    let expected = [
        "web/soon-tls ",
        "web/new-tls: no answer\n",
        "shop/unread-tls Unknown: the Secret could not be read: timed out\nshop/wild-tls InvalidHost: ",
        "1 CN=Test\n1 rcgen",
    ];
    assert_eq!(recipes.len(), expected.len(), "{recipes:?}");
    for ((options, program), expected) in recipes.iter().zip(expected) {
        // What ends soon is asked of a plan, all others of a run.
        let report = if program.contains("notAfter") {
            Report::of_plan(planned(), None)
        } else {
            of_run()
        };
        let answer = jq(options, program, &written(|out| report.write_json(out)));
        assert!(answer.starts_with(expected), "jq {options} '{program}':\n{answer}");
    }
}

fn jq(options: &str, program: &str, input: &str) -> String {
    let mut child = Command::new("jq")
        .args(options.split_whitespace())
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("jq");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("jq reads");
    drop(stdin);
    let output = child.wait_with_output().expect("jq ends");
    assert!(output.status.success(), "jq {options} '{program}'");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn ten_thousand_certificates_are_one_look() {
    let mut observed = Observed::at(Timestamp::now());
    observed.ingresses = (0..10_000)
        .map(|n| {
            let tls = json!([{"secretName": format!("tls-{n}"), "hosts": [format!("h{n}.example.com")]}]);
            Arc::new(ingress(&format!("n{}", n % 100), &format!("web-{n}"), &tls))
        })
        .collect();
    let plan = plan(&observed, &Policy::default());
    let style = Style {
        bar: true,
        color: true,
        width: Some(80),
    };
    let began = Instant::now();
    let text = written(|out| Report::of_plan(plan, None).write_text(out, &style));
    let took = began.elapsed();
    println!("10,000 rows in {took:?}");
    assert_eq!(text.lines().count(), 10_003);
    assert!(text.ends_with("10000 certificates: 10000 due, 0 valid, 0 refused\n"));
    // Measured: see the commit. An unoptimized build on a busy machine must pass too.
    assert!(took < Duration::from_secs(5), "{took:?}");
}
