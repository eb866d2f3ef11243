//! Convolutional networks and graphs: every command knows them, every engine agrees on them, and what is the
//! same network written otherwise has the same bits.

use std::path::Path;
use std::process::Output;

use ndarray::Array2;
use serde_json::Value;
use systoliq_engine::Fast;
use systoliq_hardware::cost::Arithmetic;
use systoliq_nn::{Batch, Operator, Parameters, epoch_order};
use systoliq_program::{Engine, Operation, Reference, Role, Step, Store, TensorId, Work};
use systoliq_run::{EngineKind, Prepared};

use crate::recompute::{python, recompute};
use crate::shell;
use crate::support::{WITHOUT_BUFFER, data, prepared, train};

const NETWORKS: [&str; 2] = ["digits-cnn", "residual-digits"];

/// A few samples of the training part.
fn batch(prepared: &Prepared, samples: usize) -> Batch {
    let data = data(prepared, 1);
    data.train.batch(&epoch_order(1, 0, data.train.len())[..samples])
}

/// Every tensor behind every command of a step.
fn step(prepared: &Prepared, engine: &mut dyn Engine) -> Vec<(String, Vec<i64>)> {
    let initial = systoliq_nn::initial_weights(&prepared.graph, 1);
    let mut store = Store::new(&prepared.program, &initial, 1);
    let step = Step::training(1, 0);
    store.load(&batch(prepared, 7), &step);
    let mut found = Vec::new();
    for &command in &prepared.program.step {
        engine.run(command, &mut store, &step);
        for (_, write) in prepared.program.writes_of(command) {
            let tensor = store.tensor(write.tensor).unwrap();
            found.push((format!("{} {}", write.name, tensor.format()), tensor.to_codes()));
        }
    }
    found
}

