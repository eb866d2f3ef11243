//! The examples of docs/lecture.md: its claims as tests, and its figures as they are computed here.
//!
//! Every table that docs/lecture.md takes from these tests is held to it line by line. Run with
//! `--nocapture` to see them.

use std::f64::consts::LN_2;

use crate::support::{data, models, prepared, train};
use ndarray::{Array2, array};
use systoliq_fxp::{SoftmaxFormat, SoftmaxUnit};
use systoliq_nn::golden::{LayerParameters, Parameters};
use systoliq_nn::metrics::{cross_entropy_bits, entropy_bits, kl_divergence_bits};
use systoliq_nn::{Answers, Batch, Golden, epoch_order, initial_weights};
use systoliq_program::{Engine, EntryName, Reference, Role, Step, Store};
use systoliq_run::{EngineKind, Prepared};
use systoliq_study::Report;
use systoliq_study::swamping::{floor_bias, nearest_stalls, stochastic_excess};

/// A table of docs/lecture.md, line by line.
pub(crate) struct Table(Vec<String>);

impl Table {
    pub(crate) fn new(heading: &str) -> Self {
        Self(vec![heading.to_owned()])
    }

    pub(crate) fn line(&mut self, line: String) {
        self.0.push(line);
    }

    /// Prints the table, and asserts that docs/lecture.md shows each of its lines.
    #[track_caller]
    #[allow(clippy::print_stdout)] // Only shown with `--nocapture`.
    pub(crate) fn check(&self) {
        let lecture = include_str!("../docs/lecture.md");
        println!("{}", self.0.join("\n"));
        let shows = |line: &&String| lecture.lines().any(|theirs| theirs == line.as_str());
        let missing: Vec<_> = self.0.iter().filter(|line| !shows(line)).collect();
        assert!(missing.is_empty(), "docs/lecture.md does not show: {missing:#?}");
    }
}

// The worked example.

/// `P̂₁` of logits `ŷ₁`, `ŷ₂`, as the lecture writes it.
fn first_probability(y: [f64; 2]) -> f64 {
    y[0].exp() / (y[0].exp() + y[1].exp())
}

/// `∂d/∂w₁ … ∂d/∂w₄` for `ŷ₁ = w₁x₁ + w₂x₂`, `ŷ₂ = w₃x₁ + w₄x₂` and the true class `c`, 1 or 2.
fn by_the_chain_rule(p: f64, x: [f64; 2], c: u32) -> [f64; 4] {
    let first = (p - f64::from(u8::from(c == 1))) / LN_2;
    [first * x[0], first * x[1], -first * x[0], -first * x[1]]
}

fn logits(w: &Array2<f64>, x: [f64; 2]) -> [f64; 2] {
    [w[(0, 0)] * x[0] + w[(0, 1)] * x[1], w[(1, 0)] * x[0] + w[(1, 1)] * x[1]]
}

fn sample(x: [f64; 2], c: u32) -> Batch {
    Batch { inputs: array![x], answers: Answers::Labels(vec![c - 1]) }
}

/// Each sample of the experiment and its class, counted from 1.
fn samples(prepared: &Prepared) -> Vec<([f64; 2], u32)> {
    let data = data(prepared, 1);
    let inputs = |row| data.train.inputs(&[row]);
    let rows = 0..data.train.len() as u32;
    rows.map(|row| {
        let class = data.train.labels(&[row]).expect("labels")[0] + 1;
        ([inputs(row)[(0, 0)], inputs(row)[(0, 1)]], class)
    })
    .collect()
}

fn golden_with(prepared: &Prepared, weights: &Array2<f64>) -> Golden<f64> {
    let layers = vec![LayerParameters { weights: weights.clone(), bias: None }];
    Golden::from_parameters(&prepared.graph, Parameters { layers }).expect("a matrix that fits")
}

/// Runs the commands of step 0, each on what the ones before it left.
fn one_step(prepared: &Prepared, weights: &Array2<f64>, batch: &Batch) -> Store {
    let mut store = Store::new(&prepared.program, std::slice::from_ref(weights), 1);
    let step = Step::training(1, 0);
    store.load(batch, &step);
    for &command in &prepared.program.step {
        Reference.run(command, &mut store, &step);
    }
    store
}

