//! Paths into a JSON value, as `--set` and messages write them: `network.layers[0].dense.units`.

use serde_json::{Map, Value};

/// Splits a path into names; an array's element is named by its number, in brackets or after a
/// dot.
///
/// ```
/// use systoliq_run::path::split;
/// assert_eq!(split("network.layers[0].dense"), Ok(["network", "layers", "0", "dense"].map(String::from).to_vec()));
/// assert_eq!(split("precision.layers.1"), Ok(["precision", "layers", "1"].map(String::from).to_vec()));
/// ```
///
/// # Errors
///
/// If a name is empty or a bracket is not closed.
pub fn split(path: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for part in path.split('.') {
        let (name, brackets) = part.split_at(part.find('[').unwrap_or(part.len()));
        names.push(name.to_owned());
        for bracket in brackets.split_inclusive(']') {
            let number = bracket.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let number = number.ok_or_else(|| format!("`{part}`: expected `name[number]`"))?;
            names.push(number.to_owned());
        }
    }
    match names.iter().any(String::is_empty) {
        true => Err(format!("path `{path}` has an empty name, expected names joined by dots")),
        false => Ok(names),
    }
}

/// Joins names to the path that leads through `value`: the numbers of an array's elements stand in
/// brackets.
///
/// ```
/// let value = serde_json::json!({"layers": ["relu"]});
/// assert_eq!(systoliq_run::path::join(&value, &["layers", "0"]), "layers[0]");
/// ```
pub fn join(value: &Value, path: &[impl AsRef<str>]) -> String {
    let mut joined = String::new();
    let mut node = Some(value);
    for name in path.iter().map(AsRef::as_ref) {
        joined += &match node {
            Some(Value::Array(_)) => format!("[{name}]"),
            _ if joined.is_empty() => name.to_owned(),
            _ => format!(".{name}"),
        };
        node = node.and_then(|node| get(node, &[name]));
    }
    joined
}

/// The node at `path`, if there is one.
pub fn get<'v>(value: &'v Value, path: &[impl AsRef<str>]) -> Option<&'v Value> {
    path.iter().map(AsRef::as_ref).try_fold(value, |node, name| match node {
        Value::Object(members) => members.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Puts `new` at `path`; makes the objects that are missing on the way.
///
/// # Errors
///
/// If there is something on the way that is neither an object nor an array with such an element.
pub fn put(value: &mut Value, path: &[impl AsRef<str>], new: Value) -> Result<(), String> {
    let mut node = value;
    for (depth, name) in path.iter().map(AsRef::as_ref).enumerate() {
        let here = || match depth {
            0 => "the whole".to_owned(),
            _ => path[..depth].iter().map(AsRef::as_ref).collect::<Vec<_>>().join("."),
        };
        node = match node {
            Value::Object(members) => {
                members.entry(name).or_insert_with(|| Value::Object(Map::new()))
            }
            Value::Array(items) => {
                let count = items.len();
                let item = name.parse::<usize>().ok().and_then(|number| items.get_mut(number));
                item.ok_or_else(|| {
                    format!("{} is an array of {count}, it has no element `{name}`", here())
                })?
            }
            other => {
                let found = excerpt(other);
                return Err(format!("{} is {found}, it cannot have a key `{name}`", here()));
            }
        };
    }
    *node = new;
    Ok(())
}

/// The first characters of a value.
fn excerpt(value: &Value) -> String {
    const MOST: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn malformed_paths_are_refused() {
        for path in ["", ".", "a.", ".a", "a..b", "a[", "a[1", "a[]", "a[1]b", "a]b["] {
            assert!(split(path).is_err(), "{path:?}: {:?}", split(path));
        }
        assert_eq!(split("a[1][2].b").unwrap(), ["a", "1", "2", "b"]);
    }

    #[test]
    fn put_replaces_and_makes_objects_and_get_finds() {
        let mut value = json!({"a": {"b": [1, {"c": 2}]}});
        for (path, new) in [("a.b.0", 5), ("a.b[1].c", 6), ("a.d.e.f", 7), ("g", 8)] {
            let path = split(path).unwrap();
            put(&mut value, &path, json!(new)).unwrap();
            assert_eq!(get(&value, &path), Some(&json!(new)));
        }
        let expected = json!({"a": {"b": [5, {"c": 6}], "d": {"e": {"f": 7}}}, "g": 8});
        assert_eq!(value, expected);
        assert_eq!(get(&value, &["a", "x", "y"]), None);
    }

    #[test]
    fn nothing_is_put_into_numbers_strings_or_missing_elements() {
        let value = json!({"bits": 8, "error": "Q2.6", "layers": [0, 0], "off": null});
        for (path, said) in [
            ("bits.x", "bits is 8, it cannot have a key `x`"),
            ("error.bits", "error is \"Q2.6\", it cannot have a key `bits`"),
            ("off.x", "off is null"),
            ("layers[2]", "layers is an array of 2, it has no element `2`"),
            ("layers.x", "layers is an array of 2, it has no element `x`"),
        ] {
            let refused = put(&mut value.clone(), &split(path).unwrap(), json!(1)).unwrap_err();
            assert!(refused.contains(said), "{path}: {refused}");
        }
    }
}
