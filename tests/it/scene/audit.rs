//! What runs asked of the API server, from its audit log.

use super::*;

/// A request that a run of the program made, as the audit log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The home namespace of the ServiceAccount that asked.
    pub home: String,
    pub verb: String,
    pub group: String,
    pub resource: String,
    /// Empty for objects of the cluster, and for lists of all namespaces.
    pub namespace: String,
    pub name: String,
    /// The status of the answer.
    pub code: u64,
    /// `dryRun` in its URL.
    pub dry_run: bool,
    /// When it came.
    pub at: jiff::Timestamp,
}

impl Request {
    /// Whether it changed something.
    pub fn writes(&self) -> bool {
        !self.dry_run && !["get", "list", "watch"].contains(&self.verb.as_str())
    }
}

/// The requests of all runs by this suite's ServiceAccounts.
pub fn requests() -> Vec<Request> {
    let log = fs::read_to_string(state("audit_log")).expect("the audit log");
    log.lines()
        .filter(|line| line.contains("-home:kube-lego-once\"") && line.contains("\"ResponseComplete\""))
        .filter_map(|line| request(&serde_json::from_str(line).ok()?))
        .collect()
}

fn request(event: &Value) -> Option<Request> {
    let user = event["user"]["username"].as_str()?;
    let home = user
        .strip_prefix("system:serviceaccount:")?
        .strip_suffix(":kube-lego-once")?;
    let about = |key: &str| event["objectRef"][key].as_str().unwrap_or_default().to_owned();
    Some(Request {
        home: home.to_owned(),
        verb: event["verb"].as_str()?.to_owned(),
        group: about("apiGroup"),
        resource: about("resource"),
        namespace: about("namespace"),
        name: about("name"),
        code: event["responseStatus"]["code"].as_u64()?,
        at: event["requestReceivedTimestamp"].as_str()?.parse().ok()?,
        dry_run: event["requestURI"].as_str()?.contains("dryRun="),
    })
}
