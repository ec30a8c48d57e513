//! What goes wrong with a CA, in words: the operation, its URL, the cause last.

use std::fmt;

use http::{StatusCode, Uri};
use jiff::Timestamp;

use super::exchange::Exchange;
use crate::decide::backoff::{Refused, retry_after};
use crate::decide::ca_limits::is_of_names;

/// An operation at a CA that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", self.what(), self.causes().join("; "))]
pub struct AcmeError(Box<Failure>);

#[derive(Debug)]
struct Failure {
    operation: String,
    url: String,
    retry_after: Option<Timestamp>,
    account_entry: Option<String>,
    cause: Cause,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// No connection, or one that broke.
    #[error("{}{reason}", via(.proxy))]
    Unreachable {
        /// The proxy on the way, without its password.
        proxy: Option<Uri>,
        /// What the connection said.
        reason: String,
    },
    /// A TLS certificate of the server that is not to be trusted.
    #[error("the server's certificate is not trusted: {reason}")]
    Untrusted {
        /// Whether it is the issuer that nobody knows (else: a name, a date, ...).
        unknown_issuer: bool,
        /// What the verification said.
        reason: String,
    },
    /// No whole answer in time.
    #[error("no answer within {0} s")]
    TimedOut(u64),
    /// An answer that never ends.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// An answer that is no success, and no problem document either.
    #[error("the server answered {status}{}", excerpt(.beginning))]
    Answered {
        /// The status.
        status: StatusCode,
        /// The beginning of its body, on one line.
        beginning: String,
    },
    /// A success that could not be read.
    #[error("{reason}{}", excerpt(.beginning))]
    Unreadable {
        /// What is wrong.
        reason: String,
        /// The beginning of the body, on one line.
        beginning: String,
    },
    /// A directory that speaks ACME v1.
    #[error("it is a directory of ACME v1, which ended in 2021")]
    Retired,
    /// A problem document (RFC 8555 section 6.7).
    #[error("{0}")]
    Problem(Problem),
    /// An order that became `invalid` (RFC 8555 section 7.1.6): the hosts that were not validated, else the order's own problem.
    #[error("the order is `invalid`")]
    Invalid {
        /// What was said of each host.
        hosts: Vec<HostProblem>,
        /// What was said of the order as a whole.
        order: Option<Problem>,
    },
    /// The deadline came before the order's next state.
    #[error("the order is still `{0}`")]
    Waiting(super::OrderState),
    /// An order in a state in which the operation means nothing.
    #[error("the order is `{0}`")]
    State(super::OrderState),
    /// An authorization that HTTP-01 cannot fulfil (RFC 8555 section 8.3).
    #[error("for `{host}` the CA offers no `http-01` challenge, which is all that this program can do, but {offered}")]
    NoHttpChallenge {
        /// The host.
        host: String,
        /// What is offered.
        offered: String,
    },
    /// The CA wants an external account (RFC 8555 section 7.3.4).
    #[error("the CA wants an external account")]
    ExternalAccountRequired,
    /// A profile that the directory does not list.
    #[error("the CA has no profile `{profile}`, but {known}")]
    UnknownProfile {
        /// What was asked for.
        profile: String,
        /// What there is.
        known: String,
    },
    /// The directory names no `renewalInfo` (RFC 9773).
    #[error("the CA gives no renewal information")]
    NoRenewalInfo,
    /// Stored credentials that are none, or another directory's. Never quotes them.
    #[error("the stored account cannot be used: {0}")]
    Credentials(String),
    /// A CA bundle or a proxy that is none.
    #[error("{0}")]
    Setting(String),
    /// Whatever else the library says.
    #[error("{0}")]
    Other(String),
}

/// A problem document (RFC 7807; RFC 8555 section 6.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The type, without `urn:ietf:params:acme:error:`; empty where there is none.
    pub kind: String,
    /// The detail, on one line.
    pub detail: String,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The subproblems (RFC 8555 section 6.7.1).
    pub hosts: Vec<HostProblem>,
}

/// What was said of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostProblem {
    /// The host.
    pub host: String,
    /// The type, without `urn:ietf:params:acme:error:`.
    pub kind: String,
    /// The detail, on one line.
    pub detail: String,
}

