//! What a unit computes, against floating point and by the definitions.

use super::*;
use crate::Format;
use systoliq_keyed_random::Key;

fn default_unit() -> SoftmaxUnit {
    SoftmaxUnit::new(SoftmaxFormat::default())
}

#[test]
fn tables_are_the_nearest_entries() {
    for bits in 1..=12 {
        for table_frac in [bits, 13, 18, 30] {
            let entries = 1 << bits;
            let format = SoftmaxFormat { entries, table_frac, ..SoftmaxFormat::default() };
            let unit = match format.check() {
                Ok(()) => SoftmaxUnit::new(format),
                Err(_) => continue,
            };
            for i in 0..=entries as usize {
                let x = i as f64 / f64::from(entries);
                let nearest = |real: f64| (real * 2f64.powi(table_frac as i32)).round() as i64;
                assert_eq!(unit.exp2[i], nearest((-x).exp2()), "2^-{x} of {format:?}");
                assert_eq!(unit.log2[i], nearest((1.0 + x).log2()), "log2(1 + {x}) of {format:?}");
            }
        }
    }
    assert_eq!(f64::from(LOG2_E.to_bits()), (std::f64::consts::LOG2_E * 2f64.powi(30)).round());
}

#[test]
fn between_entries_the_nearest_point_of_the_line_is_taken() {
    let unit = default_unit();
    for position in 0..=0xffffu64 {
        let (at, low) = ((position >> 8) as usize, (position & 0xff) as i64);
        let on_line = unit.exp2[at] * (256 - low) + unit.exp2[at + 1] * low; // in 256ths
        let off = 256 * unit.look_up(&unit.exp2, position, 16) - on_line;
        assert!(-128 < off && off <= 128, "position {position}: off by {off}/256");
    }
}

/// Softmax, its predictions and losses in floating point.
fn in_floats(z: &[f64]) -> (Vec<f64>, usize, Vec<f64>) {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = z.iter().map(|z| (z - max).exp()).sum();
    let best = z.iter().position(|&z| z == max).unwrap();
    let losses = z.iter().map(|z| ((max - z) + sum.ln()) / std::f64::consts::LN_2).collect();
    (z.iter().map(|z| (z - max).exp() / sum).collect(), best, losses)
}

#[test]
fn probabilities_losses_and_predictions_follow_floats() {
    let unit = default_unit();
    let (mut worst_probability, mut worst_loss) = (0f64, 0f64);
    for (case, notation) in
        ["Q4.4", "Q8.0", "Q2.6", "Q4.12", "Q6.2", "Q1.7", "Q8.24"].iter().enumerate()
    {
        let format: Format = notation.parse().unwrap();
        for classes in [1, 2, 3, 10, 100] {
            let key = Key::new(case as u64).with(classes as u64);
            let codes: Vec<i64> = (0..64 * classes as u64)
                .map(|i| i64::from(key.word(i)) % (2 * format.max_raw() + 2) + format.min_raw())
                .collect();
            let logits = Tensor::from_codes(format, 64, classes, &codes);
            let softmax = unit.of(&logits);
            for (row, z) in logits.to_reals().rows().into_iter().enumerate() {
                let (p, best, losses) = in_floats(&z.to_vec());
                assert_eq!(softmax.predictions[row] as usize, best);
                for class in 0..classes {
                    let ours =
                        f64::from(softmax.probabilities[row * classes + class]) / 2f64.powi(30);
                    worst_probability = worst_probability.max((ours - p[class]).abs());
                    let one = unit.of(&Tensor::from_codes(
                        format,
                        1,
                        classes,
                        &codes[row * classes..][..classes],
                    ));
                    let loss = one.loss_sum(&[class as u32]).to_f64();
                    worst_loss =
                        worst_loss.max((loss - losses[class]).abs() / losses[class].max(1.0));
                }
            }
        }
    }
    println!("worst probability {worst_probability:.2e}, worst loss {worst_loss:.2e}");
    assert!(worst_probability < 2e-6, "{worst_probability}");
    assert!(worst_loss < 2e-5, "{worst_loss}");
}

