//! `max(0, Z)`, and its mask "stored value > 0".

use ndarray::{Array2, Zip};

use crate::golden::Real;

pub(super) fn apply<F: Real>(value: &mut Array2<F>) {
    // Not `max`, which would hide a NaN.
    value.mapv_inplace(|z| if z <= F::zero() { F::zero() } else { z });
}

pub(super) fn mask<F: Real>(gradient: &mut Array2<F>, stored: &Array2<F>) {
    Zip::from(gradient).and(stored).for_each(|dz, &y| {
        if y <= F::zero() {
            *dz = F::zero();
        }
    });
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::testing::{check_gradient, reals};

    fn applied<F: Real>(mut value: Array2<F>) -> Array2<F> {
        apply(&mut value);
        value
    }

    #[test]
    fn it_is_the_larger_of_0_and_the_element_and_hides_no_nan() {
        let z = array![[-1.5_f32, -0.0, 0.0], [2.5, f32::INFINITY, f32::NEG_INFINITY]];
        assert_eq!(applied(z), array![[0.0, 0.0, 0.0], [2.5, f32::INFINITY, 0.0]]);
        assert!(applied(array![[f64::NAN]])[(0, 0)].is_nan());
        let z = reals("relu", 1, 7, 5);
        for (z, found) in z.iter().zip(&applied(z.clone())) {
            assert_eq!(*found, z.max(0.0));
        }
    }

    #[test]
    fn its_mask_gives_finite_differences_and_is_0_at_0() {
        for seed in 0..5 {
            let (z, mut dz) = (reals("relu", seed, 4, 3), reals("relu", seed + 9, 4, 3));
            let weight = dz.clone();
            mask(&mut dz, &applied(z.clone()));
            check_gradient(&dz, &z, &weight, |z| applied(z.clone()));
        }
        let mut dz = array![[3.0, 4.0]];
        mask(&mut dz, &array![[0.0, 1.0]]);
        assert_eq!(dz, array![[0.0, 4.0]]);
    }
}
