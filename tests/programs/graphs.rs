//! Random graphs: values with several readers, sums, functions with commands of their own.

use std::collections::{BTreeMap, BTreeSet};

use systoliq_hardware::Accelerator;
use systoliq_nn::{
    ClippedRelu, Dense, EdgeFunction, Golden, Graph, Loss, Operator, Quantity, Shape, Training,
    ValueId,
};
use systoliq_program::{Plan, PrecisionSpec, TensorId};

use super::*;

const GRAPHS: u64 = 500;

/// A random graph whose values all have as many columns, which the loss reads at last.
fn graph(draws: &mut Draws) -> Graph {
    let columns = 1 + draws.below(5) as usize;
    let mut entries: Vec<(Operator, Vec<ValueId>)> = Vec::new();
    // Values that nobody reads yet.
    let mut unread = BTreeSet::from([ValueId::INPUT]);
    let mut put = |operator, reads: Vec<ValueId>, unread: &mut BTreeSet<ValueId>| {
        reads.iter().for_each(|read| {
            unread.remove(read);
        });
        entries.push((operator, reads));
        unread.insert(ValueId(entries.len()));
        entries.len()
    };
    let dense = |bias| Operator::Dense(dense(columns, bias));
    put(dense(true), vec![ValueId::INPUT], &mut unread);
    let mut made = 1;
    for _ in 0..1 + draws.below(7) {
        // Mostly what nobody reads yet.
        let any = |draws: &mut Draws| {
            let waiting: Vec<ValueId> = unread.iter().copied().collect();
            match draws.below(3) {
                0 => ValueId(draws.below(made as u64 + 1) as usize),
                _ => draws.of(&waiting),
            }
        };
        let (operator, reads) = match draws.below(5) {
            0 | 1 => {
                let count = 2 + draws.below(2);
                (Operator::Add, (0..count).map(|_| any(draws)).collect())
            }
            2 => (dense(draws.below(2) == 0), vec![any(draws)]),
            3 => {
                let clipped = ClippedRelu::at((1 + draws.below(40)) as f64 / 16.0);
                let clipped = EdgeFunction::ClippedRelu(clipped.expect("a positive number"));
                (Operator::Function(clipped), vec![any(draws)])
            }
            _ => (Operator::Function(EdgeFunction::Relu), vec![any(draws)]),
        };
        made = put(operator, reads, &mut unread);
    }
    if unread.len() > 1 {
        let waiting = unread.iter().copied().collect();
        put(Operator::Add, waiting, &mut unread);
    }
    let last = unread.first().copied().expect("a value");
    put(dense(true), vec![last], &mut unread);
    Graph::connect(Shape::Features(columns), entries, Loss::Mse)
}

fn dense(columns: usize, bias: bool) -> Dense {
    Dense { inputs: columns, units: columns, bias }
}

fn training() -> Training {
    serde_json::from_value(json!({ "epochs": 1, "batch": 3, "rate": 0.25 })).unwrap()
}

fn lowered(graph: &Graph, precision: Value) -> Arc<Program> {
    let spec: PrecisionSpec = serde_json::from_value(precision).unwrap();
    let plan = Plan::resolve(graph, &spec).unwrap();
    Arc::new(Program::lower(graph, &plan, &training()).unwrap())
}

/// Samples of sixteenths.
fn samples(graph: &Graph, draws: &mut Draws) -> Batch {
    let mut matrix = || {
        let real = |draws: &mut Draws| draws.below(65) as f64 / 16.0 - 2.0;
        Array2::from_shape_fn((3, graph.inputs()), |_| real(draws))
    };
    Batch { inputs: matrix(), answers: Answers::Targets(matrix()) }
}

/// Formats as they come.
fn precision(draws: &mut Draws) -> Value {
    let scales = ["static", "dynamic", "history", "overflow-rate"];
    let mut precision = json!({ "accumulator": accumulator(draws) });
    for role in ["input", "activations", "logits", "error", "gradients", "weight_gradients"] {
        if draws.below(3) > 0 {
            precision[role] = settings(draws, &scales);
        }
    }
    precision
}

