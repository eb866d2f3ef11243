//! Which step a command runs in.

use systoliq_keyed_random::Key;

use crate::command::{CommandId, Program};
use crate::tensor::TensorId;

/// Which step a command runs in: it decides the random words, the learning rate, whether scales
/// learn, and whether squares are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    key: Key,
    training: bool,
    epoch: u32,
    squares: bool,
}

/// When a tensor is converted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion {
    /// The stream of random words.
    pub(crate) key: Key,
    /// Whether its scale learns.
    pub(crate) training: bool,
    /// Whether the squares of values and errors are summed.
    pub(crate) squares: bool,
}

impl Occasion {
    /// Outside of all steps, with random words of a key.
    pub(crate) fn aside(key: Key) -> Self {
        Self { key, training: false, squares: true }
    }
}

impl Step {
    /// Training step `number`, from 0, of a run with `seed`: of its first epoch, unless told.
    pub fn training(seed: u64, number: u64) -> Self {
        Self {
            key: Key::new(seed).with_name("train").with(number),
            training: true,
            epoch: 0,
            squares: true,
        }
    }

    /// The same step as one of epoch `epoch`, from 0, whose learning rate it has.
    #[must_use]
    pub fn in_epoch(self, epoch: u32) -> Self {
        Self { epoch, ..self }
    }

    /// The same step, in which no conversion sums squares if not told to.
    #[must_use]
    pub fn with_squares(self, squares: bool) -> Self {
        Self { squares, ..self }
    }

    /// Batch `batch` of evaluation number `evaluation` on the part of the data called `part`.
    pub fn evaluation(seed: u64, part: &str, evaluation: u64, batch: u64) -> Self {
        let key = Key::new(seed).with_name("evaluate").with_name(part);
        Self { key: key.with(evaluation).with(batch), training: false, epoch: 0, squares: true }
    }

    /// A look at a run, number `number`, that leaves it as it is.
    pub fn probe(seed: u64, number: u64) -> Self {
        Self {
            key: Key::new(seed).with_name("probe").with(number),
            training: false,
            epoch: 0,
            squares: true,
        }
    }

    /// The conversion of initial weights.
    pub(super) fn initial(seed: u64) -> Self {
        Self { key: Key::new(seed).with_name("initial"), training: false, epoch: 0, squares: true }
    }

    /// The stream of random words of a conversion.
    pub fn key(&self, conversion_id: &str) -> Key {
        self.key.with_name(conversion_id)
    }

    /// A conversion in this step.
    pub(crate) fn occasion(&self, conversion_id: &str) -> Occasion {
        let Self { training, squares, .. } = *self;
        Occasion { key: self.key(conversion_id), training, squares }
    }

    /// Whether squares are summed.
    pub(crate) fn squares(&self) -> bool {
        self.squares
    }

    /// Whether scales learn.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// The epoch, from 0.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }
}

/// A command in a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running<'a> {
    pub(crate) program: &'a Program,
    pub(crate) id: CommandId,
    pub(crate) step: &'a Step,
}

impl Running<'_> {
    /// The stream of random words of its accumulators.
    pub(crate) fn accumulator_key(&self) -> Key {
        self.step.key(self.program.accumulator_id(self.id))
    }

    /// The conversion into a tensor that it writes.
    pub(crate) fn occasion(&self, output: TensorId) -> Occasion {
        self.step.occasion(self.program.output_id(self.id, output))
    }
}
