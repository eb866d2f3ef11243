//! Targets and best epochs of curves made by hand.

use super::*;

/// Evaluations of 300 samples, of which `errors` are wrong.
fn evaluation(errors: u64) -> Evaluation {
    Evaluation { count: 300, loss: errors as f64, errors: Some(errors), information: None }
}

/// A curve with these errors on the validation part, and half as many on the test part.
fn validated(errors: &[u64]) -> Curve {
    let mut curve = tested(&errors.iter().map(|errors| errors / 2).collect::<Vec<_>>());
    for (epoch, &errors) in curve.epochs.iter_mut().zip(errors) {
        epoch.validation = Some(evaluation(errors));
    }
    curve
}

/// A curve with these errors on the test part, and no validation part.
fn tested(errors: &[u64]) -> Curve {
    let epoch =
        |&errors: &u64| Epoch { training_loss: 1.0, validation: None, test: evaluation(errors) };
    Curve { initial: evaluation(270), epochs: errors.iter().map(epoch).collect(), right: None }
}

/// A regression with these losses on the validation part.
fn regression(losses: &[f64]) -> Curve {
    let mut curve = validated(&vec![0; losses.len()]);
    for (epoch, &loss) in curve.epochs.iter_mut().zip(losses) {
        let validation = Evaluation { loss, errors: None, ..evaluation(0) };
        epoch.validation = Some(validation);
        epoch.test = Evaluation { loss: 2.0 * loss, ..validation };
    }
    curve
}

/// By epoch 10 cycles and 1 pJ in fixed point, 20 cycles and 7 pJ in floating point.
fn spent(epochs: u64) -> Vec<Spent> {
    let spent = |at: u64| Spent {
        cycles: 10 * at,
        energy_pj: Picojoules(at as f64),
        float32_cycles: 20 * at,
        float32_energy_pj: Picojoules(7.0 * at as f64),
    };
    (1..=epochs).map(spent).collect()
}

/// What these pairs of golden's and the fixed curve took, at 1 MHz.
fn target(runs: &[(Curve, Curve)], stated: Option<f64>) -> Option<ToTarget> {
    let spent = spent(20);
    let learned: Vec<Learned<'_>> =
        runs.iter().map(|(golden, fixed)| Learned { golden, fixed, spent: &spent }).collect();
    ToTarget::of(&learned, stated, 1.0)
}

/// Golden's curve, with three such epochs at its end.
fn golden(errors: u64) -> Curve {
    validated(&[100, 50, errors, errors, errors])
}

#[test]
fn a_target_is_reached_at_the_first_epoch_whose_mean_of_three_is_there() {
    // Means of 300 from epoch 3 on: 20, 10, 10, 9, 36. One epoch of 0 is no arrival.
    let curves = (validated(&[9, 9, 9, 9, 9, 9]), validated(&[50, 0, 10, 20, 0, 7, 100]));
    let found = target(&[curves], Some(0.03)).expect("a stated target");
    // (20 + 0 + 7) / 900 is 0.03, and not above it.
    let reached = |epochs, cycles, energy| {
        let seconds = cycles as f64 / 1e6;
        Some(Reached { epochs, cycles, seconds, energy_pj: Picojoules(energy) })
    };
    assert_eq!(found.fixed, reached(6, 60, 6.0));
    assert_eq!(found.golden, reached(3, 60, 21.0), "never before epoch 3");
    assert_eq!((found.error_rate, found.stated), (0.03, true));
    assert_eq!((found.part, found.over_seeds), (Judging::Validation, None));
}

#[test]
fn a_target_that_is_above_every_mean_or_needs_more_epochs_is_not_reached() {
    let never = validated(&[28, 0, 56, 0, 28, 0, 56]);
    for (golden, fixed) in [(golden(9), never), (validated(&[0, 0]), validated(&[0]))] {
        let arrives = golden.epochs.len() > 2;
        let found = target(&[(golden, fixed)], Some(0.03)).expect("a stated target");
        assert_eq!((found.fixed, found.golden.is_some()), (None, arrives));
    }
}

#[test]
fn the_test_part_counts_where_there_is_no_validation_part() {
    let errors = [30, 30, 30, 6, 6, 6];
    let found = |curve: fn(&[u64]) -> Curve| {
        let found = target(&[(curve(&errors), curve(&errors))], Some(0.02)).expect("a target");
        (found.part, found.fixed.map(|reached| reached.epochs))
    };
    assert_eq!(found(tested), (Judging::Test, Some(6)));
    assert_eq!(found(validated), (Judging::Validation, Some(6)));
    // On the test part, with half the errors, this would have been epoch 3.
    let curve = validated(&[12, 12, 12, 6, 6, 6]);
    let found = target(&[(curve.clone(), curve)], Some(0.02)).expect("a target");
    assert_eq!(found.fixed.map(|reached| reached.epochs), Some(6));
}

