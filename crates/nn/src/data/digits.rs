//! The handwritten digits that are part of this crate: 1,797 images of 8 × 8.
//!
//! E. Alpaydin and C. Kaynak (1998), *Optical Recognition of Handwritten Digits*, UCI Machine
//! Learning Repository, DOI 10.24432/C50P49, CC BY 4.0; the test part of that set, in its order.
//!
//! In file order the split would be by writer. A fixed permutation, the same for every seed,
//! splits into 1,197 training, 300 validation and 300 test images. Pixels are 0 to 16, and full
//! scale is 16.

use systoliq_keyed_random::Key;

use super::idx::{parse_images, parse_labels};
use super::{DataSet, Part};
use crate::Error;

const IMAGES: &[u8] = include_bytes!("../../data/digits/images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../../data/digits/labels-idx1-ubyte.gz");

/// Images in all.
pub const COUNT: usize = 1797;
/// Images of the validation part.
pub const VALIDATION: usize = 300;
/// Images of the test part.
pub const TEST: usize = 300;
/// The digits 0 to 9.
pub const CLASSES: usize = 10;
/// The pixel that stands for 1.0.
pub const FULL_SCALE: u8 = 16;

pub(super) fn load() -> Result<DataSet, Error> {
    let images = parse_images("digits/images-idx3-ubyte.gz", IMAGES)?;
    let labels = parse_labels("digits/labels-idx1-ubyte.gz", LABELS, CLASSES)?;
    assert_eq!((images.count, labels.len()), (COUNT, COUNT), "the embedded files are whole");
    let features = images.rows * images.columns;
    let all = Part::from_pixels(features, images.pixels, FULL_SCALE, labels);
    let order = Key::new(0).with_name("digits split").permutation(COUNT as u32);
    let [train, validation, test] = all.split("digits", &order, VALIDATION, TEST)?;
    Ok(DataSet {
        name: "digits".to_owned(),
        features,
        classes: Some(CLASSES),
        outputs: CLASSES,
        train,
        validation,
        test,
        remarks: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_in_exactly_one_part() {
        let data = load().unwrap();
        let parts = [&data.train, &data.validation, &data.test];
        assert_eq!(parts.map(Part::len), [1197, 300, 300]);
        let pixel = |value: &f64| (value * 16.0) as u8;
        let mut ours: Vec<Vec<u8>> = parts
            .iter()
            .flat_map(|part| part.batches(1))
            .map(|batch| batch.inputs.iter().map(pixel).collect())
            .collect();
        let images = parse_images("", IMAGES).unwrap();
        let mut all: Vec<Vec<u8>> = images.pixels.chunks(64).map(<[u8]>::to_vec).collect();
        ours.sort();
        all.sort();
        assert_eq!(ours, all);
    }

    #[test]
    fn labels_have_the_published_counts_and_pixels_seventeen_levels() {
        let labels = parse_labels("", LABELS, CLASSES).unwrap();
        let counts: Vec<usize> =
            (0..10).map(|class| labels.iter().filter(|&&label| label == class).count()).collect();
        // The data set's description: class distribution of the testing set.
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        let images = parse_images("", IMAGES).unwrap();
        let levels: std::collections::BTreeSet<u8> = images.pixels.into_iter().collect();
        assert_eq!(levels.into_iter().collect::<Vec<_>>(), (0..=16).collect::<Vec<_>>());
    }

    #[test]
    fn every_class_is_in_every_part() {
        let data = load().unwrap();
        for part in [&data.train, &data.validation, &data.test] {
            let rows: Vec<u32> = (0..part.len() as u32).collect();
            let labels = part.labels(&rows).unwrap();
            assert!((0..10).all(|class| labels.contains(&class)));
        }
    }
}