#[test]
fn engines_equal_the_reference_on_random_graphs() {
    let mut seen = BTreeMap::new();
    let workers = workers();
    for number in 0..GRAPHS {
        let mut draws = Draws::new("graphs", number);
        let graph = graph(&mut draws);
        let program = lowered(&graph, precision(&mut draws));
        let initial = initial_weights(&graph, number);
        let batches = [(); 2].map(|()| samples(&graph, &mut draws));
        let accelerator = json!({ "array": { "rows": 2, "cols": 3, "dataflow": "ws" } });
        let accelerator: Accelerator = serde_json::from_value(accelerator).unwrap();
        let costs = Costs::new(&program, &accelerator, Arithmetic::Fixed, EpochBatches::one(3));
        check(&program, costs, &initial, (number, &batches), &workers);
        let ids = program.all_writes().map(|(_, write, _)| (write.command, write.tensor));
        let ids: BTreeSet<_> = ids.map(|(id, tensor)| program.output_id(id, tensor)).collect();
        assert_eq!(ids.len(), program.writes.len(), "ids of conversions: {ids:?}");
        for (id, write, command) in program.all_writes() {
            *seen.entry(name_of(&command.operation)).or_insert(0) += 1;
            let costs = Costs::new(&program, &accelerator, Arithmetic::Fixed, EpochBatches::one(3));
            let cost = costs.of(id, program.work(id, 3), false).unwrap();
            let Operation::Combine(combine) = &command.operation else { continue };
            assert_eq!(cost.counts.macs, 0);
            let elements = 3 * program.tensor(write.tensor).cols as u64;
            let passes = (combine.terms.len() as u64 - 1).max(1);
            let lanes = accelerator.array.vector_lanes() as u64;
            assert!(cost.cycles.vector.0 >= passes * elements.div_ceil(lanes), "{combine:?}");
        }
    }
    println!("{seen:?}");
    let all = ["combine", "loss", "product", "reduce", "select", "update"];
    assert!(seen.keys().copied().eq(all) && seen.values().all(|&count| count >= 100), "{seen:?}");
}

/// In formats of 30 bits and more a step is that of golden, but for what rounding leaves.
#[test]
fn a_step_of_a_graph_is_that_of_golden() {
    let mut compared = BTreeMap::new();
    for number in 0..GRAPHS {
        let mut draws = Draws::new("graphs", number);
        let graph = graph(&mut draws);
        let mut precision = json!({ "accumulator": { "bits": 64 } });
        for role in ["input", "activations", "logits", "targets", "error", "gradients"] {
            precision[role] = json!("Q12.18");
        }
        for role in ["weights", "master", "bias"] {
            precision[role] = json!("Q4.26");
        }
        precision["weight_gradients"] = json!("Q14.18");
        let program = lowered(&graph, precision);
        let initial = initial_weights(&graph, number);
        let batch = samples(&graph, &mut draws);
        let golden = Golden::<f64>::new(&graph, number);
        let found = golden.gradients(&batch, &training());
        let mut store = Store::new(&program, &initial, number);
        let step = Step::training(number, 0);
        store.load(&batch, &step);
        for &command in &program.step {
            Reference.run(command, &mut store, &step);
        }
        for (id, decl) in (0..).map(TensorId).zip(&program.tensors) {
            let quantity = decl.stands_for.expect("no momentum and no residual");
            let of = match quantity {
                Quantity::Value(_) => "value",
                Quantity::Gradient(_) => "gradient",
                Quantity::Contribution(..) => "contribution",
                Quantity::ParameterGradient(..) => "parameter gradient",
                Quantity::Input | Quantity::Targets | Quantity::Parameter(..) => continue,
            };
            let expected = golden.numbers(&found, quantity).expect("numbers of golden");
            let ours = store.tensor(id).expect("a tensor that is written").to_reals();
            for (ours, &expected) in ours.iter().zip(&expected) {
                let off = (ours - expected).abs() / expected.abs().max(1.0);
                assert!(off < 1e-3, "graph {number}, {}: {ours} for {expected}", decl.name);
            }
            *compared.entry(of).or_insert(0) += 1;
        }
        // No value that weights have part in is left out, but those whose gradient another one holds.
        for value in graph.stored().filter(|&value| graph.trains(value)) {
            assert!(program.standing_for(Quantity::Value(value)).is_some(), "graph {number}");
        }
    }
    println!("{compared:?}");
    assert!(compared.len() == 4 && compared.values().all(|&count| count >= 100), "{compared:?}");
}

/// Runs what it is told as the reference does, and keeps the order.
#[derive(Default)]
struct Noting(Vec<CommandId>);

impl Engine for Noting {
    fn gemm(&mut self, task: &GemmTask<'_>) -> Sums {
        Reference.gemm(task)
    }

    fn run(&mut self, command: CommandId, store: &mut Store, step: &Step) -> Outcome {
        self.0.push(command);
        Reference.run(command, store, step)
    }
}

#[test]
fn evaluation_runs_inference_and_a_look_runs_all_but_updates() {
    for number in 0..20 {
        let mut draws = Draws::new("graphs", number);
        let graph = graph(&mut draws);
        let mut program = Program::clone(&lowered(&graph, json!({})));
        // The order is that of the list, whatever commands are like: here one runs twice.
        program.inference.insert(1, program.inference[0]);
        let program = Arc::new(program);
        let mut store = Store::new(&program, &initial_weights(&graph, number), number);
        let batch = samples(&graph, &mut draws);
        let mut engine = Noting::default();
        let evaluation = Step::evaluation(number, "test", 0, 0);
        store.load(&batch, &evaluation);
        store.judge(&evaluation, &mut engine);
        assert_eq!(engine.0, program.inference);
        let mut engine = Noting::default();
        let look = Step::probe(number, 0);
        store.load(&batch, &look);
        store.gradients(&look, &mut engine);
        let is_update = |id: &CommandId| program.command(*id).operation.update().is_some();
        assert!(engine.0.iter().eq(program.step.iter().filter(|id| !is_update(id))));
    }
}
