//! `systoliq workload` and the figures behind it.

mod layers;

use crate::shell;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use serde_json::Value;
use systoliq_array::{Array, Dataflow};
use systoliq_hardware::{Accelerator, single::GemmWidths};
use systoliq_import::scalesim::Topology;
use systoliq_import::scalesim::topology::OutputSize;
use systoliq_program::GemmShape;
use systoliq_study::workload::{Workload, scalesim};

const TOPOLOGIES: [&str; 6] =
    ["alexnet", "resnet18", "resnet50", "vgg16", "mobilenet_v1", "bert_base"];

fn topology(name: &str) -> Topology {
    let path = shell::root().join(format!("models/topologies/{name}.csv"));
    Topology::parse(&fs::read_to_string(path).expect("a topology"))
        .expect("a topology that is read")
}

fn accelerator(array: Array) -> Accelerator {
    let json = serde_json::json!({ "array": array });
    serde_json::from_value(json).expect("an accelerator with defaults")
}

const WIDTHS: GemmWidths = GemmWidths { a: 8, b: 8, accumulator: 32, output: 8 };

fn lowered(topology: &Topology, size: OutputSize, training: bool) -> Workload {
    Workload::new(topology, size, training, WIDTHS).expect("possible widths")
}

#[test]
fn every_layer_of_every_topology_has_the_figures_that_scale_sim_reports() {
    let mut checked = 0;
    for name in TOPOLOGIES {
        let topology = topology(name);
        for (r, c) in [(8, 8), (16, 16), (32, 32), (128, 128), (8, 32), (64, 16)] {
            for dataflow in
                [Dataflow::OutputStationary, Dataflow::WeightStationary, Dataflow::InputStationary]
            {
                let array = Array { dataflow, ..Array::new(r, c).expect("a size in range") };
                let workload = lowered(&topology, OutputSize::Ceiling, false);
                for row in scalesim(&accelerator(array), &workload).expect("figures that fit") {
                    let GemmShape { m, k, n } = row.work.product().expect("a product");
                    let up = |extent: usize, side: usize| extent.div_ceil(side);
                    // The formulas as its users know them.
                    let (folds, cycles, reads_a, reads_b, writes) = match dataflow {
                        Dataflow::OutputStationary => {
                            let folds = up(m, r) * up(n, c);
                            let writes = m * n + folds * (r + c);
                            let cycles = folds * (k + r + c - 2) - 1;
                            (folds, cycles, m * k * up(n, c), k * n * up(m, r), writes)
                        }
                        Dataflow::WeightStationary => {
                            let folds = up(k, r) * up(n, c);
                            let cycles = folds * (m + 2 * r + c - 2) - 1;
                            (folds, cycles, m * k * up(n, c), k * n, m * n * up(k, r))
                        }
                        _ => {
                            let folds = up(k, r) * up(m, c);
                            let cycles = folds * (n + 2 * r + c - 2) - 1;
                            (folds, cycles, m * k, k * n * up(m, c), m * n * up(k, r))
                        }
                    };
                    let found = &row.scalesim;
                    let figures = [folds, cycles, reads_a, reads_b, writes].map(|at| at as u64);
                    let of =
                        [found.folds, found.cycles, found.a_reads, found.b_reads, found.c_writes];
                    assert_eq!(of, figures, "{name}, {row:?} on {r} x {c}");
                    let macs = m as f64 * n as f64 * k as f64;
                    let overall = macs / (cycles as f64 * (r * c) as f64);
                    assert!((found.overall_utilization / overall - 1.0).abs() < 1e-12, "{row:?}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 5000, "{checked} layers");
}

fn workload(folder: &Path, topology: &str, arguments: &[&str]) -> Output {
    let root = shell::root();
    let topology = root.join("models/topologies").join(topology);
    let accelerator = root.join("models/accelerators/cloud-128x128.json");
    let [topology, accelerator] =
        [&topology, &accelerator].map(|path| path.to_str().expect("a path in UTF-8"));
    let fixed = ["workload", topology, "--accelerator", accelerator];
    shell::systoliq(folder, &[&fixed, arguments].concat())
}

fn json(folder: &Path, topology: &str, arguments: &[&str]) -> Value {
    let output = workload(folder, topology, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a report")
}

#[test]
fn totals_are_sums_and_resnet_50_is_done_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let started = Instant::now();
    let report = json(folder.path(), "resnet50.csv", &[]);
    let seconds = started.elapsed().as_secs_f64();
    assert!(seconds < 1.0, "{seconds} s");
    let products = report["products"].as_array().expect("products");
    for key in ["cycles", "stall_cycles", "macs"] {
        let sum: u64 = products.iter().map(|row| row[key].as_u64().expect("a count")).sum();
        assert_eq!(report["total"][key], sum, "{key}");
    }
    assert_eq!(report["total"]["macs"], 3_857_973_248u64);
}

#[test]
fn training_makes_three_products_of_each_layer_but_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let macs = |arguments: &[&str]| {
        let report = json(folder.path(), "bert_base.csv", arguments);
        let first = &report["products"][0];
        (report["total"]["macs"].as_u64().expect("MACs"), first["macs"].as_u64().expect("MACs"))
    };
    let (forward, first) = macs(&[]);
    assert_eq!(macs(&["--training"]).0, 3 * forward - first);
}

/// The flow and the cycles of a product of these sizes on the small machine, and the rest of the run.
fn small(folder: &Path, [m, n, k]: [usize; 3], arguments: &[&str]) -> (String, u64) {
    fs::write(folder.join("net.csv"), format!("Layer, M, N, K,\nfc, {m}, {n}, {k},\n"))
        .expect("a file");
    let accelerator = shell::root().join("models/accelerators/edge-16x16.json");
    let accelerator = accelerator.to_str().expect("a path in UTF-8");
    let fixed = ["workload", "net.csv", "--accelerator", accelerator, "--json"];
    let output = shell::systoliq(folder, &[&fixed, arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let row = report.pointer("/products/0").or(report.pointer("/0/scalesim")).expect("a product");
    let flow = row["dataflow"].as_str().expect("a word").to_owned();
    (flow, row["cycles"].as_u64().expect("cycles"))
}

#[test]
fn auto_takes_the_dataflow_of_fewest_cycles_when_those_of_memory_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    // Without stalls ws takes 65,567 and the others 65,582.
    let vector = |flow: &str| small(folder.path(), [1, 1024, 1024], &["--dataflow", flow]);
    assert_eq!(["os", "ws", "is"].map(|flow| vector(flow).1), [66_431, 256_559, 66_431]);
    assert_eq!(vector("auto"), ("os".into(), 66_431));
}

/// SCALE-Sim knows no memory; its figures have the dataflow of the fewest of its own cycles, and our
/// traffic beside them is that of the same dataflow.
#[test]
fn figures_of_scale_sim_and_the_traffic_beside_them_are_of_one_dataflow() {
    let folder = tempfile::tempdir().expect("a folder");
    let sizes = [300, 32, 1000];
    assert_eq!(small(folder.path(), sizes, &["--dataflow", "auto"]).0, "ws");
    let scalesim = |flow: &str| {
        let arguments = ["--scalesim", "--csv", "reports", "--dataflow", flow];
        let found = small(folder.path(), sizes, &arguments);
        let access = folder.path().join("reports/DETAILED_ACCESS_REPORT.csv");
        (found, fs::read_to_string(access).expect("a report"))
    };
    let (auto, traffic) = scalesim("auto");
    let fixed = ["os", "ws", "is"].map(scalesim);
    assert_eq!(auto.0, "os");
    assert_eq!(fixed.iter().map(|((_, cycles), _)| *cycles).min(), Some(auto.1));
    assert_eq!(traffic, fixed[0].1);
    assert_ne!(traffic, fixed[1].1);
}

#[test]
fn reports_have_the_column_names_of_scale_sim_and_a_line_per_layer() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["--scalesim", "--dataflow", "ws", "--csv", "reports"];
    let output = workload(folder.path(), "alexnet.csv", &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let layers = topology("alexnet").layers.len();
    for (name, columns) in
        [("COMPUTE_REPORT.csv", 7), ("BANDWIDTH_REPORT.csv", 7), ("DETAILED_ACCESS_REPORT.csv", 19)]
    {
        let text = fs::read_to_string(folder.path().join("reports").join(name)).expect("a report");
        assert!(text.starts_with("LayerID, "), "{name}");
        assert!(text.lines().all(|line| line.split(',').count() == columns + 1), "{name}: {text}");
        assert_eq!(text.lines().count(), layers + 1, "{name}");
    }
    let access = fs::read_to_string(folder.path().join("reports/DETAILED_ACCESS_REPORT.csv"));
    let header = "LayerID, SRAM IFMAP Start Cycle, SRAM IFMAP Stop Cycle, SRAM IFMAP Reads, \
                  SRAM Filter Start Cycle, SRAM Filter Stop Cycle, SRAM Filter Reads, \
                  SRAM OFMAP Start Cycle, SRAM OFMAP Stop Cycle, SRAM OFMAP Writes, \
                  DRAM IFMAP Start Cycle, DRAM IFMAP Stop Cycle, DRAM IFMAP Reads, \
                  DRAM Filter Start Cycle, DRAM Filter Stop Cycle, DRAM Filter Reads, \
                  DRAM OFMAP Start Cycle, DRAM OFMAP Stop Cycle, DRAM OFMAP Writes,";
    assert_eq!(access.expect("a report").lines().next(), Some(header));
    let compute = fs::read_to_string(folder.path().join("reports/COMPUTE_REPORT.csv"));
    let compute = compute.expect("a report");
    let header = "LayerID, Total Cycles (incl. prefetch), Total Cycles, Stall Cycles, Overall Util %, \
                  Mapping Efficiency %, Compute Util %,";
    assert_eq!(compute.lines().next(), Some(header));
    // 3025 x 363 x 96 on 128 x 128: 3 folds of 3025 + 2 * 128 + 128 - 2 cycles, less one.
    let first = compute.lines().nth(1).expect("a layer");
    assert!(first.starts_with("0, 10220, 10220, 0, "), "{first}");
}

/// What SCALE-Sim 3.0.0 wrote into COMPUTE_REPORT.csv and, up to SRAM, DETAILED_ACCESS_REPORT.csv
/// for the topology and configuration of the test below: `python3 -m scalesim.scale -c 8x16.cfg
/// -t three.csv -l layout.csv`. The cycles with prefetch are left out.
const REPORTED: [(&str, [&str; 4], [&str; 4]); 3] = [
    (
        "os",
        [
            "391, 0, 26.97410485933504, 48.828125, 26.905293367346932",
            "123, 0, 1.4291158536585367, 4.8828125, 1.4175907258064517",
            "123, 0, 1.4291158536585367, 4.8828125, 1.4175907258064517",
            "61, 0, 5.122950819672131, 7.8125, 5.040322580645161",
        ],
        [
            "0, 1.0, 370.0, 1350, 1.0, 373.0, 2160, 26.0, 379.0, 692",
            "1, 1.0, 102.0, 225, 1.0, 102.0, 36, 8.0, 108.0, 121",
            "2, 1.0, 102.0, 225, 1.0, 102.0, 36, 8.0, 108.0, 121",
            "3, 1.0, 40.0, 40, 1.0, 49.0, 400, 46.0, 55.0, 34",
        ],
    ),
    (
        "ws",
        [
            "439, 0, 24.0247722095672, 52.734375, 18.83370535714285",
            "109, 0, 1.6126720183486238, 3.515625, 1.2555803571428572",
            "109, 0, 1.6126720183486238, 3.515625, 1.2555803571428572",
            "154, 0, 2.029220779220779, 62.5, 1.358695652173913",
        ],
        [
            "0, 9.0, 420.0, 1350, 1.0, 393.0, 540, 15.0, 427.0, 2000",
            "1, 9.0, 88.0, 225, 1.0, 63.0, 9, 15.0, 94.0, 50",
            "2, 9.0, 88.0, 225, 1.0, 63.0, 9, 15.0, 94.0, 50",
            "3, 9.0, 140.0, 40, 1.0, 132.0, 400, 15.0, 148.0, 50",
        ],
    ),
    (
        "is",
        [
            "399, 0, 26.43327067669173, 65.91796875, 20.282451923076927",
            "123, 0, 1.4291158536585367, 43.9453125, 0.9553328804347826",
            "123, 0, 1.4291158536585367, 43.9453125, 0.9553328804347826",
            "199, 0, 1.57035175879397, 6.25, 1.1363636363636365",
        ],
        [
            "0, 1.0, 358.0, 675, 9.0, 380.0, 1080, 15.0, 392.0, 2000",
            "1, 1.0, 101.0, 225, 9.0, 102.0, 18, 15.0, 116.0, 50",
            "2, 1.0, 101.0, 225, 9.0, 102.0, 18, 15.0, 116.0, 50",
            "3, 1.0, 168.0, 40, 9.0, 185.0, 400, 15.0, 184.0, 50",
        ],
    ),
];

pub(crate) const CONFIGURATION: &str = "\
    [general]\nrun_name = reported\n[architecture_presets]\nArrayHeight: 8\nArrayWidth: 16\n\
    IfmapSramSzkB: 6144\nFilterSramSzkB: 6144\nOfmapSramSzkB: 2048\nIfmapOffset: 0\n\
    FilterOffset: 10000000\nOfmapOffset: 20000000\nDataflow: os\n\
    [run_presets]\nInterfaceBandwidth: CALC\n";

const CONVOLUTION: &str = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, \
                           Channels, Num Filter, Strides,\n";

#[test]
fn reports_are_line_by_line_what_scale_sim_wrote_but_for_the_last_digits_of_shares() {
    let folder = tempfile::tempdir().expect("a folder");
    let layers = "Conv1, 11, 11, 3, 3, 3, 20, 2,\nConv2_DP, 7, 7, 3, 3, 2, 1, 1,\n\
                  FC, 1, 1, 1, 1, 40, 10, 1,\n";
    fs::write(folder.path().join("three.csv"), format!("{CONVOLUTION}{layers}")).expect("a file");
    for (dataflow, compute, access) in REPORTED {
        let config = CONFIGURATION.replace("Dataflow: os", &format!("Dataflow: {dataflow}"));
        fs::write(folder.path().join("8x16.cfg"), config).expect("a file");
        let arguments =
            ["workload", "three.csv", "--accelerator", "8x16.cfg", "--scalesim", "--csv", "out"];
        let output = shell::systoliq(folder.path(), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let cells = |name: &str| -> Vec<Vec<String>> {
            let text = fs::read_to_string(folder.path().join("out").join(name)).expect("a report");
            let cells = |line: &str| line.split(", ").map(str::to_owned).collect();
            text.lines().skip(1).map(cells).collect()
        };
        let found = cells("DETAILED_ACCESS_REPORT.csv");
        assert_eq!(found.len(), access.len(), "{dataflow}");
        for (found, reported) in found.iter().zip(access) {
            assert_eq!(found[..10].join(", "), reported, "{dataflow}");
        }
        let found = cells("COMPUTE_REPORT.csv");
        assert_eq!(found.len(), compute.len(), "{dataflow}");
        for (found, reported) in found.iter().zip(compute) {
            let reported: Vec<&str> = reported.split(", ").collect();
            assert_eq!(found[2..4], reported[..2], "{dataflow}");
            for (found, reported) in found[4..].iter().zip(&reported[2..]) {
                let [found, reported]: [f64; 2] = [found, *reported]
                    .map(|cell| cell.trim_end_matches(',').parse().expect("a number"));
                assert!((found / reported - 1.0).abs() < 1e-14, "{dataflow}: {found} {reported}");
            }
        }
    }
}

#[test]
fn a_depthwise_layer_of_too_many_lines_is_refused_in_reports_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let layer = "Wide_DP, 3, 3, 3, 3, 2000000, 1, 1,\n";
    fs::write(folder.path().join("wide.csv"), format!("{CONVOLUTION}{layer}")).expect("a file");
    fs::write(folder.path().join("8x16.cfg"), CONFIGURATION).expect("a file");
    let arguments = ["workload", "wide.csv", "--accelerator", "8x16.cfg", "--scalesim"];
    assert!(shell::systoliq(folder.path(), &arguments).status.success());
    let output = shell::systoliq(folder.path(), &[&arguments[..], &["--csv", "out"]].concat());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in ["Wide_DP", "2000000", "1048576"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_configuration_of_scale_sim_is_an_accelerator() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "[general]\nrun_name = small\n[architecture_presets]\nArrayHeight: 8\nArrayWidth: 8\n\
                  IfmapSramSzkB: 64\nFilterSramSzkB: 64\nOfmapSramSzkB: 64\nIfmapOffset: 0\n\
                  FilterOffset: 10000000\nOfmapOffset: 20000000\nDataflow: ws\nBandwidth: 10\n\
                  [run_presets]\nInterfaceBandwidth: USER\n";
    let topology = "Layer,M,N,K,\nonly, 100, 50, 30,\n";
    fs::write(folder.path().join("small.cfg"), config).expect("a file");
    fs::write(folder.path().join("one.csv"), topology).expect("a file");
    let arguments = ["workload", "one.csv", "--accelerator", "small.cfg", "--json"];
    let run = |more: &[&str]| -> Value {
        let output = shell::systoliq(folder.path(), &[&arguments, more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("a report")
    };
    assert_eq!(run(&["--scalesim"])[0]["scalesim"]["cycles"], 3415);
    let row = &run(&[])["products"][0];
    let (cycles, stall) = (row["cycles"].as_u64().unwrap(), row["stall_cycles"].as_u64().unwrap());
    assert_eq!(cycles - stall, 3416);
    assert!(stall > 0);
}

#[test]
fn what_is_wrong_is_refused_at_its_line_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, wanted) in [
        (String::new(), "one.csv"),
        ("Layer,M,N,K,\nfc, 1, 2,\n".to_owned(), "line 2"),
        ("Layer,M,N,K,\nfc, 1, -2, 3,\n".to_owned(), "line 2"),
        ("Layer,M,N,K,\nok, 1, 2, 3,\nfc, 1, two, 3,\n".to_owned(), "line 3"),
        ("Layer,M,N,K,\nfc, 1, 99999999999999999999999, 3,\n".to_owned(), "line 2"),
        (format!("{CONVOLUTION}c, 4, 4, 7, 7, 3, 8, 1,\n"), "line 2"),
        (format!("{CONVOLUTION}c, 4, 4, 3, 3, 3, 8, 0,\n"), "line 2"),
    ] {
        fs::write(folder.path().join("one.csv"), &text).expect("a file");
        let accelerator = shell::root().join("models/accelerators/lecture-8x8.json");
        let accelerator = accelerator.to_str().expect("a path in UTF-8");
        let arguments = ["workload", "one.csv", "--accelerator", accelerator, "--csv", "out"];
        let output = shell::systoliq(folder.path(), &arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {message}");
        assert!(message.contains(wanted), "{text}: {message}");
        assert!(!folder.path().join("out").exists());
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_without_waiting_for_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("8x16.cfg"), CONFIGURATION).expect("a file");
    fs::write(folder.path().join("one.csv"), "Layer,M,N,K,\nfc, 1, 2, 3,\n").expect("a file");
    for (topology, accelerator) in
        [("/dev/zero", "8x16.cfg"), ("one.csv", "/dev/zero.cfg"), (".", "8x16.cfg")]
    {
        let arguments = ["workload", topology, "--accelerator", accelerator];
        let output = shell::systoliq(folder.path(), &arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn scratchpads_beyond_the_energy_table_have_cycles_and_traffic_and_no_energy() {
    let folder = tempfile::tempdir().expect("a folder");
    let large = CONFIGURATION.replace("FilterSramSzkB: 6144", "FilterSramSzkB: 2097152");
    fs::write(folder.path().join("large.cfg"), large).expect("a file");
    fs::write(folder.path().join("one.csv"), "Layer,M,N,K,\nfc, 100, 20, 30,\n").expect("a file");
    let arguments = ["workload", "one.csv", "--accelerator", "large.cfg", "--json"];
    let output = shell::systoliq(folder.path(), &arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(
        message.contains("large.cfg: no energy: ") && message.contains("2147483648"),
        "{message}"
    );
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["total"]["energy_pj"], Value::Null);
    assert!(report["total"]["cycles"].as_u64() > Some(0));
    assert!(report["products"][0]["dram_bytes"][0].as_u64() >= Some(100 * 30));
}

#[test]
fn with_room_for_all_each_layer_moves_each_pixel_weight_and_output_once() {
    let folder = tempfile::tempdir().expect("a folder");
    // A map of 9 x 8 with 3 channels, 4 filters of 3 x 2, steps of 2: 4 x 4 outputs; all rows and all
    // columns are met.
    let layers = "a, 9, 8, 3, 2, 3, 4, 2,\nb, 9, 8, 3, 2, 3, 4, 2,\n";
    fs::write(folder.path().join("two.csv"), format!("{CONVOLUTION}{layers}")).expect("a file");
    let (image, weights, outputs) = (9 * 8 * 3, 3 * 2 * 3 * 4, 4 * 4 * 4);
    for dataflow in ["os", "ws", "is"] {
        let accelerator = serde_json::json!({
            "array": { "rows": 4, "cols": 5, "dataflow": dataflow },
            "dram": { "kind": "lpddr4", "burst_bytes": 1 },
        });
        fs::write(folder.path().join("hw.json"), accelerator.to_string()).expect("a file");
        let arguments = ["workload", "two.csv", "--accelerator", "hw.json", "--training", "--json"];
        let report: Value =
            serde_json::from_str(&shell::printed(folder.path(), &arguments)).expect("a report");
        for product in report["products"].as_array().expect("products") {
            let expected = match product["pass"].as_str().expect("a pass") {
                "forward" => [image, weights, outputs],
                "input_gradient" => [outputs, weights, image],
                // Masters have two bytes.
                "update" => [2 * weights, weights, 3 * weights],
                _ => [outputs, image, weights],
            };
            assert_eq!(product["dram_bytes"], serde_json::json!(expected), "{dataflow} {product}");
        }
    }
}
