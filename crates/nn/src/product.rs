//! Products of matrices in floating point, and the order of their additions.
//!
//! The products of 256 neighbouring k are added one after the other, fused with the multiplications where
//! the processor can; the sums of such blocks are added in their order. So does `matrixmultiply`, which
//! multiplies small matrices here, through ndarray; and so does `gemm`, which is faster, for all others,
//! called block by block: then none of its own blocks, which depend on caches, is smaller.
//!
//! All `unsafe` code of the crate is here: the call of `gemm`.

#![allow(unsafe_code)]

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, s};

use crate::golden::Real;

/// How many products are summed before the sum is added to that of others.
const BLOCK: usize = 256;

/// Up to so many outputs, `gemm` adds in lanes; and with up to so many k, or one row or column alone,
/// without fusing.
const OUTPUTS_FEW: usize = 256;
const K_FEW: usize = 2;

/// `A·B`.
///
/// # Panics
///
/// Unless A has as many columns as B has rows.
pub(crate) fn product<F: Real>(a: ArrayView2<'_, F>, b: ArrayView2<'_, F>) -> Array2<F> {
    let ((m, k), n) = (a.dim(), b.ncols());
    assert_eq!(k, b.nrows(), "columns of A and rows of B");
    if m.min(n) < 2 || m * n <= OUTPUTS_FEW || k <= K_FEW {
        return a.dot(&b);
    }
    let mut sums = Array2::zeros((m, n));
    for from in (0..k).step_by(BLOCK) {
        let block = from..k.min(from + BLOCK);
        let (a, b) = (a.slice(s![.., block.clone()]), b.slice(s![block, ..]));
        if a.ncols() <= K_FEW {
            general_mat_mul(F::one(), &a, &b, F::one(), &mut sums);
        } else {
            add_product(a, b, &mut sums, from > 0);
        }
    }
    sums
}

/// Adds `A·B` to sums that are there, or puts it there.
fn add_product<F: Real>(
    a: ArrayView2<'_, F>,
    b: ArrayView2<'_, F>,
    sums: &mut Array2<F>,
    are_there: bool,
) {
    let ((m, k), n) = (a.dim(), b.ncols());
    assert_eq!((k, sums.dim()), (b.nrows(), (m, n)), "sizes of A, B and their product");
    let (one, single) = (F::one(), gemm::Parallelism::None);
    let [row, column] = [0, 1].map(|axis| sums.strides()[axis]);
    let [[a_row, a_column], [b_row, b_column]] =
        [&a, &b].map(|of| [of.strides()[0], of.strides()[1]]);
    // SAFETY: the pointers are those of matrices of the sizes that are given, as was just asserted, with
    // their own strides; `sums` is borrowed alone, and `F` is `f32` or `f64`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            sums.as_mut_ptr(),
            column,
            row,
            are_there,
            a.as_ptr(),
            a_column,
            a_row,
            b.as_ptr(),
            b_column,
            b_row,
            one,
            one,
            false,
            false,
            false,
            single,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::reals;

    /// The same by a plain loop over blocks.
    fn plain<F: Real>(a: ArrayView2<'_, F>, b: ArrayView2<'_, F>) -> Array2<F> {
        let fuses = cfg!(not(target_arch = "x86_64")) || has_fma();
        Array2::from_shape_fn((a.nrows(), b.ncols()), |(row, column)| {
            let mut sum = None;
            for from in (0..a.ncols()).step_by(BLOCK) {
                let mut of_block = F::zero();
                for k in from..a.ncols().min(from + BLOCK) {
                    let (x, y) = (a[(row, k)], b[(k, column)]);
                    of_block = if fuses { x.mul_add(y, of_block) } else { x * y + of_block };
                }
                sum = Some(sum.map_or(of_block, |sum| sum + of_block));
            }
            sum.unwrap_or(F::zero())
        })
    }

    fn has_fma() -> bool {
        #[cfg(target_arch = "x86_64")]
        return is_x86_feature_detected!("fma");
        #[cfg(not(target_arch = "x86_64"))]
        true
    }

    fn check<F: Real>(a: &Array2<f64>, b: &Array2<f64>, [a_turned, b_turned]: [bool; 2]) {
        let (a, b) = (a.mapv(F::of), b.mapv(F::of));
        let a = if a_turned { a.t() } else { a.view() };
        let b = if b_turned { b.t() } else { b.view() };
        let (found, expected) = (product(a, b), plain(a, b));
        let bits = |of: &Array2<F>| of.mapv(|value| value.widen().to_bits());
        let case = format!("{:?} times {:?}, turned: {a_turned} {b_turned}", a.dim(), b.dim());
        assert_eq!(bits(&found), bits(&expected), "{case}");
    }

    #[test]
    fn products_are_those_of_a_plain_loop_to_the_last_bit_at_any_size() {
        for (m, n) in
            [(1, 1), (1, 300), (2, 130), (16, 16), (16, 17), (33, 10), (100, 100), (65, 129)]
        {
            for k in [0, 1, 2, 3, 64, 100, 255, 256, 257, 258, 259, 784, 1030] {
                for turned in [[false, false], [false, true], [true, false], [true, true]] {
                    let matrix = |seed, rows, cols, turned| match turned {
                        true => reals("product", seed, cols, rows),
                        false => reals("product", seed, rows, cols),
                    };
                    let (a, b) = (matrix(1, m, k, turned[0]), matrix(2, k, n, turned[1]));
                    check::<f32>(&a, &b, turned);
                    check::<f64>(&a, &b, turned);
                }
            }
        }
    }
}
