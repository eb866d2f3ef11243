//! The run at the top of README.md: what 8 bits cost on real digits.

use crate::support::{prepared, train};
use systoliq_run::EngineKind;
use systoliq_study::Report;

/// Ten paired seeds: golden at most 4 % test error, fixed within half a point of it in the mean,
/// and no seed worse by more than one point.
#[test]
fn eight_bits_lose_at_most_half_a_point_over_ten_seeds() {
    let prepared = prepared("digits-mlp", &[]);
    let records: Vec<_> =
        (1..=10).map(|seed| train(&prepared, seed, EngineKind::Fast, 1)).collect();
    let report = Report::new(&prepared, &records).unwrap();
    let over = report.accuracy_loss_over_seeds.expect("ten seeds of a classifier");
    println!("{over:#?}");
    let golden = over.golden_error_rate.iter().sum::<f64>() / 10.0;
    assert!(golden <= 0.04, "golden {golden}");
    assert!(over.mean <= 0.005, "mean loss {}", over.mean);
    for ((seed, fixed), golden) in
        over.seeds.iter().zip(&over.fixed_error_rate).zip(&over.golden_error_rate)
    {
        assert!(fixed - golden <= 0.01 + 1e-12, "seed {seed}: {fixed} against {golden}");
    }
    assert!(records.iter().all(|record| record.fixed.diverged().is_none()));
}

/// What the plan's defaults guard against: each of these settings loses points.
#[test]
fn narrow_masters_and_wrapping_masters_are_the_counter_examples() {
    let mean_error = |overrides: &[(&str, &str)]| {
        let prepared = prepared("digits-mlp", overrides);
        let error =
            |seed| train(&prepared, seed, EngineKind::Fast, 1).fixed.final_error_rate().unwrap();
        (1..=3).map(error).sum::<f64>() / 3.0
    };
    let plan = mean_error(&[]);
    let no_spare = mean_error(&[("precision.weights.spare", "0")]);
    let wrapping =
        mean_error(&[("precision.master.overflow", "wrap"), ("precision.weights.spare", "0")]);
    println!("plan {plan:.4}, no bit to spare {no_spare:.4}, wrapping master {wrapping:.4}");
    // At a smaller rate, most steps are less than half an ulp of an 8-bit master.
    let rate = ("training.rate", "0.1");
    let slow = mean_error(&[rate]);
    let narrow =
        mean_error(&[rate, ("precision.master", r#"{"bits": 8, "rounding": "nearest-even"}"#)]);
    println!("at rate 0.1: plan {slow:.4}, 8-bit master {narrow:.4}");
    assert!(narrow > slow + 0.01, "{narrow} against {slow}");
    assert!(no_spare > plan + 0.01, "{no_spare} against {plan}");
    assert!(wrapping > plan + 0.3, "{wrapping} against {plan}");
}
