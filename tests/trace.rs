//! `systoliq trace` as a user meets it: its files, what it prints, and its exit status.

use crate::shell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use wellen::SignalValueRef;
use wellen::simple::{Waveform, read};

fn trace(folder: &Path, arguments: &[&str]) -> Output {
    let experiment = shell::root().join("models/digits-mlp.json");
    let experiment = experiment.to_str().expect("a path in UTF-8");
    shell::systoliq(folder, &[&["trace", experiment], arguments].concat())
}

/// Runs it to its end, and returns what it printed.
fn traced(folder: &Path, arguments: &[&str]) -> String {
    let output = trace(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(shell::remarks(&output.stderr), "");
    String::from_utf8(output.stdout).expect("the command prints UTF-8")
}

/// The bits of some signals over all times of a file, from the first time that is traced.
fn signals(path: &Path, names: &[&str]) -> (Vec<u64>, BTreeMap<String, Vec<u64>>) {
    let mut wave: Waveform = read(path).expect("a trace");
    let hierarchy = wave.hierarchy();
    let named: Vec<_> = hierarchy
        .all_vars()
        .map(|var| (hierarchy[var].full_name(hierarchy), hierarchy[var].signal_ref()))
        .filter(|(name, _)| names.contains(&name.as_str()))
        .collect();
    assert_eq!(named.len(), names.len(), "{names:?} in {}", path.display());
    wave.load_signals(&named.iter().map(|(_, signal)| *signal).collect::<Vec<_>>());
    let times = wave.time_table().to_vec();
    let values = |(name, signal)| {
        let changes = wave.get_signal(signal).expect("a loaded signal").iter_changes();
        let mut values = vec![0; times.len()];
        for (at, value) in changes {
            let SignalValueRef::BitVec(bits) = value else { panic!("{name} is no vector") };
            let bits = bits.bit_string();
            values[at as usize..].fill(u64::from_str_radix(&bits, 2).unwrap_or_default());
        }
        (name, values)
    };
    let values = named.into_iter().map(values).collect();
    (times, values)
}

/// The codes of a tensor of a dump, of one byte each.
fn codes(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("a file of the dump");
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert!(String::from_utf8_lossy(&bytes[..header]).contains("1'"), "codes of one byte");
    bytes[header..].to_vec()
}

#[test]
fn a_product_is_traced_with_the_operands_that_it_has_in_its_step() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let experiment = shell::root().join("models/digits-mlp.json");
    let experiment = experiment.to_str().expect("a path in UTF-8");
    let train = ["train", experiment, "--set", "training.epochs=2", "--out", "run"];
    // The last step of the first epoch, with its short batch, and one of the second.
    for (step, batch) in [("37", 13), ("40", 32)] {
        let dump = [&train[..], &["--dump-step", step, "--force"]].concat();
        shell::printed(folder, &dump);
        let to_file = ["--op", "1.forward", "--step", step, "--format", "fst", "-o", "z1.fst"];
        traced(folder, &to_file);
        // Fold 0 of z1 = y0 * w1': row 0 of the array is fed the first row of y0.
        let names = ["array.edge.left.row0", "array.edge.left.row0_valid", "array.fold"];
        let (times, values) = signals(&folder.join("z1.fst"), &names);
        let [row, valid, fold] = names.map(|name| &values[name]);
        let fed: Vec<u8> = (0..times.len())
            .filter(|&at| valid[at] == 1 && fold[at] == 0)
            .map(|at| row[at] as u8)
            .collect();
        let y0 = codes(&folder.join(format!("run/dump-step-{step}/y0.npy")));
        assert_eq!(y0.len(), batch * 64);
        assert_eq!(fed, y0[..64], "step {step}");
        assert!(fed.iter().any(|&code| code != 0));
    }
}

