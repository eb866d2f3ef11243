//! Evaluates experiments, each once.
//!
//! A trial that the store has done is not run again; one that failed is. Runs share the data of
//! their seed, and the golden model of those that differ in formats or hardware alone. What differs
//! between machines and versions is no part of a line.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rayon::prelude::*;
use serde_json::{Value, json};
use systoliq_hardware::accelerator::Toggles;
use systoliq_nn::DataSet;
use systoliq_nn::Extended;
use systoliq_run::{Experiment, Prepared};
use systoliq_run::{trainer::Curve, trainer::FixedRun, trainer::golden_curve};

use crate::{Error, Found, GiveUp, Line, Lines, RunKey, RunOutcome, RunStore, Stopped};

/// Opens data files.
type OpenData<'a> = dyn Fn(&str) -> io::Result<Box<dyn Read>> + Sync + 'a;

/// An experiment with its seed, or what was meant to be one.
#[derive(Clone, Debug)]
pub struct Trial {
    key: RunKey,
    json: Value,
    experiment: Result<Experiment, String>,
    give_up: Option<GiveUp>,
}

impl Trial {
    /// An experiment with its own seed.
    pub fn new(experiment: Experiment) -> Self {
        let json = serde_json::to_value(&experiment).expect("an experiment can be written as JSON");
        Self { key: RunKey::of(&json), json, experiment: Ok(experiment), give_up: None }
    }

    /// What JSON says, read by `read`, which says what is wrong with it if it is no experiment.
    pub fn read(json: Value, read: impl FnOnce(&Value) -> Result<Experiment, String>) -> Self {
        match read(&json) {
            Ok(experiment) => Self::new(experiment),
            Err(problem) => {
                Self { key: RunKey::of(&json), json, experiment: Err(problem), give_up: None }
            }
        }
    }

    /// The same trial, whose run may end early; a run of it that did is as good as one to the end.
    pub fn given_up(self, give_up: GiveUp) -> Self {
        Self { give_up: Some(give_up), ..self }
    }

    /// What its run is stored under.
    pub fn key(&self) -> RunKey {
        self.key
    }
}

/// Evaluates trials through a store.
pub struct Explorer<'a> {
    store: RunStore,
    open: &'a OpenData<'a>,
    /// Data by data set and seed, with the fingerprint.
    data: Shared<(DataSet, String)>,
    golden: Shared<Curve>,
    /// Runs that the store had when it was opened, by what their data are.
    fingerprints: HashMap<RunKey, (RunKey, String)>,
}

/// Values that are made once, by the hash of what they depend on.
type Shared<T> = Mutex<HashMap<RunKey, Arc<OnceLock<Result<Arc<T>, String>>>>>;

/// An experiment that can be run, and its data with their fingerprint.
type Ready = (Prepared, Arc<(DataSet, String)>);

/// Why a run has no result.
enum Stop {
    /// The run failed.
    Failed(String),
    /// No run can go on.
    All(Error),
}

impl<'a> Explorer<'a> {
    /// An explorer of what a store does not have yet, with data that `open` opens.
    pub fn new(store: RunStore, open: &'a OpenData<'a>) -> Self {
        let (mut golden, mut fingerprints) = (HashMap::new(), HashMap::new());
        store.with_lines(|lines| {
            for line in lines.iter() {
                if let Some(curve) = line.found().and_then(|found| found.golden.curve()) {
                    let curve = Arc::new(OnceLock::from(Ok(Arc::new(curve))));
                    golden.insert(golden_key(&line.experiment), curve);
                }
                if let Some(data) = line.data() {
                    fingerprints.insert(data_key(&line.experiment), (line.key, data.to_owned()));
                }
            }
        });
        Self { store, open, data: Mutex::default(), golden: Mutex::new(golden), fingerprints }
    }

