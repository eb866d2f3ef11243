//! Options, overrides and paths that cannot be.

use serde_json::json;

use super::Case;
use crate::shell;

/// Overrides that do not fit.
pub(crate) fn overrides() -> Vec<Case> {
    vec![
        Case::set(&["seed"], &["--set seed: expected PATH=VALUE"]),
        Case::set(&["=1"], &["--set =1: path `` has an empty name"]),
        Case::set(&["training..batch=1"], &["path `training..batch` has an empty name"]),
        Case::set(
            &["network.layers[9].dense.units=4"],
            &["network.layers is an array of 3, it has no element `9`"],
        ),
        Case::set(
            &["precision.error.bits=4"],
            &["precision.error is \"Q2.6\", it cannot have a key `bits`"],
        ),
        Case::set(
            &["training={\"epochs\": 1,}"],
            &["--set training={\"epochs\": 1,}: 1:14: trailing"],
        ),
        Case::set(
            &["training.epoch=3"],
            &["--set training.epoch=3: training.epoch: unknown field"],
        ),
        Case::set(
            &["optimizer.kind=adam"],
            &["--set optimizer.kind=adam: optimizer: unknown field `optimizer`"],
        ),
        Case::set(
            &["seed=2", "accelerator.array.rows=0"],
            &["accelerator.array", "0 x 8 processing"],
        ),
        Case::set(
            &["training.rate=NaN"],
            &[
                "--set training.rate=NaN: training.rate: invalid type: string \"NaN\", expected a number",
            ],
        ),
    ]
}

/// Files that cannot be read.
pub(crate) fn paths() -> Vec<Case> {
    let check = |says| Case::command(&["check", "x.json"], says);
    vec![
        check(&["cannot read x.json: no such file"]),
        Case::command(&["list", "."], &["cannot read .: it is a folder, expected a file"]),
        check(&["cannot read x.json: it is a folder"]).file("x.json/y", ""),
        check(&["x.json: more than 16777216 bytes"]).file("x.json", vec![b' '; (16 << 20) + 1]),
        Case::edit(
            "/network",
            json!("nets/n.json"),
            &["x.json:", "network: cannot read nets/n.json: no such file"],
        ),
        Case::edit("/network", json!("n.json"), &["n.json:1:1: network: more than 8 files"])
            .file("n.json", "\"n.json\""),
        Case::edit("/network", json!("a/n.json"), &["a/n.json:1:1: network: cannot read a/b.json"])
            .file("a/n.json", "\"b.json\""),
        Case::edit(
            "/accelerator/energy",
            json!("e.json"),
            &["e.json:1:1: accelerator.energy: missing field `name`"],
        )
        .file("e.json", "{}"),
        Case::set(
            &["dataset={\"kind\": \"csv\", \"path\": \"d\", \"classes\": 2, \"test\": 1}"],
            &["dataset.path: ", "folder"],
        )
        .file("d/e", ""),
    ]
}

/// Folders that cannot be written, options that do not go together.
pub(crate) fn folders() -> Vec<Case> {
    let good = |arguments: &[&str], says: &[&str]| {
        let mut case = Case::command(&["train", "x.json"], says)
            .file("x.json", shell::text(&shell::experiment()));
        case.arguments.extend(arguments.iter().map(ToString::to_string));
        case
    };
    vec![
        good(&["--out", "x.json"], &["cannot write to the folder x.json"]),
        good(&["--out", "x.json/out"], &["cannot write to the folder x.json/out"]),
        good(&["--out", "out", "--dump-step", "38"], &["--dump-step 38: the run has 38 steps"]),
        good(&["--dump-step", "1"], &["--out"]),
        good(&["--resume"], &["--out"]),
        good(&["--seeds", "0"], &["--seeds", "0 is not in 1..=10000"]),
        good(&["--threads", "0"], &["--threads"]),
        good(&["--engine", "slow"], &["--engine", "fast, register, reference"]),
        good(&["--bogus"], &["--bogus"]),
        good(&["--set", "seed=18446744073709551615", "--seeds", "2"], &["past the last seed"]),
        Case::command(&["trian"], &["trian"]),
        Case::command(&["train"], &["<EXPERIMENT>"]),
    ]
}

/// Scratchpads that no step of a large grid fits, beside memory that is waited for.
const SMALL: &str = r#"{
  "array": { "rows": 64, "cols": 64 },
  "scratchpad": { "a_bytes": 1024, "b_bytes": 1024, "c_bytes": 1024 },
  "dram": { "kind": "lpddr4", "burst_bytes": 32, "latency_cycles": 1 }
}"#;

