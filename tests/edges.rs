//! Faults at the edges: numbers of any size, sizes that are refused or computed at once, names of any
//! script, and text that would reach into a terminal.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use roxmltree::Document;
use serde_json::{Value, json};

use crate::shell::{experiment, printed, root, systoliq, text};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("x.json"), text(&experiment())).expect("a new file");
    folder
}

/// What a command says that has to refuse its input at once.
fn refused(folder: &Path, arguments: &[impl AsRef<str> + std::fmt::Debug]) -> String {
    let began = Instant::now();
    let output = systoliq(folder, arguments);
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert!(began.elapsed() < Duration::from_secs(3), "{arguments:?}: {:?}", began.elapsed());
    message
}

/// The distinct places of circles of a class, across or down.
fn places(svg: &str, coordinate: &str) -> usize {
    let document = Document::parse(svg).expect("XML");
    let marks = document.descendants().filter(|node| node.attribute("class") == Some("mark"));
    let shapes =
        marks.flat_map(|mark| mark.children().filter_map(|node| node.attribute(coordinate)));
    let mut found: Vec<&str> = shapes.collect();
    found.sort_unstable();
    found.dedup();
    found.len()
}

#[test]
fn losses_of_any_size_are_drawn_at_once_and_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let lms = root().join("models/lms.json");
    let sets = ["training.rate=0.45", "training.epochs=60", "dataset.train=100", "dataset.test=50"];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let train = ["train", lms.to_str().expect("text"), "--out", "div"].into_iter().chain(sets);
    printed(folder, &train.collect::<Vec<_>>());
    let report: Value =
        serde_json::from_slice(&fs::read(folder.join("div/report.json")).expect("a report"))
            .expect("JSON");
    let losses = report["golden"]["loss_bits"].as_array().expect("losses");
    let largest = losses.iter().filter_map(Value::as_f64).fold(0.0, f64::max);
    assert!(largest > 1e200, "golden diverges far: {largest:e}");
    let began = Instant::now();
    printed(folder, &["report", "div", "--svg", "svg"]);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let svg = fs::read_to_string(folder.join("svg/lms-learning-loss.svg")).expect("a figure");
    assert!(places(&svg, "cy") > 30, "{} places of losses", places(&svg, "cy"));
}

#[test]
fn costs_of_any_size_are_drawn_at_once() {
    let folder = folder();
    let folder = folder.path();
    let sweep = json!({
        "name": "s", "experiment": "x.json", "seeds": 2,
        "axes": [{ "path": "precision.weights.bits", "values": [4, 6, 8] }]
    });
    fs::write(folder.join("s.json"), text(&sweep)).expect("a new file");
    printed(folder, &["sweep", "s.json", "--out", "s"]);
    let path = folder.join("s/analysis.json");
    let original: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    for extreme in [f64::MAX, 0.0, 1e-300, f64::from_bits(1), -1.0] {
        for (pointer, of) in [("costs", "energy_pj"), ("test", "mean"), ("test", "ci95")] {
            let mut changed = original.clone();
            changed["points"][0][pointer][of] = extreme.into();
            fs::write(&path, changed.to_string()).expect("a file");
            let began = Instant::now();
            printed(folder, &["report", "s"]);
            let took = began.elapsed();
            assert!(took < Duration::from_secs(1), "{pointer}.{of} is {extreme:e}: {took:?}");
        }
    }
}

#[test]
fn a_product_of_any_length_takes_its_closed_form() {
    let folder = folder();
    let long = 1u64 << 34;
    let took = |flow: &str, sizes: [u64; 3], memory: &[&str]| -> u64 {
        let sizes = sizes.map(|size| size.to_string());
        let [m, n, k] = sizes.each_ref().map(String::as_str);
        let product = ["gemm", "--dataflow", flow, "--m", m, "--n", n, "--k", k, "--json"];
        let began = Instant::now();
        let report = printed(folder.path(), &[&product, memory].concat());
        assert!(began.elapsed() < Duration::from_secs(2), "{flow}: {:?}", began.elapsed());
        let report: Value = serde_json::from_str(&report).expect("JSON");
        report["cycles"]["total"].as_u64().expect("cycles")
    };
    // One fold: its steps, the skew over 8 x 8 PEs, and 8 rows that drain or are preloaded.
    for (flow, sizes) in [("os", [8, 8, long]), ("ws", [long, 8, 8]), ("is", [8, long, 8])] {
        assert_eq!(took(flow, sizes, &[]), long + 14 + 8, "{flow}");
    }
    let edge = root().join("models/accelerators/edge-16x16.json");
    let edge = ["--accelerator", edge.to_str().expect("text")];
    for (flow, sizes) in [("os", [8, 8, long]), ("ws", [long, 8, 8]), ("is", [8, long, 8])] {
        // Sixteen bytes a step of two operands, or of one and a result, at 25 bytes a cycle at most.
        assert!(took(flow, sizes, &edge) >= long, "{flow}");
    }
}

