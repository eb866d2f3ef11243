//! What the files of a checkpoint hold, and runs that go on from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use systoliq_keyed_random::Key;

use crate::kept::{assert_same_run, folder, refused, start};
use crate::shell::printed;

/// The checkpoint of a seed, read.
#[derive(Clone)]
pub(crate) struct CheckpointFiles {
    path: PathBuf,
    /// The first line of the journal.
    pub(crate) header: Value,
    /// The line of each epoch.
    pub(crate) entries: Vec<Value>,
    /// What the latest epoch alone says.
    pub(crate) latest: Value,
    /// Tensors, and the golden model.
    pub(crate) numbers: Vec<u8>,
}

fn hash(of: Key) -> String {
    format!("{:016x}", of.value())
}

impl CheckpointFiles {
    /// That of seed 1 in the folder of a run.
    pub(crate) fn read(run: &Path) -> Self {
        let path = run.join("checkpoints/seed-1.jsonl");
        let journal = fs::read_to_string(&path).expect("a journal");
        let mut lines = journal.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let state = fs::read(path.with_extension("state")).expect("a state");
        let mut parts = state.splitn(3, |&byte| byte == b'\n');
        let mut part = || parts.next().expect("two lines and the rest").to_vec();
        let [_, latest, numbers] = [part(), part(), part()];
        Self {
            header: lines.next().expect("a header"),
            entries: lines.collect(),
            latest: serde_json::from_slice(&latest).expect("JSON"),
            numbers,
            path,
        }
    }

    /// Writes it with hashes that make it look whole.
    pub(crate) fn write(&self) {
        let lines: Vec<String> = [&self.header]
            .into_iter()
            .chain(&self.entries)
            .map(|line| format!("{line}\n"))
            .collect();
        let journal = lines.iter().fold(Key::new(0), |key, line| key.with_name(line));
        let state = [format!("{}\n", self.latest).as_bytes(), &self.numbers].concat();
        let header = serde_json::json!({
            "epochs": self.entries.len(),
            "journal": hash(journal),
            "state": hash(Key::new(0).with_bytes(&state)),
        });
        fs::write(&self.path, lines.concat()).expect("a file");
        let state = [format!("{header}\n").as_bytes(), &state].concat();
        fs::write(self.path.with_extension("state"), state).expect("a file");
    }
}

#[test]
fn a_run_killed_between_any_two_writes_ends_resumed_with_the_bytes_of_one_that_was_not() {
    let folder = folder();
    let folder = folder.path();
    let train = |out: &str, epochs: u32| {
        let epochs = format!("training.epochs={epochs}");
        printed(folder, &["train", "x.json", "--out", out, "--resume", "--set", &epochs]);
    };
    let place = |run: &str, ending: &str| {
        folder.join(run).join("checkpoints/seed-1").with_extension(ending)
    };
    train("whole", 3);
    let whole = fs::read(place("whole", "jsonl")).unwrap();
    let mut left = vec![(String::new(), None)];
    for epochs in 1..=3 {
        train("grown", epochs);
        let journal = fs::read_to_string(place("grown", "jsonl")).unwrap();
        assert!(whole.starts_with(journal.as_bytes()), "lines are appended");
        let before = left.last().and_then(|(_, state)| Option::clone(state));
        left.push((journal.clone(), before));
        left.push((journal, Some(fs::read(place("grown", "state")).unwrap())));
    }
    let header = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    left[0].0 = String::from_utf8(whole[..header].to_vec()).unwrap();
    for (at, (journal, state)) in left.iter().enumerate() {
        let killed = format!("killed{at}");
        fs::create_dir_all(folder.join(&killed).join("checkpoints")).unwrap();
        fs::write(place(&killed, "jsonl"), journal).unwrap();
        if let Some(state) = state {
            fs::write(place(&killed, "state"), state).unwrap();
        }
        train(&killed, 3);
        assert_same_run(folder, &killed, "whole");
    }
}

#[test]
fn a_run_that_was_to_have_more_epochs_ends_where_it_is_or_soon_after() {
    let folder = folder();
    let folder = folder.path();
    let train = |out: &'static str, epochs: u64| {
        let epochs = format!("--set=training.epochs={epochs}");
        ["train", "x.json", "--out", out, "--resume", &epochs].map(str::to_owned)
    };
    let long = train("run", 2000);
    let mut child = start(folder, &long.each_ref().map(String::as_str));
    let began = Instant::now();
    while !folder.join("run/checkpoints/seed-1.state").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "no epoch in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let state = fs::read(folder.join("run/checkpoints/seed-1.state")).unwrap();
    let header = state.split(|&byte| byte == b'\n').next().expect("a line");
    let header: Value = serde_json::from_slice(header).unwrap();
    let done = header["epochs"].as_u64().unwrap();
    if done > 1 {
        let fewer = train("run", done - 1);
        let says = format!("{done} are done, and training.epochs is {}", done - 1);
        refused(folder, &fewer.each_ref().map(String::as_str), &["of more epochs", &says]);
    }
    for epochs in [done, done + 1] {
        for out in ["run", "other"] {
            printed(folder, &train(out, epochs));
        }
        assert_same_run(folder, "run", "other");
    }
}
