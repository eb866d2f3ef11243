//! The `idx` files of MNIST and its kin: big-endian headers, then bytes.
//!
//! | file | header | then |
//! | --- | --- | --- |
//! | images | 2051, samples, rows, columns, each a `u32` | `samples · rows · columns` pixels |
//! | labels | 2049, samples | `samples` labels |
//!
//! Either may be gzip, which its first bytes tell. A header's sizes are believed only as far as
//! bytes follow: no memory is taken for bytes that do not come, and none are decompressed beyond.

use std::io::Read;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::input::Input;
use super::spec::{Open, open_first};
use super::{DataSet, Part};
use crate::Error;

const IMAGES_MAGIC: u32 = 2051;
const LABELS_MAGIC: u32 = 2049;
const FULL_SCALE: u8 = 255;

/// The most bytes of a file after its header.
pub const BYTES_MAX: u64 = 1 << 30;

/// Four `idx` files in a folder, under the names that MNIST's have.
///
/// The last `validation` images of the training file are held out; limits keep the first images of
/// what is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdxSpec {
    /// The folder of `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
    /// `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each with `.gz` or without.
    pub dir: String,
    /// Labels are below this. Default 10.
    #[serde(default = "ten")]
    pub classes: usize,
    /// How many of the training file's last images are held out for validation. Default 0.
    #[serde(default)]
    pub validation: usize,
    /// How many training images to keep. Default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// How many test images to keep. Default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_limit: Option<usize>,
}

const fn ten() -> usize {
    10
}

/// Images of an `idx` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// How many.
    pub count: usize,
    /// Rows of each.
    pub rows: usize,
    /// Columns of each.
    pub columns: usize,
    /// The pixels, row by row, image by image.
    pub pixels: Vec<u8>,
}

/// Reads the images that `reader` holds, plain or gzip. `file` names it in errors.
///
/// # Errors
///
/// If it cannot be read, is corrupt gzip, does not start with the magic number 2051, states sizes
/// of zero or beyond [`BYTES_MAX`], or holds fewer or more bytes than it states.
pub fn parse_images(file: &str, reader: impl Read) -> Result<Images, Error> {
    let mut input = Input::new(file, reader)?;
    let [samples, rows, columns] = header(file, &mut input, IMAGES_MAGIC, "images")?;
    let pixels = body(file, &mut input, samples, rows, columns)?;
    Ok(Images { count: samples as usize, rows: rows as usize, columns: columns as usize, pixels })
}

/// Reads the labels that `reader` holds, plain or gzip. `file` names it in errors.
///
/// # Errors
///
/// As [`parse_images`], with the magic number 2049; or if a label is not below `classes`.
pub fn parse_labels(file: &str, reader: impl Read, classes: usize) -> Result<Vec<u32>, Error> {
    let mut input = Input::new(file, reader)?;
    let [samples] = header(file, &mut input, LABELS_MAGIC, "labels")?;
    let labels = body(file, &mut input, samples, 1, 1)?;
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        None => Ok(labels.into_iter().map(u32::from).collect()),
        Some(at) => Err(Error::Label {
            place: format!("{file}: label {at}"),
            found: labels[at].to_string(),
            classes,
            hint: "",
        }),
    }
}

/// The numbers of a header after its magic number.
fn header<const N: usize>(
    file: &str,
    input: &mut Input<'_, impl Read>,
    magic: u32,
    kind: &'static str,
) -> Result<[u32; N], Error> {
    let length = 4 + 4 * N;
    let bytes = input.up_to(length as u64)?;
    let number = |at: usize| bytes.get(4 * at..4 * at + 4).map(be_u32);
    if let Some(found) = number(0).filter(|&found| found != magic) {
        return Err(Error::IdxMagic { file: file.to_owned(), found, expected: magic, kind });
    }
    if bytes.len() < length {
        let (found, expected) = (bytes.len(), length);
        return Err(Error::IdxHeader { file: file.to_owned(), found, expected });
    }
    Ok(std::array::from_fn(|at| be_u32(&bytes[4 * at + 4..4 * at + 8])))
}

