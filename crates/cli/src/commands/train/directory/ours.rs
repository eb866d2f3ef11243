//! What of a folder runs have written. A name alone says little: files have to be regular files, folders
//! no links, and where nothing shows that a run was there, `predictions.csv` is somebody else's.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Error, bail};
use serde_json::Value;

use super::checkpoint::{JOURNAL, STATE, is_journal_file};
use super::{CHECKPOINTS, REPLACED, REPORT, RESULTS};
use crate::folder::{LOCK, PAGE, is_page, names};
use crate::whole::partial_of;
use systoliq_load::files::read_text;

/// Checks that a folder that is to be replaced or removed holds nothing but what runs write.
pub(super) fn check_all_ours(path: &Path) -> Result<(), Error> {
    match foreign(path)? {
        None => Ok(()),
        Some(name) => bail!(
            "{} holds {name}, which no run has written: expected the results of a run alone; move it, or \
             choose another folder",
            path.display()
        ),
    }
}

/// Checks that what stands where the dump of a step is to be is a dump, if there is anything.
pub(super) fn check_dump_place(path: &Path, step: u64) -> Result<(), Error> {
    let name = dump_name(step);
    if path.join(&name).symlink_metadata().is_err() || is_dump(path, &name) {
        return Ok(());
    }
    let place = path.join(name);
    bail!("{} is no dump of a run, or not that alone: move it away", place.display())
}

/// The first thing in a folder that no run has written.
fn foreign(path: &Path) -> io::Result<Option<String>> {
    let is_run = is_run(path)?;
    for name in names(path)? {
        let at = path.join(&name);
        let below = |found: String| format!("{name}/{found}");
        let found = match name.as_str() {
            REPLACED if is_folder(&at) => foreign(&at)?.map(below),
            CHECKPOINTS if is_folder(&at) => {
                let ours = |name: &str| is_run && is_checkpoint(name) && is_file(&at.join(name));
                let found = names(&at)?.into_iter().find(|name| !is_partial(name) && !ours(name));
                found.map(below)
            }
            REPORT if is_report(&at) => None,
            LOCK if is_file(&at) => None,
            PAGE if is_page(&at) => None,
            file if is_run && file != REPORT && RESULTS.contains(&file) && is_file(&at) => None,
            name if is_partial(name) || is_dump(path, name) => None,
            _ => Some(name),
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Whether a run has left its report or a checkpoint in a folder.
fn is_run(path: &Path) -> io::Result<bool> {
    let journal = |name: &String| is_journal_file(&path.join(CHECKPOINTS).join(name));
    Ok(is_report(&path.join(REPORT)) || journals(path)?.iter().any(journal))
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|kind| kind.is_file())
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|kind| kind.is_dir())
}

fn json(path: &Path) -> Option<Value> {
    let text = is_file(path).then(|| read_text(path).ok())??;
    serde_json::from_str(&text).ok()
}

/// Whether a file is what a run writes under this name.
fn is_report(path: &Path) -> bool {
    report(path).is_some()
}

fn report(path: &Path) -> Option<Value> {
    json(path).filter(|value| {
        value["schema_version"].is_u64() && value["experiment"]["training"].is_object()
    })
}

/// How many seeds the run had whose report a folder holds.
pub(super) fn seeds_of(path: &Path) -> Option<usize> {
    let seeds = report(&path.join(REPORT))?;
    Some(seeds["seeds"].as_array().map_or(1, |seeds| seeds.len().max(1)))
}

/// Whether a name is `prefix`, a number, `suffix`.
fn numbered(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()
}

/// Whether a name is that of a file of a checkpoint: a journal or a state.
fn is_checkpoint(name: &str) -> bool {
    [JOURNAL, STATE].into_iter().any(|ending| is_of_seed(name, ending))
}

fn is_of_seed(name: &str, ending: &str) -> bool {
    numbered(name, "seed-", &format!(".{ending}")).is_some()
}

/// The name of the dump of a step.
pub(super) fn dump_name(step: u64) -> String {
    format!("{DUMP}{step}")
}

const DUMP: &str = "dump-step-";

/// Whether a name in a folder is that of a dump, which holds its manifest and what that names alone.
pub(super) fn is_dump(path: &Path, name: &str) -> bool {
    let at = path.join(name);
    let manifest = json(&at.join("manifest.json")).filter(|_| is_folder(&at));
    let (Some(step), Some(manifest)) = (numbered(name, DUMP, ""), manifest) else { return false };
    let listed = |name: &String| {
        is_file(&at.join(name)) && (name == "manifest.json" || names_file(&manifest, name))
    };
    manifest["step"] == step && names(&at).is_ok_and(|names| names.iter().all(listed))
}

/// Whether a text stands anywhere in a value.
fn names_file(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| names_file(item, name)),
        Value::Object(members) => members.values().any(|member| names_file(member, name)),
        _ => false,
    }
}

/// The names of the journals of checkpoints, in order.
pub(super) fn journals(path: &Path) -> io::Result<Vec<String>> {
    let folder = path.join(CHECKPOINTS);
    let mut found = if folder.is_dir() { names(&folder)? } else { Vec::new() };
    found.retain(|name| is_of_seed(name, JOURNAL));
    found.sort_unstable();
    Ok(found)
}

/// What says that a folder holds a run, if it does.
pub(super) fn held(path: &Path) -> io::Result<Option<String>> {
    let there = |name: &&&str| path.join(name).symlink_metadata().is_ok();
    if let Some(name) = RESULTS.iter().find(there) {
        return Ok(Some((*name).to_owned()));
    }
    if let Some(name) = journals(path)?.first() {
        return Ok(Some(format!("{CHECKPOINTS}/{name}")));
    }
    Ok(names(path)?.into_iter().find(|name| is_dump(path, name)))
}

/// Whether a temporary name is for something that a run writes.
pub(super) fn is_partial(name: &str) -> bool {
    let ours = |name: &str| {
        RESULTS.contains(&name) || is_checkpoint(name) || numbered(name, DUMP, "").is_some()
    };
    partial_of(name).is_some_and(ours)
}

/// A folder, or what a link to none leads to.
pub(super) fn resolved(path: &Path) -> io::Result<std::path::PathBuf> {
    /// As many links as systems follow.
    const LINKS_MAX: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    if path.exists() { path.canonicalize() } else { Ok(path) }
}
