//! The array as a user describes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Stationary};

/// The most rows or columns of a grid: four times the side of the largest matrix unit known to
/// have been built (256 x 256: N. Jouppi et al., "In-datacenter performance analysis of a tensor
/// processing unit", ISCA 2017). The registers of such a grid still fit in memory when it is
/// stepped.
pub const SIDE_MAX: usize = 1024;

/// The most lanes of the vector unit: one per PE of the largest grid.
pub const LANES_MAX: usize = SIDE_MAX * SIDE_MAX;

/// Which matrix stays in the processing elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Dataflow {
    /// The outputs, C.
    #[default]
    #[serde(rename = "os")]
    OutputStationary,
    /// The weights, B.
    #[serde(rename = "ws")]
    WeightStationary,
    /// The inputs, A.
    #[serde(rename = "is")]
    InputStationary,
    /// For each GEMM the one that takes the fewest cycles, stalls on memory included; the first of
    /// os, ws, is where several do. One that has no room for a step on chip is left out. It need not
    /// be the one of least energy. With `layout` two-copies, where what one GEMM reads another has to
    /// write, the flows follow from the step on a full batch: an epoch with a short batch may take
    /// fewer cycles in one dataflow throughout.
    #[serde(rename = "auto")]
    Auto,
}

impl Dataflow {
    /// What stays, whatever the GEMM; nothing where that is chosen for each. Who chooses has to know
    /// what memory costs, which nothing in this crate does.
    pub fn stationary(self) -> Option<Stationary> {
        match self {
            Self::OutputStationary => Some(Stationary::Output),
            Self::WeightStationary => Some(Stationary::Weight),
            Self::InputStationary => Some(Stationary::Input),
            Self::Auto => None,
        }
    }
}

impl From<Stationary> for Dataflow {
    fn from(stationary: Stationary) -> Self {
        match stationary {
            Stationary::Output => Self::OutputStationary,
            Stationary::Weight => Self::WeightStationary,
            Stationary::Input => Self::InputStationary,
        }
    }
}

/// How consecutive folds of one GEMM overlap in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Not at all: a fold starts when the one before has left the grid.
    #[default]
    None,
    /// A second set of stationary registers hides preload or drain behind the other folds.
    DoubleBuffered,
    /// With the same registers, a fold starts as soon as its operands can enter the first PE.
    Pipelined,
}

/// How much of the grid a fold waits for that fills only part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PartialFolds {
    /// All of it.
    #[default]
    Full,
    /// The rows and columns in use, as STONNE does.
    Trimmed,
}

/// Which axis of the grid the folds go along first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FoldOrder {
    /// The rows' axis: m of os, k of ws and is.
    RowsFirst,
    /// The columns' axis: n of os and ws, m of is.
    ColumnsFirst,
}

/// A grid of `rows` x `cols` processing elements beside a vector unit.
///
/// ```
/// use systoliq_array::Array;
/// let array: Array = serde_json::from_str(r#"{ "rows": 8, "cols": 16 }"#)?;
/// array.validate()?;
/// assert_eq!((array.pes(), array.vector_lanes()), (128, 16));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Array {
    /// Rows of the grid, R.
    #[schemars(range(min = 1, max = 1024))]
    pub rows: usize,
    /// Columns of the grid, C.
    #[schemars(range(min = 1, max = 1024))]
    pub cols: usize,
    /// What stays in the PEs.
    #[serde(default)]
    pub dataflow: Dataflow,
    /// How folds overlap.
    #[serde(default)]
    pub overlap: Overlap,
    /// What a fold waits for that fills only part of the grid.
    #[serde(default)]
    pub partial_folds: PartialFolds,
    /// Which axis of the grid the folds go along first; left out, the columns' with stationary
    /// outputs, otherwise the rows', so that the partial sums of one fold enter the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold_order: Option<FoldOrder>,
    /// Lanes of the vector unit; left out, as many as the grid has columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub lanes: Option<usize>,
}

impl Array {
    /// An output-stationary array without overlap, with as many lanes as columns.
    ///
    /// # Errors
    ///
    /// Unless `rows` and `cols` are 1 to [`SIDE_MAX`].
    pub fn new(rows: usize, cols: usize) -> Result<Self, Error> {
        let (dataflow, overlap, partial_folds) = Default::default();
        let array =
            Self { rows, cols, dataflow, overlap, partial_folds, fold_order: None, lanes: None };
        array.validate()?;
        Ok(array)
    }

    /// Checks what the type cannot.
    ///
    /// # Errors
    ///
    /// Unless `rows` and `cols` are 1 to [`SIDE_MAX`], and `lanes`, if given, 1 to [`LANES_MAX`].
    pub fn validate(&self) -> Result<(), Error> {
        let Self { rows, cols, .. } = *self;
        let sides = 1..=SIDE_MAX;
        if !sides.contains(&rows) || !sides.contains(&cols) {
            return Err(Error::ArraySize { rows, cols });
        }
        match self.lanes {
            Some(lanes) if !(1..=LANES_MAX).contains(&lanes) => Err(Error::Lanes { lanes }),
            _ => Ok(()),
        }
    }

    /// The number of processing elements, R·C.
    pub fn pes(&self) -> u64 {
        self.rows as u64 * self.cols as u64
    }

    /// Lanes of the vector unit.
    pub fn vector_lanes(&self) -> usize {
        self.lanes.unwrap_or(self.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_sized_and_absurd_arrays_are_refused_with_their_numbers() {
        for (rows, cols) in [(0, 8), (8, 0), (1025, 8), (8, usize::MAX)] {
            let message = Array::new(rows, cols).unwrap_err().to_string();
            let numbers = [rows.to_string(), cols.to_string(), "1 to 1024".to_owned()];
            assert!(numbers.iter().all(|number| message.contains(number)), "{message}");
        }
        for lanes in [0, LANES_MAX + 1] {
            let array = Array { lanes: Some(lanes), ..Array::new(1, 1).unwrap() };
            assert_eq!(array.validate(), Err(Error::Lanes { lanes }));
        }
        for (rows, cols) in [(1, 1), (1, 1024), (1024, 1)] {
            Array::new(rows, cols).unwrap();
        }
    }

    #[test]
    fn json_is_read_strictly_and_written_back_the_same() {
        let text = r#"{"rows":3,"cols":5,"dataflow":"os","overlap":"none","partial_folds":"full","lanes":7}"#;
        let array: Array = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&array).unwrap(), text);
        for wrong in [
            r#"{"rows":3}"#,
            r#"{"rows":3,"cols":5,"rowz":1}"#,
            r#"{"rows":-3,"cols":5}"#,
            r#"{"rows":3,"cols":5,"dataflow":"zs"}"#,
            r#"{"rows":3,"cols":5,"overlap":null}"#,
        ] {
            assert!(serde_json::from_str::<Array>(wrong).is_err(), "{wrong}");
        }
    }
}
