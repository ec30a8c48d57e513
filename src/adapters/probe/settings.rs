//! What holds for every probe of a run.

use std::net::SocketAddr;
use std::time::Duration;

/// How a probe reaches a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProbeMode {
    /// As the CA would; by the Ingress's status only if the cluster cannot reach its own public address
    #[default]
    Auto,
    /// Resolve the name and connect as the CA would
    Public,
    /// Connect to an address in the Ingress's status
    Ingress,
}

/// What holds for every probe of a run.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// How a host is reached.
    pub mode: ProbeMode,
    /// The DNS server to ask; `None` means those of `/etc/resolv.conf`.
    pub resolver: Option<SocketAddr>,
    /// The port in place of 80, for the probe and its redirects (private CAs only).
    pub http_port: u16,
    /// The port in place of 443, for redirects.
    pub https_port: u16,
    /// Whether a name may resolve to an address of a private network: false with a public CA.
    pub allow_private: bool,
    /// By which names CAA records know the CA; without any, no CAA record is asked for.
    pub caa_identities: Vec<String>,
    /// The time that a route may take until it is proved.
    pub deadline: Duration,
}
