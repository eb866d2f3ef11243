//! One output per vector lane, one addition after the other.
//!
//! This honours the order of additions where it matters: products are rounded and sums limited at
//! every addition. Beside each limited sum runs the exact one, which tells whether it overflowed.

use std::ops::Range;

use num_traits::AsPrimitive;
use systoliq_fxp::rounding::Wide;
use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_fxp::{Accumulator, Overflow, OverflowAt, Rounding, shift_right_round};
use systoliq_keyed_random::Key;
use systoliq_program::GemmTask;
use systoliq_program::gemm::GemmShape;
use systoliq_program::panels::{Side, Word, word_panels};
use systoliq_program::view::Submatrix;

use crate::bias::Bias;
use crate::strips::{LineWords, Strips};

/// How many columns of C are summed side by side.
const LANES: usize = 16;

/// How many rows of C are summed at once.
const ROWS: usize = 4;

/// How a product becomes a term of the sum.
trait Align<W>: Sync {
    /// Aligns product `k` of output `index`.
    fn align(&self, product: W, k: usize, index: u32) -> W;
}

/// Products are terms.
struct Keep;

impl<W> Align<W> for Keep {
    #[inline(always)]
    fn align(&self, product: W, _: usize, _: u32) -> W {
        product
    }
}

/// Bits are dropped under mode `Rounding::ALL[MODE]`.
struct Drop<const MODE: usize> {
    shift: u32,
    /// The stream of random words of each k.
    keys: Vec<Key>,
}

impl<W: Wide, const MODE: usize> Align<W> for Drop<MODE> {
    #[inline(always)]
    fn align(&self, product: W, k: usize, index: u32) -> W {
        let rounding = const { Rounding::ALL[MODE] };
        let word = match rounding {
            Rounding::Stochastic => self.keys[k].word(index.into()),
            _ => 0,
        };
        shift_right_round(product, self.shift, rounding, word)
    }
}

/// Sums of products that are not rounded, in words of type `W`.
///
/// The word must hold, with one bit to spare, every product, every exact sum with its bias, and
/// every value of the accumulator; the latter only where sums saturate.
pub(crate) fn unrounded<W: Word>(task: &GemmTask<'_>, bias: Bias) -> Box<dyn Strips<i64>>
where
    i64: AsPrimitive<W>,
{
    Box::new(Lanes::<W, _>::new(task, bias, Keep))
}

/// Sums of rounded products, in words of type `W`, which must hold what [`unrounded`] tells; for at
/// most 2³² outputs, so that their random words take 32-bit arithmetic.
pub(crate) fn rounded<W: Word + Wide>(task: &GemmTask<'_>, bias: Bias) -> Box<dyn Strips<i64>>
where
    i64: AsPrimitive<W>,
{
    let adder = &task.adder;
    let shift = adder.shift.unsigned_abs();
    let rounding = adder.accumulator.rounding;
    let mode = Rounding::ALL.iter().position(|&mode| mode == rounding);
    let keys: Vec<Key> = match rounding {
        Rounding::Stochastic => (0..task.a.cols() as u64).map(|k| adder.key.with(k)).collect(),
        _ => Vec::new(),
    };
    macro_rules! run {
        ($mode:literal) => {
            Box::new(Lanes::<W, _>::new(task, bias, Drop::<$mode> { shift, keys }))
        };
    }
    match mode {
        Some(0) => run!(0),
        Some(1) => run!(1),
        Some(2) => run!(2),
        Some(3) => run!(3),
        Some(4) => run!(4),
        Some(5) => run!(5),
        _ => unreachable!("there are six rounding modes"),
    }
}

/// A GEMM, packed.
struct Lanes<W, A> {
    shape: GemmShape,
    /// Where C lies in the whole output.
    output: Submatrix,
    /// Rows of A.
    a: Vec<W>,
    /// Panels of columns of B.
    b: Vec<W>,
    align: A,
    /// Products that are summed from zero before their sum is added.
    chunk: usize,
    register: LaneRegister<W>,
    bias: Bias,
}

/// The accumulator of each lane.
#[derive(Clone, Copy)]
pub(crate) struct LaneRegister<W> {
    /// The range of the register at each addition, and of what leaves.
    at_each: LaneLimits<W>,
    at_end: LaneLimits<W>,
    /// Upper bits of 64 that are dropped at the end, where sums wrap.
    unused: u32,
}

/// The smallest and the largest that passes.
#[derive(Clone, Copy)]
struct LaneLimits<W> {
    low: W,
    high: W,
}

impl<W: Word> LaneLimits<W> {
    #[inline(always)]
    fn limit(self, value: W) -> W {
        value.max(self.low).min(self.high)
    }
}

impl<W: Word> LaneRegister<W> {
    pub(crate) fn of(accumulator: &Accumulator) -> Self {
        let none = LaneLimits { low: W::min_value(), high: W::max_value() };
        let (low, high) = accumulator.ends();
        // A word too narrow for the register is one that no sum leaves.
        let ends = LaneLimits {
            low: W::from(low).unwrap_or(none.low),
            high: W::from(high).unwrap_or(none.high),
        };
        // Wrapping at every addition or once at the end leaves the same low bits.
        let (at_each, at_end, unused) = match (accumulator.overflow, accumulator.overflow_at) {
            (Overflow::Wrap, _) => (none, none, 64 - accumulator.bits()),
            (_, OverflowAt::Each) => (ends, none, 0),
            (_, OverflowAt::End) => (none, ends, 0),
        };
        Self { at_each, at_end, unused }
    }

    /// One addition under the register's range.
    #[inline(always)]
    pub(crate) fn add(&self, limited: W, term: W) -> W {
        self.at_each.limit(limited.wrapping_add(&term))
    }

    /// Adds biases to limited sums as they leave, beside which are exact ones; returns how many overflowed.
    #[inline(always)]
    pub(crate) fn leave(
        &self,
        [limited, exact]: [&[W]; 2],
        biases: &[i64],
        values: &mut [i64],
    ) -> u64
    where
        i64: AsPrimitive<W>,
    {
        let mut overflowed = 0u64;
        let values = values.iter_mut().zip(biases);
        for ((value, &bias), (&limited, &exact)) in values.zip(limited.iter().zip(exact)) {
            let exact = exact.wrapping_add(&bias.as_());
            let total = self.at_end.limit(self.add(limited, bias.as_()));
            *value = total.as_().wrapping_shl(self.unused).wrapping_shr(self.unused);
            // A check would forbid vectors.
            overflowed = overflowed.wrapping_add(u64::from(W::from(*value) != Some(exact)));
        }
        overflowed
    }
}

impl<W: Word, A: Align<W>> Lanes<W, A>
where
    i64: AsPrimitive<W>,
{
    fn new(task: &GemmTask<'_>, bias: Bias, align: A) -> Self {
        let adder = &task.adder;
        let zeros = adder.shift.min(0).unsigned_abs();
        let accumulator = &adder.accumulator;
        let register = LaneRegister::of(accumulator);
        let a = word_panels(&task.a, Side::A, ROWS, zeros);
        let b = word_panels(&task.b, Side::B, LANES, 0);
        let shape = task.shape();
        let chunk = accumulator.chunk.map_or(usize::MAX, |chunk| chunk.get() as usize);
        let chunk = chunk.min(shape.k.max(1));
        let output = task.output;
        Self { shape, output, a, b, align, chunk, register, bias }
    }
}

impl<W: Word, A: Align<W>> Strips<i64> for Lanes<W, A>
where
    i64: AsPrimitive<W>,
{
    fn granularity(&self) -> usize {
        ROWS
    }

    fn strip(&self, rows: Range<usize>, _: &mut LineWords, values: &mut [i64]) -> u64 {
        with_widest_vectors(LaneStrip { lanes: self, rows, values })
    }
}

/// Some rows of C.
struct LaneStrip<'a, W, A> {
    lanes: &'a Lanes<W, A>,
    rows: Range<usize>,
    values: &'a mut [i64],
}

impl<W: Word, A: Align<W>> VectorWork for LaneStrip<'_, W, A>
where
    i64: AsPrimitive<W>,
{
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let Self { lanes, rows, values } = self;
        let GemmShape { k, n, .. } = lanes.shape;
        let mut overflowed = 0;
        for col in (0..n).step_by(LANES) {
            let b = &lanes.b[col * k..(col + LANES) * k];
            for row in rows.clone().step_by(ROWS) {
                let a = &lanes.a[row * k..(row + ROWS) * k];
                let block = lanes.sum(a, b, lanes.output.index(row, col) as u32);
                let values = &mut values[(row - rows.start) * n..];
                let lines = row..rows.end.min(row + ROWS);
                overflowed += lanes.leave(&block, (lines, col), values);
            }
        }
        overflowed
    }
}