#[test]
fn grids_are_counted_before_they_are_built() {
    let folder = folder();
    let sweep = |axes: Value| {
        let sweep = json!({ "name": "s", "experiment": "x.json", "axes": axes });
        fs::write(folder.path().join("s.json"), text(&sweep)).expect("a new file");
    };
    let axis = |path: &str| json!({ "path": path, "values": "2..=1000001" });
    sweep(json!([axis("precision.weights.bits"), axis("precision.gradients.bits")]));
    for yes in [&[][..], &["--yes"]] {
        let message = refused(folder.path(), &[&["sweep", "s.json"], yes].concat());
        assert!(message.contains("1000000000000 points"), "{message}");
    }
    sweep(json!([axis("training.epochs")]));
    let seeds = ["sweep", "s.json", "--set", "seeds=2"];
    assert!(refused(folder.path(), &seeds).contains("1000000 points with 2 seeds"));
}

#[test]
fn no_more_jobs_are_started_than_there_are_runs() {
    let folder = folder();
    let folder = folder.path();
    let sweep = json!({
        "name": "s", "experiment": "x.json",
        "axes": [{ "path": "precision.weights.bits", "values": [4, 6, 8] }]
    });
    fs::write(folder.join("s.json"), text(&sweep)).expect("a new file");
    printed(folder, &["sweep", "s.json", "--out", "s", "--jobs", "65535"]);
    let timing = fs::read(folder.join("s/timing.json")).expect("a file");
    let timing: Value = serde_json::from_slice(&timing).expect("JSON");
    assert_eq!(timing["jobs"], 3);
}

#[test]
fn shapes_are_compared_before_data_are_made() {
    let folder = folder();
    let clusters = r#"--set=dataset={"kind": "clusters", "classes": 10, "features": 63, "spread": 1, "train": 2000000, "test": 100}"#;
    let message = refused(folder.path(), &["train", "x.json", clusters]);
    assert!(message.contains("63") && message.contains("64"), "{message}");
    let taps = vec!["0.5"; 64].join(",");
    let fir = format!(
        r#"--set=dataset={{"kind": "fir", "taps": [{taps}], "noise": 0, "train": 2000000, "test": 100}}"#
    );
    let message = refused(folder.path(), &["train", "x.json", &fir]);
    assert!(message.contains("class labels") && message.contains("real targets"), "{message}");
}

#[test]
fn sections_of_an_accelerator_start_from_their_defaults() {
    let folder = folder();
    let folder = folder.path();
    let resolved = |sets: &[&str]| -> Value {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let train = ["train", "x.json", "--json"].into_iter().chain(sets).collect::<Vec<_>>();
        let report: Value = serde_json::from_str(&printed(folder, &train)).expect("JSON");
        report["experiment"]["accelerator"].clone()
    };
    let dram = &resolved(&["accelerator.dram.bytes_per_cycle=16"])["dram"];
    let expected =
        json!({ "kind": "lpddr4", "burst_bytes": 32, "bytes_per_cycle": 16, "latency_cycles": 0 });
    assert_eq!(dram, &expected);
    let dram = &resolved(&["accelerator.dram.latency_cycles=9"])["dram"];
    assert_eq!(dram, &json!({ "kind": "lpddr4", "burst_bytes": 32, "latency_cycles": 9 }));
    let pads = &resolved(&["accelerator.scratchpad.a_bytes=4096"])["scratchpad"];
    let expected = json!({ "a_bytes": 4096, "b_bytes": 32768, "c_bytes": 32768, "stash_bytes": 0 });
    assert_eq!(pads, &expected);
    let message = refused(folder, &["train", "x.json", "--set", "accelerator.dram.kinds=1"]);
    assert!(message.contains("kinds"), "{message}");
}

