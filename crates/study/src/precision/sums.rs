//! Accumulators by theory: what becomes of sums whose registers keep neither all low bits of products nor
//! the range of the worst case.
//!
//! In ulps of the product, `Δ = 2^drop` being one of the register, and for `K` products that are not zero, as
//! a zero has no error:
//!
//! | rounding | error of a product: mean, variance | error power of the sum |
//! | --- | --- | --- |
//! | nearest | 0, Δ²/12 | K·Δ²/12 |
//! | stochastic | 0, Δ²/6 | K·Δ²/6 |
//! | floor | −Δ/2, Δ²/12 | (K·Δ/2)² + K·Δ²/12 |
//!
//! if the bits that are dropped are uniform and independent ([`ProductError::uniform`]). Few of them are not uniform:
//! codes of pixels may all be multiples of 8. Then the moments are those of the products themselves
//! ([`ProductError::of_products`]). Stochastic rounding of one product adds r·(Δ − r), r the bits dropped, of which Δ²/6 is the
//! mean.
//!
//! A register whose range is `2^head` deviations of its sums is left by a sum with a probability of
//! `2Q(2^head)`, were sums Gaussian ([`saturation`]).
//!
//! Deviations, zeros and bits that are dropped are those of the float run's operands in the plan's formats, not
//! of random numbers.

use ndarray::{Array2, ArrayView2};
use serde::Serialize;
use systoliq_fxp::bounds::{Alignment, SumBounds};
use systoliq_fxp::{Overflow, Rounding, shift_right_round};
use systoliq_nn::golden::LayerOperands;
use systoliq_nn::{BatchGradient, WeightedLayer};
use systoliq_program::Pass;
use systoliq_program::spec::AccumulatorSettings;
use systoliq_run::Error;

use super::grid::ceil_log2;
use super::{Assignment, Grid, Study};

/// What rounding does to one product on average, in ulps of the product.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProductError {
    /// The mean error.
    pub mean: f64,
    /// The mean of its square.
    pub square: f64,
}

impl ProductError {
    /// Where the `drop` bits that are dropped are uniform.
    ///
    /// ```
    /// use systoliq_fxp::Rounding;
    /// use systoliq_study::precision::sums::{ProductError, Terms};
    /// let terms = Terms { mean: 100.0, square: 10_000.0 };
    /// let holds = |rounding, expected: f64| {
    ///     let power = ProductError::uniform(rounding, 4).of_sum(terms);
    ///     assert!((power / expected - 1.0).abs() < 1e-12, "{rounding:?}: {power}");
    /// };
    /// holds(Rounding::NearestEven, 100.0 * 256.0 / 12.0);
    /// holds(Rounding::Stochastic, 100.0 * 256.0 / 6.0);
    /// holds(Rounding::Floor, (100.0_f64 * 8.0).powi(2) + 100.0 * 256.0 / 12.0);
    /// ```
    pub fn uniform(rounding: Rounding, drop: u32) -> Self {
        let step = f64::from(drop).exp2();
        let (mean, square) = match rounding {
            Rounding::NearestEven | Rounding::NearestUp | Rounding::NearestAway => {
                (0.0, 1.0 / 12.0)
            }
            Rounding::Stochastic => (0.0, 1.0 / 6.0),
            Rounding::Floor => (-0.5, 1.0 / 3.0),
            // Of products of both signs alike.
            Rounding::Zero => (0.0, 1.0 / 3.0),
        };
        Self { mean: mean * step, square: square * step * step }
    }

    /// Of these products.
    pub fn of_products<'p>(
        rounding: Rounding,
        drop: u32,
        products: impl IntoIterator<Item = &'p i64>,
    ) -> Self {
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for &product in products {
            let (error, square) = match rounding {
                Rounding::Stochastic => {
                    let dropped = (product as u64 & ((1 << drop) - 1)) as f64;
                    (0.0, dropped * (f64::from(drop).exp2() - dropped))
                }
                _ => {
                    let kept = shift_right_round(i128::from(product), drop, rounding, 0);
                    let error = ((kept << drop) - i128::from(product)) as f64;
                    (error, error * error)
                }
            };
            count += 1.0;
            sum += error;
            squares += square;
        }
        let count = f64::max(count, 1.0);
        Self { mean: sum / count, square: squares / count }
    }

    /// The power of the error of sums of such products.
    pub fn of_sum(self, terms: Terms) -> f64 {
        let variance = self.square - self.mean * self.mean;
        terms.square * self.mean * self.mean + terms.mean * variance
    }
}

