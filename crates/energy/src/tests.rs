//! What the published figures demand of the default profile; and of the others, of every file, and
//! of laws that all profiles share, in the modules.

mod files;
mod laws;
mod others;
mod synthesis;

use super::{Access, DramKind, FloatFormat, Picojoules, Profile, WeightUpdate};

/// Every profile that is part of the program.
fn all() -> impl Iterator<Item = Profile> {
    Profile::NAMES.into_iter().map(|name| Profile::named(name).expect("it has a name"))
}

#[track_caller]
fn close(found: Picojoules, expected: f64, relative: f64) {
    let error = found.0 / expected - 1.0;
    assert!(error.abs() <= relative, "{} differs from {expected} by {error:e}", found.0);
}

/// Horowitz, ISSCC 2014; the 16-bit adder from the extended table of Dally's NIPS 2015 tutorial.
#[test]
fn horowitz_operations_are_met() {
    let profile = Profile::horowitz45();
    close(profile.multiply(8, 8), 0.2, 1e-4);
    close(profile.multiply(32, 32), 3.1, 1e-4);
    close(profile.add(8), 0.03, 1e-4);
    close(profile.add(32), 0.1, 1e-4);
    close(profile.add(16), 0.05, 0.07);
    assert_eq!(profile.float_multiply(FloatFormat::Float16), Picojoules(1.1));
    assert_eq!(profile.float_add(FloatFormat::Float16), Picojoules(0.4));
    assert_eq!(profile.float_multiply(FloatFormat::Float32), Picojoules(3.7));
    assert_eq!(profile.float_add(FloatFormat::Float32), Picojoules(0.9));
}

/// google/qkeras, `qtools/config_public.py`, `fpm_mul`.
#[test]
fn square_multipliers_follow_the_law_of_qkeras() {
    let profile = Profile::horowitz45();
    for bits in 4..=32 {
        let b = f64::from(bits);
        close(profile.multiply(bits, bits), 0.0029948 * b * b + 0.0010417 * b, 1e-3);
    }
}

/// Worked by hand from the law: multiplier, adder, registers.
#[test]
fn worked_processing_elements_cost_what_they_should() {
    let profile = Profile::horowitz45();
    let registers = profile.register_clock(40) + profile.register_write(40);
    close(profile.multiply(8, 8), 0.200, 1e-3);
    close(profile.add(24), 0.077, 5e-3);
    close(registers, 0.142, 5e-3);
    for (bits, accumulator, pj) in [(8, 24, 0.42), (4, 16, 0.19), (16, 40, 1.16), (32, 72, 3.80)] {
        let found = profile.mac(bits, bits, accumulator).0;
        assert!((found - pj).abs() < 0.005, "{bits} × {bits} + {accumulator}: {found}");
    }
}

/// int8 PEs cost about an eleventh of float32 ones, int16 PEs a quarter.
#[test]
fn float32_pes_cost_a_multiple() {
    let profile = Profile::horowitz45();
    close(profile.float32_mac(), 4.6 + 96.0 * 0.3 * (0.00838 + 0.00342), 1e-12);
    let ratio = profile.float32_mac().0 / profile.mac(8, 8, 24).0;
    assert!((10.0..13.0).contains(&ratio), "{ratio}");
    let ratio = profile.float32_mac().0 / profile.mac(16, 16, 40).0;
    assert!((4.0..5.0).contains(&ratio), "{ratio}");
}

/// A read and a write of rows of `bits` bits of a memory built for them.
fn accesses(profile: &Profile, bytes: u64, bits: u32) -> [f64; 2] {
    let memory = profile.sram(bytes, bits).unwrap();
    [Access::Read, Access::Write].map(|access| profile.sram_access(access, memory, bits).unwrap().0)
}

/// Sixteen 4-bit operands against sixteen 8-bit ones: CACTI 7, 8 KB, low-operating-power cells.
#[test]
fn a_row_of_half_the_bits_costs_three_quarters() {
    let profile = Profile::horowitz45();
    let [narrow, wide] = [64, 128].map(|bits| accesses(&profile, 8192, bits).iter().sum::<f64>());
    assert!((0.64..0.70).contains(&(narrow / wide)), "{narrow} {wide}");
    let many_narrow = accesses(&profile, 8192, 8)[0] * 16.0;
    assert!(many_narrow > wide * 2.5, "{many_narrow}");
}

