//! What happened to each tensor, as `report.json` holds it.

use serde::Serialize;

use systoliq_nn::{EntryName, Extended, SqnrSteps};
use systoliq_run::Prepared;
use systoliq_run::trainer::{Record, Sqnr, TensorRecord, Writes};

/// What happened to one tensor, over all steps unless said.
#[derive(Clone, Debug, Serialize)]
pub struct TensorReport {
    /// Its name in the program.
    pub name: String,
    /// Its role.
    pub role: &'static str,
    /// The layer with weights that it belongs to.
    pub layer: EntryName,
    /// Its format as planned.
    pub format: String,
    /// Its format at the last step.
    pub last_format: String,
    /// The conversion of its initial values, if it is a weight.
    pub initial: Option<InitialConversion>,
    /// Elements converted in training.
    pub elements: u64,
    /// Signal-to-quantization-noise ratio.
    #[serde(flatten)]
    pub sqnr: Sqnr,
    /// Of how many elements that is.
    pub sqnr_elements: u64,
    /// Share of elements that left the range.
    pub saturation_rate: f64,
    /// Share of elements that rounded to zero without being zero.
    pub underflow_rate: f64,
    /// Share of the updates asked for that changed nothing; nothing where there are no updates.
    pub stalled_rate: Option<f64>,
    /// Share of elements whose accumulator left its range on the way.
    pub accumulator_overflow_rate: f64,
    /// The same figures epoch by epoch.
    pub by_epoch: TensorByEpoch,
}

/// What the conversion of initial weights did.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)]
pub struct InitialConversion {
    pub sqnr_db: Option<Extended>,
    pub saturation_rate: f64,
    pub underflow_rate: f64,
}

/// What happened to one tensor in each epoch.
#[derive(Clone, Debug, Serialize)]
pub struct TensorByEpoch {
    /// Signal-to-quantization-noise ratios.
    #[serde(flatten)]
    pub sqnr: Sqnr<Vec<Option<Extended>>>,
    /// Shares of elements that left the range.
    pub saturation_rate: Vec<f64>,
    /// Shares of elements that rounded to zero without being zero.
    pub underflow_rate: Vec<f64>,
    /// Shares of the updates asked for that changed nothing; nothing where there are no updates.
    pub stalled_rate: Option<Vec<f64>>,
    /// Shares of elements whose accumulator left its range on the way.
    pub accumulator_overflow_rate: Vec<f64>,
}

impl TensorByEpoch {
    fn new(record: &TensorRecord, of: SqnrSteps) -> Self {
        fn each<T>(record: &TensorRecord, figure: impl Fn(&Writes) -> T) -> Vec<T> {
            record.epochs.iter().map(figure).collect()
        }
        let ratios = each(record, |writes| *writes.sqnr(of).get());
        Self {
            sqnr: match of {
                SqnrSteps::Exact => Sqnr::Exact(ratios),
                SqnrSteps::Sampled => Sqnr::Sampled(ratios),
            },
            saturation_rate: each(record, |writes| writes.conversion.saturation_rate()),
            underflow_rate: each(record, |writes| writes.conversion.underflow_rate()),
            stalled_rate: record.epochs.iter().map(Writes::stalled_rate).collect(),
            accumulator_overflow_rate: each(record, Writes::accumulator_overflow_rate),
        }
    }
}

/// Every tensor that a step writes, in the order of the program.
pub(super) fn tensors(prepared: &Prepared, record: &Record) -> Vec<TensorReport> {
    let of = prepared.experiment.training.sqnr;
    let tensors = prepared.program.tensors.iter();
    let recorded = tensors.filter_map(|decl| Some((decl, record.tensors.get(&decl.name)?)));
    recorded
        .map(|(decl, found)| {
            let total = found.total();
            TensorReport {
                name: decl.name.clone(),
                role: decl.role.name(),
                layer: decl.entry,
                format: decl.plan.format_name(),
                last_format: match decl.plan.block() {
                    None => decl.plan.format.with_frac(found.frac).to_string(),
                    Some(_) => decl.plan.format_name(),
                },
                initial: found.initial.as_ref().map(|initial| InitialConversion {
                    sqnr_db: initial.sqnr_db().map(Extended),
                    saturation_rate: initial.saturation_rate(),
                    underflow_rate: initial.underflow_rate(),
                }),
                elements: total.conversion.elements,
                sqnr: total.sqnr(of),
                sqnr_elements: total.conversion.squared,
                saturation_rate: total.conversion.saturation_rate(),
                underflow_rate: total.conversion.underflow_rate(),
                stalled_rate: total.stalled_rate(),
                accumulator_overflow_rate: total.accumulator_overflow_rate(),
                by_epoch: TensorByEpoch::new(found, of),
            }
        })
        .collect()
}
