//! What a run found, as `report.json` and `curves.csv` hold it.
//!
//! Sums are taken over exact counts; energy is computed from them once per figure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use systoliq_array::{ArrayCounts, CyclesByCause, Stationary};
use systoliq_nn::{Evaluation, Information};
use systoliq_program::operation::{PoolKind, UpdateOutput};
use systoliq_program::{EntryName, Operation, Pass, TensorId, Work, Workers, WriteId};

use crate::accumulators::{AccumulatorReport, accumulators};
use crate::diagnosis::Diagnosis;
use crate::drop::ratio::{LossRatio, RatioOverSeeds, SeedRatio};
use crate::drop::{Judgement, Level, MARGIN, Networks};
use crate::mcnemar::McNemar;
use crate::panel::{MachinePanel, PanelRun};
use crate::savings::Savings;
use systoliq_energy::Picojoules;
use systoliq_hardware::buffer::BufferReport;
use systoliq_hardware::cost::Arithmetic;
use systoliq_hardware::efficiency::HardwareReport;
use systoliq_hardware::events::ScratchpadRows;
use systoliq_hardware::memory::Moved;
use systoliq_hardware::prices::Prices;
use systoliq_hardware::roofline::Roofline;
use systoliq_hardware::stash::Stash;
use systoliq_nn::Extended;
use systoliq_run::Right;
use systoliq_run::activity::ActivityReport;
use systoliq_run::{Error, Experiment, Prepared, SEMANTICS};
use systoliq_run::{timeline::Entry, timeline::Totals};
use systoliq_run::{trainer::Curve, trainer::Record, trainer::Spent};

pub mod check;
mod comparison;
mod energy;
mod target;
mod tensors;

pub use comparison::{ComparedTensor, ComparisonReport, LayerUnits, Series, TensorHistogram};
pub use energy::{DataDependent, EnergyReport, TrainingCost};
pub use target::{
    BestEpoch, Judging, Quartiles, Reached, ReachedOverSeeds, TargetOverSeeds, ToTarget, WINDOW,
};
pub use tensors::{InitialConversion, TensorByEpoch, TensorReport};

/// The layout of `report.json`; a change of meaning raises it.
pub const SCHEMA_VERSION: u32 = 3;

/// Everything a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// [`SEMANTICS`]: what its results mean.
    pub semantics: u32,
    /// The experiment, resolved.
    pub experiment: Experiment,
    /// The golden model.
    pub golden: CurveReport,
    /// The fixed-point network.
    pub fixed: CurveReport,
    /// Final fixed error rate less final golden error rate; nothing for a regression.
    pub accuracy_loss: Option<f64>,
    /// What fixed point loses of a regression on the test part; nothing for a classifier.
    pub regression: Option<LossRatio>,
    /// The same over several seeds.
    pub regression_over_seeds: Option<RatioOverSeeds>,
    /// McNemar's exact test of the two on the test part; nothing for a regression.
    pub mcnemar: Option<McNemar>,
    /// What the samples and seeds say of the accuracy lost; nothing for a regression, or where golden
    /// diverged with every seed.
    pub judged: Option<Judgement>,
    /// The accuracy lost over several seeds, paired.
    pub accuracy_loss_over_seeds: Option<OverSeeds>,
    /// Where several seeds ran, the outcome of each.
    pub seeds: Vec<SeedReport>,
    /// Clock cycles.
    pub cycles: CyclesReport,
    /// MACs / (PEs × cycles).
    pub utilization: f64,
    /// Multiply-accumulates asked of the array.
    pub macs: u64,
    /// Energy.
    pub energy_pj: EnergyReport,
    /// Area, peak and efficiency.
    pub hardware: HardwareReport,
    /// Energy per sample and epoch.
    pub training_cost: TrainingCost,
    /// What the saved bits are worth, and how sure that is.
    pub savings: Savings,
    /// In which machines what follows from energy holds; nothing where nobody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panel: Option<MachinePanel>,
    /// What it took to reach an error rate first; nothing without a target.
    pub to_target: Option<ToTarget>,
    /// What happened to each tensor.
    pub precision: Vec<TensorReport>,
    /// How wide accumulators are, and how wide they have to be.
    pub accumulators: Vec<AccumulatorReport>,
    /// How far each tensor is from golden's.
    pub comparison: ComparisonReport,
    /// What explains the accuracy lost.
    pub diagnosis: Diagnosis,
    /// Events in the array.
    pub counts: ArrayCounts,
    /// Rows of the scratchpads.
    pub scratchpad_rows: ScratchpadRows,
    /// What the data did in the array, where `accelerator.toggles` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<ActivityReport>,
    /// Each command on each size of work.
    pub layers: Vec<LayerReport>,
    /// Bytes moved from and to DRAM, by tensor.
    pub dram_bytes: Vec<TrafficReport>,
    /// What a step on a full batch keeps for its backward pass.
    pub stash: Stash,
    /// What lives in the global buffer, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<BufferReport>,
    /// A hash of the test samples and their answers, in hexadecimal: runs of equal ones were judged
    /// by the same data.
    pub test_fingerprint: String,
}

