//! What a call is about, and what it does to it.

use kube::Resource;
use kube::core::Request;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    List,
    Create,
    Update,
    Patch,
    Delete,
}

impl Verb {
    /// The verb as RBAC has it, <https://kubernetes.io/docs/reference/access-authn-authz/authorization/>.
    pub(super) fn rbac(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// What a call is about: enough to ask for it, to name it in an error, and to say which right it needs.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) kind: String,
    plural: String,
    group: String,
    path: String,
    pub(super) namespace: Option<String>,
    name: Option<String>,
}

impl Target {
    pub(super) fn of<K: Resource<DynamicType = ()>>(namespace: Option<&str>, name: Option<&str>) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            plural: K::plural(&()).into_owned(),
            group: K::group(&()).into_owned(),
            path: K::url_path(&(), namespace),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        }
    }

    /// Of a kind that has no type here.
    pub(super) fn at(group: &str, version: &str, plural: &str, kind: &str, namespace: Option<&str>) -> Self {
        let within = namespace.map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
        Self {
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            group: group.to_owned(),
            path: format!("/apis/{group}/{version}{within}/{plural}"),
            namespace: namespace.map(str::to_owned),
            name: None,
        }
    }

    /// The same collection's object of this name.
    pub(super) fn named(&self, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..self.clone()
        }
    }

    pub(super) fn request(&self) -> Request {
        Request::new(self.path.clone())
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The resource as `kubectl auth can-i` takes it.
    pub(super) fn resource(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The kind in the plural, for sentences.
    pub(super) fn kinds(&self) -> String {
        match self.kind.as_str() {
            kind if kind.ends_with("ints") => kind.to_owned(),
            kind if kind.ends_with("ss") => format!("{kind}es"),
            kind => format!("{kind}s"),
        }
    }

    pub(super) fn object(&self) -> Option<String> {
        let name = self.name.as_deref()?;
        Some(match &self.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        })
    }
}
