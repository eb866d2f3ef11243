//! Energy of the whole machine: it adds up by every profile, follows widths as hardware does, and its
//! counts can be priced by anyone.

use std::collections::BTreeMap;

use crate::shell;
use crate::support::{WITHOUT_BUFFER, prepared, prices, train};
use serde_json::Value;
use systoliq_array::Array;
use systoliq_energy::{Access, FloatFormat, Profile};
use systoliq_hardware::cost::Arithmetic;
use systoliq_hardware::prices::Prices;
use systoliq_hardware::{accelerator::Scratchpads, events::Component};
use systoliq_hardware::{single::GemmReport, single::GemmWidths};
use systoliq_program::GemmShape;
use systoliq_run::trainer::Record;
use systoliq_run::{EngineKind, Prepared};
use systoliq_run::{timeline::Timeline, timeline::Totals};
use systoliq_study::Report;
use systoliq_study::savings::{Equal, Savings};

const SHORT: (&str, &str) = ("training.epochs", "1");

fn run(overrides: &[(&str, &str)]) -> (Prepared, Record) {
    let prepared = prepared("digits-mlp", &[&[SHORT], overrides].concat());
    let record = train(&prepared, 1, EngineKind::Fast, 1);
    (prepared, record)
}

fn report(overrides: &[(&str, &str)]) -> Value {
    let (prepared, record) = run(overrides);
    serde_json::to_value(Report::new(&prepared, &[record]).unwrap()).unwrap()
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}"))
}

fn sum(object: &Value) -> f64 {
    object.as_object().unwrap().values().map(|value| value.as_f64().unwrap()).sum()
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() <= 1e-12, "{found}, expected {expected}");
}

/// What is saved of everything in a timeline.
fn savings(prepared: &Prepared, timeline: &Timeline) -> Savings {
    let [fixed, float32] = [Arithmetic::Fixed, Arithmetic::FLOAT32]
        .map(|arithmetic| prepared.costs(arithmetic, prepared.batches(None)));
    Savings::new(prepared, timeline, [&fixed, &float32]).expect("savings")
}

#[test]
fn by_every_profile_components_passes_and_layers_add_up() {
    for name in Profile::NAMES {
        let report = report(&[("accelerator.energy", name), ("accelerator.activity", "toggles")]);
        let own = report["savings"]["ratios"][0]["by_profile"].as_object().unwrap();
        assert_eq!(own[name], own["own"], "{name}");
        // Each once, and where it has a table of SRAM with the other kind.
        let cells = |profile: &str| {
            let cell = Profile::named(profile).expect("a profile").cell();
            1 + usize::from(cell.is_some())
        };
        let all = Profile::NAMES.into_iter().chain([name]).map(cells);
        assert_eq!(own.len(), all.sum::<usize>(), "{name}");
        for path in ["/energy_pj", "/energy_pj/data_dependent"] {
            let total = number(&report, &format!("{path}/total"));
            for parts in ["by_component", "by_pass"] {
                close(sum(&report.pointer(&format!("{path}/{parts}")).unwrap().clone()), total);
            }
        }
        let layers = report["layers"].as_array().unwrap();
        let layers: f64 = layers.iter().map(|row| row["energy_pj"].as_f64().unwrap()).sum();
        close(layers, number(&report, "/energy_pj/total"));
        let [low, high] =
            [0, 1].map(|at| number(&report, &format!("/savings/ratios/0/between/{at}")));
        let own = number(&report, "/energy_pj/float32_total") / number(&report, "/energy_pj/total");
        close(number(&report, "/savings/ratios/0/value"), own);
        assert!(low <= own && own <= high, "{name}: {low} {own} {high}");
    }
}

