//! The tensors of a program, and what each command does to them.

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use systoliq_fxp::scale::Range;
use systoliq_fxp::softmax::{GRADIENT_FRAC, PROBABILITY_FRAC};
use systoliq_fxp::squared_error::loss_sum;
use systoliq_fxp::{
    Accumulator, Adder, Conversion, ConversionStatistics, ExactSum, History, Multiplier, Scale,
    Softmax, SquaredError, Sum, Tensor, Update, UpdateStatistics,
};
use systoliq_keyed_random::Key;
use systoliq_nn::{Answers, Batch, BatchGradient, LossUnit};

use crate::command::{BatchScale, Command, Edge, Gemm, Operation, Program, TensorDecl, TensorId};
use crate::plan::Role;
use crate::{Engine, GemmTask, Operand, Pass, Work};

mod teaching;

/// Which step a command runs in: it decides the random words, and whether scales learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    key: Key,
    training: bool,
}

impl Step {
    /// Training step `number`, from 0, of a run with `seed`.
    pub fn training(seed: u64, number: u64) -> Self {
        Self { key: Key::new(seed).with_name("train").with(number), training: true }
    }

    /// Batch `batch` of evaluation number `evaluation` on the part of the data called `part`.
    pub fn evaluation(seed: u64, part: &str, evaluation: u64, batch: u64) -> Self {
        let key = Key::new(seed).with_name("evaluate").with_name(part);
        Self { key: key.with(evaluation).with(batch), training: false }
    }

    /// A look at a run, number `number`, that leaves it as it is.
    pub fn probe(seed: u64, number: u64) -> Self {
        Self { key: Key::new(seed).with_name("probe").with(number), training: false }
    }

    /// The conversion of initial weights.
    fn initial(seed: u64) -> Self {
        Self { key: Key::new(seed).with_name("initial"), training: false }
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
    /// Outputs whose accumulator left its range on the way.
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
    tensors: Vec<Option<Tensor>>,
    scales: Vec<History>,
    labels: Vec<u32>,
    /// Real targets of the loaded batch, row by row; none for a classifier.
    targets: Vec<f64>,
    initial: Vec<(TensorId, ConversionStatistics)>,
}

/// What of a machine outlasts a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Codes and fraction bits of weights and biases; nothing for other tensors.
    tensors: Vec<Option<(Vec<i64>, i32)>>,
    scales: Vec<History>,
}

impl<'p> Machine<'p> {
    /// A machine whose weights are converted from `initial`, one matrix `[units, inputs]` a layer,
    /// and whose biases are 0.
    ///
    /// # Panics
    ///
    /// If `initial` does not fit the program.
    pub fn new(program: &'p Program, initial: &[Array2<f64>], seed: u64) -> Self {
        let mut machine = Self::blank(program);
        let step = Step::initial(seed);
        for (id, decl) in program.tensors.iter().enumerate().map(|(id, decl)| (TensorId(id), decl))
        {
            match decl.role {
                Role::Master => {
                    let id_text = format!("{}/initial/{}", decl.layer, decl.role);
                    let statistics =
                        machine.write_reals(id, &initial[decl.layer], step.key(&id_text), false);
                    machine.initial.push((id, statistics));
                }
                Role::Bias => {
                    let zeros = Tensor::zeros(decl.plan.format, 1, decl.cols);
                    machine.tensors[id.0] = Some(zeros);
                }
                _ => {}
            }
        }
        for command in &program.commands {
            if let Operation::Convert { from, to } = command.operation {
                let key = step.key(&format!("{}/initial/{}", command.layer, Role::Weights));
                let outcome = machine.convert(from, to, key, false);
                machine.initial.push((to, outcome.conversion));
            }
        }
        machine
    }

    /// A machine without weights, whose scales remember nothing.
    fn blank(program: &'p Program) -> Self {
        let count = program.tensors.len();
        Self {
            program,
            tensors: vec![None; count],
            scales: vec![History::default(); count],
            labels: Vec::new(),
            targets: Vec::new(),
            initial: Vec::new(),
        }
    }

    /// What the conversions of the initial weights did.
    pub fn initial_statistics(&self) -> &[(TensorId, ConversionStatistics)] {
        &self.initial
    }

