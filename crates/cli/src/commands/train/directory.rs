//! The folder of a run. Every file is written under a temporary name and renamed when it is whole.
//!
//! Only what a run itself writes is ever removed: `report.json`, `curves.csv`, `predictions.csv`,
//! `timing.json`, `checkpoints/seed-N.json`, `dump-step-S/` and temporary names of these.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use systoliq_keyed_random::Key;
use systoliq_sim::Prepared;
use systoliq_sim::dump::Sink;
use systoliq_sim::trainer::Checkpoint;

use crate::failure::Failure;
use crate::folder::{self, difference};
use crate::load::files::open_regular;
use crate::whole::{PARTIAL, write_whole};

/// The folder for checkpoints.
const CHECKPOINTS: &str = "checkpoints";

/// What a run writes at its end.
const RESULTS: [&str; 4] = ["report.json", "curves.csv", "predictions.csv", "timing.json"];

/// The folder of a run.
#[derive(Debug)]
pub(super) struct RunDirectory {
    path: PathBuf,
    experiment: Value,
    /// Held until the run ends.
    _lock: File,
}

/// The first line of a checkpoint; its second is the checkpoint itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The version of the program that wrote it.
    version: String,
    /// The experiment that it is of.
    experiment: Value,
    /// The fingerprint of the data.
    data: String,
    /// The hash of the second line.
    hash: String,
}

impl RunDirectory {
    /// Makes the folder, and sees that it can be written and nobody else writes to it. A run that
    /// starts afresh removes what another left; one that resumes keeps it.
    pub(super) fn open(path: &Path, prepared: &Prepared, resume: bool) -> Result<Self, Failure> {
        let ready = || {
            folder::check_kind(path, "run")?;
            let lock = folder::lock(path)?;
            let checkpoints = path.join(CHECKPOINTS);
            let in_the_way = |path: PathBuf, is: &str| anyhow!("{} is {is}", path.display());
            if let Some(name) = RESULTS.iter().find(|name| path.join(name).is_dir()) {
                return Err(in_the_way(path.join(name), "a folder, expected a file"));
            }
            if checkpoints.exists() && !checkpoints.is_dir() {
                return Err(in_the_way(checkpoints, "a file, expected a folder"));
            }
            remove_ours(path, !(resume && holds_checkpoints(&checkpoints)?))?;
            Ok(lock)
        };
        let cannot = || format!("cannot write to the folder {}", path.display());
        let lock = ready().with_context(cannot).map_err(Failure::input::<Error>)?;
        let experiment = serde_json::to_value(&prepared.experiment).map_err(Failure::run)?;
        Ok(Self { path: path.to_owned(), experiment, _lock: lock })
    }

    /// Writes a file.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        write_bytes(&self.path.join(name), bytes).map_err(Failure::run::<Error>)
    }

    /// Writes the checkpoint of a seed, trained on data of this fingerprint.
    pub(super) fn save(
        &self,
        seed: u64,
        data: u64,
        checkpoint: &Checkpoint,
    ) -> Result<(), Failure> {
        let write = || {
            let payload = serde_json::to_string(checkpoint)?;
            let header = Header {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                experiment: self.experiment.clone(),
                data: hex(data),
                hash: hash(&payload),
            };
            let text = serde_json::to_string(&header)? + "\n" + &payload + "\n";
            let folder = self.path.join(CHECKPOINTS);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
            write_bytes(&folder.join(checkpoint_name(seed)), text.as_bytes())
        };
        write().map_err(Failure::run::<Error>)
    }

    /// Reads the checkpoint of a seed, if there is one; it must be of this experiment and of data
    /// of this fingerprint.
    pub(super) fn checkpoint(&self, seed: u64, data: u64) -> Result<Option<Checkpoint>, Failure> {
        let path = self.path.join(CHECKPOINTS).join(checkpoint_name(seed));
        if !path.exists() {
            return Ok(None);
        }
        let read = || {
            let mut text = String::new();
            open_regular(&path)?.read_to_string(&mut text)?;
            Ok::<_, io::Error>(text)
        };
        let text = read()
            .with_context(|| format!("cannot read {}", path.display()))
            .map_err(Failure::input::<Error>)?;
        let (header, payload) = text.split_once('\n').unwrap_or((&text, ""));
        let payload = payload.trim_end_matches('\n');
        let damaged = |error: &dyn std::fmt::Display| Failure::input(self.damaged(seed, error));
        let header: Header = serde_json::from_str(header).map_err(|error| damaged(&error))?;
        if header.hash != hash(payload) {
            return Err(damaged(&"its hash does not fit its content"));
        }
        let other = |what: String| {
            Failure::input(anyhow!(
                "cannot resume: {} is of {what}; resume with that, or start afresh without \
                 --resume",
                path.display()
            ))
        };
        if header.version != env!("CARGO_PKG_VERSION") {
            return Err(other(format!("version {}", header.version)));
        }
        if let Some(difference) = difference(&header.experiment, &self.experiment) {
            return Err(other(format!("another experiment: {difference}")));
        }
        if header.data != hex(data) {
            return Err(other("other data under the same name".to_owned()));
        }
        serde_json::from_str(payload).map(Some).map_err(|error| damaged(&error))
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
        let partial = self.path.join(format!("{PARTIAL}dump"));
        let whole = self.path.join(dump_name(step));
        let cannot = || format!("cannot write {}", whole.display());
        fs::create_dir_all(&partial).with_context(cannot).map_err(Failure::run::<Error>)?;
        let made = make(&mut |name, bytes| fs::write(partial.join(name), bytes));
        let finish = || {
            if whole.is_dir() {
                fs::remove_dir_all(&whole)?;
            }
            fs::rename(&partial, &whole)
        };
        let done = made.and_then(|()| finish().with_context(cannot).map_err(Failure::run::<Error>));
        if done.is_err() {
            // The failure is what the user has to know; what is left goes at the next run.
            let _ = fs::remove_dir_all(&partial);
        }
        done
    }
}

fn checkpoint_name(seed: u64) -> String {
    format!("seed-{seed}.json")
}

fn dump_name(step: u64) -> String {
    format!("dump-step-{step}")
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn hash(text: &str) -> String {
    hex(Key::new(0).with_name(text).value())
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

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let name =
        |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    fs::read_dir(folder)?.map(name).collect()
}

fn holds_checkpoints(folder: &Path) -> io::Result<bool> {
    let checkpoint = |name: &String| is_numbered(name, "seed-", ".json");
    Ok(folder.is_dir() && names(folder)?.iter().any(checkpoint))
}

/// Removes what a killed run left half-written and, to start `afresh`, all that a run writes.
fn remove_ours(path: &Path, afresh: bool) -> io::Result<()> {
    let checkpoints = path.join(CHECKPOINTS);
    for folder in [path, &checkpoints].into_iter().filter(|folder| folder.is_dir()) {
        for name in names(folder)? {
            let entry = folder.join(&name);
            let result = folder == path && RESULTS.contains(&name.as_str());
            let checkpoint = folder == checkpoints && is_numbered(&name, "seed-", ".json");
            let dump = folder == path
                && is_numbered(&name, "dump-step-", "")
                && entry.join("manifest.json").is_file();
            if name.starts_with(PARTIAL) || afresh && (result || checkpoint || dump) {
                if entry.is_dir() {
                    fs::remove_dir_all(&entry)?;
                } else {
                    fs::remove_file(&entry)?;
                }
            }
        }
    }
    Ok(())
}
