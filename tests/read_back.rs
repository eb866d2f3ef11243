//! What the program reads back of what it wrote: every number replaced by extreme ones, every line by
//! garbage. It is used or refused, without a panic, and within seconds.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::checkpoints::CheckpointFiles;
use crate::shell::{printed, systoliq, text};

/// What numbers are replaced by.
fn extremes() -> [Value; 10] {
    [
        json!(u64::MAX),
        json!(i64::MIN),
        json!(-1),
        json!(0),
        json!(65),
        json!(1u64 << 40),
        json!(0.5),
        json!(f64::MAX),
        json!(-f64::MAX),
        json!(f64::from_bits(1)),
    ]
}

/// An experiment that trains in no time.
fn experiment() -> Value {
    let mut experiment = crate::shell::experiment();
    let inputs: Vec<[f64; 2]> =
        (0..16).map(|at| [f64::from(at % 2), f64::from(at / 2 % 2)]).collect();
    let labels: Vec<u32> = (0..16).map(|at| (at % 2) ^ (at / 2 % 2)).collect();
    experiment["dataset"] =
        json!({ "kind": "points", "inputs": inputs, "labels": labels, "classes": 2 });
    experiment["network"] = json!({
        "input": [2],
        "layers": [{ "dense": { "units": 4 } }, "relu", { "dense": { "units": 2 } }],
        "loss": "softmax_cross_entropy"
    });
    experiment["training"] = json!({ "epochs": 3, "batch": 5, "rate": 0.1 });
    experiment
}

/// A folder with `x.json`, a sweep of it in `s.json`, and one more file.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sweep = json!({
        "name": "s", "experiment": "x.json", "seeds": 2,
        "axes": [{ "path": "precision.weights.bits", "values": [4, 8] }]
    });
    fs::write(folder.path().join("x.json"), text(&experiment())).expect("a new file");
    fs::write(folder.path().join("s.json"), text(&sweep)).expect("a new file");
    folder
}

/// The places of numbers and nulls in a value: of those that differ in the numbers of elements and in
/// the names of tensors alone, the first.
fn places(value: &Value) -> Vec<Vec<String>> {
    fn walk(
        value: &Value,
        at: &mut Vec<String>,
        seen: &mut std::collections::BTreeSet<Vec<String>>,
        found: &mut Vec<Vec<String>>,
    ) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, member)| {
                at.push(name.clone());
                walk(member, at, seen, found);
                at.pop();
            }),
            Value::Array(items) => items.iter().enumerate().for_each(|(number, item)| {
                at.push(number.to_string());
                walk(item, at, seen, found);
                at.pop();
            }),
            Value::Number(_) | Value::Null => {
                let of_tensor = |name: &&String| {
                    name.ends_with(|c: char| c.is_ascii_digit())
                        || ["x", "targets"].contains(&name.as_str())
                };
                let kind =
                    at.iter().map(|name| if of_tensor(&name) { "*".into() } else { name.clone() });
                if seen.insert(kind.collect()) {
                    found.push(at.clone());
                }
            }
            _ => {}
        }
    }
    let (mut seen, mut found) = (std::collections::BTreeSet::new(), Vec::new());
    walk(value, &mut Vec::new(), &mut seen, &mut found);
    found
}

