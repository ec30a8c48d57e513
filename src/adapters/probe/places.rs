//! Places for what goes on at the same time: no namespace has more than half of them (I9).
//!
//! Whoever may make Ingresses may name any number of hosts, of which each takes as long as it likes to answer nothing. In one queue
//! they would stand before everybody else's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

pub(super) struct Places {
    all: Semaphore,
    share: usize,
    of: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// It is free again once this is dropped.
pub(super) struct Place<'a> {
    _one_of_all: SemaphorePermit<'a>,
    _one_of_the_namespaces: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self {
            all: Semaphore::new(count),
            share: count.div_ceil(2),
            of: Mutex::default(),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// Never: no semaphore here is closed.
    pub(super) async fn take(&self, namespace: &str) -> Result<Place<'_>, AcquireError> {
        let of_namespace = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            let of = of.entry(namespace.to_owned());
            Arc::clone(of.or_insert_with(|| Arc::new(Semaphore::new(self.share))))
        };
        // First this one: so no namespace has more than its share in the queue of all, either.
        let of_namespace = of_namespace.acquire_owned().await?;
        Ok(Place {
            _one_of_all: self.all.acquire().await?,
            _one_of_the_namespaces: of_namespace,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_namespace_has_half_of_the_places_and_another_the_rest() {
        let places = Places::new(4);
        let take = |namespace| places.take(namespace).now_or_never();
        let many = [take("many"), take("many")];
        assert!(many.iter().all(Option::is_some));
        let queue: Vec<_> = (0..100).map(|_| Box::pin(places.take("many"))).collect();
        let waiting = queue
            .into_iter()
            .map(|mut it| (it.as_mut().now_or_never().is_none(), it));
        let waiting: Vec<_> = waiting.collect();
        assert!(waiting.iter().all(|(waits, _)| *waits));
        let few = [take("few"), take("few")];
        assert!(few.iter().all(Option::is_some));
        assert!(take("third").is_none(), "all are taken");
        drop(few);
        assert!(take("third").is_some());
    }
}
