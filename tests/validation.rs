//! The machines of models/validation beside what was published of them.
//!
//! Each figure is a line of the table in docs/energy.md, which must stand there as it is computed here.

use crate::shell;
use std::fs;

use serde_json::Value;
use systoliq::load;
use systoliq_energy::{Access, Cell, DramKind, Picojoules, Profile};
use systoliq_hardware::Accelerator;
use systoliq_hardware::cost::{Arithmetic, Costs};
use systoliq_hardware::efficiency::peak_tops;
use systoliq_hardware::prices::Prices;
use systoliq_hardware::{
    events::Buffer, events::Component, events::EnergyByComponent, events::Event, events::Tally,
};
use systoliq_hardware::{roofline::BoundBy, roofline::Roofline};
use systoliq_hardware::{single::GemmReport, single::GemmWidths};
use systoliq_import::scalesim::Topology;
use systoliq_import::scalesim::topology::OutputSize;
use systoliq_program::GemmShape;
use systoliq_study::workload::{LayerWork, Workload};

fn machine(name: &str) -> Accelerator {
    let file = shell::root().join(format!("models/validation/{name}.json"));
    load::accelerator(&file).unwrap_or_else(|failure| panic!("{}: {failure:?}", file.display()))
}

fn widths(operands: u32) -> GemmWidths {
    GemmWidths { a: operands, b: operands, accumulator: 32, output: operands }
}

fn gemm(accelerator: &Accelerator, m: usize, n: usize, k: usize) -> GemmReport {
    GemmReport::new(accelerator, GemmShape { m, k, n }, widths(8)).expect("a possible product")
}

fn by_component(report: &GemmReport) -> &EnergyByComponent {
    &report.energy_pj.by_component
}

/// Three significant digits, or more before the point.
fn digits(value: f64) -> String {
    let before = value.abs().log10().floor() as i32 + 1;
    format!("{value:.*}", usize::try_from(3 - before).unwrap_or(0))
}

/// Holds our figure to within `factor` of the published one, and docs/energy.md to both.
#[track_caller]
fn beside(what: &str, published: f64, ours: f64, factor: f64, certainty: &str) {
    let ratio = ours / published;
    assert!((1.0 / factor..=factor).contains(&ratio), "{what}: {published}, ours {ours}");
    let (published, ours) = (digits(published), digits(ours));
    let line = format!("| {what} | {published} | {ours} | {ratio:.2} | {certainty} |");
    let document = shell::root().join("docs/energy.md");
    let document = fs::read_to_string(document).expect("docs/energy.md");
    assert!(document.lines().any(|found| found == line), "docs/energy.md lacks\n{line}");
}

/// Jouppi et al., ISCA 2017.
#[test]
fn tpu_v1_has_its_peak_and_its_rooflines() {
    let tpu = machine("tpu-v1");
    let peak = peak_tops(&tpu.array, tpu.clock_mhz());
    assert!((peak - 91.75).abs() < 0.005, "{peak}");
    beside("TPU v1: peak, TOPS", 92.0, peak, 1.01, "high");
    let bytes_per_second = 34e9;
    for (network, macs_per_byte, achieved) in
        [("MLP0", 200, 12.3), ("MLP1", 168, 9.7), ("LSTM0", 64, 3.7), ("LSTM1", 96, 2.8)]
    {
        let roofline = Roofline::new(&tpu, macs_per_byte, 1, 1).expect("work");
        assert_eq!(roofline.bound_by, BoundBy::Memory, "{network}");
        let ours = 2.0 * roofline.bound_macs_per_cycle * tpu.clock_mhz() / 1e6;
        let published = 2.0 * macs_per_byte as f64 * bytes_per_second / 1e12;
        assert!(achieved < ours.min(published), "{network}: {achieved}, bound {ours}");
        let what = format!("TPU v1: bound of {network}, {macs_per_byte} MACs per byte, TOPS");
        beside(&what, published, ours, 1.01, "medium");
    }
    for (network, macs_per_byte, achieved) in [("CNN0", 2888, 86.0), ("CNN1", 1750, 14.1)] {
        let roofline = Roofline::new(&tpu, macs_per_byte, 1, 1).expect("work");
        assert_eq!(roofline.bound_by, BoundBy::Compute, "{network}");
        assert!(achieved < peak, "{network}");
    }
}

/// MLP0 has 20 million weights in 5 layers, and batches of 200. Here a layer's activations come from
/// DRAM and go there; the TPU keeps them.
#[test]
fn a_layer_of_mlp0_takes_tpu_v1_about_as_long_as_it_took() {
    let tpu = machine("tpu-v1");
    let layer = gemm(&tpu, 200, 2000, 2000);
    let roofline = layer.roofline.expect("work");
    assert!(roofline.macs_per_cycle < roofline.bound_macs_per_cycle, "{roofline:?}");
    let tops = layer.hardware.tops;
    beside("TPU v1: MLP0 as it ran, TOPS", 12.3, tops, 1.25, "medium");
}