#[test]
fn dumps_in_both_formats_have_the_same_cycles_and_signals() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    for format in ["vcd", "fst"] {
        let file = format!("dw1.{format}");
        let said = traced(
            folder,
            &["--op", "1.weight_gradient", "--step", "3", "--format", format, "-o", &file],
        );
        assert!(said.starts_with(&format!("{file}: digits-mlp, seed 1: 1.weight_gradient.dw1")));
        assert!(said.ends_with("cycles 0 to 863 of 0 to 863, 64 PEs\n"), "{said}");
    }
    let names = ["array.cycle", "array.row7.pe_7_7.acc", "array.edge.bottom.col3"];
    let vcd = signals(&folder.join("dw1.vcd"), &names);
    assert_eq!(vcd, signals(&folder.join("dw1.fst"), &names));
    assert!(vcd.0.iter().copied().eq(0..=864));
    assert!(vcd.1["array.row7.pe_7_7.acc"].iter().any(|&sum| sum != 0));
    // What was there is replaced, and nothing else is left.
    let before = fs::metadata(folder.join("dw1.vcd")).expect("a file").len();
    let part = ["--fold", "3", "--rows", "0..1", "--cols", "2..4", "--period-ps", "2500"];
    let fold = ["--op", "1.weight_gradient", "--format", "vcd", "-o", "dw1.vcd"];
    traced(folder, &[&fold[..], &part].concat());
    assert!(fs::metadata(folder.join("dw1.vcd")).expect("a file").len() < before / 10);
    let (times, _) = signals(&folder.join("dw1.vcd"), &["array.row0.pe_0_3.b"]);
    // Each fold takes 32 + 8 + 8 - 2 + 8 cycles.
    assert!(times.into_iter().eq((3 * 54..=4 * 54).map(|cycle| 2500 * cycle)));
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 2);
}

#[test]
fn text_is_printed_or_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let text = ["--op", "0.forward.y0", "--cycles", "10..12", "--cols", "0..3", "--format", "text"];
    let printed = traced(folder, &text);
    assert_eq!(printed.matches("\ncycle ").count(), 2);
    assert!(printed.contains("\ncycle 11: stream\n") && printed.is_ascii(), "{printed}");
    assert_eq!(printed.lines().last().map(|line| line.matches('|').count()), Some(2));
    traced(folder, &[&text[..], &["--out", "y0.txt"]].concat());
    assert_eq!(fs::read_to_string(folder.join("y0.txt")).expect("a file"), printed);
}

