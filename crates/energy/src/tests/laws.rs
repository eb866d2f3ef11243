//! What holds in every profile, and how far profiles lie apart.

use super::super::{FloatFormat, Milliwatts, Picojoules, Profile};
use super::{accesses, all, close};

fn named(name: &str) -> Profile {
    Profile::named(name).unwrap()
}

/// Beyond 32 bits, where tables end, too.
#[test]
fn products_are_symmetric_and_grow_with_each_operand() {
    for profile in all() {
        for a in 2..=40 {
            for b in 2..=40 {
                let case = format!("{}: {a} x {b}", profile.name());
                let (here, area) = (profile.multiply(a, b), profile.multiply_area(a, b));
                assert_eq!(here, profile.multiply(b, a), "{case}");
                assert_eq!(area, profile.multiply_area(b, a), "{case}");
                assert!(here < profile.multiply(a, b + 1), "{case}");
                assert!(area < profile.multiply_area(a, b + 1), "{case}");
            }
        }
    }
}

#[test]
fn every_price_grows_with_the_width() {
    for profile in all() {
        for bits in 1..=70 {
            let prices = |bits| {
                let mut prices = vec![
                    profile.add(bits).0,
                    profile.register_clock(bits).0,
                    profile.clock_tree(bits).0,
                    profile.register_write(bits).0,
                    profile.wire(bits, 40.0).0,
                    profile.relu(bits).0,
                    profile.maximum(bits).0,
                    profile.add_area(bits),
                    profile.register_area(bits),
                    profile.relu_area(bits),
                    profile.maximum_area(bits),
                ];
                for (stochastic, barrel) in [(false, false), (true, false), (false, true)] {
                    prices.push(profile.requantize(bits, stochastic, barrel).0);
                    prices.push(profile.requantize_area(bits, stochastic, barrel));
                }
                prices
            };
            let free = profile.name() == "eyeriss-rel";
            for (at, (here, wider)) in prices(bits).into_iter().zip(prices(bits + 1)).enumerate() {
                let case = format!("{}: price {at} of {bits} bits", profile.name());
                assert!(0.0 <= here && here.is_finite(), "{case}: {here}");
                assert!(here < wider || (free && here == 0.0), "{case}: {here} {wider}");
            }
        }
    }
}

#[test]
fn no_bits_cost_nothing_and_measure_nothing() {
    for profile in all() {
        let none = Picojoules(0.0);
        let energies = [
            profile.multiply(0, 8),
            profile.multiply(8, 0),
            profile.add(0),
            profile.register_clock(0),
            profile.clock_tree(0),
            profile.wire(0, 40.0),
            profile.relu(0),
            profile.mac(0, 0, 0),
        ];
        assert_eq!(energies, [none; 8], "{}", profile.name());
        let areas = [profile.multiply_area(0, 8), profile.add_area(0), profile.register_area(0)];
        assert_eq!(areas, [0.0; 3], "{}", profile.name());
    }
}

#[test]
fn the_clock_tree_takes_three_tenths_of_the_clock_pins() {
    for profile in all().filter(|profile| profile.name() != "eyeriss-rel") {
        let pins = profile.register_clock(48).0;
        close(profile.clock_tree(48), 0.3 * pins, 1e-12);
        assert!(pins > 0.0);
    }
}

/// One hop of 16 bits over 40 um: the wire is small beside the register that is written.
#[test]
fn a_wire_goes_with_its_bits_and_its_length() {
    for (name, pj) in [("horowitz45", 0.064), ("nangate45", 0.03424), ("tpuv4i-7", 0.064 * 0.348)] {
        let profile = named(name);
        close(profile.wire(16, 40.0), pj, 1e-12);
        close(profile.wire(8, 40.0), pj / 2.0, 1e-12);
        close(profile.wire(16, 20.0), pj / 2.0, 1e-12);
    }
}

