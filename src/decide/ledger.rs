//! What must outlive a run: orders whose key exists, so that a killed run loses no certificate (I7), and what the CA refused,
//! so that it is not asked again at once.
//!
//! The ledger is a Secret of the home namespace with one data key an entry: entries are written and removed by
//! themselves, and two runs that meet there overwrite nothing of each other.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::backoff::Attempts;
use super::digest::{Digest, digest, hex};
use super::directory::Directory;
use super::name::{DnsName, SecretRef};

/// The ledger's Secret in the home namespace.
pub const LEDGER_SECRET: &str = "kube-lego-once-ledger";

/// How long an order is worth taking up: CAs keep one about a week, and of the certificate that comes of it more than
/// half must be left, also where it lives for six days.
const USEFUL_FOR: SignedDuration = SignedDuration::from_hours(48);

/// A private key in PEM (PKCS#8). Its `Debug` shows nothing of it, and its bytes are zeroed when it goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKeyPem(pub String);

impl PrivateKeyPem {
    /// SHA-256, as [`SecretVersion`](super::observed::SecretVersion) has it of a Secret's key.
    pub fn digest(&self) -> Digest {
        digest(&[self.0.as_bytes()])
    }
}

impl Drop for PrivateKeyPem {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKeyPem(..)")
    }
}

/// An order that has a key: written before it is finalized (RFC 8555 section 7.4), removed once its certificate is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// The Secret's namespace: the key goes into this one and no other (I5).
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// The directory that the order belongs to.
    pub directory: String,
    /// The account's URL there (RFC 8555 section 7.1.2).
    pub account: String,
    /// The order's URL (RFC 8555 section 7.1.3).
    pub order: String,
    /// The names that were ordered, sorted.
    pub hosts: Vec<String>,
    /// The profile that was ordered, empty for none; nothing in entries of version 0.1.0, which did not say it.
    #[serde(default)]
    pub profile: Option<String>,
    /// The key that the CSR is made with.
    pub key: PrivateKeyPem,
    /// The chain in PEM, once there is one that could not be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// When this was written.
    pub at: Timestamp,
}

impl Pending {
    /// Whether it is too old to be taken up.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) >= USEFUL_FOR
    }

    /// Where the certificate goes.
    pub fn secret(&self) -> SecretRef {
        SecretRef::new(self.namespace.as_str(), self.secret.as_str())
    }
}

/// Everything the ledger holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Orders with a key and no stored certificate.
    pub pending: Vec<Pending>,
    /// What the CA refused.
    pub attempts: Vec<Attempts>,
    /// Data keys that could not be read as an entry, and why: named, never removed.
    pub unreadable: Vec<(String, String)>,
}

impl Ledger {
    /// The order to take up for a certificate, instead of making another: of the same hosts and profile, at the same
    /// directory, and not too old.
    pub fn order_for(
        &self,
        secret: &SecretRef,
        hosts: &[DnsName],
        directory: &Directory,
        profile: Option<&str>,
        now: Timestamp,
    ) -> Option<&Pending> {
        let same_hosts = |pending: &Pending| hosts.iter().map(ToString::to_string).eq(pending.hosts.iter().cloned());
        let same_profile = |ordered: &str| ordered == profile.unwrap_or_default();
        self.pending.iter().find(|pending| {
            pending.secret() == *secret
                && pending.directory == directory.url()
                && pending.profile.as_deref().is_none_or(same_profile)
                && !pending.is_over(now)
                && same_hosts(pending)
        })
    }

    /// What the CA refused of a certificate: the same names at the same directory, and the same account where one is known.
    pub fn attempts_at(
        &self,
        secret: &SecretRef,
        hosts: &[DnsName],
        directory: &Directory,
        account: Option<&str>,
    ) -> Option<&Attempts> {
        self.attempts.iter().find(|attempts| {
            attempts.secret() == *secret && attempts.are_for(hosts) && attempts.are_at(directory, account)
        })
    }

    /// Reads the data of the ledger's Secret.
    pub fn from_data<'a>(data: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut ledger = Self::default();
        for (key, value) in data {
            let read = match key.split_once('.').and_then(|(kind, _)| EntryKind::of(kind)) {
                Some(EntryKind::Pending) => serde_json::from_slice(value).map(|entry| ledger.pending.push(entry)),
                Some(EntryKind::Attempts) => serde_json::from_slice(value).map(|entry| ledger.attempts.push(entry)),
                None => continue,
            };
            if let Err(error) = read {
                // Only where, never serde_json's own words: those quote the text, and the text holds a key.
                let (line, column) = (error.line(), error.column());
                let why = format!("line {line} column {column}");
                ledger.unreadable.push((key.to_owned(), why));
            }
        }
        ledger
    }
}

/// The kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A [`Pending`] order.
    Pending,
    /// Failed [`Attempts`].
    Attempts,
}

impl EntryKind {
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Attempts => "attempts",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Pending, Self::Attempts]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// Which entry: a certificate has one of each kind at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryKey {
    /// The kind.
    pub kind: EntryKind,
    /// The certificate.
    pub secret: SecretRef,
}

impl EntryKey {
    /// Puts the two parts together.
    pub fn new(kind: EntryKind, secret: SecretRef) -> Self {
        Self { kind, secret }
    }