/// How many products of a sum are not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Terms {
    /// The mean.
    pub mean: f64,
    /// The mean of the square.
    pub square: f64,
}

/// The probability that a Gaussian sum leaves a register whose range is `2^head` of its deviations: `2Q(2^head)`.
///
/// ```
/// use systoliq_study::precision::sums::saturation;
/// assert!((saturation(0.0) - 0.317).abs() < 1e-3 && (saturation(2.0) - 6.33e-5).abs() < 1e-7);
/// ```
pub fn saturation(head: f64) -> f64 {
    libm::erfc(head.exp2() / std::f64::consts::SQRT_2)
}

/// The products of some sums, without those that are zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampledSums {
    /// Sum by sum.
    pub products: Vec<Vec<i64>>,
}

/// Products that are looked at.
const PRODUCTS_MAX: usize = 1 << 20;

impl SampledSums {
    /// Of the three products of a layer in these steps, whose operands have such grids; every so-manieth sum,
    /// where there are more than a million products.
    pub fn of(steps: &[&LayerOperands], grids: OperandGrids, pass: Pass) -> Self {
        let mut sums = Self::default();
        let codes = |steps: &LayerOperands| grids.codes(steps, pass);
        let count = |[a, b]: [ArrayView2<'_, i64>; 2]| a.len() * b.nrows();
        let all: usize = steps.iter().map(|step| count(operands(&codes(step), pass))).sum();
        let every = all.div_ceil(PRODUCTS_MAX).max(1);
        let mut at = 0;
        for step in steps {
            let codes = codes(step);
            let [a, b] = operands(&codes, pass);
            for a in a.rows() {
                for b in b.rows() {
                    at += 1;
                    if at % every == 0 {
                        let products = a.iter().zip(b).map(|(a, b)| a * b);
                        sums.products.push(products.filter(|&product| product != 0).collect());
                    }
                }
            }
        }
        sums
    }

    /// How many there are.
    pub fn terms(&self) -> Terms {
        let count = self.products.len().max(1) as f64;
        let lengths = || self.products.iter().map(|sum| sum.len() as f64);
        let square = lengths().map(|terms| terms * terms).sum::<f64>() / count;
        Terms { mean: lengths().sum::<f64>() / count, square }
    }

    /// What rounding does to them.
    pub fn error(&self, rounding: Rounding, drop: u32) -> ProductError {
        ProductError::of_products(rounding, drop, self.products.iter().flatten())
    }
}

/// The grids of what the three products of a layer read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperandGrids {
    /// X.
    pub inputs: Grid,
    /// W.
    pub weights: Grid,
    /// dZ.
    pub gradients: Grid,
    /// By what fixed point multiplies golden's dZ.
    pub loss_scale: f64,
}

impl OperandGrids {
    /// The codes of X, W and dZ; for an input gradient, of what that is a product of.
    fn codes(&self, operands: &LayerOperands, pass: Pass) -> [Array2<i64>; 3] {
        let LayerOperands { inputs, weights, gradients, held, .. } = operands;
        let (weights, gradients) = match held {
            Some([held, weights]) if pass == Pass::InputGradient => (weights, held),
            _ => (weights, gradients),
        };
        let scaled = gradients * self.loss_scale;
        [self.inputs.codes(inputs), self.weights.codes(weights), self.gradients.codes(&scaled)]
    }

    /// Those of the two operands of a product.
    fn of(&self, pass: Pass) -> [Grid; 2] {
        match pass {
            Pass::Forward => [self.inputs, self.weights],
            Pass::InputGradient => [self.gradients, self.weights],
            Pass::WeightGradient => [self.gradients, self.inputs],
            Pass::Update => unreachable!("an update multiplies no matrices"),
        }
    }
}

