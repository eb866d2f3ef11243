//! The tensors of a program, and what each command does to them.

use ndarray::{Array1, Array2, Axis};
use systoliq_fxp::block::Values;
use systoliq_fxp::scale::Range;
use systoliq_fxp::squared_error::loss_sum;
use systoliq_fxp::{
    Accumulator, Adder, Along, Conversion, ConversionStatistics, ExactSum, History, Multiplier,
    Softmax, SoftmaxUnit, SquaredError, Sum, Tensor, UpdateStatistics,
};
use systoliq_keyed_random::Key;
use systoliq_nn::{Answers, Batch, LossUnit};

use crate::command::{
    BatchScale, Command, Edge, Gemm, OperandRef, Operation, Program, TensorDecl, TensorId,
};
use crate::plan::{Role, TensorPlan};
use crate::{Engine, GemmTask, Operand, Pass, Work};

mod snapshot;
mod teaching;
mod update;

pub use snapshot::Snapshot;
pub use update::Gathering;
use update::Passing;

/// Which step a command runs in: it decides the random words, the learning rate, and whether scales
/// learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    key: Key,
    training: bool,
    epoch: u32,
}

impl Step {
    /// Training step `number`, from 0, of a run with `seed`: of its first epoch, unless told.
    pub fn training(seed: u64, number: u64) -> Self {
        Self { key: Key::new(seed).with_name("train").with(number), training: true, epoch: 0 }
    }

    /// The same step as one of epoch `epoch`, from 0, whose learning rate it has.
    #[must_use]
    pub fn in_epoch(self, epoch: u32) -> Self {
        Self { epoch, ..self }
    }

    /// Batch `batch` of evaluation number `evaluation` on the part of the data called `part`.
    pub fn evaluation(seed: u64, part: &str, evaluation: u64, batch: u64) -> Self {
        let key = Key::new(seed).with_name("evaluate").with_name(part);
        Self { key: key.with(evaluation).with(batch), training: false, epoch: 0 }
    }

    /// A look at a run, number `number`, that leaves it as it is.
    pub fn probe(seed: u64, number: u64) -> Self {
        Self { key: Key::new(seed).with_name("probe").with(number), training: false, epoch: 0 }
    }

    /// The conversion of initial weights.
    fn initial(seed: u64) -> Self {
        Self { key: Key::new(seed).with_name("initial"), training: false, epoch: 0 }
    }

    /// The stream of random words of a conversion.
    pub fn key(&self, conversion_id: &str) -> Key {
        self.key.with_name(conversion_id)
    }
}

/// What a command did.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How much there was to do.
    pub work: Work,
    /// Whether the scale of the output was chosen from the output itself, which then had to be
    /// kept at full width until its last element was known.
    pub second_pass: bool,
    /// What the conversion of the output did.
    pub conversion: ConversionStatistics,
    /// Sums that accumulators made: of a product or of columns, one for each output.
    pub sums: u64,
    /// Of these, how many left the accumulator's range on the way.
    pub overflowed_sums: u64,
    /// What an update did.
    pub update: Option<UpdateStatistics>,
    /// The loss summed over the batch, of the command that computes it.
    pub loss_sum: Option<ExactSum>,
}

/// What the outputs of a batch are worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Of a classifier.
    Classes(Softmax),
    /// Of a regression: the sum of `½Σe²`.
    Values(ExactSum),
}

/// The tensors of a program and the state of their scales.
#[derive(Clone, Debug)]
pub struct Machine<'p> {
    program: &'p Program,
    /// Each once it is written: one tensor, or a copy for each axis along which it has blocks.
    tensors: Vec<Vec<Tensor>>,
    scales: Vec<History>,
    softmax: SoftmaxUnit,
    labels: Vec<u32>,
    /// Real targets of the loaded batch, row by row; none for a classifier.
    targets: Vec<f64>,
    /// What an update leaves to the command that keeps its residual.
    passing: Option<Passing>,
    /// Where a momentum that was gathered is not zero before rounding, until its update is done.
    gathered: Option<Vec<bool>>,
    initial: Vec<(TensorId, ConversionStatistics)>,
}

