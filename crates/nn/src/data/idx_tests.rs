//! `idx` files, good and bad.

use std::collections::HashMap;
use std::io::{self, Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::DataSpec;

fn images(count: u32, rows: u32, columns: u32, pixels: &[u8]) -> Vec<u8> {
    let header = [IMAGES_MAGIC, count, rows, columns];
    header.into_iter().flat_map(u32::to_be_bytes).chain(pixels.iter().copied()).collect()
}

fn labels(count: u32, labels: &[u8]) -> Vec<u8> {
    let header = [LABELS_MAGIC, count];
    header.into_iter().flat_map(u32::to_be_bytes).chain(labels.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Four training and two test images of 1 x 2 pixels.
fn folder() -> HashMap<String, Vec<u8>> {
    HashMap::from([
        ("d/train-images-idx3-ubyte".into(), images(4, 1, 2, &[0, 1, 2, 3, 4, 5, 6, 255])),
        ("d/train-labels-idx1-ubyte.gz".into(), gzip(&labels(4, &[0, 1, 2, 9]))),
        ("d/t10k-images-idx3-ubyte.gz".into(), gzip(&images(2, 1, 2, &[10, 11, 12, 13]))),
        ("d/t10k-labels-idx1-ubyte".into(), labels(2, &[3, 4])),
    ])
}

fn load(files: &HashMap<String, Vec<u8>>, keys: &str) -> Result<DataSet, Error> {
    let json = format!(r#"{{"kind": "idx", "dir": "d"{keys}}}"#);
    let spec: DataSpec = serde_json::from_str(&json).unwrap();
    spec.load(1, &mut |name| match files.get(name) {
        Some(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
        None => Err(io::ErrorKind::NotFound.into()),
    })
}

#[test]
fn files_are_read_plain_or_gzip_and_the_last_training_images_are_held_out() {
    let data = load(&folder(), r#", "validation": 1"#).unwrap();
    assert_eq!([&data.train, &data.validation, &data.test].map(Part::len), [3, 1, 2]);
    assert_eq!((data.features, data.outputs, data.classes), (2, 10, Some(10)));
    assert_eq!(data.train.labels(&[2, 0]), Some(vec![2, 0]));
    assert_eq!(
        data.train.inputs(&[1, 0]).as_slice().unwrap(),
        [2.0 / 255.0, 3.0 / 255.0, 0.0, 1.0 / 255.0]
    );
    assert_eq!(data.validation.inputs(&[0]).as_slice().unwrap(), [6.0 / 255.0, 1.0]);
    assert_eq!(data.validation.labels(&[0]), Some(vec![9]));

    let limits = r#", "validation": 1, "train_limit": 2, "test_limit": 1"#;
    let limited = load(&folder(), limits).unwrap();
    assert_eq!([&limited.train, &limited.validation, &limited.test].map(Part::len), [2, 1, 1]);
    assert_eq!(limited.validation, data.validation);
    assert_eq!(limited.train.batch(&[0, 1]), data.train.batch(&[0, 1]));
}

#[test]
fn bad_files_are_refused_with_name_found_and_expected() {
    const TRAIN: &str = "d/train-images-idx3-ubyte";
    const LABELS: &str = "d/train-labels-idx1-ubyte.gz";
    const TEST: &str = "d/t10k-images-idx3-ubyte.gz";
    let good = gzip(&images(2, 1, 2, &[10, 11, 12, 13]));
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        let at = if at < bytes.len() { at } else { bytes.len() - 8 };
        bytes[at] ^= 0x55;
        bytes
    };
    let huge = u32::MAX;
    let cases: [(&str, Vec<u8>, &[&str]); 19] = [
        (TRAIN, vec![], &["header", "0 bytes", "16"]),
        (TRAIN, images(4, 1, 2, &[])[..9].to_vec(), &["header", "9 bytes", "16"]),
        (LABELS, labels(4, &[])[..6].to_vec(), &["header", "6 bytes", "8"]),
        (TRAIN, labels(4, &[0, 1, 2, 9]), &["magic number", "2049", "2051", "images"]),
        (LABELS, images(4, 1, 2, &[0; 8]), &["magic number", "2051", "2049", "labels"]),
        (TRAIN, b"PNG or some other text".to_vec(), &["magic number", "1347307296", "2051"]),
        (TRAIN, images(4, 1, 2, &[0; 7]), &["cut short", "7 bytes", "8"]),
        (TRAIN, images(4, 1, 2, &[0; 9]), &["go on", "8 bytes"]),
        (TEST, gzip(&images(2, 1, 2, &[0; 1 << 20])), &["go on", "4 bytes"]),
        (TRAIN, images(0, 1, 2, &[]), &["no samples"]),
        (TRAIN, images(4, 0, 2, &[]), &["4 samples of 0 x 2", "1073741824"]),
        (TRAIN, images(huge, huge, huge, &[]), &["4294967295 x 4294967295", "1073741824"]),
        (TRAIN, images(1 << 20, 32, 32, &[0; 8]), &["cut short", "8 bytes", "1073741824"]),
        (LABELS, gzip(&labels(3, &[0, 1, 2])), &["3 labels", TRAIN, "has 4"]),
        (LABELS, gzip(&labels(4, &[0, 1, 10, 2])), &["label 2 is 10", "0 to 9"]),
        (TEST, good[..good.len() - 9].to_vec(), &["gzip", "cut short"]),
        (TEST, flipped(usize::MAX), &["gzip", "corrupt"]),
        (TEST, flipped(2), &["gzip", "corrupt"]),
        (TEST, gzip(&images(2, 2, 1, &[0; 4])[..]), &[]),
    ];
    for (name, bytes, said) in cases {
        let mut files = folder();
        files.insert(name.to_owned(), bytes);
        let result = load(&files, "");
        if said.is_empty() {
            assert!(result.is_ok(), "2 x 1 pixels are as many as 1 x 2");
            continue;
        }
        let message = result.unwrap_err().to_string();
        let whole = message.contains(name) && said.iter().all(|part| message.contains(part));
        assert!(whole, "{name} {said:?}: {message}");
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let mut files = folder();
    files.insert("d/t10k-images-idx3-ubyte.gz".into(), images(2, 1, 3, &[0; 6]));
    let message = load(&files, "").unwrap_err().to_string();
    assert!(message.contains("3 pixels") && message.contains("has 2"), "{message}");

    let message = load(&folder(), r#", "validation": 4"#).unwrap_err().to_string();
    assert!(message.contains("4 validation") && message.contains("of the 4"), "{message}");
    let message = load(&folder(), r#", "classes": 257"#).unwrap_err().to_string();
    assert!(message.contains("dataset.classes") && message.contains("257"), "{message}");
    let message = load(&folder(), r#", "test_limit": 0"#).unwrap_err().to_string();
    assert!(message.contains("dataset.test_limit is 0"), "{message}");
}

#[test]
fn a_missing_file_is_named_with_and_without_gz() {
    let mut files = folder();
    files.remove("d/t10k-labels-idx1-ubyte");
    let message = load(&files, "").unwrap_err().to_string();
    let said = "cannot find d/t10k-labels-idx1-ubyte.gz or d/t10k-labels-idx1-ubyte";
    assert_eq!(message, said);
}

#[test]
fn what_the_file_system_says_reaches_the_user() {
    let spec: DataSpec = serde_json::from_str(r#"{"kind": "idx", "dir": "d/"}"#).unwrap();
    let denied = spec.load(1, &mut |_| Err(io::ErrorKind::PermissionDenied.into())).unwrap_err();
    let message = denied.to_string();
    assert!(message.contains("cannot open d/train-images-idx3-ubyte.gz: permission"), "{message}");

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let message = spec.load(1, &mut |_| Ok(Box::new(Broken))).unwrap_err().to_string();
    assert!(message.contains("cannot read d/train") && message.contains("gone"), "{message}");
}
