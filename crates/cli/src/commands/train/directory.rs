//! The folder of a run. Every file is written under a temporary name and renamed when it is whole.
//!
//! A run that is there is kept: another one is trained in `DIR.next` beside it, and takes its place
//! once it is complete. Then the old folder goes into the new one as `.systoliq-replaced`, the new one
//! gets the name, and the old one is removed: whenever the process ends, one of the two is whole.

mod checkpoint;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail};
use serde_json::Value;
use systoliq_sim::Prepared;
use systoliq_sim::dump::Sink;

use crate::failure::Failure;
use crate::folder::{self, LOCK, names};
use crate::load::files::read_text;
use crate::whole::{partial_of, remove, uninterrupted, write_whole, write_whole_folder};

/// The folder for checkpoints.
const CHECKPOINTS: &str = "checkpoints";

/// What sums a run up.
const REPORT: &str = "report.json";

/// What a run writes at its end.
const RESULTS: [&str; 4] = [REPORT, "curves.csv", "predictions.csv", "timing.json"];

/// The page that `systoliq report` draws of a run.
const PAGE: &str = "report.html";

/// The folder that was replaced, until it is removed.
const REPLACED: &str = ".systoliq-replaced";

/// What is done with a run that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// It goes on.
    pub(super) resume: bool,
    /// It is replaced when another is complete.
    pub(super) force: bool,
}

/// The folder of a run.
#[derive(Debug)]
pub(super) struct RunDirectory {
    path: PathBuf,
    experiment: Value,
    /// What the folder takes the place of in the end.
    replaces: Option<PathBuf>,
    /// Held until the run ends.
    _locks: Vec<File>,
}

impl RunDirectory {
    /// Makes the folder, and sees that it can be written and nobody else writes to it, or goes on with
    /// the run that it holds.
    pub(super) fn open(path: &Path, prepared: &Prepared, start: Start) -> Result<Self, Failure> {
        let experiment = serde_json::to_value(&prepared.experiment).map_err(Failure::run)?;
        let cannot = || format!("cannot write to the folder {}", path.display());
        let ready = || -> Result<_, Error> {
            finish_replacing(path)?;
            if !start.force {
                let locks = vec![lock(path)?];
                return Ok((path.to_owned(), None, locks));
            }
            // What is replaced is the folder itself, and no link to it.
            let target = if path.exists() { path.canonicalize()? } else { path.to_owned() };
            let mut locks = Vec::new();
            if target.exists() {
                check_all_ours(&target)?;
                locks.push(lock(&target)?);
            }
            let next = next(&target).context("expected the name of a folder")?;
            locks.push(lock(&next)?);
            Ok((next, Some(target), locks))
        };
        let ready = ready().with_context(cannot).map_err(Failure::input::<Error>)?;
        let (path, replaces, locks) = ready;
        let directory = Self { path, experiment, replaces, _locks: locks };
        directory.check_held(start).map_err(Failure::input)?;
        remove_partials(&directory.path).with_context(cannot).map_err(Failure::input::<Error>)?;
        Ok(directory)
    }

    /// Checks that what the folder holds may be gone on with.
    fn check_held(&self, start: Start) -> Result<(), Error> {
        let Some(held) = held(&self.path)? else { return Ok(()) };
        let shown = self.path.display();
        match (&self.replaces, start.resume) {
            (None, false) => bail!(
                "{shown} holds the results of a run ({held}): --resume goes on with it, --force trains \
                 beside it and replaces it in the end; or choose another folder"
            ),
            (Some(replaced), false) => bail!(
                "{shown} holds a run that was to replace {} ({held}): --force with --resume goes on \
                 with it; or remove it",
                replaced.display()
            ),
            (_, true) => self.check_checkpoints(&held),
        }
    }

    /// Writes a file.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        write_bytes(&self.path.join(name), bytes).map_err(Failure::run::<Error>)
    }

    /// Takes the place of the run that is to be replaced, when this one is complete.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let Some(target) = &self.replaces else { return Ok(()) };
        let replace = || {
            uninterrupted(|| {
                if target.exists() {
                    fs::rename(target, self.path.join(REPLACED))?;
                }
                fs::rename(&self.path, target)
            })?;
            remove_if_there(&target.join(REPLACED))
        };
        let cannot = || format!("cannot put {} in place of it", self.path.display());
        replace().with_context(cannot).map_err(Failure::run::<Error>)
    }

    /// Whether the dump of a step is there.
    pub(super) fn has_dump(&self, step: u64) -> bool {
        self.path.join(dump_name(step)).is_dir()
    }

    /// Has `make` write the files of a dump, and names its folder when all are written.
    pub(super) fn dump(
        &self,
        step: u64,
        make: impl FnOnce(&mut Sink<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let write = |folder: &Path| make(&mut |name, bytes| fs::write(folder.join(name), bytes));
        write_whole_folder(&self.path.join(dump_name(step)), write, Failure::run)
    }
}

