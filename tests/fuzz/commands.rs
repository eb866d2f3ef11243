//! Whole commands, run within the process: good command lines with their files, and how each must end.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use clap::Parser as _;
use serde_json::{Value, json};
use systoliq::failure::{BAD_INPUT, FAILED_RUN, Failure, printable};
use systoliq_keyed_random::Key;

use super::parsers::experiments;
use super::{Input, Outcome, Target};
use crate::shell;
use crate::support::models;
use crate::workload::CONFIGURATION;

pub(crate) const TARGETS: [Target; 18] = [
    target("check", checks, &["x.json", "a.json", "data/", "--"], run),
    target("list", lists, &["x.json", "a.json", "--"], run),
    target("train", trainings, &["x.json", "a.json"], train),
    target("precision", precisions, &["x.json", "a.json"], train),
    target("trace", traces, &["x.json", "a.json", "--"], train),
    target("gemm", gemms, &["a.json", "--"], run),
    target("workload", workloads, &["t.csv", "a.", "--"], run),
    target("energy-table", energy_tables, &["p.json", "--"], run),
    target("schema", || vec![input(&["schema", "energy"], [])], &["--"], run),
    target("sweep-file", sweeps, &["s.json", "x.json"], sweep),
    target("resume", runs_in_part, &["run/"], run),
    target("state", runs_in_part, &["run/checkpoints/seed-1.state"], go_on_from_state),
    target("sweep-resume", swept, &["bits/"], run),
    target("search-resume", searched, &["found/"], run),
    target("point", points, &["bits/"], run),
    target(
        "compare",
        compared,
        &["run/a/report.json", "run/b/report.json", "run/b/predictions.csv", "--"],
        run,
    ),
    target("report", reported, &["run/report.json", "bits/", "found/"], run),
    target("panel", on_panels, &["run/report.json", "bits/", "p.json", "--"], run),
];

const fn target(
    name: &'static str,
    inputs: fn() -> Vec<Input>,
    changed: &'static [&'static str],
    read: fn(&Input) -> Result<Outcome, String>,
) -> Target {
    Target { name, inputs, changed, read }
}

/// Commands that run trainings, which may fail.
const TRAIN: [&str; 6] = ["train", "precision", "trace", "sweep", "search", "point"];

/// The most multiply-accumulates of a training that is run, as a multiple of parameters and samples.
const WORK_MAX: f64 = 1e7;

fn input<const N: usize>(arguments: &[&str], files: [(&str, Vec<u8>); N]) -> Input {
    Input {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        files: files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect(),
    }
}

fn text(value: &Value) -> Vec<u8> {
    shell::text(value).into_bytes()
}

/// A small experiment whose accelerator is a file of its own, with other data.
fn experiment(dataset: Value, features: usize, classes: usize) -> Vec<u8> {
    let mut experiment = shell::experiment();
    experiment["dataset"] = dataset;
    experiment["network"]["input"] = json!([features]);
    experiment["network"]["layers"][2]["dense"]["units"] = json!(classes);
    experiment["training"]["batch"] = json!(2);
    experiment["accelerator"] = json!("a.json");
    text(&experiment)
}

/// The same on a few points.
fn small() -> Vec<u8> {
    let inputs = [[1, 2], [3, 4], [-1, 0], [0, -2], [2, 2], [-3, 1], [1, 1], [-2, -2]];
    let labels = [0, 1, 2, 0, 1, 2, 0, 1];
    experiment(json!({"kind": "points", "inputs": inputs, "labels": labels, "classes": 3}), 2, 3)
}

fn accelerator() -> Vec<u8> {
    let machine = json!({
        "array": { "rows": 4, "cols": 4, "dataflow": "auto", "overlap": "pipelined" },
        "scratchpad": { "a_bytes": 1024, "b_bytes": 1024, "c_bytes": 1024 },
        "dram": { "bytes_per_cycle": 4 }
    });
    text(&machine)
}

