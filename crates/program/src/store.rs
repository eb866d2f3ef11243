//! The tensors of a program and the state of their scales.
//!
//! A store owns its program. Each of its tensors has a [`Version`] that is unique in the process, also
//! across clones of a store: what an engine keeps of a tensor is good for as long as the version is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::Array2;
use smallvec::smallvec;
use systoliq_fxp::scale::Range;
use systoliq_fxp::squared_error::loss_sum;
use systoliq_fxp::{
    ActivationCurve, Along, Conversion, ConversionStatistics, ExactSum, Format, History,
    Multiplier, Softmax, SoftmaxUnit, Tensor,
};
use systoliq_nn::{Answers, Batch};

use crate::command::{CommandId, Program};
use crate::engine::{Engine, Multiply, Outcome, Written};
use crate::finish::{Ceiling, Copies, Edge, Exit, Factor, Finish, Gate, Gates, SeenEnds, room};
use crate::operation::Product;
use crate::tensor::{OperandRef, Rows, TensorId};
use crate::workers::Workers;
use crate::{GemmTask, Operand, Pass};

mod enter;
pub(crate) mod exact;
mod samples;
mod snapshot;
mod step;

pub use samples::Samples;
pub use snapshot::Snapshot;
pub use step::Step;
pub(crate) use step::{Occasion, Running};

/// What a command is told to be that is asked for its product.
const NO_PRODUCT: &str = "a matrix product";

/// What the outputs of a batch are worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Of a classifier.
    Classes(Softmax),
    /// Of a regression: the sum of `½Σe²`.
    Values(ExactSum),
}

/// Stands for the codes that a tensor has, and for none that it or another ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(u64);

impl Version {
    /// One that nothing had.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A tensor once it is written: a copy for each axis along which it has blocks, or one.
#[derive(Clone, Debug)]
struct Slot {
    copies: Copies,
    version: Version,
}

impl Slot {
    fn unwritten() -> Self {
        Self { copies: Copies::new(), version: Version::next() }
    }
}

/// What commands need on their way, and leave for the next.
#[derive(Debug, Default)]
pub(crate) struct CommandMemory {
    /// What is asked of weights.
    pub(crate) asked: Vec<bool>,
    /// Results that leave together.
    pub(crate) results: Vec<i64>,
    /// What the loss says of the outputs.
    pub(crate) softmax: Softmax,
}

/// The tensors of a program and the state of their scales.
#[derive(Debug)]
pub struct Store {
    program: Arc<Program>,
    slots: Vec<Slot>,
    scales: Vec<History>,
    pub(crate) softmax: Arc<SoftmaxUnit>,
    labels: Vec<u32>,
    /// Real targets of the loaded batch, row by row; none for a classifier.
    targets: Vec<f64>,
    initial: Vec<(TensorId, ConversionStatistics)>,
    /// Memory of tensors that were replaced, for those that will be.
    spare: Vec<Arc<Tensor>>,
    /// Memory of commands, for the next.
    pub(crate) memory: CommandMemory,
    /// Who runs its commands.
    workers: Arc<Workers>,
}

impl Clone for Store {
    fn clone(&self) -> Self {
        Self {
            program: Arc::clone(&self.program),
            slots: self.slots.clone(),
            scales: self.scales.clone(),
            softmax: Arc::clone(&self.softmax),
            labels: self.labels.clone(),
            targets: self.targets.clone(),
            initial: self.initial.clone(),
            spare: Vec::new(),
            memory: CommandMemory::default(),
            workers: Arc::clone(&self.workers),
        }
    }
}

impl Store {
    /// A store without weights, whose scales remember nothing.
    fn blank(program: &Arc<Program>) -> Self {
        let count = program.tensors.len();
        Self {
            program: Arc::clone(program),
            slots: std::iter::repeat_with(Slot::unwritten).take(count).collect(),
            scales: vec![History::default(); count],
            softmax: Arc::new(SoftmaxUnit::new(program.softmax)),
            labels: Vec::new(),
            targets: Vec::new(),
            initial: Vec::new(),
            spare: Vec::new(),
            memory: CommandMemory::default(),
            workers: Arc::default(),
        }
    }

    /// Has commands from here on run by these: unless told, by one thread. What they leave and say is the
    /// same.
    pub fn use_workers(&mut self, workers: Arc<Workers>) {
        self.workers = workers;
    }

