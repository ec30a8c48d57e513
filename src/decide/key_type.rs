//! Which type of private key a certificate gets: `--key-type`, unless one of its Ingresses asks for another.

use std::fmt;
use std::str::FromStr;

use super::desired::Certificate;
use super::name::SourceRef;

/// The annotation by which an Ingress asks for a type of key, for every Secret that its `spec.tls` names.
pub const KEY_TYPE: &str = "kube-lego-once.dev/key-type";

/// A type of private key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA on P-256.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl KeyType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::EcdsaP256, Self::EcdsaP384, Self::Rsa2048, Self::Rsa4096];

    /// The word, in flags and annotations.
    pub fn word(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa4096 => "rsa-4096",
        }
    }

    /// What the Ingresses of a certificate ask for, in one voice; nothing where none of them asks.
    ///
    /// # Errors
    /// Why it is not clear what they ask for: a sentence that says what to do.
    pub fn asked_for(certificate: &Certificate) -> Result<Option<Self>, String> {
        let mut first: Option<(Self, SourceRef)> = None;
        for contribution in &certificate.contributions {
            let (place, source) = (contribution.source.place(), &contribution.source);
            let Some(value) = source.annotations().get(KEY_TYPE) else {
                continue;
            };
            let asked: Self = value.parse().map_err(|problem| {
                // Anybody's text of any length: no more of it than a person needs.
                let value: String = value.chars().take(40).flat_map(char::escape_debug).collect();
                format!(
                    "{} `{place}` has the annotation `{KEY_TYPE}: {value}`, which is {problem}: correct it or remove it",
                    place.kind.word()
                )
            })?;
            match &first {
                None => first = Some((asked, place)),
                Some((other, _)) if *other == asked => {}
                Some((other, by)) => {
                    return Err(format!(
                        "{} `{by}` asks for a key of type `{other}`, {} `{place}` for `{asked}`, and both name this Secret: give both the same annotation `{KEY_TYPE}`, or name two Secrets",
                        by.kind.word(),
                        place.kind.word()
                    ));
                }
            }
        }
        Ok(first.map(|(asked, _)| asked))
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for KeyType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|it| it.word() == text);
        known.ok_or_else(|| format!("none of {}", Self::ALL.map(|it| format!("`{it}`")).join(", ")))
    }
}
