//! One scale per block: the same bits everywhere, and what a step dumps recomputes it.

use std::collections::HashMap;

use crate::support::{WITHOUT_BUFFER, data, prepared, train};
use serde_json::Value;
use systoliq_array::{Array, Register, Stationary};
use systoliq_engine::Fast;
use systoliq_fxp::Tensor;
use systoliq_nn::{epoch_order, initial_weights};
use systoliq_program::{Engine, Reference, Snapshot, Step, Store, TensorId, Written};
use systoliq_run::dump::Dump;
use systoliq_run::trainer::Conduct;
use systoliq_run::{EngineKind, Prepared, Trainer};
use systoliq_study::Report;

fn new_store(prepared: &Prepared) -> Store {
    let seed = prepared.experiment.seed;
    let initial = initial_weights(&prepared.graph, seed);
    Store::new(&prepared.program, &initial, seed)
}

/// Every copy of every tensor after every command of two steps.
fn tensors(prepared: &Prepared, engine: &mut dyn Engine) -> Vec<(String, Vec<Tensor>, Written)> {
    let seed = prepared.experiment.seed;
    let data = data(prepared, seed);
    let mut store = new_store(prepared);
    let order = epoch_order(seed, 0, data.train.len());
    let mut found = Vec::new();
    for (number, rows) in order.chunks(prepared.experiment.training.batch).take(2).enumerate() {
        let step = Step::training(seed, number as u64);
        store.load(&data.train.batch(rows), &step);
        for &command in &prepared.program.step {
            let outcome = engine.run(command, &mut store, &step);
            for (written, (_, write)) in
                outcome.written.into_iter().zip(prepared.program.writes_of(command))
            {
                let copies = store.copies(write.tensor).iter().map(|copy| Tensor::clone(copy));
                found.push((format!("{number} {}", write.name), copies.collect(), written));
            }
        }
    }
    found
}

#[test]
fn blocks_of_either_operand_or_both_give_the_same_tensors_on_every_engine() {
    let odd = r#"{"bits": 6, "scale": "block", "block": 5}"#;
    let plain = r#"{"bits": 8, "scale": "dynamic"}"#;
    let narrow = r#"{"bits": 14, "frac": 8, "rounding": "stochastic", "overflow": "saturate"}"#;
    let late = r#"{"bits": 14, "frac": 8, "overflow": "saturate", "overflow_at": "end"}"#;
    let roles = ["input", "weights", "activations", "error", "gradients"];
    let all = |setting| roles.map(|role| (format!("precision.{role}"), setting)).to_vec();
    let mut cases = vec![Vec::new(), all(odd)];
    for role in ["weights", "activations", "gradients"] {
        let mut case = all(plain);
        case.push((format!("precision.{role}"), odd));
        cases.push(case);
    }
    for (at, accumulator) in [narrow, late].into_iter().enumerate() {
        let mut case = if at == 0 { all(odd) } else { Vec::new() };
        case.push(("precision.accumulator".into(), accumulator));
        cases.push(case);
    }
    for case in cases {
        let overrides: Vec<_> = case.iter().map(|(path, json)| (path.as_str(), *json)).collect();
        let prepared = prepared("digits-mxint8", &overrides);
        let expected = tensors(&prepared, &mut Reference);
        let compare = |engine: &mut dyn Engine, name: &str| {
            for (ours, theirs) in tensors(&prepared, engine).iter().zip(&expected) {
                assert_eq!(ours, theirs, "{} on {name}, {overrides:?}", theirs.0);
            }
        };
        compare(&mut Fast::default(), "fast");
        for stationary in [Stationary::Output, Stationary::Weight] {
            let array = Array::new(8, 6).unwrap();
            compare(&mut Register::new(array, stationary).unwrap(), "register");
        }
    }
}

/// The numbers of an `.npy` file of integers, and its rows and columns.
fn npy(bytes: &[u8]) -> (Vec<i64>, usize, usize) {
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    let between =
        |from: &str, to: &str| header.split(from).nth(1).unwrap().split(to).next().unwrap();
    let kind = between("'descr': '", "'");
    let signed = kind.contains('i');
    let width: usize = kind[2..].parse().unwrap();
    let number = |bytes: &[u8]| {
        let raw = bytes.iter().rev().fold(0i64, |raw, &byte| raw << 8 | i64::from(byte));
        let unused = 64 - 8 * width;
        if signed { raw << unused >> unused } else { raw }
    };
    let numbers = bytes[10 + length..].chunks_exact(width).map(number).collect();
    let shape: Vec<usize> =
        between("'shape': (", ")").split(',').filter_map(|part| part.trim().parse().ok()).collect();
    (numbers, shape[0], shape.get(1).copied().unwrap_or(1))
}

