//! Engines equal the reference on random programs: networks, formats, scales, accumulators and rules of
//! learning as they come.

use std::sync::Arc;

use ndarray::Array2;
use serde_json::{Value, json};
use systoliq_array::Register;
use systoliq_array::register::Seen;
use systoliq_engine::Fast;
use systoliq_fxp::Tensor;
use systoliq_hardware::cost::{Arithmetic, Costs, EpochBatches};
use systoliq_hardware::events::Buffer;
use systoliq_nn::{Answers, Batch, initial_weights};
use systoliq_program::{
    CommandId, Engine, GemmTask, Operation, Outcome, Program, Reference, Step, Store, Sums,
    Workers, Written,
};
use systoliq_run::{Experiment, Prepared};

use crate::memory::Draws;

mod convolutions;
mod graphs;
mod pools;

const PROGRAMS: u64 = 2000;

const ROUNDINGS: [&str; 6] =
    ["floor", "nearest-even", "nearest-up", "nearest-away", "zero", "stochastic"];
const OVERFLOWS: [&str; 3] = ["saturate", "saturate-symmetric", "wrap"];

/// Settings of a tensor, of any scale that a role may have.
fn settings(draws: &mut Draws, scales: &[&str]) -> Value {
    let most = draws.of(&[15, 15, 15, 30]);
    let bits = 2 + draws.below(most);
    let mut settings = json!({
        "bits": bits,
        "rounding": draws.of(&ROUNDINGS),
        "overflow": draws.of(&OVERFLOWS),
        "scale": draws.of(scales),
    });
    let frac = draws.below(2 * bits) as i64 - bits as i64 / 3;
    match settings["scale"].as_str().expect("a scale") {
        "static" => settings["frac"] = json!(frac),
        "history" => settings["window"] = json!(1 + draws.below(3)),
        "block" => settings["block"] = json!(1 + draws.below(6)),
        "overflow-rate" => {
            settings["frac"] = json!(frac);
            settings["max_overflow_rate"] = json!(0.125);
            settings["every_batches"] = json!(1 + draws.below(2));
        }
        _ => {}
    }
    settings
}

/// Accumulators of all products, or of each by itself.
fn accumulators(draws: &mut Draws) -> Value {
    let mut all = accumulator(draws);
    for pass in ["forward", "input_gradient", "weight_gradient"] {
        if draws.below(4) == 0 {
            all[pass] = accumulator(draws);
        }
    }
    all
}

fn accumulator(draws: &mut Draws) -> Value {
    let most = draws.of(&[12, 59]);
    let mut accumulator = json!({
        "bits": 6 + draws.below(most),
        "overflow": draws.of(&OVERFLOWS),
        "overflow_at": draws.of(&["each", "end"]),
    });
    if draws.below(2) == 0 {
        match draws.below(2) {
            0 => accumulator["frac"] = json!(draws.below(24) as i64 - 4),
            // The narrowest products have 4 bits.
            _ => accumulator["drop"] = json!(draws.below(4)),
        }
        accumulator["rounding"] = json!(draws.of(&ROUNDINGS));
    }
    if draws.below(3) == 0 {
        accumulator["chunk"] = json!(1 + draws.below(5));
    }
    accumulator
}