#[test]
fn the_fast_engine_has_the_bits_of_the_reference_on_networks_with_convolutions() {
    let more = r#"[
        { "conv2d": { "filters": 6, "kernel": [3, 2], "stride": [2, 1], "padding": [1, 0, 2, 1] } }, "sigmoid",
        { "conv2d": { "filters": 6, "kernel": 3, "dilation": [1, 2], "padding": 2, "groups": 3 }, "name": "a" },
        { "max_pool": { "kernel": 3, "stride": 1, "padding": 1 }, "name": "b" },
        { "add": {}, "reads": ["a", "b"] }, "tanh",
        { "avg_pool": { "kernel": 2, "stride": 1, "padding": 1, "count_padding": true } },
        { "clipped_relu": { "max": 0.5 } }, "flatten", { "dense": { "units": 10 } }]"#;
    let plain = NETWORKS.map(|name| prepared(name, &[]));
    let other = prepared("digits-cnn", &[("network.layers", more)]);
    let wide = [
        ("precision.activations", r#"{"bits": 16, "scale": "dynamic"}"#),
        ("precision.gradients", r#"{"bits": 16, "scale": "dynamic", "rounding": "stochastic"}"#),
    ];
    let wide = NETWORKS.map(|name| prepared(name, &wide));
    for prepared in plain.into_iter().chain([other]).chain(wide) {
        let [fast, reference] =
            [step(&prepared, &mut Fast::default()), step(&prepared, &mut Reference)];
        assert_eq!(fast, reference, "{}", prepared.graph.sizes());
    }
}

#[test]
fn the_register_engine_trains_convolutions_with_the_same_bits_cycles_and_counts() {
    for name in NETWORKS {
        let prepared = prepared(name, &[("training.epochs", "1"), ("training.batch", "399")]);
        // The engine holds its cycles and counts against the closed forms at every product.
        let [fast, stepped] =
            [EngineKind::Fast, EngineKind::Register].map(|engine| train(&prepared, 1, engine, 1));
        assert_eq!(fast.fixed, stepped.fixed, "{name}");
    }
}

/// What a network computes of a batch with given parameters, for all that it writes.
fn computed(prepared: &Prepared, parameters: &Parameters<f64>, batch: &Batch) -> Store {
    let step = Step::probe(1, 0);
    let mut store = Store::with_parameters(&prepared.program, parameters, &step);
    store.load(batch, &step);
    store.gradients(&step, &mut Fast::default());
    store
}

fn codes(prepared: &Prepared, store: &Store, role: Role, number: usize) -> Vec<i64> {
    let of = |decl: &&systoliq_program::TensorDecl| {
        decl.role == role && decl.entry.number() == Some(number)
    };
    let at = prepared.program.tensors.iter().position(|decl| of(&decl)).expect("a tensor");
    store.tensor(TensorId(at)).expect("a tensor that is written").to_codes()
}

/// Formats of which none moves, and nothing that draws words.
fn exact() -> Vec<(&'static str, &'static str)> {
    let mut sets = vec![
        ("precision.weights", r#"{"bits": 8, "frac": 7}"#),
        ("precision.master", r#"{"bits": 16, "frac": 15, "rounding": "nearest-even"}"#),
        ("precision.activations", r#"{"bits": 8, "frac": 5, "signed": false}"#),
        ("precision.logits", r#"{"bits": 8, "frac": 4}"#),
        ("precision.error", r#"{"bits": 8, "frac": 6, "rounding": "floor"}"#),
        ("precision.gradients", r#"{"bits": 12, "frac": 10, "rounding": "floor"}"#),
        ("precision.weight_gradients", r#"{"bits": 24, "frac": 16}"#),
        ("precision.accumulator", r#"{"bits": 48}"#),
    ];
    sets.extend(WITHOUT_BUFFER);
    sets
}

/// A convolution as the matrix of a dense layer from all pixels to all places, and which weight each of its
/// elements is.
fn unrolled(
    prepared: &Prepared,
    weights: &Array2<f64>,
) -> (Array2<f64>, Vec<Option<(usize, usize)>>) {
    let Operator::Conv2d(of) = prepared.graph.nodes[0].operator else { panic!("a convolution") };
    let (channels, filters, groups) = (of.channels, of.filters, of.groups);
    let [_, along] = of.window.positions();
    let (rows, columns) = (of.window.count() * filters, of.window.pixels() * channels);
    let mut matrix = Array2::zeros((rows, columns));
    let mut which = vec![None; rows * columns];
    for place in 0..of.window.count() {
        for (ky, kx) in (0..of.window.down.taps)
            .flat_map(|ky| (0..of.window.along.taps).map(move |kx| (ky, kx)))
        {
            let pixel = of
                .window
                .down
                .pixel(place / along, ky)
                .zip(of.window.along.pixel(place % along, kx));
            let Some((y, x)) = pixel else { continue };
            let pixel = y * of.window.along.extent + x;
            for filter in 0..filters {
                for c in 0..channels / groups {
                    let channel = filter / (filters / groups) * (channels / groups) + c;
                    let weight = (ky * of.window.along.taps + kx) * (channels / groups) + c;
                    let at = (place * filters + filter, pixel * channels + channel);
                    matrix[at] = weights[(filter, weight)];
                    which[at.0 * columns + at.1] = Some((filter, weight));
                }
            }
        }
    }
    (matrix, which)
}

#[test]
fn a_convolution_is_its_unrolled_dense_layer_bit_for_bit() {
    for kernel in [
        r#"{ "filters": 3, "kernel": 3, "padding": 1, "bias": false }"#,
        r#"{ "filters": 4, "kernel": [2, 3], "stride": [2, 1], "padding": [0, 1, 1, 0], "bias": false }"#,
        r#"{ "filters": 2, "kernel": 2, "dilation": 3, "bias": false }"#,
    ] {
        let layers = format!(r#"[{{"conv2d": {kernel}}}, "relu", {{"dense": {{"units": 10}}}}]"#);
        let mut sets = exact();
        sets.push(("network.layers", &layers));
        let convolution = prepared("digits-cnn", &sets);
        let parameters = Parameters::<f64>::initial(&convolution.graph, 3);
        let (matrix, which) = unrolled(&convolution, &parameters.layers[0].weights);
        let units = matrix.nrows();
        let layers = format!(
            r#"[{{"dense": {{"units": {units}, "bias": false}}}}, "relu", {{"dense": {{"units": 10}}}}]"#
        );
        let mut sets = exact();
        sets.push(("network.layers", &layers));
        let dense = prepared("digits-cnn", &sets);
        let mut unrolled = parameters.clone();
        unrolled.layers[0].weights = matrix;
        let batch = batch(&convolution, 9);
        let [ours, theirs] = [(&convolution, &parameters), (&dense, &unrolled)]
            .map(|(prepared, parameters)| computed(prepared, parameters, &batch));
        for (role, layer) in [
            (Role::Activations, 0),
            (Role::Gradients, 0),
            (Role::Logits, 1),
            (Role::Error, 1),
            (Role::WeightGradients, 1),
        ] {
            let [ours, theirs] = [(&convolution, &ours), (&dense, &theirs)]
                .map(|(prepared, store)| codes(prepared, store, role, layer));
            assert_eq!(ours, theirs, "{role} of {layer}, {kernel}");
            assert!(ours.iter().any(|&code| code != 0), "{role} of {layer}, {kernel}");
        }
        // dW of a convolution is the sum of that of all its places, each of which is exact here.
        let frac = |prepared: &Prepared, store: &Store, role| {
            let of = prepared.program.find(role, systoliq_program::EntryName::Number(0));
            store.tensor(of.expect("a tensor")).expect("codes").format().frac()
        };
        assert_eq!(
            frac(&convolution, &ours, Role::WeightGradients),
            frac(&dense, &theirs, Role::WeightGradients)
        );
        let fan_in = parameters.layers[0].weights.ncols();
        let mut sums = vec![0; parameters.layers[0].weights.len()];
        let of_places = codes(&dense, &theirs, Role::WeightGradients, 0);
        for (code, which) in of_places.into_iter().zip(which) {
            if let Some((filter, weight)) = which {
                sums[filter * fan_in + weight] += code;
            }
        }
        let found = codes(&convolution, &ours, Role::WeightGradients, 0);
        // Each place was divided by the batch and rounded by itself.
        let places = units as i64;
        for (found, sum) in found.into_iter().zip(sums) {
            assert!((found - sum).abs() <= places, "{kernel}: {found} {sum}");
        }
    }
}

#[test]
fn groups_are_networks_of_their_own() {
    let layers = |conv: &str| {
        format!(
            r#"[{{"conv2d": {{"filters": 4, "kernel": 1, "bias": false}}}}, "relu",
                {{"conv2d": {{{conv}, "kernel": 3, "bias": false}}}}, "global_avg_pool",
                {{"dense": {{"units": 10, "bias": false}}}}]"#
        )
    };
    let whole = layers(r#""filters": 6, "groups": 2"#);
    let mut sets = exact();
    sets.push(("network.layers", &whole));
    let grouped = prepared("digits-cnn", &sets);
    let parameters = Parameters::<f64>::initial(&grouped.graph, 5);
    let batch = batch(&grouped, 5);
    let together = computed(&grouped, &parameters, &batch);
    let made = codes(&grouped, &together, Role::Activations, 1);
    // A dense kernel of which the other group's channels have weight 0.
    let one = layers(r#""filters": 6"#);
    let mut sets = exact();
    sets.push(("network.layers", &one));
    let single = prepared("digits-cnn", &sets);
    let mut spread = parameters.clone();
    let weights = &parameters.layers[1].weights;
    spread.layers[1].weights = Array2::from_shape_fn((6, 9 * 4), |(filter, at)| {
        let (tap, channel) = (at / 4, at % 4);
        match channel / 2 == filter / 3 {
            true => weights[(filter, tap * 2 + channel % 2)],
            false => 0.0,
        }
    });
    let apart = computed(&single, &spread, &batch);
    assert_eq!(made, codes(&single, &apart, Role::Activations, 1));
    let [ours, theirs] = [(&grouped, &together), (&single, &apart)]
        .map(|(prepared, store)| codes(prepared, store, Role::Gradients, 0));
    assert_eq!(ours, theirs);
}

#[test]
fn every_result_of_convolutional_steps_is_recomputed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lenet = format!("dataset.dir={}", crate::support::fashion().display());
    let limits = ["dataset.validation=100", "dataset.train_limit=300", "dataset.test_limit=50"];
    let dumps = [("digits-cnn", 8, 3), ("residual-digits", 8, 2), ("lenet-mnist", 2, 1)].map(
        |(name, batch, step)| {
            let run = folder.path().join(name);
            let (file, batch) = (format!("models/{name}.json"), format!("training.batch={batch}"));
            let step = step.to_string();
            let mut arguments = vec!["train", &file, "--dump-step", &step, "--out"];
            arguments.push(run.to_str().expect("UTF-8"));
            arguments.extend(["--set", "training.epochs=1", "--set", &batch]);
            if name == "lenet-mnist" {
                arguments.extend(["--set", &lenet]);
                arguments.extend(limits.iter().flat_map(|limit| ["--set", limit]));
            }
            shell::printed(&shell::root(), &arguments);
            run.join(format!("dump-step-{step}"))
        },
    );
    let said = recompute(python(), &dumps);
    let said = said.unwrap_or_else(|message| panic!("{message}"));
    assert_eq!(said.lines().count(), dumps.len(), "{said}");
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut all = arguments.to_vec();
    all.extend(["--set", "training.epochs=1"]);
    shell::systoliq(folder, &all)
}

#[test]
fn every_command_knows_graphs_or_says_what_it_knows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let experiment = shell::root().join("models/residual-digits.json");
    let experiment = experiment.to_str().expect("UTF-8");
    for (arguments, says) in [
        (&["check"][..], "conv2d 8 -> 16, 3 x 3, stride 2 x 2"),
        (&["list"], "y@5 = relu(y0 + y2)"),
        (
            &[
                "trace",
                "--op",
                "3.weight_gradient",
                "--fold",
                "0",
                "--format",
                "vcd",
                "-o",
                "x.vcd",
            ],
            "",
        ),
        (&["trace", "--format", "perfetto", "-o", "x.json"], ""),
        (&["train", "--out", "run", "--dump-step", "1"], "64-8C3-8C3-8C3-+-16C3-A2-10"),
    ] {
        let (command, others) = arguments.split_first().expect("a command");
        let output = run(folder, &[&[*command, experiment], others].concat());
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {err}");
        assert!(out.contains(says), "{arguments:?}: {out}");
    }
    for arguments in
        [&["report", "run", "-o", "page.html"][..], &["panel", "run"], &["compare", "run", "run"]]
    {
        let output = shell::systoliq(folder, arguments);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {err}");
    }
    // Codes that move wait for no scale, in what is counted and in what is expected.
    let pooled = shell::root().join("models/digits-cnn.json");
    let pooled = pooled.to_str().expect("UTF-8");
    for arguments in [
        &["train", pooled, "--set", "training.epochs=1", "--out", "pooled"][..],
        &["panel", "pooled"],
        &["precision", pooled, "--set", "training.epochs=1"],
        &["trace", pooled, "--format", "perfetto", "--step", "0", "-o", "pooled.json"],
    ] {
        let output = shell::systoliq(folder, arguments);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {err}");
    }
    let output = run(folder, &["precision", experiment]);
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        err.contains("network.layers[0]: a value with several readers; the analysis knows chains"),
        "{err}"
    );
    let arguments = ["--out", "found", "--seeds", "2", "--held-back", "2", "--margin", "0.5"];
    let output = run(folder, &[&["search", experiment, "--runs", "6"], &arguments[..]].concat());
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert!(folder.join("found/plan.json").exists());
}

#[test]
fn blocks_are_refused_where_windows_overlap() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = shell::root().join("models/digits-cnn.json");
    let output = shell::systoliq(
        folder.path(),
        &[
            "check",
            file.to_str().expect("UTF-8"),
            "--set",
            r#"precision.activations={"bits":8,"scale":"block"}"#,
        ],
    );
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("precision.activations: scale \"block\", and network.layers[0] is conv2d, whose windows overlap"), "{err}");
}

/// A layer that fits its scratchpad fetches each of its pixels once.
#[test]
fn a_convolution_that_fits_moves_its_pixels_once() {
    let mut sets = WITHOUT_BUFFER.to_vec();
    sets.push(("accelerator.dram.bytes_per_cycle", "8"));
    let prepared = prepared("digits-cnn", &sets);
    let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
    let program = &prepared.program;
    let (id, write, _) =
        program.all_writes().find(|(_, write, _)| write.name == "1.forward.y1").unwrap();
    let Operation::Product(product) = &program.command_of(id).operation else {
        panic!("{write:?}")
    };
    let batch = 4;
    let work = program.work(id, batch);
    let Work::Gemm(_) = work else { panic!("{work:?}") };
    let cost = costs.of(id, work, false).unwrap();
    let pixels: u64 = (cost.moved.iter())
        .filter(|moved| moved.tensor == product.a.tensor && !moved.write)
        .map(|moved| moved.elements)
        .sum();
    let (rows, columns) = program.tensor(product.a.tensor).shape(batch);
    assert_eq!(pixels, (rows * columns) as u64);
}

/// What the layers of a network take in `train`, they take in `workload`.
#[test]
fn workload_and_train_take_the_same_cycles_for_the_same_products() {
    let prepared = prepared("digits-cnn", &WITHOUT_BUFFER);
    let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
    let program = &prepared.program;
    let cost = |name: &str| {
        let (id, ..) = program.all_writes().find(|(_, write, _)| write.name == name).unwrap();
        costs.of(id, program.work(id, 32), false).unwrap()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let topology = "Layer, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, \
        Strides, Batch, Padding,\nc0, 8, 8, 3, 3, 1, 8, 1, 32, 1,\nc1, 4, 4, 3, 3, 8, 16, 1, 32, 1,\n";
    std::fs::write(folder.path().join("cnn.csv"), topology).expect("a new file");
    let accelerator = shell::root().join("models/accelerators/lecture-8x8.json");
    let accelerator = accelerator.to_str().expect("UTF-8");
    let arguments = ["workload", "cnn.csv", "--accelerator", accelerator, "--json"];
    let said: Value =
        serde_json::from_str(&shell::printed(folder.path(), &arguments)).expect("JSON");
    for (at, name) in ["0.forward.y0", "1.forward.y1"].into_iter().enumerate() {
        let product = &said["products"][at];
        let (found, macs) = (product["cycles"].as_u64(), product["macs"].as_u64());
        let cost = cost(name);
        assert_eq!(found, Some(cost.cycles.total().0), "{name}: {product}");
        assert_eq!(macs, Some(cost.counts.macs), "{name}: {product}");
    }
}
