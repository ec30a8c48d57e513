//! What is done with an input of each target. The result says whether the input was accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use kube_lego_once::adapters::manifests::{self, Manifests};
use kube_lego_once::decide::directory::Directory;
use kube_lego_once::decide::inspection::{Inspection, inspect, verify_issued};
use kube_lego_once::decide::ledger::{Entry, Ledger};
use kube_lego_once::decide::name::{DnsName, RunId, SecretRef};
use kube_lego_once::decide::observed::{Observed, Read, RenewalWindow, Secret};
use kube_lego_once::decide::plan::{plan, renewal_information_wanted, secrets_wanted};
use kube_lego_once::decide::policy::Policy;
use kube_lego_once::decide::route::{Home, challenge_ingress, chunks};
use kube_lego_once::decide::selection::LabelSelector;
use kube_lego_once::observe::of_manifests;
use kube_lego_once::report::Report;
use kube_lego_once::report::explanation::explanation;
use kube_lego_once::report::text::Style;
use serde_json::Value;

use super::corpus::kind;
use super::target::Input;
use crate::written::written;

pub(super) fn now() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().expect("a time")
}

pub(super) fn secret(input: &Input) -> bool {
    let [certificate, key] = input.as_slice() else {
        return false;
    };
    let Inspection::Certificate(facts) = inspect(certificate, key) else {
        let verified = verify_issued(certificate, key, &[], now());
        assert!(verified.is_err(), "what cannot be read is not to be stored");
        return false;
    };
    assert!(facts.names.is_sorted());
    let names: Vec<String> = facts.names.iter().map(ToString::to_string).collect();
    if let Ok(verified) = verify_issued(certificate, key, &names, now()) {
        assert_eq!(verified, *facts);
        assert!(facts.not_after > now());
    }
    let data =
        [("tls.crt", certificate), ("tls.key", key)].map(|(name, bytes)| (name.into(), ByteString(bytes.clone())));
    let object = k8s_openapi::api::core::v1::Secret {
        type_: Some("kubernetes.io/tls".into()),
        data: Some(data.into()),
        ..Default::default()
    };
    let place = SecretRef::new("web", "a-tls");
    let mut observed = Observed::at(now());
    observed.ingresses = vec![Arc::new(wanting_ingress().into())];
    observed
        .secrets
        .insert(place.clone(), Read::Found(Secret::from(object).into()));
    // The certificate's own ends make a window: as odd as they are.
    observed.renewal_windows.insert(
        place,
        RenewalWindow {
            start: facts.not_after,
            end: facts.not_before,
        },
    );
    decide(&observed, input);
    true
}

fn wanting_ingress() -> k8s_openapi::api::networking::v1::Ingress {
    let json = serde_json::json!({
        "metadata": {"name": "a", "namespace": "web", "annotations": {"kubernetes.io/tls-acme": "true"}},
        "spec": {"tls": [{"hosts": ["a.example"], "secretName": "a-tls"}]},
    });
    serde_json::from_value(json).expect("an Ingress")
}

