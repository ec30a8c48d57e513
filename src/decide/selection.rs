//! Which certificates a run is about: namespaces, labels, names and classes. Pure choice; unions and claims do not look here.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::desired::{Certificate, Rejected};
use super::observed::Pairs;

/// What is selected. An empty set selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// `-n`.
    pub namespaces: BTreeSet<String>,
    /// `-l`.
    pub labels: LabelSelector,
    /// Names of Secrets or Ingresses.
    pub names: BTreeSet<String>,
    /// Ingress classes.
    pub classes: BTreeSet<String>,
}

impl Selection {
    /// Whether a certificate is meant: by its namespace, its own or a contributing Ingress's name, and for labels and classes
    /// by any contributing Ingress.
    pub fn selects(&self, certificate: &Certificate) -> bool {
        let contributions = &certificate.contributions;
        let named =
            |name: &str| certificate.secret.name == name || contributions.iter().any(|by| by.ingress.name == name);
        all_or(&self.namespaces, |namespace| certificate.secret.namespace == *namespace)
            && all_or(&self.names, |name| named(name))
            && all_or(&self.classes, |class| {
                contributions.iter().any(|by| by.class.as_str() == Some(class))
            })
            && (self.labels.is_empty() || contributions.iter().any(|by| self.labels.matches(&by.labels)))
    }

    /// Whether a namespace is meant.
    pub fn selects_namespace(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }

    /// Whether a rejected Ingress is meant.
    pub fn selects_rejected(&self, rejected: &Rejected) -> bool {
        all_or(&self.namespaces, |namespace| rejected.ingress.namespace == *namespace)
            && all_or(&self.names, |name| rejected.ingress.name == *name)
            && all_or(&self.classes, |class| rejected.class.as_str() == Some(class))
            && self.labels.matches(&rejected.labels)
    }

    /// The names that no certificate and no rejected Ingress of the named namespaces answers to.
    pub fn unmatched<'a>(
        &'a self,
        certificates: impl IntoIterator<Item = &'a Certificate> + Clone,
        rejected: &'a [Rejected],
    ) -> Vec<&'a str> {
        let known = |name: &str| {
            let here = |namespace: &str| all_or(&self.namespaces, |named| named == namespace);
            let mut wanted = certificates.clone().into_iter();
            wanted.any(|certificate| {
                here(&certificate.secret.namespace)
                    && (certificate.secret.name == name
                        || certificate.contributions.iter().any(|by| by.ingress.name == name))
            }) || rejected
                .iter()
                .any(|rejected| here(&rejected.ingress.namespace) && rejected.ingress.name == name)
        };
        self.names
            .iter()
            .map(String::as_str)
            .filter(|name| !known(name))
            .collect()
    }
}

fn all_or(set: &BTreeSet<String>, fits: impl Fn(&String) -> bool) -> bool {
    set.is_empty() || set.iter().any(fits)
}

/// A label selector as kubectl's `-l` takes it: requirements, all of which must hold
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl LabelSelector {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels meet all requirements. As in Kubernetes, `!=` and `notin` hold for a label that is not there.
    pub fn matches(&self, labels: &Pairs) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
        })
    }
}

impl FromStr for LabelSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        split_outside_parentheses(text)
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(requirement)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let set = |list: &str| -> Option<Vec<String>> {
        let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        list.split(',').map(|value| part(value).ok()).collect()
    };
    let malformed =
        || format!("`{text}` is no label requirement such as `app=web`, `app!=web`, `app in (a,b)`, `app` or `!app`");
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(
            key_of(key).ok_or_else(malformed)?,
            vec![part(value)?],
        ));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key_of(key).ok_or_else(malformed)?, vec![part(value)?]));
    }
    if let Some((key, list)) = text
        .split_once(" notin ")
        .or_else(|| text.split_once(" notin(").map(|_| split_at(text, " notin")))
    {
        return Ok(Requirement::NotIn(
            key_of(key).ok_or_else(malformed)?,
            set(list).ok_or_else(malformed)?,
        ));
    }
    if let Some((key, list)) = text
        .split_once(" in ")
        .or_else(|| text.split_once(" in(").map(|_| split_at(text, " in")))
    {
        return Ok(Requirement::In(
            key_of(key).ok_or_else(malformed)?,
            set(list).ok_or_else(malformed)?,
        ));
    }
    match text.strip_prefix('!') {
        Some(key) => Ok(Requirement::Absent(key_of(key).ok_or_else(malformed)?)),
        None => Ok(Requirement::Exists(key_of(text).ok_or_else(malformed)?)),
    }
}

fn split_at<'a>(text: &'a str, word: &str) -> (&'a str, &'a str) {
    text.split_once(word).unwrap_or((text, ""))
}

/// A label's key: an optional prefix with `/`, then a name.
fn key_of(text: &str) -> Option<String> {
    let text = text.trim();
    let letter = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!text.is_empty() && text.chars().all(letter)).then(|| text.to_owned())
}

/// A label's value; it may be empty.
fn part(text: &str) -> Result<String, String> {
    let text = text.trim();
    let letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.chars().all(letter) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no label value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_kubectls_do() {
        let labels: Pairs = [("app", "web"), ("tier.example/name", "front"), ("empty", "")]
            .map(|(k, v)| (k.into(), v.into()))
            .into_iter()
            .collect();
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web", true),
            ("app=db", false),
            ("app!=db", true),
            ("other!=db", true),
            ("app!=web", false),
            ("app in (db, web)", true),
            ("app in (db)", false),
            ("app notin (db),tier.example/name=front", true),
            ("app notin (web)", false),
            ("other notin (web)", true),
            ("app", true),
            ("other", false),
            ("!other", true),
            ("!app", false),
            ("empty=", true),
        ] {
            let parsed: LabelSelector = selector.parse().expect(selector);
            assert_eq!(parsed.matches(&labels), expected, "{selector}");
        }
        for malformed in ["=web", "app in web", "app in (a", "a b", "app=w b", "!"] {
            assert!(malformed.parse::<LabelSelector>().is_err(), "{malformed}");
        }
    }
}
