//! Analyses of made-up results.

use std::io;

use serde_json::json;
use systoliq_energy::Picojoules;
use systoliq_run::Experiment;
use systoliq_study::drop::{DropVerdict, failing_at_most};

use systoliq_nn::Extended;

use super::*;
use crate::{Explorer, RunStore, Scores, SweepSpec, Trial, results_csv, runs_csv};

fn experiment() -> Value {
    json!({
        "name": "small",
        "seed": 1,
        "dataset": { "kind": "digits" },
        "network": { "input": [64], "layers": [{ "dense": { "units": 10 } }], "loss": "softmax_cross_entropy" },
        "training": { "epochs": 1, "batch": 200, "rate": 0.5 },
        "accelerator": { "array": { "rows": 8, "cols": 8 } }
    })
}

/// A sweep over 3 x 2 points and 2 seeds.
fn sweep() -> Sweep {
    let spec: SweepSpec = serde_json::from_value(json!({
        "name": "s",
        "experiment": experiment(),
        "seeds": 2,
        "axes": [
            { "name": "a, b", "path": ["precision.weights.bits", "precision.logits.bits"], "values": [4, 2, 8] },
            { "name": "g", "bundles": [
                { "name": "low", "set": { "precision.gradients.bits": 4 } },
                { "name": "high", "set": { "precision.gradients.bits": 8 } },
            ] },
        ],
    }))
    .unwrap();
    Sweep::new(spec, false).unwrap()
}

/// A real line, whose figures are then replaced.
fn template() -> Line {
    let open = |name: &str| Err(io::Error::other(name.to_owned()));
    let explorer = Explorer::new(RunStore::new(Lines::default(), io::sink()), &open);
    let experiment: Experiment = serde_json::from_value(experiment()).unwrap();
    explorer.evaluate(&Trial::new(experiment)).unwrap()
}

/// A line for each run, of which `edit` replaces the figures by point and seed.
fn lines(sweep: &Sweep, edit: impl Fn(usize, u64, &mut Line)) -> (Vec<RunKey>, Lines) {
    let template = template();
    let mut lines = Lines::default();
    let keys = sweep.runs().map(|(point, seed)| {
        let experiment = sweep.experiment(point, seed);
        let mut line = Line { key: RunKey::of(&experiment), experiment, ..template.clone() };
        edit(point, seed, &mut line);
        lines.insert(line.clone());
        line.key
    });
    (keys.collect(), lines)
}

/// Gives a run so many errors of 100 more than golden on both parts, and an energy.
fn figures(line: &mut Line, validation: i64, test: i64, energy: f64) {
    let RunOutcome::Done(found) = &mut line.outcome else { panic!("a run that is done") };
    let set = |scores: &mut Scores, errors: i64| {
        scores.count = 100;
        scores.errors = Some(vec![errors as u64]);
        scores.right = Some((0..100).map(|sample| sample >= errors).collect());
    };
    for (learning, validation, test) in
        [(&mut found.golden, 10, 20), (&mut found.fixed, 10 + validation, 20 + test)]
    {
        set(learning.validation.as_mut().unwrap(), validation);
        set(&mut learning.test, test);
    }
    found.energy_pj.total = Picojoules(energy);
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
}

#[test]
fn losses_are_paired_by_seed_and_quoted_with_their_interval() {
    let sweep = sweep();
    let (keys, lines) = lines(&sweep, |point, seed, line| {
        figures(line, point as i64 + seed as i64, 2 * seed as i64, 5.0 * seed as f64);
    });
    let analysis = Analysis::new(&sweep, &keys, &lines, 0.0);
    let point = &analysis.points[3];
    assert_eq!(
        (analysis.measure, analysis.selected_on),
        (Measure::ErrorRate, SelectedOn::Validation)
    );
    let validation = point.validation.as_ref().unwrap();
    // 4 and 5 errors of 100: mean 4.5 %, s² = 0.5e-4 and 1/(6 · 100²) for rounding, t(1) = 12.7062.
    close(validation.mean.0, 0.045);
    let half = 12.706_204_736 * ((0.5e-4 + 1.0 / 6e4) / 2.0_f64).sqrt();
    assert!((validation.ci95.unwrap().0 - half).abs() < 1e-9);
    let judged = validation.judged.as_ref().unwrap();
    assert_eq!((judged.verdict, judged.half_width_new_samples), (DropVerdict::CannotTell, None));
    assert!(judged.failing.is_empty()); // 4 of 100 are less than 3 · √4.
    close(validation.golden.0, 0.10);
    let test = point.test.as_ref().unwrap();
    assert_eq!(test.by_seed, [Extended(0.02), Extended(0.04)]);
    assert!(test.judged.as_ref().unwrap().half_width_new_samples.is_some());
    close(test.fixed.0, 0.23);
    close(point.costs.unwrap().energy_pj, 7.5);
}

