//! A memory on chip for what the backward pass reads of the forward pass.

use std::collections::{BTreeMap, BTreeSet};

use systoliq_energy::{Access, Profile};
use systoliq_hardware::memory::Moved;
use systoliq_hardware::stash::Stash;
use systoliq_hardware::{cost::Arithmetic, cost::Cost};
use systoliq_hardware::{events::Component, events::ScratchpadRows};
use systoliq_program::{Command, Write, WriteId};
use systoliq_run::Prepared;

use super::properties::experiment;

/// 64-64-32-10: of a batch of 32, masks of 256 and 128 bytes, activations of 2048 and 1024.
const TWO_HIDDEN: (&str, &str) = (
    "network.layers",
    r#"[{"dense": {"units": 64}}, "relu", {"dense": {"units": 32}}, "relu", {"dense": {"units": 10}}]"#,
);

/// An experiment with a stash of so many bytes.
fn with(stash_bytes: u64, overrides: &[(&str, &str)]) -> Prepared {
    let bytes = stash_bytes.to_string();
    let stash = [TWO_HIDDEN, ("accelerator.scratchpad.stash_bytes", bytes.as_str())];
    experiment(&[&stash[..], overrides].concat())
}

/// What every command takes, by its name, on so many samples.
fn costs(
    prepared: &Prepared,
    arithmetic: Arithmetic,
    batch: usize,
    second_pass: bool,
) -> BTreeMap<String, Cost> {
    let (program, costs) = (&prepared.program, prepared.costs(arithmetic, prepared.batches(None)));
    let of = |(at, write, _): (WriteId, &Write, &Command)| {
        let cost = costs.of(at, program.work(at, batch), second_pass).expect("a cost");
        (write.name.clone(), cost)
    };
    program.all_writes().map(of).collect()
}

/// The tensors of which something was not moved because it stays, by direction.
fn stayed(prepared: &Prepared, costs: &BTreeMap<String, Cost>) -> BTreeSet<(String, bool, u64)> {
    let of = |moved: &Moved| {
        (prepared.program.tensor(moved.tensor).name.clone(), moved.write, moved.elements)
    };
    costs.values().flat_map(|cost| cost.stayed.iter().map(of)).collect()
}

/// Transfers, elements and bytes of each tensor in each direction.
fn sums<'m>(moved: impl IntoIterator<Item = &'m Moved>) -> BTreeMap<(usize, bool), [u64; 3]> {
    let mut sums: BTreeMap<(usize, bool), [u64; 3]> = BTreeMap::new();
    for moved in moved {
        let sum = sums.entry((moved.tensor.0, moved.write)).or_default();
        for (sum, more) in sum.iter_mut().zip([moved.transfers, moved.elements, moved.bytes]) {
            *sum += more;
        }
    }
    sums
}

/// The names of what is kept on chip, masks with a mark.
fn kept(prepared: &Prepared) -> Vec<String> {
    let kept = Stash::new(&prepared.costs(Arithmetic::Fixed, prepared.batches(None)))
        .kept
        .into_iter()
        .flat_map(|kept| {
            let mask = (kept.mask_on_chip_bytes > 0).then(|| format!("{}?", kept.tensor));
            let elements = (kept.on_chip_bytes > 0).then_some(kept.tensor);
            [mask, elements]
        });
    kept.flatten().collect()
}

#[test]
fn masks_and_activations_are_kept_as_they_are_made_until_one_does_not_fit() {
    let all = ["y0?", "y0", "y1?", "y1"];
    for (bytes, count) in [
        (0, 0),
        (1024, 1),
        (2303, 1),
        (2304, 2),
        (2431, 2),
        (2432, 3),
        (3455, 3),
        (3456, 4),
        (1 << 21, 4),
    ] {
        let prepared = with(bytes, &[]);
        assert_eq!(kept(&prepared), all[..count], "{bytes} bytes");
        let stash = Stash::new(&prepared.costs(Arithmetic::Fixed, prepared.batches(None)));
        let sizes = [256, 2048, 128, 1024];
        let on_chip: u64 = sizes[..count].iter().sum();
        assert_eq!(stash.capacity_bytes, bytes);
        assert_eq!((stash.on_chip_bytes, stash.spilled_bytes), (on_chip, 3456 - on_chip));
        // The 64 bytes of each sample are read again as well.
        assert_eq!(stash.peak_bytes, 3456 + 32 * 64);
    }
    // What does not fit is followed by nothing that would.
    let wide = [("training.batch", "128")];
    assert_eq!(kept(&with(4096, &wide)), ["y0?"]);
}

