//! A document's value -> an object of a kind that plans are made from.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::ManifestError;
use crate::decide::name::SourceKind;
use crate::decide::observed::{
    Gateway, GatewayClass, GatewayClassObject, GatewayObject, HttpRoute, HttpRouteObject, Ingress, RetiredIngress,
};

/// As lenient as the API server, which is Go: bits that no byte needs do not matter.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// An object that a plan is made from.
pub(super) enum Object {
    Ingress(Box<networking::Ingress>),
    Gateway(Box<Gateway>),
    HttpRoute(Box<HttpRoute>),
    GatewayClass(Box<GatewayClass>),
    Retired(Box<RetiredIngress>),
    Secret(Box<core::Secret>),
    Class(Box<networking::IngressClass>),
    Namespace(Box<core::Namespace>),
}

/// What makes two objects two versions of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} `{namespace}/{}`", self.kind, self.name),
            None => write!(f, "{} `{}`", self.kind, self.name),
        }
    }
}

/// What is wrong with an object.
pub(super) struct Problem {
    object: Option<String>,
    what: String,
    hint: Option<&'static str>,
}

impl Problem {
    fn new(what: impl Into<String>) -> Self {
        Self {
            object: None,
            what: what.into(),
            hint: None,
        }
    }

    fn with_hint(self, hint: &'static str) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }

    fn of(self, object: String) -> Self {
        Self {
            object: Some(object),
            ..self
        }
    }

    pub(super) fn at(self, place: &str) -> ManifestError {
        ManifestError::Object {
            place: match self.object {
                Some(object) => format!("{place}, {object}"),
                None => place.to_owned(),
            },
            what: self.what,
            hint: self.hint,
        }
    }
}

/// `apiVersion` and `kind`.
pub(super) struct Type {
    version: String,
    kind: String,
}

impl Type {
    /// Where it is a list of what plans are made from, or a `v1` `List`: what its items are that do not say it themselves.
    #[allow(clippy::option_option, reason = "no list, a list of anything, a list of one kind")]
    pub(super) fn item(&self) -> Option<Option<Self>> {
        match (self.version.as_str(), self.kind.as_str()) {
            ("v1", "List") => Some(None),
            (_, "IngressList" | "IngressClassList" | "SecretList" | "NamespaceList") => Some(Some(Self {
                version: self.version.clone(),
                kind: self.kind.trim_end_matches("List").to_owned(),
            })),
            _ => None,
        }
    }

    /// A kind of ours by a version that is nobody's. Other groups may have kinds of the same name.
    pub(super) fn warning(&self) -> Option<String> {
        let group = self.version.rsplit_once('/').map_or("", |(group, _)| group);
        let ours = ["Ingress", "IngressClass", "Secret", "Namespace"].contains(&self.kind.as_str());
        let foreign = group.contains('.') && group != "networking.k8s.io";
        let known = matches!(
            (self.version.as_str(), self.kind.as_str()),
            ("v1", "Secret" | "Namespace")
                | ("networking.k8s.io/v1", "Ingress" | "IngressClass")
                | ("networking.k8s.io/v1beta1" | "extensions/v1beta1", "Ingress")
        );
        (ours && !foreign && !known).then(|| format!("no cluster has a `{}` in `{}`", self.kind, self.version))
    }
}

/// Whether a document says what it is.
pub(super) fn has_kind(value: &Value) -> bool {
    !matches!(value.get("kind"), None | Some(Value::Null)) && value.get("kind") != Some(&"".into())
}

pub(super) fn type_of(value: &Value, default: Option<&Type>) -> Result<Type, Problem> {
    if !value.is_object() {
        return Err(Problem::new(format!(
            "it is {}, and must be an object with `apiVersion` and `kind`",
            kind_of(value)
        )));
    }
    let text = |key: &str, default: Option<&String>| match value.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        None | Some(Value::Null | Value::String(_)) => default
            .cloned()
            .ok_or_else(|| Problem::new(format!("it has no `{key}`, so it is no Kubernetes object"))),
        Some(other) => Err(Problem::new(format!("`{key}` must be a text, not {}", kind_of(other)))),
    };
    Ok(Type {
        kind: text("kind", default.map(|default| &default.kind))?,
        version: text("apiVersion", default.map(|default| &default.version))?,
    })
}

