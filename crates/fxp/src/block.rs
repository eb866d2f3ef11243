//! Block floating point: one number of fraction bits per block of consecutive elements.
//!
//! A tensor is cut into blocks along its rows or its columns, the last of each line being short
//! where their size does not divide the line. Each block is converted as a tensor of its own with a
//! dynamic scale would be: with the largest number of fraction bits at which its smallest and its
//! largest element fit. This is the MXINT8 of the OCP Microscaling specification with blocks of 32
//! and 8 bits, but for the two codes −128 and 127 being used as they come.

use num_bigint::BigInt;

use crate::convert::{Converted, aligned};
use crate::real::decompose;
use crate::scale::Range;
use crate::statistics::Products;
use crate::tensor::fill_codes;
use crate::{Conversion, ConversionStatistics, Lane, Tensor};

/// Which elements are neighbours in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Along {
    /// Consecutive elements of one row.
    Row,
    /// Consecutive elements of one column.
    Column,
}

/// The fraction bits of each block of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    along: Along,
    size: usize,
    /// Rows and columns of `fracs`.
    shape: (usize, usize),
    fracs: Vec<i32>,
}

impl Blocks {
    /// Of a tensor of `rows` x `cols` elements, all with no fraction bits.
    ///
    /// # Panics
    ///
    /// If `size` is 0.
    fn new(along: Along, size: usize, (rows, cols): (usize, usize)) -> Self {
        let shape = match along {
            Along::Row => (rows, cols.div_ceil(size)),
            Along::Column => (rows.div_ceil(size), cols),
        };
        Self { along, size, shape, fracs: vec![0; shape.0 * shape.1] }
    }

    /// The same with these fraction bits; `None` if they are as many as there are blocks, and all
    /// possible.
    pub fn of(along: Along, size: usize, tensor: (usize, usize), fracs: Vec<i32>) -> Option<Self> {
        let blocks = Self::new(along, size, tensor);
        let possible = fracs.iter().all(|frac| crate::Format::FRAC.contains(frac));
        (possible && fracs.len() == blocks.fracs.len()).then_some(Self { fracs, ..blocks })
    }

    /// Which elements are neighbours.
    pub fn along(&self) -> Along {
        self.along
    }

    /// The most elements of a block.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many blocks there are down the columns and along the rows.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// The fraction bits of each block, row by row.
    pub fn fracs(&self) -> &[i32] {
        &self.fracs
    }

    /// The fraction bits of the element at a row and a column.
    #[inline]
    pub fn frac(&self, row: usize, col: usize) -> i32 {
        let (row, col) = match self.along {
            Along::Row => (row, col / self.size),
            Along::Column => (row / self.size, col),
        };
        self.fracs[row * self.shape.1 + col]
    }
}

/// Exact values, row by row.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// Of 64 bits.
    Narrow(&'a [i64]),
    /// Of any size.
    Wide(&'a [BigInt]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Narrow(raws) => raws.len(),
            Self::Wide(raws) => raws.len(),
        }
    }

    /// The smallest and the largest of some.
    fn range(&self, places: impl Iterator<Item = usize>, scale: u32, frac: i32) -> Range {
        match self {
            Self::Narrow(raws) => {
                let raws: Vec<i64> = places.map(|at| raws[at]).collect();
                Range::of(&raws, scale, frac)
            }
            Self::Wide(raws) => {
                let raws: Vec<&BigInt> = places.map(|at| &raws[at]).collect();
                let end = |end: Option<&&BigInt>| end.map_or(BigInt::ZERO, |&raw| raw * scale);
                Range { min: end(raws.iter().min()), max: end(raws.iter().max()), frac }
            }
        }
    }
}