/// Products that no array computes.
pub(crate) fn gemm() -> Vec<Case> {
    let gemm = |arguments: &[&str], says: &[&str]| {
        let mut case = Case::command(&["gemm", "--m", "4", "--n", "4"], says);
        case.arguments.extend(arguments.iter().map(ToString::to_string));
        case
    };
    vec![
        gemm(&[], &["--k <K>"]),
        gemm(&["--k", "-1"], &["-1"]),
        gemm(&["--k", "0"], &["--m, --n, --k: m = 4, k = 0, n = 4: expected at least 1"]),
        gemm(&["--k", "18446744073709551615"], &["k = 18446744073709551615"]),
        gemm(
            &["--k", "4", "--rows", "0"],
            &["--rows, --cols: an array of 0 x 8 processing elements"],
        ),
        gemm(&["--k", "4", "--bits-a", "64"], &["--bits-a: a format of 64 bits, signed: expected"]),
        gemm(
            &["--k", "4", "--bits-acc", "1"],
            &["--bits-acc: 1 bits cannot hold one product of 8 x 8 bits: expected at least 16"],
        ),
        gemm(
            &["--k", "4", "--bits-acc", "15"],
            &["--bits-acc: 15 bits cannot hold one product of 8 x 8 bits: expected at least 16"],
        ),
        gemm(&["--k", "4", "--cols", "4294967296"], &["an array of 8 x 4294967296 processing"]),
        gemm(&["--k", "4", "--overlap", "x"], &["unknown variant `x`, expected"]),
        gemm(&["--k", "4", "--partial-folds", "x"], &["unknown variant `x`, expected"]),
        gemm(&["--k", "0", "--scalesim"], &["--m, --n, --k: m = 4, k = 0, n = 4: expected"]),
        gemm(
            &["--k", "18446744073709551615", "--scalesim"],
            &["k = 18446744073709551615", "at most 64 bits"],
        ),
        gemm(&["--k", "4", "--dataflow", "x"], &["unknown variant `x`, expected"]),
        gemm(&["--k", "4", "--accelerator", "hw.json"], &["cannot read hw.json: no such file"]),
        gemm(&["--k", "4", "--accelerator", "hw.json"], &["hw.json:1:1: missing field `array`"])
            .file("hw.json", "{}"),
        Case::command(
            &["gemm", "--m", "64", "--n", "64", "--k", "4", "--accelerator", "hw.json"],
            &["accelerator.scratchpad.c_bytes: one step of a GEMM of m = 64, k = 4, n = 64 needs \
               4096 bytes at once, half the scratchpad has 512: expected at least 8192"],
        )
        .file("hw.json", SMALL),
    ]
}

/// Widths by analysis that cannot be.
pub(crate) fn precision() -> Vec<Case> {
    let precision = |arguments: &[&str], says: &[&str]| {
        let mut case = Case::command(&["precision", "x.json"], says);
        case.arguments.extend(arguments.iter().map(ToString::to_string));
        case.file("x.json", shell::text(&shell::experiment()))
    };
    let clusters = "dataset={\"kind\": \"clusters\", \"classes\": 10, \"features\": 64, \
                    \"spread\": 1, \"train\": 40, \"test\": 40}";
    let probability = "expected a probability above 0 and below 1";
    vec![
        precision(&["--mismatch", "0"], &["--mismatch", probability]),
        precision(&["--mismatch", "1"], &["--mismatch", probability]),
        precision(&["--mismatch", "NaN"], &["--mismatch", probability]),
        precision(&["--mismatch", "1e-30"], &["mismatch: no widths of up to 32 bits", "1e-30"]),
        precision(&["--samples", "0"], &["--samples", "zero"]),
        precision(&["--on", "x"], &["--on", "validation"]),
        precision(
            &["--on", "validation", "--set", clusters],
            &["dataset: the validation part of `clusters` has no samples"],
        ),
        precision(&["--sweep", "8"], &["--sweep", "expected A..B, two widths from 2 to 32"]),
        precision(&["--sweep", "1..4"], &["--sweep", "expected A..B"]),
        precision(&["--sweep", "5..4"], &["--sweep", "expected A..B"]),
        precision(&["--sweep", "32..32"], &["sweep: B_min 32 makes", "more than 32 bits"]),
        precision(&["--head", "33"], &["--head", "33 is not in 0..=32"]),
        precision(&["--sums", "up"], &["--sums", "nearest-even"]),
        precision(&["--allocation", "equal"], &["--allocation", "joules"]),
        precision(&["--seeds", "3"], &["--tighten"]),
        precision(&["--resume"], &["--tighten"]),
        precision(
            &["--tighten", "spare", "--seeds", "0"],
            &["--seeds", "expected a number from 1"],
        ),
        precision(
            &["--set", "network.loss=mse"],
            &["network.loss: \"mse\" is the loss of a regression"],
        ),
        precision(&["--set", "network.layers=[]"], &["network.layers"]),
        precision(&["--out", "missing/plan.json"], &["missing/plan.json: no such folder"]),
        precision(&["--out", "."], &["cannot write .: it is a folder, expected a file"]),
    ]
}