/// A dumped tensor as real values, in doubles that hold each exactly.
struct Reals {
    values: Vec<f64>,
    cols: usize,
    /// The fraction bits of each element.
    fracs: Vec<i32>,
}

fn reals(files: &HashMap<String, Vec<u8>>, manifest: &Value, file: &Value) -> Reals {
    let tensors = manifest["tensors"].as_array().unwrap();
    let entry = tensors.iter().find(|entry| entry["file"] == *file).unwrap();
    let (codes, rows, cols) = npy(&files[file.as_str().unwrap()]);
    let blocks = &entry["blocks"];
    let frac = |row: usize, col: usize| match blocks["size"].as_u64() {
        None => entry["format"]["frac"].as_i64().unwrap() as i32,
        Some(size) => {
            let (fracs, _, across) = npy(&files[blocks["fracs"].as_str().unwrap()]);
            let (row, col) = match blocks["along"].as_str().unwrap() {
                "row" => (row, col / size as usize),
                _ => (row / size as usize, col),
            };
            fracs[row * across + col] as i32
        }
    };
    let places = (0..rows * cols).map(|at| (at / cols, at % cols));
    let fracs: Vec<i32> = places.map(|(row, col)| frac(row, col)).collect();
    let values = codes.iter().zip(&fracs).map(|(&code, &frac)| code as f64 * 2f64.powi(-frac));
    Reals { values: values.collect(), cols, fracs }
}

#[test]
fn a_dumped_step_recomputes_its_forward_pass_block_by_block() {
    let prepared = prepared("digits-mxint8", &[("training.epochs", "1")]);
    let data = data(&prepared, 1);
    let mut files = HashMap::new();
    let mut sink = |name: &str, bytes: &[u8]| {
        files.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    };
    let mut dump = Dump::new(3, &mut sink);
    let mut trainer = Trainer::new(&prepared, &data, 1, EngineKind::Fast);
    let conduct = Conduct { threads: 1, progress: &|_| {} };
    trainer.epoch(&conduct, Some(&mut dump)).unwrap();
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let commands = manifest["commands"].as_array().unwrap();
    let forward = commands.iter().find(|command| command["command"] == "0.forward.y0").unwrap();
    assert_eq!((&forward["block"], &forward["accumulator"]["frac"]), (&32.into(), &24.into()));
    let tensor = |file: &Value| reals(&files, &manifest, file);
    let (x, w, b) =
        (tensor(&forward["a"]["file"]), tensor(&forward["b"]["file"]), tensor(&forward["bias"]));
    assert_eq!(forward["b"]["transposed"], true);
    // One block after the other, exact; each sum rounded to the nearest multiple of 2^-24.
    let unit = 2f64.powi(24);
    let sum = |row: usize, unit_of: usize| {
        let blocks = (0..64).step_by(32).map(|from| {
            let product = |k| x.values[row * x.cols + k] * w.values[unit_of * w.cols + k];
            ((from..from + 32).map(product).sum::<f64>() * unit).round_ties_even()
        });
        (blocks.sum::<f64>() + (b.values[unit_of] * unit).round_ties_even()) / unit
    };
    let mut copies = 0;
    let made = manifest["tensors"].as_array().unwrap().iter().filter(|t| t["name"] == "y0");
    for entry in made {
        let y = tensor(&entry["file"]);
        for (at, (&value, &frac)) in y.values.iter().zip(&y.fracs).enumerate() {
            let ulp = 2f64.powi(frac);
            let expected = sum(at / y.cols, at % y.cols).max(0.0);
            assert_eq!(value * ulp, (expected * ulp).round_ties_even(), "{} {at}", entry["file"]);
            // One fraction bit more does not fit some element of the block.
            assert!(value * ulp <= 127.0);
        }
        copies += 1;
    }
    assert_eq!(copies, 2, "along rows for the next layer, down columns for its weight gradient");
}

