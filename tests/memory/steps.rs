//! What the folds of a GEMM move, written once more: each scratchpad keeps the tiles used last.

use std::ops::Range;

use systoliq_array::mapping::{Axis, Tile};
use systoliq_array::{FoldSchedule, Stationary};
use systoliq_hardware::Accelerator;
use systoliq_hardware::single::GemmWidths;
use systoliq_hardware::{memory::Stored, memory::Transfer};
use systoliq_program::im2col::Im2col;
use systoliq_program::{GemmShape, TensorId};

use super::burst_by_burst::Work;
use super::pixels::{Kept, of_block};

/// A scratchpad of tiles by the places where they begin, the one used last at the end.
struct Pad {
    tensor: TensorId,
    bits: u64,
    half_bits: u64,
    tile_bits: u64,
    /// Whether the matrix has the time axis.
    streams: bool,
    tiles: Vec<[usize; 3]>,
    /// The same as of the image that it views, if it does.
    cut: Option<bool>,
}

impl Pad {
    /// Whether a tile must be fetched; from then on it is there, as far as there is room.
    fn fetches(&mut self, tile: [usize; 3]) -> bool {
        let room = (self.half_bits / self.tile_bits) as usize;
        let known = self.tiles.iter().position(|known| *known == tile);
        if let Some(at) = known {
            self.tiles.remove(at);
        }
        self.tiles.push(tile);
        if self.tiles.len() > room {
            self.tiles.remove(0);
        }
        known.is_none()
    }

    /// Whether its tiles come in pieces of time.
    fn is_cut(&self) -> bool {
        self.cut.unwrap_or(self.streams && self.tile_bits > self.half_bits)
    }
}

/// The block of a matrix with rows along m, or k, and columns along k, or n, that a fold needs.
fn block(stationary: Stationary, is_a: bool, tile: &Tile) -> [Range<usize>; 2] {
    let rows = tile.row..tile.row + tile.rows;
    let cols = tile.col..tile.col + tile.cols;
    let time = tile.time..tile.time + tile.steps;
    let (m, k, n) = match stationary {
        Stationary::Output => (rows, time, cols),
        Stationary::Weight => (time, rows, cols),
        Stationary::Input => (cols, rows, time),
    };
    if is_a { [m, k] } else { [k, n] }
}

/// Results that a step gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// Where their tile begins, along rows and columns of the grid, or columns and time.
    pub(crate) tile: [usize; 2],
    pub(crate) elements: u64,
}

/// The steps of one GEMM with both operands stored row by row, or as the images that they view.
pub(crate) fn of_gemm(
    accelerator: &Accelerator,
    stationary: Stationary,
    shape: GemmShape,
    widths: GemmWidths,
    views: [Option<Im2col>; 2],
) -> Vec<Work> {
    with_results(accelerator, stationary, shape, widths, views)
        .into_iter()
        .map(|(work, _)| work)
        .collect()
}

