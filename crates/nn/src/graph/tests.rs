//! Shapes, fusing and initial weights, on chains and on a graph made by hand.

use super::*;
use crate::layer::{DenseSpec, LayerSpec, OperatorSpec};
use crate::operator::Dense;

fn dense(units: usize) -> LayerSpec {
    OperatorSpec::Dense(DenseSpec { units, bias: true }).into()
}

fn network(input: &[usize], layers: Vec<LayerSpec>) -> Network {
    Network { input: input.to_vec(), layers, loss: Loss::SoftmaxCrossEntropy }
}

#[test]
fn shapes_follow_from_layer_to_layer_and_a_relu_joins_its_dense() {
    let layers = vec![dense(5), OperatorSpec::Relu.into(), dense(3)];
    let graph = Graph::new(&network(&[2, 3], layers)).unwrap();
    assert_eq!((graph.inputs(), graph.outputs()), (6, 3));
    let names: Vec<_> = graph.nodes.iter().map(|node| node.name.to_string()).collect();
    assert_eq!(names, ["0", "@1", "1"]);
    let hidden = WeightedLayer {
        number: 0,
        entry: 0,
        weights: WeightShape { outputs: 5, fan_in: 6, bias: true },
        reads: ValueId::INPUT,
        output: ValueId(2),
    };
    let last = WeightedLayer {
        number: 1,
        entry: 2,
        weights: WeightShape { outputs: 3, fan_in: 5, bias: true },
        reads: ValueId(2),
        output: ValueId(3),
    };
    assert_eq!(graph.weighted(), [hidden, last]);
    let layers = [0, 2, 3].map(|at| graph.layer_of(ValueId(at)).copied());
    assert_eq!(layers, [None, Some(hidden), Some(last)]);
    let relu = ValueId::made_by(1);
    assert_eq!((graph.maker(relu), graph.edge(relu)), (Some(0), vec![EdgeFunction::Relu]));
    assert_eq!([0, 2, 3].map(|at| graph.is_nonnegative(ValueId(at))), [false, true, false]);
    assert_eq!([0, 1, 2, 3].map(|at| graph.trains(ValueId(at))), [false, true, true, true]);
}

/// ```text
/// x ─► dense 0 ─► 1 ─┬──────────► relu @1 ─► 2 ─► relu @2 ─► 3 ─► dense 1 ─► 4 ─► relu @4 ─► 5
///                    └─► dense 2 ─► 6, and 5 and 6 are read by add @6 ─► 7
/// ```
fn diamond() -> Graph {
    let dense = |inputs, units| Operator::Dense(Dense { inputs, units, bias: true });
    let relu = Operator::Function(EdgeFunction::Relu);
    let entries = [
        (dense(4, 3), vec![0]),
        (relu, vec![1]),
        (relu, vec![2]),
        (dense(3, 3), vec![3]),
        (relu, vec![4]),
        (dense(3, 3), vec![1]),
        (Operator::Add, vec![5, 6]),
    ];
    let entries = entries
        .map(|(operator, reads)| (operator, reads.into_iter().map(ValueId).collect()))
        .to_vec();
    Graph::connect(Shape::Features(4), entries, Loss::Mse)
}

#[test]
fn a_function_is_fused_directly_behind_an_operator_that_nobody_else_reads() {
    let graph = diamond();
    assert_eq!(graph.readers(ValueId(1)), [1, 5]);
    // 4 alone is not stored: 1 has two readers, and 2 is of a function, which has no edge.
    assert!(graph.stored().eq([0, 1, 2, 3, 5, 6, 7].map(ValueId)));
    let maker = |value| graph.maker(ValueId(value));
    assert_eq!([1, 2, 3, 5, 6].map(maker), [0, 1, 2, 3, 5].map(Some));
    assert_eq!(maker(0), None);
    let functions = |value| graph.edge(ValueId(value)).len();
    assert_eq!([0, 1, 2, 3, 5, 6, 7].map(functions), [0, 0, 1, 1, 1, 0, 0]);
    let outputs = graph.weighted().iter().map(|layer| (layer.number, layer.entry, layer.output.0));
    assert!(outputs.eq([(0, 0, 1), (1, 3, 5), (2, 5, 6)]));
}

