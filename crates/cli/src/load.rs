//! Experiments as commands are given them: files, overrides, data.

pub mod sweep;

use std::path::PathBuf;

use anyhow::Error;
use clap::Args;
use systoliq_energy::Profile;
use systoliq_hardware::Accelerator;
use systoliq_load::document::{Document, DocumentLayout};
use systoliq_load::{files, placed, typed};
use systoliq_nn::DataSet;
use systoliq_run::{Prepared, fitness};

use crate::failure::{Failure, note, warn};

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
            let mut document = Document::read(&self.experiment, DocumentLayout::EXPERIMENT)?;
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
    systoliq_load::accelerator(file).map_err(Failure::input)
}

/// Reads an energy profile.
///
/// # Errors
///
/// If the file is at fault.
pub fn profile(file: &std::path::Path) -> Result<Profile, Failure> {
    systoliq_load::profile(file).map_err(Failure::input)
}
