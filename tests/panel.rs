//! Machines of a panel against the same machines set outright; planted profiles; what is no run.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use systoliq_energy::Profile;
use systoliq_hardware::cost::Arithmetic;
use systoliq_program::Workers;
use systoliq_run::EngineKind;
use systoliq_run::timeline::Timeline;
use systoliq_study::Report;
use systoliq_study::panel::{Claim, MachinePanel, values};

use crate::shell;
use crate::support::{data, prepared, train};

/// Settings of runs that count differently.
const COUNTED: [&[(&str, &str)]; 7] = [
    &[],
    &[("training.momentum", "0.9"), ("training.rate", "0.05"), ("training.epochs", "2")],
    &[("precision.activations.scale", "dynamic"), ("precision.gradients.scale", "dynamic")],
    &[
        ("precision.weight_gradients.scale", "dynamic"),
        ("precision.logits.scale", "dynamic"),
        ("accelerator.update", "separate"),
    ],
    &[("accelerator.scratchpad.buffer_bytes", "16384"), ("accelerator.update", "fused")],
    &[("training.batch", "1197")],
    &[("precision.master", "null"), ("precision.residual", r#"{"bits": 8}"#)],
];

#[test]
fn what_a_training_counts_is_known_without_training() {
    let one = ("training.epochs", "1");
    for settings in COUNTED {
        let settings: Vec<_> = [one].into_iter().chain(settings.iter().copied()).collect();
        for name in ["digits-mlp", "digits-mxint8"] {
            if name == "digits-mxint8" && settings.len() > 1 && settings[1].0.contains("precision")
            {
                continue;
            }
            let prepared = prepared(name, &settings);
            let record = train(&prepared, 1, EngineKind::Fast, 1);
            let costs =
                prepared.costs(Arithmetic::Fixed, prepared.batches(Some(record.train_samples)));
            let runs = |timeline: &Timeline| -> Vec<_> {
                let entries = timeline.entries(&costs).unwrap();
                entries.into_iter().map(|entry| (entry.run, entry.calls)).collect()
            };
            let expected = Timeline::expected(&prepared, record.train_samples);
            assert_eq!(runs(&expected), runs(&record.timeline), "{name}, {settings:?}");
        }
    }
}

/// The panel of a run of the digits, with its report.
fn digits(settings: &[(&str, &str)]) -> (MachinePanel, Report) {
    let settings: Vec<_> = [("training.epochs", "1")].iter().chain(settings).copied().collect();
    let prepared = prepared("digits-mlp", &settings);
    let record = train(&prepared, 1, EngineKind::Fast, 1);
    let report = Report::new(&prepared, std::slice::from_ref(&record)).unwrap();
    let [alone, shared] = [Workers::default(), Workers::new(3)]
        .map(|workers| report.clone().with_panel(&prepared, &record, &workers));
    assert_eq!(alone.panel, shared.panel);
    let report = alone;
    (report.panel.clone().unwrap(), report)
}

/// The number of a machine.
fn number(panel: &MachinePanel, machine: [&str; 4]) -> usize {
    let place = |(number, (axis, value)): (usize, (usize, &str))| {
        let at = panel.axes[axis].values.iter().position(|known| known == value);
        number * panel.axes[axis].values.len() + at.unwrap_or_else(|| panic!("{value}: {panel:?}"))
    };
    machine.into_iter().enumerate().fold(0, |number, value| place((number, value)))
}

#[track_caller]
fn assert_close(found: f64, expected: f64, what: &str) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{what}: {found}, expected {expected}");
}

/// Energies in fixed point, on float32 and on bfloat16 hardware.
fn energies(report: &Report) -> [f64; 3] {
    let bfloat16 = &report.savings.float_hardware[2];
    assert_eq!(bfloat16.format, systoliq_energy::FloatFormat::Bfloat16);
    [report.energy_pj.total, report.energy_pj.float32_total, bfloat16.energy_pj].map(|pj| pj.0)
}

/// The energy on bfloat16 hardware with a float32 master, at as many PEs.
fn with_master(report: &Report) -> f64 {
    let mixed = &report.savings.float_hardware[4];
    assert_eq!(mixed.format, systoliq_energy::FloatFormat::Bfloat16);
    let text = serde_json::to_value(mixed).unwrap();
    assert_eq!((&text["master"], &text["equal"]), (&json!("float32"), &json!("array")), "{text}");
    mixed.energy_pj.0
}

#[test]
fn a_machine_of_the_panel_takes_what_the_same_machine_takes_that_is_set_outright() {
    let (panel, own) = digits(&[]);
    let [float32, bfloat16, mixed, bit, flow] = [
        Claim::LessThanFloat32,
        Claim::LessThanBfloat16,
        Claim::LessThanBfloat16Master,
        Claim::BitWorthMost,
        Claim::LeastDataflow,
    ]
    .map(|claim| panel.conclusion(claim).unwrap());
    let [fixed, on_float32, _] = energies(&own);
    assert_close(float32.figures[panel.own].unwrap(), on_float32 / fixed, "own");
    for (machine, settings) in [
        (
            ["HBM2", "no buffer", "lop macros", "horowitz45"],
            vec![("accelerator.dram.kind", "hbm2"), ("accelerator.scratchpad.buffer_bytes", "0")],
        ),
        (
            ["DDR4", "a 64 KB buffer", "lop macros", "nangate45-glitch"],
            vec![
                ("accelerator.dram.kind", "ddr4"),
                ("accelerator.scratchpad.buffer_bytes", "65536"),
                ("accelerator.energy", "nangate45-glitch"),
            ],
        ),
        (
            ["LPDDR4", "no buffer", "hp macros", "eyeriss-rel"],
            vec![
                ("accelerator.scratchpad.buffer_bytes", "0"),
                ("accelerator.energy", "eyeriss-rel"),
            ],
        ),
    ] {
        let at = number(&panel, machine);
        let what = format!("{machine:?}");
        let report = digits(&settings).1;
        let [fixed, on_float32, on_bfloat16] = energies(&report);
        assert_close(mixed.figures[at].unwrap(), with_master(&report) / fixed, &what);
        assert_close(float32.figures[at].unwrap(), on_float32 / fixed, &what);
        assert_close(bfloat16.figures[at].unwrap(), on_bfloat16 / fixed, &what);
        let machine =
            values(&panel.axes.iter().map(|axis| axis.values.len()).collect::<Vec<_>>(), at);
        let with = |more: &[(&str, &str)]| {
            let settings: Vec<_> = settings.iter().chain(more).copied().collect();
            energies(&digits(&settings).1)[0]
        };
        // What has one bit less, in the experiment.
        let saved = [
            ("weights", [("precision.weights.bits", "7")].to_vec()),
            ("activations", vec![("precision.activations.bits", "7")]),
            ("gradients", vec![("precision.gradients.bits", "7")]),
            ("weight_gradients", vec![("precision.weight_gradients.bits", "15")]),
            ("master", vec![("precision.master.bits", "15")]),
            ("accumulator", vec![("precision.accumulator.bits", "31")]),
        ];
        let saved = saved.map(|(name, less)| (name, 1.0 - with(&less) / fixed));
        let most = saved.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert_eq!(bit.answer_on(&machine), most.0, "{what}: {saved:?}");
        assert_close(bit.figures[at].unwrap(), most.1, &what);
        let flows =
            ["os", "ws", "is"].map(|flow| (with(&[("accelerator.array.dataflow", flow)]), flow));
        let mut sorted = flows;
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(flow.answer_on(&machine), sorted[0].1, "{what}: {flows:?}");
        assert_close(flow.figures[at].unwrap(), sorted[1].0 / sorted[0].0, &what);
    }
}

#[test]
fn a_buffer_for_all_is_the_least_kilobyte_that_leaves_nothing_in_dram_on_any_hardware() {
    let (panel, _) = digits(&[]);
    let all = panel.axes[1].values[2].clone();
    let kilobytes: u64 =
        all.trim_start_matches("a buffer for all (").trim_end_matches(" KB)").parse().unwrap();
    let worth = |kilobytes: u64| {
        let bytes = (kilobytes << 10).to_string();
        let prepared = prepared("digits-mlp", &[("accelerator.scratchpad.buffer_bytes", &bytes)]);
        let samples = data(&prepared, 1).train.len();
        let costs = prepared.costs(Arithmetic::FLOAT32, prepared.batches(Some(samples)));
        systoliq_hardware::buffer::BufferReport::new(&costs).unwrap().share()
    };
    assert_eq!(worth(kilobytes), 1.0, "{all}");
    assert!(worth(kilobytes - 1) < 1.0, "{all}");
}

#[test]
fn macros_of_a_panel_are_those_of_a_profile_that_has_them() {
    let (panel, _) = digits(&[]);
    let (with_hp, report) = digits(&[("accelerator.sram", "hp")]);
    let [fixed, on_float32, _] = energies(&report);
    let at = number(&panel, ["LPDDR4", "a 64 KB buffer", "hp macros", "horowitz45"]);
    let float32 = panel.conclusion(Claim::LessThanFloat32).unwrap();
    assert_close(float32.figures[at].unwrap(), on_float32 / fixed, "hp");
    // That is a machine of the same panel, stated otherwise.
    assert_eq!((with_hp.own, &with_hp.axes), (at, &panel.axes));
}

#[test]
fn a_figure_at_an_end_of_its_range_gives_the_ratio_of_a_profile_that_has_it() {
    let with = |path: &str, value: f64| {
        let mut profile = serde_json::to_value(Profile::horowitz45()).unwrap();
        *profile.pointer_mut(path).unwrap() = json!({
            "value": value, "unit": profile.pointer(path).unwrap()["unit"],
            "certainty": "derived", "source": "planted"
        });
        digits(&[("accelerator.energy", &profile.to_string())])
    };
    let (panel, _) = digits(&[]);
    let swing = panel.swings.iter().find(|swing| swing.figure == "dram.lpddr4.bit").unwrap();
    assert!(swing.stated);
    assert_eq!(swing.range, [4.0, 14.0]);
    for (end, value) in swing.range.into_iter().enumerate() {
        let [fixed, float32, bfloat16] = energies(&with("/dram/lpddr4/bit", value).1);
        assert_close(swing.float32[end], float32 / fixed, "float32");
        assert_close(swing.bfloat16[end], bfloat16 / fixed, "bfloat16");
    }
    assert_close(swing.moves, swing.float32[0] / swing.float32[1] - 1.0, "moves");
    // Where registers take much, a fifth of that moves ratios, and no source leaves a range.
    let (clocked, _) = with("/register/clock", 0.0838);
    let told = clocked.swings.iter().find(|swing| swing.figure == "register.clock").unwrap();
    assert!(!told.stated && (told.range[0] / 0.06704 - 1.0).abs() < 1e-9, "{told:?}");
    let [fixed, float32, _] = energies(&with("/register/clock", told.range[0]).1);
    assert_close(told.float32[0], float32 / fixed, "register.clock");
    assert!(clocked.swings.is_sorted_by(|a, b| a.moves >= b.moves));
    assert!(clocked.swings.iter().all(|swing| swing.moves > 0.05));
}

#[test]
fn machines_that_a_profile_cannot_price_are_left_out_and_counted() {
    // The table of macros begins at 1 KB; what prices all sizes alike has smaller ones.
    let (panel, _) =
        digits(&[("accelerator.scratchpad.a_bytes", "512"), ("accelerator.energy", "eyeriss-rel")]);
    assert_eq!((panel.machines, panel.left_out), (18, 72));
    let [conclusion, ..] = &panel.conclusions[..] else { panic!("{panel:?}") };
    assert_eq!(conclusion.machines, 18);
    let said = systoliq_study::panel::words::machines(&panel);
    assert!(said.ends_with("; 72 more cannot be priced"), "{said}");
}

/// A profile under another name, in which products of unequal widths are dear.
fn planted() -> String {
    let mut profile = serde_json::to_value(Profile::horowitz45()).unwrap();
    profile["name"] = json!("planted");
    profile["multiplier"]["law"]["gamma"]["value"] = json!(1e6);
    profile.to_string()
}

/// A folder with a sweep of weights of 8 and 12 bits beside activations, inputs and gradients of 12.
fn sweep() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut experiment = shell::experiment();
    for role in ["activations", "gradients"] {
        experiment["precision"][role] = json!({ "bits": 12 });
    }
    experiment["precision"]["input"] = json!("UQ1.11");
    experiment["precision"]["error"] = json!("Q2.10");
    experiment["precision"]["accumulator"] = json!({ "bits": 48 });
    let sweep = json!({
        "name": "8 or 12",
        "experiment": "x.json",
        "axes": [{ "path": "precision.weights.bits", "name": "bits", "values": [8, 12] }]
    });
    fs::write(folder.path().join("x.json"), shell::text(&experiment)).unwrap();
    fs::write(folder.path().join("s.json"), shell::text(&sweep)).unwrap();
    fs::write(folder.path().join("planted.json"), planted()).unwrap();
    shell::printed(folder.path(), &["sweep", "s.json", "--out", "s", "--margin", "1"]);
    folder
}

