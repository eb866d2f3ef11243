//! Fixed point against its golden model, tensor by tensor.

use std::collections::BTreeSet;

use crate::shell;
use crate::support::{data, prepared, train};
use serde_json::Value;
use systoliq_nn::{Golden, Quantity, ValueId, initial_weights};
use systoliq_program::{Reference, Step, Store};
use systoliq_run::EngineKind;
use systoliq_run::comparison::Figures;
use systoliq_study::Report;

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
    let record = train(&prepared, 1, EngineKind::Fast, 1);
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

#[test]
fn tensors_stand_for_what_golden_has_of_them_and_momenta_and_residuals_for_nothing() {
    let residual = [("precision.master", "null"), ("precision.residual", r#"{"bits": 8}"#)];
    let mut seen = BTreeSet::new();
    for (experiment, overrides) in [
        ("digits-mlp", &[("training.momentum", "0.5")][..]),
        ("digits-mlp", &residual),
        ("lms", &[]),
    ] {
        let prepared = prepared(experiment, overrides);
        for decl in &prepared.program.tensors {
            let layer = &prepared.graph.weighted()[decl.entry.number().expect("a layer")];
            let (entry, value) = (layer.entry, layer.output);
            let letters = decl.name.trim_end_matches(|letter: char| letter.is_ascii_digit());
            let expected = match letters {
                "x" => Some(Quantity::Input),
                "t" => Some(Quantity::Targets),
                "m" | "w" => Some(Quantity::Parameter(entry, 0)),
                "b" => Some(Quantity::Parameter(entry, 1)),
                "y" | "z" => Some(Quantity::Value(value)),
                "dz" => Some(Quantity::Gradient(value)),
                "dw" => Some(Quantity::ParameterGradient(entry, 0)),
                "db" => Some(Quantity::ParameterGradient(entry, 1)),
                "v" | "vb" | "r" => None,
                other => panic!("{experiment} has a tensor `{other}`"),
            };
            assert_eq!(decl.stands_for, expected, "{experiment}: {}", decl.name);
            seen.insert(letters.to_owned());
        }
    }
    assert_eq!(seen.len(), 13, "{seen:?}");
}

/// The probe of the initial weights, by hand: the same store, looked at through its own tensors.
#[test]
fn figures_before_training_are_those_of_the_first_samples_in_data_order() {
    let prepared = prepared("digits-mlp", &[("training.epochs", "1")]);
    let (graph, training) = (&prepared.graph, &prepared.experiment.training);
    let record = train(&prepared, 1, EngineKind::Fast, 1);
    let data = data(&prepared, 1);
    let batch = data.train.batch(&(0..32).collect::<Vec<_>>());
    let initial = initial_weights(graph, 1);
    let mut store = Store::new(&prepared.program, &initial, 1);
    let step = Step::probe(1, 0);
    store.load(&batch, &step);
    store.gradients(&step, &mut Reference);
    let golden = Golden::<f32>::new(graph, 1).gradients(&batch, training);
    for (name, expected) in [
        ("y0", golden.values[ValueId(2)].mapv(f64::from)),
        ("dz0", golden.gradients[ValueId(2)].mapv(f64::from)),
        ("dw0", golden.parameters.layers[0].weights.mapv(f64::from)),
        ("dz1", golden.gradients[ValueId(3)].mapv(f64::from)),
    ] {
        let tensors = &prepared.program.tensors;
        let id = tensors.iter().position(|decl| decl.name == name).unwrap();
        let tensor = store.tensor(systoliq_program::TensorId(id)).unwrap();
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

/// Trains on the digits with `more` arguments into `folder`.
fn run(folder: &std::path::Path, more: &[&str]) {
    let to = folder.display().to_string();
    let fixed = ["train", "models/digits-mlp.json", "--out", &to, "--set", "training.epochs=2"];
    shell::printed(
        &shell::root(),
        &fixed.into_iter().chain(more.iter().copied()).collect::<Vec<_>>(),
    );
}

fn json(path: std::path::PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn predictions_agree_with_error_rates_mismatch_rate_and_mcnemars_counts() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["--set", "precision.weights.bits=4"]);
    let report = json(folder.path().join("report.json"));
    let text = std::fs::read_to_string(folder.path().join("predictions.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("sample,label,golden,fixed"));
    let rows: Vec<Vec<u32>> =
        lines.map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect();
    assert!(rows.iter().enumerate().all(|(at, row)| row.len() == 4 && row[0] == at as u32));
    let share = |of: &dyn Fn(&[u32]) -> bool| {
        rows.iter().filter(|row| of(row)).count() as f64 / rows.len() as f64
    };
    assert_eq!(report["golden"]["error_rate"][1], share(&|row| row[2] != row[1]));
    assert_eq!(report["fixed"]["error_rate"][1], share(&|row| row[3] != row[1]));
    assert_eq!(report["comparison"]["mismatch_rate"][2], share(&|row| row[2] != row[3]));
    let count = |of: &dyn Fn(&[u32]) -> bool| rows.iter().filter(|row| of(row)).count();
    let only_golden = count(&|row| row[2] == row[1] && row[3] != row[1]);
    let only_fixed = count(&|row| row[3] == row[1] && row[2] != row[1]);
    assert!(only_golden > 0);
    assert_eq!(report["mcnemar"]["only_golden_right"], only_golden);
    assert_eq!(report["mcnemar"]["only_fixed_right"], only_fixed);
    let curves = std::fs::read_to_string(folder.path().join("curves.csv")).unwrap();
    let mut lines = curves.lines();
    assert!(lines.next().unwrap().ends_with(",mismatch_rate"));
    let rate = report["comparison"]["mismatch_rate"][1].to_string();
    assert!(lines.next().unwrap().ends_with(&format!(",{rate}")), "{rate}: {curves}");
}

#[test]
fn two_runs_are_compared_by_settings_figures_samples_and_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let (left, right) = (folder.path().join("left"), folder.path().join("right"));
    run(&left, &["--seeds", "3"]);
    run(&right, &["--seeds", "3", "--set", "precision.weights.bits=3"]);
    let paths = [&left, &right].map(|path| path.display().to_string());
    let compared: Value = serde_json::from_str(&shell::printed(
        &shell::root(),
        &["compare", &paths[0], &paths[1], "--json"],
    ))
    .unwrap();
    let settings = serde_json::json!([{"path": "precision.weights.bits", "left": 8, "right": 3}]);
    assert_eq!(compared["settings"], settings);
    let reports = [&left, &right].map(|path| json(path.join("report.json")));
    for (side, report) in ["left", "right"].into_iter().zip(&reports) {
        assert_eq!(compared["error_rate"][side], report["fixed"]["error_rate"][1]);
        assert_eq!(compared["cycles"][side], report["cycles"]["total"]);
        assert_eq!(compared["energy_pj"][side], report["energy_pj"]["total"]);
        let tensor = &compared["precision"][2];
        assert_eq!(tensor[side]["sqnr_db"], report["precision"][2]["sqnr_db"]);
    }
    // What one alone gets right differs by the difference of their errors.
    let rate = |side: &str| compared["error_rate"][side].as_f64().unwrap();
    let alone = |key: &str| compared["mcnemar"][key].as_f64().unwrap();
    let difference = alone("only_left_right") - alone("only_right_right");
    assert!((difference - 300.0 * (rate("right") - rate("left"))).abs() < 1e-9, "{compared}");
    let of = |report: &Value| -> Vec<f64> {
        let seeds = report["seeds"].as_array().unwrap();
        seeds.iter().map(|seed| seed["fixed"]["error_rate"].as_f64().unwrap()).collect()
    };
    let (ours, theirs) = (of(&reports[0]), of(&reports[1]));
    let mean = ours.iter().zip(&theirs).map(|(left, right)| right - left).sum::<f64>() / 3.0;
    assert!((compared["over_seeds"]["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
    let text = shell::printed(&shell::root(), &["compare", &paths[0], &paths[1]]);
    for said in ["precision.weights.bits", "McNemar", "over 3 seeds", "w0", "energy"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let same = shell::printed(&shell::root(), &["compare", &paths[0], &paths[0]]);
    assert!(same.contains("no setting differs") && same.contains("p = 1.0000"), "{same}");
}

#[test]
fn what_is_no_run_or_one_on_other_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    run(&at("good"), &[]);
    run(
        &at("other"),
        &[
            "--set",
            r#"dataset={"kind": "clusters", "classes": 10, "train": 100, "test": 50, "spread": 0.5, "features": 64}"#,
        ],
    );
    std::fs::create_dir(at("empty")).unwrap();
    let spoilt = |name: &str, file: &str, spoil: &dyn Fn(&str) -> String| {
        std::fs::create_dir(at(name)).unwrap();
        for copied in ["report.json", "predictions.csv"] {
            let text = std::fs::read_to_string(at("good").join(copied)).unwrap();
            let text = if copied == file { spoil(&text) } else { text };
            std::fs::write(at(name).join(copied), text).unwrap();
        }
    };
    spoilt("version", "report.json", &|text| {
        text.replacen("\"schema_version\": 3", "\"schema_version\": 7", 1)
    });
    spoilt("half", "report.json", &|text| text[..text.len() / 2].to_owned());
    spoilt("lacking", "report.json", &|text| text.replacen("\"cycles\"", "\"turns\"", 1));
    spoilt("table", "predictions.csv", &|text| text.replacen("\n1,", "\n9,", 1));
    spoilt("labels", "predictions.csv", &|text| text.replacen("\n0,", "\n0,1", 1));
    spoilt("unlike", "predictions.csv", &|text| text.replacen("golden", "gold", 1));
    std::fs::remove_file(at("unlike").join("report.json")).unwrap();
    for (name, says) in [
        ("missing", "no such folder"),
        ("good/report.json", "is a file; expected the folder of a run"),
        ("empty", "holds no report.json"),
        ("unlike", "holds no report.json"),
        ("version", "schema_version is 7, expected 3"),
        ("half", "report.json:"),
        ("lacking", "missing field `cycles`"),
        ("table", "predictions.csv:3: \"9,"),
        ("labels", "as predictions.csv has it"),
        ("other", "different test data"),
    ] {
        for sides in [[name, "good"], ["good", name]] {
            let paths = sides.map(|name| at(name).display().to_string());
            let output = shell::systoliq(&shell::root(), &["compare", &paths[0], &paths[1]]);
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{name}: {message}");
            assert!(message.starts_with("error: ") && message.contains(says), "{name}: {message}");
        }
    }
}
