//! What ran how often, and the cycles, events and bytes that follow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use systoliq_array::{ArrayCounts, CyclesByCause};
use systoliq_fxp::Scale;
use systoliq_program::{Pass, TensorId, Work, WriteId};

use crate::activity::Observed;
use crate::{Error, Prepared};
use systoliq_hardware::actions::Actions;
use systoliq_hardware::cost::{Cost, Costs, SecondPasses};
use systoliq_hardware::events::Tally;

/// One kind of run: a write of the program, on work of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The write.
    pub write: WriteId,
    /// How much there was to do.
    pub work: Work,
    /// Of what the scale was chosen from itself.
    pub second: SecondPasses,
}

/// How often each write was made on which sizes. All figures of time, traffic and energy follow from
/// these counts, so that it does not matter in what order, or in how many sittings, they arose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(Run, Runs)>", into = "Vec<(Run, Runs)>")]
pub struct Timeline {
    runs: BTreeMap<Run, Runs>,
}

/// How often something ran, and what the data did, where it was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    /// How often.
    pub calls: u64,
    /// The sum over all calls.
    pub observed: Option<Observed>,
}

/// How often each write has so much to do in so many epochs over so many samples.
fn expected_works(
    prepared: &Prepared,
    samples: usize,
    epochs: u64,
) -> BTreeMap<(WriteId, Work), u64> {
    let batch = prepared.experiment.training.batch;
    let batches = [(batch, (samples / batch) as u64), (samples % batch, 1)];
    let mut expected = BTreeMap::new();
    for (at, ..) in prepared.program.all_writes() {
        for (size, count) in batches.into_iter().filter(|&(size, _)| size > 0) {
            let work = prepared.program.work(at, size);
            *expected.entry((at, work)).or_insert(0) += count * epochs;
        }
    }
    expected.retain(|_, calls| *calls > 0);
    expected
}

impl From<Vec<(Run, Runs)>> for Timeline {
    fn from(runs: Vec<(Run, Runs)>) -> Self {
        Self { runs: runs.into_iter().collect() }
    }
}

impl From<Timeline> for Vec<(Run, Runs)> {
    fn from(timeline: Timeline) -> Self {
        timeline.runs.into_iter().collect()
    }
}

/// The cost of all runs of one write on one size of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What ran.
    pub run: Run,
    /// How often.
    pub calls: u64,
    /// What the data did in all of them, where it was looked at.
    pub observed: Option<Observed>,
    /// What one run takes.
    pub once: Cost,
}

impl Timeline {
    /// What a training over so many samples counts, which no code decides: a scale that follows its range is
    /// chosen from the tensor itself in every step (`dynamic`), or in the first (`history`).
    pub fn expected(prepared: &Prepared, samples: usize) -> Self {
        let (program, training) = (&prepared.program, &prepared.experiment.training);
        let first_batch = training.batch.min(samples);
        let mut runs = BTreeMap::new();
        for ((write, work), calls) in expected_works(prepared, samples, training.epochs.into()) {
            let is_first = work == program.work(write, first_batch);
            // In so many calls, the first ones.
            let waits = |scale: Scale| match scale {
                Scale::Dynamic => calls,
                Scale::History { .. } => u64::from(is_first),
                Scale::Static | Scale::OverflowRate { .. } | Scale::Block { .. } => 0,
            };
            let output = waits(program.scale_of(write));
            let update = program.command_of(write).operation.update();
            let scale = |tensor: TensorId| program.tensor(tensor).plan.scale;
            let gradient = update.map_or(0, |update| waits(scale(update.gradient)));
            let mut ends = [output, gradient, calls];
            ends.sort_unstable();
            let mut done = 0;
            for end in ends.into_iter().filter(|&end| end > 0) {
                let second = SecondPasses { output: done < output, gradient: done < gradient };
                if end > done {
                    let counted = Runs { calls: end - done, observed: None };
                    runs.insert(Run { write, work, second }, counted);
                }
                done = end;
            }
        }
        Self { runs }
    }

