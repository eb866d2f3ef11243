//! Which settings of two experiments differ.

use serde::Serialize;
use serde_json::Value;

/// One setting that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Setting {
    /// Its path, as `--set` takes it.
    pub(super) path: String,
    /// Its value on the left; nothing if it is not stated there.
    pub(super) left: Option<Value>,
    /// Its value on the right; nothing if it is not stated there.
    pub(super) right: Option<Value>,
}

/// The settings that differ, in the order of the left, then of those only the right has.
pub(super) fn differences(left: &Value, right: &Value) -> Vec<Setting> {
    let mut found = Vec::new();
    collect(Some(left), Some(right), String::new(), &mut found);
    found
}

fn collect(left: Option<&Value>, right: Option<&Value>, path: String, found: &mut Vec<Setting>) {
    let below = |key: &str| match path.is_empty() {
        true => key.to_owned(),
        false => format!("{path}.{key}"),
    };
    match (left, right) {
        (left, right) if left == right => {}
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let only_right = right.keys().filter(|key| !left.contains_key(*key));
            for key in left.keys().chain(only_right) {
                collect(left.get(key), right.get(key), below(key), found);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            for at in 0..left.len().max(right.len()) {
                collect(left.get(at), right.get(at), format!("{path}[{at}]"), found);
            }
        }
        (left, right) => {
            found.push(Setting { path, left: left.cloned(), right: right.cloned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_difference_is_named_once_by_its_path() {
        let left = json!({"a": {"b": 1, "c": [1, {"d": 2}]}, "e": 3});
        let right = json!({"a": {"b": 2, "c": [1, {"d": 4}, 5]}, "f": null});
        let found = differences(&left, &right);
        let paths: Vec<_> = found.iter().map(|setting| setting.path.as_str()).collect();
        assert_eq!(paths, ["a.b", "a.c[1].d", "a.c[2]", "e", "f"]);
        assert_eq!((&found[2].left, &found[2].right), (&None, &Some(json!(5))));
        assert!(differences(&left, &left).is_empty());
    }
}
