//! How a run learns that it is to stop.

use std::time::Duration;

use tokio::sync::watch;

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

    /// One that is asked for after this time too. Whatever is under way then ends as after a signal, with its report.
    pub fn or_after(&self, limit: Duration) -> Self {
        let (stopper, stop) = Self::pair();
        let asked = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = asked.requested() => {}
                () = tokio::time::sleep(limit) => log::warn!("stopping: the run's time is over (`--timeout {limit:?}`)"),
            }
            stopper.stop();
            // Without a sender nobody could tell that it was asked for.
            std::future::pending::<()>().await;
        });
        stop
    }

    /// Whether the run is to stop.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
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
