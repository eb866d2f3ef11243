//! What is written stays written, also when the machine stops: bytes that are appended are on disk
//! before the work goes on, and names of files soon after they are given.
//!
//! A name is on disk once its folder is synced. That takes about as long as to sync a file, so folders
//! are synced at most once a second while a command runs, and [at its end](sync_folders).

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::whole::uninterrupted;

/// How long folders may wait.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Folders with names that may not be on disk.
struct Waiting {
    folders: BTreeSet<PathBuf>,
    /// When folders were last synced.
    synced: Option<Instant>,
}

static WAITING: Mutex<Waiting> = Mutex::new(Waiting { folders: BTreeSet::new(), synced: None });

fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers that `path` has been given to a file or a folder, or taken away.
///
/// # Errors
///
/// If it is time to sync, and that fails.
pub(crate) fn named(path: &Path) -> io::Result<()> {
    waiting().add(path, Instant::now())
}

/// Has all names that were given on disk.
///
/// # Errors
///
/// If they cannot be written there.
pub(crate) fn sync_folders() -> io::Result<()> {
    waiting().sync()
}

impl Waiting {
    /// Has the folder of a path wait, unless it is time for all.
    fn add(&mut self, path: &Path, now: Instant) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        self.folders.insert(folder.unwrap_or(Path::new(".")).to_owned());
        let due = self.synced.is_none_or(|synced| now - synced >= WAIT_MAX);
        if due { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        for folder in std::mem::take(&mut self.folders) {
            sync(&folder).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
            })?;
        }
        self.synced = Some(Instant::now());
        Ok(())
    }
}

/// Syncs a folder, where the system opens folders and can sync them.
fn sync(folder: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    let Ok(opened) = File::open(folder) else { return Ok(()) };
    let cannot = |kind| matches!(kind, InvalidInput | PermissionDenied | Unsupported);
    opened.sync_all().or_else(|error| if cannot(error.kind()) { Ok(()) } else { Err(error) })
}

/// Makes a folder with those above it that are missing.
///
/// # Errors
///
/// If it cannot be made.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folder(above)?;
    }
    std::fs::create_dir_all(path)?;
    named(path)
}

/// Writes a file that is on disk, and has its name soon.
///
/// # Errors
///
/// If it cannot be written.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    named(path)
}

/// A file that bytes are appended to, made where it is not there.
///
/// # Errors
///
/// If it cannot be opened for that.
pub(crate) fn open_to_append(path: &Path) -> io::Result<File> {
    let made = !path.exists();
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    if made {
        named(path)?;
    }
    Ok(file)
}

/// Cuts off what follows the first `whole` bytes of a file.
///
/// # Errors
///
/// If that cannot be done.
pub(crate) fn cut(file: &File, whole: u64) -> io::Result<()> {
    if file.metadata()?.len() > whole {
        file.set_len(whole)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Appends bytes, and returns when they are on disk. An interruption comes before or after.
///
/// # Errors
///
/// If they cannot be written there.
pub(crate) fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    uninterrupted(|| {
        file.write_all(bytes)?;
        file.sync_data()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_synced_at_most_once_a_second_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let below = |name: &str| folder.path().join(name).join("file");
        let mut waiting = Waiting { folders: BTreeSet::new(), synced: None };
        let start = Instant::now();
        waiting.add(&below("a"), start).unwrap();
        assert_eq!(waiting.folders.len(), 0, "the first at once");
        for name in ["b", "c", "b"] {
            waiting.add(&below(name), start).unwrap();
        }
        assert_eq!(waiting.folders, ["b", "c"].map(|name| folder.path().join(name)).into());
        waiting.add(&below("d"), Instant::now() + WAIT_MAX).unwrap();
        assert_eq!(waiting.folders.len(), 0, "all after a second");
        waiting.add(Path::new("e"), start).unwrap();
        assert_eq!(waiting.folders, [PathBuf::from(".")].into());
        waiting.sync().unwrap();
        assert_eq!(waiting.folders.len(), 0);
    }

    #[test]
    fn what_is_there_is_neither_emptied_nor_made_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        make_folder(path.parent().unwrap()).unwrap();
        let mut file = open_to_append(&path).unwrap();
        append(&mut file, b"one\ntw").unwrap();
        let mut file = open_to_append(&path).unwrap();
        for (whole, left) in [(9, "one\ntw"), (4, "one\n")] {
            cut(&file, whole).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), left);
        }
        append(&mut file, b"two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo");
    }
}
