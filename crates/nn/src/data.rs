//! Data sets: samples and answers, in three parts.
//!
//! A [`DataSpec`] states where a data set comes from; [`DataSpec::load`] makes it: from files
//! ([`idx`], [`csv`]) that its caller opens, from bytes in this crate ([`digits`]), from a seed
//! ([`generated`]) or from the numbers in the experiment ([`PointsSpec`]).
//!
//! Searches select on the validation part, which may be empty; reports quote the test part.

use ndarray::Array2;
use systoliq_keyed_random::Key;

use crate::Error;
use crate::graph::Graph;
use crate::network::{Loss, Training};

pub mod csv;
pub mod digits;
pub mod generated;
pub mod idx;
mod input;
mod pixels;
mod points;
mod spec;
mod survey;

pub use pixels::Pixels;
pub use points::PointsSpec;
pub use spec::{DataSpec, Open};
pub use survey::{PartSurvey, Survey};

/// The most values that a data set of real numbers may hold: 1 GiB of `f64`.
pub const VALUES_MAX: usize = 1 << 27;

/// Samples for training, validation and test, and what to answer to each.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSet {
    /// What to call it.
    pub name: String,
    /// Values per sample.
    pub features: usize,
    /// The number of classes, or `None` for real targets.
    pub classes: Option<usize>,
    /// What a network must have at its end: classes or target columns.
    pub outputs: usize,
    /// What is trained on; not empty.
    pub train: Part,
    /// What choices are made by; may be empty.
    pub validation: Part,
    /// What is reported; not empty.
    pub test: Part,
    /// What is odd about its files, but no reason to refuse them.
    pub remarks: Vec<String>,
}

impl DataSet {
    /// Checks that `graph` and `training` can work on these data.
    ///
    /// # Errors
    ///
    /// If samples do not have as many values as the network reads, answers not as many as it
    /// writes, the loss needs labels where there are targets or the reverse, or a batch is larger
    /// than the training part.
    pub fn check(&self, graph: &Graph, training: &Training) -> Result<(), Error> {
        let Self { name, features, classes, outputs, train, .. } = self;
        let (features, classes, outputs) = (*features, *classes, *outputs);
        DataShape { name, features, classes, outputs, train: train.len() }.check(graph, training)
    }
}

/// What a data set is known to be before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataShape<'a> {
    /// What to call it.
    pub name: &'a str,
    /// Values per sample.
    pub features: usize,
    /// The number of classes, or `None` for real targets.
    pub classes: Option<usize>,
    /// What a network must have at its end: classes or target columns.
    pub outputs: usize,
    /// Samples to train on.
    pub train: usize,
}

impl DataShape<'_> {
    /// Checks that it fits a network and its training.
    ///
    /// # Errors
    ///
    /// Those of [`DataSet::check`].
    pub fn check(&self, graph: &Graph, training: &Training) -> Result<(), Error> {
        let data = self.name.to_owned();
        let answers = |loss, expected, found| {
            Err(Error::Answers { data: self.name.to_owned(), loss, expected, found })
        };
        match (graph.loss, self.classes) {
            (Loss::SoftmaxCrossEntropy, None) => {
                return answers("softmax_cross_entropy", "class labels", "real targets");
            }
            (Loss::Mse, Some(_)) => return answers("mse", "real targets", "class labels"),
            _ => {}
        }
        if self.features != graph.inputs() {
            let (features, inputs) = (self.features, graph.inputs());
            return Err(Error::Inputs { data, features, inputs });
        }
        if self.outputs != graph.outputs() {
            let what = if self.classes.is_some() { "classes" } else { "target columns" };
            let (found, outputs) = (self.outputs, graph.outputs());
            return Err(Error::Outputs { data, found, what, outputs });
        }
        if training.batch > self.train {
            let (batch, rows) = (training.batch, self.train);
            return Err(Error::BatchExceedsData { data, batch, rows });
        }
        Ok(())
    }
}

impl DataSet {
    /// The same samples as a network reads them whose input has these extents: of `[channels, height,
    /// width]`, which is the order of the data, each with its channels last.
    #[must_use]
    pub fn arranged(mut self, input: &[usize]) -> Self {
        if let &[channels, height, width] = input
            && channels > 1
            && channels * height * width == self.features
        {
            for part in [&mut self.train, &mut self.validation, &mut self.test] {
                part.put_channels_last(channels, height * width);
            }
        }
        self
    }

    /// A hash of every sample and answer, in their order.
    pub fn fingerprint(&self) -> u64 {
        let parts = [&self.train, &self.validation, &self.test];
        parts.into_iter().fold(Key::new(0), |key, part| part.fold_into(key)).value()
    }
}

/// Some samples of a data set.
///
/// Pixels stay the bytes that they were and are divided by full scale as they are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    features: usize,
    samples: SampleValues,
    answers: Answers,
}

#[derive(Clone, Debug, PartialEq)]
enum SampleValues {
    Pixels(Pixels),
    Real(Vec<f64>),
}

