//! Commands and programs.

use std::fmt;
use std::num::NonZero;
use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use systoliq_fxp::{Along, Scale, SoftmaxFormat};
use systoliq_nn::Quantity;
// How a program learns, and what entries are called, is stated as networks state it.
pub use systoliq_nn::{BatchGradient, EntryName, LossUnit, Schedule};

use crate::operation::{Operation, Product, Select, Update, Work};
use crate::role::Role;
use crate::tensor::{OperandRef, TensorDecl, TensorId};

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

/// The place of a command in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub usize);

/// The place of a write in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WriteId(pub usize);

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The entry of the network that it belongs to.
    pub entry: EntryName,
    /// The pass that it belongs to.
    pub pass: Pass,
    /// What it does.
    pub operation: Operation,
    /// The id of the rounding of its sums.
    sums: String,
    /// The places of its writes.
    writes: Range<usize>,
}

/// One tensor that a command writes: each has a name, a conversion and a cost of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Unique: entry, pass and tensor.
    pub name: String,
    /// The command.
    pub command: CommandId,
    /// What is written.
    pub tensor: TensorId,
    /// The id of the conversion into it.
    conversion: String,
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

impl Default for Learning {
    /// Rate 1 on mean gradients, without momentum, decay or loss scale.
    fn default() -> Self {
        Self {
            rate: 1.0,
            schedule: Schedule::default(),
            momentum: 0.0,
            weight_decay: 0.0,
            batch_gradient: BatchGradient::Mean,
            loss_unit: LossUnit::Bits,
            loss_scale_log2: 0,
        }
    }
}