#[test]
fn ties_go_to_the_lowest_class_and_no_logit_makes_the_loss_infinite() {
    let format: Format = "Q64.-32".parse().unwrap(); // ulp 2^32
    let logits = Tensor::from_codes(format, 2, 3, &[5, 5, -5, i32::MIN.into(), 0, 0]);
    let softmax = default_unit().of(&logits);
    assert_eq!(softmax.predictions, [0, 1]);
    assert_eq!(softmax.probabilities[2..4], [0, 0]);
    let loss = softmax.loss_sum(&[0, 0]).to_f64();
    let expected = 2.0 + 2f64.powi(63) * std::f64::consts::LOG2_E;
    assert!((loss / expected - 1.0).abs() < 1e-8, "{loss} {expected}");
}

/// The worked example of `docs/numerics.md`, computed there in unbounded integers from the
/// definitions alone.
#[test]
fn the_worked_example_is_right_to_the_bit() {
    let logits = Tensor::from_codes("Q6.2".parse().unwrap(), 1, 3, &[8, 4, -2]);
    let softmax = default_unit().of(&logits);
    assert_eq!(softmax.t, [0, 94_548, 236_371]);
    assert_eq!(
        [0, 94_548, 236_371].map(|t| default_unit().exp2_negative(t)),
        [1 << 30, 395_009_792, 88_138_311]
    );
    assert_eq!(softmax.probabilities, [740_528_591, 272_426_796, 60_786_437]);
    let mut differences = Vec::new();
    softmax.differences(&[1], &mut differences);
    assert_eq!(differences, [740_528_591, -801_315_028, 60_786_437]);
    let in_bits = [1_147_139_514_506_104_955, -1_241_302_690_210_871_140, 94_163_175_704_766_185];
    softmax.differences_in_bits(&[1], &mut differences);
    assert_eq!(differences, in_bits);
    assert_eq!(softmax.log_sums, [575_546_011]);
    assert_eq!(softmax.loss_sum(&[1]).to_f64(), 2_124_620_443.0 / 2f64.powi(30));
}

#[test]
fn gradients_sum_to_nearly_zero_and_scale_by_one_over_ln_2() {
    let logits = Tensor::from_codes("Q4.4".parse().unwrap(), 1, 4, &[10, -3, 70, 0]);
    let softmax = default_unit().of(&logits);
    let (mut nats, mut bits) = (Vec::new(), Vec::new());
    softmax.differences(&[1], &mut nats);
    softmax.differences_in_bits(&[1], &mut bits);
    assert!(nats.iter().sum::<i64>().abs() <= 2, "{nats:?}");
    for (bits, nats) in bits.iter().zip(&nats) {
        let ratio = *bits as f64 / 2f64.powi(60) / (*nats as f64 / 2f64.powi(30));
        assert!((ratio * std::f64::consts::LN_2 - 1.0).abs() < 1e-9);
    }
}

/// Units from coarse to fine, with tables of which each step is plain to see.
fn units() -> Vec<SoftmaxUnit> {
    let mut units = Vec::new();
    for interpolation in [Interpolation::None, Interpolation::Linear] {
        for (exponent_frac, entries, table_frac, probability_frac) in
            [(1, 2, 4, 2), (4, 16, 8, 8), (10, 1024, 10, 10), (10, 1024, 18, 16), (16, 256, 30, 30)]
        {
            units.push(SoftmaxUnit::new(SoftmaxFormat {
                exponent_frac,
                entries,
                table_frac,
                interpolation,
                probability_frac,
            }));
        }
    }
    units
}

