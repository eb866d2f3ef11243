//! Inputs that are almost good: bytes, words, lines and JSON of a good one, changed in a few places.

use serde_json::{Map, Value};

use crate::memory::Draws;

/// Numbers at the ends of what types hold, and texts that some readers take for numbers.
const NUMBERS: [&str; 26] = [
    "0",
    "-1",
    "1",
    "2",
    "3",
    "1.5",
    "-0.0",
    "1e-9",
    "1e308",
    "1e999",
    "-1e308",
    "5e-324",
    "255",
    "65536",
    "2147483648",
    "4294967296",
    "1099511627776",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "NaN",
    "inf",
    "0x10",
];

/// What stands in for text that no JSON value can hold, until all is written.
const STAND_IN: &str = "what no value holds";

/// Text that is longer than whoever wrote the reader may have thought of.
const LONG: usize = 5000;

/// The most bytes of a mutated input.
const BYTES_MAX: usize = 1 << 20;

/// `bytes` changed in a few places, now and then by what stands in `other`.
pub(crate) fn mutated(draws: &mut Draws, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..draws.of(&[1, 1, 1, 2, 3, 6]) {
        bytes = match (serde_json::from_slice::<Value>(&bytes), draws.below(8)) {
            (Ok(value), 2..) if !value.is_number() => mutated_json(draws, value, other),
            (_, 0) => mutated_bytes(draws, bytes),
            (_, 1 | 2) => mutated_lines(draws, &bytes, other),
            _ => mutated_words(draws, &bytes, other),
        };
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

/// Some place in `length` bytes, their end included.
fn place(draws: &mut Draws, length: usize) -> usize {
    draws.below(length as u64 + 1) as usize
}

fn mutated_bytes(draws: &mut Draws, mut bytes: Vec<u8>) -> Vec<u8> {
    let at = place(draws, bytes.len());
    let end = at + place(draws, (bytes.len() - at).min(16));
    match draws.below(7) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.extend_from_within(at..end),
        3 => {
            let twice = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, twice));
        }
        4 => drop(bytes.splice(at..end, [0xff; 4])),
        5 => bytes.insert(at, draws.below(256) as u8),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << draws.below(8);
            }
        }
    }
    bytes
}

fn mutated_lines(draws: &mut Draws, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let split = |bytes: &[u8]| -> Vec<Vec<u8>> {
        bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
    };
    let (mut lines, theirs) = (split(bytes), split(other));
    if lines.is_empty() {
        return other.to_vec();
    }
    let [at, with] = [0; 2].map(|_| draws.below(lines.len() as u64) as usize);
    match draws.below(5) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(with, lines[at].clone()),
        2 => lines.swap(at, with),
        3 if !theirs.is_empty() => {
            lines.insert(at, theirs[draws.below(theirs.len() as u64) as usize].clone());
        }
        _ => lines[at] = mutated_words(draws, &lines[at], other),
    }
    lines.concat()
}

/// Words, and what parts them, byte by byte.
fn words(bytes: &[u8]) -> Vec<&[u8]> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-+".contains(byte);
    bytes.chunk_by(|one, next| is_word(one) && is_word(next)).collect()
}

fn mutated_words(draws: &mut Draws, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let (mut ours, theirs) = (words(bytes), words(other));
    let long = vec![draws.below(256) as u8; LONG];
    let number = draws.of(&NUMBERS);
    if ours.is_empty() {
        return number.into();
    }
    let [at, with] = [0; 2].map(|_| draws.below(ours.len() as u64) as usize);
    match draws.below(8) {
        0 => drop(ours.remove(at)),
        1 => ours.insert(with, ours[at]),
        2 => ours.swap(at, with),
        3 => ours[at] = ours[with],
        4 if !theirs.is_empty() => ours[at] = theirs[draws.below(theirs.len() as u64) as usize],
        5 if draws.below(4) == 0 => ours[at] = &long,
        _ => {
            // Numbers first, where there are some near.
            let digits = |word: &&[u8]| word.iter().any(u8::is_ascii_digit);
            let near = (at..ours.len()).find(|&near| digits(&ours[near]));
            ours[near.unwrap_or(at)] = number.as_bytes();
        }
    }
    ours.concat()
}

