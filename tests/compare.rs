//! Fixed point against its golden model, tensor by tensor.

mod shell;

use serde_json::Value;
use systoliq_nn::{Golden, initial_weights};
use systoliq_program::{Machine, Reference, Step};
use systoliq_sim::comparison::Figures;
use systoliq_sim::{EngineKind, Report};
use systoliq_tests::{data, prepared, train};

/// 32-bit tensors and 64-bit accumulators, all with fraction bits to spare.
const WIDE: [(&str, &str); 9] = [
    ("training.golden", "f64"),
    ("precision.input", "Q4.28"),
    ("precision.weights", "Q4.28"),
    ("precision.master", r#"{"bits": 32, "frac": 28, "rounding": "nearest-even"}"#),
    ("precision.bias", "Q4.28"),
    ("precision.activations", r#"{"bits": 32, "frac": 26, "signed": false}"#),
    ("precision.logits", "Q6.26"),
    ("precision.error", r#"{"bits": 32, "frac": 26, "rounding": "nearest-even"}"#),
    ("precision.gradients", r#"{"bits": 32, "frac": 26, "rounding": "nearest-even"}"#),
];

fn report(overrides: &[(&str, &str)]) -> Value {
    let prepared = prepared("digits-mlp", overrides);
    let record = train(&prepared, 1, EngineKind::Fast, false);
    serde_json::to_value(Report::new(&prepared, &[record]).unwrap()).unwrap()
}

#[test]
fn with_formats_wide_enough_every_tensor_is_its_counterpart() {
    let spare = r#"{"bits": 64, "frac": 50, "rounding": "nearest-even", "overflow": "saturate"}"#;
    for scaled in [
        [("training.loss_scale", "1"), ("precision.weight_gradients", "Q8.24")],
        [("training.batch_gradient", "sum"), ("precision.weight_gradients", "Q12.20")],
        [("training.loss_scale", "4"), ("precision.weight_gradients", "Q10.22")],
    ] {
        let more = [("training.epochs", "1"), ("precision.accumulator", spare)];
        let overrides: Vec<_> = WIDE.into_iter().chain(more).chain(scaled).collect();
        let report = report(&overrides);
        let tensors = report["comparison"]["tensors"].as_array().unwrap();
        let names: Vec<_> = tensors.iter().map(|t| t["name"].as_str().unwrap()).collect();
        // Masters and weights are one tensor here.
        let expected = "x m0 b0 y0 dz0 dw0 db0 m1 b1 z1 dz1 dw1 db1";
        assert_eq!(names.join(" "), expected);
        for tensor in tensors {
            for kind in ["own", "teacher_forced"] {
                for epoch in [0, 1] {
                    let at = |key: &str| tensor[kind][key][epoch].clone();
                    let zero = at("sqnr_db").is_null();
                    // Biases start at 0.
                    assert_eq!(zero, epoch == 0 && tensor["role"] == "bias", "{tensor}");
                    let exact = at("sqnr_db") == "inf";
                    let close = exact || at("sqnr_db").as_f64().is_some_and(|db| db > 80.0);
                    assert!(zero || close, "{scaled:?}, {kind}, epoch {epoch}: {tensor}");
                    assert!(zero || at("cosine").as_f64().unwrap() > 0.999_999, "{tensor}");
                }
            }
        }
    }
}

/// The probe of the initial weights, by hand: the same machine, looked at through its own tensors.
#[test]
fn figures_before_training_are_those_of_the_first_samples_in_data_order() {
    let prepared = prepared("digits-mlp", &[("training.epochs", "1")]);
    let (graph, training) = (&prepared.graph, &prepared.experiment.training);
    let record = train(&prepared, 1, EngineKind::Fast, false);
    let data = data(&prepared, 1);
    let batch = data.train.batch(&(0..32).collect::<Vec<_>>());
    let initial: Vec<_> = (0..2).map(|layer| initial_weights(graph, layer, 1)).collect();
    let mut machine = Machine::new(&prepared.program, &initial, 1);
    let step = Step::probe(1, 0);
    machine.load(&batch, &step);
    machine.gradients(&step, &mut Reference);
    let golden = Golden::<f32>::new(graph, 1).gradients(&batch, training);
    for (name, expected) in [
        ("y0", golden.layers[0].activations.mapv(f64::from)),
        ("dz0", golden.layers[0].dz.mapv(f64::from)),
        ("dw0", golden.layers[0].dw.mapv(f64::from)),
        ("dz1", golden.layers[1].dz.mapv(f64::from)),
    ] {
        let tensors = &prepared.program.tensors;
        let id = tensors.iter().position(|decl| decl.name == name).unwrap();
        let tensor = machine.tensor(systoliq_program::TensorId(id)).unwrap();
        let difference = &expected - &tensor.to_reals();
        let square = |values: &ndarray::Array2<f64>| values.mapv(|v| v * v).sum();
        let sqnr = 10.0 * (square(&expected) / square(&difference)).log10();
        let worst = difference.iter().fold(0.0, |worst: f64, error| worst.max(error.abs()));
        let Figures { sqnr_db, max_error_ulp, .. } = record.comparison.probes[0].own[name];
        let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-9;
        assert!(close(sqnr_db.unwrap().0, sqnr), "{name}: {sqnr_db:?}, by hand {sqnr}");
        let worst = worst * f64::from(tensor.format().frac()).exp2();
        assert!(close(max_error_ulp.0, worst), "{name}: {max_error_ulp:?}, by hand {worst}");
    }
}

#[test]
fn drift_is_part_of_a_tensors_own_difference_alone() {
    // A master that cannot follow: after training its weights are far from golden's, while one
    // step from golden's weights is as good as its formats.
    let overrides = [
        ("training.epochs", "3"),
        ("training.rate", "0.1"),
        ("precision.master", r#"{"bits": 6, "rounding": "floor"}"#),
    ];
    let report = report(&overrides);
    let tensors = report["comparison"]["tensors"].as_array().unwrap();
    let z1 = tensors.iter().find(|tensor| tensor["name"] == "z1").unwrap();
    let db = |kind: &str, epoch: usize| z1[kind]["sqnr_db"][epoch].as_f64().unwrap();
    assert!(db("own", 3) < db("teacher_forced", 3) - 3.0, "{z1}");
    assert!((db("own", 0) - db("teacher_forced", 0)).abs() < 6.0, "{z1}");
}

#[test]
fn histograms_count_every_element_and_curves_the_mismatches() {
    let report = report(&[("training.epochs", "2")]);
    let comparison = &report["comparison"];
    let histograms = comparison["histograms"].as_array().unwrap();
    let total = |name: &str| {
        let found = histograms.iter().find(|found| found["name"] == name).unwrap();
        found["counts"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>()
    };
    for (name, elements) in [("x", 32 * 64), ("m0", 64 * 64), ("dw1", 640), ("y0", 32 * 64)] {
        assert_eq!(total(name), elements, "{name}");
    }
    assert_eq!(comparison["epoch"], serde_json::json!([0, 1, 2]));
    let rates = comparison["mismatch_rate"].as_array().unwrap();
    assert!(rates.iter().all(|rate| (0.0..0.2).contains(&rate.as_f64().unwrap())), "{rates:?}");
    let units = comparison["units"].as_array().unwrap();
    assert_eq!((&units[0]["units"], &units[1]["dead"]), (&Value::from(64), &Value::Null));
}

#[test]
fn a_teacher_forced_step_starts_from_goldens_weights_and_its_update_is_gone_with_the_next() {
    let forced = [("training.teacher_forced", "true"), ("training.epochs", "2")];
    let nearest = ("precision.master", r#"{"bits": 16, "rounding": "nearest-even"}"#);
    let coarse = ("precision.gradients", r#"{"bits": 2, "scale": "dynamic"}"#);
    // Room for every weight of golden.
    let room = ("precision.weights.spare", "5");
    let plain = report(&[forced[0], forced[1], nearest, room]);
    let spoiled = report(&[forced[0], forced[1], nearest, room, coarse]);
    // Evaluations are those of golden's weights, whatever the gradients were.
    assert_eq!(plain["fixed"]["error_rate"], spoiled["fixed"]["error_rate"]);
    assert_eq!(plain["golden"], spoiled["golden"]);
    assert_eq!(plain["to_target"], Value::Null);
    let tensor = |report: &Value, name: &str| {
        let tensors = report["comparison"]["tensors"].as_array().unwrap();
        tensors.iter().find(|tensor| tensor["name"] == name).unwrap().clone()
    };
    for report in [&plain, &spoiled] {
        for (name, ulps) in [("m0", 0.5), ("m1", 0.5), ("w0", 0.5 + 1.0 / 256.0)] {
            let steps = tensor(report, name)["steps"].clone();
            assert_eq!(steps["max_error_ulp"][0], Value::Null);
            for epoch in [1, 2] {
                let worst = steps["max_error_ulp"][epoch].as_f64().unwrap();
                assert!((0.4..=ulps).contains(&worst), "{name}, epoch {epoch}: {worst}");
            }
        }
    }
    // What is spoiled shows where it is, and what does not depend on it does not.
    let db =
        |report: &Value, name: &str| tensor(report, name)["steps"]["sqnr_db"][2].as_f64().unwrap();
    assert_eq!(db(&plain, "z1"), db(&spoiled, "z1"));
    assert!(db(&plain, "dz0") > db(&spoiled, "dz0") + 10.0);
    assert!(db(&plain, "dw0") > db(&spoiled, "dw0") + 3.0);
}

#[test]
fn a_teacher_forced_run_is_the_same_on_two_threads_and_resumed_and_its_products_are_not_traced() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name).display().to_string();
    let common = ["--set", "training.teacher_forced=true", "--set", "training.epochs=2"];
    let train = |name: &str, more: &[&str]| {
        let to = out(name);
        let arguments = ["train", "models/digits-mlp.json", "--out", &to].into_iter();
        let arguments: Vec<&str> = arguments.chain(common).chain(more.iter().copied()).collect();
        shell::printed(&shell::root(), &arguments);
        std::fs::read_to_string(folder.path().join(name).join("report.json")).unwrap()
    };
    let one = train("one", &["--threads", "1"]);
    assert_eq!(train("two", &["--threads", "2"]), one);
    assert_eq!(train("two", &["--threads", "2", "--resume"]), one);
    let arguments = ["trace", "models/digits-mlp.json", "--op", "0.forward", "--format", "text"];
    let arguments: Vec<&str> = arguments.into_iter().chain(common).collect();
    let refused = shell::systoliq(&shell::root(), &arguments);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.contains("training.teacher_forced"), "{message}");
}
