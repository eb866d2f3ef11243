//! Widths by analysis, against what the integer store does with them.

use crate::shell;
use std::collections::BTreeMap;
use std::f64::consts::LN_10;

use crate::support::{self, data, fashion, prepared};
use systoliq_engine::Fast;
use systoliq_fxp::{Accumulator, Adder, Overflow, Rounding, Sum};
use systoliq_keyed_random::Key;
use systoliq_nn::DataSet;
use systoliq_program::{Engine, Plan, Program, Role, Step};
use systoliq_run::{EngineKind, Experiment, Prepared, Trainer};
use systoliq_run::{trainer::Conduct, trainer::Record};
use systoliq_study::drop::of_values;
use systoliq_study::precision::measure::quantized;
use systoliq_study::precision::sums::{ProductError, saturation};
use systoliq_study::precision::{Allocation, Assignment, DataPart, FloatRun, Study, SumBudget};

/// The largest bound of the mismatch that plans keep below here.
const MISMATCH: f64 = 0.01;

fn study<'a>(prepared: &'a Prepared, data: &'a DataSet, part: DataPart) -> Study<'a> {
    let run = FloatRun::train(prepared, data, &mut |_| {}).expect("a run that learns");
    Study::new(prepared, data, run, part, 5000).expect("a network with decisions")
}

/// The experiment with the least balanced widths in place of its own formats.
fn with_plan(prepared: &Prepared, study: &Study<'_>) -> Prepared {
    let assignment = study.smallest(Allocation::Balanced, MISMATCH).expect("widths");
    let precision = study.spec(&assignment).expect("a plan");
    Prepared::new(Experiment { precision, ..prepared.experiment.clone() })
        .expect("a plan that runs")
}

fn train(prepared: &Prepared, data: &DataSet, seed: u64) -> Record {
    let mut trainer = Trainer::new(prepared, data, seed, EngineKind::Fast);
    let conduct = Conduct { threads: 1, progress: &|_| {} };
    while !trainer.is_done() {
        trainer.epoch(&conduct, None).expect("an epoch");
    }
    trainer.record().clone()
}

fn errors(record: &Record) -> (f64, f64) {
    let rate =
        |curve: &systoliq_run::trainer::Curve| curve.final_error_rate().expect("a classifier");
    (rate(&record.fixed), rate(&record.golden))
}

/// Holds the mismatches to the bound on the same samples, up to a whole one, and says both.
fn bounded(study: &Study<'_>, assignment: &Assignment) -> String {
    let measured = study.measure(assignment).expect("a plan that runs");
    let bound = study.bound_on_test(&assignment.bits);
    let most = (bound * measured.samples as f64).ceil() as u64;
    assert!(measured.mismatches <= most, "{assignment:?}: {measured:?} above {bound}");
    let bits: Vec<String> = assignment.bits.iter().map(u32::to_string).collect();
    format!(
        "{}: error {:.2} %, mismatch {:.2} %, bound {:.2} %, on test {:.2} %",
        bits.join(" "),
        100.0 * measured.error_rate(),
        100.0 * measured.mismatch(),
        100.0 * assignment.bound,
        100.0 * bound,
    )
}

#[test]
fn the_mismatch_on_digits_is_below_its_bound_for_every_width_and_allocation() {
    let prepared = prepared("digits-mlp", &[]);
    let data = data(&prepared, 1);
    let study = study(&prepared, &data, DataPart::Validation);
    for allocation in [Allocation::Uniform, Allocation::Balanced] {
        for b_min in 3..=11 {
            let assignment = study.assign(allocation, b_min).expect("at most 32 bits");
            println!("{}", bounded(&study, &assignment));
        }
        let least = study.smallest(allocation, MISMATCH).expect("widths");
        let measured = study.measure(&least).expect("a plan that runs");
        assert!(measured.mismatch() <= least.bound, "{measured:?} above {}", least.bound);
    }
    // The bound is no empty one: with few bits, decisions do go wrong.
    let coarse = study.assign(Allocation::Uniform, 3).expect("at most 32 bits");
    assert!(study.measure(&coarse).expect("a plan that runs").mismatch() > 0.05);
}