    /// The line of a trial: from the store if it is done there, or was stopped and may be, else from
    /// a run, whose line is in the store when this returns.
    ///
    /// # Errors
    ///
    /// If the store cannot be written, or holds runs on other data of the same name. A run that
    /// fails, or panics, is no error but an [`RunOutcome::Failed`].
    pub fn evaluate(&self, trial: &Trial) -> Result<Line, Error> {
        if let Some(line) = self.store.ended(trial.key, trial.give_up.is_some()) {
            self.check_data(trial, &line)?;
            return Ok(line);
        }
        let outcome = match caught(|| self.run(trial)) {
            Ok(outcome) => outcome,
            Err(Stop::Failed(reason)) => RunOutcome::Failed(reason),
            Err(Stop::All(error)) => return Err(error),
        };
        let line = Line { key: trial.key, experiment: trial.json.clone(), outcome };
        self.store.append(&line)?;
        Ok(line)
    }

    /// Evaluates `count` trials in the present thread pool, each in one thread, and has `done` see
    /// each line with the number of its trial. Of equal trials, one is evaluated.
    ///
    /// # Errors
    ///
    /// Those of [`evaluate`](Self::evaluate); then the runs under way are finished first.
    pub fn evaluate_all(
        &self,
        count: usize,
        trial: impl Fn(usize) -> Trial + Sync,
        done: impl Fn(usize, &Line) + Sync,
    ) -> Result<(), Error> {
        let taken = Mutex::new(HashSet::new());
        (0..count).into_par_iter().with_max_len(1).try_for_each(|at| {
            let trial = trial(at);
            if locked(&taken).insert(trial.key) {
                done(at, &self.evaluate(&trial)?);
            }
            Ok(())
        })
    }

    /// Evaluates trials in the present thread pool, each in one thread; returns their lines in the
    /// order of the trials. Each is evaluated, so that they have to differ.
    ///
    /// # Errors
    ///
    /// Those of [`evaluate`](Self::evaluate); then the runs under way are finished first.
    pub fn lines_of(
        &self,
        trials: &[Trial],
        done: impl Fn(&Line) + Sync,
    ) -> Result<Vec<Line>, Error> {
        let evaluate = |trial: &Trial| self.evaluate(trial).inspect(&done);
        trials.par_iter().with_max_len(1).map(evaluate).collect()
    }

    /// What `look` finds in the lines that the store has.
    pub fn with_lines<T>(&self, look: impl FnOnce(&Lines) -> T) -> T {
        self.store.with_lines(look)
    }

    /// What the store has in the end.
    pub fn into_lines(self) -> Lines {
        self.store.into_lines()
    }