pub(super) fn items(mut list: Value) -> Result<Vec<Value>, Problem> {
    match list.get_mut("items").map(Value::take) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(Problem::new(format!("`items` must be a list, not {}", kind_of(&other)))),
    }
}

/// Reads an object of a kind that plans are made from; nothing of another kind.
pub(super) fn parse(type_: &Type, mut value: Value) -> Result<Option<(Identity, Object)>, Problem> {
    let (kind, namespaced) = match (type_.version.as_str(), type_.kind.as_str()) {
        ("networking.k8s.io/v1" | "networking.k8s.io/v1beta1" | "extensions/v1beta1", "Ingress") => ("Ingress", true),
        ("gateway.networking.k8s.io/v1", "Gateway") => (SourceKind::Gateway.kind(), true),
        ("gateway.networking.k8s.io/v1", "ListenerSet") => (SourceKind::ListenerSet.kind(), true),
        ("gateway.networking.x-k8s.io/v1alpha1", "XListenerSet") => (SourceKind::XListenerSet.kind(), true),
        ("gateway.networking.k8s.io/v1", "HTTPRoute") => ("HTTPRoute", true),
        ("gateway.networking.k8s.io/v1", "GatewayClass") => ("GatewayClass", false),
        ("v1", "Secret") => ("Secret", true),
        ("networking.k8s.io/v1", "IngressClass") => ("IngressClass", false),
        ("v1", "Namespace") => ("Namespace", false),
        _ => return Ok(None),
    };
    // What an item of a list took from the list, the type's own reader wants to see.
    value["apiVersion"] = type_.version.clone().into();
    value["kind"] = type_.kind.clone().into();
    let identity = identity(kind, namespaced, &value)?;
    let object = match (kind, type_.version.as_str()) {
        ("Ingress", "networking.k8s.io/v1") => read(value).map(|ingress| Object::Ingress(Box::new(ingress))),
        ("Gateway", _) => gateway(SourceKind::Gateway, value),
        ("ListenerSet", _) => gateway(SourceKind::ListenerSet, value),
        ("XListenerSet", _) => gateway(SourceKind::XListenerSet, value),
        ("HTTPRoute", _) => read(value).map(|route: HttpRouteObject| Object::HttpRoute(Box::new(route.into()))),
        ("GatewayClass", _) => {
            read(value).map(|class: GatewayClassObject| Object::GatewayClass(Box::new(class.into())))
        }
        ("Ingress", version) => retired(version, &mut value).map(|ingress| Object::Retired(Box::new(ingress))),
        ("Secret", _) => secret(value).map(|secret| Object::Secret(Box::new(secret))),
        ("IngressClass", _) => read(value).map(|class| Object::Class(Box::new(class))),
        _ => read(value).map(|namespace| Object::Namespace(Box::new(namespace))),
    };
    match object {
        Ok(object) => Ok(Some((identity, object))),
        Err(problem) => Err(problem.of(identity.to_string())),
    }
}

fn gateway(kind: SourceKind, value: Value) -> Result<Object, Problem> {
    read(value).map(|object: GatewayObject| Object::Gateway(Box::new(object.into_gateway(kind))))
}

fn identity(kind: &'static str, namespaced: bool, value: &Value) -> Result<Identity, Problem> {
    let text = |key: &str| match value.get("metadata").and_then(|metadata| metadata.get(key)) {
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        None | Some(Value::Null | Value::String(_)) => Ok(None),
        Some(other) => Err(
            Problem::new(format!("`metadata.{key}` must be a text, not {}", kind_of(other)))
                .with_hint("put it in quotes")
                .of(kind.to_owned()),
        ),
    };
    let name = text("name")?.ok_or_else(|| Problem::new("it has no `metadata.name`").of(kind.to_owned()))?;
    let namespace = text("namespace")?.unwrap_or_else(|| "default".into());
    Ok(Identity {
        kind,
        namespace: namespaced.then_some(namespace),
        name,
    })
}

/// Of a version that no cluster serves only what names it is read: its fields meant other things.
fn retired(version: &str, value: &mut Value) -> Result<RetiredIngress, Problem> {
    let class = value
        .get("spec")
        .and_then(|spec| spec.get("ingressClassName"))
        .and_then(Value::as_str)
        .map(str::to_owned);
    let metadata: ObjectMeta = value
        .get_mut("metadata")
        .map_or(Ok(ObjectMeta::default()), |metadata| {
            read_below("metadata", metadata.take())
        })?;
    let ingress = Ingress::from(networking::Ingress {
        metadata,
        spec: Some(networking::IngressSpec {
            ingress_class_name: class,
            ..networking::IngressSpec::default()
        }),
        status: None,
    });
    Ok(RetiredIngress {
        name: ingress.name,
        version: version.to_owned(),
        labels: ingress.labels,
        class: ingress.class,
    })
}

