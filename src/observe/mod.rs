//! Brings together what a plan is made from: from a cluster and its CA, or from files (I1).

pub mod site;
mod suggestions;

use std::sync::Arc;

use jiff::Timestamp;

use crate::adapters::acme::Authority;
use crate::adapters::cluster::{Cluster, ClusterError, Scope};
use crate::adapters::manifests::Manifests;
use crate::decide::inspection::CertificateId;
use crate::decide::name::SecretRef;
use crate::decide::observed::{
    Gateway, Ingress, IngressClass, Observed, Read, RenewalWindow, Secret, Unseen, complete,
};
use crate::decide::plan::{renewal_information_wanted, secrets_wanted};
use crate::decide::policy::Policy;
use crate::observe::site::Site;

/// What dead runs left, and who holds the Lease: all that `clean` needs.
///
/// # Errors
/// Where any of it could not be read.
pub async fn leftovers(cluster: &Cluster, home: &str) -> anyhow::Result<Observed> {
    let mut observed = Observed::at(Timestamp::now());
    observed.leftovers = cluster.list_leftovers(home).await?;
    observed.lease_holder = match cluster.lease_holder(home).await {
        Read::Found(holder) => holder,
        Read::Absent => None,
        Read::Unknown(unread) => return Err((*unread).into()),
    };
    Ok(observed)
}

/// Everything. What a plan can do without becomes a note where it cannot be read; what it cannot do without is an error.
///
/// # Errors
/// Where the Ingresses, the leftovers or the Lease could not be read.
pub async fn of_cluster(site: &Site, policy: &Policy) -> anyhow::Result<Observed> {
    let Site {
        cluster,
        home,
        authority,
        suggestions,
        ..
    } = site;
    let mut observed = leftovers(cluster, home).await?;
    let (ingresses, classes, terminating, ledger) = futures::join!(
        ingresses(cluster, policy),
        cluster.list_classes(),
        cluster.list_terminating_namespaces(),
        cluster.read_ledger(home),
    );
    (observed.ingresses, observed.namespaces_unseen) = ingresses?;
    if observed.namespaces_unseen {
        let note =
            "only the named namespaces could be read: whether an older Ingress elsewhere has a host is not known";
        observed.notes.push(note.into());
    }
    add_gateways(cluster, policy, &mut observed).await?;
    observed.classes = classes.map_or_else(|error| Read::Unknown(error.unread()), Read::Found);
    if let Read::Unknown(why) = &observed.classes {
        observed
            .notes
            .push(format!("which controllers serve the classes is not known: {why}"));
    }
    match terminating {
        Ok(namespaces) => observed.terminating_namespaces = namespaces,
        Err(error) => observed
            .notes
            .push(format!("whether a namespace is being deleted is not known: {error}")),
    }
    if let Read::Unknown(why) = &ledger {
        observed.notes.push(format!("the ledger could not be read: {why}"));
    }
    observed.ledger = ledger;
    if let (Some(directory), Some(Ok(authority)), Some(ledger)) =
        (&policy.directory, authority, observed.ledger.found())
        && !ledger.attempts.is_empty()
    {
        // What one account was refused, another may have.
        let stored = cluster.read_account(home, directory).await;
        observed.account = stored.found().and_then(|stored| authority.account_url(stored));
    }
    observed.secrets = cluster.read_secrets(secrets_wanted(&observed, policy)).await;
    if let Some(Ok(authority)) = authority
        && authority.has_renewal_information()
    {
        let wanted = renewal_information_wanted(&observed, policy);
        let ask = async |id: &CertificateId| suggestion(authority, id).await;
        observed.renewal_windows = suggestions.windows(wanted, ask).await;
    }
    Ok(observed)
}

/// All Ingresses: unions and claims need them. Where only some namespaces are asked for and allowed, those, and that there may
/// be more.
async fn ingresses(cluster: &Cluster, policy: &Policy) -> Result<(Vec<Arc<Ingress>>, bool), ClusterError> {
    let namespaces = &policy.selection.namespaces;
    let strip = |ingress: &mut Ingress| policy.strip(ingress);
    match cluster.list_ingresses(&Scope::AllNamespaces, strip).await {
        Err(error) if error.is_forbidden() && !namespaces.is_empty() => {
            let some = cluster
                .list_ingresses(&Scope::Namespaces(namespaces.clone()), strip)
                .await?;
            Ok((some, true))
        }
        listed => Ok((listed?, false)),
    }
}

/// Gateways and ListenerSets; and HTTPRoutes, where one of these may want a certificate.
async fn add_gateways(cluster: &Cluster, policy: &Policy, observed: &mut Observed) -> Result<(), ClusterError> {
    let scope = match observed.namespaces_unseen {
        true => Scope::Namespaces(policy.selection.namespaces.clone()),
        false => Scope::AllNamespaces,
    };
    let found = cluster.list_gateways(&scope).await?;
    if let Some(why @ Unseen::Outdated) = &found.unseen {
        observed.notes.push(format!("Gateways are not looked at: {why}"));
    }
    (observed.gateways, observed.gateways_unseen) = (found.gateways, found.unseen);
    let annotated = |gateway: &Arc<Gateway>| gateway.annotations.contains_key(policy.annotation.as_str());
    if observed.gateways.iter().any(annotated) {
        observed.http_routes = cluster.list_http_routes(&scope).await?;
        match cluster.list_gateway_classes().await {
            Ok(classes) => observed.gateway_classes = classes,
            Err(error) => observed
                .notes
                .push(format!("which controllers serve the Gateways is not known: {error}")),
        }
    }
    Ok(())
}

/// An error means that the lifetime decides, and is no more than a debug line.
async fn suggestion(authority: &Authority, id: &CertificateId) -> Option<RenewalWindow> {
    let window = authority.renewal_window(id).await;
    window
        .inspect_err(|error| log::debug!("no renewal information for `{id}`: {error}"))
        .ok()
}

/// Files are the whole world: what is not in them is not there.
pub fn of_manifests(manifests: Manifests) -> Observed {
    let mut observed = Observed::at(Timestamp::now());
    observed.ingresses = manifests
        .ingresses
        .into_iter()
        .map(|ingress| Arc::new(ingress.into()))
        .collect();
    let mut gateways = manifests.gateways;
    complete(&mut gateways);
    observed.gateways = gateways.into_iter().map(Arc::new).collect();
    observed.gateway_classes = manifests.gateway_classes;
    observed.http_routes = manifests.http_routes;
    observed.retired = manifests.retired;
    observed.classes = Read::Found(manifests.classes.into_iter().map(IngressClass::from).collect());
    observed.notes = manifests.warnings;
    for secret in manifests.secrets {
        let namespace = secret.metadata.namespace.clone().unwrap_or_else(|| "default".into());
        let name = SecretRef::new(namespace, secret.metadata.name.clone().unwrap_or_default());
        observed.secrets.insert(name, Read::Found(Secret::from(secret).into()));
    }
    for namespace in manifests.namespaces {
        let deleting = namespace.metadata.deletion_timestamp.is_some()
            || namespace
                .status
                .and_then(|status| status.phase)
                .is_some_and(|phase| phase == "Terminating");
        observed
            .terminating_namespaces
            .extend(namespace.metadata.name.filter(|_| deleting));
    }
    observed
}
