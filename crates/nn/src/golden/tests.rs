//! Gradients and losses of one step, against finite differences and formulas written out.

use std::f64::consts::LN_2;

use ndarray::{Array2, Axis, array};
use systoliq_keyed_random::Key;

use super::*;
use crate::Schedule;
use crate::data::Answers;
use crate::graph::Shape;
use crate::network::{GoldenPrecision, Loss, LossUnit, SqnrSteps};
use crate::operator::{Dense, EdgeFunction, Operator, Squash, Window};
use crate::testing::{chain, reals};

fn training() -> Training {
    Training {
        epochs: 1,
        batch: 4,
        rate: 0.1,
        schedule: Schedule::default(),
        momentum: 0.0,
        weight_decay: 0.0,
        loss_unit: LossUnit::Bits,
        batch_gradient: BatchGradient::Mean,
        loss_scale: 1,
        golden: GoldenPrecision::F64,
        sqnr: SqnrSteps::default(),
        teacher_forced: false,
        target_error_rate: None,
    }
}

fn batch(seed: u64, rows: usize, graph: &Graph) -> Batch {
    let answers = match graph.loss {
        Loss::SoftmaxCrossEntropy => {
            let key = Key::new(seed).with_name("labels");
            Answers::Labels(
                (0..rows as u64).map(|row| key.below(row, graph.outputs() as u32)).collect(),
            )
        }
        Loss::Mse => Answers::Targets(reals("reals", seed + 1, rows, graph.outputs())),
    };
    Batch { inputs: reals("reals", seed, rows, graph.inputs()), answers }
}

/// A network whose biases are not zero, so that a wrong bias shows.
fn golden(seed: u64, graph: &Graph) -> Golden<f64> {
    let mut parameters = Parameters::<f64>::initial(graph, seed);
    for (at, layer) in parameters.layers.iter_mut().enumerate() {
        if let Some(bias) = &mut layer.bias {
            *bias = reals("reals", seed + 100 + at as u64, 1, bias.len()).row(0).mapv(|b| 0.3 * b);
        }
    }
    Golden::from_parameters(graph, parameters).unwrap()
}

/// What `of` makes of each window and column: of the taps and pixels that it meets.
fn windowed(
    window: &Window,
    columns: usize,
    of: impl Fn(&[(usize, usize)], usize) -> f64,
) -> Vec<f64> {
    let Window { down, along } = window;
    let [height, width] = window.positions();
    let mut made = Vec::new();
    for (oy, ox) in (0..height).flat_map(|oy| (0..width).map(move |ox| (oy, ox))) {
        let mut met = Vec::new();
        for (ky, kx) in (0..down.taps).flat_map(|ky| (0..along.taps).map(move |kx| (ky, kx))) {
            if let (Some(y), Some(x)) = (down.pixel(oy, ky), along.pixel(ox, kx)) {
                met.push((ky * along.taps + kx, y * along.extent + x));
            }
        }
        made.extend((0..columns).map(|column| of(&met, column)));
    }
    made
}

