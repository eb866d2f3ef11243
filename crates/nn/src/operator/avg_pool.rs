//! `avg_pool` and `global_avg_pool`: the mean of each window, channel by channel.

use ndarray::Array2;

use super::max_pool::pooled_shape;
use super::window::Window;
use crate::golden::Real;
use crate::graph::Shape;

/// Average pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AvgPool {
    /// The window.
    pub window: Window,
    /// Channels of the image.
    pub channels: usize,
    /// Whether zeros that pad count among the elements of a window.
    pub counts_padding: bool,
    /// Whether the window is the image, and what it makes `[channels]`.
    pub global: bool,
}

impl AvgPool {
    /// The mean of all places.
    pub fn global(height: usize, width: usize, channels: usize) -> Self {
        let [down, along] = [height, width].map(|extent| super::WindowAxis::plain(extent, extent));
        Self { window: Window { down, along }, channels, counts_padding: false, global: true }
    }

    pub(super) fn shape(&self, reads: &[Shape]) -> Shape {
        let shape = pooled_shape(&self.window, self.channels, reads);
        if self.global { Shape::Features(self.channels) } else { shape }
    }

    /// Of each window of one image: what it meets, and how many elements it counts.
    fn windows(&self) -> Vec<(Vec<usize>, usize)> {
        let window = |place| {
            let mut met = Vec::new();
            self.window.each_met(place, |_, pixel| met.push(pixel));
            let count = if self.counts_padding { self.window.taps() } else { met.len() };
            (met, count)
        };
        (0..self.window.count()).map(window).collect()
    }

    pub(super) fn forward<F: Real>(&self, x: &Array2<F>) -> Array2<F> {
        let (windows, pixels) = (self.windows(), self.window.pixels());
        let samples = x.nrows() / pixels;
        Array2::from_shape_fn((samples * windows.len(), self.channels), |(row, channel)| {
            let (met, count) = &windows[row % windows.len()];
            let first = row / windows.len() * pixels;
            let sum = met.iter().fold(F::zero(), |sum, &pixel| sum + x[(first + pixel, channel)]);
            sum / F::of(*count as f64)
        })
    }

    /// Each element gets its share of every window that holds it.
    pub(super) fn input_gradient<F: Real>(&self, dy: &Array2<F>) -> Array2<F> {
        let (windows, pixels) = (self.windows(), self.window.pixels());
        let samples = dy.nrows() / windows.len();
        let mut dx = Array2::zeros((samples * pixels, self.channels));
        for ((row, channel), &dy) in dy.indexed_iter() {
            let (met, count) = &windows[row % windows.len()];
            let share = dy / F::of(*count as f64);
            for pixel in met {
                dx[(row / windows.len() * pixels + pixel, channel)] += share;
            }
        }
        dx
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::WindowAxis;
    use crate::testing::{check_gradient, reals};

    fn pools() -> Vec<AvgPool> {
        let axis = |extent, taps, stride, padding| WindowAxis {
            extent,
            taps,
            stride,
            dilation: 1,
            before: padding,
            after: padding,
        };
        let mut all = vec![AvgPool::global(3, 4, 2)];
        for counts_padding in [false, true] {
            for (down, along) in [
                (axis(4, 2, 2, 0), axis(6, 2, 2, 0)),
                (axis(5, 3, 1, 1), axis(4, 2, 3, 1)),
                (axis(5, 3, 2, 1), axis(1, 1, 1, 0)),
            ] {
                let window = Window { down, along };
                all.push(AvgPool { window, channels: 2, counts_padding, global: false });
            }
        }
        all
    }

    #[test]
    fn means_are_those_of_windows_with_and_without_padding() {
        for of in pools() {
            let Window { down, along } = of.window;
            let x = reals("avg pool", 1, 2 * of.window.pixels(), 2);
            let made = of.forward(&x);
            let [height, width] = of.window.positions();
            for ((row, channel), found) in made.indexed_iter() {
                let (sample, oy, ox) = (row / (height * width), row / width % height, row % width);
                let (mut sum, mut count) = (0.0, 0);
                for (ky, kx) in
                    (0..down.taps).flat_map(|ky| (0..along.taps).map(move |kx| (ky, kx)))
                {
                    let y = (oy * down.stride + ky).wrapping_sub(down.before);
                    let x_at = (ox * along.stride + kx).wrapping_sub(along.before);
                    let inside = y < down.extent && x_at < along.extent;
                    count += usize::from(inside || of.counts_padding);
                    if inside {
                        let pixel = (sample * down.extent + y) * along.extent + x_at;
                        sum += x[(pixel, channel)];
                    }
                }
                assert!((found - sum / count as f64).abs() < 1e-14, "{of:?} {row}");
            }
        }
    }

    #[test]
    fn gradients_equal_finite_differences() {
        for of in pools() {
            let x = reals("avg pool", 2, 2 * of.window.pixels(), 2);
            let dy = reals("avg pool", 3, of.forward(&x).nrows(), 2);
            check_gradient(&of.input_gradient(&dy), &x, &dy, |x| of.forward(x));
        }
    }
}
