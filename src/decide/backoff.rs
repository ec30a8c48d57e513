//! When a certificate that the CA refused is tried again.
//!
//! CAs count failures: Let's Encrypt refuses a name after five failed validations an hour, and pauses it after 1,152 in a
//! row (<https://letsencrypt.org/docs/rate-limits/>). A run has no memory, so its ledger has one.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::digest::{digest, hex};
use super::directory::Directory;
use super::name::{DnsName, SecretRef};

/// The pause after the first failure. With the two that follow, a name has three attempts in its first hour.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// The longest pause, but for the jitter.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24);
/// So long after its next attempt could have been, a refusal tells nothing of the next one any more.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The most characters of a refusal's sentence that are kept: all that Let's Encrypt says, and not what a host answered at length.
/// Thousands of refusals have to fit into one Secret.
const PROBLEM_LENGTH: usize = 500;
/// The jitter adds this share of a pause at most, so that certificates which failed together are not tried together.
const JITTER: f64 = 0.1;

/// A CA's no: what it costs an attempt to have asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The problem's type, without its URN (RFC 8555 section 6.7), or what else happened: a word.
    pub class: String,
    /// What the CA said, in a sentence.
    pub problem: String,
    /// Not to be asked again before this (RFC 8555 section 6.6), where it said so.
    pub not_before: Option<Timestamp>,
}

/// The attempts at a certificate that the CA refused, one after the other; an entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempts {
    /// The Secret's namespace.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// A digest of the names that were ordered. With other names it is another matter; so it is with an entry that has no digest.
    #[serde(default)]
    pub names: String,
    /// The directory's URL.
    pub directory: String,
    /// The account's URL there.
    pub account: String,
    /// How many in a row.
    pub count: u32,
    /// The last refusal's class.
    pub class: String,
    /// The last refusal's sentence.
    pub problem: String,
    /// When it was.
    pub at: Timestamp,
    /// When the next attempt may be.
    pub next: Timestamp,
    /// The time before which the CA said that it takes none; the next attempt may be later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

/// What an attempt was for, and with whom.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The Secret.
    pub secret: &'a SecretRef,
    /// The names, sorted.
    pub hosts: &'a [DnsName],
    /// The directory's URL.
    pub directory: &'a str,
    /// The account's URL.
    pub account: &'a str,
}

impl Attempts {
    /// One more: `before` are those so far, where there were any.
    pub fn after(before: Option<&Self>, attempt: &Attempt<'_>, refused: &Refused, now: Timestamp) -> Self {
        let before = before.filter(|before| !before.are_over(now));
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        let next = now
            .saturating_add(pause(attempt.secret, count))
            .unwrap_or(Timestamp::MAX);
        Self {
            namespace: attempt.secret.namespace.to_string(),
            secret: attempt.secret.name.to_string(),
            names: names(attempt.hosts),
            directory: attempt.directory.to_owned(),
            account: attempt.account.to_owned(),
            count,
            class: refused.class.clone(),
            problem: refused.problem.chars().take(PROBLEM_LENGTH).collect(),
            at: now,
            next: refused.not_before.map_or(next, |time| time.max(next)),
            not_before: refused.not_before,
        }
    }

    /// Where the certificate would go.
    pub fn secret(&self) -> SecretRef {
        SecretRef::new(self.namespace.as_str(), self.secret.as_str())
    }

    /// Whether they are so long ago that they tell nothing any more.
    pub fn are_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.next) >= REMEMBERED
    }

    /// Whether they were attempts at these names.
    pub fn are_for(&self, hosts: &[DnsName]) -> bool {
        self.names == names(hosts)
    }

    /// Whether the directory refused them, and the account where one is known.
    pub fn are_at(&self, directory: &Directory, account: Option<&str>) -> bool {
        self.directory == directory.url() && account.is_none_or(|account| account == self.account)
    }
}

fn names(hosts: &[DnsName]) -> String {
    let hosts: Vec<&[u8]> = hosts.iter().map(|host| host.as_str().as_bytes()).collect();
    hex(&digest(&hosts))
}

