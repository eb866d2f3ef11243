//! How often each code of a tensor occurs.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use systoliq_fxp::{Format, Lane, Tensor, with_codes};

/// Bits of a code that are told apart.
const BITS: u32 = 8;

/// How often each code occurs, or of codes longer than 8 bits each value of the top 8 bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// The format of the codes, in Q notation.
    pub format: String,
    /// Low bits of a code that are left out: value `v` counts the codes from `v·2^dropped_bits` up
    /// to the next.
    pub dropped_bits: u32,
    /// The smallest value that occurs.
    pub first: i64,
    /// How often `first`, `first + 1`, … occur, up to the largest value that does.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// The histogram of a tensor that is not empty.
    pub fn of(tensor: &Tensor) -> Self {
        let format = tensor.format();
        let (dropped_bits, lowest) = (dropped_bits(format), *values(format).start());
        let mut counts = vec![0; 1 << BITS.min(format.bits())];
        with_codes!(tensor, |codes| {
            for &code in codes {
                counts[((code.code() >> dropped_bits) - lowest) as usize] += 1;
            }
        });
        let occurs = |count: &u64| *count > 0;
        let first = counts.iter().position(occurs).unwrap_or(0);
        let end = counts.iter().rposition(occurs).map_or(first, |last| last + 1);
        Self {
            format: format.to_string(),
            dropped_bits,
            first: lowest + first as i64,
            counts: counts[first..end].to_vec(),
        }
    }

    /// Whether it can be that of so many codes of a format, whatever its fraction bits.
    pub(crate) fn is_possible(&self, format: Format, codes: u64) -> bool {
        let counted = self.counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
        let last = self.first.checked_add(self.counts.len() as i64 - 1);
        let inside = |value: i64| values(format).contains(&value);
        counted == Some(codes)
            && self.dropped_bits == dropped_bits(format)
            && inside(self.first)
            && last.is_some_and(inside)
    }
}

/// Low bits of a code that are left out.
fn dropped_bits(format: Format) -> u32 {
    format.bits().saturating_sub(BITS)
}

/// The values that are told apart.
fn values(format: Format) -> RangeInclusive<i64> {
    format.min_raw() >> dropped_bits(format)..=format.max_raw() >> dropped_bits(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(notation: &str, codes: &[i64]) -> (u32, i64, Vec<u64>) {
        let tensor = Tensor::from_codes(notation.parse().unwrap(), 1, codes.len(), codes);
        let Histogram { format, dropped_bits, first, counts } = Histogram::of(&tensor);
        assert_eq!(format, notation);
        (dropped_bits, first, counts)
    }

    #[test]
    fn every_code_of_a_narrow_format_has_its_count() {
        assert_eq!(of("Q2.2", &[-8, 7, 7, 0]).2.len(), 16);
        assert_eq!(of("Q2.6", &[-3, -1, -3, 0]), (0, -3, vec![2, 0, 1, 1]));
        assert_eq!(of("UQ8.0", &[255]), (0, 255, vec![1]));
    }

    #[test]
    fn wide_codes_are_counted_by_their_top_eight_bits() {
        // −1 lies in the last value below 0, as its top bits are all ones.
        assert_eq!(of("Q1.15", &[-1, 0, 255, 256]), (8, -1, vec![1, 2, 1]));
        assert_eq!(of("Q1.8", &[-256, 255]).1, -128);
        let (dropped, first, counts) = of("UQ32.0", &[u32::MAX.into(), 0]);
        assert_eq!((dropped, first, counts.len()), (24, 0, 256));
    }
}
