//! Commands, tensors and programs.

use std::fmt;
use std::num::NonZero;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use systoliq_fxp::{Accumulator, Along, SoftmaxFormat};
// How a program learns is stated as networks state it.
pub use systoliq_nn::{BatchGradient, LossUnit, Schedule};

use crate::GemmShape;
use crate::plan::{Role, TensorPlan};

/// The pass of a training step that a command belongs to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// From inputs to the loss.
    Forward,
    /// Gradients with respect to layer inputs.
    InputGradient,
    /// Gradients with respect to weights and biases.
    WeightGradient,
    /// Weights and biases.
    Update,
}

impl Pass {
    /// Every pass.
    pub const ALL: [Self; 4] =
        [Self::Forward, Self::InputGradient, Self::WeightGradient, Self::Update];

    /// The name used in reports and in conversion ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::InputGradient => "input_gradient",
            Self::WeightGradient => "weight_gradient",
            Self::Update => "update",
        }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The place of a tensor in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub usize);

/// The number of rows of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One per sample of the batch.
    Batch,
    /// A fixed number.
    Fixed(usize),
}

impl Rows {
    /// The number of rows with `batch` samples.
    pub fn count(self, batch: usize) -> usize {
        match self {
            Self::Batch => batch,
            Self::Fixed(rows) => rows,
        }
    }
}

/// A named tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorDecl {
    /// Short and unique: `x`, `w0`, `dz1`.
    pub name: String,
    /// What the tensor is.
    pub role: Role,
    /// The layer with weights that it belongs to.
    pub layer: usize,
    /// The number of rows.
    pub rows: Rows,
    /// The number of columns.
    pub cols: usize,
    /// Format, scale, and how it is converted to.
    pub plan: TensorPlan,
}

impl TensorDecl {
    /// The id of the conversion of real values that enter: `layer/forward/role`.
    pub fn load_id(&self) -> String {
        format!("{}/{}/{}", self.layer, Pass::Forward, self.role)
    }
}

/// A tensor read as it is stored or transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandRef {
    /// The tensor.
    pub tensor: TensorId,
    /// Whether the operand is its transpose.
    pub transposed: bool,
}

impl OperandRef {
    /// Along what of the tensor a product sums, whose left (`is_a`) or right operand this is.
    pub fn summed_along(self, is_a: bool) -> Along {
        if self.transposed == is_a { Along::Column } else { Along::Row }
    }
}

/// What happens at the array's edge between bias and conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Nothing.
    Pass,
    /// Negative values become 0.
    Relu,
    /// Values become 0 where the named tensor is not positive.
    Mask(TensorId),
}

/// Whether sums over a batch become means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchScale {
    /// Sums stay sums.
    One,
    /// Sums are multiplied by 1/B as they are converted.
    Mean,
}

