//! What a user writes: the network and how it is trained.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layer::LayerSpec;
use crate::{Error, Schedule};

/// A network, as the `network` section of an experiment states it.
///
/// [`Graph::new`](crate::Graph::new) works out its shapes and checks them.
///
/// ```
/// use systoliq_nn::{Network, layer::OperatorSpec};
/// let network: Network = serde_json::from_str(
///     r#"{"input": [4], "layers": [{"dense": {"units": 2}}], "loss": "mse"}"#,
/// ).unwrap();
/// let OperatorSpec::Dense(dense) = &network.layers[0].operator else { panic!() };
/// assert!(dense.bias);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Extents of one input sample: `[features]`, `[height, width]` of one channel, or `[channels, height,
    /// width]`.
    pub input: Vec<usize>,
    /// The entries: each reads what stands above it, unless told the one just above. The loss reads the
    /// last.
    pub layers: Vec<LayerSpec>,
    /// The loss that training minimizes.
    pub loss: Loss,
}

/// What stands in for the error rate, which has no useful gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// `−log₂ P̃_c`: softmax (base e) of the logits, against the true class `c`.
    SoftmaxCrossEntropy,
    /// `½ Σ e²`, `e = ŷ − y`: the loss whose gradient step is the LMS rule.
    Mse,
}

/// How a network is trained: stochastic gradient descent.
///
/// With the mean gradient g of a batch, a momentum β and a weight decay λ, a step is
/// `v ← β·v + (g + λ·w)`, `w ← w − μ·v`, v from 0: the classical form, without dampening, that
/// PyTorch's `SGD` has. Biases do not decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Passes over the training part.
    pub epochs: u32,
    /// Samples per step; a short last batch of an epoch is kept.
    pub batch: usize,
    /// The learning rate μ. With [`LossUnit::Bits`], a rate of `μ·ln 2` takes the steps that `μ`
    /// takes with [`LossUnit::Nats`].
    pub rate: f64,
    /// How the rate changes from epoch to epoch. Default constant.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schedule: Schedule,
    /// The momentum β, 0 or 2^-64 to 0.9999. Default 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub momentum: f64,
    /// The weight decay λ of every weight and no bias, 0 or 2^-64 to 1: the gradient of `λ/2·Σw²`,
    /// with the loss in its unit. Default 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weight_decay: f64,
    /// The unit of the cross-entropy whose gradient is followed. Default bits.
    #[serde(default)]
    pub loss_unit: LossUnit,
    /// Where the batch's size is divided out. Default mean.
    #[serde(default)]
    pub batch_gradient: BatchGradient,
    /// A power of two by which fixed point multiplies the error to keep small gradients, and
    /// divides the rate. Floating point has no use for it and ignores it. Default 1.
    #[serde(default = "one")]
    pub loss_scale: u32,
    /// The precision of the golden model. Default `f32`.
    #[serde(default)]
    pub golden: GoldenPrecision,
    /// Of which steps signal-to-quantization-noise ratios are. Default exact.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sqnr: SqnrSteps,
    /// Whether every fixed-point step starts from the golden model's weights, converted, so that
    /// nothing drifts apart: for looking at what single steps lose. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub teacher_forced: bool,
    /// The error rate whose cost is asked for: reached where the mean of three epochs on the validation
    /// part, or without one on the test part, is at most this. Default: what golden ends with, the median
    /// over at least 3 seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_error_rate: Option<f64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

const fn one() -> u32 {
    1
}

/// What serde skips needs a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Of which steps of training in fixed point the squares of values and of errors are summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SqnrSteps {
    /// One in 16, from the first. Where a few steps saturate, it tells little of the rest.
    Sampled,
    /// All.
    #[default]
    Exact,
}

impl SqnrSteps {
    /// Whether those of a step are, numbered from 0.
    pub fn includes(self, step: u64) -> bool {
        match self {
            Self::Sampled => step.is_multiple_of(16),
            Self::Exact => true,
        }
    }
}

/// The unit of cross-entropy in the gradient; reported losses are in bits either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossUnit {
    /// `∂d/∂ŷ_i = (P̃_i − [i = c]) / ln 2`.
    #[default]
    Bits,
    /// `∂d/∂ŷ_i = P̃_i − [i = c]`.
    Nats,
}

/// Where the size `B` of a batch is divided out; the steps are the same, up to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchGradient {
    /// `dW = dZᵀ·X / B`, and the rate is μ.
    #[default]
    Mean,
    /// `dW = dZᵀ·X`, and the update divides by B.
    Sum,
}