impl AcmeError {
    /// `operation` completes "cannot ...".
    pub(super) fn new(operation: &str, url: &str, cause: Cause) -> Self {
        Self(Box::new(Failure {
            operation: operation.to_owned(),
            url: url.to_owned(),
            retry_after: None,
            account_entry: None,
            cause,
        }))
    }

    /// Adds what the library drops: the last exchange's Retry-After and status.
    pub(super) fn after(mut self, exchange: Option<&Exchange>) -> Self {
        self.0.retry_after = exchange.and_then(|exchange| exchange.retry_after);
        if let (Cause::Problem(problem), Some(exchange)) = (&mut self.0.cause, exchange) {
            problem.status.get_or_insert(exchange.status.as_u16());
        }
        self
    }

    /// Names the place where the account is stored, for the hint.
    pub(super) fn of_account(mut self, entry: &str) -> Self {
        self.0.account_entry = Some(entry.to_owned());
        self
    }

    /// Why.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// What could not be done, and where.
    pub fn what(&self) -> String {
        let Failure {
            operation, url, cause, ..
        } = &*self.0;
        let state = match cause {
            Cause::Invalid { .. } => ": the order is `invalid`",
            _ => "",
        };
        format!("cannot {operation} at `{url}`{state}")
    }

    /// Why: a sentence for each thing that was seen. Hosts of which the CA says the same share one.
    pub fn causes(&self) -> Vec<String> {
        match &self.0.cause {
            Cause::Invalid { hosts, order } => match (hosts.is_empty(), order) {
                (false, _) => grouped(hosts),
                // The order's problem repeats a host's, where there is one.
                (true, Some(problem)) => problem.sentences(),
                (true, None) => vec!["no reason was given".into()],
            },
            Cause::Problem(problem) => problem.sentences(),
            cause => vec![cause.to_string()],
        }
    }

    /// When the CA will listen again, where it said so (RFC 8555 section 6.6).
    pub fn retry_after(&self) -> Option<Timestamp> {
        self.0.retry_after
    }

    /// Whether asking again in this run will not help: rate limits, refusals, failed validations, settings.
    ///
    /// What is left are connections that broke, answers that cannot be read, and servers in trouble.
    pub fn is_permanent(&self) -> bool {
        match &self.0.cause {
            Cause::Unreachable { .. } | Cause::TimedOut(_) | Cause::Waiting(_) | Cause::Unreadable { .. } => false,
            Cause::Answered { status, .. } => !status.is_server_error(),
            Cause::Problem(problem) => match problem.kind.as_str() {
                "badNonce" | "serverInternal" => false,
                // Overload: Let's Encrypt answers 503 with the type `rateLimited`.
                _ => problem.status != Some(503),
            },
            _ => true,
        }
    }

    /// Whether no certificate can come of the order any more: it is `invalid`, expired, or the CA refuses what it needs.
    pub fn ends_the_order(&self) -> bool {
        match &self.0.cause {
            Cause::Invalid { .. } | Cause::State(_) | Cause::NoHttpChallenge { .. } => true,
            Cause::Answered { status, .. } => matches!(status.as_u16(), 404 | 410),
            Cause::Problem(problem) => problem.kind != "rateLimited" && self.is_permanent(),
            _ => false,
        }
    }

    /// Whether the CA wants to be asked less (RFC 8555 section 6.6).
    pub fn asks_for_less(&self) -> bool {
        match &self.0.cause {
            // A limit for some names is no limit for others.
            Cause::Problem(problem) if problem.kind == "rateLimited" && is_of_names(&problem.detail) => false,
            Cause::Problem(problem) => problem.kind == "rateLimited" || matches!(problem.status, Some(429 | 503)),
            Cause::Answered { status, .. } => matches!(status.as_u16(), 429 | 503),
            _ => false,
        }
    }

    /// The CA's refusal, where the operation cost an attempt: asking again soon is asking for the same. Connections that broke
    /// and servers in trouble are none.
    pub fn refused(&self) -> Option<Refused> {
        let class = match &self.0.cause {
            Cause::Invalid { hosts, order } => {
                let host = hosts
                    .iter()
                    .map(|host| &host.kind)
                    .chain(order.iter().map(|problem| &problem.kind));
                host.into_iter()
                    .find(|kind| !kind.is_empty())
                    .map_or("invalid", String::as_str)
            }
            Cause::Problem(problem) if problem.kind == "rateLimited" || self.is_permanent() => &problem.kind,
            Cause::NoHttpChallenge { .. } => "noHttpChallenge",
            _ if self.asks_for_less() && self.0.retry_after.is_some() => "rateLimited",
            _ => return None,
        };
        let said = self.causes().join("; ");
        Some(Refused {
            class: class.to_owned(),
            not_before: self.0.retry_after.or_else(|| retry_after(&said)),
            problem: said,
        })
    }