/// What `training`'s gradient is the gradient of, computed sample by sample with plain loops.
fn objective(model: &Golden<f64>, batch: &Batch, training: &Training) -> f64 {
    let mut total = 0.0;
    for (row, x) in batch.inputs.outer_iter().enumerate() {
        let mut made = vec![x.to_vec()];
        for node in &model.graph().nodes {
            let reads: Vec<&Vec<f64>> = node.reads.iter().map(|read| &made[read.0]).collect();
            let elementwise = |of: &dyn Fn(usize) -> f64| (0..reads[0].len()).map(of).collect();
            made.push(match node.operator {
                Operator::Dense(_) => {
                    let layer = &model.parameters().layers[node.name.number().unwrap()];
                    let products = |unit: usize, inputs: &[f64]| -> f64 {
                        (0..inputs.len()).map(|k| layer.weights[(unit, k)] * inputs[k]).sum()
                    };
                    let bias = |unit| layer.bias.as_ref().map_or(0.0, |bias| bias[unit]);
                    let units = 0..layer.weights.nrows();
                    units.map(|unit| products(unit, reads[0]) + bias(unit)).collect()
                }
                Operator::Conv2d(of) => {
                    let layer = &model.parameters().layers[node.name.number().unwrap()];
                    let (of_group, of_filters) = (of.channels / of.groups, of.filters / of.groups);
                    windowed(&of.window, of.filters, |met, filter| {
                        let mut sum = layer.bias.as_ref().map_or(0.0, |bias| bias[filter]);
                        for &(tap, pixel) in met {
                            for c in 0..of_group {
                                let channel = filter / of_filters * of_group + c;
                                let weight = layer.weights[(filter, tap * of_group + c)];
                                sum += weight * reads[0][pixel * of.channels + channel];
                            }
                        }
                        sum
                    })
                }
                Operator::MaxPool(of) => windowed(&of.window, of.channels, |met, channel| {
                    let all = met.iter().map(|&(_, pixel)| reads[0][pixel * of.channels + channel]);
                    all.fold(f64::NEG_INFINITY, f64::max)
                }),
                Operator::AvgPool(of) => windowed(&of.window, of.channels, |met, channel| {
                    let all = met.iter().map(|&(_, pixel)| reads[0][pixel * of.channels + channel]);
                    let count = if of.counts_padding { of.window.taps() } else { met.len() };
                    all.sum::<f64>() / count as f64
                }),
                Operator::Flatten => reads[0].clone(),
                Operator::Function(EdgeFunction::Squash(Squash::Sigmoid)) => {
                    elementwise(&|at| 1.0 / (1.0 + (-reads[0][at]).exp()))
                }
                Operator::Function(EdgeFunction::Squash(Squash::Tanh)) => {
                    elementwise(&|at| reads[0][at].tanh())
                }
                Operator::Add => elementwise(&|at| reads.iter().map(|read| read[at]).sum()),
                Operator::Function(EdgeFunction::Relu) => elementwise(&|at| reads[0][at].max(0.0)),
                Operator::Function(EdgeFunction::ClippedRelu(clipped)) => {
                    elementwise(&|at| reads[0][at].clamp(0.0, clipped.to_f64()))
                }
            });
        }
        let values = made.last().unwrap();
        total += match &batch.answers {
            Answers::Labels(labels) => {
                let sum: f64 = values.iter().map(|z| z.exp()).sum();
                let nats = -(values[labels[row] as usize].exp() / sum).ln();
                if training.loss_unit == LossUnit::Bits { nats / LN_2 } else { nats }
            }
            Answers::Targets(targets) => {
                let squares = values.iter().zip(targets.row(row)).map(|(z, y)| (z - y) * (z - y));
                squares.sum::<f64>() / 2.0
            }
        };
    }
    match training.batch_gradient {
        BatchGradient::Mean => total / batch.len() as f64,
        BatchGradient::Sum => total,
    }
}

/// The central difference of the objective where `change` moves one parameter.
fn slope(
    model: &Golden<f64>,
    batch: &Batch,
    training: &Training,
    change: impl Fn(&mut Parameters<f64>, f64),
) -> f64 {
    const STEP: f64 = 1e-5;
    let at = |distance| {
        let mut parameters = model.parameters().clone();
        change(&mut parameters, distance);
        let moved = Golden::from_parameters(model.graph(), parameters).unwrap();
        objective(&moved, batch, training)
    };
    (at(STEP) - at(-STEP)) / (2.0 * STEP)
}

