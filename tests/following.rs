//! With formats wide enough, fixed point must follow floating point: the two share a graph, and
//! nothing else.

use crate::support::{data, prepared};
use systoliq_nn::{Batch, Golden, Training, ValueId, epoch_order, initial_weights};
use systoliq_program::{Engine, Operation, Program, Reference, Role, Step, Store};

/// 32-bit tensors and 64-bit accumulators, all with fraction bits to spare.
const WIDE: [(&str, &str); 11] = [
    ("training.golden", "f64"),
    ("precision.input", "Q4.28"),
    ("precision.weights", "Q4.28"),
    ("precision.master", r#"{"bits": 32, "frac": 28, "rounding": "nearest-even"}"#),
    ("precision.bias", "Q4.28"),
    ("precision.activations", r#"{"bits": 32, "frac": 26, "signed": false}"#),
    ("precision.logits", "Q6.26"),
    ("precision.error", r#"{"bits": 32, "frac": 29, "rounding": "nearest-even"}"#),
    ("precision.gradients", r#"{"bits": 32, "frac": 28, "rounding": "nearest-even"}"#),
    ("precision.weight_gradients", "Q4.28"),
    (
        "precision.accumulator",
        r#"{"bits": 64, "frac": 50, "rounding": "nearest-even", "overflow": "saturate"}"#,
    ),
];

fn batches(training: &Training, data: &systoliq_nn::DataSet, seed: u64) -> Vec<Batch> {
    let order = epoch_order(seed, 0, data.train.len());
    order.chunks(training.batch).take(20).map(|rows| data.train.batch(rows)).collect()
}

/// A hidden layer whose activations are clipped at 0.75, which many pass.
const CLIPPED: (&str, &str) = (
    "network.layers",
    r#"[{"dense": {"units": 32}}, {"clipped_relu": {"max": 0.75}}, {"dense": {"units": 10}}]"#,
);

#[test]
fn losses_of_the_first_twenty_steps_follow_golden() {
    for (seed, clipped) in [(1, false), (2, false), (1, true)] {
        let clipped = clipped.then_some(CLIPPED);
        let overrides: Vec<_> = WIDE.into_iter().chain(clipped).collect();
        let prepared = prepared("digits-mlp", &overrides);
        let (graph, training) = (&prepared.graph, &prepared.experiment.training);
        let data = data(&prepared, seed);
        let initial = initial_weights(graph, seed);
        let mut store = Store::new(&prepared.program, &initial, seed);
        let mut golden = Golden::<f64>::new(graph, seed);
        let mut worst = 0f64;
        for (number, batch) in batches(training, &data, seed).iter().enumerate() {
            let ours =
                step(&mut store, &prepared.program, batch, Step::training(seed, number as u64));
            let theirs = golden.step(batch, training, 0).loss;
            let relative = (ours - theirs).abs() / theirs;
            worst = worst.max(relative);
            assert!(relative < 1e-5, "step {number}: {ours} against {theirs}");
        }
        println!("seed {seed}: worst relative difference {worst:.2e}");
    }
}

/// One training step; returns the mean loss.
fn step(store: &mut Store, program: &Program, batch: &Batch, step: Step) -> f64 {
    store.load(batch, &step);
    let mut loss = None;
    for &command in &program.step {
        loss = Reference.run(command, store, &step).loss.or(loss);
    }
    loss.expect("a step computes its loss").to_f64() / batch.len() as f64
}

/// Every tensor of a step against golden's, within what the ulps of its operands predict.
#[test]
fn gradients_of_every_layer_and_pass_are_within_their_ulps() {
    let seed = 3;
    let prepared = prepared("digits-mlp", &WIDE);
    let (graph, training, program) =
        (&prepared.graph, &prepared.experiment.training, &prepared.program);
    let data = data(&prepared, seed);
    let initial = initial_weights(graph, seed);
    let mut store = Store::new(program, &initial, seed);
    let batch = &batches(training, &data, seed)[0];
    let expected = Golden::<f64>::new(graph, seed).gradients(batch, training);
    let at = Step::training(seed, 0);
    store.load(batch, &at);
    for (_, write, command) in program.all_writes() {
        // A command runs with the first of its writes.
        if Some(write) == program.writes_of(write.command).next().map(|(_, write)| write) {
            Reference.run(write.command, &mut store, &at);
        }
        let id = write.tensor;
        let decl = program.tensor(id);
        let ours = store.tensor(id).unwrap().to_reals();
        let number = decl.entry.number().expect("a chain of layers");
        let layer = &expected.parameters.layers[number];
        // Entries: a dense layer, its ReLU, and a dense layer.
        let output = ValueId::made_by([1, 2][number]);
        let (value, dz) = (&expected.values[output], &expected.gradients[output]);
        let bias = matches!(command.operation, Operation::Reduce(_));
        // Rounding of the tensor itself, and what its operands' errors add: inputs and weights are
        // exact, an activation is off by half an ulp; P by 2e-6, the softmax unit's bound, and the
        // logits' ulp; a sum over n terms by n times that of a term.
        let ulp = decl.plan.format.ulp();
        let logit_ulp = 2f64.powi(-26);
        let error = 2e-6 / std::f64::consts::LN_2 + 4.0 * logit_ulp;
        let (theirs, tolerance) = match decl.role {
            Role::Activations => (value.clone(), ulp),
            Role::Logits => (value.clone(), ulp + 64.0 * 0.125 * 2f64.powi(-27)),
            Role::Error => (dz.clone(), ulp + error),
            Role::Gradients => (dz.clone(), ulp + 10.0 * 0.125 * error),
            Role::WeightGradients if bias => {
                let db = layer.bias.clone().unwrap();
                (db.insert_axis(ndarray::Axis(0)), ulp + 2.0 * error)
            }
            // Inputs and activations are below 2 in the first step.
            Role::WeightGradients => (layer.weights.clone(), ulp + 4.0 * error),
            _ => continue,
        };
        assert_eq!(ours.dim(), theirs.dim(), "{}", write.name);
        let worst = (&ours - &theirs).iter().fold(0f64, |worst, d| worst.max(d.abs()));
        println!("{:<28} off by {worst:.2e}, tolerance {tolerance:.2e}", write.name);
        assert!(worst <= tolerance, "{}: {worst:e} over {tolerance:e}", write.name);
        assert!(theirs.iter().any(|value| value.abs() > 100.0 * tolerance), "{}", write.name);
    }
}
