//! Where a data set comes from.

use std::io::{self, Read};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::csv::CsvSpec;
use super::generated::{ClustersSpec, FirSpec};
use super::idx::IdxSpec;
use super::points::PointsSpec;
use super::{DataSet, DataShape, digits};
use crate::Error;

/// Opens a file for [`DataSpec::load`], by the name that the specification gives it.
pub type Open<'a> = dyn FnMut(&str) -> io::Result<Box<dyn Read>> + 'a;

/// A data set, as the `dataset` section of an experiment states it; `kind` says which.
///
/// ```
/// use systoliq_nn::DataSpec;
/// let spec: DataSpec =
///     serde_json::from_str(r#"{"kind": "idx", "dir": "mnist", "validation": 10000}"#).unwrap();
/// assert_eq!(spec.files().len(), 4);
/// assert_eq!(spec.files()[0][0], "mnist/train-images-idx3-ubyte.gz");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DataSpec {
    /// The [handwritten digits](digits) that are part of this crate.
    Digits {},
    /// MNIST-style files in a folder.
    Idx(IdxSpec),
    /// Numbers in a text file.
    Csv(CsvSpec),
    /// A known FIR system with noise, to be identified.
    Fir(FirSpec),
    /// Gaussian clusters, to be told apart.
    Clusters(ClustersSpec),
    /// A few samples written where this stands.
    Points(PointsSpec),
}

impl DataSpec {
    /// The files that [`load`](Self::load) opens: for each, the names tried, in that order.
    pub fn files(&self) -> Vec<Vec<String>> {
        match self {
            Self::Idx(spec) => spec.files().map(Vec::from).to_vec(),
            Self::Csv(spec) => vec![vec![spec.path.clone()]],
            Self::Digits {} | Self::Fir(_) | Self::Clusters(_) | Self::Points(_) => Vec::new(),
        }
    }

    /// Checks what can be checked without opening a file.
    ///
    /// # Errors
    ///
    /// If a value is out of its range, samples do not fit each other, or what is to be generated
    /// is too large.
    pub fn validate(&self) -> Result<(), Error> {
        match self {
            Self::Digits {} => Ok(()),
            Self::Idx(spec) => spec.validate(),
            Self::Csv(spec) => spec.validate(),
            Self::Fir(spec) => spec.validate(),
            Self::Clusters(spec) => spec.validate(),
            Self::Points(spec) => spec.validate(),
        }
    }

    /// The shape of what is generated, which no file decides.
    pub fn shape(&self) -> Option<DataShape<'static>> {
        match self {
            Self::Fir(spec) => Some(spec.shape()),
            Self::Clusters(spec) => Some(spec.shape()),
            Self::Digits {} | Self::Idx(_) | Self::Csv(_) | Self::Points(_) => None,
        }
    }

    /// Makes the data set. Only generated data depend on `seed`; only files are opened.
    ///
    /// `open` gets the names of [`files`](Self::files). A file whose opening fails with
    /// [`NotFound`](io::ErrorKind::NotFound) is tried under its next name.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate); or if a file cannot be opened or read, or does not
    /// hold what it should.
    pub fn load(&self, seed: u64, open: &mut Open<'_>) -> Result<DataSet, Error> {
        self.validate()?;
        match self {
            Self::Digits {} => digits::load(),
            Self::Idx(spec) => spec.load(open),
            Self::Csv(spec) => spec.load(open),
            Self::Fir(spec) => Ok(spec.generate(seed)),
            Self::Clusters(spec) => Ok(spec.generate(seed)),
            Self::Points(spec) => Ok(spec.load()),
        }
    }
}

/// Opens the first of `names` that exists.
pub(super) fn open_first(
    names: &[String],
    open: &mut Open<'_>,
) -> Result<(String, Box<dyn Read>), Error> {
    for name in names {
        match open(name) {
            Ok(reader) => return Ok((name.clone(), reader)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Open { file: name.clone(), source }),
        }
    }
    Err(Error::Missing { tried: names.to_vec() })
}