#[test]
fn what_the_run_does_not_have_is_refused_with_what_it_has_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    fs::create_dir(folder.join("taken")).expect("a new folder");
    let large = ["--set", "network.layers[0].dense.units=4096"];
    for (arguments, says) in [
        (
            &["--op", "y0"][..],
            "--op: no matrix product `y0` in a training step: there are 0.forward, 1.forward",
        ),
        (&["--op", "0.update"], "1.input_gradient, 1.weight_gradient, 0.weight_gradient"),
        (&["--op", "0.forward", "--step", "760"], "760 steps, numbered 0 to 759"),
        (&["--op", "0.forward", "--fold", "32"], "32 folds, numbered 0 to 31"),
        (&["--op", "0.forward", "--cycles", "0..2753"], "2752 cycles, numbered 0 to 2751"),
        (&["--op", "0.forward", "--cycles", "7..7"], "expected A..B"),
        (&["--op", "0.forward", "--cycles", "7"], "expected A..B"),
        (&["--op", "0.forward", "--rows", "0..9"], "rows 0..8"),
        (&["--op", "0.forward", "--fold", "1", "--cycles", "0..1"], "cannot be used with"),
        (&["--op", "0.forward", "--period-ps", "0"], "--period-ps"),
        (&["--op", "0.forward", "-o", "no/x.vcd"], "no such folder"),
        (&["--op", "0.forward", "-o", "taken"], "it is a folder"),
        (
            &[
                "--op",
                "0.weight_gradient",
                large[0],
                large[1],
                "--set",
                "accelerator.array.rows=1024",
                "--set",
                "accelerator.array.cols=1024",
            ],
            "expected at most 1073741824 PEs times cycles as vcd; take a part with --fold",
        ),
    ] {
        let to_file = if arguments.contains(&"-o") { &[][..] } else { &["-o", "x.vcd"] };
        let output = trace(folder, &[arguments, &["--format", "vcd"], to_file].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
    let wide = ["--op", "0.forward", "--format", "text", "--set", "accelerator.array.cols=17"];
    for (arguments, says) in [
        (&wide[..], "17 columns of PEs as text: a page holds 16; take a part with --cols"),
        (&["--op", "0.forward", "--format", "fst"], "expected -o FILE"),
        (
            &["--op", "0.forward", "--format", "png"],
            "[possible values: vcd, fst, text, perfetto, dramsim3, ramulator2, scalesim]",
        ),
    ] {
        let output = trace(folder, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 1);
}

/// Nothing stays on chip between commands.
const WITHOUT_BUFFER: [&str; 4] =
    ["--set", "accelerator.scratchpad.buffer_bytes=0", "--set", "accelerator.update=separate"];

/// With memory that is waited for, so that there is something to see.
const EDGE: [&str; 6] = {
    let [a, b, c, d] = WITHOUT_BUFFER;
    [a, b, c, d, "--set", "accelerator.dram.bytes_per_cycle=9"]
};

/// The report of one epoch in one step of all samples, whose steps are those that a trace shows.
fn report_of_a_step(folder: &Path) -> Value {
    let whole = ["--set", "training.batch=1197", "--set", "training.epochs=1"];
    let experiment = shell::root().join("models/digits-mlp.json");
    let experiment = experiment.to_str().expect("a path in UTF-8");
    let arguments = [&["train", experiment, "--json"], &EDGE[..], &whole].concat();
    let output = shell::systoliq(folder, &arguments);
    serde_json::from_slice(&output.stdout).expect("a report")
}

fn traced_step(folder: &Path, format: &str, file: &str) -> String {
    let whole = ["--set", "training.batch=1197", "--format", format, "-o", file];
    traced(folder, &[&EDGE[..], &whole].concat());
    fs::read_to_string(folder.join(file)).expect("a trace")
}

#[test]
fn a_timeline_accounts_for_every_cycle_of_the_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = report_of_a_step(folder.path());
    let text = traced_step(folder.path(), "perfetto", "step.json");
    let timeline: Value = serde_json::from_str(&text).expect("a timeline");
    let mut tracks: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    let mut stalls: BTreeMap<String, u64> = BTreeMap::new();
    for event in timeline["traceEvents"].as_array().expect("events") {
        let Some(cycle) = event["args"]["cycle"].as_u64() else { continue };
        let cycles = event["args"]["cycles"].as_u64().expect("a length");
        assert_eq!(event["ts"].as_f64().expect("a time"), cycle as f64 / 500.0);
        tracks.entry(event["tid"].as_u64().expect("a track")).or_default().push((cycle, cycles));
        if event["tid"] == 4 {
            *stalls.entry(event["name"].as_str().expect("a name").to_owned()).or_default() +=
                cycles;
        }
    }
    for (track, spans) in &mut tracks {
        spans.sort_unstable();
        let apart = spans.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0);
        assert!(apart, "spans of track {track} lie on each other");
    }
    assert_eq!(tracks.len(), 5);
    let total = report["cycles"]["total"].as_u64().expect("cycles");
    let sum = |track: u64| tracks[&track].iter().map(|(_, cycles)| cycles).sum::<u64>();
    assert_eq!((sum(1), sum(2)), (total, total));
    assert_eq!(sum(4), report["cycles"]["by_cause"]["stall"].as_u64().expect("stalls"));
    // Each cycle works or stalls, and is shown once: without overlap, folds leave no gap either.
    assert_eq!(sum(3) + sum(4), total);
    for tensor in report["dram_bytes"].as_array().expect("tensors") {
        for (what, key) in [("read", "read_stall_cycles"), ("write", "write_stall_cycles")] {
            let name = format!("{what} {}", tensor["tensor"].as_str().expect("a name"));
            let shown = stalls.get(&name).copied().unwrap_or(0);
            assert_eq!(shown, tensor[key].as_u64().expect("cycles"), "{name}");
        }
    }
}

#[test]
fn a_timeline_shows_what_lives_in_the_buffer_from_its_first_command_to_its_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let buffer = "accelerator.scratchpad.buffer_bytes=65536";
    let set = ["--set", "training.batch=1197", "--set", buffer];
    traced(folder.path(), &[&set[..], &["--format", "perfetto", "-o", "step.json"]].concat());
    let text = fs::read_to_string(folder.path().join("step.json")).expect("a trace");
    let timeline: Value = serde_json::from_str(&text).expect("a timeline");
    let events = timeline["traceEvents"].as_array().expect("events");
    let found = |phase: &str, name: &str| {
        let mut of = events.iter().filter(|event| event["ph"] == phase && event["name"] == name);
        let event = of.next().unwrap_or_else(|| panic!("{phase} of {name}"));
        assert!(of.next().is_none(), "{name} lives once");
        event["ts"].as_f64().expect("a time")
    };
    let command = |name: &str| {
        let event = events.iter().find(|event| event["tid"] == 2 && event["name"] == name);
        let event = event.unwrap_or_else(|| panic!("no {name}"));
        let from = event["ts"].as_f64().expect("a time");
        (from, from + event["dur"].as_f64().expect("a length"))
    };
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    let (_, end) = command("0.update.b0");
    for name in ["m0", "w0", "b0", "m1", "w1", "b1"] {
        assert!(found("b", name) == 0.0 && near(found("e", name), end), "{name} is state");
    }
    let (from, until) = (command("0.weight_gradient.dw0").0, command("0.update.m0").1);
    assert!(near(found("b", "dw0"), from) && near(found("e", "dw0"), until));
}

