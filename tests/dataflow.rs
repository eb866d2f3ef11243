//! `auto`: what is chosen is what takes the fewest cycles, and all that runs runs in it.

use std::collections::BTreeMap;

use crate::memory::{Case, Draws};
use crate::support::{data, models, prepared, train};
use systoliq_array::{Dataflow, Stationary, timing};
use systoliq_energy::FloatFormat;
use systoliq_fxp::Scale;
use systoliq_hardware::Accelerator;
use systoliq_hardware::accelerator::Toggles;
use systoliq_hardware::memory::Stored;
use systoliq_hardware::{accelerator::Layout, accelerator::Residency};
use systoliq_hardware::{cost::Arithmetic, cost::Costs};
use systoliq_hardware::{single::GemmReport, single::GemmWidths};
use systoliq_import::scalesim::Topology;
use systoliq_import::scalesim::topology::OutputSize;
use systoliq_nn::DataSet;
use systoliq_program::{GemmShape, Pass, TensorId, Work};
use systoliq_run::capture::mapping_in_step;
use systoliq_run::trainer::Record;
use systoliq_run::{EngineKind, Experiment, Prepared};
use systoliq_run::{timeline::Entry, timeline::Run};
use systoliq_study::workload::{Workload, WorkloadReport};

const EDGE: &str = "edge-16x16";

/// Every kind of arithmetic.
const ARITHMETIC: [Arithmetic; 4] = [
    Arithmetic::Fixed,
    Arithmetic::FLOAT32,
    Arithmetic::Float(FloatFormat::Bfloat16),
    Arithmetic::Float(FloatFormat::Float16),
];

