//! Time: how much validity is enough, and when a certificate is to be renewed.

use jiff::{SignedDuration, Timestamp};

use super::digest::digest;
use super::inspection::{CertificateFacts, CertificateId};
use super::observed::RenewalWindow;
use super::policy::Policy;

/// Under this lifetime half of it must be left, not a third: a missed day weighs more.
const SHORT_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 24);

/// From start to end.
pub fn lifetime(facts: &CertificateFacts) -> SignedDuration {
    facts.not_after.duration_since(facts.not_before)
}

/// Whether less than a tenth of the lifetime is left.
pub(super) fn is_last_tenth(facts: &CertificateFacts, now: Timestamp) -> bool {
    facts.not_after.duration_since(now) < lifetime(facts) / 10
}

/// How much validity a certificate must have left: a third of its lifetime, half where that is under ten days.
/// A setting overrides, up to two thirds: more would renew it on every run.
pub fn least_validity(facts: &CertificateFacts, policy: &Policy) -> SignedDuration {
    let lifetime = lifetime(facts);
    let share = if lifetime < SHORT_LIFETIME {
        lifetime / 2
    } else {
        lifetime / 3
    };
    policy
        .minimum_validity
        .map_or(share, |minimum| minimum.min(lifetime / 3 * 2))
}

/// The moment inside of a window at which a certificate is renewed (RFC 9773 section 4.2 asks for a random one): from the
/// certificate's identifier alone, so that every run finds the same one and nothing has to be stored.
pub fn moment(window: &RenewalWindow, id: &CertificateId) -> Timestamp {
    let digest = ring::digest::digest(&ring::digest::SHA256, id.to_string().as_bytes());
    let head = digest
        .as_ref()
        .first_chunk::<4>()
        .copied()
        .map_or(0, u32::from_be_bytes);
    let seconds = i128::from(window.end.duration_since(window.start).as_secs());
    let offset = seconds * i128::from(head) / (i128::from(u32::MAX) + 1);
    let offset = SignedDuration::from_secs(i64::try_from(offset).unwrap_or(0));
    window.start.saturating_add(offset).unwrap_or(window.end)
}

/// Whether the CA's suggestion is due before the next run. A certificate younger than a third of its lifetime is
/// renewed only once the window has opened: a window far ahead of its time is more likely a mistake than an emergency.
pub fn is_suggested(
    window: &RenewalWindow,
    moment: Timestamp,
    facts: &CertificateFacts,
    now: Timestamp,
    policy: &Policy,
) -> bool {
    let next_run = now.saturating_add(policy.interval).unwrap_or(Timestamp::MAX);
    let young = now.duration_since(facts.not_before) < lifetime(facts) / 3;
    moment <= next_run && (!young || window.start <= now)
}

/// When a certificate falls due: by its lifetime, or earlier where its CA suggests so.
pub fn renew_at(facts: &CertificateFacts, window: Option<&RenewalWindow>, policy: &Policy) -> Option<Timestamp> {
    let by_lifetime = facts.not_after.saturating_sub(least_validity(facts, policy)).ok()?;
    let by_window = window.and_then(|window| Some(moment(window, facts.id.as_ref()?)));
    Some(by_window.map_or(by_lifetime, |moment| moment.min(by_lifetime)))
}

/// A duration as an operator reads it: `29d`, `7h`, `12m`; whole units, rounded down.
pub fn short(duration: SignedDuration) -> String {
    let sign = if duration.is_negative() { "-" } else { "" };
    let seconds = duration.unsigned_abs().as_secs();
    match seconds {
        0..3_600 => format!("{sign}{}m", seconds / 60),
        3_600..172_800 => format!("{sign}{}h", seconds / 3_600),
        _ => format!("{sign}{}d", seconds / 86_400),
    }
}

