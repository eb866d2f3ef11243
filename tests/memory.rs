//! Stalls and traffic: the walk that skips repetitions against a machine that moves every burst,
//! and what holds of any memory.

mod buffer;
mod burst_by_burst;
mod commands;
mod masks;
mod pixels;
mod properties;
mod stash;
mod steps;

use std::num::NonZero;

use systoliq_array::{Array, Dataflow, FoldOrder, Overlap, PartialFolds};
use systoliq_hardware::Accelerator;
use systoliq_hardware::accelerator::Dram;
use systoliq_hardware::{Error, cost::Cost};
use systoliq_hardware::{
    memory::Moment, memory::Moved, memory::Resident, memory::Stored, memory::Transfer,
    memory::Walk, memory::WalkStep, memory::Walked,
};
use systoliq_hardware::{single::GemmReport, single::GemmWidths};
use systoliq_keyed_random::Key;
use systoliq_program::im2col::Im2col;
use systoliq_program::{ConvolutionShape, GemmShape, Reading, TensorId};

use burst_by_burst::{Work, follow};

/// Draws, one after the other.
pub(crate) struct Draws {
    key: Key,
    at: u64,
}

impl Draws {
    pub(crate) fn new(name: &str, case: u64) -> Self {
        Self { key: Key::new(1).with_name(name).with(case), at: 0 }
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.at += 1;
        self.key.below(self.at, u32::try_from(bound).expect("a small bound")).into()
    }

    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// Steps, or the same list again and again.
#[derive(Clone, Debug)]
enum Part {
    Step(Work),
    Repeat(u64, Vec<Part>),
}

fn spelled_out(parts: &[Part]) -> Vec<Work> {
    let mut work = Vec::new();
    for part in parts {
        match part {
            Part::Step(step) => work.push(step.clone()),
            Part::Repeat(count, parts) => {
                let once = spelled_out(parts);
                (0..*count).for_each(|_| work.extend_from_slice(&once));
            }
        }
    }
    work
}

fn step(walk: &mut Walk<'_>, work: &Work) {
    let Work { gap, length, reads, writes } = work;
    walk.step(&WalkStep { gap: *gap, length: *length, reads, writes }).expect("a short walk");
}

fn walk_through(walk: &mut Walk<'_>, parts: &[Part]) {
    for part in parts {
        match part {
            Part::Step(work) => step(walk, work),
            Part::Repeat(count, parts) => {
                let again = walk.repeat(*count, |walk, _| {
                    walk_through(walk, parts);
                    Ok(())
                });
                again.expect("a short walk");
            }
        }
    }
}

/// The channel and what passes it, all of about the same pace, so that it drifts slowly.
struct Pace {
    dram: Dram,
    balance: u64,
}

impl Pace {
    fn draw(draws: &mut Draws) -> Self {
        let bytes_per_cycle = draws.of(&[None, Some(1), Some(2), Some(3), Some(7), Some(64)]);
        let latency_cycles = draws.of(&[0, 0, 1, 3, 20]);
        let burst_bytes = draws.of(&[1, 4, 32]);
        let dram = Dram { burst_bytes, bytes_per_cycle, latency_cycles, ..Dram::default() };
        Self { dram, balance: draws.of(&[1, 2, 5, 12]) }
    }

    fn transfers(&self, draws: &mut Draws, write: bool) -> Vec<Transfer> {
        let bursts = self.dram.bytes_per_cycle.unwrap_or(1).div_ceil(self.dram.burst_bytes);
        let transfer = |draws: &mut Draws| {
            let tensor = TensorId(draws.below(3) as usize);
            let bytes = (1 + draws.below(self.balance * bursts)) * self.dram.burst_bytes;
            let stored = draws.of(&[Stored::Elements, Stored::Elements, Stored::Mask]);
            Transfer {
                tensor,
                stored,
                write,
                elements: bytes,
                bytes,
                offset: 0,
                first: draws.below(2) == 0,
            }
        };
        (0..draws.of(&[0, 0, 1, 1, 1, 2])).map(|_| transfer(draws)).collect()
    }

    fn work(&self, draws: &mut Draws) -> Work {
        let (reads, writes) = (self.transfers(draws, false), self.transfers(draws, true));
        let cycles = |transfers: &[Transfer]| -> u64 {
            let moved = |bytes: u64| self.dram.bytes_per_cycle.map_or(0, |by| bytes.div_ceil(by));
            transfers.iter().map(|t| self.dram.latency_cycles + moved(t.bytes)).sum()
        };
        // Just what the channel needs, or a cycle more or less, or nothing, or anything.
        let busy = cycles(&reads) + cycles(&writes);
        let anything = draws.below(60);
        let gap = draws.of(&[busy, busy, busy + 1, busy.saturating_sub(1), 0, anything]);
        let length = draws.of(&[gap, gap, 0, gap + 1, gap + 9, anything, 10 * anything]);
        Work { gap, length, reads, writes }
    }

