//! When what is due is not tried yet: each reason is one function and one row.

use super::check::{Answer, Check, Subject, when_due};
use super::reason::Reason;
use crate::decide::full_domain::sentence;

/// Why a certificate that is due has to wait: the first match wins.
pub(in crate::decide) const WAITS: &[Check] = &[
    when_due(Reason::BackingOff, backing_off),
    when_due(Reason::BackingOff, domain_is_full),
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

fn domain_is_full(subject: &Subject<'_>) -> Answer {
    let Some((domain, until)) = subject.full_domain() else {
        return Answer::no("the CA issues certificates for new names of its domains, as far as is known");
    };
    if subject.policy.retry_now || subject.policy.force {
        return Answer::no("`--retry-now` asks for it");
    }
    Answer::Yes(sentence(domain, until))
}
