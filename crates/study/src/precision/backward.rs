//! What the backward pass needs: ranges and steps of gradients and of the master weights.
//!
//! The criteria of ICLR 2019, for each layer (`s` is a standard deviation over a tensor's elements,
//! by the moving average of [`TensorSpread`]; `λ` is [`LayerObservation::noise_gain`]):
//!
//! | criterion | formula |
//! | --- | --- |
//! | clipping of `dW` | `r_GW = 2^⌈log₂(2 s_max / √0.1)⌉` |
//! | clipping of `dZ` | `r_GA = 2^⌈log₂(8 s_max / √0.1)⌉` |
//! | bias of `dW` | `D_GW = 2^⌊log₂(s_min / 4)⌋` |
//! | noise of `dZ` | `D_GA = 2^⌊log₂(D_GW / √λ)⌋` |
//! | stopping of the accumulator | `D_acc = 2^⌊log₂(μ_min D_GW)⌋` |
//!
//! No range exceeds what the largest element of the run needs.

use serde::Serialize;
use systoliq_nn::golden::{LayerObservation, Observation, TensorSpread};
use systoliq_nn::{BatchGradient, Training};

use super::Grid;
use super::grid::{ceil_log2, floor_log2, range_above};
use systoliq_run::Error;

/// What the authors' code divides standard deviations by: `√(1 − 0.9)`.
const CORRECTION: f64 = 0.316_227_766_016_837_94;
/// How many standard deviations weight gradients are given room for.
const WEIGHT_DEVIATIONS: f64 = 2.0;
/// The same of the gradients of activations, whose tails are heavier.
const ACTIVATION_DEVIATIONS: f64 = 8.0;

/// What the backward pass of a layer needs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BackwardGrids {
    /// `dW` and `db`, which share a format.
    pub weight_gradients: Grid,
    /// `dZ`.
    pub gradients: Grid,
    /// log₂ of the step of the master weights, `D_acc`.
    pub master_step_log2: i32,
    /// log₂ of the range of the biases.
    pub bias_range_log2: i32,
    /// `s_min` of the weight gradients.
    pub weight_gradient_least: f64,
    /// `s_max` of the weight gradients, or of the bias gradients if that is larger.
    pub weight_gradient_largest: f64,
    /// `s_max` of the gradients of activations.
    pub gradient_largest: f64,
    /// `λ`.
    pub noise_gain: f64,
}

/// The grids of every layer.
pub(super) fn grids(
    training: &Training,
    observation: &Observation,
) -> Result<Vec<BackwardGrids>, Error> {
    let layers = observation.layers.iter().enumerate();
    layers.map(|(layer, seen)| of_layer(training, layer, seen)).collect()
}

fn of_layer(
    training: &Training,
    layer: usize,
    seen: &LayerObservation,
) -> Result<BackwardGrids, Error> {
    let LayerObservation { dz, dw, db, noise_gain, .. } = seen;
    let all = [seen.outputs, seen.weights, seen.bias, dz.extremes, dw.extremes, db.extremes];
    let all = all.map(|extremes| extremes.magnitude());
    let all = all.into_iter().chain([dz.largest, dw.largest, db.largest, *noise_gain]);
    if !all.into_iter().all(f64::is_finite) {
        let problem = format!(
            "numbers of layer {layer} leave the range of floating point in the float run: expected a \
             run that learns"
        );
        return Err(Error::at("training", problem));
    }
    let least = dw.least.min(db.least);
    if !(dw.largest > 0.0 && dz.largest > 0.0 && least > 0.0 && *noise_gain > 0.0) {
        let problem = format!(
            "no gradient reaches the weights of layer {layer} in the float run: expected a network \
             that learns"
        );
        return Err(Error::at("network", problem));
    }
    // Fixed point multiplies the error by it, and so every gradient.
    let scaled = training.loss_scale.ilog2() as i32;
    let step = floor_log2(least / 4.0);
    let range = range(dw, WEIGHT_DEVIATIONS).max(range(db, WEIGHT_DEVIATIONS));
    let gradient_step = floor_log2(f64::from(step).exp2() / noise_gain.sqrt());
    let gradient_range = self::range(dz, ACTIVATION_DEVIATIONS);
    Ok(BackwardGrids {
        weight_gradients: Grid::signed(range + scaled, step + scaled),
        gradients: Grid::signed(gradient_range + scaled, gradient_step + scaled),
        master_step_log2: floor_log2(smallest_rate(training) * f64::from(step).exp2()),
        bias_range_log2: range_above(seen.bias.magnitude())
            .or_else(|| range_above(seen.weights.magnitude()))
            .unwrap_or(0),
        weight_gradient_least: least,
        weight_gradient_largest: dw.largest.max(db.largest),
        gradient_largest: dz.largest,
        noise_gain: *noise_gain,
    })
}

/// log₂ of the range that leaves room for so many standard deviations, but for no more than the
/// largest element seen.
fn range(spread: &TensorSpread, deviations: f64) -> i32 {
    let Some(needed) = range_above(spread.extremes.magnitude()) else { return i32::MIN };
    if spread.largest == 0.0 {
        return needed;
    }
    needed.min(ceil_log2(deviations * spread.largest / CORRECTION))
}

/// The least rate by which a gradient is multiplied, in any epoch.
fn smallest_rate(training: &Training) -> f64 {
    let rates = (0..training.epochs).map(|epoch| training.rate_in(epoch));
    let least = rates.fold(f64::INFINITY, f64::min);
    match training.batch_gradient {
        BatchGradient::Mean => least,
        BatchGradient::Sum => least / training.batch as f64,
    }
}