#[test]
fn a_short_batch_keeps_what_a_full_one_does() {
    let prepared = with(1024, &[]);
    // Of 13 samples the activations would fit, too.
    let short = costs(&prepared, Arithmetic::Fixed, 13, false);
    let mask = |write: bool| ("y0".to_owned(), write, 13 * 64);
    assert_eq!(stayed(&prepared, &short), BTreeSet::from([mask(false), mask(true)]));
}

#[test]
fn float32_hardware_has_the_same_bytes_for_wider_activations() {
    let prepared = with(3456, &[]);
    let float32 = costs(&prepared, Arithmetic::FLOAT32, 32, false);
    let mask = |write: bool| ("y0".to_owned(), write, 32 * 64);
    assert_eq!(stayed(&prepared, &float32), BTreeSet::from([mask(false), mask(true)]));
    let fixed = costs(&prepared, Arithmetic::Fixed, 32, false);
    // As many elements as bits of the mask.
    let all = [("y0", false, 2048), ("y0", true, 2048), ("y1", false, 1024), ("y1", true, 1024)];
    let all = all.map(|(name, write, elements)| (name.to_owned(), write, elements));
    assert_eq!(stayed(&prepared, &fixed), BTreeSet::from(all));
}

#[test]
fn what_is_kept_moves_no_byte_and_all_else_moves_as_without_a_stash() {
    let arrays = [
        r#"{"rows": 8, "cols": 8}"#,
        r#"{"rows": 5, "cols": 16, "dataflow": "ws", "overlap": "pipelined"}"#,
        r#"{"rows": 16, "cols": 4, "dataflow": "is", "overlap": "double-buffered"}"#,
    ];
    let dram =
        r#"{"kind": "lpddr4", "burst_bytes": 32, "bytes_per_cycle": 2, "latency_cycles": 9}"#;
    for array in arrays {
        for (layout, residency) in
            [("transposer", "none"), ("two-copies", "none"), ("transposer", "keep-if-next")]
        {
            let machine = [
                ("accelerator.array", array),
                ("accelerator.layout", layout),
                ("accelerator.residency", residency),
                ("accelerator.dram", dram),
            ];
            let mut before: Option<(u64, u64, Vec<String>)> = None;
            for bytes in [0, 1024, 2304, 2432, 3456, 8192] {
                let (none, some) = (with(0, &machine), with(bytes, &machine));
                let (mut cycles, mut moved) = (0, 0);
                for second_pass in [false, true] {
                    for batch in [32, 13] {
                        let plain = costs(&none, Arithmetic::Fixed, batch, second_pass);
                        let stashed = costs(&some, Arithmetic::Fixed, batch, second_pass);
                        for (name, cost) in &stashed {
                            let plain = &plain[name];
                            let shown = || format!("{name}, {bytes} bytes, {machine:?}");
                            let all = sums(cost.moved.iter().chain(&cost.stayed));
                            assert_eq!(all, sums(&plain.moved), "{}", shown());
                            let working = |cost: &Cost| cost.cycles.total().0 - cost.cycles.stall.0;
                            assert_eq!(working(cost), working(plain), "{}", shown());
                            assert!(cost.cycles.stall <= plain.cycles.stall, "{}", shown());
                            let less = !cost.stayed.is_empty();
                            assert_eq!(cost != plain, less, "{}", shown());
                            // The stash takes no row from the scratchpads.
                            let rows = ScratchpadRows::of(&cost.tally);
                            let others = ScratchpadRows { stash: Default::default(), ..rows };
                            assert_eq!(others, ScratchpadRows::of(&plain.tally), "{}", shown());
                            assert_eq!(rows.stash.reads + rows.stash.writes > 0, less);
                            cycles += cost.cycles.total().0;
                            moved += cost.moved.iter().map(|moved| moved.bytes).sum::<u64>();
                        }
                    }
                }
                let kept = kept(&some);
                if let Some((slower, more, fewer)) = before {
                    assert!(cycles <= slower && moved <= more, "{bytes} bytes, {machine:?}");
                    assert!(kept.starts_with(&fewer), "{fewer:?}, then {kept:?}");
                    assert_eq!(moved < more, kept.len() > fewer.len(), "{kept:?}");
                }
                before = Some((cycles, moved, kept));
            }
            let (.., kept) = before.expect("six sizes");
            assert_eq!(kept.len(), 4, "{machine:?}");
        }
    }
}