/// Experiments of each kind of data, for a command with these further arguments.
fn with_experiments(command: &str, more: &[&str]) -> Vec<Input> {
    let arguments = [&[command, "x.json"], more].concat();
    let csv = json!({"kind": "csv", "path": "data/d.csv", "classes": 3, "test": 2});
    let idx = json!({"kind": "idx", "dir": "data", "validation": 4});
    let table = b"1,2,0\n3,4,1\n5,6,2\n1,2,0\n3,4,1\n5,6,2\n".to_vec();
    let mut images =
        input(&arguments, [("x.json", experiment(idx, 16, 10)), ("a.json", accelerator())]);
    let named = shell::idx_files(20, 10, 4);
    images.files.extend(named.map(|(name, bytes)| (format!("data/{name}"), bytes)));
    vec![
        input(&arguments, [("x.json", small()), ("a.json", accelerator())]),
        input(
            &arguments,
            [("x.json", experiment(csv, 2, 3)), ("a.json", accelerator()), ("data/d.csv", table)],
        ),
        images,
    ]
}

fn checks() -> Vec<Input> {
    let shipped = experiments().into_iter().map(|shipped| {
        let [(_, bytes)] = &shipped.files[..] else { panic!("an experiment in one file") };
        input(&["check", "x.json", "--set", "seed=2"], [("x.json", bytes.clone())])
    });
    with_experiments("check", &["--set", "training.epochs=2", "--json"])
        .into_iter()
        .chain(shipped)
        .collect()
}

fn lists() -> Vec<Input> {
    with_experiments("list", &["--set", "precision.layers.1.weights=Q3.3"])
}

fn trainings() -> Vec<Input> {
    let more =
        [&["--json"][..], &["--out", "run", "--dump-step", "1"], &["--seeds", "2", "--diagnose"]];
    more.into_iter().flat_map(|more| with_experiments("train", more)).collect()
}

fn precisions() -> Vec<Input> {
    let mut all = with_experiments("precision", &["--samples", "4", "--train"]);
    all.extend(with_experiments("precision", &["--mismatch", "0.5", "--out", "plan.json"]));
    all
}

fn traces() -> Vec<Input> {
    let waves = ["--op", "0.forward", "--cycles", "2..9", "--format", "vcd", "-o", "out.vcd"];
    let more = [
        &["--op", "1.forward", "--fold", "0", "--step", "1", "--format", "text"][..],
        &waves,
        &["--format", "perfetto", "-o", "out.json"],
    ];
    more.into_iter().flat_map(|more| with_experiments("trace", more)).collect()
}

fn gemms() -> Vec<Input> {
    let sizes = ["gemm", "--m", "100", "--n", "50", "--k", "30"];
    let more = [
        &["--dataflow", "auto", "--overlap", "pipelined", "--rows", "4"][..],
        &["--accelerator", "a.json", "--bits-a", "4", "--json"],
        &["--scalesim", "--cols", "16"],
    ];
    let with = |more: &[&str]| input(&[&sizes[..], more].concat(), [("a.json", accelerator())]);
    more.map(with).into()
}

fn workloads() -> Vec<Input> {
    let layers = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, \
                  Strides,\nConv1, 11, 11, 3, 3, 3, 20, 2,\nConv2_DP, 7, 7, 3, 3, 2, 1, 1,\n";
    let products = "Layer,M,N,K,\nonly, 100, 50, 30,\nother, 7, 9, 8,\n";
    let mut all = Vec::new();
    for topology in [layers, products] {
        for more in [
            &["--training", "--json"][..],
            &["--scalesim", "--csv", "out"],
            &["--dataflow", "auto"],
        ] {
            for (machine, bytes) in [("a.cfg", CONFIGURATION.into()), ("a.json", accelerator())] {
                let arguments = [&["workload", "t.csv", "--accelerator", machine], more].concat();
                all.push(input(&arguments, [("t.csv", topology.into()), (machine, bytes)]));
            }
        }
    }
    all
}

fn energy_tables() -> Vec<Input> {
    let profile = fs::read(models().join("energy/horowitz45.json")).expect("a profile");
    let more =
        [&["--node", "22", "--json"][..], &["--bits", "4,8", "--row", "16", "--pitch", "50"]];
    let with = |more: &[&str]| {
        input(
            &[&["energy-table", "--profile", "p.json"][..], more].concat(),
            [("p.json", profile.clone())],
        )
    };
    more.map(with).into()
}

