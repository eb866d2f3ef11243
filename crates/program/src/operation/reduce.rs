//! Sums over the rows of a tensor, in ascending order.

use systoliq_fxp::{Accumulator, Adder, Along, Lane, Sum, with_codes};

use crate::command::Program;
use crate::engine::Outcome;
use crate::finish::Finish;
use crate::listing::{registers, scaled};
use crate::store::{Running, Store};
use crate::tensor::TensorId;

/// The sum of each column of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// The tensor summed.
    pub input: TensorId,
    /// The accumulator of each column, with its fraction stated.
    pub accumulator: Accumulator,
    /// Fraction bits of the accumulator are, unless stated, those of the product of `input` and this
    /// tensor.
    pub product_with: TensorId,
    /// How sums become one row.
    pub finish: Finish,
}

impl Reduce {
    pub(super) fn describe(&self, program: &Program) -> String {
        let name_of = |id: TensorId| program.tensor(id).name.as_str();
        let (output, input) = (name_of(self.finish.output), name_of(self.input));
        let (scaled, registers) = (scaled(self.finish.factor), registers(&self.accumulator));
        format!("{output} = sum of rows of {input}{scaled}  [{registers}]")
    }

    pub(super) fn run(&self, store: &mut Store, running: &Running<'_>) -> Outcome {
        let adder = self.adder(store, running);
        let (mut sums, overflowed) = self.sums(store, &adder);
        let mut exit = store.exit_of(&self.finish, adder.frac, running);
        exit.leave(&mut sums);
        store.accept(exit).with_sums(sums.len() as u64, overflowed).into()
    }

    fn adder(&self, store: &Store, running: &Running<'_>) -> Adder {
        let key = running.accumulator_key();
        if let Some(block) = running.program.tensor(self.input).plan.block() {
            return Adder::of_blocks(&self.accumulator, block, key);
        }
        let input = store.read(self.input).format().frac();
        let product = input + store.read(self.product_with).format().frac();
        let frac = self.accumulator.frac().unwrap_or(product);
        let mut adder = Adder::new(&self.accumulator, frac, key);
        adder.shift = input - frac;
        adder
    }

    /// The sum of each column, and how many overflowed.
    fn sums(&self, store: &Store, adder: &Adder) -> (Vec<i64>, u64) {
        let tensor = store.read_along(self.input, Along::Column);
        let mut sums = vec![Sum::default(); tensor.cols()];
        let rows = tensor.rows() as u64;
        with_codes!(tensor, |codes| {
            for (row, codes) in codes.outer_iter().enumerate() {
                let ends_run = adder.ends_run(row as u64, rows);
                for (col, (sum, code)) in sums.iter_mut().zip(codes).enumerate() {
                    adder.add_product(sum, code.code().into(), col as u64, row as u64);
                    match adder.block() {
                        _ if !ends_run => {}
                        None => adder.end_chunk(sum),
                        Some(_) => {
                            adder.end_block(sum, tensor.frac(row, col), col as u64, row as u64);
                        }
                    }
                }
            }
        });
        let mut overflowed = 0;
        for (col, sum) in sums.iter_mut().enumerate() {
            overflowed += u64::from(adder.finish(sum, None, col as u64, rows));
        }
        (sums.iter().map(|sum| sum.value).collect(), overflowed)
    }
}
