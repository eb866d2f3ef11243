//! A sweep as its JSON file states it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use systoliq_run::Experiment;

/// A sweep: an experiment, and the settings that vary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepSpec {
    /// What reports call it.
    pub name: String,
    /// The experiment that all points start from.
    #[schemars(with = "Experiment")]
    pub experiment: Value,
    /// The seeds that every point runs with.
    #[serde(default)]
    pub seeds: Seeds,
    /// What varies; the last varies fastest.
    pub axes: Vec<AxisSpec>,
    /// Which combinations run.
    #[serde(default)]
    pub mode: Mode,
}

/// How many seeds from the experiment's own on, or which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Seeds {
    /// So many, counting up from the experiment's.
    Count(u64),
    /// These.
    List(Vec<u64>),
}

/// One that varies: a path, or several that take the same value, with its values; or bundles of
/// settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AxisSpec {
    /// What tables and figures call it; left out, its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The path into the experiment, such as `precision.weights.bits`, or several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Paths>,
    /// Its values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<AxisValues>,
    /// Settings that go together, in place of a path and its values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundles: Option<Vec<Bundle>>,
}

/// A path, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Paths {
    /// One.
    One(String),
    /// Several that take the same value.
    Several(Vec<String>),
}

/// Values: an array of them, or a range of whole numbers such as `"2..=10"`, both ends included.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct AxisValues(pub Vec<Value>);

/// Settings that go together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// What tables and figures call it.
    pub name: String,
    /// Values by their paths into the experiment.
    pub set: BTreeMap<String, Value>,
}

/// Which combinations of values run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All.
    #[default]
    Grid,
    /// So many of them, drawn without replacement.
    Random(Draw),
    /// One axis at a time leaves the centre.
    OneAtATime(Around),
}

/// A random subset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// How many points.
    pub points: u64,
    /// Decides which.
    pub seed: u64,
}

/// The centre of a sweep along one axis at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Around {
    /// By the name of every axis: one of its values, or the name of one of its bundles.
    pub center: BTreeMap<String, Value>,
}

/// The most values of a range.
const RANGE_MAX: i64 = 1 << 20;

impl Default for Seeds {
    fn default() -> Self {
        Self::Count(1)
    }
}

/// Reads what is written as one of two kinds of JSON values.
macro_rules! deserialize_by_visitor {
    ($type:ty, $visitor:ident, $expected:literal, { $($methods:item)* }) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($visitor)
            }
        }

        struct $visitor;

        impl<'de> Visitor<'de> for $visitor {
            type Value = $type;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($expected)
            }

            $($methods)*
        }
    };
}

deserialize_by_visitor!(Seeds, SeedsVisitor, "a number of seeds, or an array of seeds", {
    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Seeds, E> {
        Ok(Seeds::Count(count))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seeds: A) -> Result<Seeds, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(seeds)).map(Seeds::List)
    }
});

deserialize_by_visitor!(Paths, PathsVisitor, "a path, or an array of paths", {
    fn visit_str<E: de::Error>(self, path: &str) -> Result<Paths, E> {
        Ok(Paths::One(path.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, paths: A) -> Result<Paths, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(paths)).map(Paths::Several)
    }
});

deserialize_by_visitor!(
    AxisValues,
    ValuesVisitor,
    "an array of values, or a range such as \"2..=10\"",
    {
        fn visit_str<E: de::Error>(self, text: &str) -> Result<AxisValues, E> {
            let whole = |end: &str| {
                let end = end.trim();
                let digits = end.strip_prefix('-').unwrap_or(end);
                let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                // What has more digits than a number of 64 bits is as far away as can be.
                let far = if end.starts_with('-') { i64::MIN } else { i64::MAX };
                is_number.then(|| end.parse::<i64>().unwrap_or(far))
            };
            let ends =
                text.split_once("..=").and_then(|(from, to)| Some((whole(from)?, whole(to)?)));
            match ends {
                None => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                Some((from, to)) if from > to => Err(E::custom(format_args!(
                    "the range \"{text}\" has no values: expected \"{to}..={from}\""
                ))),
                Some((from, to)) => match to.checked_sub(from) {
                    Some(more) if more < RANGE_MAX => {
                        Ok(AxisValues((from..=to).map(Value::from).collect()))
                    }
                    _ => Err(E::custom(format_args!(
                        "the range \"{text}\" has more than {RANGE_MAX} values: expected fewer"
                    ))),
                },
            }
        }

        fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<AxisValues, A::Error> {
            Deserialize::deserialize(SeqAccessDeserializer::new(values)).map(AxisValues)
        }
    }
);

impl JsonSchema for AxisValues {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "An array of values, or a range of whole numbers, both ends included.",
            "anyOf": [
                { "type": "array" },
                { "type": "string", "pattern": r"^\s*-?\d+\s*\.\.=\s*-?\d+\s*$" }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ranges_have_both_ends_and_lists_any_values() {
        let values = |json| serde_json::from_value::<AxisValues>(json).map(|values| values.0);
        assert_eq!(values(json!("2..=4")).unwrap(), [json!(2), json!(3), json!(4)]);
        assert_eq!(values(json!("-1 ..= -1")).unwrap(), [json!(-1)]);
        assert_eq!(values(json!(["Q2.6", null])).unwrap(), [json!("Q2.6"), json!(null)]);
        let message = values(json!("4..=2")).unwrap_err().to_string();
        assert!(message.contains("has no values: expected \"2..=4\""), "{message}");
        for refused in [json!("2..4"), json!("a..=b"), json!("..=3"), json!(3), json!({})] {
            let message = values(refused.clone()).unwrap_err().to_string();
            assert!(message.contains("or a range such as \"2..=10\""), "{refused}: {message}");
        }
        for wide in [
            "0..=1048576",
            "-9223372036854775808..=9223372036854775807",
            "2..=99999999999999999999999",
        ] {
            let message = values(json!(wide)).unwrap_err().to_string();
            assert!(message.contains("more than 1048576 values"), "{wide}: {message}");
        }
    }

    #[test]
    fn a_sweep_is_what_was_written() {
        let written = json!({
            "name": "s",
            "experiment": {},
            "seeds": [3, 5],
            "axes": [
                { "path": "training.rate", "values": [0.5, 1] },
                { "name": "bits", "path": ["a", "b"], "values": [2] },
                { "name": "all", "bundles": [{ "name": "8", "set": { "a.b": 8 } }] }
            ],
            "mode": { "random": { "points": 2, "seed": 1 } }
        });
        let spec: SweepSpec = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), written);
        let short: SweepSpec =
            serde_json::from_value(json!({"name": "s", "experiment": {}, "axes": []})).unwrap();
        assert_eq!((short.seeds, short.mode), (Seeds::Count(1), Mode::Grid));
        let around = json!({ "one_at_a_time": { "center": { "bits": 2 } } });
        assert!(matches!(serde_json::from_value(around).unwrap(), Mode::OneAtATime(_)));
    }
}