/// Priced from the text of the CSV alone.
#[test]
fn raw_counts_and_a_profile_give_the_energy_of_every_component() {
    let (prepared, record) = run(&[("training.momentum", "0.5")]);
    let entries = record
        .timeline
        .entries(&prepared.costs(Arithmetic::Fixed, prepared.batches(None)))
        .unwrap();
    let csv = systoliq_run::timeline::actions(&prepared, &entries).csv();
    let prices = prices(&prepared, Arithmetic::Fixed);
    let (profile, silicon) = (Profile::horowitz45(), prices.silicon());
    let scratchpad = prepared.experiment.accelerator.scratchpad;
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("component,action,layer,pass,width,count"));
    let mut energy: BTreeMap<String, f64> = BTreeMap::new();
    for line in lines {
        let [component, action, _, _, width, count] =
            line.split(',').collect::<Vec<_>>().try_into().expect("six columns");
        let widths: Vec<u32> = width.split('x').filter_map(|bits| bits.parse().ok()).collect();
        let bits = widths.first().copied().unwrap_or(0);
        let bytes = match action.rsplit('_').next() {
            Some("a") => scratchpad.a_bytes,
            Some("b") => scratchpad.b_bytes,
            Some("buffer") => scratchpad.buffer_bytes,
            _ => scratchpad.c_bytes,
        };
        let price = match (component, action) {
            (_, "multiply") => profile.multiply(bits, widths[1]).0,
            (_, "add") => profile.add(bits).0,
            ("registers", "clock") => profile.register_clock(bits).0,
            ("clock_tree", "clock") => 0.3 * profile.register_clock(bits).0,
            (_, "write") => profile.register_write(bits).0,
            (_, "transpose") => 2.0 * profile.register_write(bits).0,
            (_, "hop") => 0.0001 * f64::from(bits) * silicon.pe_um2.sqrt(),
            (_, "nearest" | "stochastic" | "nearest_barrel" | "stochastic_barrel") => {
                let (stochastic, barrel) =
                    (action.starts_with("stochastic"), action.ends_with("barrel"));
                profile.requantize(bits, stochastic, barrel).0
            }
            (_, "random_word") => profile.random_word().0,
            (_, "relu") => profile.relu(bits).0,
            (_, "maximum") => profile.maximum(bits).0,
            (_, "table_read") => row(&profile, Access::Read, (1024, bits), bits),
            // Eight operands of 8 bits enter the array in a cycle.
            ("scratchpad", _) if action.starts_with("read") => {
                row(&profile, Access::Read, (bytes, 64), bits)
            }
            ("scratchpad", _) => row(&profile, Access::Write, (bytes, 64), bits),
            ("dram", "bit") => 8.0,
            ("dram", "activate_row") => 1700.0,
            // 500 MHz: milliwatts for 2 ns.
            ("leakage", "cycle") => 2.0 * silicon.leakage.0,
            other => panic!("{other:?}"),
        };
        let count: u64 = count.parse().expect("a count");
        *energy.entry(component.to_owned()).or_default() += price * count as f64;
    }
    let found = Totals::of(&entries).tally.energy(&prices).unwrap();
    assert_eq!(energy.len(), Component::ALL.len(), "{energy:?}");
    for component in Component::ALL {
        let (found, expected) = (found.of(component).0, energy[component.name()]);
        assert!((found / expected - 1.0).abs() < 1e-9, "{component:?}: {found} {expected}");
    }
}

#[test]
fn no_work_takes_no_energy() {
    let prepared = prepared("digits-mlp", &[]);
    for arithmetic in [Arithmetic::Fixed, Arithmetic::FLOAT32] {
        let entries = Timeline::default()
            .entries(&prepared.costs(arithmetic, prepared.batches(None)))
            .unwrap();
        let prices = prices(&prepared, arithmetic);
        assert_eq!(Totals::of(&entries).tally.energy(&prices).unwrap().total().0, 0.0);
    }
    let savings = savings(&prepared, &Timeline::default());
    assert!(savings.ratios.iter().all(|ratio| ratio.value.is_none()));
}

/// A product on one PE array that is busy in almost every cycle, by component.
fn gemm(bits: u32, side: usize, scratchpad: u64) -> GemmReport {
    let mut accelerator = prepared("digits-mlp", &[]).experiment.accelerator;
    accelerator.array = Array::new(side, side).unwrap();
    accelerator.scratchpad.a_bytes = scratchpad;
    accelerator.scratchpad.b_bytes = scratchpad;
    let shape = GemmShape { m: side, k: 1 << 15, n: side };
    let widths = GemmWidths { a: bits, b: bits, accumulator: 32, output: bits };
    GemmReport::new(&accelerator, shape, widths).unwrap()
}

