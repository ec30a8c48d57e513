//! A cluster after a plan was applied.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use compact_str::CompactString;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use kube_lego_once::decide::checks::claims_to_remove;
use kube_lego_once::decide::inspection::{Inspection, MARKER};
use kube_lego_once::decide::name::DnsName;
use kube_lego_once::decide::observed::{CERT_MANAGER, Observed, Read, RenewalWindow, Secret};
use kube_lego_once::decide::plan::{Decision, Plan};
use kube_lego_once::decide::policy::Policy;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::worlds::{hours, marker, now};

/// A chain for these names that a CA signed an hour ago by its own clock, and its key. Keys are slow to make: one serves all.
fn signed(hosts: &[DnsName], issuer: &str, lifetime: SignedDuration) -> (String, String) {
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
    let mut annotations = BTreeMap::new();
    if let Some(secret) = before {
        let claims = secret.cert_manager.iter().map(|_| CERT_MANAGER);
        let all = secret.opt_ins.iter().map(CompactString::as_str).chain(claims);
        annotations.extend(all.map(|name| (name.to_owned(), "true".to_owned())));
    }
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

/// The cluster after a plan was applied. New certificates have new windows: near their end, as CAs choose them.
pub(super) fn applied(observed: &Observed, plan: &Plan, policy: &Policy, lifetime: SignedDuration) -> Observed {
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
        after.secrets.insert(place, Read::Found(secret.into()));
    }
    after.leftovers.retain(|leftover| !plan.sweep.contains(leftover));
    after.lease_holder = None;
    after
}
