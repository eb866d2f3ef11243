//! Sums against their definition in unbounded integers.

use super::*;
use num_traits::One;
use proptest::prelude::*;

/// Into the accumulator's range, as its overflow says.
fn limited(accumulator: &Accumulator, value: BigInt) -> BigInt {
    let half = BigInt::one() << (accumulator.bits - 1);
    match accumulator.overflow {
        Overflow::Saturate => value.clamp(-&half, &half - 1),
        Overflow::SaturateSymmetric => value.clamp(1 - &half, &half - 1),
        Overflow::Wrap => {
            let modulus = &half * 2;
            (((value + &half) % &modulus) + &modulus) % &modulus - half
        }
    }
}

/// The sum by definition, in unbounded integers: as it is limited, and without any limit.
fn by_definition(
    adder: &Adder,
    products: &[i128],
    bias: Option<(i64, i32)>,
    index: u64,
) -> (BigInt, BigInt) {
    let accumulator = &adder.accumulator;
    let aligned = |k: usize, raw: BigInt, frac: i32| {
        let word = adder.key.with(k as u64).word(index);
        shift_round_big(&raw, frac - adder.frac, accumulator.rounding, word)
    };
    let limit = |value: BigInt| match accumulator.overflow_at {
        OverflowAt::Each => limited(accumulator, value),
        OverflowAt::End => value,
    };
    let product_frac = adder.shift + adder.frac;
    let terms = products.iter().enumerate();
    let terms: Vec<_> =
        terms.map(|(k, &product)| aligned(k, product.into(), product_frac)).collect();
    let bias = bias.map(|(bias, frac)| aligned(products.len(), bias.into(), frac));
    let sum =
        |terms: &[BigInt]| terms.iter().fold(BigInt::ZERO, |register, term| limit(register + term));
    let register = match accumulator.chunk {
        None => sum(&terms),
        Some(chunk) => sum(&terms.chunks(chunk.get() as usize).map(sum).collect::<Vec<_>>()),
    };
    let register = bias.iter().fold(register, |register, bias| limit(register + bias));
    let exact = terms.iter().chain(&bias).sum();
    (limited(accumulator, register), exact)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 6000, ..Default::default() })]

    #[test]
    fn every_sum_equals_the_definition(
        bits in 2u32..=64,
        frac in prop::option::of(-128i32..=128),
        mode in (0usize..6, 0usize..3, 0usize..2, any::<u64>()),
        chunk in prop::option::of(1u32..9),
        product_frac in -128i32..=128,
        near in prop::option::of(-3i32..20),
        products in prop::collection::vec((any::<i64>(), 0u32..64), 0..20),
        bias in prop::option::of((any::<i32>(), -64i32..=64)),
        index in 0u64..1000,
    ) {
        let product_frac = match (near, frac) {
            (Some(near), Some(frac)) => frac + near,
            _ => product_frac,
        };
        let (rounding, overflow, overflow_at, seed) = mode;
        let accumulator =
            Accumulator::new(bits, frac, Rounding::ALL[rounding], Overflow::ALL[overflow]).unwrap();
        let accumulator = Accumulator {
            overflow_at: OverflowAt::ALL[overflow_at],
            chunk: chunk.and_then(NonZero::new),
            ..accumulator
        };
        let adder = Adder::new(&accumulator, product_frac, Key::new(seed));
        let products: Vec<i128> = products.iter().map(|&(raw, shift)| i128::from(raw) >> shift).collect();
        let bias = bias.map(|(bias, frac)| (i64::from(bias), frac));
        let mut sum = Sum::default();
        let count = products.len() as u64;
        for (k, &product) in (0..).zip(&products) {
            adder.add_product(&mut sum, product, index, k);
            if adder.ends_run(k, count) {
                adder.end_chunk(&mut sum);
            }
        }
        prop_assert_eq!(sum.chunk, 0);
        let differs = adder.finish(&mut sum, bias, index, count);
        let (register, exact) = by_definition(&adder, &products, bias, index);
        prop_assert_eq!(sum.value, register.to_i64().unwrap());
        prop_assert_eq!(differs, register != exact);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 3000, ..Default::default() })]

    #[test]
    fn sums_of_blocks_are_exact_within_a_block_and_aligned_once(
        (bits, frac, size) in (2u32..=64, -128i32..=128, 1u32..7),
        mode in (0usize..6, 0usize..3, 0usize..2, any::<u64>()),
        near in any::<bool>(),
        products in prop::collection::vec((any::<i64>(), 0u32..64), 0..20),
        fracs in prop::collection::vec(-128i32..=128, 20),
        bias in prop::option::of((any::<i32>(), -64i32..=64)),
        index in 0u64..1000,
    ) {
        let (rounding, overflow, overflow_at, seed) = mode;
        let (rounding, overflow) = (Rounding::ALL[rounding], Overflow::ALL[overflow]);
        let accumulator = Accumulator::new(bits, Some(frac), rounding, overflow).unwrap();
        let accumulator = accumulator.limited_at(OverflowAt::ALL[overflow_at]);
        let size = NonZero::new(size).unwrap();
        let adder = Adder::of_blocks(&accumulator, size, Key::new(seed));
        // Within 2^100 of the accumulator's ulp, beyond which sums of blocks count as 2^100.
        let fracs: Vec<i32> = fracs
            .iter()
            .map(|&own| if near { frac + own % 30 } else { own.max(frac - 30) })
            .collect();
        let products: Vec<i128> =
            products.iter().map(|&(raw, shift)| i128::from(raw) >> shift).collect();
        let bias = bias.map(|(bias, frac)| (i64::from(bias), frac));
        let (mut sum, count) = (Sum::default(), products.len() as u64);
        for (k, &product) in (0..).zip(&products) {
            adder.add_product(&mut sum, product, index, k);
            if adder.ends_run(k, count) {
                adder.end_block(&mut sum, fracs[k as usize / size.get() as usize], index, k);
            }
        }
        let differs = adder.finish(&mut sum, bias, index, count);
        let (mut register, mut exact) = (BigInt::ZERO, BigInt::ZERO);
        let limit = |value: BigInt| match accumulator.overflow_at {
            OverflowAt::Each => limited(&accumulator, value),
            OverflowAt::End => value,
        };
        let mut add = |raw: BigInt, own: i32, k: usize| {
            let word = adder.key.with(k as u64).word(index);
            let aligned = shift_round_big(&raw, own - frac, rounding, word);
            exact += &aligned;
            register = limit(&register + aligned);
        };
        let mut k = 0;
        for (block, &own) in products.chunks(size.get() as usize).zip(&fracs) {
            k += block.len();
            add(block.iter().map(|&product| BigInt::from(product)).sum(), own, k - 1);
        }
        if let Some((bias, own)) = bias {
            add(bias.into(), own, k);
        }
        let register = limited(&accumulator, register);
        prop_assert_eq!(sum.value, register.to_i64().unwrap());
        prop_assert_eq!(differs, register != exact);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 6000, ..Default::default() })]

    #[test]
    fn sums_that_are_exact_until_they_are_limited_are_those_of_the_register(
        (bits, shift) in (2u32..=64, -60i32..=0),
        mode in (0usize..3, 0usize..2),
        chunk in prop::option::of(1u32..9),
        width in 1u32..32,
        words in prop::collection::vec(any::<i64>(), 0..40),
    ) {
        let (overflow, overflow_at) = mode;
        let accumulator =
            Accumulator::new(bits, Some(-shift), Rounding::Stochastic, Overflow::ALL[overflow]);
        let accumulator = Accumulator {
            overflow_at: OverflowAt::ALL[overflow_at],
            chunk: chunk.and_then(NonZero::new),
            ..accumulator.unwrap()
        };
        let adder = Adder::new(&accumulator, 0, Key::new(0));
        let codes: Vec<i64> = words.iter().map(|word| word >> (64 - width)).collect();
        let half = 1i64 << (width - 1);
        let count = codes.len() as u64;
        if !adder.sums_exactly((-half, half - 1), count) {
            prop_assert!(accumulator.overflow != Overflow::Wrap && accumulator.limits_each());
            return Ok(());
        }
        let products: Vec<i128> = codes.iter().map(|&code| code.into()).collect();
        let (register, exact) = by_definition(&adder, &products, None, 0);
        let (value, differs) = adder.limited(codes.iter().sum());
        prop_assert_eq!(value, register.to_i64().unwrap());
        prop_assert_eq!(differs, register != exact);
    }
}

