//! Reads an experiment: files, overrides, checks.
//!
//! The sections of an experiment are inline or the path of another file ([`document`]); overrides
//! by `--set` come last. What results is read into its type ([`typed`]) and checked. A mistake is
//! reported at its file, line and column, or at its override, with its path in the whole.

pub mod document;
pub mod files;
pub mod json;
pub mod position;
pub mod sweep;
pub mod typed;

use std::path::PathBuf;

use anyhow::{Error, anyhow};
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use systoliq_energy::Profile;
use systoliq_hardware::Accelerator;
use systoliq_nn::DataSet;
use systoliq_run::{Experiment, Prepared, fitness, path};

use crate::failure::{Failure, note, warn};
use document::{Document, Layout};

/// The arguments of every command that works on an experiment.
#[derive(Clone, Debug, Args)]
pub struct ExperimentArguments {
    /// JSON file of the experiment.
    ///
    /// A section may be the path of another JSON file; paths in a file, also those of data, are
    /// relative to that file.
    experiment: PathBuf,

    /// Replaces the value at PATH; may be given several times, later ones win.
    ///
    /// PATH is names joined by dots, elements of arrays by their number:
    /// `network.layers[0].dense.units`. VALUE is JSON, or else a string. Objects that are missing
    /// are made. A section may be set to the path of a JSON file; paths, also those of data, are
    /// relative to the working directory.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
}

/// An experiment that has been read and checked, all but its data.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The experiment, lowered.
    pub prepared: Prepared,
    document: Document,
}

impl ExperimentArguments {
    /// Reads and checks the experiment. Its data are not opened.
    ///
    /// # Errors
    ///
    /// If a file or an override is at fault, or the experiment is impossible.
    pub fn load(&self) -> Result<Loaded, Failure> {
        let read = || -> Result<Loaded, Error> {
            let mut document = Document::read(&self.experiment, Layout::EXPERIMENT)?;
            self.set.iter().try_for_each(|argument| document.set(argument))?;
            let experiment = typed(&document)?;
            let prepared = Prepared::new(experiment).map_err(|error| placed(&document, error))?;
            Ok(Loaded { prepared, document })
        };
        read().map_err(Failure::input)
    }
}

impl Loaded {
    /// Loads the data of the run with `seed`.
    ///
    /// # Errors
    ///
    /// If a file is missing or malformed, or the data do not fit the network.
    pub fn data(&self, seed: u64) -> Result<DataSet, Failure> {
        let data = self.prepared.load(seed, &mut files::open_data);
        data.map_err(|error| self.refuse(error))
    }

    /// Says where in its files the experiment is at fault.
    pub fn refuse(&self, error: impl Into<Error>) -> Failure {
        Failure::input(placed(&self.document, error))
    }

    /// Says what was read, and warns of what is odd about it.
    pub fn warn(&self, data: &DataSet) {
        warn_of(&self.prepared, data);
    }
}

/// Says what was read, and warns of what is odd about it and of formats that keep nothing of it or of
/// the initial weights.
pub(crate) fn warn_of(prepared: &Prepared, data: &DataSet) {
    let experiment = &prepared.experiment;
    note(&fitness::told(prepared, data));
    warn(&experiment.name, &fitness::warnings(prepared, data, experiment.seed));
}

/// Reads and checks an accelerator.
///
/// # Errors
///
/// If a file is at fault, or the accelerator is impossible.
pub fn accelerator(file: &std::path::Path) -> Result<Accelerator, Failure> {
    let read = || -> Result<Accelerator, Error> {
        let document = Document::read(file, Layout::ACCELERATOR)?;
        let accelerator: Accelerator = typed(&document)?;
        accelerator.validate().map_err(|error| placed(&document, error))?;
        Ok(accelerator)
    };
    read().map_err(Failure::input)
}

/// Reads an energy profile.
///
/// # Errors
///
/// If the file is at fault.
pub fn profile(file: &std::path::Path) -> Result<Profile, Failure> {
    let read = || -> Result<Profile, Error> {
        typed(&Document::read(file, Layout { sections: &[], data: &[] })?)
    };
    read().map_err(Failure::input)
}

/// Reads a document into its type.
fn typed<T: DeserializeOwned + Serialize>(document: &Document) -> Result<T, Error> {
    typed::read(document.value())
        .map_err(|misfit| anyhow!("{}: {}", document.origin(&misfit.path), misfit.message))
}

/// Reads JSON as an experiment, or says what is wrong with it.
pub(crate) fn experiment(value: &serde_json::Value) -> Result<Experiment, String> {
    typed::read(value).map_err(|misfit| misfit.message)
}

/// Adds where the node came from whose path a message starts with, or the data path that it names;
/// else, the first file's name.
fn placed(document: &Document, error: impl Into<Error>) -> Error {
    let message = error.into().to_string();
    let first_word = message.split([' ', ',']).next().unwrap_or_default().trim_end_matches(':');
    let path = path::split(first_word).ok();
    if let Some(path) = path.filter(|path| document.value().get(&path[0]).is_some()) {
        return anyhow!("{}: {message}", document.origin(&path));
    }
    match document.data_path_in(&message) {
        Some(path) => anyhow!("{}: {}: {message}", document.origin(path), path.join(".")),
        None => anyhow!("{}: {message}", document.name()),
    }
}
