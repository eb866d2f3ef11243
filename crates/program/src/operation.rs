//! What commands do: for each operation a file with what it reads and writes, how much work that is, how
//! it is written down, and how it is run plainly.

mod combine;
mod loss;
mod pool;
mod product;
mod reduce;
mod select;
mod spread;
mod update;

use serde::{Deserialize, Serialize};
use systoliq_fxp::Accumulator;

use crate::GemmShape;
use crate::command::Program;
use crate::engine::{Multiply, Outcome};
use crate::store::{Running, Store};
use crate::tensor::TensorId;

pub use combine::Combine;
pub use loss::BatchLoss;
pub use pool::{Pool, PoolKind};
pub use product::Product;
pub use reduce::Reduce;
pub use select::Select;
pub use spread::{PoolSpread, SpreadKind};
pub use update::{Gathering, Update, UpdateOutput};

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A matrix product on the array.
    Product(Box<Product>),
    /// Sums of columns, on the vector unit.
    Reduce(Reduce),
    /// The sum of tensors, element by element, on the vector unit.
    Combine(Combine),
    /// The codes of a tensor behind masks, through the vector unit.
    Select(Select),
    /// The largest or the mean of windows, on the vector unit.
    Pool(Pool),
    /// The gradient of these, on the vector unit.
    Spread(PoolSpread),
    /// The loss, and its gradient with respect to the outputs.
    Loss(BatchLoss),
    /// A step of weights or of a bias against their gradient.
    Update(Update),
}

/// What is read of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Its elements.
    Elements,
    /// Which of them are positive, a bit each.
    Mask,
}

/// How much there is to do for a write.
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

impl Operation {
    /// The tensors that it writes, in the order in which it makes them.
    pub fn writes(&self) -> Vec<TensorId> {
        match self {
            Self::Product(product) => vec![product.finish.output],
            Self::Reduce(reduce) => vec![reduce.finish.output],
            Self::Combine(combine) => vec![combine.output],
            Self::Select(select) => vec![select.output],
            Self::Pool(pool) => pool.writes(),
            Self::Spread(spread) => vec![spread.output],
            Self::Loss(loss) => vec![loss.error],
            Self::Update(update) => update.outputs().map(|(_, tensor)| tensor).collect(),
        }
    }

    /// What is read, of which tensors, for one of those that it writes. Stash, residency and second
    /// copies follow from it.
    pub fn reads(&self, output: TensorId) -> Vec<(TensorId, What)> {
        let elements = |tensor| (tensor, What::Elements);
        match self {
            Self::Product(product) => product.reads(),
            Self::Reduce(reduce) => vec![elements(reduce.input)],
            Self::Combine(combine) => combine.reads(),
            Self::Select(select) => select.reads(),
            Self::Pool(pool) => pool.reads(),
            Self::Spread(spread) => spread.reads(),
            Self::Loss(loss) => {
                [loss.outputs].into_iter().chain(loss.targets).map(elements).collect()
            }
            Self::Update(update) => update.reads(output).into_iter().map(elements).collect(),
        }
    }

    /// How much there is to do for one of the tensors that it writes, where `shape` says the rows and
    /// columns of tensors.
    pub fn work(&self, output: TensorId, shape: impl Fn(TensorId) -> (usize, usize)) -> Work {
        let (rows, cols) = match self {
            Self::Product(product) => return Work::Gemm(product.shape(shape)),
            Self::Reduce(reduce) => shape(reduce.input),
            Self::Pool(pool) if output == pool.output => shape(pool.input),
            Self::Pool(_)
            | Self::Combine(_)
            | Self::Select(_)
            | Self::Spread(_)
            | Self::Loss(_)
            | Self::Update(_) => shape(output),
        };
        Work::Vector { rows, cols }
    }

    /// The product, if it is one.
    pub fn product(&self) -> Option<&Product> {
        match self {
            Self::Product(product) => Some(product),
            Self::Reduce(_)
            | Self::Combine(_)
            | Self::Select(_)
            | Self::Pool(_)
            | Self::Spread(_)
            | Self::Loss(_)
            | Self::Update(_) => None,
        }
    }

    /// The update, if it is one.
    pub fn update(&self) -> Option<&Update> {
        match self {
            Self::Update(update) => Some(update),
            Self::Product(_)
            | Self::Reduce(_)
            | Self::Combine(_)
            | Self::Select(_)
            | Self::Pool(_)
            | Self::Spread(_)
            | Self::Loss(_) => None,
        }
    }

    /// The accumulator of its sums, if it sums.
    pub fn accumulator(&self) -> Option<&Accumulator> {
        match self {
            Self::Product(product) => Some(&product.accumulator),
            Self::Reduce(reduce) => Some(&reduce.accumulator),
            Self::Combine(_)
            | Self::Select(_)
            | Self::Pool(_)
            | Self::Spread(_)
            | Self::Loss(_)
            | Self::Update(_) => None,
        }
    }

    /// Whether what is written is converted, and not codes that move.
    pub fn converts(&self) -> bool {
        match self {
            Self::Select(select) => !select.moves(),
            Self::Pool(pool) => match pool.kind {
                PoolKind::Largest { .. } => false,
                PoolKind::Mean { .. } => true,
            },
            Self::Spread(spread) => !spread.moves(),
            Self::Product(_)
            | Self::Reduce(_)
            | Self::Combine(_)
            | Self::Loss(_)
            | Self::Update(_) => true,
        }
    }

    /// How one of the tensors that it writes is made, for a person.
    pub(crate) fn describe(&self, program: &Program, output: TensorId) -> String {
        match self {
            Self::Product(product) => product.describe(program),
            Self::Reduce(reduce) => reduce.describe(program),
            Self::Combine(combine) => combine.describe(program),
            Self::Select(select) => select.describe(program),
            Self::Pool(pool) => pool.describe(program, output),
            Self::Spread(spread) => spread.describe(program),
            Self::Loss(loss) => loss.describe(program),
            Self::Update(update) => update.describe(program, output),
        }
    }

    /// Runs it plainly, with matrix products by `products`.
    pub(crate) fn run(
        &self,
        store: &mut Store,
        running: &Running<'_>,
        products: &mut Multiply<'_>,
    ) -> Outcome {
        match self {
            Self::Product(product) => product.run(store, running, products),
            Self::Reduce(reduce) => reduce.run(store, running),
            Self::Combine(combine) => combine.run(store, running),
            Self::Select(select) => select.run(store, running),
            Self::Pool(pool) => pool.run(store, running),
            Self::Spread(spread) => spread.run(store, running),
            Self::Loss(loss) => loss.run(store, running),
            Self::Update(update) => update.run(store, running),
        }
    }
}