/// What a network should say: one answer per sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    /// The number of the true class.
    Labels(Vec<u32>),
    /// Real targets `[samples, columns]`.
    Targets(Array2<f64>),
}

impl Answers {
    /// The number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Targets(targets) => targets.nrows(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The answers to the samples numbered `rows`, in that order.
    ///
    /// # Panics
    ///
    /// If there is no sample of such a number.
    pub fn select(&self, rows: &[u32]) -> Self {
        match self {
            Self::Labels(labels) => {
                Self::Labels(rows.iter().map(|&row| labels[row as usize]).collect())
            }
            Self::Targets(targets) => {
                let columns = targets.ncols();
                let at = |(i, column): (usize, usize)| targets[(rows[i] as usize, column)];
                Self::Targets(Array2::from_shape_fn((rows.len(), columns), at))
            }
        }
    }
}

/// The samples and answers of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// One sample per row.
    pub inputs: Array2<f64>,
    /// The answers, in the same order.
    pub answers: Answers,
}

impl Batch {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.inputs.nrows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Part {
    /// A hash of every sample and answer, in their order.
    pub fn fingerprint(&self) -> u64 {
        self.fold_into(Key::new(0)).value()
    }

    /// Folds every sample and answer into a key.
    fn fold_into(&self, key: Key) -> Key {
        let key = key.with(self.len() as u64).with(self.features as u64);
        let key = match &self.samples {
            SampleValues::Pixels(Pixels { bytes, full_scale, .. }) => {
                bytes.chunks(8).fold(key.with(u64::from(*full_scale)), |key, chunk| {
                    let mut word = [0; 8];
                    word[..chunk.len()].copy_from_slice(chunk);
                    key.with(u64::from_le_bytes(word))
                })
            }
            SampleValues::Real(values) => {
                values.iter().fold(key, |key, value| key.with(value.to_bits()))
            }
        };
        match &self.answers {
            Answers::Labels(labels) => {
                labels.iter().fold(key, |key, &label| key.with(u64::from(label)))
            }
            Answers::Targets(targets) => {
                targets.iter().fold(key, |key, target| key.with(target.to_bits()))
            }
        }
    }
}

impl Part {
    /// Samples of `features` bytes each, which stand for `byte / full_scale`.
    ///
    /// # Panics
    ///
    /// If `bytes` is not `features` for each answer, or `full_scale` is 0.
    pub(crate) fn from_pixels(
        features: usize,
        bytes: Vec<u8>,
        full_scale: u8,
        labels: Vec<u32>,
    ) -> Self {
        assert_eq!(bytes.len(), features * labels.len(), "pixels and labels differ in number");
        let samples = SampleValues::Pixels(Pixels::new(bytes, full_scale));
        Self { features, samples, answers: Answers::Labels(labels) }
    }

    /// Samples of `features` real values each, one after the other.
    ///
    /// # Panics
    ///
    /// If there are not `features` values for each answer.
    pub(crate) fn from_real(features: usize, values: Vec<f64>, answers: Answers) -> Self {
        assert_eq!(values.len(), features * answers.len(), "values and answers differ in number");
        Self { features, samples: SampleValues::Real(values), answers }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values per sample.
    pub fn features(&self) -> usize {
        self.features
    }

    /// What should be answered to each sample.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// The samples numbered `rows`, in that order: `[rows, features]`. A pixel is
    /// `f64(pixel) / full scale`.
    ///
    /// # Panics
    ///
    /// If there is no sample of such a number.
    pub fn inputs(&self, rows: &[u32]) -> Array2<f64> {
        self.inputs_as(rows, |value| value)
    }

    /// The same of another type, which `of` makes of each value.
    ///
    /// # Panics
    ///
    /// As [`inputs`](Self::inputs).
    pub fn inputs_as<T: Copy>(&self, rows: &[u32], of: impl Fn(f64) -> T) -> Array2<T> {
        let width = self.features;
        let range = |&row: &u32| row as usize * width..(row as usize + 1) * width;
        let mut values = Vec::with_capacity(rows.len() * width);
        match &self.samples {
            SampleValues::Pixels(pixels) => {
                let levels: [T; 256] = std::array::from_fn(|byte| of(pixels.value(byte as u8)));
                for row in rows.iter().map(range) {
                    values.extend(pixels.bytes[row].iter().map(|&byte| levels[usize::from(byte)]));
                }
            }
            SampleValues::Real(real) => {
                for row in rows.iter().map(range) {
                    values.extend(real[row].iter().map(|&value| of(value)));
                }
            }
        }
        Array2::from_shape_vec((rows.len(), width), values).expect("every row has its features")
    }

    /// All samples as bytes, one after the other; nothing where they are real values.
    pub fn pixels(&self) -> Option<&Pixels> {
        match &self.samples {
            SampleValues::Pixels(pixels) => Some(pixels),
            SampleValues::Real(_) => None,
        }
    }

    /// The classes of the samples numbered `rows`, or `None` where targets are real.
    ///
    /// # Panics
    ///
    /// If there is no sample of such a number.
    pub fn labels(&self, rows: &[u32]) -> Option<Vec<u32>> {
        match self.answers.select(rows) {
            Answers::Labels(labels) => Some(labels),
            Answers::Targets(_) => None,
        }
    }

    /// The targets of the samples numbered `rows`, or `None` where they have classes.
    ///
    /// # Panics
    ///
    /// If there is no sample of such a number.
    pub fn targets(&self, rows: &[u32]) -> Option<Array2<f64>> {
        match self.answers.select(rows) {
            Answers::Labels(_) => None,
            Answers::Targets(targets) => Some(targets),
        }
    }

    /// The samples numbered `rows` with their answers.
    ///
    /// # Panics
    ///
    /// If there is no sample of such a number.
    pub fn batch(&self, rows: &[u32]) -> Batch {
        Batch { inputs: self.inputs(rows), answers: self.answers.select(rows) }
    }

    /// All samples in data order, `size` at a time; the last batch may be short.
    ///
    /// # Panics
    ///
    /// If `size` is 0.
    pub fn batches(&self, size: usize) -> impl Iterator<Item = Batch> + '_ {
        self.rows(size).map(|rows| self.batch(&rows))
    }