fn mutated_json(draws: &mut Draws, mut value: Value, other: &[u8]) -> Vec<u8> {
    let other: Value = serde_json::from_slice(other).unwrap_or(Value::Null);
    let mut raw = None;
    let [ours, theirs] = [value.clone(), other].map(|mut all| any(draws, &mut all).take());
    let at = any(draws, &mut value);
    *at = match (draws.below(12), at.take()) {
        (0, _) => Value::Null,
        (1, _) => ours,
        (2, _) => theirs,
        (3..=5, Value::Object(members)) => with_other_members(draws, members, &mut raw),
        (3..=5, Value::Array(items)) => with_other_items(draws, items),
        (6, inner) => nested(draws, inner),
        (7, _) => draws.of(&["", "x", "Q1.7", "../x.json", "a.json", "\u{0}", "auto"]).into(),
        (8, Value::String(text)) => {
            String::from_utf8_lossy(&mutated_words(draws, text.as_bytes(), b"")).into_owned().into()
        }
        (9, _) => draws.of(&[true, false]).into(),
        (10, Value::Number(number)) => {
            let number = number.as_f64().expect("64 bits");
            (number * draws.of(&[-1.0, 0.5, 2.0, 1e3, 1e9])).into()
        }
        (10, text) => text.to_string().into(),
        _ => stand_in(draws.of(&NUMBERS), &mut raw),
    };
    written(&value, raw)
}

fn with_other_members(
    draws: &mut Draws,
    mut members: Map<String, Value>,
    raw: &mut Option<String>,
) -> Value {
    let Some(key) = members.keys().nth(draws.below(members.len().max(1) as u64) as usize).cloned()
    else {
        return Value::Array(Vec::new());
    };
    match draws.below(5) {
        0 => drop(members.remove(&key)),
        1 => drop(members.insert(key.clone() + "x", members[&key].clone())),
        2 => {
            let value = members.remove(&key).expect("a member");
            let name = mutated_words(draws, key.as_bytes(), b"layers");
            members.insert(String::from_utf8_lossy(&name).into_owned(), value);
        }
        3 => drop(members.insert("0".to_owned(), Value::Object(members.clone()))),
        _ => {
            let Value::String(name) = stand_in(&Value::from(&key[..]).to_string(), raw) else {
                unreachable!("a text stands in for every text")
            };
            members.insert(name, members[&key].clone());
        }
    }
    Value::Object(members)
}

fn with_other_items(draws: &mut Draws, mut items: Vec<Value>) -> Value {
    let at = draws.below(items.len().max(1) as u64) as usize;
    let Some(item) = items.get(at).cloned() else { return Value::Object(Map::new()) };
    match draws.below(5) {
        0 => drop(items.remove(at)),
        1 => items.insert(at, item),
        2 => items.clear(),
        3 => items.reverse(),
        _ => items.extend(vec![item; draws.of(&[2, 20, 300])]),
    }
    Value::Array(items)
}

fn nested(draws: &mut Draws, mut value: Value) -> Value {
    for _ in 0..draws.of(&[1, 2, 100, 130]) {
        value = match draws.below(2) {
            0 => Value::Array(vec![value]),
            _ => Value::Object([("x".to_owned(), value)].into_iter().collect()),
        };
    }
    value
}

/// A text to write in place of a value, whatever JSON makes of it.
fn stand_in(text: &str, raw: &mut Option<String>) -> Value {
    *raw = Some(text.to_owned());
    STAND_IN.into()
}

/// The value as text, with what is stood in for.
fn written(value: &Value, raw: Option<String>) -> Vec<u8> {
    let text = format!("{value:#}\n");
    match raw {
        Some(raw) => text.replace(&format!("{STAND_IN:?}"), &raw).into(),
        None => text.into(),
    }
}

/// How many values a value holds, itself included.
fn count(value: &Value) -> u64 {
    let inner: u64 = match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    };
    inner + 1
}

/// Some value in a value, itself included.
fn any<'v>(draws: &mut Draws, value: &'v mut Value) -> &'v mut Value {
    let mut at = draws.below(count(value));
    node(value, &mut at).expect("a value of so many")
}

/// The value number `at`, counted from 0, outer ones first.
fn node<'v>(value: &'v mut Value, at: &mut u64) -> Option<&'v mut Value> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|inner| node(inner, at)),
        Value::Object(members) => members.values_mut().find_map(|inner| node(inner, at)),
        _ => None,
    }
}
