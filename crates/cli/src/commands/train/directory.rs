//! The folder of a run. Every file is written under a temporary name and renamed when it is whole.
//!
//! A run that is there is kept: another one is trained in `DIR.next` beside it, and takes its place
//! once it is complete. Then the old folder goes into the new one as `.systoliq-replaced`, the new one
//! gets the name, and the old one is removed: whenever the process ends, one of the two is whole.

mod checkpoint;
mod ours;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail};
use serde_json::Value;
use systoliq_run::Prepared;
use systoliq_run::dump::Sink;

use crate::durable::{self, named, sync_folders};
use crate::failure::Failure;
use crate::folder::{self, names};
use crate::whole::{check_writable, remove, uninterrupted, write_whole, write_whole_folder};
pub(super) use checkpoint::SeedCheckpoint;
use checkpoint::hash;
use ours::{
    check_all_ours, check_dump_place, dump_name, held, is_dump, is_partial, journals, resolved,
    seeds_of,
};

/// The folder for checkpoints.
const CHECKPOINTS: &str = "checkpoints";

/// What sums a run up.
const REPORT: &str = "report.json";

/// What a run writes at its end.
const RESULTS: [&str; 4] = [REPORT, "curves.csv", "predictions.csv", "timing.json"];

/// The folder that was replaced, until it is removed.
const REPLACED: &str = ".systoliq-replaced";

/// How a run begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunStart {
    /// The run that is there goes on.
    pub(super) resume: bool,
    /// The run that is there is replaced when another is complete.
    pub(super) force: bool,
    /// How many seeds are run.
    pub(super) seeds: u32,
    /// The step that is to be dumped.
    pub(super) dump_step: Option<u64>,
}

/// The folder of a run.
#[derive(Debug)]
pub(super) struct RunDirectory {
    path: PathBuf,
    /// Without `training.epochs`.
    experiment: Value,
    epochs: u32,
    /// What the folder takes the place of in the end.
    replaces: Option<PathBuf>,
    /// Held until the run ends.
    _locks: Vec<File>,
}

impl RunDirectory {
    /// Makes the folder, and sees that it can be written and nobody else writes to it, or goes on with
    /// the run that it holds.
    pub(super) fn open(path: &Path, prepared: &Prepared, start: RunStart) -> Result<Self, Failure> {
        let mut experiment = serde_json::to_value(&prepared.experiment).map_err(Failure::run)?;
        experiment["training"].as_object_mut().expect("a section").remove("epochs");
        let epochs = prepared.experiment.training.epochs;
        let cannot = || format!("cannot write to the folder {}", path.display());
        let ready = || -> Result<_, Error> {
            // What is replaced is the folder itself, and no link to it.
            let target = resolved(path)?;
            finish_replacing(&target)?;
            if !start.force {
                let path = if path.exists() { path.to_owned() } else { target };
                let locks = vec![lock(&path)?];
                return Ok((path, None, locks));
            }
            let (next, locks) = beside(&target)?;
            Ok((next, Some(target), locks))
        };
        let ready = ready().with_context(cannot).map_err(Failure::input::<Error>)?;
        let (path, replaces, locks) = ready;
        let directory = Self { path, experiment, epochs, replaces, _locks: locks };
        directory.check_held(start).map_err(Failure::input)?;
        let tidy = || -> Result<(), Error> {
            remove_partials(&directory.path)?;
            if directory.replaces.is_none() { remove_replaced(&directory.path) } else { Ok(()) }
        };
        tidy().with_context(cannot).map_err(Failure::input::<Error>)?;
        Ok(directory)
    }