    /// Whether the CA knows no account of the key (RFC 8555 section 6.7).
    pub(super) fn is_account_unknown(&self) -> bool {
        matches!(&self.0.cause, Cause::Problem(problem) if problem.kind == "accountDoesNotExist")
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let words = match &self.0.cause {
            Cause::Unreachable { proxy: Some(_), .. } => {
                "`HTTPS_PROXY` names the proxy, `NO_PROXY` the hosts that need none"
            }
            Cause::NoHttpChallenge { .. } => {
                "use a CA or a profile that offers HTTP-01 for this host, or take the annotation away and get this certificate in another way"
            }
            Cause::Unreachable { proxy: None, .. } | Cause::TimedOut(_) => {
                "is there a way out to it (network policies, firewall)? a proxy is taken from `HTTPS_PROXY`"
            }
            Cause::Untrusted {
                unknown_issuer: true, ..
            } => "`--ca-bundle` names a file with the roots of a private CA; with it nothing else is trusted",
            Cause::Untrusted { reason, .. } if reason.contains("expired") || reason.contains("not valid yet") => {
                "is the clock right, here and there?"
            }
            Cause::Unreadable { .. } | Cause::Answered { .. }
                if self.0.retry_after.is_none() && self.0.operation == "read the directory" =>
            {
                "is this the URL of an ACME directory (RFC 8555), and does the CA work?"
            }
            Cause::Retired => "ask the CA for its ACME v2 directory (RFC 8555)",
            Cause::ExternalAccountRequired => EXTERNAL_ACCOUNT_HINT,
            Cause::UnknownProfile { .. } => "`--profile` takes one of these, or leave it out",
            Cause::Credentials(_) => return Some(self.account_hint()),
            Cause::Problem(problem) => return self.problem_hint(&problem.kind, &problem.detail),
            Cause::Invalid { hosts, order } => match (hosts.first(), order) {
                (Some(host), _) => return self.problem_hint(&host.kind, &host.detail),
                (None, Some(problem)) => return self.problem_hint(&problem.kind, &problem.detail),
                (None, None) => return self.retry_hint(),
            },
            _ => return self.retry_hint(),
        };
        Some(words.to_owned())
    }

    fn problem_hint(&self, kind: &str, detail: &str) -> Option<String> {
        let words = match kind {
            "externalAccountRequired" => EXTERNAL_ACCOUNT_HINT,
            "accountDoesNotExist" => return Some(self.account_hint()),
            "userActionRequired" => "somebody has to do what the message says, with the CA",
            "invalidProfile" => "`--profile` takes one of the profiles that the directory lists",
            "invalidContact" | "unsupportedContact" => "`--email` is not needed: leave it out",
            "rejectedIdentifier" => {
                "the CA signs nothing for this name: take the host out of `spec.tls`, or use another CA"
            }
            "unauthorized" => "make sure that the host leads to this cluster, and port 80 to its Ingress controller",
            // A paused identifier has no Retry-After: its unpause URL is in the detail.
            _ if detail.contains("/unpause") => {
                "the CA paused the name after too many failures: mend what is wrong, then open the URL in its message"
            }
            "caa" => "a CAA record of the domain (or a parent) names the CAs that may sign for it",
            _ => return self.retry_hint(),
        };
        Some(words.to_owned())
    }

    fn retry_hint(&self) -> Option<String> {
        let moment = self.0.retry_after?;
        Some(format!("the CA asks not to come back before {moment:.0}"))
    }

    fn account_hint(&self) -> String {
        let entry = self.0.account_entry.as_deref().unwrap_or("its entry");
        format!("remove {entry}: the next run registers a new account")
    }
}

const EXTERNAL_ACCOUNT_HINT: &str = "the CA's website gives a key: `--eab-key-id` and `--eab-hmac-key-file`";

