//! How good a network is on a part of the data.

use ndarray::Axis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::loss::{losses, softmax};
use super::{Golden, Real};
use crate::data::{Answers, Part};
use crate::extended::{self, ExtendedShape};
use crate::metrics::{Information, InformationSum, argmax};

/// How good a network is on a part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The number of samples.
    pub count: u64,
    /// The mean loss: cross-entropy in bits, whatever unit the gradient is in, or `½ Σ e²`.
    #[serde(with = "extended")]
    #[schemars(with = "ExtendedShape")]
    pub loss: f64,
    /// Samples whose largest logit, the first of equal ones, is not of their class, or that have a
    /// logit that is not a number; `None` where
    /// targets are real.
    pub errors: Option<u64>,
    /// What predictions say about labels; `None` where targets are real.
    pub information: Option<Information>,
}

impl Evaluation {
    /// `P_e`, the fraction of samples taken for another class; `None` where targets are real.
    pub fn error_rate(&self) -> Option<f64> {
        self.errors.map(|errors| errors as f64 / self.count as f64)
    }
}

/// What a network says of some samples, in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicted {
    /// The class that it takes each for; `None` where it names none.
    Classes(Vec<Option<u32>>),
    /// Its outputs, row by row, where targets are real.
    Values(Vec<f64>),
}

impl<F: Real> Golden<F> {
    /// Evaluates the network on all of `part` in data order, `batch` samples at a time.
    ///
    /// # Panics
    ///
    /// If `part` or `batch` is empty, or `part` does not fit the network, which
    /// [`DataSet::check`](crate::DataSet::check) tells beforehand.
    pub fn evaluate(&self, part: &Part, batch: usize) -> Evaluation {
        self.predict(part, batch).0
    }

    /// Evaluates the network, and says what it makes of each sample: the class of its largest logit,
    /// the first of equal ones, and none where a logit is not a number; or its outputs where targets
    /// are real.
    ///
    /// # Panics
    ///
    /// As [`evaluate`](Self::evaluate).
    pub fn predict(&self, part: &Part, batch: usize) -> (Evaluation, Predicted) {
        assert!(!part.is_empty(), "an evaluation on no samples");
        let (mut classes, mut values) = (Vec::new(), Vec::new());
        let mut loss = 0.0;
        let mut errors = matches!(part.answers(), Answers::Labels(_)).then_some(0);
        let mut information = InformationSum::default();
        for rows in part.rows(batch) {
            let logits = self.outputs_of(part.inputs_as(&rows, F::of));
            let answers = part.answers().select(&rows);
            loss += losses(self.graph().loss, &logits, &answers).iter().sum::<f64>();
            let (Some(errors), Answers::Labels(labels)) = (&mut errors, &answers) else {
                values.extend(logits.iter().map(|value| value.widen()));
                continue;
            };
            for (logits, &class) in logits.axis_iter(Axis(0)).zip(labels) {
                let probabilities: Vec<f64> = softmax(logits).into_iter().map(F::widen).collect();
                information.add(class as usize, &probabilities);
                // Logits that are undefined name no class.
                let defined = logits.iter().all(|logit| !logit.is_nan());
                let prediction = defined.then(|| argmax(&logits.to_vec()) as u32);
                *errors += u64::from(prediction != Some(class));
                classes.push(prediction);
            }
        }
        let count = part.len() as u64;
        let information = information.mean();
        let predicted = match errors {
            Some(_) => Predicted::Classes(classes),
            None => Predicted::Values(values),
        };
        (Evaluation { count, loss: loss / count as f64, errors, information }, predicted)
    }
}
