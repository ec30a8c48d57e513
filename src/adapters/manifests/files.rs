//! Paths -> texts, as kubectl reads them.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::ManifestError;

/// The largest file that is read: room for the dump of a large cluster.
const MOST_BYTES: u64 = 128 << 20;

/// The files of a folder that are manifests by their ending, sorted by name, with those of sub-folders where they are wanted.
///
/// A link to a file is followed, as in a mounted ConfigMap; one to a folder is not, so that no loop of links matters.
pub(super) fn of_folder(folder: &Path, recursive: bool) -> Result<Vec<PathBuf>, ManifestError> {
    let failed = |source| ManifestError::read(folder, source);
    let mut entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            if recursive {
                files.extend(of_folder(&path, recursive)?);
            }
            continue;
        }
        let manifest = ["yaml", "yml", "json"]
            .into_iter()
            .any(|ending| path.extension() == Some(ending.as_ref()));
        // What is neither, such as a pipe, would be waited for without end; a broken link is for the reader to complain of.
        let readable = fs::metadata(&path).map_or(true, |metadata| metadata.is_file());
        if manifest && readable {
            files.push(path);
        }
    }
    Ok(files)
}

/// The text of a file.
pub(super) fn read_file(path: &Path) -> Result<String, ManifestError> {
    let file = File::open(path).map_err(|source| ManifestError::read(path, source))?;
    read_text(file, path)
}

/// The text of what is open, which must be UTF-8 and of bounded size.
pub(super) fn read_text(source: impl Read, name: &Path) -> Result<String, ManifestError> {
    let mut bytes = Vec::new();
    source
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| ManifestError::read(name, source))?;
    let file = name.display().to_string();
    if bytes.len() as u64 > MOST_BYTES {
        let mebibytes = MOST_BYTES >> 20;
        return Err(ManifestError::TooLarge { file, mebibytes });
    }
    String::from_utf8(bytes).map_err(|_| ManifestError::NotText { file })
}
