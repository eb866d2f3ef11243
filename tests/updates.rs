//! How weights take up gradients: schedules, and what outlasts a step.

use systoliq_nn::{Golden, epoch_order, initial_weights};
use systoliq_program::{Machine, Reference, Step};
use systoliq_sim::trainer::{Checkpoint, Conduct};
use systoliq_sim::{EngineKind, Prepared, Report, Trainer};
use systoliq_tests::{data, prepared, train};

const CONDUCT: Conduct<'_> = Conduct { parallel: false, progress: &|_| {} };

/// A machine at the beginning of a run.
fn machine(prepared: &Prepared, seed: u64) -> Machine<'_> {
    let layers = 0..prepared.graph.layers.len();
    let initial: Vec<_> =
        layers.map(|layer| initial_weights(&prepared.graph, layer, seed)).collect();
    Machine::new(&prepared.program, &initial, seed)
}

#[test]
fn an_epoch_of_a_schedule_takes_the_steps_of_its_rate() {
    let seed = 1;
    let schedule = r#"{"kind": "step", "every_epochs": 1, "factor": 0.3}"#;
    let scheduled = prepared("digits-mlp", &[("training.schedule", schedule)]);
    let rate = scheduled.experiment.training.rate * 0.3;
    let slow = prepared("digits-mlp", &[("training.rate", &rate.to_string())]);
    let data = data(&scheduled, seed);
    let order = epoch_order(seed, 0, data.train.len());
    let (mut ours, mut theirs) = (machine(&scheduled, seed), machine(&slow, seed));
    let mut golden = [Golden::<f32>::new(&scheduled.graph, seed), Golden::new(&slow.graph, seed)];
    for (number, rows) in order.chunks(32).take(4).enumerate() {
        let batch = data.train.batch(rows);
        let step = Step::training(seed, number as u64);
        for (machine, step) in [(&mut ours, step.in_epoch(1)), (&mut theirs, step)] {
            machine.load(&batch, &step);
            for command in &machine.program().commands {
                machine.execute(command, &step, &mut Reference);
            }
        }
        golden[0].step(&batch, &scheduled.experiment.training, 1);
        golden[1].step(&batch, &slow.experiment.training, 0);
        assert_eq!(ours.snapshot(), theirs.snapshot(), "step {number}");
        assert_eq!(golden[0].parameters(), golden[1].parameters(), "step {number}");
    }
}

#[test]
fn learning_curves_name_the_rate_of_each_epoch() {
    let overrides = [
        ("training.epochs", "3"),
        ("training.rate", "0.5"),
        ("training.schedule", r#"{"kind": "exponential", "factor_per_epoch": 0.5}"#),
    ];
    let prepared = prepared("binary-classifier", &overrides);
    let record = train(&prepared, 1, EngineKind::Fast, false);
    let csv = Report::curves_csv(&prepared, &[record]);
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("seed,epoch,rate,golden_error_rate,"), "{csv}");
    for (line, start) in lines.zip(["1,1,0.5,", "1,2,0.25,", "1,3,0.125,"]) {
        assert!(line.starts_with(start), "{line}");
    }
}

/// What makes a difference between one sitting and two: all that an update carries from step to
/// step, and all that follows from the number of the epoch.
const CARRIED: [&[(&str, &str)]; 1] =
    [&[("training.schedule", r#"{"kind": "cosine", "epochs": 4, "rate_min": 0.01}"#)]];

#[test]
fn a_run_in_two_sittings_ends_with_the_bits_of_one() {
    for overrides in CARRIED {
        let prepared = prepared("digits-mlp", &[&[("training.epochs", "3")], overrides].concat());
        let data = data(&prepared, 1);
        let mut whole = Trainer::new(&prepared, &data, 1, EngineKind::Fast);
        let mut kept = String::new();
        while !whole.is_done() {
            whole.epoch(&CONDUCT, None).expect("an epoch");
            if whole.epochs_done() == 1 {
                kept = serde_json::to_string(&whole.checkpoint()).expect("a checkpoint");
            }
        }
        let mut resumed = Trainer::new(&prepared, &data, 1, EngineKind::Fast);
        let checkpoint: Checkpoint = serde_json::from_str(&kept).expect("a checkpoint");
        resumed.restore(checkpoint).expect("a checkpoint that fits");
        while !resumed.is_done() {
            resumed.epoch(&CONDUCT, None).expect("an epoch");
        }
        assert_eq!(resumed.checkpoint(), whole.checkpoint(), "{overrides:?}");
    }
}
