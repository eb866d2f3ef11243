//! Block floating point: one number of fraction bits per block of consecutive elements.
//!
//! A tensor is cut into blocks along its rows or its columns, the last of each line being short
//! where their size does not divide the line. Each block is converted as a tensor of its own with a
//! dynamic scale would be: with the largest number of fraction bits at which its smallest and its
//! largest element fit. This is the MXINT8 of the OCP Microscaling specification with blocks of 32
//! and 8 bits, but for the two codes −128 and 127 being used as they come.

use std::collections::BTreeMap;
use std::ops::Range;

use num_bigint::BigInt;

use crate::convert::Converted;
use crate::convert::narrow::{self, BITS_OF_EACH};
use crate::convert::reals::aligned;
use crate::part::with_part_codes;
use crate::real::decompose;
use crate::scale;
use crate::shifts::SHIFT_MAX;
use crate::statistics::{CHUNK, Products};
use crate::vectors::{VectorWork, with_widest_vectors};
use crate::{Conversion, ConversionStatistics, Converter, Format, Lane, Raw, Tensor};

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

impl Conversion {
    /// Converts a whole tensor of `rows` x `cols` values block by block; the fraction bits of
    /// [`to`](Self::to) are not used. Those of a block of zeros are one less than its width.
    ///
    /// ```
    /// use systoliq_fxp::{Along, Conversion, Overflow, Rounding};
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
    /// let values = [1, 3, 100, -7, 0i64];
    /// let (tensor, _) = conversion.blocks((1, 5), &values, Along::Row, 2);
    /// // 3 · 2^1 fits −8 … 7, 100 · 2^-4 rounds to 6; the last block is short, and zero.
    /// assert_eq!(tensor.blocks().unwrap().fracs(), [1, -4, 3]);
    /// assert_eq!(tensor.to_codes(), [2, 6, 6, 0, 0]);
    /// # Ok::<(), systoliq_fxp::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Unless there are `rows · cols` values, and the size of a block is at least 1.
    pub fn blocks<R: Raw>(
        &self,
        (rows, cols): (usize, usize),
        values: &[R],
        along: Along,
        size: usize,
    ) -> (Tensor, ConversionStatistics) {
        assert_eq!(values.len(), rows * cols, "elements of a {rows} x {cols} tensor");
        let scale_bits = if self.scale == 1 { 0 } else { u32::BITS - self.scale.leading_zeros() };
        let longest = narrow::longest(values);
        // What is negative fits a format without a sign once it rounds to 0.
        let more = u32::from(!self.to.is_signed());
        let fits = longest + scale_bits + more <= BITS_OF_EACH
            && narrow::numbers(0, values.len())
            // No block has a longer shift then, nor codes that are longer before they are fitted.
            && (*Format::FRAC.start()..=Format::FRAC.end() + SHIFT_MAX).contains(&self.from_frac);
        if !fits {
            let values: Vec<i64> = values.iter().map(|&raw| raw.into()).collect();
            return self.one_by_one((rows, cols), Values::Narrow(&values), along, size);
        }
        let mut tensor = Tensor::zeros(self.to.with_frac(0), rows, cols);
        let mut bands = Bands {
            conversion: self,
            longest,
            cols,
            values,
            blocks: Blocks::new(along, size, (rows, cols)),
        };
        let statistics =
            with_part_codes!(tensor.whole_mut().into_codes(), |codes| bands.convert(codes));
        (tensor.with_blocks(bands.blocks), statistics)
    }

    /// The same of integers of any size.
    ///
    /// # Panics
    ///
    /// As [`blocks`](Self::blocks).
    pub fn big_blocks(
        &self,
        shape: (usize, usize),
        values: &[BigInt],
        along: Along,
        size: usize,
    ) -> (Tensor, ConversionStatistics) {
        self.one_by_one(shape, Values::Wide(values), along, size)
    }

    /// The fraction bits of a block whose values would allow `fit`.
    fn frac_of(&self, fit: Option<i32>) -> i32 {
        fit.unwrap_or(self.to.bits() as i32 - 1)
    }

    /// The same to so many fraction bits.
    fn with_frac(&self, frac: i32) -> Self {
        Self { to: self.to.with_frac(frac), ..*self }
    }

