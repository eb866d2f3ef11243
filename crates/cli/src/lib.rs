//! The `systoliq` command: opens files, reads experiments, prints what was found.
//!
//! [`load`] turns a file and its `--set` overrides into a checked experiment; each module of
//! [`commands`] is one command, which returns the text that it has to say. [`failure`] decides the
//! exit status: 0, 1 for a run that failed, 2 for bad input.
//!
//! Results go to standard output, one `error: …` to standard error.
//!
//! *Invariant:* of all crates, this one alone opens files.

pub mod commands;
mod durable;
pub mod failure;
mod folder;
mod interrupt;
pub mod load;
mod run_folder;
mod whole;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use commands::Subcommand;
use failure::{Failure, printable};

/// Trains networks in fixed point on a simulated systolic array, and says what the saved bits
/// cost in accuracy, cycles and energy.
#[derive(Debug, Parser)]
#[command(name = "systoliq", bin_name = "systoliq", version, arg_required_else_help = true)]
pub struct Arguments {
    /// What is to be done.
    #[command(subcommand)]
    pub command: Subcommand,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    interrupt::watch();
    let result = match Arguments::try_parse() {
        Ok(arguments) => run(&arguments.command),
        // Help and version are asked for, and go to standard output; the rest is bad usage.
        Err(usage) if usage.use_stderr() => {
            // When standard error is gone, too, only the exit status is left to tell.
            let usage = usage.render().to_string();
            let _ = io::stderr().lock().write_all(printable(&usage).as_bytes());
            return ExitCode::from(failure::BAD_INPUT);
        }
        Err(help) => print(&format!("{}\n", help.render().to_string().trim_end())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr().lock(), "error: {}", failure.message());
            ExitCode::from(failure.status())
        }
    }
}

/// Runs a command, has what it wrote on disk also where it fails, and prints what it says.
fn run(command: &Subcommand) -> Result<(), Failure> {
    let result = command.run();
    let synced = durable::sync_folders();
    let text = result?;
    let synced = synced.context("cannot write to the disk").map_err(Failure::run::<anyhow::Error>);
    synced.and_then(|()| print(&text))
}

/// Writes to standard output. A reader that has left, such as `head`, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(printable(text).as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::run(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn every_command_has_help_with_an_example() {
        Arguments::command().debug_assert();
        for command in Arguments::command().get_subcommands() {
            let help = command.clone().render_long_help().to_string();
            let example = format!("  systoliq {}", command.get_name());
            assert!(help.contains("Example") && help.contains(&example), "{help}");
        }
    }
}