#[test]
fn the_plan_for_digits_loses_what_the_document_says_and_no_update_stalls() {
    let prepared = prepared("digits-mlp", &[]);
    let data = data(&prepared, 1);
    let planned = with_plan(&prepared, &study(&prepared, &data, DataPart::Validation));
    let records: Vec<Record> = (1..=40).map(|seed| train(&planned, &data, seed)).collect();
    let losses: Vec<f64> =
        records.iter().map(errors).map(|(fixed, golden)| fixed - golden).collect();
    let interval = of_values(&losses);
    println!("{losses:?} {interval:?}");
    assert!(interval.0 <= 0.005, "{interval:?}");
    let worst = losses.iter().copied().fold(0.0, f64::max);
    let said = format!("{:+.2} points, and {:.2} at worst", 100.0 * interval.0, 100.0 * worst);
    assert!(include_str!("../docs/precision.md").contains(&said), "docs/precision.md: {said}");
    for record in &records {
        for (name, tensor) in &record.tensors {
            // What criterion "stopping" promises: an update that is asked for arrives.
            let total = tensor.total();
            // A Gaussian sum would saturate once in ten thousand at most.
            let overflowed = total.accumulator_overflow_rate();
            assert_eq!(total.update.map_or(0, |update| update.stalled), 0, "{name}");
            assert!(overflowed < 1e-3, "{name}: {overflowed}");
        }
    }
}

#[test]
fn accumulators_in_the_document_are_those_of_the_digits_plan() {
    let prepared = prepared("digits-mlp", &[]);
    let data = data(&prepared, 1);
    let study = study(&prepared, &data, DataPart::Validation);
    let widths = study.smallest(Allocation::Balanced, MISMATCH).expect("widths");
    let sums = study.planned_sums(&widths, SumBudget::default()).expect("a plan");
    let priced = study.priced_sums(&widths).expect("prices");
    let document = include_str!("../docs/precision.md");
    let document: Vec<String> =
        document.lines().map(|line| line.replace(" bits, ", ", ").replace(" pJ", "")).collect();
    for (sum, priced) in sums.iter().zip(&priced) {
        let own = format!(
            "| {:.1} | {:.2} | {} | {} | {} ",
            sum.terms, sum.head, sum.drop, sum.bits, sum.bits_exact
        );
        let cells = priced
            .roundings
            .iter()
            .map(|of| format!("| {}, {:.3} ", of.bits, of.energy_pj_per_mac.0));
        let said = own + &cells.collect::<String>() + "|";
        assert!(document.iter().any(|line| line.ends_with(&said)), "docs/precision.md: {said}");
    }
    let free = SumBudget { head: 32, rounding: None, ..SumBudget::default() };
    let exact = study.planned_sums(&widths, free).expect("a plan");
    let bits = || exact.iter().map(|sum| sum.bits);
    let said = format!(
        "of {} to {} bits (`--sums none --head 32`)",
        bits().min().unwrap_or(0),
        bits().max().unwrap_or(0)
    );
    assert!(document.iter().any(|line| line.contains(&said)), "docs/precision.md: {said}");
}

