//! When the CA suggests to renew (RFC 9773): asked once a run for each certificate, and for a bounded time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::decide::inspection::CertificateId;
use crate::decide::name::SecretRef;
use crate::decide::observed::RenewalWindow;

/// Certificates that are asked about at the same time.
const CONCURRENT: usize = 8;
/// What a run spends on questions. Of what was not asked by then, the lifetime decides.
const MOST_TIME: Duration = Duration::from_secs(20);

/// What a run has learnt of its CA. It looks twice, before the Lease and under it: no suggestion changes in between.
#[derive(Default)]
pub struct Suggestions(Mutex<Learnt>);

#[derive(Default)]
struct Learnt {
    /// Nothing where the CA had no answer.
    windows: HashMap<CertificateId, Option<RenewalWindow>>,
    /// When the time for questions is over; nothing before the first one.
    until: Option<Instant>,
}

impl Suggestions {
    /// The windows of these certificates, the first ones asked about first. `ask` gives nothing where there is no answer.
    pub async fn windows(
        &self,
        wanted: Vec<(SecretRef, CertificateId)>,
        ask: impl AsyncFn(&CertificateId) -> Option<RenewalWindow>,
    ) -> BTreeMap<SecretRef, RenewalWindow> {
        let until = *self.learnt().until.get_or_insert_with(|| Instant::now() + MOST_TIME);
        let unasked: Vec<CertificateId> = {
            let learnt = self.learnt();
            let unasked = wanted.iter().filter(|(_, id)| !learnt.windows.contains_key(id));
            unasked.map(|(_, id)| id.clone()).collect()
        };
        let count = unasked.len();
        let mut answers = stream::iter(unasked)
            .map(|id| async {
                let window = ask(&id).await;
                (id, window)
            })
            .buffer_unordered(CONCURRENT)
            .take_until(tokio::time::sleep_until(until))
            .boxed_local();
        let mut answered = 0;
        while let Some((id, window)) = answers.next().await {
            answered += 1;
            self.learnt().windows.insert(id, window);
        }
        if answered < count {
            log::info!(
                "within {} s the CA could be asked about the renewal of only {answered} certificates; the {} others are renewed according to what is left of their lifetime",
                MOST_TIME.as_secs(),
                count - answered
            );
        }
        let learnt = self.learnt();
        let window = |id: &CertificateId| learnt.windows.get(id).cloned().flatten();
        wanted
            .into_iter()
            .filter_map(|(secret, id)| Some((secret, window(&id)?)))
            .collect()
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use jiff::Timestamp;

    use super::*;

    fn wanted(count: u8) -> Vec<(SecretRef, CertificateId)> {
        let one = |number: u8| {
            let id = CertificateId {
                authority_key_identifier: vec![1].into(),
                serial: vec![number].into(),
            };
            (SecretRef::new("web", format!("{number}")), id)
        };
        (0..count).map(one).collect()
    }

    const WINDOW: RenewalWindow = RenewalWindow {
        start: Timestamp::UNIX_EPOCH,
        end: Timestamp::MAX,
    };

    #[tokio::test(start_paused = true)]
    async fn each_certificate_is_asked_about_once_and_the_first_ones_in_the_time_there_is() {
        // Each answer takes a second: eight at a time, so 160 in the time there is.
        let asked = RefCell::new(Vec::new());
        let ask = async |id: &CertificateId| {
            asked.borrow_mut().push(id.serial[0]);
            tokio::time::sleep(Duration::from_secs(1)).await;
            id.serial[0].is_multiple_of(2).then_some(WINDOW)
        };
        let suggestions = Suggestions::default();
        let some = suggestions.windows(wanted(5), &ask).await;
        assert_eq!(some.len(), 3, "{some:?}");
        assert_eq!(suggestions.windows(wanted(5), &ask).await, some);
        assert_eq!(
            *asked.borrow(),
            [0, 1, 2, 3, 4],
            "neither an answer nor its lack is asked for again"
        );

        let began = Instant::now();
        let all = suggestions.windows(wanted(250), &ask).await;
        assert!(began.elapsed() < MOST_TIME, "{:?}", began.elapsed());
        assert!((60..125).contains(&all.len()), "{}", all.len());
        assert!(asked.borrow().is_sorted());
        let count = asked.borrow().len();
        assert_eq!(suggestions.windows(wanted(250), &ask).await, all);
        assert!(asked.borrow().len() <= count, "the time for questions is over");
    }
}
