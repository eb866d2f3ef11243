//! The folder of a sweep: [a folder of runs](crate::run_folder) whose manifest is `sweep.json`, with
//! what `systoliq point` has left there, and in the end tables and analysis.

use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Error};
use serde_json::json;
use systoliq_explore::{Analysis, Lines, RunKey, RunStore, Sweep, results_csv, runs_csv};

use super::{POINTS, point_name};
use crate::failure::Failure;
use crate::run_folder::{FolderKind, RunFolder};
use crate::whole::remove_abandoned;
use systoliq_load::files::open_regular;

/// What is written at the end.
const RESULTS: [&str; 4] = ["results.csv", "runs.csv", "analysis.json", "timing.json"];

const SWEEP: FolderKind = FolderKind {
    what: "sweep",
    manifest: "sweep.json",
    beforehand: Some(POINTS),
    results: &RESULTS,
    page_of: "analysis.json",
};

/// The folder of a sweep.
pub(super) struct SweepDirectory(RunFolder);

impl SweepDirectory {
    /// Makes the folder for a sweep whose runs have these keys, or goes on with what it holds; with
    /// the store that runs append to.
    pub(super) fn open(
        path: &Path,
        sweep: &Sweep,
        keys: &[RunKey],
        resume: bool,
    ) -> Result<(Self, RunStore), Failure> {
        let subject = serde_json::to_value(sweep.spec()).map_err(Failure::run)?;
        let (folder, mut lines) = RunFolder::open(path, &SWEEP, &subject, resume)?;
        let points = folder.path(POINTS);
        if points.is_dir() {
            let ours = |name: &str| {
                name.strip_suffix(".json").is_some_and(|key| key.parse::<RunKey>().is_ok())
            };
            let removed = remove_abandoned(&points, ours);
            removed
                .with_context(|| format!("cannot write to the folder {}", points.display()))
                .map_err(Failure::input::<Error>)?;
        }
        read_points(&folder.path(POINTS), keys, &mut lines).map_err(Failure::input)?;
        let store = folder.store(lines)?;
        Ok((Self(folder), store))
    }

    /// Writes what was found, when all is done; the sweep took so long with so many jobs.
    pub(super) fn finish(
        &self,
        lines: &Lines,
        keys: &[RunKey],
        (sweep, analysis): (&Sweep, &Analysis),
        (elapsed, jobs): (Duration, usize),
    ) -> Result<(), Failure> {
        let timing = json!({ "seconds": elapsed.as_secs_f64(), "jobs": jobs, "runs": keys.len() });
        let analysed = serde_json::to_string_pretty(analysis).map_err(Failure::run)? + "\n";
        let texts = [
            results_csv(analysis),
            runs_csv(sweep, analysis, keys, lines),
            analysed,
            format!("{timing:#}\n"),
        ];
        let write = || -> Result<(), Error> {
            self.0.finish_store(&lines.in_order(keys.iter().copied()))?;
            RESULTS.iter().zip(texts).try_for_each(|(name, text)| self.0.write(name, &text))
        };
        write().map_err(Failure::run)
    }
}

/// Adds what `systoliq point` has left of the runs with these keys.
fn read_points(folder: &Path, keys: &[RunKey], lines: &mut Lines) -> Result<(), Error> {
    if !folder.is_dir() {
        return Ok(());
    }
    for &key in keys {
        if lines.done(key).is_some() {
            continue;
        }
        let path = folder.join(point_name(key));
        if path.is_file() {
            let cannot = || format!("cannot read {}", path.display());
            let file = open_regular(&path).with_context(cannot)?;
            lines.read(BufReader::new(file)).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
