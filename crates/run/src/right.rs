//! Which samples of a part a network gets right.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which samples of a part a network gets right, in data order. In JSON, hexadecimal digits of four
/// samples each, the first the highest bit, with their number before: `"5:98"` for the samples 0, 3 and 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right(Vec<bool>);

impl Right {
    /// The samples of classes `labels` that are taken for these; `None` stands for no class.
    ///
    /// # Panics
    ///
    /// If there are not as many predictions as labels.
    pub fn new(labels: &[u32], predictions: &[Option<u32>]) -> Self {
        assert_eq!(labels.len(), predictions.len(), "a prediction for each label");
        let pairs = labels.iter().zip(predictions);
        pairs.map(|(&label, &prediction)| prediction == Some(label)).collect()
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of those that it gets wrong.
    pub fn errors(&self) -> u64 {
        self.iter().map(|right| u64::from(!right)).sum()
    }

    /// Sample by sample.
    pub fn iter(&self) -> impl Iterator<Item = bool> + '_ {
        self.0.iter().copied()
    }

    /// How many samples this network alone gets right, and how many the other alone.
    ///
    /// # Panics
    ///
    /// If they have not as many samples.
    pub fn alone(&self, other: &Self) -> [u64; 2] {
        assert_eq!(self.len(), other.len(), "networks on one part");
        let mut counts = [0; 2];
        for (ours, theirs) in self.iter().zip(other.iter()) {
            counts[0] += u64::from(ours && !theirs);
            counts[1] += u64::from(theirs && !ours);
        }
        counts
    }
}

impl FromIterator<bool> for Right {
    fn from_iter<I: IntoIterator<Item = bool>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

impl Serialize for Right {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |four: &[bool]| {
            let value =
                (0..4).fold(0, |value, at| 2 * value + u32::from(four.get(at) == Some(&true)));
            char::from_digit(value, 16).expect("a hexadecimal digit")
        };
        let digits: String = self.0.chunks(4).map(digit).collect();
        serializer.collect_str(&format_args!("{}:{digits}", self.len()))
    }
}

impl<'de> Deserialize<'de> for Right {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = || {
            let (count, digits) = text.split_once(':')?;
            let count: usize = count.parse().ok()?;
            let values: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
            let bits = values?
                .into_iter()
                .flat_map(|value| (0..4).map(move |at| value >> (3 - at) & 1 == 1));
            let right: Vec<bool> = bits.collect();
            let whole = right.len() / 4 == count.div_ceil(4) && !right[count..].contains(&true);
            whole.then(|| Self(right[..count].to_vec()))
        };
        read().ok_or_else(|| {
            D::Error::custom(format!("expected samples like \"5:98\", not {text:?}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_survive_their_text() {
        let right: Right = [true, false, false, true, true].into_iter().collect();
        assert_eq!(serde_json::to_string(&right).unwrap(), "\"5:98\"");
        for count in 0..20 {
            let right: Right = (0..count).map(|at| at % 3 == 0).collect();
            let text = serde_json::to_string(&right).unwrap();
            assert_eq!(serde_json::from_str::<Right>(&text).unwrap(), right, "{text}");
        }
        for text in ["", "98", "5:9", "5:980", "5:9c", "5:9g", ":", "-1:", "18446744073709551615:0"]
        {
            let text = serde_json::to_string(text).unwrap();
            assert!(serde_json::from_str::<Right>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_right_where_they_name_the_class() {
        let ours = Right::new(&[0, 1, 2, 3], &[Some(0), Some(1), None, Some(2)]);
        let theirs = Right::new(&[0, 1, 2, 3], &[Some(0), None, Some(2), Some(3)]);
        assert_eq!((ours.errors(), theirs.errors()), (2, 1));
        assert_eq!(ours.alone(&theirs), [1, 2]);
    }
}