impl Conversion {
    /// Converts a whole tensor of `rows` x `cols` values block by block; the fraction bits of
    /// [`to`](Self::to) are not used. Those of a block of zeros are one less than its width.
    ///
    /// ```
    /// use systoliq_fxp::block::{Along, Values};
    /// use systoliq_fxp::{Conversion, Overflow, Rounding};
    /// use systoliq_keyed_random::Key;
    /// let conversion = Conversion {
    ///     from_frac: 0,
    ///     scale: 1,
    ///     to: "Q4.0".parse()?,
    ///     rounding: Rounding::NearestEven,
    ///     overflow: Overflow::Saturate,
    ///     key: Key::new(0),
    ///     squares: true,
    /// };
    /// let values = [1, 3, 100, -7, 0];
    /// let (tensor, _) = conversion.blocks((1, 5), Values::Narrow(&values), Along::Row, 2);
    /// // 3 · 2^1 fits −8 … 7, 100 · 2^-4 rounds to 6; the last block is short, and zero.
    /// assert_eq!(tensor.blocks().unwrap().fracs(), [1, -4, 3]);
    /// assert_eq!(tensor.to_codes(), [2, 6, 6, 0, 0]);
    /// # Ok::<(), systoliq_fxp::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Unless there are `rows · cols` values, and the size of a block is at least 1.
    pub fn blocks(
        &self,
        (rows, cols): (usize, usize),
        values: Values<'_>,
        along: Along,
        size: usize,
    ) -> (Tensor, ConversionStatistics) {
        assert_eq!(values.len(), rows * cols, "elements of a {rows} x {cols} tensor");
        let mut blocks = Blocks::new(along, size, (rows, cols));
        let mut codes = vec![0; rows * cols];
        let mut statistics = ConversionStatistics::default();
        for block in 0..blocks.fracs.len() {
            let (row, col) = (block / blocks.shape.1, block % blocks.shape.1);
            let (first, step, count) = match along {
                Along::Row => (row * cols + col * size, 1, size.min(cols - col * size)),
                Along::Column => (row * size * cols + col, cols, size.min(rows - row * size)),
            };
            let places = (first..).step_by(step).take(count);
            let range = values.range(places.clone(), self.scale, self.from_frac);
            let zeros = self.to.bits() as i32 - 1;
            let frac = range.largest_frac(self.to, self.overflow).unwrap_or(zeros);
            blocks.fracs[block] = frac;
            let conversion = Self { to: self.to.with_frac(frac), ..*self };
            statistics.merge(&conversion.some(values, places, &mut codes));
        }
        let mut tensor = Tensor::zeros(self.to.with_frac(0), rows, cols);
        fill_codes!(tensor, |lanes| {
            lanes.iter_mut().zip(&codes).for_each(|(lane, &code)| *lane = Lane::from_code(code));
        });
        (tensor.with_blocks(blocks), statistics)
    }

    /// The same of real values, each exactly; `from_frac` is not used.
    ///
    /// # Panics
    ///
    /// If a value is not finite, or as [`blocks`](Self::blocks).
    pub fn real_blocks(
        &self,
        shape: (usize, usize),
        values: &[f64],
        along: Along,
        size: usize,
    ) -> (Tensor, ConversionStatistics) {
        if let Some((raws, from_frac)) = aligned(values) {
            let conversion = Self { from_frac, ..*self };
            return conversion.blocks(shape, Values::Narrow(&raws), along, size);
        }
        let parts: Vec<(i64, i32)> =
            values.iter().map(|&value| decompose(value).expect("a finite value")).collect();
        let from_frac = parts.iter().map(|&(_, frac)| frac).max().unwrap_or(0);
        let raws: Vec<BigInt> =
            parts.iter().map(|&(raw, frac)| BigInt::from(raw) << (from_frac - frac)).collect();
        Self { from_frac, ..*self }.blocks(shape, Values::Wide(&raws), along, size)
    }

    /// Converts the values at some places.
    fn some(
        &self,
        values: Values<'_>,
        places: impl Iterator<Item = usize>,
        codes: &mut [i64],
    ) -> ConversionStatistics {
        let (mut statistics, mut products) = (ConversionStatistics::default(), Products::default());
        for at in places {
            let converted: Converted = match values {
                Values::Narrow(raws) => self.convert(raws[at].into(), at as u64),
                Values::Wide(raws) => self.convert_big(&raws[at], at as u64),
            };
            match values {
                _ if !self.squares => {}
                Values::Narrow(raws) => products.add(raws[at].into(), converted.code),
                Values::Wide(raws) => products.add_big(&raws[at], converted.code),
            }
            codes[at] = converted.code;
            statistics.count(converted);
        }
        self.finish(&mut statistics, products);
        statistics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Overflow, Rounding};
    use systoliq_keyed_random::Key;

