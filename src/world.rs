//! What a run works with, and how it learns that it is to stop.

use std::time::Duration;

use tokio::sync::watch;

use crate::adapters::acme::{Account, Authority};
use crate::adapters::cluster::Cluster;
use crate::cli::ChallengeSettings;
use crate::decide::directory::Directory;
use crate::decide::inspection::Marker;
use crate::decide::name::RunId;
use crate::decide::route::Home;

/// What a stopped run may still take for what it has begun: a certificate between finalize and store.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Says that the run is to stop.
pub struct Stopper(watch::Sender<bool>);

/// Knows whether the run is to stop.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// The two ends.
    pub fn pair() -> (Stopper, Self) {
        let (sender, receiver) = watch::channel(false);
        (Stopper(sender), Self(receiver))
    }

    /// Ends when the run is to stop.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        // Without a sender nobody can ask any more.
        if receiver.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends when what has begun must end too.
    pub async fn requested_and_grace_over(&self) {
        self.requested().await;
        tokio::time::sleep(STOP_GRACE).await;
    }
}

impl Stopper {
    /// Asks the run to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// What a run works with.
pub struct World {
    /// The cluster.
    pub cluster: Cluster,
    /// The home namespace.
    pub home: String,
    /// The run.
    pub run: RunId,
    /// Whether to stop.
    pub stop: Stop,
    /// How challenges are answered.
    pub challenge: ChallengeSettings,
    /// The authority, where something is to be ordered.
    pub authority: Option<Authority>,
    /// The directory of the authority.
    pub directory: Option<Directory>,
    /// The profile of every order.
    pub profile: Option<String>,
}

impl World {
    /// The sign on a Secret that this run wrote it.
    pub fn marker(&self, account: &Account) -> Marker {
        let directory = self.directory.as_ref().map(Directory::url).unwrap_or_default();
        Marker {
            directory: directory.to_owned(),
            account: account.url().to_owned(),
        }
    }

    /// Where the run's objects go, and whose they are.
    pub fn home(&self) -> Home {
        Home {
            namespace: self.home.clone(),
            run: self.run.clone(),
            owner: None,
        }
    }
}
