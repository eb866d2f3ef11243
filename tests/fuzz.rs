//! Inputs that are almost good: whatever a parser or a command is given, it reads it or refuses it.
//!
//! A case is a good input of a [target](Target), changed in a few places; it follows from the seed, the target's
//! name and a number alone. A reader must not panic, run out of stack, take longer than [`CASE_TIME_MAX`]
//! or more than [`MEMORY_KB_MAX`], nor find something else the second time. A command must end with the status
//! 0, or with 2, one line that names what is at fault, and no file that was not there.
//!
//! Each target runs in a process of its own, which is this test again, and is ended when it hangs. What
//! fails is shown with what runs it again:
//!
//!     SYSTOLIQ_FUZZ_CASE=check:1234 cargo test -p systoliq-tests -- fuzz:: --nocapture
//!
//! `SYSTOLIQ_FUZZ_SECONDS` is how long each of the two tests looks, `SYSTOLIQ_FUZZ_SEED` draws other cases.

mod commands;
mod mutation;
mod parsers;
mod planted;
mod worker;

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::memory::Draws;
use mutation::mutated;
use worker::{Job, Progress};

/// How long a case may take, also on a machine that has much else to do.
const CASE_TIME_MAX: Duration = Duration::from_secs(60);

/// The most kilobytes that a process may reserve.
const MEMORY_KB_MAX: u64 = 8 << 20;

/// The last bytes of what a process says on standard error.
const SAID_MAX: usize = 2000;

/// How long each test looks unless told.
const SECONDS: f64 = 30.0;

/// Files, and the arguments of a command.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Input {
    pub(crate) arguments: Vec<String>,
    /// By name.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

/// Something that reads inputs.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Good inputs.
    pub(crate) inputs: fn() -> Vec<Input>,
    /// The files that are changed, by the beginnings of their names; arguments are changed where `--` is
    /// among them.
    pub(crate) changed: &'static [&'static str],
    /// Reads an input whose files stand in the working directory. Says what it found, or why it refused
    /// it.
    pub(crate) read: fn(&Input) -> Result<Outcome, String>,
}

/// How reading went, where nothing is wrong with that.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Read(String),
    Refused(String),
    /// The input was good; the run still failed.
    Failed(String),
    /// A good experiment that would train for long.
    TooLong,
}

impl Target {
    /// The input of a case.
    fn case(&self, inputs: &[Input], seed: u64, number: u64) -> Input {
        let mut draws = Draws::new(&format!("fuzz {} {seed}", self.name), number);
        let any = |draws: &mut Draws| &inputs[draws.below(inputs.len() as u64) as usize];
        let (mut input, other) = (any(&mut draws).clone(), any(&mut draws));
        let starts = |name: &str| self.changed.iter().any(|start| name.starts_with(start));
        let changed =
            Vec::from_iter((0..input.files.len()).filter(|&at| starts(&input.files[at].0)));
        let arguments = if self.changed.contains(&"--") { input.arguments.len() - 1 } else { 0 };
        let at = draws.below((changed.len() + arguments.min(1)) as u64) as usize;
        match changed.get(at) {
            Some(&at) => {
                let theirs = other.files.get(at).map_or(&b""[..], |(_, bytes)| bytes);
                input.files[at].1 = mutated(&mut draws, &input.files[at].1, theirs);
            }
            None => {
                let at = 1 + draws.below(arguments as u64) as usize;
                let theirs = other.arguments.last().map_or("", |argument| argument);
                let argument =
                    mutated(&mut draws, input.arguments[at].as_bytes(), theirs.as_bytes());
                // Command lines hold no NUL, and no case writes anywhere else.
                input.arguments[at] = String::from_utf8_lossy(&argument).replace(['\0', '/'], "");
            }
        }
        input
    }
}

/// A number or a word that is set in the environment.
fn set<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected another value")))
}

/// Looks for cases that fail; or, in a process that was started to do so, reads those of one target.
#[allow(clippy::print_stdout)] // Only shown with `--nocapture`.
fn look(test: &str, targets: &[Target]) {
    if let Some(folder) = set::<PathBuf>("SYSTOLIQ_FUZZ_JOB") {
        return Job::read(&folder).run(targets, &folder);
    }
    let seed = set("SYSTOLIQ_FUZZ_SEED").unwrap_or(1);
    let seconds = set("SYSTOLIQ_FUZZ_SECONDS").unwrap_or(SECONDS) / targets.len() as f64;
    let case: Option<String> = set("SYSTOLIQ_FUZZ_CASE");
    let case = case.as_deref().map(|case| case.split_once(':').expect("TARGET:NUMBER"));
    let mut failed = Vec::new();
    for target in targets.iter().filter(|target| case.is_none_or(|(name, _)| name == target.name)) {
        let only = case.map(|(_, number)| number.parse().expect("the number of a case"));
        let job = Job { target: target.name.to_owned(), seed, seconds, only };
        let progress = watched(test, &job, CASE_TIME_MAX);
        println!("{}: {progress}", target.name);
        if let Some(problem) = &progress.problem {
            let (name, number) = (target.name, progress.number);
            failed.push(format!(
                "SYSTOLIQ_FUZZ_SEED={seed} SYSTOLIQ_FUZZ_CASE={name}:{number}\n{problem}"
            ));
        }
    }
    assert!(failed.is_empty(), "{} targets:\n{}", failed.len(), failed.join("\n\n"));
}

/// Runs a job in a process of its own until it ends, or a case takes longer than it may.
fn watched(test: &str, job: &Job, case_time_max: Duration) -> Progress {
    let folder = tempfile::tempdir().expect("a temporary folder");
    job.write(folder.path());
    let mut child = start(test, folder.path());
    let (mut last, mut since) = (None, Instant::now());
    loop {
        let ended = child.try_wait().expect("a process that was started");
        let mut progress = Progress::read(folder.path());
        if let Some(status) = ended {
            if !progress.ended {
                let said = fs::read(folder.path().join("stderr")).unwrap_or_default();
                let said = String::from_utf8_lossy(&said[said.len().saturating_sub(SAID_MAX)..]);
                progress.problem = Some(format!("the process ended: {status}\n{said}"));
            }
            return progress;
        }
        if last.replace(progress.number) != Some(progress.number) {
            since = Instant::now();
        }
        if since.elapsed() > case_time_max {
            child.kill().and_then(|()| child.wait()).expect("a process that was started");
            return Progress { problem: Some("it hangs".to_owned()), ..progress };
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts this test again, to run the job in `folder`.
fn start(test: &str, folder: &Path) -> Child {
    let program = env::current_exe().expect("this program");
    let limited = format!("ulimit -v {MEMORY_KB_MAX}; exec \"$0\" \"$@\"");
    let stderr = File::create(folder.join("stderr")).expect("a new file");
    Command::new("sh")
        .args(["-c", &limited])
        .arg(program)
        .args(["--exact", &format!("fuzz::{test}"), "--nocapture"])
        .env("SYSTOLIQ_FUZZ_JOB", folder)
        // Errors would each take a walk through the stack.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("this program starts")
}

#[test]
fn every_parser_reads_or_refuses_whatever_it_is_given() {
    look("every_parser_reads_or_refuses_whatever_it_is_given", &parsers::TARGETS);
}

#[test]
fn every_command_ends_in_order_whatever_it_is_given() {
    look("every_command_ends_in_order_whatever_it_is_given", &commands::TARGETS);
}
