//! How weights take up gradients: schedules, and what outlasts a step.

use crate::support::{WITHOUT_BUFFER, data, prepared, train};
use serde_json::Value;
use systoliq_fxp::{ConversionStatistics, Tensor};
use systoliq_nn::{DataSet, Golden, epoch_order, initial_weights};
use systoliq_program::{Engine, EntryName, Reference, Role, Step, Store, TensorId};
use systoliq_run::trainer::Conduct;
use systoliq_run::{EngineKind, Prepared, Trainer};
use systoliq_study::Report;

const CONDUCT: Conduct<'_> = Conduct { threads: 1, progress: &|_| {} };

/// A store at the beginning of a run.
fn store(prepared: &Prepared, seed: u64) -> Store {
    let initial = initial_weights(&prepared.graph, seed);
    Store::new(&prepared.program, &initial, seed)
}

#[test]
fn an_epoch_of_a_schedule_takes_the_steps_of_its_rate() {
    let seed = 1;
    let schedule = r#"{"kind": "step", "every_epochs": 1, "factor": 0.3}"#;
    let scheduled = prepared("digits-mlp", &[("training.schedule", schedule)]);
    let rate = scheduled.experiment.training.rate * 0.3;
    let slow = prepared("digits-mlp", &[("training.rate", &rate.to_string())]);
    let data = data(&scheduled, seed);
    let order = epoch_order(seed, 0, data.train.len());
    let (mut ours, mut theirs) = (store(&scheduled, seed), store(&slow, seed));
    let mut golden = [Golden::<f32>::new(&scheduled.graph, seed), Golden::new(&slow.graph, seed)];
    for (number, rows) in order.chunks(32).take(4).enumerate() {
        let batch = data.train.batch(rows);
        let step = Step::training(seed, number as u64);
        for (store, step) in [(&mut ours, step.in_epoch(1)), (&mut theirs, step)] {
            store.load(&batch, &step);
            for command in store.program().step.clone() {
                Reference.run(command, store, &step);
            }
        }
        golden[0].step(&batch, &scheduled.experiment.training, 1);
        golden[1].step(&batch, &slow.experiment.training, 0);
        assert_eq!(ours.snapshot(), theirs.snapshot(), "step {number}");
        assert_eq!(golden[0].parameters(), golden[1].parameters(), "step {number}");
    }
}

#[test]
fn learning_curves_name_the_rate_of_each_epoch() {
    let overrides = [
        ("training.epochs", "3"),
        ("training.rate", "0.5"),
        ("training.schedule", r#"{"kind": "exponential", "factor_per_epoch": 0.5}"#),
    ];
    let prepared = prepared("binary-classifier", &overrides);
    let record = train(&prepared, 1, EngineKind::Fast, 1);
    let csv = Report::curves_csv(&prepared, &[record]);
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("seed,epoch,rate,golden_error_rate,"), "{csv}");
    for (line, start) in lines.zip(["1,1,0.5,", "1,2,0.25,", "1,3,0.125,"]) {
        assert!(line.starts_with(start), "{line}");
    }
}

