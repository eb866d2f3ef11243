//! Plain loops, compiled for the widest vectors that the machine has, chosen at run time; and tables, of
//! which the compiler does not know how vectors look things up.
//!
//! All `unsafe` code of the crate is here: calls of functions compiled for instructions that were
//! found to be there, and loads and stores of vectors.

#![allow(unsafe_code)]

use std::cell::Cell;

use crate::Lane;

/// Work that gains from wide vectors, written as plain loops.
pub trait VectorWork {
    /// What the work gives.
    type Output;

    /// Does it. Must be `#[inline(always)]`, so that it is compiled into its caller.
    fn run(self) -> Self::Output;
}

/// What instructions loops are compiled for, the narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VectorLevel {
    /// What every machine of an architecture has.
    Portable,
    /// 256 bits.
    Avx2,
    /// 512 bits, with the extensions that integers need.
    Avx512,
    /// The same, and bits of lanes are counted.
    Avx512Popcount,
}

impl VectorLevel {
    /// The widest first.
    const ALL: [Self; 4] = [Self::Avx512Popcount, Self::Avx512, Self::Avx2, Self::Portable];

    /// Every level that this machine has, the widest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|level| level.is_available()).collect()
    }

    /// The widest level that this machine has, within what this thread is [limited to](limited_to).
    #[inline]
    pub fn taken() -> Self {
        let widest = WIDEST.get();
        let may_be_taken = |level: &Self| *level <= widest && level.is_available();
        Self::ALL.into_iter().find(may_be_taken).expect("what every machine has")
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::Avx512 => has_avx512(),
            Self::Avx512Popcount => {
                has_avx512()
                    && is_x86_feature_detected!("avx512vpopcntdq")
                    && is_x86_feature_detected!("avx512bitalg")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Self::Portable
    }
}

thread_local! {
    /// The widest level that may be taken.
    static WIDEST: Cell<VectorLevel> = const { Cell::new(VectorLevel::Avx512Popcount) };
}

/// Runs something, in this thread, without vectors that are wider than those of a level: for tests, since
/// no result depends on it.
pub fn limited_to<T>(level: VectorLevel, run: impl FnOnce() -> T) -> T {
    let before = WIDEST.replace(level);
    let found = run();
    WIDEST.set(before);
    found
}

/// Does `work`, compiled for the widest vectors that this machine has, within what they are
/// [limited to](limited_to).
pub fn with_widest_vectors<W: VectorWork>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    return x86::with_widest_vectors(work);
    #[cfg(not(target_arch = "x86_64"))]
    work.run()
}

/// Has bytes that will be read fetched to a near cache.
pub(crate) fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(bytes);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// Writes what a table has for each number.
///
/// # Panics
///
/// Unless there are as many codes as numbers.
pub(crate) fn look_up<T: Lane>(table: &[T; 256], numbers: &[u8], codes: &mut [T]) {
    assert_eq!(numbers.len(), codes.len(), "numbers and their codes");
    #[cfg(target_arch = "x86_64")]
    if x86::look_up_bytes(table, numbers, codes) {
        return;
    }
    look_up_one_by_one(table, numbers, codes);
}

fn look_up_one_by_one<T: Lane>(table: &[T; 256], numbers: &[u8], codes: &mut [T]) {
    for (code, &number) in codes.iter_mut().zip(numbers) {
        *code = table[usize::from(number)];
    }
}

/// Adds what a table has for each of some numbers, lane by lane, modulo 2⁶⁴.
pub(crate) fn add_up(table: &[[i64; 16]; 256], numbers: &[u8]) -> [i64; 16] {
    #[cfg(target_arch = "x86_64")]
    if VectorLevel::taken() >= VectorLevel::Avx512 {
        // SAFETY: a level is taken only where its features were detected.
        return unsafe { x86::add_up(table, numbers) };
    }
    add_up_one_by_one(table, numbers)
}

fn add_up_one_by_one(table: &[[i64; 16]; 256], numbers: &[u8]) -> [i64; 16] {
    let mut sums = [0i64; 16];
    for &number in numbers {
        let lanes = sums.iter_mut().zip(table[usize::from(number)]);
        lanes.for_each(|(sum, addend)| *sum = sum.wrapping_add(addend));
    }
    sums
}

