//! Directories of ACME CAs: the known ones by short name, and what may be expected of any.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;

use super::digest::hex;

/// The Secret of the home namespace that holds the accounts' keys, a data key per directory.
pub const ACCOUNT_SECRET: &str = "kube-lego-account";

/// What a CA's certificates are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Browsers trust it: it signs public names only, and validates from the internet.
    Public,
    /// A public CA's place for trying things: nobody trusts what it signs.
    Staging,
    /// Somebody's own.
    Private,
}

/// The directory's URL of an ACME CA (RFC 8555 section 7.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    url: String,
    trust: Trust,
}

struct Known {
    name: &'static str,
    url: &'static str,
    trust: Trust,
    limit: Option<OrderLimit>,
}

/// A CA's published limit on the new orders of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderLimit {
    /// The CA's name, for people.
    pub whose: &'static str,
    /// So many.
    pub orders: usize,
    /// In this time.
    pub within: SignedDuration,
}

/// <https://letsencrypt.org/docs/rate-limits/#new-orders-per-account>. Staging's is five times as high
/// (<https://letsencrypt.org/docs/staging-environment/>); what is tried there is to be like production.
const LETS_ENCRYPT: OrderLimit = OrderLimit {
    whose: "Let's Encrypt",
    orders: 300,
    within: SignedDuration::from_hours(3),
};

/// What is public and what is staging stands here; any other URL is private.
const KNOWN: &[Known] = &[
    Known {
        name: "letsencrypt",
        url: "https://acme-v02.api.letsencrypt.org/directory",
        trust: Trust::Public,
        limit: Some(LETS_ENCRYPT),
    },
    Known {
        name: "letsencrypt-staging",
        url: "https://acme-staging-v02.api.letsencrypt.org/directory",
        trust: Trust::Staging,
        limit: Some(LETS_ENCRYPT),
    },
    Known {
        name: "zerossl",
        url: "https://acme.zerossl.com/v2/DV90",
        trust: Trust::Public,
        limit: None,
    },
    Known {
        name: "google",
        url: "https://dv.acme-v02.api.pki.goog/directory",
        trust: Trust::Public,
        limit: None,
    },
    Known {
        name: "google-staging",
        url: "https://dv.acme-v02.test-api.pki.goog/directory",
        trust: Trust::Staging,
        limit: None,
    },
    Known {
        name: "sslcom",
        url: "https://acme.ssl.com/sslcom-dv-ecc",
        trust: Trust::Public,
        limit: None,
    },
];

/// ACME v1 directories, which kube-lego spoke, and what replaces them.
const RETIRED: &[(&str, &str)] = &[
    ("acme-v01.api.letsencrypt.org", "letsencrypt"),
    ("acme-staging.api.letsencrypt.org", "letsencrypt-staging"),
];

/// Why a text is no directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryProblem {
    /// ACME v1.
    #[error("`{url}` speaks ACME v1, which ended in 2021; use `{replacement}`")]
    Retired {
        /// What was given.
        url: String,
        /// The short name of its heir.
        replacement: &'static str,
    },
    /// A user or a password in it.
    #[error("a directory's URL takes no credentials: an account has a key of its own")]
    Credentials,
    /// Neither a URL nor a short name.
    #[error("`{0}` is neither an https URL nor one of {names}", names = Directory::names())]
    Unknown(String),
}

impl Directory {
    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What its certificates are good for.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// The limit on new orders, where the CA is known and publishes one.
    pub(super) fn order_limit(&self) -> Option<&'static OrderLimit> {
        KNOWN.iter().find(|known| known.url == self.url)?.limit.as_ref()
    }

    /// The data key of this directory's account in [`ACCOUNT_SECRET`]: `acme-` and the first 16 hex digits of the URL's SHA-256.
    pub fn account_key(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.url.as_bytes());
        let hex = hex(&digest.as_ref()[..8]);
        format!("acme-{hex}.json")
    }

    fn names() -> String {
        KNOWN
            .iter()
            .map(|known| format!("`{}`", known.name))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl FromStr for Directory {
    type Err = DirectoryProblem;

    fn from_str(text: &str) -> Result<Self, DirectoryProblem> {
        let typed = spelled_plainly(text);
        let text = typed.trim_end_matches('/');
        if let Some(known) = KNOWN.iter().find(|known| known.name == text || known.url == text) {
            return Ok(Self {
                url: known.url.into(),
                trust: known.trust,
            });
        }
        let retired = RETIRED
            .iter()
            .find(|(host, _)| text.split('/').any(|part| part == *host));
        if let Some((_, replacement)) = retired {
            return Err(DirectoryProblem::Retired {
                url: text.into(),
                replacement,
            });
        }
        match text.strip_prefix("https://") {
            // It would be in reports, markers and errors.
            Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('@')) => {
                Err(DirectoryProblem::Credentials)
            }
            // With its last `/`, which may be all that leads to it.
            Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(Self {
                url: typed,
                trust: Trust::Private,
            }),
            _ => Err(DirectoryProblem::Unknown(text.into())),
        }
    }
}

/// One URL however it is spelled: scheme and host in lower case, and without the port that `https` has anyway. Otherwise a
/// staging directory behind `:443` would be a private one.
fn spelled_plainly(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix(":443").unwrap_or(&host);
    format!("{}://{host}{path}", scheme.to_ascii_lowercase())
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_urls_and_what_is_neither() {
        for (text, expected) in [
            (
                "letsencrypt",
                Ok(("https://acme-v02.api.letsencrypt.org/directory", Trust::Public)),
            ),
            (
                "https://acme-staging-v02.api.letsencrypt.org/directory/",
                Ok(("https://acme-staging-v02.api.letsencrypt.org/directory", Trust::Staging)),
            ),
            (
                "HTTPS://ACME-staging-v02.api.letsencrypt.org:443/directory",
                Ok(("https://acme-staging-v02.api.letsencrypt.org/directory", Trust::Staging)),
            ),
            (
                "https://ca.internal:14000/dir",
                Ok(("https://ca.internal:14000/dir", Trust::Private)),
            ),
            (
                "https://acme-v01.api.letsencrypt.org/directory",
                Err("use `letsencrypt`"),
            ),
            (
                "https://acme-staging.api.letsencrypt.org/directory",
                Err("use `letsencrypt-staging`"),
            ),
            (
                "https://ca.internal/acme/",
                Ok(("https://ca.internal/acme/", Trust::Private)),
            ),
            ("letsencypt", Err("neither an https URL nor one of `letsencrypt`")),
            ("http://ca.internal/dir", Err("neither")),
            ("https://", Err("neither")),
            ("https://user:secret@ca.internal/dir", Err("takes no credentials")),
        ] {
            match (text.parse::<Directory>(), expected) {
                (Ok(directory), Ok((url, trust))) => assert_eq!((directory.url(), directory.trust()), (url, trust)),
                (Err(problem), Err(words)) => assert!(problem.to_string().contains(words), "{problem}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
