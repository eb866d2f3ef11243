//! Rows of a matrix of few different values, of which some are converted at a time through a table.

use crate::convert::reals::{aligned, without_zeros};
use crate::part::with_part_codes;
use crate::statistics::Products;
use crate::vectors::{add_up, look_up, prefetch};
use crate::{Conversion, ConversionStatistics, Converted, ExactInteger, Lane, Rounding, Tensor};

/// Rows of numbers of values, the code of each number, and what conversion does to each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodedRows<'a> {
    numbers: &'a [u8],
    cols: usize,
    code_of: [i64; 256],
    conversion: Conversion,
    sums: Vec<RowSums>,
}

/// What conversion does to some elements: how many overflow, go beyond half, underflow and are not zero; and the
/// sums of `x²`, `x·y` and `y²` of values and codes, each in pieces of 32 bits of which the last has a sign.
type RowSums = [i64; 13];

/// How many rows before it is read a row is fetched.
const AHEAD: usize = 3;

/// The pieces of each product in [`RowSums`].
const PIECES: [std::ops::Range<usize>; 3] = [4..8, 8..11, 11..13];

impl<'a> CodedRows<'a> {
    /// Rows of `cols` elements, each the number of one of the `values`; nothing where a code
    /// depends on more than the value, as the place from which it has its random word, or where the
    /// values differ too much in size.
    ///
    /// # Panics
    ///
    /// If `numbers` are not whole rows, or a value is not finite.
    pub fn new(
        conversion: &Conversion,
        cols: usize,
        numbers: &'a [u8],
        values: &[(u8, f64)],
    ) -> Option<Self> {
        assert!(numbers.len().is_multiple_of(cols), "rows of {cols} of {}", numbers.len());
        if conversion.rounding == Rounding::Stochastic {
            return None;
        }
        let (raws, from_frac) =
            aligned(&values.iter().map(|&(_, value)| value).collect::<Vec<_>>())?;
        let (raws, from_frac) = without_zeros(raws, from_frac, conversion.to.frac());
        let conversion = Conversion { from_frac, ..*conversion };
        // With some zeros, as whole vectors.
        let (mut code_of, mut sums_of) = ([0; 256], vec![[0; 16]; 256]);
        for (&(number, _), raw) in values.iter().zip(raws) {
            let converted = conversion.convert(raw.into(), 0);
            let (x, y) = (i128::from(raw), i128::from(converted.code));
            let sums = &mut sums_of[usize::from(number)];
            let Converted { overflowed, beyond_half, underflowed, nonzero, .. } = converted;
            let counted = [overflowed, beyond_half, underflowed, nonzero];
            sums[..4].copy_from_slice(&counted.map(i64::from));
            for (pieces, product) in PIECES.into_iter().zip([x * x, x * y, y * y]) {
                let last = pieces.len() - 1;
                for (at, piece) in sums[pieces].iter_mut().enumerate() {
                    let piece_on = product >> (32 * at);
                    *piece = (if at < last { piece_on & 0xffff_ffff } else { piece_on }) as i64;
                }
            }
            code_of[usize::from(number)] = converted.code;
        }
        let sums_of = sums_of.as_slice().try_into().expect("sums of each number");
        let sums_of_row = |row| *add_up(sums_of, row).first_chunk().expect("sums and some zeros");
        let sums = numbers.chunks_exact(cols).map(sums_of_row).collect();
        Some(Self { numbers, cols, code_of, conversion, sums })
    }

