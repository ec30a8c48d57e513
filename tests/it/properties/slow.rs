//! Answers that the program computes, found a slow and simple way.

use std::collections::BTreeSet;
use std::sync::Arc;

use compact_str::CompactString;

use kube_lego_once::decide::name::{ClassName, DnsName};
use kube_lego_once::decide::observed::{Ingress, Observed};
use kube_lego_once::decide::route::{Deeper, class_object};

/// The rule hosts of a class, and `""` for rules without one, of Ingresses that are there to stay.
pub(super) fn rules_of<'a>(class: &ClassName, observed: &'a Observed) -> BTreeSet<&'a str> {
    let name = |class: &ClassName| {
        let classes = observed.classes.found().expect("classes");
        class_object(class, classes).map_or(class.as_str().map(str::to_owned), |object| Some(object.name.clone()))
    };
    let here = |ingress: &&Arc<Ingress>| !ingress.deleting && name(&ingress.class) == name(class);
    let ingresses = observed.ingresses.iter().filter(here);
    let mut rules: BTreeSet<&str> = BTreeSet::new();
    for ingress in ingresses {
        rules.extend(ingress.rule_hosts.iter().map(CompactString::as_str));
        rules.extend(ingress.serves_any_host.then_some(""));
    }
    rules
}

/// The rule that a request goes to, found the slow way.
pub(super) fn served_by<'a>(host: &str, rules: &BTreeSet<&'a str>, deeper: Deeper) -> Option<&'a str> {
    let depth = |rule: &str| {
        let before = host.strip_suffix(rule.strip_prefix('*')?)?;
        Some(before.split('.').count())
    };
    let one = |rule: &&&str| **rule == host || depth(rule) == Some(1);
    let named = rules.iter().filter(one).max_by_key(|rule| **rule == host);
    let below = rules.iter().filter(|rule| depth(rule).is_some_and(|depth| depth > 1));
    let below = below.min_by_key(|rule| depth(rule));
    match (named, below, deeper) {
        (Some(rule), _, _) => Some(rule),
        (None, Some(rule), Deeper::Served) => Some(rule),
        (None, Some(_), Deeper::Caught) => None,
        _ => rules.get("").copied(),
    }
}

/// The namespaces that own a host, found the slow way: of all Ingresses that are there to stay and name it, the oldest one's.
pub(super) fn owner<'a>(host: &DnsName, observed: &'a Observed) -> Option<&'a str> {
    let names = |ingress: &&Arc<Ingress>| {
        let mut all = ingress.tls.iter().flat_map(|tls| &tls.hosts).chain(&ingress.rule_hosts);
        !ingress.deleting && all.any(|name| name == host.as_str())
    };
    let age = |ingress: &&Arc<Ingress>| {
        (
            ingress.created.is_none(),
            ingress.created,
            ingress.name.namespace.clone(),
            ingress.name.name.clone(),
        )
    };
    observed
        .ingresses
        .iter()
        .filter(names)
        .min_by_key(age)
        .map(|ingress| ingress.name.namespace.as_str())
}
