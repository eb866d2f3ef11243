//! Why a command ends early, and with which exit status; and what is odd, but no reason to.

use std::fmt::Display;
use std::io::{self, Write as _};

use anyhow::Error;

/// The exit status for bad input.
pub const BAD_INPUT: u8 = 2;

/// The exit status for a run that failed.
pub const FAILED_RUN: u8 = 1;

/// A command that ended early.
#[derive(Debug)]
pub struct Failure {
    status: u8,
    error: Error,
}

impl Failure {
    /// What the user gave cannot be used.
    pub fn input<E: Into<Error>>(error: E) -> Self {
        Self { status: BAD_INPUT, error: error.into() }
    }

    /// The input was good; the run still failed.
    pub fn run<E: Into<Error>>(error: E) -> Self {
        Self { status: FAILED_RUN, error: error.into() }
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// The error and its causes in one line each of which is said once.
    ///
    /// ```
    /// use systoliq::failure::Failure;
    /// let error = anyhow::anyhow!("permission denied").context("cannot write out/report.json");
    /// let said = "cannot write out/report.json: permission denied";
    /// assert_eq!(Failure::run(error).message(), said);
    /// ```
    pub fn message(&self) -> String {
        flatten(&self.error)
    }
}

/// Says on standard error what is odd about an input, but no reason to stop.
pub fn warn(input: &dyn Display, warnings: &[String]) {
    for warning in warnings {
        // When standard error is gone, nobody is left to be warned.
        let _ = writeln!(io::stderr().lock(), "warning: {input}: {warning}");
    }
}

/// Says on standard error what a command has found out before its work begins.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Joins the messages of an error and its causes, without those that repeat.
fn flatten(error: &Error) -> String {
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if message.is_empty() {
            message = cause;
        } else if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_is_already_said_is_not_repeated() {
        let error =
            anyhow::anyhow!("no space").context("cannot write x: no space").context("seed 3");
        assert_eq!(flatten(&error), "seed 3: cannot write x: no space");
    }
}
