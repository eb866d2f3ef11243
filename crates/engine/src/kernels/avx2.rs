//! Kernels on vectors of 256 bits.

#[cfg(not(target_arch = "x86_64"))]
pub(super) use super::portable::KERNELS;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::KERNELS;

/// Whether this machine has what the kernels are compiled for.
pub(super) fn is_available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use crate::kernels::{Kernel, KernelShape, Kernels, LinePlaces, SumTile};
    use std::arch::x86_64::*;

    const ROWS: usize = 6;
    const PANELS: usize = 2;
    const LANES: usize = 8;

    /// The kernels of this level.
    pub(in crate::kernels) const KERNELS: Kernels =
        Kernels { pairs: &Avx2Pairs, quads: None, one_by_one: None };

    /// For pairs of signed 16-bit codes.
    #[derive(Debug)]
    struct Avx2Pairs;

    impl Kernel for Avx2Pairs {
        fn shape(&self) -> KernelShape {
            KernelShape { codes: 2, lanes: LANES, rows: ROWS, cols: PANELS * LANES }
        }

        unsafe fn run(&self, tile: &SumTile<'_>, places: &LinePlaces, sums: &mut [i32]) {
            // SAFETY: as the caller promises.
            unsafe {
                match tile.cols <= LANES {
                    true => add::<1>(tile, places, sums),
                    false => add::<PANELS>(tile, places, sums),
                }
            }
        }
    }

    /// # Safety
    ///
    /// As that of [`Kernel::run`].
    #[target_feature(enable = "avx2")]
    unsafe fn add<const PANELS: usize>(tile: &SumTile<'_>, places: &LinePlaces, sums: &mut [i32]) {
        let SumTile { a, b, panel, steps, rows, cols, stride, start } = *tile;
        let mut totals = [[_mm256_setzero_si256(); PANELS]; ROWS];
        // Places beyond the last step are not read.
        let (mut a_run, mut b_place) = (a.words.as_ptr(), b.as_ptr());
        let (runs, run) = a.runs();
        for _ in 0..runs {
            let mut a_place = a_run;
            for _ in 0..steps {
                let mut b_words = [_mm256_setzero_si256(); PANELS];
                for (at, words) in b_words.iter_mut().enumerate() {
                    let place = b_place.wrapping_add(at * panel);
                    // SAFETY: the tile fits.
                    *words = unsafe { _mm256_loadu_si256(place.cast()) };
                }
                for (&line, totals) in places.iter().zip(&mut totals) {
                    // SAFETY: the tile fits.
                    let word = _mm256_set1_epi32(unsafe { *a_place.wrapping_add(line) });
                    for (total, words) in totals.iter_mut().zip(b_words) {
                        *total = _mm256_add_epi32(*total, _mm256_madd_epi16(word, words));
                    }
                }
                a_place = a_place.wrapping_add(a.step);
                b_place = b_place.wrapping_add(LANES);
            }
            a_run = a_run.wrapping_add(run);
        }
        for (row, totals) in totals.iter().enumerate() {
            for (at, &total) in totals.iter().enumerate() {
                if row < rows {
                    let used = (cols - at * LANES).min(LANES) as i32;
                    let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                    let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(used), lane);
                    // SAFETY: the tile fits, and no lane beyond its columns is touched.
                    unsafe {
                        let place = sums.as_mut_ptr().add(row * stride + at * LANES);
                        let sum = match start {
                            Some(start) => start.as_ptr().add(at * LANES),
                            None => place,
                        };
                        let sum = _mm256_maskload_epi32(sum, mask);
                        _mm256_maskstore_epi32(place, mask, _mm256_add_epi32(sum, total));
                    }
                }
            }
        }
    }
}
