//! What integration tests share: the command, small experiments, small data files.

// Each test file uses its part.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace exists")
}

/// Runs the command in `folder`.
pub(crate) fn systoliq(folder: &Path, arguments: &[impl AsRef<str>]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_systoliq-under-test"))
        .args(arguments.iter().map(AsRef::as_ref))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the command starts")
}

/// Runs the command and returns what it printed, as text; it must succeed.
pub(crate) fn printed(folder: &Path, arguments: &[impl AsRef<str>]) -> String {
    let output = systoliq(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the command prints UTF-8")
}

/// What a command says on standard error beside the line of what it has read.
pub(crate) fn remarks(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines()
        .filter(|line| !line.contains(": samples: "))
        .fold(String::new(), |said, line| said + line + "\n")
}

/// A small experiment on the digits.
pub(crate) fn experiment() -> Value {
    json!({
        "name": "small",
        "seed": 1,
        "dataset": { "kind": "digits" },
        "network": {
            "input": [64],
            "layers": [{ "dense": { "units": 8 } }, "relu", { "dense": { "units": 10 } }],
            "loss": "softmax_cross_entropy"
        },
        "training": { "epochs": 1, "batch": 32, "rate": 0.5 },
        "precision": {
            "weights": { "bits": 8, "scale": "initial" },
            "error": "Q2.6",
            "accumulator": { "bits": 32 }
        },
        "accelerator": { "array": { "rows": 8, "cols": 8 } }
    })
}

/// JSON with one member a line, so that lines of messages can be foretold.
pub(crate) fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Every file and folder below `folder`, by its path from there.
pub(crate) fn tree(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).expect("a folder can be listed") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path.strip_prefix(folder).expect("below the folder").to_owned());
        }
    }
    found
}

/// An idx file: magic number, sizes, bytes.
pub(crate) fn idx(magic: u32, sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let header = [magic].into_iter().chain(sizes.iter().copied()).flat_map(u32::to_be_bytes);
    header.chain(bytes.iter().copied()).collect()
}

/// An idx file of `samples` images of `side` x `side` pixels.
pub(crate) fn images(samples: u32, side: u32) -> Vec<u8> {
    let bytes = (0..samples * side * side).map(|at| (at * 37 % 256) as u8).collect::<Vec<_>>();
    idx(2051, &[samples, side, side], &bytes)
}

/// An idx file of `samples` labels, in turn 0 to 9.
pub(crate) fn labels(samples: u32) -> Vec<u8> {
    idx(2049, &[samples], &(0..samples).map(|at| (at % 10) as u8).collect::<Vec<_>>())
}

/// The four files of an idx data set with so many samples for training and test.
pub(crate) fn idx_files(train: u32, test: u32, side: u32) -> [(&'static str, Vec<u8>); 4] {
    [
        ("train-images-idx3-ubyte", images(train, side)),
        ("train-labels-idx1-ubyte", labels(train)),
        ("t10k-images-idx3-ubyte", images(test, side)),
        ("t10k-labels-idx1-ubyte", labels(test)),
    ]
}

/// `bytes` as gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory can be written")
}