impl<'p> Machine<'p> {
    /// A machine whose weights are converted from `initial`, one matrix `[units, inputs]` a layer,
    /// with what they do not hold in their residuals, and whose biases and momenta are 0.
    ///
    /// # Panics
    ///
    /// If `initial` does not fit the program.
    pub fn new(program: &'p Program, initial: &[Array2<f64>], seed: u64) -> Self {
        let step = Step::initial(seed);
        let mut machine = Self::blank(program);
        let weights: Vec<&Array2<f64>> = initial.iter().collect();
        let key = |layer: usize, role: Role| step.key(&format!("{layer}/initial/{role}"));
        machine.initial = machine.enter(&weights, key);
        machine
    }

    /// Converts real weights into what updates write, and that into what the array reads and what is
    /// left in residuals, under the keys of layer and role; what else is carried from step to step and
    /// not there yet is 0. Says what the conversions did.
    fn enter(
        &mut self,
        weights: &[&Array2<f64>],
        key: impl Fn(usize, Role) -> Key,
    ) -> Vec<(TensorId, ConversionStatistics)> {
        let mut entered = Vec::new();
        for (id, decl) in self.program.tensors.iter().enumerate() {
            let updated = match decl.role {
                Role::Master => true,
                // Without a master, the update writes the weights.
                Role::Weights => self.program.find(Role::Master, decl.layer).is_none(),
                _ => false,
            };
            if updated {
                let (id, key) = (TensorId(id), key(decl.layer, decl.role));
                entered.push((id, self.write_reals(id, weights[decl.layer], key, false)));
            } else if decl.role.outlasts_a_step() && self.tensors[id].is_empty() {
                let zeros = Tensor::zeros(decl.plan.format, decl.rows.count(0), decl.cols);
                self.tensors[id] = vec![zeros];
            }
        }
        for command in &self.program.commands {
            let layer = command.layer;
            if let Operation::Convert { from, to } = command.operation {
                let outcome = self.convert(from, to, key(layer, Role::Weights), false);
                entered.push((to, outcome.conversion));
            }
            if let Operation::Residual { residual, weights: rounded } = command.operation {
                let key = key(layer, Role::Residual);
                entered.push((residual, self.leave(residual, rounded, weights[layer], key)));
            }
        }
        entered
    }

    /// A machine without weights, whose scales remember nothing.
    fn blank(program: &'p Program) -> Self {
        let count = program.tensors.len();
        Self {
            program,
            tensors: vec![Vec::new(); count],
            scales: vec![History::default(); count],
            softmax: SoftmaxUnit::new(program.softmax),
            labels: Vec::new(),
            targets: Vec::new(),
            passing: None,
            gathered: None,
            initial: Vec::new(),
        }
    }

    /// Replaces the bias of a layer, which is 0 at first.
    ///
    /// # Panics
    ///
    /// If the layer has no bias, or one of another size.
    pub fn set_bias(&mut self, layer: usize, bias: &Array1<f64>, seed: u64) {
        let is_bias = |decl: &TensorDecl| decl.role == Role::Bias && decl.layer == layer;
        let at = self.program.tensors.iter().position(is_bias);
        let id = TensorId(at.unwrap_or_else(|| panic!("layer {layer} has no bias")));
        let key = Step::initial(seed).key(&format!("{layer}/initial/{}", Role::Bias));
        let statistics = self.write_reals(id, &bias.clone().insert_axis(Axis(0)), key, false);
        self.initial.push((id, statistics));
    }

    /// What the conversions of the initial weights did.
    pub fn initial_statistics(&self) -> &[(TensorId, ConversionStatistics)] {
        &self.initial
    }

