//! Published results as experiments on MNIST, which the folder in `SYSTOLIQ_DATA` holds.

use crate::shell;
use std::io::Write as _;

use serde_json::Value;

/// The folder of MNIST, if `SYSTOLIQ_DATA` names where it is.
fn mnist() -> Option<String> {
    let Ok(folder) = std::env::var("SYSTOLIQ_DATA") else {
        writeln!(std::io::stderr(), "SKIPPED: SYSTOLIQ_DATA names no folder with mnist/")
            .expect("standard error can be written");
        return None;
    };
    Some(format!("{folder}/mnist"))
}

/// Error rates by epoch, golden and fixed.
fn error_rates(experiment: &str, mnist: &str, precision: &str, epochs: u32) -> [Vec<f64>; 2] {
    let sets = [
        format!("dataset.dir={mnist}"),
        format!("precision=models/papers/fixed/{precision}.json"),
        format!("training.epochs={epochs}"),
    ];
    let experiment = format!("models/papers/{experiment}.json");
    let mut arguments = vec!["train", &experiment, "--json"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let report = shell::printed(&shell::root(), &arguments);
    let report: Value = serde_json::from_str(&report).expect("a report");
    ["golden", "fixed"].map(|network| {
        let rates = report[network]["error_rate"].as_array().expect("error rates");
        rates.iter().map(|rate| rate.as_f64().expect("a rate")).collect()
    })
}

#[test]
fn formats_of_784_100_10_lose_what_emulation_lost() {
    let Some(mnist) = mnist() else { return };
    let last = |rates: &[f64]| rates[rates.len() - 1];
    let mut golden_rates = Vec::new();
    for (precision, least, most) in [
        ("q2.14-nearest", -0.005, 0.005),
        ("q2.14-stochastic", -0.005, 0.005),
        ("q2.6-nearest", 0.5, 1.0),
        ("q2.6-stochastic", -0.005, 0.015),
        ("q2.6-stochastic-wide-master", -0.005, 0.006),
    ] {
        let [golden, fixed] = error_rates("mlp-100", &mnist, precision, 10);
        let lost = last(&fixed) - last(&golden);
        assert!(
            (least..=most).contains(&lost),
            "{precision}: {lost} lost of {golden:?}, {fixed:?}"
        );
        golden_rates = golden;
    }
    // Float32 curves of three seeds after 1, 5 and 10 epochs; see docs/validation.md.
    for (epoch, accuracy) in [(1, 0.919), (5, 0.957), (10, 0.971)] {
        let ours = 1.0 - golden_rates[epoch - 1];
        assert!((ours - accuracy).abs() <= 0.004, "epoch {epoch}: {ours}, expected {accuracy}");
    }
}

#[test]
fn nearest_degrades_with_fewer_fraction_bits_and_stochastic_does_not() {
    let Some(mnist) = mnist() else { return };
    let lost = |precision: &str| {
        let [golden, fixed] = error_rates("gupta-2015", &mnist, precision, 1);
        fixed[0] - golden[0]
    };
    let [nearest, stochastic] = ["nearest", "stochastic"]
        .map(|rounding| ["q2.14", "q8.8"].map(|format| lost(&format!("{format}-{rounding}"))));
    assert!(nearest[1] > nearest[0] + 0.1, "nearest: {nearest:?}");
    assert!(stochastic[1] < 0.02, "stochastic: {stochastic:?}");
}
