//! What happens to a sum at the array's edge.

use systoliq_fxp::Sum;
use systoliq_program::GemmTask;

/// The code of output `(i, j)` whose products are all added, and whether it overflowed: takes the
/// bias as the last addition.
pub(crate) fn finish(task: &GemmTask<'_>, mut sum: Sum, i: usize, j: usize) -> (i64, bool) {
    let overflowed = match task.bias {
        Some(bias) => {
            let (k, index) = (task.a.cols() as u64, (i * task.b.cols() + j) as u64);
            task.adder.add_bias(&mut sum, bias.code(0, j), bias.format().frac(), index, k)
        }
        None => task.adder.overflowed(&sum),
    };
    (sum.value, overflowed)
}