/// Runs commands; each has to end in a few seconds, with exit status 0, or 2 and one message.
fn hold(folder: &Path, commands: &[&[&str]], case: &str) -> Vec<Output> {
    let run = |arguments: &&[&str]| {
        let began = Instant::now();
        let output = systoliq(folder, arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let shown = format!("{case}: {arguments:?}: {:?}\n{message}", output.status);
        assert!(matches!(output.status.code(), Some(0 | 2)), "{shown}");
        assert!(!message.contains("panicked"), "{shown}");
        assert!(output.status.success() || message.contains("error: "), "{shown}");
        assert!(began.elapsed() < Duration::from_secs(10), "{shown}: {:?}", began.elapsed());
        output
    };
    commands.iter().map(run).collect()
}

/// Holds commands to a file with each of its numbers replaced; `write` puts a value to the file. Of
/// the extreme values, every number gets `each`, in turn.
fn replace_numbers(
    folder: &Path,
    value: &Value,
    each: usize,
    write: &dyn Fn(&Value),
    commands: &[&[&str]],
) {
    let places = places(value);
    assert!(places.len() > 10, "{}", places.len());
    let extremes = extremes();
    for (number, place) in places.iter().enumerate() {
        for turn in 0..each {
            let extreme = &extremes[(number * each + turn) % extremes.len()];
            let mut changed = value.clone();
            let at = place.iter().fold(&mut changed, |at, name| match at {
                Value::Array(items) => &mut items[name.parse::<usize>().expect("a number")],
                at => &mut at[name.as_str()],
            });
            *at = extreme.clone();
            write(&changed);
            hold(folder, commands, &format!("{} is {extreme}", place.join(".")));
        }
    }
    write(value);
}

/// Holds commands to a file with each of its lines, and all of it, replaced by garbage.
fn replace_lines(folder: &Path, path: &Path, commands: &[&[&str]]) {
    let original = fs::read(path).expect("a file");
    let lines: Vec<&[u8]> = original.split_inclusive(|&byte| byte == b'\n').collect();
    for at in (0..lines.len()).step_by(lines.len().div_ceil(12)) {
        let half = &lines[at][..lines[at].len() / 2];
        let garbage: [&[u8]; 8] =
            [b"", b"\n", b"{}\n", b"null\n", b"[]\n", b"\0\xff\n", half, b"{\"a\": 1e999}\n"];
        for garbage in garbage {
            let changed = [&lines[..at].concat(), garbage, &lines[at + 1..].concat()].concat();
            fs::write(path, changed).expect("a file");
            let shown = String::from_utf8_lossy(garbage).into_owned();
            hold(folder, commands, &format!("{}, line {}: {shown:?}", path.display(), at + 1));
        }
    }
    fs::write(path, original).expect("a file");
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

#[test]
fn a_report_with_any_number_is_drawn_and_compared_or_refused() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, &["train", "x.json", "--out", "run", "--seeds", "2"]);
    printed(folder, &["train", "x.json", "--out", "other", "--seeds", "2", "--set", "seed=1"]);
    let commands: [&[&str]; 2] = [&["report", "run"], &["compare", "run", "other"]];
    let path = folder.join("run/report.json");
    let write = |value: &Value| fs::write(&path, value.to_string()).expect("a file");
    replace_numbers(folder, &json_of(&path), 2, &write, &commands);
    replace_lines(folder, &path, &commands);
    replace_lines(folder, &folder.join("run/predictions.csv"), &commands[1..]);
}

/// Asserts that commands refuse a file whose values at these places are others, each with its message.
fn refuse(
    folder: &Path,
    (path, value): (&Path, &Value),
    commands: &[&[&str]],
    cases: &[(&str, Value, &str)],
) {
    for (pointer, other, says) in cases {
        let mut changed = value.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let at = changed.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
        match at {
            Value::Array(items) => items[name.parse::<usize>().expect("a number")] = other.clone(),
            at => at[name] = other.clone(),
        }
        fs::write(path, changed.to_string()).expect("a file");
        for command in commands {
            let output = systoliq(folder, command);
            let message = String::from_utf8(output.stderr).expect("text");
            assert_eq!(output.status.code(), Some(2), "{command:?}, {pointer}: {message}");
            assert!(message.contains(says), "{command:?}, {pointer}: {message}");
        }
    }
    fs::write(path, value.to_string()).expect("a file");
    hold(folder, commands, "as it was");
}

