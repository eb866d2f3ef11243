//! One training step on the clock: its commands, the steps that they take, stalls and transfers.
//!
//! Times, transfers and their places do not depend on values, so nothing is trained for them. Each
//! form is written as it arises; its length takes no memory.
//!
//! | form | holds |
//! | --- | --- |
//! | [`perfetto`](StepTrace::perfetto) | a timeline in the Chrome trace format, which the Perfetto UI opens |
//! | [`dramsim3`](StepTrace::dramsim3) | every burst: `0xADDRESS READ` or `WRITE`, and the cycle |
//! | [`ramulator2`](StepTrace::ramulator2) | every burst: `LD 0xADDRESS` or `ST 0xADDRESS` |
//! | [`scalesim`](StepTrace::scalesim) | the bursts of one tensor: the cycle, and all addresses |
//!
//! In DRAM each tensor has a region of its own, from a multiple of 4 KB, and in it lies tile after
//! tile, each in whole bursts.

mod perfetto;

use std::collections::BTreeMap;
use std::io::{self, Write};

use systoliq_fxp::Scale;
use systoliq_nn::DataSet;
use systoliq_program::{TensorId, Work, WriteId};

use crate::capture::batch_in_step;
use crate::{Error, Prepared};
use systoliq_hardware::cost::{Arithmetic, EpochBatches, SecondPasses};
use systoliq_hardware::{memory::Moment, memory::Stored, memory::Transfer};

/// A command as a step runs it.
#[derive(Clone, Copy, Debug)]
struct Planned {
    write: WriteId,
    work: Work,
    second: SecondPasses,
}

/// Commands of one training step, to be written down.
pub struct StepTrace<'p> {
    prepared: &'p Prepared,
    batches: EpochBatches,
    step: u64,
    planned: Vec<Planned>,
    regions: BTreeMap<(TensorId, Stored), u64>,
}

/// The most steps of a timeline: viewers struggle near a million.
const STEPS_MAX: u64 = 1 << 20;

/// The most bursts of a trace: some 10 GB.
const BURSTS_MAX: u64 = 1 << 28;

/// Regions begin at multiples of this.
const REGION_BYTES: u64 = 4096;

