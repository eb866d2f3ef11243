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

    /// Does something with each row and column of the results, and the row of the element that wins.
    fn each_winner<F: Real>(&self, x: &Array2<F>, mut with: impl FnMut([usize; 2], usize)) {
        let (count, pixels) = (self.window.count(), self.window.pixels());
        for row in 0..x.nrows() / pixels * count {
            let first = row / count * pixels;
            for channel in 0..self.channels {
                let mut winner: Option<usize> = None;
                self.window.each_met(row % count, |_, pixel| {
                    let at = first + pixel;
                    let wins = winner.is_none_or(|best| {
                        let (best, value) = (x[(best, channel)], x[(at, channel)]);
                        value > best || (value.is_nan() && !best.is_nan())
                    });
                    winner = if wins { Some(at) } else { winner };
                });
                with([row, channel], winner.expect("a window with a pixel"));
            }
        }
    }

    pub(super) fn forward<F: Real>(&self, x: &Array2<F>) -> Array2<F> {
        let samples = x.nrows() / self.window.pixels();
        let mut made = Array2::zeros((samples * self.window.count(), self.channels));
        self.each_winner(x, |[row, channel], winner| {
            made[(row, channel)] = x[(winner, channel)];
        });
        made
    }

    /// Each gradient goes to the winner of its window.
    pub(super) fn input_gradient<F: Real>(&self, x: &Array2<F>, dy: &Array2<F>) -> Array2<F> {
        let mut dx = Array2::zeros(x.dim());
        self.each_winner(x, |[row, channel], winner| {
            dx[(winner, channel)] += dy[(row, channel)];
        });
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
