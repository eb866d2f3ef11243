//! A step as a timeline.
//!
//! Format: "Trace Event Format" of the Chromium project: complete events (`"ph": "X"`) with times in
//! microseconds, on one track per kind of work; what lives in the global buffer are nestable asynchronous events
//! (`"b"` and `"e"`), as they overlap.

use std::io::{self, Write};

use serde_json::json;
use systoliq_program::{Pass, WriteId};

use super::StepTrace;
use systoliq_hardware::buffer::{BufferReport, BufferedTensor};
use systoliq_hardware::cost::Arithmetic;
use systoliq_hardware::memory::Moment;

/// What has a track of its own, from the top.
#[derive(Clone, Copy)]
enum Track {
    Passes = 1,
    Commands,
    Work,
    Stalls,
    Dram,
    Buffer,
}

/// Writes events one after the other.
struct Events<W> {
    out: W,
    clock_mhz: f64,
}

impl<W: Write> Events<W> {
    /// Work from one cycle to another.
    fn span(
        &mut self,
        track: Track,
        name: &str,
        cycles: std::ops::Range<u64>,
        mut args: serde_json::Value,
    ) -> io::Result<()> {
        args["cycle"] = json!(cycles.start);
        args["cycles"] = json!(cycles.end - cycles.start);
        let microseconds = |cycles: u64| cycles as f64 / self.clock_mhz;
        let event = json!({
            "ph": "X", "pid": 1, "tid": track as u32, "name": name,
            "ts": microseconds(cycles.start), "dur": microseconds(cycles.end - cycles.start),
            "args": args,
        });
        write!(self.out, ",\n{event}")
    }

    /// Something of the global buffer from one cycle to another, by its number.
    fn lives(
        &mut self,
        number: usize,
        of: &BufferedTensor,
        cycles: std::ops::Range<u64>,
    ) -> io::Result<()> {
        let name = if of.mask { "mask of " } else { "" }.to_owned() + &of.tensor;
        let event = |phase: &str, cycle: u64| {
            json!({
                "ph": phase, "cat": "buffer", "id": number, "pid": 1, "tid": Track::Buffer as u32,
                "name": name, "ts": cycle as f64 / self.clock_mhz,
            })
        };
        let (mut begin, end) = (event("b", cycles.start), event("e", cycles.end));
        begin["args"] = json!({ "bytes": of.bytes, "address": of.address, "cycle": cycles.start,
            "cycles": cycles.end - cycles.start });
        write!(self.out, ",\n{begin},\n{end}")
    }

