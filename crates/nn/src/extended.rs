//! Real numbers that may be infinite or undefined, as JSON.
//!
//! JSON has no infinity, yet a cross-entropy can be infinite and a diverged model's loss undefined.
//! For `#[serde(with = "systoliq_nn::extended")]`: finite numbers stay numbers; the others are the
//! strings `"inf"`, `"-inf"` and `"nan"`. For `#[schemars(with = "ExtendedShape")]`: [`ExtendedShape`].
//! [`Extended`] is such a number by itself.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A real number that JSON writes as a string where it is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Extended(#[serde(with = "crate::extended")] pub f64);

/// The shape in JSON of what this module writes.
#[derive(JsonSchema)]
#[schemars(rename = "Extended")]
#[serde(untagged)]
pub enum ExtendedShape {
    /// A finite value.
    Finite(f64),
    /// One that is not.
    Other(NonFinite),
}

/// How values that are not finite are written.
#[derive(JsonSchema)]
pub enum NonFinite {
    /// +∞.
    #[serde(rename = "inf")]
    Infinity,
    /// −∞.
    #[serde(rename = "-inf")]
    NegativeInfinity,
    /// Not a number.
    #[serde(rename = "nan")]
    NaN,
}

/// Writes `value`.
///
/// # Errors
///
/// Those of `serializer`.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else if value.is_nan() {
        serializer.serialize_str("nan")
    } else {
        serializer.serialize_str(if *value > 0.0 { "inf" } else { "-inf" })
    }
}

/// Reads what [`serialize`] wrote.
///
/// # Errors
///
/// Those of `deserializer`; or if what stands there is neither a number nor one of the strings.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    deserializer.deserialize_any(ExtendedVisitor)
}

struct ExtendedVisitor;

impl Visitor<'_> for ExtendedVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a number, "inf", "-inf" or "nan""#)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
        match text {
            "inf" => Ok(f64::INFINITY),
            "-inf" => Ok(f64::NEG_INFINITY),
            "nan" => Ok(f64::NAN),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Holder(#[serde(with = "super")] f64);

    #[test]
    fn every_value_survives_json() {
        let values = [0.0, -0.0, 0.1, -1e300, 7.0, f64::MIN_POSITIVE, f64::INFINITY];
        for value in values.into_iter().chain([f64::NEG_INFINITY, f64::NAN]) {
            let json = serde_json::to_string(&Holder(value)).unwrap();
            let Holder(back) = serde_json::from_str(&json).unwrap();
            assert_eq!(back.to_bits(), value.to_bits(), "{json}");
        }
        assert_eq!(serde_json::to_string(&Holder(f64::INFINITY)).unwrap(), r#""inf""#);
    }

    #[test]
    fn other_strings_are_refused() {
        let message = serde_json::from_str::<Holder>(r#""Infinity""#).err().unwrap().to_string();
        assert!(message.contains("Infinity") && message.contains(r#""inf""#), "{message}");
    }
}
