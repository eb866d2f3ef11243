//! Training in fixed point beside the golden model, on the same seed and batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use systoliq_array::Register;
use systoliq_array::register::Seen;
use systoliq_engine::Fast;
use systoliq_fxp::{ConversionStatistics, ExactSum};
use systoliq_nn::{
    DataSet, Golden, GoldenPrecision, Part, Predicted, Training, epoch_order, initial_weights,
};
use systoliq_program::{
    CommandId, Engine, GemmTask, Outcome, Reference, Samples, Step, Store, Sums, TensorId, Workers,
    WriteId,
};

use crate::activity::{Observed, Watch};
use crate::comparison::{ByTensor, Comparison, Look, Probe};
use crate::cpu::{CpuSeconds, MeasuredPieces, Stopwatch};
use crate::dump::Dump;
use crate::judge::{Judge, UnitWatch};
use crate::observer::{Observer, run_step};
use crate::timeline::{Run, Timeline, Totals};
use crate::{Error, Prepared};
use systoliq_energy::Picojoules;
use systoliq_hardware::cost::{Arithmetic, Costs, EpochBatches, SecondPasses};
use systoliq_hardware::events::Buffer;

mod curve;
mod following;
mod validity;
mod writes;

use curve::Judged;
pub use curve::{Curve, Epoch, RightByPart};
pub use writes::{Sqnr, TensorRecord, Writes};

/// What multiplies matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// Integer GEMM; the closed forms give cycles.
    #[default]
    Fast,
    /// Every register in every cycle; what it counts is checked against the closed forms.
    Register,
    /// The plain loop that defines the bits; the closed forms give cycles.
    Reference,
}

impl EngineKind {
    fn build(self, prepared: &Prepared, batches: EpochBatches) -> Box<dyn Engine + Send + '_> {
        match self {
            Self::Fast => Box::new(Fast::default()),
            Self::Register => {
                Box::new(Stepped { costs: prepared.costs(Arithmetic::Fixed, batches) })
            }
            Self::Reference => Box::new(Reference),
        }
    }
}

/// The register engine, held to the closed forms at every GEMM.
struct Stepped<'a> {
    costs: Costs<'a>,
}

impl Engine for Stepped<'_> {
    fn gemm(&mut self, _: &GemmTask<'_>) -> Sums {
        unreachable!("a product of a program has its own mapping")
    }

    fn run(&mut self, command: CommandId, store: &mut Store, step: &Step) -> Outcome {
        let (write, _) = self.costs.program.writes_of(command).next().expect("a write");
        store.run(command, step, &mut |task| self.clocked(write, task))
    }
}

impl Stepped<'_> {
    /// The sums of the product for a write.
    fn clocked(&self, write: WriteId, task: &GemmTask<'_>) -> Sums {
        let mapping = self.costs.mapping(write, task.shape());
        let accelerator = self.costs.accelerator;
        let register = Register::new(accelerator.array, mapping.stationary);
        let mut register = register
            .expect("an array that was checked")
            .with_partial_sum_bits(accelerator.half_bits(Buffer::C));
        let sums = register.gemm(task);
        let expected = Seen::of(&mapping, task).expect("a GEMM that was stepped");
        assert_eq!(register.seen(), expected, "counts stepped and in closed form");
        sums
    }
}

/// Cycles and energy of all training up to the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// Clock cycles.
    pub cycles: u64,
    /// Energy in fixed point.
    pub energy_pj: Picojoules,
    /// Clock cycles of the same program on float32 hardware.
    pub float32_cycles: u64,
    /// Energy of the same program on float32 hardware.
    pub float32_energy_pj: Picojoules,
}

/// All that one seed's run has found so far. In JSON, what the latest epoch alone says: what there is of
/// every epoch is in its [entry](EpochEntry).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The seed.
    pub seed: u64,
    /// A hash of the test samples and their answers.
    pub test_fingerprint: u64,
    /// Training samples.
    pub train_samples: usize,
    /// Training steps done.
    pub steps: u64,
    /// The fixed-point network.
    pub fixed: Curve,
    /// The golden model.
    pub golden: Curve,
    /// By tensor name.
    pub tensors: BTreeMap<String, TensorRecord>,
    /// What ran how often.
    pub timeline: Timeline,
    /// By the end of each epoch.
    #[serde(skip)]
    pub spent: Vec<Spent>,
    /// The width of accumulators that the present weights need, by write; nothing for those that read no
    /// weights, and before the first epoch.
    pub widths_for_weights: Vec<Option<u32>>,
    /// How far the networks are apart.
    pub comparison: Comparison,
}