/// How often a CA is asked about the renewal of a certificate, whatever the schedule. Let's Encrypt's answers say six hours in
/// their `Retry-After` (RFC 9773 section 4.3), and nothing of it need be stored: each certificate has its moment in the period.
const SUGGESTIONS_PERIOD: SignedDuration = SignedDuration::from_hours(6);

/// Whether the certificate's moment is from now on, and before the next run.
pub(super) fn is_asked_about(id: &CertificateId, now: Timestamp, interval: SignedDuration) -> bool {
    let period = SUGGESTIONS_PERIOD.as_secs();
    let [a, b, c, d, ..] = digest(&[&id.authority_key_identifier, &id.serial]);
    let moment = i64::from(u32::from_be_bytes([a, b, c, d])) % period;
    interval.is_zero() || (moment - now.as_second()).rem_euclid(period) < interval.as_secs()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{certificate, now};
    use super::super::inspection::{Inspection, inspect};
    use super::*;

    /// Every function of this file, at every combination of the ends of what a type can hold.
    #[test]
    fn times_at_the_ends_of_their_types_saturate() {
        let (chain, key) = certificate(&["a.example"], "Test CA", now(), now());
        let Inspection::Certificate(facts) = inspect(chain.as_bytes(), key.as_bytes()) else {
            panic!("no certificate")
        };
        let times = [Timestamp::MIN, Timestamp::UNIX_EPOCH, now(), Timestamp::MAX];
        let durations = [
            SignedDuration::MIN,
            SignedDuration::ZERO,
            SignedDuration::from_hours(24),
            SignedDuration::MAX,
        ];
        for (not_before, not_after) in times.into_iter().flat_map(|start| times.map(|end| (start, end))) {
            let facts = CertificateFacts {
                not_before,
                not_after,
                ..(*facts).clone()
            };
            let window = RenewalWindow {
                start: not_before,
                end: not_after,
            };
            let whole = lifetime(&facts);
            assert_eq!(whole.is_positive(), not_before < not_after);
            let moment = moment(&window, facts.id.as_ref().expect("an identifier"));
            assert!(not_before > not_after || (not_before..=not_after).contains(&moment));
            for duration in durations {
                let policy = Policy {
                    minimum_validity: Some(duration),
                    interval: duration.max(SignedDuration::ZERO),
                    ..Policy::default()
                };
                assert!(least_validity(&facts, &policy) <= (whole / 3 * 2).max(SignedDuration::ZERO));
                let due = renew_at(&facts, Some(&window), &policy).expect("a time");
                assert!(due <= not_after || duration.is_negative() || whole.is_negative());
                for now in times {
                    let by_then = is_suggested(&window, moment, &facts, now, &policy);
                    assert!(!by_then || moment <= now || policy.interval.is_positive());
                    drop(short(not_after.duration_since(now)));
                }
            }
        }
    }

    #[test]
    fn durations_are_short() {
        for (seconds, expected) in [
            (0, "0m"),
            (59, "0m"),
            (3_599, "59m"),
            (3_600, "1h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (-90_000, "-25h"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn the_ca_is_asked_about_each_certificate_once_in_six_hours() {
        let id = |serial: u8| CertificateId {
            authority_key_identifier: vec![7; 20].into(),
            serial: vec![serial; 16].into(),
        };
        for minutes in [5, 15, 60, 360, 720] {
            let interval = SignedDuration::from_mins(minutes);
            for serial in 0..50 {
                let runs = (0..360).step_by(usize::try_from(minutes).expect("minutes"));
                let asked = runs.filter(|minute| {
                    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(*minute);
                    is_asked_about(&id(serial), now, interval)
                });
                assert_eq!(asked.count(), 1, "every {minutes} minutes, {serial}");
            }
        }
        let in_one_run = (0..=255)
            .filter(|serial| is_asked_about(&id(*serial), Timestamp::UNIX_EPOCH, SignedDuration::from_mins(15)));
        assert!(
            (4..=20).contains(&in_one_run.count()),
            "about 11 of 256: they are spread"
        );
    }
}
