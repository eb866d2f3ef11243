//! Reads experiments from files, with every mistake at its place.
//!
//! The sections of an experiment are inline or the path of another file ([`document`]); overrides
//! come last. What results is read into its type ([`typed`]) and checked. A mistake is reported at its
//! file, line and column, or at its override, with its path in the whole.

pub mod document;
pub mod files;
pub mod json;
pub mod position;
mod typed;

use std::path::Path;

use anyhow::{Error, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use systoliq_energy::Profile;
use systoliq_hardware::Accelerator;
use systoliq_run::{Experiment, path};

use document::{Document, DocumentLayout};

/// Reads and checks an accelerator.
///
/// # Errors
///
/// If a file is at fault, or the accelerator is impossible.
pub fn accelerator(file: &Path) -> Result<Accelerator, Error> {
    let document = Document::read(file, DocumentLayout::ACCELERATOR)?;
    let accelerator: Accelerator = typed(&document)?;
    accelerator.validate().map_err(|error| placed(&document, error))?;
    Ok(accelerator)
}

/// Reads an energy profile.
///
/// # Errors
///
/// If the file is at fault.
pub fn profile(file: &Path) -> Result<Profile, Error> {
    typed(&Document::read(file, DocumentLayout { sections: &[], data: &[] })?)
}

/// Reads a document into its type.
///
/// # Errors
///
/// If it is none of that type.
pub fn typed<T: DeserializeOwned + Serialize>(document: &Document) -> Result<T, Error> {
    crate::typed::read(document.value())
        .map_err(|misfit| anyhow!("{}: {}", document.origin(&misfit.path), misfit.message))
}

/// Reads JSON as an experiment, or says what is wrong with it.
///
/// # Errors
///
/// What is wrong with it.
pub fn experiment(value: &serde_json::Value) -> Result<Experiment, String> {
    crate::typed::read(value).map_err(|misfit| misfit.message)
}

/// Adds where the node came from whose path a message starts with, or the data path that it names;
/// else, the first file's name.
pub fn placed(document: &Document, error: impl Into<Error>) -> Error {
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
