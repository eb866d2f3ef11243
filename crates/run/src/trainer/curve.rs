//! One network over the epochs.

use serde::{Deserialize, Serialize};
use systoliq_nn::{Answers, DataSet, Evaluation, Part, Predicted};

use crate::Right;

/// One network's evaluations, before training and after each epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// On the test part, with the initial weights.
    pub initial: Evaluation,
    /// After each epoch.
    #[serde(skip)]
    pub epochs: Vec<Epoch>,
    /// Which samples it gets right after the latest epoch; nothing before the first, or for a regression.
    pub right: Option<RightByPart>,
}

/// Which samples of each part a network gets right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RightByPart {
    /// Of the validation part, if there is one.
    pub validation: Option<Right>,
    /// Of the test part.
    pub test: Right,
}

/// One epoch of one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Mean loss of the training samples, each before its step's update.
    #[serde(with = "systoliq_nn::extended")]
    pub training_loss: f64,
    /// On the validation part, if there is one.
    pub validation: Option<Evaluation>,
    /// On the test part.
    pub test: Evaluation,
}

impl Curve {
    /// The first epoch, from 1, whose loss exceeds that of the initial weights, or is not finite.
    pub fn diverged(&self) -> Option<usize> {
        let limit = self.initial.loss;
        let worse = |epoch: &Epoch| !epoch.test.loss.is_finite() || epoch.test.loss > limit;
        self.epochs.iter().position(worse).map(|at| at + 1)
    }

    /// Whether its loss ended above that of the initial weights, or not finite.
    pub fn ended_worse(&self) -> bool {
        let last = self.epochs.last().map_or(f64::NAN, |epoch| epoch.test.loss);
        !last.is_finite() || last > self.initial.loss
    }

    /// Adds an epoch; returns what the network makes of the test samples.
    pub(super) fn push(&mut self, judged: Judged) -> Predicted {
        self.epochs.push(judged.epoch);
        self.right = judged.right;
        judged.predictions
    }

    /// The error rate after the last epoch.
    pub fn final_error_rate(&self) -> Option<f64> {
        self.epochs.last().and_then(|epoch| epoch.test.error_rate())
    }
}

/// A network after an epoch.
pub(super) struct Judged {
    epoch: Epoch,
    /// What it makes of the test samples.
    predictions: Predicted,
    right: Option<RightByPart>,
}

impl Judged {
    /// What the evaluations of each part of the data say.
    pub(super) fn new(
        data: &DataSet,
        training_loss: f64,
        validation: Option<(Evaluation, Predicted)>,
        (test, predictions): (Evaluation, Predicted),
    ) -> Self {
        let right = |part: &Part, predicted: &Predicted| match (part.answers(), predicted) {
            (Answers::Labels(labels), Predicted::Classes(of)) => Some(Right::new(labels, of)),
            _ => None,
        };
        let validated = validation.as_ref();
        let right = right(&data.test, &predictions).map(|test| RightByPart {
            validation: validated.and_then(|(_, classes)| right(&data.validation, classes)),
            test,
        });
        let validation = validation.map(|(evaluation, _)| evaluation);
        Self { epoch: Epoch { training_loss, validation, test }, predictions, right }
    }
}
