//! The tensors of a program: their places, shapes and roles.

use systoliq_fxp::Along;
use systoliq_nn::{EntryName, Quantity};

use crate::command::Pass;
use crate::gemm::Reading;
use crate::plan::TensorPlan;
use crate::role::Role;
use crate::view::View;

/// The place of a tensor in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub usize);

/// The number of rows of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// So many for each sample of the batch: the places of an image, or one.
    Batch {
        /// How many.
        per_sample: usize,
    },
    /// A fixed number.
    Fixed(usize),
}

impl Rows {
    /// The number of rows with `batch` samples.
    pub fn count(self, batch: usize) -> usize {
        match self {
            Self::Batch { per_sample } => batch * per_sample,
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
    /// The entry of the network that it belongs to: that which makes it, or has it as a parameter.
    pub entry: EntryName,
    /// What it is in fixed point; momenta and residuals are compared with nothing.
    pub stands_for: Option<Quantity>,
    /// The number of rows.
    pub rows: Rows,
    /// The number of columns.
    pub cols: usize,
    /// Format, scale, and how it is converted to.
    pub plan: TensorPlan,
}

impl TensorDecl {
    /// The id of the conversion of real values that enter: `entry/forward/role`.
    pub fn load_id(&self) -> String {
        format!("{}/{}/{}", self.entry, Pass::Forward, self.role)
    }

    /// Rows and columns with `batch` samples.
    pub fn shape(&self, batch: usize) -> (usize, usize) {
        (self.rows.count(batch), self.cols)
    }
}

/// An operand of a product by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandRef {
    /// The tensor.
    pub tensor: TensorId,
    /// How it is read.
    pub reading: Reading,
}

impl OperandRef {
    /// A tensor as it is stored.
    pub fn stored(tensor: TensorId) -> Self {
        Self { tensor, reading: Reading { view: View::Stored, transposed: false } }
    }

    /// The transpose of a tensor.
    pub fn transposed(tensor: TensorId) -> Self {
        Self { tensor, reading: Reading { view: View::Stored, transposed: true } }
    }

    /// Along what of the tensor a product sums, whose left (`is_a`) or right operand this is.
    pub fn summed_along(self, is_a: bool) -> Along {
        if self.reading.transposed == is_a { Along::Column } else { Along::Row }
    }
}
