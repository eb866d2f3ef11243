//! Specifications, parts, and what data and network must agree on.

use super::*;
use crate::network::Network;

fn load(json: &str) -> Result<DataSet, Error> {
    let spec: DataSpec = serde_json::from_str(json).unwrap();
    spec.load(1, &mut |_| unreachable!("nothing to open"))
}

const POINTS: &str =
    r#"{"kind": "points", "inputs": [[1, 2, 3], [4, 5, 6]], "labels": [0, 1], "classes": 2}"#;

#[test]
fn points_are_trained_and_tested_on_alike() {
    let data = load(POINTS).unwrap();
    assert_eq!(data.train, data.test);
    assert!(data.validation.is_empty());
    assert_eq!(data.train.inputs(&[1]).as_slice().unwrap(), [4.0, 5.0, 6.0]);
    assert_eq!(data.train.labels(&[1, 0]), Some(vec![1, 0]));
}

#[test]
fn points_that_do_not_fit_each_other_are_refused() {
    for (inputs, labels, classes, said) in [
        ("[]", "[]", 2, ["dataset.inputs", " 0,"]),
        ("[[]]", "[0]", 2, ["dataset.inputs[0]", " 0,"]),
        ("[[1], [1, 2]]", "[0, 0]", 2, ["dataset.inputs[1] has 2", "expected 1"]),
        ("[[1], [2]]", "[0]", 2, ["dataset.labels has 1", "expected 2"]),
        ("[[1], [2]]", "[0, 2]", 2, ["dataset.labels[1] is 2", "0 to 1"]),
        ("[[1]]", "[0]", 0, ["dataset.classes is 0", "2 to"]),
    ] {
        let json = format!(
            r#"{{"kind": "points", "inputs": {inputs}, "labels": {labels}, "classes": {classes}}}"#
        );
        let message = load(&json).unwrap_err().to_string();
        assert!(said.iter().all(|part| message.contains(part)), "{json}: {message}");
    }
}

#[test]
fn unknown_keys_and_kinds_are_refused() {
    for json in [
        r#"{"kind": "digits", "extra": 1}"#,
        r#"{"kind": "extra"}"#,
        r#"{"kind": "idx", "dir": "", "extra": 1}"#,
        r#"{"kind": "csv", "path": "", "test": 1, "extra": 1}"#,
        r#"{"kind": "fir", "taps": [], "noise": 1, "train": 1, "test": 1, "extra": 1}"#,
        r#"{"kind": "points", "inputs": [], "labels": [], "classes": 1, "extra": 1}"#,
    ] {
        let message = serde_json::from_str::<DataSpec>(json).unwrap_err().to_string();
        assert!(message.contains("unknown") && message.contains("`extra`"), "{message}");
    }
}

#[test]
fn every_specification_survives_json() {
    for json in [
        r#"{"kind": "digits"}"#,
        r#"{"kind": "idx", "dir": "d", "validation": 3, "train_limit": 5}"#,
        r#"{"kind": "csv", "path": "p", "validation": 0.5, "test": 3, "classes": 4}"#,
        r#"{"kind": "fir", "taps": [1, 0.5], "noise": 0.1, "train": 9, "test": 9,
            "regressors": "delay-line"}"#,
        r#"{"kind": "clusters", "classes": 2, "features": 3, "spread": 1, "train": 4, "test": 5}"#,
        POINTS,
    ] {
        let spec: DataSpec = serde_json::from_str(json).unwrap();
        let printed = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<DataSpec>(&printed).unwrap(), spec, "{printed}");
    }
}

#[test]
fn the_json_schema_names_every_kind() {
    let schema = serde_json::to_string(&schemars::schema_for!(DataSpec)).unwrap();
    for kind in ["digits", "idx", "csv", "fir", "clusters", "points"] {
        assert!(schema.contains(&format!(r#""const":"{kind}""#)), "{kind}: {schema}");
    }
}

#[test]
fn a_network_that_does_not_fit_the_data_is_refused_with_both_numbers() {
    const CROSS_ENTROPY: &str = "softmax_cross_entropy";
    let fir = r#"{"kind": "fir", "taps": [1, 2, 3], "noise": 0, "train": 9, "test": 1}"#;
    for (data, inputs, units, loss, batch, said) in [
        (POINTS, 3, 2, CROSS_ENTROPY, 2, ["", ""]),
        (fir, 3, 1, "mse", 9, ["", ""]),
        (POINTS, 4, 2, CROSS_ENTROPY, 2, ["3 values", "reads 4"]),
        (POINTS, 3, 5, CROSS_ENTROPY, 2, ["2 classes", "5 units"]),
        (fir, 3, 2, "mse", 1, ["1 target columns", "2 units"]),
        (POINTS, 3, 2, "mse", 2, ["mse needs real targets", "class labels"]),
        (fir, 3, 1, CROSS_ENTROPY, 2, ["softmax_cross_entropy needs class", "real targets"]),
        (POINTS, 3, 2, CROSS_ENTROPY, 3, ["batch is 3", "2 training"]),
    ] {
        let network: Network = serde_json::from_str(&format!(
            r#"{{"input": [{inputs}], "layers": [{{"dense": {{"units": {units}}}}}],
                "loss": "{loss}"}}"#
        ))
        .unwrap();
        let training: Training =
            serde_json::from_str(&format!(r#"{{"epochs": 1, "batch": {batch}, "rate": 1}}"#))
                .unwrap();
        let graph = Graph::new(&network).unwrap();
        match load(data).unwrap().check(&graph, &training) {
            Ok(()) => assert_eq!(said, ["", ""]),
            Err(error) => {
                let message = error.to_string();
                assert!(said.iter().all(|part| message.contains(part)), "{said:?}: {message}");
                assert_ne!(said, ["", ""], "{message}");
            }
        }
    }
}

#[test]
fn batches_go_through_a_part_in_order_and_the_last_may_be_short() {
    let data = load(r#"{"kind": "digits"}"#).unwrap();
    let sizes: Vec<usize> = data.test.batches(32).map(|batch| batch.len()).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<usize>(), sizes[9]), (10, 300, 12));
    assert!(data.test.batches(usize::MAX).map(|batch| batch.len()).eq([300]));
    let first = data.test.batches(32).next().unwrap();
    assert_eq!(first, data.test.batch(&(0..32).collect::<Vec<_>>()));
}

#[test]
fn images_of_several_channels_are_read_with_their_channels_last() {
    let load = || load(r#"{"kind": "digits"}"#).unwrap();
    let (plain, arranged) = (load(), load().arranged(&[4, 8, 2]));
    let [before, after] = [&plain.test, &arranged.test].map(|part| part.inputs(&[5, 0]));
    for ((sample, at), value) in after.indexed_iter() {
        let (place, channel) = (at / 4, at % 4);
        assert_eq!(*value, before[(sample, channel * 16 + place)]);
    }
    for input in [&[64][..], &[8, 8], &[1, 8, 8]] {
        assert_eq!(load().arranged(input), plain);
    }
}
