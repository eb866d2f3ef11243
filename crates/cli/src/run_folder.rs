//! Folders of many runs: of a sweep, or of a search.
//!
//! A manifest says what the folder is of, and is there first. `points.jsonl` has a line for each run
//! that has ended, appended and synced, and in the end in the order of what asked for it. The rest
//! is written at the end, each under a temporary name and renamed when it is whole.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail};
use serde_json::{Map, Value, json};
use systoliq_explore::{Journal, Lines, RunStore};
use systoliq_nn::golden::product_fingerprint;
use systoliq_run::SEMANTICS;

use crate::durable::{append, cut, open_to_append};
use crate::failure::{Failure, warn};
use crate::folder;
use crate::whole::{partial_of, remove, write_whole};
use systoliq_load::files::{open_regular, read_text};

/// What the runs found.
const STORE: &str = "points.jsonl";

/// What a folder can be of.
pub(crate) struct FolderKind {
    /// In a word: `sweep`.
    pub(crate) what: &'static str,
    /// The file that says what it is of.
    pub(crate) manifest: &'static str,
    /// Runs that may be there without a manifest.
    pub(crate) beforehand: Option<&'static str>,
    /// What is written at the end, or on the way there.
    pub(crate) results: &'static [&'static str],
    /// The one of them that a page is drawn of.
    pub(crate) page_of: &'static str,
}

/// A folder of many runs.
pub(crate) struct RunFolder {
    path: PathBuf,
    /// The result that a page is drawn of.
    page_of: &'static str,
    /// Held until the folder is left.
    _lock: File,
}

impl RunFolder {
    /// Refuses a folder in which what is to be computed could not be kept: a file, one of another kind, one
    /// that is begun unless it is to be resumed, and one that holds anything else. Writes nothing.
    ///
    /// # Errors
    ///
    /// If it is one of these.
    pub(crate) fn check(path: &Path, kind: &FolderKind, resume: bool) -> Result<(), Error> {
        let shown = path.display();
        if path.symlink_metadata().is_err() || is_begun(path, kind, resume)? {
            return Ok(());
        }
        if !path.is_dir() {
            bail!("{shown} is not a folder; expected one, or a name for one");
        }
        // Its own files without a manifest are refused already.
        let is_foreign = |name: &String| *name != folder::LOCK && partial_of(name).is_none();
        match folder::names(path)?.into_iter().find(is_foreign) {
            None => Ok(()),
            Some(name) => bail!(
                "{shown} holds {name}, which is of no {}: expected an empty folder, or one that is not there",
                kind.what
            ),
        }
    }

    /// Makes the folder for what `subject` says, or goes on with what it holds; with the lines that
    /// are there.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or holds something else; also this, unless it is to be resumed.
    pub(crate) fn open(
        path: &Path,
        kind: &FolderKind,
        subject: &Value,
        resume: bool,
    ) -> Result<(Self, Lines), Failure> {
        let cannot = || format!("cannot write to the folder {}", path.display());
        let lock = folder::lock(path).with_context(cannot).map_err(Failure::input::<Error>)?;
        let folder = Self { path: path.to_owned(), page_of: kind.page_of, _lock: lock };
        let prepare = || -> Result<Lines, Error> {
            let known = check_manifest(path, kind, subject, resume)?;
            let ours =
                |name: &str| name == kind.manifest || name == STORE || kind.results.contains(&name);
            for name in folder::names(path)? {
                if partial_of(&name).is_some_and(ours) {
                    remove(&path.join(name))?;
                }
            }
            if !known {
                let float = format!("{:016x}", product_fingerprint());
                let manifest =
                    json!({ "semantics": SEMANTICS, "float": float, kind.what: subject });
                folder.write(kind.manifest, &format!("{manifest:#}\n"))?;
            }
            read_store(&path.join(STORE))
        };
        let lines = prepare().map_err(Failure::input)?;
        Ok((folder, lines))
    }

    /// The store of these lines, to which others are appended.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn store(&self, lines: Lines) -> Result<RunStore, Failure> {
        let path = self.path.join(STORE);
        let file =
            open_to_append(&path).with_context(|| format!("cannot write {}", path.display()));
        Ok(RunStore::new(lines, Appended(file.map_err(Failure::run::<Error>)?, path)))
    }

    /// Writes the store once more, as it stays.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn finish_store(&self, text: &str) -> Result<(), Error> {
        self.write(STORE, text)
    }

    /// Writes a file of the folder.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        if name == self.page_of {
            folder::remove_outdated_page(&self.path, name, text.as_bytes())?;
        }
        write_whole(&self.path.join(name), |file| file.write_all(text.as_bytes()))
    }

    /// A file of the folder, or what would be one.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// A file whose lines are on disk when they are appended.
