//! The orders for a Secret's names that count for the CA's limits, as they stand beside the certificate: nothing else remembers them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use super::inspection::CertificateId;
use super::name::DnsName;
use super::observed::Secret;

/// The annotation of a stored Secret with its [`Counted`] orders. Versions up to 0.1.0 do not write it.
pub const ORDERS: &str = "kube-lego-once.dev/orders";

/// No published limit looks further back.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// An order for a Secret's names that was fulfilled and that the CA counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// When it was made.
    pub at: Timestamp,
    /// Whether it was the first one for exactly these names; later ones are renewals.
    pub first: bool,
}

/// Reads the annotation. One that somebody has changed says nothing.
pub(super) fn read(annotation: &str) -> Option<ThinVec<Counted>> {
    let orders: Vec<Counted> = serde_json::from_str(annotation).ok()?;
    Some(orders.into())
}

/// What a Secret has to say after an order for these names, which is made now. A renewal that names the certificate before it is
/// exempt from all limits (<https://letsencrypt.org/docs/rate-limits/#limit-exemptions-for-renewals>).
pub fn after(
    before: Option<&Secret>,
    names: &[DnsName],
    directory: &str,
    replaces: Option<&CertificateId>,
    now: Timestamp,
) -> Vec<Counted> {
    let before = before.filter(|secret| is_for(secret, names, directory));
    let lately = before.and_then(|secret| secret.orders.as_deref()).unwrap_or_default();
    let lately = lately.iter().filter(|order| now.duration_since(order.at) < REMEMBERED);
    let this = Counted {
        at: now,
        first: before.is_none(),
    };
    lately.copied().chain(replaces.is_none().then_some(this)).collect()
}

/// Whether a Secret holds a certificate of this directory for exactly these names.
pub(super) fn is_for(secret: &Secret, names: &[DnsName], directory: &str) -> bool {
    let marked = secret.marker().is_some_and(|marker| marker.directory == directory);
    marked && secret.facts().is_some_and(|facts| same(&facts.names, names))
}

/// `names` are sorted, each once; a certificate's may be in any order.
fn same(certificate: &[impl AsRef<str>], names: &[DnsName]) -> bool {
    let mut certificate: Vec<&str> = certificate.iter().map(AsRef::as_ref).collect();
    certificate.sort_unstable();
    certificate.into_iter().eq(names.iter().map(DnsName::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::{certificate, now, secret};

    const DIRECTORY: &str = "https://ca.example/dir";

    fn names(names: &[&str]) -> Vec<DnsName> {
        names.iter().map(|name| name.parse().expect("a name")).collect()
    }

    fn stored(orders: &[i64], names: &[&str], directory: &str) -> Secret {
        let pair = certificate(names, "R11", now(), now() + SignedDuration::from_hours(24));
        let mut stored = secret(&pair, Some(directory));
        let ago = |hours: &i64| Counted {
            at: now() - SignedDuration::from_hours(*hours),
            first: *hours == 100,
        };
        stored.orders = Some(orders.iter().map(ago).collect());
        stored
    }

    #[test]
    fn an_order_is_remembered_for_as_long_as_it_counts() {
        let a = ["a.example.com"];
        let same = stored(&[200, 168, 100, 1], &a, DIRECTORY);
        let id = same
            .facts()
            .and_then(|facts| facts.id.clone())
            .unwrap_or(CertificateId {
                authority_key_identifier: vec![1].into(),
                serial: vec![1].into(),
            });
        // What is there, whether the order is exempt, and what is kept: hours ago, and whether it was the first one.
        for (before, exempt, kept) in [
            (None, false, vec![(0, true)]),
            (Some(&same), false, vec![(100, true), (1, false), (0, false)]),
            (Some(&same), true, vec![(100, true), (1, false)]),
            (
                Some(&stored(&[1], &["a.example.com", "b.example.com"], DIRECTORY)),
                false,
                vec![(0, true)],
            ),
            (
                Some(&stored(&[1], &a, "https://other.example/dir")),
                false,
                vec![(0, true)],
            ),
            (
                Some(&Secret {
                    orders: None,
                    ..same.clone()
                }),
                false,
                vec![(0, false)],
            ),
        ] {
            let orders = after(before, &names(&a), DIRECTORY, exempt.then_some(&id), now());
            let hours = |order: &Counted| (now().duration_since(order.at).as_hours(), order.first);
            assert_eq!(
                orders.iter().map(hours).collect::<Vec<_>>(),
                kept,
                "{before:?} {exempt}"
            );
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let orders = after(None, &names(&["a.example.com"]), DIRECTORY, None, now());
        let written = serde_json::to_string(&orders).expect("text");
        assert_eq!(read(&written).as_deref(), Some(&orders[..]));
        assert_eq!(read("[]").as_deref(), Some(&[][..]));
        assert_eq!(read("a week ago"), None);
    }
}