/// Against the definition, for every point, on many random tables.
#[test]
fn fronts_and_cheapest_points_are_those_of_the_definition() {
    let sweep = sweep();
    for seed in 0..200u64 {
        let key = systoliq_keyed_random::Key::new(seed);
        let draw = |point: usize, of: u32| i64::from(key.below(2 * point as u64, of));
        let energy = |point: usize| f64::from(1 + key.below(2 * point as u64 + 1, 4));
        let (keys, lines) = lines_of(&sweep, |point| (draw(point, 5) - 1, energy(point)));
        let analysis = Analysis::new(&sweep, &keys, &lines, 0.01);
        let of = |point: usize| (draw(point, 5) - 1, energy(point));
        let dominated = |point: usize| {
            (0..6).any(|other| {
                let ((lost, cost), (less, cheaper)) = (of(point), of(other));
                let no_worse = less <= lost && cheaper <= cost;
                no_worse && (less < lost || cheaper < cost || other < point)
            })
        };
        let mut expected: Vec<usize> = (0..6).filter(|&point| !dominated(point)).collect();
        expected.sort_by(|&a, &b| of(a).1.total_cmp(&of(b).1));
        assert_eq!(analysis.fronts[&CostKind::EnergyPj], expected, "seed {seed}");
        let within = (0..6).filter(|&point| of(point).0 <= 1);
        let cheapest = within.min_by(|&a, &b| {
            of(a).1.total_cmp(&of(b).1).then(of(a).0.cmp(&of(b).0)).then(a.cmp(&b))
        });
        let found = analysis.within.cheapest.get(&CostKind::EnergyPj).copied();
        assert_eq!(found, cheapest, "seed {seed}");
    }
}

/// Lines of the same figures for every seed.
fn lines_of(sweep: &Sweep, of: impl Fn(usize) -> (i64, f64)) -> (Vec<RunKey>, Lines) {
    thread_local! {
        static TEMPLATE: Line = template();
    }
    let mut lines = Lines::default();
    let keys = sweep.runs().map(|(point, seed)| {
        let experiment = sweep.experiment(point, seed);
        let mut line = TEMPLATE.with(Line::clone);
        (line.key, line.experiment) = (RunKey::of(&experiment), experiment);
        let (lost, energy) = of(point);
        figures(&mut line, lost, 50 - lost, energy);
        let key = line.key;
        lines.insert(line);
        key
    });
    (keys.collect(), lines)
}

#[test]
fn sensitivity_is_the_mean_of_pairs_that_differ_in_one_step() {
    let sweep = sweep();
    // Lost: 8 bits 0, 4 bits 2, 2 bits 10; the low gradients 1 more, with 2 bits 3 more.
    let lost = |levels: &[usize]| {
        let (bits, low) = ([2, 10, 0][levels[0]], levels[1] == 0);
        bits + if low { if levels[0] == 1 { 3 } else { 1 } } else { 0 }
    };
    let energy =
        |levels: &[usize]| [4.0, 2.0, 8.0][levels[0]] * if levels[1] == 0 { 0.5 } else { 1.0 };
    let (keys, lines) =
        lines_of(&sweep, |point| (lost(&sweep.point(point)), energy(&sweep.point(point))));
    let analysis = Analysis::new(&sweep, &keys, &lines, 0.0);
    let found: Vec<_> = analysis
        .sensitivity
        .iter()
        .map(|step| (step.axis.as_str(), step.from.clone(), step.to.clone(), step.pairs))
        .collect();
    assert_eq!(
        found,
        [
            ("a, b", json!(8), json!(4), 2),
            ("a, b", json!(4), json!(2), 2),
            ("g", json!("high"), json!("low"), 3),
        ]
    );
    for (step, expected) in analysis.sensitivity.iter().zip([0.02, 0.09, 5.0 / 300.0]) {
        close(step.loss.0, expected);
        close(step.energy_factor.unwrap(), 0.5);
        // Seeds do not differ; a count of 100 samples is rounded.
        assert!((step.loss_ci95.unwrap().0 - 12.706_204_736 / 12e4_f64.sqrt()).abs() < 1e-9);
    }
}

