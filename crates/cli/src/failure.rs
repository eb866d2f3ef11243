//! Why a command ends early, and with which exit status; and what is odd, but no reason to.

use std::borrow::Cow;
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

    /// The error and its causes in one [printable] line, each of which is said once.
    ///
    /// ```
    /// use systoliq::failure::Failure;
    /// let error = anyhow::anyhow!("permission denied").context("cannot write out/report.json");
    /// let said = "cannot write out/report.json: permission denied";
    /// assert_eq!(Failure::run(error).message(), said);
    /// ```
    pub fn message(&self) -> String {
        one_line(&flatten(&self.error))
    }
}

/// Text that moves no cursor and changes no colour: control characters but line breaks and tabs, and
/// those that turn the direction of writing, part lines or are not seen, are escaped as JSON does, so that JSON stays the same.
///
/// ```
/// use systoliq::failure::printable;
/// assert_eq!(printable("a\u{1b}[31m\tb\n"), "a\\u001b[31m\tb\n");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |character| !is_printable(character) && !matches!(character, '\n' | '\t'))
}

/// Whether a character is seen or joins others, and neither moves the cursor nor turns the direction of
/// writing.
pub(crate) fn is_printable(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let breaks = matches!(character, '\u{2028}' | '\u{2029}');
    let hides = matches!(character, '\u{200b}' | '\u{feff}');
    !character.is_control() && !turns && !breaks && !hides
}

/// The same in one line.
pub(crate) fn one_line(text: &str) -> String {
    let breaks = |character: char| matches!(character, '\n' | '\t');
    printable(&escaped(text, breaks)).into_owned()
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return text.into();
    }
    let character = |character: char| match is_escaped(character) {
        true => format!("\\u{:04x}", u32::from(character)),
        false => character.to_string(),
    };
    text.chars().map(character).collect::<String>().into()
}

/// Says on standard error what is odd about an input, but no reason to stop.
pub fn warn(input: &dyn Display, warnings: &[String]) {
    for warning in warnings {
        // When standard error is gone, nobody is left to be warned.
        let line = one_line(&format!("warning: {input}: {warning}"));
        let _ = writeln!(io::stderr().lock(), "{line}");
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
    fn what_turns_parts_or_hides_text_is_escaped_and_what_joins_letters_is_not() {
        for character in "\u{61c}\u{200b}\u{200e}\u{202e}\u{2028}\u{2029}\u{2069}\u{feff}".chars() {
            let escaped = format!("a\\u{:04x}b", u32::from(character));
            assert_eq!(printable(&format!("a{character}b")), escaped);
        }
        let joined = "\u{915}\u{94d}\u{200d}\u{937} \u{200c}\u{e9}";
        assert_eq!(printable(joined), joined);
    }

    #[test]
    fn a_cause_that_is_already_said_is_not_repeated() {
        let error =
            anyhow::anyhow!("no space").context("cannot write x: no space").context("seed 3");
        assert_eq!(flatten(&error), "seed 3: cannot write x: no space");
    }
}
