//! A memory on chip for state, and for what one command leaves for another.

use std::collections::BTreeMap;

use serde_json::Value;
use systoliq_array::{Dataflow, Stationary};
use systoliq_fxp::Scale;
use systoliq_hardware::Accelerator;
use systoliq_hardware::accelerator::{Layout, Residency, UpdateOrder};
use systoliq_hardware::buffer::{BufferCandidate, BufferLayout, BufferReport, BufferedTensor};
use systoliq_hardware::cost::{Arithmetic, Cost, Costs, EpochBatches};
use systoliq_hardware::memory::{Moved, Stored};
use systoliq_hardware::single::{GemmReport, GemmWidths};
use systoliq_program::{GemmShape, Role, TensorId, What, Work};
use systoliq_run::{EngineKind, Prepared};
use systoliq_study::Report;

use super::Draws;
use super::properties::experiment;
use crate::programs::draw;
use crate::shell;
use crate::support::{WITHOUT_BUFFER, prepared, train};

/// Training samples of the digits.
const SAMPLES: usize = 1197;

fn with(bytes: u64, overrides: &[(&str, &str)]) -> Prepared {
    let bytes = bytes.to_string();
    experiment(&[&[("accelerator.scratchpad.buffer_bytes", bytes.as_str())], overrides].concat())
}

fn costs(prepared: &Prepared, arithmetic: Arithmetic) -> Costs<'_> {
    prepared.costs(arithmetic, prepared.batches(Some(SAMPLES)))
}

/// What DRAM moves in an epoch without second passes.
fn epoch_bytes(costs: &Costs<'_>) -> u64 {
    let EpochBatches { size, full, rest } = costs.batches;
    let step = |batch: usize| -> u64 {
        let writes = costs.program.all_writes().map(|(at, ..)| {
            let cost = costs.of(at, costs.program.work(at, batch), false).expect("a cost");
            cost.moved.iter().map(|moved| moved.bytes).sum::<u64>()
        });
        writes.sum()
    };
    full * step(size) + if rest > 0 { step(rest) } else { 0 }
}

const FUSED: (&str, &str) = ("accelerator.update", "fused");

/// A program that was written from the rules alone gives these bytes, but that it does not round the tiles of
/// a fused update of 2 x 8 weights up to a burst: 32 bytes for each of two writes in each of 38 steps.
#[test]
fn an_epoch_of_the_digits_moves_what_an_independent_model_says() {
    for (kilobytes, separate, fused) in [
        (0, 2_569_056, 1_837_024 + 2 * 64 * 38),
        (1, 2_445_280, 1_725_408),
        (2, 2_349_056, 1_644_992),
        (4, 2_118_848, 1_414_784),
        (8, 1_520_576, 1_087_296),
        (16, 794_240, 464_704),
        (20, 482_944, 153_408),
        (24, 171_648, 76_608),
        (32, 76_608, 76_608),
        (64, 76_608, 76_608),
    ] {
        for (update, expected) in [(&[][..], separate), (&[FUSED], fused)] {
            let prepared = with(kilobytes << 10, update);
            let found = epoch_bytes(&costs(&prepared, Arithmetic::Fixed));
            assert_eq!(found, expected, "{kilobytes} KB, {update:?}");
        }
    }
}