/// The golden model in either precision.
#[derive(Clone, Debug)]
enum AnyGolden {
    F32(Golden<f32>),
    F64(Golden<f64>),
}

/// Evaluates `$body` with `$golden` bound to the model of either precision.
macro_rules! with_golden {
    ($any:expr, |$golden:ident| $body:expr) => {
        match $any {
            AnyGolden::F32($golden) => $body,
            AnyGolden::F64($golden) => $body,
        }
    };
}

// Below the macro that they use.
mod checkpoint;
mod halves;

pub use checkpoint::EpochEntry;
pub use halves::{FixedRun, golden_curve};

/// How a run is carried out; nothing here changes a bit of its result.
pub struct Conduct<'a> {
    /// How many threads there are. Of several, golden trains in one beside fixed point, which has the others.
    pub threads: usize,
    /// Called after each step with the number of steps done.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// What commands take on the machine at hand, and on float32 hardware.
struct CostsOfBoth<'a> {
    fixed: Costs<'a>,
    float32: Costs<'a>,
}

impl<'a> CostsOfBoth<'a> {
    fn new(prepared: &'a Prepared, batches: EpochBatches) -> Self {
        let [fixed, float32] = [Arithmetic::Fixed, Arithmetic::FLOAT32]
            .map(|arithmetic| prepared.costs(arithmetic, batches));
        Self { fixed, float32 }
    }
}

/// The parts of the data as a program reads them.
struct SamplesByPart<'a> {
    train: Samples<'a>,
    validation: Samples<'a>,
    test: Samples<'a>,
}

impl<'a> SamplesByPart<'a> {
    fn new(prepared: &Prepared, data: &'a DataSet) -> Self {
        let [train, validation, test] = [&data.train, &data.validation, &data.test]
            .map(|part| Samples::new(&prepared.program, part));
        Self { train, validation, test }
    }
}

/// One seed's run of an experiment.
pub struct Trainer<'a> {
    prepared: &'a Prepared,
    costs: CostsOfBoth<'a>,
    data: &'a DataSet,
    samples: SamplesByPart<'a>,
    store: Store,
    engine: Box<dyn Engine + Send + 'a>,
    golden: AnyGolden,
    record: Record,
    cpu: CpuSeconds,
}

impl<'a> Trainer<'a> {
    /// The run with `seed`, before its first epoch.
    pub fn new(prepared: &'a Prepared, data: &'a DataSet, seed: u64, engine: EngineKind) -> Self {
        let Prepared { experiment, graph, program, .. } = prepared;
        let mut store = Store::new(program, &initial_weights(graph, seed), seed);
        let batches = prepared.batches(Some(data.train.len()));
        let mut engine = engine.build(prepared, batches);
        let golden = match experiment.training.golden {
            GoldenPrecision::F32 => AnyGolden::F32(Golden::new(graph, seed)),
            GoldenPrecision::F64 => AnyGolden::F64(Golden::new(graph, seed)),
        };
        let batch = experiment.training.batch;
        let curve = |initial| Curve { initial, epochs: Vec::new(), right: None };
        let samples = SamplesByPart::new(prepared, data);
        let judge = Judge { samples: &samples.test, name: "test", batch, seed, number: 0 };
        let stopwatch = Stopwatch::start();
        let (fixed, ours) = judge.predict(&mut store, engine.as_mut(), None);
        let (float, theirs) = with_golden!(&golden, |golden| golden.predict(&data.test, batch));
        let cpu = CpuSeconds { evaluation: stopwatch.seconds(), ..CpuSeconds::default() };
        let record = Record {
            seed,
            test_fingerprint: data.test.fingerprint(),
            train_samples: data.train.len(),
            steps: 0,
            fixed: curve(fixed),
            golden: curve(float),
            tensors: initial_tensors(&store),
            timeline: Timeline::default(),
            spent: Vec::new(),
            widths_for_weights: Vec::new(),
            comparison: Comparison::default(),
        };
        let costs = CostsOfBoth::new(prepared, batches);
        let mut trainer =
            Self { prepared, costs, data, samples, store, engine, golden, record, cpu };
        trainer.compare(&ours, &theirs, None);
        trainer
    }