/// The same, each step with the results that it gives.
pub(crate) fn with_results(
    accelerator: &Accelerator,
    stationary: Stationary,
    shape: GemmShape,
    widths: GemmWidths,
    views: [Option<Im2col>; 2],
) -> Vec<(Work, Option<Given>)> {
    let mapping = accelerator.mapping(shape, widths.accumulator, stationary);
    let schedule = FoldSchedule::new(&mapping).expect("a small GEMM");
    let output_stays = mapping.stationary == Stationary::Output;
    let extents = mapping.extents();
    let [rows, cols] = [extents.rows.min(mapping.rows), extents.cols.min(mapping.cols)];
    let time = extents.time.min(mapping.steps_max);
    let pads = &accelerator.scratchpad;
    let half = |bytes: u64| bytes * 8 / 2;
    // The matrix that moves right lies on rows and time; the other on columns, and on time or rows.
    let right_is_a = mapping.stationary != Stationary::Input;
    let mut operands =
        [(0, widths.a, pads.a_bytes), (1, widths.b, pads.b_bytes)].map(|(tensor, bits, bytes)| {
            let right = (tensor == 0) == right_is_a;
            let tile = match (right, output_stays) {
                (true, _) => rows * time,
                (false, true) => cols * time,
                (false, false) => cols * rows,
            };
            Pad {
                tensor: TensorId(tensor),
                bits: bits.into(),
                half_bits: half(bytes),
                tile_bits: tile as u64 * u64::from(bits),
                streams: right || output_stays,
                tiles: Vec::new(),
                cut: None,
            }
        });
    let folds: Vec<_> = schedule.folds().collect();
    let loops = mapping.loops().map(|each| each.pieces.side);
    let axes = mapping.loops().map(|each| each.axis);
    let places = |tile: &Tile| -> [usize; 3] {
        std::array::from_fn(|at| {
            let from = match axes[at] {
                Axis::Rows => tile.row,
                Axis::Cols => tile.col,
                Axis::Time => tile.time,
            };
            from / loops[at]
        })
    };
    let mut kept = [0, 1].map(|at| {
        let view = views[at]?;
        let blocks: Vec<_> = folds
            .iter()
            .map(|fold| (places(&fold.tile), block(mapping.stationary, at == 0, &fold.tile)))
            .collect();
        let pad: &mut Pad = &mut operands[at];
        let kept = Kept::new(&view, &blocks, pad.half_bits / pad.bits);
        pad.cut = Some(pad.streams && kept.is_none());
        kept
    });
    let right = usize::from(!right_is_a);
    let burst = accelerator.dram.burst_bytes;
    let transfer = |tensor: TensorId, write: bool, elements: usize, bits: u64| {
        let bytes = (elements as u64 * bits).div_ceil(8).div_ceil(burst) * burst;
        let elements = elements as u64;
        Transfer {
            tensor,
            stored: Stored::Elements,
            write,
            elements,
            bytes,
            offset: 0,
            first: true,
        }
    };
    // The most steps in time for which what streams fits.
    let mut steps_max = u64::MAX;
    for (at, pad) in operands.iter().enumerate().filter(|(_, pad)| pad.is_cut()) {
        let lines = if at == right { rows } else { cols };
        steps_max = steps_max.min(pad.half_bits / (lines as u64 * pad.bits));
    }
    if !output_stays {
        steps_max = steps_max.min(half(pads.c_bytes) / (cols as u64 * u64::from(widths.output)));
    }
    let steps_max = usize::try_from(steps_max.max(1)).unwrap_or(usize::MAX);
    let mut work = Vec::new();
    let (mut origin, mut before) = (None, 0);
    for fold in folds {
        let tile = fold.tile;
        let cycles = schedule.cycles_of(&fold);
        let origin = *origin.get_or_insert(cycles.start);
        let pieces = tile.steps.div_ceil(steps_max);
        let side = tile.steps.div_ceil(pieces);
        let begins: [[usize; 3]; 2] = std::array::from_fn(|at| match (at == right, output_stays) {
            (true, _) => [tile.row, usize::MAX, tile.time],
            (false, true) => [usize::MAX, tile.col, tile.time],
            (false, false) => [tile.row, tile.col, usize::MAX],
        });
        let fetches = [0, 1].map(|at| operands[at].fetches(begins[at]));
        let pixels = [0, 1].map(|at| {
            let block = block(mapping.stationary, at == 0, &tile);
            let kept = kept[at].as_mut().zip(views[at]);
            kept.map(|(kept, view)| kept.fetches(&view, places(&tile), &block))
        });
        for from in (0..tile.steps).step_by(side) {
            let to = (from + side).min(tile.steps);
            let mut start = cycles.start;
            if from > 0 {
                start = start.max(fold.start + from as u64);
                if !output_stays {
                    // The next fold may begin its preload a whole grid before the stream ends.
                    let ends = fold.start + tile.steps as u64;
                    let latest = ends.saturating_sub(mapping.rows as u64);
                    start = start.min(latest).max(cycles.start);
                }
            }
            let mut reads = Vec::new();
            for (at, pad) in operands.iter().enumerate() {
                let steps = if pad.is_cut() { to - from } else { tile.steps };
                let elements = match (at == right, output_stays) {
                    (true, _) => tile.rows * steps,
                    (false, true) => tile.cols * steps,
                    (false, false) => tile.cols * tile.rows,
                };
                let piece = Tile { time: tile.time + from, steps: to - from, ..tile };
                let elements = match (views[at], pixels[at]) {
                    (None, _) if fetches[at] && (pad.is_cut() || from == 0) => elements,
                    (Some(_), Some(pixels)) if from == 0 => pixels,
                    (Some(view), None) if pad.is_cut() || from == 0 => {
                        let piece = if pad.is_cut() { &piece } else { &tile };
                        of_block(&view, &block(mapping.stationary, at == 0, piece)).len()
                    }
                    _ => 0,
                };
                if elements > 0 {
                    reads.push(transfer(pad.tensor, false, elements, pad.bits));
                }
            }
            let is_last = to == tile.steps;
            let rest = (tile.steps - to) as u64;
            let done = match (output_stays, is_last) {
                (_, true) => cycles.end,
                (true, false) => fold.start + to as u64,
                (false, false) => cycles.end - rest,
            };
            let results = match output_stays {
                true if is_last => tile.rows * tile.cols,
                false if tile.row + tile.rows == extents.rows => (to - from) * tile.cols,
                _ => 0,
            };
            let mut writes = Vec::new();
            if results > 0 {
                writes.push(transfer(TensorId(2), true, results, widths.output.into()));
            }
            let start = start - origin;
            let length = done - origin - start;
            let place = if output_stays { [tile.row, tile.col] } else { [tile.col, tile.time] };
            let given = Given { tile: place, elements: results as u64 };
            let given = Some(given).filter(|given| given.elements > 0);
            work.push((Work { gap: start - before, length, reads, writes }, given));
            before = start;
        }
    }
    work
}
