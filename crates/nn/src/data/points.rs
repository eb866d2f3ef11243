//! A few samples written where the data set is stated.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answers, DataSet, Part};
use crate::Error;

/// Samples and their classes as numbers in the experiment. Training and test use the same samples,
/// so that a worked example can be followed; there is no validation part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PointsSpec {
    /// One list of values per sample, all of one length.
    pub inputs: Vec<Vec<f64>>,
    /// One class per sample.
    pub labels: Vec<u32>,
    /// Labels are below this.
    pub classes: usize,
}

impl PointsSpec {
    pub(super) fn validate(&self) -> Result<(), Error> {
        Error::check_count("dataset.classes", self.classes, 2, u16::MAX.into())?;
        Error::check_count("dataset.inputs: number of samples", self.inputs.len(), 1, 1 << 20)?;
        let ragged = |key: String, found, expected, like| {
            if found == expected {
                Ok(())
            } else {
                Err(Error::Ragged { key, found, expected, like })
            }
        };
        let features = self.inputs[0].len();
        Error::check_count("dataset.inputs[0]: number of values", features, 1, 1 << 20)?;
        for (at, sample) in self.inputs.iter().enumerate() {
            let key = format!("dataset.inputs[{at}]");
            ragged(key.clone(), sample.len(), features, "dataset.inputs[0]")?;
            for (column, &value) in sample.iter().enumerate() {
                Error::check_real(&format!("{key}[{column}]"), value, f64::MIN, f64::MAX)?;
            }
        }
        let labels = &self.labels;
        ragged("dataset.labels".to_owned(), labels.len(), self.inputs.len(), "dataset.inputs")?;
        match labels.iter().position(|&label| label as usize >= self.classes) {
            None => Ok(()),
            Some(at) => Err(Error::Label {
                place: format!("dataset.labels[{at}]"),
                found: labels[at].to_string(),
                classes: self.classes,
                hint: "",
            }),
        }
    }

    pub(super) fn load(&self) -> DataSet {
        let features = self.inputs[0].len();
        let part =
            Part::from_real(features, self.inputs.concat(), Answers::Labels(self.labels.clone()));
        DataSet {
            name: "points".to_owned(),
            features,
            classes: Some(self.classes),
            outputs: self.classes,
            validation: part.select(&[]),
            test: part.clone(),
            train: part,
            remarks: Vec::new(),
        }
    }
}