    /// Compares the networks as they are, which make this of the samples of the test part, and were so
    /// far apart in the steps of a teacher-forced epoch.
    fn compare(&mut self, fixed: &Predicted, golden: &Predicted, steps: Option<ByTensor>) {
        let training = &self.prepared.experiment.training;
        let epochs = self.record.fixed.epochs.len() as u32;
        let look =
            Look { data: self.data, training, seed: self.record.seed, epochs: epochs.into() };
        let workers = Arc::clone(self.store.workers());
        let stopwatch = Stopwatch::of(&workers);
        let (probe, histograms) = with_golden!(&self.golden, |golden| {
            look.probe(&mut self.store, self.engine.as_mut(), golden)
        });
        self.cpu.comparison += stopwatch.seconds();
        let mismatches = match (fixed, golden) {
            (Predicted::Classes(fixed), Predicted::Classes(golden)) => {
                Some(fixed.iter().zip(golden).filter(|(fixed, golden)| fixed != golden).count()
                    as u64)
            }
            _ => None,
        };
        let comparison = &mut self.record.comparison;
        comparison.probes.push(Probe { mismatches, steps, ..probe });
        comparison.histograms = histograms;
        if epochs > 0 {
            comparison.keep(self.data.test.answers(), golden.clone(), fixed.clone());
        }
    }

    /// Epochs done.
    pub fn epochs_done(&self) -> u32 {
        self.record.fixed.epochs.len() as u32
    }

    /// Whether every epoch is done.
    pub fn is_done(&self) -> bool {
        self.epochs_done() >= self.prepared.experiment.training.epochs
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.data.train.len().div_ceil(self.prepared.experiment.training.batch) as u64
    }

    /// What the run has found so far.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What that has taken of processors, without the epochs that were restored.
    pub fn cpu_seconds(&self) -> CpuSeconds {
        self.cpu
    }

    /// Trains both networks for one epoch and evaluates them. `dump` receives the tensors of the
    /// step that it asks for, if that is in this epoch.
    ///
    /// # Errors
    ///
    /// If `dump` cannot write, or a count leaves 64 bits.
    pub fn epoch(
        &mut self,
        conduct: &Conduct<'_>,
        dump: Option<&mut Dump<'_>>,
    ) -> Result<(), Error> {
        let Self { prepared, data, golden, record, cpu, .. } = self;
        let (seed, epoch) = (record.seed, record.fixed.epochs.len() as u32);
        let training = &prepared.experiment.training;
        let beside = usize::from(conduct.threads > 1 && !training.teacher_forced);
        let threads = conduct.threads - beside;
        if self.store.workers().threads() != threads {
            self.store.use_workers(Arc::new(Workers::new(threads)));
        }
        let workers = Arc::clone(self.store.workers());
        let mut fixed = FixedEpoch {
            prepared,
            data,
            samples: &self.samples,
            store: &mut self.store,
            engine: self.engine.as_mut(),
            costs: &self.costs.fixed,
            record,
            epoch,
            cpu: CpuSeconds::default(),
            counting: MeasuredPieces::default(),
        };
        let (golden, fixed, steps) = if training.teacher_forced {
            let stopwatch = Stopwatch::of(&workers);
            let followed = with_golden!(&mut *golden, |model| fixed.follow(model, conduct, dump))?;
            let both = stopwatch.seconds();
            cpu.golden_training += both - fixed.cpu.fixed_training - fixed.cpu.comparison;
            fixed.cpu.set_counting_apart(stopwatch.seconds_of(fixed.counting));
            let judged = fixed.judge(followed.fixed_loss);
            let stopwatch = Stopwatch::start();
            let golden = judge_golden(golden, data, training, followed.golden_loss);
            cpu.evaluation += stopwatch.seconds();
            *cpu += fixed.cpu;
            (golden, judged, Some(followed.steps))
        } else {
            let mut golden_epoch = || {
                let mut cpu = CpuSeconds::default();
                let stopwatch = Stopwatch::start();
                let loss = with_golden!(&mut *golden, |golden| {
                    golden.train_epoch(&data.train, training, seed, epoch)
                });
                cpu.golden_training = stopwatch.seconds();
                let judged = judge_golden(golden, data, training, loss);
                cpu.evaluation = stopwatch.seconds() - cpu.golden_training;
                (judged, cpu)
            };
            let ((golden, of_golden), loss) = if beside > 0 {
                std::thread::scope(|scope| {
                    let golden = scope.spawn(golden_epoch);
                    let loss = fixed.train(conduct, dump);
                    (golden.join().expect("the golden model's thread"), loss)
                })
            } else {
                let loss = fixed.train(conduct, dump);
                (golden_epoch(), loss)
            };
            let judged = fixed.judge(loss?);
            *cpu += of_golden;
            *cpu += fixed.cpu;
            (golden, judged, None)
        };
        let theirs = self.record.golden.push(golden);
        let ours = self.record.fixed.push(fixed);
        let spent = self.record.spent(self.prepared, &self.costs)?;
        self.record.spent.push(spent);
        let writes = self.prepared.program.all_writes();
        self.record.widths_for_weights =
            writes.map(|(.., command)| self.store.width_for_weights(command)).collect();
        self.compare(&ours, &theirs, steps);
        Ok(())
    }
}

