//! The command as a user meets it: what it prints, and with which exit status it ends.

use crate::shell;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The root of the workspace, where a user starts.
fn printed(arguments: &[&str]) -> String {
    shell::printed(&shell::root(), arguments)
}

#[test]
fn help_is_printed_for_every_command_with_an_example() {
    let help = printed(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<_> = commands.map_while(|line| line.split_whitespace().next()).collect();
    assert!(
        ["train", "compare", "gemm", "list", "precision", "check", "trace", "workload", "schema"]
            .iter()
            .all(|name| commands.contains(name))
    );
    for name in commands.into_iter().filter(|&name| name != "help") {
        let help = printed(&[name, "--help"]);
        assert!(help.contains(&format!("Usage: systoliq {name}")), "{help}");
        assert!(help.contains(&format!("\n  systoliq {name} ")), "{help}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_systoliq-under-test"))
        .args(["schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn causes_of_cycles_and_components_of_energy_add_up() {
    for sizes in [["1", "1", "1"], ["32", "64", "64"], ["9", "17", "5"], ["100", "3", "1000"]] {
        let [m, n, k] = sizes;
        let report = printed(&["gemm", "--m", m, "--n", n, "--k", k, "--cols", "5", "--json"]);
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let sum = |path: &str| -> f64 {
            let members = report.pointer(path).and_then(Value::as_object).expect(path);
            members.values().filter_map(Value::as_f64).sum()
        };
        let number = |path: &str| report.pointer(path).and_then(Value::as_f64).expect(path);
        let macs: f64 = sizes.iter().map(|size| size.parse::<f64>().expect("a number")).product();
        assert_eq!(number("/macs"), macs);
        assert_eq!(number("/cycles/total"), sum("/cycles/by_cause"));
        assert_eq!(number("/utilization"), macs / (40.0 * number("/cycles/total")));
        let (total, parts) = (number("/energy_pj/total"), sum("/energy_pj/by_component"));
        assert!((total - parts).abs() <= 1e-12 * total, "{report:#}");
        assert!(number("/energy_pj/float32_total") > total, "{report:#}");
    }
}

#[test]
fn check_and_list_agree_on_the_tensors() {
    let check = printed(&["check", "models/digits-mlp.json", "--json"]);
    let check: Value = serde_json::from_str(&check).expect("JSON");
    let list = printed(&["list", "models/digits-mlp.json"]);
    let mut parameters = 0;
    for layer in check["layers"].as_array().expect("layers") {
        for tensor in layer["tensors"].as_array().expect("tensors") {
            let (name, format) = (&tensor["name"], &tensor["format"]);
            let (name, format) =
                (name.as_str().expect("a name"), format.as_str().expect("a format"));
            let line = list.lines().find(|line| line.trim_start().starts_with(&format!("{name} ")));
            assert!(line.is_some_and(|line| line.contains(&format!(" {format}"))), "{name} {list}");
        }
        parameters += layer["parameters"].as_u64().expect("a number");
    }
    assert_eq!(parameters, 64 * 64 + 64 + 64 * 10 + 10);
    assert_eq!(check["parameters"], parameters);
    let part = |name: &str| check["data"][name].as_u64();
    let sizes = ["train", "validation", "test"].map(part);
    assert_eq!(sizes, [1197, 300, 300].map(Some));
}

#[test]
fn check_says_what_is_kept_for_the_backward_pass_and_where() {
    // 32 samples of 64 bytes, their 64 activations of a byte, and a bit of mask for each.
    let kept = |stash: &str| {
        let size = format!("accelerator.scratchpad.stash_bytes={stash}");
        let set = ["--set", "accelerator.scratchpad.buffer_bytes=0", "--set", &size];
        let text = printed(&[&["check", "models/digits-mlp.json"], &set[..]].concat());
        let line = text.lines().find(|line| line.starts_with("kept")).expect("what is kept");
        line.to_owned()
    };
    for (stash, expected) in [
        ("0", "0 in a stash of 0, 2304 spilled"),
        ("1024", "256 in a stash of 1024 (mask of y0), 2048 spilled"),
        ("4096", "2304 in a stash of 4096 (mask of y0, y0), 0 spilled"),
    ] {
        assert_eq!(kept(stash), format!("kept for the backward pass: 4352 bytes, {expected}"));
    }
}

#[test]
fn overrides_reach_the_plan_and_sections_may_be_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut experiment = shell::experiment();
    let network = experiment["network"].take();
    experiment["network"] = "parts/network.json".into();
    let write = |name: &str, value: &Value| {
        std::fs::write(folder.path().join(name), shell::text(value)).expect("a new file");
    };
    std::fs::create_dir(folder.path().join("parts")).expect("a new folder");
    write("x.json", &experiment);
    write("parts/network.json", &network);
    let set = ["check", "x.json", "--set", "precision.layers.1.weights=Q3.3", "--json"];
    let check: Value = serde_json::from_str(&shell::printed(folder.path(), &set)).expect("JSON");
    let formats = |layer: usize| -> Vec<&Value> {
        let tensors = check["layers"][layer]["tensors"].as_array().expect("tensors");
        let weights = tensors.iter().filter(|tensor| tensor["role"] == "weights");
        weights.map(|tensor| &tensor["format"]).collect()
    };
    assert_eq!(formats(0), ["Q1.7"]);
    assert_eq!(formats(1), ["Q3.3"]);
}

#[test]
fn every_accelerator_trains_and_says_what_it_chose() {
    let folder = shell::root().join("models/accelerators");
    for file in std::fs::read_dir(folder).expect("a folder") {
        let file = file.expect("a file").path();
        let set = format!("accelerator={}", file.display());
        let short = ["--set", "training.epochs=1"];
        let arguments = [&["train", "models/digits-mlp.json", "--set", &set], &short[..]].concat();
        let text = printed(&arguments);
        let is_auto = std::fs::read_to_string(&file).expect("JSON").contains("auto");
        assert_eq!(text.contains("\n dataflow: "), is_auto, "{text}");
    }
}

#[test]
fn documented_products_take_the_cycles_that_are_documented() {
    let sizes = ["gemm", "--m", "100", "--n", "50", "--k", "30", "--json"];
    let total = |more: &[&str]| -> Value {
        let report: Value = serde_json::from_str(&printed(&[&sizes, more].concat())).expect("JSON");
        let cycles = report.get("cycles").expect("cycles");
        cycles.get("total").unwrap_or(cycles).clone()
    };
    // The table of partial folds in docs/timing.md.
    for (dataflow, cycles) in [
        ("os", [4732, 4598, 4012, 3902, 2752, 2738]),
        ("ws", [3416, 3364, 3200, 3162, 2822, 2828]),
        ("is", [3744, 3676, 3336, 3294, 2622, 2642]),
    ] {
        let mut cycles = cycles.into_iter();
        for overlap in ["none", "double-buffered", "pipelined"] {
            for folds in ["full", "trimmed"] {
                let more = ["--dataflow", dataflow, "--overlap", overlap, "--partial-folds", folds];
                assert_eq!(Some(total(&more)), cycles.next().map(Value::from), "{more:?}");
            }
        }
    }
    assert_eq!(total(&["--dataflow", "auto"]), 3416);
    for (dataflow, cycles) in [("os", 4003), ("ws", 3415), ("is", 3743), ("auto", 3415)] {
        assert_eq!(total(&["--scalesim", "--dataflow", dataflow]), cycles, "{dataflow}");
    }
}

#[test]
fn formats_that_keep_nothing_are_warned_of_and_others_are_not() {
    let said = |set: &str| {
        let arguments = ["check", "models/digits-mlp.json", "--set", set];
        let output = shell::systoliq(&shell::root(), &arguments);
        assert_eq!(output.status.code(), Some(0));
        shell::remarks(&output.stderr)
    };
    for (set, expected) in [
        // Digits are from 0 to 1: they round to 0 where an ulp is 2, or are all cut to 0.004.
        (
            "precision.input=Q9.-1",
            "Q9.-1 keeps next to nothing of input `x` in layer 0: of 76608 values",
        ),
        ("precision.input=Q-7.15", "leave the range -0.00390625 to 0.003875732421875"),
        ("precision.weights=Q8.0", "Q8.0 keeps next to nothing of weights `w1` in layer 1: of 640"),
        ("precision.logits=Q2.24", "precision.softmax: exponents step by 0.0000152587890625"),
    ] {
        let said = said(set);
        let warned = said
            .lines()
            .any(|line| line.starts_with("warning: digits-mlp: ") && line.contains(expected));
        assert!(warned, "{said}");
    }
    for set in ["seed=1", "precision.input=Q2.2", "precision.weights.bits=5"] {
        assert_eq!(said(set), "", "{set}");
    }
}

#[test]
fn a_clipped_relu_is_checked_listed_and_trained() {
    let layers = r#"network.layers=[{"dense": {"units": 12}}, {"clipped_relu": {"max": 0.5}}, {"dense": {"units": 10}}]"#;
    let with = |command: &[&str]| {
        let set = ["models/digits-mlp.json", "--set", layers];
        printed(&[&command[..1], &set, &command[1..]].concat())
    };
    let checked = with(&["check"]);
    assert!(checked.contains("dense 64 -> 12, relu clipped at 0.5, "), "{checked}");
    let listed = with(&["list"]);
    assert!(listed.contains("y0 = min(relu(x * w0' + b0), 0.5)  ["), "{listed}");
    assert!(listed.contains("dz0 = dz1 * w1 where 0 < y0 < 0.5  ["), "{listed}");
    let report: Value =
        serde_json::from_str(&with(&["train", "--set", "training.epochs=8", "--json"])).unwrap();
    let [float, fixed] = ["golden", "fixed"]
        .map(|of| report[of]["error_rate"].as_array().unwrap().last().unwrap().as_f64().unwrap());
    assert!(float < 0.25 && fixed < 0.25, "{float} {fixed}");
}
