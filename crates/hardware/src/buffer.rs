//! What lives in the global buffer: one memory beside the scratchpads, in which a tensor has one
//! address for the whole run.
//!
//! *State* (masters, weights, momentum, residuals, biases) may live there for the run. Of a *step* may
//! live there what one command writes and another reads, and masks, from the first to the last command
//! that touches it; and the input, from its first read to its last. Here each tensor that an update writes is
//! a command of its own. A tensor lives there whole, with its
//! second copy, or not at all. Its *worth* is the bytes of all transfers of it that DRAM would make in an
//! epoch, its short batch included, but for second passes; of the input, all but the first fetch of each
//! tile.
//!
//! The lower P bytes hold tensors of a step, taken by worth per byte and command of life (of equal ones
//! the smaller, then the first of the program), each at the lowest address that is free all its life; one
//! that finds none below P stays in DRAM. What these leave holds the state of most worth that fits. Of all
//! P that of most worth is taken, of equal ones the smallest. So a larger buffer never moves more bytes in an
//! epoch: any P that a smaller one had, it may have too. Second passes, and what the first step alone writes, are
//! not counted in that. Products have the dataflows that they have without a buffer.
//!
//! A gradient that its update takes from C as it leaves the array has no worth. The step that chooses its scale
//! from itself writes it nevertheless: it lives where the others leave room.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;
use systoliq_program::{TensorId, What, Work, WriteId};

use crate::Accelerator;
use crate::cost::{Arriving, Costs, KeptOnChip};
use crate::events::Buffer;
use crate::memory::Stored;

/// What may live in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferCandidate {
    /// Its size, whole bursts.
    pub bytes: u64,
    /// Bytes that DRAM does not move for it in an epoch.
    pub worth: u64,
    /// The first and the last command of a step that touch it; nothing for state.
    pub life: Option<(usize, usize)>,
}

impl BufferCandidate {
    /// Commands of its life.
    fn commands(&self) -> u128 {
        self.life.map_or(0, |(first, last)| (last - first + 1) as u128)
    }

    fn lives_with(&self, other: &Self) -> bool {
        match (self.life, other.life) {
            (Some((first, last)), Some((from, to))) => first <= to && from <= last,
            _ => true,
        }
    }

    /// The order in which tensors of a step are taken; equal ones in that of the program.
    fn before(&self, other: &Self) -> Ordering {
        let worth =
            |of: &Self, by: &Self| u128::from(of.worth) * (u128::from(by.bytes) * by.commands());
        worth(other, self).cmp(&worth(self, other)).then(self.bytes.cmp(&other.bytes))
    }
}

/// Where candidates are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BufferLayout {
    /// The address of each, or nothing where it stays in DRAM.
    pub addresses: Vec<Option<u64>>,
    /// Bytes that tensors of a step use, all from address 0 on.
    pub step_bytes: u64,
    /// Bytes of state, behind these.
    pub state_bytes: u64,
    /// What all that are in the buffer are worth.
    pub worth: u64,
}

impl BufferLayout {
    /// Of `capacity` bytes; all sizes are multiples of `burst` bytes.
    pub fn new(candidates: &[BufferCandidate], capacity: u64, burst: u64) -> Self {
        let capacity = capacity / burst * burst;
        let state = StateChoices::new(candidates, capacity);
        let mut order: Vec<usize> = (0..candidates.len())
            .filter(|&at| candidates[at].life.is_some() && candidates[at].worth > 0)
            .collect();
        order.sort_by(|&a, &b| candidates[a].before(&candidates[b]));
        let mut best = StepTensors::place(candidates, &order, capacity);
        let mut below = best.bytes;
        let total = |step: &StepTensors| step.worth + state.of(capacity - step.bytes).worth;
        // With any limit from the bytes in use on, the same tensors are placed.
        while let Some(limit) = below.checked_sub(burst) {
            let step = StepTensors::place(candidates, &order, limit);
            below = step.bytes;
            if total(&step) >= total(&best) {
                best = step;
            }
        }
        let chosen = state.of(capacity - best.bytes);
        let mut address = best.bytes;
        let mut addresses = best.addresses;
        for at in state.members(chosen) {
            addresses[at] = Some(address);
            address += candidates[at].bytes;
        }
        let worth = u64::try_from(best.worth + chosen.worth).unwrap_or(u64::MAX);
        let used = addresses.iter().enumerate().filter_map(|(at, address)| Some(((*address)?, at)));
        let mut placed: Vec<(u64, usize)> = used.collect();
        placed.sort_unstable();
        for (at, candidate) in candidates.iter().enumerate() {
            if candidate.life.is_some() && candidate.worth == 0 {
                addresses[at] = place(candidates, &mut placed, at, capacity);
            }
        }
        Self { addresses, step_bytes: best.bytes, state_bytes: chosen.bytes, worth }
    }
}