impl Record {
    /// Final fixed less final golden error rate, from whole numbers of errors; nothing for a
    /// regression or before the first epoch.
    pub fn accuracy_loss(&self) -> Option<f64> {
        let (fixed, golden) = (self.fixed.epochs.last()?, self.golden.epochs.last()?);
        let difference = fixed.test.errors? as f64 - golden.test.errors? as f64;
        Some(difference / fixed.test.count as f64)
    }

    /// What everything up to here took.
    fn spent(&self, prepared: &Prepared, costs: &CostsOfBoth<'_>) -> Result<Spent, Error> {
        let profile = prepared.experiment.accelerator.profile()?;
        let spent = |costs: &Costs<'_>| {
            let totals = Totals::of(&self.timeline.entries(costs)?);
            let energy = totals.tally.energy(&prepared.prices_by(profile.clone(), costs)?)?;
            Ok::<_, Error>((totals.cycles.total().0, energy.total()))
        };
        let (cycles, energy_pj) = spent(&costs.fixed)?;
        let (float32_cycles, float32_energy_pj) = spent(&costs.float32)?;
        Ok(Spent { cycles, energy_pj, float32_cycles, float32_energy_pj })
    }
}

/// The records of the tensors that have initial values.
fn initial_tensors(store: &Store) -> BTreeMap<String, TensorRecord> {
    let record = |(id, statistics): &(TensorId, ConversionStatistics)| {
        let initial = Some(statistics.clone());
        let name = store.program().tensor(*id).name.clone();
        (name, TensorRecord { initial, ..TensorRecord::default() })
    };
    store.initial_statistics().iter().map(record).collect()
}

/// Evaluates the golden model as it is after an epoch of this training loss.
fn judge_golden(
    golden: &AnyGolden,
    data: &DataSet,
    training: &Training,
    training_loss: f64,
) -> Judged {
    with_golden!(golden, |golden| {
        let evaluate = |part: &Part| golden.predict(part, training.batch);
        let validation = Some(&data.validation).filter(|part| !part.is_empty()).map(evaluate);
        Judged::new(data, training_loss, validation, evaluate(&data.test))
    })
}

/// One epoch of the fixed-point network.
struct FixedEpoch<'t, 'a> {
    prepared: &'a Prepared,
    data: &'a DataSet,
    samples: &'t SamplesByPart<'a>,
    store: &'t mut Store,
    engine: &'t mut (dyn Engine + Send),
    costs: &'t Costs<'a>,
    record: &'t mut Record,
    epoch: u32,
    cpu: CpuSeconds,
    /// What toggles were counted in.
    counting: MeasuredPieces,
}

impl FixedEpoch<'_, '_> {
    /// Trains; returns the mean loss of the samples, each before its step's update.
    fn train(
        &mut self,
        conduct: &Conduct<'_>,
        mut dump: Option<&mut Dump<'_>>,
    ) -> Result<f64, Error> {
        let workers = Arc::clone(self.store.workers());
        let stopwatch = Stopwatch::of(&workers);
        let train = &self.data.train;
        let order = epoch_order(self.record.seed, self.epoch, train.len());
        let mut loss = ExactSum::default();
        for rows in order.chunks(self.prepared.experiment.training.batch) {
            self.step(rows, &mut loss, dump.as_deref_mut())?;
            (conduct.progress)(self.record.steps);
        }
        self.cpu.fixed_training += stopwatch.seconds();
        self.cpu.set_counting_apart(stopwatch.seconds_of(self.counting));
        Ok(loss.to_f64() / train.len() as f64)
    }

