//! The folder of a sweep.
//!
//! `sweep.json` says what it is of, and is there first. `points.jsonl` has a line for each run that has
//! ended, appended and synced, and in the end in the order of the sweep. The rest is written at the
//! end, each under a temporary name and renamed when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use systoliq_explore::{Analysis, Journal, Key, Lines, Store, Sweep, results_csv, runs_csv};

use super::{POINTS, point_name};
use crate::failure::{Failure, warn};
use crate::folder;
use crate::load::files::{open_regular, read_text};
use crate::whole::{PARTIAL, write_whole};

/// What the sweep is.
const MANIFEST: &str = "sweep.json";

/// What its runs found.
const STORE: &str = "points.jsonl";

/// What is written at the end.
const RESULTS: [&str; 4] = ["results.csv", "runs.csv", "analysis.json", "timing.json"];

/// The folder of a sweep.
pub(super) struct SweepDirectory {
    path: PathBuf,
    /// Held until the sweep ends.
    _lock: File,
}

/// What `sweep.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// The version of the program that ran it.
    version: String,
    /// The sweep, with files in place of their paths.
    sweep: Value,
}

impl SweepDirectory {
    /// Makes the folder for a sweep whose runs have these keys, or goes on with what it holds; with
    /// the store that runs append to.
    pub(super) fn open(
        path: &Path,
        sweep: &Sweep,
        keys: &[Key],
        resume: bool,
    ) -> Result<(Self, Store), Failure> {
        let cannot = || format!("cannot write to the folder {}", path.display());
        let lock = folder::lock(path).with_context(cannot).map_err(Failure::input::<Error>)?;
        let sweep = serde_json::to_value(sweep.spec()).map_err(Failure::run)?;
        let manifest = Manifest { version: env!("CARGO_PKG_VERSION").to_owned(), sweep };
        let prepare = || -> Result<Lines, Error> {
            let known = check_manifest(path, &manifest, resume)?;
            remove_partial(path)?;
            if !known {
                let text = serde_json::to_string_pretty(&manifest)? + "\n";
                write_whole(&path.join(MANIFEST), |file| file.write_all(text.as_bytes()))?;
            }
            let mut lines = read_store(&path.join(STORE))?;
            read_points(&path.join(POINTS), keys, &mut lines)?;
            Ok(lines)
        };
        let lines = prepare().map_err(Failure::input)?;
        let store = path.join(STORE);
        let file = OpenOptions::new().append(true).create(true).open(&store);
        let file = file.with_context(|| format!("cannot write {}", store.display()));
        let journal = Appended(file.map_err(Failure::run::<Error>)?);
        Ok((Self { path: path.to_owned(), _lock: lock }, Store::new(lines, journal)))
    }

    /// Writes what was found, when all is done; the sweep took so long with so many jobs.
    pub(super) fn finish(
        &self,
        lines: &Lines,
        keys: &[Key],
        (sweep, analysis): (&Sweep, &Analysis),
        (elapsed, jobs): (Duration, usize),
    ) -> Result<(), Failure> {
        let json = |value: &Value| format!("{value:#}\n");
        let timing = json!({ "seconds": elapsed.as_secs_f64(), "jobs": jobs, "runs": keys.len() });
        let analysed = serde_json::to_string_pretty(analysis).map_err(Failure::run)? + "\n";
        let texts = [
            results_csv(analysis),
            runs_csv(sweep, analysis, keys, lines),
            analysed,
            json(&timing),
        ];
        let write = || -> Result<(), Error> {
            let store = lines.in_order(keys.iter().copied());
            write_whole(&self.path.join(STORE), |file| file.write_all(store.as_bytes()))?;
            for (name, text) in RESULTS.iter().zip(texts) {
                write_whole(&self.path.join(name), |file| file.write_all(text.as_bytes()))?;
            }
            Ok(())
        };
        write().map_err(Failure::run)
    }
}

/// A file whose lines are on disk when they are appended.
struct Appended(File);

impl Journal for Appended {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.sync_data()
    }
}

/// Whether the folder holds this sweep already.
fn check_manifest(path: &Path, ours: &Manifest, resume: bool) -> Result<bool, Error> {
    let shown = path.display();
    let held = [MANIFEST, STORE, POINTS].into_iter().find(|name| path.join(name).exists());
    match held {
        None => return Ok(false),
        Some(name) if !resume => bail!(
            "{shown} holds the results of a sweep ({name}): --resume goes on with it, or choose \
             another folder"
        ),
        Some(MANIFEST) => {}
        Some(STORE) => bail!("cannot resume: {shown} has {STORE}, but no {MANIFEST}"),
        Some(_) => return Ok(false),
    }
    let file = path.join(MANIFEST);
    let saved: Manifest = serde_json::from_str(&read_text(&file)?)
        .with_context(|| format!("cannot resume: {} is damaged", file.display()))?;
    let other = |what: String| {
        anyhow!("cannot resume: {shown} holds {what}; resume with that, or choose another folder")
    };
    if saved.version != ours.version {
        return Err(other(format!("a sweep of version {}", saved.version)));
    }
    match folder::difference(&saved.sweep, &ours.sweep) {
        Some(difference) => Err(other(format!("another sweep: {difference}"))),
        None => Ok(true),
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
        let cut = OpenOptions::new().write(true).open(path).and_then(|file| {
            file.set_len(whole)?;
            file.sync_all()
        });
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

/// Adds what `systoliq point` has left of the runs with these keys.
fn read_points(folder: &Path, keys: &[Key], lines: &mut Lines) -> Result<(), Error> {
    if !folder.is_dir() {
        return Ok(());
    }
    for &key in keys {
        if lines.done(key).is_some() {
            continue;
        }
        let path = folder.join(point_name(key));
        if path.is_file() {
            let file = open_regular(&path)?;
            lines.read(BufReader::new(file)).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Removes what a sweep that was killed left half-written.
fn remove_partial(path: &Path) -> Result<(), Error> {
    for name in [MANIFEST, STORE].iter().chain(&RESULTS) {
        let partial = path.join(format!("{PARTIAL}{name}"));
        if partial.is_file() {
            fs::remove_file(&partial)?;
        }
    }
    Ok(())
}