#[test]
fn a_report_that_no_run_has_is_refused() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, &["train", "x.json", "--out", "run", "--seeds", "2"]);
    let commands: [&[&str]; 2] = [&["report", "run"], &["compare", "run", "run"]];
    let path = folder.join("run/report.json");
    let report = json_of(&path);
    let versions = ["x".into(), json!(-1), json!(1e300), json!(2), Value::Null]
        .map(|version| ("/schema_version", version, "schema_version"));
    refuse(folder, (&path, &report), &commands, &versions);
    let cases = [
        ("/energy_pj/total", json!(-1.0), "energy_pj.total: -1.0"),
        ("/energy_pj/by_component/dram", json!(-1.0), "energy_pj"),
        ("/energy_pj/by_pass/forward", json!(1.0), "energy_pj.by_pass: "),
        ("/energy_pj/float32_by_pass/update", json!(1.0), "energy_pj.float32_by_pass: "),
        ("/cycles/total", json!(0), "cycles.total: 0, expected 1 or more"),
        ("/cycles/by_pass/forward", json!(1), "cycles.by_pass: "),
        ("/layers/0/cycles", json!(1), "layers.cycles: "),
        ("/layers/0/energy_pj", json!(1.0), "layers.energy_pj: "),
        ("/utilization", json!(1.5), "utilization: 1.5, expected 0 to 1"),
        ("/macs", json!(0), "macs: 0"),
        ("/fixed/error_rate", json!([0.5, 0.5]), "fixed.error_rate: 2, expected as many"),
        ("/golden/loss_bits/0", json!(-1.0), "golden.loss_bits: "),
        ("/fixed/error_rate/0", json!(1.25), "fixed.error_rate: 1.25, expected 0 to 1"),
        ("/accuracy_loss", json!(0.75), "accuracy_loss: "),
        ("/seeds/1/seed", json!(1), "seeds.seed: "),
        ("/seeds/0/seed", json!(7), "seeds.0.seed: 7, expected 1"),
        ("/seeds/1/fixed/error_rate", json!(0.03), "seeds.1.fixed.right: "),
        ("/precision/0/saturation_rate", json!(2.0), "saturation_rate: 2.0, expected 0 to 1"),
        (
            "/precision/0/by_epoch/underflow_rate",
            json!([0.0]),
            "underflow_rate: 1, expected as many",
        ),
        ("/precision/0/name", json!("w0"), "precision: "),
        ("/comparison/epoch/1", json!(9), "comparison.epoch: "),
        ("/comparison/mismatch_rate", json!([0.5]), "comparison.mismatch_rate: 1"),
    ];
    refuse(folder, (&path, &report), &commands, &cases);
    // Those of another run.
    printed(folder, &["train", "x.json", "--out", "other", "--set", "training.rate=0.0001"]);
    fs::copy(folder.join("other/predictions.csv"), folder.join("run/predictions.csv")).unwrap();
    let output = systoliq(folder, commands[1]);
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("predictions.csv has"), "{message}");
}

#[test]
fn a_checkpoint_with_any_number_goes_on_or_is_refused() {
    let folder = folder();
    let folder = folder.path();
    let plan = [
        "--set=precision.gradients.scale=history",
        "--set=precision.activations={\"bits\": 8, \"max_overflow_rate\": 0.01, \"every_batches\": 2, \"scale\": \"overflow-rate\", \"frac\": 4}",
        "--set=training.momentum=0.5",
        "--set=training.epochs=2",
    ];
    let train = [&["train", "x.json", "--out", "run"][..], &plan].concat();
    printed(folder, &train);
    let resume = [&train[..], &["--resume"]].concat();
    let more = [&train[..], &["--resume", "--set=training.epochs=3"]].concat();
    let whole = CheckpointFiles::read(&folder.join("run"));
    let journal = folder.join("run/checkpoints/seed-1.jsonl");
    let state = journal.with_extension("state");
    let with = |change: &dyn Fn(&mut CheckpointFiles)| {
        let mut changed = whole.clone();
        change(&mut changed);
        changed.write();
    };
    let write_header = |value: &Value| with(&|files| files.header = value.clone());
    replace_numbers(folder, &whole.header, 1, &write_header, &[&resume]);
    let write_entry = |value: &Value| with(&|files| files.entries[1] = value.clone());
    replace_numbers(folder, &whole.entries[1], 2, &write_entry, &[&resume]);
    let write_latest = |value: &Value| with(&|files| files.latest = value.clone());
    replace_numbers(folder, &whole.latest, 2, &write_latest, &[&resume]);
    whole.write();
    hold(folder, &[&more], "whole");
    whole.write();
    replace_lines(folder, &journal, &[&resume]);
    replace_lines(folder, &state, &[&resume]);
    let (entry, latest) = ("entries", "latest");
    let refused: [(&str, &str, Value, &str); 9] = [
        (latest, "/record/fixed/right/test", json!("1:8"), "record.fixed.right: Some([1, 0])"),
        (
            latest,
            "/record/tensors/w0/frac",
            json!(65),
            "record.tensors.w0.frac: 65, expected -64 to 64",
        ),
        (entry, "/tensors/w0/conversion/elements", json!(u64::MAX), "w0.epochs[1]"),
        (entry, "/tensors/w0/overflowed_sums", json!(u64::MAX), "w0.epochs[1].overflowed"),
        (latest, "/record/timeline/0/1/calls", json!(u64::MAX), "record.timeline: write 0"),
        (latest, "/record/timeline/0/0/write", json!(999), "record.timeline: write 999"),
        (latest, "/record/steps", json!(3), "record.steps: 3, expected 8"),
        (entry, "/spent/cycles", json!(3), "record.spent"),
        (entry, "/fixed/test/errors", json!(17), "record.fixed.epochs[1].test.errors"),
    ];
    for (part, pointer, value, says) in refused {
        with(&|files| {
            let at = if part == entry { &mut files.entries[1] } else { &mut files.latest };
            let at = at.pointer_mut(pointer);
            *at.unwrap_or_else(|| panic!("{pointer}")) = value.clone();
        });
        let output = systoliq(folder, &resume);
        let message = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{pointer}: {message}");
        assert!(message.contains("seed-1.state") && message.contains(says), "{pointer}: {message}");
    }
    // Numbers that the network has no place for, or fewer.
    for change in [
        |numbers: &mut Vec<u8>| numbers.push(0),
        |numbers: &mut Vec<u8>| numbers.truncate(numbers.len() - 1),
    ] {
        with(&|files| change(&mut files.numbers));
        let output = systoliq(folder, &resume);
        let message = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("golden: its sizes are others"), "{message}");
    }
}

