//! Files that are whole or not there.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Error, bail};

/// What names of files and folders that are not whole yet start with.
pub(crate) const PARTIAL: &str = ".systoliq-partial-";

/// Checks, before long work, that `path` is a place where [`write_whole`] can put a file.
///
/// # Errors
///
/// If it is a folder, a device or a pipe, or in no folder.
pub(crate) fn check_place(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let problem = if path.file_name().is_none() || path.is_dir() {
        "it is a folder, expected a file"
    } else if path.exists() && !path.is_file() {
        "it is a device or a pipe, expected a regular file"
    } else if folder.is_some_and(|folder| !folder.is_dir()) {
        "no such folder"
    } else {
        return Ok(());
    };
    bail!("cannot write {}: {problem}", path.display())
}

/// Has `write` fill a file under a temporary name beside `path`, then renames it.
///
/// # Errors
///
/// If any of that fails; then `path` is as it was, and the temporary name is gone where possible.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!("{PARTIAL}{name}"));
    let fill = || {
        let mut file = File::create(&partial)?;
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    let written = fill();
    if written.is_err() {
        // The failure is what the user has to know.
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}
