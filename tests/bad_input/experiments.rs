//! Experiments that are no JSON, do not fit their types, or are impossible.

use serde_json::{Value, json};

use super::Case;
use crate::shell;

/// Texts that are no JSON.
pub(crate) fn syntax() -> Vec<Case> {
    let good = shell::text(&shell::experiment());
    let twice = good.replacen("\"seed\": 1,", "\"seed\": 1,\n  \"seed\": 2,", 1);
    let line = twice.lines().position(|line| line.contains("\"seed\": 2")).map_or(0, |at| at + 1);
    let place = format!("x.json:{line}:");
    let mut not_text = Case::text("", &["x.json:2:4: not UTF-8 text, expected JSON"]);
    not_text.files[0].1 = b"{\n  \"\xff\": 1}".to_vec();
    vec![
        Case::text("", &["x.json:1:1: no text, expected JSON"]),
        Case::text("{\n  \"name\": \"x\",\n", &["x.json:3:1: ", "the text ends within"]),
        Case::text("{\n  \"name\": x\n}\n", &["x.json:2:11: expected value"]),
        Case::text("{\n  \"rate\": NaN\n}\n", &["x.json:2:11: expected value"]),
        Case::text("{\"name\": \"x\",}", &["x.json:1:14: trailing comma"]),
        Case::text(&(good + "}"), &["trailing characters"]),
        Case::text(&twice, &[&place, "key `seed` stands twice in one object"]),
        Case::text(&"[".repeat(100_000), &["x.json:1:128: arrays and objects nest too deep"]),
        Case::text(&"{\"a\":".repeat(100_000), &["nest too deep, expected at most 127 levels"]),
        Case::text("{\"seed\": 1e999}", &["x.json:1:14: number out of range"]),
        not_text,
    ]
}

/// Unknown and missing keys, wrong types.
pub(crate) fn keys_and_types() -> Vec<Case> {
    let without = |name: &str| {
        let mut experiment = shell::experiment();
        experiment.as_object_mut().and_then(|members| members.remove(name));
        let said = format!("x.json:1:1: missing field `{name}`");
        Case::text(&shell::text(&experiment), &[&said])
    };
    let mut cases: Vec<Case> =
        ["name", "seed", "dataset", "network", "training", "accelerator"].map(without).into();
    cases.extend([
        Case::text("7", &["x.json:1:1: invalid type: integer `7`, expected an object"]),
        Case::text("[]", &["x.json:1:1: invalid type: array, expected an object"]),
        Case::edit(
            "/epochs",
            json!(3),
            &["x.json:", ":3: epochs: unknown field `epochs`, expected one of `name`, `seed`"],
        ),
        Case::edit(
            "/network/layer",
            json!([]),
            &["network.layer: unknown field `layer`, expected one of `input`, `layers`, `loss`"],
        ),
        Case::edit(
            "/network/layers/0",
            json!({"conv": {}}),
            &["network.layers[0].conv: unknown field `conv`, expected one of `dense`, `conv2d`, `max_pool`"],
        ),
        Case::edit(
            "/network/layers/0",
            json!({"dense": {}}),
            &["network.layers[0].dense: missing field `units`"],
        ),
        Case::edit(
            "/network/layers/0/dense/units",
            json!("8"),
            &["network.layers[0].dense.units: invalid type: string \"8\", expected a whole number"],
        ),
        Case::edit(
            "/network/layers/1",
            json!("elu"),
            &["network.layers[1]: unknown variant `elu`, expected one of `dense`, `conv2d`, `max_pool`"],
        ),
        Case::edit(
            "/network/loss",
            json!("hinge"),
            &["network.loss: unknown variant `hinge`, expected `softmax_cross_entropy` or `mse`"],
        ),
        Case::edit("/seed", json!(-1), &["seed: invalid value: integer `-1`, expected a whole"]),
        Case::edit("/seed", json!(0.5), &["seed: invalid type: number `0.5`, expected a whole"]),
        Case::edit(
            "/training",
            json!([1, 32, 0.5]),
            &["training: invalid type: array, expected an object"],
        ),
        Case::edit(
            "/training/rate",
            json!("fast"),
            &["training.rate: invalid type: string \"fast\", expected a number"],
        ),
        Case::edit(
            "/network/layers/0/dense/units",
            json!(2_000_000),
            &["network", "the tensors of a step have", "expected at most 134217728"],
        ),
        Case::edit("/training/batch", Value::Null, &["training.batch: invalid type: null"]),
        Case::edit(
            "/dataset/kind",
            json!("imagenet"),
            &["dataset.kind: unknown variant `imagenet`, expected one of `digits`, `idx`"],
        ),
        Case::edit(
            "/dataset",
            json!({"kind": "csv", "path": "x.csv", "test": true}),
            &["dataset.test: invalid type: boolean `true`, expected a count, or a fraction"],
        ),
    ]);
    cases
}