/// `output = convert(edge(a · b + bias))`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gemm {
    /// The left operand.
    pub a: OperandRef,
    /// The right operand.
    pub b: OperandRef,
    /// The accumulator of each output.
    pub accumulator: Accumulator,
    /// One row, added last.
    pub bias: Option<TensorId>,
    /// What follows the bias.
    pub edge: Edge,
    /// Whether 1/B is part of the conversion.
    pub scale: BatchScale,
    /// The result.
    pub output: TensorId,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A matrix product on the array.
    Gemm(Gemm),
    /// The sum over the rows of `input`, in ascending order, on the vector unit.
    SumRows {
        /// The tensor summed.
        input: TensorId,
        /// The accumulator of each column, with its fraction stated.
        accumulator: Accumulator,
        /// Fraction bits of the accumulator are, unless stated, those of the product of `input`
        /// and this tensor.
        product_with: TensorId,
        /// Whether 1/B is part of the conversion.
        scale: BatchScale,
        /// One row.
        output: TensorId,
    },
    /// Softmax, and its gradient with respect to the logits.
    SoftmaxCrossEntropy {
        /// The logits.
        logits: TensorId,
        /// The gradient.
        error: TensorId,
    },
    /// The difference between outputs and targets.
    SquaredError {
        /// The outputs.
        outputs: TensorId,
        /// The targets.
        targets: TensorId,
        /// The gradient.
        error: TensorId,
    },
    /// `momentum ← β · momentum + (gradient + λ · weights)`, the gradient as the mean over the batch
    /// and without loss scale; λ where `decay` says so.
    Momentum {
        /// What is gathered.
        momentum: TensorId,
        /// The gradient that is added.
        gradient: TensorId,
        /// The weights or the bias that the update after it changes.
        weights: TensorId,
        /// Whether these decay.
        decay: bool,
    },
    /// `weights ← weights + residual − rate · gradient − rate · λ · weights`: the residual if there is
    /// one, the decay where `decay` says so.
    Update {
        /// What is updated.
        weights: TensorId,
        /// What the weights did not hold before.
        residual: Option<TensorId>,
        /// Its gradient, or its momentum.
        gradient: TensorId,
        /// Whether the weights decay here; beside momentum, they decay there.
        decay: bool,
        /// Mantissa bits of the rates.
        rate_bits: u32,
    },
    /// `residual ←` what the update just before it could not put into `weights`: its exact result less
    /// the weights that it wrote.
    Residual {
        /// What is left.
        residual: TensorId,
        /// The weights, updated.
        weights: TensorId,
    },
    /// A change of format.
    Convert {
        /// What is read.
        from: TensorId,
        /// What is written.
        to: TensorId,
    },
}

impl Operation {
    /// The tensor that the operation writes.
    pub fn output(&self) -> TensorId {
        match self {
            Self::Gemm(Gemm { output, .. }) | Self::SumRows { output, .. } => *output,
            Self::SoftmaxCrossEntropy { error, .. } | Self::SquaredError { error, .. } => *error,
            Self::Momentum { momentum, .. } => *momentum,
            Self::Update { weights, .. } => *weights,
            Self::Residual { residual, .. } => *residual,
            Self::Convert { to, .. } => *to,
        }
    }

    /// The tensors that the operation reads.
    pub fn inputs(&self) -> Vec<TensorId> {
        match self {
            Self::Gemm(gemm) => {
                let mask = match gemm.edge {
                    Edge::Mask(tensor) => Some(tensor),
                    Edge::Pass | Edge::Relu => None,
                };
                let operands = [gemm.a.tensor, gemm.b.tensor];
                operands.into_iter().chain(gemm.bias).chain(mask).collect()
            }
            Self::SumRows { input, .. } => vec![*input],
            Self::SoftmaxCrossEntropy { logits, .. } => vec![*logits],
            Self::SquaredError { outputs, targets, .. } => vec![*outputs, *targets],
            Self::Momentum { momentum, gradient, weights, decay } => {
                let decaying = decay.then_some(*weights);
                [*momentum, *gradient].into_iter().chain(decaying).collect()
            }
            Self::Update { weights, gradient, residual, .. } => {
                [*weights, *gradient].into_iter().chain(*residual).collect()
            }
            Self::Residual { weights, .. } => vec![*weights],
            Self::Convert { from, .. } => vec![*from],
        }
    }
}

/// How much a command has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Work {
    /// A matrix product of these sizes.
    Gemm(GemmShape),
    /// An operation of the vector unit over a tensor of these sizes.
    Vector {
        /// Rows.
        rows: usize,
        /// Columns.
        cols: usize,
    },
}

/// One step of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Unique: layer, pass and what is made.
    pub name: String,
    /// The layer with weights that it belongs to.
    pub layer: usize,
    /// The pass that it belongs to.
    pub pass: Pass,
    /// What it does.
    pub operation: Operation,
}

/// The learning rate and what else scales gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// The rate of the first epoch.
    pub rate: f64,
    /// How it changes from epoch to epoch.
    pub schedule: Schedule,
    /// The momentum β.
    pub momentum: f64,
    /// The weight decay λ.
    pub weight_decay: f64,
    /// Whether gradients are means over the batch or sums.
    pub batch_gradient: BatchGradient,
    /// The unit of the loss.
    pub loss_unit: LossUnit,
    /// The power of two that multiplies the error and divides the rate.
    pub loss_scale_log2: i32,
}

