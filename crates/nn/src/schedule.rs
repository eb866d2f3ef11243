//! How the learning rate changes from epoch to epoch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The rate of each epoch, as a function of the rate μ that training states; `kind` says which.
///
/// Epochs are counted from 0, and every step of an epoch has its rate. Powers are repeated products
/// and the cosine is that of `libm`, so that the rate is the same `f64` on every machine.
///
/// ```
/// use systoliq_nn::Schedule;
/// let halved: Schedule =
///     serde_json::from_str(r#"{"kind": "step", "every_epochs": 2, "factor": 0.5}"#).unwrap();
/// assert_eq!([0, 1, 2, 3, 4].map(|epoch| halved.rate(0.8, epoch)), [0.8, 0.8, 0.4, 0.4, 0.2]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// μ.
    Constant {},
    /// `μ · factor^⌊epoch / every_epochs⌋`.
    Step {
        /// Epochs of one rate.
        every_epochs: u32,
        /// What the rate is multiplied by after them.
        factor: f64,
    },
    /// `μ · factor_per_epoch^epoch`.
    Exponential {
        /// What the rate is multiplied by after each epoch.
        factor_per_epoch: f64,
    },
    /// `rate_min + (μ − rate_min) · (1 + cos(π · epoch / epochs)) / 2`, and `rate_min` from epoch
    /// `epochs` on (I. Loshchilov and F. Hutter, "SGDR", ICLR 2017, equation 5, without restarts).
    Cosine {
        /// Epochs until the rate is `rate_min`.
        epochs: u32,
        /// The last rate. Default 0, which no epoch of a run may have.
        #[serde(default)]
        rate_min: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant {}
    }
}

impl Schedule {
    /// The rate of epoch `epoch`, from 0, where `rate` is that of the first.
    pub fn rate(&self, rate: f64, epoch: u32) -> f64 {
        let power = |factor: f64, exponent: u32| (0..exponent).fold(rate, |rate, _| rate * factor);
        match *self {
            Self::Constant {} => rate,
            Self::Step { every_epochs, factor } => power(factor, epoch / every_epochs),
            Self::Exponential { factor_per_epoch } => power(factor_per_epoch, epoch),
            Self::Cosine { epochs, rate_min } if epoch >= epochs => rate_min,
            Self::Cosine { epochs, rate_min } => {
                let angle = std::f64::consts::PI * f64::from(epoch) / f64::from(epochs);
                rate_min + (rate - rate_min) * (1.0 + libm::cos(angle)) / 2.0
            }
        }
    }

    /// Checks every value that its type alone does not.
    ///
    /// # Errors
    ///
    /// If a number of epochs is 0 or absurd, a factor is not in `2^-64..=2^64`, or a last rate not in
    /// `0..=2^64`.
    pub fn validate(&self) -> Result<(), Error> {
        const KEY: &str = "training.schedule";
        let epochs = |key: &str, found: u32| {
            let most = crate::Training::EPOCHS_MAX as usize;
            Error::check_count(&format!("{KEY}.{key}"), found as usize, 1, most)
        };
        let (least, most) = (2f64.powi(-64), 2f64.powi(64));
        let factor =
            |key: &str, found| Error::check_real(&format!("{KEY}.{key}"), found, least, most);
        match *self {
            Self::Constant {} => Ok(()),
            Self::Step { every_epochs, factor: found } => {
                epochs("every_epochs", every_epochs)?;
                factor("factor", found)
            }
            Self::Exponential { factor_per_epoch } => factor("factor_per_epoch", factor_per_epoch),
            Self::Cosine { epochs: found, rate_min } => {
                epochs("epochs", found)?;
                Error::check_real(&format!("{KEY}.rate_min"), rate_min, 0.0, most)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_formulas() {
        let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-12;
        for epoch in 0..60 {
            assert_eq!(Schedule::default().rate(0.3, epoch), 0.3);
            let step = Schedule::Step { every_epochs: 7, factor: 0.3 }.rate(0.5, epoch);
            assert!(near(step, 0.5 * 0.3_f64.powi(epoch as i32 / 7)), "step {epoch}: {step}");
            let power = Schedule::Exponential { factor_per_epoch: 0.95 }.rate(0.1, epoch);
            assert!(near(power, 0.1 * 0.95_f64.powi(epoch as i32)), "power {epoch}: {power}");
        }
        // cos 0, π/3, π/2, 2π/3, π.
        let cosine = Schedule::Cosine { epochs: 6, rate_min: 0.1 };
        for (epoch, share) in [(0, 1.0), (2, 0.75), (3, 0.5), (4, 0.25), (6, 0.0), (9, 0.0)] {
            let (found, expected) = (cosine.rate(0.9, epoch), 0.1 + 0.8 * share);
            assert!(near(found, expected), "cosine {epoch}: {found} {expected}");
        }
    }

    /// Bits that glibc's cosine and IEEE 754 products in Python gave.
    #[test]
    fn rates_are_the_same_bits_everywhere() {
        let cosine = Schedule::Cosine { epochs: 20, rate_min: 0.01 };
        let power = Schedule::Exponential { factor_per_epoch: 0.95 };
        let found = [cosine.rate(0.5, 7), cosine.rate(0.5, 19), power.rate(0.1, 20)];
        let expected = [0x3fd7_7046_3100_3b83, 0x3f8a_a851_cdb4_e4ab, 0x3fa2_5abf_2690_707a];
        assert_eq!(found.map(f64::to_bits), expected);
    }

    #[test]
    fn impossible_schedules_are_refused_with_the_key_and_the_number() {
        for (json, said) in [
            (
                r#"{"kind": "step", "every_epochs": 0, "factor": 0.5}"#,
                "every_epochs is 0, expected 1",
            ),
            (
                r#"{"kind": "step", "every_epochs": 2, "factor": 0}"#,
                "schedule.factor is 0.0, expected",
            ),
            (
                r#"{"kind": "exponential", "factor_per_epoch": -1}"#,
                "factor_per_epoch is -1.0, expected",
            ),
            (r#"{"kind": "cosine", "epochs": 0}"#, "training.schedule.epochs is 0, expected 1"),
            (
                r#"{"kind": "cosine", "epochs": 2, "rate_min": -0.1}"#,
                "rate_min is -0.1, expected 0.0",
            ),
        ] {
            let schedule: Schedule = serde_json::from_str(json).expect(json);
            let message = schedule.validate().unwrap_err().to_string();
            assert!(message.contains(said), "{json}: {message}");
        }
        for json in [
            r#"{"kind": "step", "factor": 0.5}"#,
            r#"{"kind": "linear"}"#,
            r#"{"kind": "constant", "factor": 0.5}"#,
            r#"{"kind": "cosine", "epochs": 2, "factor": 0.5}"#,
        ] {
            assert!(serde_json::from_str::<Schedule>(json).is_err(), "{json}");
        }
    }
}
