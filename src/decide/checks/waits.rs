//! When what is due is not tried yet: each reason is one function and one row.

use super::check::{Answer, Check, Subject, when_due};
use super::reason::Reason;
use crate::decide::ca_limits::Hold;

/// Why a certificate that is due has to wait: the first match wins.
pub(in crate::decide) const WAITS: &[Check] = &[
    when_due(Reason::BackingOff, backing_off),
    when_due(Reason::BackingOff, limit_is_reached),
];

fn backing_off(subject: &Subject<'_>) -> Answer {
    let Some(attempts) = subject.attempts() else {
        return Answer::no("the CA refused nothing lately");
    };
    let (count, next) = (attempts.count, attempts.next);
    if subject.policy.retry_now || subject.policy.force {
        return Answer::no("`--retry-now` asks for it");
    }
    if next <= subject.observed.now {
        return Answer::No(format!("the next attempt was to wait until {next:.0}"));
    }
    let times = if count == 1 {
        "once".to_owned()
    } else {
        format!("{count} times in a row")
    };
    Answer::Yes(format!(
        "the CA refused this certificate {times}; it is not ordered again before {next:.0}. The last refusal: {}",
        attempts.problem
    ))
}

fn limit_is_reached(subject: &Subject<'_>) -> Answer {
    let Some(Hold { why, .. }) = subject.hold() else {
        return Answer::no("the CA has refused nothing of the account or under these domains that holds now");
    };
    if subject.policy.retry_now || subject.policy.force {
        return Answer::no("`--retry-now` asks for it");
    }
    Answer::Yes(why)
}
