//! `-f`: files, folders and stdin -> objects, each with file and document number.
//!
//! No message quotes a value: a Secret's would be in a CI job's log.

mod document;
mod files;
mod object;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as networking;
use serde_json::Value;

use crate::decide::observed::{Gateway, GatewayClass, HttpRoute, RetiredIngress};
use object::{Identity, Object, Problem};

/// The objects of some manifests that a plan is made from; every other kind was ignored.
#[derive(Debug, Default)]
pub struct Manifests {
    /// `networking.k8s.io/v1`.
    pub ingresses: Vec<networking::Ingress>,
    /// Gateways and ListenerSets.
    pub gateways: Vec<Gateway>,
    /// `gateway.networking.k8s.io/v1`.
    pub http_routes: Vec<HttpRoute>,
    /// `gateway.networking.k8s.io/v1`.
    pub gateway_classes: Vec<GatewayClass>,
    /// Of versions that no cluster serves any more.
    pub retired: Vec<RetiredIngress>,
    /// `v1`.
    pub secrets: Vec<core::Secret>,
    /// `networking.k8s.io/v1`.
    pub classes: Vec<networking::IngressClass>,
    /// `v1`.
    pub namespaces: Vec<core::Namespace>,
    /// What looks like a mistake.
    pub warnings: Vec<String>,
}

/// Why manifests could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The operating system says no.
    #[error("read `{file}`: {source}")]
    Read {
        /// The file or folder.
        file: String,
        /// The cause.
        source: io::Error,
    },
    /// More than anybody's manifests.
    #[error("read `{file}`: it is larger than {mebibytes} MiB")]
    TooLarge {
        /// The file.
        file: String,
        /// The bound.
        mebibytes: u64,
    },
    /// UTF-16, or no text at all.
    #[error("read `{file}`: it is no UTF-8 text")]
    NotText {
        /// The file.
        file: String,
    },
    /// Neither YAML nor JSON.
    #[error("read `{file}`, document {document}: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// Counted from 1.
        document: usize,
        /// What the parser says, and where.
        problem: String,
        /// Whether there are braces as templates have them.
        template: bool,
    },
    /// An object that no API server would take.
    #[error("read {place}: {what}")]
    Object {
        /// File, document and object.
        place: String,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: Option<&'static str>,
    },
}

impl ManifestError {
    fn read(path: &Path, source: io::Error) -> Self {
        Self::Read {
            file: path.display().to_string(),
            source,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Read { file, .. } if file.starts_with("https:") || file.starts_with("http:") => {
                "nothing is fetched with `-f`; download it first"
            }
            Self::NotText { .. } => "save it as UTF-8",
            Self::Syntax { template: true, .. } => {
                "templates are planned from once they are rendered, such as with `helm template`"
            }
            Self::Object { hint, .. } => (*hint)?,
            Self::Read { .. } | Self::TooLarge { .. } | Self::Syntax { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Reads files, folders and stdin (`-`).
///
/// # Errors
/// At the first thing that cannot be read or that no API server would take: a plan from half of the input would be no plan.
pub fn read(paths: &[PathBuf], recursive: bool) -> Result<Manifests, ManifestError> {
    let mut found = Found::default();
    for path in paths {
        if path.as_os_str() == "-" {
            let text = files::read_text(io::stdin().lock(), Path::new("stdin"))?;
            found.read_text(&text, "stdin", true)?;
        } else if path.is_dir() {
            let manifests = files::of_folder(path, recursive)?;
            if manifests.is_empty() {
                found.warnings.push(format!(
                    "folder `{}` has no `.yaml`, `.yml` or `.json` file",
                    path.display()
                ));
            }
            for file in manifests {
                found.read_text(&files::read_file(&file)?, &file.display().to_string(), false)?;
            }
        } else {
            found.read_text(&files::read_file(path)?, &path.display().to_string(), true)?;
        }
    }
    Ok(found.into())
}

/// What was read so far. Of two versions of one object the last counts, as in `kubectl apply`.
#[derive(Default)]
struct Found {
    objects: BTreeMap<Identity, (Object, String)>,
    warnings: Vec<String>,
}

impl Found {
    /// Takes the objects of a file. What is no object is a mistake in a file that somebody named; in a folder it may be
    /// anything, such as a chart's values.
    fn read_text(&mut self, text: &str, file: &str, named: bool) -> Result<(), ManifestError> {
        for (number, parsed) in (1..).zip(document::documents(text)) {
            let value = parsed.map_err(|problem| ManifestError::Syntax {
                file: file.to_owned(),
                document: number,
                problem,
                template: text.contains("{{"),
            })?;
            let place = format!("`{file}`, document {number}");
            match value {
                Value::Null => {}
                value if named || object::has_kind(&value) => self.take(value, &place, None)?,
                _ => self.warnings.push(format!(
                    "{place} is skipped: it has no `kind`, so it is no Kubernetes object"
                )),
            }
        }
        Ok(())
    }

    /// Takes an object, or those of a list. `default` is the type that a list gives to items without one.
    fn take(&mut self, value: Value, place: &str, default: Option<&object::Type>) -> Result<(), ManifestError> {
        let failed = |problem: Problem| problem.at(place);
        let type_ = object::type_of(&value, default).map_err(failed)?;
        if let Some(item) = type_.item() {
            for (number, value) in (1..).zip(object::items(value).map_err(failed)?) {
                self.take(value, &format!("{place}, item {number}"), item.as_ref())?;
            }
            return Ok(());
        }
        if let Some(warning) = type_.warning() {
            self.warnings.push(format!("{place} is skipped: {warning}"));
        }
        let Some((identity, object)) = object::parse(&type_, value).map_err(failed)? else {
            return Ok(());
        };
        if let Some((_, earlier)) = self.objects.get(&identity) {
            self.warnings
                .push(format!("{identity} of {earlier} is replaced by that of {place}"));
        }
        self.objects.insert(identity, (object, place.to_owned()));
        Ok(())
    }
}

impl From<Found> for Manifests {
    fn from(found: Found) -> Self {
        let mut manifests = Self {
            warnings: found.warnings,
            ..Self::default()
        };
        for (object, _) in found.objects.into_values() {
            match object {
                Object::Ingress(ingress) => manifests.ingresses.push(*ingress),
                Object::Gateway(gateway) => manifests.gateways.push(*gateway),
                Object::HttpRoute(route) => manifests.http_routes.push(*route),
                Object::GatewayClass(class) => manifests.gateway_classes.push(*class),
                Object::Retired(ingress) => manifests.retired.push(*ingress),
                Object::Secret(secret) => manifests.secrets.push(*secret),
                Object::Class(class) => manifests.classes.push(*class),
                Object::Namespace(namespace) => manifests.namespaces.push(*namespace),
            }
        }
        manifests
    }
}
