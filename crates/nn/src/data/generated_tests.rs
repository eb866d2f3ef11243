//! Generated data against the laws that they are drawn from.

use ndarray::{Array1, Array2};

use super::*;
use crate::DataSpec;

fn fir(regressors: Regressors) -> FirSpec {
    FirSpec {
        taps: vec![0.5, -0.25, 1.0],
        noise: 0.1,
        train: 4000,
        validation: 10,
        test: 100,
        input_std: 2.0,
        regressors,
    }
}

fn all_rows(part: &Part) -> Vec<u32> {
    (0..part.len() as u32).collect()
}

/// Solves `a·x = b` by Gaussian elimination with pivoting.
fn solve(mut a: Array2<f64>, mut b: Array1<f64>) -> Array1<f64> {
    let n = b.len();
    for column in 0..n {
        let largest =
            |&i: &usize, &j: &usize| a[(i, column)].abs().total_cmp(&a[(j, column)].abs());
        let pivot = (column..n).max_by(largest).unwrap();
        for k in 0..n {
            a.swap((column, k), (pivot, k));
        }
        b.swap(column, pivot);
        for row in (0..n).filter(|&row| row != column) {
            let factor = a[(row, column)] / a[(column, column)];
            for k in 0..n {
                a[(row, k)] -= factor * a[(column, k)];
            }
            b[row] -= factor * b[column];
        }
    }
    Array1::from_shape_fn(n, |row| b[row] / a[(row, row)])
}

#[test]
fn deviates_have_the_moments_of_a_normal_distribution() {
    let key = Key::new(1).with_name("moments");
    let count = 1 << 18;
    let z: Vec<f64> = (0..count).map(|index| normal(key, index)).collect();
    // E z^k and the variance of z^k, for k = 1, 2, 3, 4; five standard errors.
    for (power, mean, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        let found = z.iter().map(|z| z.powi(power)).sum::<f64>() / count as f64;
        let error = (variance / count as f64).sqrt();
        assert!((found - mean).abs() < 5.0 * error, "E z^{power} = {found}");
    }
    let beyond = z.iter().filter(|z| z.abs() > 1.959_964).count() as f64 / count as f64;
    assert!((beyond - 0.05).abs() < 5.0 * (0.05 * 0.95 / count as f64).sqrt(), "{beyond}");
}

#[test]
fn least_squares_recovers_the_taps_and_the_noise() {
    for regressors in [Regressors::Independent, Regressors::DelayLine] {
        let spec = fir(regressors);
        let data = spec.generate(7);
        let rows = all_rows(&data.train);
        let (x, y) = (data.train.inputs(&rows), data.train.targets(&rows).unwrap());
        let y = y.column(0).to_owned();
        let found = solve(x.t().dot(&x), x.t().dot(&y));
        // Standard error of a tap: noise / (input_std · √n) = 0.0008.
        for (found, tap) in found.iter().zip(&spec.taps) {
            assert!((found - tap).abs() < 0.004, "{regressors:?}: {found}, expected {tap}");
        }
        let residual = (&y - &x.dot(&found)).mapv(|e| e * e).sum() / rows.len() as f64;
        assert!((residual.sqrt() / 0.1 - 1.0).abs() < 0.06, "{regressors:?}: {residual}");
        let variance = x.mapv(|x| x * x).sum() / x.len() as f64;
        assert!((variance / 4.0 - 1.0).abs() < 0.1, "{regressors:?}: {variance}");
    }
}

#[test]
fn a_delay_line_shifts_by_one_from_sample_to_sample_and_independent_inputs_do_not() {
    let shifts = |regressors| {
        let data = fir(regressors).generate(7);
        let x = data.train.inputs(&all_rows(&data.train));
        (1..x.nrows()).all(|n| (1..3).all(|k| x[(n, k)] == x[(n - 1, k - 1)]))
    };
    assert!(shifts(Regressors::DelayLine));
    assert!(!shifts(Regressors::Independent));
}

#[test]
fn parts_are_different_draws_of_the_same_clusters_and_the_seed_decides_them() {
    let spec = ClustersSpec {
        classes: 3,
        features: 5,
        spread: 0.25,
        train: 3000,
        validation: 3000,
        test: 3000,
    };
    let data = spec.generate(1);
    let means = |part: &Part| {
        let rows = all_rows(part);
        let (x, labels) = (part.inputs(&rows), part.labels(&rows).unwrap());
        let mut means = Array2::<f64>::zeros((3, 5));
        for (x, label) in x.outer_iter().zip(labels) {
            means.row_mut(label as usize).scaled_add(1.0 / 1000.0, &x);
        }
        means
    };
    let train = means(&data.train);
    for part in [&data.validation, &data.test] {
        assert_ne!(part.inputs(&[0]), data.train.inputs(&[0]));
        // Five standard errors of a difference of means: 5 · 0.25 · √(2/1000).
        let distance = (&means(part) - &train).mapv(f64::abs);
        assert!(distance.iter().all(|&distance| distance < 0.056), "{distance}");
    }
    assert_eq!(data, spec.generate(1));
    assert_ne!(data, spec.generate(2));
}

#[test]
fn a_part_does_not_depend_on_the_size_of_another() {
    let (small, large) = (fir(Regressors::Independent), fir(Regressors::Independent));
    let small = FirSpec { train: 5, ..small }.generate(1);
    assert_eq!(small.test, large.generate(1).test);
}

#[test]
fn impossible_generators_are_refused_with_key_and_number_before_memory_is_taken() {
    for (json, said) in [
        (r#"{"kind": "fir", "taps": [], "noise": 0, "train": 1, "test": 1}"#, ["taps", " 0,"]),
        (
            r#"{"kind": "fir", "taps": [1, 1e7], "noise": 0, "train": 1, "test": 1}"#,
            ["dataset.taps[1]", "10000000"],
        ),
        (
            r#"{"kind": "fir", "taps": [1], "noise": -1, "train": 1, "test": 1}"#,
            ["dataset.noise", "-1"],
        ),
        (
            r#"{"kind": "fir", "taps": [1], "noise": 0, "train": 0, "test": 1}"#,
            ["dataset.train", " 0,"],
        ),
        (
            r#"{"kind": "fir", "taps": [1, 2, 3], "noise": 0, "train": 100000000, "test": 1}"#,
            ["100000001 samples of 4", "134217728"],
        ),
        (
            r#"{"kind": "clusters", "classes": 1, "features": 1, "spread": 1, "train": 1, "test": 1}"#,
            ["dataset.classes", " 1,"],
        ),
        (
            r#"{"kind": "clusters", "classes": 2, "features": 1000000, "spread": 1,
                "train": 1000000, "test": 1}"#,
            ["1000001 samples of 1000000", "134217728"],
        ),
        (
            r#"{"kind": "clusters", "classes": 2, "features": 1, "spread": 1, "train": 1,
                "test": 18446744073709551615}"#,
            ["dataset.test", "18446744073709551615"],
        ),
    ] {
        let spec: DataSpec = serde_json::from_str(json).unwrap();
        let message = spec.load(1, &mut |_| unreachable!()).unwrap_err().to_string();
        assert!(said.iter().all(|part| message.contains(part)), "{json}: {message}");
    }
}