/// The operands of a product of which each sum is that of a row of the one and a row of the other.
fn operands([x, w, dz]: &[Array2<i64>; 3], pass: Pass) -> [ArrayView2<'_, i64>; 2] {
    match pass {
        Pass::Forward => [x.view(), w.view()],
        Pass::InputGradient => [dz.view(), w.t()],
        Pass::WeightGradient => [dz.t(), x.t()],
        Pass::Update => unreachable!("an update multiplies no matrices"),
    }
}

/// What accumulators may do to sums.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SumBudget {
    /// Bits of the range above the deviation of the sums, rounded up to a power of two.
    pub head: u32,
    /// How products are rounded; nothing if all of their bits are kept.
    pub rounding: Option<Rounding>,
    /// The noise of the sums may have so much of the power that the conversion of their result has.
    pub noise: f64,
}

impl Default for SumBudget {
    fn default() -> Self {
        Self { head: 2, rounding: Some(Rounding::NearestEven), noise: 1.0 }
    }
}

/// The accumulator of one product of the plan, and why it has its width.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedSum {
    /// The layer with weights.
    pub layer: usize,
    /// The pass.
    pub pass: Pass,
    /// Products of a sum that are not zero.
    pub terms: f64,
    /// The deviation of the sums, `σ√K`: the largest of the float run.
    pub deviation: f64,
    /// Bits of the range above it.
    pub head: f64,
    /// The probability that a Gaussian sum leaves the range.
    pub saturation: f64,
    /// Low bits of each product that are not kept.
    pub drop: u32,
    /// How they are rounded.
    pub rounding: Rounding,
    /// The power of the noise of the sums, as a share of what the conversion of their result adds.
    pub noise: f64,
    /// Width of the register.
    pub bits: u32,
    /// The width with which nothing is dropped and no sum can overflow.
    pub bits_exact: u32,
}

impl PlannedSum {
    /// As the `precision` section states it.
    pub fn settings(&self) -> AccumulatorSettings {
        AccumulatorSettings {
            bits: Some(self.bits),
            drop: Some(self.drop),
            rounding: Some(self.rounding),
            overflow: Some(Overflow::Saturate),
            ..AccumulatorSettings::default()
        }
    }
}

