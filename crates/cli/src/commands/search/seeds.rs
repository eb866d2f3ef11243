//! Seeds as they are typed.

use std::str::FromStr;

/// How many, or which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SeedsArgument {
    /// So many, from one on.
    Count(u64),
    /// These.
    These(Vec<u64>),
}

/// The most seeds.
const SEEDS_MAX: u64 = 10_000;

impl FromStr for SeedsArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!("expected a number from 1 to {SEEDS_MAX}, A..=B or A,B,C with no seed twice")
        };
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| expected());
        let seeds = if let Some((from, to)) = text.split_once("..=") {
            let (from, to) = (number(from)?, number(to)?);
            if to.checked_sub(from).is_none_or(|more| more >= SEEDS_MAX) {
                return Err(expected());
            }
            Self::These((from..=to).collect())
        } else if text.contains(',') {
            Self::These(text.split(',').map(number).collect::<Result<_, _>>()?)
        } else {
            Self::Count(number(text)?)
        };
        let good = match &seeds {
            Self::Count(count) => (1..=SEEDS_MAX).contains(count),
            Self::These(seeds) => {
                let mut distinct = seeds.clone();
                distinct.sort_unstable();
                distinct.dedup();
                distinct.len() == seeds.len() && seeds.len() as u64 <= SEEDS_MAX
            }
        };
        if good { Ok(seeds) } else { Err(expected()) }
    }
}

impl SeedsArgument {
    /// Which they are; a number of them starts at `first`, if there is such a seed.
    pub(crate) fn from(&self, first: Option<u64>) -> Result<Vec<u64>, String> {
        match self {
            Self::These(seeds) => Ok(seeds.clone()),
            Self::Count(count) => {
                let range = first.and_then(|first| Some(first..=first.checked_add(count - 1)?));
                let many =
                    || format!("there are no {count} seeds from there on: state them, A..=B");
                range.map(Iterator::collect).ok_or_else(many)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_counted_ranged_or_listed_and_never_twice() {
        let read =
            |text: &str, first| text.parse::<SeedsArgument>().and_then(|seeds| seeds.from(first));
        assert_eq!(read("3", Some(7)), Ok(vec![7, 8, 9]));
        assert_eq!(read("7..=9", Some(1)), Ok(vec![7, 8, 9]));
        assert_eq!(read("9..=9", None), Ok(vec![9]));
        assert_eq!(read("5,2", None), Ok(vec![5, 2]));
        for text in ["0", "", "a", "-1", "1.5", "3..=2", "1..=99999", "1,1", "1,", "1..5", "10001"]
        {
            assert!(text.parse::<SeedsArgument>().is_err(), "{text}");
        }
        assert!(read("2", Some(u64::MAX)).is_err() && read("1", None).is_err());
        assert_eq!(read("1", Some(u64::MAX)), Ok(vec![u64::MAX]));
    }
}