    /// The numbers of all samples in data order, `size` at a time; the last ones may be fewer.
    ///
    /// # Panics
    ///
    /// If `size` is 0.
    pub fn rows(&self, size: usize) -> impl Iterator<Item = Vec<u32>> + use<> {
        assert_ne!(size, 0, "batches of no samples");
        let count = u32::try_from(self.len()).expect("a part holds fewer than 2^32 rows");
        (0..count).step_by(size).map(move |start| {
            let end = count.min(start.saturating_add(u32::try_from(size).unwrap_or(u32::MAX)));
            (start..end).collect()
        })
    }

    /// Has the channels of each place side by side.
    fn put_channels_last(&mut self, channels: usize, places: usize) {
        fn turned<T: Copy>(values: &[T], channels: usize, places: usize) -> Vec<T> {
            let of_sample = |sample: &[T]| -> Vec<T> {
                let at = |place: usize| (0..channels).map(move |c| c * places + place);
                (0..places).flat_map(at).map(|from| sample[from]).collect()
            };
            values.chunks(channels * places).flat_map(of_sample).collect()
        }
        match &mut self.samples {
            SampleValues::Pixels(pixels) => {
                let bytes = turned(&pixels.bytes, channels, places);
                *pixels = Pixels::new(bytes, pixels.full_scale);
            }
            SampleValues::Real(values) => *values = turned(values, channels, places),
        }
    }

    /// The samples numbered `rows` as a part of their own.
    ///
    /// # Panics
    ///
    /// If there is no sample of such a number.
    pub fn select(&self, rows: &[u32]) -> Self {
        let width = self.features;
        let range = |&row: &u32| row as usize * width..(row as usize + 1) * width;
        let samples = match &self.samples {
            SampleValues::Pixels(Pixels { bytes, full_scale, .. }) => {
                let mut selected = Vec::with_capacity(rows.len() * width);
                rows.iter().for_each(|row| selected.extend_from_slice(&bytes[range(row)]));
                SampleValues::Pixels(Pixels::new(selected, *full_scale))
            }
            SampleValues::Real(real) => {
                SampleValues::Real(rows.iter().flat_map(|row| &real[range(row)]).copied().collect())
            }
        };
        Self { features: width, samples, answers: self.answers.select(rows) }
    }

    /// Keeps the first `at` samples and returns the others.
    ///
    /// # Panics
    ///
    /// If there are fewer than `at`.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        let rows: Vec<u32> = (at..self.len()).map(|row| row as u32).collect();
        let rest = self.select(&rows);
        match &mut self.samples {
            SampleValues::Pixels(pixels) => pixels.truncate(at * self.features),
            SampleValues::Real(values) => values.truncate(at * self.features),
        }
        match &mut self.answers {
            Answers::Labels(labels) => labels.truncate(at),
            Answers::Targets(targets) => {
                *targets = targets.slice(ndarray::s![..at, ..]).to_owned();
            }
        }
        rest
    }

    /// Cuts `self` in three by `order`: training first, then `validation` rows, then `test` rows.
    ///
    /// # Errors
    ///
    /// If no row is left for training, or `test` is 0.
    pub(crate) fn split(
        &self,
        data: &str,
        order: &[u32],
        validation: usize,
        test: usize,
    ) -> Result<[Self; 3], Error> {
        let rows = order.len();
        let held_out = validation.saturating_add(test);
        if held_out >= rows || test == 0 {
            return Err(Error::Split { data: data.to_owned(), rows, validation, test });
        }
        let (train, rest) = order.split_at(rows - held_out);
        let (validation, test) = rest.split_at(validation);
        Ok([train, validation, test].map(|rows| self.select(rows)))
    }
}

#[cfg(test)]
mod tests;