/// One network over the epochs, on the test part unless said.
#[derive(Clone, Debug, Serialize)]
pub struct CurveReport {
    /// Error rates; nothing for a regression.
    pub error_rate: Vec<Option<f64>>,
    /// Mean losses: cross-entropy in bits, or `½Σe²`.
    pub loss_bits: Vec<Extended>,
    /// Mean losses of the training samples, each before its step's update.
    pub training_loss: Vec<Extended>,
    /// Error rates on the validation part, if there is one.
    pub validation_error_rate: Vec<Option<f64>>,
    /// Entropies and divergences in bits.
    pub information: Vec<Option<Information>>,
    /// With the initial weights.
    pub initial: InitialReport,
    /// The epoch that the validation part chooses; nothing without one.
    pub best: Option<BestEpoch>,
    /// The first epoch whose loss exceeds that of the initial weights, or is not finite.
    pub diverged_at_epoch: Option<usize>,
    /// Whether the last epoch's does: the network diverged, and did not recover.
    pub ended_worse: bool,
}

/// A network before training.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct InitialReport {
    /// Error rate.
    pub error_rate: Option<f64>,
    /// Mean loss.
    pub loss_bits: Extended,
}

/// The outcome of one seed: final error rates and losses on the test part.
#[derive(Clone, Debug, Serialize)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// Of the golden model.
    pub golden: SeedOutcome,
    /// In fixed point.
    pub fixed: SeedOutcome,
}

/// The outcome of one network.
#[derive(Clone, Debug, Serialize)]
pub struct SeedOutcome {
    /// Final error rate; nothing for a regression.
    pub error_rate: Option<f64>,
    /// Final loss.
    pub loss_bits: Option<Extended>,
    /// The epoch that the validation part chooses; nothing without one.
    pub best: Option<BestEpoch>,
    /// The first epoch whose loss exceeds that of the initial weights, or is not finite.
    pub diverged_at_epoch: Option<usize>,
    /// Whether the last epoch's does: the network diverged, and did not recover.
    pub ended_worse: bool,
    /// Which test samples it gets right in the end; nothing for a regression.
    pub right: Option<Right>,
}

impl SeedOutcome {
    fn new(curve: &Curve) -> Self {
        Self {
            error_rate: curve.final_error_rate(),
            loss_bits: curve.epochs.last().map(|epoch| Extended(epoch.test.loss)),
            best: BestEpoch::new(curve),
            diverged_at_epoch: curve.diverged(),
            ended_worse: curve.ended_worse(),
            right: curve.right.as_ref().map(|right| right.test.clone()),
        }
    }
}

/// Accuracy lost, paired by seed.
#[derive(Clone, Debug, Serialize)]
pub struct OverSeeds {
    /// Mean of the differences.
    pub mean: f64,
    /// Half the width of the 95 % interval of the mean, on these test samples.
    pub ci95: Option<f64>,
    /// The seeds with which golden did not diverge.
    pub seeds: Vec<u64>,
    /// Final error rates of the golden model, by seed.
    pub golden_error_rate: Vec<f64>,
    /// Final error rates in fixed point, by seed.
    pub fixed_error_rate: Vec<f64>,
}

/// Clock cycles of the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct CyclesReport {
    pub total: u64,
    pub by_cause: CyclesByCause,
    pub by_pass: BTreeMap<Pass, u64>,
    pub by_pass_and_cause: BTreeMap<Pass, CyclesByCause>,
}

