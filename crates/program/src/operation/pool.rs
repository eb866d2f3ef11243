//! Pooling: of each window and channel the largest code moves on, or the mean is converted.

use std::ops::Range;

use smallvec::smallvec;
use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_fxp::{Exact, Lane, Multiplier, Tensor, with_codes};

use super::What;
use crate::command::Program;
use crate::engine::{Outcome, Written};
use crate::finish::{self, Edge};
use crate::store::exact::{ExactSource, ExactValues};
use crate::store::{Running, Store};
use crate::tensor::TensorId;
use crate::view::Windows;

/// Windows of an image, channel by channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The image, channels last.
    pub input: TensorId,
    /// Windows without spread, whose taps are neighbours.
    pub windows: Windows,
    /// What is made of a window.
    pub kind: PoolKind,
    /// What follows a mean, in this order.
    pub edges: Vec<Edge>,
    /// The result.
    pub output: TensorId,
}

/// What is made of the elements of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest, whose code moves; padding never wins, and of equal ones the first does.
    Largest {
        /// Where the tap of the winner is kept, if somebody asks for it.
        winners: Option<TensorId>,
    },
    /// The exact sum times the multiplier of 1/n.
    Mean {
        /// Whether n counts padding.
        counts_padding: bool,
    },
}

impl Pool {
    pub(super) fn writes(&self) -> Vec<TensorId> {
        let winners = match self.kind {
            PoolKind::Largest { winners } => winners,
            PoolKind::Mean { .. } => None,
        };
        [self.output].into_iter().chain(winners).collect()
    }

    pub(super) fn reads(&self) -> Vec<(TensorId, What)> {
        let elements = [(self.input, What::Elements)].into_iter();
        elements.chain(finish::masks(&self.edges)).collect()
    }

    pub(super) fn describe(&self, program: &Program, output: TensorId) -> String {
        let name_of = |id: TensorId| program.tensor(id).name.as_str();
        let Windows { down, along } = self.windows;
        let window = format!("{} x {} windows of {}", down.taps, along.taps, name_of(self.input));
        let made = match self.kind {
            PoolKind::Largest { .. } if output != self.output => {
                format!("places of the largest of {window}")
            }
            PoolKind::Largest { .. } => format!("largest of {window}"),
            PoolKind::Mean { .. } => format!("mean of {window}"),
        };
        format!("{} = {}", name_of(output), finish::describe(made, &self.edges, program))
    }

    pub(super) fn run(&self, store: &mut Store, running: &Running<'_>) -> Outcome {
        let winners = match self.kind {
            PoolKind::Largest { winners } => winners,
            PoolKind::Mean { counts_padding } => {
                let means = WindowMeans { pool: self, counts_padding };
                return store.write_exact(self.output, &means, &self.edges, None, running).into();
            }
        };
        let mut places = std::mem::take(&mut store.memory.results);
        places.clear();
        let moved = store.move_codes(self.output, self.input, |store, elements, largest| {
            let from = places.len();
            places.resize(from + largest.len(), 0);
            let tensor = store.read(self.input);
            with_codes!(tensor, |codes| {
                let codes = codes.as_slice().expect("tensors are contiguous");
                with_widest_vectors(LargestOfWindows {
                    codes,
                    channels: tensor.cols(),
                    windows: self.windows,
                    elements,
                    largest,
                    winners: &mut places[from..],
                });
            });
        });
        let mut outcome = Outcome { written: smallvec![moved], loss: None };
        if let Some(id) = winners {
            let plan = store.program().tensor(id).plan;
            let conversion = plan.conversion(running.occasion(id).key, false);
            let (rows, cols) = store.shape(id);
            let (tensor, statistics) = conversion.tensor(rows, cols, &places);
            store.put(id, tensor);
            outcome.written.push(Written::converted(id, statistics, false));
        }
        store.memory.results = places;
        outcome
    }
}

/// The runs of columns that some elements are, counted row by row: each with its row.
pub(super) fn runs(
    elements: Range<usize>,
    columns: usize,
) -> impl Iterator<Item = (usize, Range<usize>)> {
    let rows = elements.start / columns..elements.end.div_ceil(columns);
    rows.map(move |row| {
        let first = row * columns;
        let from = elements.start.max(first) - first;
        (row, from..elements.end.min(first + columns) - first)
    })
}

/// The largest codes of some windows, and their taps.
struct LargestOfWindows<'a, L> {
    codes: &'a [L],
    channels: usize,
    windows: Windows,
    elements: Range<usize>,
    largest: &'a mut [i64],
    winners: &'a mut [i64],
}

impl<L: Lane> VectorWork for LargestOfWindows<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { codes, channels, windows, elements, mut largest, mut winners } = self;
        for (row, columns) in runs(elements, channels) {
            let (best, places);
            (best, largest) = std::mem::take(&mut largest).split_at_mut(columns.len());
            (places, winners) = std::mem::take(&mut winners).split_at_mut(columns.len());
            best.fill(i64::MIN);
            each_tap(windows, row, |tap, pixel| {
                let from = pixel * channels;
                let codes = &codes[from + columns.start..from + columns.end];
                for ((best, place), code) in best.iter_mut().zip(&mut *places).zip(codes) {
                    let code = code.code();
                    let wins = code > *best;
                    *place = if wins { tap as i64 } else { *place };
                    *best = if wins { code } else { *best };
                }
            });
        }
    }
}

