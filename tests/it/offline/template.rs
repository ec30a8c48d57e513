//! What cases are written with, so that they stay readable: certificates whose time is told from the case's own.
//!
//! `{{certificate hosts=a.example,b.example left=30d-1s}}` stands for `tls.crt` and `tls.key`. `days` is the lifetime (90),
//! `end=never` says that it has no well-defined end,
//! `issuer` a name (`Test CA`), `chain-left` what the issuer's certificate has left, `cn` the subject, and `with` one of
//! `other-key`, `no-key`, `no-certificate`, `garbage`, `half-a-chain`, `glued-chain`, `byte-order-mark`. `{{ours}}` stands for our marker, of `directory` where that is given.

use std::fmt::Write as _;
use std::time::Duration;

use kube_lego_once::decide::inspection::MARKER;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::{DIRECTORY, NOW};

/// So many seconds from the cases' time, as rcgen wants it; the type is of a crate that is not ours to name.
macro_rules! time {
    ($from_now:expr) => {{
        let now: jiff::Timestamp = NOW.parse().expect("a time");
        let seconds = now.as_second() + $from_now;
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.unsigned_abs())
    }};
}

pub fn expand(text: &str) -> String {
    let mut expanded = String::new();
    for line in text.lines() {
        let call = line.trim().strip_prefix("{{").and_then(|call| call.strip_suffix("}}"));
        let Some(call) = call else {
            expanded.push_str(line);
            expanded.push('\n');
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let (word, arguments) = call.split_once(' ').unwrap_or((call, ""));
        let written = match word {
            "ours" => vec![marker(&Arguments(arguments))],
            "certificate" => certificate(&Arguments(arguments)),
            // A manifest may have braces of its own.
            _ => vec![line.trim().to_owned()],
        };
        for line in written {
            let _ = writeln!(expanded, "{indent}{line}");
        }
    }
    expanded
}

/// `key=value`, separated by blanks; `_` in a value is a blank.
struct Arguments<'a>(&'a str);

impl<'a> Arguments<'a> {
    fn find(&self, key: &str) -> Option<&'a str> {
        let pairs = self.0.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).next()
    }

    fn seconds(&self, key: &str, otherwise: i64) -> i64 {
        self.find(key).map_or(otherwise, seconds)
    }
}

/// `30d-1s`: terms of days, hours and seconds.
fn seconds(text: &str) -> i64 {
    let mut sum = 0;
    for term in text.replace('-', " -").replace('+', " ").split_whitespace() {
        let (number, unit) = term.split_at(term.len() - 1);
        let unit = match unit {
            "d" => 86_400,
            "h" => 3_600,
            "s" => 1,
            other => panic!("no unit `{other}`"),
        };
        sum += number.parse::<i64>().expect("a number") * unit;
    }
    sum
}

fn marker(arguments: &Arguments<'_>) -> String {
    let directory = arguments.find("directory").unwrap_or(DIRECTORY);
    format!("{MARKER}: '{{\"directory\":\"{directory}\",\"account\":\"https://ca.example/acct/1\"}}'")
}

fn certificate(arguments: &Arguments<'_>) -> Vec<String> {
    let hosts = arguments.find("hosts").unwrap_or_default();
    let hosts: Vec<String> = hosts
        .split(',')
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect();
    let left = arguments.seconds("left", 60 * 86_400);
    let lifetime = arguments.seconds("days", 90 * 86_400);
    let issuer = arguments.find("issuer").unwrap_or("Test_CA").replace('_', " ");

    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, issuer);
    ca.not_after = time!(arguments.seconds("chain-left", 3_650 * 86_400));
    let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let ca = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let mut leaf = CertificateParams::new(hosts).expect("names");
    if let Some(name) = arguments.find("cn") {
        leaf.distinguished_name.push(DnType::CommonName, name);
    }
    leaf.not_before = time!(left - lifetime);
    leaf.not_after = time!(left);
    if arguments.find("end") == Some("never") {
        // RFC 5280 section 4.1.2.5.
        leaf.not_after = rcgen::date_time_ymd(9999, 12, 31) + Duration::from_secs(86_399);
    }
    let chain = leaf.signed_by(&key, &ca).expect("a certificate").pem() + &ca_pem;
    let (chain, key) = match arguments.find("with") {
        None => (chain, key.serialize_pem()),
        Some("other-key") => (chain, KeyPair::generate().expect("a key").serialize_pem()),
        Some("no-key") => (chain, String::new()),
        Some("no-certificate") => (String::new(), key.serialize_pem()),
        Some("half-a-chain") => (chain[..chain.len() - 40].to_owned(), key.serialize_pem()),
        Some("glued-chain") => (
            chain.replace("END CERTIFICATE-----\n-----BEGIN", "END CERTIFICATE----------BEGIN"),
            key.serialize_pem(),
        ),
        Some("byte-order-mark") => {
            let leaf_end = chain.rfind("-----BEGIN").expect("an issuer");
            (format!("\u{feff}{}", &chain[..leaf_end]), key.serialize_pem())
        }
        Some("garbage") => ("garbage".into(), "garbage".into()),
        Some(other) => panic!("no `with={other}`"),
    };
    // YAML writes a character by its number otherwise than Rust.
    let chain = format!("{chain:?}").replace("\\u{feff}", "\\uFEFF");
    vec![format!("tls.crt: {chain}"), format!("tls.key: {key:?}")]
}