/// Holds all gradients of parameters against finite differences; says how many there are.
fn check_gradients(graph: &Graph, seed: u64, training: &Training) -> usize {
    let (model, batch) = (golden(seed, graph), batch(seed, 4, graph));
    let gradients = model.gradients(&batch, training);
    let mut checked = 0;
    let mut check = |ours: f64, change: &dyn Fn(&mut Parameters<f64>, f64)| {
        let slope = slope(&model, &batch, training, change);
        assert!((ours - slope).abs() < 1e-8, "graph {seed}: {ours} ≠ {slope}");
        checked += 1;
    };
    for (at, layer) in gradients.parameters.layers.iter().enumerate() {
        for (place, &ours) in layer.weights.indexed_iter() {
            check(ours, &|p, d| p.layers[at].weights[place] += d);
        }
        for (unit, &ours) in layer.bias.iter().flat_map(|db| db.indexed_iter()) {
            check(ours, &|p, d| p.layers[at].bias.as_mut().unwrap()[unit] += d);
        }
    }
    checked
}

#[test]
fn every_gradient_equals_its_finite_difference() {
    let shapes: [&[usize]; 3] = [&[3], &[6, 3], &[7, 5, 4]];
    let losses = [Loss::SoftmaxCrossEntropy, Loss::Mse];
    let mut checked = 0;
    for case in 0..48_usize {
        let (shape, loss, bias) = (shapes[case % 3], losses[case / 3 % 2], case / 6 % 2 == 0);
        let training = Training {
            loss_unit: [LossUnit::Bits, LossUnit::Nats][case / 12 % 2],
            batch_gradient: [BatchGradient::Mean, BatchGradient::Sum][case / 24],
            ..training()
        };
        let graph = chain(5, shape, bias, loss);
        checked += check_gradients(&graph, case as u64, &training);
    }
    assert!(checked > 2000, "{checked}");
}

/// ```text
/// x ─► dense ─► 1 ─┬─► dense ─► relu ─► 3 ─┬─► add @4 (1 + 3 + 3) ─► relu ─► dense
///                  └──────────────────────►┘
/// ```
#[test]
fn gradients_where_branches_meet_equal_their_finite_differences() {
    let dense = |inputs, units| Operator::Dense(Dense { inputs, units, bias: true });
    let relu = Operator::Function(EdgeFunction::Relu);
    let entries = [
        (dense(5, 4), vec![0]),
        (dense(4, 4), vec![1]),
        (relu, vec![2]),
        (Operator::Add, vec![1, 3, 3]),
        (relu, vec![4]),
        (dense(4, 3), vec![5]),
    ];
    let entries = entries
        .map(|(operator, reads)| (operator, reads.into_iter().map(ValueId).collect()))
        .to_vec();
    let graph = Graph::connect(Shape::Features(5), entries, Loss::SoftmaxCrossEntropy);
    for seed in 0..10 {
        assert_eq!(check_gradients(&graph, seed, &training()), 24 + 20 + 15);
    }
    let found = golden(1, &graph).gradients(&batch(1, 4, &graph), &training());
    let contributions = &found.contributions[&ValueId(3)];
    // What is read twice counts twice.
    assert_eq!(contributions.len(), 2);
    assert_eq!(contributions[0], contributions[1]);
}