/// One command on one size of work, summed over the run.
#[derive(Clone, Debug, Serialize)]
pub struct LayerReport {
    /// The layer with weights.
    pub layer: EntryName,
    /// The pass.
    pub pass: Pass,
    /// The tensor that is made.
    pub output: String,
    /// What makes it.
    pub operation: &'static str,
    /// Sizes of a GEMM.
    pub m: Option<usize>,
    /// Sizes of a GEMM.
    pub n: Option<usize>,
    /// Sizes of a GEMM.
    pub k: Option<usize>,
    /// How often it ran.
    pub calls: u64,
    /// What stayed in the array during a GEMM.
    pub dataflow: Option<Stationary>,
    /// Folds of the array.
    pub folds: u64,
    /// Events in the array during a GEMM.
    pub counts: Option<ArrayCounts>,
    /// Rows of the scratchpads.
    pub scratchpad_rows: ScratchpadRows,
    /// What the data did in the array, where `accelerator.toggles` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<ActivityReport>,
    /// Cycles.
    pub cycles: u64,
    /// Of these, stalls.
    pub stall_cycles: u64,
    /// Bytes moved from and to DRAM, whole bursts.
    pub dram_bytes: u64,
    /// What bounds a GEMM.
    pub roofline: Option<Roofline>,
    /// Energy.
    pub energy_pj: Picojoules,
    /// Energy on float32 hardware.
    pub float32_energy_pj: Picojoules,
    /// MACs / (PEs × cycles).
    pub utilization: f64,
}

/// Bytes of one tensor moved from and to DRAM, whole bursts, and the stalls that it owns.
#[derive(Clone, Debug, Serialize)]
pub struct TrafficReport {
    /// Its name in the program.
    pub tensor: String,
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Cycles in which all waited for it to be read.
    pub read_stall_cycles: u64,
    /// Cycles in which all waited for it to be written.
    pub write_stall_cycles: u64,
}

/// The runs of a timeline on float32 hardware, and its prices.
struct Float32<'a> {
    entries: Vec<Entry>,
    prices: Prices<'a>,
}

impl Report {
    /// Sums up the first of `records`, and the accuracy lost over all of them.
    ///
    /// # Errors
    ///
    /// If a count leaves 64 bits.
    ///
    /// # Panics
    ///
    /// If there are no records.
    pub fn new(prepared: &Prepared, records: &[Record]) -> Result<Self, Error> {
        let record = &records[0];
        let batches = prepared.batches(Some(record.train_samples));
        let [on_fixed, on_float32] = [Arithmetic::Fixed, Arithmetic::FLOAT32]
            .map(|arithmetic| prepared.costs(arithmetic, batches));
        let profile = prepared.experiment.accelerator.profile()?;
        let prices = prepared.prices_by(profile.clone(), &on_fixed)?;
        let entries = record.timeline.entries(&on_fixed)?;
        let float32 = Float32 {
            entries: record.timeline.entries(&on_float32)?,
            prices: prepared.prices_by(profile, &on_float32)?,
        };
        let totals = Totals::of(&entries);
        let cycles = totals.cycles.total().0;
        let energy_pj = EnergyReport::new(prepared, &entries, &prices, &float32)?;
        let accelerator = &prepared.experiment.accelerator;
        let mut cycles_by_pass = BTreeMap::new();
        let mut causes_by_pass = BTreeMap::new();
        for pass in Pass::ALL {
            let of_pass = Totals::of_pass(&entries, prepared, pass);
            cycles_by_pass.insert(pass, of_pass.cycles.total().0);
            causes_by_pass.insert(pass, of_pass.cycles);
        }
        let judged = judged(records);
        let over_seeds = judged.as_ref().and_then(|judged| OverSeeds::new(records, judged));
        let regression = regression(prepared, record);
        let regression_over_seeds = regression_over_seeds(records);
        let worse_over_seeds = over_seeds.as_ref().is_some_and(OverSeeds::is_worse)
            || regression_over_seeds.as_ref().is_some_and(RatioOverSeeds::is_worse);
        Ok(Self {
            schema_version: SCHEMA_VERSION,
            semantics: SEMANTICS,
            experiment: prepared.experiment.clone(),
            golden: CurveReport::new(&record.golden),
            fixed: CurveReport::new(&record.fixed),
            accuracy_loss: record.accuracy_loss(),
            regression,
            regression_over_seeds,
            mcnemar: record.comparison.predictions.as_ref().map(McNemar::of),
            diagnosis: Diagnosis::new(prepared, record, regression.as_ref(), worse_over_seeds),
            judged,
            accuracy_loss_over_seeds: over_seeds,
            seeds: seeds(records),
            cycles: CyclesReport {
                total: cycles,
                by_cause: totals.cycles,
                by_pass: cycles_by_pass,
                by_pass_and_cause: causes_by_pass,
            },
            utilization: utilization(prepared, totals.counts.macs, cycles),
            macs: totals.counts.macs,
            hardware: HardwareReport::new(
                accelerator,
                &prices,
                totals.counts.macs,
                cycles,
                energy_pj.total,
            )?,
            training_cost: TrainingCost::new(prepared, record, &entries, energy_pj.total),
            savings: Savings::new(prepared, &record.timeline, [&on_fixed, &on_float32])?,
            energy_pj,
            panel: None,
            to_target: ToTarget::new(prepared, records),
            precision: tensors::tensors(prepared, record),
            accumulators: accumulators(prepared, record),
            comparison: ComparisonReport::new(prepared, record),
            counts: totals.counts,
            scratchpad_rows: ScratchpadRows::of(&totals.tally),
            activity: activity(prepared, &totals),
            layers: layers(prepared, &entries, &prices, &float32)?,
            dram_bytes: traffic(prepared, &entries),
            stash: Stash::new(&on_fixed),
            buffer: BufferReport::new(&on_fixed),
            test_fingerprint: format!("{:016x}", record.test_fingerprint),
        })
    }

