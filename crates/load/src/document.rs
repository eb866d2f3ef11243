//! An experiment put together from files and overrides, as JSON that remembers where each part
//! came from.
//!
//! A [`DocumentLayout`] says which places may hold the path of another file in place of their value, and
//! which hold paths of data. Both are relative to the file that states them, or to the working
//! directory where an override does; paths of data are made relative to the working directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail};
use serde_json::Value;
use systoliq_run::path;

use crate::position::locate;
use crate::{files, json};

/// Places in a JSON document that hold paths.
#[derive(Clone, Copy, Debug)]
pub struct DocumentLayout {
    /// Where a string is the path of the JSON file that holds the value; outer ones first.
    pub sections: &'static [Section],
    /// Where a string is the path of data.
    pub data: &'static [&'static [&'static str]],
}

/// A place that may hold the path of a JSON file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The place.
    pub path: &'static [&'static str],
    /// Whether only strings that end in `.json` are paths, and others are names.
    pub names_too: bool,
}

const fn section(path: &'static [&'static str]) -> Section {
    Section { path, names_too: false }
}

impl DocumentLayout {
    /// An experiment.
    pub const EXPERIMENT: Self = Self {
        sections: &[
            section(&["dataset"]),
            section(&["network"]),
            section(&["training"]),
            section(&["precision"]),
            section(&["accelerator"]),
            Section { path: &["accelerator", "energy"], names_too: true },
        ],
        data: &[&["dataset", "dir"], &["dataset", "path"]],
    };

    /// A sweep, with its experiment.
    pub const SWEEP: Self = Self {
        sections: &[
            section(&["experiment"]),
            section(&["experiment", "dataset"]),
            section(&["experiment", "network"]),
            section(&["experiment", "training"]),
            section(&["experiment", "precision"]),
            section(&["experiment", "accelerator"]),
            Section { path: &["experiment", "accelerator", "energy"], names_too: true },
        ],
        data: &[&["experiment", "dataset", "dir"], &["experiment", "dataset", "path"]],
    };

    /// An accelerator on its own.
    pub const ACCELERATOR: Self =
        Self { sections: &[Section { path: &["energy"], names_too: true }], data: &[] };
}

/// How many files may lead from one to the next.
const DEPTH_MAX: usize = 8;

/// JSON from files and overrides.
#[derive(Clone, Debug)]
pub struct Document {
    value: Value,
    layout: DocumentLayout,
    /// Later ones replaced what earlier ones had put at their path and below.
    mounts: Vec<Mount>,
}

/// Something that was put into the document.
#[derive(Clone, Debug)]
struct Mount {
    path: Vec<String>,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    File {
        name: String,
        text: String,
    },
    Override {
        argument: String,
    },
    /// A value that stands elsewhere in the document.
    Moved {
        origin: String,
    },
}

impl Document {
    /// Reads a file and those that it names.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is no JSON, or files name each other without end.
    pub fn read(file: &Path, layout: DocumentLayout) -> Result<Self, Error> {
        let mut document = Self { value: Value::Null, layout, mounts: Vec::new() };
        document.mount_file(Vec::new(), file)?;
        document.follow(&[], directory(file), 0)?;
        Ok(document)
    }

    /// Puts in what `PATH=VALUE` says: JSON, or else a string.
    ///
    /// # Errors
    ///
    /// If `argument` is malformed, its path leads through something that is no object, or it names
    /// a file that cannot be read.
    pub fn set(&mut self, argument: &str) -> Result<(), Error> {
        let at_fault = || format!("--set {}", shortened(argument));
        let (path, text) = argument
            .split_once('=')
            .ok_or_else(|| anyhow!("expected PATH=VALUE"))
            .with_context(at_fault)?;
        let path = path::split(path).map_err(Error::msg).with_context(at_fault)?;
        let value = match json::parse(text) {
            Ok(value) => value,
            // What starts like JSON was meant as JSON.
            Err(error) if text.starts_with(['{', '[', '"']) => {
                return Err(Error::new(error)).with_context(at_fault);
            }
            Err(_) => Value::from(text),
        };
        let there = |length: &usize| path::get(&self.value, &path[..*length]).is_some();
        let made = (1..path.len()).find(|length| !there(length)).unwrap_or(path.len());
        path::put(&mut self.value, &path, value).map_err(Error::msg).with_context(at_fault)?;
        let source = Source::Override { argument: argument.to_owned() };
        self.mounts.push(Mount { path: path[..made].to_vec(), source });
        self.follow(&path, PathBuf::new(), 0)
    }

    /// All of it.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The file that all began with.
    pub fn name(&self) -> &str {
        match &self.mounts[0].source {
            Source::File { name, .. }
            | Source::Override { argument: name }
            | Source::Moved { origin: name } => name,
        }
    }