/// The run of README.md, by the same program.
#[test]
fn a_run_of_the_digits_with_all_state_on_chip_takes_what_an_independent_model_says() {
    let run = |update: &[(&str, &str)]| {
        let bytes = ("accelerator.scratchpad.buffer_bytes", "65536");
        let prepared = prepared("digits-mlp", &[&WITHOUT_BUFFER[..], &[bytes], update].concat());
        let record = train(&prepared, 1, EngineKind::Fast, 2);
        serde_json::to_value(Report::new(&prepared, &[record]).expect("a report")).expect("JSON")
    };
    // What the first step writes of gradients, as their scale is chosen from themselves.
    let first = 64 * 8 + 10 * 8 + 8 + 2;
    for (update, reads, writes, microjoules, float32, bfloat16, used) in [
        (&[][..], 2_738_120, 2_208_860, 500.1, 5.0, 2.2, 26_784),
        (&[FUSED], 2_280_600 + first, 1_751_340 + first, 482.7, 5.1, 2.2, 21_408),
    ] {
        let report = run(update);
        let dram: u64 =
            report["dram_bytes"].as_array().expect("tensors").iter().fold(0, |sum, of| {
                sum + of["read"].as_u64().unwrap() + of["written"].as_u64().unwrap()
            });
        assert_eq!(dram, 1_532_160);
        assert_eq!(report["energy_pj"]["by_component"]["dram"], 99_350_240.0);
        let rows = &report["scratchpad_rows"]["buffer"];
        assert_eq!(*rows, serde_json::json!({ "reads": reads, "writes": writes }));
        let near = |found: &Value, expected: f64, by: f64| {
            let found = found.as_f64().expect("a number");
            assert!((found - expected).abs() < by, "{found}, expected {expected}");
        };
        let total = Value::from(report["energy_pj"]["total"].as_f64().unwrap() / 1e6);
        near(&total, microjoules, 0.3);
        let hardware = report["savings"]["float_hardware"].as_array().expect("hardware");
        let against = |format: &str| {
            let is = |of: &&Value| of["format"] == format && of["equal"] == "array";
            hardware.iter().find(is).expect("a ratio")["energy_ratio"].clone()
        };
        near(&against("float32"), float32, 0.05);
        near(&against("bfloat16"), bfloat16, 0.1);
        let bytes = |key: &str| report["buffer"][key].as_u64().unwrap();
        assert_eq!(bytes("step_bytes") + bytes("state_bytes"), used);
        let a_cycle = if update.is_empty() { 3 } else { 2 };
        assert_eq!(report["buffer"]["rows_per_cycle"], a_cycle);
    }
}

#[test]
fn a_ratio_that_is_made_by_what_fits_is_told_as_such() {
    let printed = |kilobytes: u64| {
        let buffer = format!("accelerator.scratchpad.buffer_bytes={}", kilobytes << 10);
        let update = "accelerator.update=separate";
        let set = ["--set", "training.epochs=1", "--set", &buffer, "--set", update];
        shell::printed(&shell::root(), &[&["train", "models/digits-mlp.json"], &set[..]].concat())
    };
    let why = "part of what that takes more is what does not fit, and not what its bits cost";
    let (small, large) = (printed(32), printed(64));
    assert!(small.contains(" 100.00 % of what DRAM would move") && small.contains(why), "{small}");
    assert!(large.contains(" in the buffer, 100.00 % on float32 hardware\n"), "{large}");
    assert!(!large.contains(why), "{large}");
}