    /// Evaluates the network as it is after an epoch of this training loss.
    fn judge(&mut self, training_loss: f64) -> Judged {
        let workers = Arc::clone(self.store.workers());
        let stopwatch = Stopwatch::of(&workers);
        let (seed, batch) = (self.record.seed, self.prepared.experiment.training.batch);
        let judge =
            |samples, name| Judge { samples, name, batch, seed, number: u64::from(self.epoch) + 1 };
        let validation =
            Some(&self.samples.validation).filter(|samples| !samples.part().is_empty());
        let validation = validation
            .map(|samples| judge(samples, "validation").predict(self.store, self.engine, None));
        let mut watch = UnitWatch::new(&self.prepared.graph);
        let judge = judge(&self.samples.test, "test");
        let test = judge.predict(self.store, self.engine, Some(&mut watch));
        self.record.comparison.units = watch.units();
        self.cpu.evaluation += stopwatch.seconds();
        Judged::new(self.data, training_loss, validation, test)
    }

    /// One training step.
    fn step(
        &mut self,
        rows: &[u32],
        loss: &mut ExactSum,
        dump: Option<&mut Dump<'_>>,
    ) -> Result<(), Error> {
        let mut dump = dump.filter(|dump| dump.step == self.record.steps);
        let number = self.record.steps;
        let squares = self.prepared.experiment.training.sqnr.includes(number);
        let step = Step::training(self.record.seed, number).in_epoch(self.epoch);
        let step = step.with_squares(squares);
        for (id, statistics) in self.store.load_samples(&self.samples.train, rows, &step) {
            self.record.writes(self.store, id, self.epoch).conversion.merge(&statistics);
        }
        if let Some(dump) = &mut dump {
            dump.begin(self.store, &self.data.train.batch(rows), &step)?;
        }
        let toggles = self.prepared.experiment.accelerator.toggles;
        let watch = Watch::in_step(toggles, self.record.steps);
        let (epoch, costs) = (self.epoch, self.costs);
        let mut recording = Recording {
            record: self.record,
            epoch,
            costs,
            watch,
            observed: None,
            waited: Vec::new(),
            counting: &mut self.counting,
            loss,
        };
        let mut observers: Vec<&mut dyn Observer> = vec![&mut recording];
        observers.extend(dump.as_deref_mut().map(|dump| dump as &mut dyn Observer));
        run_step(self.engine, self.store, &step, &mut observers)?;
        if let Some(dump) = dump {
            dump.end()?;
        }
        self.record.steps += 1;
        Ok(())
    }
}

/// Keeps a record of what commands do.
struct Recording<'r> {
    record: &'r mut Record,
    epoch: u32,
    costs: &'r Costs<'r>,
    watch: Watch,
    /// What the command that runs does in the array.
    observed: Option<Observed>,
    /// Whose scale was chosen from itself in this step.
    waited: Vec<TensorId>,
    /// What that is counted in.
    counting: &'r mut MeasuredPieces,
    loss: &'r mut ExactSum,
}

impl Observer for Recording<'_> {
    fn before(&mut self, command: CommandId, store: &Store, step: &Step) {
        let (watch, costs) = (self.watch, self.costs);
        let observe = || watch.observe(command, (store, step), costs);
        self.observed = self.counting.add(store.workers(), observe);
    }

    fn after(
        &mut self,
        command: CommandId,
        store: &Store,
        _: &Step,
        outcome: &Outcome,
    ) -> Result<(), Error> {
        let program = store.program();
        let update = program.command(command).operation.update();
        let gradient = update.is_some_and(|update| self.waited.contains(&update.gradient));
        for ((write, _), written) in program.writes_of(command).zip(&outcome.written) {
            let work = program.work(write, store.batch());
            let second = SecondPasses { output: written.second_pass, gradient };
            let run = Run { write, work, second };
            self.waited.extend(written.second_pass.then_some(written.tensor));
            self.record.timeline.record(run, self.observed);
            self.record.writes(store, written.tensor, self.epoch).add(written);
        }
        if let Some(sum) = &outcome.loss {
            self.loss.merge(sum);
        }
        Ok(())
    }
}

impl Record {
    /// What happens to a tensor in this epoch, in a record brought up to its present scale.
    fn writes(&mut self, store: &Store, id: TensorId, epoch: u32) -> &mut Writes {
        let frac = store.tensor(id).expect("a tensor just written").format().frac();
        let name = &store.program().tensor(id).name;
        if !self.tensors.contains_key(name) {
            self.tensors.insert(name.clone(), TensorRecord::default());
        }
        let record = self.tensors.get_mut(name).expect("a record just made");
        record.frac = frac;
        record.in_epoch(epoch)
    }
}