    /// Counts one run, and what was observed of its data.
    pub fn record(&mut self, run: Run, observed: Option<Observed>) {
        let runs = self.runs.entry(run).or_default();
        runs.calls += 1;
        if let Some(observed) = observed {
            runs.observed.get_or_insert_default().add(&observed);
        }
    }

    /// Checks that it has what each write takes in so many epochs over so many samples, and that what
    /// was observed of the data can be summed.
    ///
    /// # Errors
    ///
    /// The first write at fault.
    pub(crate) fn check(
        &self,
        prepared: &Prepared,
        samples: usize,
        epochs: u64,
    ) -> Result<(), String> {
        let expected = expected_works(prepared, samples, epochs);
        let mut found = BTreeMap::new();
        let mut observed = Observed::default();
        for (run, Runs { calls, observed: seen }) in &self.runs {
            let wrong = |what: &str| format!("write {}: {what}", run.write.0);
            let sum: &mut u64 = found.entry((run.write, run.work)).or_default();
            *sum = sum.checked_add(*calls).ok_or_else(|| wrong("its calls exceed 64 bits"))?;
            if let Some(seen) = seen {
                let sum = observed.checked_add(seen);
                observed = sum.ok_or_else(|| wrong("what was observed exceeds 64 bits"))?;
            }
        }
        let differs = |(key, calls): (&(WriteId, Work), &u64)| expected.get(key) != Some(calls);
        if let Some((WriteId(write), _)) = found.iter().find(|of| differs(*of)).map(|of| of.0) {
            return Err(format!("write {write}: not what it does in {epochs} epochs"));
        }
        match expected.keys().find(|key| !found.contains_key(key)) {
            Some((WriteId(write), _)) => Err(format!("write {write}: expected")),
            None => Ok(()),
        }
    }

    /// What everything took.
    ///
    /// # Errors
    ///
    /// If a count does not fit 64 bits.
    pub fn entries(&self, costs: &Costs<'_>) -> Result<Vec<Entry>, Error> {
        let entry = |(&run, &Runs { calls, observed }): (&Run, &Runs)| {
            Ok(Entry { run, calls, observed, once: costs.of(run.write, run.work, run.second)? })
        };
        self.runs.iter().map(entry).collect()
    }
}

/// Sums over entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Cycles by cause.
    pub cycles: CyclesByCause,
    /// Events in the array.
    pub counts: ArrayCounts,
    /// Events by component.
    pub tally: Tally,
    /// What the data did, where it was looked at.
    pub observed: Option<Observed>,
}

impl Totals {
    /// The sums over `entries`.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut totals = Self::default();
        for Entry { calls, observed, once, .. } in entries {
            if let Some(observed) = observed {
                totals.observed.get_or_insert_default().add(observed);
            }
            totals.cycles += once.cycles.checked_mul(*calls).expect("cycles fit 64 bits");
            totals.counts += once.counts.checked_mul(*calls).expect("counts fit 64 bits");
            totals.tally.add_times(&once.tally, *calls);
        }
        totals
    }

    /// The sums over those of `entries` that belong to `pass`.
    pub fn of_pass(entries: &[Entry], prepared: &Prepared, pass: Pass) -> Self {
        let pass_of = |entry: &&Entry| prepared.program.command_of(entry.run.write).pass;
        Self::of(entries.iter().filter(|entry| pass_of(entry) == pass))
    }
}

/// Raw counts of what ran, by layer and pass.
///
/// # Panics
///
/// If a count of a layer and pass leaves 64 bits.
pub fn actions(prepared: &Prepared, entries: &[Entry]) -> Actions {
    let mut actions = Actions::default();
    for entry in entries {
        let command = prepared.program.command_of(entry.run.write);
        let layer = command.entry.to_string();
        let added = actions.add(layer, command.pass, &entry.once.tally, entry.calls);
        added.expect("the counts of a run fit 64 bits");
    }
    actions
}
