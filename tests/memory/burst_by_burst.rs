//! The memory off chip once more, burst by burst and cycle by cycle.
//!
//! A channel takes transfers from one queue, which is filled beforehand in the order read 0, read 1,
//! write 0, read 2, write 1, …, a write later where its step would end too late; its head begins when the step that it hangs on has started or is done.
//! After the latency the channel accepts so many bytes in each cycle, burst after burst. In every
//! cycle it is asked anew whether the head may begin and whether the next step may start.

use std::collections::VecDeque;

use systoliq_hardware::accelerator::Dram;
use systoliq_hardware::{memory::Moved, memory::Transfer};

/// A step, with its times as they would be without memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) gap: u64,
    pub(crate) length: u64,
    pub(crate) reads: Vec<Transfer>,
    pub(crate) writes: Vec<Transfer>,
}

/// What following all of it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) starts: Vec<u64>,
    /// The cycle in which all was over, and that in which it would have been.
    pub(crate) end: u64,
    pub(crate) ideal: u64,
    pub(crate) moved: Vec<Moved>,
}

impl Found {
    pub(crate) fn stall(&self) -> u64 {
        self.end - self.ideal
    }
}

/// A transfer in the queue, of step `of`.
#[derive(Clone)]
struct Queued {
    transfer: Transfer,
    of: usize,
}

/// The transfer in the channel.
struct Moving {
    queued: Queued,
    /// Cycles until the first byte, and the bursts still to come, by their bytes to go.
    latency: u64,
    bursts: VecDeque<u64>,
}

struct Machine<'w> {
    dram: Dram,
    work: &'w [Work],
    queue: VecDeque<Queued>,
    /// By step, the one that waits for its writes; by that one, those of them not yet over.
    place_of: Vec<usize>,
    left_at: Vec<usize>,
    moving: Option<Moving>,
    starts: Vec<u64>,
    /// By step, its reads not yet over.
    reads_left: Vec<usize>,
    /// Of which tensor and direction the last read, and the last write, was that is over.
    last_read: Option<usize>,
    last_write: Option<usize>,
    moved: Vec<Moved>,
}

/// When each step would start and be done without memory.
fn ideal_times(work: &[Work]) -> Vec<(u64, u64)> {
    let mut start = 0;
    let times = work.iter().enumerate().map(|(at, step)| {
        start += if at == 0 { 0 } else { step.gap };
        (start, start + step.length)
    });
    times.collect()
}

/// Follows `work` to its end.
pub(crate) fn follow(dram: &Dram, work: &[Work]) -> Found {
    // A write goes before the read of the second step after it, or of the first further one that would
    // not start, without memory, before the results are there; steps do not pass each other, whether they write or not.
    let times = ideal_times(work);
    let mut place_of = vec![work.len(); work.len()];
    let mut written_at = vec![Vec::new(); work.len() + 1];
    let mut latest = 0;
    for (of, step) in work.iter().enumerate() {
        let starts_later = |at: &usize| times[*at].0 >= times[of].1;
        let place = (of + 2..work.len()).find(starts_later).unwrap_or(work.len());
        latest = place.max(latest);
        place_of[of] = latest;
        written_at[latest].extend(step.writes.iter().map(|&transfer| Queued { transfer, of }));
    }
    let left_at = written_at.iter().map(Vec::len).collect();
    let mut queue = VecDeque::new();
    for (at, writes) in written_at.into_iter().enumerate() {
        queue.extend(writes);
        let reads = work.get(at).map_or(&[][..], |step| &step.reads);
        queue.extend(reads.iter().map(|&transfer| Queued { transfer, of: at }));
    }
    let mut moved: Vec<Moved> = Vec::new();
    for Queued { transfer: Transfer { tensor, stored, write, .. }, .. } in &queue {
        let (tensor, stored, write) = (*tensor, *stored, *write);
        let is = |known: &Moved| (known.tensor, known.stored, known.write);
        if !moved.iter().any(|known| is(known) == (tensor, stored, write)) {
            moved.push(Moved {
                tensor,
                stored,
                write,
                transfers: 0,
                elements: 0,
                bytes: 0,
                stall: 0,
            });
        }
    }
    let mut machine = Machine {
        dram: *dram,
        work,
        queue,
        place_of,
        left_at,
        moving: None,
        starts: Vec::new(),
        reads_left: work.iter().map(|step| step.reads.len()).collect(),
        last_read: None,
        last_write: None,
        moved,
    };
    let mut now = 0;
    while !machine.is_over(now) {
        while machine.finish() || machine.start(now) || machine.begin(now) {}
        if machine.is_over(now) {
            break;
        }
        machine.clock();
        now += 1;
    }
    machine.found(now)
}