fn dump_name(step: u64) -> String {
    format!("dump-step-{step}")
}

/// The folder beside one that is to be replaced.
fn next(target: &Path) -> Option<PathBuf> {
    let mut name = target.file_name()?.to_owned();
    name.push(".next");
    Some(target.with_file_name(name))
}

/// Makes a folder for a run, and holds it.
fn lock(path: &Path) -> Result<File, Error> {
    folder::check_kind(path, "run")?;
    let lock = folder::lock(path)?;
    let in_the_way = |path: PathBuf, is: &str| anyhow!("{} is {is}", path.display());
    if let Some(name) = RESULTS.iter().find(|name| path.join(name).is_dir()) {
        return Err(in_the_way(path.join(name), "a folder, expected a file"));
    }
    let checkpoints = path.join(CHECKPOINTS);
    if checkpoints.exists() && !checkpoints.is_dir() {
        return Err(in_the_way(checkpoints, "a file, expected a folder"));
    }
    Ok(lock)
}

/// Ends what a process that was killed began between the two names of a run that replaces another.
fn finish_replacing(path: &Path) -> io::Result<()> {
    match next(path).filter(|next| !path.exists() && next.join(REPLACED).is_dir()) {
        Some(next) => fs::rename(next, path),
        None => Ok(()),
    }
}

/// Writes a file under a temporary name, then renames it.
fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_whole(path, |file| file.write_all(bytes))
}

/// Whether a name is `prefix`, a number, `suffix`.
fn is_numbered(name: &str, prefix: &str, suffix: &str) -> bool {
    let number = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
    number.is_some_and(|number| number.parse::<u64>().is_ok())
}

fn is_checkpoint(name: &str) -> bool {
    is_numbered(name, "seed-", ".json")
}

fn is_dump(path: &Path, name: &str) -> bool {
    is_numbered(name, "dump-step-", "") && path.join(name).join("manifest.json").is_file()
}

/// The names of checkpoints, in order.
fn checkpoints(path: &Path) -> io::Result<Vec<String>> {
    let folder = path.join(CHECKPOINTS);
    let mut found = if folder.is_dir() { names(&folder)? } else { Vec::new() };
    found.retain(|name| is_checkpoint(name));
    found.sort_unstable();
    Ok(found)
}

/// What says that a folder holds a run, if it does.
fn held(path: &Path) -> io::Result<Option<String>> {
    if let Some(name) = RESULTS.iter().find(|name| path.join(name).exists()) {
        return Ok(Some((*name).to_owned()));
    }
    if let Some(name) = checkpoints(path)?.first() {
        return Ok(Some(format!("{CHECKPOINTS}/{name}")));
    }
    Ok(names(path)?.into_iter().find(|name| is_dump(path, name)))
}

/// Whether a temporary name is for something that a run writes.
fn is_partial(name: &str) -> bool {
    let ours = |name: &str| {
        RESULTS.contains(&name) || is_checkpoint(name) || is_numbered(name, "dump-step-", "")
    };
    partial_of(name).is_some_and(ours)
}

/// Removes what a killed run left half-written or half-removed.
fn remove_partials(path: &Path) -> io::Result<()> {
    for folder in [path, &path.join(CHECKPOINTS)].into_iter().filter(|folder| folder.is_dir()) {
        for name in names(folder)?.iter().filter(|name| is_partial(name)) {
            remove(&folder.join(name))?;
        }
    }
    remove_if_there(&path.join(REPLACED))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    if path.symlink_metadata().is_ok() { remove(path) } else { Ok(()) }
}

/// Checks that a folder that is to be replaced holds nothing but what runs write.
fn check_all_ours(path: &Path) -> Result<(), Error> {
    let other = |name: &str| {
        anyhow!(
            "it holds {name}, which no run has written: expected the results of a run alone; move it, \
             or choose another folder"
        )
    };
    for name in names(path)? {
        let ours = match name.as_str() {
            REPORT => is_report(&path.join(REPORT)),
            LOCK | PAGE | REPLACED => true,
            CHECKPOINTS => {
                let below = names(&path.join(CHECKPOINTS))?;
                if let Some(name) = below.iter().find(|n| !is_checkpoint(n) && !is_partial(n)) {
                    return Err(other(&format!("{CHECKPOINTS}/{name}")));
                }
                true
            }
            name => RESULTS.contains(&name) || is_dump(path, name) || is_partial(name),
        };
        if !ours {
            return Err(other(&name));
        }
    }
    Ok(())
}

/// Whether a file is what a run writes under this name.
fn is_report(path: &Path) -> bool {
    let value = read_text(path).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    value.is_some_and(|value| {
        value["schema_version"].is_u64() && value["experiment"]["training"].is_object()
    })
}
