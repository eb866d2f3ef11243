//! How far the networks are apart, as `report.json` holds it.

use serde::Serialize;
use systoliq_program::{EntryName, Pass, TensorDecl, TensorId};

use systoliq_nn::Extended;
use systoliq_run::Prepared;
use systoliq_run::trainer::Record;
use systoliq_run::{
    comparison::ByTensor, comparison::Comparison, comparison::Figures, comparison::Histogram,
    comparison::Probe,
};

/// How far the networks are apart, tensor by tensor. Lists over epochs start before the first.
#[derive(Clone, Debug, Serialize)]
pub struct ComparisonReport {
    /// Samples of the probe: the first of the training part, in data order.
    pub probe_samples: usize,
    /// Epochs done.
    pub epoch: Vec<usize>,
    /// Share of the test samples that the two networks take for different classes; nothing for a
    /// regression.
    pub mismatch_rate: Vec<Option<f64>>,
    /// Every tensor that has a counterpart in floating point.
    pub tensors: Vec<ComparedTensor>,
    /// The codes of each tensor in the probe after the last epoch, with the run's own weights.
    pub histograms: Vec<TensorHistogram>,
    /// Units that do not tell one test sample from another, after the last epoch, layer by layer.
    pub units: Vec<LayerUnits>,
}

/// One tensor against golden.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedTensor {
    /// Its name in the program.
    pub name: String,
    /// Its role.
    pub role: &'static str,
    /// The layer with weights that it belongs to.
    pub layer: EntryName,
    /// The pass that makes it.
    pub pass: Pass,
    /// With the run's own weights and scales.
    pub own: Series,
    /// With golden's parameters, converted, and scales that remember nothing.
    pub teacher_forced: Series,
    /// In a teacher-forced run, over all steps of each epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Series>,
}

/// Figures over the epochs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Series {
    /// Signal-to-quantization-noise ratio; nothing where golden is all zeros.
    pub sqnr_db: Vec<Option<Extended>>,
    /// The largest error in ulp of the fixed-point format.
    pub max_error_ulp: Vec<Option<Extended>>,
    /// The cosine of the angle between the two; nothing where one is all zeros.
    pub cosine: Vec<Option<Extended>>,
}

/// The codes of one tensor.
#[derive(Clone, Debug, Serialize)]
pub struct TensorHistogram {
    /// Its name in the program.
    pub name: String,
    /// How often each code occurs.
    #[serde(flatten)]
    pub histogram: Histogram,
}

/// Units that do not tell one sample from another.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LayerUnits {
    /// The layer with weights.
    pub layer: EntryName,
    /// Its units.
    pub units: usize,
    /// Of these, those whose ReLU is 0 for every sample; nothing without a ReLU.
    pub dead: Option<usize>,
    /// Of these, those at the largest code for every sample.
    pub saturated: usize,
}

impl ComparisonReport {
    pub(super) fn new(prepared: &Prepared, record: &Record) -> Self {
        let Comparison { probes, histograms, units, .. } = &record.comparison;
        let named = |name: &String| {
            let histogram = histograms.get(name)?.clone();
            Some(TensorHistogram { name: name.clone(), histogram })
        };
        let units = units.iter().enumerate().map(|(layer, found)| LayerUnits {
            layer: EntryName::Number(layer),
            units: found.units,
            dead: found.dead,
            saturated: found.saturated,
        });
        let tensors = || prepared.program.tensors.iter();
        Self {
            probe_samples: prepared.experiment.training.batch,
            epoch: (0..probes.len()).collect(),
            mismatch_rate: (0..probes.len()).map(|at| mismatch_rate(record, at)).collect(),
            tensors: compared(prepared, probes),
            histograms: tensors().filter_map(|decl| named(&decl.name)).collect(),
            units: units.collect(),
        }
    }
}

/// The share of test samples that the networks take for different classes after `epochs` epochs.
pub(crate) fn mismatch_rate(record: &Record, epochs: usize) -> Option<f64> {
    let mismatches = record.comparison.probes[epochs].mismatches?;
    Some(mismatches as f64 / record.fixed.initial.count as f64)
}

fn compared(prepared: &Prepared, probes: &[Probe]) -> Vec<ComparedTensor> {
    let forced = prepared.experiment.training.teacher_forced;
    let compared = |(id, decl): (usize, &TensorDecl)| {
        let name = &decl.name;
        probes.first()?.own.get(name)?;
        let series = |of: fn(&Probe) -> Option<&ByTensor>| {
            Series::new(probes.iter().map(|probe| of(probe)?.get(name).copied()))
        };
        Some(ComparedTensor {
            name: name.clone(),
            role: decl.role.name(),
            layer: decl.entry,
            pass: made_in(prepared, TensorId(id)),
            own: series(|probe| Some(&probe.own)),
            teacher_forced: series(|probe| probe.teacher_forced.as_ref()),
            steps: forced.then(|| series(|probe| probe.steps.as_ref())),
        })
    };
    prepared.program.tensors.iter().enumerate().filter_map(compared).collect()
}

/// The pass that makes a tensor; what enters does so in the forward pass.
fn made_in(prepared: &Prepared, id: TensorId) -> Pass {
    prepared.program.made(id).map_or(Pass::Forward, |(_, command)| command.pass)
}

impl Series {
    fn new(figures: impl Iterator<Item = Option<Figures>>) -> Self {
        let mut series = Self::default();
        for found in figures {
            series.sqnr_db.push(found.and_then(|found| found.sqnr_db));
            series.max_error_ulp.push(found.map(|found| found.max_error_ulp));
            series.cosine.push(found.and_then(|found| found.cosine));
        }
        series
    }
}