/// `x → relu → dense → relu → relu → dense`: functions of their own behind the input and behind another
/// function, one in an edge.
#[test]
fn functions_of_their_own_pass_gradients_on_behind_their_masks() {
    let dense = |inputs, units| Operator::Dense(Dense { inputs, units, bias: true });
    let relu = Operator::Function(EdgeFunction::Relu);
    let operators = [relu, dense(5, 6), relu, relu, dense(6, 3)];
    let entries =
        (0..).zip(operators).map(|(at, operator)| (operator, vec![ValueId(at)])).collect();
    let graph = Graph::connect(Shape::Features(5), entries, Loss::Mse);
    assert!(graph.stored().eq([0, 1, 3, 4, 5].map(ValueId)));
    let (model, whole) = (golden(1, &graph), batch(1, 4, &graph));
    let found = model.gradients(&whole, &training());
    assert_eq!(found.values[ValueId(1)], whole.inputs.mapv(|x| x.max(0.0)));
    assert_eq!(found.values[ValueId(4)], found.values[ValueId(3)]);
    assert_eq!(found.gradients[ValueId(4)], found.gradients[ValueId(3)]);
    assert_eq!([0, 1].map(|at| found.gradients.get(ValueId(at))), [None, None]);
    assert!(found.contributions.is_empty());

    // The same network without functions that change nothing, on samples without negative elements.
    let plain = chain(5, &[6, 3], true, Loss::Mse);
    let plain = Golden::from_parameters(&plain, model.parameters().clone()).unwrap();
    let positive = Batch { inputs: found.values[ValueId(1)].clone(), ..whole.clone() };
    let expected = plain.gradients(&positive, &training());
    assert_eq!(found.parameters, expected.parameters);
    assert_eq!(model.outputs(&whole.inputs), plain.outputs(&positive.inputs));
}