    /// Who runs its commands.
    pub fn workers(&self) -> &Arc<Workers> {
        &self.workers
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// A tensor, once it is written; of one with blocks, the copy that is read first.
    pub fn tensor(&self, id: TensorId) -> Option<&Tensor> {
        self.slots[id.0].copies.first().map(Arc::as_ref)
    }

    /// A tensor, once it is written: a copy for each of its [axes](Program::block_axes), or one.
    pub fn copies(&self, id: TensorId) -> &[Arc<Tensor>] {
        &self.slots[id.0].copies
    }

    /// What stands for the codes that a tensor has.
    pub fn version(&self, id: TensorId) -> Version {
        self.slots[id.0].version
    }

    /// The labels of the loaded batch; empty for a regression.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The real targets of the loaded batch, row by row; empty for a classifier.
    pub(crate) fn targets(&self) -> &[f64] {
        &self.targets
    }

    /// The number of samples of the loaded batch.
    pub fn batch(&self) -> usize {
        let input = self.program.input;
        self.read(input).rows() / self.program.tensor(input).rows.count(1)
    }

    /// Rows and columns of a tensor on the loaded batch.
    pub(crate) fn shape(&self, id: TensorId) -> (usize, usize) {
        let decl = self.program.tensor(id);
        match decl.rows {
            Rows::Batch { .. } => decl.shape(self.batch()),
            Rows::Fixed(rows) => (rows, decl.cols),
        }
    }

    pub(crate) fn read(&self, id: TensorId) -> &Tensor {
        let name = || &self.program.tensor(id).name;
        self.tensor(id).unwrap_or_else(|| panic!("{} is read unwritten", name()))
    }

    /// The copy of a tensor whose blocks, if it has any, lie along an axis.
    pub(crate) fn read_along(&self, id: TensorId, along: Along) -> &Tensor {
        let lies = |copy: &&Arc<Tensor>| copy.blocks().is_none_or(|blocks| blocks.along() == along);
        self.copies(id).iter().find(lies).map_or_else(|| self.read(id), Arc::as_ref)
    }

    /// The operand of a product.
    pub fn operand(&self, operand: OperandRef, is_a: bool) -> Operand<'_> {
        let tensor = self.read_along(operand.tensor, operand.summed_along(is_a));
        Operand::read(tensor, operand.reading)
    }

    /// Loads a batch: converts its inputs and targets.
    ///
    /// # Panics
    ///
    /// If the batch does not fit the program.
    pub fn load(&mut self, batch: &Batch, step: &Step) -> Vec<(TensorId, ConversionStatistics)> {
        let input = self.program.input;
        let mut loaded = vec![(input, self.write_loaded(input, &batch.inputs, step))];
        loaded.extend(self.load_answers(&batch.answers, step));
        loaded
    }

    /// Loads what should be answered; says what became of it where it is converted.
    fn load_answers(
        &mut self,
        answers: &Answers,
        step: &Step,
    ) -> Option<(TensorId, ConversionStatistics)> {
        match (answers, self.program.targets) {
            (Answers::Labels(labels), None) => {
                self.labels.clone_from(labels);
                None
            }
            (Answers::Targets(targets), Some(id)) => {
                let loaded = (id, self.write_loaded(id, targets, step));
                self.targets = targets.iter().copied().collect();
                Some(loaded)
            }
            _ => panic!("a batch whose answers do not go with the loss"),
        }
    }

    fn write_loaded(
        &mut self,
        id: TensorId,
        values: &Array2<f64>,
        step: &Step,
    ) -> ConversionStatistics {
        self.write_reals(id, values, step.occasion(&self.program.tensor(id).load_id()))
    }

    /// Runs a command plainly, with matrix products by `products`.
    ///
    /// # Panics
    ///
    /// If a tensor that it reads is not written yet.
    pub fn run(&mut self, id: CommandId, step: &Step, products: &mut Multiply<'_>) -> Outcome {
        let program = Arc::clone(&self.program);
        let running = Running { program: &program, id, step };
        program.command(id).operation.run(self, &running, products)
    }

    /// Runs the forward pass on the loaded batch and judges the outputs, changing nothing that
    /// outlasts a step.
    pub fn judge(&mut self, step: &Step, engine: &mut dyn Engine) -> Verdict {
        assert!(!step.is_training(), "judging is not a training step");
        let program = Arc::clone(&self.program);
        for &command in &program.inference {
            engine.run(command, self, step);
        }
        match program.targets {
            None => Verdict::Classes(self.softmax_of(program.logits)),
            Some(_) => {
                let outputs = self.read(program.logits);
                Verdict::Values(loss_sum(outputs, self.targets.iter().copied()))
            }
        }
    }

    /// Runs forward and backward pass on the loaded batch, without an update; tells what happened to
    /// each tensor.
    pub fn gradients(&mut self, step: &Step, engine: &mut dyn Engine) -> Vec<Written> {
        let program = Arc::clone(&self.program);
        let commands = program.step.iter().filter(|&&id| program.command(id).pass != Pass::Update);
        commands.flat_map(|&id| engine.run(id, self, step).written).collect()
    }

