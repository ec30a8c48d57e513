//! Which of the chains that a CA offers is stored (`--preferred-chain`).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::adapters::acme::Order;
use crate::apply::order::verify;
use crate::decide::inspection::topmost_issuer;
use crate::decide::ledger::Pending;

/// The chain that is preferred, and what was said of it already.
#[derive(Debug, Default)]
pub struct ChainChoice {
    preferred: Option<String>,
    said: Mutex<BTreeSet<String>>,
}

impl ChainChoice {
    /// By the common name of the issuer of its topmost certificate.
    pub fn new(preferred: Option<String>) -> Self {
        Self {
            preferred,
            said: Mutex::default(),
        }
    }

    /// The preferred chain of the order's certificate; the default one if that is it, if no other is, or if the other cannot be
    /// had: a certificate that is issued is not lost for its chain.
    pub async fn of(&self, default: String, order: &Order, pending: &Pending) -> String {
        let Some(preferred) = &self.preferred else {
            return default;
        };
        let is_preferred = |chain: &str| topmost_issuer(chain.as_bytes()).as_ref() == Some(preferred);
        if is_preferred(&default) {
            return default;
        }
        let others = match order.other_chains().await {
            Ok(others) => others,
            Err(error) => {
                log::warn!(
                    "`{}` gets the CA's default chain, since the others could not be read: {error}",
                    pending.secret()
                );
                return default;
            }
        };
        match others.iter().find(|chain| is_preferred(chain)) {
            Some(chain) => match verify(pending, chain) {
                Ok(_) => return chain.clone(),
                Err(why) => log::warn!(
                    "`{}` gets the CA's default chain, since the preferred one is not sound: {why}",
                    pending.secret()
                ),
            },
            None => {
                let offered = [&default].into_iter().chain(&others);
                let offered: BTreeSet<_> = offered.filter_map(|chain| topmost_issuer(chain.as_bytes())).collect();
                let offered: Vec<_> = offered.iter().map(|name| format!("`{name}`")).collect();
                self.warn_once(format!(
                    "the CA offers no chain that ends with `{preferred}` (`--preferred-chain`), but these: {}; its default chain is stored",
                    offered.join(", ")
                ));
            }
        }
        default
    }

    /// The same is true of all certificates of a run.
    fn warn_once(&self, warning: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(warning.clone()) {
            log::warn!("{warning}");
        }
    }
}