#[test]
fn bursts_are_those_that_are_charged_in_the_order_of_the_channel() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = report_of_a_step(folder.path());
    let bytes = |key: &str| -> u64 {
        let tensors = report["dram_bytes"].as_array().expect("tensors");
        tensors.iter().map(|tensor| tensor[key].as_u64().expect("bytes")).sum()
    };
    let (timed, loads) = (
        traced_step(folder.path(), "dramsim3", "timed.trc"),
        traced_step(folder.path(), "ramulator2", "loads.trc"),
    );
    let (mut reads, mut writes, mut last) = (0, 0, 0);
    for (timed, load) in timed.lines().zip(loads.lines()) {
        let words: Vec<&str> = timed.split(' ').collect();
        let [address, what, cycle] = words[..] else { panic!("{timed}") };
        let number = u64::from_str_radix(address.strip_prefix("0x").expect("hex"), 16);
        assert_eq!(number.expect("an address") % 32, 0, "{timed}");
        let cycle: u64 = cycle.parse().expect("a cycle");
        assert!(cycle >= last, "{timed} after cycle {last}");
        last = cycle;
        match what {
            "READ" => reads += 1,
            "WRITE" => writes += 1,
            _ => panic!("{timed}"),
        }
        let expected = if what == "READ" { "LD" } else { "ST" };
        assert_eq!(load, format!("{expected} {address}"));
    }
    assert_eq!(timed.lines().count(), loads.lines().count());
    assert_eq!((32 * reads, 32 * writes), (bytes("read"), bytes("written")));
    assert!(last < report["cycles"]["total"].as_u64().expect("cycles"));
}

#[test]
fn each_tile_of_a_result_is_written_to_a_place_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let product =
        ["--step", "1", "--op", "0.forward.y0", "--format", "ramulator2", "-o", "product.trc"];
    traced(folder.path(), &[&EDGE[..], &["--set", "training.batch=1197"], &product].concat());
    let text = fs::read_to_string(folder.path().join("product.trc")).expect("a trace");
    let written: Vec<&str> = text.lines().filter(|line| line.starts_with("ST")).collect();
    let places: BTreeSet<&str> = written.iter().copied().collect();
    assert_eq!(places.len(), written.len());
    // 150 x 8 tiles of 8 x 8 bytes, the last eight of 5 x 8, in two bursts each. A burst holds the mask
    // of four tiles.
    assert_eq!(written.len(), 150 * 8 * 2 + 150 * 8 / 4);
}

#[test]
fn a_second_copy_has_a_region_of_its_own_from_which_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let copies = [&WITHOUT_BUFFER[..], &["--set", "accelerator.layout=two-copies"]].concat();
    traced(folder.path(), &[&copies[..], &["--format", "perfetto", "-o", "step.json"]].concat());
    let text = fs::read_to_string(folder.path().join("step.json")).expect("a trace");
    let timeline: Value = serde_json::from_str(&text).expect("a timeline");
    let places = |name: &str, command: &str| -> BTreeSet<u64> {
        let events = timeline["traceEvents"].as_array().expect("events");
        let of = |event: &&Value| event["name"] == name && event["args"]["command"] == command;
        let bursts = events.iter().filter(of).flat_map(|event| {
            let number = |key: &str| event["args"][key].as_u64().expect("a number");
            (number("address")..number("address") + number("bytes")).step_by(32)
        });
        bursts.collect()
    };
    // 32 x 64 bytes of y0, twice, each from a multiple of 4 KB.
    let written = places("write y0", "0.forward.y0");
    let base = *written.first().expect("y0 is written");
    let region = |number: u64| -> BTreeSet<u64> {
        let from = base + 4096 * number;
        (from..from + 32 * 64).step_by(32).collect()
    };
    assert!(written.is_superset(&region(0)) && written.is_superset(&region(1)));
    // X · Wᵀ reads X against its layout, dZᵀ · X along it.
    assert_eq!(places("read y0", "1.forward.z1"), region(1));
    assert_eq!(places("read y0", "1.weight_gradient.dw1"), region(0));
}

