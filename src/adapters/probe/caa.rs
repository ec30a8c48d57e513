//! The CAA records of hosts, asked for as a CA does before it signs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::failure::ProbeFailure;
use super::places::Places;
use super::prober::Probed;
use super::wire;
use crate::decide::caa::{CaaRecord, climb, judge};
use crate::decide::name::DnsName;

/// For all the names above one host. Whoever has no answer by then leaves the question to the CA.
const DEADLINE: Duration = Duration::from_secs(5);
/// Hosts that are asked about at the same time.
const HOSTS_MAX: usize = 100;

/// What DNS said of a name.
type Said = Result<Vec<CaaRecord>, String>;

/// Asks about hosts, and about each name above them once in a run.
pub(super) struct Caa {
    identities: Vec<String>,
    said: Mutex<HashMap<String, Arc<OnceCell<Said>>>>,
    turns: Places,
}

impl Caa {
    pub(super) fn new(identities: Vec<String>) -> Self {
        Self {
            identities,
            said: Mutex::default(),
            turns: Places::new(HOSTS_MAX),
        }
    }

    /// Whether the CA may sign for a host. Where DNS does not say, the CA decides.
    pub(super) async fn check(&self, resolver: &TokioResolver, probed: Probed<'_>) -> Result<(), ProbeFailure> {
        let Probed { host, namespace, .. } = probed;
        if self.identities.is_empty() {
            return Ok(());
        }
        let _turn = self.turns.take(namespace).await;
        let why = match timeout(DEADLINE, self.relevant(resolver, host)).await {
            Ok(Ok(records)) => {
                return judge(&records, &self.identities).map_err(|refusal| ProbeFailure::Forbidden {
                    host: host.clone(),
                    refusal: Box::new(refusal),
                });
            }
            Ok(Err(why)) => why,
            Err(_) => format!("nothing within {} s", DEADLINE.as_secs()),
        };
        log::debug!("whether CAA records of `{host}` let the CA sign is left to the CA: {why}");
        Ok(())
    }

    /// The records of the lowest name that has some.
    async fn relevant(&self, resolver: &TokioResolver, host: &DnsName) -> Said {
        for name in climb(host) {
            let cell = {
                let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(said.entry(name.to_owned()).or_default())
            };
            let records = cell.get_or_init(|| wire::caa(resolver, name)).await.clone()?;
            if !records.is_empty() {
                return Ok(records);
            }
        }
        Ok(Vec::new())
    }
}