    /// Converts values one by one.
    fn one_by_one(
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
            let frac = self.frac_of(range.largest_frac(self.to, self.overflow));
            blocks.fracs[block] = frac;
            statistics.merge(&self.with_frac(frac).some(values, places, &mut codes));
        }
        let tensor = Tensor::from_codes(self.to.with_frac(0), rows, cols, &codes);
        (tensor.with_blocks(blocks), statistics)
    }

    /// The same of real values, each exactly; `from_frac` is not used.
    ///
    /// # Panics
    ///
    /// If a value is not finite, or as [`blocks`](Self::blocks).
    pub fn real_blocks<V: Copy + Into<f64>>(
        &self,
        shape: (usize, usize),
        values: &[V],
        along: Along,
        size: usize,
    ) -> (Tensor, ConversionStatistics) {
        if let Some((raws, from_frac)) = aligned(values) {
            let conversion = Self { from_frac, ..*self };
            return conversion.blocks(shape, &raws, along, size);
        }
        let parts: Vec<(i64, i32)> =
            values.iter().map(|&value| decompose(value.into()).expect("a finite value")).collect();
        let from_frac = parts.iter().map(|&(_, frac)| frac).max().unwrap_or(0);
        let raws: Vec<BigInt> =
            parts.iter().map(|&(raw, frac)| BigInt::from(raw) << (from_frac - frac)).collect();
        Self { from_frac, ..*self }.big_blocks(shape, &raws, along, size)
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

/// Exact values, row by row.
#[derive(Clone, Copy)]
enum Values<'a> {
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
    fn range(&self, places: impl Iterator<Item = usize>, scale: u32, frac: i32) -> scale::Range {
        match self {
            Self::Narrow(raws) => {
                let raws: Vec<i64> = places.map(|at| raws[at]).collect();
                scale::Range::of(&raws, scale, frac)
            }
            Self::Wide(raws) => {
                let raws: Vec<&BigInt> = places.map(|at| &raws[at]).collect();
                let end = |end: Option<&&BigInt>| end.map_or(BigInt::ZERO, |&raw| raw * scale);
                scale::Range { min: end(raws.iter().min()), max: end(raws.iter().max()), frac }
            }
        }
    }
}

/// A tensor on its way into blocks, some rows at a time: one, or those that blocks share.
struct Bands<'a, R> {
    conversion: &'a Conversion,
    /// The bits of the longest magnitude.
    longest: u32,
    cols: usize,
    values: &'a [R],
    blocks: Blocks,
}

/// Elements whose codes have the same fraction bits, with the sums of the products of those before them.
struct Alike<R, T> {
    products: Products,
    raws: Vec<R>,
    codes: Vec<T>,
}

impl<R: Raw, T: Lane> Alike<R, T> {
    fn new() -> Self {
        Self { products: Products::default(), raws: Vec::new(), codes: Vec::new() }
    }

    /// Adds the products of all elements, of which none is longer than `bits` say, nor its code.
    fn add_up(&mut self, bits: [u32; 2]) {
        for (raws, codes) in self.raws.chunks(CHUNK).zip(self.codes.chunks(CHUNK)) {
            self.products.add_chunk(raws, codes, bits);
        }
        self.raws.clear();
        self.codes.clear();
    }
}

impl<R: Raw> Bands<'_, R> {
    fn convert<T: Lane>(&mut self, codes: &mut [T]) -> ConversionStatistics {
        let Self { conversion, cols, values, .. } = *self;
        let (along, size) = (self.blocks.along, self.blocks.size);
        let rows = if along == Along::Row { 1 } else { size };
        let count = self.blocks.shape.1;
        let (mut least, mut most) = (vec![R::zero(); count], vec![R::zero(); count]);
        let mut shifts = vec![0; cols];
        let mut alike = BTreeMap::new();
        let mut converter = Converter::new(*conversion);
        let bands = values.chunks(rows * cols.max(1)).zip(codes.chunks_mut(rows * cols.max(1)));
        for (band, (raws, codes)) in bands.enumerate() {
            let ends = [&mut *least, &mut *most];
            with_widest_vectors(EndsOfBlocks { raws, cols, along, size, ends });
            let fracs = band * count..(band + 1) * count;
            for (block, (&min, &max)) in fracs.clone().zip(least.iter().zip(&most)) {
                let scaled = [min, max].map(|raw: R| raw.into() * i64::from(conversion.scale));
                let fit = scale::largest_frac(
                    (scaled[0], scaled[1]),
                    conversion.from_frac,
                    conversion.to,
                    conversion.overflow,
                );
                let frac = conversion.frac_of(fit);
                self.blocks.fracs[block] = frac;
                // Zeros need none.
                let shift = if fit.is_none() { 0 } else { conversion.from_frac - frac };
                match along {
                    Along::Row => {
                        let first = (block - fracs.start) * size;
                        shifts[first..cols.min(first + size)].fill(shift);
                    }
                    Along::Column => shifts[block - fracs.start] = shift,
                }
            }
            let lines = raws.chunks_exact(cols).zip(codes.chunks_exact_mut(cols));
            for (row, (raws, codes)) in (band * rows..).zip(lines) {
                converter.write_each(row * cols, (raws, &*shifts), codes);
            }
            if conversion.squares {
                self.gather(fracs, (raws, codes), &mut alike);
            }
        }
        let mut statistics = converter.end();
        for (frac, mut alike) in alike {
            alike.add_up(self.bits());
            self.conversion.with_frac(frac).finish(&mut statistics, alike.products);
        }
        statistics
    }

    /// The most bits of a value and of a code.
    fn bits(&self) -> [u32; 2] {
        [self.longest, self.conversion.to.bits()]
    }

    /// Lays the elements of a band to those that are like them, and adds the products of as many as are worth it.
    fn gather<T: Lane>(
        &self,
        band: Range<usize>,
        (raws, codes): (&[R], &[T]),
        alike: &mut BTreeMap<i32, Alike<R, T>>,
    ) {
        let cols = self.cols;
        let Blocks { along, size, fracs, .. } = &self.blocks;
        for (at, frac) in fracs[band].iter().enumerate() {
            let alike = alike.entry(*frac).or_insert_with(Alike::new);
            match along {
                Along::Row => {
                    let places = at * size..cols.min((at + 1) * size);
                    alike.raws.extend_from_slice(&raws[places.clone()]);
                    alike.codes.extend_from_slice(&codes[places]);
                }
                Along::Column => {
                    alike.raws.extend(raws[at..].iter().step_by(cols));
                    alike.codes.extend(codes[at..].iter().step_by(cols));
                }
            }
            if alike.raws.len() >= CHUNK {
                alike.add_up(self.bits());
            }
        }
    }
}

