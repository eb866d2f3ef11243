//! The sum of values of one shape, element by element: what a residual connection ends in.

use ndarray::Array2;

use crate::golden::Real;
use crate::graph::Shape;

pub(super) fn shape(reads: &[Shape]) -> Shape {
    assert!(reads.len() >= 2, "an add reads two values or more");
    assert!(reads.iter().all(|&shape| shape == reads[0]), "an add reads values of one shape");
    reads[0]
}

/// The sum, added in the order in which they are read.
pub(super) fn forward<F: Real>(reads: &[&Array2<F>]) -> Array2<F> {
    let mut sum = reads[0].clone();
    for &read in &reads[1..] {
        sum += read;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Operator;
    use crate::testing::{check_gradient, reals};

    #[test]
    fn it_is_the_sum_in_the_order_of_what_it_reads_in_either_type() {
        let [a, b, c] = [1.0e8_f32, 1.0, -1.0e8].map(|value| Array2::from_elem((2, 3), value));
        assert_eq!(forward(&[&a, &b, &c])[(1, 2)], 1.0e8 + 1.0 - 1.0e8);
        assert_eq!(forward(&[&a, &c, &b])[(1, 2)], 1.0);
        let [a, b] = [1, 2].map(|seed| reals("add", seed, 3, 2));
        for ((place, &sum), a) in forward(&[&a, &b]).indexed_iter().zip(&a) {
            assert_eq!(sum, a + b[place]);
        }
    }

    #[test]
    fn each_of_what_it_reads_has_the_gradient_of_the_sum() {
        for count in [2, 3] {
            let reads: Vec<_> = (0..count).map(|seed| reals("add", seed, 4, 3)).collect();
            let gradient = reals("add", 9, 4, 3);
            let found = Operator::Add.input_gradient(&[], &gradient, None);
            for place in 0..reads.len() {
                check_gradient(&found, &reads[place], &gradient, |moved| {
                    let mut all: Vec<_> = reads.iter().collect();
                    all[place] = moved;
                    forward(&all)
                });
            }
        }
    }

    #[test]
    #[should_panic(expected = "values of one shape")]
    fn values_of_two_shapes_are_not_added() {
        shape(&[Shape::Features(2), Shape::Features(3)]);
    }

    #[test]
    #[should_panic(expected = "two values or more")]
    fn one_value_is_not_added() {
        shape(&[Shape::Features(2)]);
    }
}
