//! What can be wrong with a network, a training section or a data set.

use std::io;

use crate::graph::Graph;

/// Why a network, a training section or a data set is refused.
///
/// `key` names a place in the experiment, `file` a file as the experiment names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A whole number is out of its range.
    #[error("{key} is {found}, expected {min} to {max}")]
    Count {
        /// Where it stands.
        key: String,
        /// What stands there.
        found: usize,
        /// The least allowed.
        min: usize,
        /// The most allowed.
        max: usize,
    },
    /// A real number is out of its range, infinite or undefined.
    #[error("{key} is {found:?}, expected {min:?} to {max:?}")]
    Real {
        /// Where it stands.
        key: String,
        /// What stands there.
        found: f64,
        /// The least allowed.
        min: f64,
        /// The most allowed.
        max: f64,
    },
    /// The loss scale is not a power of two.
    #[error("training.loss_scale is {found}, expected a power of two from 1 to 2147483648")]
    LossScale {
        /// What stands there.
        found: u32,
    },
    /// The weights of all layers up to this one are too many.
    #[error(
        "network.layers[{at}] has {units} · {inputs} weights, which makes {weights} up to here, \
         expected at most {max}", max = Graph::WEIGHTS_MAX
    )]
    TooManyWeights {
        /// The layer's place in the network's list.
        at: usize,
        /// Values it reads.
        inputs: usize,
        /// Its units.
        units: usize,
        /// Weights of the layers up to and with this one.
        weights: usize,
    },
    /// An entry of a network cannot be what it is told to be.
    #[error("{path}: {problem}")]
    Entry {
        /// Where it stands.
        path: String,
        /// What was found and expected.
        problem: String,
    },
    /// A ReLU is clipped at nothing that 16 fraction bits hold.
    #[error(
        "network.layers[{at}].clipped_relu.max: {max}, expected more than 2^-17 and at most {}",
        crate::ClippedRelu::MAX
    )]
    Clip {
        /// Its place in the network's list.
        at: usize,
        /// What was found.
        max: f64,
    },
    /// The data set's samples do not fit the network's input.
    #[error("data set `{data}` has {features} values per sample, but the network reads {inputs}")]
    Inputs {
        /// The data set.
        data: String,
        /// Values per sample.
        features: usize,
        /// What the network reads.
        inputs: usize,
    },
    /// The data set's answers do not fit the network's output.
    #[error(
        "data set `{data}` has {found} {what}, but the network's last layer has {outputs} units"
    )]
    Outputs {
        /// The data set.
        data: String,
        /// How many there are.
        found: usize,
        /// Classes or target columns.
        what: &'static str,
        /// The network's outputs.
        outputs: usize,
    },
    /// The loss needs another kind of answers.
    #[error("loss {loss} needs {expected}, but data set `{data}` has {found}")]
    Answers {
        /// The data set.
        data: String,
        /// The loss, as JSON writes it.
        loss: &'static str,
        /// What it needs.
        expected: &'static str,
        /// What there is.
        found: &'static str,
    },
    /// A batch is larger than the training part.
    #[error("training.batch is {batch}, but data set `{data}` has {rows} training samples")]
    BatchExceedsData {
        /// The data set.
        data: String,
        /// Samples in a batch.
        batch: usize,
        /// Samples in the training part.
        rows: usize,
    },
    /// Parts that are asked for leave nothing to train or test on.
    #[error(
        "{validation} validation and {test} test samples leave too few of the {rows} of `{data}`: \
         training and test need at least one each"
    )]
    Split {
        /// The data set or file that is split.
        data: String,
        /// Samples there are.
        rows: usize,
        /// Validation samples asked for.
        validation: usize,
        /// Test samples asked for.
        test: usize,
    },
    /// A data set would be too large.
    #[error(
        "`{data}` would hold {samples} samples of {values} values, expected at most {max} in all"
    )]
    TooLarge {
        /// The data set or file.
        data: String,
        /// Samples, of all parts.
        samples: usize,
        /// Values per sample.
        values: usize,
        /// The most values allowed.
        max: usize,
    },
    /// Two keys contradict each other.
    #[error("{one} and {other} exclude each other: give one")]
    Exclusive {
        /// A key.
        one: &'static str,
        /// The other key.
        other: &'static str,
    },
    /// A list's length differs from what it must match.
    #[error("{key} has {found} entries, expected {expected} as in {like}")]
    Ragged {
        /// Where it stands.
        key: String,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
        /// What it must match.
        like: &'static str,
    },

    /// None of the files that could hold the data exists.
    #[error("cannot find {}", .tried.join(" or "))]
    Missing {
        /// The names tried.
        tried: Vec<String>,
    },
    /// A file cannot be opened.
    #[error("cannot open {file}: {source}")]
    Open {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file starts as gzip but does not go on as such.
    #[error("{file}: gzip data are corrupt or cut short: {source}")]
    Gzip {
        /// The file.
        file: String,
        /// What the decoder found.
        source: io::Error,
    },
    /// A file ends within its header.
    #[error("{file}: the header is cut short, found {found} bytes, expected {expected}")]
    IdxHeader {
        /// The file.
        file: String,
        /// Bytes there are.
        found: usize,
        /// Bytes of the header.
        expected: usize,
    },
    /// A file's magic number is another one.
    #[error("{file}: the magic number is {found}, expected {expected} (idx {kind})")]
    IdxMagic {
        /// The file.
        file: String,
        /// The number found.
        found: u32,
        /// The number expected.
        expected: u32,
        /// What the file should hold.
        kind: &'static str,
    },
    /// A header states sizes that are zero or beyond reason.
    #[error(
        "{file}: the header states {samples} samples of {rows} x {columns} bytes, expected at least \
         1 of each and at most {max} bytes in all"
    )]
    IdxSize {
        /// The file.
        file: String,
        /// Samples stated.
        samples: u32,
        /// Rows per sample.
        rows: u32,
        /// Columns per sample.
        columns: u32,
        /// The most bytes allowed.
        max: u64,
    },
    /// A file ends before what its header states.
    #[error(
        "{file}: data are cut short, found {found} bytes after the header, which states {expected}"
    )]
    IdxTruncated {
        /// The file.
        file: String,
        /// Bytes there are after the header.
        found: u64,
        /// Bytes that the header states.
        expected: u64,
    },
    /// A file goes on after what its header states.
    #[error("{file}: data go on after the {expected} bytes that the header states")]
    IdxTrailing {
        /// The file.
        file: String,
        /// Bytes that the header states.
        expected: u64,
    },
    /// Two files that belong together hold different numbers.
    #[error("{file} has {found} {what}, but {other} has {expected}")]
    FilesDiffer {
        /// A file.
        file: String,
        /// What it has.
        found: usize,
        /// Of what.
        what: &'static str,
        /// The file it belongs to.
        other: String,
        /// What that one has.
        expected: usize,
    },
    /// A label is none of the classes.
    #[error("{place} is {found}, expected a class from 0 to {last}{hint}", last = .classes - 1)]
    Label {
        /// Where it stands: a file and the number of the sample, or a key.
        place: String,
        /// The label.
        found: String,
        /// The number of classes.
        classes: usize,
        /// What may be the matter.
        hint: &'static str,
    },
    /// A file holds no samples.
    #[error("{file}: no samples")]
    Empty {
        /// The file.
        file: String,
    },
    /// A line has no end in sight.
    #[error("{file}: line {line} has more than {max} bytes")]
    CsvLine {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The most bytes allowed.
        max: u64,
    },
    /// A line is not text.
    #[error("{file}: line {line} is not UTF-8 text")]
    CsvText {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
    },
    /// A line has another number of columns than the first.
    #[error("{file}: line {line} has {found} columns, expected {expected}")]
    CsvColumns {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// Its columns.
        found: usize,
        /// The first line's columns.
        expected: usize,
    },
    /// A file has too few columns for inputs and answers.
    #[error(
        "{file}: {found} columns are too few: {answers} of answers need at least 1 of inputs before them"
    )]
    CsvNoInputs {
        /// The file.
        file: String,
        /// Columns there are.
        found: usize,
        /// Columns of labels or targets.
        answers: usize,
    },
    /// A cell is not a finite number.
    #[error("{file}: line {line}, column {column} is `{found}`, expected a finite number{hint}")]
    CsvNumber {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: usize,
        /// What stands there.
        found: String,
        /// What may help, or nothing.
        hint: &'static str,
    },

    /// Given parameters do not have the network's shape.
    #[error("parameters of layer {layer}: {what} are {found:?}, expected {expected:?}")]
    Parameters {
        /// The layer, counting dense ones from 0.
        layer: usize,
        /// Weights, biases or layers.
        what: &'static str,
        /// The extents given.
        found: Vec<usize>,
        /// The extents of the graph.
        expected: Vec<usize>,
    },
}

impl Error {
    /// Checks that the whole number at `key` lies in `min..=max`.
    pub(crate) fn check_count(key: &str, found: usize, min: usize, max: usize) -> Result<(), Self> {
        if (min..=max).contains(&found) {
            return Ok(());
        }
        Err(Self::Count { key: key.to_owned(), found, min, max })
    }

    /// Checks that the real number at `key` lies in `min..=max`, which NaN does not.
    pub(crate) fn check_real(key: &str, found: f64, min: f64, max: f64) -> Result<(), Self> {
        if (min..=max).contains(&found) {
            return Ok(());
        }
        Err(Self::Real { key: key.to_owned(), found, min, max })
    }
}