    /// The program.
    pub fn program(&self) -> &'p Program {
        self.program
    }

    /// A tensor, once it is written.
    pub fn tensor(&self, id: TensorId) -> Option<&Tensor> {
        self.tensors[id.0].as_ref()
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
                Outcome { work, overflowed_sums: overflowed, ..outcome }
            }
            Operation::SoftmaxCrossEntropy { logits, error } => {
                let softmax = Softmax::of(self.read(*logits));
                let (differences, frac) = match self.program.learning.loss_unit {
                    LossUnit::Bits => (softmax.differences_in_bits(&self.labels), GRADIENT_FRAC),
                    LossUnit::Nats => (softmax.differences(&self.labels), PROBABILITY_FRAC),
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
            Operation::Update { weights, gradient, rate_bits } => {
                self.update(*weights, *gradient, *rate_bits, output_key)
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
            None => Verdict::Classes(Softmax::of(outputs)),
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

    /// The learning rate as the update multiplies it, with a mantissa of `bits` bits: divided by
    /// the loss scale and, where gradients are sums, by the size of the loaded batch.
    pub fn rate(&self, bits: u32) -> Multiplier {
        let learning = &self.program.learning;
        let divisor = match learning.batch_gradient {
            BatchGradient::Mean => 1,
            BatchGradient::Sum => self.batch() as u32,
        };
        let rate = Multiplier::nearest_quotient(learning.rate, divisor, bits);
        let rate = rate.expect("a rate that lowering accepted");
        Multiplier { exponent: rate.exponent + learning.loss_scale_log2, ..rate }
    }

    /// What outlasts a step.
    pub fn snapshot(&self) -> Snapshot {
        let kept = |(decl, tensor): (&TensorDecl, &Option<Tensor>)| {
            let tensor = tensor.as_ref().filter(|_| outlasts_a_step(decl.role))?;
            Some((tensor.to_codes(), tensor.format().frac()))
        };
        let tensors = self.program.tensors.iter().zip(&self.tensors).map(kept).collect();
        Snapshot { tensors, scales: self.scales.clone() }
    }

    /// Returns to a snapshot of a machine of the same program; `None` if it is of another.
    #[must_use]
    pub fn restore(&mut self, snapshot: &Snapshot) -> Option<()> {
        let count = self.program.tensors.len();
        if snapshot.tensors.len() != count || snapshot.scales.len() != count {
            return None;
        }
        for ((decl, tensor), kept) in
            self.program.tensors.iter().zip(&mut self.tensors).zip(&snapshot.tensors)
        {
            let Some((codes, frac)) = kept else {
                if outlasts_a_step(decl.role) {
                    return None;
                }
                continue;
            };
            let rows = decl.rows.count(0);
            let format = decl.plan.format;
            let range = format.min_raw()..=format.max_raw();
            let fits = codes.len() == rows * decl.cols
                && systoliq_fxp::Format::FRAC.contains(frac)
                && (decl.plan.scale != Scale::Static || *frac == format.frac())
                && codes.iter().all(|code| range.contains(code));
            if !fits || !outlasts_a_step(decl.role) {
                return None;
            }
            *tensor = Some(Tensor::from_codes(format.with_frac(*frac), rows, decl.cols, codes));
        }
        if !snapshot.scales.iter().all(History::is_possible) {
            return None;
        }
        self.scales.clone_from(&snapshot.scales);
        Some(())
    }

    fn read(&self, id: TensorId) -> &Tensor {
        let name = || &self.program.tensor(id).name;
        self.tensors[id.0].as_ref().unwrap_or_else(|| panic!("{} is read unwritten", name()))
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
        let fit = if plan.scale == Scale::Static || !(training || second_pass) {
            None
        } else {
            range().largest_frac(plan.format, plan.overflow)
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
        let range = || Range::of(values, scale.mantissa, from_frac);
        let (conversion, second_pass) = self.conversion(id, range, key, training);
        let conversion = Conversion { from_frac, scale: scale.mantissa, ..conversion };
        let cols = self.program.tensor(id).cols;
        let (tensor, statistics) = conversion.tensor(rows, cols, values);
        self.finish(id, tensor, statistics, second_pass)
    }

    /// Stores a vector command's output.
    fn finish(
        &mut self,
        id: TensorId,
        tensor: Tensor,
        conversion: ConversionStatistics,
        second_pass: bool,
    ) -> Outcome {
        let work = vector_work(&tensor);
        self.tensors[id.0] = Some(tensor);
        Outcome { work, second_pass, conversion, overflowed_sums: 0, update: None, loss_sum: None }
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
        let range = || range_of_reals(&values_by_row);
        let (conversion, _) = self.conversion(id, range, key, training);
        let (tensor, statistics) = conversion.reals(values.nrows(), decl.cols, &values_by_row);
        self.tensors[id.0] = Some(tensor);
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
        let operand = |reference: crate::command::OperandRef| Operand {
            tensor: self.read(reference.tensor),
            transposed: reference.transposed,
        };
        let (a, b) = (operand(gemm.a), operand(gemm.b));
        let product_frac = a.tensor.format().frac() + b.tensor.format().frac();
        let adder = Adder::new(&gemm.accumulator, product_frac, accumulator_key);
        let task = GemmTask { a, b, adder, bias: gemm.bias.map(|bias| self.read(bias)) };
        let shape = task.shape();
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
        Outcome { work: Work::Gemm(shape), overflowed_sums: sums.overflowed, ..outcome }
    }

    /// Column sums of tensor `input`, rows ascending; how many overflowed; their fraction bits.
    fn sum_rows(
        &self,
        input: TensorId,
        accumulator: &Accumulator,
        default_frac: i32,
        key: Key,
    ) -> (Vec<i64>, u64, i32) {
        let tensor = self.read(input);
        let frac = accumulator.frac().unwrap_or(default_frac);
        let adder = Adder {
            frac,
            shift: tensor.format().frac() - frac,
            ..Adder::new(accumulator, frac, key)
        };
        let mut sums = vec![Sum::default(); tensor.cols()];
        for (index, code) in tensor.to_codes().into_iter().enumerate() {
            let (row, col) = (index / tensor.cols(), index % tensor.cols());
            adder.add_product(&mut sums[col], code.into(), col as u64, row as u64);
        }
        let overflowed = sums.iter().filter(|sum| adder.overflowed(sum)).count() as u64;
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
        let (conversion, second_pass) =
            self.conversion(id, || difference.range(scale), key, training);
        let (tensor, statistics) = difference.convert(&conversion, scale);
        self.finish(id, tensor, statistics, second_pass)
    }

    fn update(&mut self, id: TensorId, gradient: TensorId, rate_bits: u32, key: Key) -> Outcome {
        let plan = self.program.tensor(id).plan;
        let update = Update {
            rate: self.rate(rate_bits),
            rounding: plan.rounding,
            overflow: plan.overflow,
            key,
        };
        let (tensor, statistics, updates) = update.apply(self.read(id), self.read(gradient));
        Outcome { update: Some(updates), ..self.finish(id, tensor, statistics, false) }
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

/// Whether tensors of this role are what training trains.
fn outlasts_a_step(role: Role) -> bool {
    matches!(role, Role::Master | Role::Weights | Role::Bias)
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
