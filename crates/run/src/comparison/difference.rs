//! The difference between a tensor of codes and what floating point has in its place.

use serde::{Deserialize, Serialize};
use systoliq_fxp::Tensor;

use systoliq_nn::Extended;

/// Sums over elements `g` of golden and `q` in fixed point, over any number of tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// `Σ g²`.
    golden: f64,
    /// `Σ q²`.
    fixed: f64,
    /// `Σ g·q`.
    product: f64,
    /// `Σ (g − q)²`.
    error: f64,
    /// The largest `|g − q|`, in ulp of the format that `q` had.
    worst_ulp: f64,
    /// The largest `|g|`.
    golden_max: f64,
    /// Whether some `g` is negative.
    golden_negative: bool,
    elements: u64,
}

/// What there is to say of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// `10·log₁₀(Σg² / Σ(g − q)²)`: infinite where nothing differs, nothing where golden is all
    /// zeros.
    pub sqnr_db: Option<Extended>,
    /// The largest `|g − q|` in ulp of the fixed-point format.
    pub max_error_ulp: Extended,
    /// `Σgq / √(Σg²·Σq²)`; nothing where either is all zeros.
    pub cosine: Option<Extended>,
    /// `√(Σg² / n)`.
    pub golden_rms: Extended,
    /// The largest `|g|`.
    pub golden_max: Extended,
    /// Whether some `g` is negative.
    #[serde(default)]
    pub golden_negative: bool,
    /// In a probe, the signal-to-quantization-noise ratio of the conversion alone that made the
    /// tensor from what was before it in fixed point.
    pub conversion_db: Option<Extended>,
}

impl Difference {
    /// Adds the elements of `fixed`, in the place of which golden has `golden`, row by row.
    ///
    /// # Panics
    ///
    /// If these differ in number.
    pub fn add(&mut self, fixed: &Tensor, mut golden: impl ExactSizeIterator<Item = f64>) {
        assert_eq!(fixed.len(), golden.len(), "elements in fixed and in floating point");
        self.elements += golden.len() as u64;
        fixed.each_real(|q, unit| {
            let g = golden.next().expect("as many elements");
            let error = g - q;
            self.golden += g * g;
            self.fixed += q * q;
            self.product += g * q;
            self.error += error * error;
            self.golden_max = self.golden_max.max(g.abs());
            self.golden_negative |= g < 0.0;
            // A power of two, as is what it divides by.
            let ulp = error.abs() / unit;
            // Not `max`, which would hide a NaN; once there, it stays.
            if ulp > self.worst_ulp || ulp.is_nan() {
                self.worst_ulp = ulp;
            }
        });
    }

    /// The figures.
    pub fn figures(&self) -> Figures {
        let decibels = 10.0 * libm::log10(self.golden / self.error);
        let cosine = self.product / (self.golden.sqrt() * self.fixed.sqrt());
        Figures {
            sqnr_db: (self.golden != 0.0).then_some(Extended(decibels)),
            max_error_ulp: Extended(self.worst_ulp),
            cosine: (self.golden != 0.0 && self.fixed != 0.0).then_some(Extended(cosine)),
            golden_rms: Extended((self.golden / self.elements.max(1) as f64).sqrt()),
            golden_max: Extended(self.golden_max),
            golden_negative: self.golden_negative,
            conversion_db: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes in `Q4.4`, so in sixteenths.
    fn figures(codes: &[i64], golden: &[f64]) -> Figures {
        let tensor = Tensor::from_codes("Q4.4".parse().unwrap(), 1, codes.len(), codes);
        let mut difference = Difference::default();
        difference.add(&tensor, golden.iter().copied());
        difference.figures()
    }

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        // q = (1, 2), g = (1.25, 2.5): Σg² = 7.8125, Σe² = 0.3125, a ratio of 25; Σgq = 6.25.
        let found = figures(&[16, 32], &[1.25, 2.5]);
        assert!((found.sqnr_db.unwrap().0 - 13.979_400_086_720_376).abs() < 1e-12);
        assert_eq!(found.max_error_ulp.0, 8.0);
        // Golden is a multiple of fixed.
        assert!((found.cosine.unwrap().0 - 1.0).abs() < 1e-15);
        // A right angle, and the opposite direction.
        assert_eq!(figures(&[16, 0], &[0.0, 3.0]).cosine.unwrap().0, 0.0);
        assert_eq!(figures(&[16, 0], &[-3.0, 0.0]).cosine.unwrap().0, -1.0);
    }

    #[test]
    fn nothing_is_said_of_zeros_and_what_is_undefined_stays_so() {
        let exact = figures(&[16, -8], &[1.0, -0.5]);
        assert_eq!(exact.sqnr_db, Some(Extended(f64::INFINITY)));
        assert_eq!(exact.max_error_ulp.0, 0.0);
        let golden_zero = figures(&[16], &[0.0]);
        assert_eq!((golden_zero.sqnr_db, golden_zero.cosine), (None, None));
        assert_eq!(golden_zero.max_error_ulp.0, 16.0);
        let fixed_zero = figures(&[0], &[0.5]);
        assert_eq!((fixed_zero.sqnr_db, fixed_zero.cosine), (Some(Extended(0.0)), None));
        let undefined = figures(&[16, 16, 16], &[1.0, f64::NAN, 1.0]);
        assert!(undefined.sqnr_db.unwrap().0.is_nan() && undefined.max_error_ulp.0.is_nan());
    }

    #[test]
    fn sums_are_those_of_all_elements_and_ulps_those_of_each_format() {
        let mut difference = Difference::default();
        for (notation, codes, golden) in
            [("Q4.4", [16, 32], [1.25, 2.5]), ("Q6.2", [4, 4], [1.0; 2])]
        {
            let tensor = Tensor::from_codes(notation.parse().unwrap(), 1, 2, &codes);
            difference.add(&tensor, golden.into_iter());
        }
        let found = difference.figures();
        assert_eq!(found.max_error_ulp.0, 8.0);
        let expected = 10.0 * (9.8125_f64 / 0.3125).log10();
        assert!((found.sqnr_db.unwrap().0 - expected).abs() < 1e-12);
    }
}