/// The sums over the commands of a step on a full batch.
fn step(prepared: &Prepared) -> (u64, ScratchpadRows, f64) {
    let prices = crate::support::prices(prepared, Arithmetic::Fixed);
    let (mut bytes, mut rows, mut energy) = (0, ScratchpadRows::default(), 0.0);
    for cost in costs(prepared, Arithmetic::Fixed, 32, false).values() {
        bytes += cost.moved.iter().map(|moved| moved.bytes).sum::<u64>();
        let of = ScratchpadRows::of(&cost.tally);
        rows.stash.reads += of.stash.reads;
        rows.stash.writes += of.stash.writes;
        let priced = cost.tally.energy(&prices).expect("prices");
        energy += priced.of(Component::Dram).0 + priced.of(Component::Scratchpad).0;
    }
    (bytes, rows, energy)
}

#[test]
fn a_step_with_a_stash_costs_what_it_costs_on_paper() {
    let one_hidden =
        ("network.layers", r#"[{"dense": {"units": 64}}, "relu", {"dense": {"units": 10}}]"#);
    let plain = step(&with(0, &[one_hidden]));
    let stashed = step(&with(4096, &[one_hidden]));
    // y0, 32 x 64 bytes, is written once, and read by z1 and dw1; its mask, a bit for each of them, is
    // written once and read by dz0. All fill whole bursts.
    let (elements, mask) = (32 * 64, 32 * 64 / 8);
    assert_eq!(plain.0 - stashed.0, 3 * elements + 2 * mask);
    // Rows of 8 elements: y0 leaves in 32 · 64/8 rows; z1 = y0 · w1' takes it in 4 tiles of 8 · 64/8
    // rows, against its layout, and dw1 = dz1' · y0 in 8 tiles of 32. The mask has as many rows as y0.
    let rows = 32 * 8;
    assert_eq!(stashed.1.stash.writes, rows + rows);
    assert_eq!(stashed.1.stash.reads, 4 * 8 * 8 + 8 * 32 + rows);
    assert_eq!(plain.1.stash, Default::default());
    // Rows of bytes have 64 bits, of mask 8; a bit of DRAM costs 8 pJ, and each time that a tensor or a
    // mask moves, one row of 2 KB is opened, 1,700 pJ.
    let table = Profile::horowitz45();
    // The array takes rows of 64 bits, for which the stash is built.
    let memory = table.sram(4096, 64).expect("a memory");
    let read = |bits: u32| table.sram_access(Access::Read, memory, bits).expect("a price").0;
    let write = |bits: u32| table.sram_access(Access::Write, memory, bits).expect("a price").0;
    let rows = rows as f64;
    let stash = rows * (write(64) + write(8) + 2.0 * read(64) + read(8));
    let saved = 8.0 * 8.0 * (3 * elements + 2 * mask) as f64 + 5.0 * 1700.0 - stash;
    let found = plain.2 - stashed.2;
    assert!((found / saved - 1.0).abs() < 1e-9, "{found} pJ saved, {saved} expected");
}

#[test]
fn what_the_next_command_finds_in_the_scratchpad_it_does_not_read_from_the_stash() {
    let resident = [("accelerator.residency", "keep-if-next")];
    let prepared = with(3456, &resident);
    let step = costs(&prepared, Arithmetic::Fixed, 32, false);
    let of = |name: &str, write: bool| -> Vec<u64> {
        let y0 = |moved: &&Moved| prepared.program.tensor(moved.tensor).name == "y0";
        let stayed = step[name].stayed.iter().filter(y0);
        stayed.filter(|moved| moved.write == write).map(|moved| moved.elements).collect()
    };
    // Its elements and its mask go to the stash all the same.
    assert_eq!(of("0.forward.y0", true), [32 * 64; 2]);
    assert!(of("1.forward.y1", false).is_empty());
    assert_eq!(of("1.weight_gradient.dw1", false), [32 * 64]);
    assert_eq!(ScratchpadRows::of(&step["1.forward.y1"].tally).stash.reads, 0);
}

#[test]
fn two_copies_are_kept_both_or_not_at_all() {
    let copies = [("accelerator.layout", "two-copies")];
    assert_eq!(kept(&with(4351, &copies)), ["y0?"]);
    let prepared = with(4352, &copies);
    assert_eq!(kept(&prepared), ["y0?", "y0"]);
    let forward = costs(&prepared, Arithmetic::Fixed, 32, false).remove("0.forward.y0");
    let stayed = forward.expect("a command").stayed;
    assert_eq!(stayed.iter().map(|moved| moved.bytes).sum::<u64>(), 256 + 2 * 2048);
}