#[test]
fn points_that_are_not_done_are_shown_and_not_selected() {
    let sweep = sweep();
    let (keys, mut lines) = lines(&sweep, |point, seed, line| {
        figures(line, 0, 0, 1.0 + point as f64);
        match (point, seed) {
            (0, 2) => line.outcome = RunOutcome::Failed("no, \"never\"".to_owned()),
            (1, 1) => {
                let RunOutcome::Done(found) = &mut line.outcome else { unreachable!() };
                found.fixed.test.loss = vec![Extended(1e9)];
            }
            _ => {}
        }
    });
    // Point 2 has not run with its second seed.
    let mut kept = Lines::default();
    lines.iter().filter(|line| line.key != keys[5]).for_each(|line| kept.insert(line.clone()));
    lines = kept;
    let analysis = Analysis::new(&sweep, &keys, &lines, 0.0);
    assert_eq!(analysis.fronts[&CostKind::EnergyPj], [1]);
    assert_eq!(analysis.points[1].diverged, [1]);
    assert_eq!(analysis.points[0].failed[&2], "no, \"never\"");
    assert!(analysis.points[2].costs.is_none() && analysis.points[2].failed.is_empty());
    let table = results_csv(&analysis);
    let rows: Vec<&str> = table.lines().collect();
    assert!(
        rows[0].starts_with("\"a, b\",g,seeds_done,seeds_failed,seeds_diverged,validation_loss")
    );
    assert!(rows[1].starts_with("4,low,0,1,0,,,,,,,,,,,,,,,,,,,0,0"), "{}", rows[1]);
    // 12.7062 · √(1/(6 · 100²)/2) = 0.03668.
    let half = analysis.points[1].test.as_ref().unwrap().ci95.unwrap().0;
    assert!((half - 0.036_68).abs() < 1e-5, "{half}");
    // The seed that diverged fails, though it lost nothing: 1 of 2, 97.5 % may.
    let judged = format!("1,{},0,cannot_tell", failing_at_most(1, 2));
    let expected = format!("4,high,2,0,1,0,{half},0.1,0.1,0,{half},0.2,0.2,{judged},pJ,2,");
    assert!(rows[2].starts_with(&expected), "{}", rows[2]);
    let table = runs_csv(&sweep, &analysis, &keys, &lines);
    let columns = |row: &str| row.matches(',').count();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 1 + 11);
    assert!(rows[2].contains(",\"no, \"\"never\"\"\","), "{}", rows[2]);
    assert!(rows[3..].iter().all(|row| columns(row) == columns(rows[3])), "{table}");
    assert_eq!(columns(rows[2]), columns(rows[3]) + 1, "{table}");
    assert_eq!(columns(rows[0]), columns(rows[3]) + 1, "{table}");
}

#[test]
fn nothing_is_lost_against_a_golden_model_that_diverged() {
    let sweep = sweep();
    let (keys, lines) = lines(&sweep, |point, seed, line| {
        figures(line, 1 - point as i64, 0, 6.0 - point as f64);
        let RunOutcome::Done(found) = &mut line.outcome else { panic!("a run that is done") };
        if (point, seed) == (5, 2) {
            found.golden.test.loss = vec![Extended(f64::INFINITY)];
        }
    });
    let analysis = Analysis::new(&sweep, &keys, &lines, 0.5);
    assert_eq!(analysis.points[5].golden_diverged, [2]);
    let lost = analysis.points[5].validation.as_ref().unwrap();
    assert!(lost.by_seed[1].0.is_nan() && lost.mean == lost.by_seed[0], "{lost:?}");
    assert_eq!(lost.judged.as_ref().unwrap().golden_diverged, [2]);
    // The cheapest point, and the one that would have lost least.
    assert_eq!(analysis.within.cheapest[&CostKind::EnergyPj], 4);
    assert!(!analysis.fronts[&CostKind::EnergyPj].contains(&5));
}

#[test]
fn energies_of_different_units_are_not_compared() {
    let sweep = sweep();
    let (keys, lines) = lines(&sweep, |point, seed, line| {
        figures(line, point as i64, seed as i64, 1.0);
        let RunOutcome::Done(found) = &mut line.outcome else { panic!("a run that is done") };
        if point % 2 == 1 {
            found.energy_pj.unit = EnergyUnit::Mac16;
        }
    });
    let analysis = Analysis::new(&sweep, &keys, &lines, 0.5);
    assert_eq!(analysis.energy_unit(), None);
    assert!(analysis.fronts[&CostKind::EnergyPj].is_empty());
    assert!(!analysis.within.cheapest.contains_key(&CostKind::EnergyPj));
    assert!(!analysis.fronts[&CostKind::Cycles].is_empty());
    for step in &analysis.sensitivity {
        // The second axis goes from one unit to the other.
        assert_eq!(step.energy_factor.is_some(), step.axis != "g", "{step:?}");
    }
    let table = results_csv(&analysis);
    assert!(table.contains(",pJ,") && table.contains(",mac16,"), "{table}");
}

#[test]
fn an_analysis_survives_its_text() {
    let sweep = sweep();
    let (keys, lines) = lines(&sweep, |point, seed, line| {
        figures(line, point as i64, seed as i64, 1.0);
    });
    let analysis = Analysis::new(&sweep, &keys, &lines, 0.5);
    let text = serde_json::to_string(&analysis).unwrap();
    assert_eq!(serde_json::from_str::<Analysis>(&text).unwrap(), analysis);
}
