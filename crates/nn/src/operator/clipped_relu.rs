//! `min(max(0, Z), M)`, and its mask "0 < stored value < M".

use ndarray::{Array2, Zip};

use crate::golden::Real;

/// What values are clipped at, M, in multiples of 2^-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClippedRelu {
    /// M · 2^16, more than 0.
    pub most: i64,
}

impl ClippedRelu {
    /// Fraction bits of M.
    pub const FRAC: u32 = 16;

    /// The largest M.
    pub const MAX: f64 = 32768.0;

    /// Clipped at `max`, rounded to 16 fraction bits, to nearest-even; `None` unless that is more than
    /// 0 and at most [`MAX`](Self::MAX).
    ///
    /// ```
    /// use systoliq_nn::ClippedRelu;
    /// assert_eq!(ClippedRelu::at(6.0), Some(ClippedRelu { most: 6 << 16 }));
    /// assert_eq!(ClippedRelu::at(2f64.powi(-17)), None);
    /// ```
    pub fn at(max: f64) -> Option<Self> {
        let most = (max * f64::from(1 << Self::FRAC)).round_ties_even();
        (most >= 1.0 && max <= Self::MAX).then_some(Self { most: most as i64 })
    }

    /// M.
    pub fn to_f64(self) -> f64 {
        self.most as f64 / f64::from(1 << Self::FRAC)
    }

    pub(super) fn apply<F: Real>(self, value: &mut Array2<F>) {
        let most = F::of(self.to_f64());
        // Not `max` and `min`, which would hide a NaN.
        value.mapv_inplace(|z| match z {
            z if z <= F::zero() => F::zero(),
            z if z >= most => most,
            z => z,
        });
    }

    pub(super) fn mask<F: Real>(self, gradient: &mut Array2<F>, stored: &Array2<F>) {
        let most = F::of(self.to_f64());
        Zip::from(gradient).and(stored).for_each(|dz, &y| {
            if y <= F::zero() || y >= most {
                *dz = F::zero();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::testing::{check_gradient, reals};

    const HALF: ClippedRelu = ClippedRelu { most: 1 << 15 };

    fn applied<F: Real>(mut value: Array2<F>) -> Array2<F> {
        HALF.apply(&mut value);
        value
    }

    #[test]
    fn it_clips_at_both_ends_and_hides_no_nan() {
        let z = array![[-1.5_f32, -0.0, 0.25], [0.5, f32::INFINITY, f32::NEG_INFINITY]];
        assert_eq!(applied(z), array![[0.0, 0.0, 0.25], [0.5, 0.5, 0.0]]);
        assert!(applied(array![[f64::NAN]])[(0, 0)].is_nan());
        for (z, found) in reals("clipped", 1, 7, 5).iter().zip(&applied(reals("clipped", 1, 7, 5)))
        {
            assert_eq!(*found, z.clamp(0.0, 0.5));
        }
    }

    #[test]
    fn its_mask_gives_finite_differences_and_is_0_at_both_ends() {
        for seed in 0..5 {
            let (z, mut dz) = (reals("clipped", seed, 4, 3), reals("clipped", seed + 9, 4, 3));
            let weight = dz.clone();
            HALF.mask(&mut dz, &applied(z.clone()));
            check_gradient(&dz, &z, &weight, |z| applied(z.clone()));
        }
        let mut dz = array![[3.0, 4.0, 5.0]];
        HALF.mask(&mut dz, &array![[0.0, 0.25, 0.5]]);
        assert_eq!(dz, array![[0.0, 4.0, 0.0]]);
    }
}