    /// Checks that what the folder holds may be gone on with.
    fn check_held(&self, start: RunStart) -> Result<(), Error> {
        if let Some(step) = start.dump_step {
            check_dump_place(&self.path, step)?;
        }
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
            (_, true) => {}
        }
        if let Some(seeds) = seeds_of(&self.path).filter(|&seeds| seeds > start.seeds as usize) {
            bail!(
                "cannot resume: {shown} holds the report of a run with {seeds} seeds: --seeds {seeds} goes \
                 on with it; or choose another folder"
            );
        }
        self.check_checkpoints(&held)
    }

    /// Writes a file.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let write = || {
            if name == REPORT {
                folder::remove_outdated_page(&self.path, REPORT, bytes)?;
            }
            write_whole(&self.path.join(name), |file| file.write_all(bytes))
        };
        write().map_err(Failure::run::<Error>)
    }

    /// Takes the place of the run that is to be replaced, when this one is complete.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let Some(target) = &self.replaces else { return Ok(()) };
        let replace = || -> Result<(), Error> {
            if target.exists() {
                // Much may have been put there while this run was trained.
                check_all_ours(target)?;
            }
            sync_folders()?;
            uninterrupted(|| take_place(&self.path, target))?;
            named(target)?;
            Ok(sync_folders()?)
        };
        let complete = || {
            let (next, target) = (self.path.display(), target.display());
            format!(
                "the complete run is in {next}: the same command with --force --resume puts it in place \
                 of {target}"
            )
        };
        replace().with_context(complete).map_err(Failure::run::<Error>)?;
        let left = || format!("the complete run is in {}", target.display());
        remove_replaced(target).with_context(left).map_err(Failure::run::<Error>)
    }

    /// Whether the dump of a step is there.
    pub(super) fn has_dump(&self, step: u64) -> bool {
        is_dump(&self.path, &dump_name(step))
    }

    /// Has `make` write the files of a dump, and names its folder when all are written.
    pub(super) fn dump(
        &self,
        step: u64,
        make: impl FnOnce(&mut Sink<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let write = |folder: &Path| {
            make(&mut |name, bytes| durable::write(&folder.join(name), bytes))?;
            check_dump_place(&self.path, step).map_err(Failure::run)
        };
        write_whole_folder(&self.path.join(dump_name(step)), write, Failure::run)
    }
}

/// Makes the folder in which a run is trained that is to replace `target`, and holds both.
fn beside(target: &Path) -> Result<(PathBuf, Vec<File>), Error> {
    let next = next(target).context("expected the name of a folder")?;
    let mut locks = Vec::new();
    if target.exists() {
        check_all_ours(target)?;
        locks.push(lock(target)?);
        let replaced = next.join(REPLACED);
        if replaced.exists() {
            bail!("{} is a run that was replaced before: move it away", replaced.display());
        }
    }
    if next.is_symlink() {
        bail!("{} is a link, expected a folder, or none", next.display());
    }
    if next.is_dir() {
        check_all_ours(&next)?;
    }
    locks.push(lock(&next)?);
    let folder = next.parent().filter(|folder| !folder.as_os_str().is_empty());
    check_writable(folder.unwrap_or(Path::new(".")))?;
    Ok((next, locks))
}

/// The most bytes of a name, as file systems allow them.
const NAME_MAX: usize = 255;

/// The folder beside one that is to be replaced: `NAME.next`, or a hash of a name that is too long.
fn next(target: &Path) -> Option<PathBuf> {
    const NEXT: &str = ".next";
    let name = target.file_name()?;
    let mut stem = name.to_owned();
    if name.len() + NEXT.len() > NAME_MAX {
        stem = OsString::from(hash(&name.to_string_lossy()));
    }
    stem.push(NEXT);
    Some(target.with_file_name(stem))
}

/// Gives a run the name of the one that it replaces, which then stands in it.
fn take_place(next: &Path, target: &Path) -> io::Result<()> {
    let replaced = next.join(REPLACED);
    if !target.exists() {
        return fs::rename(next, target);
    }
    fs::rename(target, &replaced)?;
    // Where the name cannot be given, the old run has it again.
    fs::rename(next, target).inspect_err(|_| drop(fs::rename(&replaced, target)))
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
        Some(next) => fs::rename(next, path).and_then(|()| named(path)),
        None => Ok(()),
    }
}

/// Removes what a killed run left half-written.
fn remove_partials(path: &Path) -> io::Result<()> {
    for folder in [path, &path.join(CHECKPOINTS)].into_iter().filter(|folder| folder.is_dir()) {
        for name in names(folder)?.iter().filter(|name| is_partial(name)) {
            remove(&folder.join(name))?;
        }
    }
    Ok(())
}

/// Removes the run that was replaced, which stands in the one that replaced it.
fn remove_replaced(path: &Path) -> Result<(), Error> {
    let replaced = path.join(REPLACED);
    if replaced.symlink_metadata().is_ok() {
        check_all_ours(&replaced)?;
        remove(&replaced)?;
    }
    Ok(())
}
