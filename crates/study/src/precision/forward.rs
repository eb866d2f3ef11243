//! Widths of the forward pass: the bound of the mismatch, and how bits are shared out under it.

use ndarray::{Array2, Axis};
use serde::Serialize;
use systoliq_nn::golden::{Extremes, NoiseGains, Observation};
use systoliq_nn::{Golden, Part, WeightedLayer};
use systoliq_program::Role;

use super::grid::{BITS_MAX, range_above};
use super::{CHUNK, Grid, Study};
use systoliq_run::Error;

/// The share of samples, those with the least margins, that the balance of widths leaves out: the
/// mean of a gain can be that of a single sample with hardly any margin.
const TRIMMED: f64 = 0.01;

/// The fewest bits that are tried.
const BITS_MIN: u32 = 2;

/// A tensor of the forward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardTensor {
    /// Its name in the program.
    pub name: String,
    /// `input`, `activations`, `logits` or `weights`.
    pub role: Role,
    /// The layer whose settings it has.
    pub layer: usize,
    /// Whether it has negative values.
    pub signed: bool,
    /// log₂ of its range.
    pub range_log2: i32,
    /// Its noise gain over the samples.
    pub gain: Gain,
    /// Bits that it has beyond the least sensitive tensor where widths are balanced.
    pub offset: u32,
}

/// A noise gain `E` over samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gain {
    /// The mean, `E` of ICML 2017; one sample with hardly any margin can dominate it.
    #[serde(with = "systoliq_nn::extended")]
    pub mean: f64,
    /// The mean without the 1 % of samples with the least margins.
    #[serde(with = "systoliq_nn::extended")]
    pub trimmed_mean: f64,
    /// The median.
    #[serde(with = "systoliq_nn::extended")]
    pub median: f64,
}

impl ForwardTensor {
    /// Its grid with codes of `bits` bits.
    pub fn grid(&self, bits: u32) -> Grid {
        Grid::of_bits(self.range_log2, bits, self.signed)
    }

    /// What it adds to the bound with codes of no bits, without the samples of least margin.
    pub(super) fn noise(&self) -> f64 {
        self.step_square() * self.gain.trimmed_mean
    }

    /// `D² · 4^bits`: what the square of the step would be with codes of no bits.
    fn step_square(&self) -> f64 {
        4_f64.powi(self.grid(0).step_log2)
    }
}

/// How bits are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// Every tensor adds about the same noise: `B_l = B_min + round(log₂ √(D_l² E_l / least))`, the
    /// `D_l` those of equal widths (ICASSP 2018, where all ranges are alike).
    Balanced,
    /// Every tensor has `B_min` bits.
    Uniform,
    /// A bit lowers the bound by the same for each joule that it takes: `B_l = B_min + round(log₂ √((D_l² E_l /
    /// e_l) / least))`, `e_l` what one more bit of the tensor adds to the energy of a step on the experiment's
    /// accelerator.
    Joules,
}

/// The widths of the forward pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assignment {
    /// How bits are shared out.
    pub allocation: Allocation,
    /// `B_min`, the width of the least sensitive tensor.
    pub b_min: u32,
    /// One width for each of [`Study::tensors`].
    pub bits: Vec<u32>,
    /// The bound of the mismatch: the mean over the samples of `min(1, Σ_l D_l² E_l)`.
    pub bound: f64,
}

