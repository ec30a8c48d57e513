//! Private keys of new certificates.

use std::thread::available_parallelism;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use ring::rand::{SecureRandom as _, SystemRandom};
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::rand_core::{TryCryptoRng, TryRng};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::Semaphore;

use crate::decide::key_type::KeyType;
use crate::decide::outcome::Failure;

/// Makes keys. An RSA key takes seconds of a core, so no more are made at once than there are cores.
pub struct KeyMaker {
    cores: Semaphore,
}

impl KeyMaker {
    /// One for a run.
    pub fn new() -> Self {
        Self {
            cores: Semaphore::new(available_parallelism().map_or(1, usize::from)),
        }
    }

    /// A new key of this type.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub async fn key(&self, key_type: KeyType) -> Result<KeyPair, Failure> {
        let made = match key_type {
            KeyType::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| error.to_string()),
            KeyType::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).map_err(|error| error.to_string()),
            KeyType::Rsa2048 => self.rsa_key(2048).await,
            KeyType::Rsa4096 => self.rsa_key(4096).await,
        };
        made.map_err(|why| Failure::new(format!("make a key of type `{key_type}`: {why}"), None))
    }

    /// On a thread of its own: this one has the Lease to keep.
    async fn rsa_key(&self, bits: usize) -> Result<KeyPair, String> {
        let _turn = self.cores.acquire().await.map_err(|error| error.to_string())?;
        let making = tokio::task::spawn_blocking(move || rsa_key(bits));
        making.await.map_err(|error| error.to_string())?
    }
}

/// ring signs with RSA keys and makes none.
fn rsa_key(bits: usize) -> Result<KeyPair, String> {
    let key = rsa::PrivateKey::new(&mut System(SystemRandom::new()), bits).map_err(|error| error.to_string())?;
    let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(der.as_bytes()));
    KeyPair::try_from(&der).map_err(|error| error.to_string())
}

/// The system's random bytes, as the RSA library asks for them.
struct System(SystemRandom);

/// There are none.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
struct NoRandomBytes;

impl TryRng for System {
    type Error = NoRandomBytes;

    fn try_next_u32(&mut self) -> Result<u32, NoRandomBytes> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, NoRandomBytes> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomBytes> {
        self.0.fill(bytes).map_err(|_| NoRandomBytes)
    }
}

impl TryCryptoRng for System {}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rcgen::{CertificateParams, PublicKeyData as _};

    use super::*;
    use crate::decide::inspection::verify_issued;

    #[tokio::test]
    async fn each_type_is_made_kept_as_text_and_taken_up_again() {
        for key_type in KeyType::ALL {
            let begun = std::time::Instant::now();
            let key = KeyMaker::new().key(key_type).await.expect("a key");
            println!("{key_type}: {:?}", begun.elapsed());
            let pem = key.serialize_pem();
            let again = KeyPair::from_pem(&pem).expect("the ledger's text is a key");
            assert_eq!(again.public_key_raw(), key.public_key_raw(), "{key_type}");
            let hosts = vec!["a.example".to_owned()];
            let params = CertificateParams::new(hosts.clone()).expect("names");
            let chain = params.self_signed(&again).expect("a certificate").pem();
            let verified = verify_issued(chain.as_bytes(), pem.as_bytes(), &hosts, Timestamp::now());
            assert!(verified.is_ok(), "{key_type}: {verified:?}");
            // The length of the DER of a public key: what it is made of tells the types apart.
            let bytes = key.subject_public_key_info().len();
            let expected = match key_type {
                KeyType::EcdsaP256 => 91,
                KeyType::EcdsaP384 => 120,
                KeyType::Rsa2048 => 294,
                KeyType::Rsa4096 => 550,
            };
            assert_eq!(bytes, expected, "{key_type}");
        }
    }
}
