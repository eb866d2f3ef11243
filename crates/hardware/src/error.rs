//! What can be wrong with a machine, or with what it is asked to run.

/// An accelerator that cannot be, or work that it cannot do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that is impossible, at its path in the experiment.
    #[error("{path}: {problem}")]
    Invalid {
        /// Path in the experiment.
        path: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A program that cannot be carried out.
    #[error(transparent)]
    Program(#[from] systoliq_program::Error),
}

impl Error {
    /// An impossible value at a path.
    pub fn at(path: impl Into<String>, problem: impl ToString) -> Self {
        Self::Invalid { path: path.into(), problem: problem.to_string() }
    }
}