/// One row of a memory that is built for `built` (bytes, bits).
fn row(profile: &Profile, access: Access, built: (u64, u32), bits: u32) -> f64 {
    let memory = profile.sram(built.0, built.1).expect("a memory");
    profile.sram_access(access, memory, bits).expect("a price").0
}

#[test]
fn half_the_bits_save_less_than_half_where_the_accumulator_stays() {
    let of = |report: &GemmReport, components: &[Component]| -> f64 {
        let energy = &report.energy_pj.by_component;
        components.iter().map(|&component| energy.of(component).0).sum()
    };
    let (four, eight) = (gemm(4, 16, 8192), gemm(8, 16, 8192));
    let pe = [
        Component::Multiplier,
        Component::Adder,
        Component::Registers,
        Component::Wires,
        Component::ClockTree,
    ];
    for pe in [&pe[..3], &pe[..]] {
        let ratio = of(&four, pe) / of(&eight, pe);
        assert!((0.55..=0.70).contains(&ratio), "PEs: {ratio}");
    }
    // Almost all rows are of 16 operands, read and written once each, from 8 KB.
    let scratchpad = [Component::Scratchpad];
    let [read, write] = [Access::Read, Access::Write].map(|access| {
        let profile = Profile::horowitz45();
        [64, 128].map(|bits| row(&profile, access, (8192, bits), bits))
    });
    let ratio = of(&four, &scratchpad) / of(&eight, &scratchpad);
    let expected = (read[0] + write[0]) / (read[1] + write[1]);
    assert!((ratio - expected).abs() < 0.01 && ratio > 0.6, "{ratio}, {expected}");
    assert_eq!(2 * four.dram_bytes_by_matrix.a, eight.dram_bytes_by_matrix.a);
    assert_eq!(2 * four.dram_bytes_by_matrix.b, eight.dram_bytes_by_matrix.b);
    let multipliers = [Component::Multiplier];
    let ratio = of(&four, &multipliers) / of(&eight, &multipliers);
    assert!((ratio - 0.26).abs() < 0.001, "multipliers alone: {ratio}");
}