#[test]
fn long_sums_of_the_widest_products_are_exact_until_the_end() {
    // 2^26 products of the largest 32-bit codes have 90 bits; the same again, negative, cancel.
    let product = i128::from(u32::MAX) * i128::from(u32::MAX);
    for (overflow, expected) in
        [(Overflow::Saturate, i64::MAX), (Overflow::Wrap, (1 << 26) - (1 << 59))]
    {
        let accumulator = Accumulator::new(64, None, Rounding::Floor, overflow).unwrap();
        let adder = Adder::new(&accumulator.limited_at(OverflowAt::End), 0, Key::new(0));
        let mut sum = Sum::default();
        (0..1 << 26).for_each(|k| adder.add_product(&mut sum, product, 0, k));
        let mut up = sum;
        assert!(adder.finish(&mut up, None, 0, 1 << 26));
        assert_eq!(up.value, expected, "{overflow:?}");
        (0..1 << 26).for_each(|k| adder.add_product(&mut sum, -product, 0, (1 << 26) + k));
        assert!(!adder.finish(&mut sum, Some((-5, 0)), 0, 1 << 27));
        assert_eq!(sum.value, -5);
    }
}

#[test]
fn the_guarded_register_holds_every_sum_of_terms_of_its_width() {
    for bits in 2..10 {
        for k in 1..70 {
            let accumulator =
                Accumulator::new(bits, None, Rounding::Floor, Overflow::Saturate).unwrap();
            let (low, high) = accumulator.ends();
            let terms = k as i64 + 1;
            let width = accumulator.limited_at(OverflowAt::End).widths(k).sum;
            let holds = |width: u32, value: i64| value << (64 - width) >> (64 - width) == value;
            assert!(holds(width, terms * low) && holds(width, terms * high), "{bits} {k}");
            assert!(!holds(width - 1, terms * low), "{bits} {k}");
        }
    }
}
