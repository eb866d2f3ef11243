//! Which pixels a part of the im2col matrix of a convolution repeats.
//!
//! A row of the matrix belongs to a position of the window, row by row over the output, image by image; a
//! column to a tap, (channel · height + y) · width + x, as files of SCALE-Sim's order them. ([`View`]
//! has channels last.) Neighbouring elements repeat the same pixels, and a scratchpad that is read
//! through the view needs each of them once. How many a block of the matrix needs is counted in
//! closed form: per channel and per residue of the step its pixels are a union of few rectangles.

use std::collections::HashMap;
use std::ops::Range;

use crate::gemm::{GemmShape, Reading};
use crate::view::{Sliding, View, Windows};

/// The windows of some images of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Im2col {
    /// How many images there are.
    pub images: usize,
    /// Where the windows of each lie.
    pub windows: Windows,
    /// Channels of an image.
    pub channels: usize,
}

/// A block of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// Its rows.
    pub positions: Range<usize>,
    /// Its columns.
    pub taps: Range<usize>,
}

/// A rectangle: rows, columns.
type Rectangle = [Range<usize>; 2];

impl Im2col {
    /// The images of which A and B of a product are windows.
    pub fn of(shape: GemmShape, [a, b]: [Reading; 2]) -> [Option<Self>; 2] {
        let image = |reading: Reading, rows: usize, cols: usize| match reading.view {
            View::Windows(windows) => {
                let (rows, cols) = reading.in_view(rows, cols);
                let (images, channels) = (rows / windows.positions(), cols / windows.taps());
                Some(Self { images, windows, channels })
            }
            View::Stored | View::Flat { .. } | View::Kernel { .. } => None,
        };
        [image(a, shape.m, shape.k), image(b, shape.k, shape.n)]
    }

    /// Rows of the matrix.
    pub fn positions(&self) -> usize {
        self.images * self.windows.positions()
    }

    /// Columns of the matrix.
    pub fn taps(&self) -> usize {
        self.channels * self.windows.taps()
    }

    /// How many pixels some blocks need together, each counted once.
    ///
    /// ```
    /// use systoliq_program::im2col::{Block, Im2col};
    /// use systoliq_program::view::{Sliding, Windows};
    /// let axis =
    ///     Sliding { positions: 4, taps: 3, step: 1, tap_step: 1, spread: 1, pad: 0, extent: 6 };
    /// let windows = Windows { down: axis, along: axis };
    /// let view = Im2col { images: 1, windows, channels: 2 };
    /// // Two windows side by side, in the first channel: 3 rows of 4 pixels.
    /// assert_eq!(view.pixels(&[Block { positions: 0..2, taps: 0..9 }]), 12);
    /// // All of both channels.
    /// assert_eq!(view.pixels(&[Block { positions: 0..16, taps: 0..18 }]), 72);
    /// ```
    pub fn pixels(&self, blocks: &[Block]) -> u64 {
        let Windows { along, .. } = &self.windows;
        let (positions, taps) = (self.windows.positions(), self.windows.taps());
        let some = |block: &&Block| !block.taps.is_empty() && !block.positions.is_empty();
        let blocks = || blocks.iter().filter(some);
        let channels = alike(blocks().map(|block| &block.taps), taps);
        let mut pixels = 0;
        for (image, images_alike) in alike(blocks().map(|block| &block.positions), positions) {
            for &(channel, channels_alike) in &channels {
                let parts = blocks().flat_map(|block| {
                    let windows =
                        lines(&inside(&block.positions, image, positions), along.positions);
                    let filter = lines(&inside(&block.taps, channel, taps), along.taps);
                    let pairs = windows.into_iter().flat_map(move |window| {
                        filter.clone().into_iter().map(move |filter| (window.clone(), filter))
                    });
                    pairs.collect::<Vec<_>>()
                });
                let each = self.pixels_of_channel(&parts.collect::<Vec<_>>());
                pixels += (images_alike * channels_alike) as u64 * each;
            }
        }
        pixels
    }

    /// How many pixels a block needs beyond those that some others need.
    ///
    /// `known` has what was asked for: blocks are alike further on, by whole channels and images, and
    /// within an image by rows of windows that all lie inside it.
    pub fn beyond(
        &self,
        block: &Block,
        others: &[Block],
        known: &mut HashMap<Vec<Block>, u64>,
    ) -> u64 {
        let mut blocks: Vec<Block> = others.iter().map(|other| self.beside(block, other)).collect();
        blocks.retain(|other| !other.positions.is_empty() && !other.taps.is_empty());
        blocks.push(block.clone());
        self.move_to_first(&mut blocks);
        *known.entry(blocks).or_insert_with_key(|blocks| {
            self.pixels(blocks) - self.pixels(&blocks[..blocks.len() - 1])
        })
    }