/// The floating-point type of the golden model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Precision")]
pub enum GoldenPrecision {
    /// IEEE 754 binary32.
    #[default]
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl Training {
    /// The most epochs that [`validate`](Self::validate) accepts.
    pub const EPOCHS_MAX: u32 = 1 << 20;
    /// The largest batch that [`validate`](Self::validate) accepts.
    pub const BATCH_MAX: usize = 1 << 20;

    /// The rate of epoch `epoch`, from 0.
    pub fn rate_in(&self, epoch: u32) -> f64 {
        self.schedule.rate(self.rate, epoch)
    }

    /// Checks every value that its type alone does not.
    ///
    /// # Errors
    ///
    /// If `epochs` is not in `1..=`[`EPOCHS_MAX`](Self::EPOCHS_MAX), `batch` not in
    /// `1..=`[`BATCH_MAX`](Self::BATCH_MAX), the rate of an epoch not in `2^-64..=2^64`, `loss_scale`
    /// not a power of two, `momentum` neither 0 nor in `2^-64..=0.9999`, `weight_decay` neither 0 nor
    /// in `2^-64..=1`, or `target_error_rate` not in `0..=1`.
    pub fn validate(&self) -> Result<(), Error> {
        Error::check_count("training.epochs", self.epochs as usize, 1, Self::EPOCHS_MAX as usize)?;
        Error::check_count("training.batch", self.batch, 1, Self::BATCH_MAX)?;
        let (least, most) = ((-64_f64).exp2(), 64_f64.exp2());
        Error::check_real("training.rate", self.rate, least, most)?;
        self.schedule.validate()?;
        // Every schedule is monotone: its ends tell.
        let last = self.epochs - 1;
        let key = format!("training.schedule: the rate of epoch {last}");
        Error::check_real(&key, self.rate_in(last), least, most)?;
        // A momentum of more would round to 1 with a mantissa of 16 bits.
        for (key, found, most) in
            [("momentum", self.momentum, 0.9999), ("weight_decay", self.weight_decay, 1.0)]
        {
            if found != 0.0 {
                Error::check_real(&format!("training.{key}"), found, least, most)?;
            }
        }
        if !self.loss_scale.is_power_of_two() {
            return Err(Error::LossScale { found: self.loss_scale });
        }
        match self.target_error_rate {
            Some(target) => Error::check_real("training.target_error_rate", target, 0.0, 1.0),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn training(json: &str) -> Training {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let written = training(r#"{"epochs": 20, "batch": 32, "rate": 0.1}"#);
        let full = training(
            r#"{"epochs": 20, "batch": 32, "rate": 0.1, "loss_unit": "bits",
                "batch_gradient": "mean", "loss_scale": 1, "golden": "f32",
                "teacher_forced": false, "target_error_rate": null}"#,
        );
        assert_eq!(written, full);
        assert!(written.validate().is_ok());
        let printed = serde_json::to_string(&written).unwrap();
        assert_eq!(training(&printed), written);
    }

    #[test]
    fn impossible_training_is_refused_with_the_key_and_the_number() {
        let good = training(r#"{"epochs": 1, "batch": 1, "rate": 1}"#);
        let cases = [
            (Training { epochs: 0, ..good.clone() }, ["training.epochs", " 0,", " 1 "]),
            (Training { epochs: u32::MAX, ..good.clone() }, ["epochs", "4294967295", "1048576"]),
            (Training { batch: 0, ..good.clone() }, ["training.batch", " 0,", " 1 "]),
            (Training { batch: 1 << 40, ..good.clone() }, ["batch", "1099511627776", "1048576"]),
            (Training { rate: 0.0, ..good.clone() }, ["training.rate", " 0.0,", "5.4"]),
            (Training { rate: -0.5, ..good.clone() }, ["training.rate", "-0.5", "5.4"]),
            (Training { rate: f64::NAN, ..good.clone() }, ["training.rate", "NaN", "5.4"]),
            (Training { rate: f64::INFINITY, ..good.clone() }, ["rate", "inf", "1.8"]),
            (
                Training {
                    epochs: 90,
                    schedule: Schedule::Exponential { factor_per_epoch: 0.5 },
                    ..good.clone()
                },
                ["the rate of epoch 89", "1.6155871338926322e-27", "5.4"],
            ),
            (
                Training {
                    epochs: 3,
                    schedule: Schedule::Cosine { epochs: 2, rate_min: 0.0 },
                    ..good.clone()
                },
                ["the rate of epoch 2", "0.0,", "5.4"],
            ),
            (Training { momentum: 1.0, ..good.clone() }, ["training.momentum", " 1.0,", "0.9999"]),
            (Training { momentum: -0.5, ..good.clone() }, ["training.momentum", "-0.5", "5.4"]),
            (Training { weight_decay: 2.0, ..good.clone() }, ["weight_decay", "2.0", "1.0"]),
            (Training { weight_decay: f64::NAN, ..good.clone() }, ["weight_decay", "NaN", "1.0"]),
            (Training { loss_scale: 0, ..good.clone() }, ["loss_scale", " 0,", "power of two"]),
            (Training { loss_scale: 12, ..good.clone() }, ["loss_scale", "12", "power of two"]),
            (
                Training { target_error_rate: Some(1.5), ..good.clone() },
                ["training.target_error_rate", "1.5", "0.0 to 1.0"],
            ),
        ];
        for (bad, said) in cases {
            let message = bad.validate().unwrap_err().to_string();
            assert!(said.iter().all(|part| message.contains(part)), "{bad:?}: {message}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_wherever_they_stand() {
        for json in [
            r#"{"input": [1], "layers": [], "loss": "mse", "extra": 1}"#,
            r#"{"input": [1], "layers": [{"dense": {"units": 1, "extra": 1}}], "loss": "mse"}"#,
            r#"{"input": [1], "layers": [{"extra": {"units": 1}}], "loss": "mse"}"#,
            r#"{"input": [1], "layers": ["extra"], "loss": "mse"}"#,
            r#"{"input": [1], "layers": [], "loss": "extra"}"#,
        ] {
            let message = serde_json::from_str::<Network>(json).unwrap_err().to_string();
            assert!(message.contains("unknown") && message.contains("`extra`"), "{message}");
        }
        let json = r#"{"epochs": 1, "batch": 1, "rate": 1, "extra": 1}"#;
        let message = serde_json::from_str::<Training>(json).unwrap_err().to_string();
        assert!(message.contains("unknown field `extra`"), "{message}");
    }
}
