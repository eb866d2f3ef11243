//! Checkpoints, two files a seed.
//!
//! `seed-S.jsonl` is a journal: a line that says of what, then a line for each epoch, appended when the
//! epoch ends. `seed-S.state` is what training goes on from after the last of them: a line that says how
//! many epochs those are, with a hash of the journal up to there and one of what follows, and
//! [the state](systoliq_run::Trainer::state). It is written anew after each epoch, under a temporary name
//! and after the journal is on disk.
//!
//! So the state is always whole, and the journal has the lines that it counts, whenever the process ends.
//! What follows these is of the epoch in hand, whole or cut short; it is cut off, and the epoch trained
//! again. An epoch writes as many bytes, however many there were before. Nothing is believed that the
//! hashes do not fit.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use systoliq_keyed_random::Key;
use systoliq_nn::golden::product_fingerprint;
use systoliq_run::trainer::EpochEntry;
use systoliq_run::{SEMANTICS, Trainer};

use super::{CHECKPOINTS, RESULTS, RunDirectory, journals};
use crate::durable;
use crate::failure::Failure;
use crate::folder::difference;
use crate::run_folder::{check_semantics, warn_of_float};
use crate::whole::write_whole;
use systoliq_load::files::{TEXT_BYTES_MAX, open_regular};

/// The most bytes of a line: several times what an experiment may have that states its data.
const LINE_BYTES_MAX: u64 = 4 * TEXT_BYTES_MAX;

/// How the name of a journal ends.
pub(super) const JOURNAL: &str = "jsonl";

/// How the name of a state ends.
pub(super) const STATE: &str = "state";

/// The first line of a journal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The [`SEMANTICS`] of the program that wrote it.
    semantics: u32,
    /// The experiment that it is of, without `training.epochs`: what an epoch does depends on none that
    /// follow.
    experiment: Value,
    /// The fingerprint of the data.
    data: String,
    /// What the machine makes of products in floating point, as a hash.
    float: String,
}

/// The first line of a state.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateHeader {
    /// How many epochs it is after.
    epochs: u32,
    /// The hash of the journal up to the last of them.
    journal: String,
    /// The hash of what follows this line.
    state: String,
}

/// A journal to which lines are appended.
struct JournalEnd {
    file: File,
    hash: Key,
}

impl JournalEnd {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        durable::append(&mut self.file, line)?;
        self.hash = self.hash.with_bytes(line);
        Ok(())
    }
}

/// Lines of a journal, from its first.
#[derive(PartialEq)]
struct JournalLines {
    lines: Vec<Vec<u8>>,
    bytes: u64,
    hash: Key,
}

/// What was kept of a seed.
pub(crate) struct KeptSeed {
    entries: Vec<EpochEntry>,
    state: Vec<u8>,
    /// Bytes of the journal up to the last epoch, and their hash.
    journal: (u64, Key),
}

impl KeptSeed {
    /// Epochs done.
    pub(crate) fn epochs(&self) -> u64 {
        self.entries.len() as u64
    }
}

/// The checkpoint of a seed.
pub(crate) struct SeedCheckpoint<'a> {
    directory: &'a RunDirectory,
    seed: u64,
    /// The fingerprint of the data.
    data: u64,
    /// Once there is an epoch.
    journal: Option<JournalEnd>,
}

