//! Data made from a seed: a FIR system to identify, clusters to tell apart.
//!
//! Normal deviates come from words keyed by part and position ([`normal`]), through `libm`, so
//! that they are the same on every machine. A part does not depend on the size of another.

use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use systoliq_keyed_random::Key;

use super::{Answers, DataSet, DataShape, Part, VALUES_MAX};
use crate::Error;

/// The names under which the parts are keyed.
const PARTS: [&str; 3] = ["train", "validation", "test"];

/// A standard normal deviate, by the cosine branch of G. E. P. Box and M. E. Muller (1958):
/// `√(−2 ln u)·cos 2πv`, with `u = (word(2i) + ½)·2⁻³²` and `v = word(2i + 1)·2⁻³²`.
pub fn normal(key: Key, index: u64) -> f64 {
    const STEP: f64 = 1.0 / 4_294_967_296.0;
    let u = (f64::from(key.word(2 * index)) + 0.5) * STEP;
    let v = f64::from(key.word(2 * index + 1)) * STEP;
    libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)
}

/// A known FIR system driven by white Gaussian noise: the target is `Σ taps·x`, summed in order,
/// plus Gaussian noise. A linear neuron that learns it by the LMS rule identifies the taps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirSpec {
    /// The system's impulse response.
    pub taps: Vec<f64>,
    /// Standard deviation of the noise added to the target.
    pub noise: f64,
    /// Samples to train on.
    pub train: usize,
    /// Samples for validation. Default 0.
    #[serde(default)]
    pub validation: usize,
    /// Samples for the test.
    pub test: usize,
    /// Standard deviation of the inputs. Default 1.
    #[serde(default = "unit")]
    pub input_std: f64,
    /// How the inputs of one sample relate to those of the next. Default independent.
    #[serde(default)]
    pub regressors: Regressors,
}

const fn unit() -> f64 {
    1.0
}

/// How the inputs of successive samples relate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Regressors {
    /// All inputs of all samples are drawn afresh, as the bounds on the rate of LMS suppose.
    #[default]
    Independent,
    /// Input `k` of sample `n` is `u[n − k]` of one signal, as a tapped delay line has it.
    DelayLine,
}

impl FirSpec {
    pub(super) fn validate(&self) -> Result<(), Error> {
        let features = self.taps.len();
        Error::check_count("dataset.taps: number of taps", features, 1, 1 << 16)?;
        for (at, &tap) in self.taps.iter().enumerate() {
            Error::check_real(&format!("dataset.taps[{at}]"), tap, -1e6, 1e6)?;
        }
        Error::check_real("dataset.noise", self.noise, 0.0, 1e6)?;
        Error::check_real("dataset.input_std", self.input_std, 1e-6, 1e6)?;
        check_sizes("fir", [self.train, self.validation, self.test], features + 1)
    }

    pub(super) fn shape(&self) -> DataShape<'static> {
        let (features, train) = (self.taps.len(), self.train);
        DataShape { name: "fir", features, classes: None, outputs: 1, train }
    }

    pub(super) fn generate(&self, seed: u64) -> DataSet {
        let key = Key::new(seed).with_name("fir");
        let sizes = [self.train, self.validation, self.test];
        let parts = std::array::from_fn(|at| self.part(key.with_name(PARTS[at]), sizes[at]));
        of_shape(&self.shape(), parts)
    }

    fn part(&self, key: Key, samples: usize) -> Part {
        let width = self.taps.len();
        let signal = key.with_name("inputs");
        let index = |n: usize, k: usize| match self.regressors {
            Regressors::Independent => n * width + k,
            Regressors::DelayLine => n + width - 1 - k,
        };
        let inputs: Vec<f64> = (0..samples * width)
            .map(|at| self.input_std * normal(signal, index(at / width, at % width) as u64))
            .collect();
        let noise = key.with_name("noise");
        let targets = Array2::from_shape_fn((samples, 1), |(n, _)| {
            let row = &inputs[n * width..][..width];
            let clean = row.iter().zip(&self.taps).fold(0.0, |sum, (x, tap)| sum + x * tap);
            clean + self.noise * normal(noise, n as u64)
        });
        Part::from_real(width, inputs, Answers::Targets(targets))
    }
}

/// Gaussian clusters: the centres are standard normal in every feature; a sample is its class's
/// centre plus `spread` times a standard normal deviate in every feature. Sample `i` of a part is
/// of class `i mod classes`, so that the classes are balanced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClustersSpec {
    /// The number of clusters.
    pub classes: usize,
    /// Values per sample.
    pub features: usize,
    /// Standard deviation around a centre.
    pub spread: f64,
    /// Samples to train on.
    pub train: usize,
    /// Samples for validation. Default 0.
    #[serde(default)]
    pub validation: usize,
    /// Samples for the test.
    pub test: usize,
}

impl ClustersSpec {
    pub(super) fn validate(&self) -> Result<(), Error> {
        Error::check_count("dataset.classes", self.classes, 2, u16::MAX.into())?;
        Error::check_count("dataset.features", self.features, 1, 1 << 20)?;
        Error::check_real("dataset.spread", self.spread, 0.0, 1e6)?;
        check_sizes("clusters", [self.train, self.validation, self.test], self.features)
    }

    pub(super) fn shape(&self) -> DataShape<'static> {
        let Self { features, classes, train, .. } = *self;
        DataShape { name: "clusters", features, classes: Some(classes), outputs: classes, train }
    }

    pub(super) fn generate(&self, seed: u64) -> DataSet {
        let key = Key::new(seed).with_name("clusters");
        let sizes = [self.train, self.validation, self.test];
        let parts = std::array::from_fn(|at| self.part(key, PARTS[at], sizes[at]));
        of_shape(&self.shape(), parts)
    }

    fn part(&self, key: Key, name: &str, samples: usize) -> Part {
        let width = self.features;
        let (centres, deviations) = (key.with_name("centres"), key.with_name(name));
        let class = |sample: usize| sample % self.classes;
        let values = (0..samples * width)
            .map(|at| {
                let centre = normal(centres, (class(at / width) * width + at % width) as u64);
                centre + self.spread * normal(deviations, at as u64)
            })
            .collect();
        let labels = (0..samples).map(|sample| class(sample) as u32).collect();
        Part::from_real(width, values, Answers::Labels(labels))
    }
}

/// A data set of a shape, of parts for training, validation and test.
fn of_shape(shape: &DataShape<'_>, [train, validation, test]: [Part; 3]) -> DataSet {
    let DataShape { name, features, classes, outputs, .. } = *shape;
    let (name, remarks) = (name.to_owned(), Vec::new());
    DataSet { name, features, classes, outputs, train, validation, test, remarks }
}

/// Checks that there is something to train and to test on, and that all of it fits into memory.
fn check_sizes(data: &str, sizes: [usize; 3], values: usize) -> Result<(), Error> {
    let [train, validation, test] = sizes;
    Error::check_count("dataset.train", train, 1, VALUES_MAX)?;
    Error::check_count("dataset.validation", validation, 0, VALUES_MAX)?;
    Error::check_count("dataset.test", test, 1, VALUES_MAX)?;
    let samples = train + validation + test;
    if samples > VALUES_MAX / values {
        let data = data.to_owned();
        return Err(Error::TooLarge { data, samples, values, max: VALUES_MAX });
    }
    Ok(())
}

#[cfg(test)]
#[path = "generated_tests.rs"]
mod tests;