    /// Softmax of logits.
    fn softmax_of(&self, logits: TensorId) -> Softmax {
        self.softmax.of(self.read(logits))
    }

    /// What a command sums that is a matrix product: of several, one after the other.
    ///
    /// # Panics
    ///
    /// If it is none, or a tensor that it reads is not written yet.
    pub fn tasks<'s>(
        &'s self,
        id: CommandId,
        step: &Step,
    ) -> impl Iterator<Item = GemmTask<'s>> + use<'s> {
        let running = Running { program: &self.program, id, step };
        self.product(id).tasks(self, &running)
    }

    /// The way out of the sums of a command that is a matrix product. Its output is not there until
    /// [`accept`](Self::accept) puts it back.
    ///
    /// # Panics
    ///
    /// As [`tasks`](Self::tasks).
    pub fn exit(&mut self, id: CommandId, step: &Step) -> Exit {
        let program = Arc::clone(&self.program);
        let running = Running { program: &program, id, step };
        program.command(id).operation.product().expect(NO_PRODUCT).exit(self, &running)
    }

    fn product(&self, id: CommandId) -> &Product {
        self.program.command(id).operation.product().expect(NO_PRODUCT)
    }

    /// The way out of a command's results of `frac` fraction bits.
    pub(crate) fn exit_of(&mut self, finish: &Finish, frac: i32, running: &Running<'_>) -> Exit {
        let factor = finish.factor.multiplier(self.batch());
        let (gates, behind) = self.gates(&finish.edges, frac);
        let occasion = running.occasion(finish.output);
        let keep = gates.iter().all(Gate::keeps_type);
        assert!(keep || finish.factor == Factor::One, "a factor behind {:?}", finish.edges);
        Exit { gates, frac, ..self.exit_into(finish.output, (factor, behind), occasion) }
    }

    /// Edges with what they read, for values of `frac` fraction bits; and those that values have behind
    /// them.
    pub(crate) fn gates(&self, edges: &[Edge], mut frac: i32) -> (Gates, i32) {
        let read = |tensor: TensorId| {
            self.read(tensor);
            Arc::clone(&self.copies(tensor)[0])
        };
        let gate = |edge: &Edge| match *edge {
            Edge::Relu => Gate::Relu,
            Edge::Clip { most } => {
                let (ceiling, clipped) = Ceiling::new(most, frac);
                frac = clipped;
                Gate::Clip(ceiling)
            }
            Edge::Curve(curve) => {
                frac = ActivationCurve::FRAC;
                Gate::Curve(curve)
            }
            Edge::Positive(tensor) => Gate::Positive(read(tensor)),
            Edge::Between { of, most } => Gate::Between { of: read(of), most },
            Edge::Slope { of, curve } => {
                let of = read(of);
                frac += curve.slope_frac(of.format().frac());
                Gate::Slope { of, curve }
            }
        };
        (edges.iter().map(gate).collect(), frac)
    }

    /// The way out of results of `frac` fraction bits into a tensor, times `factor`. The tensor is not
    /// there until [`accept`](Self::accept) puts it back.
    pub(crate) fn exit_into(
        &mut self,
        output: TensorId,
        (factor, frac): (Multiplier, i32),
        Occasion { key, training, squares }: Occasion,
    ) -> Exit {
        let (plan, shape) = (self.program.tensor(output).plan, self.shape(output));
        let axes = self.program.block_axes(output);
        let history = std::mem::take(&mut self.scales[output.0]);
        let second_pass = history.needs_range(plan.scale);
        let mut conversion = plan.conversion(key, squares);
        conversion.from_frac = frac + factor.exponent;
        conversion.scale = factor.mantissa;
        if !second_pass {
            conversion.to = plan.format.with_frac(history.choose(plan.scale, plan.format, None));
        }
        let spare = self.slots[output.0].copies.pop();
        let mut copies = Copies::new();
        if axes.is_empty() {
            copies.push(room(conversion.to, shape, spare));
        }
        Exit {
            output,
            plan,
            shape,
            gates: Gates::new(),
            conversion,
            axes,
            training,
            history,
            second_pass,
            chosen: !second_pass,
            copies,
            statistics: ConversionStatistics::default(),
            frac,
            seen: SeenEnds::default(),
            left: 0,
        }
    }

