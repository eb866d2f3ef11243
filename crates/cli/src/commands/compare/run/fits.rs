//! Whether `predictions.csv` is that of the run whose report lies beside it.

use systoliq_run::Right;
use systoliq_study::report::check::{CheckResult, expect};

use super::{FinishedReport, PredictedClasses};

/// Checks that the classes of the first seed are right as often as its report says, and where that names
/// the samples, for these.
pub(super) fn check(
    found: &FinishedReport,
    PredictedClasses { labels, fixed }: &PredictedClasses,
) -> CheckResult {
    let right = Right::new(labels, fixed);
    let counted = (!right.is_empty()).then(|| right.errors() as f64 / right.len() as f64);
    let stated = found.fixed.error_rate.last().copied().flatten();
    let expected = format!("{counted:?}, as predictions.csv has it");
    expect(stated == counted, "fixed.error_rate", stated, &expected)?;
    let first = found.seeds.first().and_then(|seed| seed.fixed.right.as_ref());
    match first.filter(|first| **first != right) {
        None => Ok(()),
        Some(_) => {
            Err("seeds.0.fixed.right: other samples than predictions.csv has right".to_owned())
        }
    }
}