    /// The same, with the machines in which its conclusions hold, of the run whose first record this is.
    pub fn with_panel(self, prepared: &Prepared, record: &Record, workers: &Workers) -> Self {
        let run = PanelRun::new(prepared, record.train_samples, record.timeline.clone());
        Self { panel: Some(MachinePanel::of_run(run, &[], workers)), ..self }
    }

    /// The same, judged by another margin than [`MARGIN`].
    pub fn judged_against(self, margin: f64) -> Self {
        Self { judged: self.judged.map(|judged| judged.against(margin)), ..self }
    }

    /// `curves.csv`: a row per epoch, with the rate of its steps.
    pub fn curves_csv(prepared: &Prepared, records: &[Record]) -> String {
        let mut text = String::from("seed,epoch,rate");
        for network in ["golden", "fixed"] {
            for column in [
                "error_rate",
                "loss_bits",
                "training_loss",
                "validation_error_rate",
                "label_entropy_bits",
                "cross_entropy_bits",
                "kl_divergence_bits",
                "prediction_entropy_bits",
            ] {
                write!(text, ",{network}_{column}").expect("writing to a string");
            }
        }
        text.push_str(",cycles,energy_pj,float32_cycles,float32_energy_pj,mismatch_rate\n");
        for record in records {
            for (at, spent) in record.spent.iter().enumerate() {
                let rate = prepared.experiment.training.rate_in(at as u32);
                write!(text, "{},{},{rate}", record.seed, at + 1).expect("writing to a string");
                for curve in [&record.golden, &record.fixed] {
                    let epoch = &curve.epochs[at];
                    let validation = epoch.validation.as_ref().and_then(Evaluation::error_rate);
                    let bits = epoch.test.information.map(|i| {
                        let Information {
                            label_entropy_bits,
                            cross_entropy_bits,
                            kl_divergence_bits,
                            prediction_entropy_bits,
                        } = i;
                        [
                            label_entropy_bits,
                            cross_entropy_bits,
                            kl_divergence_bits,
                            prediction_entropy_bits,
                        ]
                    });
                    let loss = [Some(epoch.test.loss), Some(epoch.training_loss)];
                    let columns = [epoch.test.error_rate()].into_iter().chain(loss);
                    let columns = columns.chain([validation]);
                    for value in columns.chain(bits.map_or([None; 4], |bits| bits.map(Some))) {
                        text.push(',');
                        if let Some(value) = value {
                            let word =
                                if value.is_nan() { "nan".into() } else { value.to_string() };
                            text.push_str(&word);
                        }
                    }
                }
                let Spent { cycles, energy_pj, float32_cycles, float32_energy_pj } = spent;
                let (fixed, float32) = (energy_pj.0, float32_energy_pj.0);
                let mismatch = comparison::mismatch_rate(record, at + 1);
                let mismatch = mismatch.map_or(String::new(), |rate| rate.to_string());
                writeln!(text, ",{cycles},{fixed},{float32_cycles},{float32},{mismatch}")
                    .expect("writing to a string");
            }
        }
        text
    }
}