#[test]
fn golden_sets_the_target_with_three_seeds_and_not_with_two() {
    let runs = |errors: &[u64]| -> Vec<(Curve, Curve)> {
        errors.iter().map(|&errors| (golden(errors), validated(&[12, 12, 12, 6, 6]))).collect()
    };
    assert_eq!(target(&runs(&[9]), None), None);
    assert_eq!(target(&runs(&[9, 12]), None), None);
    assert!(target(&runs(&[9, 12]), Some(0.1)).is_some());
    let of = |errors: &[u64]| target(&runs(errors), None).expect("a target of golden's").error_rate;
    // The first seed sets nothing by itself: the median of 30, 9 and 12 of 300, and of four the middle.
    assert_eq!(of(&[30, 9, 12]), 12.0 / 300.0);
    assert_eq!(of(&[30, 9, 12, 15]), (12.0 / 300.0 + 15.0 / 300.0) / 2.0);
    // The mean of the last three, not the last.
    let last = || (validated(&[90, 30, 9, 12, 15]), golden(9));
    assert_eq!(target(&[last(), last(), last()], None).unwrap().error_rate, 36.0 / 900.0);
    // Two epochs have no mean of three.
    let short = || (validated(&[9, 9]), validated(&[9, 9]));
    assert_eq!(target(&[short(), short(), short()], None), None);
    let none = || (regression(&[1.0; 4]), regression(&[1.0; 4]));
    assert_eq!(target(&[none(), none(), none()], None), None);
}

#[test]
fn over_seeds_a_run_that_never_arrives_takes_more_than_any() {
    let arriving_at = |epoch: usize| {
        let errors = (1..=8).map(|at| if at + 2 < epoch { 300 } else { 0 });
        validated(&errors.collect::<Vec<_>>())
    };
    let never = || validated(&[300; 8]);
    let of = |fixed: Vec<Curve>| {
        let runs: Vec<_> = fixed.into_iter().map(|fixed| (arriving_at(3), fixed)).collect();
        let found = target(&runs, Some(0.03)).expect("a target").over_seeds.expect("seeds");
        let all = Quartiles { lower: 21.0, median: 21.0, upper: 21.0 };
        let golden = ReachedOverSeeds { seeds: runs.len(), reached: runs.len(), energy_pj: all };
        assert_eq!(found.golden, golden);
        let Quartiles { lower, median, upper } = found.fixed.energy_pj;
        (found.fixed.reached, [lower, median, upper])
    };
    let five = (5, [4.0, 5.0, 6.0]);
    assert_eq!(of([7, 3, 5, 4, 6].map(arriving_at).to_vec()), five);
    // Of an even number, between the two in the middle.
    assert_eq!(of([6, 3, 4, 5].map(arriving_at).to_vec()), (4, [3.75, 4.5, 5.25]));
    let inf = f64::INFINITY;
    let some = vec![arriving_at(4), never(), arriving_at(3), arriving_at(5), never()];
    assert_eq!(of(some), (3, [4.0, 5.0, inf]));
    // Half arrive: the median is between the last that does and one that does not.
    let half = vec![arriving_at(3), arriving_at(4), never(), never()];
    assert_eq!(of(half), (2, [3.75, inf, inf]));
    assert_eq!(of(vec![never(), never()]), (0, [inf; 3]));
}

#[test]
fn the_best_epoch_is_chosen_on_the_validation_part_and_quoted_on_the_test_part() {
    let mut curve = validated(&[20, 8, 14, 8, 10]);
    // The test part alone would choose the last.
    curve.epochs[4].test = evaluation(0);
    let best = BestEpoch::new(&curve).expect("a validation part");
    let expected = BestEpoch {
        epoch: 2,
        validation_error_rate: Some(8.0 / 300.0),
        error_rate: Some(4.0 / 300.0),
        loss_bits: Extended(4.0),
    };
    assert_eq!(best, expected);
    assert_eq!(BestEpoch::new(&tested(&[20, 8, 14])), None);
    let best = BestEpoch::new(&regression(&[f64::NAN, 3.0, 1.0, f64::INFINITY, 2.0]));
    let expected = BestEpoch {
        epoch: 3,
        validation_error_rate: None,
        error_rate: None,
        loss_bits: Extended(2.0),
    };
    assert_eq!(best, Some(expected));
    assert_eq!(BestEpoch::new(&regression(&[f64::NAN, f64::INFINITY])), None);
}