/// Changes an analysis, which its page is then not drawn by, and that is said.
fn drawn_by_the_store(
    folder: &Path,
    (path, analysis): (&Path, &Value),
    cases: &[(&str, Value, &str)],
) {
    let page = || {
        let output = systoliq(folder, &["report", "s"]);
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(output.status.success(), "{said}");
        (fs::read(folder.join("s/report.html")).expect("a page"), said)
    };
    fs::write(path, analysis.to_string()).expect("a file");
    let (right, nothing) = page();
    assert_eq!(nothing, "");
    for (pointer, value, says) in cases {
        let mut changed = analysis.clone();
        *changed.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
        fs::write(path, changed.to_string()).expect("a file");
        let (drawn, said) = page();
        assert!(drawn == right, "{pointer}: the page differs");
        assert!(said.starts_with("warning: s/analysis.json: ") && said.contains(says), "{said}");
    }
    fs::write(path, analysis.to_string()).expect("a file");
}

#[test]
fn a_store_and_an_analysis_with_any_number_go_on_or_are_refused() {
    let folder = folder();
    let folder = folder.path();
    let sweep = ["sweep", "s.json", "--out", "s"];
    printed(folder, &sweep);
    let resume = [&sweep[..], &["--resume"]].concat();
    let path = folder.join("s/points.jsonl");
    let store = fs::read_to_string(&path).expect("a file");
    let lines: Vec<&str> = store.lines().collect();
    let line: Value = serde_json::from_str(lines[1]).expect("JSON");
    let with = |line: &Value| [lines[0], &line.to_string(), lines[2], lines[3], ""].join("\n");
    let write = |line: &Value| fs::write(&path, with(line)).expect("a file");
    replace_numbers(
        folder,
        &line["outcome"],
        2,
        &|outcome| {
            let mut line = line.clone();
            line["outcome"] = outcome.clone();
            write(&line);
        },
        &[&resume, &["report", "s"]],
    );
    let refused: [(&str, Value, &str); 18] = [
        ("/energy_pj/by_pass/forward", json!(1.0), "energy_pj.by_pass: "),
        ("/energy_pj/float32_by_pass/forward", json!(1.0), "energy_pj.float32_by_pass: "),
        ("/fixed/test/loss/0", json!(-1.0), "fixed.test.loss: "),
        ("/golden/training_loss/0", json!(-1.0), "golden.training_loss: "),
        ("/tensors", json!([]), "tensors: 0, expected 1 or more"),
        ("/tensors/1/name", line["outcome"]["done"]["tensors"][0]["name"].clone(), "tensors[1]: "),
        ("/tensors/0/name", json!("other"), "tensors[0].name: \"other\""),
        ("/tensors/0/role", json!("master"), "tensors[0].role: \"master\""),
        ("/tensors/0/layer", json!(7), "tensors[0].layer: 7"),
        ("/tensors/0/format", json!("Q9.9"), "tensors[0].format: \"Q9.9\""),
        ("/macs", json!(0), "macs: 0, expected 1 or more"),
        ("/area_mm2", json!(1e300), "area_mm2: 1e300, expected "),
        (
            "/tensors/0/step_elements",
            json!(u64::MAX),
            "tensors[0].step_elements: 18446744073709551615",
        ),
        ("/tensors/0/bits", json!(0), "tensors[0].bits: 0, expected 8, as it is planned"),
        ("/fixed/test/errors/0", json!(17), "fixed.test.errors: 17, expected at most 16"),
        ("/cycles/total", json!(7), "cycles.by_cause"),
        ("/energy_pj/total", json!(1.0), "energy_pj.total: 1.0"),
        ("/utilization", json!(1.5), "utilization: 1.5, expected 0 to 1"),
    ];
    let key = line["key"].as_str().expect("a key");
    for (pointer, value, says) in refused {
        let mut changed = line.clone();
        let done = changed.pointer_mut("/outcome/done").expect("a run");
        *done.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        // Also as the last line, which would be dropped if it were cut short.
        for (number, store) in [
            (2, with(&changed)),
            (4, format!("{}\n{}\n{}\n{changed}\n", lines[0], lines[2], lines[3])),
        ] {
            fs::write(&path, store).expect("a file");
            let output = systoliq(folder, &resume);
            let message = String::from_utf8(output.stderr).expect("text");
            assert_eq!(output.status.code(), Some(2), "{pointer}: {message}");
            for part in [says, key, &format!("line {number} of the store")] {
                assert!(message.contains(part), "{pointer}: {message}");
            }
        }
    }
    fs::write(&path, &store).expect("a file");
    replace_lines(folder, &path, &[&resume, &["report", "s"]]);
    hold(folder, &[&resume], "as it was");
    let path = folder.join("s/analysis.json");
    let write = |value: &Value| fs::write(&path, value.to_string()).expect("a file");
    let analysis = json_of(&path);
    replace_numbers(folder, &analysis, 3, &write, &[&["report", "s"]]);
    let cases = [
        ("/points/0/costs/energy_pj", json!(1.0), "points[0].costs.energy_pj was "),
        ("/points/1/test/mean", json!(0.7), "points[1].test.mean was "),
        ("/fronts/cycles", json!([1, 0, 1]), "fronts.cycles"),
        ("/seeds", json!([1, 3]), "seeds[1] was 2 and is 3"),
        ("/name", json!("t"), "name was "),
    ];
    drawn_by_the_store(folder, (&path, &analysis), &cases);
    replace_lines(folder, &path, &[&["report", "s"]]);
    replace_lines(folder, &folder.join("s/sweep.json"), &[&resume]);
    let point = ["point", "x.json", "--out", "p"];
    printed(folder, &point);
    let path = fs::read_dir(folder.join("p/points")).expect("a folder").next().expect("a file");
    let path = path.expect("a file").path();
    let line = json_of(&path);
    let write = |value: &Value| fs::write(&path, format!("{value}\n")).expect("a file");
    replace_numbers(folder, &line, 1, &write, &[&point]);
    replace_lines(folder, &path, &[&point]);
}