/// A function need not stand directly below the operator into whose edge it is fused.
#[test]
fn what_is_stored_is_in_the_order_of_its_makers() {
    let dense = Operator::Dense(Dense { inputs: 2, units: 2, bias: false });
    let relu = Operator::Function(EdgeFunction::Relu);
    let entries =
        [(dense, vec![0]), (dense, vec![0]), (relu, vec![1]), (Operator::Add, vec![2, 3])];
    let entries = entries
        .map(|(operator, reads)| (operator, reads.into_iter().map(ValueId).collect()))
        .to_vec();
    let graph = Graph::connect(Shape::Features(2), entries, Loss::Mse);
    assert!(graph.stored().eq([0, 3, 2, 4].map(ValueId)));
    assert_eq!([0, 1, 2, 3].map(|entry| graph.stored_of(entry).0), [3, 2, 3, 4]);
    let numbers = graph.weighted().iter().map(|layer| (layer.number, layer.entry));
    assert!(numbers.eq([(0, 0), (1, 1)]));
    assert_eq!(
        [0, 2, 3, 4].map(|at| graph.is_nonnegative(ValueId(at))),
        [false, false, true, false]
    );
}

#[test]
fn values_without_weights_in_them_have_no_gradient() {
    let relu = Operator::Function(EdgeFunction::Relu);
    let dense = Operator::Dense(Dense { inputs: 2, units: 1, bias: false });
    let entries = vec![(relu, vec![ValueId(0)]), (dense, vec![ValueId(1)])];
    let graph = Graph::connect(Shape::Features(2), entries, Loss::Mse);
    assert_eq!([0, 1, 2].map(|at| graph.trains(ValueId(at))), [false, false, true]);
    assert_eq!(graph.maker(ValueId(1)), Some(0));
}

#[test]
#[should_panic(expected = "the values that nobody reads")]
fn a_value_that_nobody_reads_is_refused() {
    let relu = Operator::Function(EdgeFunction::Relu);
    let entries = vec![(relu, vec![ValueId(0)]), (relu, vec![ValueId(0)])];
    Graph::connect(Shape::Features(2), entries, Loss::Mse);
}

#[test]
#[should_panic(expected = "which is not above it")]
fn a_cycle_is_refused() {
    let relu = Operator::Function(EdgeFunction::Relu);
    Graph::connect(Shape::Features(2), vec![(relu, vec![ValueId(1)])], Loss::Mse);
}

#[test]
fn rows_of_an_image_are_its_places() {
    let shape = Shape::Image { height: 3, width: 4, channels: 5 };
    assert_eq!((shape.rows(), shape.columns(), shape.elements()), (12, 5, 60));
    assert_eq!(Shape::Features(7).rows(), 1);
}

#[test]
fn shapes_that_do_not_fit_are_refused_with_place_and_numbers() {
    let relu = || LayerSpec::from(OperatorSpec::Relu);
    let huge = usize::MAX;
    let cases: [(&[usize], Vec<LayerSpec>, &[&str]); 9] = [
        (&[], vec![dense(1)], &["network.input", " 0,", " 1 "]),
        (&[1; 9], vec![dense(1)], &["network.input", " 9,", " 8"]),
        (&[4, 0], vec![dense(1)], &["network.input[1]", " 0,"]),
        (&[huge, 2], vec![dense(1)], &["network.input[0]", "18446744073709551615"]),
        (&[1 << 24, 1 << 24], vec![dense(1)], &["network.input", "281474976710656"]),
        (&[4], vec![], &["network.layers", " 0,"]),
        (&[4], vec![relu(); 2000], &["network.layers", "2000", "1024"]),
        (&[4], vec![dense(0)], &["network.layers[0].dense.units", " 0,"]),
        (
            &[1 << 20],
            vec![dense(2), dense(3), dense(1 << 24), dense(1 << 24)],
            &["network.layers[3]", "16777216 · 16777216", "268435456"],
        ),
    ];
    for (input, layers, said) in cases {
        let bad = network(input, layers);
        let message = Graph::new(&bad).unwrap_err().to_string();
        assert!(said.iter().all(|part| message.contains(part)), "{said:?}: {message}");
    }
}

fn read(network: &str) -> Result<Graph, String> {
    let network: Network = serde_json::from_str(network).expect(network);
    Graph::new(&network).map_err(|error| error.to_string())
}

