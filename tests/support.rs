//! What several integration tests need: the experiments that ship with the project, and runs.

use std::path::{Path, PathBuf};

use serde_json::Value;
use systoliq_hardware::{cost::Arithmetic, prices::Prices};
use systoliq_nn::DataSet;
use systoliq_run::{EngineKind, Experiment, Prepared, Trainer};
use systoliq_run::{path::put, path::split};
use systoliq_run::{trainer::Conduct, trainer::Record};

/// The folder of the experiments that ship with the project.
pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

/// The folder of the part of Fashion-MNIST that stands in for whole data sets: 700 images to train on,
/// 200 to test.
pub(crate) fn fashion() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fashion-mnist")
}

/// What makes of a shipped machine one that keeps nothing on chip from command to command.
pub(crate) const WITHOUT_BUFFER: [(&str, &str); 2] =
    [("accelerator.scratchpad.buffer_bytes", "0"), ("accelerator.update", "separate")];

/// The experiment `models/{name}.json`, with values replaced by their paths.
///
/// # Panics
///
/// If the experiment is at fault.
pub(crate) fn prepared(name: &str, overrides: &[(&str, &str)]) -> Prepared {
    let read = |path: PathBuf| -> Value {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    };
    let mut value = read(models().join(format!("{name}.json")));
    let accelerator = value["accelerator"].as_str().expect("a path").to_owned();
    value["accelerator"] = read(models().join(accelerator));
    for (path, json) in overrides {
        let new = serde_json::from_str(json).unwrap_or_else(|_| Value::from(*json));
        put(&mut value, &split(path).expect("a path"), new).expect("a path that can be set");
    }
    let experiment: Experiment = serde_json::from_value(value).expect("an experiment");
    Prepared::new(experiment).expect("a possible experiment")
}

/// What events cost on the machine of an experiment.
///
/// # Panics
///
/// If something has no price.
pub(crate) fn prices(prepared: &Prepared, arithmetic: Arithmetic) -> Prices<'_> {
    let profile = prepared.experiment.accelerator.profile().expect("a profile");
    let costs = prepared.costs(arithmetic, prepared.batches(None));
    prepared.prices_by(profile, &costs).expect("prices")
}

/// The data of an experiment that needs no files.
///
/// # Panics
///
/// If it needs files.
pub(crate) fn data(prepared: &Prepared, seed: u64) -> DataSet {
    prepared.load(seed, &mut |name| panic!("{name}: no files expected")).expect("data that fit")
}

/// Trains one seed to its end.
///
/// # Panics
///
/// If the run fails.
pub(crate) fn train(prepared: &Prepared, seed: u64, engine: EngineKind, threads: usize) -> Record {
    let data = data(prepared, seed);
    let mut trainer = Trainer::new(prepared, &data, seed, engine);
    let conduct = Conduct { threads, progress: &|_| {} };
    while !trainer.is_done() {
        trainer.epoch(&conduct, None).expect("an epoch");
    }
    trainer.record().clone()
}