/// A float run of one epoch is looked at in every full batch, so that ranges of sums are those of all of it.
#[test]
fn sums_of_a_plan_of_a_single_epoch_leave_their_range_no_more_than_theory_says() {
    let prepared = prepared("digits-mlp", &[("training.epochs", "1")]);
    let data = data(&prepared, 1);
    let study = study(&prepared, &data, DataPart::Validation);
    let planned = with_plan(&prepared, &study);
    let (mut sums, mut overflowed) = (BTreeMap::new(), BTreeMap::new());
    for seed in 1..=6 {
        for (name, tensor) in &train(&planned, &data, seed).tensors {
            let total = tensor.total();
            // Sums of the bias are in the accumulator of its weights.
            let name = name.replace("db", "dw");
            *sums.entry(name.clone()).or_insert(0) += total.sums;
            *overflowed.entry(name).or_insert(0) += total.overflowed_sums;
        }
    }
    for (name, sums) in sums.into_iter().filter(|&(_, sums)| sums > 0) {
        // Ranges are at least 2^2 deviations of the steps in which sums are largest.
        let most = saturation(2.0) * sums as f64;
        assert!(overflowed[&name] as f64 <= most, "{name}: {} of {sums}", overflowed[&name]);
    }
    // A longer training than the float run leaves them: logits grow on.
    let longer = support::prepared("digits-mlp", &[]);
    let record = train(&with_plan(&longer, &study), &data, 1);
    let logits = record.tensors.iter().find(|(name, _)| *name == "z1").expect("logits");
    let share = logits.1.total().accumulator_overflow_rate();
    assert!(share > 10.0 * saturation(2.0), "{share}");
    let said = format!("{:.1} % of the sums of the logits", 100.0 * share);
    assert!(include_str!("../docs/precision.md").contains(&said), "docs/precision.md: {said}");
}

/// The error of sums in registers that drop bits, beside theory: of all three products of the last epoch.
#[test]
fn noise_of_sums_is_what_theory_says_on_the_operands_of_a_digits_run() {
    let prepared = prepared("digits-mlp", &[]);
    let data = data(&prepared, 1);
    let study = study(&prepared, &data, DataPart::Validation);
    let assignment = study.smallest(Allocation::Balanced, MISMATCH).expect("widths");
    for sum in study.planned_sums(&assignment, SumBudget::default()).expect("a plan") {
        let sampled = study.sampled(&assignment, sum.layer, sum.pass);
        assert!(sampled.products.len() > 4000, "{sum:?}");
        for (rounding, most) in
            [(Rounding::NearestEven, 0.3), (Rounding::Stochastic, 0.5), (Rounding::Floor, 0.5)]
        {
            for drop in [3, 5, 7] {
                let accumulator = Accumulator::new(64, None, rounding, Overflow::Wrap).unwrap();
                let adder = Adder::new(&accumulator.dropping(drop), 0, Key::new(5));
                let error = |(index, products): (u64, &Vec<i64>)| {
                    let mut register = Sum::default();
                    for (k, &product) in (0..).zip(products) {
                        adder.add_product(&mut register, product.into(), index, k);
                    }
                    ((register.value << drop) - products.iter().sum::<i64>()) as f64
                };
                let errors = (0..).zip(&sampled.products).map(error);
                let measured =
                    errors.map(|error| error * error).sum::<f64>() / sampled.products.len() as f64;
                let theory = sampled.error(rounding, drop).of_sum(sampled.terms());
                let uniform = ProductError::uniform(rounding, drop).of_sum(sampled.terms());
                let [off, off_uniform] =
                    [theory, uniform].map(|power| 10.0 * (power / measured).log10());
                println!(
                    "{} {} {rounding:?} {drop}: {off:+.2} dB, uniform {off_uniform:+.2} dB",
                    sum.layer, sum.pass
                );
                assert!(off.abs() <= most, "{off} dB");
            }
        }
    }
}

