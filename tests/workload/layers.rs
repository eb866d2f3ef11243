//! What a layer is lowered to, and what that takes in each pass.

use std::fs;

use serde_json::{Value, json};
use systoliq_array::Array;
use systoliq_hardware::accelerator::UpdateOrder;
use systoliq_hardware::cost::{Arithmetic, Costs};
use systoliq_import::scalesim::Topology;
use systoliq_import::scalesim::topology::{LayerShape, OutputSize};
use systoliq_program::{Pass, Work};
use systoliq_run::Prepared;
use systoliq_study::workload::{LayerWork, WorkloadReport};

use super::{CONVOLUTION, TOPOLOGIES, accelerator, lowered, topology};
use crate::shell;

/// Convolutions with strides, padding, dilation and groups, and those that are dense.
const SHAPES: &str = "Layer, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, \
                      Num Filter, Stride Height, Stride Width, Batch, Pad Top, Pad Bottom, Pad Width, \
                      Dilation, Groups,\n\
    first, 5, 5, 3, 3, 2, 4, 1, 1, 1, 0, 0, 0, 1, 1,\n\
    plain, 9, 8, 3, 2, 3, 4, 2, 2, 1, 0, 0, 0, 1, 1,\n\
    padded, 7, 6, 3, 3, 4, 6, 1, 1, 3, 1, 1, 1, 1, 2,\n\
    sided, 7, 6, 3, 3, 4, 6, 2, 1, 2, 0, 1, 2, 1, 1,\n\
    dilated, 9, 9, 3, 3, 2, 5, 1, 2, 2, 2, 2, 2, 2, 1,\n\
    far, 4, 4, 2, 2, 2, 2, 3, 3, 1, 3, 3, 3, 1, 1,\n\
    deep_DP, 6, 6, 3, 3, 5, 2, 1, 1, 4, 1, 1, 1, 1, 1,\n\
    left, 5, 5, 2, 2, 3, 4, 3, 3, 2, 0, 0, 0, 1, 1,\n\
    full, 3, 4, 3, 4, 5, 6, 1, 1, 2, 0, 0, 0, 1, 1,\n\
    rows, 6, 8, 1, 8, 1, 3, 1, 1, 2, 0, 0, 0, 1, 1,\n\
    point, 4, 4, 1, 1, 8, 8, 1, 1, 2, 0, 0, 0, 1, 1,\n";

/// Products of a tap of a filter and a pixel, counted one by one.
fn products_of(shape: LayerShape) -> u64 {
    let LayerShape::Convolution(of) = shape else { panic!("a convolution: {shape:?}") };
    let met = |axis: usize| {
        let (pad, ends) = (of.padding[axis] as i64, of.end_padding[axis] as i64);
        let (size, reach) =
            (of.image[axis] as i64, (of.dilation[axis] * (of.kernel[axis] - 1)) as i64);
        let windows = (-pad..=size + ends - 1 - reach).step_by(of.stride[axis]);
        let taps = |from: i64| (from..=from + reach).step_by(of.dilation[axis]);
        windows.flat_map(taps).filter(|pixel| (0..size).contains(pixel)).count() as u64
    };
    let channels = of.batch * of.channels * of.filters / of.groups;
    met(0) * met(1) * channels as u64
}

#[test]
fn every_pass_makes_the_products_of_taps_and_pixels_and_no_structural_zeros() {
    let shapes = Topology::parse(SHAPES).expect("a topology that is read");
    let mut checked = 0;
    for topology in [vec![shapes], TOPOLOGIES.map(topology).to_vec()].concat() {
        let workload = lowered(&topology, OutputSize::Floor, true);
        for machine in [Array::new(3, 5), Array::new(128, 128)] {
            let accelerator = accelerator(machine.expect("a size in range"));
            let report = WorkloadReport::new(&accelerator, &workload).expect("a report");
            let mut rows = report.products.into_iter().peekable();
            for layer in &topology.layers {
                let macs = match layer.shape() {
                    LayerShape::Gemm(shape) => shape.macs(),
                    shape => products_of(shape),
                };
                let mut passes = Vec::new();
                while let Some(row) = rows.next_if(|row| {
                    row.work.layer == layer.name()
                        && passes.last().is_none_or(|&pass| pass < row.work.pass)
                }) {
                    let expected = if row.work.pass == Pass::Update { 0 } else { macs };
                    assert_eq!(row.macs, expected, "{row:?}");
                    passes.push(row.work.pass);
                    checked += 1;
                }
                assert_eq!(passes.last(), Some(&Pass::Update), "{layer:?}");
            }
            assert_eq!(rows.next().map(|row| row.work), None);
        }
    }
    assert!(checked > 1000, "{checked} rows");
}