/// The commands of a training step over their tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Every tensor; [`TensorId`]s are places in this list.
    pub tensors: Vec<TensorDecl>,
    /// In the order in which they run.
    pub commands: Vec<Command>,
    /// The samples.
    pub input: TensorId,
    /// The targets of a regression.
    pub targets: Option<TensorId>,
    /// What the last layer says.
    pub logits: TensorId,
    /// The number of classes or of target columns.
    pub outputs: usize,
    /// How gradients are scaled.
    pub learning: Learning,
    /// The softmax unit of a classifier.
    pub softmax: SoftmaxFormat,
}

impl Program {
    /// The declaration of a tensor.
    pub fn tensor(&self, id: TensorId) -> &TensorDecl {
        &self.tensors[id.0]
    }

    /// The id of the rounding of `command`'s sums: `layer/pass/accumulator`; see
    /// [`output_id`](Self::output_id).
    pub fn accumulator_id(&self, command: &Command) -> String {
        self.conversion_id(command, "accumulator")
    }

    /// The id of the conversion into `command`'s output: `layer/pass/role`, with `.bias` behind it
    /// for what a bias has in the role of its weights: gradient and momentum.
    pub fn output_id(&self, command: &Command) -> String {
        self.conversion_id(command, self.tensor(command.operation.output()).role.name())
    }

    fn conversion_id(&self, command: &Command, role: &str) -> String {
        let bias = match &command.operation {
            Operation::SumRows { .. } => true,
            Operation::Momentum { weights, .. } => self.tensor(*weights).role == Role::Bias,
            _ => false,
        };
        format!("{}/{}/{role}{}", command.layer, command.pass, if bias { ".bias" } else { "" })
    }

    /// How much `command` has to do for a batch of `batch` samples.
    pub fn work(&self, command: &Command, batch: usize) -> Work {
        let sizes = |id: TensorId| {
            let decl = self.tensor(id);
            (decl.rows.count(batch), decl.cols)
        };
        let operand = |operand: OperandRef| {
            let (rows, cols) = sizes(operand.tensor);
            if operand.transposed { (cols, rows) } else { (rows, cols) }
        };
        match &command.operation {
            Operation::Gemm(gemm) => {
                let ((m, k), (_, n)) = (operand(gemm.a), operand(gemm.b));
                Work::Gemm(GemmShape { m, k, n })
            }
            Operation::SumRows { input, .. } => {
                let (rows, cols) = sizes(*input);
                Work::Vector { rows, cols }
            }
            other => {
                let (rows, cols) = sizes(other.output());
                Work::Vector { rows, cols }
            }
        }
    }

    /// The block of the operands of a product, if either has blocks.
    pub fn block_of(&self, gemm: &Gemm) -> Option<NonZero<u32>> {
        let block = |operand: OperandRef| self.tensor(operand.tensor).plan.block();
        block(gemm.a).or(block(gemm.b))
    }

    /// The axes along which the blocks of a tensor lie: those along which products that read it sum,
    /// in the order of commands. For each there is a copy; none where the tensor has one scale.
    pub fn block_axes(&self, id: TensorId) -> Vec<Along> {
        let mut axes = Vec::new();
        if self.tensor(id).plan.block().is_none() {
            return axes;
        }
        for command in &self.commands {
            let Operation::Gemm(gemm) = &command.operation else { continue };
            for (operand, is_a) in [(gemm.a, true), (gemm.b, false)] {
                let along = operand.summed_along(is_a);
                if operand.tensor == id && !axes.contains(&along) {
                    axes.push(along);
                }
            }
        }
        axes
    }

    /// The tensor of a role in a layer, if there is one; of weights or biases and their
    /// gradients, that of the weights.
    pub fn find(&self, role: Role, layer: usize) -> Option<TensorId> {
        let found = |decl: &TensorDecl| decl.role == role && decl.layer == layer;
        self.tensors.iter().position(found).map(TensorId)
    }
}
