//! Results, held by digests that name what has changed, and the number that stores and checkpoints state:
//! where results change, it must.
//!
//! `semantics/experiments.txt` lists the experiments, `semantics/digests.txt` what they compute. The
//! command runs them, and its files are read. Golden's floating point depends on the CPU and is left out.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use systoliq_keyed_random::Key;
use systoliq_run::SEMANTICS;

use crate::shell::{printed, root, tree};

/// What a digest each is taken of, in the order of the columns.
const KINDS: [&str; 6] = ["codes", "cycles", "counts", "bytes", "errors", "energy"];

/// The training step whose tensors are dumped: it reads what those before it have left.
const STEP: &str = "2";

/// A line of `experiments.txt`.
struct Case<'t> {
    name: &'t str,
    file: &'t str,
    settings: Vec<&'t str>,
}

const EXPERIMENTS: &str = include_str!("semantics/experiments.txt");
const DIGESTS: &str = include_str!("semantics/digests.txt");

/// The lines that are neither empty nor comments, by their words.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().collect()).filter(|row: &Vec<_>| !row.is_empty())
}

fn cases() -> Vec<Case<'static>> {
    rows(EXPERIMENTS)
        .map(|row| match row[..] {
            [name, file, ref settings @ ..] => Case { name, file, settings: settings.to_vec() },
            _ => panic!("{row:?}: expected a name, a file and what is set in it"),
        })
        .collect()
}

/// What the rows of `digests.txt` say: a name and a digest of each kind.
fn pinned() -> Vec<Vec<&'static str>> {
    let mut rows = rows(DIGESTS);
    let number = SEMANTICS.to_string();
    assert_eq!(rows.next(), Some(vec!["semantics", &number]), "whose results digests.txt holds");
    rows.collect()
}

/// Trains as the case says, and returns a digest of each kind of result.
fn digests(case: &Case<'_>, more: &[&str]) -> [String; 6] {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = |name: &str| folder.path().join(name).display().to_string();
    let (run, counts) = (out("run"), out("counts.csv"));
    let mut arguments =
        vec!["train", case.file, "--out", &run, "--dump-step", STEP, "--counts", &counts];
    arguments.extend(case.settings.iter().chain(more).flat_map(|setting| ["--set", setting]));
    printed(&root(), &arguments);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file of text");
    let report: Value = serde_json::from_str(&read("run/report.json")).expect("JSON");
    let counts = json!([read("counts.csv"), counts_of(&report)]);
    let errors = errors_of(&report, &read("run/predictions.csv"));
    let codes = codes(&folder.path().join(format!("run/dump-step-{STEP}")));
    [codes, cycles_of(&report), counts, bytes_of(&report), errors, energy_of(&report)]
        .map(|found| format!("{:016x}", Key::new(0).with_name(&found.to_string()).value()))
}

