//! What a program takes with some buffer, counted once, and what that costs by many profiles and kinds of DRAM.
//!
//! The kind of DRAM decides prices and how many rows are opened, and nothing else that is counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use systoliq_array::Dataflow;
use systoliq_energy::{DramKind, Picojoules, Profile};
use systoliq_hardware::Accelerator;
use systoliq_hardware::buffer::BufferReport;
use systoliq_hardware::cost::{Arithmetic, Cost, EpochBatches};
use systoliq_hardware::events::{Component, EnergyByComponent, Event, Tally};
use systoliq_hardware::prices::Prices;
use systoliq_run::timeline::{Entry, Timeline};
use systoliq_run::{Error, Prepared};

/// A training to be priced: a program, and how often what of it runs.
#[derive(Clone, Debug)]
pub struct PanelRun {
    pub(super) prepared: Prepared,
    timeline: Timeline,
    batches: EpochBatches,
}

impl PanelRun {
    /// Of an experiment over so many training samples, with what was counted.
    pub fn new(prepared: &Prepared, samples: usize, timeline: Timeline) -> Self {
        let batches = prepared.batches(Some(samples));
        Self { prepared: prepared.clone(), timeline, batches }
    }

    /// Of an experiment whose whole training has so many multiply-accumulates, in so many cycles and with
    /// so much energy: all that follows from the number of its samples.
    ///
    /// # Errors
    ///
    /// A sentence, if no number of samples has so many, or this program counts other cycles, or charges
    /// another energy.
    pub fn of_macs(
        prepared: &Prepared,
        macs: u64,
        cycles: u64,
        energy: f64,
    ) -> Result<Self, String> {
        let of_samples = |samples: usize| {
            let run = Self::new(prepared, samples, Timeline::expected(prepared, samples));
            let spent = run.macs_and_cycles().map_err(|error| error.to_string())?;
            Ok::<_, String>((run, spent))
        };
        let (_, (of_one, _)) = of_samples(1)?;
        let samples = macs.checked_div(of_one).filter(|_| macs.is_multiple_of(of_one));
        let samples = samples.and_then(|samples| usize::try_from(samples).ok());
        let samples = samples.filter(|&samples| samples > 0).ok_or_else(|| {
            format!(
                "{macs} multiply-accumulates, expected a multiple of {of_one}, those of a sample"
            )
        })?;
        let (run, (_, again)) = of_samples(samples)?;
        if again != cycles {
            return Err(format!("{cycles} cycles, where this program counts {again}"));
        }
        let again = run.own_energy().map_err(|error| error.to_string())?;
        if (again - energy).abs() > 1e-9 * again {
            return Err(format!("{energy} pJ, where this program charges {again}"));
        }
        Ok(run)
    }

    /// Multiply-accumulates and cycles in fixed point.
    fn macs_and_cycles(&self) -> Result<(u64, u64), Error> {
        let costs = self.prepared.costs(Arithmetic::Fixed, self.batches);
        let entries = self.timeline.entries(&costs)?;
        let sum = |once: fn(&Cost) -> u64| {
            let add = |sum: u64, entry: &Entry| {
                sum.checked_add(once(&entry.once).checked_mul(entry.calls)?)
            };
            entries.iter().try_fold(0, add).ok_or_else(beyond)
        };
        Ok((sum(|once| once.counts.macs)?, sum(|once| once.cycles.total().0)?))
    }

    pub(super) fn own_energy(&self) -> Result<f64, Error> {
        let accelerator = &self.prepared.experiment.accelerator;
        let counts = self.counts(Arithmetic::Fixed)?;
        let kinds = [accelerator.dram.kind];
        Ok(counts.energy(&accelerator.profile()?.into(), &kinds)?[0])
    }

    /// Samples of a batch.
    pub fn batch(&self) -> usize {
        self.batches.size
    }

    /// The machine as the experiment states it.
    pub(super) fn accelerator(&self) -> &Accelerator {
        &self.prepared.experiment.accelerator
    }

    /// The same of another program or on another machine.
    pub(super) fn with(&self, prepared: Prepared) -> Self {
        Self { prepared, timeline: self.timeline.clone(), ..*self }
    }