/// Ten minutes, twice as long after each failure, a day at most, and up to a tenth more.
fn pause(secret: &SecretRef, count: u32) -> SignedDuration {
    let factor = 1_i32.checked_shl(count.saturating_sub(1)).filter(|factor| *factor > 0);
    let pause = factor
        .and_then(|factor| FIRST_PAUSE.checked_mul(factor))
        .unwrap_or(LONGEST_PAUSE);
    let pause = pause.min(LONGEST_PAUSE);
    // By a hash, not by chance: the same plan has the same time, whoever makes it.
    let [first, second, ..] = digest(&[
        secret.namespace.as_bytes(),
        secret.name.as_bytes(),
        &count.to_be_bytes(),
    ]);
    let share = f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX);
    pause + SignedDuration::from_secs((pause.as_secs_f64() * JITTER * share) as i64)
}

/// The time after which a CA that limits rates will listen, as Let's Encrypt's (Boulder's) details have it:
/// `..., retry after 2026-01-02 03:04:05 UTC: see https://...`.
pub fn retry_after(detail: &str) -> Option<Timestamp> {
    let (_, rest) = detail.split_once("retry after ")?;
    let time = rest.get(..rest.find(" UTC").or_else(|| rest.find('Z').map(|at| at + 1))?)?;
    time.parse()
        .ok()
        .or_else(|| format!("{}Z", time.replace(' ', "T")).parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> SecretRef {
        SecretRef::new("web", "a-tls")
    }

    #[test]
    fn pauses_double_up_to_a_day_and_differ_between_certificates() {
        let minutes = |count| pause(&secret(), count).as_mins();
        for (count, least) in [
            (1, 10),
            (2, 20),
            (3, 40),
            (7, 640),
            (8, 1_280),
            (9, 1_440),
            (40, 1_440),
            (u32::MAX, 1_440),
        ] {
            let found = minutes(count);
            assert!((least..=least + least / 10).contains(&found), "{count}: {found}");
        }
        let some = (0..20).map(|number| pause(&SecretRef::new("web", format!("{number}")), 9));
        let some: std::collections::BTreeSet<_> = some.collect();
        assert!(some.len() > 15, "{some:?}");
    }

    #[test]
    fn no_name_has_five_failures_in_an_hour() {
        let hosts = ["a.example".parse().expect("a name")];
        let secret = secret();
        let attempt = Attempt {
            secret: &secret,
            hosts: &hosts,
            directory: "https://ca.example",
            account: "https://ca.example/1",
        };
        let refused = Refused {
            class: "unauthorized".into(),
            problem: "no".into(),
            not_before: None,
        };
        // A run every five minutes, for four days.
        let (mut attempts, mut times): (Option<Attempts>, Vec<i64>) = (None, Vec::new());
        for minute in (0..4 * 24 * 60).step_by(5) {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
            if attempts.as_ref().is_none_or(|attempts| attempts.next <= now) {
                times.push(minute);
                attempts = Some(Attempts::after(attempts.as_ref(), &attempt, &refused, now));
            }
        }
        let most = times
            .iter()
            .map(|from| times.iter().filter(|time| (*from..*from + 60).contains(time)).count());
        assert_eq!(most.max(), Some(3), "{times:?}");
        assert!((10..=12).contains(&times.len()), "{times:?}");
    }

    #[test]
    fn a_ca_that_names_a_time_has_the_last_word_where_it_is_later() {
        let detail = "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, \
                      retry after 2026-01-02 03:04:05 UTC: see https://letsencrypt.org/docs/rate-limits/";
        let time: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        for (detail, expected) in [
            (detail, Some(time)),
            ("retry after 2026-01-02T03:04:05Z", Some(time)),
            ("retry after tomorrow UTC", None),
            ("retry after ", None),
            ("no", None),
        ] {
            assert_eq!(retry_after(detail), expected, "{detail}");
        }
        let secret = secret();
        let attempt = Attempt {
            secret: &secret,
            hosts: &[],
            directory: "",
            account: "",
        };
        let next = |not_before| {
            let (class, problem) = ("rateLimited".into(), String::new());
            let refused = Refused {
                class,
                problem,
                not_before,
            };
            Attempts::after(None, &attempt, &refused, Timestamp::UNIX_EPOCH).next
        };
        assert_eq!(next(Some(time)), time);
        assert_eq!(next(Some(Timestamp::UNIX_EPOCH)), next(None));
    }
}
