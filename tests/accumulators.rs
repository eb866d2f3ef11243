//! How wide accumulators have to be, on a real network.

use std::sync::Arc;

use crate::support::{data, prepared, train};
use systoliq_fxp::{Accumulator, Adder, Format, Overflow, Rounding, Tensor};
use systoliq_keyed_random::Key;
use systoliq_nn::{epoch_order, initial_weights};
use systoliq_program::operation::Product;
use systoliq_program::{Engine, GemmTask, Operand, Program, Reference, Step, Store};
use systoliq_run::EngineKind;
use systoliq_study::Report;

/// Whether any output overflows in an accumulator of `bits` bits that saturates, one row of A per
/// output so chosen that it is as large, or as small, as it can be.
fn overflows(store: &Store, gemm: &Product, bits: u32) -> bool {
    let (a, b) = (store.tensor(gemm.a.tensor).unwrap(), store.tensor(gemm.b.tensor).unwrap());
    let b = Operand::read(b, gemm.b.reading);
    let format: Format = a.format();
    let (k, n) = (b.rows(), b.cols());
    let mut rows = Vec::new();
    for upwards in [true, false] {
        for col in 0..n {
            rows.extend((0..k).map(|at| match (b.code(at, col) > 0) == upwards {
                true => format.max_raw(),
                false => format.min_raw(),
            }));
        }
    }
    let worst = Tensor::from_codes(format, 2 * n, k, &rows);
    let overflow = Overflow::Saturate;
    let accumulator = Accumulator::new(bits, None, Rounding::Floor, overflow).unwrap();
    let product_frac = format.frac() + b.tensor.format().frac();
    let task = GemmTask::new(
        Operand::new(&worst, false),
        b,
        Adder::new(&accumulator, product_frac, Key::new(0)),
        gemm.finish.bias.map(|bias| store.tensor(bias).unwrap()),
    );
    Reference.gemm(&task).overflowed > 0
}

#[test]
fn the_width_for_weights_is_enough_for_the_worst_operands_and_one_bit_less_is_not() {
    let prepared = prepared("digits-mlp", &[]);
    let program: &Arc<Program> = &prepared.program;
    let seed = prepared.experiment.seed;
    let data = data(&prepared, seed);
    let initial = initial_weights(&prepared.graph, seed);
    let mut store = Store::new(program, &initial, seed);
    let order = epoch_order(seed, 0, data.train.len());
    let batch = prepared.experiment.training.batch;
    let mut found = 0;
    for (number, rows) in order.chunks(batch).take(5).enumerate() {
        let step = Step::training(seed, number as u64);
        store.load(&data.train.batch(rows), &step);
        for &command in &program.step {
            Reference.run(command, &mut store, &step);
        }
        for (at, _, command) in program.all_writes() {
            let Some(bits) = store.width_for_weights(command) else { continue };
            let gemm = command.operation.product().expect("a product");
            assert!(!overflows(&store, gemm, bits), "{bits} bits: {command:?}");
            assert!(overflows(&store, gemm, bits - 1), "{} bits: {command:?}", bits - 1);
            let safe = program.safe_width(at, batch).unwrap();
            assert!(bits <= safe.bits || !safe.counts_bias, "{safe:?} {command:?}");
            found += 1;
        }
    }
    // Two forward passes and one input gradient a step.
    assert_eq!(found, 5 * 3);
}

#[test]
fn reports_say_what_is_enough_and_what_overflowed() {
    let rows = |accumulator: &str| {
        let overrides = [("training.epochs", "2"), ("precision.accumulator", accumulator)];
        let prepared = prepared("digits-mlp", &overrides);
        let record = train(&prepared, 1, EngineKind::Fast, 1);
        let report = serde_json::to_value(Report::new(&prepared, &[record]).unwrap()).unwrap();
        report["accumulators"].as_array().unwrap().clone()
    };
    let wide = rows("{}");
    assert_eq!(wide.len(), 7);
    let first = &wide[0];
    // UQ8 x Q8, K = 64, and a Q1.15 bias with one fraction bit more than the product.
    assert_eq!(
        (&first["output"], &first["k"], &first["bits"]),
        (&"y0".into(), &64.into(), &32.into())
    );
    assert_eq!(first["safe_bits"], 23);
    for row in &wide {
        assert_eq!(row["overflow_rate"], 0.0, "{row}");
        let weights = matches!(row["output"].as_str(), Some("y0" | "z1" | "dz0"));
        assert_eq!(row["bits_for_weights"].is_u64(), weights, "{row}");
        let (bits, safe) = (row["bits_for_weights"].as_u64(), row["safe_bits"].as_u64());
        assert!(bits.zip(safe).is_none_or(|(bits, safe)| bits <= safe + 1), "{row}");
    }
    let narrow = rows(r#"{"bits": 17, "overflow": "saturate"}"#);
    assert!(narrow.iter().any(|row| row["overflow_rate"].as_f64().unwrap() > 0.0), "{narrow:?}");
    // Fraction bits that are stated leave no width enough where scales move.
    let stated = rows(r#"{"bits": 40, "frac": 20}"#);
    let safe = |output: &str| {
        let row = stated.iter().find(|row| row["output"] == output).unwrap();
        row["safe_bits"].clone()
    };
    assert!(safe("y0").is_u64() && safe("z1").is_null() && safe("dz0").is_u64());
    // Bits that are dropped of whatever products have do: four fewer, wherever scales move.
    let dropped = rows(r#"{"bits": 40, "drop": 4}"#);
    assert_eq!(dropped[0]["safe_bits"], 19);
    for row in dropped.iter().filter(|row| row["output"] != "db0" && row["output"] != "db1") {
        assert!(row["safe_bits"].is_u64(), "{row}");
    }
}
