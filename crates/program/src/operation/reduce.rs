//! Sums over the rows of a tensor, in ascending order.

use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_fxp::{Accumulator, Adder, Along, Lane, Sum, Tensor, with_codes};

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
    /// The accumulator of each column.
    pub accumulator: Accumulator,
    /// Fraction bits of the accumulator are, unless stated, those that it has for products of `input`
    /// and this tensor.
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
        let mut sums = std::mem::take(&mut store.memory.results);
        let overflowed = self.sum(store, &adder, &mut sums);
        let mut exit = store.exit_of(&self.finish, adder.frac, running);
        exit.leave(&mut sums);
        let count = sums.len() as u64;
        store.memory.results = sums;
        store.accept(exit).with_sums(count, overflowed).into()
    }

    fn adder(&self, store: &Store, running: &Running<'_>) -> Adder {
        let key = running.accumulator_key();
        if let Some(block) = running.program.tensor(self.input).plan.block() {
            return Adder::of_blocks(&self.accumulator, block, key);
        }
        let input = store.read(self.input).format().frac();
        let product = input + store.read(self.product_with).format().frac();
        let mut adder = Adder::new(&self.accumulator, product, key);
        adder.shift = input - adder.frac;
        adder
    }

    /// Sums each column, and says how many overflowed.
    fn sum(&self, store: &Store, adder: &Adder, sums: &mut Vec<i64>) -> u64 {
        let tensor = store.read_along(self.input, Along::Column);
        let format = tensor.format();
        let ends = (format.min_raw(), format.max_raw());
        sums.clear();
        sums.resize(tensor.cols(), 0);
        if adder.sums_exactly(ends, tensor.rows() as u64) {
            return sum_exactly(tensor, adder, sums);
        }
        sum_in_order(tensor, adder, sums)
    }
}

/// Sums each column from 0 where the order of additions makes no difference.
fn sum_exactly(tensor: &Tensor, adder: &Adder, sums: &mut [i64]) -> u64 {
    with_codes!(tensor, |codes| {
        let codes = codes.as_slice().expect("tensors are contiguous");
        with_widest_vectors(SumColumns { codes, sums });
    });
    let mut overflowed = 0;
    for sum in sums {
        let (limited, differs) = adder.limited(*sum);
        *sum = limited;
        overflowed += u64::from(differs);
    }
    overflowed
}

/// Adds rows of codes to sums that hold them.
struct SumColumns<'a, L> {
    codes: &'a [L],
    sums: &'a mut [i64],
}

impl<L: Lane> VectorWork for SumColumns<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for codes in self.codes.chunks_exact(self.sums.len().max(1)) {
            for (sum, code) in self.sums.iter_mut().zip(codes) {
                // A check would forbid vectors.
                *sum = sum.wrapping_add(code.code());
            }
        }
    }
}

/// Sums each column, one addition after the other.
fn sum_in_order(tensor: &Tensor, adder: &Adder, sums: &mut [i64]) -> u64 {
    let rows = tensor.rows() as u64;
    let mut overflowed = 0;
    for (col, total) in sums.iter_mut().enumerate() {
        let mut sum = Sum::default();
        for row in 0..rows {
            adder.add_product(&mut sum, tensor.code(row as usize, col).into(), col as u64, row);
            match adder.block() {
                _ if !adder.ends_run(row, rows) => {}
                None => adder.end_chunk(&mut sum),
                Some(_) => {
                    let frac = tensor.frac(row as usize, col);
                    adder.end_block(&mut sum, frac, col as u64, row);
                }
            }
        }
        overflowed += u64::from(adder.finish(&mut sum, None, col as u64, rows));
        *total = sum.value;
    }
    overflowed
}

#[cfg(test)]
mod tests {
    use systoliq_fxp::{Format, Overflow, OverflowAt, Rounding};
    use systoliq_keyed_random::Key;

    use super::*;

    #[test]
    fn exact_sums_of_columns_are_those_of_one_addition_after_the_other() {
        let mut exactly = 0;
        for (seed, format) in ["Q8.0", "UQ8.0", "Q3.13", "UQ4.12", "Q32.0"].into_iter().enumerate()
        {
            let format: Format = format.parse().unwrap();
            let words = Key::new(seed as u64);
            for (rows, cols) in [(1, 1), (1, 9), (100, 17), (33, 130), (0, 3)] {
                let range = format.max_raw() - format.min_raw() + 1;
                let code = |at: usize| match at % 3 {
                    0 => format.max_raw(),
                    _ => format.min_raw() + i64::from(words.word(at as u64)) % range,
                };
                let codes: Vec<i64> = (0..rows * cols).map(code).collect();
                let tensor = Tensor::from_codes(format, rows, cols, &codes);
                for overflow in Overflow::ALL {
                    for (bits, zeros) in [(8, 0), (16, 7), (24, 3), (32, 12), (64, 20), (64, 60)] {
                        for at in OverflowAt::ALL {
                            let accumulator =
                                Accumulator::new(bits, Some(zeros), Rounding::Floor, overflow);
                            let accumulator = accumulator.unwrap().limited_at(at);
                            let adder = Adder::new(&accumulator, 0, Key::new(1));
                            let ends = (format.min_raw(), format.max_raw());
                            if adder.sums_exactly(ends, rows as u64) {
                                exactly += 1;
                                let [exact, ordered] = [sum_exactly, sum_in_order].map(|sum| {
                                    let mut sums = vec![0; cols];
                                    (sum(&tensor, &adder, &mut sums), sums)
                                });
                                assert_eq!(exact, ordered, "{rows} x {cols} {format} {adder:?}");
                            }
                        }
                    }
                }
            }
        }
        assert!(exactly > 500, "{exactly} of 900 adders sum exactly");
    }
}