fn accelerator(name: &str) -> Accelerator {
    let path = models().join(format!("accelerators/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("a file")).expect("an accelerator")
}

/// The same experiment in another dataflow.
fn in_dataflow(prepared: &Prepared, dataflow: Dataflow) -> Prepared {
    let mut prepared = prepared.clone();
    prepared.experiment.accelerator.array.dataflow = dataflow;
    prepared
}

/// Two dense layers of random sizes on a random machine, and a last batch that is short.
fn draw(number: u64) -> Prepared {
    let mut draws = Draws::new("experiments", number);
    let mut accelerator = Case::draw(number).accelerator;
    let array = &mut accelerator.array;
    (array.rows, array.cols) = (1 + array.rows % 6, 1 + array.cols % 6);
    array.dataflow = Dataflow::Auto;
    accelerator.toggles = Toggles::Exact;
    accelerator.layout = draws.of(&[Layout::Transposer, Layout::TwoCopies]);
    accelerator.residency = draws.of(&[Residency::None, Residency::KeepIfNext]);
    accelerator.scratchpad.stash_bytes = draws.of(&[0, 0, 1024]);
    let [batch, inputs, hidden, classes] = [(); 4].map(|()| 2 + draws.below(11));
    let samples = batch + 1 + draws.below(batch - 1);
    let points: Vec<Vec<f64>> = (0..samples)
        .map(|_| (0..inputs).map(|_| draws.below(200) as f64 / 100.0 - 1.0).collect())
        .collect();
    let labels: Vec<u64> = (0..samples).map(|sample| sample % classes).collect();
    let moving = draws.of(&["{}", r#"{"gradients": {"bits": 8, "scale": "dynamic"}}"#]);
    let experiment: Experiment = serde_json::from_value(serde_json::json!({
        "name": "random",
        "seed": number,
        "dataset": { "kind": "points", "inputs": points, "labels": labels, "classes": classes },
        "network": {
            "input": [inputs],
            "layers": [{ "dense": { "units": hidden } }, "relu", { "dense": { "units": classes } }],
            "loss": "softmax_cross_entropy"
        },
        "training": { "epochs": 1, "batch": batch, "rate": 0.5 },
        "precision": serde_json::from_str::<serde_json::Value>(moving).expect("JSON"),
        "accelerator": accelerator
    }))
    .expect("an experiment");
    Prepared::new(experiment).expect("a possible experiment")
}

/// Whether a run is one of those by which its dataflow is chosen: the scale of its output takes a
/// second pass if it always does.
fn is_usual(prepared: &Prepared, run: &Run) -> bool {
    let output = prepared.program.write(run.write).tensor;
    run.second.output == (prepared.program.tensor(output).plan.scale == Scale::Dynamic)
}

/// What each product took, and how often.
fn products_of(prepared: &Prepared, record: &Record) -> Vec<Entry> {
    let entries = record
        .timeline
        .entries(&prepared.costs(Arithmetic::Fixed, prepared.batches(None)))
        .expect("costs");
    let is_product = |entry: &Entry| matches!(entry.run.work, Work::Gemm(_));
    entries.into_iter().filter(is_product).collect()
}

/// The trace of a product in the step that has this batch: full, then short.
fn traced(prepared: &Prepared, data: &DataSet, entry: &Entry) {
    for (step, batch) in
        [prepared.experiment.training.batch, data.train.len()].into_iter().enumerate()
    {
        let batch = if step == 0 { batch } else { batch - prepared.experiment.training.batch };
        if prepared.program.work(entry.run.write, batch) != entry.run.work {
            continue;
        }
        let mapping = mapping_in_step(prepared, data, (entry.run.write, step as u64));
        let mapping = mapping.expect("a step");
        assert_eq!(Some(mapping.stationary), entry.once.dataflow, "{entry:?}");
        let cycles = &entry.once.cycles;
        let expected = cycles.total().0 - cycles.stall.0 - cycles.vector.0;
        assert_eq!(timing::gemm(&mapping).expect("cycles").total().0, expected, "{entry:?}");
    }
}

/// The register engine holds what it counts, cycles and toggles, against the mapping that it is
/// told; so with `auto` it runs what is charged.
#[test]
fn a_product_takes_the_fewest_cycles_of_three_dataflows_in_cost_toggles_register_engine_and_trace()
{
    let mut chosen = BTreeMap::new();
    let (mut stalls_decide, mut compared) = (0, 0);
    for number in 0..500 {
        let auto = draw(number);
        let data = data(&auto, number);
        let record = train(&auto, number, EngineKind::Register, 1);
        let fixed = Stationary::ALL.map(|flow| {
            let prepared = in_dataflow(&auto, flow.into());
            let record = train(&prepared, number, EngineKind::Fast, 1);
            (products_of(&prepared, &record), record)
        });
        for (entries, other) in &fixed {
            assert_eq!(
                other.fixed, record.fixed,
                "experiment {number}: bits depend on no dataflow"
            );
            assert_eq!(entries.len(), products_of(&auto, &record).len());
        }
        for (at, entry) in products_of(&auto, &record).iter().enumerate() {
            let shown = || format!("experiment {number}: {entry:?}");
            let flow = entry.once.dataflow.expect("a product");
            let same = fixed.each_ref().map(|(entries, _)| &entries[at]);
            let of_flow = same[flow as usize];
            assert_eq!(entry.observed, of_flow.observed, "{}", shown());
            traced(&auto, &data, entry);
            // With second copies, products meet in what they write.
            let copies = auto.experiment.accelerator.layout == Layout::TwoCopies;
            if copies || !is_usual(&auto, &entry.run) {
                continue;
            }
            assert_eq!(entry.once, of_flow.once, "{}", shown());
            let cycles = same.map(|entry| entry.once.cycles.total().0);
            let least = cycles.iter().min().expect("three");
            assert_eq!(entry.once.cycles.total().0, *least, "{cycles:?}, {}", shown());
            assert_eq!(cycles.iter().position(|cycles| cycles == least), Some(flow as usize));
            let unstalled =
                same.map(|entry| entry.once.cycles.total().0 - entry.once.cycles.stall.0);
            stalls_decide += u64::from(unstalled[flow as usize] > *unstalled.iter().min().unwrap());
            *chosen.entry(flow).or_insert(0) += 1;
            compared += 1;
        }
    }
    assert!(compared > 1500 && chosen.values().all(|&times| times > 100), "{chosen:?}");
    assert!(stalls_decide > 100, "{stalls_decide} of {compared}");
}

#[test]
fn a_product_by_itself_takes_the_fewest_cycles_of_three_dataflows_also_as_a_view() {
    let (mut run, mut refused) = (0, 0);
    for number in 0..1000 {
        let mut case = match number % 2 {
            0 => Case::draw(number),
            _ => Case::draw_convolution(number),
        };
        case.accelerator.layout = [Layout::Transposer, Layout::TwoCopies][number as usize / 2 % 2];
        let mut found = |dataflow: Dataflow| {
            case.accelerator.array.dataflow = dataflow;
            case.cost()
        };
        let auto = found(Dataflow::Auto);
        let fixed = Stationary::ALL.map(|flow| found(flow.into()));
        refused += fixed.iter().filter(|cost| cost.is_none()).count();
        let least = fixed.iter().flatten().map(|cost| cost.cycles.total().0).min();
        assert_eq!(auto.as_ref().map(|cost| cost.cycles.total().0), least, "{number}: {case:?}");
        let Some(auto) = auto else { continue };
        let flow = auto.dataflow.expect("a product");
        let of_flow = fixed[flow as usize].as_ref().expect("a dataflow that runs");
        assert_eq!(auto.tally, of_flow.tally, "{number}: {case:?}");
        let first = fixed.iter().flatten().find(|cost| Some(cost.cycles.total().0) == least);
        assert_eq!(first.map(|cost| cost.dataflow), Some(auto.dataflow), "{number}: {case:?}");
        run += 1;
    }
    assert!(run > 900 && refused > 50, "{run} run, {refused} refused");
}

const WIDTHS: GemmWidths = GemmWidths { a: 8, b: 8, accumulator: 32, output: 8 };

/// Cycles and energy of the forward pass and of training, after a look at every product.
fn networks(machine: &str, network: &str) -> [[(u64, f64); 4]; 2] {
    let path = models().join(format!("topologies/{network}.csv"));
    let text = std::fs::read_to_string(path).expect("a topology");
    let topology = Topology::parse(&text).expect("a topology that is read");
    let mut accelerator = accelerator(machine);
    [false, true].map(|training| {
        let workload = Workload::new(&topology, OutputSize::Floor, training, WIDTHS);
        let workload = workload.expect("possible widths");
        let reports = [
            Dataflow::OutputStationary,
            Dataflow::WeightStationary,
            Dataflow::InputStationary,
            Dataflow::Auto,
        ]
        .map(|dataflow| {
            accelerator.array.dataflow = dataflow;
            WorkloadReport::new(&accelerator, &workload).expect("a report").products
        });
        // An update takes a gradient in the tiles of its product: both are chosen as one.
        let cycles = reports.each_ref().map(|rows| {
            let mut cycles: Vec<u64> = Vec::new();
            for row in rows {
                match cycles.last_mut() {
                    Some(product) if row.work.pass == Pass::Update => *product += row.cycles,
                    _ => cycles.push(row.cycles),
                }
            }
            cycles
        });
        for (at, &auto) in cycles[3].iter().enumerate() {
            let least = cycles[..3].iter().map(|of| of[at]).min();
            assert_eq!(Some(auto), least, "{network} on {machine}: {at}");
        }
        reports.map(|rows| {
            rows.iter().fold((0, 0.0), |(cycles, energy), row| {
                (cycles + row.cycles, energy + row.energy_pj.map_or(0.0, |energy| energy.0))
            })
        })
    })
}

#[test]
fn no_dataflow_takes_fewer_cycles_than_auto_over_a_network_forward_or_in_training() {
    let mut strictly = 0;
    for network in ["alexnet", "resnet18", "resnet50", "vgg16", "mobilenet_v1", "bert_base"] {
        for machine in [EDGE, "cloud-128x128", "lecture-8x8"] {
            for [fixed @ .., auto] in networks(machine, network) {
                let least = fixed.iter().map(|&(cycles, _)| cycles).min().expect("three");
                assert!(auto.0 <= least, "{network} on {machine}: {auto:?}, {fixed:?}");
                strictly += u64::from(auto.0 < least);
            }
        }
    }
    assert!(strictly > 30, "{strictly} of 36");
}

/// The figures of docs/timing.md.
#[test]
fn fewest_cycles_are_not_least_energy() {
    let [[_, (ws, of_ws), _, (auto, of_auto)], _] = networks(EDGE, "vgg16");
    assert_eq!((ws, auto), (90_014_293, 67_877_182));
    let millijoules = [of_ws, of_auto].map(|energy| format!("{:.1}", energy / 1e9));
    assert_eq!(millijoules, ["37.2", "44.6"]);
}

/// The cycles of a step on so many samples.
fn step_cycles(prepared: &Prepared, arithmetic: Arithmetic, batch: usize) -> u64 {
    let (program, costs) = (&prepared.program, prepared.costs(arithmetic, prepared.batches(None)));
    let cycles = program.all_writes().map(|(at, ..)| {
        let run = Run { write: at, work: program.work(at, batch), second: true.into() };
        let second_pass = is_usual(prepared, &run);
        costs.of(at, run.work, second_pass).expect("a cost").cycles.total().0
    });
    cycles.sum()
}

/// By the three dataflows, and by `auto`.
fn steps(prepared: &Prepared, arithmetic: Arithmetic, batch: usize) -> ([u64; 3], u64) {
    let cycles = |dataflow| step_cycles(&in_dataflow(prepared, dataflow), arithmetic, batch);
    (Stationary::ALL.map(|flow| cycles(flow.into())), cycles(Dataflow::Auto))
}

#[test]
fn no_dataflow_takes_fewer_cycles_than_auto_over_a_step_of_any_arithmetic() {
    let (mut as_one, mut strictly) = (0, 0);
    for number in 0..300 {
        let mut prepared = draw(number);
        let full = prepared.experiment.training.batch;
        for layout in [Layout::Transposer, Layout::TwoCopies] {
            prepared.experiment.accelerator.layout = layout;
            // A short batch finds the copies of a full one.
            let batches = if layout == Layout::Transposer { 1..full + 1 } else { full..full + 1 };
            for (arithmetic, batch) in
                ARITHMETIC.into_iter().flat_map(|it| batches.clone().map(move |batch| (it, batch)))
            {
                let (fixed, auto) = steps(&prepared, arithmetic, batch);
                let least = *fixed.iter().min().expect("three");
                let shown = || format!("experiment {number}, {layout:?}, {arithmetic:?}, {batch}");
                assert!(auto <= least, "{auto}, {fixed:?}: {}", shown());
                strictly += u64::from(auto < least);
                if layout == Layout::TwoCopies {
                    as_one += u64::from(auto == least);
                }
            }
        }
    }
    assert!(strictly > 1000 && as_one > 100, "{strictly}, {as_one}");
}

/// Copies that are read, and those that are written, on so many samples.
fn copies(costs: &Costs<'_>, prepared: &Prepared, batch: usize) -> [Vec<TensorId>; 2] {
    let mut found = [Vec::new(), Vec::new()];
    for (at, ..) in prepared.program.all_writes() {
        let work = prepared.program.work(at, batch);
        let cost = costs.watch(at, work, false, &mut |moment| {
            for (transfer, _) in moment.transfers {
                if transfer.stored == Stored::Copy {
                    found[usize::from(transfer.write)].push(transfer.tensor);
                }
            }
        });
        cost.expect("a cost");
    }
    found
}

#[test]
fn a_batch_of_any_size_reads_second_copies_that_a_full_one_writes() {
    let mut read = 0;
    for number in 0..100 {
        let mut prepared = draw(number);
        prepared.experiment.accelerator.layout = Layout::TwoCopies;
        prepared.experiment.accelerator.residency = Residency::None;
        prepared.experiment.accelerator.scratchpad.stash_bytes = 0;
        let (input, full) = (prepared.program.input, prepared.experiment.training.batch);
        let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
        let [_, written] = copies(&costs, &prepared, full);
        for batch in 1..=full {
            let [found, _] = copies(&costs, &prepared, batch);
            let there = |tensor: &TensorId| *tensor == input || written.contains(tensor);
            assert!(
                found.iter().all(there),
                "experiment {number}, {batch}: {found:?}, {written:?}"
            );
            read += found.len();
        }
    }
    assert!(read > 1000, "{read}");
}

/// An epoch of the digits on the small machine.
#[test]
fn an_epoch_of_the_digits_takes_fewer_cycles_in_auto_than_in_any_one_dataflow() {
    let edge = serde_json::to_string(&accelerator(EDGE)).expect("JSON");
    let auto = prepared("digits-mlp", &[("accelerator", &edge), ("training.epochs", "1")]);
    let record = train(&auto, 1, EngineKind::Fast, 1);
    let cycles = |dataflow| {
        let prepared = in_dataflow(&auto, dataflow);
        let entries = record
            .timeline
            .entries(&prepared.costs(Arithmetic::Fixed, prepared.batches(None)))
            .expect("costs");
        entries.iter().map(|entry| entry.calls * entry.once.cycles.total().0).sum::<u64>()
    };
    // What `systoliq train` prints, whose causes and bursts are held elsewhere.
    assert_eq!(Stationary::ALL.map(|flow| cycles(flow.into())), [98_948, 101_639, 96_820]);
    assert_eq!(cycles(Dataflow::Auto), 96_361);
    for batch in 1..=32 {
        for arithmetic in ARITHMETIC {
            let (fixed, auto) = steps(&auto, arithmetic, batch);
            assert!(fixed.iter().all(|&cycles| auto <= cycles), "{batch}: {auto}, {fixed:?}");
        }
    }
}

/// Whether an experiment is possible in some fixed dataflow, and what it is in `auto`.
fn in_any_and_in_auto(experiment: &Experiment) -> (bool, Option<Prepared>) {
    let possible = |dataflow: Dataflow| {
        let mut experiment = experiment.clone();
        experiment.accelerator.array.dataflow = dataflow;
        Prepared::new(experiment).ok()
    };
    let any = Stationary::ALL.into_iter().any(|flow| possible(flow.into()).is_some());
    (any, possible(Dataflow::Auto))
}

/// The scales of the digits remember: they take a second pass in the first step alone, for which the
/// results of a fold of `os` wait on chip.
#[test]
fn auto_runs_wherever_some_dataflow_does() {
    let edge = serde_json::to_string(&accelerator(EDGE)).expect("JSON");
    let digits = prepared("digits-mlp", &[("accelerator", &edge), ("training.epochs", "1")]);
    for c_bytes in (1024..=2048).step_by(128) {
        let mut experiment = digits.experiment.clone();
        experiment.accelerator.scratchpad.c_bytes = c_bytes;
        let (any, auto) = in_any_and_in_auto(&experiment);
        assert!(any, "{c_bytes}");
        train(&auto.expect("a possible experiment"), 1, EngineKind::Fast, 2);
    }
    let (mut run, mut refused) = (0, 0);
    for number in 0..400 {
        let mut draws = Draws::new("small scratchpads", number);
        let mut experiment = digits.experiment.clone();
        experiment.training.batch = 1 + draws.below(70) as usize;
        let accelerator = &mut experiment.accelerator;
        *accelerator = Case::draw(number).accelerator;
        accelerator.layout = draws.of(&[Layout::Transposer, Layout::TwoCopies]);
        accelerator.scratchpad.c_bytes = 1024 + draws.below(2048);
        (accelerator.array.rows, accelerator.array.cols) =
            (1 + draws.below(40) as usize, 1 + draws.below(40) as usize);
        let (any, auto) = in_any_and_in_auto(&experiment);
        assert_eq!(auto.is_some(), any, "{number}: {experiment:?}");
        let Some(auto) = auto else {
            refused += 1;
            continue;
        };
        for (arithmetic, second_pass) in
            ARITHMETIC.into_iter().flat_map(|it| [(it, false), (it, true)])
        {
            let (program, costs) = (&auto.program, auto.costs(arithmetic, auto.batches(None)));
            for (at, write, _) in program.all_writes() {
                let second_pass = second_pass && costs.may_take_second_pass(at);
                let cost = costs.of(at, program.work(at, experiment.training.batch), second_pass);
                assert!(cost.is_ok(), "{number}, {}: {cost:?}", write.name);
            }
        }
        run += 1;
    }
    assert!(run > 100 && refused > 20, "{run} run, {refused} refused");
}

/// A product that waits for memory in one dataflow and not in the others.
#[test]
fn the_cycles_of_each_dataflow_that_a_report_states_include_stalls() {
    let shape = GemmShape { m: 1, k: 1024, n: 1024 };
    let report = GemmReport::new(&accelerator(EDGE), shape, WIDTHS).expect("a report");
    let cycles: Vec<(Stationary, u64)> = report.cycles_by_dataflow.into_iter().collect();
    let expected = Stationary::ALL.into_iter().zip([66_431, 256_559, 66_431]);
    assert_eq!(cycles, expected.collect::<Vec<_>>());
    assert_eq!((report.dataflow, report.cycles.total), (Stationary::Output, 66_431));
}
