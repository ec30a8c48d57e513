//! One way to the API server for everybody: a bound on time, an error that names its object, and bodies that stay out of logs.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::error::{Cause, ClusterError, cause};
use super::target::{Target, Verb};
use super::{Cluster, page};

/// For one call with all its retries: kube repeats what was answered with 429, 503 or 504.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Objects in one answer: at a few KiB each, a few MiB.
const PAGE_SIZE: u32 = 500;
/// Pages of one list. Nobody has so many objects; a server that repeats itself must end somewhere.
const PAGES_LIMIT: usize = 10_000;
/// How often a list is begun anew because its continue token became too old.
const RESTARTS_LIMIT: usize = 3;

/// A built request, or why there is none.
pub(super) type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// Pauses before a request is sent again. They are short: whatever waits for the answer may hold the Lease, or a challenge.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(900),
    Duration::from_millis(2_700),
];
/// After so long a request is not sent again.
const MOST_TIME: Duration = Duration::from_secs(30);

/// Up to half a pause: many requests that failed together must not come back together.
fn jitter(pause: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish();
    pause.mul_f64(chance as f64 / u64::MAX as f64 / 2.0)
}

impl Cluster {
    /// Sends a request and returns the body of a good answer.
    pub(super) async fn call_text(&self, verb: Verb, target: &Target, request: Built) -> Result<String, ClusterError> {
        self.call_and_read(verb, target, request, |text| Ok(text.to_owned()))
            .await
    }

    /// Sends a request and reads the answer.
    ///
    /// Not `Client::request`: that logs the whole body when it cannot be read, and a Secret's body holds a key. For the
    /// same reason the error says only where reading stopped, never serde_json's own words.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        verb: Verb,
        target: &Target,
        request: Built,
    ) -> Result<T, ClusterError> {
        self.call_and_read(verb, target, request, |text| serde_json::from_str(text))
            .await
    }

    /// Sends a request until its answer can be read, where another try may help.
    ///
    /// Writes are sent again too, since none of them can be done twice: a creation has a name, a replacement and a deletion a
    /// version or a UID, a patch says the same again. Whoever gets a conflict looks whether it was its own earlier try.
    async fn call_and_read<T>(
        &self,
        verb: Verb,
        target: &Target,
        request: Built,
        mut read: impl FnMut(&str) -> serde_json::Result<T>,
    ) -> Result<T, ClusterError> {
        let fail = |cause| self.error(verb, target, cause);
        let request = request.map_err(|error| fail(Cause::Other(super::error::chain(&error))))?;
        let begun = Instant::now();
        let mut pauses = PAUSES.into_iter();
        loop {
            log::debug!("{} {}", request.method(), request.uri());
            let answer = match tokio::time::timeout(CALL_LIMIT, self.client.request_text(request.clone())).await {
                // It may be a Secret, with its key.
                Ok(Ok(text)) => read(&Zeroizing::new(text)).map_err(|error| self.unreadable(verb, target, &error)),
                Ok(Err(error)) => Err(fail(cause(error))),
                Err(_) => {
                    let seconds = CALL_LIMIT.as_secs();
                    Err(fail(Cause::Transport(format!("no answer within {seconds} s"))))
                }
            };
            match (answer, pauses.next()) {
                (Err(error), Some(pause)) if error.may_heal() && begun.elapsed() < MOST_TIME => {
                    log::debug!("{error}; trying again");
                    sleep(pause + jitter(pause)).await;
                }
                (answer, _) => return answer,
            }
        }
    }

    fn unreadable(&self, verb: Verb, target: &Target, error: &serde_json::Error) -> ClusterError {
        let place = format!("line {} column {}", error.line(), error.column());
        let cause = Cause::Unreadable(format!("the answer cannot be read at {place}"));
        self.error(verb, target, cause)
    }

    pub(super) fn error(&self, verb: Verb, target: &Target, cause: Cause) -> ClusterError {
        ClusterError::new(verb, target.clone(), Arc::clone(&self.server), cause)
    }

    /// Reads one object.
    pub(super) async fn get<K: DeserializeOwned>(&self, target: &Target) -> Result<K, ClusterError> {
        let request = target.request().get(target.name(), &Default::default());
        self.call(Verb::Get, target, request).await
    }

    /// Lists a collection page by page; each object becomes what is kept of it before the next one is read.
    ///
    /// No `resourceVersion` is sent: the answer is the newest (I2 would be worth little with a stale cache).
    pub(super) async fn list<K: DeserializeOwned, T>(
        &self,
        target: &Target,
        labels: Option<&str>,
        metadata_only: bool,
        mut keep: impl FnMut(K) -> Option<T>,
    ) -> Result<Vec<T>, ClusterError> {
        let mut kept = Vec::new();
        let mut restarts = 0;
        let mut params = ListParams {
            limit: Some(PAGE_SIZE),
            label_selector: labels.map(str::to_owned),
            ..ListParams::default()
        };
        for _ in 0..PAGES_LIMIT {
            let request = if metadata_only {
                target.request().list_metadata(&params)
            } else {
                target.request().list(&params)
            };
            let before = kept.len();
            let read = |text: &str| {
                // A page that is read again begins anew.
                kept.truncate(before);
                page::read(text, |object| kept.extend(keep(object)))
            };
            match self.call_and_read(Verb::List, target, request, read).await {
                Ok(Some(token)) => params.continue_token = Some(token),
                Ok(None) => return Ok(kept),
                // The pages so far belong to a state that is gone: all of them are read again.
                Err(error) if error.is_expired() && params.continue_token.is_some() && restarts < RESTARTS_LIMIT => {
                    log::debug!("{error}; listing from the start");
                    restarts += 1;
                    kept.clear();
                    params.continue_token = None;
                }
                Err(error) => return Err(error),
            }
        }
        let why = format!("the list has no end after {PAGES_LIMIT} pages");
        Err(self.error(Verb::List, target, Cause::Other(why)))
    }
}