impl<'p> StepTrace<'p> {
    /// Step `step`, from 0: all of it, or the commands whose name is or begins with `name.`.
    ///
    /// # Errors
    ///
    /// If the run has no such step or command, or the step is too long to be written down.
    pub fn new(
        prepared: &'p Prepared,
        data: &DataSet,
        step: u64,
        name: Option<&str>,
    ) -> Result<Self, Error> {
        let batch = batch_in_step(prepared, data, step)?;
        let program = &prepared.program;
        let named = |full: &str| {
            name.is_none_or(|name| {
                full.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let planned: Vec<Planned> = program
            .all_writes()
            .filter(|(_, write, _)| named(&write.name))
            .map(|(at, _, command)| {
                let waits = |scale: Scale| match scale {
                    Scale::Dynamic => true,
                    Scale::History { .. } => step == 0,
                    _ => false,
                };
                let update = command.operation.update();
                let scale = |tensor: TensorId| program.tensor(tensor).plan.scale;
                let gradient = update.is_some_and(|update| waits(scale(update.gradient)));
                let second = SecondPasses { output: waits(program.scale_of(at)), gradient };
                Planned { write: at, work: program.work(at, batch), second }
            })
            .collect();
        if planned.is_empty() {
            let names: Vec<&str> = program.writes.iter().map(|w| w.name.as_str()).collect();
            return Err(Error::NoSuchCommand {
                name: name.unwrap_or_default().to_owned(),
                commands: names.join(", "),
            });
        }
        let batches = prepared.batches(Some(data.train.len()));
        let mut trace = Self { prepared, batches, step, planned, regions: BTreeMap::new() };
        trace.lay_out()?;
        Ok(trace)
    }

    /// Gives every tensor its region, and checks how much there is to write.
    fn lay_out(&mut self) -> Result<(), Error> {
        let mut ends: BTreeMap<(TensorId, Stored), u64> = BTreeMap::new();
        let (mut steps, mut bytes) = (0, 0);
        self.walk(&mut |_, moment| {
            steps += 1;
            for (transfer, _) in &moment.transfers {
                let Transfer { tensor, stored, offset, bytes: moved, .. } = *transfer;
                let end = ends.entry((tensor, stored)).or_default();
                *end = (*end).max(offset + moved);
                bytes += moved;
            }
            Ok(())
        })
        .map_err(|error| match error {
            Ended::Refused(error) => error,
            Ended::Failed(error) => panic!("nothing was written: {error}"),
        })?;
        let bursts = bytes / self.burst_bytes();
        if steps > STEPS_MAX || bursts > BURSTS_MAX {
            let problem = format!(
                "{steps} steps and {bursts} bursts: expected at most {STEPS_MAX} and {BURSTS_MAX}; \
                 take one command with --op"
            );
            return Err(Error::at("trace", problem));
        }
        let mut base = 0;
        for (region, end) in ends {
            self.regions.insert(region, base);
            base = (base + end).next_multiple_of(REGION_BYTES);
        }
        Ok(())
    }

    fn burst_bytes(&self) -> u64 {
        self.prepared.experiment.accelerator.dram.burst_bytes
    }

    /// Shows every moment of every command, in cycles from the beginning of the first; returns the
    /// cycles of each command.
    fn walk(
        &self,
        see: &mut dyn FnMut(WriteId, Moment) -> io::Result<()>,
    ) -> Result<Vec<u64>, Ended> {
        let costs = self.prepared.costs(Arithmetic::Fixed, self.batches);
        let (mut elapsed, mut failed, mut cycles) = (0, Ok(()), Vec::new());
        for &Planned { write, work, second } in &self.planned {
            let mut show = |moment: Moment| {
                if failed.is_ok() {
                    failed = see(write, moment.later(elapsed));
                }
            };
            let cost = costs.watch(write, work, second, &mut show);
            let total = cost.map_err(|error| Ended::Refused(error.into()))?.cycles.total().0;
            std::mem::replace(&mut failed, Ok(())).map_err(Ended::Failed)?;
            elapsed += total;
            cycles.push(total);
        }
        Ok(cycles)
    }

    /// The same, of a step that was laid out.
    fn show(&self, see: &mut dyn FnMut(WriteId, Moment) -> io::Result<()>) -> io::Result<Vec<u64>> {
        self.walk(see).map_err(|ended| match ended {
            Ended::Failed(error) => error,
            Ended::Refused(error) => panic!("it was followed once: {error}"),
        })
    }

    /// Every burst in the order of the channel: its address, the tensor, whether it is written, and
    /// its cycle.
    fn bursts(
        &self,
        see: &mut dyn FnMut(u64, TensorId, bool, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let dram = self.prepared.experiment.accelerator.dram;
        self.show(&mut |_, moment| {
            for (transfer, cycles) in &moment.transfers {
                let base = self.regions[&(transfer.tensor, transfer.stored)];
                for burst in 0..transfer.bytes / dram.burst_bytes {
                    let ahead = burst * dram.burst_bytes;
                    let later = dram.bytes_per_cycle.map_or(0, |per_cycle| ahead / per_cycle);
                    let address = base + transfer.offset + ahead;
                    see(address, transfer.tensor, transfer.write, cycles.start + later)?;
                }
            }
            Ok(())
        })
        .map(|_| ())
    }

    /// Writes the bursts of one tensor in one direction in SCALE-Sim's layout: a line per burst, of its
    /// cycle and the addresses of its bytes.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn scalesim(&self, out: &mut impl Write, tensor: TensorId, write: bool) -> io::Result<()> {
        let bytes = self.burst_bytes();
        self.bursts(&mut |address, moved, written, cycle| {
            if (moved, written) != (tensor, write) {
                return Ok(());
            }
            write!(out, "{cycle}")?;
            (address..address + bytes).try_for_each(|address| write!(out, ",{address}"))?;
            writeln!(out)
        })
    }

    /// Writes `0xADDRESS READ cycle` or `0xADDRESS WRITE cycle` per burst, as DRAMsim3 reads it; the
    /// cycle is that of the array in which it is asked for.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn dramsim3(&self, out: &mut impl Write) -> io::Result<()> {
        self.bursts(&mut |address, _, write, cycle| {
            let what = if write { "WRITE" } else { "READ" };
            writeln!(out, "{address:#x} {what} {cycle}")
        })
    }

    /// Writes `LD 0xADDRESS` or `ST 0xADDRESS` per burst, as Ramulator 2 reads it.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn ramulator2(&self, out: &mut impl Write) -> io::Result<()> {
        self.bursts(&mut |address, _, write, _| {
            let what = if write { "ST" } else { "LD" };
            writeln!(out, "{what} {address:#x}")
        })
    }
}

/// Why a walk ended.
enum Ended {
    /// It cannot be followed.
    Refused(Error),
    /// Who was shown it failed.
    Failed(io::Error),
}