#[test]
fn a_planted_profile_in_which_12_bits_beat_8_is_named() {
    let folder = sweep();
    let panel = |more: &[&str]| {
        let arguments: Vec<&str> = ["panel", "s"].iter().chain(more).copied().collect();
        shell::printed(folder.path(), &arguments)
    };
    let line = |text: &str| {
        let line = text.lines().find(|line| line.contains("bits 8 takes least energy"));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let plain = line(&panel(&[]));
    assert!(plain.contains("within 100.00 points: holds in 90 of 90 ("), "{plain}");
    assert!(!plain.contains(';'), "{plain}");
    let planted = line(&panel(&["--profile", "planted.json"]));
    assert!(planted.contains(": holds in 90 of 108 ("), "{planted}");
    assert!(planted.contains("; bits 12 with planted (18: "), "{planted}");
    let json: Value =
        serde_json::from_str(&panel(&["--profile", "planted.json", "--json"])).unwrap();
    assert_eq!(json["machines"], 108);
    assert!(panel(&["--tables"]).lines().count() > 90);
}

#[test]
fn the_readme_says_in_which_machines_its_sweep_saves_how_much() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("bits").display().to_string();
    let sweep = [
        "sweep",
        "models/sweeps/digits-bits.json",
        "--out",
        &at,
        "--set",
        "axes[0].values=\"4..=5\"",
        "--set",
        "axes[1].values=[4, 6]",
        "--set",
        "seeds=1",
        // The cheapest is to be found whatever a seed loses.
        "--margin",
        "1",
    ];
    shell::printed(&shell::root(), &sweep);
    let json = shell::printed(&shell::root(), &["panel", &at, "--json"]);
    let panel: MachinePanel = serde_json::from_str(&json).unwrap();
    let cheapest = panel.conclusion(Claim::CheapestPoint).unwrap();
    assert_eq!(cheapest.answer, "bits 4, gradients 4");
    assert_eq!((cheapest.holds, cheapest.machines), (panel.machines, panel.machines));
    let [low, high] = cheapest.between.map(|share| format!("{:.1}", 100.0 * share));
    let own = 100.0 * cheapest.figures[panel.own].unwrap();
    let readme = fs::read_to_string(shell::root().join("README.md")).unwrap().replace('\n', " ");
    let said = [
        format!("On all {} machines of its [panel]", panel.machines),
        format!(
            "takes {low} to {high} % of what float32 hardware takes there, {own:.0} % on this one"
        ),
    ];
    said.iter().for_each(|said| assert!(readme.contains(said), "README.md: {said}"));
}

