//! Edges with what they read, as values pass them.

use std::sync::Arc;

use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_fxp::{
    ActivationCurve, Exact, Lane, Raw, Rounding, Tensor, shift_right_round, with_codes,
};

use super::CLIP_FRAC;

/// An edge with what it reads.
#[derive(Clone, Debug)]
pub(crate) enum Gate {
    Relu,
    Clip(Ceiling),
    Curve(ActivationCurve),
    Positive(Arc<Tensor>),
    Between { of: Arc<Tensor>, most: i64 },
    Slope { of: Arc<Tensor>, curve: ActivationCurve },
}

/// What values are clipped at, and the fraction bits that both have then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ceiling {
    /// Zeros that are appended to values.
    zeros: u32,
    most: i64,
    /// The number as it is stated, of [`CLIP_FRAC`] fraction bits.
    stated: i64,
}

impl Ceiling {
    /// `most` of [`CLIP_FRAC`] fraction bits for values of `frac`; with the fraction bits of what leaves,
    /// so many that both are exact.
    pub(crate) fn new(most: i64, frac: i32) -> (Self, i32) {
        let appended = frac - CLIP_FRAC;
        if appended < 0 {
            return (Self { zeros: appended.unsigned_abs(), most, stated: most }, CLIP_FRAC);
        }
        // Beyond 64 bits no value is clipped.
        let scaled = i128::from(most).checked_shl(appended.unsigned_abs());
        let scaled = scaled.filter(|&scaled| scaled >> appended.min(127) == i128::from(most));
        let scaled = scaled.and_then(|scaled| i64::try_from(scaled).ok()).unwrap_or(i64::MAX);
        (Self { zeros: 0, most: scaled, stated: most }, frac)
    }

    /// Clips a value that is not negative.
    #[inline]
    fn clip(self, value: i64) -> i64 {
        let Self { zeros, most, .. } = self;
        if value > most.checked_shr(zeros).unwrap_or(0) {
            return most;
        }
        value.checked_shl(zeros).unwrap_or(0)
    }
}

impl Gate {
    /// Whether values leave as integers of the type and the fraction bits that they come with.
    pub(crate) fn keeps_type(&self) -> bool {
        match self {
            Self::Relu | Self::Positive(_) | Self::Between { .. } => true,
            Self::Clip(ceiling) => ceiling.zeros == 0,
            Self::Curve(_) | Self::Slope { .. } => false,
        }
    }

    /// Lets exact values pass, of elements from position `first` on.
    pub(crate) fn pass_exact<'r>(&self, values: Exact<'r>, first: usize) -> Exact<'r> {
        match self {
            Self::Relu => values.nonnegative(),
            Self::Clip(ceiling) => values.at_most(ceiling.stated, CLIP_FRAC),
            Self::Curve(curve) => values.through(*curve),
            Self::Positive(_) | Self::Between { .. } => match values {
                Exact::Narrow { frac, bits, raws } => {
                    self.pass(raws, first);
                    Exact::Narrow { frac, bits, raws }
                }
                wide @ Exact::Wide(_) => {
                    let mut passes = vec![1_i64; wide.len()];
                    self.pass(&mut passes, first);
                    wide.only(|at| passes[at] != 0)
                }
            },
            Self::Slope { of, curve } => {
                let columns = of.cols();
                let code = |at: usize| of.code((first + at) / columns, (first + at) % columns);
                values.times_slope(*curve, of.format().frac(), code)
            }
        }
    }

    /// Lets values pass, of elements from position `first` on.
    ///
    /// # Panics
    ///
    /// If they do not keep their type.
    pub(crate) fn pass<R: Raw>(&self, values: &mut [R], first: usize) {
        match self {
            Self::Relu => with_widest_vectors(Rectify(values)),
            Self::Clip(ceiling) => {
                assert_eq!(ceiling.zeros, 0, "values that keep their type");
                let clip = |value: R| R::from_raw(ceiling.clip(value.into()));
                values.iter_mut().for_each(|value| *value = clip(*value));
            }
            Self::Curve(_) | Self::Slope { .. } => panic!("{self:?} changes fraction bits"),
            Self::Positive(tensor) => mask(values, tensor, first, |_, code| code > 0),
            Self::Between { of: tensor, most } => match tensor.blocks() {
                None => {
                    let below = code_of(*most, tensor.format().frac());
                    mask(values, tensor, first, |_, code| code > 0 && i128::from(code) < below);
                }
                Some(_) => {
                    let frac = |at: usize| tensor.frac(at / tensor.cols(), at % tensor.cols());
                    mask(values, tensor, first, |at, code| {
                        code > 0 && i128::from(code) < code_of(*most, frac(at))
                    });
                }
            },
        }
    }
}

