//! The folder of a run. Every file is written under a temporary name and renamed when it is whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use systoliq_sim::Prepared;
use systoliq_sim::dump::Sink;
use systoliq_sim::trainer::Checkpoint;

use crate::failure::Failure;

/// What names of files and folders that are not whole yet start with.
const PARTIAL: &str = ".partial-";

/// The folder for checkpoints.
const CHECKPOINTS: &str = "checkpoints";

/// The folder of a run.
#[derive(Debug)]
pub(super) struct RunDirectory {
    path: PathBuf,
    experiment: Value,
}

/// A checkpoint with the experiment that it is of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved<E, C> {
    experiment: E,
    checkpoint: C,
}

impl RunDirectory {
    /// Makes the folder, and sees that it can be written. A run that starts afresh removes the
    /// checkpoints of another; one that resumes keeps them.
    pub(super) fn open(path: &Path, prepared: &Prepared, resume: bool) -> Result<Self, Failure> {
        let experiment = serde_json::to_value(&prepared.experiment).map_err(Failure::run)?;
        let directory = Self { path: path.to_owned(), experiment };
        let ready = || {
            fs::create_dir_all(path)?;
            remove_partial(path)?;
            let checkpoints = path.join(CHECKPOINTS);
            if checkpoints.is_dir() {
                remove_partial(&checkpoints)?;
                if !resume {
                    fs::remove_dir_all(&checkpoints)?;
                }
            }
            let probe = path.join(format!("{PARTIAL}probe"));
            File::create(&probe)?;
            fs::remove_file(&probe)
        };
        let cannot = || format!("cannot write to the folder {}", path.display());
        ready().with_context(cannot).map_err(Failure::input::<Error>)?;
        Ok(directory)
    }

    /// Writes a file.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        write_whole(&self.path, name, bytes).map_err(Failure::run::<Error>)
    }

    /// Writes the checkpoint of a seed.
    pub(super) fn save(&self, seed: u64, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let saved = Saved { experiment: &self.experiment, checkpoint };
        let write = || {
            let text = serde_json::to_vec(&saved)?;
            let folder = self.path.join(CHECKPOINTS);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
            write_whole(&folder, &checkpoint_name(seed), &text)
        };
        write().map_err(Failure::run::<Error>)
    }

    /// Reads the checkpoint of a seed, if there is one.
    pub(super) fn checkpoint(&self, seed: u64) -> Result<Option<Checkpoint>, Failure> {
        let path = self.path.join(CHECKPOINTS).join(checkpoint_name(seed));
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read
                .with_context(|| format!("cannot read {}", path.display()))
                .map_err(Failure::input::<Error>)?,
        };
        let saved: Saved<Value, Checkpoint> = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::input(self.damaged(seed, &error)))?;
        match difference(&saved.experiment, &self.experiment, String::new()) {
            None => Ok(Some(saved.checkpoint)),
            Some(difference) => Err(Failure::input(anyhow!(
                "cannot resume: {} is of another experiment: {difference}; resume with that \
                 experiment, or start afresh without --resume",
                path.display()
            ))),
        }
    }

    /// Says that a checkpoint cannot be used.
    pub(super) fn damaged(&self, seed: u64, error: &dyn std::fmt::Display) -> Error {
        let path = self.path.join(CHECKPOINTS).join(checkpoint_name(seed));
        anyhow!(
            "cannot resume: {} is damaged: {error}; delete it to start this seed afresh",
            path.display()
        )
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
        let (partial, whole) =
            (self.path.join(format!("{PARTIAL}dump")), self.path.join(dump_name(step)));
        let prepare = || -> Result<(), Error> {
            fs::create_dir_all(&partial)
                .with_context(|| format!("cannot make {}", partial.display()))
        };
        prepare().map_err(Failure::run::<Error>)?;
        make(&mut |name, bytes| fs::write(partial.join(name), bytes))?;
        let finish = || {
            if whole.is_dir() {
                fs::remove_dir_all(&whole)?;
            }
            fs::rename(&partial, &whole)
        };
        finish()
            .with_context(|| format!("cannot write {}", whole.display()))
            .map_err(Failure::run::<Error>)
    }
}

fn checkpoint_name(seed: u64) -> String {
    format!("seed-{seed}.json")
}

fn dump_name(step: u64) -> String {
    format!("dump-step-{step}")
}

/// Writes a file under a temporary name, then renames it.
fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let (partial, whole) = (folder.join(format!("{PARTIAL}{name}")), folder.join(name));
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, &whole)
    };
    write().with_context(|| format!("cannot write {}", whole.display()))
}

/// Removes what a killed run left half-written.
fn remove_partial(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// The first place at which two values differ, in words.
fn difference(saved: &Value, ours: &Value, path: String) -> Option<String> {
    if saved == ours {
        return None;
    }
    if let (Value::Object(saved), Value::Object(ours)) = (saved, ours) {
        let keys = saved.keys().chain(ours.keys());
        let differing = |key: &&String| saved.get(*key) != ours.get(*key);
        let key = keys.into_iter().find(differing)?;
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let null = &Value::Null;
        return difference(saved.get(key).unwrap_or(null), ours.get(key).unwrap_or(null), below);
    }
    Some(format!("{path} was {saved} and is {ours}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        let (saved, ours) = (json!({"a": {"b": 1}, "c": 2}), json!({"a": {"b": 3}, "c": 2}));
        assert_eq!(difference(&saved, &ours, String::new()).unwrap(), "a.b was 1 and is 3");
        assert_eq!(difference(&saved, &saved, String::new()), None);
        let ours = json!({"a": {"b": 1}});
        assert_eq!(difference(&saved, &ours, String::new()).unwrap(), "c was 2 and is null");
    }
}
