//! `max_pool`: the largest element of each window, channel by channel. Padding never wins; of equal
//! elements the first in (y, x) does, and an element that is no number before all others, as in PyTorch.

use ndarray::Array2;

use super::window::Window;
use crate::golden::Real;
use crate::graph::Shape;

/// Max pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPool {
    /// The window.
    pub window: Window,
    /// Channels of the image.
    pub channels: usize,
}

/// What a window over an image of some channels makes of it, a row for each place.
pub(super) fn pooled_shape(window: &Window, channels: usize, reads: &[Shape]) -> Shape {
    let (height, width) = (window.down.extent, window.along.extent);
    assert_eq!(reads, [Shape::Image { height, width, channels }], "what pooling reads");
    let [height, width] = window.positions();
    Shape::Image { height, width, channels }
}

impl MaxPool {
    pub(super) fn shape(&self, reads: &[Shape]) -> Shape {
        pooled_shape(&self.window, self.channels, reads)
    }

    /// The rows of the elements that win, of each result.
    fn winners<F: Real>(&self, x: &Array2<F>) -> Vec<u32> {
        let (count, pixels, channels) = (self.window.count(), self.window.pixels(), self.channels);
        let rows = x.nrows() / pixels * count;
        let values = x.as_slice().expect("values in order");
        let mut winners = vec![0; rows * channels];
        let mut best = vec![F::zero(); channels];
        for (row, winners) in winners.chunks_exact_mut(channels).enumerate() {
            let mut is_first = true;
            self.window.each_met(row % count, |_, pixel| {
                let at = row / count * pixels + pixel;
                let elements = &values[at * channels..(at + 1) * channels];
                for ((best, winner), &value) in best.iter_mut().zip(&mut *winners).zip(elements) {
                    let wins = is_first || value > *best || (value.is_nan() && !best.is_nan());
                    *winner = if wins { at as u32 } else { *winner };
                    *best = if wins { value } else { *best };
                }
                is_first = false;
            });
            assert!(!is_first, "a window with a pixel");
        }
        winners
    }

    pub(super) fn forward<F: Real>(&self, x: &Array2<F>) -> Array2<F> {
        let winners = self.winners(x);
        let values = x.as_slice().expect("values in order");
        let column = |at: usize| at % self.channels;
        let made = winners.iter().enumerate();
        let made = made.map(|(at, &row)| values[row as usize * self.channels + column(at)]);
        let rows = winners.len() / self.channels;
        Array2::from_shape_vec((rows, self.channels), made.collect()).expect("as many values")
    }

    /// Each gradient goes to the winner of its window.
    pub(super) fn input_gradient<F: Real>(&self, x: &Array2<F>, dy: &Array2<F>) -> Array2<F> {
        let mut dx = Array2::zeros(x.dim());
        let into = dx.as_slice_mut().expect("values in order");
        for ((at, &row), &dy) in self.winners(x).iter().enumerate().zip(dy) {
            into[row as usize * self.channels + at % self.channels] += dy;
        }
        dx
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::operator::WindowAxis;
    use crate::testing::{check_gradient, reals};

    fn pool(extents: [usize; 2], taps: usize, stride: usize, padding: usize) -> MaxPool {
        let [down, along] = extents.map(|extent| WindowAxis {
            extent,
            taps,
            stride,
            dilation: 1,
            before: padding,
            after: padding,
        });
        MaxPool { window: Window { down, along }, channels: 3 }
    }

    #[test]
    fn it_takes_the_largest_and_gives_its_gradient_back() {
        for (of, seed) in [
            (pool([4, 6], 2, 2, 0), 1),
            (pool([5, 4], 3, 1, 1), 2),
            (pool([5, 5], 3, 2, 1), 3),
            (pool([3, 7], 2, 3, 0), 4),
        ] {
            let x = reals("max pool", seed, 2 * of.window.pixels(), 3);
            let made = of.forward(&x);
            for ((row, channel), &found) in made.indexed_iter() {
                let (count, pixels) = (of.window.count(), of.window.pixels());
                let mut all = Vec::new();
                of.window.each_met(row % count, |_, pixel| {
                    all.push(x[(row / count * pixels + pixel, channel)]);
                });
                assert_eq!(found, all.into_iter().fold(f64::MIN, f64::max), "{of:?}");
            }
            let dy = reals("max pool", seed + 9, made.nrows(), 3);
            check_gradient(&of.input_gradient(&x, &dy), &x, &dy, |x| of.forward(x));
        }
    }

    #[test]
    fn of_equal_elements_the_first_wins_and_padding_never_does() {
        let of = MaxPool { channels: 1, ..pool([2, 2], 2, 2, 0) };
        let x = array![[3.0], [5.0], [5.0], [5.0]];
        assert_eq!(of.input_gradient(&x, &array![[7.0]]), array![[0.0], [7.0], [0.0], [0.0]]);
        let undefined = array![[3.0], [f64::NAN], [9.0], [f64::NAN]];
        assert!(of.forward(&undefined)[(0, 0)].is_nan());
        let padded = MaxPool { channels: 1, ..pool([1, 1], 2, 1, 1) };
        assert_eq!(padded.forward(&array![[-4.0]]), Array2::from_elem((4, 1), -4.0));
    }
}
