//! Published results as experiments, on a part of Fashion-MNIST: what formats keep and lose there.
//!
//! Figures of the fixed-point network are pinned as the command printed them, since they are the same on
//! every CPU; golden's are read. Those on the whole of MNIST are in docs/validation.md.

use crate::{shell, support};

use serde_json::Value;

/// Error rates by epoch, golden and fixed.
fn error_rates(experiment: &str, precision: &str, epochs: u32) -> [Vec<f64>; 2] {
    let sets = [
        format!("dataset.dir={}", support::fashion().display()),
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
fn formats_of_784_100_10_keep_and_lose_what_they_do_on_mnist() {
    let mut golden_rates = Vec::new();
    for (precision, pinned) in [
        ("q2.14-nearest", 0.29),
        ("q2.14-stochastic", 0.295),
        // On MNIST, too, it never learns: 83 points lost.
        ("q2.6-nearest", 0.795),
        ("q2.6-stochastic", 0.305),
        ("q2.6-stochastic-wide-master", 0.3),
    ] {
        let [golden, fixed] = error_rates("mlp-100", precision, 20);
        assert_eq!(fixed.last(), Some(&pinned), "{precision}: {fixed:?}");
        // Of 200 samples: four of them, or most.
        let lost = pinned - golden[19];
        let most = precision == "q2.6-nearest";
        assert!(if most { lost > 0.4 } else { lost.abs() <= 0.0201 }, "{precision}: {golden:?}");
        golden_rates.push(golden);
    }
    assert!(golden_rates.windows(2).all(|pair| pair[0] == pair[1]), "{golden_rates:?}");
}

#[test]
fn nearest_degrades_with_fewer_fraction_bits_and_stochastic_does_not() {
    for (precision, pinned) in [
        ("q2.14-nearest", 0.39),
        ("q2.14-stochastic", 0.39),
        ("q8.8-nearest", 0.905),
        ("q8.8-stochastic", 0.4),
    ] {
        let [golden, fixed] = error_rates("gupta-2015", precision, 2);
        assert_eq!(fixed[1], pinned, "{precision}: {fixed:?}");
        let lost = fixed[1] - golden[1];
        let nearest = precision == "q8.8-nearest";
        assert!(if nearest { lost > 0.4 } else { lost < 0.03 }, "{precision}: {golden:?}");
    }
}
