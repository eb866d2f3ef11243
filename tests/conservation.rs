//! Every number of a report obeys its conservation law.

use crate::shell;
use crate::support::{WITHOUT_BUFFER, prepared, train};
use serde_json::Value;
use systoliq_energy::Profile;
use systoliq_run::EngineKind;
use systoliq_study::Report;

fn report(name: &str, overrides: &[(&str, &str)]) -> Value {
    let prepared = prepared(name, overrides);
    let record = train(&prepared, 1, EngineKind::Fast, 1);
    serde_json::to_value(Report::new(&prepared, &[record]).unwrap()).unwrap()
}

fn sum_u64(object: &Value) -> u64 {
    object.as_object().unwrap().values().map(|value| value.as_u64().unwrap()).sum()
}

fn sum_f64(object: &Value) -> f64 {
    object.as_object().unwrap().values().map(|value| value.as_f64().unwrap()).sum()
}

fn nearly(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

#[test]
fn causes_passes_components_and_layers_add_up_to_totals() {
    let two_epochs = ("training.epochs", "2");
    let stash = ("accelerator.scratchpad.stash_bytes", "4096");
    for (name, overrides) in [
        ("digits-mlp", vec![two_epochs]),
        ("digits-mlp", vec![two_epochs, ("precision.gradients.scale", "dynamic")]),
        ("digits-mlp", vec![two_epochs, ("accelerator.array", r#"{"rows": 5, "cols": 3}"#)]),
        ("digits-mlp", vec![two_epochs, ("training.batch", "1197")]),
        ("digits-mlp", [&WITHOUT_BUFFER[..], &[two_epochs, stash]].concat()),
    ] {
        let report = report(name, &overrides);
        let cycles = &report["cycles"];
        let total = cycles["total"].as_u64().unwrap();
        assert_eq!(sum_u64(&cycles["by_cause"]), total, "{overrides:?}");
        assert_eq!(sum_u64(&cycles["by_pass"]), total);
        for (pass, causes) in cycles["by_pass_and_cause"].as_object().unwrap() {
            assert_eq!(sum_u64(causes), cycles["by_pass"][pass].as_u64().unwrap(), "{pass}");
        }
        let layers = report["layers"].as_array().unwrap();
        let over_layers =
            |key: &str| layers.iter().map(|row| row[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!(over_layers("cycles"), total);
        assert_eq!(over_layers("stall_cycles"), cycles["by_cause"]["stall"].as_u64().unwrap());
        for path in ["/counts/macs", "/counts/a_reads", "/counts/accumulator_writes"]
            .into_iter()
            .chain(["/activity/zero_operand_macs", "/activity/a_toggles", "/activity/b_toggles"])
            .chain(["/activity/accumulator_toggles_sampled/macs"])
            .chain(["/scratchpad_rows/a/writes", "/scratchpad_rows/b/reads"])
            .chain(["/scratchpad_rows/c/reads", "/scratchpad_rows/c/writes"])
        {
            let of = |object: &Value| object.pointer(path).and_then(Value::as_u64).unwrap_or(0);
            assert!(of(&report) > 0, "{path}");
            assert_eq!(layers.iter().map(of).sum::<u64>(), of(&report), "{path}");
        }
        let stashed = overrides.iter().any(|(path, _)| path.ends_with("stash_bytes"));
        for path in ["/scratchpad_rows/stash/reads", "/scratchpad_rows/stash/writes"] {
            let of = |object: &Value| object.pointer(path).and_then(Value::as_u64).expect("rows");
            assert_eq!(of(&report) > 0, stashed, "{overrides:?}");
            assert_eq!(layers.iter().map(of).sum::<u64>(), of(&report), "{path}");
        }
        let energy = &report["energy_pj"];
        let total_energy = energy["total"].as_f64().unwrap();
        assert!(nearly(sum_f64(&energy["by_component"]), total_energy));
        assert!(nearly(sum_f64(&energy["by_pass"]), total_energy));
        let float32 = energy["float32_total"].as_f64().unwrap();
        assert!(nearly(sum_f64(&energy["float32_by_component"]), float32));
        assert!(nearly(sum_f64(&energy["float32_by_pass"]), float32));
        let over_layers = |key: &str| layers.iter().map(|row| row[key].as_f64().unwrap()).sum();
        assert!(nearly(over_layers("float32_energy_pj"), float32));
        let layer_energy: f64 = over_layers("energy_pj");
        assert!(nearly(layer_energy, total_energy), "{layer_energy} {total_energy}");
        let float32 = energy["float32_total"].as_f64().unwrap();
        assert!(nearly(sum_f64(&energy["float32_by_component"]), float32));
        assert!(float32 > total_energy);
    }
}

#[test]
fn rates_of_epochs_are_those_of_shorter_runs_and_average_to_those_of_the_run() {
    let of = |epochs: &str| {
        let overrides =
            [("training.epochs", epochs), ("precision.weights", r#"{"bits": 5, "frac": 5}"#)];
        report("digits-mlp", &overrides)["precision"].as_array().unwrap().clone()
    };
    let (one, three) = (of("1"), of("3"));
    let mut uneven = 0;
    for (short, long) in one.iter().zip(&three) {
        let epochs = &long["by_epoch"];
        for key in ["saturation_rate", "underflow_rate", "accumulator_overflow_rate"] {
            // Every epoch converts as many elements.
            let rates: Vec<f64> =
                epochs[key].as_array().unwrap().iter().map(|rate| rate.as_f64().unwrap()).collect();
            assert_eq!(rates.len(), 3);
            let mean = rates.iter().sum::<f64>() / 3.0;
            assert!((mean - long[key].as_f64().unwrap()).abs() < 1e-12, "{long}");
            uneven += usize::from(rates.iter().any(|rate| *rate != rates[0]));
        }
        for key in ["sqnr_db", "saturation_rate", "underflow_rate", "stalled_rate"] {
            assert_eq!(short["by_epoch"][key][0], short[key], "{key} of {short}");
            assert_eq!(short["by_epoch"][key][0], epochs[key][0], "{key} of {short}");
        }
    }
    assert!(uneven > 5, "{uneven} series tell epochs apart");
}

#[test]
fn toggles_are_counted_as_told() {
    let activity = |toggles: &str| {
        let overrides = [("training.epochs", "4"), ("accelerator.toggles", toggles)];
        report("digits-mlp", &overrides)["activity"].clone()
    };
    assert_eq!(activity("off"), Value::Null);
    let (sampled, exact) = (activity("sampled"), activity("exact"));
    for key in ["zero_operand_macs", "a_toggles", "b_toggles"] {
        assert_eq!(sampled[key], exact[key], "{key}");
    }
    let sample = &sampled["accumulator_toggles_sampled"];
    // Steps 0, 64 and 128 of 152, all of them of 32 samples.
    assert_eq!(sample["macs"], 3 * 32 * (2 * 64 * 64 + 3 * 64 * 10));
    let per_mac = |toggles: &Value, macs: u64| toggles.as_f64().unwrap() / macs as f64;
    let all = per_mac(&exact["accumulator_toggles"], 4 * 1197 * (2 * 64 * 64 + 3 * 64 * 10));
    let some = per_mac(&sample["toggles"], sample["macs"].as_u64().unwrap());
    assert!((some / all - 1.0).abs() < 0.1, "{some} in some steps, {all} in all");
}

#[test]
fn ratios_are_of_as_many_steps_as_told() {
    let found = |steps: &str| {
        let overrides = [("training.epochs", "2"), ("training.sqnr", steps)];
        report("digits-mlp", &overrides)["precision"].as_array().unwrap().clone()
    };
    let (sampled, exact) = (found("sampled"), found("exact"));
    let mut others = 0;
    for (some, all) in sampled.iter().zip(&exact) {
        let elements = all["elements"].as_u64().unwrap();
        assert_eq!(all["sqnr_elements"], elements, "{all}");
        // Steps 0, 16, 32, 48 and 64 of 76, of which 37 and 75 have 13 samples instead of 32.
        let sampled_elements = some["sqnr_elements"].as_u64().unwrap();
        let of_batches = elements * 5 * 32 == sampled_elements * (74 * 32 + 2 * 13);
        assert!(of_batches || elements * 5 == sampled_elements * 76, "{some}");
        assert!(some.get("sqnr_db").is_none() && all.get("sqnr_db_sampled").is_none());
        others += usize::from(some["sqnr_db_sampled"] != all["sqnr_db"]);
        // Of an epoch alone, too, and nothing else depends on it.
        assert_eq!(some["by_epoch"]["sqnr_db_sampled"].as_array().unwrap().len(), 2);
        for key in ["saturation_rate", "underflow_rate", "stalled_rate", "last_format"] {
            assert_eq!(some[key], all[key], "{key}");
        }
    }
    assert!(others > 5, "{others} ratios differ");
}

#[test]
fn what_a_sample_of_steps_does_not_see_is_not_called_exact() {
    let printed = |steps: &str| {
        let sqnr = format!("training.sqnr={steps}");
        let set = ["--set", "training.epochs=2", "--set", &sqnr];
        let args = [&["train", "models/digits-mlp.json"], &set[..]].concat();
        let text = shell::printed(&shell::root(), &args);
        let is = |line: &&str| line.starts_with("  dw0 ") && line.contains("history of");
        let line = text.lines().find(is).unwrap().to_owned();
        (line, text.contains("SQNR of 1 step of 16, which tells little of the rest"))
    };
    let ((exact, told), (sampled, told_so)) = (printed("exact"), printed("sampled"));
    assert!(exact.contains(" 20.2 ") && !told, "{exact}");
    assert!(sampled.contains(" none seen ") && told_so, "{sampled}");
}

#[test]
fn macs_are_m_k_n_over_all_calls_and_follow_from_the_network() {
    // Static scales, so that no GEMM's output takes a second pass.
    let formats = [
        ("activations", "UQ3.5"),
        ("logits", "Q6.2"),
        ("gradients", "Q2.6"),
        ("weight_gradients", "Q2.14"),
    ];
    let paths = formats.map(|(role, format)| (format!("precision.{role}"), format));
    let mut overrides: Vec<_> =
        paths.iter().map(|(path, format)| (path.as_str(), *format)).collect();
    overrides.push(("training.epochs", "3"));
    let report = report("digits-mlp", &overrides);
    let macs = report["macs"].as_u64().unwrap();
    let number = |row: &Value, key: &str| row[key].as_u64();
    let mut over_layers = 0;
    for row in report["layers"].as_array().unwrap() {
        if let (Some(m), Some(n), Some(k)) = (number(row, "m"), number(row, "n"), number(row, "k"))
        {
            over_layers += m * n * k * number(row, "calls").unwrap();
            let folds = m.div_ceil(8) * n.div_ceil(8) * number(row, "calls").unwrap();
            assert_eq!(number(row, "folds").unwrap(), folds);
            assert_eq!(number(row, "cycles").unwrap(), folds * (2 * 8 + 8 + k - 2), "{row}");
        }
    }
    assert_eq!(macs, over_layers);
    // Forward and weight gradient of both layers, input gradient of the last.
    assert_eq!(macs, 3 * 1197 * (2 * 64 * 64 + 3 * 64 * 10));
    let cycles = report["cycles"]["total"].as_u64().unwrap();
    let utilization = report["utilization"].as_f64().unwrap();
    assert!(nearly(utilization, macs as f64 / (64.0 * cycles as f64)));
}

#[test]
fn a_dynamic_scale_is_charged_and_a_history_scale_only_at_its_first_step() {
    let vector = |scale: &str, epochs: &str| {
        let overrides = [("training.epochs", epochs), ("precision.gradients.scale", scale)];
        report("digits-mlp", &overrides)["cycles"]["by_cause"]["vector"].as_u64().unwrap()
    };
    // One pass of the vector unit over a batch of 32 or 13 rows of 64 on 8 lanes.
    let pass = |rows: u64| (rows * 64).div_ceil(8) + 4;
    let steps = 37 * pass(32) + pass(13);
    assert_eq!(vector("dynamic", "1"), vector("history", "1") + steps - pass(32));
    assert_eq!(vector("dynamic", "2"), vector("history", "2") + 2 * steps - pass(32));
}

#[test]
fn second_registers_and_guard_bits_take_no_cycle_but_energy() {
    let run = |dataflow: &str, accumulator: &str| {
        let overrides = [
            ("training.epochs", "1"),
            ("accelerator.array.dataflow", dataflow),
            ("precision.accumulator", accumulator),
        ];
        report("digits-mlp", &overrides)
    };
    let component =
        |report: &Value, name: &str| report["energy_pj"]["by_component"][name].as_f64().unwrap();
    for dataflow in ["os", "ws", "is"] {
        let plain = run(dataflow, r#"{"bits": 32}"#);
        let single = run(dataflow, r#"{"bits": 32, "chunk": 1}"#);
        let late = run(dataflow, r#"{"bits": 32, "overflow": "saturate", "overflow_at": "end"}"#);
        assert_eq!(single["cycles"], plain["cycles"]);
        assert_eq!(late["cycles"], plain["cycles"]);
        // Each product, and each dZ of a bias gradient, is summed from zero, and then added.
        let sums = plain["macs"].as_u64().unwrap() + 1197 * (64 + 10);
        let more = component(&single, "adder") - component(&plain, "adder");
        assert!(nearly(more, (Profile::horowitz45().add(32) * sums).0), "{dataflow}: {more}");
        for other in [&single, &late] {
            assert!(component(other, "registers") > component(&plain, "registers"), "{dataflow}");
            // Partial sums pass the scratchpad only where they move.
            let [scratchpad, before] = [other, &plain].map(|run| component(run, "scratchpad"));
            assert_eq!(scratchpad > before, dataflow != "os", "{dataflow}");
            assert_eq!(component(other, "dram"), component(&plain, "dram"));
        }
        // Sums of chunks that wrap are sums that wrap, and so is what wraps at the end.
        let curves = |run: &Value| run["fixed"].clone();
        assert_eq!(curves(&single), curves(&plain));
        let wrapped = run(dataflow, r#"{"bits": 32, "overflow_at": "end"}"#);
        assert_eq!(wrapped["energy_pj"], plain["energy_pj"]);
        assert_eq!(curves(&wrapped), curves(&plain));
    }
}

/// Bytes read and written of each tensor of a run over one epoch.
fn traffic(overrides: &[(&str, &str)]) -> std::collections::BTreeMap<String, (u64, u64)> {
    let overrides = [&[("training.epochs", "1")], &WITHOUT_BUFFER[..], overrides].concat();
    let report = report("digits-mlp", &overrides);
    let of = |row: &Value| {
        let bytes = |key: &str| row[key].as_u64().unwrap();
        (row["tensor"].as_str().unwrap().to_owned(), (bytes("read"), bytes("written")))
    };
    report["dram_bytes"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn what_stays_on_chip_for_the_next_command_is_not_fetched_by_it() {
    let (all, kept) = (traffic(&[]), traffic(&[("accelerator.residency", "keep-if-next")]));
    for (tensor, moved) in &all {
        let found = kept.get(tensor).copied().unwrap_or_default();
        match tensor.as_str() {
            // The next command alone reads logits.
            "z1" => assert_eq!(found, (0, 0), "{tensor}"),
            // Read by the next command and by others; written all the same.
            "y0" | "dz1" | "dz0" | "dw0" | "dw1" | "db0" | "db1" => {
                assert!(found.0 <= moved.0 && found.1 <= moved.1, "{tensor}: {found:?} {moved:?}");
            }
            _ => assert_eq!(found, *moved, "{tensor}"),
        }
    }
    assert!(kept["y0"].0 < all["y0"].0 && kept["y0"].1 == all["y0"].1);
}

#[test]
fn second_copies_are_written_where_an_operand_is_read_across_its_layout() {
    let (one, two) = (traffic(&[]), traffic(&[("accelerator.layout", "two-copies")]));
    for (tensor, (read, written)) in &one {
        let (again, written_again) = two[tensor];
        assert_eq!(again, *read, "{tensor}");
        // Forward reads X and W against their layout, the input gradient dZ.
        let twice = match tensor.as_str() {
            // The mask of y0 has one copy.
            "y0" => 2 * written - 1197 * 64 / 8 - 3 * 8,
            "w0" | "w1" | "dz1" => 2 * written,
            _ => *written,
        };
        assert_eq!(written_again, twice, "{tensor}");
    }
}

#[test]
fn an_order_of_folds_moves_no_bit_but_fetches_other_tiles() {
    let small = r#"{"a_bytes": 1024, "b_bytes": 1024, "c_bytes": 1024}"#;
    let ordered = |order: &str| {
        let array = format!(r#"{{"rows": 8, "cols": 8, "fold_order": "{order}"}}"#);
        let overrides = [("accelerator.array", array.as_str()), ("accelerator.scratchpad", small)];
        traffic(&overrides)
    };
    let (columns, rows) = (ordered("columns-first"), ordered("rows-first"));
    // Columns first keep a tile of A and fetch B again, rows first the other way round: weights,
    // which are B of X · Wᵀ, come less often, and dZ, which is A of dZᵀ · X, more often.
    assert!(rows["w0"].0 < columns["w0"].0, "{rows:?} {columns:?}");
    assert!(rows["dz0"].0 > columns["dz0"].0, "{rows:?} {columns:?}");
}