struct Appended(File, PathBuf);

impl Journal for Appended {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        append(&mut self.0, bytes).map_err(|error| {
            let path = self.1.display();
            io::Error::new(
                error.kind(),
                format!("{path}: {error}; --resume goes on from its lines"),
            )
        })
    }
}

/// Whether the folder has a manifest, with which it is to be resumed.
fn is_begun(path: &Path, kind: &FolderKind, resume: bool) -> Result<bool, Error> {
    let shown = path.display();
    let FolderKind { what, manifest, beforehand, results, .. } = *kind;
    folder::check_kind(path, what)?;
    let there = |name: &str| path.join(name).symlink_metadata().is_ok();
    let alone = [STORE].iter().chain(results).find(|name| there(name));
    let held = [Some(manifest), alone.copied(), beforehand];
    match held.into_iter().flatten().find(|name| there(name)) {
        None => Ok(false),
        Some(name) if !resume => bail!(
            "{shown} holds the results of a {what} ({name}): --resume goes on with it, or choose \
             another folder"
        ),
        Some(name) if name == manifest => Ok(true),
        Some(name) if Some(name) == beforehand => Ok(false),
        Some(name) => bail!(
            "cannot resume: {shown} has {name}, but no {manifest}, so that nothing says what it is of: \
             move it, or choose another folder"
        ),
    }
}

/// Whether the folder holds this subject already.
fn check_manifest(
    path: &Path,
    kind: &FolderKind,
    ours: &Value,
    resume: bool,
) -> Result<bool, Error> {
    if !is_begun(path, kind, resume)? {
        return Ok(false);
    }
    let (shown, what) = (path.display(), kind.what);
    let file = path.join(kind.manifest);
    let damaged = || format!("cannot resume: {} is damaged", file.display());
    let saved: Map<String, Value> =
        serde_json::from_str(&read_text(&file)?).with_context(damaged)?;
    let float = saved.get("float").and_then(Value::as_str);
    check_semantics(&file, saved.get("semantics"))?;
    let (Some(subject), 2) = (saved.get(what), saved.len() - usize::from(float.is_some())) else {
        return Err(anyhow!("expected `semantics`, `float` and `{what}`").context(damaged()));
    };
    let other = |what: String| {
        anyhow!("cannot resume: {shown} holds {what}; resume with that, or choose another folder")
    };
    if let Some(difference) = folder::difference(subject, ours) {
        return Err(other(format!("another {what}: {difference}")));
    }
    if let Some(float) = float {
        warn_of_float(&file, float);
    }
    Ok(true)
}

/// Refuses to go on with what was computed under another number than [`SEMANTICS`], or states none.
pub(crate) fn check_semantics(file: &Path, found: Option<&Value>) -> Result<(), Error> {
    match other_semantics(file, found) {
        None => Ok(()),
        Some(problem) => bail!(
            "cannot resume: {problem}; go on with that program, or start anew in another folder"
        ),
    }
}

/// What is wrong with a file that states another number than [`SEMANTICS`], or none.
pub(crate) fn other_semantics(file: &Path, found: Option<&Value>) -> Option<String> {
    if found.and_then(Value::as_u64) == Some(SEMANTICS.into()) {
        return None;
    }
    let found = found.map_or("no `semantics`".to_owned(), |found| format!("`semantics` {found}"));
    Some(format!(
        "{} states {found}, expected {SEMANTICS}: it was written by a program that gives other results for \
         the same settings",
        file.display()
    ))
}

/// Warns where something was begun on a machine whose golden models are not those of this one, by the
/// hash of what it makes of products.
pub(crate) fn warn_of_float(file: &Path, float: &str) {
    if float != format!("{:016x}", product_fingerprint()) {
        let problem = "it was written on a CPU whose floating point rounds otherwise (as with and without \
                       FMA): golden's figures may differ in their last digits from those of one machine";
        warn(&file.display(), &[problem.to_owned()]);
    }
}

/// Reads the lines of the store; one that was cut short is dropped.
fn read_store(path: &Path) -> Result<Lines, Error> {
    let mut lines = Lines::default();
    if !path.exists() {
        return Ok(lines);
    }
    let shown = path.display();
    let file = open_regular(path).with_context(|| format!("cannot read {shown}"))?;
    let bytes = file.metadata()?.len();
    let whole = lines.read(BufReader::new(file)).with_context(|| shown.to_string())?;
    if whole < bytes {
        let cut = open_to_append(path).and_then(|file| cut(&file, whole));
        cut.with_context(|| format!("cannot write {shown}"))?;
        let dropped = bytes - whole;
        warn(
            &shown,
            &[format!(
                "its last line was cut short: these {dropped} bytes are dropped, and the run is done again"
            )],
        );
    }
    Ok(lines)
}
