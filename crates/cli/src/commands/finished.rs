//! Folders that `train`, `sweep` and `search` have written, read again.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use systoliq_explore::{Analysis, Lines, Sweep, SweepSpec};
use systoliq_study::report::SCHEMA_VERSION;
use systoliq_study::report::check::check;

use super::sweep::trial;
use crate::failure::warn;
use crate::folder::difference;
use crate::run_folder::other_semantics;
use systoliq_load::files::{open_regular, read_text};
use systoliq_load::json;

/// What a run leaves.
pub(super) const RUN: &str = "report.json";

/// What a sweep leaves at its end.
pub(super) const SWEEP: &str = "analysis.json";

/// What says of which sweep a folder is.
pub(super) const MANIFEST: &str = "sweep.json";

/// The runs of a sweep or a search.
pub(super) const STORE: &str = "points.jsonl";

/// What is expected where a folder is of no run.
pub(super) const EXPECTED: &str =
    "expected the folder of a run, as `systoliq train --out` makes it";

/// The report of a run that is done, in its folder; else a message ends with what was `expected`.
///
/// # Errors
///
/// If there is none, or one that no run of this version has written.
pub(super) fn run_report(folder: &Path, expected: &str) -> Result<(PathBuf, Value), Error> {
    let name = folder.display();
    if !folder.exists() {
        bail!("{name}: no such folder; {expected}");
    }
    if !folder.is_dir() {
        bail!("{name} is a file; {expected}");
    }
    let path = folder.join(RUN);
    if !path.exists() {
        bail!("{name} holds no {RUN}; {expected} at its end");
    }
    let file = path.display();
    let text = read_text(&path)?;
    let report = json::parse(&text).map_err(|error| anyhow!("{file}:{error}"))?;
    match &report["schema_version"] {
        version if *version == SCHEMA_VERSION => {}
        Value::Null => bail!("{file} has no schema_version; {expected}"),
        version => bail!("{file}: schema_version is {version}, expected {SCHEMA_VERSION}"),
    }
    Ok((path, report))
}

/// The same, with nothing that contradicts itself.
///
/// # Errors
///
/// Those of [`run_report`], or if it does.
pub(super) fn checked_report(folder: &Path, expected: &str) -> Result<(PathBuf, Value), Error> {
    let (path, report) = run_report(folder, expected)?;
    let problem = |problem| anyhow!("{}: no report of a run: {problem}", path.display());
    check(&report).map_err(problem)?;
    Ok((path, report))
}

/// A sweep that is done, and what follows from its runs.
pub(super) struct FinishedSweep {
    pub(super) analysis: Analysis,
    pub(super) lines: Lines,
}

impl FinishedSweep {
    /// Reads the folder of a sweep; with a warning where its analysis is not that of its runs.
    ///
    /// # Errors
    ///
    /// If anything is missing, or not of this version.
    pub(super) fn read(folder: &Path) -> Result<Self, Error> {
        let analysis: Analysis = result(&folder.join(SWEEP), "sweep", Analysis::LAYOUT)?;
        let path = folder.join(STORE);
        let mut lines = Lines::default();
        lines.read(opened(&path)?).with_context(|| path.display().to_string())?;
        let mends = "`systoliq sweep --resume` mends the folder";
        let done = analysis.points.iter().filter(|point| point.costs.is_some());
        if let Some(key) =
            done.flat_map(|point| &point.keys).find(|key| lines.done(**key).is_none())
        {
            bail!("{}: no run {key}, which {SWEEP} has; {mends}", path.display());
        }
        let sweep = Manifest::read(folder)?.sweep(folder)?;
        let key = |point, seed| trial(&sweep, point, seed).key();
        let again = analysis.again(&sweep, &lines, &key);
        let [ours, theirs] = [&again, &analysis].map(serde_json::to_value);
        if let Some(difference) = difference(&ours?, &theirs?) {
            let path = folder.join(SWEEP);
            let other = format!(
                "other figures than {STORE} gives, by which is drawn: {difference}; {mends}"
            );
            warn(&path.display(), &[other]);
        }
        Ok(Self { analysis: again, lines })
    }

    /// Checks that the runs of a folder mean what runs of this program do.
    ///
    /// # Errors
    ///
    /// If they were made by another.
    pub(super) fn check_semantics(folder: &Path) -> Result<(), Error> {
        let manifest = Manifest::read(folder)?;
        match other_semantics(&folder.join(MANIFEST), manifest.semantics.as_ref()) {
            None => Ok(()),
            Some(problem) => bail!(problem),
        }
    }
}

/// What says of which sweep a folder is.
#[derive(Deserialize)]
struct Manifest {
    semantics: Option<Value>,
    sweep: SweepSpec,
}

impl Manifest {
    fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(MANIFEST);
        serde_json::from_reader(opened(&path)?).with_context(|| unreadable(&path))
    }

    fn sweep(self, folder: &Path) -> Result<Sweep, Error> {
        Sweep::new(self.sweep, true).with_context(|| unreadable(&folder.join(MANIFEST)))
    }
}

fn unreadable(path: &Path) -> String {
    format!("{}: no sweep that this version can read", path.display())
}

/// What a sweep or a search has found, of the layout that is known.
///
/// # Errors
///
/// If it cannot be read, or is of another.
pub(super) fn result<T: DeserializeOwned>(path: &Path, of: &str, known: u32) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Versioned {
        schema_version: u64,
    }
    let what = || format!("{}: no results of a {of} that this version can read", path.display());
    let Versioned { schema_version } = serde_json::from_reader(opened(path)?).with_context(what)?;
    if schema_version != u64::from(known) {
        let path = path.display();
        bail!("{path}: layout {schema_version} of a {of}'s results, expected {known}");
    }
    serde_json::from_reader(opened(path)?).with_context(what)
}

fn opened(path: &Path) -> Result<BufReader<File>, Error> {
    let file = open_regular(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::new(file))
}