/// Every tensor's codes, but for what is loaded: that is floating point.
fn codes(dump: &Path) -> Value {
    let npy = |path: &Path| path.extension().is_some_and(|ending| ending == "npy");
    let files = tree(dump).into_iter().filter(|path| npy(path));
    let loaded = |path: &Path| path.ends_with("inputs.npy") || path.ends_with("targets.npy");
    let files = files.filter(|path| !loaded(path)).map(|path| {
        let bytes = fs::read(dump.join(&path)).expect("a file of the dump");
        json!([path.to_str(), bytes])
    });
    let files: Vec<Value> = files.collect();
    let manifest = fs::read_to_string(dump.join("manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let formats = each(&manifest["tensors"], &["file", "format"]);
    assert!(files.len() > 5 && files.len() + 2 >= list(&formats).len(), "{dump:?}");
    json!([files, formats])
}

fn cycles_of(report: &Value) -> Value {
    let keys = ["layer", "pass", "output", "operation", "calls"];
    let keys = [&keys[..], &["dataflow", "folds", "cycles", "stall_cycles"]].concat();
    json!([report["cycles"], each(&report["layers"], &keys),])
}

fn counts_of(report: &Value) -> Value {
    let keys = ["counts", "scratchpad_rows", "activity"];
    json!([
        report["macs"],
        keys.map(|key| &report[key]),
        each(&report["layers"], &[&["output", "m", "n", "k"][..], &keys].concat()),
    ])
}

fn bytes_of(report: &Value) -> Value {
    json!([
        each(&report["dram_bytes"], &["tensor", "read", "written"]),
        report["stash"],
        each(&report["layers"], &["output", "dram_bytes"]),
    ])
}

/// Evaluations in fixed point, and how often codes saturate, vanish and stand still.
fn errors_of(report: &Value, predictions: &str) -> Value {
    let rates = ["saturation_rate", "underflow_rate", "stalled_rate", "accumulator_overflow_rate"];
    let curve =
        ["initial", "error_rate", "loss_bits", "validation_error_rate", "training_loss", "best"];
    let sums = ["output", "k", "bits", "safe_bits", "bits_for_weights", "overflow_rate"];
    let predicted: Vec<_> =
        predictions.lines().filter_map(|line| line.rsplit(',').next()).collect();
    let by_epoch =
        list(&report["precision"]).iter().map(|tensor| picked(&tensor["by_epoch"], &rates));
    json!([
        picked(&report["fixed"], &curve),
        predicted,
        each(&report["precision"], &[&["name", "last_format", "elements"][..], &rates].concat()),
        by_epoch.collect::<Vec<_>>(),
        each(&report["accumulators"], &sums),
        report["comparison"]["units"],
    ])
}

/// Energy, and what it costs in floating point, also on as many PEs as fit the same area.
fn energy_of(report: &Value) -> Value {
    json!([
        report["energy_pj"],
        each(&report["layers"], &["output", "energy_pj", "float32_energy_pj"]),
        report["training_cost"],
        each(
            &report["savings"]["float_hardware"],
            &["format", "rows", "cols", "cycles", "energy_pj"]
        ),
    ])
}

/// The elements of a list that is not empty.
fn list(value: &Value) -> &[Value] {
    value.as_array().filter(|list| !list.is_empty()).expect("a list with elements")
}

/// These members of every element.
fn each(value: &Value, keys: &[&str]) -> Value {
    list(value).iter().map(|element| picked(element, keys)).collect()
}

/// These members, or null.
fn picked(value: &Value, keys: &[&str]) -> Value {
    keys.iter().map(|key| value[key].clone()).collect()
}

/// What the digests of a case say against its row, and the row that they make.
fn change(case: &Case<'_>, found: &[String; 6], row: Option<&[&str]>) -> Option<[String; 2]> {
    let name = case.name;
    let new = |at: &usize| row.and_then(|row| row.get(at + 1)) != Some(&found[*at].as_str());
    let kinds: Vec<_> = (0..KINDS.len()).filter(new).map(|at| KINDS[at]).collect();
    let said = match row {
        Some(_) => format!("{name} has other {}", kinds.join(", ")),
        None => format!("{name} has no row"),
    };
    (!kinds.is_empty()).then(|| [said, format!("{name} {}", found.join(" "))])
}

#[test]
fn the_number_of_the_semantics_is_tied_to_results() {
    let (cases, pinned) = (cases(), pinned());
    let row = |name: &str| pinned.iter().find(|row| row[0] == name).map(Vec::as_slice);
    let changed: Vec<_> =
        cases.iter().filter_map(|case| change(case, &digests(case, &[]), row(case.name))).collect();
    let lines = |at: usize| changed.iter().map(|line| line[at].as_str()).collect::<Vec<_>>();
    assert!(
        changed.is_empty(),
        "results of experiments have changed:\n{}\n\ntests/side_by_side.sh shows how, beside a program of \
         before. If they are to change, raise `SEMANTICS` in crates/run/src/lib.rs, so that stores and \
         checkpoints of other programs are refused, and have in tests/semantics/digests.txt:\n{}\n",
        lines(0).join("\n"),
        lines(1).join("\n")
    );
    let names: Vec<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(pinned.iter().map(|row| row[0]).collect::<Vec<_>>(), names, "rows and lines");
}

#[test]
fn no_two_experiments_have_the_same_digests() {
    let pinned = pinned();
    for (at, row) in pinned.iter().enumerate() {
        let same = pinned[..at].iter().find(|other| other[1..] == row[1..]);
        assert!(same.is_none(), "what is set in {} has no effect beside {same:?}", row[0]);
    }
}

#[test]
fn every_experiment_and_machine_that_ships_is_among_those_with_digests() {
    let written: Vec<_> = rows(EXPERIMENTS).flatten().collect();
    for path in tree(&root().join("models")) {
        let path = Path::new("models").join(path).display().to_string();
        let other = ["models/energy/", "models/sweeps/"].iter().any(|at| path.starts_with(at));
        if path.ends_with(".json") && !other {
            let names = |word: &&str| word.ends_with(&path);
            assert!(written.iter().any(names), "{path} is not in tests/semantics/experiments.txt");
        }
    }
}

#[test]
fn a_digest_has_all_of_its_kind_and_nothing_else() {
    let (cases, pinned) = (cases(), pinned());
    let said = |name: &str, setting: &str| {
        let case = cases.iter().find(|case| case.name == name).expect("a case");
        let row = pinned.iter().find(|row| row[0] == name).expect("a row");
        change(case, &digests(case, &[setting]), Some(row)).map(|[said, _]| said)
    };
    let other = |name: &str, kinds: &str| Some(format!("{name} has other {kinds}"));
    // Bits that flip are counts; cycles, bytes and energy on average are those of the shapes.
    for name in ["momentum", "dram", "lms"] {
        assert_eq!(said(name, "seed=2"), other(name, "codes, counts, errors"));
    }
    assert_eq!(said("dram", "accelerator.energy=nangate45"), other("dram", "energy"));
    assert_eq!(
        said("dram", "accelerator.dram.latency_cycles=41"),
        other("dram", "cycles, counts, energy")
    );
    // Golden's floats are in none.
    for name in ["digits-mlp", "digits-mxint8", "lms", "regression", "mlp-100", "memory"] {
        for golden in ["training.golden=f32", "training.golden=f64"] {
            assert_eq!(said(name, golden), None);
        }
    }
}

#[cfg(unix)]
#[test]
fn side_by_side_reports_silence_failure_and_difference() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = |name: &str, does: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{does}\n")).expect("a new file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        path
    };
    let (silent, failing) = (program("silent", "exit 0"), program("failing", "echo no; exit 1"));
    let script = |programs: &[&Path]| {
        let mut command = Command::new(root().join("tests/side_by_side.sh"));
        let output = command.args(programs).env("TMPDIR", folder.path()).output();
        let output = output.expect("the script runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    assert_eq!(script(&[&silent]), (Some(2), String::new()));
    assert_eq!(script(&[&silent, folder.path()]), (Some(2), String::new()));
    let (status, said) = script(&[&silent, &failing]);
    assert_eq!(status, Some(1), "{said}");
    for line in [
        "gemm/1: old says nothing: systoliq gemm ",
        "gemm/1: new ends with 1, not 0: systoliq gemm ",
        "Files old/found/gemm/1.out and new/found/gemm/1.out differ",
    ] {
        assert!(said.lines().any(|found| found.starts_with(line)), "{line} {said}");
    }
}