fn codes(store: &Store, role: Role) -> (Vec<i64>, Vec<f64>, String) {
    let id = store.program().find(role, EntryName::Number(0)).expect("a tensor of this role");
    let tensor = store.tensor(id).expect("a tensor that is written");
    let reals = tensor.to_reals().into_iter().collect();
    (tensor.to_codes(), reals, tensor.format().to_string())
}

#[test]
fn golden_gradients_of_the_worked_example_are_those_of_the_chain_rule() {
    let prepared = prepared("binary-classifier", &[]);
    let training = &prepared.experiment.training;
    for seed in 0..50 {
        let weights = &initial_weights(&prepared.graph, seed)[0] * (1.0 + seed as f64 / 5.0);
        let golden = golden_with(&prepared, &weights);
        for (x, _) in samples(&prepared) {
            for c in [1, 2] {
                let p = first_probability(logits(&weights, x));
                let found = golden.gradients(&sample(x, c), training);
                let y = logits(&weights, x);
                let true_class = first_probability(if c == 1 { y } else { [y[1], y[0]] });
                let loss = -true_class.log2();
                let case = format!("seed {seed}, x = {x:?}, class {c}");
                let tolerance = 8.0 * f64::EPSILON * (1.0 + loss);
                assert!((found.loss - loss).abs() <= tolerance, "{case}: {} {loss}", found.loss);
                let expected = by_the_chain_rule(p, x, c);
                for (found, expected) in found.parameters.layers[0].weights.iter().zip(expected) {
                    // A few roundings of numbers of at most |x / ln 2|.
                    let tolerance = 8.0 * f64::EPSILON * x[0].abs().max(x[1].abs()) / LN_2;
                    assert!((found - expected).abs() <= tolerance, "{case}: {found} {expected}");
                }
            }
        }
    }
}

/// Every rounding on the way is at most half an ulp, and softmax is within 2e-6. `P̂₁` depends on
/// `ŷ₁ − ŷ₂` with a slope of at most ¼, so that `P̂₁` is off by at most half of what a logit is.
#[test]
fn fixed_gradients_of_the_worked_example_are_within_their_ulps() {
    let prepared = prepared("binary-classifier", &[]);
    let plan = &prepared.plan.layers[0];
    let value = &prepared.plan.values[&prepared.graph.output()];
    let half = |plan: &systoliq_program::TensorPlan| plan.format.ulp() / 2.0;
    let mut worst = 0f64;
    for seed in 0..50 {
        let weights = initial_weights(&prepared.graph, seed).remove(0);
        for (x, _) in samples(&prepared) {
            for c in [1, 2] {
                let store = one_step(&prepared, &weights, &sample(x, c));
                assert_eq!(codes(&store, Role::Input).1, x, "x is exact in its format");
                let stored = codes(&store, Role::Logits).1;
                let found = codes(&store, Role::WeightGradients).1;
                let weight = half(&plan.master) + half(&plan.weights);
                let logit = half(&value.stored) + weight * (x[0].abs() + x[1].abs());
                let exact = first_probability(logits(&weights, x));
                for (p, off) in
                    [(first_probability([stored[0], stored[1]]), 2e-6), (exact, 2e-6 + logit / 2.0)]
                {
                    for (at, expected) in by_the_chain_rule(p, x, c).into_iter().enumerate() {
                        let error = off / LN_2 + half(&value.gradient);
                        let tolerance = error * x[at % 2].abs() + half(&plan.weight_gradients);
                        let difference = (found[at] - expected).abs();
                        let case = format!("seed {seed}, x = {x:?}, class {c}, weight {}", at + 1);
                        assert!(difference <= tolerance, "{case}: {difference} > {tolerance}");
                        worst = worst.max(difference / tolerance);
                    }
                }
            }
        }
    }
    println!("at worst {worst:.3} of the tolerance");
    assert!(worst > 0.5, "a tolerance that is too wide: {worst}");
}