/// A random experiment; nothing where it is one that is refused.
pub(crate) fn draw(number: u64) -> Option<Prepared> {
    let mut draws = Draws::new("programs", number);
    let any = ["static", "dynamic", "history", "overflow-rate", "block"];
    let mut precision = json!({ "accumulator": accumulators(&mut draws) });
    for (role, scales) in [
        ("input", &any[..]),
        ("weights", &["static", "dynamic", "history", "block", "initial"]),
        ("master", &["static", "initial"]),
        ("bias", &["static", "initial"]),
        ("activations", &any),
        ("logits", &any[..4]),
        ("error", &any),
        ("gradients", &any),
        ("weight_gradients", &any[..4]),
        ("momentum", &any[..4]),
    ] {
        if draws.below(3) > 0 {
            precision[role] = settings(&mut draws, scales);
        }
    }
    if draws.below(6) == 0 {
        precision["residual"] = settings(&mut draws, &["static"]);
    }
    let mut layers = Vec::new();
    for layer in 0..draws.below(3) {
        layers.push(json!({ "dense": { "units": 1 + draws.below(7), "bias": layer != 1 } }));
        let max = (1 + draws.below(40)) as f64 / 16.0;
        match draws.below(3) {
            0 => {}
            1 => layers.push(json!("relu")),
            _ => layers.push(json!({ "clipped_relu": { "max": max } })),
        }
    }
    let classes = 2 + draws.below(3);
    layers.push(json!({ "dense": { "units": classes, "bias": draws.below(2) == 0 } }));
    let inputs = 1 + draws.below(9);
    let batch = 1 + draws.below(6);
    let regression = draws.below(3) == 0;
    let experiment = json!({
        "name": "random",
        "seed": number,
        // It is not read: the samples are made here.
        "dataset": { "kind": "digits" },
        "network": {
            "input": [inputs],
            "layers": layers,
            "loss": if regression { "mse" } else { "softmax_cross_entropy" },
        },
        "training": {
            "epochs": 1,
            "batch": batch,
            "rate": 0.25,
            "momentum": draws.of(&[0.0, 0.5, 0.9]),
            "weight_decay": draws.of(&[0.0, 0.0, 0.01]),
            "batch_gradient": draws.of(&["mean", "sum"]),
            "loss_unit": draws.of(&["bits", "nats"]),
            "loss_scale": draws.of(&[1, 16]),
        },
        "precision": precision,
        "accelerator": {
            "array": {
                "rows": 1 + draws.below(5),
                "cols": 1 + draws.below(5),
                "dataflow": draws.of(&["os", "ws", "is"]),
            },
        },
    });
    let experiment: Experiment = serde_json::from_value(experiment).expect("an experiment");
    Prepared::new(experiment).ok()
}

/// Samples in and beyond the range of most formats, zeros among them.
fn batch(prepared: &Prepared, draws: &mut Draws) -> Batch {
    let rows = prepared.experiment.training.batch;
    let mut matrix = |cols: usize| {
        ndarray::Array2::from_shape_fn((rows, cols), |_| match draws.below(4) {
            0 => 0.0,
            _ => draws.below(4000) as f64 / 1000.0 - 2.0,
        })
    };
    let inputs = matrix(prepared.graph.inputs());
    let outputs = prepared.graph.outputs();
    let answers = match prepared.program.targets {
        Some(_) => Answers::Targets(matrix(outputs)),
        None => Answers::Labels((0..rows).map(|_| draws.below(outputs as u64) as u32).collect()),
    };
    Batch { inputs, answers }
}

/// The register engine in the mappings of a program, held to the closed forms of all that it counts.
struct Clocked<'a>(Costs<'a>);

impl Engine for Clocked<'_> {
    fn gemm(&mut self, _: &GemmTask<'_>) -> Sums {
        unreachable!("a product of a program")
    }

    fn run(&mut self, command: CommandId, store: &mut Store, step: &Step) -> Outcome {
        let (write, _) = self.0.program.writes_of(command).next().expect("a write");
        let costs = &self.0;
        store.run(command, step, &mut |task| {
            let mapping = costs.mapping(write, task.shape());
            let register = Register::new(costs.accelerator.array, mapping.stationary);
            let mut register = register
                .expect("an array")
                .with_partial_sum_bits(costs.accelerator.half_bits(Buffer::C));
            let sums = register.gemm(task);
            assert_eq!(register.seen(), Seen::of(&mapping, task).expect("counts"), "{mapping:?}");
            sums
        })
    }
}