    fn parts(&self, draws: &mut Draws, depth: u64) -> Vec<Part> {
        let count = 1 + draws.below(3);
        let part = |draws: &mut Draws| {
            if depth > 0 && draws.below(3) > 0 {
                let most = if depth == 2 { 6 } else { 300 };
                let count = draws.below(most);
                let inner = if draws.below(2) == 0 { depth - 1 } else { 0 };
                return Part::Repeat(count, self.parts(draws, if depth == 2 { inner } else { 0 }));
            }
            Part::Step(self.work(draws))
        };
        (0..count).map(|_| part(draws)).collect()
    }
}

fn watched(dram: &Dram, walk_all: impl Fn(&mut Walk<'_>)) -> (Vec<Moment>, Walked) {
    let mut moments = Vec::new();
    let mut see = |moment| moments.push(moment);
    let mut walk = Walk::new(dram, Some(&mut see));
    walk_all(&mut walk);
    let walked = walk.finish().expect("a short walk");
    (moments, walked)
}

#[test]
fn what_stays_on_chip_takes_part_in_no_transfer_and_changes_no_step() {
    let resident = |tensor, stored, arrives| Resident { tensor: TensorId(tensor), stored, arrives };
    let on_chip = [
        resident(0, Stored::Elements, false),
        resident(1, Stored::Mask, false),
        resident(2, Stored::Elements, true),
    ];
    let stays = |of: &Transfer| match (of.tensor.0, of.stored) {
        (0, Stored::Elements) | (1, Stored::Mask) => true,
        (2, Stored::Elements) => of.write || !of.first,
        _ => false,
    };
    let (mut shorter, mut alike) = (0, 0);
    for case in 0..2000 {
        let mut draws = Draws::new("stashed steps", case);
        let pace = Pace::draw(&mut draws);
        let depth = draws.below(3);
        let parts = pace.parts(&mut draws, depth);
        let work = spelled_out(&parts);
        let shown = || format!("case {case}: {:?}, {parts:?}", pace.dram);
        let moving = |transfers: &[Transfer]| -> Vec<Transfer> {
            transfers.iter().filter(|of| !stays(of)).copied().collect()
        };
        let off_chip: Vec<Work> = work
            .iter()
            .map(|w| Work { reads: moving(&w.reads), writes: moving(&w.writes), ..*w })
            .collect();
        let found = follow(&pace.dram, &off_chip);
        let mut walk = Walk::new(&pace.dram, None).without(&on_chip);
        walk_through(&mut walk, &parts);
        let walked = walk.finish().expect("a short walk");
        assert_eq!(walked.stall, found.stall(), "{}", shown());
        assert_eq!(walked.ideal, found.ideal, "{}", shown());
        let sorted = |mut moved: Vec<Moved>| {
            moved.sort_unstable_by_key(|moved| (moved.tensor, moved.stored, moved.write));
            moved
        };
        assert_eq!(sorted(walked.moved), sorted(found.moved.clone()), "{}", shown());
        // All that stayed, and no more.
        for tensor in [0, 1, 2].map(TensorId) {
            for write in [false, true] {
                let transfers = work.iter().flat_map(|w| w.reads.iter().chain(&w.writes));
                let stayed = transfers.filter(|t| (t.tensor, t.write) == (tensor, write));
                let bytes: u64 = stayed.filter(|t| stays(t)).map(|t| t.bytes).sum();
                let counted =
                    walked.stayed.iter().filter(|m| (m.tensor, m.write) == (tensor, write));
                assert_eq!(counted.map(|moved| moved.bytes).sum::<u64>(), bytes, "{}", shown());
            }
        }
        let all = follow(&pace.dram, &work);
        let stalls = [found.stall(), all.stall()];
        assert!(stalls[0] <= stalls[1], "{stalls:?} {}", shown());
        shorter += u64::from(found.stall() < all.stall());
        alike += u64::from(work.len() > 100);
    }
    assert!(shorter > 500 && alike > 200, "{shorter} shorter, {alike} long");
}

#[test]
fn any_list_of_steps_takes_what_moving_every_burst_takes() {
    let (mut stalled, mut repeated) = (0, 0);
    for case in 0..4000 {
        let mut draws = Draws::new("steps", case);
        let pace = Pace::draw(&mut draws);
        let depth = draws.below(3);
        let parts = pace.parts(&mut draws, depth);
        let work = spelled_out(&parts);
        let found = follow(&pace.dram, &work);
        let shown = || format!("case {case}: {:?}, {parts:?}", pace.dram);

        let mut walk = Walk::new(&pace.dram, None);
        walk_through(&mut walk, &parts);
        let skipping = walk.finish().expect("a short walk");
        let mut walk = Walk::new(&pace.dram, None);
        work.iter().for_each(|work| step(&mut walk, work));
        let plain = walk.finish().expect("a short walk");
        assert_eq!(skipping, plain, "{}", shown());
        let (moments, seen) = watched(&pace.dram, |walk| walk_through(walk, &parts));
        assert_eq!(seen, plain, "{}", shown());

        assert_eq!(plain.stall, found.stall(), "{}", shown());
        assert_eq!(plain.ideal, found.ideal, "{}", shown());
        assert_eq!(plain.moved, found.moved, "{}", shown());
        assert_eq!(plain.steps, work.len() as u64, "{}", shown());
        assert_eq!(moments.len(), work.len() + 1, "{}", shown());
        let starts: Vec<u64> = moments[..work.len()].iter().map(|moment| moment.start).collect();
        assert_eq!(starts, found.starts, "{}", shown());
        let by_owner: u64 = plain.moved.iter().map(|moved| moved.stall).sum();
        assert_eq!(by_owner, plain.stall, "{}", shown());
        let seen_bytes: u64 =
            moments.iter().flat_map(|moment| &moment.transfers).map(|(t, _)| t.bytes).sum();
        assert_eq!(seen_bytes, plain.moved.iter().map(|moved| moved.bytes).sum::<u64>());
        stalled += u64::from(plain.stall > 0);
        repeated += u64::from(work.len() > 100);
    }
    assert!(stalled > 1000 && repeated > 500, "{stalled} stalled, {repeated} long");
}

/// A GEMM on an accelerator that can run it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) accelerator: Accelerator,
    pub(crate) shape: GemmShape,
    pub(crate) widths: GemmWidths,
    pub(crate) read: [Reading; 2],
}

impl Case {
    pub(crate) fn draw(number: u64) -> Self {
        let mut draws = Draws::new("gemms", number);
        let array = Array {
            rows: 1 + draws.below(20) as usize,
            cols: 1 + draws.below(20) as usize,
            dataflow: draws.of(&[
                Dataflow::OutputStationary,
                Dataflow::WeightStationary,
                Dataflow::InputStationary,
                Dataflow::Auto,
            ]),
            overlap: draws.of(&[Overlap::None, Overlap::DoubleBuffered, Overlap::Pipelined]),
            partial_folds: draws.of(&[PartialFolds::Full, PartialFolds::Trimmed]),
            fold_order: draws.of(&[
                None,
                Some(FoldOrder::RowsFirst),
                Some(FoldOrder::ColumnsFirst),
            ]),
            lanes: None,
        };
        let json = serde_json::json!({ "array": array });
        let mut accelerator: Accelerator = serde_json::from_value(json).expect("an accelerator");
        let sizes = [1024, 1024, 1536, 2048, 4096, 1 << 20];
        let pads = &mut accelerator.scratchpad;
        for bytes in [&mut pads.a_bytes, &mut pads.b_bytes, &mut pads.c_bytes] {
            *bytes = draws.of(&sizes);
        }
        let bandwidths = [None, Some(1), Some(2), Some(5), Some(8), Some(16), Some(64)];
        accelerator.dram.bytes_per_cycle = draws.of(&bandwidths);
        accelerator.dram.latency_cycles = draws.of(&[0, 0, 1, 10, 100]);
        accelerator.dram.burst_bytes = draws.of(&[1, 8, 32, 64]);
        let [m, k, n] = [(); 3].map(|()| {
            let most = draws.of(&[1, 10, 40, 150]);
            1 + draws.below(most) as usize
        });
        let [a, b] = [(); 2].map(|()| draws.of(&[2, 5, 8, 16, 32]));
        let widths = GemmWidths { a, b, accumulator: 64, output: draws.of(&[4, 8, 16, 32]) };
        let shape = GemmShape { m, k, n };
        Self { accelerator, shape, widths, read: [Reading::default(); 2] }
    }

