//! Laws and profiles against the circuits that were synthesized, as `models/energy/mac_45nm.json`
//! has them.

use serde_json::Value;

use super::super::{Picojoules, Profile};
use super::close;

fn table() -> Value {
    serde_json::from_str(include_str!("../../../../models/energy/mac_45nm.json")).unwrap()
}

/// Every synthesized multiplier: wider operand, narrower operand, number of `column`.
fn multipliers(column: &str) -> Vec<(u32, u32, f64)> {
    let json = table();
    let widths: Vec<u32> = serde_json::from_value(json["width_bits"].clone()).unwrap();
    let grid: Vec<Vec<f64>> = serde_json::from_value(json["booth"][column].clone()).unwrap();
    let rows = widths.iter().zip(&grid);
    rows.flat_map(|(&wider, row)| {
        assert_eq!(row.len(), widths.iter().filter(|&&width| width <= wider).count());
        widths.iter().zip(row).map(move |(&narrower, &number)| (wider, narrower, number))
    })
    .collect()
}

fn numbers(entry: &Value) -> (u32, f64) {
    (entry["bits_in"].as_u64().unwrap() as u32, entry["zero_pj"].as_f64().unwrap())
}

/// What the law of `horowitz45` is off by, over that at 8 × 8, where `narrower` accepts.
fn errors(narrower: impl Fn(u32) -> bool) -> Vec<(u32, u32, f64)> {
    let law = Profile::horowitz45();
    let all = multipliers("zero_pj");
    let (_, _, eight) = *all.iter().find(|&&(a, b, _)| (a, b) == (8, 8)).unwrap();
    let relative = |&(a, b, pj): &(u32, u32, f64)| {
        (a, b, law.multiply(a, b).0 / law.multiply(8, 8).0 / (pj / eight) - 1.0)
    };
    all.iter().filter(|&&(_, b, _)| narrower(b)).map(relative).collect()
}

#[test]
fn the_law_lies_within_a_fifth_of_every_synthesized_multiplier() {
    let errors = errors(|narrower| narrower >= 4);
    assert_eq!(errors.len(), 55);
    for &(a, b, error) in &errors {
        assert!((-0.071..=0.192).contains(&error), "{a} x {b}: {error}");
    }
    let mean = errors.iter().map(|(_, _, error)| error.abs()).sum::<f64>() / 55.0;
    assert!(mean <= 0.08, "{mean}");
}

#[test]
fn very_narrow_operands_are_met_by_the_law_too_but_for_two_by_two() {
    let errors = errors(|narrower| narrower < 4);
    assert_eq!(errors.len(), 23);
    for (a, b, error) in errors {
        if (a, b) == (2, 2) {
            assert!((0.41..0.42).contains(&error), "{a} x {b}: {error}");
        } else {
            assert!(error.abs() <= 0.15, "{a} x {b}: {error}");
        }
    }
}

/// Relative to 8 bits, wide multipliers with Booth's recoding take less than the law says, those
/// without it more.
#[test]
fn the_law_lies_between_recoded_and_plain_multipliers() {
    let json = table();
    let array = &json["array_square"];
    let widths: Vec<u32> = serde_json::from_value(array["width_bits"].clone()).unwrap();
    let energies: Vec<f64> = serde_json::from_value(array["zero_pj"].clone()).unwrap();
    let at = |bits| energies[widths.iter().position(|&width| width == bits).unwrap()];
    let law = Profile::horowitz45();
    let recoded = errors(|_| true);
    for bits in [4, 5, 6, 10, 12, 16, 20, 24, 32] {
        let plain = law.multiply(bits, bits).0 / law.multiply(8, 8).0 / (at(bits) / at(8)) - 1.0;
        assert!(plain.abs() < 0.12, "{bits} bits: {plain}");
        let &(_, _, recoded) = recoded.iter().find(|&&(a, b, _)| (a, b) == (bits, bits)).unwrap();
        assert!(bits < 10 || (plain < 0.0 && 0.0 < recoded), "{bits} bits: {plain} {recoded}");
    }
}

#[test]
fn synthesized_widths_are_met_exactly() {
    for (name, column) in [("nangate45", "zero_pj"), ("nangate45-glitch", "glitch_pj")] {
        let profile = Profile::named(name).unwrap();
        for (a, b, pj) in multipliers(column) {
            assert_eq!(profile.multiply(a, b), Picojoules(pj), "{name}: {a} x {b}");
        }
        for (a, b, um2) in multipliers("area_um2") {
            assert_eq!(profile.multiply_area(a, b), um2, "{name}: {a} x {b}");
        }
        let adder = &table()["adder"];
        let widths: Vec<u32> = serde_json::from_value(adder["width_bits"].clone()).unwrap();
        for (at, &bits) in widths.iter().enumerate() {
            assert_eq!(profile.add(bits).0, adder[column][at], "{name}: {bits} bits");
            assert_eq!(profile.add_area(bits), adder["area_um2"][at], "{name}: {bits} bits");
        }
    }
}

