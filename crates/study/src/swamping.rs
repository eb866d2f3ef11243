//! Swamping: what a master too coarse for its updates does to LMS, by formula.
//!
//! The master's ulp is `Δ`, the rate `μ`, an update `μ·e·x` in each of `N` taps; regressors are white, Gaussian
//! and of unit variance, `v` is the error of the taps, `σ²` the variance of the noise.
//!
//! | rounding of the update | what becomes of it |
//! | --- | --- |
//! | floor | half an ulp is taken away in the mean, so that taps settle where `μ·E[e·x] = Δ/2`: a bias of [`−Δ/(2μ)`](floor_bias) |
//! | nearest | what is below `Δ/2` is lost: [all of it](nearest_stalls) where hardly any is larger |
//! | stochastic | nothing is lost in the mean; a variance of `Δ²·p(1 − p)` is added, `p = frac(\|μ·e·x\|/Δ)` |
//!
//! With the last, `E‖v‖² ← (1 − 2μ + (N + 2)μ²)·E‖v‖² + μ²Nσ² + NΔ²E[p(1 − p)]`, in whose steady state the error is
//! more by [`NΔ²E[p(1 − p)] / (2μ − (N + 2)μ²)`](stochastic_excess).

/// The bias of every tap under floor.
pub fn floor_bias(step: f64, rate: f64) -> f64 {
    -step / (2.0 * rate)
}

/// Neighbouring places of a standard normal variable.
const GRID: f64 = 1.0 / 32.0;

/// Where its tails are cut off, in places.
const PLACES: i32 = 192;

/// The mean of a function of the magnitude of `μ·e·x` in ulps, e of this mean square.
fn mean_of_updates(step: f64, rate: f64, square: f64, of: impl Fn(f64) -> f64) -> f64 {
    let density = |z: f64| libm::exp(-z * z / 2.0) * GRID / std::f64::consts::TAU.sqrt();
    let (mut sum, scale) = (0.0, rate * square.sqrt() / step);
    for e in -PLACES..PLACES {
        for x in 0..PLACES {
            let [e, x] = [e, x].map(|place| (f64::from(place) + 0.5) * GRID);
            sum += 2.0 * density(e) * density(x) * of((scale * e * x).abs());
        }
    }
    sum
}

/// The share of updates that rounding to nearest loses, where e has this mean square.
///
/// ```
/// use systoliq_study::swamping::nearest_stalls;
/// assert!(nearest_stalls(1.0, 1e-3, 1.0) > 0.999 && nearest_stalls(1e-3, 1.0, 1.0) < 0.01);
/// ```
pub fn nearest_stalls(step: f64, rate: f64, square: f64) -> f64 {
    mean_of_updates(step, rate, square, |ulps| f64::from(ulps < 0.5))
}

/// By how much `E[e²]` is larger under stochastic rounding than in floating point, where it would be `square`;
/// e itself is that much larger, and its updates with it.
///
/// ```
/// use systoliq_study::swamping::stochastic_excess;
/// let excess = |step| stochastic_excess(8, 0.01, step, 0.0104);
/// // An ulp four times as wide adds more than four times as much, and less than sixteen times, as updates far
/// // below it are seldom taken.
/// assert!((4.0..16.0).contains(&(excess(1.0 / 64.0) / excess(1.0 / 256.0))));
/// ```
pub fn stochastic_excess(taps: usize, rate: f64, step: f64, square: f64) -> f64 {
    let n = taps as f64;
    let settles = 2.0 * rate - (n + 2.0) * rate * rate;
    (0..20).fold(0.0, |excess, _| {
        let dropped = |ulps: f64| ulps.fract() * (1.0 - ulps.fract());
        let variance = mean_of_updates(step, rate, square + excess, dropped);
        n * step * step * variance / settles
    })
}
