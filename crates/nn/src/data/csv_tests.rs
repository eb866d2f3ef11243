//! CSV files, good and bad.

use std::io::{self, Cursor};

use super::*;
use crate::DataSpec;

fn load(text: impl AsRef<[u8]>, keys: &str) -> Result<DataSet, Error> {
    let json = format!(r#"{{"kind": "csv", "path": "d.csv", "test": 1{keys}}}"#);
    let spec: DataSpec = serde_json::from_str(&json).unwrap();
    spec.load(1, &mut |name| {
        assert_eq!(name, "d.csv");
        Ok(Box::new(Cursor::new(text.as_ref().to_vec())))
    })
}

#[test]
fn columns_are_inputs_then_targets_or_a_class() {
    let in_order = r#", "shuffle": false, "validation": 1"#;
    let text = "\u{feff}1, 2.5,3\r\n-4,\"5\",6e-1\r\n\r\n7,8,9\n";
    let data = load(text, in_order).unwrap();
    assert_eq!((data.features, data.outputs, data.classes), (2, 1, None));
    assert_eq!(data.train.inputs(&[0]).as_slice().unwrap(), [1.0, 2.5]);
    assert_eq!(data.validation.targets(&[0]).unwrap()[(0, 0)], 0.6);
    assert_eq!(data.test.inputs(&[0]).as_slice().unwrap(), [7.0, 8.0]);

    let two = load(text, &format!(r#"{in_order}, "targets": 2"#)).unwrap();
    assert_eq!((two.features, two.outputs), (1, 2));
    assert_eq!(two.train.targets(&[0]).unwrap().as_slice().unwrap(), [2.5, 3.0]);

    let text = "width,height,kind\n1,2,0\n3,4,2\n5,6,1\n";
    let keys = format!(r#"{in_order}, "header": true, "classes": 3"#);
    let classes = load(text, &keys).unwrap();
    assert_eq!((classes.features, classes.outputs, classes.classes), (2, 3, Some(3)));
    assert_eq!(classes.validation.labels(&[0]), Some(vec![2]));
    assert_eq!(classes.validation.targets(&[0]), None);
}

#[test]
fn the_split_holds_every_line_once_in_a_fixed_order() {
    let text: String = (0..40).map(|line| format!("{line},0\n")).collect();
    let keys = r#", "validation": 0.25"#;
    let data = load(&text, keys).unwrap();
    let parts = [&data.train, &data.validation, &data.test];
    assert_eq!(parts.map(Part::len), [29, 10, 1]);
    let mut lines: Vec<u32> = parts
        .iter()
        .flat_map(|part| part.batches(7))
        .flat_map(|b| b.inputs.mapv(|x| x as u32))
        .collect();
    assert!(lines.windows(2).any(|pair| pair[0] > pair[1]), "shuffled");
    lines.sort_unstable();
    assert_eq!(lines, (0..40).collect::<Vec<_>>());
}

#[test]
fn bad_text_is_refused_with_line_and_column() {
    let class = r#", "classes": 3"#;
    let heading = r#", "header": true"#;
    let long = "x".repeat(1000);
    let cases: [(&[u8], &str, &[&str]); 19] = [
        (b"", "", &["no samples"]),
        (b"\n\n\n", "", &["no samples"]),
        (b"a,b\n", heading, &["no samples"]),
        (b"1,2\n3,NaN\n", "", &["line 2, column 2", "`NaN`", "finite"]),
        (b"1,2\n\n-inf,2\n", "", &["line 3, column 1", "`-inf`", "finite"]),
        (b"1,2\n3,1e999\n", "", &["line 2, column 2", "`1e999`"]),
        (b"1,2\n3,\n", "", &["line 2, column 2", "``"]),
        (b"1,2\n3,0x10\n", "", &["line 2, column 2", "`0x10`"]),
        (b"a,b\n1,2\n", "", &["line 1, column 1", "`a`", "\"header\": true"]),
        (long.as_bytes(), r#", "targets": 1"#, &["1 columns are too few"]),
        (b"1,2\n1,2,3\n", "", &["line 2 has 3 columns", "expected 2"]),
        (b"1,2,3\n1,2\n", "", &["line 2 has 2 columns", "expected 3"]),
        (b"1,2\n", r#", "targets": 2"#, &["2 columns are too few", "2 of answers"]),
        (b"1,2\n1,3\n", class, &["line 2, column 2", "`3`", "0 to 2"]),
        (b"1,-1\n", class, &["line 1, column 2", "`-1`", "0 to 2"]),
        (b"1,1.5\n", class, &["line 1, column 2", "`1.5`"]),
        (b"1,2\n1,\xff\n", "", &["line 2", "UTF-8"]),
        (b"1,2\n", "", &["1 test", "of the 1"]),
        (b"1,2\n1,2\n1,2\n", r#", "validation": 2"#, &["2 validation and 1 test", "of the 3"]),
    ];
    for (text, keys, said) in cases {
        let message = load(text, keys).unwrap_err().to_string();
        let whole = message.contains("d.csv") && said.iter().all(|part| message.contains(part));
        assert!(whole, "{said:?}: {message}");
    }
    let message = load(format!("1,{long}\n"), "").unwrap_err().to_string();
    assert!(message.len() < 200, "{message}");
}

#[test]
fn contradictory_keys_are_refused() {
    let message = load("1,2\n", r#", "classes": 2, "targets": 1"#).unwrap_err().to_string();
    assert!(message.contains("dataset.classes and dataset.targets"), "{message}");
    for amount in ["-1", "1.0", "\"some\"", "1e300"] {
        let json = format!(r#"{{"kind": "csv", "path": "d.csv", "test": {amount}}}"#);
        let message = serde_json::from_str::<DataSpec>(&json).unwrap_err().to_string();
        assert!(message.contains("a count, or a fraction"), "{message}");
    }
}

#[test]
fn a_line_without_end_is_refused_instead_of_filling_memory() {
    let spec: DataSpec =
        serde_json::from_str(r#"{"kind": "csv", "path": "d.csv", "test": 1}"#).unwrap();
    let endless = spec.load(1, &mut |_| Ok(Box::new(io::repeat(b'1'))));
    assert_eq!(endless.unwrap_err().to_string(), "d.csv: line 1 has more than 16777216 bytes");
}

#[test]
fn commas_within_quotes_do_not_separate() {
    let keys = r#", "header": true"#;
    let data = load("\"width, cm\", height\n1,2\n3,4\n", keys).unwrap();
    assert_eq!((data.features, data.train.len()), (1, 1));
}