/// Tensors of a step below some limit.
struct StepTensors {
    addresses: Vec<Option<u64>>,
    bytes: u64,
    worth: u128,
}

impl StepTensors {
    fn place(candidates: &[BufferCandidate], order: &[usize], limit: u64) -> Self {
        let mut placed: Vec<(u64, usize)> = Vec::new();
        let mut found = Self { addresses: vec![None; candidates.len()], bytes: 0, worth: 0 };
        for &at in order {
            found.addresses[at] = place(candidates, &mut placed, at, limit);
            if let Some(address) = found.addresses[at] {
                found.bytes = found.bytes.max(address + candidates[at].bytes);
                found.worth += u128::from(candidates[at].worth);
            }
        }
        found
    }
}

/// Places a candidate at the lowest address that is free all its life, if it ends below `limit`, beside
/// others by their addresses.
fn place(
    candidates: &[BufferCandidate],
    placed: &mut Vec<(u64, usize)>,
    at: usize,
    limit: u64,
) -> Option<u64> {
    let candidate = &candidates[at];
    let mut address = 0;
    for &(begin, other) in placed.iter() {
        let other = &candidates[other];
        if other.lives_with(candidate) && begin + other.bytes > address {
            if begin >= address + candidate.bytes {
                break;
            }
            address = begin + other.bytes;
        }
    }
    (address + candidate.bytes <= limit).then(|| {
        let place = placed.partition_point(|&(begin, _)| begin <= address);
        placed.insert(place, (address, at));
        address
    })
}

/// Every choice of state that no other beats with as few bytes, by bytes.
struct StateChoices {
    /// What was chosen one after the other: a candidate, and the choice that it was added to.
    links: Vec<(usize, usize)>,
    choices: Vec<StateChoice>,
}

/// Some state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StateChoice {
    bytes: u64,
    worth: u128,
    /// One more than the place of its last link; 0 for none.
    last: usize,
}

impl StateChoices {
    fn new(candidates: &[BufferCandidate], capacity: u64) -> Self {
        let mut links = Vec::new();
        let mut choices = vec![StateChoice::default()];
        for (at, candidate) in candidates.iter().enumerate() {
            if candidate.life.is_some() || candidate.worth == 0 {
                continue;
            }
            let mut merged: Vec<StateChoice> = Vec::with_capacity(2 * choices.len());
            let (mut without, mut with) = (choices.iter().peekable(), choices.iter().peekable());
            loop {
                let longer = with.peek().map(|of| of.bytes + candidate.bytes);
                let longer = longer.filter(|&bytes| bytes <= capacity);
                let shorter = without.peek().map(|of| of.bytes);
                let next = match (shorter, longer) {
                    (None, None) => break,
                    // Of equal ones, that with what comes first in the program.
                    (Some(bytes), other) if other.is_none_or(|other| bytes <= other) => {
                        *without.next().expect("a choice that was seen")
                    }
                    (_, Some(bytes)) => {
                        let of = with.next().expect("a choice that was seen");
                        let worth = of.worth + u128::from(candidate.worth);
                        if merged.last().is_some_and(|last| last.worth >= worth) {
                            continue;
                        }
                        links.push((at, of.last));
                        StateChoice { bytes, worth, last: links.len() }
                    }
                    (Some(_), None) => unreachable!("what is alone comes first"),
                };
                match merged.last() {
                    Some(last) if last.worth >= next.worth => {}
                    Some(last) if last.bytes == next.bytes => {
                        *merged.last_mut().expect("a choice that was seen") = next;
                    }
                    _ => merged.push(next),
                }
            }
            choices = merged;
        }
        Self { links, choices }
    }

    /// That of most worth in so many bytes.
    fn of(&self, bytes: u64) -> StateChoice {
        self.choices[self.choices.partition_point(|choice| choice.bytes <= bytes) - 1]
    }

