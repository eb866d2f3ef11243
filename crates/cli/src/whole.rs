//! Files that are whole or not there, also when two processes write one, and when the user
//! interrupts.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Error, bail};

use crate::durable::{named, sync_folders};
use crate::folder::names;
use systoliq_load::files::open_regular;

/// What temporary names of files and folders start with; a few letters of chance, a hyphen and the
/// name that it is for follow.
const PARTIAL: &str = ".systoliq-partial-";

/// How many letters of chance a temporary name has.
const CHANCE: usize = 6;

/// The most bytes that a temporary name keeps of the name that it is for: file systems allow 255.
const KEPT_MAX: usize = 200;

/// Who may do what with a file, where the system's mask allows it: others may read it, as any other.
const MODE_OF_FILES: u32 = 0o666;

/// The same of folders.
const MODE_OF_FOLDERS: u32 = 0o777;

/// The temporary names of this process. Whoever changes what stands on disk holds the lock until it
/// is whole again; an [interruption](crate::interrupt) takes it and never gives it back.
static PARTIALS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn partials() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    PARTIALS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something that an interruption must not cut in two.
pub(crate) fn uninterrupted<T>(work: impl FnOnce() -> T) -> T {
    let _held = partials();
    work()
}

/// Removes what is not whole, and lets nothing else be written as long as what is returned lives.
pub(crate) fn discard_partials() -> impl Drop {
    let held = partials();
    // What cannot be removed is left.
    held.iter().for_each(|path| drop(remove(path)));
    held
}

/// Removes a file, or a folder with all that it holds.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// The name that a temporary name is for.
pub(crate) fn partial_of(name: &str) -> Option<&str> {
    name.strip_prefix(PARTIAL)?.get(CHANCE..)?.strip_prefix('-')
}

/// A file or folder under a temporary name, which goes with this value unless it is
/// [kept](Self::keep).
struct Partial(PathBuf);

impl Partial {
    /// Has `make` make something beside `path`, with these permissions.
    fn beside<T>(
        path: &Path,
        mode: u32,
        make: impl FnOnce(&tempfile::Builder<'_, '_>, &Path) -> io::Result<(T, PathBuf)>,
    ) -> io::Result<(T, Self)> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let suffix = format!("-{}", &name[..name.floor_char_boundary(KEPT_MAX)]);
        let mut builder = tempfile::Builder::new();
        builder.prefix(PARTIAL).rand_bytes(CHANCE).suffix(&suffix);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut held = partials();
        let (made, partial) = make(&builder, folder.unwrap_or(Path::new(".")))?;
        held.insert(partial.clone());
        Ok((made, Self(partial)))
    }

    /// Gives it the name that it is for.
    fn keep(self, path: &Path) -> io::Result<()> {
        uninterrupted(|| fs::rename(&self.0, path))?;
        named(path)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let mut held = partials();
        if held.remove(&self.0) {
            // It has another name by then, or the user has to know another failure.
            let _ = remove(&self.0);
        }
    }
}

/// Checks, before long work, that `path` is a place where [`write_whole`] can put a file.
///
/// # Errors
///
/// If it is a folder, a device or a pipe, or in no folder, or one that takes no new files.
pub(crate) fn check_place(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let problem = if path.file_name().is_none() || path.is_dir() {
        "it is a folder, expected a file"
    } else if path.exists() && !path.is_file() {
        "it is a device or a pipe, expected a regular file"
    } else if folder.is_some_and(|folder| !folder.is_dir()) {
        "no such folder"
    } else {
        let folder = folder.unwrap_or(Path::new("."));
        return check_writable(folder).with_context(|| format!("cannot write {}", path.display()));
    };
    bail!("cannot write {}: {problem}", path.display())
}

/// Checks, before long work, that a folder takes new files.
///
/// # Errors
///
/// If it does not.
pub(crate) fn check_writable(folder: &Path) -> io::Result<()> {
    temporary(&folder.join("probe")).map(drop)
}

/// A file under a temporary name beside `path`, locked as long as it is written.
fn temporary(path: &Path) -> io::Result<(File, Partial)> {
    let (file, partial) = Partial::beside(path, MODE_OF_FILES, |builder, folder| {
        Ok(builder.tempfile_in(folder)?.keep()?)
    })?;
    // Where files cannot be locked, others cannot lock it either.
    let _ = file.try_lock();
    Ok((file, partial))
}