/// Values that are impossible, shapes that do not fit.
pub(crate) fn values() -> Vec<Case> {
    vec![
        Case::edit("/name", json!(""), &["name: 0 characters: expected 1 to 200"]),
        Case::edit("/network/input", json!([0]), &["network.input[0] is 0, expected 1 to"]),
        Case::edit("/network/input", json!([]), &["network.input: number of extents is 0"]),
        Case::edit("/network/layers", json!([]), &["network.layers is 0, expected 1 to 1024"]),
        Case::edit(
            "/network/layers/0/dense/units",
            json!(0),
            &["x.json:", "network.layers[0].dense.units is 0, expected 1 to 16777216"],
        ),
        Case::edit(
            "/network/layers/0/dense/units",
            json!(1 << 24),
            &["network.layers[0] has 16777216", "expected at most 268435456"],
        ),
        Case::edit(
            "/network/layers/0",
            json!({ "conv2d": { "filters": 2, "kernel": 3 } }),
            &[
                "network.input: 1 extents, and network.layers[0] is conv2d, expected [height, width]",
            ],
        ),
        Case::edit(
            "/network/layers/2",
            json!({ "add": {}, "reads": ["x", "-"] }),
            &["network.layers[2].add: the input makes [64], network.layers[1] (relu) makes ["],
        ),
        Case::edit(
            "/network/layers/2",
            json!({ "add": {}, "reads": ["-", "skip"] }),
            &["network.layers[2].reads[1]: \"skip\" is no entry above, expected \"-\", \"x\""],
        ),
        Case::edit(
            "/network/layers/2",
            json!({ "dense": { "units": 10 }, "name": "x" }),
            &["network.layers[2].name: \"x\", expected a letter"],
        ),
        Case::edit(
            "/network/layers/2",
            json!({ "dense": { "units": 10 }, "reads": ["x"] }),
            &["nobody reads network.layers[1] (relu), expected an entry that reads it"],
        ),
        Case::edit(
            "/network/layers/1",
            json!({ "clipped_relu": { "max": 0 } }),
            &["network.layers[1].clipped_relu.max: 0, expected more than 2^-17 and at most 32768"],
        ),
        Case::edit("/training/epochs", json!(0), &["training.epochs is 0, expected 1 to 1048576"]),
        Case::edit("/training/batch", json!(0), &["training.batch is 0, expected 1 to 1048576"]),
        Case::edit("/training/rate", json!(-0.5), &["training.rate is -0.5, expected"]),
        Case::edit(
            "/training/schedule",
            json!({"kind": "linear"}),
            &["training.schedule.kind: unknown variant `linear`, expected one of `constant`"],
        ),
        Case::edit(
            "/training/schedule",
            json!({"kind": "step", "every_epochs": 0, "factor": 0.5}),
            &["training.schedule.every_epochs is 0, expected 1 to 1048576"],
        ),
        Case::edit(
            "/training/schedule",
            json!({"kind": "exponential", "factor_per_epoch": "half"}),
            &[
                "training.schedule.factor_per_epoch: invalid type: string \"half\", expected a number",
            ],
        ),
        Case::edit(
            "/training/momentum",
            json!(1),
            &["training.momentum is 1.0, expected 5.421010862427522e-20 to 0.9999"],
        ),
        Case::edit(
            "/training/weight_decay",
            json!(-0.1),
            &["training.weight_decay is -0.1, expected"],
        ),
        Case::edit(
            "/training/loss_scale",
            json!(3),
            &["training.loss_scale is 3, expected a power of two"],
        ),
        Case::edit(
            "/training/target_error_rate",
            json!(4),
            &["training.target_error_rate is 4.0, expected 0.0 to 1.0"],
        ),
    ]
}