/// The table of the worked example: what `--dump-step 0` writes, beside golden.
#[test]
fn the_first_step_of_the_worked_example_is_the_one_in_the_lecture() {
    let prepared = prepared("binary-classifier", &[]);
    let seed = prepared.experiment.seed;
    let data = data(&prepared, seed);
    let row = epoch_order(seed, 0, data.train.len())[0];
    let batch = data.train.batch(&[row]);
    let x: [f64; 2] = [batch.inputs[(0, 0)], batch.inputs[(0, 1)]];
    assert_eq!((x, &batch.answers), ([1.5, -0.5], &Answers::Labels(vec![0])));
    let weights = initial_weights(&prepared.graph, seed).remove(0);
    let mut golden = golden_with(&prepared, &weights);
    let store = one_step(&prepared, &weights, &batch);
    let gradients = golden.gradients(&batch, &prepared.experiment.training);
    golden.step(&batch, &prepared.experiment.training, 0);

    let mut shown = Table::new("| quantity | golden | fixed | raw | format |");
    let mut table = |names: &[&str],
                     theirs: &[f64],
                     (raw, ours, format): (Vec<i64>, Vec<f64>, String)| {
        for (at, name) in names.iter().enumerate() {
            let (theirs, ours) = (theirs[at], ours[at]);
            shown.line(format!("| {name} | {theirs:.6} | {ours:.6} | {} | {format} |", raw[at]));
        }
    };
    table(&["x₁", "x₂"], &x, codes(&store, Role::Input));
    let before = Store::new(&prepared.program, std::slice::from_ref(&weights), seed);
    let flat = |matrix: &Array2<f64>| matrix.iter().copied().collect::<Vec<_>>();
    table(&["w₁", "w₂", "w₃", "w₄"], &flat(&weights), codes(&before, Role::Weights));
    table(&["ŷ₁", "ŷ₂"], &flat(gradients.logits()), codes(&store, Role::Logits));

    let id = prepared.program.logits;
    let softmax = SoftmaxUnit::new(SoftmaxFormat::default()).of(store.tensor(id).expect("logits"));
    let raw: Vec<i64> = softmax.probabilities.iter().map(|&p| p.into()).collect();
    let reals = raw.iter().map(|&p| p as f64 / 2f64.powi(30)).collect();
    let p = first_probability(logits(&weights, x));
    table(&["P̂₁", "P̂₂"], &[p, 1.0 - p], (raw, reals, "UQ2.30".to_owned()));
    let d = softmax.loss_sum(&[0]).to_f64();
    let raw = (d * 2f64.powi(30)) as i64;
    table(&["d"], &[gradients.loss], (vec![raw], vec![d], "30 fraction bits".to_owned()));

    table(&["∂d/∂ŷ₁", "∂d/∂ŷ₂"], &flat(gradients.error()), codes(&store, Role::Error));
    let names = ["∂d/∂w₁", "∂d/∂w₂", "∂d/∂w₃", "∂d/∂w₄"];
    table(
        &names,
        &flat(&gradients.parameters.layers[0].weights),
        codes(&store, Role::WeightGradients),
    );
    let after = &golden.parameters().layers[0].weights;
    table(&["w₁'", "w₂'", "w₃'", "w₄'"], &flat(after), codes(&store, Role::Master));
    shown.check();
}

// LMS.

/// The rate, the noise and the taps of an LMS experiment.
struct System {
    rate: f64,
    noise: f64,
    taps: Vec<f64>,
}

impl System {
    fn of(prepared: &Prepared) -> Self {
        let json = serde_json::to_value(&prepared.experiment).expect("an experiment");
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        Self {
            rate: number(&json["training"]["rate"]),
            noise: number(&json["dataset"]["noise"]),
            taps: json["dataset"]["taps"].as_array().expect("taps").iter().map(number).collect(),
        }
    }

