//! What the tables of this folder's tests are written with.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::inspection::{MARKER, Marker};
use super::name::{ClassName, IngressRef, SecretRef};
use super::observed::{Ingress, Observed, OneOrMore, Pairs, Read, Secret, Tls};

/// The time at which every table looks.
pub fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().expect("a time")
}

pub fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// The end of a certificate that has none (RFC 5280 section 4.1.2.5), in seconds: later than any timestamp.
const NEVER: u64 = 253_402_300_799;

/// A chain of two by a CA called `issuer`, and the leaf's key, both in PEM.
pub fn certificate(names: &[&str], issuer: &str, from: Timestamp, until: Timestamp) -> (String, String) {
    certificate_until(names, issuer, from, until.as_second().unsigned_abs())
}

/// The same without a well-defined end.
pub fn endless_certificate(names: &[&str], from: Timestamp) -> (String, String) {
    certificate_until(names, "Test CA", from, NEVER)
}

fn certificate_until(names: &[&str], issuer: &str, from: Timestamp, until: u64) -> (String, String) {
    let time = |seconds| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds);
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, issuer);
    let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let ca = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut leaf = CertificateParams::new(names).expect("names");
    leaf.not_before = time(from.as_second().unsigned_abs());
    leaf.not_after = time(until);
    leaf.use_authority_key_identifier_extension = true;
    let pem = leaf.signed_by(&key, &ca).expect("a certificate").pem();
    (format!("{pem}{ca_pem}"), key.serialize_pem())
}

pub fn ingress(namespace: &str, name: &str) -> Ingress {
    Ingress {
        name: IngressRef::new(namespace, name),
        uid: "".into(),
        created: Some(now() - days(1)),
        deleting: false,
        annotations: Pairs::from_iter([("kubernetes.io/tls-acme".into(), "true".into())]),
        labels: Pairs::new(),
        class: ClassName::Spec("contour".into()),
        tls: OneOrMore::new(),
        rule_hosts: OneOrMore::new(),
        pathless_hosts: thin_vec::ThinVec::new(),
        serves_any_host: false,
        challenge_services: thin_vec::ThinVec::new(),
        challenge_hosts: thin_vec::ThinVec::new(),
        serves_only_challenges: false,
        addresses: OneOrMore::new(),
    }
}

impl Ingress {
    pub(crate) fn tls(mut self, secret: &str, hosts: &[&str]) -> Self {
        let hosts = hosts.iter().map(|host| (*host).into()).collect();
        self.tls.push(Tls {
            hosts,
            secret_name: Some(secret).filter(|name| !name.is_empty()).map(Into::into),
        });
        self
    }

    pub(crate) fn rule(mut self, host: &str) -> Self {
        self.rule_hosts.push(host.into());
        self
    }

    /// A rule that names a host and has no path.
    pub(crate) fn pathless_rule(mut self, host: &str) -> Self {
        self.pathless_hosts.push(host.into());
        self.pathless_hosts.sort();
        self.rule(host)
    }

    /// A rule without a host, or a default backend.
    pub(crate) fn any_host(mut self) -> Self {
        self.serves_any_host = true;
        self
    }

    pub(crate) fn class(mut self, class: ClassName) -> Self {
        self.class = class;
        self
    }

    pub(crate) fn deleting(mut self) -> Self {
        self.deleting = true;
        self
    }

    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    pub(crate) fn created(mut self, days_ago: i64) -> Self {
        self.created = Some(now() - days(days_ago));
        self
    }

    pub(crate) fn without_annotation(mut self) -> Self {
        self.annotations.clear();
        self
    }
}

/// A Secret as the API server has it, with our marker for `directory` where one is given.
pub fn secret((certificate, key): &(String, String), directory: Option<&str>) -> Secret {
    let bytes = |text: &str| k8s_openapi::ByteString(text.as_bytes().to_vec());
    let mut object = k8s_openapi::api::core::v1::Secret {
        type_: Some("kubernetes.io/tls".into()),
        data: Some(BTreeMap::from([
            ("tls.crt".into(), bytes(certificate)),
            ("tls.key".into(), bytes(key)),
        ])),
        ..Default::default()
    };
    if let Some(directory) = directory {
        let marker = Marker {
            directory: directory.into(),
            account: "https://ca.example/acct/1".into(),
        };
        let marker = serde_json::to_string(&marker).expect("json");
        object.metadata.annotations = Some(BTreeMap::from([(MARKER.into(), marker)]));
    }
    object.into()
}

/// An observation of these Ingresses and of the Secret `web/a-tls`.
pub fn observed(ingresses: Vec<Ingress>, secret: Read<Secret>) -> Observed {
    let mut observed = Observed::at(now());
    observed.ingresses = ingresses.into_iter().map(Into::into).collect();
    observed.secrets.insert(SecretRef::new("web", "a-tls"), secret.into());
    observed
}