    /// Checks that a trial can be run: that its experiment is possible, and that its data are there
    /// and fit.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self, trial: &Trial) -> Result<(), String> {
        match caught(|| self.prepare(trial)) {
            Ok(_) => Ok(()),
            Err(Stop::Failed(reason)) => Err(reason),
            Err(Stop::All(error)) => Err(error.to_string()),
        }
    }

    fn prepare(&self, trial: &Trial) -> Result<Ready, Stop> {
        let mut experiment = trial.experiment.clone().map_err(Stop::Failed)?;
        // What is counted of bits that flip is not kept.
        experiment.accelerator.toggles = Toggles::Off;
        let failed = |error: systoliq_run::Error| Stop::Failed(error.to_string());
        let prepared = Prepared::new(experiment).map_err(failed)?;
        if prepared.experiment.training.teacher_forced {
            let problem = "training.teacher_forced: its steps need golden's weights, so that it has no \
                           run of its own: expected false";
            return Err(Stop::Failed(problem.to_owned()));
        }
        let data_key = data_key(&trial.json);
        let data = self.data_of(data_key, &prepared.experiment).map_err(Stop::Failed)?;
        let fits = data.0.check(&prepared.graph, &prepared.experiment.training);
        fits.map_err(|error| Stop::Failed(error.to_string()))?;
        match self.fingerprints.get(&data_key) {
            Some((key, stored)) if *stored != data.1 => {
                let (key, stored, found) = (*key, stored.clone(), data.1.clone());
                Err(Stop::All(Error::OtherData { key, stored, found }))
            }
            _ => Ok((prepared, data)),
        }
    }

    /// Checks that a line that the store has is of the data that the other lines of the same data are
    /// of, and of those that there are now, if there are any.
    fn check_data(&self, trial: &Trial, line: &Line) -> Result<(), Error> {
        let (Some(stored), Ok(experiment)) = (line.data(), &trial.experiment) else {
            return Ok(());
        };
        let data_key = data_key(&trial.json);
        let others = self.fingerprints.get(&data_key).map(|(_, other)| other.clone());
        let now = self.data_of(data_key, experiment).map(|data| data.1.clone());
        match [others, now.ok()].into_iter().flatten().find(|found| found != stored) {
            Some(found) => {
                Err(Error::OtherData { key: line.key, stored: stored.to_owned(), found })
            }
            None => Ok(()),
        }
    }

    /// The data of an experiment, loaded once.
    fn data_of(
        &self,
        data_key: RunKey,
        experiment: &Experiment,
    ) -> Result<Arc<(DataSet, String)>, String> {
        shared(&self.data, data_key, || {
            let data = self.load(experiment)?;
            let fingerprint = format!("{:016x}", data.fingerprint());
            Ok((data, fingerprint))
        })
    }

    fn run(&self, trial: &Trial) -> Result<RunOutcome, Stop> {
        let (prepared, data) = self.prepare(trial)?;
        let (data, fingerprint) = &*data;
        let seed = prepared.experiment.seed;
        let golden = shared(&self.golden, golden_key(&trial.json), || {
            Ok(golden_curve(&prepared, data, seed))
        });
        let golden = Curve::clone(&*golden.map_err(Stop::Failed)?);
        let train = || -> Result<RunOutcome, systoliq_run::Error> {
            let mut run = FixedRun::new(&prepared, data, seed, golden)?;
            while !run.is_done() {
                run.epoch(&|_| {})?;
                let epochs = prepared.experiment.training.epochs;
                let reached = trial.give_up.and_then(|rule| rule.reached(run.record(), epochs));
                if let Some((lost, allowed)) = reached {
                    let epochs = run.record().fixed.epochs.len() as u32;
                    let (data, lost) = (fingerprint.clone(), Extended(lost));
                    return Ok(RunOutcome::Stopped(Stopped { data, epochs, lost, allowed }));
                }
            }
            let found = Found::new(&prepared, run.record(), fingerprint.clone())?;
            Ok(RunOutcome::Done(Box::new(found)))
        };
        train().map_err(|error| Stop::Failed(error.to_string()))
    }

    fn load(&self, experiment: &Experiment) -> Result<DataSet, String> {
        let data = experiment.dataset.load(experiment.seed, &mut |name: &str| (self.open)(name));
        let data = data.map_err(|error| error.to_string())?;
        Ok(data.arranged(&experiment.network.input))
    }
}

/// The value of a key, made at the first call; others wait for it.
fn shared<T>(
    values: &Shared<T>,
    key: RunKey,
    make: impl FnOnce() -> Result<T, String>,
) -> Result<Arc<T>, String> {
    let value = Arc::clone(locked(values).entry(key).or_default());
    value.get_or_init(|| make().map(Arc::new)).clone()
}

/// Locks; a panic elsewhere left nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the data of an experiment depend on.
fn data_key(experiment: &Value) -> RunKey {
    let input = &experiment["network"]["input"];
    RunKey::of(&json!({
        "dataset": experiment["dataset"], "seed": experiment["seed"], "input": input,
    }))
}

/// What the golden model of an experiment depends on.
fn golden_key(experiment: &Value) -> RunKey {
    let mut own = experiment.clone();
    let sections = own.as_object_mut().expect("an experiment is an object");
    // All else has part in what golden does, also a section that is yet to come.
    for section in ["name", "precision", "accelerator"] {
        sections.remove(section);
    }
    RunKey::of(&own)
}

/// Does some work, in which a panic is a failure like any other.
fn caught<T>(work: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let said = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Stop::Failed(format!("panicked: {}", said.unwrap_or("without a word"))))
    })
}

#[cfg(test)]
mod tests;