#[test]
fn a_search_with_any_number_goes_on_or_is_refused() {
    let folder = folder();
    let folder = folder.path();
    let search = [
        "search",
        "x.json",
        "--loss-budget",
        "0.5",
        "--seeds",
        "2",
        "--held-back",
        "2",
        "--runs",
        "8",
        "--out",
        "f",
    ];
    printed(folder, &search);
    let resume = [&search[..], &["--resume"]].concat();
    let report: &[&str] = &["report", "f"];
    let path = folder.join("f/search.json");
    let write = |value: &Value| fs::write(&path, value.to_string()).expect("a file");
    replace_numbers(folder, &json_of(&path), 2, &write, &[report]);
    replace_lines(folder, &path, &[report]);
    let path = folder.join("f/starts.json");
    let write = |value: &Value| fs::write(&path, value.to_string()).expect("a file");
    replace_numbers(folder, &json_of(&path), 1, &write, &[&resume]);
    replace_lines(folder, &path, &[&resume]);
    replace_lines(folder, &folder.join("f/request.json"), &[&resume]);
    let path = folder.join("f/points.jsonl");
    let store = fs::read_to_string(&path).expect("a file");
    let (first, rest) = store.split_once('\n').expect("lines");
    let mut line: Value = serde_json::from_str(first).expect("JSON");
    line["outcome"]["done"]["tensors"][0]["step_elements"] = u64::MAX.into();
    fs::write(&path, format!("{line}\n{rest}")).expect("a file");
    let output = systoliq(folder, &resume);
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(
        message.contains("line 1 of the store") && message.contains("step_elements"),
        "{message}"
    );
}
