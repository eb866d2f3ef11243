//! The folder of a run, read.

mod fits;

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;
use systoliq_energy::EnergyUnit;
use systoliq_nn::DataSpec;
use systoliq_nn::Extended;
use systoliq_run::Right;
use systoliq_run::trainer::Sqnr;
use systoliq_study::report::check::check;

use crate::commands::finished::{EXPECTED, run_report};
use systoliq_load::files::read_text;

/// A run, as its folder tells.
#[derive(Debug)]
pub(super) struct FinishedRun {
    pub(super) path: PathBuf,
    pub(super) found: FinishedReport,
    /// Of a classifier.
    pub(super) predictions: Option<PredictedClasses>,
    /// Of a regression.
    pub(super) outputs: Option<PredictedOutputs>,
}

/// What is compared of `report.json`.
#[derive(Debug, Deserialize)]
pub(super) struct FinishedReport {
    pub(super) experiment: Value,
    pub(super) golden: FinishedCurve,
    pub(super) fixed: FinishedCurve,
    pub(super) seeds: Vec<FinishedSeed>,
    pub(super) cycles: Total<u64>,
    pub(super) energy_pj: Total<f64>,
    pub(super) hardware: Hardware,
    pub(super) precision: Vec<FinishedTensor>,
    pub(super) test_fingerprint: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Hardware {
    pub(super) energy_unit: EnergyUnit,
}

#[derive(Debug, Deserialize)]
pub(super) struct FinishedCurve {
    pub(super) error_rate: Vec<Option<f64>>,
    pub(super) loss_bits: Vec<Extended>,
    pub(super) ended_worse: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct FinishedSeed {
    pub(super) seed: u64,
    pub(super) fixed: FinishedOutcome,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct FinishedOutcome {
    /// Which test samples it gets right; nothing for a regression.
    pub(super) right: Option<Right>,
    pub(super) loss_bits: Option<Extended>,
    pub(super) ended_worse: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Total<T> {
    pub(super) total: T,
}

/// What happened to one tensor.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct FinishedTensor {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) figures: TensorFigures,
}

#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub(super) struct TensorFigures {
    pub(super) format: String,
    #[serde(flatten)]
    pub(super) sqnr: Sqnr,
    pub(super) saturation_rate: f64,
    pub(super) underflow_rate: f64,
    pub(super) stalled_rate: Option<f64>,
}

/// The classes of `predictions.csv`, sample by sample.
#[derive(Debug)]
pub(super) struct PredictedClasses {
    pub(super) labels: Vec<u32>,
    pub(super) fixed: Vec<Option<u32>>,
}

impl FinishedRun {
    /// Reads the folder of a run that is done.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let (report, value) = run_report(path, EXPECTED)?;
        let file = report.display();
        let found: FinishedReport = serde_path_to_error::deserialize(&value)
            .map_err(|error| anyhow!("{file}: {}: {}", error.path(), error.inner()))?;
        check(&value).map_err(|problem| anyhow!("{file}: no report of a run: {problem}"))?;
        let classifier = found.fixed.error_rate.last().is_some_and(Option::is_some);
        let predictions = classifier.then(|| PredictedClasses::read(&path.join("predictions.csv")));
        let predictions = predictions.transpose()?;
        let outputs = (!classifier).then(|| PredictedOutputs::read(&path.join("predictions.csv")));
        let outputs = outputs.transpose()?;
        let samples = predictions.as_ref().map_or(0, |predictions| predictions.labels.len());
        let right = found.seeds.iter().filter_map(|seed| seed.fixed.right.as_ref());
        if let Some(other) = right.map(Right::len).find(|&other| other != samples) {
            bail!("{file}: a seed has {other} test samples, predictions.csv {samples}");
        }
        if let Some(predictions) = &predictions {
            fits::check(&found, predictions).map_err(|problem| anyhow!("{file}: {problem}"))?;
        }
        Ok(Self { path: path.to_owned(), found, predictions, outputs })
    }

    /// Its first seed.
    pub(super) fn seed(&self) -> u64 {
        self.found.experiment["seed"].as_u64().unwrap_or_default()
    }

    /// What each of its seeds ended with in fixed point, the first one first.
    pub(super) fn outcomes(&self) -> Vec<(u64, FinishedOutcome)> {
        if !self.found.seeds.is_empty() {
            return self.found.seeds.iter().map(|seed| (seed.seed, seed.fixed.clone())).collect();
        }
        let fixed = &self.found.fixed;
        let right = self.predictions.as_ref().map(|of| Right::new(&of.labels, &of.fixed));
        let (loss_bits, ended_worse) = (fixed.loss_bits.last().copied(), fixed.ended_worse);
        vec![(self.seed(), FinishedOutcome { right, loss_bits, ended_worse })]
    }

    /// Whether test samples of a regression share inputs.
    pub(super) fn overlaps(&self) -> bool {
        let data = serde_json::from_value::<DataSpec>(self.found.experiment["dataset"].clone());
        data.is_ok_and(|data| data.overlaps())
    }
}

/// The values of `predictions.csv`, row by row.
#[derive(Debug)]
pub(super) struct PredictedOutputs {
    pub(super) targets: Vec<Vec<f64>>,
    pub(super) fixed: Vec<Vec<f64>>,
}

impl PredictedOutputs {
    fn read(path: &Path) -> Result<Self, Error> {
        let text = read_text(path)?;
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let columns = header.split(',').filter(|name| name.starts_with("target")).count();
        if columns == 0 || header.split(',').count() != 1 + 3 * columns {
            bail!("{}:1: {header:?}, expected \"sample,target,golden,fixed\"", path.display());
        }
        let mut read = Self { targets: Vec::new(), fixed: Vec::new() };
        for (at, line) in lines.enumerate() {
            let values = values(line, at, columns).with_context(|| {
                let expected = format!("expected {at} and {} numbers", 3 * columns);
                format!("{}:{}: {line:?}, {expected}", path.display(), at + 2)
            })?;
            let column = |first: usize| values.iter().skip(first).step_by(3).copied().collect();
            read.targets.push(column(0));
            read.fixed.push(column(2));
        }
        Ok(read)
    }

    /// The squared error of each sample, over its outputs.
    pub(super) fn squared_errors(&self) -> Vec<f64> {
        let pairs = self.fixed.iter().zip(&self.targets);
        let squared = |(fixed, targets): (&Vec<f64>, &Vec<f64>)| {
            fixed.iter().zip(targets).map(|(y, t)| (y - t) * (y - t)).sum()
        };
        pairs.map(squared).collect()
    }
}

/// The numbers of one row, which is that of sample `at`.
fn values(line: &str, at: usize, columns: usize) -> Option<Vec<f64>> {
    let (sample, rest) = line.split_once(',')?;
    let values: Vec<f64> = rest.split(',').map(|cell| cell.parse().ok()).collect::<Option<_>>()?;
    (sample.parse() == Ok(at) && values.len() == 3 * columns).then_some(values)
}

/// The first line of `predictions.csv`.
const HEADER: &str = "sample,label,golden,fixed";

impl PredictedClasses {
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
        assert_eq!(values("1,0.5,1,-inf", 1, 1), Some(vec![0.5, 1.0, f64::NEG_INFINITY]));
        for bad in ["0,1,2,3", "1,1,2", "1,1,2,x", ""] {
            assert_eq!(values(bad, 1, 1), None, "{bad}");
        }
        for bad in ["1,3,4,5", "0,3,4", "0,3,4,5,6", "0,,4,5", "0,x,4,5", "0,3,-1,5", ""] {
            assert_eq!(row(bad, 0), None, "{bad}");
        }
    }
}
