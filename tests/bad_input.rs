//! Bad input: each gets one clear message that says where, what was found and what was expected,
//! exit status 2, no panic, and leaves no file behind.

mod data;
mod energy;
mod experiments;
mod options;

use crate::shell;

use std::fs;
use std::path::Path;

use serde_json::Value;

/// An input and what must be said of it.
pub(crate) struct Case {
    /// Files by name.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Arguments of the command.
    pub(crate) arguments: Vec<String>,
    /// What the message must contain.
    pub(crate) says: Vec<String>,
}

impl Case {
    /// `systoliq` with `arguments`, and no files.
    pub(crate) fn command(arguments: &[&str], says: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Self { files: Vec::new(), arguments: owned(arguments), says: owned(says) }
    }

    /// Training by the experiment in `x.json`.
    pub(crate) fn text(text: &str, says: &[&str]) -> Self {
        Self::command(&["train", "x.json", "--out", "out"], says).file("x.json", text)
    }

    /// Training by [`shell::experiment`] with something else at a JSON pointer.
    pub(crate) fn edit(pointer: &str, new: Value, says: &[&str]) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
        let mut experiment = shell::experiment();
        let parent = experiment.pointer_mut(parent).expect("the parent exists");
        match parent {
            Value::Array(items) => items[name.parse::<usize>().expect("a number")] = new,
            parent => parent[name] = new,
        }
        Self::text(&shell::text(&experiment), says)
    }

    /// Training by [`shell::experiment`] with overrides.
    pub(crate) fn set(overrides: &[&str], says: &[&str]) -> Self {
        let mut case = Self::text(&shell::text(&shell::experiment()), says);
        case.arguments.extend(overrides.iter().flat_map(|set| ["--set", set]).map(String::from));
        case
    }

    /// With one more file.
    pub(crate) fn file(mut self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.files.push((name.to_owned(), bytes.as_ref().to_owned()));
        self
    }

    /// Runs the command, and returns what is wrong with how it refuses.
    fn problem(&self) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, bytes) in &self.files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).expect("a new folder");
            fs::write(&path, bytes).expect("a new file");
        }
        let before = shell::tree(folder.path());
        let output = shell::systoliq(folder.path(), &self.arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let shown = format!("systoliq {}\n{message}", self.arguments.join(" "));
        let check = |holds: bool, claim: &str| match holds {
            true => Ok(()),
            false => Err(format!("{shown}{claim}\n")),
        };
        check(output.status.code() == Some(2), &format!("{}, not exit status 2", output.status))?;
        check(!message.contains("panicked"), "a panic")?;
        check(message.starts_with("error: "), "does not start with `error: `")?;
        let errors = message.lines().filter(|line| line.starts_with("error: ")).count();
        check(errors == 1, "more than one error")?;
        check(output.stdout.is_empty(), "something on standard output")?;
        for part in &self.says {
            check(message.contains(part), &format!("does not say {part:?}"))?;
        }
        // Usage errors of the command line go on with a hint.
        let lines = message.lines().count();
        check(lines == 1 || message.contains("try '--help'"), "more than one line")?;
        check(shell::tree(folder.path()) == before, "something was written")
    }
}

/// Every case of every kind.
fn cases() -> Vec<Case> {
    let kinds = [
        experiments::syntax(),
        experiments::keys_and_types(),
        experiments::values(),
        experiments::precision(),
        experiments::accelerators(),
        energy::energy(),
        data::idx(),
        data::csv(),
        data::fit(),
        options::overrides(),
        options::paths(),
        options::folders(),
        options::gemm(),
        options::precision(),
    ];
    kinds.into_iter().flatten().collect()
}

/// Runs `cases` and shows those that are not refused as they must be.
fn assert_refused(cases: &[Case]) {
    let problems: Vec<String> = cases.iter().filter_map(|case| case.problem().err()).collect();
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), cases.len(), problems.join("\n"));
}

#[test]
fn every_bad_input_is_refused_with_what_must_be_said() {
    let cases = cases();
    assert!(cases.len() >= 30, "{} cases", cases.len());
    assert_refused(&cases);
}

#[test]
fn what_training_refuses_check_refuses_with_the_same_words() {
    let training = ["train", "x.json", "--out", "out"];
    let mut cases = cases();
    cases.retain(|case| case.arguments.starts_with(&training.map(String::from)));
    cases.retain(|case| !case.arguments.iter().any(|argument| argument == "--dump-step"));
    assert!(cases.len() >= 30, "{} cases", cases.len());
    for case in &mut cases {
        case.arguments.splice(..training.len(), ["check", "x.json"].map(String::from));
    }
    assert_refused(&cases);
}

#[test]
fn the_experiment_that_is_spoilt_is_good() {
    let case = Case::text(&shell::text(&shell::experiment()), &[]);
    let problem = case.problem().unwrap_err();
    assert!(problem.contains("exit status: 0"), "{problem}");
}
