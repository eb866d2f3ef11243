//! Kernels in plain loops.

use super::{CodeWord, Kernel, KernelShape, Kernels, LinePlaces, SumTile};

const ROWS: usize = 4;
const LANES: usize = 8;

/// The kernels of this level.
pub(super) const KERNELS: Kernels =
    Kernels { pairs: &PortablePairs, quads: None, one_by_one: None };

/// For pairs of signed 16-bit codes.
#[derive(Debug)]
struct PortablePairs;

impl Kernel for PortablePairs {
    fn shape(&self) -> KernelShape {
        KernelShape { codes: 2, lanes: LANES, rows: ROWS, cols: LANES }
    }

    unsafe fn run(&self, tile: &SumTile<'_>, lines: &LinePlaces, sums: &mut [i32]) {
        let SumTile { a, b, steps, rows, cols, stride, start, .. } = *tile;
        let mut tile_sums = [[0i32; LANES]; ROWS];
        let (runs, run) = a.runs();
        let places = (0..runs).flat_map(|at| (0..steps).map(move |step| at * run + step * a.step));
        for (place, b) in places.zip(b.as_chunks::<LANES>().0) {
            for (line, sums) in lines.iter().zip(&mut tile_sums) {
                let a = a.words[line + place];
                for (&b, sum) in b.iter().zip(sums) {
                    *sum = sum.wrapping_add(products(a, b));
                }
            }
        }
        for (sums, added) in sums.chunks_mut(stride).zip(&tile_sums).take(rows) {
            let sums = &mut sums[..cols];
            if let Some(start) = start {
                sums.copy_from_slice(&start[..cols]);
            }
            for (sum, &added) in sums.iter_mut().zip(added) {
                *sum = sum.wrapping_add(added);
            }
        }
    }
}

/// The sum of the products of two pairs.
#[inline(always)]
fn products(a: CodeWord, b: CodeWord) -> i32 {
    let even = i32::from(a as i16).wrapping_mul(i32::from(b as i16));
    even.wrapping_add((a >> 16).wrapping_mul(b >> 16))
}
