//! When a certificate is due: each reason is one function and one row.

use super::check::{Answer, Check, NO_CERTIFICATE, NO_DIRECTORY, NO_SECRET, Subject, always};
use super::reason::Reason;
use crate::decide::directory::Trust;
use crate::decide::inspection::{Inspection, KeyMatch};
use crate::decide::name::DnsName;
use crate::decide::observed::Read;
use crate::decide::validity::{is_suggested, least_validity, moment, short};

/// When a certificate is due: the first match wins.
pub(in crate::decide) const DUE: &[Check] = &[
    always(Reason::Missing, missing),
    always(Reason::Unreadable, unreadable),
    always(Reason::KeyMismatch, key_mismatch),
    always(Reason::HostNotCovered, host_not_covered),
    always(Reason::WrongIssuer, wrong_issuer),
    always(Reason::Expired, expired),
    always(Reason::Expiring, expiring),
    always(Reason::Suggested, suggested),
    always(Reason::Forced, forced),
];

fn missing(subject: &Subject<'_>) -> Answer {
    match subject.secret {
        Read::Absent => Answer::Yes("there is no such Secret yet".into()),
        Read::Found(_) => Answer::no("the Secret is there"),
        Read::Unknown(_) => NO_SECRET,
    }
}

fn unreadable(subject: &Subject<'_>) -> Answer {
    match subject.found().map(|secret| &secret.inspection) {
        Some(Inspection::Empty) => Answer::Yes("both `tls.crt` and `tls.key` are empty".into()),
        Some(Inspection::Unreadable(why)) => Answer::Yes(why.clone()),
        Some(Inspection::Certificate(facts)) => Answer::No(format!("there is a certificate by `{}`", facts.issuer)),
        None => NO_SECRET,
    }
}

fn key_mismatch(subject: &Subject<'_>) -> Answer {
    match subject.facts().map(|facts| &facts.key) {
        Some(KeyMatch::Differs) => Answer::Yes("`tls.key` is not the key of the certificate in `tls.crt`".into()),
        Some(KeyMatch::Matches) => Answer::no("`tls.key` is the certificate's key"),
        Some(KeyMatch::Unchecked(what)) => Answer::No(format!("`tls.key` was not compared: it is {what}")),
        None => NO_CERTIFICATE,
    }
}

fn host_not_covered(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let names = &facts.names;
    let covered = |host: &&DnsName| names.iter().any(|name| host.is_covered_by(name));
    let lacking: Vec<_> = subject
        .certificate
        .hosts
        .iter()
        .filter(|host| !covered(host))
        .map(|host| format!("`{host}`"))
        .collect();
    if lacking.is_empty() {
        return Answer::No(format!("the certificate's names are `{}`", names.join("`, `")));
    }
    Answer::Yes(format!("the certificate does not cover {}", lacking.join(", ")))
}

fn wrong_issuer(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let Some(directory) = &subject.policy.directory else {
        return NO_DIRECTORY;
    };
    match subject.marker() {
        Some(marker) if marker.directory != directory.url() => Answer::Yes(format!(
            "the certificate is from `{}`, not from `{directory}`",
            marker.directory
        )),
        // A private CA names its issuers as it likes: ordering again would bring the same name, on every run.
        Some(_) if directory.trust() == Trust::Private => Answer::No(format!("the certificate is from `{directory}`")),
        _ if facts.is_from_staging() && directory.trust() != Trust::Staging => {
            Answer::Yes(format!("the certificate is from a staging CA: `{}`", facts.issuer))
        }
        Some(_) => Answer::No(format!("the certificate is from `{directory}`")),
        None => Answer::no("nothing says which directory the certificate is from"),
    }
}

fn expired(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    if facts.not_after <= subject.observed.now {
        return Answer::Yes(format!("the certificate ended at {}", facts.not_after));
    }
    Answer::No(format!("the certificate ends at {}", facts.not_after))
}

fn expiring(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let least = least_validity(facts, subject.policy);
    let left = facts.not_after.duration_since(subject.observed.now);
    if left < least {
        return Answer::Yes(format!("{} left, less than {}", short(left), short(least)));
    }
    Answer::No(format!("{} left, {} are enough", short(left), short(least)))
}

fn suggested(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let (Some(window), Some(id)) = (subject.window(), &facts.id) else {
        return Answer::NotAsked("the CA gave no renewal window");
    };
    let moment = moment(window, id);
    let sentence = format!(
        "the CA suggests a renewal between {} and {}; this program chose {moment}",
        window.start, window.end
    );
    if is_suggested(window, moment, facts, subject.observed.now, subject.policy) {
        return Answer::Yes(sentence);
    }
    Answer::No(sentence)
}

fn forced(subject: &Subject<'_>) -> Answer {
    if subject.policy.force {
        return Answer::Yes("`--force` asks for it".into());
    }
    Answer::no("`--force` does not ask for it")
}