/// The sums of a block of C.
struct BlockSums<W> {
    limited: [[W; LANES]; ROWS],
    exact: [[W; LANES]; ROWS],
}

impl<W: Word, A: Align<W>> Lanes<W, A> {
    /// Sums the products of a panel of A and a panel of B; `index` is that of the first output in the
    /// whole.
    #[inline(always)]
    fn sum(&self, a: &[W], b: &[W], index: u32) -> BlockSums<W> {
        let (mut limited, mut exact) = ([[W::zero(); LANES]; ROWS], [[W::zero(); LANES]; ROWS]);
        let (a, b) = (a.as_chunks::<ROWS>().0, b.as_chunks::<LANES>().0);
        let chunks = a.chunks(self.chunk).zip(b.chunks(self.chunk));
        for ((a, b), from) in chunks.zip((0..).step_by(self.chunk)) {
            let mut sums = [[W::zero(); LANES]; ROWS];
            for (k, (a, b)) in (from..).zip(a.iter().zip(b)) {
                for row in 0..ROWS {
                    let index = index.wrapping_add((row * self.output.stride) as u32);
                    for lane in 0..LANES {
                        let product = a[row].wrapping_mul(&b[lane]);
                        let term = self.align.align(product, k, index.wrapping_add(lane as u32));
                        exact[row][lane] = exact[row][lane].wrapping_add(&term);
                        sums[row][lane] = self.register.add(sums[row][lane], term);
                    }
                }
            }
            for (limited, sums) in limited.iter_mut().zip(&sums) {
                for (limited, &sum) in limited.iter_mut().zip(sums) {
                    *limited = self.register.add(*limited, sum);
                }
            }
        }
        BlockSums { limited, exact }
    }

    /// Adds the bias to a block of sums and writes them to their place in the rows that begin with its
    /// first; returns how many overflowed.
    #[inline(always)]
    fn leave(
        &self,
        block: &BlockSums<W>,
        (rows, col): (Range<usize>, usize),
        values: &mut [i64],
    ) -> u64
    where
        i64: AsPrimitive<W>,
    {
        let n = self.shape.n;
        let cols = col..n.min(col + LANES);
        let mut buffer = [0; LANES];
        let mut overflowed = 0;
        let sums = block.limited.iter().zip(&block.exact);
        for (at, (i, (limited, exact))) in rows.zip(sums).enumerate() {
            let biases = self.bias.row(i, cols.clone(), &mut buffer);
            let values = &mut values[at * n..][cols.clone()];
            overflowed += self.register.leave([limited, exact], biases, values);
        }
        overflowed
    }
}
