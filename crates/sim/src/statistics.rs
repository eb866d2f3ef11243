//! Means of paired differences and how sure they are.

/// A mean and half the width of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Half the width, by Student's t; `None` for fewer than two values.
    pub ci95: Option<f64>,
}

/// 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom; NIST/SEMATECH e-Handbook of
/// Statistical Methods, section 1.3.6.7.2.
const T975: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The 97.5 % quantile; beyond the table by Cornish and Fisher's expansion about the normal one, z:
/// `z + (z³ + z) / 4ν + (5z⁵ + 16z³ + 3z) / 96ν²`.
fn t975(degrees: usize) -> f64 {
    const Z: f64 = 1.959_964;
    const CUBE: f64 = Z * Z * Z;
    const SECOND: f64 = (5.0 * CUBE * Z * Z + 16.0 * CUBE + 3.0 * Z) / 96.0;
    let degrees_real = degrees as f64;
    match T975.get(degrees - 1) {
        Some(&t) => t,
        None => Z + (CUBE + Z) / (4.0 * degrees_real) + SECOND / (degrees_real * degrees_real),
    }
}

/// The mean of `differences` and its interval, taking them as independent draws.
///
/// # Panics
///
/// If there are none.
pub fn paired_interval(differences: &[f64]) -> Interval {
    let count = differences.len();
    assert!(count > 0, "a mean of nothing");
    let mean = differences.iter().sum::<f64>() / count as f64;
    let ci95 = (count > 1).then(|| {
        let squares: f64 = differences.iter().map(|d| (d - mean) * (d - mean)).sum();
        t975(count - 1) * (squares / (count - 1) as f64 / count as f64).sqrt()
    });
    Interval { mean, ci95 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_textbook() {
        // Mean 3, s² = 2.5, t(4) = 2.776: 2.776 · √(2.5 / 5).
        let Interval { mean, ci95 } = paired_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(mean, 3.0);
        assert!((ci95.unwrap() - 1.9629).abs() < 1e-4);
        assert_eq!(paired_interval(&[7.0]).ci95, None);
    }

    #[test]
    fn quantiles_go_on_smoothly_beyond_the_table() {
        assert!((t975(31) - 2.0395).abs() < 1e-3);
        assert!((t975(100) - 1.984).abs() < 1e-3);
        assert!((1..2000).all(|degrees| t975(degrees) > t975(degrees + 1)));
    }
}