#[test]
fn rows_wider_than_any_macro_and_odd_sizes_are_priced() {
    let profile = Profile::horowitz45();
    for (bytes, bits) in [(5000, 36), (12_345, 100), (1024, 4), (65_536, 8192), (1 << 21, 4096)] {
        let [read, write] = accesses(&profile, bytes, bits);
        assert!(read > 0.0 && write > 0.0, "{bytes} bytes, {bits} bits");
    }
    close(Picojoules(accesses(&profile, 65_536, 8192)[0]), 64.0 * 1.4874, 0.1);
}

/// κ × the synthesized blocks: 32 → 8 bits nearest 0.101 pJ, stochastic 0.145 pJ, with a barrel
/// shifter 1.094 pJ; LFSR32 0.452 pJ; ReLU 8 bits 0.0253 pJ (NangateOpenCellLibrary, 1.10 V).
#[test]
fn blocks_follow_synthesis_on_the_profile_scale() {
    let profile = Profile::horowitz45();
    close(profile.requantize(32, false, false), 0.3 * 0.1012, 0.07);
    close(profile.requantize(32, true, false), 0.3 * 0.1447, 0.07);
    close(profile.requantize(32, true, true), 0.3 * 1.094, 0.07);
    close(profile.random_word(), 0.3 * 0.452, 1e-12);
    close(profile.relu(8), 0.3 * 0.0253, 0.07);
    close(profile.maximum(16), 0.3 * 0.1897, 0.15);
}

#[test]
fn an_update_is_the_sum_of_its_parts() {
    let profile = Profile::horowitz45();
    let update = WeightUpdate {
        rate_bits: 16,
        gradient_bits: 8,
        master_bits: 16,
        stochastic: true,
        barrel: true,
    };
    let parts = [
        profile.multiply(16, 8),
        profile.add(16),
        profile.requantize(24, true, true),
        profile.random_word(),
    ];
    let whole = profile.update(update);
    close(whole, parts.iter().sum::<Picojoules>().0, 1e-12);
    assert!(profile.update(WeightUpdate { stochastic: false, ..update }) < whole);
    assert!(profile.update(WeightUpdate { barrel: false, ..update }) < whole);
}

#[test]
fn no_events_cost_nothing() {
    let no_events = 0;
    assert_eq!(Profile::horowitz45().mac(8, 8, 24) * no_events, Picojoules(0.0));
    assert_eq!(Vec::<Picojoules>::new().into_iter().sum::<Picojoules>().0.to_bits(), 0);
}

/// Source and range of each kind stand in the profile.
#[test]
fn dram_kinds_have_their_published_energies() {
    let profile = Profile::horowitz45();
    assert_eq!(DramKind::default(), DramKind::Lpddr4);
    for (name, pj, activate, row_bytes) in [
        ("hbm2", 3.9, 410.0, 1024),
        ("lpddr4", 8.0, 1700.0, 2048),
        ("lpddr3", 4.8, 3410.0, 4096),
        ("ddr4", 20.3, 4200.0, 8192),
        ("ddr3", 20.3, 8550.0, 8192),
        ("gddr5", 14.0, 1700.0, 2048),
    ] {
        let kind: DramKind = serde_json::from_value(name.into()).unwrap();
        assert!(DramKind::ALL.contains(&kind) && kind.name() == name);
        assert_eq!(profile.dram_bit(kind), Picojoules(pj), "{name}");
        assert_eq!(profile.dram_activate(kind), Picojoules(activate), "{name}");
        assert_eq!(profile.dram_row_bytes(kind), row_bytes, "{name}");
    }
}

/// A stream of n bytes: n·8 bits and its rows, one activation each. DRAMsim3's LPDDR3 streams at
/// 4.78 pJ/bit all told, and random 64-byte reads take 9.84 (umd-memsys/DRAMsim3 commit 2981759).
#[test]
fn a_stream_costs_its_bits_and_its_rows_and_scattered_reads_far_more() {
    let profile = Profile::horowitz45();
    let kind = DramKind::Lpddr3;
    let cost = |bytes: u64, rows: u64| {
        profile.dram_bit(kind) * (8 * bytes) + profile.dram_activate(kind) * rows
    };
    let bytes = 1 << 20;
    let stream = cost(bytes, bytes / profile.dram_row_bytes(kind));
    close(stream, (8 << 20) as f64 * 4.8 + 256.0 * 3410.0, 1e-12);
    close(Picojoules(stream.0 / (8 << 20) as f64), 4.9, 1e-2);
    let scattered = cost(64, 1).0 / 512.0;
    assert!((9.8..11.6).contains(&scattered), "{scattered} pJ/bit");
}
