//! A window that slides along one axis of an image.

/// One axis of a window: where it stands, and which pixels it meets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowAxis {
    /// Pixels of the image.
    pub extent: usize,
    /// Taps of the window.
    pub taps: usize,
    /// From one position to the next.
    pub stride: usize,
    /// From one tap to the next.
    pub dilation: usize,
    /// Zeros before the first pixel.
    pub before: usize,
    /// Zeros behind the last.
    pub after: usize,
}

impl WindowAxis {
    /// Neighbouring taps, of which each window has its own pixels, without padding.
    pub fn plain(extent: usize, taps: usize) -> Self {
        Self { extent, taps, stride: taps, dilation: 1, before: 0, after: 0 }
    }

    /// Places from the first tap to the last.
    pub fn reach(&self) -> usize {
        self.dilation * (self.taps - 1) + 1
    }

    /// Pixels and padding.
    pub fn padded(&self) -> usize {
        self.before + self.extent + self.after
    }

    /// How many positions the window has: `⌊(padded − reach) / stride⌋ + 1`; `None` where it is larger
    /// than the padded image.
    ///
    /// ```
    /// use systoliq_nn::operator::WindowAxis;
    /// let axis = WindowAxis { extent: 8, taps: 3, stride: 2, dilation: 1, before: 1, after: 0 };
    /// assert_eq!(axis.positions(), Some(4));
    /// assert_eq!(WindowAxis { taps: 10, ..axis }.positions(), None);
    /// ```
    pub fn positions(&self) -> Option<usize> {
        Some(self.padded().checked_sub(self.reach())? / self.stride + 1)
    }

    /// The pixel that a tap meets at a position; `None` in padding.
    pub fn pixel(&self, position: usize, tap: usize) -> Option<usize> {
        let pixel = (position * self.stride + tap * self.dilation).checked_sub(self.before)?;
        (pixel < self.extent).then_some(pixel)
    }

    /// The first position at which no tap meets a pixel, if there is one.
    pub fn empty_position(&self) -> Option<usize> {
        let is_empty = |&at: &usize| (0..self.taps).all(|tap| self.pixel(at, tap).is_none());
        (0..self.positions()?).find(is_empty)
    }

    /// The most taps that meet a pixel at one position.
    pub fn most_met(&self) -> usize {
        let met = |at| (0..self.taps).filter(|&tap| self.pixel(at, tap).is_some()).count();
        (0..self.positions().unwrap_or(0)).map(met).max().unwrap_or(0)
    }

    /// The most positions at which one tap meets a pixel.
    pub fn most_positions_met(&self) -> usize {
        let positions = self.positions().unwrap_or(0);
        let met = |tap| (0..positions).filter(|&at| self.pixel(at, tap).is_some()).count();
        (0..self.taps).map(met).max().unwrap_or(0)
    }

    /// The most positions whose window holds one pixel.
    pub fn most_over(&self) -> usize {
        let mut over = vec![0; self.extent];
        for at in 0..self.positions().unwrap_or(0) {
            (0..self.taps).filter_map(|tap| self.pixel(at, tap)).for_each(|pixel| over[pixel] += 1);
        }
        over.into_iter().max().unwrap_or(0)
    }

    /// How many pairs of a position and a tap meet a pixel.
    pub fn meetings(&self) -> u64 {
        let met = |at| (0..self.taps).filter(|&tap| self.pixel(at, tap).is_some()).count() as u64;
        (0..self.positions().unwrap_or(0)).map(met).sum()
    }
}

/// A window over an image: down, and along its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Down the image.
    pub down: WindowAxis,
    /// Along its rows.
    pub along: WindowAxis,
}

impl Window {
    /// Positions down and along.
    ///
    /// # Panics
    ///
    /// If the window is larger than the padded image.
    pub fn positions(&self) -> [usize; 2] {
        [self.down, self.along].map(|axis| axis.positions().expect("a window that fits"))
    }