/// Moons et al., arXiv 1711.00215, find 1.25 for a MAC with its memories.
#[test]
fn a_whole_pe_goes_with_a_power_of_its_width_well_below_two() {
    for (name, known) in [("horowitz45", 1.31), ("nangate45", 1.33), ("tpuv4i-7", 1.42)] {
        let profile = named(name);
        let pe = |bits: u32| profile.mac(bits, bits, 2 * bits + 8).0;
        let exponent = (pe(16) / pe(4)).ln() / 4_f64.ln();
        assert!((1.2..1.5).contains(&exponent), "{name}: {exponent}");
        assert!((exponent - known).abs() < 0.01, "{name}: {exponent}");
    }
}

#[test]
fn four_bit_pes_with_a_wide_accumulator_cost_far_more_than_a_quarter() {
    for name in ["horowitz45", "nangate45", "tpuv4i-7"] {
        let profile = named(name);
        let ratio = profile.mac(4, 4, 32).0 / profile.mac(8, 8, 32).0;
        assert!((0.55..0.70).contains(&ratio), "{name}: {ratio}");
    }
}

/// The same question, a different answer under each law.
#[test]
fn profiles_disagree_on_what_half_the_bits_of_a_multiplier_save() {
    for (name, four, sixteen) in [
        ("horowitz45", 0.26, 3.9),
        ("nangate45", 0.22, 3.8),
        ("nangate45-glitch", 0.14, 4.8),
        ("tpuv4i-7", 0.26, 4.6),
        ("eyeriss-rel", 0.25, 4.0),
    ] {
        let profile = named(name);
        let eight = profile.multiply(8, 8).0;
        let ratio = |bits| profile.multiply(bits, bits).0 / eight;
        assert!((ratio(4) - four).abs() < 0.006, "{name}: {}", ratio(4));
        assert!((ratio(16) - sixteen).abs() < 0.06, "{name}: {}", ratio(16));
    }
}

#[test]
fn glitches_cost_more_and_the_more_the_wider() {
    let (still, glitching) = (named("nangate45"), named("nangate45-glitch"));
    let excess = |bits| glitching.multiply(bits, bits).0 / still.multiply(bits, bits).0;
    for (bits, times) in [(8, 2.05), (16, 2.58), (32, 3.19)] {
        assert!((excess(bits) - times).abs() < 0.01, "{bits} bits: {}", excess(bits));
    }
    assert!(glitching.add(32) > still.add(32));
    assert_eq!(glitching.multiply_area(8, 8), still.multiply_area(8, 8));
    assert_eq!(glitching.register_write(8), still.register_write(8));
}

#[test]
fn larger_scratchpads_and_wider_rows_cost_more_at_every_node() {
    for node in [7.0, 12.0, 22.0, 28.0, 45.0, 90.0, 110.0, 130.0] {
        let profile = Profile::horowitz45().at_node(node).unwrap();
        let sizes: Vec<u64> = (0..=44).map(|step| 1024_u64 << (step / 4)).collect();
        let sizes = sizes.iter().enumerate().map(|(at, size)| size * (4 + at as u64 % 4) / 4);
        let sizes: Vec<u64> = sizes.collect();
        for pair in sizes.windows(2) {
            for bits in [4, 8, 24, 64, 100, 256, 1024] {
                let price = |bytes, bits| accesses(&profile, bytes, bits).iter().sum::<f64>();
                let case = format!("{node} nm, {} bytes, {bits} bits", pair[0]);
                let here = price(pair[0], bits);
                assert!(here <= price(pair[1], bits), "{case}, larger");
                assert!(here <= price(pair[0], bits + 8), "{case}, wider");
            }
            let size =
                |bytes| [profile.sram_area(bytes).unwrap(), profile.sram_leakage(bytes).unwrap().0];
            let (here, larger) = (size(pair[0]), size(pair[1]));
            assert!(here[0] <= larger[0] && here[1] <= larger[1], "{node} nm, {pair:?}");
        }
    }
}