#[test]
fn gradients_of_convolutional_networks_equal_their_finite_differences() {
    let conv = |more: &str| format!(r#"{{"conv2d": {{"filters": 4, "kernel": 3{more}}}}}"#);
    let dense = r#"{"dense": {"units": 3}}"#;
    let layers = [
        format!(r#"{}, "relu", {{"max_pool": {{"kernel": 2}}}}, {dense}"#, conv("")),
        format!(
            r#"{}, "tanh", {{"avg_pool": {{"kernel": 3, "stride": 2, "padding": 1}}}}, "flatten", {dense}"#,
            conv(r#", "padding": [1, 0, 2, 1], "groups": 2"#)
        ),
        format!(
            r#"{}, {{"relu": {{}}, "name": "b0"}}, {}, {{"add": {{}}, "reads": ["b0", "-"]}}, "relu",
               "global_avg_pool", {dense}"#,
            conv(r#", "padding": 1"#),
            conv(r#", "padding": 1, "bias": false"#)
        ),
        format!(
            r#"{{"max_pool": {{"kernel": 3, "stride": 1, "padding": 1}}}}, {}, "sigmoid",
               {{"max_pool": {{"kernel": 2, "stride": 1}}}}, {dense}"#,
            conv(r#", "stride": [2, 1], "dilation": [1, 2]"#)
        ),
    ];
    let mut checked = 0;
    for (seed, layers) in (0..).zip(layers) {
        let network = format!(r#"{{"input": [2, 6, 7], "layers": [{layers}], "loss": "mse"}}"#);
        let graph = Graph::new(&serde_json::from_str(&network).unwrap()).unwrap();
        for batch_gradient in [BatchGradient::Mean, BatchGradient::Sum] {
            checked += check_gradients(&graph, seed, &Training { batch_gradient, ..training() });
        }
        let (model, batch) = (golden(seed, &graph), batch(seed, 4, &graph));
        let found = model.gradients(&batch, &training());
        assert_eq!(*found.logits(), model.outputs(&batch.inputs));
    }
    assert!(checked > 1200, "{checked}");
}

#[test]
fn contributions_are_added_in_the_order_of_readers() {
    // As they are found, from the last reader to the first, the 1 would be lost.
    let mut several = vec![array![[1.0]], array![[-1e16]], array![[1e16]]];
    assert_eq!(total(&mut several), array![[1.0]]);
    assert_eq!(several, [array![[1e16]], array![[-1e16]], array![[1.0]]]);
    let mut one = vec![array![[2.0]]];
    assert_eq!((total(&mut one), one.len()), (array![[2.0]], 0));
}

#[test]
fn a_quantity_has_the_numbers_that_were_found() {
    let graph = chain(2, &[3, 2], true, Loss::Mse);
    let (model, batch) = (golden(6, &graph), batch(6, 4, &graph));
    let found = model.gradients(&batch, &training());
    let numbers = |quantity| {
        let numbers = model.numbers(&found, quantity)?;
        Some(numbers.iter().copied().collect::<Vec<_>>())
    };
    let flat = |matrix: &Array2<f64>| Some(matrix.iter().copied().collect::<Vec<_>>());
    assert_eq!(numbers(Quantity::Input), flat(&batch.inputs));
    assert_eq!(numbers(Quantity::Targets), None);
    assert_eq!(numbers(Quantity::Value(ValueId(1))), None);
    assert_eq!(numbers(Quantity::Value(ValueId(3))), flat(found.logits()));
    assert_eq!(numbers(Quantity::Gradient(ValueId(3))), flat(found.error()));
    assert_eq!(numbers(Quantity::Gradient(ValueId(0))), None);
    assert_eq!(numbers(Quantity::Contribution(ValueId(2), 0)), None);
    let (ours, gradient) = (&model.parameters().layers[1], &found.parameters.layers[1]);
    let vector = |bias: &Option<ndarray::Array1<f64>>| bias.as_ref().map(|bias| bias.to_vec());
    assert_eq!(numbers(Quantity::Parameter(2, 0)), flat(&ours.weights));
    assert_eq!(numbers(Quantity::Parameter(2, 1)), vector(&ours.bias));
    assert_eq!(numbers(Quantity::ParameterGradient(2, 0)), flat(&gradient.weights));
    assert_eq!(numbers(Quantity::ParameterGradient(2, 1)), vector(&gradient.bias));
    for nothing in [Quantity::Parameter(1, 0), Quantity::ParameterGradient(2, 2)] {
        assert_eq!(numbers(nothing), None);
    }
}

#[test]
fn the_loss_is_the_mean_of_its_formula_in_bits_whatever_the_unit() {
    for (loss, unit) in [
        (Loss::SoftmaxCrossEntropy, LossUnit::Bits),
        (Loss::SoftmaxCrossEntropy, LossUnit::Nats),
        (Loss::Mse, LossUnit::Bits),
    ] {
        let graph = chain(5, &[6, 3], true, loss);
        let (mut model, batch) = (golden(3, &graph), batch(3, 7, &graph));
        let expected = objective(&model, &batch, &training());
        let record = model.step(&batch, &Training { loss_unit: unit, ..training() }, 0);
        assert!((record.loss - expected).abs() < 1e-14, "{} ≠ {expected}", record.loss);
        assert_eq!(record.rows, 7);
    }
}

#[test]
fn the_lectures_binary_classifier_has_the_lectures_gradient() {
    // ŷ₁ = w₁x₁ + w₂x₂, ŷ₂ = w₃x₁ + w₄x₂, class 1: ∂d/∂w₁ = (P̂₁ − 1)·x₁ / ln 2, and so on.
    let graph = chain(2, &[2], false, Loss::SoftmaxCrossEntropy);
    let (w, x) = (array![[0.5, -0.25], [-0.125, 0.75]], [0.75, -0.5]);
    let parameters =
        Parameters { layers: vec![LayerParameters { weights: w.clone(), bias: None }] };
    let model = Golden::from_parameters(&graph, parameters).unwrap();
    for (class, nats) in [(0, false), (1, false), (0, true)] {
        let batch = Batch { inputs: array![x], answers: Answers::Labels(vec![class]) };
        let unit = if nats { LossUnit::Nats } else { LossUnit::Bits };
        let gradients = model.gradients(&batch, &Training { loss_unit: unit, ..training() });

        let y = [w[(0, 0)] * x[0] + w[(0, 1)] * x[1], w[(1, 0)] * x[0] + w[(1, 1)] * x[1]];
        let sum = y[0].exp() + y[1].exp();
        let p = [y[0].exp() / sum, y[1].exp() / sum];
        let one_hot = [f64::from(class == 0), f64::from(class == 1)];
        let divisor = if nats { 1.0 } else { LN_2 };
        for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let expected = (p[i] - one_hot[i]) * x[j] / divisor;
            let ours = gradients.parameters.layers[0].weights[(i, j)];
            assert!((ours - expected).abs() < 1e-15, "w{i}{j}: {ours} ≠ {expected}");
        }
        assert!((gradients.loss + p[class as usize].log2()).abs() < 1e-15);
    }
}

#[test]
fn one_sample_of_squared_error_takes_the_lms_step() {
    let graph = chain(3, &[1], false, Loss::Mse);
    let mut model = Golden::<f64>::new(&graph, 9);
    let w = model.parameters().layers[0].weights.clone();
    let x = [0.5, -1.0, 2.0];
    let batch = Batch { inputs: array![x], answers: Answers::Targets(array![[0.75]]) };
    model.step(&batch, &training(), 0);
    let e = 0.75 - (w[(0, 0)] * x[0] + w[(0, 1)] * x[1] + w[(0, 2)] * x[2]);
    for (k, x) in x.into_iter().enumerate() {
        let (ours, expected) =
            (model.parameters().layers[0].weights[(0, k)], w[(0, k)] + 0.1 * e * x);
        assert!((ours - expected).abs() < 1e-15, "tap {k}: {ours} ≠ {expected}");
    }
}

#[test]
fn mean_and_sum_and_bits_and_nats_take_the_same_steps() {
    let graph = chain(5, &[6, 3], true, Loss::SoftmaxCrossEntropy);
    let batch = batch(4, 7, &graph);
    let after = |change: Training| {
        let mut model = golden(4, &graph);
        model.step(&batch, &change, 0);
        model.parameters().clone()
    };
    let mean = after(training());
    let sum = after(Training { batch_gradient: BatchGradient::Sum, ..training() });
    let rate = 0.1 / LN_2;
    let nats = after(Training { loss_unit: LossUnit::Nats, rate, ..training() });
    let scaled = after(Training { loss_scale: 1024, ..training() });
    assert_eq!(mean, scaled);
    for other in [sum, nats] {
        for (one, other) in mean.layers.iter().zip(&other.layers) {
            let distance = (&one.weights - &other.weights).mapv(f64::abs).sum();
            assert!(distance < 1e-14, "{distance}");
        }
    }
}

#[test]
fn errors_are_per_sample_and_add_up_to_zero_over_the_classes() {
    let graph = chain(5, &[6, 3], true, Loss::SoftmaxCrossEntropy);
    let (model, whole) = (golden(5, &graph), batch(5, 4, &graph));
    let gradients = model.gradients(&whole, &training());
    assert_eq!(gradients.error(), &gradients.gradients[ValueId(3)]);
    for (row, error) in gradients.error().outer_iter().enumerate() {
        assert!(error.sum().abs() < 1e-15, "row {row}: {error}");
        let Answers::Labels(labels) = &whole.answers else { panic!() };
        let inputs = whole.inputs.select(Axis(0), &[row]);
        let alone = Batch { inputs, answers: Answers::Labels(vec![labels[row]]) };
        let alone = model.gradients(&alone, &training());
        let distance =
            (&alone.gradients[ValueId(2)].row(0) - &gradients.gradients[ValueId(2)].row(row)).sum();
        assert!(distance.abs() < 1e-15, "row {row}");
    }
}

#[test]
fn a_far_off_logit_has_a_finite_loss_and_infinite_cross_entropy() {
    let graph = chain(1, &[2], false, Loss::SoftmaxCrossEntropy);
    let weights = array![[1000.0_f32], [-1000.0]];
    let parameters = Parameters { layers: vec![LayerParameters { weights, bias: None }] };
    let model = Golden::from_parameters(&graph, parameters).unwrap();
    let part = Part::from_real(1, vec![1.0], Answers::Labels(vec![1]));
    let evaluation = model.evaluate(&part, 1);
    let expected = 2000.0 * std::f64::consts::LOG2_E; // log₂ e^2000, and nothing to add
    assert!((evaluation.loss / expected - 1.0).abs() < 1e-6, "{}", evaluation.loss);
    assert_eq!((evaluation.count, evaluation.errors), (1, Some(1)));
    assert_eq!(evaluation.information.unwrap().cross_entropy_bits, f64::INFINITY);
    let json = serde_json::to_string(&evaluation).unwrap();
    assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), evaluation);
}

#[test]
fn a_model_gone_to_nan_says_so_through_a_relu() {
    let graph = chain(1, &[2, 2], true, Loss::SoftmaxCrossEntropy);
    let mut parameters = Parameters::<f32>::initial(&graph, 1);
    parameters.layers[0].weights.fill(f32::NAN);
    let model = Golden::from_parameters(&graph, parameters).unwrap();
    let part = Part::from_real(1, vec![1.0], Answers::Labels(vec![1]));
    let evaluation = model.evaluate(&part, 1);
    assert!(evaluation.loss.is_nan());
    assert!(serde_json::to_string(&evaluation).unwrap().contains(r#""loss":"nan""#));
}

#[test]
fn parameters_of_another_shape_are_refused_with_both_shapes() {
    let ours = chain(5, &[6, 3], true, Loss::Mse);
    for (other, said) in [
        (chain(5, &[3], true, Loss::Mse), ["layers are [1]", "expected [2]"]),
        (chain(5, &[6, 4], true, Loss::Mse), ["layer 1: weights are [4, 6]", "expected [3, 6]"]),
        (chain(5, &[6, 3], false, Loss::Mse), ["layer 0: biases are []", "expected [6]"]),
    ] {
        let parameters = Parameters::<f32>::initial(&other, 1);
        let message = Golden::from_parameters(&ours, parameters).unwrap_err().to_string();
        assert!(said.iter().all(|part| message.contains(part)), "{said:?}: {message}");
    }
}

/// One neuron `ŷ = w·x + b` in scalars, with the update of each parameter written out.
#[test]
fn momentum_and_weight_decay_take_the_steps_of_scalars() {
    let graph = chain(1, &[1], true, Loss::Mse);
    let samples = |step: usize| [(step as f64 / 7.0, 0.5), (1.0 - step as f64 / 9.0, -0.25)];
    for (beta, lambda) in [(0.9, 0.0), (0.0, 0.01), (0.9, 0.01), (0.5, 1.0)] {
        for batch_gradient in [BatchGradient::Mean, BatchGradient::Sum] {
            let (momentum, weight_decay) = (beta, lambda);
            let training = Training { momentum, weight_decay, batch_gradient, ..training() };
            let mut model = Golden::<f64>::new(&graph, 2);
            let (mut w, mut b) = (model.parameters().layers[0].weights[(0, 0)], 0.0);
            let (mut of_w, mut of_b) = (0.0, 0.0);
            for step in 0..20 {
                let [one, other] = samples(step);
                let answers = Answers::Targets(array![[one.1], [other.1]]);
                model.step(&Batch { inputs: array![[one.0], [other.0]], answers }, &training, 0);

                let errors = [one, other].map(|(x, y)| w * x + b - y);
                of_w = beta * of_w + (errors[0] * one.0 + errors[1] * other.0) / 2.0 + lambda * w;
                of_b = beta * of_b + (errors[0] + errors[1]) / 2.0;
                (w, b) = (w - 0.1 * of_w, b - 0.1 * of_b);

                let layer = &model.parameters().layers[0];
                let found = [layer.weights[(0, 0)], layer.bias.as_ref().unwrap()[0]];
                let off = (found[0] - w).abs().max((found[1] - b).abs());
                assert!(off < 1e-13, "β {beta} λ {lambda} {step}: {found:?} ≠ {w} {b}");
            }
        }
    }
}