    /// The program.
    pub fn program(&self) -> &'p Program {
        self.program
    }

    /// A tensor, once it is written; of one with blocks, the copy that is read first.
    pub fn tensor(&self, id: TensorId) -> Option<&Tensor> {
        self.tensors[id.0].first()
    }

    /// A tensor, once it is written: a copy for each of its [axes](Program::block_axes), or one.
    pub fn copies(&self, id: TensorId) -> &[Tensor] {
        &self.tensors[id.0]
    }

    /// Loads a batch: converts its inputs and targets.
    ///
    /// # Panics
    ///
    /// If the batch does not fit the program.
    pub fn load(&mut self, batch: &Batch, step: &Step) -> Vec<(TensorId, ConversionStatistics)> {
        let mut loaded = Vec::new();
        let mut write = |machine: &mut Self, id, values: &Array2<f64>| {
            let key = step.key(&machine.program.tensor(id).load_id());
            loaded.push((id, machine.write_reals(id, values, key, step.training)));
        };
        write(self, self.program.input, &batch.inputs);
        match (&batch.answers, self.program.targets) {
            (Answers::Labels(labels), None) => self.labels.clone_from(labels),
            (Answers::Targets(targets), Some(id)) => {
                write(self, id, targets);
                self.targets = targets.iter().copied().collect();
            }
            _ => panic!("a batch whose answers do not go with the loss"),
        }
        loaded
    }

    /// Runs one command.
    ///
    /// # Panics
    ///
    /// If a tensor that it reads is not written yet.
    pub fn execute(&mut self, command: &Command, step: &Step, engine: &mut dyn Engine) -> Outcome {
        let output_key = step.key(&self.program.output_id(command));
        let accumulator_key = || step.key(&self.program.accumulator_id(command));
        match &command.operation {
            Operation::Gemm(gemm) => {
                self.gemm(gemm, accumulator_key(), output_key, step.training, engine)
            }
            Operation::SumRows { input, accumulator, product_with, scale, output } => {
                let frac =
                    self.read(*input).format().frac() + self.read(*product_with).format().frac();
                let key = accumulator_key();
                let (sums, overflowed, frac) = self.sum_rows(*input, accumulator, frac, key);
                let work = vector_work(self.read(*input));
                let rows = self.batch();
                let outcome = self.write(
                    *output,
                    1,
                    &sums,
                    frac,
                    scale.multiplier(rows),
                    output_key,
                    step.training,
                );
                Outcome { work, sums: sums.len() as u64, overflowed_sums: overflowed, ..outcome }
            }
            Operation::SoftmaxCrossEntropy { logits, error } => {
                let softmax = self.softmax.of(self.read(*logits));
                let (differences, frac) = match self.program.learning.loss_unit {
                    LossUnit::Bits => {
                        (softmax.differences_in_bits(&self.labels), softmax.format.gradient_frac())
                    }
                    LossUnit::Nats => {
                        (softmax.differences(&self.labels), softmax.format.probability_frac as i32)
                    }
                };
                let frac = frac - self.program.learning.loss_scale_log2;
                let rows = self.batch();
                let outcome = self.write(
                    *error,
                    rows,
                    &differences,
                    frac,
                    Multiplier::ONE,
                    output_key,
                    step.training,
                );
                Outcome { loss_sum: Some(softmax.loss_sum(&self.labels)), ..outcome }
            }
            Operation::SquaredError { outputs, targets, error } => {
                let difference = SquaredError::of(self.read(*outputs), self.read(*targets));
                let loss = loss_sum(self.read(*outputs), self.targets.iter().copied());
                let outcome = self.squared_error(*error, &difference, output_key, step.training);
                Outcome { loss_sum: Some(loss), ..outcome }
            }
            Operation::Momentum { momentum, gradient, weights, decay } => {
                let decaying = decay.then_some(*weights);
                self.gather((*momentum, *gradient), decaying, step, output_key)
            }
            Operation::Update { weights, residual, gradient, decay, rate_bits } => {
                let rate = self.rate(*gradient, *rate_bits, step);
                let decay = decay.then(|| self.decay_rate(*rate_bits, step));
                self.update((*weights, *residual, *gradient), rate, decay, output_key)
            }
            Operation::Residual { residual, weights } => {
                self.keep_residual(*residual, *weights, output_key)
            }
            Operation::Convert { from, to } => self.convert(*from, *to, output_key, step.training),
        }
    }

    /// Runs the forward pass on the loaded batch and judges the outputs, changing nothing that
    /// outlasts a step.
    pub fn judge(&mut self, step: &Step, engine: &mut dyn Engine) -> Verdict {
        assert!(!step.training, "judging is not a training step");
        for command in &self.program.commands {
            if let (Pass::Forward, Operation::Gemm(_)) = (command.pass, &command.operation) {
                self.execute(command, step, engine);
            }
        }
        let outputs = self.read(self.program.logits);
        match self.program.targets {
            None => Verdict::Classes(self.softmax.of(outputs)),
            Some(_) => Verdict::Values(loss_sum(outputs, self.targets.iter().copied())),
        }
    }

    /// Runs forward and backward pass on the loaded batch, without an update; tells what the
    /// conversion of each tensor did.
    pub fn gradients(
        &mut self,
        step: &Step,
        engine: &mut dyn Engine,
    ) -> Vec<(TensorId, ConversionStatistics)> {
        let commands = self.program.commands.iter().filter(|c| c.pass != Pass::Update);
        let run = |command: &Command| {
            let conversion = self.execute(command, step, engine).conversion;
            (command.operation.output(), conversion)
        };
        commands.map(run).collect()
    }

    /// The labels of the loaded batch; empty for a regression.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The number of samples of the loaded batch.
    pub fn batch(&self) -> usize {
        self.read(self.program.input).rows()
    }

    fn read(&self, id: TensorId) -> &Tensor {
        let name = || &self.program.tensor(id).name;
        self.tensor(id).unwrap_or_else(|| panic!("{} is read unwritten", name()))
    }

    /// The copy of a tensor whose blocks, if it has any, lie along an axis.
    fn read_along(&self, id: TensorId, along: Along) -> &Tensor {
        let lies = |copy: &&Tensor| copy.blocks().is_none_or(|blocks| blocks.along() == along);
        self.copies(id).iter().find(lies).unwrap_or_else(|| self.read(id))
    }

    /// The operand of a product.
    pub fn operand(&self, operand: OperandRef, is_a: bool) -> Operand<'_> {
        let tensor = self.read_along(operand.tensor, operand.summed_along(is_a));
        Operand { tensor, transposed: operand.transposed }
    }

    /// Converts into every copy of a tensor with blocks. Copies share their random words.
    fn write_blocks(
        &mut self,
        id: TensorId,
        key: Key,
        convert: impl Fn(&Conversion, Along, usize) -> (Tensor, ConversionStatistics),
    ) -> ConversionStatistics {
        let plan = self.program.tensor(id).plan;
        let size = plan.block().expect("a tensor with blocks").get() as usize;
        let TensorPlan { format: to, rounding, overflow, .. } = plan;
        let conversion = Conversion { from_frac: 0, scale: 1, to, rounding, overflow, key };
        let mut statistics = ConversionStatistics::default();
        let mut copies = Vec::new();
        for along in self.program.block_axes(id) {
            let (tensor, of_copy) = convert(&conversion, along, size);
            statistics.merge(&of_copy);
            copies.push(tensor);
        }
        self.tensors[id.0] = copies;
        statistics
    }

    /// The conversion into tensor `id` of values whose range is `range`, and whether its scale had
    /// to see them first. In training the scale remembers them.
    fn conversion(
        &mut self,
        id: TensorId,
        range: impl Fn() -> Range,
        key: Key,
        training: bool,
    ) -> (Conversion, bool) {
        let plan = self.program.tensor(id).plan;
        let history = &mut self.scales[id.0];
        let second_pass = history.needs_range(plan.scale);
        let fit = if plan.scale.follows_range() && (training || second_pass) {
            range().largest_frac(plan.format, plan.overflow)
        } else {
            None
        };
        let frac = history.choose(plan.scale, plan.format, fit);
        if training {
            history.record(plan.scale, fit, frac);
        }
        let conversion = Conversion {
            from_frac: 0,
            scale: 1,
            to: plan.format.with_frac(frac),
            rounding: plan.rounding,
            overflow: plan.overflow,
            key,
        };
        (conversion, second_pass)
    }

    /// Converts `values · scale`, `values` having `frac` fraction bits, into tensor `id`.
    #[allow(clippy::too_many_arguments)]
    fn write(
        &mut self,
        id: TensorId,
        rows: usize,
        values: &[i64],
        frac: i32,
        scale: Multiplier,
        key: Key,
        training: bool,
    ) -> Outcome {
        let from_frac = frac + scale.exponent;
        let cols = self.program.tensor(id).cols;
        if self.program.tensor(id).plan.block().is_some() {
            let statistics = self.write_blocks(id, key, |conversion, along, size| {
                let conversion = Conversion { from_frac, scale: scale.mantissa, ..*conversion };
                conversion.blocks((rows, cols), Values::Narrow(values), along, size)
            });
            return self.outcome(id, statistics, false);
        }
        let range = || Range::of(values, scale.mantissa, from_frac);
        let (conversion, second_pass) = self.conversion(id, range, key, training);
        let conversion = Conversion { from_frac, scale: scale.mantissa, ..conversion };
        let (tensor, statistics) = conversion.tensor(rows, cols, values);
        self.observe(id, &statistics, training);
        self.finish(id, tensor, statistics, second_pass)
    }

    /// Tells the scale of tensor `id` what a conversion did, if that was in training.
    fn observe(&mut self, id: TensorId, statistics: &ConversionStatistics, training: bool) {
        let plan = self.program.tensor(id).plan;
        if training {
            self.scales[id.0].observe(plan.scale, plan.format, statistics);
        }
    }

    /// Stores a vector command's output.
    fn finish(
        &mut self,
        id: TensorId,
        tensor: Tensor,
        conversion: ConversionStatistics,
        second_pass: bool,
    ) -> Outcome {
        self.tensors[id.0] = vec![tensor];
        self.outcome(id, conversion, second_pass)
    }

    /// What a vector command did whose output is stored.
    fn outcome(
        &self,
        id: TensorId,
        conversion: ConversionStatistics,
        second_pass: bool,
    ) -> Outcome {
        let work = vector_work(self.read(id));
        Outcome {
            work,
            second_pass,
            conversion,
            sums: 0,
            overflowed_sums: 0,
            update: None,
            loss_sum: None,
        }
    }

    fn write_reals(
        &mut self,
        id: TensorId,
        values: &Array2<f64>,
        key: Key,
        training: bool,
    ) -> ConversionStatistics {
        let decl = self.program.tensor(id);
        assert_eq!(values.ncols(), decl.cols, "columns of {}", decl.name);
        let values_by_row: Vec<f64> = values.iter().copied().collect();
        let shape = values.dim();
        if decl.plan.block().is_some() {
            return self.write_blocks(id, key, |conversion, along, size| {
                conversion.real_blocks(shape, &values_by_row, along, size)
            });
        }
        let range = || range_of_reals(&values_by_row);
        let (conversion, _) = self.conversion(id, range, key, training);
        let (tensor, statistics) = conversion.reals(shape.0, shape.1, &values_by_row);
        self.observe(id, &statistics, training);
        self.tensors[id.0] = vec![tensor];
        statistics
    }

    fn gemm(
        &mut self,
        gemm: &Gemm,
        accumulator_key: Key,
        output_key: Key,
        training: bool,
        engine: &mut dyn Engine,
    ) -> Outcome {
        let (a, b) = (self.operand(gemm.a, true), self.operand(gemm.b, false));
        let product_frac = a.tensor.format().frac() + b.tensor.format().frac();
        let adder = match self.program.block_of(gemm) {
            None => Adder::new(&gemm.accumulator, product_frac, accumulator_key),
            Some(block) => Adder::of_blocks(&gemm.accumulator, block, accumulator_key),
        };
        let task = GemmTask { a, b, adder, bias: gemm.bias.map(|bias| self.read(bias)) };
        let shape = task.shape();
        engine.begin(gemm);
        let mut sums = engine.gemm(&task);
        match gemm.edge {
            Edge::Pass => {}
            Edge::Relu => sums.values.iter_mut().for_each(|value| *value = (*value).max(0)),
            Edge::Mask(activation) => {
                let active = self.read(activation).to_codes();
                for (value, code) in sums.values.iter_mut().zip(active) {
                    *value = if code > 0 { *value } else { 0 };
                }
            }
        }
        let scale = gemm.scale.multiplier(self.batch());
        let outcome =
            self.write(gemm.output, shape.m, &sums.values, adder.frac, scale, output_key, training);
        let made = sums.values.len() as u64;
        Outcome { work: Work::Gemm(shape), sums: made, overflowed_sums: sums.overflowed, ..outcome }
    }

    /// Column sums of tensor `input`, rows ascending; how many overflowed; their fraction bits.
    fn sum_rows(
        &self,
        input: TensorId,
        accumulator: &Accumulator,
        default_frac: i32,
        key: Key,
    ) -> (Vec<i64>, u64, i32) {
        let tensor = self.read_along(input, Along::Column);
        let frac = accumulator.frac().unwrap_or(default_frac);
        let adder = match self.program.tensor(input).plan.block() {
            None => {
                let mut adder = Adder::new(accumulator, frac, key);
                adder.shift = tensor.format().frac() - frac;
                adder
            }
            Some(block) => Adder::of_blocks(accumulator, block, key),
        };
        let mut sums = vec![Sum::default(); tensor.cols()];
        let rows = tensor.rows() as u64;
        for (index, code) in tensor.to_codes().into_iter().enumerate() {
            let (row, col) = (index / tensor.cols(), index % tensor.cols());
            let (k, sum) = (row as u64, &mut sums[col]);
            adder.add_product(sum, code.into(), col as u64, k);
            if adder.ends_run(k, rows) {
                match adder.block() {
                    None => adder.end_chunk(sum),
                    Some(_) => adder.end_block(sum, tensor.frac(row, col), col as u64, k),
                }
            }
        }
        let mut overflowed = 0;
        for (col, sum) in sums.iter_mut().enumerate() {
            overflowed += u64::from(adder.finish(sum, None, col as u64, rows));
        }
        (sums.iter().map(|sum| sum.value).collect(), overflowed, frac)
    }

    fn squared_error(
        &mut self,
        id: TensorId,
        difference: &SquaredError,
        key: Key,
        training: bool,
    ) -> Outcome {
        let scale = self.program.learning.loss_scale_log2;
        if self.program.tensor(id).plan.block().is_some() {
            let statistics = self.write_blocks(id, key, |conversion, along, size| {
                difference.blocks(conversion, scale, along, size)
            });
            return self.outcome(id, statistics, false);
        }
        let (conversion, second_pass) =
            self.conversion(id, || difference.range(scale), key, training);
        let (tensor, statistics) = difference.convert(&conversion, scale);
        self.observe(id, &statistics, training);
        self.finish(id, tensor, statistics, second_pass)
    }

    fn convert(&mut self, from: TensorId, to: TensorId, key: Key, training: bool) -> Outcome {
        let source = self.read(from);
        let (rows, codes, frac) = (source.rows(), source.to_codes(), source.format().frac());
        self.write(to, rows, &codes, frac, Multiplier::ONE, key, training)
    }
}

impl BatchScale {
    /// The factor for a batch of `batch` samples.
    pub fn multiplier(self, batch: usize) -> Multiplier {
        match self {
            Self::One => Multiplier::ONE,
            Self::Mean => Multiplier::reciprocal(batch as u32),
        }
    }
}

fn vector_work(tensor: &Tensor) -> Work {
    Work::Vector { rows: tensor.rows(), cols: tensor.cols() }
}

/// The range of real values, each exactly.
fn range_of_reals(values: &[f64]) -> Range {
    let ends = values.iter().fold(None, |ends: Option<(f64, f64)>, &value| {
        Some(ends.map_or((value, value), |(min, max)| (min.min(value), max.max(value))))
    });
    let (min, max) = ends.unwrap_or_default();
    let exact = |value| systoliq_fxp::real::decompose(value).expect("a finite value");
    Range::between(exact(min), exact(max))
}
