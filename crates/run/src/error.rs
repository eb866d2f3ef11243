//! What can be wrong with an experiment.

/// An experiment that cannot be run, or a run that failed.
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
    /// A network, data set or training schedule that cannot be used.
    #[error(transparent)]
    Network(#[from] systoliq_nn::Error),
    /// A precision plan that cannot be carried out.
    #[error(transparent)]
    Precision(#[from] systoliq_program::Error),
    /// A file of a dump that cannot be written.
    #[error("cannot write {file} of the dump: {problem}")]
    Dump {
        /// Its name.
        file: String,
        /// Why.
        problem: String,
    },
    /// A matrix product that the program does not have.
    #[error("no matrix product `{name}` in a training step: there are {gemms}")]
    NoSuchGemm {
        /// The name asked for.
        name: String,
        /// The names that there are.
        gemms: String,
    },
    /// A command that the program does not have.
    #[error("no command `{name}` in a training step: there are {commands}")]
    NoSuchCommand {
        /// The name asked for.
        name: String,
        /// The names that there are.
        commands: String,
    },
    /// A step that the run does not have.
    #[error("step {step}: the run has {steps} steps, numbered 0 to {}", steps - 1)]
    NoSuchStep {
        /// The step asked for.
        step: u64,
        /// Steps of the run, at least one.
        steps: u64,
    },
    /// A teacher that has nothing to teach.
    #[error(
        "seed {seed}: the golden model diverged in epoch {epoch}: its weights are not finite, and no teacher-forced step can start from them"
    )]
    GoldenDiverged {
        /// The seed of the run.
        seed: u64,
        /// The epoch, from 1.
        epoch: u32,
    },
    /// A run in floating point that came to nothing.
    #[error(
        "the float run diverged in epoch {epoch} (training loss {loss}): expected one that learns"
    )]
    FloatRun {
        /// The epoch, from 1.
        epoch: u32,
        /// Its mean loss.
        loss: f64,
    },
    /// A checkpoint of another experiment, or one that is damaged.
    #[error("checkpoint of seed {seed}: {problem}")]
    Checkpoint {
        /// The seed of the run.
        seed: u64,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// An impossible value at a path.
    pub fn at(path: impl Into<String>, problem: impl ToString) -> Self {
        Self::Invalid { path: path.into(), problem: problem.to_string() }
    }
}

impl From<systoliq_hardware::Error> for Error {
    fn from(error: systoliq_hardware::Error) -> Self {
        match error {
            systoliq_hardware::Error::Invalid { path, problem } => Self::Invalid { path, problem },
            systoliq_hardware::Error::Program(error) => Self::Precision(error),
        }
    }
}