impl SeedCheckpoint<'_> {
    /// What is kept of the seed, if anything is; it must be of this experiment and data, and have no more
    /// bytes than the state of `trainer` can have.
    pub(crate) fn read(&self, trainer: &Trainer<'_>) -> Result<Option<KeptSeed>, Failure> {
        let (journal, state) = (self.place(JOURNAL), self.place(STATE));
        if !journal.exists() || !state.exists() {
            return Ok(None);
        }
        self.read_files(&journal, &state, trainer.state_bytes_max())
            .map(Some)
            .map_err(Failure::input::<Error>)
    }

    fn read_files(&self, journal: &Path, state: &Path, most: u64) -> Result<KeptSeed, Error> {
        self.directory.check(journal)?;
        let (StateHeader { epochs, journal: expected, state: fits }, mut rest) =
            state_header(state)?;
        let mut kept = Vec::new();
        let read = rest.by_ref().take(most + 1).read_to_end(&mut kept);
        read.with_context(|| cannot_read(state))?;
        if kept.len() as u64 > most {
            return Err(damaged(state, &format!("expected at most {most} bytes")));
        }
        if fits != hex(Key::new(0).with_bytes(&kept).value()) {
            return Err(damaged(state, &"its hash does not fit its content"));
        }
        let JournalLines { lines, bytes, hash } = lines(journal, epochs)?;
        if expected != hex(hash.value()) {
            return Err(damaged(journal, &"its hash does not fit its content"));
        }
        let header: Header = parse(journal, 0, &lines[0])?;
        if header.data != hex(self.data) {
            return Err(other(journal, "other data under the same name"));
        }
        warn_of_float(journal, &header.float);
        let entries = lines.iter().enumerate().skip(1);
        let entries =
            entries.map(|(at, line)| parse(journal, at, line)).collect::<Result<_, _>>()?;
        Ok(KeptSeed { entries, state: kept, journal: (bytes, hash) })
    }

    /// Has a trainer go on from what was kept.
    pub(crate) fn go_on(
        &mut self,
        trainer: &mut Trainer<'_>,
        kept: KeptSeed,
    ) -> Result<(), Failure> {
        let KeptSeed { entries, state, journal: (bytes, hash) } = kept;
        let restored = trainer.restore(entries, &state);
        restored.map_err(|error| Failure::input(damaged(&self.place(STATE), &error)))?;
        let path = self.place(JOURNAL);
        let open = || -> io::Result<JournalEnd> {
            let file = durable::open_to_append(&path)?;
            durable::cut(&file, bytes)?;
            Ok(JournalEnd { file, hash })
        };
        let journal = open().with_context(|| cannot_write(&path)).map_err(Failure::run::<Error>)?;
        self.journal = Some(journal);
        Ok(())
    }

    /// Keeps what a trainer has after an epoch.
    pub(crate) fn save(&mut self, trainer: &Trainer<'_>) -> Result<(), Failure> {
        let mut write = || -> Result<(), Error> {
            let entry = trainer.record().latest_entry().expect("an epoch was trained");
            if self.journal.is_none() {
                self.journal = Some(self.begin()?);
            }
            let (path, place) = (self.place(JOURNAL), self.place(STATE));
            let journal = self.journal.as_mut().expect("a journal that was begun");
            journal.append(&line(&entry)?).with_context(|| cannot_write(&path))?;
            let state = trainer.state();
            let header = StateHeader {
                epochs: trainer.epochs_done(),
                journal: hex(journal.hash.value()),
                state: hex(Key::new(0).with_bytes(&state).value()),
            };
            let header = line(&header)?;
            write_whole(&place, |file| {
                file.write_all(&header)?;
                file.write_all(&state)
            })
        };
        write().map_err(Failure::run::<Error>)
    }

    /// A journal without epochs.
    fn begin(&self) -> Result<JournalEnd, Error> {
        let (path, state) = (self.place(JOURNAL), self.place(STATE));
        let folder = path.parent().expect("a file in a folder");
        durable::make_folder(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        if state.exists() {
            // It counts lines that are about to go.
            fs::remove_file(&state)?;
            durable::named(&state).and_then(|()| durable::sync_folders())?;
        }
        let header = line(&Header {
            semantics: SEMANTICS,
            experiment: self.directory.experiment.clone(),
            data: hex(self.data),
            float: hex(product_fingerprint()),
        })?;
        write_whole(&path, |file| file.write_all(&header))?;
        let file = durable::open_to_append(&path).with_context(|| cannot_write(&path))?;
        Ok(JournalEnd { file, hash: Key::new(0).with_bytes(&header) })
    }

    fn place(&self, ending: &str) -> PathBuf {
        self.directory.place(self.seed, ending)
    }
}