impl Machine<'_> {
    fn is_done(&self, step: usize, now: u64) -> bool {
        self.starts.get(step).is_some_and(|start| start + self.work[step].length <= now)
    }

    fn is_over(&self, now: u64) -> bool {
        let idle = self.queue.is_empty() && self.moving.is_none();
        idle && (0..self.work.len()).rev().all(|step| self.is_done(step, now))
    }

    /// Takes a transfer out of the channel of which nothing is left.
    fn finish(&mut self) -> bool {
        let over = |moving: &mut Moving| moving.latency == 0 && moving.bursts.is_empty();
        let Some(Moving { queued, .. }) = self.moving.take_if(over) else { return false };
        let Queued { transfer: Transfer { tensor, stored, write, elements, bytes, .. }, of } =
            queued;
        let is = |known: &Moved| (known.tensor, known.stored, known.write);
        let known = self.moved.iter().position(|known| is(known) == (tensor, stored, write));
        let owner = known.expect("all are known");
        self.moved[owner].transfers += 1;
        self.moved[owner].elements += elements;
        self.moved[owner].bytes += bytes;
        if write {
            self.left_at[self.place_of[of]] -= 1;
            self.last_write = Some(owner);
        } else {
            self.reads_left[of] -= 1;
            self.last_read = Some(owner);
        }
        true
    }

    /// Lets the head of the queue into the channel.
    fn begin(&mut self, now: u64) -> bool {
        let Some(Queued { transfer, of }) = self.queue.front() else { return false };
        let may = match transfer.write {
            true => self.is_done(*of, now),
            false => *of == 0 || self.starts.len() >= *of,
        };
        if self.moving.is_some() || !may {
            return false;
        }
        let burst = self.dram.burst_bytes;
        let mut bursts: VecDeque<u64> = (0..transfer.bytes / burst).map(|_| burst).collect();
        bursts.extend((transfer.bytes % burst > 0).then_some(transfer.bytes % burst));
        let latency = if bursts.is_empty() { 0 } else { self.dram.latency_cycles };
        if self.dram.bytes_per_cycle.is_none() && latency == 0 {
            bursts.clear();
        }
        let queued = self.queue.pop_front().expect("a head");
        self.moving = Some(Moving { queued, latency, bursts });
        true
    }

    /// Starts the next step.
    fn start(&mut self, now: u64) -> bool {
        let next = self.starts.len();
        let Some(step) = self.work.get(next) else { return false };
        let due = self.starts.last().map_or(0, |before| before + step.gap);
        if now < due || self.reads_left[next] > 0 || self.left_at[next] > 0 {
            return false;
        }
        if now > due {
            // Its reads follow the write before the last in the queue: they came last, if any.
            let owner = if step.reads.is_empty() { self.last_write } else { self.last_read };
            self.moved[owner.expect("a transfer that was waited for")].stall += now - due;
        }
        self.starts.push(now);
        true
    }

    /// One cycle of the channel.
    fn clock(&mut self) {
        let Some(Moving { latency, bursts, .. }) = &mut self.moving else { return };
        if *latency > 0 {
            *latency -= 1;
            if *latency == 0 && self.dram.bytes_per_cycle.is_none() {
                bursts.clear();
            }
            return;
        }
        let mut room = self.dram.bytes_per_cycle.unwrap_or(u64::MAX);
        while let Some(burst) = bursts.front_mut().filter(|_| room > 0) {
            let taken = room.min(*burst);
            (*burst, room) = (*burst - taken, room - taken);
            if *burst == 0 {
                bursts.pop_front();
            }
        }
    }

    fn found(mut self, end: u64) -> Found {
        let ends = |starts: &[u64]| {
            let all = starts.iter().zip(self.work).map(|(start, step)| start + step.length);
            all.max().unwrap_or(0)
        };
        let ideal = ideal_times(self.work).iter().map(|times| times.1).max().unwrap_or(0);
        let worked = ends(&self.starts);
        if end > worked {
            self.moved[self.last_write.expect("a write")].stall += end - worked;
        }
        // Waiting that delayed no end of a step was no stall; it is taken from whoever came last.
        let waited: u64 = self.moved.iter().map(|moved| moved.stall).sum();
        let mut hidden = waited - (end - ideal);
        for moved in self.moved.iter_mut().rev() {
            let less = hidden.min(moved.stall);
            moved.stall -= less;
            hidden -= less;
        }
        Found { starts: self.starts, end, ideal, moved: self.moved }
    }
}
