//! Why a route was not proved: one sentence, a stable word, and what a person can do.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::StatusCode;

use crate::decide::caa::CaaRefusal;
use crate::decide::name::{DnsName, RUN_LABEL, RunId};
use crate::decide::route::RUN_HEADER;

/// What a redirect leads to that was asked before. Who answers keeps no state, so it would say the same again.
pub(super) const CIRCLE: &str = "which was asked before: the redirects go in a circle";

/// Where a wrong answer came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// No run's header, and not the right text.
    Stranger,
    /// The right text, but no run's header.
    Unnamed,
    /// Another run's header.
    OtherRun(String),
    /// This run's header, but not the right text.
    ThisRun,
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger => write!(f, "without the header `{RUN_HEADER}`, so from another server"),
            Self::Unnamed => write!(f, "with the right text but without the header `{RUN_HEADER}`"),
            Self::OtherRun(run) => write!(f, "from another run, `{run}`"),
            Self::ThisRun => f.write_str("from this run but with another text"),
        }
    }
}

/// What was seen last of a route that was not proved, as one sentence for the person on call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ProbeFailure {
    /// The name does not exist.
    #[error("`{host}` does not exist in DNS (NXDOMAIN)")]
    NameMissing { host: DnsName },
    /// The name exists and has no address.
    #[error("`{host}` has neither an A nor an AAAA record in DNS")]
    AddressMissing { host: DnsName },
    /// DNS gave no answer.
    #[error("`{host}` cannot be resolved: {cause}")]
    ResolveFailed { host: DnsName, cause: String },
    /// Only addresses that a public CA cannot reach.
    #[error("`{host}` resolves to {class} address `{address}`, which a public CA cannot reach")]
    PrivateAddress {
        host: DnsName,
        address: IpAddr,
        class: &'static str,
    },
    /// The ingress way was chosen, and the status has no address.
    #[error("no Ingress of `{host}` has a usable address in its status")]
    StatusMissing { host: DnsName },
    /// No address accepted a connection.
    #[error("cannot connect for `{url}`: {cause}")]
    ConnectFailed {
        url: String,
        addresses: Vec<IpAddr>,
        redirects: usize,
        cause: String,
    },
    /// The connection was accepted, and no HTTP answer came.
    #[error("`{url}` at `{address}` gave no answer: {cause}")]
    NoAnswer {
        url: String,
        address: SocketAddr,
        cause: String,
    },
    /// An HTTP answer, but not this run's.
    #[error("`{url}` at `{address}` answered `{status}` {speaker}")]
    WrongAnswer {
        url: String,
        address: SocketAddr,
        status: StatusCode,
        speaker: Speaker,
    },
    /// A redirect that CAs do not follow.
    #[error("`{url}` at `{address}` redirects to `{location}`, {problem}")]
    BadRedirect {
        url: String,
        address: SocketAddr,
        location: String,
        problem: &'static str,
    },
    /// A CAA record of the host, or of a name above it, does not let the CA sign.
    #[error("`{host}`: {refusal}")]
    Forbidden { host: DnsName, refusal: Box<CaaRefusal> },
    /// No failure was seen before the time was over.
    #[error("`{host}` gave {answers} good answers in a row within {} s, and {needed} are needed", deadline.as_secs())]
    TooSlow {
        host: DnsName,
        answers: u32,
        needed: u32,
        deadline: Duration,
    },
}

/// What leads from a controller to the run: an Ingress, or an HTTPRoute of a Gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChallengeObject<'a> {
    /// Whether it is an HTTPRoute.
    pub of_gateway: bool,
    /// Its name.
    pub name: &'a str,
}