impl CurveReport {
    fn new(curve: &Curve) -> Self {
        let each = |epoch: &dyn Fn(&systoliq_run::trainer::Epoch) -> Option<f64>| {
            curve.epochs.iter().map(epoch).collect::<Vec<_>>()
        };
        let validation = |epoch: &systoliq_run::trainer::Epoch| {
            epoch.validation.as_ref().and_then(Evaluation::error_rate)
        };
        Self {
            error_rate: each(&|epoch| epoch.test.error_rate()),
            loss_bits: curve.epochs.iter().map(|epoch| Extended(epoch.test.loss)).collect(),
            training_loss: curve.epochs.iter().map(|epoch| Extended(epoch.training_loss)).collect(),
            validation_error_rate: each(&validation),
            information: curve.epochs.iter().map(|epoch| epoch.test.information).collect(),
            initial: InitialReport {
                error_rate: curve.initial.error_rate(),
                loss_bits: Extended(curve.initial.loss),
            },
            best: BestEpoch::new(curve),
            diverged_at_epoch: curve.diverged(),
            ended_worse: curve.ended_worse(),
        }
    }
}

/// What the test parts of some seeds say of the accuracy lost.
pub(crate) fn judged(records: &[Record]) -> Option<Judgement> {
    fn networks(record: &Record) -> Option<Networks<'_>> {
        Some(Networks {
            seed: record.seed,
            golden: &record.golden.right.as_ref()?.test,
            fixed: &record.fixed.right.as_ref()?.test,
            golden_diverged: record.golden.ended_worse(),
            diverged: record.fixed.ended_worse(),
        })
    }
    let networks = records.iter().map(networks).collect::<Option<Vec<_>>>()?;
    Some(Judgement::of(&networks, MARGIN, Level::Once)?.quoted(&networks))
}

/// How a regression's losses compare on the test part.
fn regression(prepared: &Prepared, record: &Record) -> Option<LossRatio> {
    let outputs = record.comparison.outputs.as_ref()?;
    let overlapping = prepared.experiment.dataset.overlaps();
    let errors = outputs.squared_errors();
    Some(LossRatio::new(&errors, record.golden.ended_worse(), overlapping))
}

/// The same over the seeds, where there are several.
fn regression_over_seeds(records: &[Record]) -> Option<RatioOverSeeds> {
    let seed = |record: &Record| {
        record.comparison.outputs.as_ref()?;
        let curves = [&record.golden, &record.fixed];
        let loss = |curve: &Curve| curve.epochs.last().map_or(f64::NAN, |epoch| epoch.test.loss);
        let (losses, diverged) = (curves.map(loss), curves.map(Curve::ended_worse));
        Some(SeedRatio { seed: record.seed, losses, diverged })
    };
    let seeds = records.iter().map(seed).collect::<Option<Vec<_>>>()?;
    (seeds.len() > 1).then(|| RatioOverSeeds::new(&seeds))
}

impl OverSeeds {
    fn new(records: &[Record], judged: &Judgement) -> Option<Self> {
        if records.len() < 2 {
            return None;
        }
        let references = || records.iter().filter(|record| !record.golden.ended_worse());
        let rates = |curve: fn(&Record) -> &Curve| {
            references().map(|record| curve(record).final_error_rate()).collect::<Option<Vec<_>>>()
        };
        Some(Self {
            mean: judged.mean,
            ci95: Some(judged.half_width),
            seeds: references().map(|record| record.seed).collect(),
            golden_error_rate: rates(|record| &record.golden)?,
            fixed_error_rate: rates(|record| &record.fixed)?,
        })
    }

    /// Whether fixed point loses with seeds like these.
    fn is_worse(&self) -> bool {
        self.ci95.is_some_and(|ci95| self.mean > ci95)
    }
}

/// One line a seed, where several ran.
fn seeds(records: &[Record]) -> Vec<SeedReport> {
    let several = records.iter().filter(|_| records.len() > 1);
    let seed = |record: &Record| SeedReport {
        seed: record.seed,
        golden: SeedOutcome::new(&record.golden),
        fixed: SeedOutcome::new(&record.fixed),
    };
    several.map(seed).collect()
}

fn utilization(prepared: &Prepared, macs: u64, cycles: u64) -> f64 {
    let pes = prepared.experiment.accelerator.array.pes();
    if cycles == 0 { 0.0 } else { macs as f64 / (pes as f64 * cycles as f64) }
}

