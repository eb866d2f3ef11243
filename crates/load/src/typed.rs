//! From JSON to the type it should be, with mistakes named by their path and in plain words.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use systoliq_run::path;

/// What does not fit its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The names that lead to it.
    pub path: Vec<String>,
    /// The path as messages write it, and what was found and expected there.
    pub message: String,
}

impl Misfit {
    fn new(value: &Value, path: Vec<String>, problem: &str) -> Self {
        let message = match path[..] {
            [] => problem.to_owned(),
            _ => format!("{}: {problem}", path::join(value, &path)),
        };
        Self { path, message }
    }
}

/// Reads `value` as a `T`. Objects must be written as objects: the shorthand of arrays in the order
/// of the fields, which serde reads, too, is refused.
///
/// # Errors
///
/// If `value` is no `T`.
pub(crate) fn read<T: DeserializeOwned + Serialize>(value: &Value) -> Result<T, Misfit> {
    let typed =
        deserialize::<T>(value).map_err(|(path, problem)| misfit::<T>(value, path, &problem))?;
    let written = serde_json::to_value(&typed).expect("what was read as JSON can be written");
    match array_for_object(value, &written) {
        Some(path) => Err(Misfit::new(value, path, ARRAY_FOR_OBJECT)),
        None => Ok(typed),
    }
}

/// Reads `value`, or says where it does not fit and why.
fn deserialize<T: DeserializeOwned>(value: &Value) -> Result<T, (Vec<String>, String)> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let name = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Unknown => None,
        };
        (error.path().iter().filter_map(name).collect(), error.inner().to_string())
    })
}

/// Sharpens what serde says of a value that does not fit.
fn misfit<T: DeserializeOwned>(value: &Value, mut path: Vec<String>, problem: &str) -> Misfit {
    let prefixes = (0..=path.len()).map(|length| &path[..length]);
    if let Some(array) =
        prefixes.into_iter().find(|at| object_expected::<T>(value, at, (&path, problem)))
    {
        return Misfit::new(value, array.to_vec(), ARRAY_FOR_OBJECT);
    }
    let unknown = unknown_key(problem).filter(|&key| path.last().is_none_or(|last| last != key));
    let key = unknown.map(str::to_owned).or_else(|| culprit::<T>(value, &path, problem));
    path.extend(key);
    Misfit::new(value, path, &plain(problem))
}

/// What is said of an object's fields in their order.
const ARRAY_FOR_OBJECT: &str = "invalid type: array, expected an object";

/// Whether there is an array at `path` where there should be an object: as an object, it has not the
/// problem that was `found` at it or in it, and is not refused for being one.
fn object_expected<T: DeserializeOwned>(
    value: &Value,
    path: &[String],
    found: (&[String], &str),
) -> bool {
    if !path::get(value, path).is_some_and(Value::is_array) {
        return false;
    }
    let mut tried = value.clone();
    let replaced = path::put(&mut tried, path, Value::Object(Map::new()));
    match deserialize::<T>(&tried) {
        Err((at, problem)) => {
            let refused = at == path && problem.starts_with("invalid type: map, expected");
            replaced.is_ok() && !refused && (&at[..], &problem[..]) != found
        }
        Ok(_) => true,
    }
}