    /// Where `path`, or the innermost node on the way to it that exists, came from: a file with
    /// line and column, or an override.
    pub fn origin(&self, path: &[impl AsRef<str>]) -> String {
        let names: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        let mount = self.mount(&names);
        match &mount.source {
            Source::File { name, text } => {
                format!("{name}:{}", locate(text, &names[mount.path.len()..]))
            }
            Source::Override { argument } => format!("--set {}", shortened(argument)),
            Source::Moved { origin } => origin.clone(),
        }
    }

    /// What was put in last of all that holds `path`.
    fn mount(&self, path: &[&str]) -> &Mount {
        let holds = |mount: &&Mount| {
            mount.path.len() <= path.len() && mount.path.iter().zip(path).all(|(a, b)| a == b)
        };
        self.mounts.iter().rev().find(holds).expect("the first file holds every path")
    }

    /// What a value that is stated at one place would be at another: with files in place of their
    /// paths, which are relative to the file that states them. It is as stated where it cannot be
    /// put there.
    ///
    /// # Errors
    ///
    /// If it names a file that cannot be read.
    pub fn moved(&self, stated: &[&str], to: &[String], value: &Value) -> Result<Value, Error> {
        let from = match &self.mount(stated).source {
            Source::File { name, .. } => directory(Path::new(name)),
            Source::Override { .. } | Source::Moved { .. } => PathBuf::new(),
        };
        let mut copy = self.clone();
        if path::put(&mut copy.value, to, value.clone()).is_err() {
            return Ok(value.clone());
        }
        let source = Source::Moved { origin: self.origin(stated) };
        copy.mounts.push(Mount { path: to.to_vec(), source });
        copy.follow(to, from, 0)?;
        Ok(path::get(&copy.value, to).cloned().expect("a value just put"))
    }