#[test]
fn cycles_say_where_memory_is_not_limited() {
    let folder = folder();
    let folder = folder.path();
    let unlimited = "memory is not limited";
    let limited = ["--set", "accelerator.dram.bytes_per_cycle=1"];
    let table = printed(folder, &["train", "x.json"]);
    let stalls: Vec<&str> = table
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("cycles "))
        .skip(1)
        .take(5)
        .map(|line| line.split_whitespace().rev().nth(1).expect("a column"))
        .collect();
    assert_eq!((stalls, table.contains(unlimited)), (vec!["-"; 5], true), "{table}");
    let table = printed(folder, &[&["train", "x.json"][..], &limited].concat());
    assert!(table.contains(" stalls: reading") && !table.contains(unlimited), "{table}");
    let table = printed(folder, &["gemm", "--m", "8", "--n", "8", "--k", "8"]);
    assert!(table.contains(unlimited) && !table.contains("stall    0"), "{table}");
    let accelerator = json!({ "array": { "rows": 8, "cols": 8 } });
    fs::write(folder.join("a.json"), text(&accelerator)).expect("a new file");
    let alexnet = root().join("models/topologies/alexnet.csv");
    let workload = ["workload", alexnet.to_str().expect("text"), "--accelerator", "a.json"];
    let table = printed(folder, &workload);
    assert!(table.contains(unlimited) && table.contains("none of them stalls"), "{table}");
}

#[test]
fn names_of_every_script_and_of_any_length_become_files() {
    let folder = folder();
    let folder = folder.path();
    for (name, file) in [
        ("größe 精度", "größe-精度"),
        ("точность/8", "точность-8"),
        ("दो भाषा", "दो-भाषा"),
        (&"精".repeat(200), &"精".repeat(53)),
    ] {
        let _ = fs::remove_dir_all(folder.join("run"));
        printed(folder, &["train", "x.json", "--out", "run", "--set", &format!("name={name}")]);
        printed(folder, &["report", "run", "--svg", "svg"]);
        assert!(folder.join(format!("svg/{file}-learning-loss.svg")).is_file(), "{name}");
    }
    let long = format!("{}.html", "é".repeat(125));
    printed(folder, &["report", "run", "-o", &long]);
    assert!(folder.join(&long).is_file());
    let out = "o".repeat(255);
    printed(folder, &["train", "x.json", "--out", &out, "--counts", &"c".repeat(255)]);
    assert!(
        folder.join(out).join("report.json").is_file() && folder.join("c".repeat(255)).is_file()
    );
    printed(folder, &["train", "x.json", "--force", "--out", &"o".repeat(255)]);
}

#[test]
fn control_characters_reach_no_terminal() {
    let folder = folder();
    let folder = folder.path();
    let nasty = "a\u{1b}[31m\u{7}\u{9b}2J\u{202e}b";
    let sweep = |axis: Value| {
        let sweep = json!({ "name": "s", "experiment": "x.json", "axes": [axis] });
        fs::write(folder.join("s.json"), text(&sweep)).expect("a new file");
    };
    sweep(json!({ "name": nasty, "path": "name", "values": [format!("{nasty}1"), "2"] }));
    let topology = format!("name, M, N, K,\n{nasty}, 3, 4, 5,\n");
    fs::write(folder.join("t.csv"), topology).expect("a new file");
    fs::write(folder.join("a.json"), r#"{"array": {"rows": 8, "cols": 8}}"#).expect("a new file");
    printed(folder, &["train", "x.json", "--out", nasty]);
    let page = format!("{nasty}.html");
    let set = format!("precision.{nasty}=3");
    let name = format!("name={nasty}");
    let key = format!("name.{nasty}=3");
    let commands: [&[&str]; 12] = [
        &["report", nasty],
        &["report", nasty, "-o", &page],
        &["compare", nasty, nasty],
        &["train", "x.json", "--out", nasty],
        &["train", nasty],
        &["train", "x.json", "--set", &set],
        &["train", "x.json", "--set", &name],
        &["train", "x.json", "--set", &key],
        &["sweep", "s.json"],
        &["sweep", "s.json", "--json"],
        &["workload", "t.csv", "--accelerator", "a.json"],
        &["gemm", "--m", nasty, "--n", "1", "--k", "1"],
    ];
    for arguments in commands {
        let output = systoliq(folder, arguments);
        let raw = |text: &[u8]| {
            let text = String::from_utf8(text.to_vec()).expect("text");
            let raw = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
            assert!(!text.contains(raw), "{arguments:?}: {text:?}");
        };
        raw(&output.stdout);
        raw(&output.stderr);
        assert!(matches!(output.status.code(), Some(0..=2)), "{arguments:?}");
    }
    // JSON says the same as ever.
    let report = printed(folder, &["sweep", "s.json", "--json"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["axes"][0]["name"], nasty);
}
