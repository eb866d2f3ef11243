//! What happened to each tensor as steps wrote it.

use serde::{Deserialize, Serialize};
use systoliq_fxp::{ConversionStatistics, UpdateStatistics};
use systoliq_nn::{Extended, SqnrSteps};
use systoliq_program::Written;

/// What happened to one tensor over a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorRecord {
    /// The conversion of its initial values, if it is a weight.
    pub initial: Option<ConversionStatistics>,
    /// In the steps of each epoch.
    #[serde(skip)]
    pub epochs: Vec<Writes>,
    /// Fraction bits at the last step.
    pub frac: i32,
}

/// What happened to one tensor as some steps wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writes {
    /// Its conversions.
    pub conversion: ConversionStatistics,
    /// Its updates, if it is trained.
    pub update: Option<UpdateStatistics>,
    /// Sums that accumulators made for it.
    pub sums: u64,
    /// Of these, how many left the accumulator's range on the way.
    pub overflowed_sums: u64,
}

/// Signal-to-quantization-noise ratios in decibels, nothing where all was zero, under a key that says of
/// which steps they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sqnr<T = Option<Extended>> {
    /// Of all.
    #[serde(rename = "sqnr_db")]
    Exact(T),
    /// Of one in 16.
    #[serde(rename = "sqnr_db_sampled")]
    Sampled(T),
}

impl<T> Sqnr<T> {
    /// The ratios, of whichever steps.
    pub fn get(&self) -> &T {
        match self {
            Self::Exact(ratio) | Self::Sampled(ratio) => ratio,
        }
    }
}

impl TensorRecord {
    /// In all steps.
    pub fn total(&self) -> Writes {
        let mut total = Writes::default();
        self.epochs.iter().for_each(|epoch| total.merge(epoch));
        total
    }

    /// In the steps of an epoch, from 0.
    pub(super) fn in_epoch(&mut self, epoch: u32) -> &mut Writes {
        let epoch = epoch as usize;
        if self.epochs.len() <= epoch {
            self.epochs.resize_with(epoch + 1, Writes::default);
        }
        &mut self.epochs[epoch]
    }
}

impl Writes {
    pub(super) fn merge(&mut self, other: &Self) {
        let Self { conversion, update, sums, overflowed_sums } = other;
        self.count(conversion, update.as_ref(), (*sums, *overflowed_sums));
    }

    pub(super) fn add(&mut self, written: &Written) {
        let Written { conversion, update, sums, overflowed_sums, .. } = written;
        self.count(conversion, update.as_ref(), (*sums, *overflowed_sums));
    }

    fn count(
        &mut self,
        conversion: &ConversionStatistics,
        update: Option<&UpdateStatistics>,
        (sums, overflowed): (u64, u64),
    ) {
        self.conversion.merge(conversion);
        if let Some(update) = update {
            self.update.get_or_insert_default().merge(update);
        }
        self.sums += sums;
        self.overflowed_sums += overflowed;
    }

    /// The signal-to-quantization-noise ratio of its conversions.
    pub fn sqnr(&self, of: SqnrSteps) -> Sqnr {
        let ratio = self.conversion.sqnr_db().map(Extended);
        match of {
            SqnrSteps::Exact => Sqnr::Exact(ratio),
            SqnrSteps::Sampled => Sqnr::Sampled(ratio),
        }
    }

    /// Share of its sums that left the accumulator's range on the way.
    pub fn accumulator_overflow_rate(&self) -> f64 {
        self.overflowed_sums as f64 / self.sums.max(1) as f64
    }

    /// Share of the updates asked for that changed nothing; nothing where there are no updates.
    pub fn stalled_rate(&self) -> Option<f64> {
        self.update.as_ref().map(UpdateStatistics::stalled_rate)
    }
}
