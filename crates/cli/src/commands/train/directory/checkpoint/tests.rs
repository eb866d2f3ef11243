//! Checkpoints that are cut at any byte, or have any byte changed.

use std::io::{Seek as _, SeekFrom};
use std::path::Path;

use serde_json::json;
use systoliq_nn::DataSet;
use systoliq_run::trainer::Conduct;
use systoliq_run::{EngineKind, Prepared};

use super::super::RunStart;
use super::*;

const CONDUCT: Conduct<'_> = Conduct { threads: 1, progress: &|_| {} };

/// An experiment that trains in no time, with something of everything that is kept.
fn prepared(epochs: u32) -> Prepared {
    let inputs: Vec<[f64; 2]> =
        (0..16).map(|at| [f64::from(at % 2), f64::from(at / 2 % 2)]).collect();
    let labels: Vec<u32> = (0..16).map(|at| (at % 2) ^ (at / 2 % 2)).collect();
    let experiment = serde_json::from_value(json!({
        "name": "tiny",
        "seed": 1,
        "dataset": { "kind": "points", "inputs": inputs, "labels": labels, "classes": 2 },
        "network": {
            "input": [2],
            "layers": [{ "dense": { "units": 3 } }, "relu", { "dense": { "units": 2 } }],
            "loss": "softmax_cross_entropy"
        },
        "training": { "epochs": epochs, "batch": 5, "rate": 0.1, "momentum": 0.5 },
        "precision": { "gradients": { "bits": 8, "scale": "history" } },
        "accelerator": { "array": { "rows": 4, "cols": 4 } }
    }));
    Prepared::new(experiment.expect("an experiment")).expect("a possible experiment")
}

fn trainer<'a>(prepared: &'a Prepared, data: &'a DataSet) -> Trainer<'a> {
    Trainer::new(prepared, data, 1, EngineKind::Fast)
}

fn open(path: &Path, prepared: &Prepared) -> RunDirectory {
    let start = RunStart { resume: true, force: false, seeds: 1, dump_step: None };
    RunDirectory::open(path, prepared, start).expect("a folder for a run")
}

/// The journal and the state after each epoch of a run, from none.
fn kept_after_each(epochs: u32) -> Vec<[Vec<u8>; 2]> {
    let folder = tempfile::tempdir().unwrap();
    let prepared = prepared(epochs);
    let data = prepared.load(1, &mut |name| panic!("{name}")).unwrap();
    let directory = open(folder.path(), &prepared);
    let (mut trainer, mut checkpoint) = (trainer(&prepared, &data), directory.checkpoint(1, 7));
    let mut kept = vec![[Vec::new(), Vec::new()]];
    while !trainer.is_done() {
        trainer.epoch(&CONDUCT, None).unwrap();
        checkpoint.save(&trainer).unwrap();
        kept.push([JOURNAL, STATE].map(|ending| fs::read(checkpoint.place(ending)).unwrap()));
    }
    kept
}

/// A run of so many epochs that comes upon what others have left.
fn with_run(epochs: u32, check: impl FnOnce(&Prepared, &DataSet, &RunDirectory)) {
    let folder = tempfile::tempdir().unwrap();
    let prepared = prepared(epochs);
    let data = prepared.load(1, &mut |name| panic!("{name}")).unwrap();
    let directory = open(folder.path(), &prepared);
    fs::create_dir(folder.path().join(CHECKPOINTS)).unwrap();
    check(&prepared, &data, &directory);
}

fn put(checkpoint: &SeedCheckpoint<'_>, journal: &[u8], state: &[u8]) {
    fs::write(checkpoint.place(JOURNAL), journal).unwrap();
    fs::write(checkpoint.place(STATE), state).unwrap();
}

/// Cuts a file that is longer.
fn cut(path: &Path, bytes: usize) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes as u64).unwrap();
}

#[test]
fn an_epoch_that_was_cut_short_at_any_byte_is_trained_again_to_the_same_bytes() {
    /// Every so many bytes, all is read and the epoch trained, which takes most of the time.
    const STRIDE: usize = 331;
    let kept = kept_after_each(3);
    let [(journal, state), (longer, after)] = [&kept[2], &kept[3]].map(|[j, s]| (j, s));
    assert!(longer.starts_with(journal), "lines are appended");
    with_run(3, |prepared, data, directory| {
        let mut checkpoint = directory.checkpoint(1, 7);
        put(&checkpoint, longer, state);
        let path = checkpoint.place(JOURNAL);
        let whole = lines(&path, 2).unwrap();
        assert_eq!(whole.bytes, journal.len() as u64);
        for bytes in (journal.len()..=longer.len()).rev() {
            cut(&path, bytes);
            assert!(lines(&path, 2).unwrap() == whole, "{bytes}");
        }
        let strides = (journal.len()..longer.len()).step_by(STRIDE);
        for bytes in strides.chain([journal.len() + 1, longer.len() - 1, longer.len()]) {
            put(&checkpoint, &longer[..bytes], state);
            let mut trainer = trainer(prepared, data);
            let found = checkpoint.read(&trainer).unwrap().expect("two epochs");
            checkpoint.go_on(&mut trainer, found).unwrap();
            assert!(fs::read(checkpoint.place(JOURNAL)).unwrap() == *journal, "{bytes}");
            trainer.epoch(&CONDUCT, None).unwrap();
            checkpoint.save(&trainer).unwrap();
            for (ending, expected) in [(JOURNAL, longer), (STATE, after)] {
                assert!(fs::read(checkpoint.place(ending)).unwrap() == *expected, "{bytes}");
            }
        }
    });
}

