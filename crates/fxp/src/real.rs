//! Real values that enter: each `f64` is an exact integer times a power of two.

/// The integer `m` and the number of fraction bits `f` with `value = m · 2^-f` and `m` odd or
/// zero; `None` for NaN and infinities.
///
/// ```
/// use systoliq_fxp::real::decompose;
/// assert_eq!(decompose(0.75), Some((3, 2)));
/// assert_eq!(decompose(-6.0), Some((-3, -1)));
/// assert_eq!(decompose(0.0), Some((0, 0)));
/// assert_eq!(decompose(f64::NAN), None);
/// ```
pub fn decompose(value: f64) -> Option<(i64, i32)> {
    if !value.is_finite() {
        return None;
    }
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32;
    let fraction = (bits & ((1 << 52) - 1)) as i64;
    let (magnitude, power) =
        if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    if magnitude == 0 {
        return Some((0, 0));
    }
    let zeros = magnitude.trailing_zeros() as i32;
    let odd = magnitude >> zeros;
    Some((if value < 0.0 { -odd } else { odd }, -(power + zeros)))
}

/// The real value `raw · 2^-frac`, rounded to the nearest `f64`.
pub fn compose(raw: i64, frac: i32) -> f64 {
    raw as f64 * 2f64.powi(-frac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decomposition_is_exact_for_every_kind_of_float() {
        for value in [1.0, -1.5, 1.0 / 3.0, 255.0, 5e-324, f64::MIN_POSITIVE, f64::MAX, -1e-310] {
            let (m, f) = decompose(value).unwrap();
            assert!(m % 2 != 0, "{value}");
            let half = f / 2;
            assert_eq!(m as f64 * 2f64.powi(-half) * 2f64.powi(half - f), value);
        }
    }
}
