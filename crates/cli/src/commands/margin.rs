//! `--margin`: what may be lost.

/// Reads a margin, a fraction.
pub(super) fn margin(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(margin) if (0.0..=1.0).contains(&margin) => Ok(margin),
        _ => Err("expected a fraction from 0 to 1, such as 0.005".to_owned()),
    }
}
