//! The folder of a run, read.

mod fits;

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;
use systoliq_sim::drop::Right;
use systoliq_sim::energy::EnergyUnit;
use systoliq_sim::report::check::check;
use systoliq_sim::report::{Extended, SCHEMA_VERSION};

use crate::load::files::read_text;
use crate::load::json;

/// A run, as its folder tells.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) path: PathBuf,
    pub(super) found: Found,
    /// Of a classifier.
    pub(super) predictions: Option<Predictions>,
}

/// What is compared of `report.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Found {
    pub(super) experiment: Value,
    pub(super) golden: Curve,
    pub(super) fixed: Curve,
    pub(super) seeds: Vec<Seed>,
    pub(super) cycles: Total<u64>,
    pub(super) energy_pj: Total<f64>,
    pub(super) hardware: Hardware,
    pub(super) precision: Vec<Tensor>,
    pub(super) test_fingerprint: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Hardware {
    pub(super) energy_unit: EnergyUnit,
}

#[derive(Debug, Deserialize)]
pub(super) struct Curve {
    pub(super) error_rate: Vec<Option<f64>>,
    pub(super) loss_bits: Vec<Extended>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Seed {
    pub(super) seed: u64,
    pub(super) fixed: Outcome,
}

#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    /// Which test samples it gets right; nothing for a regression.
    pub(super) right: Option<Right>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Total<T> {
    pub(super) total: T,
}

/// What happened to one tensor.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Tensor {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub(super) struct Figures {
    pub(super) format: String,
    pub(super) sqnr_db: Option<Extended>,
    pub(super) saturation_rate: f64,
    pub(super) underflow_rate: f64,
    pub(super) stalled_rate: Option<f64>,
}

/// The classes of `predictions.csv`, sample by sample.
#[derive(Debug)]
pub(super) struct Predictions {
    pub(super) labels: Vec<u32>,
    pub(super) fixed: Vec<Option<u32>>,
}

impl Run {
    /// Reads the folder of a run that is done.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display();
        let expected = "expected the folder of a run, as `systoliq train --out` makes it";
        if !path.exists() {
            bail!("{name}: no such folder; {expected}");
        }
        if !path.is_dir() {
            bail!("{name} is a file; {expected}");
        }
        let report = path.join("report.json");
        if !report.exists() {
            bail!("{name} holds no report.json; {expected} at its end");
        }
        let file = report.display();
        let text = read_text(&report)?;
        let value = json::parse(&text).map_err(|error| anyhow!("{file}:{error}"))?;
        match &value["schema_version"] {
            version if *version == SCHEMA_VERSION => {}
            Value::Null => bail!("{file} has no schema_version; {expected}"),
            version => bail!("{file}: schema_version is {version}, expected {SCHEMA_VERSION}"),
        }
        let found: Found = serde_path_to_error::deserialize(&value)
            .map_err(|error| anyhow!("{file}: {}: {}", error.path(), error.inner()))?;
        check(&value).map_err(|problem| anyhow!("{file}: no report of a run: {problem}"))?;
        let classifier = found.fixed.error_rate.last().is_some_and(Option::is_some);
        let predictions = classifier.then(|| Predictions::read(&path.join("predictions.csv")));
        let predictions = predictions.transpose()?;
        let samples = predictions.as_ref().map_or(0, |predictions| predictions.labels.len());
        let right = found.seeds.iter().filter_map(|seed| seed.fixed.right.as_ref());
        if let Some(other) = right.map(Right::len).find(|&other| other != samples) {
            bail!("{file}: a seed has {other} test samples, predictions.csv {samples}");
        }
        if let Some(predictions) = &predictions {
            fits::check(&found, predictions).map_err(|problem| anyhow!("{file}: {problem}"))?;
        }
        Ok(Self { path: path.to_owned(), found, predictions })
    }

    /// Its first seed.
    pub(super) fn seed(&self) -> u64 {
        self.found.experiment["seed"].as_u64().unwrap_or_default()
    }
}

/// The first line of `predictions.csv`.
const HEADER: &str = "sample,label,golden,fixed";

impl Predictions {
    fn read(path: &Path) -> Result<Self, Error> {
        let text = read_text(path)?;
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        if header != HEADER {
            bail!("{}:1: {header:?}, expected {HEADER:?}", path.display());
        }
        let mut read = Self { labels: Vec::new(), fixed: Vec::new() };
        for (at, line) in lines.enumerate() {
            let (label, fixed) = row(line, at).with_context(|| {
                let expected = format!("expected {at},LABEL,GOLDEN,FIXED");
                format!("{}:{}: {line:?}, {expected}", path.display(), at + 2)
            })?;
            read.labels.push(label);
            read.fixed.push(fixed);
        }
        Ok(read)
    }
}

/// Label and class in fixed point of one row, which is that of sample `at`.
fn row(line: &str, at: usize) -> Option<(u32, Option<u32>)> {
    let cells: Vec<&str> = line.split(',').collect();
    let [sample, label, golden, fixed] = cells[..] else { return None };
    let class = |cell: &str| if cell.is_empty() { Some(None) } else { cell.parse().ok().map(Some) };
    class(golden)?;
    (sample.parse() == Ok(at)).then_some((label.parse().ok()?, class(fixed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_strictly() {
        assert_eq!(row("0,3,4,5", 0), Some((3, Some(5))));
        assert_eq!(row("7,3,,", 7), Some((3, None)));
        for bad in ["1,3,4,5", "0,3,4", "0,3,4,5,6", "0,,4,5", "0,x,4,5", "0,3,-1,5", ""] {
            assert_eq!(row(bad, 0), None, "{bad}");
        }
    }
}