#[test]
fn no_unit_gives_a_probability_above_1_or_another_class_than_the_logits() {
    for unit in units() {
        let one = 1u32 << unit.format.probability_frac;
        for (case, notation) in ["Q4.4", "Q8.0", "Q2.6", "Q1.15", "Q8.24"].iter().enumerate() {
            let format: Format = notation.parse().unwrap();
            for classes in [1, 2, 10, 1000] {
                let key = Key::new(7).with(case as u64).with(classes as u64);
                let codes: Vec<i64> = (0..16 * classes as u64)
                    .map(|i| i64::from(key.word(i)) % (2 * format.max_raw() + 2) + format.min_raw())
                    .collect();
                let softmax = unit.of(&Tensor::from_codes(format, 16, classes, &codes));
                for (row, codes) in codes.chunks_exact(classes).enumerate() {
                    let of_row = &softmax.probabilities[row * classes..][..classes];
                    let largest = *codes.iter().max().unwrap();
                    let first = codes.iter().position(|&code| code == largest).unwrap();
                    assert_eq!(softmax.predictions[row] as usize, first, "{:?}", unit.format);
                    assert!(of_row.iter().all(|&p| p <= one), "{:?}", unit.format);
                    // No class is more probable than that of the largest logit.
                    assert_eq!(of_row[first], *of_row.iter().max().unwrap(), "{:?}", unit.format);
                    // Each is rounded by half an ulp at most, so together they are 1 within that.
                    let sum: u64 = of_row.iter().map(|&p| u64::from(p)).sum();
                    assert!(
                        sum.abs_diff(one.into()) <= classes as u64 / 2 + 1,
                        "{:?}",
                        unit.format
                    );
                }
            }
        }
    }
}

#[test]
fn larger_logits_never_get_smaller_probabilities() {
    for unit in units() {
        for notation in ["Q4.4", "Q3.9", "Q2.14"] {
            let format: Format = notation.parse().unwrap();
            let step = (format.max_raw() / 500).max(1);
            let codes: Vec<i64> =
                (0..).map(|i| i * step).take_while(|&code| code <= format.max_raw()).collect();
            let softmax = unit.of(&Tensor::from_codes(format, 1, codes.len(), &codes));
            assert!(softmax.probabilities.is_sorted(), "{:?}, {notation}", unit.format);
        }
    }
}

#[test]
fn errors_shrink_with_entries_as_their_order_says() {
    // Dropping bits errs by up to ln 2 / entries of a power, a line by (ln 2 / entries)² / 8.
    let worst = |entries, interpolation| {
        let format = SoftmaxFormat { entries, interpolation, ..SoftmaxFormat::default() };
        let unit = SoftmaxUnit::new(format);
        let errors = (0..1u64 << 16).map(|t| {
            let exact = (-(t as f64) / 65536.0).exp2();
            (unit.exp2_negative(t.into()) as f64 / 2f64.powi(30) - exact).abs()
        });
        errors.fold(0.0, f64::max)
    };
    for entries in [4, 16, 64, 256, 1024] {
        let step = std::f64::consts::LN_2 / f64::from(entries);
        let (none, linear) =
            (worst(entries, Interpolation::None), worst(entries, Interpolation::Linear));
        assert!(0.9 * step < none && none < 1.01 * step, "{entries} entries: {none:e}");
        let bound = step * step / 8.0;
        assert!(linear < 1.01 * bound + 2f64.powi(-30), "{entries} entries: {linear:e}");
        assert!(linear > 0.8 * bound, "{entries} entries: {linear:e}");
    }
}

#[test]
fn units_that_cannot_be_built_are_refused() {
    let defaults = SoftmaxFormat::default();
    for (format, expected) in [
        (SoftmaxFormat { entries: 0, ..defaults }, "expected a power of two from 2 to 4096"),
        (SoftmaxFormat { entries: 100, ..defaults }, "expected a power of two from 2 to 4096"),
        (SoftmaxFormat { entries: 8192, ..defaults }, "expected a power of two from 2 to 4096"),
        (SoftmaxFormat { exponent_frac: 7, ..defaults }, "exponent_frac 7: expected 8 to 24"),
        (SoftmaxFormat { exponent_frac: 25, ..defaults }, "exponent_frac 25: expected 8 to 24"),
        (SoftmaxFormat { table_frac: 31, ..defaults }, "table_frac 31: expected 8 to 30"),
        (SoftmaxFormat { probability_frac: 1, ..defaults }, "probability_frac 1: expected 2 to 30"),
    ] {
        let message = format.check().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}