    /// Puts a tensor in its place of which all results have left, and lets its scale learn.
    ///
    /// # Panics
    ///
    /// Unless all have left.
    pub fn accept(&mut self, exit: Exit) -> Written {
        assert_eq!(exit.left, exit.len(), "results that have left");
        let fit = exit.fit();
        let Exit { output, plan, second_pass, training, statistics, .. } = exit;
        self.scales[output.0] = exit.history;
        if training && exit.axes.is_empty() {
            let frac = exit.conversion.to.frac();
            self.scales[output.0].record(plan.scale, fit, frac);
            self.observe(output, &statistics, training);
        }
        self.put_copies(output, exit.copies);
        Written::converted(output, statistics, second_pass)
    }

    /// Whether the scale of a tensor looks at the range of values that are about to be converted.
    pub(crate) fn looks_at_range(&self, id: TensorId, training: bool) -> bool {
        let scale = self.program.tensor(id).plan.scale;
        scale.follows_range() && (training || self.scales[id.0].needs_range(scale))
    }

    /// The conversion into a tensor of values whose range is `range`, and whether its scale had to see
    /// them first. In training the scale remembers them.
    pub(crate) fn conversion(
        &mut self,
        id: TensorId,
        range: impl FnOnce() -> Range,
        Occasion { key, training, squares }: Occasion,
    ) -> (Conversion, bool) {
        let plan = self.program.tensor(id).plan;
        let looks = self.looks_at_range(id, training);
        let history = &mut self.scales[id.0];
        let second_pass = history.needs_range(plan.scale);
        let fit = looks.then(|| range().largest_frac(plan.format, plan.overflow)).flatten();
        let frac = history.choose(plan.scale, plan.format, fit);
        if training {
            history.record(plan.scale, fit, frac);
        }
        let mut conversion = plan.conversion(key, squares);
        conversion.to = plan.format.with_frac(frac);
        (conversion, second_pass)
    }

    /// Tells the scale of a tensor what a conversion did, if that was in training.
    pub(crate) fn observe(
        &mut self,
        id: TensorId,
        statistics: &ConversionStatistics,
        training: bool,
    ) {
        let plan = self.program.tensor(id).plan;
        if training {
            self.scales[id.0].observe(plan.scale, plan.format, statistics);
        }
    }

    /// Converts into every copy of a tensor with blocks. Copies share their random words.
    pub(crate) fn write_blocks(
        &mut self,
        id: TensorId,
        Occasion { key, squares, .. }: Occasion,
        convert: impl Fn(&Conversion, Along, usize) -> (Tensor, ConversionStatistics),
    ) -> ConversionStatistics {
        let plan = self.program.tensor(id).plan;
        let size = plan.block().expect("a tensor with blocks").get() as usize;
        let conversion = plan.conversion(key, squares);
        let mut statistics = ConversionStatistics::default();
        let mut copies = Copies::new();
        for along in self.program.block_axes(id) {
            let (tensor, of_copy) = convert(&conversion, along, size);
            statistics.merge(&of_copy);
            copies.push(Arc::new(tensor));
        }
        self.put_copies(id, copies);
        statistics
    }

    /// Gives back the memory of all that does not outlast a step, whose tensors are unwritten after it.
    pub fn free_step(&mut self) {
        for (slot, decl) in self.slots.iter_mut().zip(&self.program.tensors) {
            if !decl.role.outlasts_a_step() {
                *slot = Slot::unwritten();
            }
        }
        self.spare = Vec::new();
        self.memory = CommandMemory::default();
    }

    /// Gives a tensor other codes.
    pub(crate) fn put(&mut self, id: TensorId, tensor: Tensor) {
        self.put_copies(id, smallvec![Arc::new(tensor)]);
    }

    /// The same, in each of its copies.
    pub(crate) fn put_copies(&mut self, id: TensorId, copies: Copies) {
        self.slots[id.0] = Slot { copies, version: Version::next() };
    }

    /// The same, and keeps the memory of the ones it had.
    pub(crate) fn replace(&mut self, id: TensorId, tensor: Arc<Tensor>) {
        let before = std::mem::take(&mut self.slots[id.0].copies);
        let unused = before.into_iter().filter(|copy| Arc::strong_count(copy) == 1);
        self.spare.extend(unused);
        self.put_copies(id, smallvec![tensor]);
    }

    /// Room for a tensor of a format and so many rows and columns, in the memory of one that was
    /// replaced.
    pub(crate) fn spare_room(&mut self, format: Format, shape: (usize, usize)) -> Arc<Tensor> {
        let fits = |spare: &Arc<Tensor>| {
            spare.len() == shape.0 * shape.1 && spare.format().bits() == format.bits()
        };
        let at = self.spare.iter().position(fits);
        room(format, shape, at.map(|at| self.spare.swap_remove(at)))
    }
}
