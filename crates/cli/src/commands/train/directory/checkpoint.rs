//! Checkpoints, one file a seed: a line that says of what, and the checkpoint itself.

use std::fmt::Display;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use systoliq_keyed_random::Key;
use systoliq_nn::golden::product_fingerprint;
use systoliq_run::SEMANTICS;
use systoliq_run::trainer::Checkpoint;

use super::{CHECKPOINTS, RESULTS, RunDirectory, checkpoints, write_bytes};
use crate::failure::Failure;
use crate::folder::difference;
use crate::run_folder::{check_semantics, warn_of_float};
use systoliq_load::files::{TEXT_BYTES_MAX, open_regular};

/// The most bytes of the first line: several times what an experiment may have that states its data.
const LINE_BYTES_MAX: u64 = 4 * TEXT_BYTES_MAX;

/// The first line of a checkpoint; its second is the checkpoint itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The [`SEMANTICS`] of the program that wrote it.
    semantics: u32,
    /// The experiment that it is of.
    experiment: Value,
    /// The fingerprint of the data.
    data: String,
    /// What the machine makes of products in floating point, as a hash.
    float: String,
    /// The hash of the second line.
    hash: String,
}

impl Header {
    /// Checks that a run of `ours` may go on from it: the same experiment, perhaps with more epochs,
    /// since what an epoch does depends on none that follow.
    fn check(&self, path: &Path, ours: &Value) -> Result<(), Error> {
        let mut saved = self.experiment.clone();
        let epochs = |of: &Value| of["training"]["epochs"].as_u64();
        if let (Some(was), Some(is)) = (epochs(&saved), epochs(ours))
            && was < is
        {
            saved["training"]["epochs"] = is.into();
        }
        match difference(&saved, ours) {
            Some(difference) => Err(other(path, &format!("another experiment: {difference}"))),
            None => Ok(()),
        }
    }
}

impl RunDirectory {
    /// Writes the checkpoint of a seed, trained on data of this fingerprint.
    pub(crate) fn save(
        &self,
        seed: u64,
        data: u64,
        checkpoint: &Checkpoint,
    ) -> Result<(), Failure> {
        let write = || {
            let payload = serde_json::to_string(checkpoint)?;
            let header = Header {
                semantics: SEMANTICS,
                experiment: self.experiment.clone(),
                data: hex(data),
                float: hex(product_fingerprint()),
                hash: hash(&payload),
            };
            let text = serde_json::to_string(&header)? + "\n" + &payload + "\n";
            let path = self.place(seed);
            let folder = path.parent().expect("a file in a folder");
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
            write_bytes(&path, text.as_bytes())
        };
        write().map_err(Failure::run::<Error>)
    }

    /// Reads the checkpoint of a seed, if there is one; it must be of this experiment and of data
    /// of this fingerprint.
    pub(crate) fn checkpoint(&self, seed: u64, data: u64) -> Result<Option<Checkpoint>, Failure> {
        let path = self.place(seed);
        if !path.exists() {
            return Ok(None);
        }
        let read = || {
            let (header, mut rest) = header(&path)?;
            header.check(&path, &self.experiment)?;
            warn_of_float(&path, &header.float);
            let mut payload = String::new();
            let read = rest.read_to_string(&mut payload);
            read.with_context(|| format!("cannot read {}", path.display()))?;
            let payload = payload.trim_end_matches('\n');
            if header.hash != hash(payload) {
                return Err(damaged(&path, &"its hash does not fit its content"));
            }
            if header.data != hex(data) {
                return Err(other(&path, "other data under the same name"));
            }
            serde_json::from_str(payload)
                .map(Some)
                .map_err(|error| damaged(&path, &in_line_2(&error)))
        };
        read().map_err(Failure::input::<Error>)
    }

    /// How many epochs the checkpoint of a seed has, if there is one that can be read.
    pub(crate) fn epochs(&self, seed: u64) -> Option<u64> {
        #[derive(Deserialize)]
        struct Payload {
            record: PayloadRecord,
        }
        #[derive(Deserialize)]
        struct PayloadRecord {
            fixed: PayloadCurve,
        }
        #[derive(Deserialize)]
        struct PayloadCurve {
            epochs: Vec<IgnoredAny>,
        }
        let path = self.place(seed);
        let (_, rest) = header(&path).ok()?;
        let Payload { record } = serde_json::from_reader(BufReader::new(rest)).ok()?;
        Some(record.fixed.epochs.len() as u64)
    }

    /// Checks that every checkpoint is of this experiment, and that there is one where `held` is a result
    /// of a run.
    pub(super) fn check_checkpoints(&self, held: &str) -> Result<(), Error> {
        let names = checkpoints(&self.path)?;
        if names.is_empty() && RESULTS.contains(&held) {
            bail!(
                "cannot resume: {} has {held}, but no checkpoints to go on from; --force trains anew and \
                 replaces it in the end",
                self.path.display()
            );
        }
        names.iter().try_for_each(|name| {
            let path = self.path.join(CHECKPOINTS).join(name);
            header(&path)?.0.check(&path, &self.experiment)
        })
    }

    /// Says that the checkpoint of a seed cannot be used.
    pub(crate) fn damaged(&self, seed: u64, error: &dyn Display) -> Error {
        damaged(&self.place(seed), error)
    }

    fn place(&self, seed: u64) -> PathBuf {
        self.path.join(CHECKPOINTS).join(format!("seed-{seed}.json"))
    }
}

/// The first line of a checkpoint, which this program can go on from, and what follows it.
fn header(path: &Path) -> Result<(Header, impl std::io::Read), Error> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = BufReader::new(open_regular(path).with_context(cannot)?);
    let mut line = String::new();
    file.by_ref().take(LINE_BYTES_MAX).read_line(&mut line).with_context(cannot)?;
    // First, since the header of another program may have other members.
    let members: Map<String, Value> =
        serde_json::from_str(&line).map_err(|error| damaged(path, &error))?;
    check_semantics(path, members.get("semantics"))?;
    let header =
        Header::deserialize(Value::from(members)).map_err(|error| damaged(path, &error))?;
    Ok((header, file))
}

/// Whether a file begins as checkpoints do, of whatever program.
pub(super) fn is_checkpoint_file(path: &Path) -> bool {
    let mut line = String::new();
    let read = open_regular(path)
        .map(|file| BufReader::new(file).take(LINE_BYTES_MAX).read_line(&mut line));
    let members = read.ok().and_then(|_| serde_json::from_str::<Map<String, Value>>(&line).ok());
    let has = |name: &str| members.as_ref().is_some_and(|members| members.contains_key(name));
    ["semantics", "experiment", "hash"].into_iter().all(has)
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

/// What is wrong with the second line, by its column in the file.
fn in_line_2(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let problem = text.split(" at line ").next().unwrap_or_default();
    format!("line 2, column {}: {problem}", error.column())
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

/// A hash of a text, in 16 digits.
pub(super) fn hash(text: &str) -> String {
    hex(Key::new(0).with_name(text).value())
}