#[test]
fn batches_of_a_sweep_are_an_axis_of_its_panel() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = json!({
        "name": "batches",
        "experiment": "x.json",
        "axes": [
            { "path": "training.batch", "name": "batch", "values": [8, 64] },
            { "path": "precision.weights.bits", "name": "bits", "values": [6, 8] }
        ]
    });
    fs::write(folder.path().join("x.json"), shell::text(&shell::experiment())).unwrap();
    fs::write(folder.path().join("s.json"), shell::text(&sweep)).unwrap();
    shell::printed(folder.path(), &["sweep", "s.json", "--out", "s", "--margin", "1"]);
    let json = shell::printed(folder.path(), &["panel", "s", "--json"]);
    let panel: MachinePanel = serde_json::from_str(&json).unwrap();
    assert_eq!(panel.axes[4].values, ["batch 8", "batch 64"]);
    assert_eq!(panel.machines, 180);
    let cheapest = panel.conclusion(Claim::CheapestPoint).unwrap();
    assert_eq!((cheapest.answer.as_str(), cheapest.holds), ("bits 6", 180));
    assert!(panel.without_points.is_empty() && panel.untrained.is_empty(), "{panel:?}");
    // More samples a step write state less often.
    let ratio = &panel.conclusion(Claim::LessThanFloat32).unwrap().figures;
    assert!(ratio.chunks(2).all(|batches| batches[0] != batches[1]));
    shell::printed(folder.path(), &["report", "s"]);
    let page = fs::read_to_string(folder.path().join("s/report.html")).unwrap();
    assert!(page.contains("bits 6 takes least energy"));
}

