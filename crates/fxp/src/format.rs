//! Fixed-point formats and their Q notation.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// The format of a tensor's codes: `real = raw · 2^-frac`.
///
/// Written in ARM's Q notation, in which the integer part counts the sign bit:
///
/// ```
/// use systoliq_fxp::Format;
/// let weights: Format = "Q2.6".parse()?;
/// assert_eq!((weights.bits(), weights.frac(), weights.is_signed()), (8, 6, true));
/// assert_eq!((weights.min_raw(), weights.max_raw()), (-128, 127)); // [-2, 2 - 2^-6]
/// let pixels: Format = "UQ1.7".parse()?;
/// assert_eq!((pixels.bits(), pixels.max_raw()), (8, 255));
/// let tiny: Format = "Q-8.16".parse()?; // an 8-bit code whose ulp is 2^-16
/// assert_eq!(tiny.bits(), 8);
/// # Ok::<(), systoliq_fxp::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    bits: u32,
    frac: i32,
    signed: bool,
}

impl Format {
    /// The smallest and the largest number of fraction bits of a tensor.
    pub const FRAC: std::ops::RangeInclusive<i32> = -64..=64;

    /// A format of `bits` bits, `frac` of them fraction.
    ///
    /// # Errors
    ///
    /// Unless `bits` is 2 to 32 (1 to 32 unsigned) and `frac` −64 to 64.
    pub fn new(bits: u32, frac: i32, signed: bool) -> Result<Self, Error> {
        let fewest = if signed { 2 } else { 1 };
        if !(fewest..=32).contains(&bits) {
            return Err(Error::Bits { bits: bits.into(), signed });
        }
        if !Self::FRAC.contains(&frac) {
            return Err(Error::Frac { frac: frac.into() });
        }
        Ok(Self { bits, frac, signed })
    }

    /// The number of bits of a code, sign bit included.
    pub const fn bits(self) -> u32 {
        self.bits
    }

    /// The number of fraction bits: `ulp = 2^-frac`.
    pub const fn frac(self) -> i32 {
        self.frac
    }

    /// Whether codes are two's complement.
    pub const fn is_signed(self) -> bool {
        self.signed
    }

    /// The smallest code.
    pub const fn min_raw(self) -> i64 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    /// The largest code.
    pub const fn max_raw(self) -> i64 {
        (1 << (self.bits - self.signed as u32)) - 1
    }

    /// The smallest real value.
    pub fn min_real(self) -> f64 {
        self.min_raw() as f64 * self.ulp()
    }

    /// The largest real value.
    pub fn max_real(self) -> f64 {
        self.max_raw() as f64 * self.ulp()
    }

    /// The real value of one unit in the last place.
    pub fn ulp(self) -> f64 {
        2f64.powi(-self.frac)
    }

    /// The same width with another number of fraction bits.
    ///
    /// # Panics
    ///
    /// If `frac` is outside −64 … 64.
    #[must_use]
    pub fn with_frac(self, frac: i32) -> Self {
        assert!(Self::FRAC.contains(&frac), "{frac} fraction bits");
        Self { frac, ..self }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.signed { "" } else { "U" };
        write!(f, "{sign}Q{}.{}", self.bits as i32 - self.frac, self.frac)
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let notation = || Error::Notation { text: text.chars().take(40).collect() };
        let (signed, digits) = match text.strip_prefix('Q') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("UQ").ok_or_else(notation)?),
        };
        let (integer, frac) = digits.split_once('.').ok_or_else(notation)?;
        let integer: i16 = integer.parse().map_err(|_| notation())?;
        let frac: i16 = frac.parse().map_err(|_| notation())?;
        let bits = i32::from(integer) + i32::from(frac);
        let bits = u32::try_from(bits).map_err(|_| Error::Bits { bits: bits.into(), signed })?;
        Self::new(bits, frac.into(), signed)
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The spelling of a format as an object.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// Width of a code, sign bit included.
    bits: u32,
    /// Fraction bits.
    frac: i32,
    /// Whether codes are two's complement.
    #[serde(default = "default_signed")]
    signed: bool,
}

fn default_signed() -> bool {
    true
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FormatVisitor;

        impl<'de> Visitor<'de> for FormatVisitor {
            type Value = Format;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a format such as \"Q2.6\" or {\"bits\": 8, \"frac\": 6}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Format, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Format, A::Error> {
                let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
                Format::new(fields.bits, fields.frac, fields.signed).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(FormatVisitor)
    }
}

impl JsonSchema for Format {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let object = Fields::json_schema(generator);
        json_schema!({
            "description": "A fixed-point format, in Q notation (\"Q2.6\", \"UQ1.7\") or as an object.",
            "anyOf": [{ "type": "string", "pattern": "^U?Q-?[0-9]+\\.-?[0-9]+$" }, object],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation_round_trips() {
        for bits in 2..=32 {
            for frac in -64..=64 {
                for signed in [true, false] {
                    let format = Format::new(bits, frac, signed).unwrap();
                    assert_eq!(format.to_string().parse::<Format>(), Ok(format));
                }
            }
        }
    }

    #[test]
    fn both_spellings_are_read() {
        let formats: Vec<Format> = serde_json::from_str(
            r#"["Q2.6", {"bits": 8, "frac": 6}, {"bits": 8, "frac": 6, "signed": true}]"#,
        )
        .unwrap();
        assert!(formats.iter().all(|&format| format == "Q2.6".parse().unwrap()));
    }

    #[test]
    fn impossible_formats_are_refused_with_the_numbers() {
        let message = |text: &str| text.parse::<Format>().unwrap_err().to_string();
        assert!(message("Q1.0").contains("1 bits"));
        assert!(message("Q30.6").contains("36 bits"));
        assert!(message("Q-80.90").contains("90 fraction"));
        assert!(message("Q-9.3").contains("-6 bits"));
        for text in ["", "Q", "Q2", "q2.6", "Q2.6 ", "UQ.", "Q999999.1", "I8"] {
            assert!(message(text).contains("Q notation"), "{text}");
        }
    }
}
