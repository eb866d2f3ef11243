//! Pixels on chip, one by one: of an image whose windows are the rows of a matrix.

use std::collections::BTreeSet;
use std::ops::Range;

use systoliq_program::im2col::Im2col;
use systoliq_program::view::{Sliding, Windows};

type Pixel = [usize; 4];

/// The pixel that an element of the matrix repeats, if it is not one of the zeros between.
fn pixel(view: &Im2col, position: usize, tap: usize) -> Option<Pixel> {
    let meets = |axis: &Sliding, position: usize, tap: usize| {
        let at = (position * axis.step + tap * axis.tap_step) as isize - axis.pad;
        (0..axis.extent).find(|pixel| at == (pixel * axis.spread) as isize)
    };
    let Windows { down, along } = &view.windows;
    let of_channel = down.taps * along.taps;
    let (channel, tap) = (tap / of_channel, tap % of_channel);
    let of_image = down.positions * along.positions;
    let (image, position) = (position / of_image, position % of_image);
    let row = meets(down, position / along.positions, tap / along.taps)?;
    let col = meets(along, position % along.positions, tap % along.taps)?;
    Some([image, channel, row, col])
}

/// The pixels of a block of rows (positions) and columns (taps).
pub(crate) fn of_block(view: &Im2col, [rows, cols]: &[Range<usize>; 2]) -> BTreeSet<Pixel> {
    let elements = rows.clone().flat_map(|row| cols.clone().map(move |col| (row, col)));
    elements.filter_map(|(row, col)| pixel(view, row, col)).collect()
}

/// What a scratchpad keeps of an image over folds that are told with their places in the three loops.
pub(crate) struct Kept {
    /// So many of the outer loops begin with nothing.
    outer: usize,
    within: Option<[usize; 3]>,
    there: BTreeSet<Pixel>,
}

impl Kept {
    /// Keeps what the most loops from within need, if that is no more than `room` pixels; nothing if
    /// not even a tile fits.
    pub(crate) fn new(
        view: &Im2col,
        folds: &[([usize; 3], [Range<usize>; 2])],
        room: u64,
    ) -> Option<Self> {
        let fits = |outer: usize| {
            let mut turns: Vec<([usize; 3], BTreeSet<Pixel>)> = Vec::new();
            for (places, block) in folds {
                let turn = outermost(*places, outer);
                match turns.iter_mut().find(|(known, _)| *known == turn) {
                    Some((_, pixels)) => pixels.extend(of_block(view, block)),
                    None => turns.push((turn, of_block(view, block))),
                }
            }
            turns.iter().all(|(_, pixels)| pixels.len() as u64 <= room)
        };
        let outer = (0..=3).find(|&outer| fits(outer))?;
        Some(Self { outer, within: None, there: BTreeSet::new() })
    }

    /// How many pixels a fold fetches.
    pub(crate) fn fetches(
        &mut self,
        view: &Im2col,
        places: [usize; 3],
        block: &[Range<usize>; 2],
    ) -> usize {
        let turn = Some(outermost(places, self.outer));
        if self.within != turn {
            self.there.clear();
            self.within = turn;
        }
        let needed = of_block(view, block);
        let missing = needed.difference(&self.there).count();
        self.there.extend(needed);
        missing
    }
}

fn outermost(mut places: [usize; 3], count: usize) -> [usize; 3] {
    places[count..].fill(usize::MAX);
    places
}