#[test]
fn batches_without_points_and_batches_that_did_not_train_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sweep = json!({
        "name": "batches",
        "experiment": "x.json",
        "axes": [{ "path": "training.batch", "name": "batch", "values": [8, 16, 64] },
                 { "path": "precision.weights.bits", "name": "bits", "values": [6, 8] }]
    });
    fs::write(at.join("x.json"), shell::text(&shell::experiment())).unwrap();
    fs::write(at.join("s.json"), shell::text(&sweep)).unwrap();
    shell::printed(at, &["sweep", "s.json", "--out", "s", "--margin", "1"]);
    let analysis: Value =
        serde_json::from_str(&fs::read_to_string(at.join("s/analysis.json")).unwrap()).unwrap();
    let lost = |batch: u64| -> f64 {
        let points = analysis["points"].as_array().unwrap().iter();
        let points = points.filter(|point| point["settings"]["batch"] == batch);
        let lost = points.map(|point| point["validation"]["mean"].as_f64().unwrap());
        lost.fold(f64::INFINITY, f64::min)
    };
    // A margin that leaves points of some batches, and none of those that lose most.
    let mut batches = [8, 16, 64].map(|batch| (lost(batch), batch));
    batches.sort_by(|a, b| a.0.total_cmp(&b.0));
    let [(least, _), _, (most, worst)] = batches;
    assert!(least < most, "{batches:?}");
    let mut narrow = analysis.clone();
    narrow["within"] = json!({ "margin": (least + most) / 2.0, "cheapest": {} });
    fs::write(at.join("s/analysis.json"), narrow.to_string()).unwrap();
    let said = shell::printed(at, &["panel", "s"]);
    assert!(
        said.contains(&format!("batch {worst} ")) && said.contains("loses so little"),
        "{said}"
    );
}