    /// What of another block may need pixels that a block needs.
    fn beside(&self, block: &Block, other: &Block) -> Block {
        let Windows { down, along } = &self.windows;
        // Windows so many rows apart have no row of pixels in common.
        let apart = (down.tap_step * (down.taps - 1) / down.step + 1) * along.positions;
        let near = block.positions.start.saturating_sub(apart + along.positions)
            ..block.positions.end + apart + along.positions;
        let channels = whole(&block.taps, self.windows.taps());
        let images = whole(&block.positions, self.windows.positions());
        let positions = both(&both(&other.positions, &near), &images);
        Block { positions, taps: both(&other.taps, &channels) }
    }

    /// Moves blocks together to the first place at which all need as many pixels.
    fn move_to_first(&self, blocks: &mut [Block]) {
        let Windows { down, along } = &self.windows;
        let first = |of: &dyn Fn(&Block) -> usize| blocks.iter().map(of).min().unwrap_or(0);
        let (first_tap, first_position) =
            (first(&|block| block.taps.start), first(&|block| block.positions.start));
        let channels = whole(&(first_tap..first_tap), self.windows.taps()).start;
        let of_image = self.windows.positions();
        let images = whole(&(first_position..first_position), of_image).start;
        let end = blocks.iter().map(|block| block.positions.end).max().unwrap_or(0) - images;
        let start = first_position - images;
        let rows = start / along.positions..end.div_ceil(along.positions);
        let inside = down.inside();
        let up = match end <= of_image && inside.start <= rows.start && rows.end <= inside.end {
            true => (rows.start - inside.start) / down.spread * down.spread * along.positions,
            false => 0,
        };
        for block in blocks {
            let Range { start, end } = block.positions;
            block.positions = start - images - up..end - images - up;
            block.taps = block.taps.start - channels..block.taps.end - channels;
        }
    }

    /// The pixels of one channel that windows in these rectangles meet with taps in those.
    fn pixels_of_channel(&self, parts: &[(Rectangle, Rectangle)]) -> u64 {
        let Windows { down, along } = &self.windows;
        let residues = |axis: usize, sliding: &Sliding| {
            sliding.residues(parts.iter().map(|(_, filter)| filter[axis].clone()))
        };
        let residues_along = residues(1, along);
        let mut pixels = 0;
        for (y, rows_alike) in residues(0, down) {
            for &(x, cols_alike) in &residues_along {
                let met = parts.iter().flat_map(|(window, filter)| {
                    let cols = along.met(x, &window[1], &filter[1]);
                    let rows = down.met(y, &window[0], &filter[0]);
                    rows.flat_map(move |rows| cols.clone().map(move |cols| [rows.clone(), cols]))
                });
                pixels += (rows_alike * cols_alike) as u64 * area(&met.collect::<Vec<_>>());
            }
        }
        pixels
    }
}

impl Sliding {
    /// The positions at which no tap lies before the first pixel or beyond the last.
    fn inside(&self) -> Range<usize> {
        let Self { positions, taps, step, tap_step, spread, pad, extent } = *self;
        let last = (spread * (extent - 1)) as isize + pad - (tap_step * (taps - 1)) as isize;
        let first = pad.max(0) as usize;
        let end = usize::try_from(last).map_or(0, |last| last / step + 1);
        first.div_ceil(step)..end.min(positions)
    }

    /// The residues of step · p + tap_step · t by the step, one of each kind with how many there are
    /// of it: residues of a kind are met by as many taps of each range.
    fn residues(&self, taps: impl Iterator<Item = Range<usize>>) -> Vec<(usize, usize)> {
        let step = self.step;
        if self.tap_step > 1 {
            return (0..step).map(|residue| (residue, 1)).collect();
        }
        let taps = taps.flat_map(|taps| [taps.start % step, taps.end % step]);
        let image = [self.pad, self.pad + self.extent as isize];
        let image = image.map(|end| end.rem_euclid(step as isize) as usize);
        let mut ends: Vec<usize> = taps.chain(image).chain([0, step]).collect();
        ends.sort_unstable();
        ends.dedup();
        ends.windows(2).map(|ends| (ends[0], ends[1] - ends[0])).collect()
    }

