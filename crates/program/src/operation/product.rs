//! `output = convert(factor · edge(a · b + bias))`, or that of several products on equal cuts of a, b
//! and the output.

use systoliq_fxp::{Accumulator, Adder};

use super::What;
use crate::command::Program;
use crate::engine::{Multiply, Outcome};
use crate::finish::{self, Exit, Finish};
use crate::gemm::{GemmShape, GemmTask, Reading};
use crate::listing::{operand, registers, scaled};
use crate::store::{Running, Store};
use crate::tensor::{OperandRef, TensorId};
use crate::view::{Cut, Repeats, Submatrix, View};

/// A matrix product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// The left operand.
    pub a: OperandRef,
    /// The right operand.
    pub b: OperandRef,
    /// How many products they make, and what each takes of them.
    pub repeats: Repeats,
    /// The accumulator of each output.
    pub accumulator: Accumulator,
    /// How sums become the result.
    pub finish: Finish,
}

impl Product {
    pub(super) fn reads(&self) -> Vec<(TensorId, What)> {
        let elements = [self.a.tensor, self.b.tensor].into_iter().chain(self.finish.bias);
        let elements = elements.map(|tensor| (tensor, What::Elements));
        elements.chain(finish::masks(&self.finish.edges)).collect()
    }

    /// The sizes of each product, where `shape` says those of tensors.
    pub fn shape(&self, shape: impl Fn(TensorId) -> (usize, usize)) -> GemmShape {
        let operand = |operand: OperandRef, cut: Cut| {
            let (rows, cols) = shape(operand.tensor);
            let part = Submatrix::whole(rows, cols).cut(cut, 0, self.repeats.count);
            operand.reading.shape(&part)
        };
        let ((m, k), (_, n)) = (operand(self.a, self.repeats.a), operand(self.b, self.repeats.b));
        GemmShape { m, k, n }
    }

    /// How A and B are read.
    pub fn readings(&self) -> [Reading; 2] {
        [self.a.reading, self.b.reading]
    }

    /// The most products of a sum of `k` that are no structural zeros.
    pub fn longest_sum(&self, k: usize) -> usize {
        let met = |operand: OperandRef, is_a: bool| match operand.reading.view {
            View::Windows(windows) if operand.reading.transposed != is_a => {
                k / windows.taps() * windows.most_taps_met()
            }
            View::Windows(windows) => k / windows.positions() * windows.most_positions_met(),
            View::Stored | View::Flat { .. } | View::Kernel { .. } => k,
        };
        met(self.a, true).min(met(self.b, false))
    }

    pub(super) fn describe(&self, program: &Program) -> String {
        let name_of = |id: TensorId| program.tensor(id).name.as_str();
        let Finish { bias, edges, factor, output } = &self.finish;
        let mut made = format!("{} * {}", operand(program, self.a), operand(program, self.b));
        if let Some(bias) = bias {
            made = format!("{made} + {}", name_of(*bias));
        }
        let made = finish::describe(made, edges, program);
        let registers = registers(&self.accumulator);
        format!("{} = {made}{}  [{registers}]", name_of(*output), scaled(*factor))
    }

    pub(super) fn run(
        &self,
        store: &mut Store,
        running: &Running<'_>,
        products: &mut Multiply<'_>,
    ) -> Outcome {
        let mut exit = self.exit(store, running);
        let mut sums = vec![0; exit.len()];
        let mut overflowed = 0;
        for task in self.tasks(store, running) {
            let part = products(&task);
            overflowed += part.overflowed;
            for (row, values) in part.values.chunks(task.output.cols.max(1)).enumerate() {
                sums[task.output.index(row, 0)..][..values.len()].copy_from_slice(values);
            }
        }
        exit.leave(&mut sums);
        store.accept(exit).with_sums(sums.len() as u64, overflowed).into()
    }

    /// The adder before the accumulators.
    fn adder(&self, store: &Store, running: &Running<'_>) -> Adder {
        let key = running.accumulator_key();
        match running.program.block_of(self) {
            None => {
                let frac = |operand: OperandRef| store.read(operand.tensor).format().frac();
                Adder::new(&self.accumulator, frac(self.a) + frac(self.b), key)
            }
            Some(block) => Adder::of_blocks(&self.accumulator, block, key),
        }
    }

    /// What is summed, product by product.
    pub(crate) fn tasks<'s>(
        &self,
        store: &'s Store,
        running: &Running<'_>,
    ) -> impl Iterator<Item = GemmTask<'s>> + use<'s> {
        let bias = self.finish.bias.map(|bias| store.read(bias));
        let (a, b) = (store.operand(self.a, true), store.operand(self.b, false));
        let whole = GemmTask::new(a, b, self.adder(store, running), bias);
        let repeats = self.repeats;
        (0..repeats.count.get()).map(move |at| whole.repeat(&repeats, at))
    }

    /// How its sums leave.
    pub(crate) fn exit(&self, store: &mut Store, running: &Running<'_>) -> Exit {
        let frac = self.adder(store, running).frac;
        store.exit_of(&self.finish, frac, running)
    }
}