    fn conversion(seed: u64, bits: u32, overflow: Overflow) -> Conversion {
        Conversion {
            from_frac: 11,
            scale: if seed.is_multiple_of(2) { 1 } else { 40330 },
            to: Format::new(bits, 0, true).unwrap(),
            rounding: Rounding::ALL[seed as usize % 6],
            overflow,
            key: Key::new(seed),
            squares: true,
        }
    }

    /// Values of many magnitudes, some of them zero.
    fn values(seed: u64, count: usize) -> Vec<i64> {
        let key = Key::new(seed).with_name("values");
        let word = |at: usize| i64::from(key.word(at as u64) as i32);
        (0..count)
            .map(|at| word(2 * at) >> (word(2 * at + 1) & 31) & -i64::from(at % 7 != 3))
            .collect()
    }

    #[test]
    fn each_block_is_a_tensor_of_its_own_with_a_dynamic_scale() {
        for (seed, (rows, cols, size)) in (0..).zip([
            (1, 1, 1),
            (3, 5, 2),
            (5, 3, 2),
            (4, 6, 3),
            (2, 7, 32),
            (7, 2, 4),
            (6, 6, 1),
        ]) {
            for overflow in Overflow::ALL {
                for along in [Along::Row, Along::Column] {
                    let conversion = conversion(seed, 5, overflow);
                    let values = values(seed, rows * cols);
                    let (tensor, statistics) =
                        conversion.blocks((rows, cols), Values::Narrow(&values), along, size);
                    let big: Vec<BigInt> = values.iter().map(|&raw| raw.into()).collect();
                    let wide = conversion.blocks((rows, cols), Values::Wide(&big), along, size);
                    assert_eq!((&tensor, &statistics.overflowed), (&wide.0, &wide.1.overflowed));
                    assert_eq!(statistics.error.to_f64(), wide.1.error.to_f64());
                    let mut expected = ConversionStatistics::default();
                    for (at, &raw) in values.iter().enumerate() {
                        let (row, col) = (at / cols, at % cols);
                        let mine = |other: usize| match along {
                            Along::Row => other / cols == row && other % cols / size == col / size,
                            Along::Column => {
                                other % cols == col && other / cols / size == row / size
                            }
                        };
                        let block: Vec<i64> =
                            (0..values.len()).filter(|&at| mine(at)).map(|at| values[at]).collect();
                        let range = Range::of(&block, conversion.scale, conversion.from_frac);
                        let frac = range.largest_frac(conversion.to, overflow).unwrap_or(4);
                        let case = format!("{seed} {along:?} {overflow:?} ({row}, {col})");
                        assert_eq!(tensor.frac(row, col), frac, "{case}");
                        let one = Conversion { to: conversion.to.with_frac(frac), ..conversion };
                        let converted = one.convert(raw.into(), at as u64);
                        assert_eq!(tensor.code(row, col), converted.code, "{case}");
                        expected.count(converted);
                    }
                    assert_eq!(
                        (statistics.elements, statistics.overflowed, statistics.underflowed),
                        (expected.elements, expected.overflowed, expected.underflowed)
                    );
                }
            }
        }
    }

    #[test]
    fn reals_are_converted_as_what_they_are_exactly() {
        let conversion = conversion(0, 8, Overflow::Saturate);
        for values in [[0.5, -0.1, 3.0, 1e-3], [1e285, -1e-60, 0.0, 1e-60]] {
            let (tensor, statistics) = conversion.real_blocks((2, 2), &values, Along::Row, 2);
            for (at, &value) in values.iter().enumerate() {
                let (row, col) = (at / 2, at % 2);
                let to = conversion.to.with_frac(tensor.frac(row, col));
                let (one, _) = Conversion { to, ..conversion }.reals(1, 1, &[value]);
                assert_eq!(tensor.code(row, col), one.code(0, 0), "{value}");
            }
            assert_eq!(statistics.elements, 4);
        }
    }
}
