//! What entries of a network are called.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an entry of a network is called, wherever results speak of it: its number among the layers with
/// weights, from 0, or `@` and its place in the list, where it has no weights. Names that a user gives
/// change no bit.
///
/// ```
/// use systoliq_nn::EntryName;
/// let names = [EntryName::Number(1), EntryName::Place(3)];
/// assert_eq!(names.map(|name| name.to_string()), ["1", "@3"]);
/// assert_eq!(serde_json::to_string(&names)?, r#"[1,"@3"]"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "WrittenName", try_from = "WrittenName")]
pub enum EntryName {
    /// Of a layer with weights.
    Number(usize),
    /// Of any other entry.
    Place(usize),
}

impl EntryName {
    /// The number, if it is that of a layer with weights.
    pub fn number(self) -> Option<usize> {
        match self {
            Self::Number(number) => Some(number),
            Self::Place(_) => None,
        }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => f.pad(&number.to_string()),
            Self::Place(place) => f.pad(&format!("@{place}")),
        }
    }
}

/// A name in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenName {
    Number(usize),
    Place(String),
}

impl From<EntryName> for WrittenName {
    fn from(name: EntryName) -> Self {
        match name {
            EntryName::Number(number) => Self::Number(number),
            EntryName::Place(_) => Self::Place(name.to_string()),
        }
    }
}

impl TryFrom<WrittenName> for EntryName {
    type Error = String;

    fn try_from(written: WrittenName) -> Result<Self, String> {
        match written {
            WrittenName::Number(number) => Ok(Self::Number(number)),
            WrittenName::Place(name) => {
                let place = name.strip_prefix('@').and_then(|place| place.parse().ok());
                let place = place.ok_or(format!("\"{name}\": expected a number or \"@\" and one"));
                place.map(Self::Place)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_nothing_else_is() {
        for name in [EntryName::Number(0), EntryName::Number(12), EntryName::Place(0)] {
            let written = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<EntryName>(&written).unwrap(), name);
        }
        for bad in ["\"1\"", "\"@\"", "\"@x\"", "-1", "null"] {
            assert!(serde_json::from_str::<EntryName>(bad).is_err(), "{bad}");
        }
        assert_eq!(format!("{:>4}", EntryName::Place(2)), "  @2");
    }
}