fn sweeps() -> Vec<Input> {
    let axes = json!([
        { "path": "precision.weights.bits", "values": [3, 8] },
        { "name": "rate", "path": ["training.rate"], "values": [0.5, 0.25] },
        { "name": "both", "bundles": [{ "name": "b", "set": { "seed": 3, "training.epochs": 2 } }] }
    ]);
    let paths = ["precision.weights.bits", "precision.gradients.bits"];
    let bits = json!([{ "name": "bits", "path": paths, "values": "2..=5" }]);
    let sweep = |axes: Value, seeds: Value| {
        let sweep = json!({"name": "small", "experiment": "x.json", "seeds": seeds, "axes": axes});
        let files = [("s.json", text(&sweep)), ("x.json", small()), ("a.json", accelerator())];
        input(&["sweep", "s.json", "--out", "bits", "--resume"], files)
    };
    vec![sweep(bits, json!(1)), sweep(axes, json!([1, 5]))]
}

/// Runs a command line that must succeed where its files are put, and adds what it writes to `folder`.
fn after(mut before: Input, arguments: &[&str], folder: &str) -> Input {
    for (name, bytes) in &before.files {
        fs::create_dir_all(Path::new(name).parent().expect("a file in a folder"))
            .expect("a folder");
        fs::write(name, bytes).expect("a new file");
    }
    said(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
        .expect("a good command line");
    for path in shell::tree(Path::new(folder)) {
        let path = Path::new(folder).join(path);
        if path.is_file() && path.extension().is_none_or(|ending| ending != "lock") {
            let bytes = fs::read(&path).expect("a file");
            before.files.push((path.to_string_lossy().into_owned(), bytes));
        }
    }
    fs::remove_dir_all(folder).expect("a folder");
    before
}

/// A run of one epoch, to which another is added.
fn runs_in_part() -> Vec<Input> {
    let arguments = ["train", "x.json", "--out", "run", "--resume", "--set", "training.epochs=2"];
    let files = [("x.json", small()), ("a.json", accelerator())];
    vec![after(input(&arguments, files), &["train", "x.json", "--out", "run"], "run")]
}

/// A sweep that is done, and is gone on with.
fn swept() -> Vec<Input> {
    let mut sweep = sweeps().swap_remove(0);
    sweep = after(sweep, &["sweep", "s.json", "--out", "bits"], "bits");
    vec![sweep]
}

/// A search that is done, and is gone on with.
fn searched() -> Vec<Input> {
    let first = "search x.json --margin 0.5 --seeds 2 --held-back 2 --runs 4 --out found";
    let first: Vec<&str> = first.split(' ').collect();
    let files = [("x.json", small()), ("a.json", accelerator())];
    vec![after(input(&[&first[..], &["--resume"]].concat(), files), &first, "found")]
}

fn points() -> Vec<Input> {
    let arguments = ["point", "x.json", "--out", "bits", "--json"];
    let files = [("x.json", small()), ("a.json", accelerator())];
    vec![after(input(&arguments, files), &arguments, "bits")]
}

fn compared() -> Vec<Input> {
    let files = [("x.json", small()), ("a.json", accelerator())];
    let left = after(input(&[], files), &["train", "x.json", "--out", "run/a"], "run");
    let narrow =
        ["train", "x.json", "--out", "run/b", "--set", "precision.error=Q2.2", "--seeds", "2"];
    let both = after(left, &narrow, "run");
    let with = |more: &[&str]| {
        let arguments = [&["compare", "run/a", "run/b"], more].concat();
        input(&arguments, []).arguments
    };
    [with(&["--json"]), with(&["--margin", "0.1"])]
        .map(|arguments| Input { arguments, files: both.files.clone() })
        .into()
}

fn reported() -> Vec<Input> {
    let mut run = runs_in_part().swap_remove(0);
    run.arguments = input(&["report", "run"], []).arguments;
    let mut sweep = swept().swap_remove(0);
    sweep.arguments = input(&["report", "bits", "--svg", "svg"], []).arguments;
    let mut search = searched().swap_remove(0);
    search.arguments = input(&["report", "found", "-o", "page.html"], []).arguments;
    vec![run, sweep, search]
}

fn on_panels() -> Vec<Input> {
    let profile = energy_tables().into_iter().flat_map(|of| of.files).find(|of| of.0 == "p.json");
    let mut run = runs_in_part().swap_remove(0);
    run.files.extend(profile);
    run.arguments = input(&["panel", "run", "--profile", "p.json", "--tables"], []).arguments;
    let mut sweep = swept().swap_remove(0);
    sweep.arguments = input(&["panel", "bits", "--json"], []).arguments;
    vec![run, sweep]
}

/// What a command line says, or why it fails; nothing of it is shown.
fn said(arguments: &[String]) -> Result<String, Refusal> {
    let words = ["systoliq"].into_iter().chain(arguments.iter().map(String::as_str));
    match systoliq::Arguments::try_parse_from(words.map(OsString::from)) {
        Ok(arguments) => arguments.command.run().map_err(Refusal::Failed),
        Err(usage) if usage.use_stderr() => Err(Refusal::Usage(usage.to_string())),
        Err(help) => Ok(help.to_string()),
    }
}

/// Why a command line fails.
#[derive(Debug)]
enum Refusal {
    /// In one line.
    Failed(Failure),
    /// In several.
    Usage(String),
}

/// Runs the command line.
fn run(input: &Input) -> Result<Outcome, String> {
    let failure = match said(&input.arguments) {
        Ok(text) => return Ok(Outcome::Read(text)),
        Err(Refusal::Usage(text)) => return Ok(Outcome::Refused(text)),
        Err(Refusal::Failed(failure)) => failure,
    };
    let message = failure.message();
    if message.lines().count() != 1 {
        return Err(format!("not one line: {message:?}"));
    }
    if failure.status() == FAILED_RUN && TRAIN.contains(&&*input.arguments[0]) {
        return Ok(Outcome::Failed(message));
    }
    if failure.status() != BAD_INPUT {
        return Err(format!("status {}: {message}", failure.status()));
    }
    let words = input.files.iter().map(|(name, _)| name).chain(&input.arguments[1..]);
    let escaped = |word: &String| printable(word).replace('\n', "\\u000a").replace('\t', "\\u0009");
    let mut places = words.map(escaped).filter(|word| !word.is_empty());
    match message.contains("--") || places.any(|place| message.contains(&place)) {
        true => Ok(Outcome::Refused(message)),
        false => Err(format!("names no place: {message}")),
    }
}

/// Runs a command line that trains, unless it would for long.
fn train(input: &Input) -> Result<Outcome, String> {
    let mut check = Input {
        arguments: ["check", "x.json", "--json"].map(String::from).into(),
        ..input.clone()
    };
    check.files.clear();
    match said(&check.arguments) {
        Ok(text) if is_long(&serde_json::from_str(&text).expect("JSON")) => Ok(Outcome::TooLong),
        _ => run(input),
    }
}

/// Whether what `systoliq check` tells of an experiment takes long.
fn is_long(checked: &Value) -> bool {
    let number = |path: &str| checked.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let samples: f64 =
        ["train", "validation", "test"].map(|part| number(&format!("/data/{part}"))).iter().sum();
    number("/parameters") * samples * number("/experiment/training/epochs") > WORK_MAX
}

/// Reads a sweep without running it.
fn sweep(_: &Input) -> Result<Outcome, String> {
    match systoliq::load::sweep::read(Path::new("s.json"), &[], false) {
        Ok(loaded) => Ok(Outcome::Read(format!("{:?}", loaded.sweep.spec()))),
        Err(failure) => Ok(Outcome::Refused(failure.message())),
    }
}

/// Goes on from a state whose hash is right, whatever it holds.
fn go_on_from_state(input: &Input) -> Result<Outcome, String> {
    let name = "run/checkpoints/seed-1.state";
    let mut bytes = fs::read(name).expect("a state");
    let end = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |end| end + 1);
    let hash = format!("{:016x}", Key::new(0).with_bytes(&bytes[end..]).value());
    if let Ok(mut header) = serde_json::from_slice::<Value>(&bytes[..end])
        && header.get("state").is_some()
    {
        header["state"] = hash.into();
        bytes.splice(..end, format!("{header}\n").into_bytes());
        fs::write(name, bytes).expect("a file");
    }
    run(input)
}
