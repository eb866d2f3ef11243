//! What a run is stored under.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use sha2::{Digest, Sha256};
use systoliq_run::SEMANTICS;

/// The hash of an experiment with its seed, in 32 hexadecimal digits: the first half of SHA-256 over
/// [`SEMANTICS`] in decimal, a line break, and the experiment as JSON without blanks, with the names
/// of every object in order.
///
/// The experiment is the one that was read, with its sections in place of their files, so that the key
/// does not depend on by which path a setting was set. A default that is stated, or a format in another
/// notation, may give another key: that is another run of the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey(u128);

impl RunKey {
    /// The key of an experiment.
    ///
    /// ```
    /// use serde_json::json;
    /// use systoliq_explore::RunKey;
    /// let (one, other) = (json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}));
    /// assert_eq!(RunKey::of(&one), RunKey::of(&other));
    /// assert_ne!(RunKey::of(&one), RunKey::of(&json!({"a": 1, "b": 3})));
    /// assert_eq!(RunKey::of(&one).to_string().len(), 32);
    /// ```
    pub fn of(experiment: &Value) -> Self {
        Self::under(SEMANTICS, experiment)
    }

    fn under(semantics: u32, experiment: &Value) -> Self {
        let mut hash = Sha256::new();
        hash.update(format!("{semantics}\n"));
        hash.update(canonical(experiment));
        let digest = hash.finalize();
        let half = digest.first_chunk().expect("SHA-256 has 32 bytes");
        Self(u128::from_be_bytes(*half))
    }
}

/// JSON without blanks, the names of every object in order.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            let member = |name: &&String| {
                format!("{}:{}", Value::from(name.as_str()), canonical(&members[name.as_str()]))
            };
            format!("{{{}}}", names.iter().map(member).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunKey({self})")
    }
}

impl FromStr for RunKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits =
            text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let key = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        key.map(Self).ok_or_else(|| format!("`{text}`, expected a key of 32 hexadecimal digits"))
    }
}

impl Serialize for RunKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_key_is_the_hash_that_other_programs_find() {
        // printf '7\n{"a":[1,2.5,"x\\"y"],"b":null}' | sha256sum
        let value = json!({"b": null, "a": [1, 2.5, "x\"y"]});
        assert_eq!(canonical(&value), r#"{"a":[1,2.5,"x\"y"],"b":null}"#);
        assert_eq!(RunKey::under(7, &value).to_string(), "1cd04c07d3c1460630f36e71299cd122");
        assert_ne!(RunKey::under(8, &value), RunKey::under(7, &value));
        assert_eq!(RunKey::of(&value), RunKey::under(SEMANTICS, &value));
    }

    #[test]
    fn keys_survive_text_and_nothing_else_is_one() {
        let key = RunKey(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(key.to_string().parse(), Ok(key));
        for text in ["", "0", "+123456789abcdef0123456789abcdef0", &"A".repeat(32), &"0".repeat(33)]
        {
            assert!(text.parse::<RunKey>().is_err(), "{text}");
        }
    }
}
