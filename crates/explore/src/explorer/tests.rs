//! Trials on real data, small networks.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;
use systoliq_run::trainer::Conduct;
use systoliq_run::{EngineKind, Trainer};
use systoliq_study::Report;

use super::*;

/// A small experiment with settings by their JSON pointers.
fn experiment(settings: &[(&str, Value)]) -> Value {
    let mut value = json!({
        "name": "small",
        "seed": 1,
        "dataset": { "kind": "digits" },
        "network": {
            "input": [64],
            "layers": [{ "dense": { "units": 4 } }, "relu", { "dense": { "units": 10 } }],
            "loss": "softmax_cross_entropy"
        },
        "training": { "epochs": 2, "batch": 64, "rate": 0.5 },
        "precision": { "weights": { "bits": 8, "scale": "initial" } },
        "accelerator": { "array": { "rows": 8, "cols": 8 } }
    });
    for (pointer, new) in settings {
        *value.pointer_mut(pointer).unwrap() = new.clone();
    }
    value
}

fn read(value: &Value) -> Result<Experiment, String> {
    Experiment::deserialize(value).map_err(|error| error.to_string())
}

fn trial(settings: &[(&str, Value)]) -> Trial {
    Trial::read(experiment(settings), read)
}

fn no_files(name: &str) -> io::Result<Box<dyn Read>> {
    Err(io::Error::other(name.to_owned()))
}

fn explorer<'a>(open: &'a OpenData<'a>) -> Explorer<'a> {
    Explorer::new(RunStore::new(Lines::default(), io::sink()), open)
}

fn failure(line: &Line) -> &str {
    match &line.outcome {
        RunOutcome::Failed(reason) => reason,
        RunOutcome::Done(_) | RunOutcome::Stopped(_) => panic!("{line:?}"),
    }
}

#[test]
fn a_trial_finds_what_paired_training_reports() {
    let explorer = explorer(&no_files);
    for settings in [
        vec![],
        vec![("/seed", json!(5)), ("/precision/weights/bits", json!(3))],
        vec![("/training/rate", json!(64))],
    ] {
        let trial = trial(&settings);
        let line = explorer.evaluate(&trial).unwrap();
        let found = line.found().unwrap();
        let prepared = Prepared::new(read(&experiment(&settings)).unwrap()).unwrap();
        let seed = prepared.experiment.seed;
        let data = prepared.load(seed, &mut |name| panic!("{name}")).unwrap();
        let mut trainer = Trainer::new(&prepared, &data, seed, EngineKind::Fast);
        while !trainer.is_done() {
            trainer.epoch(&Conduct { threads: 1, progress: &|_| {} }, None).unwrap();
        }
        let report = Report::new(&prepared, std::slice::from_ref(trainer.record())).unwrap();
        for (found, report) in [(&found.fixed, &report.fixed), (&found.golden, &report.golden)] {
            assert_eq!(found.test.final_error_rate(), *report.error_rate.last().unwrap());
            assert_eq!(found.test.loss, report.loss_bits);
            let validation = found.validation.as_ref().unwrap().final_error_rate();
            assert_eq!(validation, *report.validation_error_rate.last().unwrap());
            assert_eq!(found.diverged_at_epoch, report.diverged_at_epoch);
        }
        assert_eq!(found.cycles, report.cycles);
        assert_eq!(found.energy_pj, report.energy_pj);
        for (found, report) in found.tensors.iter().zip(&report.precision) {
            assert_eq!((&found.name, found.layer), (&report.name, report.layer));
            assert_eq!(found.sqnr, report.sqnr);
            assert_eq!(found.stalled_rate, report.stalled_rate);
        }
        assert_eq!(found.tensors.len(), report.precision.len());
    }
}