/// The key in `message` that is unknown.
fn unknown_key(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

/// The member of the object at `path` that is at fault, where serde does not say: it reads objects
/// whose kind is one of their members as a whole. Without the member at fault, the problem is
/// another.
fn culprit<T: DeserializeOwned>(value: &Value, path: &[String], problem: &str) -> Option<String> {
    if !problem.starts_with("invalid ") && !problem.starts_with("unknown variant ") {
        return None;
    }
    let members = path::get(value, path)?.as_object()?;
    let at_fault = |key: &&String| {
        let mut others = members.clone();
        others.remove(*key);
        let mut without = value.clone();
        path::put(&mut without, path, others.into()).is_ok_and(|()| {
            deserialize::<T>(&without).err().is_none_or(|(_, other)| other != problem)
        })
    };
    // The kind decides what is expected of the others: it is suspected last.
    let (kind, others): (Vec<_>, Vec<_>) = members.keys().partition(|key| *key == "kind");
    others.into_iter().chain(kind).find(at_fault).cloned()
}

/// Where `found` has an array and `written`, the same in full, an object.
fn array_for_object(found: &Value, written: &Value) -> Option<Vec<String>> {
    match (found, written) {
        (Value::Array(_), Value::Object(_)) => Some(Vec::new()),
        (Value::Object(found), Value::Object(written)) => found.iter().find_map(|(key, found)| {
            let mut path = array_for_object(found, written.get(key)?)?;
            path.insert(0, key.clone());
            Some(path)
        }),
        (Value::Array(found), Value::Array(written)) => {
            found.iter().zip(written).enumerate().find_map(|(at, (found, written))| {
                let mut path = array_for_object(found, written)?;
                path.insert(0, at.to_string());
                Some(path)
            })
        }
        _ => None,
    }
}

/// A message of serde's in the words of JSON instead of Rust.
fn plain(message: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        "string or map" => "a string or an object",
        "map with a single key" => "one with a single key",
        "unit" => "its name alone, as a string",
        "newtype variant" | "struct variant" => "an object with that name as its key",
        "variant identifier" => "a string",
        other if other.starts_with("struct ") => "an object",
        other if other.starts_with("internally tagged enum ") => "an object",
        other => other,
    };
    let found = found.replace("floating point", "number").replace("sequence", "array");
    let found = found.replace("unit variant", "a name alone").replace(": map", ": object");
    format!("{found}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use systoliq_run::Experiment;

    use super::*;

    fn experiment() -> Value {
        json!({
            "name": "x",
            "seed": 1,
            "dataset": {"kind": "fir", "taps": [1], "noise": 0, "train": 3, "test": 3},
            "network": {"input": [1], "layers": [{"dense": {"units": 1}}, "relu"], "loss": "mse"},
            "training": {"epochs": 1, "batch": 1, "rate": 1},
            "precision": {"weights": {"bits": 8}},
            "accelerator": {"array": {"rows": 1, "cols": 1}},
        })
    }

    /// What is said of an experiment with `new` at `at`.
    fn message(at: &str, new: Value) -> String {
        let mut value = experiment();
        path::put(&mut value, &path::split(at).unwrap(), new).unwrap();
        read::<Experiment>(&value).unwrap_err().message
    }

    #[test]
    fn what_fits_is_read() {
        assert!(read::<Experiment>(&experiment()).is_ok());
    }

    #[test]
    fn misfits_say_where_what_was_found_and_what_was_expected() {
        for (at, new, said) in [
            ("extra", json!(1), "extra: unknown field `extra`, expected one of `name`"),
            (
                "seed",
                json!(-1),
                "seed: invalid value: integer `-1`, expected a whole number from 0",
            ),
            ("seed", json!(1.5), "seed: invalid type: number `1.5`, expected a whole number"),
            ("name", json!(1), "name: invalid type: integer `1`, expected a string"),
            ("network", json!(1), "network: invalid type: integer `1`, expected an object"),
            ("network.input", json!({}), "network.input: invalid type: object, expected an array"),
            (
                "network.layers[1]",
                json!(2),
                "network.layers[1]: invalid type: integer `2`, expected a string or an object",
            ),
            (
                "network.layers[1]",
                json!({"relu": 1}),
                "network.layers[1].relu: invalid type: integer `1`, expected an object",
            ),
            (
                "network.layers[0]",
                json!("dense"),
                "network.layers[0]: a name alone, expected an object with `dense` as its key",
            ),
            ("network.layers[0].dense.x", json!(1), "network.layers[0].dense.x: unknown field"),
            (
                "precision.layers.x",
                json!({}),
                "precision.layers.x: invalid value: expected key to be a number",
            ),
            (
                "training.batch",
                json!(null),
                "training.batch: invalid type: null, expected a whole number",
            ),
        ] {
            let message = message(at, new);
            assert!(message.starts_with(said), "{at}: {message}");
        }
    }

    #[test]
    fn members_of_a_dataset_are_named_although_serde_reads_it_as_a_whole() {
        for (at, new, said) in [
            ("dataset", json!({}), "dataset: missing field `kind`"),
            (
                "dataset.kind",
                json!("x"),
                "dataset.kind: unknown variant `x`, expected one of `digits`",
            ),
            (
                "dataset.kind",
                json!(1),
                "dataset.kind: invalid type: integer `1`, expected a string",
            ),
            (
                "dataset.taps",
                json!("x"),
                "dataset.taps: invalid type: string \"x\", expected an array",
            ),
            ("dataset.test", json!(-1), "dataset.test: invalid value: integer `-1`, expected"),
            ("dataset.x", json!(-1), "dataset.x: unknown field `x`, expected one of `taps`"),
        ] {
            let message = message(at, new);
            assert!(message.starts_with(said), "{at}: {message}");
        }
    }

    #[test]
    fn arrays_do_not_stand_for_objects() {
        for (at, new) in [
            ("network", json!([1])),
            ("network", json!([[1], [{"dense": {"units": 1}}], "mse"])),
            ("training", json!([1, 1, 1])),
            ("dataset", json!(["digits"])),
            ("precision.weights", json!([8])),
            ("network.layers[0].dense", json!([3, true])),
            ("accelerator.array", json!([8, 8])),
        ] {
            let message = message(at, new);
            let said = format!("{at}: invalid type: array, expected an object");
            let or_format = format!("{at}: invalid type: array, expected a format");
            assert!(message == said || message.starts_with(&or_format), "{at}: {message}");
        }
    }
}
