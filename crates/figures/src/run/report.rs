//! What figures need of a `report.json`; the rest of it is passed over.

use std::fmt;
use std::marker::PhantomData;

use super::buffer::DrawnBuffer;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use systoliq_energy::EnergyUnit;
use systoliq_nn::{EntryName, Extended};
use systoliq_run::Experiment;
use systoliq_run::comparison::Histogram;
use systoliq_run::trainer::Sqnr;
use systoliq_study::drop::{Judgement, LossRatio, RatioOverSeeds};
use systoliq_study::panel::MachinePanel;

/// A report.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnReport {
    pub(super) experiment: Experiment,
    pub(super) golden: DrawnCurve,
    pub(super) fixed: DrawnCurve,
    pub(super) accuracy_loss: Option<f64>,
    pub(super) judged: Option<Judgement>,
    pub(super) regression: Option<LossRatio>,
    pub(super) regression_over_seeds: Option<RatioOverSeeds>,
    pub(super) seeds: Vec<serde::de::IgnoredAny>,
    pub(super) cycles: DrawnCycles,
    pub(super) utilization: f64,
    pub(super) energy_pj: DrawnEnergy,
    pub(super) precision: Vec<DrawnTensor>,
    pub(super) comparison: DrawnComparison,
    pub(super) layers: Vec<DrawnWork>,
    pub(super) buffer: Option<DrawnBuffer>,
    pub(super) panel: Option<MachinePanel>,
}

/// The members of an object in the order in which they stand.
#[derive(Clone, Debug)]
pub(crate) struct Named<T>(pub(crate) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Named<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Named(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

impl<T: Copy + Default> Named<T> {
    /// The member of a name, or nothing of it.
    pub(super) fn of(&self, name: &str) -> T {
        self.0.iter().find(|member| member.0 == name).map_or_else(T::default, |member| member.1)
    }
}

/// One network over the epochs.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnCurve {
    pub(super) error_rate: Vec<Option<f64>>,
    pub(super) loss_bits: Vec<Extended>,
    pub(super) training_loss: Vec<Extended>,
    pub(super) validation_error_rate: Vec<Option<f64>>,
    pub(super) initial: DrawnInitial,
    pub(super) diverged_at_epoch: Option<usize>,
    pub(super) ended_worse: bool,
}

/// A network before training.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnInitial {
    pub(super) error_rate: Option<f64>,
    pub(super) loss_bits: Extended,
}

/// Cycles of the run.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnCycles {
    pub(super) total: u64,
    pub(super) by_cause: Named<u64>,
    pub(super) by_pass_and_cause: Named<Named<u64>>,
}

/// Energy of the run.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnEnergy {
    pub(super) unit: EnergyUnit,
    pub(super) total: f64,
    pub(super) by_component: Named<f64>,
    pub(super) by_pass: Named<f64>,
    pub(super) float32_total: f64,
    pub(super) float32_by_component: Named<f64>,
    pub(super) float32_by_pass: Named<f64>,
}

/// What happened to one tensor.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnTensor {
    pub(super) name: String,
    pub(super) role: String,
    pub(super) layer: EntryName,
    pub(super) format: String,
    #[serde(flatten)]
    pub(super) sqnr: Sqnr,
    pub(super) saturation_rate: f64,
    pub(super) underflow_rate: f64,
    pub(super) stalled_rate: Option<f64>,
    pub(super) by_epoch: DrawnTensorByEpoch,
}

/// What happened to it in each epoch.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnTensorByEpoch {
    pub(super) saturation_rate: Vec<f64>,
    pub(super) underflow_rate: Vec<f64>,
    pub(super) stalled_rate: Option<Vec<f64>>,
}

/// How far each tensor is from golden's.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnComparison {
    pub(super) epoch: Vec<usize>,
    pub(super) mismatch_rate: Vec<Option<f64>>,
    pub(super) tensors: Vec<DrawnCompared>,
    pub(super) histograms: Vec<DrawnTensorHistogram>,
}

/// One tensor against golden.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnCompared {
    pub(super) name: String,
    pub(super) role: String,
    pub(super) layer: EntryName,
    pub(super) own: DrawnSeries,
    pub(super) teacher_forced: DrawnSeries,
}

/// Figures over the epochs.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnSeries {
    pub(super) sqnr_db: Vec<Option<Extended>>,
}

/// The codes of one tensor.
#[derive(Clone, Debug)]
pub(super) struct DrawnTensorHistogram {
    pub(super) name: String,
    pub(super) histogram: Histogram,
}

impl<'de> Deserialize<'de> for DrawnTensorHistogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Flat {
            name: String,
            format: String,
            dropped_bits: u32,
            first: i64,
            counts: Vec<u64>,
        }
        let Flat { name, format, dropped_bits, first, counts } = Flat::deserialize(deserializer)?;
        Ok(Self { name, histogram: Histogram { format, dropped_bits, first, counts } })
    }
}

/// One command on one size of work.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnWork {
    pub(super) layer: EntryName,
    pub(super) pass: String,
    pub(super) output: String,
    pub(super) m: Option<usize>,
    pub(super) n: Option<usize>,
    pub(super) k: Option<usize>,
    pub(super) calls: u64,
    pub(super) counts: Option<DrawnArrayCounts>,
    pub(super) cycles: u64,
    pub(super) stall_cycles: u64,
    pub(super) roofline: Option<DrawnRoofline>,
    pub(super) energy_pj: f64,
    pub(super) float32_energy_pj: f64,
}

/// What the array did.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnArrayCounts {
    pub(super) cycles: Named<u64>,
}

/// One product under the roof.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct DrawnRoofline {
    pub(super) macs_per_byte: f64,
    pub(super) bound_macs_per_cycle: f64,
    pub(super) macs_per_cycle: f64,
}