#[test]
fn a_line_survives_its_text_and_its_golden_curve_serves_the_next_run() {
    let first = explorer(&no_files);
    let line = first.evaluate(&trial(&[])).unwrap();
    let text = serde_json::to_string(&line).unwrap();
    let back: Line = serde_json::from_str(&text).unwrap();
    assert_eq!(back, line);
    assert_eq!(serde_json::to_string(&back).unwrap(), text);

    // Beside the golden curve of the store, and beside one that is trained.
    let narrow = trial(&[("/precision/weights/bits", json!(3))]);
    let mut lines = Lines::default();
    lines.insert(line);
    let second = Explorer::new(RunStore::new(lines, io::sink()), &no_files);
    assert_eq!(locked(&second.golden).len(), 1);
    assert_eq!(second.evaluate(&narrow).unwrap(), first.evaluate(&narrow).unwrap());
    assert_eq!((locked(&first.golden).len(), locked(&second.golden).len()), (1, 1));
}

#[test]
fn the_key_depends_on_what_is_set_and_not_on_how() {
    let key = |settings: &[(&str, Value)]| trial(settings).key();
    let quoted = key(&[("/precision/weights", json!("Q2.6"))]);
    let spelt = json!({ "bits": 8, "frac": 6, "signed": true, "scale": "static" });
    assert_eq!(quoted, key(&[("/precision/weights", spelt)]));
    let keys =
        [quoted, key(&[]), key(&[("/seed", json!(2))]), key(&[("/training/rate", json!(1))])];
    let distinct: HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
}

#[test]
fn what_fails_is_recorded_and_stops_nothing_else() {
    let panicking = |name: &str| -> io::Result<Box<dyn Read>> { panic!("opening {name}") };
    let explorer = explorer(&panicking);
    let mnist = json!({ "kind": "idx", "dir": "d" });
    let trials = [
        trial(&[("/precision/weights/bits", json!(99))]),
        trial(&[("/precision/weights/bits", json!("x"))]),
        trial(&[("/dataset", mnist)]),
        trial(&[("/training/batch", json!(5000))]),
        trial(&[]),
        trial(&[]),
    ];
    let seen = AtomicUsize::new(0);
    let done = |_: usize, _: &Line| {
        seen.fetch_add(1, Ordering::Relaxed);
    };
    explorer.evaluate_all(trials.len(), |at| trials[at].clone(), done).unwrap();
    assert_eq!(seen.into_inner(), 5, "the last two are one trial");
    let lines = explorer.into_lines();
    for (trial, said) in
        trials.iter().zip(["bits", "invalid type: string \"x\"", "panicked: opening", "batch"])
    {
        let reason = failure(lines.get(trial.key()).unwrap());
        assert!(reason.contains(said), "{reason}");
    }
    assert!(lines.done(trials[4].key()).is_some());
}

#[test]
fn what_is_done_is_not_run_again_and_what_failed_is() {
    let explorer = explorer(&no_files);
    let [good, bad] = [json!(8), json!(99)].map(|bits| trial(&[("/precision/weights/bits", bits)]));
    let mut lines = Lines::default();
    let mut line = explorer.evaluate(&good).unwrap();
    if let RunOutcome::Done(found) = &mut line.outcome {
        found.macs = 7;
    }
    lines.insert(line);
    let mut line = explorer.evaluate(&bad).unwrap();
    line.outcome = RunOutcome::Failed("out of memory".to_owned());
    lines.insert(line);
    let again = Explorer::new(RunStore::new(lines, io::sink()), &no_files);
    assert_eq!(again.evaluate(&good).unwrap().found().unwrap().macs, 7);
    assert!(failure(&again.evaluate(&bad).unwrap()).contains("99"));
}

#[test]
fn a_store_of_other_data_under_the_same_name_is_refused() {
    let mut line = explorer(&no_files).evaluate(&trial(&[])).unwrap();
    if let RunOutcome::Done(found) = &mut line.outcome {
        found.data = "0123456789abcdef".to_owned();
    }
    let key = line.key;
    let mut lines = Lines::default();
    lines.insert(line);
    let explorer = Explorer::new(RunStore::new(lines, io::sink()), &no_files);
    let refused = explorer.evaluate(&trial(&[("/precision/weights/bits", json!(4))]));
    let message = refused.unwrap_err().to_string();
    assert!(message.contains(&format!("run {key} on other data")), "{message}");
}