/// What makes a difference between one sitting and two: all that an update carries from step to
/// step, and all that follows from the number of the epoch.
const CARRIED: [&[(&str, &str)]; 5] = [
    &[("training.schedule", r#"{"kind": "cosine", "epochs": 4, "rate_min": 0.01}"#)],
    &[("training.momentum", "0.9"), ("training.weight_decay", "0.001"), ("training.rate", "0.05")],
    &[("training.momentum", "0.5"), ("precision.momentum", "Q3.13"), ("training.golden", "f64")],
    &[("precision.master", "null"), ("precision.residual", r#"{"bits": 8}"#)],
    // 38 steps an epoch: a decision is due in the middle of what a checkpoint cuts.
    &[("precision.gradients", CONTROLLED), ("precision.weight_gradients", CONTROLLED)],
];

const CONTROLLED: &str = r#"{"bits": 8, "scale": "overflow-rate", "max_overflow_rate": 0.01,
    "every_batches": 5, "rounding": "stochastic"}"#;

#[test]
fn a_run_in_two_sittings_ends_with_the_bits_of_one() {
    for overrides in CARRIED {
        let prepared = prepared("digits-mlp", &[&[("training.epochs", "3")], overrides].concat());
        let data = data(&prepared, 1);
        let mut whole = Trainer::new(&prepared, &data, 1, EngineKind::Fast);
        let (mut entries, mut state) = (Vec::new(), Vec::new());
        while !whole.is_done() {
            whole.epoch(&CONDUCT, None).expect("an epoch");
            if whole.epochs_done() == 1 {
                entries.extend(whole.record().latest_entry());
                state = whole.state();
            }
        }
        let mut resumed = Trainer::new(&prepared, &data, 1, EngineKind::Fast);
        resumed.restore(entries, &state).expect("a state that fits");
        while !resumed.is_done() {
            resumed.epoch(&CONDUCT, None).expect("an epoch");
        }
        assert_eq!(resumed.record(), whole.record(), "{overrides:?}");
        assert!(resumed.state() == whole.state(), "{overrides:?}");
    }
}

/// `value / 2^shift` to the nearest, ties to even.
fn nearest_even(value: i128, shift: u32) -> i128 {
    let (floor, one) = (value >> shift, 1i128 << shift);
    let twice = 2 * (value - (floor << shift));
    floor + i128::from(twice > one || (twice == one && floor % 2 != 0))
}

/// Codes and fraction bits of the tensor of a role in layer 0.
fn codes(store: &Store, role: Role) -> (Vec<i128>, i32) {
    let tensor = store
        .tensor(store.program().find(role, EntryName::Number(0)).expect("a tensor"))
        .expect("codes");
    (tensor.to_codes().into_iter().map(i128::from).collect(), tensor.format().frac())
}

/// Momentum and master of every element of a layer, for three steps, in integers with factors
/// written out: β = 0.9 is 58982 · 2^-16, μ = 0.1 is 52429 · 2^-19, λ = 0.01 is 41943 · 2^-22, 1/32
/// is 2^-5, and the loss scale 2^-3.
#[test]
fn momentum_and_weights_are_each_rounded_once_from_an_exact_sum() {
    for batch_gradient in ["mean", "sum"] {
        let prepared = prepared(
            "digits-mlp",
            &[
                ("training.momentum", "0.9"),
                ("training.weight_decay", "0.01"),
                ("training.rate", "0.1"),
                ("training.loss_scale", "8"),
                ("training.batch_gradient", batch_gradient),
                ("precision.momentum", r#"{"bits": 16, "frac": 14, "rounding": "nearest-even"}"#),
                ("precision.master", r#"{"bits": 16, "rounding": "nearest-even"}"#),
            ],
        );
        let data = data(&prepared, 1);
        let order = epoch_order(1, 0, data.train.len());
        let mut store = store(&prepared, 1);
        for (number, rows) in order.chunks(32).take(3).enumerate() {
            let (v, v_frac) = codes(&store, Role::Momentum);
            let (w, w_frac) = codes(&store, Role::Master);
            assert_eq!((v_frac, w_frac), (14, 15));
            let step = Step::training(1, number as u64);
            store.load(&data.train.batch(rows), &step);
            for &command in &prepared.program.step {
                Reference.run(command, &mut store, &step);
            }
            let (g, g_frac) = codes(&store, Role::WeightGradients);
            let g_frac = g_frac + 3 + if batch_gradient == "sum" { 5 } else { 0 };
            let (v_after, w_after) =
                (codes(&store, Role::Momentum).0, codes(&store, Role::Master).0);
            let mut moved = 0;
            for at in 0..w.len() {
                let (beta, lambda) = (58982 * v[at], 41943 * w[at]);
                // At 22 + 15 fraction bits.
                let exact = (beta << (37 - 30)) + (g[at] << (37 - g_frac)) + lambda;
                let expected = nearest_even(exact, 37 - 14);
                assert_eq!(v_after[at], expected, "{batch_gradient} step {number} element {at}");
                // At 19 + 14 fraction bits.
                let exact = (w[at] << (33 - 15)) - 52429 * expected;
                let expected = nearest_even(exact, 33 - 15).clamp(-32768, 32767);
                assert_eq!(w_after[at], expected, "{batch_gradient} step {number} element {at}");
                moved += usize::from(w_after[at] != w[at]);
            }
            assert!(moved > 1000, "{moved}");
        }
    }
}

/// Without momentum the decay is part of the one sum that is rounded into the master: μ = 0.1 is
/// 52429 · 2^-19, and μ·λ = 0.001 is 33554 · 2^-25 (33554.432 · 2^-25).
#[test]
fn weight_decay_without_momentum_is_rounded_with_the_step_and_spares_biases() {
    let run = |decay: &str| {
        let prepared = prepared(
            "digits-mlp",
            &[
                ("training.weight_decay", decay),
                ("training.rate", "0.1"),
                ("precision.master", r#"{"bits": 16, "rounding": "nearest-even"}"#),
            ],
        );
        let data = data(&prepared, 1);
        let mut store = store(&prepared, 1);
        let (w, _) = codes(&store, Role::Master);
        let step = Step::training(1, 0);
        store.load(&data.train.batch(&epoch_order(1, 0, data.train.len())[..32]), &step);
        for &command in &prepared.program.step {
            Reference.run(command, &mut store, &step);
        }
        let after = [Role::WeightGradients, Role::Master, Role::Bias];
        (w, after.map(|role| codes(&store, role)))
    };
    let (w, [(g, g_frac), (after, _), bias]) = run("0.01");
    for at in 0..w.len() {
        let step = (52429 * g[at]) << (40 - 19 - g_frac);
        let exact = (w[at] << (40 - 15)) - step - 33554 * w[at];
        assert_eq!(after[at], nearest_even(exact, 40 - 15), "element {at}");
    }
    let (_, [_, (plain, _), plain_bias]) = run("0");
    assert_ne!(after, plain);
    assert_eq!(bias, plain_bias);
}

/// A report of one epoch whose DRAM moves single bytes.
fn report(overrides: &[(&str, &str)]) -> Value {
    let bytes = r#"{"kind": "lpddr4", "burst_bytes": 1}"#;
    let base = [("training.epochs", "1"), ("accelerator.dram", bytes)];
    let prepared = prepared("digits-mlp", &[&WITHOUT_BUFFER[..], &base, overrides].concat());
    let record = train(&prepared, 1, EngineKind::Fast, 1);
    serde_json::to_value(Report::new(&prepared, &[record]).expect("a report")).expect("JSON")
}

fn dram_bytes(report: &Value) -> u64 {
    let rows = report["dram_bytes"].as_array().expect("rows").iter();
    rows.map(|row| row["read"].as_u64().unwrap() + row["written"].as_u64().unwrap()).sum()
}

/// Steps of an epoch; weights, and weights with biases, of 64-64-10.
const STEPS: u64 = 38;
const WEIGHTS: u64 = 64 * 64 + 64 * 10;
const PARAMETERS: u64 = WEIGHTS + 64 + 10;

#[test]
fn momentum_costs_twice_its_width_in_traffic_per_parameter_and_step() {
    let plain = report(&[]);
    for bits in [8, 16, 24] {
        let format = format!(r#"{{"bits": {bits}, "frac": {}}}"#, bits - 2);
        for decay in ["0", "0.001"] {
            let with = report(&[
                ("training.momentum", "0.9"),
                ("training.weight_decay", decay),
                ("precision.momentum", &format),
            ]);
            let more = dram_bytes(&with) - dram_bytes(&plain);
            assert_eq!(more, 2 * bits / 8 * PARAMETERS * STEPS, "{bits} bits, decay {decay}");
            // One pass more over each of four tensors.
            let cycles = |report: &Value| report["cycles"]["by_pass"]["update"].as_u64().unwrap();
            let passes = 512 + 80 + 8 + 2 + 4 * 4;
            assert_eq!(cycles(&with) - cycles(&plain), passes * STEPS);
            let energy =
                |report: &Value| report["energy_pj"]["by_pass"]["update"].as_f64().unwrap();
            assert!(energy(&with) > energy(&plain));
            let rows = with["precision"].as_array().expect("rows").iter();
            let of = |row: &&Value| row["role"] == "momentum";
            let named: Vec<&str> =
                rows.filter(of).map(|row| row["name"].as_str().unwrap()).collect();
            assert_eq!(named, ["v0", "vb0", "v1", "vb1"]);
        }
    }
    // Weight decay alone moves nothing more.
    assert_eq!(dram_bytes(&report(&[("training.weight_decay", "0.001")])), dram_bytes(&plain));
}

/// Runs a step of the first epoch.
fn run_step(store: &mut Store, data: &DataSet, number: usize) {
    let step = Step::training(1, number as u64);
    let order = epoch_order(1, 0, data.train.len());
    store.load(&data.train.batch(order.chunks(32).nth(number).expect("a batch")), &step);
    for command in store.program().step.clone() {
        Reference.run(command, store, &step);
    }
}

/// Formats in which every step is exact: weights of 7 fraction bits and their residual, or a master, of
/// 24, which hold the initial weights and multiples of 2^-13 (gradients) or 2^-15 (momentum).
#[test]
fn weights_and_a_wide_residual_follow_a_wide_master_exactly() {
    for momentum in ["0", "0.9"] {
        let shared = [
            ("training.rate", "0.5"),
            ("training.momentum", momentum),
            ("precision.momentum", "Q2.14"),
            ("precision.weights", "Q1.7"),
            ("precision.weight_gradients", "Q4.12"),
        ];
        let master = r#"{"bits": 32, "frac": 24, "rounding": "nearest-even"}"#;
        let wide = prepared("digits-mlp", &[&shared[..], &[("precision.master", master)]].concat());
        let residual = [
            ("precision.master", "null"),
            ("precision.residual", r#"{"bits": 32, "frac": 24}"#),
            ("precision.bias", r#"{"rounding": "nearest-even"}"#),
        ];
        let narrow = prepared("digits-mlp", &[&shared[..], &residual].concat());
        let data = data(&wide, 1);
        let (mut theirs, mut ours) = (store(&wide, 1), store(&narrow, 1));
        for number in 0..=30 {
            for role in [Role::Weights, Role::Bias] {
                assert!(codes(&ours, role) == codes(&theirs, role), "{role} of step {number}");
            }
            let [(w, w_frac), (r, r_frac)] =
                [Role::Weights, Role::Residual].map(|role| codes(&ours, role));
            assert_eq!((w_frac, r_frac), (7, 24));
            let sum: Vec<i128> = w.iter().zip(&r).map(|(w, r)| (w << 17) + r).collect();
            assert!(sum == codes(&theirs, Role::Master).0, "W + acc of step {number}");
            run_step(&mut theirs, &data, number);
            run_step(&mut ours, &data, number);
        }
    }
}

/// `W + acc − μ·dW` of every element in integers, μ = 0.1 as 52429 · 2^-19; then the weights to the
/// nearest, and by floor what they do not hold.
#[test]
fn weights_and_residual_are_each_rounded_once_from_one_exact_sum() {
    let prepared = prepared(
        "digits-mlp",
        &[
            ("training.rate", "0.1"),
            ("precision.master", "null"),
            ("precision.residual", r#"{"bits": 6, "frac": 12, "rounding": "floor"}"#),
        ],
    );
    let data = data(&prepared, 1);
    let mut store = store(&prepared, 1);
    for number in 0..4 {
        let before = [Role::Weights, Role::Residual].map(|role| codes(&store, role));
        let [(w, 7), (acc, 12)] = before else { panic!("{before:?}") };
        run_step(&mut store, &data, number);
        let (g, g_frac) = codes(&store, Role::WeightGradients);
        let after = [Role::Weights, Role::Residual].map(|role| codes(&store, role).0);
        let mut kept = 0;
        for at in 0..w.len() {
            let exact = (w[at] << (60 - 7)) + (acc[at] << (60 - 12))
                - ((52429 * g[at]) << (60 - 19 - g_frac));
            let weight = nearest_even(exact, 60 - 7).clamp(-128, 127);
            let left = (exact - (weight << (60 - 7))) >> (60 - 12);
            let expected = [weight, left.clamp(-32, 31)];
            assert_eq!([after[0][at], after[1][at]], expected, "step {number} element {at}");
            kept += usize::from(after[1][at] != 0);
        }
        assert!(kept > 1000, "{kept}");
    }
}

#[test]
fn a_residual_costs_twice_its_width_in_traffic_per_weight_and_step_and_saves_the_master() {
    let plain = report(&[]);
    for bits in [8, 16] {
        let format = format!(r#"{{"bits": {bits}}}"#);
        let with = report(&[("precision.master", "null"), ("precision.residual", &format)]);
        // Of 16 bits the master was read and written; the weights of 8 are read as well.
        let (more, less) = (2 * bits / 8 + 1, 2 * 2);
        let found = dram_bytes(&with) + WEIGHTS * STEPS * less;
        assert_eq!(found, dram_bytes(&plain) + WEIGHTS * STEPS * more, "{bits} bits");
        let rows = with["precision"].as_array().expect("rows");
        let of = |name: &str| rows.iter().find(|row| row["name"] == name).expect("a row");
        assert_eq!(
            (&of("r0")["role"], &of("r1")["role"]),
            (&"residual".into(), &"residual".into())
        );
        // Only what moves neither the weights nor their residual is stalled.
        assert!(of("w0")["stalled_rate"].is_null());
        assert!(of("r0")["stalled_rate"].as_f64().expect("a rate") < 0.9, "{}", of("r0"));
        // Float hardware has no residual.
        let float32 = |report: &Value| report["energy_pj"]["float32_total"].clone();
        assert_eq!(float32(&with), float32(&plain));
    }
}

/// Codes of every tensor that two runs share by name, step by step.
fn same_codes(ours: &Store, theirs: &Store, number: usize) {
    for (id, decl) in ours.program().tensors.iter().enumerate() {
        let of = |store: &Store| store.tensor(TensorId(id)).map(Tensor::to_codes);
        assert!(of(ours) == of(theirs), "{} of step {number}", decl.name);
    }
}

/// With formats moved by the same power of two, a loss scale leaves every code as it is.
#[test]
fn a_loss_scale_moves_the_point_of_gradients_and_is_divided_out_of_the_step() {
    let shared = [("training.momentum", "0.5"), ("precision.momentum", "Q2.14")];
    for momentum in [false, true] {
        let run = |scale: &str, error: &str, gradients: &str, weight_gradients: &str| {
            let own = [
                ("training.loss_scale", scale),
                ("precision.error", error),
                ("precision.gradients", gradients),
                ("precision.weight_gradients", weight_gradients),
            ];
            let shared = if momentum { &shared[..] } else { &[] };
            prepared("digits-mlp", &[&own, shared].concat())
        };
        let stochastic =
            |frac: i32| format!(r#"{{"bits": 8, "frac": {frac}, "rounding": "stochastic"}}"#);
        let plain = run("1", &stochastic(6), &stochastic(7), "Q2.14");
        let scaled = run("8", &stochastic(3), &stochastic(4), "Q5.11");
        let data = data(&plain, 1);
        let (mut ours, mut theirs) = (store(&scaled, 1), store(&plain, 1));
        for number in 0..5 {
            run_step(&mut ours, &data, number);
            run_step(&mut theirs, &data, number);
            same_codes(&ours, &theirs, number);
        }
    }
}

#[test]
fn a_loss_scale_saves_small_errors_from_underflow_and_leaves_golden_alone() {
    let of = |scale: &str| {
        let overrides = [
            ("training.epochs", "2"),
            ("training.loss_scale", scale),
            ("precision.error", r#"{"bits": 16, "frac": 8, "rounding": "nearest-even"}"#),
        ];
        let prepared = prepared("digits-mlp", &overrides);
        let record = train(&prepared, 1, EngineKind::Fast, 1);
        (record.tensors["dz1"].total().conversion.underflow_rate(), record.golden)
    };
    let (plain, scaled, more) = (of("1"), of("8"), of("64"));
    println!("underflow {:.4}, {:.4} at 8, {:.4} at 64", plain.0, scaled.0, more.0);
    assert!(more.0 < scaled.0 && scaled.0 < plain.0 - 0.1, "{} {} {}", plain.0, scaled.0, more.0);
    assert!(plain.1 == scaled.1 && plain.1 == more.1, "golden curves differ");
}

/// With batches of a power of two, sums are means with the point moved, and so are the steps. The
/// momentum is that of the mean either way.
#[test]
fn sums_over_a_batch_take_the_steps_of_means() {
    for momentum in ["0", "0.9"] {
        let run = |gradient: &str, format: &str| {
            let overrides = [
                ("training.batch_gradient", gradient),
                ("training.momentum", momentum),
                ("precision.momentum", "Q2.14"),
                ("precision.weight_gradients", format),
            ];
            prepared("digits-mlp", &overrides)
        };
        let (mean, sum) = (run("mean", "Q2.14"), run("sum", "Q7.9"));
        let data = data(&mean, 1);
        let (mut ours, mut theirs) = (store(&sum, 1), store(&mean, 1));
        for number in 0..5 {
            run_step(&mut ours, &data, number);
            run_step(&mut theirs, &data, number);
            same_codes(&ours, &theirs, number);
        }
    }
}

/// What a run with an overflow rate for the dZ of layer 0 chooses in each step, and what that did.
fn controlled(every: usize, limit: f64, steps: usize) -> Vec<(i32, ConversionStatistics)> {
    let scale = format!(
        r#"{{"bits": 8, "scale": "overflow-rate", "max_overflow_rate": {limit}, "frac": 1,
             "every_batches": {every}, "rounding": "stochastic"}}"#
    );
    let prepared = prepared("digits-mlp", &[("precision.gradients", &scale)]);
    let data = data(&prepared, 1);
    let mut store = store(&prepared, 1);
    let id = prepared.program.find(Role::Gradients, EntryName::Number(0)).expect("dz0");
    let mut found = Vec::new();
    for number in 0..steps {
        let epoch = (number / 38) as u32;
        let order = epoch_order(1, epoch, data.train.len());
        let step = Step::training(1, number as u64);
        store.load(&data.train.batch(order.chunks(32).nth(number % 38).expect("a batch")), &step);
        for &command in &prepared.program.step {
            for written in Reference.run(command, &mut store, &step).written {
                if written.tensor == id {
                    assert!(!written.second_pass, "step {number}");
                    let frac = store.tensor(id).expect("dz0").format().frac();
                    found.push((frac, written.conversion));
                }
            }
        }
        // An evaluation counts nothing.
        let judged = Step::evaluation(1, "test", 0, number as u64);
        store.load(&data.test.batch(&[0, 1, 2]), &judged);
        store.judge(&judged, &mut Reference);
    }
    found
}

#[test]
fn an_overflow_rate_decides_by_its_counts_every_so_many_batches_and_settles() {
    for (every, limit) in [(1, 0.25), (5, 0.001), (7, 0.03125)] {
        let steps = controlled(every, limit, 200);
        let mut frac = 1;
        for (at, window) in steps.chunks(every).enumerate() {
            let case = format!("every {every}, limit {limit}, window {at}");
            assert!(window.iter().all(|(found, _)| *found == frac), "{case}: not {frac}");
            let sum = |count: fn(&ConversionStatistics) -> u64| {
                window.iter().map(|(_, did)| count(did)).sum::<u64>() as f64
            };
            let elements = sum(|did| did.elements);
            frac += if sum(|did| did.overflowed) > limit * elements {
                -1
            } else {
                i32::from(sum(|did| did.beyond_half) <= limit * elements)
            };
        }
        let last: Vec<i32> = steps[100..].iter().map(|(frac, _)| *frac).collect();
        let (least, most) = (last.iter().min().unwrap(), last.iter().max().unwrap());
        assert!(*least > 3 && most - least <= 3, "every {every}, limit {limit}: {last:?}");
        let (overflowed, elements) = steps[100..]
            .iter()
            .fold((0, 0), |(sum, all), (_, did)| (sum + did.overflowed, all + did.elements));
        let rate = overflowed as f64 / elements as f64;
        println!("every {every}, limit {limit}: {least} to {most}, {rate:.5} overflow");
        assert!(rate < 2.0 * limit, "every {every}, limit {limit}: {rate}");
    }
}
