//! The seeds in `tests/it/corpus/`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

use super::target::Input;

pub struct Corpus {
    pub secrets: Vec<Input>,
    pub(super) manifests: Vec<Vec<u8>>,
    /// The objects of the manifests that are any.
    pub(super) objects: Vec<Value>,
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) lines: Vec<Vec<u8>>,
}

impl Corpus {
    pub fn read() -> Self {
        let manifests: Vec<_> = files("manifests").iter().map(|path| content(path)).collect();
        let entries = files("entries");
        let keys = files("secrets")
            .into_iter()
            .filter(|path| path.extension().is_some_and(|kind| kind == "key"));
        Self {
            secrets: keys
                .map(|key| vec![content(&key.with_extension("crt")), content(&key)])
                .collect(),
            objects: manifests.iter().flat_map(|text| objects_of(text)).collect(),
            manifests,
            lines: lines(
                entries
                    .iter()
                    .find(|path| path.ends_with("lines.txt"))
                    .expect("the lines"),
            ),
            entries: entries.iter().map(|path| content(path)).collect(),
        }
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/corpus")
        .join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("list `{}`: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

pub(super) fn content(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("read `{}`: {error}", path.display()))
}

pub(super) fn lines(path: &Path) -> Vec<Vec<u8>> {
    content(path).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn objects_of(text: &[u8]) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_slice(text);
    // A text that cannot be read gives errors for ever.
    let values = documents.map(Value::deserialize).map_while(Result::ok);
    let objects = values.flat_map(|value| match value.get("items") {
        Some(Value::Array(items)) => items.clone(),
        _ => vec![value],
    });
    objects.filter(|object| !kind(object).is_empty()).collect()
}

pub(super) fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}
