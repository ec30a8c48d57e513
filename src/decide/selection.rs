//! Which certificates a run is about: namespaces, labels, names and classes. Pure choice; unions and claims do not look here.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::desired::{Certificate, Rejected};
use super::name::{SourceKind, SourceRef};
use super::observed::{IngressClass, Pairs};
use super::route::class_name;

/// What is selected. An empty set selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// `-n`.
    pub namespaces: BTreeSet<String>,
    /// `-l`.
    pub labels: LabelSelector,
    /// Names of Secrets, or of Ingresses, Gateways and ListenerSets.
    pub names: BTreeSet<ObjectName>,
    /// Ingress classes.
    pub classes: BTreeSet<String>,
}

impl Selection {
    /// Whether a certificate is meant: by its namespace, its own or a contributing Ingress's name, and for labels and classes
    /// by any contributing Ingress.
    pub fn selects(&self, certificate: &Certificate, classes: &[IngressClass]) -> bool {
        let contributions = &certificate.contributions;
        all_or(&self.namespaces, |namespace| certificate.secret.namespace == *namespace)
            && all_or(&self.names, |name| name.is_of(certificate))
            && all_or(&self.classes, |class| {
                contributions
                    .iter()
                    .any(|by| class_name(&by.source.class(), classes) == Some(class))
            })
            && (self.labels.is_empty() || contributions.iter().any(|by| self.labels.matches(by.source.labels())))
    }

    /// Whether a namespace is meant.
    pub fn selects_namespace(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }

    /// Whether a rejected Ingress is meant.
    pub fn selects_rejected(&self, rejected: &Rejected, classes: &[IngressClass]) -> bool {
        all_or(&self.namespaces, |namespace| rejected.source.namespace == *namespace)
            && all_or(&self.names, |name| name.is_of_source(&rejected.source))
            && all_or(&self.classes, |class| {
                class_name(&rejected.class, classes) == Some(class)
            })
            && self.labels.matches(&rejected.labels)
    }

    /// The names that no certificate and no rejected Ingress of the named namespaces answers to.
    pub fn unmatched<'a>(
        &'a self,
        certificates: impl IntoIterator<Item = &'a Certificate> + Clone,
        rejected: &'a [Rejected],
    ) -> Vec<&'a ObjectName> {
        let known = |name: &ObjectName| {
            let here = |namespace: &str| all_or(&self.namespaces, |named| named == namespace);
            let mut wanted = certificates.clone().into_iter();
            wanted.any(|certificate| here(&certificate.secret.namespace) && name.is_of(certificate))
                || rejected
                    .iter()
                    .any(|rejected| here(&rejected.source.namespace) && name.is_of_source(&rejected.source))
        };
        self.names.iter().filter(|name| !known(name)).collect()
    }
}

/// The name of a Secret or of what wants one, perhaps with its kind, as kubectl takes it: `NAME`, `secret/NAME`, `ingress/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    kind: Option<Kind>,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Secret,
    Source(SourceKind),
}

impl ObjectName {
    /// Whether it may be the name of a Gateway or a ListenerSet, or, for `true`, is one.
    pub fn is_of_gateway(&self) -> Option<bool> {
        let kind = self.kind?;
        Some(!matches!(kind, Kind::Secret | Kind::Source(SourceKind::Ingress)))
    }

    fn is_of(&self, certificate: &Certificate) -> bool {
        let secret = matches!(self.kind, None | Some(Kind::Secret)) && certificate.secret.name == self.name;
        secret
            || certificate
                .contributions
                .iter()
                .any(|by| self.is_of_source(&by.source.place()))
    }

    fn is_of_source(&self, source: &SourceRef) -> bool {
        let kind_fits = match self.kind {
            None => true,
            Some(Kind::Source(kind)) => kind == source.kind,
            Some(Kind::Secret) => false,
        };
        kind_fits && source.name == self.name
    }
}

impl FromStr for ObjectName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            None => (None, text),
            Some((kind, name)) => {
                // The forms that kubectl takes and prints: singular, plural, short, and with the API group.
                let kind = match kind {
                    "secret" | "secrets" => Kind::Secret,
                    "ingress" | "ingresses" | "ing" | "ingress.networking.k8s.io" | "ingresses.networking.k8s.io" => {
                        Kind::Source(SourceKind::Ingress)
                    }
                    other => Kind::Source(of_gateway(other).ok_or_else(|| {
                        format!("`{other}` is none of `secret`, `ingress`, `gateway` and `listenerset`")
                    })?),
                };
                (Some(kind), name)
            }
        };
        match name.is_empty() || name.contains('/') {
            true => Err("a name is `NAME`, `secret/NAME`, `ingress/NAME`, `gateway/NAME` or `listenerset/NAME`".into()),
            false => Ok(Self {
                kind,
                name: name.to_owned(),
            }),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            None => "",
            Some(Kind::Secret) => "secret/",
            Some(Kind::Source(kind)) => kind.word(),
        })?;
        if matches!(self.kind, Some(Kind::Source(_))) {
            f.write_str("/")?;
        }
        f.write_str(&self.name)
    }
}

