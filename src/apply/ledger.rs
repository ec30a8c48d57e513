//! Writes to the ledger that are wanted at the same moment go together: one request for many orders (I7 holds for each).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, oneshot};

use crate::adapters::cluster::{Cluster, ClusterError};
use crate::decide::ledger::{Entry, EntryKey};
use crate::decide::outcome::Failure;

/// How long a write waits for others to go with it. Meanwhile the CA validates the order, which takes longer.
const LINGER: Duration = Duration::from_millis(250);

/// An entry as it is to be: nothing where it is to go.
type Change = (EntryKey, Option<Entry>);

/// Who waits until a change is written, and where the answer goes.
type Waiting = (Change, Option<oneshot::Sender<Result<(), Failure>>>);

/// The ledger of a run.
pub struct LedgerWrites {
    cluster: Cluster,
    home: String,
    waiting: Mutex<Vec<Waiting>>,
    turn: Turn<()>,
}

impl LedgerWrites {
    /// The ledger in this home namespace.
    pub fn new(cluster: Cluster, home: String) -> Self {
        Self {
            cluster,
            home,
            waiting: Mutex::default(),
            turn: Turn::new(()),
        }
    }

    /// Writes an entry, and returns once it is there.
    ///
    /// # Errors
    /// If it is not, or it is not known.
    pub async fn write(&self, entry: Entry) -> Result<(), Failure> {
        let (sender, written) = oneshot::channel();
        self.wait((entry.key(), Some(entry)), Some(sender));
        self.flush_together().await;
        let lost = |_| Err(Failure::new("the write to the ledger was stopped", None));
        written.await.unwrap_or_else(lost)
    }

    /// Lets an entry go with the next write, or with [`LedgerWrites::flush`]. Nothing waits for it: its certificate is stored,
    /// and the next run forgets what this one could not.
    pub fn remove(&self, key: EntryKey) {
        self.wait((key, None), None);
    }

    /// Writes what waits. Whoever comes while a write is under way goes with the next one.
    pub async fn flush(&self) {
        let _turn = self.turn.lock().await;
        self.write_waiting().await;
    }

    /// The same a moment later, where somebody waits that did not go with an earlier write.
    async fn flush_together(&self) {
        let _turn = self.turn.lock().await;
        let somebody_waits = self.waiting().iter().any(|(_, sender)| sender.is_some());
        if somebody_waits {
            tokio::time::sleep(LINGER).await;
            self.write_waiting().await;
        }
    }

    async fn write_waiting(&self) {
        let batch = std::mem::take(&mut *self.waiting());
        if batch.is_empty() {
            return;
        }
        let (changes, senders): (Vec<Change>, Vec<_>) = batch.into_iter().unzip();
        let changes: BTreeMap<EntryKey, Option<Entry>> = changes.into_iter().collect();
        let written = self.cluster.write_ledger(&self.home, &changes).await;
        if let (Err(error), true) = (&written, senders.iter().all(Option::is_none)) {
            log::warn!("remove stored certificates from the ledger; the next run does it: {error}");
        }
        let written = written.map_err(|error: ClusterError| Failure::new(error.to_string(), error.hint()));
        for sender in senders.into_iter().flatten() {
            // Whoever no longer waits was stopped.
            let _ = sender.send(written.clone());
        }
    }

    fn wait(&self, change: Change, sender: Option<oneshot::Sender<Result<(), Failure>>>) {
        self.waiting().push((change, sender));
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