/// What of each tensor a layer reads and writes, on the way of the program.
#[test]
fn layers_are_lowered_to_products_that_fit_their_tensors() {
    let topology = Topology::parse(SHAPES).expect("a topology that is read");
    let workload = lowered(&topology, OutputSize::Floor, true);
    let program = &workload.program;
    for work in &workload.work {
        let first = work.writes().next().expect("a write");
        let found = program.work(first, 1);
        match work.product() {
            Some(shape) => assert_eq!(found, Work::Gemm(shape), "{work:?}"),
            None => assert_eq!(found, Work::Vector { rows: work.m, cols: work.n }, "{work:?}"),
        }
        let sizes = work.m as u64 * work.n as u64 * work.repeats;
        for at in work.writes() {
            let (rows, cols) = program.tensor(program.write(at).tensor).shape(1);
            assert_eq!((rows * cols) as u64, sizes, "{work:?}");
        }
    }
    // Both networks of one shape twice are one in the program.
    let text = SHAPES.to_owned() + SHAPES.split_once('\n').expect("a header").1;
    let twice = Topology::parse(&text).expect("a topology that is read");
    let twice = lowered(&twice, OutputSize::Floor, true);
    // The first layer comes again with a gradient of its input.
    assert_eq!(twice.program.writes.len(), program.writes.len() + 5);
    assert_eq!(twice.work.len(), 2 * workload.work.len() + 1);
}

/// Dense layers without bias and activation function, in numbers whose scales do not move.
#[test]
fn training_a_dense_layer_takes_what_train_says() {
    let role = |bits: u32| json!({ "bits": bits, "frac": 6, "scale": "static", "rounding": "nearest-even" });
    for (machine, residency) in
        [("edge-16x16", "none"), ("edge-16x16", "keep-if-next"), ("lecture-8x8", "none")]
    {
        let mut accelerator = systoliq::load::accelerator(
            &shell::root().join(format!("models/accelerators/{machine}.json")),
        )
        .unwrap_or_else(|failure| panic!("{failure:?}"));
        accelerator.residency = serde_json::from_value(json!(residency)).expect("a residency");
        accelerator.scratchpad.buffer_bytes = 0;
        accelerator.update = UpdateOrder::Separate;
        let rows: Vec<Vec<f64>> = vec![vec![0.5; 24]; 16];
        let experiment = json!({
            "name": "dense",
            "seed": 1,
            "dataset": { "kind": "points", "inputs": rows, "labels": vec![0; 16], "classes": 10 },
            "network": {
                "input": [24],
                "layers": [{ "dense": { "units": 40, "bias": false } },
                           { "dense": { "units": 10, "bias": false } }],
                "loss": "softmax_cross_entropy"
            },
            "training": { "epochs": 1, "batch": 16, "rate": 0.5 },
            "precision": {
                "input": role(8), "weights": role(8), "master": role(16), "activations": role(8),
                "logits": role(8), "error": role(8), "gradients": role(8),
                "weight_gradients": role(8), "accumulator": { "bits": 32 }
            },
            "accelerator": accelerator
        });
        let experiment = serde_json::from_value(experiment).expect("an experiment");
        let prepared = Prepared::new(experiment).expect("a possible experiment");
        let trained = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
        let topology = "Layer, M, N, K,\na, 16, 40, 24,\nb, 16, 10, 40,\n";
        let topology = Topology::parse(topology).expect("a topology that is read");
        let workload = lowered(&topology, OutputSize::Floor, true);
        let costs = Costs::apart(&workload.program, &accelerator, Arithmetic::Fixed, 16);
        let mut compared = 0;
        for (at, write, command) in prepared.program.all_writes() {
            // What stays for the next command is there: in `train` a layer's result, or its gradient.
            let alike = residency == "none" || command.pass >= Pass::WeightGradient;
            let lowered = command.operation.product().is_some() || command.pass == Pass::Update;
            if !lowered || !alike {
                continue;
            }
            let layer = ["a", "b"][command.entry.number().expect("a chain of layers")];
            let named = |work: &&LayerWork| work.pass == command.pass && work.layer == layer;
            let work = workload.work.iter().find(named).expect("a layer and a pass");
            let nth = prepared.program.writes_of(write.command).position(|(of, _)| of == at);
            let ours = work.writes().nth(nth.expect("a write")).expect("as many writes");
            let [ours, theirs] = [(&costs, ours), (&trained, at)].map(|(costs, at)| {
                let cost = costs.of(at, costs.program.work(at, 16), false).expect("a cost");
                let bytes: u64 = cost.moved.iter().map(|moved| moved.bytes).sum();
                (cost.cycles, cost.counts, cost.dataflow, cost.tally, bytes)
            });
            assert_eq!(ours, theirs, "{machine}, {residency}: {}", write.name);
            compared += 1;
        }
        let expected = if residency == "none" { 5 + 4 } else { 2 + 4 };
        assert_eq!(compared, expected, "{machine}, {residency}");
    }
}