/// 40 W busy less 28 W idle, at 86 TOPS; all of the chip, where ours is the PEs alone.
#[test]
fn a_multiply_accumulate_of_tpu_v1_takes_about_what_its_power_leaves_for_it() {
    let report = gemm(&machine("tpu-v1"), 4096, 2048, 2048);
    // Full of work but for stalls, in which nothing is clocked.
    let busy = report.macs as f64 / report.counts.pe_cycles as f64;
    assert!(busy > 0.9, "{busy}");
    let energy = by_component(&report);
    let parts = [
        Component::Multiplier,
        Component::Adder,
        Component::Registers,
        Component::Wires,
        Component::ClockTree,
    ];
    let pes: Picojoules = parts.map(|part| energy.of(part)).iter().sum();
    let published = (40.0 - 28.0) / 43e12 * 1e12;
    let ours = pes.0 / report.macs as f64;
    beside("TPU v1: 8-bit MAC at 28 nm, pJ", published, ours, 2.0, "derived, rough");
}

/// Gupta et al., ICML 2015: 784 DSPs of a Kintex-7.
#[test]
fn guptas_array_has_its_peak() {
    let gupta = machine("gupta-2015");
    let gops = 1e3 * peak_tops(&gupta.array, gupta.clock_mhz());
    assert!((gops - 260.3).abs() < 0.05, "{gops}");
    beside("Gupta 2015: peak, Gop/s", 260.0, gops, 1.01, "medium");
}

/// Chen, Emer, Sze, ISCA 2016, by the prices that a run is charged.
#[test]
fn eyeriss_has_its_relative_costs() {
    let eyeriss = Accelerator { node_nm: None, ..machine("eyeriss") };
    let profile = Profile::named("eyeriss-rel").expect("a profile");
    let prices = Prices::new(&eyeriss, profile, &Tally::default()).expect("prices");
    let price = |event| prices.price(event).expect("a price").0;
    let write = price(Event::RegisterWrite { bits: 16 });
    for (what, published, ours) in [
        ("MAC", 1.0, price(Event::Multiply { bits_a: 16, bits_b: 16 })),
        ("register file", 1.0, write),
        ("hop to the next PE", 2.0, price(Event::Hop { bits: 16 }) + write),
        ("buffer", 6.0, price(Event::ScratchpadRead { buffer: Buffer::A, row_bits: 16 })),
        ("DRAM", 200.0, 16.0 * price(Event::DramBit)),
    ] {
        assert!((ours - published).abs() < 1e-12, "{what}: {ours}");
        let what = format!("Eyeriss: {what}, 16 bits, relative");
        beside(&what, published, ours, 1.0 + 1e-12, "high");
    }
}

/// Chen et al., JSSC 2017: AlexNet's convolutions, four images: 278 mW without DRAM for 115.3 ms. The
/// chip holds rows stationary and gates zeros; ours holds weights.
#[test]
fn convolutions_of_alexnet_take_within_a_small_factor_of_what_the_chip_took() {
    let eyeriss = machine("eyeriss");
    let file = shell::root().join("models/topologies/alexnet.csv");
    let topology = Topology::parse(&fs::read_to_string(file).expect("a topology"));
    let topology = topology.expect("a topology");
    let workload = Workload::new(&topology, OutputSize::Floor, false, widths(16)).expect("widths");
    let costs = Costs::apart(&workload.program, &eyeriss, Arithmetic::Fixed, 1);
    let convolutions = workload.work.iter().filter(|work| work.layer.starts_with("Conv"));
    let (mut macs, mut tally, mut bytes) = (0, Tally::default(), 0);
    for at in convolutions.flat_map(LayerWork::writes) {
        let cost = costs.of(at, workload.program.work(at, 1), false).expect("a possible product");
        macs += cost.counts.macs;
        tally.add_times(&cost.tally, 1);
        bytes += cost.moved.iter().map(|moved| moved.bytes).sum::<u64>();
    }
    let prices = Prices::new(&eyeriss, eyeriss.profile().expect("a profile"), &tally);
    let energy = tally.energy(&prices.expect("prices")).expect("a price for each event");
    let on_chip = energy.total().0 - energy.of(Component::Dram).0;
    // The chip's 2.66 * 10^9 are of four images.
    assert_eq!(macs, 665_784_864);
    let published = 278e-3 * 115.3e-3 / (4.0 * macs as f64) * 1e12;
    let ours = on_chip / macs as f64;
    beside("Eyeriss: MAC of AlexNet without DRAM, pJ", published, ours, 4.0, "high");
    let accesses = bytes as f64 / 2.0 / macs as f64;
    beside("Eyeriss: DRAM accesses per MAC of AlexNet", 0.0029, accesses, 10.0, "high");
}