fn be_u32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("a slice of four bytes"))
}

/// The bytes after a header, all that it states and no more.
fn body(
    file: &str,
    input: &mut Input<'_, impl Read>,
    samples: u32,
    rows: u32,
    columns: u32,
) -> Result<Vec<u8>, Error> {
    let file = || file.to_owned();
    if samples == 0 {
        return Err(Error::Empty { file: file() });
    }
    let stated = u128::from(samples) * u128::from(rows) * u128::from(columns);
    let expected = match u64::try_from(stated) {
        Ok(bytes @ 1..=BYTES_MAX) => bytes,
        _ => {
            let max = BYTES_MAX;
            return Err(Error::IdxSize { file: file(), samples, rows, columns, max });
        }
    };
    let bytes = input.up_to(expected)?;
    let found = bytes.len() as u64;
    if found < expected {
        return Err(Error::IdxTruncated { file: file(), found, expected });
    }
    // Reading on to the end also makes gzip compare its checksum.
    match input.up_to(1)?.is_empty() {
        true => Ok(bytes),
        false => Err(Error::IdxTrailing { file: file(), expected }),
    }
}

impl IdxSpec {
    /// The names under which each of the four files is looked for, in the order tried.
    pub fn files(&self) -> [[String; 2]; 4] {
        ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"].map(
            |name| {
                let separator =
                    if self.dir.is_empty() || self.dir.ends_with('/') { "" } else { "/" };
                let plain = format!("{}{separator}{name}-ubyte", self.dir);
                [format!("{plain}.gz"), plain]
            },
        )
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        Error::check_count("dataset.classes", self.classes, 2, 256)?;
        Error::check_count("dataset.train_limit", self.train_limit.unwrap_or(1), 1, usize::MAX)?;
        Error::check_count("dataset.test_limit", self.test_limit.unwrap_or(1), 1, usize::MAX)
    }

    pub(super) fn load(&self, open: &mut Open<'_>) -> Result<DataSet, Error> {
        let [train_images, train_labels, test_images, test_labels] = self.files();
        let (mut train, train_file) = self.read(&train_images, &train_labels, open)?;
        let (mut test, test_file) = self.read(&test_images, &test_labels, open)?;
        if train.features() != test.features() {
            return Err(Error::FilesDiffer {
                file: test_file,
                found: test.features(),
                what: "pixels per image",
                other: train_file,
                expected: train.features(),
            });
        }
        let rows = train.len();
        if self.validation >= rows {
            let (validation, test) = (self.validation, test.len());
            return Err(Error::Split { data: train_file, rows, validation, test });
        }
        let validation = train.split_off(rows - self.validation);
        train.split_off(self.train_limit.unwrap_or(rows).min(train.len()));
        test.split_off(self.test_limit.unwrap_or(test.len()).min(test.len()));
        Ok(DataSet {
            name: self.dir.clone(),
            features: train.features(),
            classes: Some(self.classes),
            outputs: self.classes,
            train,
            validation,
            test,
            remarks: Vec::new(),
        })
    }

    /// Images and labels of a pair of files, and the name of the images' file.
    fn read(
        &self,
        images: &[String; 2],
        labels: &[String; 2],
        open: &mut Open<'_>,
    ) -> Result<(Part, String), Error> {
        let (file, reader) = open_first(images, open)?;
        let images = parse_images(&file, reader)?;
        let (labels_file, reader) = open_first(labels, open)?;
        let labels = parse_labels(&labels_file, reader, self.classes)?;
        if labels.len() != images.count {
            return Err(Error::FilesDiffer {
                file: labels_file,
                found: labels.len(),
                what: "labels",
                other: file,
                expected: images.count,
            });
        }
        let features = images.rows * images.columns;
        Ok((Part::from_pixels(features, images.pixels, FULL_SCALE, labels), file))
    }
}

#[cfg(test)]
#[path = "idx_tests.rs"]
mod tests;