#[test]
fn tensors_of_half_the_bits_move_half_the_bytes_and_the_master_as_many() {
    let moved = |bits: &str| -> BTreeMap<String, f64> {
        let roles = ["weights", "activations", "gradients"];
        let paths = roles.map(|role| format!("precision.{role}.bits"));
        let overrides: Vec<_> = paths.iter().map(|path| (path.as_str(), bits)).collect();
        // Batches whose tiles fill whole bursts, and a scale that takes no second pass.
        let fixed = [
            ("training.batch", "399"),
            ("precision.gradients.scale", "static"),
            ("precision.gradients.frac", "2"),
            ("accelerator.dram", r#"{"kind": "lpddr4", "burst_bytes": 1}"#),
        ];
        let report = report(&[&WITHOUT_BUFFER[..], &overrides[..], &fixed[..]].concat());
        let rows = report["dram_bytes"].as_array().unwrap();
        let name = |row: &Value| row["tensor"].as_str().unwrap().to_owned();
        rows.iter().map(|row| (name(row), number(row, "/read") + number(row, "/written"))).collect()
    };
    let (four, eight) = (moved("4"), moved("8"));
    for name in ["w0", "w1", "dz0"] {
        assert_eq!(2.0 * four[name], eight[name], "{name}");
    }
    for name in ["m0", "m1", "dw0", "dw1", "b0"] {
        assert_eq!(four[name], eight[name], "{name}");
    }
}

#[test]
fn energy_for_the_data_follows_the_bits_that_flipped() {
    let report = report(&[
        ("accelerator.activity", "toggles"),
        ("accelerator.toggles", "exact"),
        // One width throughout.
        ("precision.accumulator", r#"{"bits": 32, "overflow": "wrap"}"#),
    ]);
    let activity = &report["activity"];
    let flipped = ["a_toggles", "b_toggles", "accumulator_toggles"]
        .map(|key| activity[key].as_u64().unwrap())
        .iter()
        .sum::<u64>() as f64;
    let (prepared, record) = run(&[]);
    let entries = record
        .timeline
        .entries(&prepared.costs(Arithmetic::Fixed, prepared.batches(None)))
        .unwrap();
    let prices = prices(&prepared, Arithmetic::Fixed);
    let tally = Totals::of(&entries).tally;
    let profile = Profile::horowitz45();
    let written: f64 = tally
        .iter()
        .filter(|(component, event, _)| {
            *component == Component::Registers && event.action() == "write"
        })
        .map(|(_, event, count)| prices.price(event).unwrap().0 * count as f64)
        .sum();
    // Of the average, half of all bits flip.
    let all = number(&report, "/energy_pj/by_component/registers");
    let expected = all - written + 2.0 * profile.register_write(1).0 * flipped;
    let found = number(&report, "/energy_pj/data_dependent/by_component/registers");
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
    // Nothing else changes: neither what does not see operands, nor bits and cycles.
    for component in ["scratchpad", "dram", "leakage", "clock_tree", "loss", "update"] {
        let [data, average] = ["data_dependent/by_component", "by_component"]
            .map(|path| number(&report, &format!("/energy_pj/{path}/{component}")));
        close(data, average);
    }
    for component in ["multiplier", "adder", "wires"] {
        let [data, average] = ["data_dependent/by_component", "by_component"]
            .map(|path| number(&report, &format!("/energy_pj/{path}/{component}")));
        assert!(data < average, "{component}: {data} {average}");
    }
    let plain = self::report(&[]);
    assert_eq!(plain["fixed"], report["fixed"]);
    assert_eq!(plain["cycles"], report["cycles"]);
    assert_eq!(plain["energy_pj"]["total"], report["energy_pj"]["total"]);
    assert_eq!(plain["energy_pj"].get("data_dependent"), None);
}

#[test]
fn float_hardware_moves_its_own_width_and_fits_the_area() {
    let (prepared, record) = run(&[("accelerator.dram.burst_bytes", "1")]);
    let bits = |format: FloatFormat| {
        let entries = record
            .timeline
            .entries(&prepared.costs(Arithmetic::Float(format), prepared.batches(None)))
            .unwrap();
        let tally = Totals::of(&entries).tally;
        let bits = tally.iter().filter(|(_, event, _)| event.action() == "bit");
        bits.map(|(.., count)| count).sum::<u64>() as f64
    };
    // All tensors but the masks of ReLU have the format's width.
    let ratio = bits(FloatFormat::Float16) / bits(FloatFormat::Float32);
    assert!((0.45..0.52).contains(&ratio), "{ratio}");
    assert_eq!(bits(FloatFormat::Float16), bits(FloatFormat::Bfloat16));
    let savings = savings(&prepared, &record.timeline);
    let fixed = prices(&prepared, Arithmetic::Fixed).silicon().logic_um2();
    let array = &prepared.experiment.accelerator.array;
    for hardware in &savings.float_hardware {
        let pes = (hardware.rows * hardware.cols) as f64;
        let area = hardware.hardware.area.logic_um2();
        match hardware.equal {
            Equal::Array => assert_eq!((hardware.rows, hardware.cols), (array.rows, array.cols)),
            Equal::Area => {
                assert!(area <= fixed && area * (pes + 1.0) / pes > 0.85 * fixed, "{hardware:?}");
                assert!(hardware.cycles_ratio > 1.0, "fewer PEs take longer: {hardware:?}");
            }
        }
    }
    let float32 = &savings.float_hardware[0];
    let entries = record
        .timeline
        .entries(&prepared.costs(Arithmetic::FLOAT32, prepared.batches(None)))
        .unwrap();
    let prices = prices(&prepared, Arithmetic::FLOAT32);
    let total = Totals::of(&entries).tally.energy(&prices).unwrap().total();
    assert_eq!(float32.energy_pj, total);
}

#[test]
fn time_area_and_efficiency_follow_from_counts() {
    let report = report(&[("accelerator.clock_mhz", "250")]);
    let cycles = number(&report, "/cycles/total");
    let seconds = cycles / 250e6;
    close(number(&report, "/hardware/seconds"), seconds);
    let learned = [("training.epochs", "3"), ("training.target_error_rate", "1")];
    let learned = self::report(&[&learned[..], &[("accelerator.clock_mhz", "250")]].concat());
    let target = &learned["to_target"];
    assert_eq!(target["golden"]["epochs"], 3);
    close(number(target, "/golden/seconds"), number(target, "/golden/cycles") / 250e6);
    let macs = number(&report, "/macs");
    let total = number(&report, "/energy_pj/total");
    close(number(&report, "/hardware/tops"), 2.0 * macs / seconds / 1e12);
    close(number(&report, "/hardware/peak_tops"), 2.0 * 64.0 * 250e6 / 1e12);
    close(number(&report, "/hardware/tops_per_watt"), 2.0 * macs / total);
    close(number(&report, "/hardware/energy_delay_js"), total * 1e-12 * seconds);
    close(number(&report, "/training_cost/samples"), 1197.0);
    close(number(&report, "/training_cost/per_sample_pj"), total / 1197.0);
    // Horowitz's areas: a multiplier of 8 bits, an adder of 32, and 48 bits of registers.
    let pe = 282.0 + 137.0 + 48.0 * 4.52;
    let found = number(&report, "/hardware/area/pe_um2");
    assert!((found / pe - 1.0).abs() < 0.01, "{found} {pe}");
    close(number(&report, "/hardware/area/array_um2"), 64.0 * found);
    // Half the clock leaks twice as much.
    let fast = self::report(&[]);
    close(
        number(&report, "/energy_pj/by_component/leakage"),
        2.0 * number(&fast, "/energy_pj/by_component/leakage"),
    );
    // D b₁ b₂ + (D − 1)(b₁ + b₂ + ⌈log₂ D⌉ − 1) per sum, by hand for all five products.
    let adders = |d: u64, a: u64, b: u64, log: u64| d * a * b + (d - 1) * (a + b + log - 1);
    let of_batch = |batch: u64| {
        let log = u64::from(batch.next_power_of_two().ilog2());
        batch * 64 * adders(64, 8, 8, 6)
            + batch * 10 * adders(64, 8, 8, 6)
            + batch * 64 * adders(10, 8, 8, 4)
            + 64 * 64 * adders(batch, 8, 8, log)
            + 64 * 10 * adders(batch, 8, 8, log)
    };
    let expected = 37 * of_batch(32) + of_batch(13);
    assert_eq!(report["training_cost"]["full_adders"], expected);
}

#[test]
fn what_leaks_is_the_circuits_and_the_scratchpads() {
    let prepared = prepared("digits-mlp", &[]);
    let accelerator = &prepared.experiment.accelerator;
    let profile = Profile::horowitz45();
    let prices = prices(&prepared, Arithmetic::Fixed);
    let silicon = prices.silicon();
    let logic = silicon.array_um2 + silicon.edge_um2 + silicon.vector_um2;
    let Scratchpads { a_bytes, b_bytes, c_bytes, buffer_bytes, .. } = accelerator.scratchpad;
    let memories: f64 = [a_bytes, b_bytes, c_bytes, buffer_bytes]
        .map(|bytes| profile.sram_leakage(bytes).unwrap().0)
        .iter()
        .sum();
    close(silicon.leakage.0, logic * 22.8e-6 + memories);
    let twice = Prices::new(accelerator, profile, &Default::default()).unwrap();
    assert!(twice.silicon().leakage.0 < silicon.leakage.0, "no circuits, no leakage of theirs");
}

#[test]
fn a_machine_that_not_every_profile_can_price_is_compared_by_those_that_can() {
    let report = report(&[
        ("accelerator.energy", "eyeriss-rel"),
        ("accelerator.scratchpad", r#"{"a_bytes": 512, "b_bytes": 4194304, "c_bytes": 32768}"#),
    ]);
    let by_profile = report["savings"]["ratios"][0]["by_profile"].as_object().unwrap();
    assert_eq!(by_profile.keys().collect::<Vec<_>>(), ["eyeriss-rel", "own"]);
}

#[test]
fn a_pe_can_do_what_every_layer_asks_of_it() {
    let area = |layers: &str| {
        let prepared = prepared("digits-mlp", &[("precision.layers", layers)]);
        prices(&prepared, Arithmetic::Fixed).silicon().pe_um2
    };
    let plain = area("{}");
    let wide = area(r#"{"1": {"weights": {"bits": 16, "scale": "initial"}}}"#);
    // Forward 8 x 16 and 8 x 8, input gradient 8 x 16, weight gradient 8 x 8 bits.
    let profile = Profile::horowitz45();
    let more = profile.multiply_area(8, 16) - profile.multiply_area(8, 8)
        + profile.register_area(16)
        - profile.register_area(8);
    assert!((wide - plain - more).abs() < 1e-9, "{plain} {wide} {more}");
}

/// The worked example of docs/energy.md: 32 folds of 86 cycles on 8 x 8 PEs, by hand.
#[test]
fn one_product_costs_what_it_costs_on_paper() {
    let mut accelerator = prepared("digits-mlp", &[]).experiment.accelerator;
    accelerator.array = Array::new(8, 8).unwrap();
    accelerator.scratchpad.buffer_bytes = 0;
    let shape = GemmShape { m: 32, k: 64, n: 64 };
    let widths = GemmWidths { a: 8, b: 8, accumulator: 32, output: 8 };
    let report = GemmReport::new(&accelerator, shape, widths).unwrap();
    let energy = &report.energy_pj.by_component;
    let (macs, cycles) = (32.0 * 64.0 * 64.0, 32.0 * 86.0);
    let operands_written = 32.0 * 64.0 * 8.0 * 8.0 + 64.0 * 64.0 * 4.0 * 8.0;
    // Each of 64 columns of 4 tiles passes its 8 results down a chain.
    let drained = 64.0 * 4.0 * 28.0;
    let pe: f64 = 3.08203 * 64.0 + 10.594 * 8.0 + 4.2083 * 32.0 + 2.333 + 4.52 * 48.0;
    let clock = 64.0 * cycles * 0.3 * 0.00838 * 48.0;
    let data = |bits: f64, writes: f64| writes * 0.3 * 0.00342 * bits;
    let wire = |bits: f64, hops: f64| hops * 0.0001 * pe.sqrt() * bits;
    let (column, lane) = (4.2083 * 32.0 + 2.333 + 1.62 * 32.0, 1.62 * 32.0);
    let logic = 64.0 * pe + 8.0 * column + 64.0 * 8.0 * 4.52 + 8.0 * lane;
    for (component, expected) in [
        (Component::Multiplier, macs * 0.2),
        (Component::Adder, macs * 0.1),
        (
            Component::Registers,
            clock
                + data(8.0, operands_written)
                + data(32.0, macs + drained)
                + data(8.0, 32.0 * 2.0 * 8.0 * 64.0),
        ),
        (Component::Wires, wire(8.0, operands_written) + wire(32.0, drained)),
        (Component::ClockTree, 0.3 * clock),
        (Component::Scratchpad, 4352.0 * 2.0 * 2.1552 + 1024.0 * 2.0 * 3.11308),
        (Component::Requantizer, 2048.0 * 0.3 * 0.0032 * 32.0),
        (Component::Random, 0.0),
        (Component::Dram, 8192.0 * 8.0 * 8.0 + 4.0 * 1700.0),
        (Component::Leakage, cycles * 2.0 * (logic * 22.8e-6 + 3.0 * 0.49362)),
    ] {
        let found = energy.of(component).0;
        let close = (found - expected).abs() <= 1e-3 * expected;
        assert!(close, "{component:?}: {found}, expected {expected}");
    }
}

#[test]
fn no_event_is_priced_twice_at_one_width() {
    for bits in ["8", "8,8,4", "4,32"] {
        let arguments = ["energy-table", "--bits", bits, "--accumulator", "32", "--json"];
        let table: serde_json::Value =
            serde_json::from_str(&shell::printed(&shell::root(), &arguments)).expect("JSON");
        let rows = table["events"].as_array().expect("events");
        let events: Vec<_> = rows.iter().map(|row| (&row["event"], &row["at"])).collect();
        for (at, event) in events.iter().enumerate() {
            assert!(!events[..at].contains(event), "--bits {bits}: {event:?} stands twice");
        }
    }
}