    /// Has a tensor be some rows, in their order, in its memory where that is like them; gives what their
    /// conversion did.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn take(&self, rows: &[u32], into: &mut Tensor) -> ConversionStatistics {
        let mut sums = RowSums::default();
        for &row in rows {
            sums.iter_mut().zip(self.sums[row as usize]).for_each(|(sum, of_row)| *sum += of_row);
        }
        let count = |at: usize| sums[at] as u64;
        let mut statistics = ConversionStatistics {
            elements: (rows.len() * self.cols) as u64,
            overflowed: count(0),
            beyond_half: count(1),
            underflowed: count(2),
            nonzero: count(3),
            ..ConversionStatistics::default()
        };
        let [xx, xy, yy] = PIECES.map(|pieces| {
            let mut total = ExactInteger::default();
            for &piece in sums[pieces].iter().rev() {
                total <<= 32;
                total += piece;
            }
            total
        });
        self.conversion.finish(&mut statistics, Products { xx, xy, yy });
        self.look_up(rows, into);
        statistics
    }

    fn look_up(&self, rows: &[u32], into: &mut Tensor) {
        into.reshape(self.conversion.to, rows.len(), self.cols);
        with_part_codes!(into.whole_mut().into_codes(), |codes| {
            let code_of = self.code_of.map(Lane::from_code);
            let numbers = |row: u32| &self.numbers[row as usize * self.cols..][..self.cols];
            for (at, codes) in codes.chunks_exact_mut(self.cols).enumerate() {
                // Rows lie anywhere, so that memory has to be told of them.
                rows.get(at + AHEAD).into_iter().for_each(|&row| prefetch(numbers(row)));
                look_up(&code_of, numbers(rows[at]), codes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Overflow};
    use systoliq_keyed_random::Key;

    fn conversion(to: &str, rounding: Rounding, overflow: Overflow) -> Conversion {
        let to: Format = to.parse().unwrap();
        Conversion {
            from_frac: 0,
            scale: 1,
            to,
            rounding,
            overflow,
            key: Key::new(1),
            squares: true,
        }
    }

    #[test]
    fn rows_taken_are_those_that_a_conversion_makes_of_their_values() {
        let words = Key::new(5);
        let (rows, cols) = (23, 37);
        for full_scale in [255.0, 16.0, -3.0, 1e-30, 1e30] {
            let numbers: Vec<u8> =
                (0..rows * cols).map(|at| (words.word(at as u64) % 256) as u8).collect();
            let value = |number: u8| f64::from(number) / full_scale;
            let values: Vec<(u8, f64)> = (0..=255).map(|number| (number, value(number))).collect();
            for to in ["UQ1.7", "Q1.7", "Q4.12", "UQ8.-2", "Q2.30", "UQ4.0"] {
                for rounding in Rounding::ALL {
                    for overflow in Overflow::ALL {
                        let conversion = conversion(to, rounding, overflow);
                        let coded = CodedRows::new(&conversion, cols, &numbers, &values);
                        let case = format!("{full_scale} {to} {rounding:?} {overflow:?}");
                        if rounding == Rounding::Stochastic {
                            assert_eq!(coded, None, "{case}");
                            continue;
                        }
                        let coded = coded.expect("values near each other");
                        let all: Vec<f64> = numbers.iter().map(|&number| value(number)).collect();
                        let mut codes = Tensor::zeros(conversion.to, 1, 1);
                        for taken in [&[0u32, 22, 7, 7][..], &[], &(0..23).collect::<Vec<_>>()] {
                            let reals: Vec<f64> = taken
                                .iter()
                                .flat_map(|&row| &numbers[row as usize * cols..][..cols])
                                .map(|&number| value(number))
                                .collect();
                            let statistics = coded.take(taken, &mut codes);
                            let (expected, did) = conversion.reals(taken.len(), cols, &reals);
                            assert_eq!(codes, expected, "{case}");
                            // RowSums of the same value may have other exponents, until those are added
                            // that have the most bits.
                            let (_, whole) = conversion.reals(rows, cols, &all);
                            let [statistics, did] = [statistics, did].map(|mut sum| {
                                sum.merge(&whole);
                                sum
                            });
                            assert_eq!(statistics, did, "{case}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn values_that_no_common_fraction_holds_are_not_coded() {
        let conversion = conversion("Q8.0", Rounding::Floor, Overflow::Saturate);
        assert_eq!(CodedRows::new(&conversion, 1, &[0, 1], &[(0, 1e285), (1, 1e-60)]), None);
    }
}
