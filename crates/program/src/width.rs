//! How wide the accumulators of a program have to be: by the formats alone, and by its weights.

use systoliq_fxp::accumulator::Widths;
use systoliq_fxp::bounds::{Alignment, Ends, SumBounds};
use systoliq_fxp::{Accumulator, Scale, Tensor};

use crate::command::{Command, Program, WriteId};
use crate::operation::{Operation, Product, Reduce};
use crate::plan::TensorPlan;
use crate::role::Role;
use crate::tensor::TensorId;
use crate::{Operand, Store};

/// A width at which no sum of a command overflows, whatever its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SafeWidth {
    /// Bits of the accumulator.
    pub bits: u32,
    /// Whether the bias, if there is one, is part of the bound. It is not where its alignment
    /// follows a scale that moves.
    pub counts_bias: bool,
}

impl Program {
    /// The registers that hold a sum of `k` products on its way.
    pub fn widths(&self, gemm: &Product, k: usize) -> Widths {
        let bits = |id: TensorId| self.tensor(id).plan.format.bits();
        match self.block_of(gemm) {
            None => gemm.accumulator.widths(k),
            Some(block) => {
                let product_bits = bits(gemm.a.tensor) + bits(gemm.b.tensor);
                gemm.accumulator.widths_of_blocks(k, block, product_bits)
            }
        }
    }

    /// The smallest width at which no sum for a write overflows for any operands of the planned
    /// formats, for a batch of `batch` samples. Nothing where nothing is summed, or where
    /// stated fraction bits meet a scale that moves, so that no width is enough.
    pub fn safe_width(&self, id: WriteId, batch: usize) -> Option<SafeWidth> {
        let plan = |id: TensorId| &self.tensor(id).plan;
        match &self.command_of(id).operation {
            Operation::Product(gemm) => {
                let shape = gemm.shape(|tensor| self.tensor(tensor).shape(batch));
                let [a, b] = [gemm.a, gemm.b].map(|operand| plan(operand.tensor));
                let accumulator = &gemm.accumulator;
                let frac = static_frac(a).zip(static_frac(b)).map(|(a, b)| a + b);
                let alignment = alignment(accumulator, frac)?;
                let k = gemm.longest_sum(shape.k) as u64;
                let bounds = SumBounds::of_products(ends(a), ends(b), k, alignment);
                let register_frac =
                    accumulator.frac().or_else(|| frac.map(|frac| accumulator.frac_for(frac)));
                let bias = gemm.finish.bias.map(plan);
                let (bounds, counts_bias) = match (bias, register_frac) {
                    (None, _) => (bounds, true),
                    (Some(_), None) => (bounds, false),
                    (Some(bias), Some(frac)) => {
                        let shift = bias.format.frac() - frac;
                        let alignment = Alignment { shift, rounding: accumulator.rounding };
                        (bounds.plus(ends(bias), alignment), true)
                    }
                };
                Some(SafeWidth { bits: bounds.bits(accumulator.overflow), counts_bias })
            }
            Operation::Reduce(Reduce { input, accumulator, product_with, .. }) => {
                // Unless it is stated, the fraction follows that of the product with the other tensor.
                let shift = match accumulator.dropped() {
                    None => static_frac(plan(*input))? - accumulator.frac()?,
                    Some(drop) => drop as i32 - static_frac(plan(*product_with))?,
                };
                let alignment = Alignment { shift, rounding: accumulator.rounding };
                let rows = self.tensor(*input).rows.count(batch);
                let bounds = SumBounds::of_codes(ends(plan(*input)), rows as u64, alignment);
                let bits = bounds.bits(accumulator.overflow);
                Some(SafeWidth { bits, counts_bias: true })
            }
            Operation::Combine(_)
            | Operation::Select(_)
            | Operation::Pool(_)
            | Operation::Spread(_)
            | Operation::Loss(_)
            | Operation::Update(_) => None,
        }
    }
}

impl Store {
    /// The smallest width at which no sum of `command` overflows with the present weights and bias,
    /// whatever codes the other operand has in its present format. Nothing for commands that read
    /// no weights, operands with blocks, or tensors that are not written yet.
    pub fn width_for_weights(&self, command: &Command) -> Option<u32> {
        let gemm @ Product { a, b, accumulator, finish, .. } = command.operation.product()?;
        if self.program().block_of(gemm).is_some() {
            return None;
        }
        let role = self.program().tensor(b.tensor).role;
        if !matches!(role, Role::Weights | Role::Master) {
            return None;
        }
        let other = self.tensor(a.tensor)?.format();
        let weights = Operand::read(self.tensor(b.tensor)?, b.reading);
        let product_frac = other.frac() + weights.tensor.format().frac();
        let alignment = alignment(accumulator, Some(product_frac))?;
        let other = self.program().tensor(a.tensor).plan.overflow.ends(other);
        let frac = accumulator.frac_for(product_frac);
        let bias: Option<&Tensor> = match finish.bias {
            Some(bias) => Some(self.tensor(bias)?),
            None => None,
        };
        let bounds = (0..weights.cols()).map(|col| {
            let column = (0..weights.rows()).map(|row| weights.code(row, col));
            let bounds = SumBounds::of_weights(column, other, alignment);
            match bias {
                None => bounds,
                Some(bias) => {
                    let shift = bias.format().frac() - frac;
                    let alignment = Alignment { shift, rounding: accumulator.rounding };
                    bounds.plus((bias.code(0, col), bias.code(0, col)), alignment)
                }
            }
        });
        Some(bounds.reduce(SumBounds::or)?.bits(accumulator.overflow))
    }
}

/// The smallest and the largest code of a tensor.
fn ends(plan: &TensorPlan) -> Ends {
    plan.overflow.ends(plan.format)
}

/// Fraction bits that the plan decides.
fn static_frac(plan: &TensorPlan) -> Option<i32> {
    (plan.scale == Scale::Static).then(|| plan.format.frac())
}

/// How products of so many fraction bits, if that is known, are aligned.
fn alignment(accumulator: &Accumulator, product_frac: Option<i32>) -> Option<Alignment> {
    let shift = accumulator.shift_for(product_frac)?;
    Some(Alignment { shift, rounding: accumulator.rounding })
}
