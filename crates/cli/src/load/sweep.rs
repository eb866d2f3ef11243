//! Reads a sweep: its experiment like any other, and values on its axes that are paths of files.

use std::path::Path;

use anyhow::{Error, anyhow};
use serde_json::Value;
use systoliq_explore::{AxisSpec, Bundle, Paths, Sweep, SweepAxis, SweepSpec};
use systoliq_run::path;

use crate::failure::Failure;
use systoliq_load::document::{Document, DocumentLayout};
use systoliq_load::{placed, typed};

/// A sweep that has been read and checked.
pub struct LoadedSweep {
    /// The sweep.
    pub sweep: Sweep,
    document: Document,
}

impl LoadedSweep {
    /// Says that no point can be run, as this is wrong with the experiment of the first, and where in
    /// its files it is.
    pub fn refuse(&self, problem: &str) -> Failure {
        let word = problem.split([' ', ',']).next().unwrap_or_default().trim_end_matches(':');
        let names = path::split(word).unwrap_or_default();
        let set = |axis: &SweepAxis| {
            axis.paths.iter().any(|path| path.starts_with(word) || word.starts_with(path.as_str()))
        };
        let from_axis = self.sweep.axes().iter().any(set);
        let names: Vec<String> = ["experiment".to_owned()].into_iter().chain(names).collect();
        let place = match names.len() > 1 && !from_axis {
            true => self.document.origin(&names),
            false => self.document.name().to_owned(),
        };
        Failure::input(anyhow!("{place}: no point can be run; the first: {problem}"))
    }

    /// Says what is wrong with the sweep as a whole.
    pub fn refuse_whole(&self, problem: &str) -> Failure {
        Failure::input(anyhow!("{}: {problem}", self.document.name()))
    }
}

/// Reads and checks a sweep; `set` overrides its values as `--set` does. `many` allows any number
/// of runs.
///
/// # Errors
///
/// If a file or an override is at fault, or the sweep is impossible.
pub fn read(file: &Path, set: &[String], many: bool) -> Result<LoadedSweep, Failure> {
    let read = || -> Result<LoadedSweep, Error> {
        let mut document = Document::read(file, DocumentLayout::SWEEP)?;
        set.iter().try_for_each(|argument| document.set(argument))?;
        let mut spec: SweepSpec = typed(&document)?;
        Sweep::check_size(&spec, many).map_err(|error| placed(&document, error))?;
        for (at, axis) in spec.axes.iter_mut().enumerate() {
            resolve(&document, at, axis)?;
        }
        let sweep = Sweep::new(spec, many).map_err(|error| placed(&document, error))?;
        Ok(LoadedSweep { sweep, document })
    };
    read().map_err(Failure::input)
}

/// Puts what files hold in place of their paths. Values that change by that become bundles of the
/// name that was stated.
fn resolve(document: &Document, at: usize, axis: &mut AxisSpec) -> Result<(), Error> {
    let at = at.to_string();
    for (index, bundle) in axis.bundles.iter_mut().flatten().enumerate() {
        let index = index.to_string();
        for (path, value) in &mut bundle.set {
            let stated = ["axes", &at, "bundles", &index, "set", path];
            *value = resolved(document, &stated, path, value)?;
        }
    }
    let (Some(paths), Some(values)) = (&axis.path, &axis.values) else { return Ok(()) };
    let paths = match paths {
        Paths::One(path) => std::slice::from_ref(path),
        Paths::Several(paths) => paths,
    };
    let mut bundles = Vec::new();
    for (index, value) in values.0.iter().enumerate() {
        let index = index.to_string();
        let set = |path: &String| {
            let stated = ["axes", &at, "values", &index];
            Ok::<_, Error>((path.clone(), resolved(document, &stated, path, value)?))
        };
        let name = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        bundles.push(Bundle { name, set: paths.iter().map(set).collect::<Result<_, _>>()? });
    }
    let as_stated =
        |(bundle, value): (&Bundle, &Value)| bundle.set.values().all(|set| set == value);
    if !bundles.iter().zip(&values.0).all(as_stated) {
        let name = axis.name.take().or_else(|| paths.first().filter(|_| paths.len() == 1).cloned());
        *axis = AxisSpec { name, path: None, values: None, bundles: Some(bundles) };
    }
    Ok(())
}

/// A value that is stated somewhere as it is at `path` of the experiment.
fn resolved(
    document: &Document,
    stated: &[&str],
    path: &str,
    value: &Value,
) -> Result<Value, Error> {
    // Only these hold paths of files. A path that is none is refused where the sweep is checked.
    match (value, path::split(path)) {
        (Value::String(_) | Value::Object(_), Ok(names)) => {
            let names: Vec<String> = ["experiment".to_owned()].into_iter().chain(names).collect();
            document.moved(stated, &names, value)
        }
        _ => Ok(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn files_on_an_axis_are_read_from_the_folder_of_the_sweep_and_named_by_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: Value| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value.to_string()).unwrap();
        };
        write("x.json", json!({ "seed": 1, "accelerator": "hw/small.json", "network": {} }));
        write("hw/small.json", json!({ "array": { "rows": 2, "cols": 2 } }));
        write("hw/large.json", json!({ "array": { "rows": 8, "cols": 8 }, "energy": "e.json" }));
        write("hw/e.json", json!({ "name": "own" }));
        let sweep = json!({
            "name": "s",
            "experiment": "../x.json",
            "axes": [
                { "path": "accelerator", "values": ["../hw/small.json", "../hw/large.json"] },
                { "path": "precision.error", "values": ["Q2.6", "Q2.2"] },
                { "name": "data", "bundles": [
                    { "name": "m", "set": { "dataset": { "kind": "idx", "dir": "mnist" } } }
                ] }
            ]
        });
        write("sweeps/s.json", sweep.clone());
        let file = folder.path().join("sweeps/s.json");
        let read = super::read(&file, &[], false).unwrap().sweep;
        assert_eq!(read.points(), 4);
        assert_eq!(read.settings(3)["accelerator"], "../hw/large.json");
        let experiment = read.experiment(3, 1);
        let energy = json!({ "array": { "rows": 8, "cols": 8 }, "energy": { "name": "own" } });
        assert_eq!(experiment["accelerator"], energy);
        assert_eq!(experiment["precision"]["error"], "Q2.2");
        let dir = folder.path().join("sweeps/mnist");
        assert_eq!(experiment["dataset"]["dir"], dir.to_str().unwrap());

        let mut absent = sweep;
        absent["axes"][0]["values"][1] = "absent.json".into();
        write("sweeps/s.json", absent);
        let message = super::read(&file, &[], false).err().unwrap().message();
        let named = message.contains("s.json:1:") && message.contains("absent.json: no such file");
        assert!(named, "{message}");
    }
}