#[test]
fn a_step_that_is_not_there_is_refused_with_what_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    for (arguments, wanted) in [
        (vec!["--op", "7.forward"], "0.forward.y0"),
        (vec!["--step", "760"], "numbered 0 to 759"),
        (vec!["--fold", "1"], "--fold goes with vcd, fst, text and scalesim, not perfetto"),
    ] {
        let all = [&["--format", "perfetto", "-o", "x.json"], &arguments[..]].concat();
        let output = trace(folder.path(), &all);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(wanted), "{message}");
        assert!(!folder.path().join("x.json").exists());
    }
}

#[test]
fn addresses_in_the_layout_of_scale_sim_are_those_of_the_matrices() {
    let folder = tempfile::tempdir().expect("a folder");
    let op = ["--op", "0.forward", "--format", "scalesim", "-o", "y0"];
    traced(folder.path(), &[&WITHOUT_BUFFER[..], &op].concat());
    let file = |name: &str| -> Vec<Vec<i64>> {
        let text = fs::read_to_string(folder.path().join("y0").join(name)).expect("a trace");
        let numbers =
            |line: &str| line.split(',').map(|cell| cell.parse().expect("a number")).collect();
        text.lines().map(numbers).collect()
    };
    // 32 x 64 times 64 x 64 on 8 x 8 PEs: 32 folds of 86 cycles.
    for (name, offset, elements, times) in [
        ("IFMAP", 0, 32 * 64, 8),
        ("FILTER", 10_000_000, 64 * 64, 4),
        ("OFMAP", 20_000_000, 32 * 64, 1),
    ] {
        let lines = file(&format!("{name}_SRAM_TRACE.csv"));
        assert_eq!(lines.len(), 32 * 86);
        let mut seen = vec![0; elements];
        for (cycle, line) in lines.iter().enumerate() {
            assert_eq!((line[0], line.len()), (cycle as i64, 9), "{name}");
            for address in line[1..].iter().filter(|&&address| address >= 0) {
                seen[(address - offset) as usize] += 1;
            }
        }
        assert!(seen.iter().all(|&seen| seen == times), "{name}: {seen:?}");
        let moved = file(&format!("{name}_DRAM_TRACE.csv"));
        // Each of them once, of a byte; with the results their mask, of a bit.
        let bytes = elements + if name == "OFMAP" { elements / 8 } else { 0 };
        assert_eq!(moved.iter().map(|line| line.len() - 1).sum::<usize>(), bytes, "{name}");
    }
    let first: Vec<i64> = vec![0, 0, -1, -1, -1, -1, -1, -1, -1];
    assert_eq!(file("IFMAP_SRAM_TRACE.csv")[0], first);
    // The first cycle with all columns: k = 7 of filter 0 to k = 0 of filter 7, which is at 7 * 64.
    let filters = (0..8).map(|at| 10_000_000 + at * 64 + 7 - at);
    assert_eq!(file("FILTER_SRAM_TRACE.csv")[7][1..], filters.collect::<Vec<i64>>());
}

/// What SCALE-Sim 3.0.0 wrote of 32 x 64 times 64 x 10 on 8 x 8 with stationary weights, in four
/// cycles as we count them: its first column is one more.
#[test]
fn addresses_with_stationary_weights_are_line_by_line_those_of_scale_sim() {
    let folder = tempfile::tempdir().expect("a folder");
    let stationary = "accelerator.array.dataflow=ws";
    let arguments = ["--set", stationary, "--op", "1.forward", "--format", "scalesim", "-o", "z1"];
    traced(folder.path(), &arguments);
    let text = fs::read_to_string(folder.path().join("z1/IFMAP_SRAM_TRACE.csv")).expect("a trace");
    let lines: Vec<&str> = text.lines().collect();
    for (cycle, reported) in [
        (8, "0,-1,-1,-1,-1,-1,-1,-1"),
        (16, "512,449,386,323,260,197,134,71"),
        (430, "-1,-1,-1,-1,-1,-1,-1,-1"),
        (855, "-1,-1,-1,-1,-1,-1,2046,1983"),
    ] {
        assert_eq!(lines[cycle], format!("{cycle},{reported}"));
    }
    assert_eq!(lines.len(), 864);
}
