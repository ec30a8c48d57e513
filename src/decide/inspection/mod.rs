//! What is in a Secret of type `kubernetes.io/tls`: read as servers read it, judged by nobody yet.

mod der;
mod facts;
mod leaf;
mod pair;
mod pem;
mod private_key;
mod strictness;
mod verify;

pub use facts::{CertificateFacts, CertificateId, Inspection, KeyMatch, Library, MARKER, Marker, Refusal};
pub use verify::{topmost_issuer, verify_issued};

/// Reads the two data keys of a Secret: the first certificate is the leaf, the first private key is the key, other PEM blocks are skipped.
pub fn inspect(certificate: &[u8], key: &[u8]) -> Inspection {
    if certificate.is_empty() && key.is_empty() {
        return Inspection::Empty;
    }
    match pair::read(certificate, key) {
        Ok((facts, _)) => Inspection::Certificate(Box::new(facts)),
        Err(why) => Inspection::Unreadable(why),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::leaf::saturated;
    use super::*;
    use crate::decide::fixtures::{certificate, days, endless_certificate, now};

    fn facts(inspection: Inspection) -> CertificateFacts {
        match inspection {
            Inspection::Certificate(facts) => *facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_certificate_and_its_key_are_read() {
        let (chain, key) = certificate(
            &["B.example", "a.example"],
            "Test CA",
            now() - days(1),
            now() + days(89),
        );
        let facts = facts(inspect(chain.as_bytes(), key.as_bytes()));
        assert_eq!(facts.names, ["a.example", "b.example"]);
        assert_eq!((facts.not_before, facts.not_after), (now() - days(1), now() + days(89)));
        assert_eq!(&*facts.issuer, "Test CA");
        assert_eq!(facts.key, KeyMatch::Matches);
        assert!(facts.id.is_some());
    }

    #[test]
    fn a_certificate_without_a_well_defined_end_has_the_last_second_that_there_is() {
        let (chain, key) = endless_certificate(&["a.example"], now());
        let facts = facts(inspect(chain.as_bytes(), key.as_bytes()));
        assert_eq!(facts.not_after.to_string(), "9999-12-30T22:00:00Z");
        for (seconds, expected) in [
            (i64::MIN, Timestamp::MIN.as_second()),
            (0, 0),
            (i64::MAX, Timestamp::MAX.as_second()),
        ] {
            assert_eq!(saturated(seconds).as_second(), expected);
        }
    }

    #[test]
    fn what_no_server_could_serve_is_unreadable_and_says_why() {
        let (chain, key) = certificate(&["a.example"], "Test CA", now(), now() + days(90));
        for (name, chain, key, expected) in [
            ("no certificate", "", key.as_str(), "`tls.crt` is empty"),
            ("no key", chain.as_str(), "", "`tls.key` is empty"),
            ("words", "hello", key.as_str(), "`tls.crt` has no certificate"),
            (
                "a key as certificate",
                key.as_str(),
                key.as_str(),
                "`tls.crt` has no certificate",
            ),
            (
                "a certificate as key",
                chain.as_str(),
                chain.as_str(),
                "`tls.key` has no private key",
            ),
            (
                "not DER",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                key.as_str(),
                "is not a certificate",
            ),
            ("cut off", &chain[..100], key.as_str(), "`tls.crt`"),
        ] {
            match inspect(chain.as_bytes(), key.as_bytes()) {
                Inspection::Unreadable(why) => assert!(why.contains(expected), "{name}: {why}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert_eq!(inspect(b"", b""), Inspection::Empty);
    }

    #[test]
    fn other_blocks_are_skipped_and_the_first_certificate_is_the_leaf() {
        let (chain, key) = certificate(&["a.example"], "Test CA", now(), now() + days(90));
        let key_with_parameters =
            format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{key}");
        let crowded = format!("# a comment\n{key}{chain}");
        let facts = facts(inspect(crowded.as_bytes(), key_with_parameters.as_bytes()));
        assert_eq!(facts.names, ["a.example"]);
        assert_eq!(facts.key, KeyMatch::Matches);
    }

    #[test]
    fn another_certificates_key_differs() {
        let (chain, _) = certificate(&["a.example"], "Test CA", now(), now() + days(90));
        let (_, key) = certificate(&["a.example"], "Test CA", now(), now() + days(90));
        assert_eq!(facts(inspect(chain.as_bytes(), key.as_bytes())).key, KeyMatch::Differs);
    }

    #[test]
    fn what_an_authority_sends_is_checked_before_it_is_stored() {
        let (chain, key) = certificate(&["a.example", "b.example"], "Test CA", now(), now() + days(90));
        let (other_chain, other_key) = certificate(&["a.example", "b.example"], "Test CA", now(), now() + days(90));
        let leaf_end = chain.find("-----END CERTIFICATE-----").expect("a leaf") + "-----END CERTIFICATE-----\n".len();
        let other_issuer = &other_chain[other_chain.rfind("-----BEGIN").expect("an issuer")..];
        let forged = format!("{}{other_issuer}", &chain[..leaf_end]);
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (name, chain, key, hosts, at, expected) in [
            ("good", &chain, &key, names(&["a.example", "b.example"]), now(), None),
            (
                "a name is missing",
                &chain,
                &key,
                names(&["c.example"]),
                now(),
                Some("lacks `c.example`"),
            ),
            (
                "another key",
                &chain,
                &other_key,
                names(&["a.example"]),
                now(),
                Some("another key"),
            ),
            (
                "over",
                &chain,
                &key,
                names(&["a.example"]),
                now() + days(91),
                Some("ended"),
            ),
            (
                "signed by somebody of the same name",
                &forged,
                &key,
                names(&["a.example"]),
                now(),
                Some("signature"),
            ),
        ] {
            match (verify_issued(chain.as_bytes(), key.as_bytes(), &hosts, at), expected) {
                (Ok(_), None) => {}
                (Err(why), Some(expected)) => assert!(why.contains(expected), "{name}: {why}"),
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
    }
}
