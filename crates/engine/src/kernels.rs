//! What is written for one instruction set: the inner loops of the integer GEMM, and the choice
//! among them at run time.
//!
//! Operands arrive as *pairs*: two 16-bit codes of neighbouring k in one 32-bit word, the even k in
//! the low half, because that is what the machines multiply and add in one instruction
//! (`vpmaddwd`, `vpdpwssd`). A [`Kernel`] makes one block of outputs that fits the registers; all
//! its variants give the same sums modulo 2³².
//!
//! All `unsafe` code of the crate is here: the loads and stores of the kernels, and calls of
//! functions compiled for instructions that were found to be there.

#![allow(unsafe_code)]

use std::fmt;

/// Two codes of neighbouring k, the even one in the low half.
pub(crate) type Pair = i32;

/// The pair of an even and an odd code.
#[inline(always)]
pub(crate) fn pair(even: i16, odd: i16) -> Pair {
    i32::from(odd) << 16 | i32::from(even as u16)
}

/// Has `fill` write the codes of pairs one by one, in place: a detour through another array costs
/// more than all else when panels are packed.
#[inline(always)]
pub(crate) fn fill_pairs(pairs: &mut [Pair], fill: impl FnOnce(&mut [i16])) {
    let halves = pairs.as_mut_ptr().cast();
    // SAFETY: a pair has the bytes of two codes, is aligned at least as they are, and any bytes are
    // integers; `pairs` is not used until `fill` is done.
    fill(unsafe { std::slice::from_raw_parts_mut(halves, 2 * pairs.len()) });
    if cfg!(target_endian = "big") {
        pairs.iter_mut().for_each(|pair| *pair = pair.rotate_left(16));
    }
}

/// The largest block of any kernel.
pub(crate) const BLOCK_MAX: usize = 12 * 32;

/// `block[i][j] = Σ a[k][i] · b[k][j]` modulo 2³², for panels of pairs.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    name: &'static str,
    /// Rows of a block: the width of a panel of A.
    pub(crate) rows: usize,
    /// Columns of a block: the width of a panel of B.
    pub(crate) cols: usize,
    /// Must be called only where the instructions it is compiled for are available.
    run: unsafe fn(&[Pair], &[Pair], &mut [i32]),
}

impl fmt::Debug for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

impl Kernel {
    /// Every kernel that this machine can run, the best first.
    pub(crate) fn available() -> Vec<Self> {
        let portable = Self { name: "portable", rows: 4, cols: 8, run: portable };
        #[cfg(target_arch = "x86_64")]
        return x86::available().into_iter().chain([portable]).collect();
        #[cfg(not(target_arch = "x86_64"))]
        vec![portable]
    }

    /// Sums the products of two panels of as many pairs into `block`, row by row.
    ///
    /// # Panics
    ///
    /// Unless the panels have as many pairs, and the block `rows · cols` elements.
    #[inline]
    pub(crate) fn run(&self, a: &[Pair], b: &[Pair], block: &mut [i32]) {
        let Self { rows, cols, .. } = *self;
        assert_eq!((a.len() % rows, b.len() % cols), (0, 0), "{self:?}: whole panels");
        assert_eq!(a.len() / rows, b.len() / cols, "{self:?}: pairs of the panels");
        assert_eq!(block.len(), rows * cols, "{self:?}: elements of the block");
        // SAFETY: `available` lists a kernel only where its instructions were detected.
        unsafe { (self.run)(a, b, block) }
    }
}

