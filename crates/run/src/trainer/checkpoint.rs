//! What is kept of a run between two epochs, enough to go on from there with the same bits: an
//! [entry](EpochEntry) for each epoch, and the state after the last of them.
//!
//! An entry has what its epoch adds to the [record](Record), and is as long as any other. The state is a
//! line of JSON with what the latest epoch alone says, then numbers as bytes: the tensors of the
//! [store](systoliq_program::Store), golden's weights and biases in its own precision, and in the same
//! order what momentum has gathered for them.

use std::collections::BTreeMap;

use num_traits::{FromBytes, ToBytes};
use serde::{Deserialize, Serialize};
use systoliq_fxp::History;
use systoliq_nn::golden::Real;
use systoliq_nn::{Golden, Parameters};
use systoliq_program::bytes::{put, take};

use super::{AnyGolden, Epoch, Record, Spent, Trainer, Writes, validity};
use crate::Error;
use crate::comparison::Probe;

/// The line of a state has fewer bytes, but for what is said of samples one by one.
const LINE_BYTES_MAX: u64 = 1 << 26;

/// What is said of a sample takes fewer bytes for each output: three numbers and commas.
const SAMPLE_BYTES_MAX: u64 = 128;

/// What one epoch adds to a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochEntry {
    fixed: Epoch,
    golden: Epoch,
    /// By tensor name.
    tensors: BTreeMap<String, Writes>,
    spent: Spent,
    /// After it.
    probe: Probe,
}

/// The line of a state: what is written borrows the record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Latest<R> {
    record: R,
    scales: Vec<History>,
    /// Whether momentum has gathered something in the golden model.
    velocity: bool,
}

impl Record {
    /// What the latest epoch has added; nothing before the first.
    pub fn latest_entry(&self) -> Option<EpochEntry> {
        let at = self.fixed.epochs.len().checked_sub(1)?;
        let tensors = self.tensors.iter();
        Some(EpochEntry {
            fixed: self.fixed.epochs[at].clone(),
            golden: self.golden.epochs[at].clone(),
            tensors: tensors
                .filter_map(|(name, tensor)| Some((name.clone(), tensor.epochs.get(at)?.clone())))
                .collect(),
            spent: self.spent[at],
            probe: self.comparison.probes[at + 1].clone(),
        })
    }

    /// Adds what an epoch, from 0, has added.
    fn add(&mut self, epoch: u32, entry: EpochEntry) {
        let EpochEntry { fixed, golden, tensors, spent, probe } = entry;
        self.fixed.epochs.push(fixed);
        self.golden.epochs.push(golden);
        for (name, writes) in tensors {
            *self.tensors.entry(name).or_default().in_epoch(epoch) = writes;
        }
        self.spent.push(spent);
        self.comparison.probes.push(probe);
    }
}

impl Trainer<'_> {
    /// What a run goes on from beside the entries of its epochs.
    pub fn state(&self) -> Vec<u8> {
        let line = self.latest();
        let mut bytes = Vec::with_capacity(line.len() + self.bytes_of_numbers());
        bytes.extend(line);
        self.store.put_carried(&mut bytes);
        with_golden!(&self.golden, |golden| {
            put_parameters(&mut bytes, golden.parameters());
            golden.velocity().into_iter().for_each(|velocity| put_parameters(&mut bytes, velocity));
        });
        bytes
    }

    /// The line of the state.
    fn latest(&self) -> Vec<u8> {
        let velocity = with_golden!(&self.golden, |golden| golden.velocity().is_some());
        let scales = self.store.scales().to_vec();
        let latest = Latest { record: &self.record, scales, velocity };
        let mut line = serde_json::to_vec(&latest).expect("a record can be written as JSON");
        line.push(b'\n');
        line
    }

    /// How many bytes follow it.
    fn bytes_of_numbers(&self) -> usize {
        let golden = with_golden!(&self.golden, |golden| {
            let all = [Some(golden.parameters()), golden.velocity()];
            all.into_iter().flatten().map(Parameters::bytes).sum::<usize>()
        });
        self.store.carried_bytes() + golden
    }

    /// No state of this run has more bytes.
    pub fn state_bytes_max(&self) -> u64 {
        let samples = self.data.test.len() as u64 * self.data.outputs as u64;
        let present = self.latest().len() + self.bytes_of_numbers();
        // What momentum gathers is as large as what there is at first.
        2 * present as u64 + LINE_BYTES_MAX + SAMPLE_BYTES_MAX * samples
    }

    /// Goes on, before its first epoch, from the entries and the state that a run of the same experiment
    /// had after as many epochs, whether it was to have more or fewer.
    ///
    /// # Errors
    ///
    /// If they are of another seed or cannot be of the experiment.
    pub fn restore(&mut self, entries: Vec<EpochEntry>, state: &[u8]) -> Result<(), Error> {
        let problem = |problem: &str| Error::Checkpoint {
            seed: self.record.seed,
            problem: problem.to_owned(),
        };
        let line = state.iter().position(|&byte| byte == b'\n');
        let (line, mut bytes) =
            state.split_at(line.ok_or_else(|| problem("no line break in the state"))? + 1);
        let latest: Latest<Record> =
            serde_json::from_slice(line).map_err(|error| problem(&format!("state: {error}")))?;
        let Latest { mut record, scales, velocity } = latest;
        record.comparison.probes.clone_from(&self.record.comparison.probes);
        entries.into_iter().zip(0..).for_each(|(entry, epoch)| record.add(epoch, entry));
        let Self { prepared, ref costs, data, record: ref fresh, .. } = *self;
        let of = validity::Of { prepared, costs, data, fresh };
        of.check(&record).map_err(|found| problem(&format!("record.{found}")))?;
        self.store
            .restore(&mut bytes, scales)
            .ok_or_else(|| problem("store: its weights have other sizes or formats"))?;
        let golden =
            with_golden!(&mut self.golden, |model| { restore_golden(model, &mut bytes, velocity) });
        golden
            .filter(|()| bytes.is_empty())
            .ok_or_else(|| problem("golden: its sizes are others"))?;
        self.record = record;
        Ok(())
    }
}

/// Takes a golden model's numbers off the front; `None` if there are fewer.
fn restore_golden<F: Real + FromBytes<Bytes: Default>>(
    model: &mut Golden<F>,
    bytes: &mut &[u8],
    velocity: bool,
) -> Option<()> {
    let parameters = take_parameters(model.parameters(), bytes)?;
    let velocity = if velocity { Some(take_parameters(model.parameters(), bytes)?) } else { None };
    let restored = Golden::from_parameters(model.graph(), parameters).ok()?;
    *model = restored.with_velocity(velocity).ok()?;
    Some(())
}

fn put_parameters<F: Real + ToBytes>(bytes: &mut Vec<u8>, parameters: &Parameters<F>) {
    for layer in &parameters.layers {
        put(bytes, layer.each());
    }
}

/// Parameters of the same shapes; `None` if there are fewer numbers.
fn take_parameters<F: Real + FromBytes<Bytes: Default>>(
    like: &Parameters<F>,
    bytes: &mut &[u8],
) -> Option<Parameters<F>> {
    let mut parameters = like.zeros();
    for layer in &mut parameters.layers {
        let count = layer.weights.len() + layer.bias.as_ref().map_or(0, |bias| bias.len());
        let numbers = take(bytes, count)?;
        let places = layer.weights.iter_mut().chain(layer.bias.iter_mut().flatten());
        places.zip(numbers).for_each(|(place, number)| *place = number);
    }
    Some(parameters)
}
