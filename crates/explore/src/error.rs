//! What can be wrong with a sweep or its store.

use crate::RunKey;

/// A sweep that cannot be run, or a store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that is impossible, at its path in the sweep.
    #[error("{path}: {problem}")]
    Spec {
        /// Path in the sweep.
        path: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A store with a line that is no line of a store, and not its last one.
    #[error(
        "line {line} of the store is damaged: {problem}; without that line, its run is done again"
    )]
    Damaged {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A store of runs on other data than there are.
    #[error(
        "the store holds run {key} on other data under the same name: their fingerprint was \
         {stored} and is {found}; with the data that were, or in another folder, it can go on"
    )]
    OtherData {
        /// The run.
        key: RunKey,
        /// The fingerprint that its data had.
        stored: String,
        /// The fingerprint that they have, or that they had in another run.
        found: String,
    },
    /// A store that cannot be written or read.
    #[error("cannot {what} the store: {source}")]
    Store {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn spec(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Spec { path: path.into(), problem: problem.into() }
    }
}
