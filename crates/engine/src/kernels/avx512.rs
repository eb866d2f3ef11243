//! Kernels on vectors of 512 bits.

#[cfg(not(target_arch = "x86_64"))]
pub(super) use super::portable::{KERNELS, KERNELS as VNNI_KERNELS};
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{KERNELS, VNNI_KERNELS};

/// Whether this machine has what the kernels are compiled for but `vnni`.
pub(super) fn is_available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return systoliq_fxp::vectors::has_avx512();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether it has `vnni`, too.
pub(super) fn has_vnni() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_available() && is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use crate::kernels::{Kernel, KernelShape, Kernels, LinePlaces, Quads, SumTile};
    use std::arch::x86_64::*;

    /// Two vectors of sums for each of twelve rows leave registers for a word of A and two vectors of B.
    const ROWS: usize = 12;
    const PANELS: usize = 2;
    const LANES: usize = 16;

    /// The kernels without `vnni`.
    pub(in crate::kernels) const KERNELS: Kernels =
        Kernels { pairs: &Avx512Pairs, quads: None, one_by_one: None };

    /// The kernels with it.
    pub(in crate::kernels) const VNNI_KERNELS: Kernels = Kernels {
        pairs: &VnniPairs,
        quads: Some(Quads { signed_a: &QuadsOfSignedA, signed_b: &QuadsOfSignedB }),
        one_by_one: Some(&SaturatingWords),
    };

    /// Defines a kernel by what it does with a vector of sums, a word of A in all lanes, and a vector of B.
    macro_rules! define_kernel {
        ($(#[$documentation:meta])* $name:ident, $codes:literal, $features:literal, $add_products:expr) => {
            $(#[$documentation])*
            #[derive(Debug)]
            struct $name;

            impl $name {
                /// # Safety
                ///
                /// As that of [`Kernel::run`]; the tile has at most `ROWS` rows, and needs `PANELS` panels.
                #[target_feature(enable = $features)]
                unsafe fn add<const ROWS: usize, const PANELS: usize, const WINDOWS: bool>(
                    tile: &SumTile<'_>,
                    places: &LinePlaces,
                    sums: &mut [i32],
                ) {
                    let SumTile { a, b, panel, steps, rows, cols, stride, start } = *tile;
                    let mut masks = [0; PANELS];
                    for (at, mask) in masks.iter_mut().enumerate() {
                        *mask = ((1u32 << (cols - at * LANES).min(LANES)) - 1) as __mmask16;
                    }
                    // A row that the tile does not have is its last once more.
                    let first = sums.as_mut_ptr();
                    let (from, from_stride) = match start {
                        Some(start) => (start.as_ptr(), 0),
                        None => (first.cast_const(), stride),
                    };
                    let mut totals = [[_mm512_setzero_si512(); PANELS]; ROWS];
                    for row in 0..ROWS {
                        let used = row.min(rows - 1);
                        for at in 0..PANELS {
                            let place = from.wrapping_add(used * from_stride + at * LANES);
                            // SAFETY: the tile fits, and no lane beyond its columns is touched.
                            totals[row][at] = unsafe { _mm512_maskz_loadu_epi32(masks[at], place) };
                        }
                    }
                    // Places beyond the last step are not read.
                    let (mut a_run, mut b_place) = (a.words.as_ptr(), b.as_ptr());
                    // One run that the compiler knows leaves it more registers.
                    let (runs, run) = if WINDOWS { a.runs() } else { (1, 0) };
                    for _ in 0..runs {
                        let mut a_place = a_run;
                        for _ in 0..steps {
                            let mut b_words = [_mm512_setzero_si512(); PANELS];
                            for (at, words) in b_words.iter_mut().enumerate() {
                                let place = b_place.wrapping_add(at * panel);
                                // SAFETY: the tile fits.
                                *words = unsafe { _mm512_loadu_si512(place.cast()) };
                            }
                            for (&line, totals) in places.iter().zip(&mut totals) {
                                // SAFETY: the tile fits.
                                let word = unsafe { *a_place.wrapping_add(line) };
                                let word = _mm512_set1_epi32(word);
                                for (total, words) in totals.iter_mut().zip(b_words) {
                                    *total = $add_products(*total, word, words);
                                }
                            }
                            a_place = a_place.wrapping_add(a.step);
                            b_place = b_place.wrapping_add(LANES);
                        }
                        a_run = a_run.wrapping_add(run);
                    }
                    for row in 0..ROWS {
                        for at in 0..PANELS {
                            if row < rows {
                                let place = first.wrapping_add(row * stride + at * LANES);
                                // SAFETY: the tile fits, and no lane beyond its columns is touched.
                                unsafe { _mm512_mask_storeu_epi32(place, masks[at], totals[row][at]) };
                            }
                        }
                    }
                }
            }

            impl Kernel for $name {
                fn shape(&self) -> KernelShape {
                    KernelShape { codes: $codes, lanes: LANES, rows: ROWS, cols: PANELS * LANES }
                }

                unsafe fn run(&self, tile: &SumTile<'_>, places: &LinePlaces, sums: &mut [i32]) {
                    // SAFETY: as the caller promises, and by the sizes of the tile.
                    unsafe {
                        match (tile.rows, tile.cols <= LANES, tile.a.windows.is_some()) {
                            (..=4, true, false) => Self::add::<4, 1, false>(tile, places, sums),
                            (..=4, false, false) => Self::add::<4, PANELS, false>(tile, places, sums),
                            (_, true, false) => Self::add::<ROWS, 1, false>(tile, places, sums),
                            (_, false, false) => Self::add::<ROWS, PANELS, false>(tile, places, sums),
                            (_, true, true) => Self::add::<ROWS, 1, true>(tile, places, sums),
                            (_, false, true) => Self::add::<ROWS, PANELS, true>(tile, places, sums),
                        }
                    }
                }
            }
        };
    }

    define_kernel!(
        /// For pairs of signed 16-bit codes.
        Avx512Pairs, 2, "avx512f,avx512bw,avx512dq,avx512vl",
        |sum, a, b| _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
    );
    define_kernel!(
        /// The same in one instruction.
        VnniPairs, 2, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
        _mm512_dpwssd_epi32
    );
    define_kernel!(
        /// For quads of 8-bit codes, signed in A and unsigned in B.
        QuadsOfSignedA, 4, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
        |sum, a, b| _mm512_dpbusd_epi32(sum, b, a)
    );
    define_kernel!(
        /// For quads of 8-bit codes, unsigned in A and signed in B.
        QuadsOfSignedB, 4, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
        _mm512_dpbusd_epi32
    );
    define_kernel!(
        /// For words with one code in the low half: sums saturate at every addition.
        SaturatingWords, 1, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
        _mm512_dpwssds_epi32
    );
}
