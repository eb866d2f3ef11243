//! The `precision` section that widths come to.

use std::collections::BTreeMap;

use serde::Serialize;
use systoliq_fxp::{Format, Rounding};
use systoliq_nn::WeightedLayer;
use systoliq_program::spec::{AccumulatorSettings, AsWritten, FromFormat, TensorSettings};
use systoliq_program::{Pass, PrecisionSpec, Role};

use super::sums::OperandGrids;
use super::{Assignment, BackwardGrids, Grid, PlannedSum, Study};
use systoliq_run::Error;

/// A tensor of the plan and why it has its format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedTensor {
    /// Its name in the program.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// The layer whose settings it has.
    pub layer: usize,
    /// Its format in Q notation.
    pub format: String,
    /// Width of a code.
    pub bits: u32,
    /// Its range and step.
    pub grid: Grid,
    /// What decided: `mismatch`; `clipping, bias`; `clipping, noise`; `stopping`.
    pub criterion: &'static str,
    /// Of a tensor of the forward pass, its bits beyond `B_min`.
    pub offset: Option<u32>,
}

impl Assignment {
    /// Bits of what a layer reads, and of its weights.
    pub fn of_layer(&self, layer: usize) -> (u32, u32) {
        (self.bits[2 * layer], self.bits[2 * layer + 1])
    }
}

impl Study<'_> {
    /// Every tensor of a training step with its grid.
    ///
    /// # Errors
    ///
    /// If a step is outside 2⁻⁶⁴ … 2⁶⁴.
    pub fn planned(&self, assignment: &Assignment) -> Result<Vec<PlannedTensor>, Error> {
        let mut planned = Vec::new();
        let mut add = |name: &str, role, layer, grid: Grid, criterion, offset| {
            let format = grid.format(name)?.to_string();
            let (name, bits) = (name.to_owned(), grid.bits());
            planned.push(PlannedTensor {
                name,
                role,
                layer,
                format,
                bits,
                grid,
                criterion,
                offset,
            });
            Ok::<_, Error>(())
        };
        for (tensor, &bits) in self.tensors.iter().zip(&assignment.bits) {
            let offset = Some(bits - assignment.b_min);
            let grid = tensor.grid(bits);
            add(&tensor.name, tensor.role, tensor.layer, grid, "mismatch", offset)?;
        }
        let graph = &self.prepared.graph;
        for (grids, &WeightedLayer { number: layer, weights, output, .. }) in
            self.backward.iter().zip(graph.weighted())
        {
            let named = |kind: &str| format!("{kind}{layer}");
            let (master, bias) = self.accumulated(assignment, layer, grids);
            add(&named("m"), Role::Master, layer, master, "stopping", None)?;
            if weights.bias {
                add(&named("b"), Role::Bias, layer, bias, "stopping", None)?;
            }
            let role = if output == graph.output() { Role::Error } else { Role::Gradients };
            add(&named("dz"), role, layer, grids.gradients, "clipping, noise", None)?;
            let (role, grid) = (Role::WeightGradients, grids.weight_gradients);
            add(&named("dw"), role, layer, grid, "clipping, bias", None)?;
        }
        Ok(planned)
    }

    /// Master and bias of a layer: the weights' and the biases' ranges, and steps that no update is
    /// lost to. ICLR 2019 keeps weights of `B_W` bits and beside them a residual of range
    /// `2^(−B_W)` and step `D_acc`; together they are the master, whose step is `D_acc`.
    fn accumulated(
        &self,
        assignment: &Assignment,
        layer: usize,
        grids: &BackwardGrids,
    ) -> (Grid, Grid) {
        let at = 2 * layer + 1;
        let weights = self.tensors[at].grid(assignment.bits[at]);
        // Where gradients are large, weights may be finer than updates ask for.
        let step = grids.master_step_log2.min(weights.step_log2);
        (Grid::signed(weights.range_log2, step), Grid::signed(grids.bias_range_log2, step))
    }

    /// The plan as the `precision` section of an experiment.
    ///
    /// # Errors
    ///
    /// As [`planned`](Self::planned).
    pub fn spec(&self, assignment: &Assignment) -> Result<PrecisionSpec, Error> {
        self.spec_with(assignment, &self.planned_sums(assignment, self.sums)?)
    }

    /// The same with these accumulators.
    pub(super) fn spec_with(
        &self,
        assignment: &Assignment,
        sums: &[PlannedSum],
    ) -> Result<PrecisionSpec, Error> {
        let planned = self.planned(assignment)?;
        let mut layers = BTreeMap::<usize, PrecisionSpec>::new();
        for tensor in &planned {
            let format: Format = tensor.format.parse().expect("a format just written");
            let mut settings = TensorSettings::from_format(format);
            if tensor.role == Role::Master {
                // No update is lost to it, so that nothing is left for chance to decide.
                settings.rounding = Some(Rounding::NearestEven);
            }
            let of_layer = layers.entry(tensor.layer).or_default();
            *role_of(of_layer, tensor.role) = Some(AsWritten(settings));
        }
        for sum in sums {
            let of_layer = layers.entry(sum.layer).or_default();
            let settings = of_layer.accumulator.get_or_insert_default();
            *product_of(settings, sum.pass) = Some(sum.settings().into());
        }
        Ok(PrecisionSpec { layers, ..PrecisionSpec::default() })
    }

    /// The width with which none of the sums of a layer's pass can overflow if nothing is dropped: `B_A + B_B +
    /// ⌈log₂ K⌉`, and what the bias adds to that; with weight gradients also for `db`.
    pub(super) fn exact_bits(&self, assignment: &Assignment, layer: usize, pass: Pass) -> u32 {
        let graph = &self.prepared.graph;
        let of = &graph.weighted()[layer];
        let has_bias = of.weights.bias;
        let [forward, input_gradient, places] =
            graph.operator_of(of).longest_sums().expect("a layer with weights");
        let OperandGrids { inputs: x, weights: w, gradients: dz, .. } =
            self.operand_grids(assignment, layer);
        let batch = self.prepared.experiment.training.batch;
        match pass {
            Pass::Forward => {
                let (_, bias) = self.accumulated(assignment, layer, &self.backward[layer]);
                let frac = -(x.step_log2 + w.step_log2);
                let with_bias = has_bias.then_some(bias.range_log2 + frac);
                sum_bits(product_log2(x, w), forward, with_bias)
            }
            Pass::InputGradient => sum_bits(product_log2(dz, w), input_gradient, None),
            Pass::WeightGradient => {
                // dZ on its own, with as many fraction bits as its products with X.
                let alone = dz.bits() as i32 - 1 - x.step_log2;
                let rows = batch * graph.shape(of.output).rows();
                let bias = if has_bias { sum_bits(alone.max(0), rows, None) } else { 0 };
                sum_bits(product_log2(dz, x), batch * places, None).max(bias)
            }
            Pass::Update => unreachable!("an update sums nothing"),
        }
    }
}

