//! JSON read strictly: no key twice, no nesting without end, and every mistake at its place.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::position::Position;

/// Text that is no JSON, or has a key twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {problem}")]
pub struct SyntaxError {
    /// Where reading stopped.
    pub position: Position,
    /// What is wrong.
    pub problem: String,
}

/// Reads a JSON text.
///
/// ```
/// use systoliq_load::json::parse;
/// assert_eq!(parse("[1, 2.5]").unwrap(), serde_json::json!([1, 2.5]));
/// let refused = parse("{ \"bits\": 8,\n  \"bits\": 6 }").unwrap_err();
/// assert_eq!(refused.to_string(), "2:8: key `bits` stands twice in one object");
/// ```
///
/// # Errors
///
/// If `text` is empty or no JSON, an object has a key twice, or arrays and objects nest deeper
/// than 127.
pub fn parse(text: &str) -> Result<Value, SyntaxError> {
    if text.trim().is_empty() {
        let position = Position { line: 1, column: 1 };
        return Err(SyntaxError { position, problem: "no text, expected JSON".to_owned() });
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict.deserialize(&mut deserializer);
    value.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| SyntaxError {
        // At the end of a text that ends with a line break, the column is 0.
        position: Position { line: error.line(), column: error.column().max(1) },
        problem: problem(&error),
    })
}

/// What is wrong, without the place.
fn problem(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(&message[..], |(message, _)| message);
    if message == "recursion limit exceeded" {
        return "arrays and objects nest too deep, expected at most 127 levels".to_owned();
    }
    match message.strip_prefix("EOF while parsing ") {
        Some(what) => format!("the text ends within {what}"),
        None => message.to_owned(),
    }
}

/// Builds a [`Value`], and refuses duplicate keys.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if members.contains_key(&key) {
                let message = format!("key `{key}` stands twice in one object");
                return Err(A::Error::custom(message));
            }
            let value = entries.next_value_seed(Self)?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_refused_at_their_place() {
        for (text, said) in [
            ("", "1:1: no text"),
            (" \n ", "1:1: no text"),
            ("{", "1:1: the text ends within an object"),
            ("{\"a\": 1,\n", "2:1: the text ends within"),
            ("{\"a\": 1,\n \"b\" 2}", "2:6: expected `:`"),
            ("[1,\n2,]", "2:3: trailing comma"),
            ("{} {}", "1:4: trailing characters"),
            ("[NaN]", "1:2: expected value"),
            ("{\"a\": 1e999}", "1:11: number out of range"),
            ("{\"a\": {\"b\": 1,\n\"b\": 1}}", "2:3: key `b` stands twice"),
            ("\u{feff}{}", "1:1: expected value"),
            ("{'a': 1}", "1:2: key must be a string"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.starts_with(said), "{text:?}: {message}");
        }
    }

    #[test]
    fn nesting_a_hundred_thousand_deep_is_refused() {
        for deep in ["[".repeat(100_000), "{\"a\":".repeat(100_000)] {
            let message = parse(&deep).unwrap_err().to_string();
            assert!(message.contains("nest too deep"), "{message}");
        }
        parse(&("[".repeat(127) + &"]".repeat(127))).unwrap();
    }

    #[test]
    fn values_are_those_that_serde_json_reads() {
        let text =
            r#"{"s": "a\u0041\n", "n": [0, -1, 18446744073709551615, 0.1, 1e-7, null, true]}"#;
        assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }
}