/// Elements and SQNR of each conversion into weights, activations and logits, quantized after
/// training to `bits` bits with scales that do not saturate.
fn sqnr_db(
    study: &Study<'_>,
    prepared: &Prepared,
    data: &DataSet,
    bits: u32,
) -> Vec<(String, u64, f64)> {
    let section = format!(
        r#"{{ "input": {{"bits": 16, "frac": 12, "signed": false}},
            "master": {{"bits": 32, "frac": 28}}, "bias": {{"bits": 32, "frac": 28}},
            "weights": {{"bits": {bits}, "scale": "dynamic"}},
            "activations": {{"bits": {bits}, "scale": "dynamic"}},
            "logits": {{"bits": {bits}, "scale": "dynamic"}},
            "accumulator": {{"bits": 64}} }}"#
    );
    let plan = Plan::resolve(&prepared.graph, &serde_json::from_str(&section).unwrap()).unwrap();
    let program =
        Program::lower(&prepared.graph, &plan, &prepared.experiment.training).unwrap().into();
    let mut store = quantized(&program, study.parameters(), 1);
    let name = |id| program.tensor(id).name.clone();
    let mut found: Vec<_> = (store.initial_statistics().iter())
        .filter(|(id, _)| program.tensor(*id).role == Role::Weights)
        .map(|(id, statistics)| (name(*id), statistics.clone()))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let all: Vec<u32> = (0..data.test.len() as u32).collect();
    let step = Step::evaluation(1, "test", 0, 0);
    store.load(&data.test.batch(&all), &step);
    for &command in &program.inference {
        let written = Fast::default().run(command, &mut store, &step).written;
        found.extend(written.into_iter().map(|written| (name(written.tensor), written.conversion)));
    }
    let found = found.into_iter().map(|(name, statistics)| {
        assert_eq!(statistics.overflowed, 0, "{name} saturates with {bits} bits");
        let elements = statistics.elements;
        (name, elements, statistics.sqnr_db().expect("a tensor that is not zero"))
    });
    found.collect()
}

#[test]
fn every_bit_adds_six_decibels_where_nothing_saturates() {
    for seed in 1..=3 {
        let prepared = prepared("digits-mlp", &[("seed", &seed.to_string())]);
        let data = data(&prepared, seed);
        let study = study(&prepared, &data, DataPart::Validation);
        let by_bits: Vec<_> =
            (6..=12).map(|bits| sqnr_db(&study, &prepared, &data, bits)).collect();
        let names: Vec<&str> = by_bits[0].iter().map(|found| found.0.as_str()).collect();
        assert_eq!(names, ["w0", "w1", "y0", "z1"]);
        for (at, name) in names.iter().enumerate() {
            let decibels: Vec<f64> = by_bits.iter().map(|found| found[at].2).collect();
            let rises: Vec<f64> = decibels.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let mean = (decibels[6] - decibels[0]) / 6.0;
            println!("seed {seed}, {name}: {decibels:.1?}, rising by {mean:.2}: {rises:.2?}");
            assert!((mean - 6.0).abs() <= 0.4, "seed {seed}, {name}: {decibels:?}");
            // The mean square of n errors uniform in ±D/2 has the relative deviation √(4/5 / n); a
            // rise is the difference of two, in decibels.
            let deviation = 10.0 / LN_10 * (2.0 * 0.8 / by_bits[0][at].1 as f64).sqrt();
            for rise in rises {
                let off = (rise - 6.0).abs();
                assert!(off <= 0.4 + 4.0 * deviation, "seed {seed}, {name}: {decibels:?}");
            }
        }
    }
}