    /// The pixels of one residue that positions meet with taps, in a numbering without gaps.
    fn met(
        &self,
        residue: usize,
        positions: &Range<usize>,
        taps: &Range<usize>,
    ) -> impl Iterator<Item = Range<usize>> + Clone + use<> {
        let Self { step, tap_step, spread, extent, pad, .. } = *self;
        // One tap in so many has the residue, and meets pixels so many positions further.
        let period = step / common_divisor(step, tap_step);
        let hop = tap_step * period / step;
        let known = taps.start..taps.end.min(taps.start + period);
        let first = known.into_iter().find(|tap| tap_step * tap % step == residue);
        let count = first.map_or(0, |first| (taps.end - first).div_ceil(period));
        let start = first.map_or(0, |first| tap_step * first / step) + positions.start;
        // Runs of neighbouring taps overlap, or touch, or have gaps between them.
        let (runs, length) = match hop <= positions.len() {
            true => (count.min(1), hop * count.saturating_sub(1) + positions.len()),
            false => (count, positions.len()),
        };
        // Of places with this residue the quotients by the step; with a step there is no spread.
        let beyond =
            |place: isize| (place - residue as isize + step as isize - 1).div_euclid(step as isize);
        let (image, end) = (beyond(pad), beyond(pad + extent as isize));
        let pixels = if spread > 1 { extent } else { (end - image) as usize };
        let pixel = move |at: usize| {
            let place = (at as isize - image).max(0) as usize;
            place.div_ceil(spread).min(pixels)
        };
        let runs = (0..runs).map(move |run| start + run * hop);
        runs.map(move |from| pixel(from)..pixel(from + length)).filter(|met| !met.is_empty())
    }
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// Groups of `size` places, of which these ranges cut neighbours alike: the first of some, and how many.
fn alike<'r>(ranges: impl Iterator<Item = &'r Range<usize>>, size: usize) -> Vec<(usize, usize)> {
    let cut = |range: &Range<usize>| {
        let (first, last) = (range.start / size, (range.end - 1) / size);
        [first, first + 1, last, last + 1]
    };
    let mut ends: Vec<usize> = ranges.flat_map(cut).collect();
    ends.sort_unstable();
    ends.dedup();
    ends.windows(2).map(|ends| (ends[0], ends[1] - ends[0])).collect()
}

/// The groups of `size` places that a range meets.
fn whole(range: &Range<usize>, size: usize) -> Range<usize> {
    range.start / size * size..range.end.next_multiple_of(size)
}