/// Removes the files that processes left half-written in a folder for names that are `ours`, but none
/// that one is writing.
pub(crate) fn remove_abandoned(folder: &Path, ours: impl Fn(&str) -> bool) -> io::Result<()> {
    for name in names(folder)?.iter().filter(|name| partial_of(name).is_some_and(&ours)) {
        let path = folder.join(name);
        let Ok(file) = open_regular(&path) else { continue };
        // An empty one may be about to be locked.
        if file.metadata()?.len() > 0 && file.try_lock().is_ok() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Has `write` fill a file under a temporary name beside `path`, which no other process has, then
/// renames it.
///
/// # Errors
///
/// If any of that fails; then `path` is as it was, and the temporary name is gone where possible.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), Error> {
    let fill = || {
        let (mut file, partial) = temporary(path)?;
        write(&mut file)?;
        file.sync_all()?;
        partial.keep(path)
    };
    fill().with_context(|| format!("cannot write {}", path.display()))
}

/// Has `write` fill a folder under a temporary name beside `path` with files that are on disk, then
/// renames it, in place of what is there.
///
/// # Errors
///
/// If `write` fails, or the folder cannot be made or named; then its temporary name is gone where
/// possible.
pub(crate) fn write_whole_folder<E>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
    failed: impl Fn(Error) -> E,
) -> Result<(), E> {
    let cannot = |error: io::Error| {
        failed(Error::new(error).context(format!("cannot write {}", path.display())))
    };
    let made = Partial::beside(path, MODE_OF_FOLDERS, |builder, folder| {
        Ok(((), builder.tempdir_in(folder)?.keep()))
    });
    let ((), partial) = made.map_err(cannot)?;
    write(&partial.0)?;
    sync_folders().map_err(cannot)?;
    let replace = || if path.is_dir() { fs::remove_dir_all(path) } else { Ok(()) };
    replace().and_then(|()| partial.keep(path)).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        super::names(folder).unwrap()
    }

    #[test]
    fn two_that_write_one_file_at_once_leave_one_of_the_two() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let texts = ["a".repeat(70_000), "b".repeat(90_000)];
        write_whole(&path, |first| {
            first.write_all(&texts[0].as_bytes()[..30_000])?;
            write_whole(&path, |second| second.write_all(texts[1].as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path)?, texts[1]);
            first.write_all(&texts[0].as_bytes()[30_000..])
        })
        .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), texts[0]);
        assert_eq!(names(folder.path()), ["x"]);
    }

    #[test]
    fn a_failure_leaves_what_was_there_and_no_temporary_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "old").unwrap();
        let failed = write_whole(&path, |file| {
            file.write_all(b"new")?;
            let name = names(folder.path()).into_iter().find(|name| name != "x").unwrap();
            assert_eq!(partial_of(&name), Some("x"), "{name}");
            Err(io::Error::other("no space"))
        });
        assert!(failed.unwrap_err().to_string().starts_with("cannot write "));
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), names(folder.path()).len()),
            ("old", 1)
        );
    }

    #[test]
    fn what_is_being_written_is_not_abandoned() {
        let folder = tempfile::tempdir().unwrap();
        let abandoned = folder.path().join(".systoliq-partial-abcdef-x");
        let other = folder.path().join(".systoliq-partial-abcdef-y");
        let remove = || remove_abandoned(folder.path(), |name| name == "x").unwrap();
        [&abandoned, &other].iter().for_each(|path| fs::write(path, "half").unwrap());
        write_whole(&folder.path().join("x"), |file| {
            file.write_all(b"who")?;
            remove();
            file.write_all(b"le")
        })
        .unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("x")).unwrap(), "whole");
        assert!(!abandoned.exists() && other.exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_takes_no_files_is_refused_beforehand() {
        assert!(check_writable(Path::new("/proc")).is_err());
        let message = check_place(Path::new("/proc/x.csv")).unwrap_err().to_string();
        assert_eq!(message, "cannot write /proc/x.csv");
        let folder = tempfile::tempdir().unwrap();
        check_writable(folder.path()).unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn names_as_long_as_the_file_system_allows_are_written() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x".repeat(255), "\u{e9}".repeat(127)] {
            let path = folder.path().join(&name);
            write_whole(&path, |file| file.write_all(b"whole")).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        }
    }

    #[test]
    fn only_temporary_names_are_of_another() {
        for name in ["x", ".systoliq-partial-", ".systoliq-partial-x", ".systoliq-partial-abcdefx"]
        {
            assert_eq!(partial_of(name), None, "{name}");
        }
        assert_eq!(partial_of(".systoliq-partial-abcdef-report.json"), Some("report.json"));
    }
}