/// Commands over their tensors, and the orders in which they run.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Every tensor; [`TensorId`]s are places in this list.
    pub tensors: Vec<TensorDecl>,
    /// Every command; [`CommandId`]s are places in this list.
    pub commands: Vec<Command>,
    /// What they write, command by command; [`WriteId`]s are places in this list.
    pub writes: Vec<Write>,
    /// The commands of a training step.
    pub step: Vec<CommandId>,
    /// The commands that make outputs of inputs.
    pub inference: Vec<CommandId>,
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
    /// Without commands, over tensors of which one enters and one says what the network says.
    pub fn over(tensors: Vec<TensorDecl>, input: TensorId, logits: TensorId) -> Self {
        let outputs = tensors[logits.0].cols;
        Self {
            tensors,
            commands: Vec::new(),
            writes: Vec::new(),
            step: Vec::new(),
            inference: Vec::new(),
            input,
            targets: None,
            logits,
            outputs,
            learning: Learning::default(),
            softmax: SoftmaxFormat::default(),
        }
    }

    /// Appends a command to the training step, named after entry, pass and what it writes.
    pub fn push(&mut self, entry: EntryName, pass: Pass, operation: Operation) -> CommandId {
        let (id, first) = (CommandId(self.commands.len()), self.writes.len());
        let of_role = |role| format!("{entry}/{pass}/{role}{}", self.which(pass, &operation, role));
        let write = |tensor| {
            let decl = self.tensor(tensor);
            let name = format!("{entry}.{pass}.{}", decl.name);
            Write { name, command: id, tensor, conversion: of_role(decl.role.name()) }
        };
        let writes: Vec<Write> = operation.writes().into_iter().map(write).collect();
        let sums = of_role("accumulator");
        self.writes.extend(writes);
        let writes = first..self.writes.len();
        self.commands.push(Command { entry, pass, operation, sums, writes });
        self.step.push(id);
        id
    }

    /// The declaration of a tensor.
    pub fn tensor(&self, id: TensorId) -> &TensorDecl {
        &self.tensors[id.0]
    }

    /// A command.
    pub fn command(&self, id: CommandId) -> &Command {
        &self.commands[id.0]
    }

    /// A write.
    pub fn write(&self, id: WriteId) -> &Write {
        &self.writes[id.0]
    }

    /// The command that a write belongs to.
    pub fn command_of(&self, id: WriteId) -> &Command {
        self.command(self.write(id).command)
    }

    /// Every write with its place and its command.
    pub fn all_writes(&self) -> impl Iterator<Item = (WriteId, &Write, &Command)> {
        let ids = (0..).map(WriteId);
        ids.zip(&self.writes).map(|(id, write)| (id, write, self.command(write.command)))
    }

    /// The writes of a command, in the order in which they are made.
    pub fn writes_of(&self, id: CommandId) -> impl Iterator<Item = (WriteId, &Write)> {
        let places = self.command(id).writes.clone();
        places.clone().map(WriteId).zip(&self.writes[places])
    }

    /// The scale that is chosen for what is written: none is for codes that move, which keep theirs.
    pub fn scale_of(&self, id: WriteId) -> Scale {
        match self.command_of(id).operation.converts() {
            true => self.tensor(self.write(id).tensor).plan.scale,
            false => Scale::Static,
        }
    }

    /// The first write of a tensor, with its command; nothing of what enters.
    pub fn made(&self, tensor: TensorId) -> Option<(&Write, &Command)> {
        let mut all = self.all_writes().filter(|(_, write, _)| write.tensor == tensor);
        all.next().map(|(_, write, command)| (write, command))
    }

    /// The tensors that are read for a write.
    pub fn reads(&self, id: WriteId) -> Vec<TensorId> {
        let write = self.write(id);
        let reads = self.command(write.command).operation.reads(write.tensor);
        reads.into_iter().map(|(tensor, _)| tensor).collect()
    }

    /// The id of the rounding of the sums of a command: `entry/pass/accumulator`; see
    /// [`output_id`](Self::output_id).
    pub fn accumulator_id(&self, id: CommandId) -> &str {
        &self.command(id).sums
    }

    /// The id of the conversion into what a command writes: `entry/pass/role`, with `.bias` behind it
    /// for what a bias has in the role of its weights: gradient and momentum; with `.j` for the gradient
    /// of place j > 0 of what an addition reads; and with `.sum` for the sum of what several readers of a
    /// value contribute to its gradient. It is unique in a program.
    ///
    /// # Panics
    ///
    /// If the command does not write the tensor.
    pub fn output_id(&self, id: CommandId, output: TensorId) -> &str {
        let mut writes = self.writes_of(id);
        let written = writes.find(|(_, write)| write.tensor == output);
        &written.expect("a tensor that the command writes").1.conversion
    }

    /// What stands behind the role in an id.
    fn which(&self, pass: Pass, operation: &Operation, role: &str) -> String {
        let of_bias = |update: &Update| self.tensor(update.written).role == Role::Bias;
        match operation {
            Operation::Reduce(_) => ".bias".to_owned(),
            Operation::Update(update) if role == Role::Momentum.name() && of_bias(update) => {
                ".bias".to_owned()
            }
            Operation::Combine(_) if pass == Pass::InputGradient => ".sum".to_owned(),
            Operation::Select(Select { place: place @ 1.., .. }) => format!(".{place}"),
            Operation::Product(_)
            | Operation::Combine(_)
            | Operation::Select(_)
            | Operation::Pool(_)
            | Operation::Spread(_)
            | Operation::Loss(_)
            | Operation::Update(_) => String::new(),
        }
    }

    /// How much there is to do for a write with `batch` samples.
    pub fn work(&self, id: WriteId, batch: usize) -> Work {
        let write = self.write(id);
        self.command(write.command)
            .operation
            .work(write.tensor, |tensor| self.tensor(tensor).shape(batch))
    }

    /// The block of the operands of a product, if either has blocks.
    pub fn block_of(&self, product: &Product) -> Option<NonZero<u32>> {
        let block = |operand: OperandRef| self.tensor(operand.tensor).plan.block();
        block(product.a).or(block(product.b))
    }

    /// The axes along which the blocks of a tensor lie: those along which products that read it sum,
    /// in the order of commands. For each there is a copy; none where the tensor has one scale.
    pub fn block_axes(&self, id: TensorId) -> SmallVec<[Along; 2]> {
        let mut axes = SmallVec::new();
        if self.tensor(id).plan.block().is_none() {
            return axes;
        }
        for command in &self.commands {
            let Some(product) = command.operation.product() else { continue };
            for (operand, is_a) in [(product.a, true), (product.b, false)] {
                let along = operand.summed_along(is_a);
                if operand.tensor == id && !axes.contains(&along) {
                    axes.push(along);
                }
            }
        }
        axes
    }

    /// The first tensor that stands for a quantity.
    pub fn standing_for(&self, quantity: Quantity) -> Option<TensorId> {
        let found = |decl: &TensorDecl| decl.stands_for == Some(quantity);
        self.tensors.iter().position(found).map(TensorId)
    }

    /// The tensor of a role in an entry, if there is one; of weights or biases and their
    /// gradients, that of the weights.
    pub fn find(&self, role: Role, entry: EntryName) -> Option<TensorId> {
        let found = |decl: &TensorDecl| decl.role == role && decl.entry == entry;
        self.tensors.iter().position(found).map(TensorId)
    }
}