    /// The place of the data path that `message` names, if it names one.
    pub fn data_path_in(&self, message: &str) -> Option<&'static [&'static str]> {
        let named = |path: &&&[&str]| match path::get(&self.value, path) {
            Some(Value::String(data)) => message.contains(data.as_str()),
            _ => false,
        };
        self.layout.data.iter().find(named).copied()
    }

    /// Follows the paths in what has just been put at `region` from `directory`, `depth` files
    /// after the first.
    fn follow(&mut self, region: &[String], directory: PathBuf, depth: usize) -> Result<(), Error> {
        let within = |path: &[&str]| {
            region.len() <= path.len() && region.iter().zip(path).all(|(a, b)| a == b)
        };
        for path in self.layout.data.iter().filter(|path| within(path)) {
            if let Some(Value::String(data)) = path::get(&self.value, path) {
                let moved = self.rebased(path, &directory, data)?;
                path::put(&mut self.value, path, moved.into()).map_err(Error::msg)?;
            }
        }
        for section in self.layout.sections.iter().filter(|section| within(section.path)) {
            match path::get(&self.value, section.path) {
                Some(Value::String(name)) if !section.names_too || name.ends_with(".json") => {
                    let file = directory.join(name);
                    self.include(section.path, &file, depth)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Replaces the path at `section` by what `file` holds.
    fn include(&mut self, section: &[&str], file: &Path, depth: usize) -> Result<(), Error> {
        let at_fault = format!("{}: {}", self.origin(section), section.join("."));
        if depth == DEPTH_MAX {
            bail!("{at_fault}: more than {DEPTH_MAX} files that each name the next");
        }
        let section: Vec<String> = section.iter().map(ToString::to_string).collect();
        self.mount_file(section.clone(), file).context(at_fault)?;
        self.follow(&section, directory(file), depth + 1)
    }

    fn mount_file(&mut self, at: Vec<String>, file: &Path) -> Result<(), Error> {
        let text = files::read_text(file)?;
        let name = file.display().to_string();
        // The syntax error says line and column first.
        let value = json::parse(&text).map_err(|error| anyhow!("{name}:{error}"))?;
        path::put(&mut self.value, &at, value).map_err(Error::msg)?;
        self.mounts.push(Mount { path: at, source: Source::File { name, text } });
        Ok(())
    }

    /// A path of data as seen from the working directory.
    fn rebased(&self, path: &[&str], directory: &Path, data: &str) -> Result<String, Error> {
        directory.join(data).into_os_string().into_string().map_err(|moved| {
            let (origin, path) = (self.origin(path), path.join("."));
            anyhow!("{origin}: {path}: {} is not UTF-8 text", moved.display())
        })
    }
}

/// The folder that a file lies in; empty if it is the working directory.
fn directory(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}

/// An argument short enough for a message.
fn shortened(argument: &str) -> String {
    const MOST: usize = 80;
    match argument.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &argument[..at]),
        None => argument.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn read(folder: &TempDir) -> Result<Document, Error> {
        Document::read(&folder.path().join("x.json"), DocumentLayout::EXPERIMENT)
    }

    /// What [`Document::origin`] says, without the folder.
    fn origin(document: &Document, folder: &TempDir, path: &str) -> String {
        let origin = document.origin(&path::split(path).unwrap());
        origin.replace(&format!("{}/", folder.path().display()), "")
    }

    const FILES: [(&str, &str); 4] = [
        ("x.json", "{\n \"accelerator\": \"hw/a.json\",\n \"dataset\": \"data/d.json\"}"),
        ("hw/a.json", "{\"array\": {\"rows\": 8},\n \"energy\": \"e/p.json\"}"),
        ("hw/e/p.json", "{\"name\": \"own\"}"),
        ("data/d.json", "{\"kind\": \"idx\", \"dir\": \"mnist\"}"),
    ];

    #[test]
    fn paths_are_relative_to_the_file_that_states_them() {
        let folder = folder(&FILES);
        let mut document = read(&folder).unwrap();
        let dir = folder.path().join("data/mnist");
        let expected = json!({
            "accelerator": {"array": {"rows": 8}, "energy": {"name": "own"}},
            "dataset": {"kind": "idx", "dir": dir.to_str().unwrap()},
        });
        assert_eq!(document.value(), &expected);
        document.set("dataset.dir=here").unwrap();
        assert_eq!(document.value()["dataset"]["dir"], "here");
        document.set(r#"dataset={"kind": "csv", "path": "/a.csv"}"#).unwrap();
        assert_eq!(document.value()["dataset"]["path"], "/a.csv");
        document.set("accelerator.energy=horowitz45").unwrap();
        assert_eq!(document.value()["accelerator"]["energy"], "horowitz45");
    }

    #[test]
    fn every_node_remembers_where_it_came_from() {
        let folder = folder(&FILES);
        let mut document = read(&folder).unwrap();
        assert_eq!(origin(&document, &folder, "network"), "x.json:1:1");
        assert_eq!(origin(&document, &folder, "accelerator.array.rows"), "hw/a.json:1:12");
        assert_eq!(origin(&document, &folder, "accelerator.energy.name"), "hw/e/p.json:1:2");
        document.set("accelerator.array.rows=4").unwrap();
        assert_eq!(document.value()["accelerator"]["array"], json!({"rows": 4}));
        let set = "--set accelerator.array.rows=4";
        assert_eq!(origin(&document, &folder, "accelerator.array.rows"), set);
        assert_eq!(origin(&document, &folder, "accelerator.array"), "hw/a.json:1:2");
        document.set("training.extra.key=1").unwrap();
        assert_eq!(origin(&document, &folder, "training"), "--set training.extra.key=1");
        let file = folder.path().join("hw/a.json");
        document.set(&format!("accelerator={}", file.display())).unwrap();
        assert_eq!(origin(&document, &folder, "accelerator.array.rows"), "hw/a.json:1:12");
    }

    #[test]
    fn overrides_are_json_or_strings() {
        let folder = folder(&[("x.json", "{}")]);
        let mut document = read(&folder).unwrap();
        for (argument, expected) in [
            ("v=3", json!(3)),
            ("v=-0.5", json!(-0.5)),
            ("v=true", json!(true)),
            ("v=[1, 2]", json!([1, 2])),
            ("v=\"3\"", json!("3")),
            ("v=Q2.6", json!("Q2.6")),
            ("v=", json!("")),
            ("v=a=b", json!("a=b")),
        ] {
            document.set(argument).unwrap();
            assert_eq!(document.value()["v"], expected, "{argument}");
        }
        for (argument, said) in [
            ("v", "--set v: expected PATH=VALUE"),
            ("=3", "empty name"),
            ("v={bits: 3}", "--set v={bits: 3}: 1:2: key must be a string"),
            ("v.x=1", "v is \"a=b\", it cannot have a key `x`"),
            ("network=absent.json", "network: cannot read absent.json: no such file"),
        ] {
            let message = format!("{:#}", document.set(argument).unwrap_err());
            assert!(message.contains(said), "{argument}: {message}");
        }
    }

    #[test]
    fn files_that_name_themselves_are_refused() {
        let folder = folder(&[("x.json", "{\"network\": \"n.json\"}"), ("n.json", "\n\"n.json\"")]);
        let message = format!("{:#}", read(&folder).unwrap_err());
        assert!(message.contains("n.json:2:1: network: more than 8 files"), "{message}");
    }
}