    /// `E[e²]` after `steps` updates from taps whose squared distance is `distance`, for white
    /// Gaussian regressors of unit variance, independent from step to step:
    /// `E‖v‖² ← (1 − 2μ + (N + 2)μ²)·E‖v‖² + μ²Nσ²`, `v` the taps' error, σ² that of the noise.
    fn theory(&self, distance: f64, steps: usize) -> f64 {
        let (mu, n, noise) = (self.rate, self.taps.len() as f64, self.noise * self.noise);
        let factor = 1.0 - 2.0 * mu + (n + 2.0) * mu * mu;
        noise + (0..steps).fold(distance, |v, _| factor * v + mu * mu * n * noise)
    }
}

/// What LMS did, step by step.
struct Lms {
    /// `e²` of each step, before its update.
    golden: Vec<f64>,
    fixed: Vec<f64>,
    /// The taps at the end.
    golden_taps: Vec<f64>,
    fixed_taps: Vec<f64>,
    /// The fixed taps in the mean over the second half of the steps.
    mean_taps: Vec<f64>,
    stalled_rate: f64,
}

/// One pass over the training part: every regressor is used once, as the theory has it.
fn lms(prepared: &Prepared, seed: u64) -> Lms {
    let data = data(prepared, seed);
    let training = &prepared.experiment.training;
    let mut golden = Golden::<f64>::new(&prepared.graph, seed);
    let initial = initial_weights(&prepared.graph, seed);
    let mut store = Store::new(&prepared.program, &initial, seed);
    let order = epoch_order(seed, 0, data.train.len());
    let mut mean_taps = vec![0.0; data.features];
    let (mut asked, mut stalled) = (0, 0);
    let (mut golden_curve, mut fixed_curve) = (Vec::new(), Vec::new());
    for (number, &row) in order.iter().enumerate() {
        let batch = data.train.batch(&[row]);
        golden_curve.push(2.0 * golden.step(&batch, training, 0).loss);
        let step = Step::training(seed, number as u64);
        store.load(&batch, &step);
        for &command in &prepared.program.step {
            let outcome = Reference.run(command, &mut store, &step);
            fixed_curve.extend(outcome.loss.map(|loss| 2.0 * loss.to_f64()));
            for update in outcome.written.into_iter().filter_map(|written| written.update) {
                asked += update.asked;
                stalled += update.stalled;
            }
        }
        if number >= order.len() / 2 {
            let taps = codes(&store, Role::Master).1;
            let share = 1.0 / (order.len() - order.len() / 2) as f64;
            mean_taps.iter_mut().zip(taps).for_each(|(mean, tap)| *mean += share * tap);
        }
    }
    Lms {
        golden: golden_curve,
        fixed: fixed_curve,
        golden_taps: golden.parameters().layers[0].weights.iter().copied().collect(),
        fixed_taps: codes(&store, Role::Master).1,
        mean_taps,
        stalled_rate: stalled as f64 / asked.max(1) as f64,
    }
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(s, n), value| (s + value, n + 1.0));
    sum / count
}

#[test]
fn the_learning_curve_of_lms_is_that_of_the_theory() {
    const SEEDS: u64 = 400;
    let prepared = prepared("lms", &[("dataset.train", "401")]);
    let system = System::of(&prepared);
    let runs: Vec<Lms> = (1..=SEEDS).map(|seed| lms(&prepared, seed)).collect();
    // Initial weights are uniform in ±1/√N: each of variance 1/(3N).
    let distance = system.taps.iter().map(|tap| tap * tap).sum::<f64>() + 1.0 / 3.0;
    let mut table = Table::new("| step | theory | golden | fixed |");
    for step in [0, 10, 20, 50, 100, 150, 200, 300, 400] {
        let theory = system.theory(distance, step);
        let golden = mean(runs.iter().map(|run| run.golden[step]));
        let fixed = mean(runs.iter().map(|run| run.fixed[step]));
        table.line(format!("| {step} | {theory:.4} | {golden:.4} | {fixed:.4} |"));
        // The mean of 400 squares of a Gaussian is off by 7 % at one sigma, of products by more.
        for found in [golden, fixed] {
            assert!((found / theory - 1.0).abs() < 0.25, "step {step}: {found} {theory}");
        }
    }
    table.check();
}