/// Finds the least and the largest value of each block of a band.
struct EndsOfBlocks<'a, R> {
    raws: &'a [R],
    cols: usize,
    along: Along,
    size: usize,
    ends: [&'a mut [R]; 2],
}

impl<R: Raw> VectorWork for EndsOfBlocks<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { raws, cols, along, size, ends: [least, most] } = self;
        match along {
            Along::Row => {
                for (raws, (least, most)) in raws.chunks(size).zip(least.iter_mut().zip(most)) {
                    (*least, *most) =
                        raws.iter().fold((raws[0], raws[0]), |(least, most), &raw| {
                            (least.min(raw), most.max(raw))
                        });
                }
            }
            Along::Column => {
                least.copy_from_slice(&raws[..cols]);
                most.copy_from_slice(&raws[..cols]);
                for raws in raws.chunks_exact(cols) {
                    for ((least, most), &raw) in least.iter_mut().zip(&mut *most).zip(raws) {
                        (*least, *most) = ((*least).min(raw), (*most).max(raw));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Overflow, Rounding};
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
                        conversion.blocks((rows, cols), &values, along, size);
                    let big: Vec<BigInt> = values.iter().map(|&raw| raw.into()).collect();
                    let wide = conversion.big_blocks((rows, cols), &big, along, size);
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
                        let range =
                            scale::Range::of(&block, conversion.scale, conversion.from_frac);
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
    fn blocks_in_lanes_are_those_that_are_converted_one_by_one() {
        let formats = ["Q8.0", "UQ8.0", "Q4.0", "Q16.0", "Q32.0", "UQ32.0"];
        let shapes =
            [(1, 1, 1), (3, 70, 32), (70, 3, 32), (5, 40, 7), (33, 19, 16), (2, 1100, 1050)];
        let mut fast = 0;
        for seed in 0..2400u64 {
            let draw = |what: u64, below: u32| Key::new(seed).below(what, below) as usize;
            let (rows, cols, size) = shapes[draw(0, 6)];
            let from_frac = [draw(1, 60) as i32 - 20, draw(1, 260) as i32 - 130][draw(2, 2)];
            let conversion = Conversion {
                from_frac,
                scale: [1, 40330, 65535][draw(3, 3)],
                to: formats[draw(4, 6)].parse().unwrap(),
                rounding: Rounding::ALL[draw(5, 6)],
                overflow: Overflow::ALL[draw(6, 3)],
                key: Key::new(seed),
                squares: draw(7, 2) == 0,
            };
            let longest = 1 + draw(8, 63) as u32;
            let key = Key::new(seed).with_name("values");
            let value = |at: u64| {
                let whole =
                    i64::from(key.word(3 * at) as i32) << 32 | i64::from(key.word(3 * at + 1));
                match key.word(3 * at + 2) % 32 {
                    0..4 => 0,
                    4 => i64::MAX >> (64 - longest),
                    5 => i64::MIN >> (64 - longest),
                    more => whole >> (64 - longest + more % longest.min(24)).min(63),
                }
            };
            let mut values: Vec<i64> = (0..(rows * cols) as u64).map(value).collect();
            if draw(9, 4) == 0 {
                values[..rows * cols / 2].fill(0);
            }
            let along = [Along::Row, Along::Column][draw(10, 2)];
            let shape = (rows, cols);
            let expected = conversion.one_by_one(shape, Values::Narrow(&values), along, size);
            let found = conversion.blocks(shape, &values, along, size);
            let case = format!("{seed}: {conversion:?} {shape:?} {along:?} {size}");
            assert_eq!(found.0, expected.0, "{case}");
            let sums = |of: &ConversionStatistics| [of.signal.to_f64(), of.error.to_f64()];
            assert_eq!(sums(&found.1), sums(&expected.1), "{case}");
            let without = |of: ConversionStatistics| of.without_squares();
            assert_eq!(found.1.squared, expected.1.squared, "{case}");
            assert_eq!(without(found.1), without(expected.1), "{case}");
            let short: Result<Vec<i32>, _> = values.iter().map(|&raw| raw.try_into()).collect();
            if let Ok(short) = short {
                assert_eq!(conversion.blocks(shape, &short, along, size).0, expected.0, "{case}");
                fast += 1;
            }
        }
        assert!(fast > 500, "{fast} of short values");
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