/// Formats out of range, settings that contradict each other.
pub(crate) fn precision() -> Vec<Case> {
    let weights = |settings| ("/precision/weights", settings);
    let cases: [((&str, Value), &str); 36] = [
        (
            ("/precision/gradients", json!({"scale": "overflow-rate", "every_batches": 9})),
            "precision.gradients: the scale \"overflow-rate\" needs \"max_overflow_rate\" and",
        ),
        (
            (
                "/precision/gradients",
                json!({"scale": "overflow-rate", "max_overflow_rate": 0, "every_batches": 9}),
            ),
            "precision.gradients: an overflow rate of 0: expected more than 0 and less than 1",
        ),
        (("/precision/residual", json!({"scale": "history"})), "precision.residual: "),
        (
            weights(json!({"bits": 1})),
            "precision.weights: a format of 1 bits, signed: expected 2 to 32",
        ),
        (weights(json!({"bits": 33})), "precision.weights: a format of 33 bits"),
        (
            weights(json!({"bits": 8, "frac": 65})),
            "precision.weights: 65 fraction bits: expected -64 to 64",
        ),
        (weights(json!("Q2,6")), "precision.weights: format \"Q2,6\": expected Q notation such as"),
        (weights(json!(8)), "precision.weights: invalid type: integer `8`, expected a format"),
        (
            weights(json!({"width": 8})),
            "precision.weights.width: unknown field `width`, expected one of `bits`",
        ),
        (
            weights(json!({"rounding": "up"})),
            "precision.weights.rounding: unknown variant `up`, expected one of `floor`",
        ),
        (("/precision/master", json!({"scale": "history"})), "precision.master: scale \"history\""),
        (
            ("/precision/gradients", json!({"window": 0})),
            "precision.gradients: a window of 0 steps",
        ),
        (
            ("/precision/accumulator", json!({"bits": 65})),
            "precision.accumulator: an accumulator of 65 bits: expected 2 to 64",
        ),
        (
            ("/precision/accumulator", json!({"chunk": 0})),
            "precision.accumulator: a chunk of 0 products: expected at least 1",
        ),
        (
            ("/precision/accumulator", json!({"chunk": -8})),
            "precision.accumulator.chunk: invalid value: integer `-8`, expected a whole number",
        ),
        (
            ("/precision/layers", json!({"1": {"accumulator": {"chunk": 0}}})),
            "precision.layers.1.accumulator: a chunk of 0 products: expected at least 1",
        ),
        (
            ("/precision/accumulator", json!({"drop": 16})),
            "precision.accumulator: 16 of the 16 bits of a product dropped: expected at most 15",
        ),
        (
            ("/precision/layers", json!({"1": {"accumulator": {"forward": {"drop": 40}}}})),
            "precision.layers.1.accumulator.forward: 40 of the 16 bits of a product dropped: expected \
             at most 15",
        ),
        (
            ("/precision/layers", json!({"1": {"accumulator": {"bits": 12}}})),
            "precision.layers.1.accumulator: 12 bits cannot hold one product of",
        ),
        (
            (
                "/precision",
                json!({"accumulator": {"bits": 12},
                       "layers": {"0": {"accumulator": {"rounding": "nearest-even"}}}}),
            ),
            "precision.accumulator: 12 bits cannot hold one product of UQ1.7 x Q1.7 in `0.forward.y0`: expected at \
             least 16",
        ),
        (
            ("/precision/accumulator", json!({"forward": {"bits": 8, "drop": 4}})),
            "precision.accumulator.forward: 8 bits cannot hold one product of UQ1.7 x Q1.7 in `0.forward.y0`: expected \
             at least 12, or more dropped",
        ),
        (
            (
                "/precision",
                json!({"accumulator": {"bits": 65},
                       "layers": {"0": {"accumulator": {"chunk": 2}}}}),
            ),
            "precision.accumulator: an accumulator of 65 bits: expected 2 to 64",
        ),
        (
            ("/precision/accumulator", json!({"weight_gradient": {"drop": 2, "frac": 9}})),
            "precision.accumulator.weight_gradient: \"frac\" is 9 and \"drop\" 2: expected one of them, \
             as each says where the lowest bit stands",
        ),
        (
            ("/precision/accumulator", json!({"forward": {"forward": {"bits": 20}}})),
            "precision.accumulator.forward: settings of one product; expected no further \"forward\" in \
             them",
        ),
        (
            ("/precision/accumulator", json!({"forwards": {"bits": 20}})),
            "precision.accumulator.forwards: unknown field `forwards`",
        ),
        (
            ("/precision/accumulator", json!({"overflow_at": "last"})),
            "precision.accumulator.overflow_at: unknown variant `last`, expected `each` or `end`",
        ),
        (
            weights(json!({"bits": 8, "scale": "block"})),
            "precision.accumulator: the product of x and w0 has blocks, each with fraction bits of \
             its own: expected \"frac\", to which their sums are aligned",
        ),
        (
            weights(json!({"bits": 8, "scale": "block", "block": 0})),
            "precision.weights: a block of 0 elements: expected 1 to 65536",
        ),
        (
            weights(json!({"bits": 8, "block": 32})),
            "precision.weights: \"block\" goes with the scale \"block\", not \"initial\"",
        ),
        (
            weights(json!({"bits": 8, "scale": "blocks"})),
            "precision.weights.scale: unknown variant `blocks`, expected one of `static`",
        ),
        (
            ("/precision/logits", json!({"scale": "block"})),
            "precision.logits: scale \"block\": no matrix product reads logits along an axis that it \
             sums over; expected another scale",
        ),
        (
            ("/precision/master", json!({"scale": "block"})),
            "precision.master: scale \"block\": what the update writes keeps its scale",
        ),
        (
            (
                "/precision",
                json!({"weights": {"scale": "block"}, "input": {"scale": "block", "block": 16},
                       "accumulator": {"frac": 20}}),
            ),
            "precision.weights: the product of x and w0 has blocks, of 16 and of 32 elements: \
             expected one size",
        ),
        (
            (
                "/precision",
                json!({"weights": {"scale": "block"}, "accumulator": {"frac": 20, "chunk": 4}}),
            ),
            "precision.accumulator: the product of x and w0 has blocks, whose sums are added one by \
             one: expected no \"chunk\", found 4",
        ),
        (
            ("/precision/layers", json!({"2": {}})),
            "precision.layers.2: the network has 2 layers with weights, numbered 0 to 1",
        ),
        (
            ("/precision/layers", json!({"1": {"error": "Q40.1"}})),
            "precision.layers.1.error: a format of 41 bits",
        ),
    ];
    cases.map(|((pointer, new), said)| Case::edit(pointer, new, &["x.json:", said])).into()
}