#[test]
fn the_plan_for_784_100_10_keeps_its_bound_and_trains_to_what_float_does() {
    let dir = fashion().display().to_string();
    let overrides =
        [("dataset.dir", dir.as_str()), ("dataset.validation", "100"), ("training.epochs", "20")];
    let prepared = prepared("mnist-mlp", &overrides);
    let mut open = systoliq_load::files::open_data;
    let data = prepared.load(1, &mut open).expect("images");
    let study = study(&prepared, &data, DataPart::Validation);
    for allocation in [Allocation::Uniform, Allocation::Balanced] {
        for b_min in 3..=8 {
            let assignment = study.assign(allocation, b_min).expect("at most 32 bits");
            println!("{}", bounded(&study, &assignment));
        }
        let least = study.smallest(allocation, MISMATCH).expect("widths");
        let measured = study.measure(&least).expect("a plan that runs");
        assert!(measured.mismatch() <= least.bound, "{measured:?} above {}", least.bound);
    }
    // Offsets as of docs/precision.md, logits wide enough to add nothing.
    for (offsets, b_min) in [[0, 0, 0, 0], [0, 2, 0, 1]]
        .into_iter()
        .flat_map(|of| (3..=8).map(move |b_min| (of, b_min)))
    {
        let bits: Vec<u32> = offsets.map(|offset| b_min + offset).into_iter().chain([20]).collect();
        let bound = study.bound(&bits);
        let assignment = Assignment { allocation: Allocation::Balanced, b_min, bits, bound };
        println!("{}", bounded(&study, &assignment));
    }
    let planned = with_plan(&prepared, &study);
    let (fixed, golden) = errors(&train(&planned, &data, 1));
    println!("trained: error {:.2} % fixed, {:.2} % golden", 100.0 * fixed, 100.0 * golden);
    // Four of 200 samples.
    assert!((fixed - golden).abs() <= 0.0201, "{fixed} against {golden}");
}

#[test]
fn a_plan_is_lowered_class_by_class_until_it_loses_too_much_and_goes_on_from_its_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    std::fs::write(folder.join("x.json"), shell::text(&shell::experiment())).expect("a file");
    let arguments = "precision x.json --mismatch 0.2 --set training.epochs=2 --margin 0.2 --seeds 2 \
                     --json --tighten spare";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let printed = shell::printed(folder, &arguments);
    let report: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let found = &report["tightened"];
    assert_eq!(found["plan"]["verdict"], "within", "{found:#}");
    let spare = found["spare"].as_array().expect("classes");
    let names: Vec<&str> = spare.iter().filter_map(|of| of["class"].as_str()).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    for of in spare {
        let (bits, within, beyond) = (&of["bits"], &of["within"], &of["beyond"]);
        assert_eq!(&within["bits"], bits, "{of:#}");
        assert_eq!(within["verdict"], "within", "{of:#}");
        let bits = bits.as_u64().expect("bits");
        // What was tried beyond is one bit more, and is not within.
        assert!(beyond.is_null() || beyond["bits"] == bits + 1, "{of:#}");
        assert_ne!(beyond["verdict"], "within", "{of:#}");
        let energy = |tried: &serde_json::Value| tried["energy_pj"].as_f64();
        if bits > 0 {
            assert!(energy(within) < energy(&found["plan"]), "{of:#}");
        }
        assert!(of["free"].is_u64(), "{of:#}");
    }
    let runs = std::fs::read(folder.join("spare/points.jsonl")).expect("runs");
    let again = shell::systoliq(folder, &arguments);
    assert_eq!(again.status.code(), Some(2), "without --resume");
    let resumed = [&arguments[..], &["--resume"]].concat();
    assert_eq!(shell::printed(folder, &resumed), printed);
    assert_eq!(std::fs::read(folder.join("spare/points.jsonl")).expect("runs"), runs);
}