/// Low-operating-power cells: 0.0151 mW and 0.0035 mm² per KB (medians over all macros at 45 nm);
/// 22.8 nW/um² of logic.
#[test]
fn circuits_leak_by_their_area_and_scratchpads_by_their_size() {
    for name in ["horowitz45", "nangate45"] {
        let profile = named(name);
        assert_eq!(profile.logic_leakage(1e6), Milliwatts(22.8));
        for bytes in [8 << 10, 32 << 10, 1 << 20] {
            let kilobytes = (bytes >> 10) as f64;
            let leak = profile.sram_leakage(bytes).unwrap().0 / kilobytes;
            assert!((leak / 0.0151 - 1.0).abs() < 0.12, "{bytes} bytes: {leak} mW/KB");
            let area = profile.sram_area(bytes).unwrap() / kilobytes;
            assert!((area / 3500.0 - 1.0).abs() < 0.05, "{bytes} bytes: {area} um2/KB");
        }
    }
    let seven = named("tpuv4i-7");
    assert_eq!(seven.logic_leakage(1e6), Milliwatts(22.8));
}

/// The 45 nm table in Dally's NIPS 2015 tutorial; at 7 nm times 0.059 (Stillmaker & Baas).
#[test]
fn areas_meet_the_published_ones() {
    for (name, factor) in [("horowitz45", 1.0), ("tpuv4i-7", 0.059), ("eyeriss-rel", 1.5)] {
        let profile = named(name);
        for (found, published, relative) in [
            (profile.multiply_area(8, 8), 282.0, 1e-4),
            (profile.multiply_area(32, 32), 3495.0, 1e-4),
            (profile.add_area(8), 36.0, 1e-4),
            (profile.add_area(32), 137.0, 1e-4),
            (profile.add_area(16), 67.0, 0.05),
            (profile.float_multiply_area(FloatFormat::Float16), 1640.0, 1e-12),
            (profile.float_add_area(FloatFormat::Float16), 1360.0, 1e-12),
            (profile.float_multiply_area(FloatFormat::Float32), 7700.0, 1e-12),
            (profile.float_add_area(FloatFormat::Float32), 4184.0, 1e-12),
            (profile.register_area(8), 36.18, 1e-3),
            (profile.requantize_area(32, true, true), 549.6, 0.01),
            (profile.random_area(), 209.08, 1e-3),
        ] {
            let error = found / (published * factor) - 1.0;
            assert!(error.abs() <= relative, "{name}: {found} um2, {published} published");
        }
    }
}

#[test]
fn each_row_of_the_table_of_prices_has_a_price_a_certainty_and_a_source() {
    for profile in all() {
        let rows = profile.provenance(&Default::default()).unwrap();
        assert!(rows.len() > 60, "{}: {}", profile.name(), rows.len());
        for row in &rows {
            assert!(row.price.0.is_finite() && row.price.0 >= 0.0, "{row:?}");
            assert!(!row.source.is_empty() && !row.widths.is_empty(), "{row:?}");
            assert_eq!(row.unit, profile.unit(), "{row:?}");
        }
        let product = rows.iter().find(|row| row.widths == "8 x 8 bits").unwrap();
        assert_eq!(product.price, profile.multiply(8, 8));
        let names: std::collections::BTreeSet<_> =
            rows.iter().map(|row| (row.event, &row.widths)).collect();
        // Accumulators are as wide as the widest operand: their rows come twice.
        assert!(rows.len() - names.len() <= 5, "{}", profile.name());
    }
    let source = |name| {
        let rows = named(name).provenance(&Default::default()).unwrap();
        rows.into_iter().find(|row| row.widths == "8 x 8 bits").unwrap()
    };
    assert!(source("horowitz45").source.contains("Horowitz"));
    assert!(source("nangate45").source.contains("Booth"));
    assert!(source("tpuv4i-7").source.contains("Jouppi"));
    assert!(source("eyeriss-rel").source.contains("Eyeriss"));
}