/// Through a file, as `-f` gets them: the rules for encodings and sizes are part of it.
pub(super) fn manifests(input: &Input) -> bool {
    let thread = format!("{:?}", std::thread::current().id());
    let number: String = thread.chars().filter(char::is_ascii_digit).collect();
    let path = std::env::temp_dir().join(format!("kube-lego-once-fuzz-{}-{number}.yaml", std::process::id()));
    fs::write(&path, &input[0]).expect("a temporary file");
    let read = manifests::read(std::slice::from_ref(&path), false);
    fs::remove_file(&path).expect("a temporary file");
    match read {
        Ok(manifests) => {
            decide(&of_manifests(manifests), input);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

pub(super) fn objects(input: &Input) -> bool {
    fn taken<T: serde::de::DeserializeOwned>(object: Value, into: &mut Vec<T>) -> bool {
        serde_json::from_value(object).map(|object| into.push(object)).is_ok()
    }
    let mut manifests = Manifests::default();
    let mut all = true;
    for text in input {
        // Only a mutation that nests too deep is not read again.
        let Ok(object) = serde_json::from_slice::<Value>(text) else {
            return false;
        };
        all &= match kind(&object) {
            "Ingress" => taken(object, &mut manifests.ingresses),
            "Secret" => taken(object, &mut manifests.secrets),
            "IngressClass" => taken(object, &mut manifests.classes),
            "Namespace" => taken(object, &mut manifests.namespaces),
            _ => true,
        };
    }
    decide(&of_manifests(manifests), input);
    all
}

/// All that is done with an observation before anything is asked of anybody. `input` chooses between policies: all of them
/// for each would be a third of the inputs in the same time.
pub(super) fn decide(observed: &Observed, input: &Input) {
    let policies = [
        (Some("https://ca.example/dir"), None),
        (Some("letsencrypt-staging"), Some(SignedDuration::MAX)),
        (None, Some(SignedDuration::MIN)),
    ];
    let (directory, minimum_validity) = policies[input.concat().len() % policies.len()];
    let policy = Policy {
        directory: directory.map(|url| url.parse().expect("a directory")),
        minimum_validity,
        ..Policy::default()
    };
    let plan = plan(observed, &policy);
    let wanted = secrets_wanted(observed, &policy);
    assert_eq!(plan.decisions().len(), wanted.len());
    drop(renewal_information_wanted(observed, &policy));
    let report = Report::of_plan(plan.clone(), directory);
    let json: Value = serde_json::from_str(&written(|out| report.write_json(out))).expect("JSON");
    assert_eq!(json["certificates"].as_array().map(Vec::len), Some(wanted.len()));
    drop((
        written(|out| report.write_yaml(out)),
        written(|out| report.write_names(out)),
        written(|out| report.write_wide_text(out, &Style::default())),
    ));
    let terminal = Style {
        bar: true,
        color: true,
        width: Some(80),
    };
    drop(written(|out| report.write_text(out, &terminal)));
    drop(explanation(observed, &policy, &plan, &Style::default()));
    let home = Home {
        namespace: "kube-lego".into(),
        run: "run-1".parse::<RunId>().expect("a run's id"),
        owner: None,
    };
    let routes: BTreeSet<_> = plan.issue.iter().flat_map(|decision| decision.routes.clone()).collect();
    for chunk in chunks(&routes) {
        drop(challenge_ingress(
            &home,
            "kube-lego-once".into(),
            chunk.via.class().expect("a class"),
            &chunk.rules(),
            &plan.classes,
        ));
    }
}

pub(super) fn ledger(input: &Input) -> bool {
    let ledger = Ledger::from_data([
        ("pending.web.a-tls", input[0].as_slice()),
        ("attempts.web.a-tls", input[0].as_slice()),
        ("other", input[0].as_slice()),
    ]);
    assert_eq!(
        ledger.pending.len() + ledger.attempts.len() + ledger.unreadable.len(),
        2
    );
    for pending in &ledger.pending {
        let written = serde_json::to_vec(pending).expect("JSON");
        assert_eq!(
            Ledger::from_data([("pending.", written.as_slice())]).pending,
            ledger.pending
        );
        assert!(Entry::Pending(pending.clone()).key().data_key().len() <= 253);
        assert!(pending.key.0.len() < 16 || !format!("{:?}", pending.key).contains(&pending.key.0));
    }
    // What could not be read may hold a key: its text is never quoted.
    assert!(ledger.unreadable.iter().all(|(_, why)| why.len() < 64));
    !ledger.pending.is_empty()
}

pub(super) fn line(input: &Input) -> bool {
    let text = String::from_utf8_lossy(&input[0]);
    let name = text.parse::<DnsName>();
    if let Ok(name) = &name {
        assert_eq!(name.to_string(), text);
        assert!(name.is_covered_by(&text) && name.is_covered_by(&text.to_ascii_uppercase()));
        assert!((1..=127).contains(&name.label_count()));
    }
    let covered: DnsName = "a.example".parse().expect("a name");
    assert_eq!(
        covered.is_covered_by(&text),
        ["a.example", "*.example"].contains(&text.to_ascii_lowercase().as_str())
    );
    let selector = text.parse::<LabelSelector>();
    if let Ok(selector) = &selector {
        let labels = BTreeMap::from([("app".into(), "web".into())]);
        assert!(!selector.is_empty() || selector.matches(&labels.into_iter().collect()));
    }
    let directory = text.parse::<Directory>();
    if let Ok(directory) = &directory {
        assert_eq!(directory.url().parse::<Directory>().as_ref(), Ok(directory));
    }
    if let Ok(run) = text.parse::<RunId>() {
        assert_eq!(run.as_str(), text);
    }
    name.is_ok() || selector.is_ok() || directory.is_ok()
}