/// Does something with each tap and pixel that the window of a row of results meets, in their order.
#[inline(always)]
fn each_tap(Windows { down, along }: Windows, row: usize, mut with: impl FnMut(usize, usize)) {
    let (window, ox) = (row / along.positions, row % along.positions);
    let (image, oy) = (window / down.positions, window % down.positions);
    for ky in down.taps_at(oy) {
        let y = down.step * oy + ky - down.pad as usize;
        for kx in along.taps_at(ox) {
            let x = along.step * ox + kx - along.pad as usize;
            with(ky * along.taps + kx, (image * down.extent + y) * along.extent + x);
        }
    }
}

/// The multipliers of means over windows, as integers with common fraction bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct MeanFactors {
    windows: Windows,
    counts_padding: bool,
    /// Fraction bits that a factor adds.
    pub(super) exponent: i32,
    /// The length of the longest factor.
    pub(super) bits: i32,
}

impl MeanFactors {
    pub(super) fn of(windows: Windows, counts_padding: bool) -> Self {
        let Windows { down, along } = windows;
        let counts = |axis: crate::view::Sliding| {
            (0..axis.positions).map(move |position| axis.taps_at(position).len())
        };
        let exponent = match counts_padding {
            true => Multiplier::reciprocal(windows.taps() as u32).exponent,
            false => {
                let most = |axis| counts(axis).max().unwrap_or(1).max(1);
                Multiplier::reciprocal((most(down) * most(along)) as u32).exponent
            }
        };
        let least = match counts_padding {
            true => windows.taps(),
            false => {
                let least = |axis| counts(axis).min().unwrap_or(1).max(1);
                least(down) * least(along)
            }
        };
        let bits = 16 + exponent - Multiplier::reciprocal(least as u32).exponent;
        Self { windows, counts_padding, exponent, bits }
    }

    /// The factor of the window at two positions.
    #[inline]
    pub(super) fn at(&self, oy: usize, ox: usize) -> i64 {
        let Windows { down, along } = self.windows;
        let count = match self.counts_padding {
            true => self.windows.taps(),
            false => down.taps_at(oy).len() * along.taps_at(ox).len(),
        };
        let Multiplier { mantissa, exponent } = Multiplier::reciprocal(count as u32);
        i64::from(mantissa) << (self.exponent - exponent)
    }
}

/// The means of windows.
struct WindowMeans<'p> {
    pool: &'p Pool,
    counts_padding: bool,
}

/// The same with what is read.
struct MeansOf<'s> {
    tensor: &'s Tensor,
    factors: MeanFactors,
}

impl ExactSource for WindowMeans<'_> {
    type Values<'s>
        = MeansOf<'s>
    where
        Self: 's;

    fn values<'s>(&'s self, store: &'s Store) -> MeansOf<'s> {
        let factors = MeanFactors::of(self.pool.windows, self.counts_padding);
        MeansOf { tensor: store.read(self.pool.input), factors }
    }
}

impl ExactValues for MeansOf<'_> {
    fn at<'r>(&self, places: Range<usize>, room: &'r mut [i64]) -> Exact<'r> {
        let Self { tensor, factors } = self;
        let format = tensor.format();
        let windows = factors.windows;
        let raws = &mut room[..places.len()];
        with_codes!(tensor, |codes| {
            let codes = codes.as_slice().expect("tensors are contiguous");
            let (channels, elements) = (tensor.cols(), places.clone());
            with_widest_vectors(SumsOfWindows { codes, channels, windows, elements, sums: raws });
        });
        let bits = format.bits() as i32 + windows.taps().ilog2() as i32 + 1 + factors.bits;
        let factor_of = |row: usize| {
            let Windows { down, along } = windows;
            factors.at(row / along.positions % down.positions, row % along.positions)
        };
        scaled((format.frac() + factors.exponent, bits), raws, places, tensor.cols(), factor_of)
    }
}

/// Sums, each times the factor of its row.
fn scaled<'r>(
    (frac, bits): (i32, i32),
    raws: &'r mut [i64],
    places: Range<usize>,
    columns: usize,
    factor_of: impl Fn(usize) -> i64,
) -> Exact<'r> {
    if bits <= Exact::NARROW_BITS {
        let mut rest = &mut *raws;
        for (row, columns) in runs(places, columns) {
            let (of_row, others) = rest.split_at_mut(columns.len());
            let factor = factor_of(row);
            of_row.iter_mut().for_each(|raw| *raw *= factor);
            rest = others;
        }
        return Exact::Narrow { frac, bits, raws };
    }
    let scaled = raws
        .iter()
        .zip(places)
        .map(|(&raw, place)| i128::from(raw) * i128::from(factor_of(place / columns)));
    Exact::wide(frac, &scaled.collect::<Vec<_>>())
}

/// The sums of the codes of some windows.
struct SumsOfWindows<'a, L> {
    codes: &'a [L],
    channels: usize,
    windows: Windows,
    elements: Range<usize>,
    sums: &'a mut [i64],
}

impl<L: Lane> VectorWork for SumsOfWindows<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { codes, channels, windows, elements, mut sums } = self;
        for (row, columns) in runs(elements, channels) {
            let of_row;
            (of_row, sums) = std::mem::take(&mut sums).split_at_mut(columns.len());
            of_row.fill(0);
            each_tap(windows, row, |_, pixel| {
                let from = pixel * channels;
                let codes = &codes[from + columns.start..from + columns.end];
                for (sum, code) in of_row.iter_mut().zip(codes) {
                    // A check would forbid vectors.
                    *sum = sum.wrapping_add(code.code());
                }
            });
        }
    }
}