impl Study<'_> {
    /// The widths with this `B_min`; `None` if a tensor would have more than 32 bits.
    pub fn assign(&self, allocation: Allocation, b_min: u32) -> Option<Assignment> {
        let bits = |(tensor, &joules): (&ForwardTensor, &u32)| match allocation {
            Allocation::Balanced => b_min + tensor.offset,
            Allocation::Uniform => b_min,
            Allocation::Joules => b_min + joules,
        };
        let bits: Vec<u32> = self.tensors.iter().zip(&self.joule_offsets).map(bits).collect();
        if bits.iter().any(|&bits| bits > BITS_MAX) {
            return None;
        }
        let bound = self.bound(&bits);
        Some(Assignment { allocation, b_min, bits, bound })
    }

    /// The mean over the samples of `min(1, Σ_l D_l² E_l)`, the `D_l` those of these widths: a
    /// bound of the mismatch probability, to first order, on samples like those of the gains.
    ///
    /// # Panics
    ///
    /// Unless there is a width for each of [`tensors`](Self::tensors).
    pub fn bound(&self, bits: &[u32]) -> f64 {
        self.capped_mean(&self.gains, bits)
    }

    /// The same on the test part, whose mismatch is measured.
    ///
    /// # Panics
    ///
    /// As [`bound`](Self::bound).
    pub fn bound_on_test(&self, bits: &[u32]) -> f64 {
        self.capped_mean(&self.test_gains, bits)
    }

    fn capped_mean(&self, gains: &Array2<f64>, bits: &[u32]) -> f64 {
        assert_eq!(bits.len(), self.tensors.len(), "a width for every tensor");
        let squares = self.tensors.iter().zip(bits);
        let squares: Vec<f64> =
            squares.map(|(tensor, &bits)| 4_f64.powi(tensor.grid(bits).step_log2)).collect();
        let capped = |gains: ndarray::ArrayView1<'_, f64>| {
            let noise: f64 = gains.iter().zip(&squares).map(|(gain, square)| gain * square).sum();
            noise.min(1.0)
        };
        gains.axis_iter(Axis(0)).map(capped).sum::<f64>() / gains.nrows() as f64
    }

    /// The least widths whose bound is at most `mismatch`.
    ///
    /// # Errors
    ///
    /// If not even the widest have one.
    pub fn smallest(&self, allocation: Allocation, mismatch: f64) -> Result<Assignment, Error> {
        let mut last = None;
        for b_min in BITS_MIN.. {
            let Some(assignment) = self.assign(allocation, b_min) else { break };
            if assignment.bound <= mismatch {
                return Ok(assignment);
            }
            last = Some(assignment.bound);
        }
        let best =
            last.map_or(String::new(), |bound| format!("; that of the widest is {bound:.2e}"));
        let problem = format!(
            "no widths of up to {BITS_MAX} bits have a bound of {mismatch:e} or less{best}; \
             expected a larger mismatch"
        );
        Err(Error::at("mismatch", problem))
    }
}

/// The noise gains on the first `rows` samples of `part`: `[rows, tensors]`, of each layer what it
/// reads and its weights, and the logits.
pub(super) fn gains(golden: &Golden<f64>, part: &Part, rows: usize) -> Array2<f64> {
    let mut gains = NoiseGains::default();
    for x in inputs(part, rows) {
        gains.extend(golden.noise_gains(&x));
    }
    let NoiseGains { activations, weights } = gains;
    // Codes that move are not rounded again.
    let graph = golden.graph();
    let values = graph.stored().zip(activations);
    let mut activations: Vec<_> = (values.filter(|(value, _)| graph.source(*value) == *value))
        .map(|(_, gains)| gains)
        .collect();
    let logits = activations.pop().expect("a network has logits");
    let read_and_weights = activations.into_iter().zip(weights);
    let mut columns: Vec<_> =
        read_and_weights.flat_map(|(read, weights)| [read, weights]).collect();
    columns.push(logits);
    let shape = (columns.len(), rows);
    let gains = Array2::from_shape_vec(shape, columns.concat()).expect("a gain for each sample");
    gains.reversed_axes()
}

/// The first `rows` samples of a part, some at a time.
fn inputs(part: &Part, rows: usize) -> impl Iterator<Item = Array2<f64>> + '_ {
    part.batches(CHUNK).enumerate().map_while(move |(at, batch)| {
        let left = rows.saturating_sub(at * CHUNK).min(batch.len());
        (left > 0).then(|| batch.inputs.slice(ndarray::s![..left, ..]).to_owned())
    })
}