    /// The same with a convolution instead, one of the three products that train it.
    pub(crate) fn draw_convolution(number: u64) -> Self {
        let mut draws = Draws::new("convolutions", number);
        let pass = draws.below(3) as usize;
        let mut two = |most: u64| [(); 2].map(|()| draws.below(most) as usize);
        let [kernel, stride] = [two(4), two(3)].map(|sides| sides.map(|side| 1 + side));
        let [padding, end_padding] = [two(3), two(3)];
        // Mostly without dilation.
        let dilation = two(6).map(|drawn| 1 + drawn.saturating_sub(3));
        let room = two(18);
        let image = [0, 1].map(|axis| {
            let window = dilation[axis] * (kernel[axis] - 1) + 1;
            let padded = window + room[axis];
            padded.saturating_sub(padding[axis] + end_padding[axis]).max(1)
        });
        let [channels, filters] = [9, 30].map(|most| 1 + draws.below(most) as usize);
        let convolution = ConvolutionShape {
            batch: 1 + draws.below(3).saturating_sub(1) as usize,
            image,
            channels,
            filters,
            kernel,
            stride,
            dilation,
            padding,
            end_padding,
            groups: NonZero::<usize>::MIN,
        };
        let product = convolution.products().expect("a window that fits")[pass];
        Self { shape: product.shape, read: product.read, ..Self::draw(number) }
    }