/// A network on an image of 2 channels, 6 by 5.
fn on_images(layers: &str) -> Result<Graph, String> {
    read(&format!(r#"{{"input": [2, 6, 5], "loss": "mse", "layers": [{layers}]}}"#))
}

#[test]
fn a_residual_network_has_the_shapes_names_and_edges_of_its_operators() {
    let graph = on_images(
        r#"{"conv2d": {"filters": 4, "kernel": 3, "padding": 1}}, {"relu": {}, "name": "b0"},
           {"conv2d": {"filters": 4, "kernel": 3, "padding": 1, "bias": false}},
           {"add": {}, "reads": ["b0", "-"]}, "relu", {"max_pool": {"kernel": 2}},
           {"avg_pool": {"kernel": [3, 2]}}, "flatten", "tanh", {"dense": {"units": 3}}"#,
    );
    let graph = graph.unwrap();
    let shape = |at: usize| graph.shape(ValueId(at)).to_string();
    let shapes: Vec<_> = (0..=graph.nodes.len()).map(shape).collect();
    let expected = [
        "[2, 6, 5]",
        "[4, 6, 5]",
        "[4, 6, 5]",
        "[4, 6, 5]",
        "[4, 6, 5]",
        "[4, 6, 5]",
        "[4, 3, 2]",
        "[4, 1, 1]",
        "[4]",
        "[4, 1, 1]",
        "[3]",
    ];
    assert_eq!(shapes, expected);
    // Both functions behind operators with an edge are fused, that behind the view, too.
    assert!(graph.stored().eq([0, 2, 3, 5, 6, 9, 10].map(ValueId)));
    assert_eq!(graph.edge(ValueId(9)), [EdgeFunction::Squash(crate::operator::Squash::Tanh)]);
    let weights =
        graph.weighted().iter().map(|layer| (layer.weights.outputs, layer.weights.fan_in));
    assert!(weights.eq([(4, 18), (4, 36), (3, 4)]));
    assert_eq!(graph.sizes(), "60-4C3-4C3-+-P2-A3x2-3");
    assert_eq!((graph.labelled("b0"), graph.label(1), graph.label(0)), (Some(1), Some("b0"), None));
    let nonnegative = [2, 3, 5, 6, 9].map(|at| graph.is_nonnegative(ValueId(at)));
    // A tanh of what is not negative is not either.
    assert_eq!(nonnegative, [true, false, true, true, true]);
}

#[test]
fn entries_that_cannot_be_are_refused_with_what_they_find() {
    let conv = |settings: &str| format!(r#"{{"conv2d": {{"filters": 4, {settings}}}}}, "flatten""#);
    let dense = r#"{"dense": {"units": 3}}"#;
    for (layers, said) in [
        (conv(r#""kernel": 7"#), &["[0].conv2d.kernel: 7 x 7 places", "image of 6 x 5"][..]),
        (conv(r#""kernel": 3, "dilation": 3"#), &["kernel: 7 x 7 places"]),
        (conv(r#""kernel": 0"#), &["[0].conv2d.kernel is 0, expected 1"]),
        (conv(r#""kernel": 1, "stride": [1, 0]"#), &["[0].conv2d.stride is 0"]),
        (conv(r#""kernel": 1, "groups": 3"#), &["conv2d.groups is 3, expected 1 to 2"]),
        (r#"{"conv2d": {"filters": 3, "kernel": 1, "groups": 2}}"#.into(), &["2 do not divide 3 filters"]),
        (format!("{dense}, {}", conv(r#""kernel": 1"#)), &["[1].conv2d: it reads [3]", "[0] (dense)"]),
        (format!(r#""flatten", {{"max_pool": {{"kernel": 1}}}}, {dense}"#), &["[1].max_pool: it reads [60]", "(flatten)"]),
        (r#"{"max_pool": {"kernel": 2, "stride": 2, "padding": [0, 2, 0, 0]}}, "flatten", {"dense": {"units": 1}}"#.into(),
            &["[0].max_pool.padding: window 0 along has no pixel", "padding 2"]),
        (format!(r#"{{"add": {{}}, "reads": ["x", "y"]}}, {dense}"#), &["[0].reads[1]: \"y\" is no entry above", "\"x\""]),
        (format!(r#"{{"add": {{}}, "name": "y", "reads": ["x", "y"]}}, {dense}"#), &["is this entry itself"]),
        (r#"{"relu": {}, "reads": ["late"]}, {"dense": {"units": 3}, "name": "late"}"#.into(), &["\"late\" is no entry above"]),
        (format!(r#""add", {dense}"#), &["[0].reads: nothing stated"]),
        (format!(r#"{{"add": {{}}, "reads": ["x"]}}, {dense}"#), &["[0].reads: one value for add, expected two"]),
        (format!(r#"{{"relu": {{}}, "reads": ["x", "x"]}}, {dense}"#), &["[0].reads: 2 values for relu, expected one"]),
        (format!(r#"{{"conv2d": {{"filters": 2, "kernel": 2}}, "name": "c"}}, {{"add": {{}}, "reads": ["x", "c"]}}, {dense}"#),
            &["[1].add: the input makes [2, 6, 5]", "network.layers[0] (conv2d \"c\") makes [2, 5, 4]"]),
        (format!(r#"{{"relu": {{}}, "name": "x"}}, {dense}"#), &["[0].name: \"x\""]),
        (format!(r#"{{"relu": {{}}, "name": "1a"}}, {dense}"#), &["[0].name: \"1a\", expected a letter"]),
        (format!(r#"{{"relu": {{}}, "name": "a"}}, {{"relu": {{}}, "name": "a"}}, {dense}"#), &["[1].name: \"a\", which network.layers[0]"]),
        (format!(r#""relu", {{"relu": {{}}, "reads": ["x"]}}, {dense}"#), &["nobody reads network.layers[0] (relu)"]),
        (r#"{"max_pool": {"kernel": [6, 5]}}"#.into(), &["network.layers[0]: max_pool is the last entry"]),
        (format!(r#"{dense}, "flatten""#), &["network.layers[1]: flatten is the last entry"]),
        (r#"{"conv2d": {"filters": 4, "kernel": 1}}"#.into(), &["conv2d makes [4, 6, 5] and is the last"]),
    ] {
        let message = on_images(&layers).map(|_| ()).expect_err(&layers);
        assert!(said.iter().all(|part| message.contains(part)), "{said:?}: {message}");
    }
    let flat =
        read(r#"{"input": [60], "loss": "mse", "layers": ["global_avg_pool"]}"#).unwrap_err();
    assert!(
        flat.contains("network.input: 1 extents, and network.layers[0] is global_avg_pool"),
        "{flat}"
    );
    let huge = on_images(r#"{"conv2d": {"filters": 16777216, "kernel": 1}}, "global_avg_pool""#);
    assert!(huge.unwrap_err().contains("values that it makes of a sample is 503316480"));
}

#[test]
fn the_bound_of_initial_weights_is_the_floor_of_the_root() {
    for fan_in in (1..2000).chain([1 << 20, (1 << 24) - 1, 1 << 24]) {
        let bound = u128::from(initial_bound(fan_in));
        let square = |b: u128| b * b * fan_in as u128; // b ≤ 2^24/√n where b²·n ≤ 2^48
        assert!(square(bound) <= 1 << 48 && square(bound + 1) > 1 << 48, "{fan_in}");
    }
}

#[test]
fn initial_weights_are_uniform_multiples_of_an_f32_ulp() {
    let graph = Graph::new(&network(&[100], vec![dense(200), dense(7)])).unwrap();
    let all = initial_weights(&graph, 1);
    let weights = &all[0];
    assert_eq!((weights.dim(), all[1].dim()), ((200, 100), (7, 200)));
    let bound = 0.1; // 1/√100
    for &w in weights {
        assert!(w.abs() <= bound && f64::from(w as f32) == w, "{w}");
        assert_eq!((w * 24_f64.exp2()).fract(), 0.0);
    }
    let count = weights.len() as f64;
    let mean = weights.sum() / count;
    let variance = weights.mapv(|w| w * w).sum() / count;
    // Uniform on ±b: variance b²/3; five standard errors of mean and of mean square.
    assert!(mean.abs() < 5.0 * bound / (3.0 * count).sqrt(), "{mean}");
    let spread = bound * bound * (4.0 / 45.0 / count).sqrt();
    assert!((variance - bound * bound / 3.0).abs() < 5.0 * spread, "{variance}");
    assert_eq!(all, initial_weights(&graph, 1));
    assert_ne!(*weights, initial_weights(&graph, 2)[0]);
}
