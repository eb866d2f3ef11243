//! What every file of figures has to have, and what is refused.

use serde_json::Value;

use super::super::{Error, Profile};
use super::all;

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../models/energy/", $name, ".json")))
    };
}

const HOROWITZ45: &str = file!("horowitz45").1;
const NANGATE45: &str = file!("nangate45").1;
const EYERISS_REL: &str = file!("eyeriss_rel").1;

/// Every figure in `json`, by its path; nothing else may be a number.
fn figures(path: &str, json: &Value, found: &mut Vec<String>) {
    if let Some(number) = json.get("value") {
        assert!(number.is_number(), "{path}");
        for key in ["unit", "source", "certainty"] {
            let text = json[key].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{path}.{key}");
        }
        found.push(path.to_owned());
        return;
    }
    assert!(!json.is_number() && !json.is_array(), "{path}: a number without a source");
    for (key, child) in json.as_object().into_iter().flatten() {
        figures(format!("{path}.{key}").trim_start_matches('.'), child, found);
    }
}

/// Walks the JSON itself, so that no figure can hide from the schema.
#[test]
fn every_number_of_a_profile_names_its_source_and_certainty() {
    for text in [HOROWITZ45, NANGATE45, EYERISS_REL] {
        let mut numbers = vec![];
        figures("", &serde_json::from_str(text).unwrap(), &mut numbers);
        let profile = Profile::parse(text).unwrap();
        let mut listed: Vec<_> = profile.figures().map(|(path, _)| path.to_owned()).collect();
        listed.sort();
        numbers.sort();
        assert_eq!(listed, numbers, "{}", profile.name());
    }
    assert!(Profile::horowitz45().scratchpad_source().contains("CACTI 7"));
    figures("", &serde_json::from_str(file!("tpuv4i_7").1).unwrap(), &mut vec![]);
}

/// A table has one source and one certainty for all its numbers, or one in each of its parts.
#[test]
fn every_number_of_a_table_stands_below_a_source_and_a_certainty() {
    fn walk(path: &str, json: &Value, sourced: bool) {
        let text = |key: &str| json[key].as_str().is_some_and(|text| !text.is_empty());
        let sourced = sourced || (json.is_object() && text("source") && text("certainty"));
        assert!(sourced || !json.is_number(), "{path}: a number without a source");
        for (key, child) in json.as_object().into_iter().flatten() {
            walk(&format!("{path}.{key}"), child, sourced);
        }
        for child in json.as_array().into_iter().flatten() {
            walk(path, child, sourced);
        }
    }
    for (name, text) in [file!("sram_cacti"), file!("mac_45nm"), file!("node_scaling")] {
        walk(name, &serde_json::from_str(text).unwrap(), false);
    }
}

#[test]
fn profiles_have_the_names_they_are_found_by() {
    for (profile, name) in all().zip(Profile::NAMES) {
        assert_eq!(profile.name(), name);
        assert!(!profile.about().is_empty() && profile.clock_mhz() > 0.0, "{name}");
    }
    assert_eq!(Profile::named("horowitz45"), Some(Profile::horowitz45()));
    assert_eq!(Profile::named("horowitz"), None);
}

#[test]
fn a_profile_survives_being_written_and_read() {
    let scaled = [22.5, 7.0].map(|node| Profile::horowitz45().at_node(node).unwrap());
    for profile in all().chain(scaled) {
        let text = serde_json::to_string(&profile).unwrap();
        assert_eq!(Profile::parse(&text).unwrap(), profile);
        assert_eq!(serde_json::from_str::<Profile>(&text).unwrap(), profile);
    }
}

/// Without any one of its keys no profile is read.
#[test]
fn a_missing_component_is_refused() {
    for text in [HOROWITZ45, NANGATE45, EYERISS_REL] {
        let whole: Value = serde_json::from_str(text).unwrap();
        for key in whole.as_object().unwrap().keys().filter(|key| *key != "unit") {
            let mut part = whole.clone();
            part.as_object_mut().unwrap().remove(key);
            let error = Profile::parse(&part.to_string()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("missing field `{key}`")), "{error}");
        }
    }
}