    /// The same on a machine that is changed.
    fn on(&self, change: impl FnOnce(&mut Accelerator)) -> Self {
        let mut prepared = self.prepared.clone();
        change(&mut prepared.experiment.accelerator);
        self.with(prepared)
    }

    /// The same with a buffer of so many bytes, if any; that keeps what a stash would.
    pub(super) fn with_buffer(&self, bytes: u64) -> Self {
        self.on(|accelerator| {
            accelerator.scratchpad.buffer_bytes = bytes;
            if bytes > 0 {
                accelerator.scratchpad.stash_bytes = 0;
            }
        })
    }

    /// The same in another dataflow.
    pub(super) fn in_dataflow(&self, dataflow: Dataflow) -> Self {
        self.on(|accelerator| accelerator.array.dataflow = dataflow)
    }

    /// Bytes of all that may live in a buffer that has room for everything.
    pub(super) fn all_bytes(&self, arithmetic: Arithmetic) -> u64 {
        let roomy = self.with_buffer(ROOMY);
        let costs = roomy.prepared.costs(arithmetic, self.batches);
        BufferReport::new(&costs).map_or(0, |report| report.peak_bytes)
    }

    /// What it takes with PEs of `arithmetic`.
    pub(super) fn counts(&self, arithmetic: Arithmetic) -> Result<MachineCounts, Error> {
        let costs = self.prepared.costs(arithmetic, self.batches);
        let mut all = Tally::default();
        let mut transfers = BTreeMap::new();
        for entry in self.timeline.entries(&costs)? {
            let counted = all.checked_add_times(&entry.once.tally, entry.calls);
            counted.ok_or_else(beyond)?;
            for moved in &entry.once.moved {
                *transfers.entry(moved.bytes).or_insert(0) += entry.calls;
            }
        }
        let (mut on_chip, mut dram_bits) = (Tally::default(), 0);
        for (component, event, count) in all.iter() {
            match component {
                Component::Dram if event == Event::DramBit => dram_bits = count,
                Component::Dram => {}
                _ => on_chip.add(component, event, count),
            }
        }
        let (step, accelerator) = (self.prepared.step(&costs)?, self.accelerator().clone());
        Ok(MachineCounts { accelerator, step, on_chip, dram_bits, transfers })
    }
}

fn beyond() -> Error {
    Error::at("training", "counts beyond 64 bits")
}

/// The largest buffer that is priced.
const ROOMY: u64 = 1 << 30;

/// What a training takes of a machine, whatever its DRAM and its profile.
#[derive(Clone, Debug)]
pub(super) struct MachineCounts {
    accelerator: Accelerator,
    /// What circuits are built for.
    step: Tally,
    on_chip: Tally,
    dram_bits: u64,
    /// How often so many bytes are moved from or to rows that are not open.
    transfers: BTreeMap<u64, u64>,
}

impl MachineCounts {
    /// The energy by a profile, with each of some kinds of DRAM: the sum over components in their order.
    pub(super) fn energy(
        &self,
        profile: &Arc<Profile>,
        kinds: &[DramKind],
    ) -> Result<Vec<f64>, Error> {
        let prices = Prices::new(&self.accelerator, Arc::clone(profile), &self.step)?;
        let on_chip = self.on_chip.energy(&prices)?;
        let with = |&kind: &DramKind| {
            let mut energy: EnergyByComponent = on_chip.clone();
            self.dram(profile, kind).for_each(|part| energy.add(Component::Dram, part));
            energy.total().0
        };
        Ok(kinds.iter().map(with).collect())
    }

    /// What its DRAM takes: bits, and rows that are opened.
    fn dram(&self, profile: &Profile, kind: DramKind) -> impl Iterator<Item = Picojoules> {
        let row_bytes = profile.dram_row_bytes(kind);
        let rows = |(bytes, times): (&u64, &u64)| bytes.div_ceil(row_bytes) * times;
        let rows: u64 = self.transfers.iter().map(rows).sum();
        [profile.dram_bit(kind) * self.dram_bits, profile.dram_activate(kind) * rows].into_iter()
    }
}