/// What the command says of a folder that it refuses.
#[track_caller]
fn refused(folder: &Path, of: &str, says: &[&str]) {
    let output = shell::systoliq(folder, &["panel", of]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{of}: {said}");
    let errors = said.lines().filter(|line| !line.starts_with("warning: "));
    assert_eq!(errors.count(), 1, "{of}: {said}");
    says.iter().for_each(|word| assert!(said.contains(word), "{of}: {said}: expected {word}"));
}

#[test]
fn what_is_no_run_of_this_version_is_refused_with_one_message() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("x.json"), shell::text(&shell::experiment())).unwrap();
    shell::printed(at, &["train", "x.json", "--out", "run"]);
    let report: Value =
        serde_json::from_str(&fs::read_to_string(at.join("run/report.json")).unwrap()).unwrap();
    let with_file = shell::printed(at, &["panel", "run/report.json"]);
    assert_eq!(with_file, shell::printed(at, &["panel", "run"]));
    let expected = "expected the folder of a run or a sweep, as `systoliq train --out` or `systoliq sweep --out` makes it";
    refused(at, "none", &["none: no such folder", expected]);
    refused(at, "x.json", &["x.json is a file", expected]);
    fs::create_dir(at.join("empty")).unwrap();
    refused(at, "empty", &["holds no report.json", expected]);
    fs::create_dir(at.join("begun")).unwrap();
    fs::write(at.join("begun/sweep.json"), "{}").unwrap();
    refused(at, "begun", &["begun holds a sweep that has not ended: `systoliq sweep --resume`"]);
    let other = |change: &dyn Fn(&mut Value), says: &[&str]| {
        let mut changed = report.clone();
        change(&mut changed);
        fs::create_dir_all(at.join("other")).unwrap();
        fs::write(at.join("other/report.json"), changed.to_string()).unwrap();
        refused(at, "other", says);
    };
    let cycles = report["cycles"]["total"].to_string();
    other(&|report| report["semantics"] = json!(1), &["`semantics` 1, expected "]);
    other(
        &|report| drop(report.as_object_mut().unwrap().remove("semantics")),
        &["states no `semantics`"],
    );
    other(&|report| report["schema_version"] = json!(2), &["schema_version is 2, expected 3"]);
    other(
        &|report| report["experiment"]["accelerator"]["array"]["rows"] = json!(4),
        &[&cycles, "cycles, where this program counts"],
    );
    other(&|report| report["macs"] = json!(7), &["7 multiply-accumulates, expected a multiple of"]);
    other(
        &|report| report["experiment"]["accelerator"]["dram"]["kind"] = json!("hbm2"),
        &["pJ, where this program charges"],
    );
    other(
        &|report| report["experiment"]["training"]["batch"] = json!(0),
        &["other/report.json: experiment.training.batch"],
    );
}

#[test]
fn a_sweep_of_another_version_or_without_a_point_within_its_margin_is_refused() {
    let folder = sweep();
    let at = folder.path();
    let manifest = at.join("s/sweep.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut other: Value = serde_json::from_str(&text).unwrap();
    other["semantics"] = json!(1);
    fs::write(&manifest, other.to_string()).unwrap();
    refused(at, "s", &["sweep.json states `semantics` 1"]);
    fs::write(&manifest, text).unwrap();
    shell::printed(at, &["panel", "s"]);
    let analysis = at.join("s/analysis.json");
    let mut none: Value = serde_json::from_str(&fs::read_to_string(&analysis).unwrap()).unwrap();
    none["within"] = json!({ "margin": -2.0, "cheapest": {} });
    fs::write(&analysis, none.to_string()).unwrap();
    refused(at, "s", &["s: no point of the sweep loses at most -200.00 points"]);
}