/// log₂ of a bound of the magnitude of a product of two codes, at least one of them signed.
fn product_log2(a: Grid, b: Grid) -> i32 {
    (a.bits() + b.bits()) as i32 - 1
}

/// Bits of a signed sum of `terms` terms of magnitude up to `2^term_log2`, and one of up to
/// `2^bias_log2`.
fn sum_bits(term_log2: i32, terms: usize, bias_log2: Option<i32>) -> u32 {
    let power = |log2: i32| 1_u128 << log2.clamp(0, 100);
    let largest = power(term_log2) * terms as u128 + bias_log2.map_or(0, power);
    largest.next_power_of_two().ilog2() + 1
}

fn product_of(spec: &mut AccumulatorSettings, pass: Pass) -> &mut Option<Box<AccumulatorSettings>> {
    match pass {
        Pass::Forward => &mut spec.forward,
        Pass::InputGradient => &mut spec.input_gradient,
        Pass::WeightGradient => &mut spec.weight_gradient,
        Pass::Update => unreachable!("an update sums nothing"),
    }
}

fn role_of(spec: &mut PrecisionSpec, role: Role) -> &mut Option<AsWritten<TensorSettings>> {
    match role {
        Role::Input => &mut spec.input,
        Role::Weights => &mut spec.weights,
        Role::Master => &mut spec.master,
        Role::Bias => &mut spec.bias,
        Role::Activations => &mut spec.activations,
        Role::Logits => &mut spec.logits,
        Role::Targets => &mut spec.targets,
        Role::Momentum => &mut spec.momentum,
        Role::Residual => &mut spec.residual,
        Role::Error => &mut spec.error,
        Role::Gradients => &mut spec.gradients,
        Role::WeightGradients => &mut spec.weight_gradients,
        Role::Winners => unreachable!("nothing is stated of winners"),
    }
}