#[test]
fn a_fused_update_takes_the_cycles_and_bits_of_a_separate_one_and_leaves_its_gradient_in_c() {
    for array in [
        r#"{"rows": 8, "cols": 8}"#,
        r#"{"rows": 5, "cols": 16, "dataflow": "ws"}"#,
        r#"{"rows": 16, "cols": 4, "dataflow": "is"}"#,
    ] {
        for momentum in ["0", "0.5"] {
            let machine = |update: &str| {
                experiment(&[
                    ("accelerator.array", array),
                    ("accelerator.update", update),
                    ("training.momentum", momentum),
                    ("accelerator.dram", r#"{"bytes_per_cycle": 4, "latency_cycles": 9}"#),
                ])
            };
            let [separate, fused] = ["separate", "fused"].map(machine);
            for arithmetic in [Arithmetic::Fixed, Arithmetic::FLOAT32] {
                let [one, other] = [&separate, &fused].map(|of| costs(of, arithmetic));
                for (at, write, command) in one.program.all_writes() {
                    let work = one.program.work(at, 32);
                    let [before, after] = [&one, &other].map(|of| of.of(at, work, false).unwrap());
                    let busy = |cost: &Cost| cost.cycles.total().0 - cost.cycles.stall.0;
                    assert_eq!(busy(&before), busy(&after), "{write:?}");
                    let gradient =
                        |tensor: TensorId| one.program.tensor(tensor).role == Role::WeightGradients;
                    assert!(after.moved.iter().all(|moved| !gradient(moved.tensor)), "{write:?}");
                    let elements = |cost: &Cost| -> u64 {
                        let others = cost.moved.iter().filter(|moved| !gradient(moved.tensor));
                        others.map(|moved| moved.elements).sum()
                    };
                    assert_eq!(elements(&before), elements(&after), "{write:?}");
                    // A step that chooses a gradient's scale from itself is separate.
                    let [before, after] = [&one, &other].map(|of| of.of(at, work, true).unwrap());
                    if arithmetic == Arithmetic::Fixed {
                        assert_eq!(before, after, "{write:?}");
                    }
                    // No weights are written before their last read.
                    if let Some(update) = command.operation.update() {
                        let written = [Some(update.written), update.working];
                        let later = one.program.all_writes().skip(at.0 + 1);
                        let mut products =
                            later.filter(|(.., of)| of.operation.product().is_some());
                        assert!(products.all(|(of, ..)| {
                            let reads = one.program.reads(of);
                            written.iter().flatten().all(|tensor| !reads.contains(tensor))
                        }));
                    }
                }
            }
        }
    }
}

/// Transfers, elements and bytes, by what is stored of tensors, and direction.
fn sums<'m>(
    moved: impl IntoIterator<Item = &'m Moved>,
) -> BTreeMap<(TensorId, Stored, bool), [u64; 3]> {
    let mut sums = BTreeMap::new();
    for Moved { tensor, stored, write, transfers, elements, bytes, .. } in moved {
        let sum: &mut [u64; 3] = sums.entry((*tensor, *stored, *write)).or_default();
        for (sum, more) in sum.iter_mut().zip([transfers, elements, bytes]) {
            *sum += more;
        }
    }
    sums
}