/// A batch is rows: cycles, bytes and energy are those of one product with so many rows, and the weights
/// come once.
#[test]
fn a_batch_is_rows_of_one_product_and_gradients_of_weights_sum_over_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = |text: &str| -> Value {
        fs::write(folder.path().join("net.csv"), text).expect("a file");
        let accelerator = shell::root().join("models/accelerators/cloud-128x128.json");
        let accelerator = accelerator.to_str().expect("a path in UTF-8");
        let arguments =
            ["workload", "net.csv", "--accelerator", accelerator, "--training", "--json"];
        serde_json::from_str(&shell::printed(folder.path(), &arguments)).expect("a report")
    };
    let batched = report("Layer, M, N, K, Batch,\nfc, 1, 512, 512, 64,\n");
    assert_eq!(batched, report("Layer, M, N, K,\nfc, 64, 512, 512,\n"));
    let row = &batched["products"][0];
    assert_eq!(
        (&row["m"], &row["repeats"], &row["macs"]),
        (&64.into(), &1.into(), &16_777_216.into())
    );
    // Weights, 512 x 512 bytes, and 64 rows in and out.
    assert_eq!(row["dram_bytes"], json!([64 * 512, 512 * 512, 64 * 512]));
    // The update is fused: master in, master and weights out, 2 and 2 + 1 bytes each, and no gradient.
    assert_eq!(
        batched["products"][2]["dram_bytes"],
        json!([2, 0, 3].map(|bytes| bytes * 512 * 512))
    );
    let convolution = |batch: usize| {
        let rows = "a, 8, 8, 3, 3, 16, 32, 1";
        report(&format!("{}Batch,\n{rows}, {batch},\n", CONVOLUTION.trim_end()))
    };
    let (one, four) = (convolution(1), convolution(4));
    for (at, sizes) in [(0, ["m", "n", "k"]), (1, ["k", "m", "n"])] {
        let size = |of: &Value, key| of["products"][at][key].as_u64().expect("a size");
        let [samples, alike, also] = sizes;
        assert_eq!(size(&four, samples), 4 * size(&one, samples));
        assert_eq!((size(&four, alike), size(&four, also)), (size(&one, alike), size(&one, also)));
        assert_eq!(size(&four, "macs"), 4 * size(&one, "macs"));
        assert!(size(&four, "cycles") < 4 * size(&one, "cycles"));
    }
    // The step of the weights knows no batch.
    let step =
        |of: &Value| ["cycles", "dram_bytes", "m", "n"].map(|key| of["products"][2][key].clone());
    assert_eq!(step(&four), step(&one));
}
