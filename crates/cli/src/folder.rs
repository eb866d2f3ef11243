//! Folders that commands keep their results in.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use anyhow::{Context, Error, bail};
use serde_json::Value;

use crate::durable::make_folder;
use crate::failure::{note, one_line};
use crate::whole::check_writable;
use systoliq_figures::Page;
use systoliq_load::files::read_text;

/// The file whose lock says that a command is writing there.
pub(crate) const LOCK: &str = ".systoliq-lock";

/// Makes a folder, and sees that it can be written and nobody else writes to it, until the file that
/// is returned is closed.
///
/// # Errors
///
/// If `path` is a file, the folder cannot be written, or another command is writing there.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    if path.exists() && !path.is_dir() {
        bail!("{} is not a folder; expected one, or a name for one", path.display());
    }
    make_folder(path)?;
    check_writable(path)?;
    let name = path.join(LOCK);
    let lock = open_lock(&name).with_context(|| name.display().to_string())?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!("another run is writing there"),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Opens the file that is to be locked, or makes it. What is there is never written to.
fn open_lock(path: &Path) -> io::Result<File> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !path.symlink_metadata()?.is_file() {
                return Err(io::Error::other("expected a regular file, and no link to one"));
            }
            OpenOptions::new().append(true).open(path)
        }
        made => made,
    }
}

/// The page that `systoliq report` draws of what a folder holds.
pub(crate) const PAGE: &str = "report.html";

/// Whether a file is a page that `systoliq report` drew.
pub(crate) fn is_page(path: &Path) -> bool {
    let regular = path.symlink_metadata().is_ok_and(|kind| kind.is_file());
    regular && read_text(path).is_ok_and(|html| Page::is_one(&html))
}

/// Removes the page that was drawn of a result, and says so, before other bytes are written under its
/// name.
///
/// # Errors
///
/// If it cannot be removed.
pub(crate) fn remove_outdated_page(folder: &Path, result: &str, bytes: &[u8]) -> io::Result<()> {
    let page = folder.join(PAGE);
    let drawn = fs::read(folder.join(result)).is_ok_and(|drawn| drawn != bytes);
    if drawn && is_page(&page) {
        fs::remove_file(&page)?;
        note(&one_line(&format!(
            "{} is removed: it was drawn of another {result}; `systoliq report` draws it anew",
            page.display()
        )));
    }
    Ok(())
}

/// The names of what a folder holds.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let name =
        |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    fs::read_dir(folder)?.map(name).collect()
}

/// What says of a folder that it is of a sweep, a search, a tightening or a run.
const SIGNS: [(&str, &str); 5] = [
    ("sweep", "sweep.json"),
    ("search", "request.json"),
    ("tightening", "plan-request.json"),
    ("run", "report.json"),
    ("run", "checkpoints"),
];

/// Checks that a folder is not of anything but a `what`.
///
/// # Errors
///
/// If it is.
pub(crate) fn check_kind(path: &Path, what: &str) -> Result<(), Error> {
    let other = SIGNS.iter().find(|(of, name)| *of != what && path.join(name).exists());
    match other {
        Some((of, name)) => bail!(
            "{} holds a {of} ({name}): expected the folder of a {what}, or one that is not there",
            path.display()
        ),
        None => Ok(()),
    }
}

/// The first place at which what a folder is of differs from `ours`, in words.
pub(crate) fn difference(saved: &Value, ours: &Value) -> Option<String> {
    differing(saved, ours, String::new())
}

fn differing(saved: &Value, ours: &Value, path: String) -> Option<String> {
    match (saved, ours) {
        (saved, ours) if saved == ours => None,
        (Value::Object(saved), Value::Object(ours)) => {
            let mut keys = saved.keys().chain(ours.keys());
            let key = keys.find(|key| saved.get(*key) != ours.get(*key))?;
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let [saved, ours] = [saved, ours].map(|of| of.get(key).unwrap_or(&Value::Null));
            differing(saved, ours, below)
        }
        (Value::Array(saved), Value::Array(ours)) if saved.len() == ours.len() => {
            let at = saved.iter().zip(ours).position(|(saved, ours)| saved != ours)?;
            differing(&saved[at], &ours[at], format!("{path}[{at}]"))
        }
        _ => Some(format!("{path} was {saved} and is {ours}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        let said = |saved: Value, ours: Value| difference(&saved, &ours).unwrap();
        let saved = json!({"a": {"b": 1}, "c": 2});
        assert_eq!(said(saved.clone(), json!({"a": {"b": 3}, "c": 2})), "a.b was 1 and is 3");
        assert_eq!(said(saved.clone(), json!({"a": {"b": 1}})), "c was 2 and is null");
        assert_eq!(
            said(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 3}]})),
            "a[1].b was 2 and is 3"
        );
        assert_eq!(said(json!({"a": [1]}), json!({"a": [1, 2]})), "a was [1] and is [1,2]");
        assert_eq!(difference(&saved, &saved), None);
    }
}
