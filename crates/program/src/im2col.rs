//! The im2col matrix of a convolution as a view of the image that is stored.
//!
//! A row of the matrix belongs to a position of the window, row by row over the output; a column to
//! a tap, (channel · height + y) · width + x. Neighbouring elements repeat the same pixels, and a
//! scratchpad that is read through the view needs each of them once. How many a block of the matrix
//! needs is counted in closed form: per channel and per residue of the stride its pixels are a union
//! of few rectangles.

use std::ops::Range;

/// A window that slides along one axis of an image: position p and tap t meet the pixel
/// (step · p + t − pad) / dilation, if that is whole and one of `extent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sliding {
    /// Positions of the window.
    pub positions: usize,
    /// Taps of the window.
    pub taps: usize,
    /// From one position to the next. Above 1 only without dilation.
    pub step: usize,
    /// From one pixel to the next: in between lie zeros that are not stored.
    pub dilation: usize,
    /// Zeros before the first pixel that are not stored.
    pub pad: usize,
    /// Pixels.
    pub extent: usize,
}

/// A view of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Im2col {
    /// Down the image.
    pub down: Sliding,
    /// Along its rows.
    pub along: Sliding,
    /// Channels of the image.
    pub channels: usize,
}

/// A block of the matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its rows.
    pub positions: Range<usize>,
    /// Its columns.
    pub taps: Range<usize>,
}

/// A rectangle: rows, columns.
type Rectangle = [Range<usize>; 2];

impl Im2col {
    /// Rows of the matrix.
    pub fn positions(&self) -> usize {
        self.down.positions * self.along.positions
    }

    /// Taps of one channel.
    pub fn taps_of_channel(&self) -> usize {
        self.down.taps * self.along.taps
    }

    /// Columns of the matrix.
    pub fn taps(&self) -> usize {
        self.channels * self.taps_of_channel()
    }

    /// How many pixels some blocks need together, each counted once.
    ///
    /// ```
    /// use systoliq_program::im2col::{Block, Im2col, Sliding};
    /// let axis = Sliding { positions: 4, taps: 3, step: 1, dilation: 1, pad: 0, extent: 6 };
    /// let view = Im2col { down: axis, along: axis, channels: 2 };
    /// // Two windows side by side, in the first channel: 3 rows of 4 pixels.
    /// assert_eq!(view.pixels(&[Block { positions: 0..2, taps: 0..9 }]), 12);
    /// // All of both channels.
    /// assert_eq!(view.pixels(&[Block { positions: 0..16, taps: 0..18 }]), 72);
    /// ```
    pub fn pixels(&self, blocks: &[Block]) -> u64 {
        let taps = self.taps_of_channel();
        // Between these channels all are alike.
        let mut ends: Vec<usize> = blocks
            .iter()
            .filter(|block| !block.taps.is_empty() && !block.positions.is_empty())
            .flat_map(|block| {
                let (first, last) = (block.taps.start / taps, (block.taps.end - 1) / taps);
                [first, first + 1, last, last + 1]
            })
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let between = ends.windows(2).map(|ends| {
            let (channel, alike) = (ends[0], ends[1] - ends[0]);
            let inside = |at: usize| at.saturating_sub(channel * taps).min(taps);
            let parts = blocks.iter().flat_map(|block| {
                let windows = lines(&block.positions, self.along.positions);
                let filter =
                    lines(&(inside(block.taps.start)..inside(block.taps.end)), self.along.taps);
                let pairs = windows.into_iter().flat_map(move |window| {
                    filter.clone().into_iter().map(move |filter| (window.clone(), filter))
                });
                pairs.collect::<Vec<_>>()
            });
            alike as u64 * self.pixels_of_channel(&parts.collect::<Vec<_>>())
        });
        between.sum()
    }