    /// The candidates of a choice, as they come in the program.
    fn members(&self, choice: StateChoice) -> Vec<usize> {
        let mut members = Vec::new();
        let mut last = choice.last;
        while let Some(link) = last.checked_sub(1) {
            members.push(self.links[link].0);
            last = self.links[link].1;
        }
        members.reverse();
        members
    }
}

/// A tensor, or its mask, that may live in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferItem {
    pub(crate) tensor: TensorId,
    /// Elements, with their second copy, or the mask.
    pub(crate) stored: Stored,
    /// What else has its place: on float hardware, weights are their own master.
    pub(crate) twin: Option<TensorId>,
    pub(crate) candidate: BufferCandidate,
}

impl BufferItem {
    /// All that lies in its place.
    pub(crate) fn forms(&self) -> impl Iterator<Item = (TensorId, Stored)> + use<> {
        let stored: &[Stored] = match self.stored {
            Stored::Mask => &[Stored::Mask],
            Stored::Elements | Stored::Copy | Stored::Sums => &[Stored::Elements, Stored::Copy],
        };
        let tensors = [self.tensor].into_iter().chain(self.twin);
        tensors.flat_map(move |tensor| stored.iter().map(move |&stored| (tensor, stored)))
    }
}

/// What may live in the buffer over a run, by what it takes without one.
pub(crate) fn items(bare: &Costs<'_>) -> Vec<BufferItem> {
    let program = bare.program;
    let moved = bytes_moved(bare);
    let input: Vec<(TensorId, Stored)> =
        [Stored::Elements, Stored::Copy].map(|stored| (program.input, stored)).to_vec();
    let arriving = arriving(bare, &input);
    let kept = KeptOnChip { memory: Buffer::Global, of: input, arriving };
    let fetched_once = bytes_moved(&bare.keeping(kept));
    let twins = twins(bare);
    let mut items = Vec::new();
    for tensor in (0..program.tensors.len()).map(TensorId) {
        if twins.values().any(|&twin| twin == tensor) || Some(tensor) == program.targets {
            continue;
        }
        for stored in [Stored::Elements, Stored::Mask] {
            let Some(life) = life(bare, tensor, stored) else { continue };
            let item = BufferItem {
                tensor,
                stored,
                twin: twins.get(&tensor).copied().filter(|_| stored == Stored::Elements),
                candidate: BufferCandidate {
                    bytes: size(bare, tensor, stored, bare.batches.size),
                    worth: 0,
                    life: Some(life).filter(|_| !program.tensor(tensor).role.outlasts_a_step()),
                },
            };
            let bytes =
                |of: &BytesMoved| -> u128 { item.forms().filter_map(|form| of.get(&form)).sum() };
            let mut worth = bytes(&moved);
            if tensor == program.input {
                worth -= bytes(&fetched_once);
            }
            let worth = u64::try_from(worth).unwrap_or(u64::MAX);
            if worth == 0 && !bare.is_written_at_times(tensor) {
                continue;
            }
            items.push(BufferItem {
                candidate: BufferCandidate { worth, ..item.candidate },
                ..item
            });
        }
    }
    items
}

/// What may live in the buffer, with its address if it does.
pub(crate) fn lives(bare: &Costs<'_>) -> (Vec<BufferItem>, BufferLayout) {
    let items = items(bare);
    let candidates: Vec<_> = items.iter().map(|item| item.candidate).collect();
    let Accelerator { scratchpad, dram, .. } = bare.accelerator;
    let layout = BufferLayout::new(&candidates, scratchpad.buffer_bytes, dram.burst_bytes);
    (items, layout)
}

/// Of these, what comes from DRAM, with the first command that reads it.
pub(crate) fn arriving(bare: &Costs<'_>, of: &[(TensorId, Stored)]) -> Vec<Arriving> {
    let mut arriving: Vec<Arriving> = Vec::new();
    for (size, _) in bare.batches.sizes() {
        for (command, tensor, stored) in reads(bare, size) {
            let known = arriving.iter().any(|&(_, t, s)| (t, s) == (tensor, stored));
            if tensor == bare.program.input && of.contains(&(tensor, stored)) && !known {
                arriving.push((command, tensor, stored));
            }
        }
    }
    arriving
}