impl ProbeFailure {
    /// The stable word for this failure.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NameMissing { .. } => "NameMissing",
            Self::AddressMissing { .. } => "AddressMissing",
            Self::ResolveFailed { .. } => "ResolveFailed",
            Self::PrivateAddress { .. } => "PrivateAddress",
            Self::StatusMissing { .. } => "StatusMissing",
            Self::ConnectFailed { .. } => "ConnectFailed",
            Self::NoAnswer { .. } => "NoAnswer",
            Self::WrongAnswer { .. } => "WrongAnswer",
            Self::BadRedirect { .. } => "BadRedirect",
            Self::Forbidden { .. } => "Forbidden",
            Self::TooSlow { .. } => "TooSlow",
        }
    }

    /// What a person can do about it. `object` is that by which the question was to come.
    pub fn hint(&self, object: ChallengeObject<'_>) -> Option<String> {
        let text = match self {
            Self::NameMissing { host } | Self::AddressMissing { host } => {
                return Some(format!(
                    "create an A or AAAA record for `{host}` that points at the ingress controller"
                ));
            }
            Self::ResolveFailed { .. } => "give a DNS server that can be reached with `--resolver`",
            Self::PrivateAddress { .. } => {
                "with split DNS, give a server that knows the public address with `--resolver`; a host without a public address needs a private CA"
            }
            Self::StatusMissing { .. } => {
                "does a controller serve the Ingress's class, and does it publish its address? `--probe public` asks DNS instead"
            }
            Self::ConnectFailed { .. } => {
                "CAs connect to port 80: does the name point at the ingress controller, and does every firewall let port 80 through?"
            }
            Self::WrongAnswer { status, speaker, .. } => return Some(answer_hint(*status, speaker, object)),
            Self::BadRedirect { problem, .. } if *problem == CIRCLE => {
                "the usual cause: a proxy takes the request by https and passes it on by http, so the server behind it redirects to https each time. That server must not redirect paths under `/.well-known/acme-challenge/`"
            }
            Self::BadRedirect { .. } => {
                "best, do not redirect paths under `/.well-known/acme-challenge/`; CAs follow redirects to http or https only, on port 80 or 443"
            }
            Self::Forbidden { refusal, .. } => return Some(refusal.hint()),
            Self::NoAnswer { .. } | Self::TooSlow { .. } => {
                "if the controller or the resolver is slow, give it more time with `--probe-timeout`"
            }
        };
        Some(text.to_owned())
    }

    /// Where nobody answered, or somebody who knows nothing of the challenge: what class, status and DNS say may tell why. A refusal
    /// or a gateway's error tells more by itself.
    pub fn reached(&self) -> Option<Vec<IpAddr>> {
        match self {
            Self::ConnectFailed { addresses, .. } => Some(addresses.clone()),
            Self::NoAnswer { address, .. } => Some(vec![address.ip()]),
            Self::WrongAnswer {
                address,
                status,
                speaker: Speaker::Stranger,
                ..
            } if !matches!(status.as_u16(), 401 | 403 | 502..=504) => Some(vec![address.ip()]),
            Self::StatusMissing { .. } => Some(Vec::new()),
            _ => None,
        }
    }

    /// The addresses of the host, of which none took a connection.
    pub fn unconnected(&self) -> Option<&[IpAddr]> {
        match self {
            Self::ConnectFailed {
                addresses,
                redirects: 0,
                ..
            } => Some(addresses),
            _ => None,
        }
    }

    /// Whether waiting does not help: what DNS and a status say of the probed host does not change within a minute. For
    /// another host it may help: a redirect led there, and it may go away when the controller takes up the route.
    pub(super) fn is_lasting(&self, probed: &DnsName) -> bool {
        match self {
            Self::NameMissing { host }
            | Self::AddressMissing { host }
            | Self::PrivateAddress { host, .. }
            | Self::StatusMissing { host } => host == probed,
            _ => false,
        }
    }
}

fn answer_hint(status: StatusCode, speaker: &Speaker, object: ChallengeObject<'_>) -> String {
    let words = match (speaker, status.as_u16()) {
        (Speaker::OtherRun(run), _) => {
            let answer = "two runs at once, or two installations, answer for this host";
            // A header may say anything.
            return match run.parse::<RunId>() {
                Ok(run) => format!(
                    "{answer}: `kubectl get ingress,service -A -l {RUN_LABEL}={run}` shows the objects of the other"
                ),
                Err(_) => answer.to_owned(),
            };
        }
        (Speaker::Unnamed, _) => "a proxy in front of the controller removes the header, or answers from a cache",
        (Speaker::ThisRun, _) => "something in front of the controller changes the text of the answer",
        (Speaker::Stranger, 401 | 403) => {
            "something in front of the challenge responder forbids it: exempt `/.well-known/acme-challenge/` from authentication and address lists"
        }
        (Speaker::Stranger, 502..=504) => {
            "the controller cannot reach the challenge responder: is there a network policy or, with `--advertise-address`, a firewall?"
        }
        (Speaker::Stranger, _) => {
            let (of, kind) = match object.of_gateway {
                true => ("Gateway", "HTTPRoute"),
                false => ("Ingress", "Ingress"),
            };
            return format!(
                "does the name point at this cluster, and does a controller serve the {of}'s class? its log says whether it took up the challenge {kind} `{}`",
                object.name
            );
        }
    };
    words.to_owned()
}
