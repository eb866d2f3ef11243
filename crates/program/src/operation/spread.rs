//! The gradient of pooling: each element of an image gets what the windows that hold it give it.

use std::ops::Range;

use systoliq_fxp::vectors::{VectorWork, with_widest_vectors};
use systoliq_fxp::{Exact, Lane, Tensor, with_codes};

use super::What;
use super::pool::{MeanFactors, runs};
use crate::command::Program;
use crate::engine::Outcome;
use crate::finish::{self, Edge};
use crate::store::exact::{ExactSource, ExactValues};
use crate::store::{Running, Store};
use crate::tensor::TensorId;
use crate::view::Windows;

/// The gradient of what windows make, as that of the image under them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpread {
    /// The gradient of what the windows make, channels last.
    pub gradient: TensorId,
    /// Windows without spread, whose taps are neighbours.
    pub windows: Windows,
    /// Who gets it.
    pub kind: SpreadKind,
    /// What follows, in this order.
    pub edges: Vec<Edge>,
    /// The result.
    pub output: TensorId,
}

/// Which elements of a window get what of its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpreadKind {
    /// The winner alone, all of it; taps of winners are in this tensor.
    Winner(TensorId),
    /// Each the multiplier of 1/n times it.
    Share {
        /// Whether n counts padding.
        counts_padding: bool,
    },
}

impl PoolSpread {
    /// Whether codes move, so that nothing is converted: windows do not overlap, each has a winner, and
    /// masks only select.
    pub fn moves(&self) -> bool {
        let Windows { down, along } = self.windows;
        let apart = [down, along].into_iter().all(|axis| axis.step >= axis.taps);
        let has_winner = match self.kind {
            SpreadKind::Winner(_) => true,
            SpreadKind::Share { .. } => false,
        };
        apart && has_winner && self.edges.iter().all(Edge::selects)
    }

    pub(super) fn reads(&self) -> Vec<(TensorId, What)> {
        let winners = match self.kind {
            SpreadKind::Winner(winners) => Some(winners),
            SpreadKind::Share { .. } => None,
        };
        let elements = [self.gradient].into_iter().chain(winners);
        let elements = elements.map(|tensor| (tensor, What::Elements));
        elements.chain(finish::masks(&self.edges)).collect()
    }

    pub(super) fn describe(&self, program: &Program) -> String {
        let name_of = |id: TensorId| program.tensor(id).name.as_str();
        let gradient = name_of(self.gradient);
        let made = match self.kind {
            SpreadKind::Winner(winners) => format!("{gradient} to {}", name_of(winners)),
            SpreadKind::Share { .. } => format!("shares of {gradient}"),
        };
        let made = finish::describe(made, &self.edges, program);
        let moved = if self.moves() { "codes of " } else { "" };
        format!("{} = {moved}{made}", name_of(self.output))
    }

    pub(super) fn run(&self, store: &mut Store, running: &Running<'_>) -> Outcome {
        if !self.moves() {
            return store.write_exact(self.output, self, &self.edges, None, running).into();
        }
        let (gates, _) = store.gates(&self.edges, 0);
        let make = |store: &Store, places: Range<usize>, codes: &mut [i64]| {
            let first = places.start;
            self.values(store).sums(places, codes);
            gates.iter().for_each(|gate| gate.pass(codes, first));
        };
        store.move_codes(self.output, self.gradient, make).into()
    }
}

/// What windows give the elements under them, with what is read.
pub(crate) struct SpreadValues<'s> {
    gradient: &'s Tensor,
    windows: Windows,
    giving: Giving<'s>,
}

enum Giving<'s> {
    ToWinners(&'s Tensor),
    Shares(MeanFactors),
}

impl ExactSource for PoolSpread {
    type Values<'s> = SpreadValues<'s>;

    fn values<'s>(&'s self, store: &'s Store) -> SpreadValues<'s> {
        let giving = match self.kind {
            SpreadKind::Winner(winners) => Giving::ToWinners(store.read(winners)),
            SpreadKind::Share { counts_padding } => {
                Giving::Shares(MeanFactors::of(self.windows, counts_padding))
            }
        };
        SpreadValues { gradient: store.read(self.gradient), windows: self.windows, giving }
    }
}