#[test]
fn what_dram_loses_the_buffer_gains_and_cycles_are_equal_but_for_stalls() {
    let machines = [
        r#"{"rows": 8, "cols": 8}"#,
        r#"{"rows": 5, "cols": 16, "dataflow": "ws"}"#,
        r#"{"rows": 16, "cols": 4, "dataflow": "is"}"#,
    ];
    let (mut lost, mut kept) = (0, 0);
    for array in machines {
        for (layout, residency) in [
            ("transposer", "none"),
            ("two-copies", "none"),
            ("transposer", "keep-if-next"),
            ("two-copies", "keep-if-next"),
        ] {
            for pads in [1024, 32768] {
                let pads = format!(
                    r#"{{"a_bytes": {pads}, "b_bytes": {pads}, "c_bytes": {pads}, "buffer_bytes": BYTES}}"#
                );
                let machine = |bytes: u64| {
                    let pads = pads.replace("BYTES", &bytes.to_string());
                    experiment(&[
                        ("accelerator.array", array),
                        ("accelerator.layout", layout),
                        ("accelerator.residency", residency),
                        ("accelerator.dram", r#"{"bytes_per_cycle": 4, "latency_cycles": 9}"#),
                        ("accelerator.scratchpad", &pads),
                    ])
                };
                let none = machine(0);
                for bytes in [1024, 4096, 16384, 65536] {
                    let buffered = machine(bytes);
                    for arithmetic in [Arithmetic::Fixed, Arithmetic::FLOAT32] {
                        let [bare, held] = [&none, &buffered].map(|of| costs(of, arithmetic));
                        for (at, write, _) in bare.program.all_writes() {
                            for second_pass in [false, true] {
                                let work = bare.program.work(at, 32);
                                let cost = |of: &Costs<'_>| of.of(at, work, second_pass).unwrap();
                                let (before, after) = (cost(&bare), cost(&held));
                                let both = after.moved.iter().chain(&after.stayed);
                                assert_eq!(sums(&before.moved), sums(both), "{write:?}");
                                let busy =
                                    |cost: &Cost| cost.cycles.total().0 - cost.cycles.stall.0;
                                assert_eq!(busy(&before), busy(&after), "{write:?}");
                                lost += usize::from(after.moved.len() < before.moved.len());
                                kept += usize::from(after.moved == before.moved);
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(lost > 1000 && kept > 100, "{lost} commands move less, {kept} as much");
}

/// A buffer of tags, byte by byte: whose each is.
struct Tagged<'r> {
    report: &'r BufferReport,
    tags: Vec<Option<(&'r str, bool)>>,
}

impl<'r> Tagged<'r> {
    /// With all state in its place.
    fn new(report: &'r BufferReport) -> Self {
        let mut buffer = Self { report, tags: vec![None; report.capacity_bytes as usize] };
        buffer.state().for_each(|of| buffer.write(&of.tensor, of.mask));
        buffer
    }

    fn state(&self) -> impl Iterator<Item = &'r BufferedTensor> + use<'r> {
        self.report.tensors.iter().filter(|of| of.first.is_none())
    }

    fn find(&self, tensor: &str, mask: bool) -> Option<(&'r str, std::ops::Range<usize>)> {
        let is = |of: &&BufferedTensor| of.tensor == tensor && of.mask == mask;
        let found = self.report.tensors.iter().find(is)?;
        let address = found.address? as usize;
        Some((&found.tensor, address..address + found.bytes as usize))
    }

    fn write(&mut self, tensor: &str, mask: bool) {
        if let Some((tensor, bytes)) = self.find(tensor, mask) {
            self.tags[bytes].fill(Some((tensor, mask)));
        }
    }

    /// Whether it is there, untouched, if it lives there.
    fn reads(&self, tensor: &str, mask: bool) -> bool {
        self.find(tensor, mask).is_none_or(|(tensor, bytes)| {
            self.tags[bytes].iter().all(|&tag| tag == Some((tensor, mask)))
        })
    }
}

#[test]
fn in_random_programs_every_read_finds_what_was_written_and_nothing_else_passes_dram() {
    let (mut seen, mut lived, mut fused, mut other_flows) = (0, 0, 0, 0);
    let programs = (0..).filter_map(|number| Some((number, draw(number)?)));
    for (number, mut prepared) in programs.take(2000) {
        let mut draws = Draws::new("machines with a buffer", number);
        let waits = |scale: Scale| matches!(scale, Scale::Dynamic | Scale::Block { .. });
        let gradients =
            prepared.program.tensors.iter().filter(|of| of.role == Role::WeightGradients);
        let may_fuse = gradients.into_iter().all(|of| !waits(of.plan.scale));
        let accelerator = &mut prepared.experiment.accelerator;
        accelerator.dram.burst_bytes = draws.of(&[1, 4, 32]);
        accelerator.dram.bytes_per_cycle = draws.of(&[None, Some(3)]);
        accelerator.array.dataflow = draws.of(&[
            Dataflow::OutputStationary,
            Dataflow::WeightStationary,
            Dataflow::InputStationary,
            Dataflow::Auto,
        ]);
        accelerator.layout = draws.of(&[Layout::Transposer, Layout::TwoCopies]);
        accelerator.residency = draws.of(&[Residency::None, Residency::KeepIfNext]);
        accelerator.scratchpad.stash_bytes = 0;
        accelerator.scratchpad.buffer_bytes = 0;
        if may_fuse && draws.below(2) == 0 {
            accelerator.update = UpdateOrder::Fused;
            fused += 1;
        }
        let mut buffered = prepared.clone();
        buffered.experiment.accelerator.scratchpad.buffer_bytes =
            (1 + draws.below(40)) * draws.of(&[16, 64]);
        let samples = prepared.experiment.training.batch + 1;
        for arithmetic in [Arithmetic::Fixed, Arithmetic::FLOAT32] {
            let [bare, costs] =
                [&prepared, &buffered].map(|of| of.costs(arithmetic, of.batches(Some(samples))));
            let batch = prepared.experiment.training.batch;
            let in_one_flow = bare.program.all_writes().all(|(at, ..)| {
                let Work::Gemm(shape) = bare.program.work(at, batch) else { return true };
                let flow = |costs: &Costs<'_>| costs.mapping(at, shape).stationary;
                flow(&bare) == flow(&costs)
            });
            // `auto` may choose others where fewer transfers are waited for.
            if !in_one_flow {
                assert_eq!(prepared.experiment.accelerator.array.dataflow, Dataflow::Auto);
                other_flows += 1;
                continue;
            }
            let report = BufferReport::new(&costs).expect("a buffer");
            lived += usize::from(report.tensors.iter().any(|of| of.address.is_some()));
            seen += 1;
            let program = costs.program;
            let name = |tensor: TensorId| program.tensor(tensor).name.as_str();
            let is_float = arithmetic != Arithmetic::Fixed;
            // On float hardware weights are their own master.
            let own = |tensor: TensorId| {
                let updates = program.commands.iter().filter_map(|of| of.operation.update());
                let mut of = updates.filter(|of| is_float && of.working == Some(tensor));
                of.next().map_or(tensor, |update| update.written)
            };
            let is_fused = prepared.experiment.accelerator.update == UpdateOrder::Fused;
            let taken =
                |tensor: TensorId| is_fused && program.tensor(tensor).role == Role::WeightGradients;
            let mut buffer = Tagged::new(&report);
            for step in 0..2 {
                let mut entered = false;
                for (at, write, command) in program.all_writes() {
                    let shown = || format!("program {number}, step {step}: {}", write.name);
                    for (tensor, what) in command.operation.reads(write.tensor) {
                        if tensor == program.input && !entered {
                            buffer.write(name(tensor), false);
                            entered = true;
                        } else if !taken(tensor) {
                            assert!(
                                buffer.reads(name(own(tensor)), what == What::Mask),
                                "{}",
                                shown()
                            );
                        }
                    }
                    if !taken(write.tensor) && own(write.tensor) == write.tensor {
                        buffer.write(name(write.tensor), false);
                    }
                    buffer.write(name(write.tensor), true);
                    let work = program.work(at, prepared.experiment.training.batch);
                    let [before, after] = [&bare, &costs].map(|of| of.of(at, work, false).unwrap());
                    let all = after.moved.iter().chain(&after.stayed);
                    assert_eq!(sums(&before.moved), sums(all), "{}", shown());
                    for moved in after.moved.iter().filter(|of| of.stored != Stored::Sums) {
                        let lives =
                            buffer.find(name(own(moved.tensor)), moved.stored == Stored::Mask);
                        assert!(lives.is_none() || moved.tensor == program.input, "{}", shown());
                    }
                }
                assert!(
                    buffer.state().all(|of| buffer.reads(&of.tensor, of.mask)),
                    "program {number}"
                );
            }
        }
    }
    assert!(
        seen + other_flows == 4000 && seen > 3600 && lived > 3200 && fused > 500,
        "{seen} seen, {other_flows} in other flows, {lived} used, {fused} fused"
    );
}

/// Some candidates, states among them, that live for some of 12 commands.
fn candidates(draws: &mut Draws) -> Vec<BufferCandidate> {
    let count = 1 + draws.below(16);
    let candidate = |draws: &mut Draws| {
        let (from, to) = (draws.below(12) as usize, draws.below(12) as usize);
        let state = draws.below(3) == 0;
        BufferCandidate {
            bytes: 32 * (1 + draws.below(40)),
            worth: 32 * draws.below(2000),
            life: (!state).then_some((from.min(to), from.max(to))),
        }
    };
    (0..count).map(|_| candidate(draws)).collect()
}

/// Bytes that the candidates of `chosen` need at once at least: the most that live together.
fn needed(candidates: &[BufferCandidate], chosen: u32) -> u64 {
    let is = |at: &usize| chosen >> at & 1 == 1;
    let at = |command: usize| -> u64 {
        let living = (0..candidates.len()).filter(is).filter(|&at| {
            candidates[at].life.is_none_or(|(first, last)| (first..=last).contains(&command))
        });
        living.map(|at| candidates[at].bytes).sum()
    };
    (0..12).map(at).max().unwrap_or(0)
}

#[test]
fn layouts_do_not_overlap_grow_with_the_buffer_and_come_near_the_best_there_is() {
    let mut draws = Draws::new("layouts of a buffer", 0);
    let mut excesses = Vec::new();
    for case in 0..300 {
        let candidates = candidates(&mut draws);
        let mut before = 0;
        for capacity in (0..=4096).step_by(32) {
            let layout = BufferLayout::new(&candidates, capacity, 32);
            assert!(layout.worth >= before, "case {case}: {capacity} bytes");
            before = layout.worth;
            let lives: Vec<_> = candidates
                .iter()
                .zip(&layout.addresses)
                .filter_map(|(of, address)| Some((of, (*address)?)))
                .collect();
            let worth: u64 = lives.iter().map(|(of, _)| of.worth).sum();
            assert_eq!(worth, layout.worth, "case {case}: {capacity} bytes");
            assert!(layout.step_bytes + layout.state_bytes <= capacity);
            for (at, (one, address)) in lives.iter().enumerate() {
                assert!(address + one.bytes <= capacity && address % 32 == 0);
                assert!(one.worth == 0 || one.life.is_none() == (*address >= layout.step_bytes));
                for (other, begin) in &lives[at + 1..] {
                    let together = match (one.life, other.life) {
                        (Some(a), Some(b)) => a.0 <= b.1 && b.0 <= a.1,
                        _ => true,
                    };
                    let apart = address + one.bytes <= *begin || begin + other.bytes <= *address;
                    assert!(!together || apart, "case {case}: {one:?} and {other:?}");
                }
            }
        }
        // The bound that no layout can pass: what fits in every command, whatever its address.
        let capacity = 32 * (1 + draws.below(100));
        let worth = |chosen: u32| -> u64 {
            let is = |at: &usize| chosen >> at & 1 == 1;
            (0..candidates.len()).filter(is).map(|at| candidates[at].worth).sum()
        };
        let fits = (0..1u32 << candidates.len()).filter(|&of| needed(&candidates, of) <= capacity);
        let best = fits.map(worth).max().unwrap_or(0);
        let found = BufferLayout::new(&candidates, capacity, 32).worth;
        assert!(found <= best, "case {case}");
        let all = worth(u32::MAX);
        // What DRAM moves in excess of the least that it could.
        if best < all {
            excesses.push((best - found) as f64 / (all - best) as f64);
        }
    }
    let mean = excesses.iter().sum::<f64>() / excesses.len() as f64;
    assert!(excesses.len() > 200 && mean < 0.15, "{mean} over {}", excesses.len());
}

#[test]
fn a_larger_buffer_never_moves_more() {
    for batch in ["8", "32", "128", "1000"] {
        let batch = ("training.batch", batch);
        // By the layouts, at every burst.
        let prepared = with(65536, &[batch]);
        let report = BufferReport::new(&costs(&prepared, Arithmetic::Fixed)).expect("a buffer");
        let names: Vec<&str> =
            prepared.program.writes.iter().map(|write| write.name.as_str()).collect();
        let place = |name: &Option<String>| {
            name.as_ref().map(|name| names.iter().position(|known| known == name).unwrap())
        };
        let candidates: Vec<BufferCandidate> = report
            .tensors
            .iter()
            .map(|of| BufferCandidate {
                bytes: of.bytes,
                worth: of.worth_bytes,
                life: place(&of.first).zip(place(&of.last)),
            })
            .collect();
        let worths = (0..=65536).step_by(32).map(|bytes| {
            let layout = BufferLayout::new(&candidates, bytes, 32);
            (layout.worth, bytes)
        });
        assert!(worths.is_sorted(), "{batch:?}");
        // And by what is moved.
        let bytes: Vec<u64> = [0, 1, 2, 3, 5, 8, 11, 16, 20, 24, 28, 32, 48, 64, 128, 256]
            .into_iter()
            .map(|kilobytes| {
                let prepared = with(kilobytes << 10, &[batch]);
                epoch_bytes(&costs(&prepared, Arithmetic::Fixed))
            })
            .collect();
        assert!(bytes.is_sorted_by(|few, many| few >= many), "{batch:?}: {bytes:?}");
    }
}

#[test]
fn a_product_alone_keeps_its_operands_while_it_runs() {
    let machine = include_str!("../../models/accelerators/edge-16x16.json");
    let machine: Accelerator = serde_json::from_str(machine).expect("an accelerator");
    let widths = GemmWidths { a: 8, b: 8, accumulator: 32, output: 8 };
    let mut draws = Draws::new("products with a buffer", 0);
    let mut fewer = 0;
    for number in 0..60 {
        let [m, k, n] = [(); 3].map(|()| 1 + draws.below(1000) as usize);
        // With other transfers to wait for, another dataflow may take fewest cycles.
        let dataflow = Stationary::ALL[number % 3].into();
        let bytes: Vec<u64> = [0, 4 << 10, 64 << 10, 512 << 10, 16 << 20]
            .into_iter()
            .map(|buffer_bytes| {
                let mut machine = machine.clone();
                machine.scratchpad.buffer_bytes = buffer_bytes;
                machine.array.dataflow = dataflow;
                let shape = GemmShape { m, k, n };
                GemmReport::new(&machine, shape, widths).expect("a report").dram_bytes
            })
            .collect();
        assert!(bytes.is_sorted_by(|few, many| few >= many), "{m} x {k} x {n}: {bytes:?}");
        // Each operand comes once at least, and results leave.
        assert!(bytes[4] >= (m * k + k * n + m * n) as u64, "{m} x {k} x {n}: {bytes:?}");
        fewer += usize::from(bytes[4] < bytes[0]);
    }
    assert!(fewer > 20, "{fewer} move less");
}

#[test]
fn what_a_step_of_a_large_network_moves_at_2_mb_are_its_masters() {
    let network = r#"{
        "input": [784],
        "layers": [{"dense": {"units": 1000}}, "relu", {"dense": {"units": 1000}}, "relu", {"dense": {"units": 10}}],
        "loss": "softmax_cross_entropy"
    }"#;
    let prepared = with(2 << 20, &[("network", network), ("training.batch", "100"), FUSED]);
    let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(Some(55_000)));
    let (mut all, mut masters) = (0, 0);
    for (at, ..) in costs.program.all_writes() {
        let cost = costs.of(at, costs.program.work(at, 100), false).expect("a cost");
        for moved in cost.moved {
            let is_master = costs.program.tensor(moved.tensor).role == Role::Master;
            all += moved.bytes;
            masters += if is_master { moved.bytes } else { 0 };
        }
    }
    let near = |found: u64, expected: f64| (found as f64 / expected - 1.0).abs() < 0.01;
    assert!(near(all, 7.67e6) && near(masters, 7.14e6), "{all} bytes, {masters} of masters");
}