#[test]
fn a_first_epoch_that_was_cut_short_leaves_nothing_to_go_on_from() {
    let kept = kept_after_each(1);
    let [journal, state] = &kept[1];
    with_run(1, |prepared, data, directory| {
        let header = journal.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        for cut in [header, header + 1, journal.len() - 1, journal.len()] {
            let mut checkpoint = directory.checkpoint(1, 7);
            let _ = fs::remove_file(checkpoint.place(STATE));
            fs::write(checkpoint.place(JOURNAL), &journal[..cut]).unwrap();
            let mut trainer = trainer(prepared, data);
            assert!(checkpoint.read(&trainer).unwrap().is_none(), "{cut}");
            trainer.epoch(&CONDUCT, None).unwrap();
            checkpoint.save(&trainer).unwrap();
            assert!(fs::read(checkpoint.place(JOURNAL)).unwrap() == *journal, "{cut}");
            assert!(fs::read(checkpoint.place(STATE)).unwrap() == *state, "{cut}");
        }
    });
}

#[test]
fn a_checkpoint_that_lacks_bytes_or_has_others_is_refused() {
    let kept = kept_after_each(2);
    let [journal, state] = &kept[1];
    with_run(2, |prepared, data, directory| {
        let checkpoint = directory.checkpoint(1, 7);
        let most = trainer(prepared, data).state_bytes_max();
        let read = || {
            let found =
                checkpoint.read_files(&checkpoint.place(JOURNAL), &checkpoint.place(STATE), most);
            found.map(|kept| kept.epochs()).map_err(|error| error.to_string())
        };
        let refused = |case: &str| {
            let message = read().expect_err(case);
            assert!(message.starts_with("cannot resume: "), "{case}: {message}");
        };
        for (ending, whole) in [(JOURNAL, journal), (STATE, state)] {
            let path = checkpoint.place(ending);
            put(&checkpoint, journal, state);
            let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let mut write = |at: usize, byte: u8| {
                file.seek(SeekFrom::Start(at as u64)).unwrap();
                file.write_all(&[byte]).unwrap();
            };
            for (at, &byte) in whole.iter().enumerate() {
                write(at, byte ^ 1 << (at % 8));
                refused(&format!("byte {at} of the {ending}"));
                write(at, byte);
            }
            assert_eq!(read(), Ok(1));
            for bytes in (0..whole.len()).rev() {
                cut(&path, bytes);
                refused(&format!("{ending} of {bytes} bytes"));
            }
        }
        // The state of another epoch, or bytes after it.
        put(&checkpoint, journal, &kept[2][1]);
        refused("a journal of fewer epochs");
        put(&checkpoint, journal, &[&state[..], b"\0"].concat());
        refused("a longer state");
        put(&checkpoint, journal, state);
        assert_eq!(read(), Ok(1));
    });
}

#[test]
fn a_state_that_is_larger_than_any_of_its_network_is_not_read() {
    let kept = kept_after_each(1);
    let [journal, state] = &kept[1];
    with_run(1, |_, _, directory| {
        let checkpoint = directory.checkpoint(1, 7);
        put(&checkpoint, journal, state);
        let header = state.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let most = (state.len() - header) as u64;
        let read = |most| {
            let (journal, state) = (checkpoint.place(JOURNAL), checkpoint.place(STATE));
            checkpoint.read_files(&journal, &state, most).map(|kept| kept.epochs())
        };
        assert_eq!(read(most).unwrap(), 1);
        let message = read(most - 1).err().unwrap().to_string();
        assert!(message.contains(&format!("expected at most {} bytes", most - 1)), "{message}");
    });
}

#[test]
fn an_epoch_writes_as_many_bytes_however_many_there_were_before() {
    const EPOCHS: usize = 20;
    let kept = kept_after_each(EPOCHS as u32);
    let written = |at: usize| {
        let [journal, state] = &kept[at];
        journal.len() - kept[at - 1][0].len() + state.len()
    };
    let header = kept[1][0].iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let one = written(1) - header;
    let all: usize = (1..=EPOCHS).map(written).sum::<usize>() - header;
    // Counts gain digits, and a history fills.
    assert!(all.abs_diff(EPOCHS * one) * 20 <= EPOCHS * one, "{all} bytes, {one} in one epoch");
    assert!(written(EPOCHS).abs_diff(written(2)) * 20 <= written(2));
}

#[test]
fn a_dump_that_starts_a_seed_anew_leaves_no_state_of_other_lines() {
    let kept = kept_after_each(2);
    with_run(2, |prepared, data, directory| {
        let mut checkpoint = directory.checkpoint(1, 7);
        put(&checkpoint, &kept[2][0], &kept[2][1]);
        checkpoint.begin().unwrap();
        assert!(!checkpoint.place(STATE).exists());
        let mut trainer = trainer(prepared, data);
        assert!(checkpoint.read(&trainer).unwrap().is_none());
        trainer.epoch(&CONDUCT, None).unwrap();
        checkpoint.save(&trainer).unwrap();
        assert!(fs::read(checkpoint.place(JOURNAL)).unwrap() == kept[1][0]);
    });
}