/// Values go apart from the rest, so that no reader can quote one. `stringData` wins over `data`, as in the API server.
fn secret(mut value: Value) -> Result<core::Secret, Problem> {
    let data = mapping(&mut value, "data")?;
    let string_data = mapping(&mut value, "stringData")?;
    let mut secret: core::Secret = read(value)?;
    let all = secret.data.get_or_insert_default();
    for (key, value) in data {
        let bytes = match value {
            Value::Null => Vec::new(),
            Value::String(text) => decode(&text).ok_or_else(|| {
                Problem::new(format!("`data{}` is no base64", bracketed(&key)))
                    .with_hint("plain text goes into `stringData`")
            })?,
            other => {
                return Err(wrong_kind(
                    &format!("data{}", bracketed(&key)),
                    "a text in base64",
                    &other,
                ));
            }
        };
        all.insert(key, ByteString(bytes));
    }
    for (key, value) in string_data {
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => return Err(wrong_kind(&format!("stringData{}", bracketed(&key)), "a text", &other)),
        };
        all.insert(key, ByteString(text.into_bytes()));
    }
    Ok(secret)
}

fn mapping(value: &mut Value, key: &str) -> Result<Map<String, Value>, Problem> {
    match value.get_mut(key).map(Value::take) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(other) => Err(wrong_kind(key, "a mapping", &other)),
    }
}

/// Go skips line breaks in base64, which a block of YAML ends with.
fn decode(text: &str) -> Option<Vec<u8>> {
    let letters: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    BASE64.decode(letters).ok()
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| wrong_field("", &error))
}

fn read_below<T: DeserializeOwned>(parent: &str, value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| wrong_field(parent, &error))
}

/// The readers' own messages quote what they found; only the kinds of what was found and wanted are taken from them.
fn wrong_field(parent: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let mut path = parent.to_owned();
    for segment in error.path().iter() {
        match segment {
            Segment::Seq { index } => path.push_str(&format!("[{index}]")),
            Segment::Map { key } | Segment::Enum { variant: key } if key.contains(['.', '/']) => {
                path.push_str(&bracketed(key));
            }
            Segment::Map { key } | Segment::Enum { variant: key } => {
                let dot = if path.is_empty() { "" } else { "." };
                path.push_str(dot);
                path.push_str(key);
            }
            Segment::Unknown => {}
        }
    }
    let message = error.inner().to_string();
    let kinds = message
        .strip_prefix("invalid type: ")
        .and_then(|kinds| Some((kinds, kinds.rsplit_once(", expected ")?.1)));
    let Some((found, wanted)) = kinds else {
        let what = if path.ends_with("Timestamp") {
            "is no time such as `2026-12-24T00:00:00Z`"
        } else {
            "has a value that it cannot have"
        };
        return Problem::new(format!("`{path}` {what}"));
    };
    let found = match found.split([' ', ',']).next() {
        Some("boolean") => "a boolean",
        Some("integer" | "floating") => "a number",
        Some("map") => "a mapping",
        Some("sequence") => "a list",
        Some("null") => "nothing",
        _ => "a text",
    };
    wrong_kind_words(&path, wanted_words(wanted), found)
}

fn wanted_words(wanted: &str) -> &str {
    match wanted {
        "a string" => "a text",
        "a sequence" => "a list",
        "a boolean" => "a boolean",
        "i32" | "i64" | "u32" => "a number",
        // `a map`, and the readers' names of Kubernetes' types.
        _ => "a mapping",
    }
}

fn wrong_kind(path: &str, wanted: &str, found: &Value) -> Problem {
    wrong_kind_words(path, wanted, kind_of(found))
}

fn wrong_kind_words(path: &str, wanted: &str, found: &str) -> Problem {
    let problem = Problem::new(format!("`{path}` must be {wanted}, not {found}"));
    match (wanted, found) {
        ("a text", "a boolean" | "a number") => problem.with_hint("put it in quotes"),
        _ => problem,
    }
}

fn bracketed(key: &str) -> String {
    format!("[{key}]")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
