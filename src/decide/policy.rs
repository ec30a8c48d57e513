//! What the operator decided beforehand.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::desired::ISSUER_ANNOTATIONS;
use super::directory::Directory;
use super::key_type::{KEY_TYPE, KeyType};
use super::observed::{Ingress, Pairs};
use super::route::CONTROLLERS;
use super::selection::Selection;

/// The opt-in annotation, unless a setting says another.
pub const TLS_ACME: &str = "kubernetes.io/tls-acme";

/// The settings that a plan is made by.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The CA; without one the checks that need it are skipped.
    pub directory: Option<Directory>,
    /// The profile of every order; none leaves the choice to the CA.
    pub profile: Option<String>,
    /// The annotation that opts an Ingress in.
    pub annotation: String,
    /// Renew with less left than this, instead of a share of the lifetime.
    pub minimum_validity: Option<SignedDuration>,
    /// Hosts that may be issued to several namespaces.
    pub shared_hosts: SharedHosts,
    /// Whether Secrets that carry no sign of ours may be overwritten.
    pub adopt: bool,
    /// Whether a host of one label may be ordered: private CAs sign such.
    pub single_label_hosts: bool,
    /// The time until the next run, for the CA's renewal windows.
    pub interval: SignedDuration,
    /// What is done; everything else still counts for unions and claims.
    pub selection: Selection,
    /// Whether what is selected is due in any case.
    pub force: bool,
    /// The most new orders of a run; none leaves it to what is known of the CA.
    pub max_orders: Option<usize>,
    /// Whether what the CA refused lately is tried all the same.
    pub retry_now: bool,
    /// The type of a new key, unless an Ingress asks for another.
    pub key_type: KeyType,
}

impl Policy {
    /// Takes away what no decision by this policy asks for: of what people write into annotations and labels, nearly all.
    pub fn strip(&self, ingress: &mut Ingress) {
        let of_controllers = CONTROLLERS
            .iter()
            .flat_map(|row| row.hosts.aliases.iter().chain(&row.hosts.www));
        let asked: Vec<&str> = of_controllers.chain(ISSUER_ANNOTATIONS).copied().collect();
        let is_asked = |name: &str| name == self.annotation || name == KEY_TYPE || asked.contains(&name);
        keep(&mut ingress.annotations, is_asked);
        if self.selection.labels.is_empty() {
            ingress.labels = Pairs::new();
        }
    }
}

/// Keeps what is asked for, in no more memory than that takes: of 10,000 Ingresses, spare capacity is the larger part.
fn keep(pairs: &mut Pairs, is_asked: impl Fn(&str) -> bool) {
    let mut kept = Pairs::with_capacity(pairs.keys().filter(|name| is_asked(name)).count());
    kept.extend(std::mem::take(pairs).into_iter().filter(|(name, _)| is_asked(name)));
    *pairs = kept;
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            directory: None,
            profile: None,
            annotation: TLS_ACME.into(),
            minimum_validity: None,
            shared_hosts: SharedHosts::default(),
            adopt: false,
            single_label_hosts: false,
            interval: SignedDuration::from_hours(24),
            selection: Selection::default(),
            force: false,
            max_orders: None,
            retry_now: false,
            key_type: KeyType::default(),
        }
    }
}

/// Which hosts may be issued to a namespace that does not own them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SharedHosts {
    /// None: a host belongs to the namespace of its oldest Ingress.
    #[default]
    None,
    /// These.
    Listed(BTreeSet<String>),
    /// All.
    All,
}

impl SharedHosts {
    /// Whether a host may be issued to any namespace that asks for it.
    pub fn contain(&self, host: &str) -> bool {
        match self {
            Self::None => false,
            Self::Listed(hosts) => hosts.contains(host),
            Self::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ingress, observed};
    use super::super::observed::Read;
    use super::super::plan::plan;
    use super::*;

    #[test]
    fn what_no_decision_asks_for_is_not_kept_and_changes_none() {
        let mut chatty = ingress("web", "a")
            .tls("a-tls", &["a.example"])
            .annotated("example.com/description", "a long story")
            .annotated("cert-manager.io/issuer", "i")
            .annotated("nginx.ingress.kubernetes.io/server-alias", "b.example")
            .annotated(KEY_TYPE, "rsa");
        chatty.labels.insert("app".into(), "shop".into());
        let by_label = Policy {
            selection: Selection {
                labels: "app=shop".parse().expect("a selector"),
                ..Selection::default()
            },
            ..Policy::default()
        };
        for policy in [Policy::default(), by_label] {
            let mut stripped = chatty.clone();
            policy.strip(&mut stripped);
            assert_eq!(stripped.annotations.len(), 4, "{stripped:?}");
            let decided = |ingress| {
                let plan = plan(&observed(vec![ingress], Read::Absent), &policy);
                let decisions = plan.decisions().into_iter();
                decisions
                    .map(|(verdict, decision)| (verdict, decision.message(plan.at).to_string()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(decided(stripped), decided(chatty.clone()));
        }
    }
}