/// What two ranges have in common.
fn both(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

/// What of a range lies in a group of `size` places, counted from where the group begins.
fn inside(range: &Range<usize>, group: usize, size: usize) -> Range<usize> {
    let place = |at: usize| at.saturating_sub(group * size).min(size);
    place(range.start)..place(range.end)
}

/// A range of places that are numbered row by row, as rectangles.
fn lines(range: &Range<usize>, width: usize) -> Vec<Rectangle> {
    if range.is_empty() {
        return Vec::new();
    }
    let ([top, left], [bottom, right]) =
        ([range.start / width, range.start % width], [range.end / width, range.end % width]);
    if top == bottom {
        return vec![[top..top + 1, left..right]];
    }
    let whole = top + usize::from(left > 0)..bottom;
    let parts =
        [[top..whole.start, left..width], [whole, 0..width], [bottom..bottom + 1, 0..right]];
    parts.into_iter().filter(|[rows, cols]| !rows.is_empty() && !cols.is_empty()).collect()
}

/// The area of a union of rectangles.
fn area(rectangles: &[Rectangle]) -> u64 {
    let mut ends: Vec<usize> =
        rectangles.iter().flat_map(|[rows, _]| [rows.start, rows.end]).collect();
    ends.sort_unstable();
    ends.dedup();
    let band = |ends: &[usize]| {
        let here = rectangles.iter().filter(|[rows, _]| rows.contains(&ends[0]));
        let mut cols: Vec<Range<usize>> = here.map(|[_, cols]| cols.clone()).collect();
        cols.sort_unstable_by_key(|cols| cols.start);
        let (mut covered, mut from) = (0, 0);
        for cols in cols {
            covered += cols.end.saturating_sub(cols.start.max(from)) as u64;
            from = from.max(cols.end);
        }
        covered * (ends[1] - ends[0]) as u64
    };
    ends.windows(2).map(band).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use systoliq_keyed_random::Key;

    use super::*;

    /// The pixel that a position and a tap meet, by definition.
    fn pixel(axis: &Sliding, position: usize, tap: usize) -> Option<usize> {
        let at = (axis.step * position + axis.tap_step * tap) as isize - axis.pad;
        (0..axis.extent).find(|&pixel| at == (pixel * axis.spread) as isize)
    }

    fn one_by_one(view: &Im2col, blocks: &[Block]) -> u64 {
        let Windows { down, along } = &view.windows;
        let mut seen = BTreeSet::new();
        for block in blocks {
            for position in block.positions.clone() {
                let of_image = view.windows.positions();
                let (image, place) = (position / of_image, position % of_image);
                let [y, x] = [place / along.positions, place % along.positions];
                for tap in block.taps.clone() {
                    let (channel, tap) = (tap / view.windows.taps(), tap % view.windows.taps());
                    let [ky, kx] = [tap / along.taps, tap % along.taps];
                    let met = (pixel(down, y, ky), pixel(along, x, kx));
                    if let (Some(row), Some(col)) = met {
                        seen.insert((image, channel, row, col));
                    }
                }
            }
        }
        seen.len() as u64
    }

    struct Draws {
        key: Key,
        at: u64,
    }

    impl Draws {
        fn below(&mut self, bound: usize) -> usize {
            self.at += 1;
            self.key.below(self.at, bound as u32) as usize
        }

        fn range(&mut self, end: usize) -> Range<usize> {
            let (a, b) = (self.below(end + 1), self.below(end + 1));
            a.min(b)..a.max(b)
        }

        fn axis(&mut self, gradient: bool) -> Sliding {
            let [taps, stride] = [1 + self.below(5), 1 + self.below(4)];
            let tap_step = 1 + self.below(3) * self.below(2);
            let reach = (taps - 1) * tap_step + 1;
            let extent = reach + self.below(9);
            let outputs = (extent - reach) / stride + 1 + self.below(2);
            let pad = self.below(2) * self.below(3);
            let (positions, step, spread, extent) = match gradient {
                true => (extent, 1, stride, outputs),
                false => (outputs, stride, 1, extent),
            };
            let pad = if gradient { reach as isize - 1 - 2 * pad as isize } else { pad as isize };
            Sliding { positions, taps, step, tap_step, spread, pad, extent }
        }
    }

    #[test]
    fn pixels_are_those_counted_one_by_one() {
        let mut shifted = 0;
        for case in 0..4000 {
            let mut draws = Draws { key: Key::new(5).with(case), at: 0 };
            let gradient = case % 2 == 1;
            let view = Im2col {
                windows: Windows { down: draws.axis(gradient), along: draws.axis(gradient) },
                channels: 1 + draws.below(4),
                images: 1 + draws.below(4),
            };
            let blocks: Vec<Block> = (0..1 + draws.below(3))
                .map(|_| Block {
                    positions: draws.range(view.positions()),
                    taps: draws.range(view.taps()),
                })
                .collect();
            for axis in [view.windows.down, view.windows.along] {
                let pairs = (0..axis.positions).flat_map(|p| (0..axis.taps).map(move |t| (p, t)));
                let met: Vec<_> = pairs.clone().map(|(p, t)| pixel(&axis, p, t)).collect();
                assert_eq!(pairs.map(|(p, t)| axis.meets(p, t)).collect::<Vec<_>>(), met);
                assert_eq!(axis.meetings(), met.iter().flatten().count() as u64, "{axis:?}");
            }
            let mut known = HashMap::new();
            for at in 0..blocks.len() {
                let mut others = blocks.clone();
                let block = others.remove(at);
                let beyond = one_by_one(&view, &blocks) - one_by_one(&view, &others);
                let shown = || format!("case {case}: {view:?}, {block:?} beyond {others:?}");
                assert_eq!(view.beyond(&block, &others, &mut known), beyond, "{}", shown());
                let moved = known.keys().any(|key| key.last() == Some(&block));
                shifted += u64::from(!moved);
            }
            let expected = one_by_one(&view, &blocks);
            assert_eq!(view.pixels(&blocks), expected, "case {case}: {view:?}, {blocks:?}");
        }
        assert!(shifted > 1000, "{shifted} blocks that are like one before");
    }
}