impl Study<'_> {
    /// What the products of a layer read with these widths.
    pub fn operand_grids(&self, assignment: &Assignment, layer: usize) -> OperandGrids {
        let grid = |at: usize| self.tensors[at].grid(assignment.bits[at]);
        OperandGrids {
            inputs: grid(2 * layer),
            weights: grid(2 * layer + 1),
            gradients: self.backward[layer].gradients,
            loss_scale: f64::from(self.prepared.experiment.training.loss_scale),
        }
    }

    /// The products of a layer's pass, with the operands of the last epoch.
    pub fn sampled(&self, assignment: &Assignment, layer: usize, pass: Pass) -> SampledSums {
        let steps: Vec<_> = self.run.operands.iter().map(|step| &step[layer]).collect();
        SampledSums::of(&steps, self.operand_grids(assignment, layer), pass)
    }

    /// The accumulators of every product of a step: the least range that leaves so much room above the
    /// deviation of the sums and holds one product, and the most bits dropped whose noise is within the budget.
    ///
    /// # Errors
    ///
    /// If a grid is no format.
    pub fn planned_sums(
        &self,
        assignment: &Assignment,
        budget: SumBudget,
    ) -> Result<Vec<PlannedSum>, Error> {
        let mut planned = Vec::new();
        for &WeightedLayer { number, reads, .. } in self.prepared.graph.weighted() {
            let deviations = self.run.observation.layers[number].sum_deviations;
            for (pass, deviation) in AccumulatorSettings::PASSES.into_iter().zip(deviations) {
                if pass == Pass::InputGradient && !self.prepared.graph.trains(reads) {
                    continue;
                }
                planned.push(self.planned_sum(assignment, budget, (number, pass), deviation)?);
            }
        }
        Ok(planned)
    }

    fn planned_sum(
        &self,
        assignment: &Assignment,
        budget: SumBudget,
        (layer, pass): (usize, Pass),
        deviation: f64,
    ) -> Result<PlannedSum, Error> {
        let grids = self.operand_grids(assignment, layer);
        let [a, b] = grids.of(pass);
        let ulp_log2 = a.step_log2 + b.step_log2;
        let sums = self.sampled(assignment, layer, pass);
        let terms = sums.terms();
        // What the conversion of a result adds, in ulps of the product.
        let step = self.result_step(assignment, layer, pass) / f64::from(ulp_log2).exp2();
        let converted = step * step / 12.0;
        let rounding = budget.rounding.unwrap_or(Rounding::Floor);
        let power = |drop: u32| sums.error(rounding, drop).of_sum(terms);
        let most = if budget.rounding.is_some() { a.bits() + b.bits() - 1 } else { 0 };
        let allowed = budget.noise * converted;
        let uniform = |drop: u32| ProductError::uniform(rounding, drop).of_sum(terms);
        let drop =
            most_dropped(most, |drop| uniform(drop) <= allowed, |drop| power(drop) <= allowed);
        let deviation = match pass {
            Pass::Forward => deviation,
            _ => deviation * grids.loss_scale,
        };
        let above_ulp = match deviation > 0.0 {
            true => ceil_log2(deviation) + budget.head as i32 - ulp_log2,
            false => 0,
        };
        let ends = |grid: Grid| {
            let format = grid.format(pass.name())?;
            Ok::<_, Error>((format.min_raw(), format.max_raw()))
        };
        let alignment = Alignment { shift: drop as i32, rounding };
        let one = SumBounds::of_products(ends(a)?, ends(b)?, 1, alignment);
        let bits_exact = self.exact_bits(assignment, layer, pass);
        // No more than holds every sum, each of whose products may be rounded up where bits are dropped.
        let most = bits_exact as i32 - drop as i32 + i32::from(drop > 0);
        let of_range = (above_ulp - drop as i32 + 1).min(most).max(2) as u32;
        let bits = of_range.max(one.bits(Overflow::Wrap)).min(64);
        let range_log2 = bits as i32 - 1 + drop as i32 + ulp_log2;
        let head = f64::from(range_log2) - deviation.log2();
        Ok(PlannedSum {
            layer,
            pass,
            terms: terms.mean,
            deviation,
            head,
            saturation: saturation(head),
            drop,
            rounding,
            noise: power(drop) / converted,
            bits,
            bits_exact,
        })
    }

    /// The step of what a product's sums become, in units of the sums.
    fn result_step(&self, assignment: &Assignment, layer: usize, pass: Pass) -> f64 {
        let step = |grid: Grid| f64::from(grid.step_log2).exp2();
        match pass {
            Pass::Forward => {
                let at = 2 * layer + 2;
                step(self.tensors[at].grid(assignment.bits[at]))
            }
            Pass::InputGradient => {
                let graph = &self.prepared.graph;
                let below = graph.layer_of(graph.source(graph.weighted()[layer].reads));
                let below = below.expect("a layer below, whose gradient this is");
                step(self.backward[below.number].gradients)
            }
            Pass::WeightGradient => {
                let training = &self.prepared.experiment.training;
                let batch = match training.batch_gradient {
                    BatchGradient::Mean => training.batch as f64,
                    BatchGradient::Sum => 1.0,
                };
                step(self.backward[layer].weight_gradients) * batch
            }
            Pass::Update => unreachable!("an update sums nothing"),
        }
    }
}

/// The most bits, up to so many, for which `within` holds, which is dear; `guess` mostly finds them.
fn most_dropped(most: u32, guess: impl Fn(u32) -> bool, within: impl Fn(u32) -> bool) -> u32 {
    let mut drop = (1..=most).take_while(|&drop| guess(drop)).last().unwrap_or(0);
    while drop < most && within(drop + 1) {
        drop += 1;
    }
    while drop > 0 && !within(drop) {
        drop -= 1;
    }
    drop
}
