//! What the published figures demand of the default profile.

use super::{DramKind, Error, Picojoules, Profile, Update};

const HOROWITZ45: &str = include_str!("../../../../models/energy/horowitz45.json");

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
    assert_eq!(profile.float16_multiply(), Picojoules(1.1));
    assert_eq!(profile.float16_add(), Picojoules(0.4));
    assert_eq!(profile.float32_multiply(), Picojoules(3.7));
    assert_eq!(profile.float32_add(), Picojoules(0.9));
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

#[test]
fn products_are_symmetric_and_grow_with_each_operand() {
    let profile = Profile::horowitz45();
    for a in 2..=32 {
        for b in 2..=32 {
            let here = profile.multiply(a, b);
            assert_eq!(here, profile.multiply(b, a), "{a} × {b}");
            assert!(b == 32 || here < profile.multiply(a, b + 1), "{a} × {b}");
        }
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

/// Moons et al., arXiv 1711.00215, find 1.25 for a MAC with its memories.
#[test]
fn a_whole_pe_goes_with_a_power_of_its_width_well_below_two() {
    let profile = Profile::horowitz45();
    let pe = |bits: u32| profile.mac(bits, bits, 2 * bits + 8).0;
    let exponent = (pe(16) / pe(4)).ln() / 4_f64.ln();
    assert!((1.2..1.5).contains(&exponent) && (exponent - 1.31).abs() < 0.01, "{exponent}");
}

#[test]
fn four_bit_pes_with_a_wide_accumulator_cost_far_more_than_a_quarter() {
    let profile = Profile::horowitz45();
    let ratio = profile.mac(4, 4, 32).0 / profile.mac(8, 8, 32).0;
    assert!((ratio - 0.63).abs() < 0.01, "{ratio}");
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

/// Sixteen 4-bit operands against sixteen 8-bit ones: CACTI 7, 8 KB, low-operating-power cells.
#[test]
fn a_row_of_half_the_bits_costs_three_quarters() {
    let profile = Profile::horowitz45();
    let (narrow, wide) =
        (profile.sram_read(8192, 64).unwrap(), profile.sram_read(8192, 128).unwrap());
    assert_eq!((narrow, wide), (Picojoules(1.9415), Picojoules(2.5159)));
    assert!((narrow.0 / wide.0 - 0.77).abs() < 0.01);
    let many_narrow = profile.sram_read(8192, 8).unwrap() * 16;
    assert!(many_narrow > wide * 9, "{many_narrow:?}");
}

#[test]
fn rows_wider_than_any_macro_and_odd_sizes_are_priced() {
    let profile = Profile::horowitz45();
    for (bytes, bits) in [(5000, 36), (12_345, 100), (1024, 4), (65_536, 8192), (1 << 21, 4096)] {
        let read = profile.sram_read(bytes, bits).unwrap();
        let write = profile.sram_write(bytes, bits).unwrap();
        assert!(read.0 > 0.0 && write.0 > 0.0, "{bytes} bytes, {bits} bits");
    }
    close(profile.sram_read(65_536, 8192).unwrap(), 64.0 * 1.4874, 0.1);
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
    let update =
        Update { rate_bits: 16, gradient_bits: 8, master_bits: 16, stochastic: true, barrel: true };
    let parts = [
        profile.multiply(16, 8),
        profile.add(16),
        profile.requantize(24, true, true),
        profile.random_word(),
    ];
    let whole = profile.update(update);
    close(whole, parts.iter().sum::<Picojoules>().0, 1e-12);
    assert!(profile.update(Update { stochastic: false, ..update }) < whole);
    assert!(profile.update(Update { barrel: false, ..update }) < whole);
}

#[test]
fn no_bits_cost_nothing() {
    let profile = Profile::horowitz45();
    let none = Picojoules(0.0);
    assert_eq!([profile.multiply(0, 8), profile.add(0), profile.relu(0)], [none; 3]);
    assert_eq!(profile.mac(0, 0, 0), none);
    let no_events = 0;
    assert_eq!(profile.mac(8, 8, 24) * no_events, none);
    assert_eq!(Vec::<Picojoules>::new().into_iter().sum::<Picojoules>().0.to_bits(), 0);
}

/// Source and range of each kind stand in the profile.
#[test]
fn dram_kinds_have_their_published_energies() {
    let profile = Profile::horowitz45();
    assert_eq!(DramKind::default(), DramKind::Lpddr4);
    for (kind, pj) in [
        ("hbm2", 3.9),
        ("lpddr4", 8.0),
        ("lpddr3", 4.8),
        ("ddr4", 20.3),
        ("ddr3", 20.3),
        ("gddr5", 14.0),
    ] {
        let parsed: DramKind = serde_json::from_value(kind.into()).unwrap();
        assert_eq!(profile.dram_bit(parsed), Picojoules(pj), "{kind}");
    }
}

/// Walks the JSON itself, so that no figure can hide from the schema.
#[test]
fn every_number_names_its_source_and_certainty() {
    fn walk(path: &str, json: &serde_json::Value, numbers: &mut Vec<String>) {
        if let Some(number) = json.get("value") {
            assert!(number.is_number(), "{path}");
            for key in ["unit", "source", "certainty"] {
                let text = json[key].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{path}.{key}");
            }
            numbers.push(path.to_owned());
            return;
        }
        assert!(!json.is_number() && !json.is_array(), "{path}: a number without a source");
        for (key, child) in json.as_object().into_iter().flatten() {
            walk(format!("{path}.{key}").trim_start_matches('.'), child, numbers);
        }
    }
    let mut numbers = vec![];
    walk("", &serde_json::from_str(HOROWITZ45).unwrap(), &mut numbers);
    let profile = Profile::horowitz45();
    let mut listed: Vec<_> = profile.figures().map(|(path, _)| path.to_owned()).collect();
    listed.sort();
    numbers.sort();
    assert_eq!(listed, numbers);
    assert!(profile.scratchpad_source().contains("CACTI 7"));
}

#[test]
fn a_profile_survives_being_written_and_read() {
    let profile = Profile::horowitz45();
    let text = serde_json::to_string(&profile).unwrap();
    assert_eq!(Profile::parse(&text).unwrap(), profile);
    assert_eq!(serde_json::from_str::<Profile>(&text).unwrap(), profile);
}

/// `old` → `new` in the default profile, and what the refusal must say.
#[test]
fn bad_profiles_are_refused_with_what_was_found_and_expected() {
    for (old, new, message) in [
        ("\"certainty\": \"high\", ", "", "missing field `certainty` at line 4"),
        ("\"unit\": \"nm\"", "\"unit\": \"mile\"", "unknown variant `mile`, expected one of `pJ`"),
        ("\"unit\": \"nm\"", "\"unit\": \"V\"", "node: unit V, expected nm"),
        ("\"value\": 0.3,", "\"value\": 0,", "kappa: 0, expected a finite number above 0"),
        ("\"value\": 0.3,", "\"value\": 0.4,", "kappa: 0.4 lies outside its range 0.256 to 0.334"),
        (
            "\"value\": 3.7",
            "\"value\": -3.7",
            "float32.multiply: -3.7, expected a finite number, at",
        ),
        ("0.006666666667", "-0.01", "adder.intercept: -0.01, expected a finite number, at least"),
        ("\"source\": \"Horowitz, ISSCC 2014\"", "\"source\": \" \"", "supply: empty source"),
        ("\"lfsr32\"", "\"lfsr\"", "unknown field `lfsr`"),
        ("itrs-lop", "itrs-hot", "unknown variant `itrs-hot`, expected `itrs-lop` or `itrs-hp`"),
        ("sram_45nm", "sram_7nm", "unknown variant `sram_7nm`, expected `sram_45nm`"),
        ("\"certainty\": \"high\"", "\"certainty\": \"sure\"", "unknown variant `sure`"),
    ] {
        assert!(HOROWITZ45.contains(old), "{old}");
        let error = Profile::parse(&HOROWITZ45.replacen(old, new, 1)).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let without_sources = HOROWITZ45.replace("\"source\"", "\"origin\"");
    assert!(matches!(Profile::parse(&without_sources), Err(Error::Json(_))));
    let nested = "[".repeat(100_000);
    assert!(matches!(Profile::parse(&nested), Err(Error::Json(_))));
}