/// One row per write and size of work.
fn layers(
    prepared: &Prepared,
    entries: &[Entry],
    prices: &Prices<'_>,
    float32: &Float32<'_>,
) -> Result<Vec<LayerReport>, Error> {
    let mut float32_groups = groups(&float32.entries);
    let row = |((at, work), entries): ((WriteId, Work), Vec<Entry>)| {
        let on_float32 = float32_groups.remove(&(at, work)).expect("the same runs");
        let on_float32 = Totals::of(&on_float32).tally.energy(&float32.prices)?;
        let (write, command) = (prepared.program.write(at), prepared.program.command_of(at));
        let totals = Totals::of(&entries);
        let shape = match work {
            Work::Gemm(shape) => Some(shape),
            Work::Vector { .. } => None,
        };
        Ok(LayerReport {
            layer: command.entry,
            pass: command.pass,
            output: prepared.program.tensor(write.tensor).name.clone(),
            operation: name_of(&command.operation, write.tensor),
            m: shape.map(|shape| shape.m),
            n: shape.map(|shape| shape.n),
            k: shape.map(|shape| shape.k),
            calls: entries.iter().map(|entry| entry.calls).sum(),
            dataflow: entries[0].once.dataflow,
            folds: totals.counts.folds,
            counts: shape.map(|_| totals.counts),
            scratchpad_rows: ScratchpadRows::of(&totals.tally),
            activity: activity(prepared, &totals),
            cycles: totals.cycles.total().0,
            stall_cycles: totals.cycles.stall.0,
            dram_bytes: moved(&entries, |moved| moved.bytes),
            roofline: Roofline::new(
                &prepared.experiment.accelerator,
                totals.counts.macs,
                moved(&entries, |moved| moved.bytes),
                totals.cycles.total().0,
            ),
            energy_pj: totals.tally.energy(prices)?.total(),
            float32_energy_pj: on_float32.total(),
            utilization: utilization(prepared, totals.counts.macs, totals.cycles.total().0),
        })
    };
    groups(entries).into_iter().map(row).collect()
}

/// What reports call what an operation does for one of the tensors that it writes.
fn name_of(operation: &Operation, output: TensorId) -> &'static str {
    match operation {
        Operation::Product(_) => "gemm",
        Operation::Reduce(_) => "sum_rows",
        Operation::Combine(_) => "sum",
        Operation::Select(_) => "select",
        Operation::Pool(pool) => match pool.kind {
            PoolKind::Largest { .. } if output == pool.output => "largest",
            PoolKind::Largest { .. } => "winners",
            PoolKind::Mean { .. } => "mean",
        },
        Operation::Spread(_) => "spread",
        Operation::Loss(loss) if loss.targets.is_none() => "softmax_cross_entropy",
        Operation::Loss(_) => "squared_error",
        Operation::Update(update) => match update.output(output) {
            UpdateOutput::Momentum => "momentum",
            UpdateOutput::Written => "update",
            UpdateOutput::Residual => "residual",
            UpdateOutput::Working => "convert",
        },
    }
}

/// Entries by write and size of work.
fn groups(entries: &[Entry]) -> BTreeMap<(WriteId, Work), Vec<Entry>> {
    let mut groups: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        groups.entry((entry.run.write, entry.run.work)).or_default().push(entry.clone());
    }
    groups
}

fn activity(prepared: &Prepared, totals: &Totals) -> Option<ActivityReport> {
    let toggles = prepared.experiment.accelerator.toggles;
    totals.observed.as_ref().map(|observed| ActivityReport::new(observed, toggles))
}

fn moved(entries: &[Entry], count: fn(&Moved) -> u64) -> u64 {
    let once = |entry: &Entry| entry.once.moved.iter().map(count).sum::<u64>();
    entries.iter().map(|entry| entry.calls * once(entry)).sum()
}

fn traffic(prepared: &Prepared, entries: &[Entry]) -> Vec<TrafficReport> {
    let mut by_tensor = BTreeMap::new();
    for entry in entries {
        for moved in &entry.once.moved {
            let [read, written] = by_tensor.entry(moved.tensor).or_insert([(0u64, 0u64); 2]);
            let (bytes, stall) = if moved.write { written } else { read };
            *bytes += moved.bytes * entry.calls;
            *stall += moved.stall * entry.calls;
        }
    }
    let report = |(id, [read, written]): (_, [(u64, u64); 2])| TrafficReport {
        tensor: prepared.program.tensor(id).name.clone(),
        read: read.0,
        written: written.0,
        read_stall_cycles: read.1,
        write_stall_cycles: written.1,
    };
    by_tensor.into_iter().map(report).collect()
}