impl Problem {
    /// From the library's.
    pub(super) fn new(problem: &instant_acme::Problem) -> Self {
        let hosts = problem.subproblems.iter().map(|sub| HostProblem {
            host: sub.identifier.as_ref().map_or_else(String::new, |identifier| {
                one_line(&identifier.authorized(false).to_string())
            }),
            kind: short_kind(sub.r#type.as_deref()),
            detail: one_line(sub.detail.as_deref().unwrap_or_default()),
        });
        Self {
            kind: short_kind(problem.r#type.as_deref()),
            detail: one_line(problem.detail.as_deref().unwrap_or_default()),
            status: problem.status,
            hosts: hosts.collect(),
        }
    }

    /// The same, said of one host.
    pub(super) fn of_host(self, host: &str) -> HostProblem {
        HostProblem {
            host: one_line(host),
            kind: self.kind,
            detail: self.detail,
        }
    }
}

impl From<instant_acme::Error> for Cause {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => Self::Problem(Problem::new(&problem)),
            instant_acme::Error::Json(error) => Self::Unreadable {
                reason: format!("the answer is not what RFC 8555 promises: {error}"),
                beginning: String::new(),
            },
            // Our own client's errors come back in here.
            instant_acme::Error::Other(error) => match error.downcast::<Self>() {
                Ok(cause) => *cause,
                Err(error) => Self::Other(one_line(&error.to_string())),
            },
            error => Self::Other(one_line(&error.to_string())),
        }
    }
}

impl Problem {
    /// Itself, and of each subproblem what it adds: CAs repeat the one in the other.
    fn sentences(&self) -> Vec<String> {
        let adds = |host: &&HostProblem| !(self.detail.contains(&host.detail) && self.detail.contains(&host.host));
        let added: Vec<HostProblem> = self.hosts.iter().filter(adds).cloned().collect();
        [self.to_string()].into_iter().chain(grouped(&added)).collect()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&said(&self.kind, &self.detail))?;
        match self.status {
            Some(status) => write!(f, " (status {status})"),
            None => Ok(()),
        }
    }
}

/// A sentence for each thing that was said, with the hosts that it was said of.
fn grouped(problems: &[HostProblem]) -> Vec<String> {
    let mut groups: Vec<(&HostProblem, Vec<&str>)> = Vec::new();
    for problem in problems {
        let same = |(first, _): &&mut (&HostProblem, _)| first.kind == problem.kind && first.detail == problem.detail;
        match groups.iter_mut().find(same) {
            Some((_, hosts)) => hosts.push(&problem.host),
            None => groups.push((problem, vec![&problem.host])),
        }
    }
    let sentence = |(problem, hosts): (&HostProblem, Vec<&str>)| {
        let hosts: Vec<&str> = hosts.into_iter().filter(|host| !host.is_empty()).collect();
        match hosts.is_empty() {
            true => said(&problem.kind, &problem.detail),
            false => format!("{}: {}", hosts.join(", "), said(&problem.kind, &problem.detail)),
        }
    };
    groups.into_iter().map(sentence).collect()
}

fn said(kind: &str, detail: &str) -> String {
    match (kind, detail) {
        ("", "") => "no reason was given".into(),
        ("", words) | (words, "") => words.into(),
        (kind, detail) => format!("{kind}: {detail}"),
    }
}

fn via(proxy: &Option<Uri>) -> String {
    match proxy {
        Some(uri) => format!(
            "through the proxy `{}`: ",
            uri.authority().map_or("", |host| host.as_str())
        ),
        None => String::new(),
    }
}

fn excerpt(beginning: &str) -> String {
    match beginning {
        "" => String::new(),
        text => format!(": `{text}`"),
    }
}

fn short_kind(kind: Option<&str>) -> String {
    let kind = kind.unwrap_or_default();
    one_line(kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind))
}

/// Somebody else's text on one line of ours: no line breaks, no terminal escapes.
pub(super) fn one_line(text: &str) -> String {
    let plain = text.replace(char::is_control, " ");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `a`, `b` and `c` as text with backticks; `none` for nothing.
pub(super) fn listed<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let quoted = items
        .into_iter()
        .map(|item| format!("`{}`", one_line(item)))
        .collect::<Vec<_>>();
    match quoted.is_empty() {
        true => "none".to_owned(),
        false => quoted.join(", "),
    }
}

#[cfg(test)]
mod tests;