/// What commands read from DRAM, one after the other.
fn reads(bare: &Costs<'_>, batch: usize) -> Vec<Arriving> {
    let mut found = Vec::new();
    for (at, write, _) in bare.program.all_writes() {
        // What cannot be counted is refused where it is asked for.
        let Ok(cost) = bare.of(at, bare.program.work(at, batch), false) else { continue };
        for moved in cost.moved.iter().filter(|moved| !moved.write) {
            let of = (write.command, moved.tensor, moved.stored);
            if !found.iter().rev().take_while(|known: &&Arriving| known.0 == of.0).any(|&k| k == of)
            {
                found.push(of);
            }
        }
    }
    found
}

/// What each command keeps of its operands while it runs.
pub(crate) fn operands(bare: &Costs<'_>) -> Vec<Arriving> {
    let (batch, capacity) = (bare.batches.size, bare.accelerator.scratchpad.buffer_bytes);
    let all = reads(bare, batch);
    let kept = KeptOnChip { memory: Buffer::Global, of: Vec::new(), arriving: all.clone() };
    let once = bare.keeping(kept);
    let mut chosen = Vec::new();
    for of_command in all.chunk_by(|a, b| a.0 == b.0) {
        let candidate = |&(command, tensor, stored): &Arriving| {
            let moved = |costs: &Costs<'_>| -> u64 {
                let writes = costs.program.writes_of(command);
                let costs = writes
                    .filter_map(|(at, _)| costs.of(at, costs.program.work(at, batch), false).ok());
                let moved = costs.flat_map(|cost| cost.moved);
                let read =
                    moved.filter(|of| (of.tensor, of.stored, of.write) == (tensor, stored, false));
                read.map(|moved| moved.bytes).sum()
            };
            let decl = bare.program.tensor(tensor);
            let elements = decl.rows.count(batch) as u64 * decl.cols as u64;
            let (bits, exponents) = (bare.bits(tensor), bare.exponents(tensor, stored));
            let bytes = bare.transfer_bytes(elements, bits, exponents);
            BufferCandidate { bytes, worth: moved(bare) - moved(&once), life: Some((0, 0)) }
        };
        // What comes once is worth no place.
        let candidates = of_command.iter().map(|of| (of, candidate(of)));
        let (of_command, candidates): (Vec<_>, Vec<_>) =
            candidates.filter(|(_, candidate)| candidate.worth > 0).unzip();
        let layout = BufferLayout::new(&candidates, capacity, bare.accelerator.dram.burst_bytes);
        let lives = of_command.into_iter().zip(layout.addresses).filter(|(_, at)| at.is_some());
        chosen.extend(lives.map(|(&of, _)| of));
    }
    chosen
}

/// Of each tensor that is master, where weights are their own, the weights that have no place of their own.
fn twins(costs: &Costs<'_>) -> BTreeMap<TensorId, TensorId> {
    if !costs.has_one_copy() {
        return BTreeMap::new();
    }
    let updates = costs.program.commands.iter().filter_map(|command| command.operation.update());
    updates.filter_map(|update| Some((update.written, update.working?))).collect()
}

/// Bytes that DRAM moves, by what is stored of tensors.
type BytesMoved = BTreeMap<(TensorId, Stored), u128>;

/// Those of an epoch, without second passes.
fn bytes_moved(costs: &Costs<'_>) -> BytesMoved {
    let mut bytes = BytesMoved::new();
    for (size, times) in costs.batches.sizes() {
        for (at, ..) in costs.program.all_writes() {
            // What cannot be counted is refused where it is asked for.
            let Ok(cost) = costs.of(at, costs.program.work(at, size), false) else { continue };
            for moved in cost.moved {
                *bytes.entry((moved.tensor, moved.stored)).or_default() +=
                    u128::from(moved.bytes) * u128::from(times);
            }
        }
    }
    bytes
}

/// The first and the last write that touch a tensor or its mask; nothing where none reads it.
fn life(costs: &Costs<'_>, tensor: TensorId, stored: Stored) -> Option<(usize, usize)> {
    let what = if stored == Stored::Mask { What::Mask } else { What::Elements };
    let (mut read, mut life) = (false, None);
    for (WriteId(at), write, command) in costs.program.all_writes() {
        let reads = command.operation.reads(write.tensor).contains(&(tensor, what));
        read |= reads;
        if reads || write.tensor == tensor {
            life = Some((life.map_or(at, |(first, _)| first), at));
        }
    }
    life.filter(|_| read)
}