/// The tensors of the forward pass, in the order of the columns of `gains`, which are those on the
/// first samples of `part`. Their ranges are those of the run and of these samples.
pub(super) fn tensors(
    golden: &Golden<f64>,
    observation: &Observation,
    part: &Part,
    gains: &Array2<f64>,
) -> Result<Vec<ForwardTensor>, Error> {
    let graph = golden.graph();
    let mut input = observation.input;
    let mut outputs: Vec<Extremes> = observation.layers.iter().map(|layer| layer.outputs).collect();
    for x in inputs(part, gains.nrows()) {
        input.see(&x);
        let stored = golden.stored(&x);
        for (extremes, layer) in outputs.iter_mut().zip(graph.weighted()) {
            extremes.see(&stored[layer.output]);
        }
    }
    let mut tensors = Vec::new();
    let mut add = |name: String, role, layer, signed, extremes: Extremes| {
        let range_log2 = range_above(extremes.magnitude()).unwrap_or(0);
        let values = gains.column(tensors.len()).to_vec();
        // The trimmed mean follows from all tensors together.
        let gain = Gain { mean: mean(&values), trimmed_mean: 0.0, median: median(values) };
        tensors.push(ForwardTensor { name, role, layer, signed, range_log2, gain, offset: 0 });
    };
    for &WeightedLayer { number, reads, output, .. } in graph.weighted() {
        let reads = graph.source(reads);
        match graph.layer_of(reads) {
            None => add("x".into(), Role::Input, 0, input.min < 0.0, input),
            Some(&WeightedLayer { number: below, .. }) => {
                let signed = !graph.is_nonnegative(reads);
                add(format!("y{below}"), Role::Activations, below, signed, outputs[below]);
            }
        }
        add(format!("w{number}"), Role::Weights, number, true, observation.layers[number].weights);
        if output == graph.output() {
            add(format!("z{number}"), Role::Logits, number, true, outputs[number]);
        }
    }
    balance(&mut tensors, gains)?;
    Ok(tensors)
}

/// Fills in the trimmed means, and the offsets that follow.
fn balance(tensors: &mut [ForwardTensor], gains: &Array2<f64>) -> Result<(), Error> {
    let squares: Vec<f64> = tensors.iter().map(ForwardTensor::step_square).collect();
    let noise = |sample: usize| -> f64 {
        gains.row(sample).iter().zip(&squares).map(|(gain, square)| gain * square).sum()
    };
    let mut order: Vec<(f64, usize)> =
        (0..gains.nrows()).map(|sample| (noise(sample), sample)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let kept = order.len() - (TRIMMED * order.len() as f64).ceil() as usize;
    // Of few samples, one is left out; of a single one, none.
    order.truncate(kept.max(1));
    order.retain(|(noise, _)| noise.is_finite());
    if order.is_empty() {
        let problem = "no sample has a margin between its classes: every one is a tie, or its \
                       outputs are not finite";
        return Err(Error::at("network", problem));
    }
    for (at, tensor) in tensors.iter_mut().enumerate() {
        let sum: f64 = order.iter().map(|&(_, sample)| gains[(sample, at)]).sum();
        tensor.gain.trimmed_mean = sum / order.len() as f64;
    }
    let noise: Vec<f64> = tensors.iter().map(ForwardTensor::noise).collect();
    for (tensor, offset) in tensors.iter_mut().zip(offsets(&noise)) {
        tensor.offset = offset;
    }
    Ok(())
}

/// The bits beyond the least with which all of these, a quarter of which each bit takes away, are about equal.
pub(super) fn offsets(noise: &[f64]) -> Vec<u32> {
    let positive = noise.iter().copied().filter(|&noise| noise > 0.0);
    let least = positive.fold(f64::INFINITY, f64::min);
    let offset = |&noise: &f64| match noise > 0.0 {
        true => (0.5 * (noise / least).log2()).round() as u32,
        // What reaches nothing has the least width.
        false => 0,
    };
    noise.iter().map(offset).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