/// Arrays of no size, memories that nobody builds.
pub(crate) fn accelerators() -> Vec<Case> {
    vec![
        Case::edit(
            "/accelerator/array/rows",
            json!(0),
            &[
                "accelerator.array: an array of 0 x 8 processing elements: rows and cols must be 1 to 1024",
            ],
        ),
        Case::edit(
            "/accelerator/array/cols",
            json!(100_000),
            &["an array of 8 x 100000 processing"],
        ),
        Case::edit(
            "/accelerator/array",
            json!({"rows": 8, "cols": 8, "lanes": 0}),
            &["accelerator.array: a vector unit of 0 lanes: lanes must be 1 to"],
        ),
        Case::edit(
            "/accelerator/array/dataflow",
            json!("sideways"),
            &["accelerator.array.dataflow: unknown variant `sideways`, expected"],
        ),
        Case::edit(
            "/precision/accumulator",
            json!({"bits": 12, "overflow": "saturate"}),
            &["precision.accumulator: 12 bits cannot hold one product of", "expected at least 16"],
        ),
        Case::edit(
            "/accelerator/energy",
            json!("free"),
            &[
                "accelerator.energy: invalid value: string \"free\", expected one of horowitz45, nangate45, nangate45-glitch, tpuv4i-7, eyeriss-rel, ",
            ],
        ),
        Case::edit(
            "/accelerator/scratchpad",
            json!({"a_bytes": 0, "b_bytes": 1024, "c_bytes": 1024}),
            &["accelerator.scratchpad.a_bytes: scratchpad of 0 bytes, accepted are"],
        ),
        Case::edit(
            "/accelerator/scratchpad",
            json!({"a_bytes": 1024, "b_bytes": 1024, "c_bytes": 1024, "stash_bytes": 1023}),
            &[
                "accelerator.scratchpad.stash_bytes: scratchpad of 1023 bytes, accepted are 1024 to \
                 1073741824 bytes",
            ],
        ),
        Case::edit(
            "/accelerator/scratchpad",
            json!({"a_bytes": 1024, "b_bytes": 1024, "c_bytes": 1024, "stash_bytes": u64::MAX}),
            &[
                "accelerator.scratchpad.stash_bytes: scratchpad of 18446744073709551615 bytes, accepted",
            ],
        ),
        Case::edit(
            "/accelerator/dram",
            json!({"kind": "lpddr4", "burst_bytes": 3}),
            &["accelerator.dram.burst_bytes: bursts of 3 bytes: expected a power of two"],
        ),
        Case::edit(
            "/accelerator/dram",
            json!({"kind": "lpddr4", "burst_bytes": 32, "bytes_per_cycle": 0}),
            &["accelerator.dram.bytes_per_cycle: 0 bytes per cycle: expected 1 to 1048576"],
        ),
        Case::edit(
            "/accelerator/dram",
            json!({"kind": "lpddr4", "burst_bytes": 32, "bytes_per_cycle": u64::MAX}),
            &["accelerator.dram.bytes_per_cycle: 18446744073709551615 bytes per cycle: expected"],
        ),
        Case::edit(
            "/accelerator/dram",
            json!({"kind": "lpddr4", "burst_bytes": 32, "bytes_per_cycle": 2.5}),
            &["dram.bytes_per_cycle: invalid type: number `2.5`, expected a whole number"],
        ),
        Case::edit(
            "/accelerator/dram",
            json!({"kind": "lpddr4", "burst_bytes": 32, "latency_cycles": 1_048_577}),
            &["accelerator.dram.latency_cycles: 1048577 cycles: expected at most 1048576"],
        ),
        Case::edit(
            "/accelerator/dram",
            json!({"kind": "lpddr4", "burst_bytes": 8192}),
            &[
                "accelerator.dram.burst_bytes: bursts of 8192 bytes: expected a power of two, 1 to 4096",
            ],
        ),
        Case::edit(
            "/accelerator/scratchpad",
            json!({"a_bytes": u64::MAX, "b_bytes": 1024, "c_bytes": 1024}),
            &["accelerator.scratchpad.a_bytes: 18446744073709551615 bytes: expected at most"],
        ),
        Case::edit(
            "/accelerator",
            json!({
                "array": {"rows": 64, "cols": 64},
                "scratchpad": {"a_bytes": 1024, "b_bytes": 1024, "c_bytes": 1024},
                "dram": {"kind": "lpddr4", "burst_bytes": 32, "bytes_per_cycle": 4}
            }),
            &[
                "accelerator.scratchpad.",
                "one step of a GEMM of m = ",
                " bytes at once, half the scratchpad has 512: expected at least ",
            ],
        ),
        Case::edit(
            "/accelerator",
            json!("hw.json"),
            &["hw.json:1:12: accelerator.array.rows: invalid type: string"],
        )
        .file("hw.json", "{\"array\": {\"rows\": \"many\", \"cols\": 8}}"),
        Case::edit("/accelerator", json!("hw.json"), &["hw.json:2:3: expected value"])
            .file("hw.json", "{\"array\":\n  oops}"),
    ]
}