impl RunDirectory {
    /// The checkpoint of a seed, trained on data of this fingerprint.
    pub(crate) fn checkpoint(&self, seed: u64, data: u64) -> SeedCheckpoint<'_> {
        SeedCheckpoint { directory: self, seed, data, journal: None }
    }

    /// How many epochs are kept of a seed, if that can be read.
    pub(crate) fn epochs(&self, seed: u64) -> Option<u64> {
        let (header, _) = state_header(&self.place(seed, STATE)).ok()?;
        Some(header.epochs.into())
    }

    /// Checks that every checkpoint is of this experiment, and that there is one where `held` is a result
    /// of a run.
    pub(super) fn check_checkpoints(&self, held: &str) -> Result<(), Error> {
        let names = journals(&self.path)?;
        if names.is_empty() && RESULTS.contains(&held) {
            bail!(
                "cannot resume: {} has {held}, but no checkpoints to go on from; --force trains anew and \
                 replaces it in the end",
                self.path.display()
            );
        }
        names.iter().try_for_each(|name| self.check(&self.path.join(CHECKPOINTS).join(name)))
    }

    /// Checks that a run may go on from a journal: of the same experiment, with no more epochs.
    fn check(&self, journal: &Path) -> Result<(), Error> {
        let header = header(journal)?;
        if let Some(difference) = difference(&header.experiment, &self.experiment) {
            return Err(other(journal, &format!("another experiment: {difference}")));
        }
        let state = journal.with_extension(STATE);
        let done = if state.exists() { state_header(&state)?.0.epochs } else { 0 };
        if done > self.epochs {
            let more =
                format!("more epochs: {done} are done, and training.epochs is {}", self.epochs);
            return Err(other(journal, &more));
        }
        Ok(())
    }

    fn place(&self, seed: u64, ending: &str) -> PathBuf {
        self.path.join(CHECKPOINTS).join(format!("seed-{seed}.{ending}"))
    }
}

/// The first line of a journal, which this program can go on from.
fn header(path: &Path) -> Result<Header, Error> {
    let line = first_line(&mut open(path)?, path)?;
    // First, since the header of another program may have other members.
    let members: Map<String, Value> = parse(path, 0, &line)?;
    check_semantics(path, members.get("semantics"))?;
    parse(path, 0, &line)
}

/// The first line of a state, and what follows it.
fn state_header(path: &Path) -> Result<(StateHeader, BufReader<File>), Error> {
    let mut file = open(path)?;
    let line = first_line(&mut file, path)?;
    Ok((parse(path, 0, &line)?, file))
}

/// The lines of a journal up to the last of so many epochs.
fn lines(path: &Path, epochs: u32) -> Result<JournalLines, Error> {
    let mut file = open(path)?;
    let mut lines = Vec::new();
    let (mut bytes, mut hash) = (0, Key::new(0));
    for at in 0..=epochs {
        let line = first_line(&mut file, path)?;
        if !line.ends_with(b"\n") {
            return Err(damaged(
                path,
                &format!("it ends in line {}, expected {epochs} epochs", at + 1),
            ));
        }
        bytes += line.len() as u64;
        hash = hash.with_bytes(&line);
        lines.push(line);
    }
    Ok(JournalLines { lines, bytes, hash })
}

fn open(path: &Path) -> Result<BufReader<File>, Error> {
    open_regular(path).map(BufReader::new).with_context(|| cannot_read(path))
}

/// The next line, with its break if that is there.
fn first_line(file: &mut impl BufRead, path: &Path) -> Result<Vec<u8>, Error> {
    let mut line = Vec::new();
    let read = file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
    read.with_context(|| cannot_read(path))?;
    Ok(line)
}

/// Reads a line as JSON; `at` counts from 0.
fn parse<T: DeserializeOwned>(path: &Path, at: usize, line: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(line).map_err(|error| {
        let (text, column) = (error.to_string(), error.column());
        let problem = text.split(" at line ").next().unwrap_or_default();
        damaged(path, &format!("line {}, column {column}: {problem}", at + 1))
    })
}

fn line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Whether a file begins as journals do, of whatever program.
pub(super) fn is_journal_file(path: &Path) -> bool {
    let line = open(path).and_then(|mut file| first_line(&mut file, path));
    let members = line.and_then(|line| parse::<Map<String, Value>>(path, 0, &line));
    members.is_ok_and(|members| {
        ["semantics", "experiment", "data"].into_iter().all(|name| members.contains_key(name))
    })
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn damaged(path: &Path, error: &dyn Display) -> Error {
    anyhow!(
        "cannot resume: {} is damaged: {error}; delete it to start this seed afresh",
        path.display()
    )
}

fn other(path: &Path, what: &str) -> Error {
    anyhow!(
        "cannot resume: {} is of {what}; resume with that, or choose another folder",
        path.display()
    )
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

/// A hash of a text, in 16 digits.
pub(super) fn hash(text: &str) -> String {
    hex(Key::new(0).with_name(text).value())
}

#[cfg(test)]
mod tests;
