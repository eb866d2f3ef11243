//! The process that reads the cases of one target, and what it tells the one that started it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::panic::{self, AssertUnwindSafe, Location};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Input, Outcome, Target};
use crate::shell;

/// Every so many cases, one is read twice.
const AGAIN: u64 = 8;

/// How much more than before the first case may be held in memory, in kilobytes.
const RESIDENT_KB_MAX: u64 = 1 << 20;

/// The most bytes of a file that are shown.
const SHOWN_MAX: usize = 4000;

/// What a process is started for.
pub(crate) struct Job {
    pub(crate) target: String,
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    /// The one case to read, and to show.
    pub(crate) only: Option<u64>,
}

impl Job {
    pub(crate) fn write(&self, folder: &Path) {
        let Self { target, seed, seconds, only } = self;
        let job = json!({"target": target, "seed": seed, "seconds": seconds, "only": only});
        fs::write(folder.join("job.json"), job.to_string()).expect("a new file");
    }

    pub(crate) fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("job.json")).expect("a job");
        let job: Value = serde_json::from_str(&text).expect("a job");
        Self {
            target: job["target"].as_str().expect("a name").to_owned(),
            seed: job["seed"].as_u64().expect("a number"),
            seconds: job["seconds"].as_f64().expect("a number"),
            only: job["only"].as_u64(),
        }
    }

    /// Reads cases until time is up or one fails.
    pub(crate) fn run(&self, targets: &[Target], folder: &Path) {
        let target = targets.iter().find(|target| target.name == self.target).expect("a target");
        let work = folder.join("work");
        fs::create_dir(&work).and_then(|()| std::env::set_current_dir(&work)).expect("a folder");
        let inputs = (target.inputs)();
        empty(&work);
        panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or_else(String::new, Location::to_string);
            let said = panic.payload_as_str().unwrap_or_default();
            *PANIC.lock().expect("no panic while one is told") = format!("{place}: {said}");
        }));
        let mut progress = Progress::default();
        let mut file = File::create(folder.join("progress")).expect("a new file");
        let (start, before) = (Instant::now(), resident_kb());
        let cases = self.only.map_or(0..u64::MAX, |only| only..only + 1);
        for number in cases {
            if start.elapsed() > Duration::from_secs_f64(self.seconds) && self.only.is_none() {
                break;
            }
            progress.number = number;
            progress.write(&mut file);
            let input = target.case(&inputs, self.seed, number);
            match judged(target, &input, number % AGAIN == 0 || self.only.is_some()) {
                Ok(Outcome::Read(_)) => progress.read += 1,
                Ok(Outcome::Refused(_)) => progress.refused += 1,
                Ok(Outcome::Failed(_)) => progress.failed += 1,
                Ok(Outcome::TooLong) => progress.left_out += 1,
                Err(problem) => progress.problem = Some(problem),
            }
            if resident_kb() > before + RESIDENT_KB_MAX {
                progress.problem = Some(format!("{} KB are held", resident_kb()));
            }
            if let Some(problem) = &mut progress.problem {
                *problem += &shown(&input, &inputs);
                break;
            }
        }
        progress.ended = true;
        progress.write(&mut file);
    }
}

/// The last panic, and where it was.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// What reading an input gives, or what is wrong with that.
fn judged(target: &Target, input: &Input, again: bool) -> Result<Outcome, String> {
    let (found, files) = read(target, input)?;
    if again {
        let (second, second_files) = read(target, input)?;
        if second != found {
            return Err(format!("read twice: {found:?}\nand {second:?}"));
        }
        if let Some((name, _)) =
            files.iter().find(|(name, bytes)| second_files.get(*name) != Some(bytes))
        {
            return Err(format!("read twice, {} differs", name.display()));
        }
    }
    match &found {
        Outcome::Refused(said) if said.is_empty() => Err("refused without a word".to_owned()),
        Outcome::Refused(said) if said.contains("panicked") => Err(said.clone()),
        _ => Ok(found),
    }
}

/// Reads an input with nothing else in the working directory. Returns what is there then.
fn read(target: &Target, input: &Input) -> Result<(Outcome, BTreeMap<PathBuf, Vec<u8>>), String> {
    let folder = Path::new(".");
    for (name, bytes) in &input.files {
        let path = Path::new(name);
        fs::create_dir_all(path.parent().unwrap_or(folder)).expect("a new folder");
        fs::write(path, bytes).expect("a new file");
    }
    let found = panic::catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
    let found = found.map_err(|_| {
        format!("a panic at {}", PANIC.lock().expect("no panic while one is told"))
    })??;
    let mut files = BTreeMap::new();
    let kept = |path: &PathBuf| path.is_file() && !path.ends_with("timing.json");
    for path in shell::tree(folder).into_iter().filter(kept) {
        if path.to_string_lossy().contains(".systoliq-partial-") {
            return Err(format!("{} is left", path.display()));
        }
        files.insert(path.clone(), fs::read(&path).expect("a file"));
    }
    let written = |path: &PathBuf| !input.files.iter().any(|(name, _)| Path::new(name) == path);
    if let (Outcome::Refused(said), Some(path)) = (&found, files.keys().find(|path| written(path)))
    {
        return Err(format!("{} is written, but {said}", path.display()));
    }
    empty(folder);
    Ok((found, files))
}

/// Removes everything in a folder.
fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.expect("a file that can be removed");
    }
}

/// An input as text, without files that are as in a good one.
fn shown(input: &Input, good: &[Input]) -> String {
    let mut text = format!("\narguments: {:?}\n", input.arguments);
    for file in &input.files {
        if !good.iter().any(|good| good.files.contains(file)) {
            let (name, bytes) = file;
            let bytes = &bytes[..bytes.len().min(SHOWN_MAX)];
            text += &format!("{name}: {}\n", String::from_utf8_lossy(bytes).escape_debug());
        }
    }
    text
}

/// The most that was held in memory, where the system tells.
fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// How far a job is.
#[derive(Default)]
pub(crate) struct Progress {
    /// The case in hand.
    pub(crate) number: u64,
    pub(crate) read: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) left_out: u64,
    /// What is wrong with the case in hand.
    pub(crate) problem: Option<String>,
    pub(crate) ended: bool,
}

impl Progress {
    fn write(&self, file: &mut File) {
        let Self { number, read, refused, failed, left_out, problem, ended } = self;
        let json = json!([number, read, refused, failed, left_out, problem, ended]).to_string();
        let written = file.rewind().and_then(|()| file.write_all(json.as_bytes()));
        written.and_then(|()| file.set_len(json.len() as u64)).expect("a file");
    }

    /// How far the job in `folder` is, if that can be read just now.
    pub(crate) fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("progress")).unwrap_or_default();
        let told = serde_json::from_str(&text).unwrap_or_default();
        let (number, read, refused, failed, left_out, problem, ended) = told;
        Self { number, read, refused, failed, left_out, problem, ended }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, refused, failed, left_out, .. } = self;
        write!(f, "{read} read, {refused} refused, {failed} runs failed, {left_out} too long")
    }
}