#[track_caller]
fn refused(text: &str, old: &str, new: &str, message: &str) {
    assert!(text.contains(old), "{old}");
    let error = Profile::parse(&text.replacen(old, new, 1)).unwrap_err().to_string();
    assert!(error.starts_with(message), "{error}");
}

/// `old` → `new` in the default profile, and what the refusal must say.
#[test]
fn bad_profiles_are_refused_with_what_was_found_and_expected() {
    for (old, new, message) in [
        ("\"certainty\": \"high\", ", "", "missing field `certainty` at line 4"),
        ("\"unit\": \"nm\"", "\"unit\": \"mile\"", "unknown variant `mile`, expected one of `pJ`"),
        ("\"unit\": \"nm\"", "\"unit\": \"V\"", "node: unit V, expected nm"),
        ("\"value\": 0.3,", "\"value\": 0,", "kappa: 0, expected a finite number above 0"),
        ("\"value\": 0.3,", "\"value\": 0.4,", "kappa: 0.4 lies outside its range 0.256 to 0.334"),
        (
            "\"value\": 3.7",
            "\"value\": -3.7",
            "float32.multiply: -3.7, expected a finite number, at",
        ),
        ("0.006666666667", "-0.01", "adder.law.intercept: -0.01, expected a finite number, at"),
        ("\"source\": \"Horowitz, ISSCC 2014\"", "\"source\": \" \"", "supply: empty source"),
        ("\"lfsr32\"", "\"lfsr\"", "unknown field `lfsr`"),
        ("\"lop\"", "\"hot\"", "unknown variant `hot`, expected `lop` or `hp`"),
        ("sram_cacti", "sram_7nm", "unknown variant `sram_7nm`, expected `sram_cacti`"),
        ("\"certainty\": \"high\"", "\"certainty\": \"sure\"", "unknown variant `sure`"),
        ("\"law\"", "\"rule\"", "unknown variant `rule`, expected `law` or `table`"),
        (
            "\"value\": 1024, \"unit\": \"byte\"",
            "\"value\": 1024.5, \"unit\": \"byte\"",
            "dram.hbm2.row: 1024.5, expected a whole number of bytes",
        ),
        ("\"node\"", "\"unit\": \"mac16\", \"node\"", "multiplier.law.alpha: unit pJ/bit^2, ex"),
        ("\"node\"", "\"unit\": \"J\", \"node\"", "unknown variant `J`, expected `pJ` or `mac16`"),
        ("\"node\"", "\"glitches\": true, \"node\"", "glitches: true, expected a multiplier or an"),
        ("\"node\"", "\"scaled_to_nm\": 5, \"node\"", "scaled to 5 nm, expected 7 to 130 nm"),
        ("\"value\": 45,", "\"value\": 3,", "scratchpads at 3 nm, the table has 7 to 130 nm"),
    ] {
        refused(HOROWITZ45, old, new, message);
    }
    for (old, new, message) in [
        ("mac_45nm", "mac_7nm", "unknown variant `mac_7nm`, expected `mac_45nm`"),
        ("synthesized Booth", "\", \"by\": \"", "unknown field `by`"),
    ] {
        refused(NANGATE45, old, new, message);
    }
    let scaled = "eyeriss-rel is of 65 nm, expected a profile of 45 nm to be scaled";
    refused(EYERISS_REL, "\"node\"", "\"scaled_to_nm\": 7, \"node\"", scaled);
    let unitless = HOROWITZ45.replace("\"pJ", "\"mac16").replacen(
        "\"node\"",
        "\"unit\": \"mac16\", \"node\"",
        1,
    );
    let error = Profile::parse(&unitless).unwrap_err().to_string();
    assert_eq!(error, "unit: mac16, but tables are in pJ; expected laws, and a flat scratchpad");
    let without_sources = HOROWITZ45.replace("\"source\"", "\"origin\"");
    assert!(matches!(Profile::parse(&without_sources), Err(Error::Json(_))));
    let nested = "[".repeat(100_000);
    assert!(matches!(Profile::parse(&nested), Err(Error::Json(_))));
}
