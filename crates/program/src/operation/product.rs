//! `output = convert(factor · edge(a · b + bias))`.

use systoliq_fxp::{Accumulator, Adder};

use crate::command::Program;
use crate::engine::{Multiply, Outcome};
use crate::finish::{Edge, Exit, Finish};
use crate::gemm::{GemmShape, GemmTask};
use crate::listing::{operand, registers, scaled};
use crate::store::{Running, Store};
use crate::tensor::{OperandRef, TensorId};

/// A matrix product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// The left operand.
    pub a: OperandRef,
    /// The right operand.
    pub b: OperandRef,
    /// The accumulator of each output.
    pub accumulator: Accumulator,
    /// How sums become the result.
    pub finish: Finish,
}

impl Product {
    pub(super) fn reads(&self) -> Vec<TensorId> {
        let operands = [self.a.tensor, self.b.tensor];
        operands.into_iter().chain(self.finish.bias).chain(self.finish.mask()).collect()
    }

    pub(super) fn shape(&self, shape: impl Fn(TensorId) -> (usize, usize)) -> GemmShape {
        let operand = |operand: OperandRef| {
            let (rows, cols) = shape(operand.tensor);
            if operand.transposed { (cols, rows) } else { (rows, cols) }
        };
        let ((m, k), (_, n)) = (operand(self.a), operand(self.b));
        GemmShape { m, k, n }
    }

    pub(super) fn describe(&self, program: &Program) -> String {
        let name_of = |id: TensorId| program.tensor(id).name.as_str();
        let Finish { bias, edges, factor, output } = &self.finish;
        let mut made = format!("{} * {}", operand(program, self.a), operand(program, self.b));
        if let Some(bias) = bias {
            made = format!("{made} + {}", name_of(*bias));
        }
        for edge in edges {
            made = match edge {
                Edge::Relu => format!("relu({made})"),
                Edge::Positive(mask) => format!("{made} where {} > 0", name_of(*mask)),
            };
        }
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
        let mut sums = products(&self.task(store, running));
        exit.leave(&mut sums.values);
        store.accept(exit).with_sums(sums.values.len() as u64, sums.overflowed).into()
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

    /// What is summed.
    pub(crate) fn task<'s>(&self, store: &'s Store, running: &Running<'_>) -> GemmTask<'s> {
        GemmTask {
            a: store.operand(self.a, true),
            b: store.operand(self.b, false),
            adder: self.adder(store, running),
            bias: self.finish.bias.map(|bias| store.read(bias)),
        }
    }

    /// How its sums leave.
    pub(crate) fn exit(&self, store: &mut Store, running: &Running<'_>) -> Exit {
        let frac = self.adder(store, running).frac;
        store.exit_of(&self.finish, frac, running)
    }
}