#[test]
fn a_folder_of_something_else_is_refused_before_anything_is_computed_or_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    std::fs::write(at.join("x.json"), shell::text(&shell::experiment())).expect("a file");
    std::fs::create_dir_all(at.join("notes")).expect("a folder");
    std::fs::write(at.join("notes/diary.txt"), "mine").expect("a file");
    std::fs::create_dir_all(at.join("run")).expect("a folder");
    std::fs::write(at.join("run/report.json"), "{}").expect("a file");
    for (of, says) in [
        ("notes", "notes holds diary.txt, which is of no tightening: expected an empty folder"),
        ("run", "run holds a run (report.json): expected the folder of a tightening"),
        ("x.json", "x.json is not a folder; expected one, or a name for one"),
    ] {
        let arguments = ["precision", "x.json", "--out", "plan.json", "--tighten", of];
        let output = shell::systoliq(at, &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{of}: {said}");
        assert!(said.contains(says), "{of}: {said}");
        assert!(!at.join("plan.json").exists(), "{of}: a plan was written");
    }
    let names: Vec<_> = std::fs::read_dir(at.join("notes")).expect("a folder").collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_network_of_one_layer_has_no_sums_of_input_gradients_to_lower_and_refusals_have_reasons() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    let mut experiment = shell::experiment();
    let last = experiment["network"]["layers"].as_array().and_then(|layers| layers.last().cloned());
    experiment["network"]["layers"] = serde_json::Value::Array(last.into_iter().collect());
    std::fs::write(at.join("x.json"), shell::text(&experiment)).expect("a file");
    let arguments = "precision x.json --mismatch 0.2 --sums none --set training.epochs=1 --margin 1 --seeds 1 \
                     --tighten spare";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let printed = shell::printed(at, &arguments);
    assert!(printed.contains("of forward products"), "{printed}");
    assert!(!printed.contains("of input gradients"), "{printed}");
    let found = std::fs::read_to_string(at.join("spare/tightening.json")).expect("a result");
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    let spare = found["spare"].as_array().expect("classes");
    assert_eq!(spare.len(), 9, "{found:#}");
    let mut refusals = 0;
    for of in spare {
        let class = of["class"].as_str().expect("a class").replace("_sums", "");
        let said = printed.lines().filter(|line| line.starts_with(" refused: "));
        match of["refused"].as_str() {
            // Sums that drop nothing hold one product, and not with a bit less.
            Some(problem) => {
                assert!(problem.contains("cannot hold one product"), "{of:#}");
                assert!(problem.starts_with("precision.layers.0.accumulator."), "{of:#}");
                assert!(of["beyond"].is_null(), "{of:#}");
                assert!(said.filter(|line| line.contains(problem)).count() >= 1, "{printed}");
                refusals += 1;
            }
            None => assert!(!["accumulators", "forward"].contains(&&class[..]), "{of:#}"),
        }
    }
    let lines = printed.lines().filter(|line| line.starts_with(" refused: ")).count();
    assert_eq!(lines, refusals, "{printed}");
    let cells = printed.lines().filter(|line| line.contains("refused  ")).count();
    assert_eq!(cells, refusals, "{printed}");
}

#[test]
fn the_plan_that_the_command_writes_is_one_that_training_takes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("x.json"), shell::text(&shell::experiment()))
        .expect("a file");
    let arguments = "precision x.json --mismatch 0.05 --sweep 4..5 --train --json --out plan.json";
    let printed = shell::printed(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
    let report: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let plan = std::fs::read_to_string(folder.path().join("plan.json")).expect("a plan");
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
    assert_eq!(report["precision"], plan);
    assert_eq!(report["requested"]["part"], "validation");
    assert_eq!(report["sweep"].as_array().map(Vec::len), Some(4));
    assert!(report["balanced"]["bound"].as_f64().expect("a number") <= 0.05);

    // Trained by another command, it comes to what was foretold.
    let arguments = "train x.json --set precision=plan.json --json";
    let printed = shell::printed(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
    let run: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(run["accuracy_loss"], report["trained"]["accuracy_loss"]);
    for tensor in report["planned"].as_array().expect("tensors") {
        let found = run["precision"].as_array().expect("tensors").iter();
        let found = found.filter(|other| other["name"] == tensor["name"]).collect::<Vec<_>>();
        assert_eq!(found.len(), 1, "{tensor}");
        assert_eq!(found[0]["format"], tensor["format"], "{tensor}");
    }
    let again = shell::printed(folder.path(), &["precision", "x.json", "--mismatch", "0.05"]);
    for said in ["noise gains E on 300 validation samples", "balanced", "uniform", "stopping"] {
        assert!(again.contains(said), "{said}: {again}");
    }
}