    /// Taps of one channel.
    pub fn taps(&self) -> usize {
        self.down.taps * self.along.taps
    }

    /// Pixels of one image.
    pub fn pixels(&self) -> usize {
        self.down.extent * self.along.extent
    }

    /// Windows of one image.
    pub fn count(&self) -> usize {
        self.positions().into_iter().product()
    }

    /// The product of what there is of something along both axes.
    pub fn both(&self, of: fn(&WindowAxis) -> usize) -> usize {
        of(&self.down) * of(&self.along)
    }

    /// Does something with each tap and pixel of one image that the window at a place meets, in their
    /// order; places are counted row by row.
    #[inline]
    pub(crate) fn each_met(&self, place: usize, mut with: impl FnMut(usize, usize)) {
        let [_, along] = self.positions();
        let (oy, ox) = (place / along, place % along);
        for ky in 0..self.down.taps {
            let Some(y) = self.down.pixel(oy, ky) else { continue };
            for kx in 0..self.along.taps {
                let Some(x) = self.along.pixel(ox, kx) else { continue };
                with(ky * self.along.taps + kx, y * self.along.extent + x);
            }
        }
    }

    /// The same run by run: neighbouring taps that meet neighbouring pixels, with how many they are.
    #[inline]
    pub(crate) fn each_run(&self, place: usize, mut with: impl FnMut(usize, usize, usize)) {
        let [_, positions] = self.positions();
        let (oy, ox) = (place / positions, place % positions);
        let Self { down, along } = self;
        for ky in 0..down.taps {
            let Some(y) = down.pixel(oy, ky) else { continue };
            let (tap, line) = (ky * along.taps, y * along.extent);
            if along.dilation > 1 {
                for kx in 0..along.taps {
                    if let Some(x) = along.pixel(ox, kx) {
                        with(tap + kx, line + x, 1);
                    }
                }
                continue;
            }
            let first = ox * along.stride;
            let from = along.before.saturating_sub(first).min(along.taps);
            let to = (along.before + along.extent).saturating_sub(first).min(along.taps);
            if from < to {
                with(tap + from, line + first + from - along.before, to - from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_taps_that_meet_pixels() {
        let axes = [
            WindowAxis { extent: 5, taps: 3, stride: 1, dilation: 1, before: 1, after: 1 },
            WindowAxis { extent: 4, taps: 2, stride: 2, dilation: 3, before: 2, after: 3 },
            WindowAxis { extent: 1, taps: 4, stride: 1, dilation: 1, before: 3, after: 3 },
            WindowAxis { extent: 6, taps: 2, stride: 3, dilation: 1, before: 0, after: 4 },
            WindowAxis { extent: 2, taps: 1, stride: 1, dilation: 2, before: 2, after: 1 },
        ];
        for down in axes {
            for along in axes {
                let window = Window { down, along };
                let mut pairs = 0;
                for place in 0..window.count() {
                    let (mut met, mut in_runs) = (Vec::new(), Vec::new());
                    window.each_met(place, |tap, pixel| met.push((tap, pixel)));
                    window.each_run(place, |tap, pixel, count| {
                        in_runs.extend((0..count).map(|at| (tap + at, pixel + at)));
                    });
                    assert_eq!(met, in_runs, "{window:?} {place}");
                    pairs += met.len() as u64;
                }
                assert_eq!(pairs, down.meetings() * along.meetings());
            }
        }
        assert_eq!(axes.map(|axis| axis.empty_position()), [None, None, None, Some(2), Some(0)]);
        assert_eq!(axes.map(|axis| axis.most_met()), [3, 2, 1, 2, 1]);
        assert_eq!(axes.map(|axis| axis.most_positions_met()), [5, 2, 1, 2, 2]);
        assert_eq!(axes.map(|axis| axis.most_over()), [3, 1, 4, 1, 1]);
    }
}