/// The plain loop, on whatever vectors every machine of this architecture has.
fn portable(a: &[Pair], b: &[Pair], block: &mut [i32]) {
    let mut sums = [[0i32; 8]; 4];
    for (a, b) in a.as_chunks::<4>().0.iter().zip(b.as_chunks::<8>().0) {
        for (&a, sums) in a.iter().zip(&mut sums) {
            for (&b, sum) in b.iter().zip(sums) {
                let even = i32::from(a as i16).wrapping_mul(i32::from(b as i16));
                let odd = (a >> 16).wrapping_mul(b >> 16);
                *sum = sum.wrapping_add(even.wrapping_add(odd));
            }
        }
    }
    block.copy_from_slice(sums.as_flattened());
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Pair};
    use std::arch::x86_64::*;
    use systoliq_fxp::vectors::has_avx512;

    pub(crate) fn available() -> Vec<Kernel> {
        let kernel = |name, rows, cols, run| Kernel { name, rows, cols, run };
        let mut kernels = Vec::new();
        if has_avx512() && is_x86_feature_detected!("avx512vnni") {
            kernels.push(kernel("avx512-vnni", 12, 32, avx512_vnni));
        }
        if has_avx512() {
            kernels.push(kernel("avx512", 12, 32, avx512));
        }
        if is_x86_feature_detected!("avx2") {
            kernels.push(kernel("avx2", 6, 16, avx2));
        }
        kernels
    }

    /// Defines a kernel of `$rows` rows by two vectors of `$lanes` words, all of whose sums stay in
    /// registers.
    macro_rules! define_kernel {
        (
            $name:ident, $features:literal, $rows:literal, $lanes:literal,
            $load:ident, $store:ident, $broadcast:ident, $zero:ident, $add_products:expr
        ) => {
            /// Sums the products of two panels of pairs.
            ///
            /// # Safety
            ///
            /// The processor must have the features this is compiled for.
            #[target_feature(enable = $features)]
            unsafe fn $name(a: &[Pair], b: &[Pair], block: &mut [i32]) {
                let mut sums = [[$zero(); 2]; $rows];
                let (a, b) = (a.as_chunks::<$rows>().0, b.as_chunks::<{ 2 * $lanes }>().0);
                for (a, b) in a.iter().zip(b) {
                    // SAFETY: `b` is an array of two vectors.
                    let low = unsafe { $load(b.as_ptr().cast()) };
                    // SAFETY: `b` is an array of two vectors.
                    let high = unsafe { $load(b.as_ptr().add($lanes).cast()) };
                    for (&a, sums) in a.iter().zip(&mut sums) {
                        let a = $broadcast(a);
                        sums[0] = $add_products(sums[0], a, low);
                        sums[1] = $add_products(sums[1], a, high);
                    }
                }
                let rows = block.as_chunks_mut::<{ 2 * $lanes }>().0;
                for (row, sums) in rows.iter_mut().zip(sums) {
                    // SAFETY: both stores lie in the array `row` of two vectors.
                    unsafe {
                        $store(row.as_mut_ptr().cast(), sums[0]);
                        $store(row.as_mut_ptr().add($lanes).cast(), sums[1]);
                    }
                }
            }
        };
    }

    define_kernel!(
        avx512_vnni,
        "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
        12,
        16,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_set1_epi32,
        _mm512_setzero_si512,
        _mm512_dpwssd_epi32
    );
    define_kernel!(
        avx512,
        "avx512f,avx512bw,avx512dq,avx512vl",
        12,
        16,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_set1_epi32,
        _mm512_setzero_si512,
        |sum, a, b| _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
    );
    define_kernel!(
        avx2,
        "avx2",
        6,
        8,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_set1_epi32,
        _mm256_setzero_si256,
        |sum, a, b| _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use systoliq_keyed_random::Key;

    /// The sum by definition, modulo 2³².
    fn plain(kernel: &Kernel, a: &[[i16; 2]], b: &[[i16; 2]], i: usize, j: usize) -> i32 {
        let a = a.iter().skip(i).step_by(kernel.rows).flatten();
        let b = b.iter().skip(j).step_by(kernel.cols).flatten();
        a.zip(b).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum::<i64>() as i32
    }

    #[test]
    fn every_kernel_equals_the_plain_loop() {
        for kernel in Kernel::available() {
            for pairs in (0..=17).chain([100, 255]) {
                for (case, ends) in [None, Some([i16::MIN, i16::MAX])].into_iter().enumerate() {
                    let key = Key::new(case as u64).with(pairs);
                    let draw = |side: u64, width: usize| -> Vec<[i16; 2]> {
                        let code = |at: u64| match ends {
                            Some(ends) => ends[key.with(side).below(at, 2) as usize],
                            None => key.with(side).word(at) as i16,
                        };
                        (0..pairs * width as u64)
                            .map(|at| [code(2 * at), code(2 * at + 1)])
                            .collect()
                    };
                    let (a, b) = (draw(0, kernel.rows), draw(1, kernel.cols));
                    let pack = |codes: &[[i16; 2]]| -> Vec<Pair> {
                        codes.iter().map(|&[even, odd]| pair(even, odd)).collect()
                    };
                    let mut block = vec![-1; kernel.rows * kernel.cols];
                    kernel.run(&pack(&a), &pack(&b), &mut block);
                    for (at, &sum) in block.iter().enumerate() {
                        let (i, j) = (at / kernel.cols, at % kernel.cols);
                        let expected = plain(&kernel, &a, &b, i, j);
                        assert_eq!(sum, expected, "{kernel:?}, {pairs} pairs, ({i}, {j})");
                    }
                }
            }
        }
    }

    #[test]
    fn pairs_hold_the_even_code_in_the_low_half() {
        let codes: [i16; 6] = [1, -2, i16::MAX, i16::MIN, -5, 6];
        let mut pairs = [0; 3];
        fill_pairs(&mut pairs, |halves| halves.copy_from_slice(&codes));
        assert_eq!(pairs, [pair(1, -2), pair(i16::MAX, i16::MIN), pair(-5, 6)]);
    }

    #[test]
    fn blocks_fit_the_largest() {
        for kernel in Kernel::available() {
            assert!(kernel.rows * kernel.cols <= BLOCK_MAX, "{kernel:?}");
        }
    }
}