#[test]
fn a_machine_restored_from_its_snapshot_has_every_copy_and_block() {
    let prepared = prepared("digits-mxint8", &[]);
    let store = new_store(&prepared);
    let Snapshot { tensors, scales } = store.snapshot();
    let mut other = new_store(&prepared);
    let mut rest = &tensors[..];
    other.restore(&mut rest, scales.clone()).unwrap();
    assert!(rest.is_empty(), "{} bytes", rest.len());
    let w1 = prepared.program.tensors.iter().position(|decl| decl.name == "w1").unwrap();
    assert_eq!(store.copies(TensorId(w1)).len(), 2);
    for id in (0..prepared.program.tensors.len()).map(TensorId) {
        assert_eq!(store.copies(id), other.copies(id));
    }
    // 99 fraction bits in the last block of the last tensor, or one byte less than there are.
    let end = tensors.len();
    let other_frac = [&tensors[..end - 4], &99i32.to_le_bytes()].concat();
    assert!(other.restore(&mut &other_frac[..], scales.clone()).is_none());
    assert!(other.restore(&mut &tensors[..end - 1], scales).is_none());
}

fn report(overrides: &[(&str, &str)]) -> Value {
    let overrides = [&[("training.epochs", "1")], &WITHOUT_BUFFER[..], overrides].concat();
    let prepared = prepared("digits-mxint8", &overrides);
    let record = train(&prepared, 1, EngineKind::Fast, 1);
    serde_json::to_value(Report::new(&prepared, &[record]).unwrap()).unwrap()
}

#[test]
fn a_block_costs_an_exponent_and_a_copy_but_no_pass() {
    let one = [
        ("precision.weights", r#"{"bits": 8, "scale": "static", "frac": 7}"#),
        ("precision.activations", r#"{"bits": 8, "scale": "static", "frac": 5}"#),
        ("precision.gradients", r#"{"bits": 8, "scale": "static", "frac": 7}"#),
        ("precision.error", "Q2.6"),
        ("precision.input", "Q2.6"),
    ];
    let (blocks, one) = (report(&[]), report(&one));
    assert_eq!(blocks["cycles"]["by_cause"]["vector"], one["cycles"]["by_cause"]["vector"]);
    let written = |report: &Value, tensor: &str| {
        let rows = report["dram_bytes"].as_array().unwrap();
        rows.iter().find(|row| row["tensor"] == tensor).unwrap()["written"].as_u64().unwrap()
    };
    // 38 steps write 64 x 64 weights of 8 bits: with an exponent for 32 of them, in whole bursts.
    assert_eq!(written(&one, "w0"), 38 * 4096);
    assert_eq!(written(&blocks, "w0"), 38 * (4096 + 128));
    // Two copies of 640 and 20 exponents, 660 bytes, in bursts of 32.
    assert_eq!(written(&blocks, "w1"), 38 * 2 * 672);
    let component =
        |report: &Value, name: &str| report["energy_pj"]["by_component"][name].as_f64().unwrap();
    for name in ["registers", "scratchpad", "dram"] {
        assert!(component(&blocks, name) > component(&one, name), "{name}");
    }
    assert_eq!(
        blocks["energy_pj"]["float32_total"], one["energy_pj"]["float32_total"],
        "float hardware knows no blocks"
    );
}

/// Of a tensor with blocks along both axes every sum is converted twice, and made once.
#[test]
fn overflow_rates_are_shares_of_sums_also_where_an_output_has_two_copies() {
    let block = r#"{"bits": 6, "scale": "block", "block": 5}"#;
    let narrow = r#"{"bits": 11, "frac": 8, "overflow": "saturate", "overflow_at": "end"}"#;
    let settings = [
        ("precision.activations", block),
        ("precision.accumulator", narrow),
        ("training.epochs", "1"),
    ];
    let prepared = prepared("digits-mlp", &settings);
    let tensors = tensors(&prepared, &mut Reference);
    let twice = tensors.iter().filter(|(_, copies, outcome)| copies.len() == 2 && outcome.sums > 0);
    for (name, copies, outcome) in twice {
        assert_eq!(outcome.sums, copies[0].len() as u64, "{name}");
        assert_eq!(outcome.conversion.elements, 2 * outcome.sums, "{name}");
    }
    let record = train(&prepared, 1, EngineKind::Fast, 1);
    let activations = record.tensors["y0"].total();
    assert!(activations.overflowed_sums > 0, "no sum of two copies overflows");
    assert_eq!(activations.conversion.elements, 2 * activations.sums);
    let report = Report::new(&prepared, std::slice::from_ref(&record)).expect("a report");
    let report = serde_json::to_value(&report).expect("a report");
    for (name, tensor) in &record.tensors {
        let total = tensor.total();
        let rows = report["precision"].as_array().expect("tensors");
        let row = rows.iter().find(|row| row["name"] == name.as_str()).expect("the tensor");
        let share = total.overflowed_sums as f64 / total.sums.max(1) as f64;
        assert_eq!(row["accumulator_overflow_rate"], share, "{name}");
    }
}