/// Bytes of a tensor with its second copy, or of its mask, in whole bursts.
fn size(costs: &Costs<'_>, tensor: TensorId, stored: Stored, batch: usize) -> u64 {
    let decl = costs.program.tensor(tensor);
    let elements = decl.rows.count(batch) as u64 * decl.cols as u64;
    let bits = if stored == Stored::Mask { 1 } else { costs.bits(tensor) };
    let copies = 1 + u64::from(stored == Stored::Elements && costs.has_second_copy(tensor));
    copies * costs.transfer_bytes(elements, bits, costs.exponents(tensor, stored))
}

/// What lives where over a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BufferReport {
    /// Bytes that the buffer has.
    pub capacity_bytes: u64,
    /// Bytes, from address 0 on, that tensors use that every step writes or reads.
    pub step_bytes: u64,
    /// Bytes of state behind these.
    pub state_bytes: u64,
    /// The end of the last of all: beyond these where there is room for gradients that the first step alone
    /// writes.
    pub peak_bytes: u64,
    /// Bytes that DRAM does not move in an epoch.
    pub worth_bytes: u64,
    /// The most rows that the vector unit moves from and to the buffer in a cycle: the buffer is taken to
    /// give what is asked in time.
    pub rows_per_cycle: usize,
    /// What may live there.
    pub tensors: Vec<BufferedTensor>,
}

/// A tensor, or its mask, that may live in the buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BufferedTensor {
    /// The tensor.
    pub tensor: String,
    /// Whether this is its mask, one bit an element.
    pub mask: bool,
    /// Bytes of a full batch, in whole bursts, with a second copy if there is one.
    pub bytes: u64,
    /// Bytes that DRAM moves for it in an epoch if it does not live there, but for second passes and for
    /// the first fetch of what enters.
    pub worth_bytes: u64,
    /// Its address; nothing where it does not live there.
    pub address: Option<u64>,
    /// The first command that touches it; nothing for state, which is there for the run.
    pub first: Option<String>,
    /// The last.
    pub last: Option<String>,
}

impl BufferReport {
    /// The share of what all that may live there is worth that does live there; 1 if nothing is worth
    /// anything.
    pub fn share(&self) -> f64 {
        let all: u128 = self.tensors.iter().map(|tensor| u128::from(tensor.worth_bytes)).sum();
        if all == 0 { 1.0 } else { self.worth_bytes as f64 / all as f64 }
    }

    /// Of a run; nothing without a buffer.
    pub fn new(costs: &Costs<'_>) -> Option<Self> {
        let capacity_bytes = costs.accelerator.scratchpad.buffer_bytes;
        let program = costs.program;
        let (items, layout) =
            (capacity_bytes > 0).then(|| lives(&costs.keeping(KeptOnChip::NOTHING)))?;
        let name = |at: usize| program.writes[at].name.clone();
        let tensor = |(item, &address): (&BufferItem, &Option<u64>)| BufferedTensor {
            tensor: program.tensor(item.tensor).name.clone(),
            mask: item.stored == Stored::Mask,
            bytes: item.candidate.bytes,
            worth_bytes: item.candidate.worth,
            address,
            first: item.candidate.life.map(|(first, _)| name(first)),
            last: item.candidate.life.map(|(_, last)| name(last)),
        };
        let ends = items.iter().zip(&layout.addresses);
        let ends = ends.filter_map(|(item, at)| Some((*at)? + item.candidate.bytes));
        let streams = program.all_writes().map(|(at, ..)| {
            let work = program.work(at, costs.batches.size);
            match work {
                Work::Gemm(_) => 0,
                Work::Vector { .. } => {
                    costs.of(at, work, false).map_or(0, |cost| cost.stayed.len())
                }
            }
        });
        Some(Self {
            capacity_bytes,
            step_bytes: layout.step_bytes,
            state_bytes: layout.state_bytes,
            peak_bytes: ends.max().unwrap_or(0),
            worth_bytes: layout.worth,
            rows_per_cycle: streams.max().unwrap_or(0),
            tensors: items.iter().zip(&layout.addresses).map(tensor).collect(),
        })
    }
}
