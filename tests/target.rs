//! What it takes to reach a target, and the best epoch, as the command tells them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::shell::{experiment, printed, root, text};

/// A column of `curves.csv`, by seed.
fn column(folder: &Path, seeds: usize, name: &str) -> Vec<Vec<f64>> {
    let curves = fs::read_to_string(folder.join("run/curves.csv")).expect("curves");
    let mut lines = curves.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let at = lines.next().expect("names").iter().position(|&cell| cell == name).expect(name);
    let values: Vec<f64> = lines.map(|line| line[at].parse().expect("a number")).collect();
    values.chunks(values.len() / seeds).map(<[f64]>::to_vec).collect()
}

/// Trains anew; returns its report and what was printed.
fn train(folder: &Path, file: &str, more: &[&str]) -> (Value, String) {
    let common = ["train", file, "--out", "run", "--force"];
    let said = printed(folder, &[&common[..], more].concat());
    let report = fs::read(folder.join("run/report.json")).expect("a report");
    (serde_json::from_slice(&report).expect("JSON"), said)
}

/// Compares what is said of a network over three seeds with what follows from its curves.
fn arrives_as_its_curves_do(folder: &Path, report: &Value, said: &str, network: &str) {
    let target = &report["to_target"];
    let found = target["error_rate"].as_f64().expect("a target");
    let curves = column(folder, 3, &format!("{network}_validation_error_rate"));
    let energies =
        column(folder, 3, if network == "fixed" { "energy_pj" } else { "float32_energy_pj" });
    let arrive = |of: &Vec<f64>| {
        of.windows(3).position(|window| window.iter().sum::<f64>() / 3.0 <= found + 1e-12)
    };
    let arrivals: Vec<Option<usize>> = curves.iter().map(arrive).collect();
    let first = arrivals[0].map_or(Value::Null, |at| (at + 3).into());
    assert_eq!(target[network].get("epochs").unwrap_or(&Value::Null), &first, "{network}");
    let over = &target["over_seeds"][network];
    let reached = arrivals.iter().flatten().count();
    assert_eq!((&over["reached"], &over["seeds"]), (&reached.into(), &3.into()));
    let energy = |(at, of): (&Option<usize>, &Vec<f64>)| at.map_or(f64::INFINITY, |at| of[at + 2]);
    let mut energies: Vec<f64> = arrivals.iter().zip(&energies).map(energy).collect();
    energies.sort_by(f64::total_cmp);
    let median = over["energy_pj"]["median"].as_f64().unwrap_or(f64::INFINITY);
    assert!(median == energies[1] || (median / energies[1] - 1.0).abs() < 1e-12, "{network}");
    assert!(said.contains(&format!("reached {reached} of 3")), "{said}");

    let validated = &curves[0];
    let least = validated.iter().copied().fold(f64::INFINITY, f64::min);
    let at = validated.iter().position(|&rate| rate == least).expect("an epoch");
    let best = &report[network]["best"];
    assert_eq!(best["epoch"], at + 1, "{network}");
    assert_eq!(best["error_rate"], report[network]["error_rate"][at], "{network}");
    assert!(said.contains(&format!("{network}: epoch {}, error", at + 1)), "{said}");
}

#[test]
fn the_target_is_goldens_with_three_seeds_or_stated_and_the_best_epoch_is_on_the_test_part() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let mut small = experiment();
    small["training"]["epochs"] = 6.into();
    fs::write(folder.join("x.json"), text(&small)).expect("a new file");

    let (report, said) = train(folder, "x.json", &["--seeds", "3"]);
    let target = &report["to_target"];
    let golden = column(folder, 3, "golden_validation_error_rate");
    let mut ends: Vec<f64> = golden.iter().map(|of| of[3..].iter().sum::<f64>() / 3.0).collect();
    ends.sort_by(f64::total_cmp);
    let found = target["error_rate"].as_f64().expect("a target");
    assert!((found - ends[1]).abs() < 1e-12, "{found} {ends:?}");
    assert_eq!((&target["stated"], &target["part"]), (&false.into(), &"validation".into()));
    for network in ["golden", "fixed"] {
        arrives_as_its_curves_do(folder, &report, &said, network);
    }
    assert!(said.contains("on the validation part; the target is golden's end"), "{said}");
    assert!(said.contains("chosen on the validation part, quoted on the test part"), "{said}");

    let (report, said) = train(folder, "x.json", &["--seeds", "2"]);
    assert_eq!(report["to_target"], Value::Null);
    assert!(!said.contains("% error  fixed:"), "{said}");

    let state = ["--set", "training.target_error_rate=0.9", "--set", "training.epochs=5"];
    let unvalidated = root().join("models/binary-classifier.json");
    let unvalidated = unvalidated.to_str().expect("text");
    let (report, said) = train(folder, unvalidated, &state);
    let target = &report["to_target"];
    assert_eq!((&target["error_rate"], &target["stated"]), (&0.9.into(), &true.into()));
    assert_eq!((&target["part"], &target["fixed"]["epochs"]), (&"test".into(), &3.into()));
    assert_eq!((&target["over_seeds"], &report["fixed"]["best"]), (&Value::Null, &Value::Null));
    assert!(said.contains("on the test part, as there is no validation part\n"), "{said}");
    assert!(!said.contains("\nbest "), "{said}");

    let short = ["--set", "training.epochs=2"];
    let (report, said) = train(folder, "x.json", &[&state[..], &short].concat());
    assert_eq!(report["to_target"]["fixed"], Value::Null);
    assert!(said.contains("not reached: 2 epochs have no mean of 3"), "{said}");

    let forced = ["--set", "training.teacher_forced=true"];
    let (report, said) = train(folder, "x.json", &[&state[..], &short, &forced].concat());
    assert_eq!(report["to_target"], Value::Null);
    assert!(said.contains("to 90.00 % error  not asked of a teacher-forced network"), "{said}");
}