#[test]
fn between_synthesized_widths_the_logarithm_is_linear() {
    let profile = Profile::named("nangate45").unwrap();
    let multiply = |a, b| profile.multiply(a, b).0;
    // 18² is not 16 · 20, so the share of the way is not one half.
    let way = (18_f64 / 16.0).ln() / (20_f64 / 16.0).ln();
    let between = |low: f64, high: f64| (low.ln() * (1.0 - way) + high.ln() * way).exp();
    close(profile.multiply(18, 8), between(multiply(16, 8), multiply(20, 8)), 1e-12);
    let sides = [16, 20].map(|a| between(multiply(a, 16), multiply(a, 20)));
    close(profile.multiply(18, 18), between(sides[0], sides[1]), 1e-12);
    close(profile.multiply(64, 8), 2.0 * multiply(32, 8), 1e-12);
    close(profile.multiply(64, 48), 3.0 * multiply(32, 32), 1e-12);
    close(profile.multiply(1, 8), multiply(2, 8), 1e-12);
    close(profile.add(128), 2.0 * profile.add(64).0, 1e-12);
    close(profile.add(1), profile.add(4).0 / 4.0, 1e-12);
}

/// A PE that was synthesized as a whole saves a little over its parts, or spends some on control.
#[test]
fn synthesized_pes_cost_what_their_parts_do() {
    let profile = Profile::named("nangate45").unwrap();
    let mut errors = vec![];
    for mac in table()["macs"].as_array().unwrap() {
        let [a, b, sum]: [u32; 3] = serde_json::from_value(mac["bits"].clone()).unwrap();
        if a.min(b) < 4 {
            continue;
        }
        let whole = mac["zero_pj"].as_f64().unwrap() + mac["clock_pj"].as_f64().unwrap();
        let error = profile.mac(a, b, sum).0 / whole - 1.0;
        assert!((-0.1..0.15).contains(&error), "{mac}: {error}");
        errors.push(error.abs());
    }
    assert_eq!(errors.len(), 51);
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(mean < 0.07, "{mean}");
}

#[test]
fn registers_and_small_blocks_are_met_at_the_widths_that_were_synthesized() {
    let profile = Profile::named("nangate45").unwrap();
    for register in table()["registers"].as_array().unwrap() {
        let bits = register["bits"].as_u64().unwrap() as u32;
        close(profile.register_write(bits), register["zero_pj"].as_f64().unwrap(), 0.02);
        close(profile.register_clock(bits), register["clock_pj"].as_f64().unwrap(), 0.02);
        let area = profile.register_area(bits) / register["area_um2"].as_f64().unwrap();
        assert!((area - 1.0).abs() < 0.01, "{register}");
    }
    let mut seen = 0;
    for entry in table()["blocks"].as_array().unwrap() {
        let (bits, pj) = numbers(entry);
        let narrow = bits < 24;
        let (found, area) = match entry["block"].as_str().unwrap() {
            "relu" => (profile.relu(bits), profile.relu_area(bits)),
            "maximum" => (profile.maximum(bits), profile.maximum_area(bits)),
            "lfsr" if bits == 32 => (profile.random_word(), profile.random_area()),
            "requantize nearest" if !narrow => (
                profile.requantize(bits, false, false),
                profile.requantize_area(bits, false, false),
            ),
            "requantize stochastic" if !narrow => {
                (profile.requantize(bits, true, false), profile.requantize_area(bits, true, false))
            }
            "requantize stochastic barrel" => {
                (profile.requantize(bits, true, true), profile.requantize_area(bits, true, true))
            }
            _ => continue,
        };
        seen += 1;
        let error = found.0 / (pj + entry["clock_pj"].as_f64().unwrap()) - 1.0;
        assert!(error.abs() < 0.25, "{entry}: {error}");
        let error = area / entry["area_um2"].as_f64().unwrap() - 1.0;
        assert!(error.abs() < 0.35, "{entry}: {error}");
    }
    assert_eq!(seen, 20);
}

/// 22.8 nW/um², the figure of every profile but the relative one.
#[test]
fn synthesized_multipliers_leak_by_their_area() {
    let sum = |column| multipliers(column).iter().map(|(_, _, number)| number).sum::<f64>();
    let nanowatts = 1000.0 * sum("leak_uw") / sum("area_um2");
    assert!((nanowatts - 22.8).abs() < 0.1, "{nanowatts}");
    let leakage = Profile::named("nangate45").unwrap().logic_leakage(1.0);
    assert!((leakage.0 - 22.8e-6).abs() < 1e-18);
}

/// Blocks that Horowitz does not list stand in both profiles, in his times kappa.
#[test]
fn horowitz_takes_unlisted_blocks_from_the_synthesis() {
    let (ours, theirs) = (Profile::horowitz45(), Profile::named("nangate45").unwrap());
    for (scaled, synthesized) in [
        (ours.register_clock(8), theirs.register_clock(8)),
        (ours.register_write(8), theirs.register_write(8)),
        (ours.requantize(32, false, false), theirs.requantize(32, false, false)),
        (ours.requantize(32, true, true), theirs.requantize(32, true, true)),
        (ours.random_word(), theirs.random_word()),
        (ours.relu(8), theirs.relu(8)),
        (ours.maximum(8), theirs.maximum(8)),
    ] {
        close(scaled, 0.3 * synthesized.0, 1e-12);
    }
}