/// All that commands did in two steps, each after a look at the same batch, and every tensor behind
/// each.
fn run(
    program: &Arc<Program>,
    initial: &[Array2<f64>],
    seed: u64,
    batches: &[Batch; 2],
    (engine, workers): (&mut dyn Engine, &Arc<Workers>),
) -> Vec<(Outcome, Vec<Vec<Tensor>>)> {
    let mut store = Store::new(program, initial, seed);
    store.use_workers(Arc::clone(workers));
    let mut found = Vec::new();
    for (number, batch) in (0..).zip(batches) {
        let mut probe = store.clone();
        let looking = Step::probe(seed, number);
        probe.load(batch, &looking);
        probe.gradients(&looking, engine);
        let step = Step::training(seed, number);
        store.load(batch, &step);
        for &command in &program.step {
            let outcome = engine.run(command, &mut store, &step);
            let copies = |written: &Written| {
                store.copies(written.tensor).iter().map(|copy| Tensor::clone(copy)).collect()
            };
            let tensors = outcome.written.iter().map(copies).collect();
            found.push((outcome, tensors));
        }
    }
    found
}

/// One thread, and three that share all that can be cut.
fn workers() -> [Arc<Workers>; 2] {
    [Workers::default(), Workers::eager(3)].map(Arc::new)
}

/// The same of the reference, which the other engines equal.
fn check(
    program: &Arc<Program>,
    costs: Costs<'_>,
    initial: &[Array2<f64>],
    (number, batches): (u64, &[Batch; 2]),
    [one, three]: &[Arc<Workers>; 2],
) -> Vec<(Outcome, Vec<Vec<Tensor>>)> {
    let expected = run(program, initial, number, batches, (&mut Reference, one));
    let (mut fast, mut shared) = (Fast::default(), Fast::default());
    let mut clocked = Clocked(costs);
    let engines: [(&str, (&mut dyn Engine, _)); 3] = [
        ("fast", (&mut fast, one)),
        ("fast in three threads", (&mut shared, three)),
        ("clocked", (&mut clocked, one)),
    ];
    for (name, engine) in engines {
        let found = run(program, initial, number, batches, engine);
        for (ours, theirs) in found.iter().zip(&expected) {
            let write = &program.tensor(theirs.0.written[0].tensor).name;
            assert_eq!(ours, theirs, "{name}, program {number}, {write}: {program:?}");
        }
    }
    expected
}

fn name_of(operation: &Operation) -> &'static str {
    match operation {
        Operation::Product(_) => "product",
        Operation::Reduce(_) => "reduce",
        Operation::Combine(_) => "combine",
        Operation::Select(_) => "select",
        Operation::Pool(_) => "pool",
        Operation::Spread(_) => "spread",
        Operation::Loss(_) => "loss",
        Operation::Update(_) => "update",
    }
}

#[test]
fn engines_equal_the_reference_on_random_programs() {
    let (mut programs, mut number) = (0, 0);
    let (mut seen, workers) = (std::collections::BTreeMap::new(), workers());
    while programs < PROGRAMS {
        number += 1;
        assert!(number < 20 * PROGRAMS, "{programs} programs of {number} experiments");
        let Some(prepared) = draw(number) else { continue };
        programs += 1;
        let program = &prepared.program;
        let initial = initial_weights(&prepared.graph, number);
        let mut draws = Draws::new("samples", number);
        let batches = [(); 2].map(|()| batch(&prepared, &mut draws));
        let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
        let expected = check(program, costs, &initial, (number, &batches), &workers);
        for command in &prepared.program.commands {
            *seen.entry(name_of(&command.operation)).or_insert(0) += 1;
        }
        for (what, holds) in [
            ("overflow", expected.iter().any(|(of, _)| of.written[0].overflowed_sums > 0)),
            ("second pass", expected.iter().any(|(of, _)| of.written[0].second_pass)),
            ("two copies", expected.iter().any(|(_, tensors)| tensors[0].len() > 1)),
            ("blocks", expected.iter().any(|(_, tensors)| tensors[0][0].blocks().is_some())),
            ("three outputs", expected.iter().any(|(of, _)| of.written.len() >= 3)),
        ] {
            *seen.entry(what).or_insert(0) += usize::from(holds);
        }
    }
    println!("{programs} programs of {number} experiments: {seen:?}");
    assert!(seen.len() == 9 && seen.values().all(|&count| count >= 100), "{seen:?}");
}