    /// The key in the data of the ledger's Secret.
    ///
    /// Namespaces hold no `.`, so the first one after the prefix ends the namespace. Both fit into a data key's 253 characters
    /// for every Secret name that is not itself at the limit; a longer one is a digest of the whole.
    pub fn data_key(&self) -> String {
        let kind = self.kind.word();
        let key = format!("{kind}.{}.{}", self.secret.namespace, self.secret.name);
        if key.len() <= 253 {
            return key;
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
        format!("{kind}.{}", hex(digest.as_ref()))
    }
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// An order under way.
    Pending(Pending),
    /// What the CA refused.
    Attempts(Attempts),
}

impl Entry {
    /// Its key.
    pub fn key(&self) -> EntryKey {
        let (kind, secret) = match self {
            Self::Pending(pending) => (EntryKind::Pending, pending.secret()),
            Self::Attempts(attempts) => (EntryKind::Attempts, attempts.secret()),
        };
        EntryKey::new(kind, secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> Pending {
        Pending {
            namespace: "web".into(),
            secret: "a-tls".into(),
            directory: "https://ca.example/dir".into(),
            account: "https://ca.example/acct/1".into(),
            order: "https://ca.example/order/1".into(),
            hosts: vec!["a.example".into()],
            profile: Some(String::new()),
            key: PrivateKeyPem("-----BEGIN PRIVATE KEY-----".into()),
            certificate: None,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_entry_survives_being_written_and_read() {
        let entry = pending();
        let key = Entry::Pending(entry.clone()).key().data_key();
        let value = serde_json::to_vec(&entry).expect("json");
        let ledger = Ledger::from_data([(key.as_str(), value.as_slice()), ("other", b"x".as_slice())]);
        assert_eq!(ledger.pending, [entry]);
        assert_eq!(ledger.unreadable, []);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_its_text_is_not_shown() {
        let ledger = Ledger::from_data([("pending.a.b", b"\"SECRET\"".as_slice())]);
        assert_eq!(ledger.unreadable.len(), 1);
        assert!(!format!("{ledger:?}").contains("SECRET"));
    }

    #[test]
    fn an_order_is_taken_up_for_what_it_was_made_for_and_not_for_ever() {
        let (directory, elsewhere) = ("https://ca.example/dir", "https://other.example/dir");
        let (soon, late) = (SignedDuration::from_hours(47), SignedDuration::from_hours(48));
        let short = Some("shortlived");
        for (what, namespace, hosts, directory, (ordered, profile), after, expected) in [
            (
                "the same",
                "web",
                &["a.example"] as &[&str],
                directory,
                (Some(""), None),
                soon,
                true,
            ),
            (
                "another Secret (I5)",
                "shop",
                &["a.example"],
                directory,
                (Some(""), None),
                soon,
                false,
            ),
            (
                "more hosts",
                "web",
                &["a.example", "b.example"],
                directory,
                (Some(""), None),
                soon,
                false,
            ),
            (
                "another host",
                "web",
                &["b.example"],
                directory,
                (Some(""), None),
                soon,
                false,
            ),
            (
                "another directory",
                "web",
                &["a.example"],
                elsewhere,
                (Some(""), None),
                soon,
                false,
            ),
            (
                "too old",
                "web",
                &["a.example"],
                directory,
                (Some(""), None),
                late,
                false,
            ),
            (
                "the same profile",
                "web",
                &["a.example"],
                directory,
                (short, short),
                soon,
                true,
            ),
            (
                "another profile",
                "web",
                &["a.example"],
                directory,
                (short, None),
                soon,
                false,
            ),
            (
                "a profile where there was none",
                "web",
                &["a.example"],
                directory,
                (Some(""), short),
                soon,
                false,
            ),
            (
                "an entry of 0.1.0",
                "web",
                &["a.example"],
                directory,
                (None, short),
                soon,
                true,
            ),
        ] {
            let secret = SecretRef::new(namespace, "a-tls");
            let hosts: Vec<DnsName> = hosts.iter().map(|host| host.parse().expect("a name")).collect();
            let directory = directory.parse().expect("a directory");
            let ledger = Ledger {
                pending: vec![Pending {
                    profile: ordered.map(str::to_owned),
                    ..pending()
                }],
                ..Ledger::default()
            };
            let found = ledger.order_for(&secret, &hosts, &directory, profile, Timestamp::UNIX_EPOCH + after);
            assert_eq!(found.is_some(), expected, "{what}");
        }
        assert!(!pending().is_over(Timestamp::UNIX_EPOCH + soon));
        assert!(pending().is_over(Timestamp::UNIX_EPOCH + late));
    }

    #[test]
    fn an_entry_of_version_0_1_0_is_read() {
        let mut entry = serde_json::to_value(pending()).expect("JSON");
        entry.as_object_mut().expect("an object").remove("profile");
        let text = entry.to_string();
        let ledger = Ledger::from_data([("pending.web.a-tls", text.as_bytes())]);
        assert_eq!(
            ledger.pending,
            [Pending {
                profile: None,
                ..pending()
            }]
        );
    }

    #[test]
    fn debug_shows_no_key() {
        assert!(!format!("{:?}", pending()).contains("BEGIN"));
    }

    #[test]
    fn a_data_key_is_never_too_long() {
        let secret = SecretRef::new("n".repeat(63), "s".repeat(253));
        assert!(EntryKey::new(EntryKind::Attempts, secret).data_key().len() <= 253);
    }
}