/// Lets exact values pass gates, of elements from position `first` on.
pub(crate) fn pass_all<'r>(gates: &[Gate], values: Exact<'r>, first: usize) -> Exact<'r> {
    gates.iter().fold(values, |values, gate| gate.pass_exact(values, first))
}

/// Lets values pass gates of which some append zeros to clip, and none is a curve or a slope; gives the
/// fraction bits that they have then, from those before.
///
/// # Panics
///
/// If there is a curve or a slope.
pub(super) fn clipped(gates: &[Gate], values: &mut [i64], mut frac: i32) -> i32 {
    for gate in gates {
        match gate {
            Gate::Clip(ceiling) if ceiling.zeros > 0 => {
                values.iter_mut().for_each(|value| *value = ceiling.clip(*value));
                frac = CLIP_FRAC;
            }
            gate => gate.pass(values, 0),
        }
    }
    frac
}

/// Makes negative values 0.
struct Rectify<'a, R>(&'a mut [R]);

impl<R: Raw> VectorWork for Rectify<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.0.iter_mut().for_each(|value| *value = (*value).max(R::zero()));
    }
}

/// Sets values to 0 where the place and the code of a tensor say so.
fn mask<R: Raw>(
    values: &mut [R],
    tensor: &Tensor,
    first: usize,
    passes: impl Fn(usize, i64) -> bool,
) {
    with_codes!(tensor, |codes| {
        let codes = &codes.as_slice().expect("tensors are contiguous")[first..];
        with_widest_vectors(MaskValues { values, codes, first, passes });
    });
}

/// Lets values pass by the places and the codes of a tensor.
struct MaskValues<'a, R, L, P> {
    values: &'a mut [R],
    codes: &'a [L],
    first: usize,
    passes: P,
}

impl<R: Raw, L: Lane, P: Fn(usize, i64) -> bool> VectorWork for MaskValues<'_, R, L, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (at, (value, code)) in (self.first..).zip(self.values.iter_mut().zip(self.codes)) {
            *value = if (self.passes)(at, code.code()) { *value } else { R::zero() };
        }
    }
}

/// The code of `frac` fraction bits that a number of [`CLIP_FRAC`] rounds to, before it is fitted.
fn code_of(most: i64, frac: i32) -> i128 {
    match CLIP_FRAC - frac {
        dropped @ 1.. => {
            shift_right_round(i128::from(most), dropped.unsigned_abs(), Rounding::NearestEven, 0)
        }
        appended => i128::from(most) << appended.unsigned_abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipped_values_are_exact_at_any_fraction_bits() {
        // M = 1.5.
        let most = 3 << 15;
        for (frac, expected_frac) in [(0, 16), (10, 16), (16, 16), (20, 20), (60, 60), (90, 90)] {
            let (ceiling, found) = Ceiling::new(most, frac);
            assert_eq!(found, expected_frac);
            for value in [0, 1, 2, 1 << 9, (3 << 9) - 1, 3 << 9, (3 << 9) + 1, i64::MAX] {
                let real = |raw: i64, frac: i32| raw as f64 * 2f64.powi(-frac);
                let expected = real(value, frac).min(1.5);
                let found = real(ceiling.clip(value), found);
                assert_eq!(found, expected, "{value} with {frac} fraction bits");
            }
        }
    }

    #[test]
    fn a_mask_lets_pass_between_0_and_the_code_that_the_end_rounds_to() {
        let tensor = |codes: &[i64]| {
            Arc::new(Tensor::from_codes("UQ4.4".parse().unwrap(), 1, codes.len(), codes))
        };
        // M = 1.53: 24.48 codes of 2^-4 round to 24.
        let most = (1.53f64 * 65536.0).round() as i64;
        let mut values = vec![7; 5];
        Gate::Between { of: tensor(&[0, 1, 23, 24, 25]), most }.pass::<i64>(&mut values, 0);
        assert_eq!(values, [0, 7, 7, 0, 0]);
        let mut values = vec![7; 2];
        Gate::Positive(tensor(&[0, 1, 0])).pass::<i32>(&mut values, 1);
        assert_eq!(values, [7, 0]);
    }
}