    fn names(&mut self, title: &str, has_buffer: bool) -> io::Result<()> {
        let name = json!({ "name": title });
        let process = json!({ "ph": "M", "pid": 1, "name": "process_name", "args": name });
        write!(self.out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{process}")?;
        let tracks = [
            (Track::Passes, "passes"),
            (Track::Commands, "commands"),
            (Track::Work, "folds and vector work"),
            (Track::Stalls, "stalls"),
            (Track::Dram, "DRAM"),
            (Track::Buffer, "buffer"),
        ];
        for (track, name) in &tracks[..tracks.len() - usize::from(!has_buffer)] {
            let track = *track;
            let (tid, named) = (track as u32, json!({ "name": name }));
            let event =
                json!({ "ph": "M", "pid": 1, "tid": tid, "name": "thread_name", "args": named });
            let order = json!({ "ph": "M", "pid": 1, "tid": tid, "name": "thread_sort_index",
                "args": { "sort_index": tid } });
            write!(self.out, ",\n{event},\n{order}")?;
        }
        Ok(())
    }
}

impl StepTrace<'_> {
    /// Writes a timeline: passes, commands, folds and parts of the vector unit's work, stalls with
    /// whom they wait for, and transfers.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn perfetto(&self, out: &mut impl Write) -> io::Result<()> {
        let experiment = &self.prepared.experiment;
        let clock_mhz = experiment.accelerator.clock_mhz();
        let mut events = Events { out, clock_mhz };
        let has_buffer = experiment.accelerator.scratchpad.buffer_bytes > 0;
        events.names(&format!("{}, step {}", experiment.name, self.step), has_buffer)?;
        // A step of work ends when the next one starts, at the latest.
        let mut open: Option<(WriteId, u64, Moment)> = None;
        let mut numbers = (None, 0);
        let cycles = self.show(&mut |command, moment| {
            let until = moment.start - moment.stall;
            self.close(&mut events, open.take(), Some((command, until)))?;
            let number = if numbers.0 == Some(command) { numbers.1 + 1 } else { 0 };
            numbers = (Some(command), number);
            self.moment(&mut events, command, &moment)?;
            open = Some((command, numbers.1, moment));
            Ok(())
        })?;
        self.close(&mut events, open, None)?;
        self.commands(&mut events, &cycles)?;
        self.buffer(&mut events, &cycles)?;
        write!(events.out, "\n]}}\n")
    }

    /// A step of work, of which all is known once the next has begun.
    fn close<W: Write>(
        &self,
        events: &mut Events<W>,
        open: Option<(WriteId, u64, Moment)>,
        next: Option<(WriteId, u64)>,
    ) -> io::Result<()> {
        let Some((command, number, Moment { start, end, .. })) = open else { return Ok(()) };
        let end = match next {
            Some((follows, until)) if follows == command => end.min(until),
            _ => end,
        };
        if start >= end {
            return Ok(());
        }
        let args = json!({ "command": self.prepared.program.write(command).name });
        events.span(Track::Work, &format!("step {number}"), start..end, args)
    }

    /// What was waited for and moved.
    fn moment<W: Write>(
        &self,
        events: &mut Events<W>,
        command: WriteId,
        moment: &Moment,
    ) -> io::Result<()> {
        let program = &self.prepared.program;
        let named = |tensor, write: bool| {
            let what = if write { "write" } else { "read" };
            format!("{what} {}", program.tensor(tensor).name)
        };
        let command = &program.write(command).name;
        if let Some((tensor, write)) = moment.waited_for {
            let stall = moment.start - moment.stall..moment.start;
            events.span(
                Track::Stalls,
                &named(tensor, write),
                stall,
                json!({ "command": command }),
            )?;
        }
        for (transfer, cycles) in &moment.transfers {
            let args = json!({
                "command": command,
                "bytes": transfer.bytes,
                "address": self.regions[&(transfer.tensor, transfer.stored)] + transfer.offset,
            });
            events.span(
                Track::Dram,
                &named(transfer.tensor, transfer.write),
                cycles.clone(),
                args,
            )?;
        }
        Ok(())
    }

    /// What lives in the buffer while the commands that are shown run.
    fn buffer<W: Write>(&self, events: &mut Events<W>, cycles: &[u64]) -> io::Result<()> {
        let costs = self.prepared.costs(Arithmetic::Fixed, self.batches);
        let Some(report) = BufferReport::new(&costs) else { return Ok(()) };
        let writes = &costs.program.writes;
        let place = |name: &String| writes.iter().position(|write| write.name == *name);
        for (number, of) in report.tensors.iter().enumerate() {
            let (first, last) =
                (of.first.as_ref().and_then(place), of.last.as_ref().and_then(place));
            let (mut elapsed, mut life) = (0, None);
            for (planned, &cycles) in self.planned.iter().zip(cycles) {
                let at = planned.write.0;
                let until = elapsed + cycles;
                if first.is_none_or(|first| first <= at) && last.is_none_or(|last| at <= last) {
                    life = Some((life.map_or(elapsed, |(from, _)| from), until));
                }
                elapsed = until;
            }
            if let Some((from, until)) = life.filter(|_| of.address.is_some()) {
                events.lives(number, of, from..until)?;
            }
        }
        Ok(())
    }

    fn commands<W: Write>(&self, events: &mut Events<W>, cycles: &[u64]) -> io::Result<()> {
        let (mut elapsed, mut pass_from) = (0, 0);
        let pass = |at: usize| -> Option<Pass> {
            let planned = self.planned.get(at)?;
            Some(self.prepared.program.command_of(planned.write).pass)
        };
        for (at, (planned, &cycles)) in self.planned.iter().zip(cycles).enumerate() {
            let program = &self.prepared.program;
            let (write, command) =
                (program.write(planned.write), program.command_of(planned.write));
            let until = elapsed + cycles;
            let args = json!({ "layer": command.entry, "pass": command.pass.name() });
            if cycles > 0 {
                events.span(Track::Commands, &write.name, elapsed..until, args)?;
            }
            if pass(at + 1) != Some(command.pass) {
                events.span(Track::Passes, command.pass.name(), pass_from..until, json!({}))?;
                pass_from = until;
            }
            elapsed = until;
        }
        Ok(())
    }
}
