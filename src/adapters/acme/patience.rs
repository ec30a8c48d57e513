//! How often, and after which pauses, the CA is asked again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::error::{AcmeError, Cause};

/// The pause before the second look at an order; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(60);
/// The longest pause that nobody asked for, and the longest that a CA which wants to be asked less is waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often a call is made anew that brought no answer: a person may wait for the message that the CA is down.
const MORE_TRIES: u32 = 4;
/// The pause before the first of them; doubled each time, so that they take 4 s at least.
const PAUSE_OF_TRIES: Duration = Duration::from_millis(250);
/// Behind this there is no other try.
const TIME_OF_TRIES: Duration = Duration::from_secs(30);

/// What is left of the time, or of the tries, in which something that is not there yet may be asked for again.
pub(super) struct Patience {
    deadline: Instant,
    tries: u32,
    /// Of these there are fewer: a page instead of an answer is soon there for good.
    unreadable: u32,
    pause: Duration,
}

impl Patience {
    /// For what becomes of an order by and by.
    pub(super) fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            tries: u32::MAX,
            unreadable: MORE_TRIES,
            pause: FIRST_PAUSE,
        }
    }

    /// For a call that is answered at once, or has failed.
    pub(super) fn brief() -> Self {
        Self {
            deadline: Instant::now() + TIME_OF_TRIES,
            tries: MORE_TRIES,
            unreadable: MORE_TRIES,
            pause: PAUSE_OF_TRIES,
        }
    }

    /// Waits before the next look, as long as the CA asked for (RFC 8555 section 7.5.1). Returns the failure
    /// of the last look where it is permanent, or where there is no next look.
    pub(super) async fn rest(&mut self, failure: AcmeError) -> Result<(), AcmeError> {
        let unreadable = matches!(failure.cause(), Cause::Unreadable { .. });
        if self.tries == 0 || (unreadable && self.unreadable == 0) || !may_pass(&failure) {
            return Err(failure);
        }
        let wait = match asked_wait(&failure) {
            // A moment that has passed gets no storm of requests.
            Some(asked) => asked.max(FIRST_PAUSE),
            None => self.pause,
        };
        let scattered = match failure.cause() {
            Cause::Waiting(_) => Duration::ZERO,
            _ => jitter(self.pause),
        };
        let next = Instant::now() + wait + scattered;
        if next > self.deadline {
            return Err(failure);
        }
        log::debug!("asking again in {} ms: {failure}", wait.as_millis());
        tokio::time::sleep_until(next).await;
        self.tries -= 1;
        self.unreadable -= u32::from(unreadable);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Whether another try may help. A rate limit is nothing that passes, but for one that says "in a moment".
pub(super) fn may_pass(failure: &AcmeError) -> bool {
    let in_a_moment = || asked_wait(failure).is_some_and(|wait| wait <= LONGEST_PAUSE);
    !failure.is_permanent() || failure.asks_for_less() && in_a_moment()
}

/// How long the CA asked to be left alone, from now on.
fn asked_wait(failure: &AcmeError) -> Option<Duration> {
    let wait = failure.retry_after()?.duration_since(Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or_default())
}

/// Up to a quarter of a pause: many requests that failed together must not come back together.
fn jitter(pause: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish();
    pause.mul_f64(chance as f64 / u64::MAX as f64 / 4.0)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::exchange::Exchange;
    use super::super::order::OrderState;
    use super::*;

    fn failure(cause: Cause) -> AcmeError {
        AcmeError::new("wait", "https://c/o", cause)
    }

    fn limited(seconds: i64) -> AcmeError {
        let answered = Cause::Answered {
            status: http::StatusCode::TOO_MANY_REQUESTS,
            beginning: String::new(),
        };
        let retry_after = Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).ok();
        let status = http::StatusCode::TOO_MANY_REQUESTS;
        failure(answered).after(Some(&Exchange {
            status,
            retry_after,
            ..Exchange::default()
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn looking_again_ends_at_the_deadline_with_what_was_last_seen() {
        let mut patience = Patience::until(Instant::now() + Duration::from_millis(600));
        let mut looks = 1;
        let last = loop {
            match patience.rest(failure(Cause::Waiting(OrderState::Pending))).await {
                Ok(()) => looks += 1,
                Err(last) => break last,
            }
        };
        assert!(last.to_string().contains("still `pending`"));
        // At 0, 60, 180 and 420 ms; the fifth would be at 900.
        assert_eq!(looks, 4);
        let later = Exchange {
            status: http::StatusCode::OK,
            retry_after: Timestamp::now().checked_add(SignedDuration::from_hours(1)).ok(),
            ..Exchange::default()
        };
        let mut patience = Patience::until(Instant::now() + Duration::from_secs(60));
        let waiting = failure(Cause::Waiting(OrderState::Processing)).after(Some(&later));
        patience.rest(waiting).await.expect_err("behind the deadline");
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        fn unreadable() -> Cause {
            Cause::Unreadable {
                reason: "no JSON".into(),
                beginning: String::new(),
            }
        }
        for mut patience in [Patience::brief(), Patience::until(Instant::now() + LONGEST_PAUSE)] {
            for (what, failed, rests) in [
                ("no answer in time", failure(Cause::TimedOut(30)), true),
                ("an answer that cannot be read", failure(unreadable()), true),
                ("a rate limit that says: in a moment", limited(2), true),
                ("a rate limit that says: in an hour", limited(3_600), false),
                ("a refusal", failure(Cause::Retired), false),
            ] {
                assert_eq!(patience.rest(failed).await.is_ok(), rests, "{what}");
            }
        }
        let (mut patience, begun, mut tries) = (Patience::brief(), Instant::now(), 0);
        while patience.rest(failure(Cause::TimedOut(30))).await.is_ok() {
            tries += 1;
        }
        let took = begun.elapsed();
        assert_eq!(tries, MORE_TRIES);
        let mut long = Patience::until(Instant::now() + Duration::from_secs(3_600));
        let mut looks = 0;
        while long.rest(failure(unreadable())).await.is_ok() {
            looks += 1;
        }
        assert_eq!(looks, MORE_TRIES);
        assert!(
            took >= Duration::from_millis(3_750) && took < Duration::from_secs(5),
            "{took:?}"
        );
    }
}
