//! Every result of dumped training steps, recomputed from its inputs by an independent program.

use crate::shell;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// The name of a Python with NumPy.
///
/// # Panics
///
/// If there is none.
pub(crate) fn python() -> &'static str {
    let runs = |name: &&str| {
        let output = Command::new(name).args(["-c", "import numpy"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    ["python3", "python"].into_iter().find(runs).expect(
        "Python with NumPy is not installed: `apt-get install python3-numpy` brings it, `--skip recompute::` \
         leaves these tests out",
    )
}

pub(crate) fn recompute(python: &str, dumps: &[PathBuf]) -> Result<String, String> {
    let script = shell::root().join("tests/recompute/recompute.py");
    let output = Command::new(python).arg(script).args(dumps).output().expect("Python starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Dumps step `step` of a small experiment with these overrides.
fn dump(folder: &Path, name: &str, step: u64, overrides: &[String]) -> PathBuf {
    let mut experiment = shell::experiment();
    experiment["training"]["batch"] = json!(16);
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, shell::text(&experiment)).expect("a new file");
    let run = folder.join(name);
    let step = step.to_string();
    let mut arguments = vec!["train", file.to_str().expect("UTF-8"), "--dump-step", &step, "--out"];
    arguments.push(run.to_str().expect("UTF-8"));
    arguments.extend(overrides.iter().flat_map(|set| ["--set", set]));
    shell::printed(folder, &arguments);
    run.join(format!("dump-step-{step}"))
}

/// Settings that together meet every rounding, overflow, scale and accumulator mode.
fn cases() -> Vec<(String, u64, Vec<String>)> {
    let roundings = ["floor", "nearest-even", "nearest-up", "nearest-away", "zero", "stochastic"];
    let overflows = ["saturate", "saturate-symmetric", "wrap"];
    let set = |path: &str, value: Value| format!("precision.{path}={value}");
    let mut cases = Vec::new();
    for rounding in roundings {
        for overflow in overflows {
            let tensor = |bits: u32, frac: i32| json!({ "bits": bits, "frac": frac, "rounding": rounding, "overflow": overflow });
            let overrides = vec![
                set(
                    "input",
                    json!({ "bits": 6, "frac": 5, "signed": false, "rounding": rounding, "overflow": overflow }),
                ),
                set("weights", tensor(6, 6)),
                set("master", tensor(12, 12)),
                set(
                    "activations",
                    json!({ "bits": 6, "frac": 4, "signed": false, "rounding": rounding, "overflow": overflow }),
                ),
                set("logits", tensor(6, 3)),
                set("error", tensor(6, 4)),
                set("gradients", tensor(7, 6)),
                set("weight_gradients", tensor(9, 8)),
                set(
                    "accumulator",
                    json!({ "bits": 13, "frac": 7, "rounding": rounding, "overflow": overflow }),
                ),
            ];
            cases.push((format!("static-{rounding}-{overflow}"), 2, overrides));
        }
        let moving = |scale: &str| {
            let tensor = |bits: u32| json!({ "bits": bits, "scale": scale, "rounding": rounding });
            ["activations", "logits", "error", "gradients", "weight_gradients"]
                .map(|role| set(role, tensor(if role == "weight_gradients" { 12 } else { 7 })))
                .to_vec()
        };
        cases.push((format!("dynamic-{rounding}"), 1, moving("dynamic")));
        cases.push((format!("first-of-history-{rounding}"), 0, moving("history")));
        cases.push((format!("history-{rounding}"), 5, moving("history")));
    }
    let mut more = |name: &str, overrides: &[&str]| {
        let overrides = overrides.iter().map(|&set| set.to_owned()).collect();
        cases.push((name.to_owned(), 3, overrides));
    };
    more("defaults", &[]);
    more(
        "momentum",
        &["training.momentum=0.9", "training.weight_decay=0.01", "training.rate=0.05"],
    );
    more("sums-with-momentum", &["training.momentum=0.9", "training.batch_gradient=sum"]);
    more("decay", &["training.weight_decay=0.01", "training.loss_scale=4"]);
    more("residual", &[r#"precision.residual={"bits":9}"#, "training.weight_decay=0.01"]);
    more("residual-with-momentum", &[r#"precision.residual={"bits":16}"#, "training.momentum=0.5"]);
    more(
        "schedule",
        &[
            r#"training.schedule={"kind":"exponential","factor_per_epoch":0.7}"#,
            "training.epochs=2",
        ],
    );
    more(
        "overflow-rate",
        &[
            r#"precision.gradients={"bits":8,"scale":"overflow-rate","max_overflow_rate":0.01,"every_batches":2}"#,
        ],
    );
    let narrow = "precision.accumulator.bits=13";
    for overflow in ["saturate", "saturate-symmetric", "wrap"] {
        let overflow = format!("precision.accumulator.overflow={overflow}");
        let all =
            [narrow, "precision.accumulator.chunk=7", "precision.accumulator.frac=9", &overflow];
        let static_tensors = ["precision.activations=UQ2.4", "precision.gradients=Q2.6"];
        let stochastic = "precision.accumulator.rounding=stochastic";
        let end = "precision.accumulator.overflow_at=end";
        more(&format!("chunks-{overflow}"), &[&all[..], &static_tensors, &[stochastic]].concat());
        more(
            &format!("end-{overflow}"),
            &[&[all[0], all[2], all[3], end][..], &static_tensors].concat(),
        );
        more(&format!("chunks-end-{overflow}"), &[&all[..], &static_tensors, &[end]].concat());
    }
    more(
        "dropped-bits",
        &[
            r#"precision.accumulator={"bits":14,"overflow":"saturate","drop":5,"rounding":"nearest-even"}"#,
            r#"precision.accumulator.input_gradient={"drop":3,"rounding":"stochastic"}"#,
            r#"precision.accumulator.weight_gradient={"bits":18,"drop":7,"rounding":"floor"}"#,
        ],
    );
    let block =
        |bits: u32, size: u32| format!(r#"{{"bits":{bits},"scale":"block","block":{size}}}"#);
    let blocks: Vec<String> = ["input", "weights", "activations", "gradients", "error"]
        .map(|role| format!("precision.{role}={}", block(7, 5)))
        .to_vec();
    let with = |more: &[&str]| -> Vec<String> {
        blocks.iter().cloned().chain(more.iter().map(|&set| set.to_owned())).collect()
    };
    let one = vec![
        format!("precision.weights={}", block(6, 16)),
        "precision.accumulator.frac=14".to_owned(),
    ];
    cases.push(("blocks".into(), 2, with(&["precision.accumulator.frac=12"])));
    let rounded = [
        "precision.accumulator.frac=7",
        "precision.accumulator.rounding=stochastic",
        "precision.error.rounding=stochastic",
        "precision.gradients.rounding=stochastic",
    ];
    cases.push(("rounded-blocks".into(), 2, with(&rounded)));
    cases.push(("blocks-of-weights".into(), 2, one));
    let mut more = |name: &str, overrides: &[&str]| {
        let overrides = overrides.iter().map(|&set| set.to_owned()).collect();
        cases.push((name.to_owned(), 3, overrides));
    };
    more("nats", &["training.loss_unit=nats", "training.loss_scale=8"]);
    more("sum", &["training.batch_gradient=sum", "precision.rate.bits=1"]);
    more("short-last-batch", &["training.batch=350"]);
    more(
        "softmax",
        &[
            r#"precision.softmax={"entries":32,"interpolation":"none","exponent_frac":7,"table_frac":9,"probability_frac":11}"#,
        ],
    );
    more(
        "narrow-line",
        &[
            r#"precision.softmax={"entries":4,"exponent_frac":5,"table_frac":12,"probability_frac":8}"#,
        ],
    );
    more(
        "wide",
        &[
            "precision.weights=Q2.30",
            "precision.input=UQ2.22",
            "precision.master=Q2.30",
            "precision.accumulator.bits=64",
        ],
    );
    more("narrow-sums", &["precision.accumulator.bits=16", "precision.accumulator.overflow=wrap"]);
    cases
}

#[test]
fn every_result_of_a_step_follows_from_its_inputs_by_the_documented_rules() {
    let python = python();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cases = cases();
    let dumps: Vec<PathBuf> =
        cases.iter().map(|(name, step, sets)| dump(folder.path(), name, *step, sets)).collect();
    let said = recompute(python, &dumps).unwrap_or_else(|message| panic!("{message}"));
    assert_eq!(said.lines().count(), dumps.len(), "{said}");
}

#[test]
fn a_regression_is_recomputed_too() {
    let python = python();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = folder.path().join("lms");
    let arguments =
        ["train", "models/lms.json", "--dump-step", "7", "--out", run.to_str().expect("UTF-8")];
    shell::printed(&shell::root(), &arguments);
    let said = recompute(python, &[run.join("dump-step-7")]);
    said.unwrap_or_else(|message| panic!("{message}"));
}

#[test]
fn a_code_that_is_off_by_one_is_found() {
    let python = python();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in ["y0.npy", "dz1.npy", "dw0.npy", "m1.updated.npy", "w0.updated.npy", "x.npy"] {
        let dump = dump(folder.path(), &file.replace('.', "-"), 2, &[]);
        let path = dump.join(file);
        let mut bytes = std::fs::read(&path).expect("codes");
        // The low byte of the last code.
        let width = if file.starts_with('m') || file.starts_with("dw") { 2 } else { 1 };
        let last = bytes.len() - width;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).expect("codes");
        let message = recompute(python, &[dump]).expect_err(file);
        assert!(message.contains("1 differ") || message.contains("differ, at"), "{message}");
    }
}