    /// The pixels of one channel that windows in these rectangles meet with taps in those.
    fn pixels_of_channel(&self, parts: &[(Rectangle, Rectangle)]) -> u64 {
        let residues = |axis: usize, sliding: &Sliding| {
            sliding.residues(parts.iter().map(|(_, filter)| filter[axis].clone()))
        };
        let along = residues(1, &self.along);
        let mut pixels = 0;
        for (y, rows_alike) in residues(0, &self.down) {
            for &(x, cols_alike) in &along {
                let met = parts.iter().filter_map(|(window, filter)| {
                    let down = self.down.met(y, &window[0], &filter[0])?;
                    Some([down, self.along.met(x, &window[1], &filter[1])?])
                });
                pixels += (rows_alike * cols_alike) as u64 * area(&met.collect::<Vec<_>>());
            }
        }
        pixels
    }
}

impl Sliding {
    /// The residues of step · p + t by the step, one of each kind with how many there are of it:
    /// residues of a kind are met by as many taps of each range.
    fn residues(&self, taps: impl Iterator<Item = Range<usize>>) -> Vec<(usize, usize)> {
        let step = self.step;
        let taps = taps.flat_map(|taps| [taps.start % step, taps.end % step]);
        let image = [self.pad % step, (self.pad + self.extent) % step];
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
    ) -> Option<Range<usize>> {
        // Of taps with this residue the quotients by the step.
        let quotients = |end: usize| (end + self.step - 1).saturating_sub(residue) / self.step;
        let taps = quotients(taps.start)..quotients(taps.end);
        if taps.is_empty() || positions.is_empty() {
            return None;
        }
        let met = positions.start + taps.start..positions.end + taps.end - 1;
        // With a step there is no dilation: so the padded image has the same residue.
        let pixels = if self.step > 1 {
            let (pad, end) = (quotients(self.pad), quotients(self.pad + self.extent));
            met.start.max(pad)..met.end.min(end)
        } else {
            let pixel = |at: usize| at.saturating_sub(self.pad).div_ceil(self.dilation);
            pixel(met.start)..pixel(met.end).min(self.extent)
        };
        (!pixels.is_empty()).then_some(pixels)
    }
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
        let at = (axis.step * position + tap).checked_sub(axis.pad)?;
        (at % axis.dilation == 0 && at / axis.dilation < axis.extent).then_some(at / axis.dilation)
    }

    fn one_by_one(view: &Im2col, blocks: &[Block]) -> u64 {
        let mut seen = BTreeSet::new();
        for block in blocks {
            for position in block.positions.clone() {
                let [y, x] = [position / view.along.positions, position % view.along.positions];
                for tap in block.taps.clone() {
                    let (channel, tap) =
                        (tap / view.taps_of_channel(), tap % view.taps_of_channel());
                    let [ky, kx] = [tap / view.along.taps, tap % view.along.taps];
                    let met = (pixel(&view.down, y, ky), pixel(&view.along, x, kx));
                    if let (Some(row), Some(col)) = met {
                        seen.insert((channel, row, col));
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
            let extent = taps + self.below(9);
            let outputs = (extent - taps) / stride + 1 + self.below(2);
            if gradient {
                let pad = taps - 1;
                let (step, dilation) = (1, stride);
                return Sliding { positions: extent, taps, step, dilation, pad, extent: outputs };
            }
            Sliding { positions: outputs, taps, step: stride, dilation: 1, pad: 0, extent }
        }
    }

    #[test]
    fn pixels_are_those_counted_one_by_one() {
        for case in 0..4000 {
            let mut draws = Draws { key: Key::new(5).with(case), at: 0 };
            let gradient = case % 2 == 1;
            let view = Im2col {
                down: draws.axis(gradient),
                along: draws.axis(gradient),
                channels: 1 + draws.below(4),
            };
            let blocks: Vec<Block> = (0..1 + draws.below(3))
                .map(|_| Block {
                    positions: draws.range(view.positions()),
                    taps: draws.range(view.taps()),
                })
                .collect();
            let expected = one_by_one(&view, &blocks);
            assert_eq!(view.pixels(&blocks), expected, "case {case}: {view:?}, {blocks:?}");
        }
    }
}