fn of_gateway(kind: &str) -> Option<SourceKind> {
    match kind.strip_suffix(".gateway.networking.k8s.io").unwrap_or(kind) {
        "gateway" | "gateways" | "gtw" => Some(SourceKind::Gateway),
        "listenerset" | "listenersets" | "lset" => Some(SourceKind::ListenerSet),
        "xlistenerset" | "xlistenersets" | "xlistenersets.gateway.networking.x-k8s.io" => {
            Some(SourceKind::XListenerSet)
        }
        _ => None,
    }
}

fn all_or<T>(set: &BTreeSet<T>, fits: impl Fn(&T) -> bool) -> bool {
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
            Requirement::In(key, values) => labels
                .get(key.as_str())
                .is_some_and(|value| values.iter().any(|one| one == value)),
            Requirement::NotIn(key, values) => labels
                .get(key.as_str())
                .is_none_or(|value| !values.iter().any(|one| one == value)),
            Requirement::Exists(key) => labels.contains_key(key.as_str()),
            Requirement::Absent(key) => !labels.contains_key(key.as_str()),
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
    use super::super::desired::desired;
    use super::super::fixtures::ingress;
    use super::super::name::ClassName;
    use super::super::policy::TLS_ACME;
    use super::*;

    #[test]
    fn a_name_may_say_its_kind_as_kubectl_does() {
        let plan = |name: &str| {
            let ingresses = [
                ingress("web", "shop").tls("shop-tls", &["a.example"]).into(),
                ingress("web", "shop-tls").tls("other", &["b.example"]).into(),
            ];
            let certificates = desired(&ingresses, &[], TLS_ACME).certificates;
            let names = BTreeSet::from([name.parse().expect("a name")]);
            let selection = Selection {
                names,
                ..Selection::default()
            };
            let selected = certificates.iter().filter(|it| selection.selects(it, &[]));
            selected.map(|it| it.secret.name.clone()).collect::<Vec<_>>()
        };
        for (name, expected) in [
            ("shop-tls", &["other", "shop-tls"] as &[&str]),
            ("secret/shop-tls", &["shop-tls"]),
            ("secrets/shop-tls", &["shop-tls"]),
            ("ingress/shop-tls", &["other"]),
            ("ing/shop", &["shop-tls"]),
            ("ingress.networking.k8s.io/shop", &["shop-tls"]),
            ("secret/shop", &[]),
        ] {
            assert_eq!(plan(name), expected, "{name}");
        }
        for (text, words) in [
            ("pod/shop", "`pod` is none of `secret`, `ingress`"),
            ("secret/", "a name is `NAME`"),
            ("secret/a/b", "a name is `NAME`"),
            ("", "a name is `NAME`"),
        ] {
            let error = text.parse::<ObjectName>().expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_class_selects_what_gets_it_by_default() {
        let class = |name: &str, is_default| IngressClass {
            name: name.into(),
            controller: "example.com/c".into(),
            is_default,
        };
        let classes = [class("contour", true), class("other", false)];
        let selects = |selected: &str, of: ClassName, classes: &[IngressClass]| {
            let ingresses = [ingress("web", "a").tls("a-tls", &["a.example"]).class(of).into()];
            let certificate = &desired(&ingresses, &[], TLS_ACME).certificates[0];
            let classes_selected = BTreeSet::from([selected.to_owned()]);
            let selection = Selection {
                classes: classes_selected,
                ..Selection::default()
            };
            selection.selects(certificate, classes)
        };
        for (selected, of, known, expected) in [
            ("contour", ClassName::Default, &classes[..], true),
            ("other", ClassName::Default, &classes, false),
            ("contour", ClassName::Default, &[], false),
            ("contour", ClassName::Spec("contour".into()), &[], true),
            ("contour", ClassName::Annotation("contour".into()), &classes, true),
            ("contour", ClassName::Spec("other".into()), &classes, false),
        ] {
            assert_eq!(selects(selected, of.clone(), known), expected, "{selected} {of}");
        }
    }

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