    /// The same in the dataflow that it takes, whatever memory; nothing if a scratchpad is too small.
    pub(crate) fn pinned(mut self) -> Option<Self> {
        self.accelerator.array.dataflow = self.cost()?.dataflow?.into();
        Some(self)
    }

    /// The images of which its operands are windows.
    pub(crate) fn images(&self) -> [Option<Im2col>; 2] {
        Im2col::of(self.shape, self.read)
    }

    /// What it takes; nothing if a scratchpad is too small for one step.
    pub(crate) fn cost(&self) -> Option<Cost> {
        masks::cost(self, None, false).map(|(cost, _)| cost)
    }

    /// The same of a product without views, as a report.
    pub(crate) fn report(&self) -> Option<GemmReport> {
        assert_eq!(self.images(), [None; 2], "{self:?}");
        large_enough(GemmReport::new(&self.accelerator, self.shape, self.widths))
    }
}

/// What was found; nothing if a scratchpad is too small for one step.
fn large_enough<T>(found: Result<T, Error>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains("bytes at once, half the scratchpad has"), "{message}");
            None
        }
    }
}

#[test]
fn a_gemm_stalls_and_moves_as_if_every_burst_of_its_folds_were_followed() {
    assert_followed(3000, Case::draw);
}

#[test]
fn a_convolution_moves_each_pixel_that_a_tile_needs_once_and_keeps_what_fits() {
    assert_followed(6000, Case::draw_convolution);
}

fn assert_followed(cases: u64, draw: fn(u64) -> Case) {
    let (mut run, mut stalled, mut pieces) = (0, 0, 0);
    for number in 0..cases {
        let case = draw(number);
        let Some(cost) = case.cost() else { continue };
        let dram = &case.accelerator.dram;
        let Case { accelerator, shape, widths, .. } = &case;
        let flow = cost.dataflow.expect("a product");
        let work = steps::of_gemm(accelerator, flow, *shape, *widths, case.images());
        let found = follow(dram, &work);
        let shown = || format!("case {number}: {case:?}");
        let causes = cost.cycles;
        assert_eq!(causes.total().0, found.end, "{}", shown());
        assert_eq!(causes.stall.0, found.stall(), "{}", shown());
        for tensor in [0, 1, 2].map(TensorId) {
            let of_matrix = |all: &[Moved]| {
                let some = all.iter().filter(|moved| moved.tensor == tensor);
                some.fold((0, 0), |sum, of| (sum.0 + of.bytes, sum.1 + of.stall))
            };
            assert_eq!(of_matrix(&cost.moved), of_matrix(&found.moved), "{tensor:?}, {}", shown());
        }
        if dram.is_ideal() {
            assert_eq!(found.stall(), 0, "{}", shown());
        }
        // Watched, no step is left out, and nothing changes.
        let (moments, walked) = watched(dram, |walk| work.iter().for_each(|work| step(walk, work)));
        assert_eq!(moments.len(), work.len() + 1, "{}", shown());
        assert_eq!((walked.stall, walked.ideal), (found.stall(), found.ideal), "{}", shown());
        assert_eq!(walked.moved, found.moved, "{}", shown());
        run += 1;
        stalled += u64::from(causes.stall.0 > 0);
        pieces += u64::from(work.len() as u64 > cost.counts.folds);
    }
    assert!(run > 1500 && stalled > 1000 && pieces > 100, "{run}, {stalled}, {pieces}");
}
