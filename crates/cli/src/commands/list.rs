//! `systoliq list`: the program as text.

use clap::Args;
use systoliq_program::listing::listing;

use crate::failure::Failure;
use crate::load::ExperimentArguments;

/// Prints the integer program of a training step: its tensors and its commands.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  systoliq list models/digits-mlp.json")]
pub struct ListCommand {
    #[command(flatten)]
    experiment: ExperimentArguments,
}

impl ListCommand {
    /// The listing.
    pub fn run(&self) -> Result<String, Failure> {
        Ok(listing(&self.experiment.load()?.prepared.program))
    }
}