impl SpreadValues<'_> {
    /// The sums at some places, which 64 bits hold.
    fn sums(&self, elements: Range<usize>, sums: &mut [i64]) {
        let Self { gradient, windows, ref giving } = *self;
        let channels = gradient.cols();
        with_codes!(gradient, |codes| {
            let codes = codes.as_slice().expect("tensors are contiguous");
            match giving {
                Giving::Shares(factors) => with_widest_vectors(SharesOf {
                    codes,
                    channels,
                    windows,
                    elements,
                    sums,
                    factors: *factors,
                }),
                Giving::ToWinners(winners) => with_codes!(winners, |winners| {
                    let winners = winners.as_slice().expect("tensors are contiguous");
                    with_widest_vectors(WonOf {
                        codes,
                        winners,
                        channels,
                        windows,
                        elements,
                        sums,
                    });
                }),
            }
        });
    }

    /// The shares of some elements, where 64 bits need not hold them.
    fn wide_shares(&self, factors: &MeanFactors, elements: Range<usize>) -> Vec<i128> {
        let (gradient, channels) = (self.gradient, self.gradient.cols());
        let share = |place: usize| {
            let mut sum = 0;
            each_window(self.windows, place / channels, |window, _, [oy, ox]| {
                let code = gradient.code(window, place % channels);
                sum += i128::from(code) * i128::from(factors.at(oy, ox));
            });
            sum
        };
        elements.map(share).collect()
    }
}

impl ExactValues for SpreadValues<'_> {
    fn at<'r>(&self, places: Range<usize>, room: &'r mut [i64]) -> Exact<'r> {
        let Windows { down, along } = self.windows;
        let over = |axis: crate::view::Sliding| axis.taps.div_ceil(axis.step);
        let windows = (over(down) * over(along)) as u32;
        let format = self.gradient.format();
        let bits = format.bits() as i32 + (windows.ilog2() as i32 + 1);
        let (frac, bits) = match &self.giving {
            Giving::ToWinners(_) => (format.frac(), bits),
            Giving::Shares(factors) => {
                let (frac, bits) = (format.frac() + factors.exponent, bits + factors.bits);
                if bits > Exact::NARROW_BITS {
                    return Exact::wide(frac, &self.wide_shares(factors, places));
                }
                (frac, bits)
            }
        };
        let raws = &mut room[..places.len()];
        self.sums(places, raws);
        Exact::Narrow { frac, bits, raws }
    }
}

/// Does something with each window that holds the pixel of a row, in their order: with its row among the
/// results, the tap that the pixel is to it, and its two positions.
#[inline(always)]
fn each_window(
    Windows { down, along }: Windows,
    row: usize,
    mut with: impl FnMut(usize, usize, [usize; 2]),
) {
    let (line, x) = (row / along.extent, row % along.extent);
    let (image, y) = (line / down.extent, line % down.extent);
    for oy in down.positions_over(y) {
        for ox in along.positions_over(x) {
            let window = (image * down.positions + oy) * along.positions + ox;
            let tap = down.tap_over(y, oy) * along.taps + along.tap_over(x, ox);
            with(window, tap, [oy, ox]);
        }
    }
}

/// What the winners of some windows get.
struct WonOf<'a, L, W> {
    codes: &'a [L],
    winners: &'a [W],
    channels: usize,
    windows: Windows,
    elements: Range<usize>,
    sums: &'a mut [i64],
}

impl<L: Lane, W: Lane> VectorWork for WonOf<'_, L, W> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { codes, winners, channels, windows, elements, mut sums } = self;
        for (row, columns) in runs(elements, channels) {
            let of_row;
            (of_row, sums) = std::mem::take(&mut sums).split_at_mut(columns.len());
            of_row.fill(0);
            each_window(windows, row, |window, tap, _| {
                let of_window = window * channels + columns.start..window * channels + columns.end;
                let (codes, winners) = (&codes[of_window.clone()], &winners[of_window]);
                for ((sum, code), winner) in of_row.iter_mut().zip(codes).zip(winners) {
                    let won = if winner.code() == tap as i64 { code.code() } else { 0 };
                    // A check would forbid vectors.
                    *sum = sum.wrapping_add(won);
                }
            });
        }
    }
}

/// What the elements of some windows share.
struct SharesOf<'a, L> {
    codes: &'a [L],
    channels: usize,
    windows: Windows,
    elements: Range<usize>,
    sums: &'a mut [i64],
    factors: MeanFactors,
}

impl<L: Lane> VectorWork for SharesOf<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { codes, channels, windows, elements, mut sums, factors } = self;
        for (row, columns) in runs(elements, channels) {
            let of_row;
            (of_row, sums) = std::mem::take(&mut sums).split_at_mut(columns.len());
            of_row.fill(0);
            each_window(windows, row, |window, _, [oy, ox]| {
                let factor = factors.at(oy, ox);
                let from = window * channels;
                let codes = &codes[from + columns.start..from + columns.end];
                for (sum, code) in of_row.iter_mut().zip(codes) {
                    *sum = sum.wrapping_add(code.code().wrapping_mul(factor));
                }
            });
        }
    }
}