/// Genc et al., DAC 2021, as laid out in Intel 22FFL; ours are cells alone.
#[test]
fn gemmini_is_laid_out_in_about_three_times_its_cells() {
    let gemmini = machine("gemmini");
    let report = gemm(&gemmini, 128, 128, 128);
    let area = report.hardware.area;
    let thousands = |um2: f64| um2 / 1e3;
    let array = thousands(area.array_um2 + area.edge_um2);
    beside("Gemmini: array, 1000 µm² at 22 nm", 116.0, array, 3.5, "medium");
    let memory = thousands(area.a_um2 + area.b_um2);
    beside("Gemmini: scratchpad of 256 KB, 1000 µm²", 544.0, memory, 3.5, "medium");
    let sums = thousands(area.c_um2);
    beside("Gemmini: accumulators, 64 KB, 1000 µm²", 146.0, sums, 3.5, "medium");
}

/// Jouppi et al., ISCA 2021, Table 2.
#[test]
fn operations_of_a_pe_at_7_nm_are_those_published() {
    let profile = Profile::named("tpuv4i-7").expect("a profile");
    let ours = profile.multiply(8, 8) + profile.add(32);
    beside("TPUv4i: 8-bit product and 32-bit sum at 7 nm, pJ", 0.1, ours.0, 1.001, "medium");
}

/// A row of 64 bits. Accelergy's example of CACTI at 45 nm: 8.4 and 9.2 pJ of 8 KB, 56 of 128 KB; Horowitz, ISSCC
/// 2014: caches of 8 KB, 32 KB and 1 MB, 10, 20 and 100 pJ; Jouppi et al., ISCA 2021: 32 KB at 7 nm, 8.5 pJ.
#[test]
fn single_port_macros_take_a_fraction_of_published_memories() {
    for cell in Cell::ALL {
        let row = |profile: &str, access: Access, kilobytes: u64| {
            let profile = Profile::named(profile).and_then(|of| of.with_cell(cell).ok());
            let profile = profile.expect("a profile with a table");
            let memory = profile.sram(kilobytes << 10, 64).expect("a memory");
            profile.sram_access(access, memory, 64).expect("a price").0
        };
        let base = |access, kilobytes| row("horowitz45", access, kilobytes);
        for (what, published, ours, certainty) in [
            ("Accelergy: 8 KB, read", 8.4, base(Access::Read, 8), "medium"),
            ("Accelergy: 8 KB, written", 9.2, base(Access::Write, 8), "medium"),
            ("Accelergy: 128 KB, read", 56.0, base(Access::Read, 128), "medium"),
            ("Horowitz: cache of 8 KB, read", 10.0, base(Access::Read, 8), "high"),
            ("Horowitz: cache of 32 KB, read", 20.0, base(Access::Read, 32), "high"),
            ("Horowitz: cache of 1 MB, read", 100.0, base(Access::Read, 1024), "high"),
            ("TPUv4i: 32 KB at 7 nm, read", 8.5, row("tpuv4i-7", Access::Read, 32), "medium"),
        ] {
            let what = format!("{what}, `{}`, pJ", cell.name());
            beside(&what, published, ours, 6.0, certainty);
        }
    }
}

#[test]
fn a_stream_of_bytes_costs_its_bits_and_the_rows_that_it_opens() {
    let file = shell::root().join("models/energy/horowitz45.json");
    let figures: Value = serde_json::from_str(&fs::read_to_string(file).expect("a profile"))
        .expect("a profile in JSON");
    for kind in DramKind::ALL {
        let mut accelerator = machine("eyeriss");
        accelerator.dram.kind = kind;
        // One fold: A and B have 8 * 16,384 bytes, C 64, each a stream of its own.
        let report = gemm(&accelerator, 8, 8, 16_384);
        let figure = |key: &str| figures["dram"][kind.name()][key]["value"].as_f64();
        let [bit, activate, row] =
            ["bit", "activate", "row"].map(|key| figure(key).expect("a figure"));
        let streams = [131_072.0_f64, 131_072.0, 64.0];
        let expected: f64 =
            streams.iter().map(|bytes| 8.0 * bytes * bit + (bytes / row).ceil() * activate).sum();
        let found = by_component(&report).of(Component::Dram).0;
        assert!((found / expected - 1.0).abs() < 1e-12, "{kind:?}: {found}, expected {expected}");
    }
}