#[test]
fn lms_finds_the_taps_in_golden_and_in_fixed() {
    let long = prepared("lms", &[("dataset.train", "4000")]);
    let system = System::of(&long);
    let run = lms(&long, 1);
    for (name, taps) in [("golden", &run.golden_taps), ("fixed", &run.fixed_taps)] {
        for (found, tap) in taps.iter().zip(&system.taps) {
            // In the steady state a tap's variance is μσ²/(2 − (N + 2)μ) = 1.1e-4; five sigmas.
            assert!((found - tap).abs() < 0.055, "{name}: {taps:?}");
        }
    }
    let prepared = prepared("lms", &[]);
    let record = train(&prepared, 1, EngineKind::Fast, 1);
    let floor = system.noise * system.noise;
    let mut table = Table::new("| epoch | golden | fixed |");
    let evaluations = |at: Option<usize>| {
        let of = |curve: &systoliq_run::trainer::Curve| {
            2.0 * at.map_or(curve.initial.loss, |at| curve.epochs[at].test.loss)
        };
        [of(&record.golden), of(&record.fixed)]
    };
    for (epoch, at) in [(0, None), (1, Some(0)), (2, Some(1)), (4, Some(3)), (8, Some(7))] {
        let [golden, fixed] = evaluations(at);
        table.line(format!("| {epoch} | {golden:.5} | {fixed:.5} |"));
    }
    for last in evaluations(Some(7)) {
        assert!(last > 0.9 * floor && last < 1.3 * floor, "{last} against {floor}");
    }
    table.check();
}

/// The mean-square bound is `2 / ((N + 2)σ²)` = 0.2 here; the mean's, `2 / λ_max`, is 2. Both are
/// of independent regressors; a delay line is another system, with a growth of its own.
#[test]
fn lms_diverges_beyond_the_mean_square_bound_and_converges_below_it() {
    let mut table = Table::new("| regressors | μ | theory | golden | fixed | diverges |");
    for (regressors, rate) in [
        ("independent", "0.02"),
        ("independent", "0.1"),
        ("independent", "0.25"),
        ("independent", "0.3"),
        ("delay-line", "0.1"),
        ("delay-line", "0.25"),
    ] {
        let prepared =
            prepared("lms", &[("training.rate", rate), ("dataset.regressors", regressors)]);
        let system = System::of(&prepared);
        let record = train(&prepared, 1, EngineKind::Fast, 1);
        let report = Report::new(&prepared, &[record]).expect("a report");
        let converges = system.rate < 2.0 / (system.taps.len() as f64 + 2.0);
        let theory = if converges { system.theory(0.0, 10_000) } else { f64::INFINITY };
        let case = format!("{regressors}, μ = {rate}");
        let [golden, fixed] = [&report.golden, &report.fixed].map(|curve| {
            assert_eq!(curve.diverged_at_epoch.is_none(), converges, "{case}");
            let square = mean(curve.loss_bits.iter().map(|loss| 2.0 * loss.0));
            assert!(!converges || (square / theory - 1.0).abs() < 0.25, "{case}: {square}");
            if square < 100.0 { format!("{square:.4}") } else { format!("{square:.1e}") }
        });
        let theory = match regressors {
            "independent" => format!("{theory:.4}"),
            _ => "-".to_owned(),
        };
        let epoch = match report.fixed.diverged_at_epoch {
            Some(epoch) => format!("epoch {epoch}"),
            None => "no".to_owned(),
        };
        table.line(format!("| {regressors} | {rate} | {theory} | {golden} | {fixed} | {epoch} |"));
    }
    table.check();
}