/// Whether there is AVX-512 with the extensions that integers need.
#[cfg(target_arch = "x86_64")]
pub fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{VectorLevel, VectorWork};
    use crate::Lane;

    pub(super) fn with_widest_vectors<W: VectorWork>(work: W) -> W::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn with_avx512<W: VectorWork>(work: W) -> W::Output {
            work.run()
        }
        #[target_feature(
            enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512bitalg"
        )]
        fn with_avx512_and_popcount<W: VectorWork>(work: W) -> W::Output {
            work.run()
        }
        #[target_feature(enable = "avx2")]
        fn with_avx2<W: VectorWork>(work: W) -> W::Output {
            work.run()
        }
        match VectorLevel::taken() {
            // SAFETY: a level is taken only where its features were detected.
            VectorLevel::Avx512Popcount => unsafe { with_avx512_and_popcount(work) },
            // SAFETY: as above.
            VectorLevel::Avx512 => unsafe { with_avx512(work) },
            // SAFETY: as above.
            VectorLevel::Avx2 => unsafe { with_avx2(work) },
            VectorLevel::Portable => work.run(),
        }
    }

    pub(super) fn prefetch(bytes: &[u8]) {
        for line in bytes.chunks(64) {
            // SAFETY: every x86-64 has this instruction, and the address is one of a byte.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
        }
    }

    /// Writes what a table of bytes has for each number, if it is one, and vectors can look up bytes.
    pub(super) fn look_up_bytes<T: Lane>(
        table: &[T; 256],
        numbers: &[u8],
        codes: &mut [T],
    ) -> bool {
        let is_there = size_of::<T>() == 1
            && VectorLevel::taken() >= VectorLevel::Avx512
            && is_x86_feature_detected!("avx512vbmi");
        if is_there {
            // SAFETY: the level has two of the features, and the third was just detected. A lane of one byte is an `i8` or a `u8`, of which
            // every byte is a value.
            unsafe {
                let codes = std::slice::from_raw_parts_mut(codes.as_mut_ptr().cast(), codes.len());
                look_up_with_vbmi(&*table.as_ptr().cast(), numbers, codes);
            }
        }
        is_there
    }

    #[target_feature(enable = "avx512f")]
    fn load<T: Copy, const N: usize>(lanes: &[T; N]) -> __m512i {
        const { assert!(size_of::<[T; N]>() == 64) };
        // SAFETY: there are 64 bytes.
        unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
    }

    /// Vectors as such: the compiler takes many numbers at once otherwise, and gathers.
    #[target_feature(enable = "avx512f")]
    pub(super) fn add_up(table: &[[i64; 16]; 256], numbers: &[u8]) -> [i64; 16] {
        let mut sums = [_mm512_setzero_si512(); 2];
        for &number in numbers {
            let (halves, _) = table[usize::from(number)].as_chunks::<8>();
            for (sum, half) in sums.iter_mut().zip(halves) {
                *sum = _mm512_add_epi64(*sum, load(half));
            }
        }
        let mut lanes = [0; 16];
        for (lanes, sum) in lanes.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
            // SAFETY: there are 64 bytes.
            unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), sum) };
        }
        lanes
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn look_up_with_vbmi(table: &[[u8; 64]; 4], numbers: &[u8], codes: &mut [u8]) {
        let [a, b, c, d] = [load(&table[0]), load(&table[1]), load(&table[2]), load(&table[3])];
        for (numbers, codes) in numbers.chunks(64).zip(codes.chunks_mut(64)) {
            let some = u64::MAX >> (64 - numbers.len());
            // SAFETY: the mask leaves out what lies beyond the chunk.
            let number = unsafe { _mm512_maskz_loadu_epi8(some, numbers.as_ptr().cast()) };
            let low = _mm512_permutex2var_epi8(a, number, b);
            let high = _mm512_permutex2var_epi8(c, number, d);
            let code = _mm512_mask_blend_epi8(_mm512_movepi8_mask(number), low, high);
            // SAFETY: there are as many codes as numbers in a chunk.
            unsafe { _mm512_mask_storeu_epi8(codes.as_mut_ptr().cast(), some, code) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_up_is_the_sum_of_what_the_table_has() {
        let entry = |number: usize| {
            std::array::from_fn(|lane| ((number as i64 - 100) * (lane as i64 + 1)) << (3 * lane))
        };
        let table: [[i64; 16]; 256] = std::array::from_fn(entry);
        for len in (0..40).chain([784, 3000]) {
            let numbers: Vec<u8> = (0..len).map(|at| (at * 89 % 256) as u8).collect();
            let expected: [i64; 16] = std::array::from_fn(|lane| {
                let addends = numbers.iter().map(|&number| table[usize::from(number)][lane]);
                addends.fold(0, i64::wrapping_add)
            });
            for add_up in [add_up, add_up_one_by_one] {
                assert_eq!(add_up(&table, &numbers), expected, "{len} numbers");
            }
        }
    }

    #[test]
    fn codes_that_are_looked_up_are_those_of_the_table() {
        fn check<T: Lane>(code: impl Fn(usize) -> T) {
            let table: [T; 256] = std::array::from_fn(&code);
            for len in (0..200).chain([784, 1000]) {
                let numbers: Vec<u8> = (0..len).map(|at| (at * 89 % 256) as u8).collect();
                let expected: Vec<T> = numbers.iter().map(|&number| code(number.into())).collect();
                for look_up in [look_up, look_up_one_by_one] {
                    // What lies beyond is left as it is.
                    let mut codes = vec![T::one(); len + 3];
                    look_up(&table, &numbers, &mut codes[1..=len]);
                    assert_eq!(codes[1..=len], expected, "{len} codes");
                    assert_eq!([codes[0], codes[len + 1], codes[len + 2]], [T::one(); 3]);
                }
            }
        }
        check(|number| (number * 7 % 256) as u8);
        check(|number| (number * 11 % 256) as u8 as i8);
        check(|number| number as u16 * 257);
        check(|number| -(number as i32) << 20);
    }
}