/// Master and weights in one format with `frac` fraction bits.
fn narrow(rate: &str, frac: i32, rounding: &str) -> Prepared {
    let bits = frac + 2;
    let master = format!(r#"{{"bits": {bits}, "frac": {frac}, "rounding": "{rounding}"}}"#);
    prepared(
        "lms",
        &[
            ("training.rate", rate),
            ("dataset.train", "4000"),
            ("precision.weights", &format!("Q2.{frac}")),
            ("precision.master", &master),
        ],
    )
}

/// What LMS with a narrow master comes to, over some seeds.
struct Narrow {
    /// Of the taps, in the mean over taps, seeds and the second half of the steps.
    bias: f64,
    /// `E[e²]` in the second half of the steps.
    square: f64,
    stalled_rate: f64,
}

/// One line of the lecture's table of narrow masters, and what it says.
fn narrow_master(rate: &str, frac: i32, rounding: &str, formula: f64, table: &mut Table) -> Narrow {
    let prepared = narrow(rate, frac, rounding);
    let system = System::of(&prepared);
    let runs: Vec<Lms> = (1..=8).map(|seed| lms(&prepared, seed)).collect();
    let errors = |run: &Lms| {
        let pairs = run.mean_taps.iter().zip(&system.taps);
        mean(pairs.map(|(found, tap)| found - tap))
    };
    let bias = mean(runs.iter().map(errors));
    let square = mean(runs.iter().flat_map(|run| run.fixed[2000..].iter().copied()));
    let stalled_rate = mean(runs.iter().map(|run| run.stalled_rate));
    let percent = 100.0 * stalled_rate;
    table.line(format!(
        "| Q2.{frac} | {rate} | {rounding} | {formula:.4} | {bias:.4} | {square:.4} | {percent:.1} % |"
    ));
    Narrow { bias, square, stalled_rate }
}

/// Each update loses half an ulp in the mean, which gradients have to make up for:
/// `μ·(w* − w) = 2^-f / 2`. A gradient that is exactly 0, as about 2 % are, loses nothing.
#[test]
fn floor_of_a_narrow_master_biases_the_taps_by_half_an_ulp_over_the_rate() {
    let mut table = Table::new("| master | μ | rounding | formula | bias | E[e²] | stalled |");
    for (rate, frac) in [("0.02", 8), ("0.01", 8), ("0.01", 10)] {
        let step = (-f64::from(frac)).exp2();
        let formula = floor_bias(step, rate.parse().expect("a rate"));
        let found = narrow_master(rate, frac, "floor", formula, &mut table);
        let case = format!("Q2.{frac}, μ = {rate}: {} against {formula}", found.bias);
        assert!((found.bias / formula - 1.0).abs() < 0.05, "{case}");
        // Eight taps off by that much, and the noise.
        assert!(found.square > 8.0 * formula * formula, "{case}");
        let unbiased = narrow_master(rate, frac, "stochastic", 0.0, &mut table);
        assert!(unbiased.bias.abs() < 0.005, "{}", unbiased.bias);
    }
    table.check();
}

/// Stochastic rounding adds a variance to every update, which the formula sums up; nearest loses what is below
/// half an ulp.
#[test]
fn noise_of_a_narrow_master_is_what_the_formula_says() {
    let mut table = Table::new("| master | μ | E[e²] | formula | float |");
    let mut unread = Table::new("| master | μ | rounding | formula | bias | E[e²] | stalled |");
    for (rate, frac, within) in
        [("0.02", 8, 0.03), ("0.01", 8, 0.03), ("0.01", 10, 0.03), ("0.01", 4, 0.1)]
    {
        let system = System::of(&narrow(rate, frac, "stochastic"));
        let float = system.theory(0.0, 10_000);
        let step = (-f64::from(frac)).exp2();
        let excess = stochastic_excess(system.taps.len(), system.rate, step, float);
        let found = narrow_master(rate, frac, "stochastic", 0.0, &mut unread);
        let formula = float + excess;
        let case = format!("Q2.{frac}, μ = {rate}: {} against {formula}", found.square);
        assert!((found.square / formula - 1.0).abs() < within, "{case}");
        table.line(format!(
            "| Q2.{frac} | {rate} | {:.4} | {formula:.4} | {float:.4} |",
            found.square
        ));
    }
    table.check();
    let step = (-8_f64).exp2();
    let stalled = narrow_master("0.01", 8, "nearest-even", 0.0, &mut unread);
    let formula = nearest_stalls(step, 0.01, stalled.square);
    assert!((stalled.stalled_rate - formula).abs() < 0.04, "{} {formula}", stalled.stalled_rate);
    assert_eq!(floor_bias(step, 0.02), -0.09765625);
}

/// Nearest-even loses every update below half an ulp. With `|μ·e·x|` far below that, the taps stop
/// before they are in place; stochastic rounding lets them go on. Where the ulp is narrower, most
/// updates stall, too, and little is lost: the rate alone proves nothing.
#[test]
fn nearest_rounding_of_a_narrow_master_stalls_and_of_a_very_narrow_one_stops() {
    let mut table = Table::new("| master | μ | rounding | formula | bias | E[e²] | stalled |");
    let mut narrow = |frac, rounding| narrow_master("0.01", frac, rounding, 0.0, &mut table);
    let wide = narrow(8, "nearest-even");
    let [nearest, stochastic] = ["nearest-even", "stochastic"].map(|rounding| narrow(4, rounding));
    assert!(
        wide.stalled_rate > 0.8 && wide.square < 0.0125,
        "{} {}",
        wide.stalled_rate,
        wide.square
    );
    assert!(nearest.stalled_rate > 0.99, "{}", nearest.stalled_rate);
    assert!(nearest.square > 1.5 * stochastic.square, "{} {}", nearest.square, stochastic.square);
    table.check();
}

// Information.

#[test]
fn two_equally_likely_symbols_have_one_bit_and_a_code_without_one_of_them_costs_infinitely() {
    let (p, q) = ([0.5, 0.5], [1.0, 0.0]);
    assert_eq!(entropy_bits(&p), 1.0);
    assert_eq!(cross_entropy_bits(&p, &q), f64::INFINITY);
    assert_eq!(kl_divergence_bits(&p, &q), f64::INFINITY);
    // Short of infinity: H(X, Y) = −½·log₂(1 − q) − ½·log₂ q for a Q of (1 − q, q).
    let mut table = Table::new("| Q | H(X) | H(X, Y) | D_KL |");
    for exponent in [1, 2, 4, 10, 20] {
        let q = (-f64::from(exponent)).exp2();
        let code = [1.0 - q, q];
        let (h, cross, kl) =
            (entropy_bits(&p), cross_entropy_bits(&p, &code), kl_divergence_bits(&p, &code));
        assert!((cross - h - kl).abs() < 1e-12 && cross >= h, "{code:?}");
        assert!((cross + 0.5 * (1.0 - q).log2() - 0.5 * f64::from(exponent)).abs() < 1e-12);
        table.line(format!(
            "| (1 - 2^-{exponent}, 2^-{exponent}) | {h:.4} | {cross:.4} | {kl:.4} |"
        ));
    }
    table.check();
}

#[test]
fn cross_entropy_and_divergence_of_one_hot_labels_are_the_loss() {
    let prepared = prepared("ten-way-classifier", &[]);
    let record = train(&prepared, prepared.experiment.seed, EngineKind::Fast, 1);
    let report = Report::new(&prepared, &[record]).expect("a report");
    let mut table = Table::new(
        "| epoch | P_e golden | P_e fixed | H(P, P̃) golden | H(P, P̃) fixed | H(P̃) fixed |",
    );
    let epochs = prepared.experiment.training.epochs as usize;
    for at in 0..epochs {
        let of = |curve: &systoliq_study::report::CurveReport| {
            let found = curve.information[at].expect("a classifier");
            assert_eq!(found.label_entropy_bits, 0.0);
            let difference = (found.cross_entropy_bits - found.kl_divergence_bits).abs();
            assert!(difference < 1e-12, "epoch {at}: H(P, P̃) − D_KL = {difference}");
            let loss = curve.loss_bits[at].0;
            // The integer softmax unit: P within 2e-6, the loss within 2e-5 of 1 bit or more.
            let difference = (found.cross_entropy_bits - loss).abs();
            assert!(difference < 1e-3 * loss, "epoch {at}: {difference}");
            (curve.error_rate[at].expect("a classifier"), found)
        };
        let ((golden_error, golden), (error, fixed)) = (of(&report.golden), of(&report.fixed));
        if [0, 1, 4, epochs - 1].contains(&at) {
            table.line(format!(
                "| {} | {:.1} % | {:.1} % | {:.3} | {:.3} | {:.3} |",
                at + 1,
                100.0 * golden_error,
                100.0 * error,
                golden.cross_entropy_bits,
                fixed.cross_entropy_bits,
                fixed.prediction_entropy_bits,
            ));
        }
    }
    table.check();
}

/// Twice the same sample with both labels: whatever is learnt, one of them is ruled out once the
/// logits are 22 apart or more, since P̃ has 30 fraction bits. The loss is computed from the
/// distance of the logits, and stays finite.
#[test]
fn a_true_class_with_probability_zero_is_reported_as_infinite_beside_a_finite_loss() {
    let prepared = prepared(
        "binary-classifier",
        &[
            ("dataset.inputs", "[[64, 0], [64, 0]]"),
            ("dataset.labels", "[0, 1]"),
            ("training.epochs", "1"),
            ("precision.input", "Q8.0"),
            ("precision.weights", "Q3.5"),
            ("precision.logits", "Q12.4"),
        ],
    );
    let record = train(&prepared, 1, EngineKind::Fast, 1);
    let report = Report::new(&prepared, &[record]).expect("a report");
    let json = serde_json::to_value(&report).expect("a report");
    let found = &json["fixed"]["information"][0];
    assert_eq!(found["cross_entropy_bits"], "inf");
    assert_eq!(found["kl_divergence_bits"], "inf");
    assert_eq!(found["label_entropy_bits"], 0.0);
    let loss = json["fixed"]["loss_bits"][0].as_f64().expect("a finite loss");
    let said = format!("while `fixed.loss_bits[0]` is {loss:.2}:");
    assert!(
        include_str!("../docs/lecture.md").contains(&said),
        "docs/lecture.md does not say {said}"
    );
    assert!(loss > 16.0, "{loss}");
}

/// What `train` says of three runs of LMS, as parts 7 and 8 quote it.
#[test]
fn the_command_says_of_lms_what_the_lecture_quotes() {
    let floor = r#"precision.master={"bits": 10, "frac": 8, "rounding": "floor"}"#;
    let runs: [&[&str]; 3] = [&[], &["training.rate=0.3"], &["precision.weights=Q2.8", floor]];
    for set in runs {
        let mut arguments = vec!["train", "models/lms.json"];
        set.iter().for_each(|change| arguments.extend(["--set", change]));
        let printed = crate::shell::printed(&crate::shell::root(), &arguments);
        let judged = printed
            .lines()
            .find(|line| line.starts_with("fixed loss is") || line.starts_with("golden diverged"));
        let judged = judged.unwrap_or_else(|| panic!("{set:?} is not judged: {printed}"));
        println!("{set:?}: {judged}");
        let quoted = include_str!("../docs/lecture.md").lines().any(|line| line.trim() == judged);
        assert!(quoted, "docs/lecture.md does not quote `{judged}`");
    }
}

#[test]
fn every_experiment_that_ships_trains() {
    let mut count = 0;
    for entry in std::fs::read_dir(models()).expect("the folder of experiments") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8");
        let prepared = prepared(name, &[("training.epochs", "1")]);
        assert_eq!(prepared.experiment.name, name);
        let described = format!("`{name}.json`");
        assert!(include_str!("../models/README.md").contains(&described), "{described}");
        count += 1;
        if ["mnist-mlp", "lenet-mnist"].contains(&name) {
            // Its data do not ship with the project.
            continue;
        }
        let record = train(&prepared, prepared.experiment.seed, EngineKind::Fast, 1);
        let [golden, fixed] = [&record.golden, &record.fixed].map(|curve| {
            assert_eq!(curve.diverged(), None, "{name}");
            curve.epochs[0].test.loss
        });
        println!("{name}: loss {golden:.4} golden, {fixed:.4} fixed");
        assert!(fixed < record.fixed.initial.loss, "{name}: {fixed}");
    }
    assert!(count >= 5, "{count}");
}
