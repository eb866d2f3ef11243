//! `conv2d`: each output is the sum of a window of the image times a filter.
//!
//! Images are matrices `[batch · height · width, channels]`, filters rows `[out, (ky, kx, c)]` with c
//! within the group. The three products are matrix products over *patches*, the windows of some samples
//! laid out as rows. So many samples have their patches laid out at a time that these are about a million
//! elements at most, a number that no machine changes; sums over samples add up in that order.

use ndarray::{Array2, ArrayView2, Axis, s};

use super::window::{Window, WindowAxis};
use crate::golden::{LayerParameters, Real};
use crate::graph::Shape;
use crate::product::product;

/// A convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// The window.
    pub window: Window,
    /// Channels of the image.
    pub channels: usize,
    /// Channels of the result.
    pub filters: usize,
    /// Parts of channels and filters that have to do with each other alone.
    pub groups: usize,
    /// Whether it adds a bias.
    pub bias: bool,
}

/// About the most elements of patches.
const PATCH_ELEMENTS: usize = 1 << 20;

impl Conv2d {
    /// How many values an output sums: taps times channels of a group.
    pub fn fan_in(&self) -> usize {
        self.window.taps() * self.channels / self.groups
    }

    /// The most products that sums of its three passes have, zeros of padding not among them: of the last
    /// one for each sample.
    pub(super) fn longest_sums(&self) -> [usize; 3] {
        let (channels, filters) = (self.channels / self.groups, self.filters / self.groups);
        [
            self.window.both(WindowAxis::most_met) * channels,
            self.window.both(WindowAxis::most_over) * filters,
            self.window.both(WindowAxis::most_positions_met),
        ]
    }

    pub(super) fn shape(&self, reads: &[Shape]) -> Shape {
        let (down, along) = (self.window.down.extent, self.window.along.extent);
        let expected = Shape::Image { height: down, width: along, channels: self.channels };
        assert_eq!(reads, [expected], "what a convolution reads");
        let [height, width] = self.window.positions();
        Shape::Image { height, width, channels: self.filters }
    }

    /// Runs of samples whose patches are laid out together.
    fn runs(&self, samples: usize) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let of_sample = self.window.count() * self.fan_in();
        let together = (PATCH_ELEMENTS / of_sample.max(1)).max(1);
        (0..samples).step_by(together).map(move |from| from..samples.min(from + together))
    }

    /// The windows of all samples as rows `[(sample, place), fan_in]`, which its products read; of the first
    /// group, where there are several.
    pub(super) fn rows_read<F: Real>(&self, x: &Array2<F>) -> Array2<F> {
        self.patches(x, 0..self.samples(x), self.of_group(0)[0].clone())
    }

    /// What the input gradient is a product of: `[(sample, y, x), (tap, filter)]`, the gradients of the places
    /// whose windows hold a pixel, with zeros where there is none, and `[(tap, filter), channel]`, the weights;
    /// of the first group, where there are several.
    pub(super) fn input_gradient_operands<F: Real>(
        &self,
        dz: &Array2<F>,
        weights: &Array2<F>,
    ) -> [Array2<F>; 2] {
        let (count, pixels) = (self.window.count(), self.window.pixels());
        let [channels, filters] = self.of_group(0).map(|range| range.len());
        let samples = dz.nrows() / count;
        let mut held = Array2::zeros((samples * pixels, self.window.taps() * filters));
        for row in 0..samples * count {
            let gradients = dz.slice(s![row, ..filters]);
            self.window.each_met(row % count, |tap, pixel| {
                let into = s![row / count * pixels + pixel, tap * filters..(tap + 1) * filters];
                held.slice_mut(into).assign(&gradients);
            });
        }
        let turned = Array2::from_shape_fn((held.ncols(), channels), |(row, channel)| {
            weights[(row % filters, row / filters * channels + channel)]
        });
        [held, turned]
    }

    fn samples<F>(&self, x: &Array2<F>) -> usize {
        x.nrows() / self.window.pixels()
    }

    /// Channels and filters of a group.
    fn of_group(&self, group: usize) -> [std::ops::Range<usize>; 2] {
        [self.channels, self.filters].map(|all| {
            let each = all / self.groups;
            group * each..(group + 1) * each
        })
    }

    /// The windows of some samples, of the channels of a group.
    fn patches<F: Real>(
        &self,
        x: &Array2<F>,
        samples: std::ops::Range<usize>,
        channels: std::ops::Range<usize>,
    ) -> Array2<F> {
        let (count, pixels, width) = (self.window.count(), self.window.pixels(), channels.len());
        let mut patches = Array2::zeros((samples.len() * count, self.fan_in()));
        let values = x.as_slice().expect("values in order");
        let places = samples.flat_map(|sample| (0..count).map(move |place| (sample, place)));
        let into = patches.as_slice_mut().expect("values in order");
        for ((sample, place), patch) in places.zip(into.chunks_exact_mut(self.fan_in())) {
            self.window.each_run(place, |tap, pixel, taps| {
                let runs = if width == self.channels { 1 } else { taps };
                let length = taps / runs * width;
                for at in 0..runs {
                    let from = (sample * pixels + pixel + at) * self.channels + channels.start;
                    patch[(tap + at) * width..][..length]
                        .copy_from_slice(&values[from..][..length]);
                }
            });
        }
        patches
    }

    /// Adds the gradients of patches to those of the pixels that they are of.
    fn add_patches<F: Real>(
        &self,
        patches: &Array2<F>,
        samples: std::ops::Range<usize>,
        channels: std::ops::Range<usize>,
        dx: &mut Array2<F>,
    ) {
        let (count, pixels, width) = (self.window.count(), self.window.pixels(), channels.len());
        let patches = patches.as_slice().expect("values in order");
        let places = samples.flat_map(|sample| (0..count).map(move |place| (sample, place)));
        let into = dx.as_slice_mut().expect("values in order");
        for ((sample, place), patch) in places.zip(patches.chunks_exact(self.fan_in())) {
            self.window.each_run(place, |tap, pixel, taps| {
                let runs = if width == self.channels { 1 } else { taps };
                let length = taps / runs * width;
                for at in 0..runs {
                    let to = (sample * pixels + pixel + at) * self.channels + channels.start;
                    let from = &patch[(tap + at) * width..][..length];
                    into[to..][..length].iter_mut().zip(from).for_each(|(dx, &more)| *dx += more);
                }
            });
        }
    }

    pub(super) fn forward<F: Real>(
        &self,
        x: &Array2<F>,
        parameters: &LayerParameters<F>,
    ) -> Array2<F> {
        let (samples, count) = (self.samples(x), self.window.count());
        let mut z = Array2::zeros((samples * count, self.filters));
        for group in 0..self.groups {
            let [channels, filters] = self.of_group(group);
            let weights = parameters.weights.slice(s![filters.clone(), ..]);
            for run in self.runs(samples) {
                let patches = self.patches(x, run.clone(), channels.clone());
                let rows = run.start * count..run.end * count;
                let made = product(patches.view(), weights.t());
                z.slice_mut(s![rows, filters.clone()]).assign(&made);
            }
        }
        if let Some(bias) = &parameters.bias {
            z += bias;
        }
        z
    }

    pub(super) fn input_gradient<F: Real>(
        &self,
        dz: &Array2<F>,
        parameters: &LayerParameters<F>,
    ) -> Array2<F> {
        let count = self.window.count();
        let samples = dz.nrows() / count;
        let mut dx = Array2::zeros((samples * self.window.pixels(), self.channels));
        for group in 0..self.groups {
            let [channels, filters] = self.of_group(group);
            let weights = parameters.weights.slice(s![filters.clone(), ..]);
            for run in self.runs(samples) {
                let rows = run.start * count..run.end * count;
                let patches = product(dz.slice(s![rows, filters.clone()]), weights);
                self.add_patches(&patches, run, channels.clone(), &mut dx);
            }
        }
        dx
    }

    /// dW, and db, the sum of `dZ` over rows, both divided.
    pub(super) fn parameter_gradient<F: Real>(
        &self,
        x: &Array2<F>,
        dz: &Array2<F>,
        divisor: F,
    ) -> LayerParameters<F> {
        let weights = self.weight_gradient(x, dz.view(), 0..self.samples(x)) / divisor;
        let bias = self.bias.then(|| dz.sum_axis(Axis(0)) / divisor);
        LayerParameters { weights, bias }
    }

    /// Of each sample `‖Σ δ xᵀ‖²`, the sum over its places, and `(Σ δ)²` of the bias.
    pub(super) fn parameter_squares<F: Real>(
        &self,
        x: &Array2<F>,
        dz: &Array2<F>,
        samples: usize,
    ) -> Vec<f64> {
        let count = self.window.count();
        let squares = |values: &mut dyn Iterator<Item = F>| -> f64 {
            values.map(|value| value.widen().powi(2)).sum()
        };
        let of_sample = |sample: usize| {
            let weights = self.weight_gradient(x, dz.view(), sample..sample + 1);
            let of_bias = dz.slice(s![sample * count..(sample + 1) * count, ..]).sum_axis(Axis(0));
            let bias = if self.bias { squares(&mut of_bias.into_iter()) } else { 0.0 };
            squares(&mut weights.into_iter()) + bias
        };
        (0..samples).map(of_sample).collect()
    }

    /// dW of some samples, summed.
    pub(super) fn weight_gradient<F: Real>(
        &self,
        x: &Array2<F>,
        dz: ArrayView2<'_, F>,
        samples: std::ops::Range<usize>,
    ) -> Array2<F> {
        let count = self.window.count();
        let mut weights = Array2::zeros((self.filters, self.fan_in()));
        for group in 0..self.groups {
            let [channels, filters] = self.of_group(group);
            let mut of_group = weights.slice_mut(s![filters.clone(), ..]);
            for run in self.runs(samples.len()) {
                let run = samples.start + run.start..samples.start + run.end;
                let rows = run.start * count..run.end * count;
                let patches = self.patches(x, run, channels.clone());
                of_group += &product(dz.slice(s![rows, filters.clone()]).t(), patches.view());
            }
        }
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_gradient, reals};

    /// Extent, taps, stride, dilation, padding before and behind, of each axis; channels, filters, groups.
    type Sizes = ([[usize; 6]; 2], [usize; 3]);

    const SIZES: [Sizes; 7] = [
        ([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]], [1, 1, 1]),
        ([[4, 3, 1, 1, 1, 1], [5, 3, 1, 1, 1, 1]], [2, 3, 1]),
        ([[5, 2, 2, 1, 0, 0], [4, 3, 2, 1, 1, 0]], [3, 2, 1]),
        ([[6, 2, 1, 2, 1, 2], [5, 3, 3, 2, 2, 0]], [2, 2, 2]),
        ([[3, 3, 1, 1, 0, 0], [4, 1, 1, 1, 0, 0]], [4, 4, 4]),
        ([[2, 4, 1, 1, 3, 3], [1, 5, 2, 1, 2, 4]], [1, 4, 1]),
        ([[5, 1, 4, 1, 2, 1], [6, 2, 5, 3, 0, 1]], [4, 2, 2]),
    ];

    fn convolution((axes, [channels, filters, groups]): Sizes, bias: bool) -> Conv2d {
        let [down, along] = axes.map(|[extent, taps, stride, dilation, before, after]| {
            WindowAxis { extent, taps, stride, dilation, before, after }
        });
        Conv2d { window: Window { down, along }, channels, filters, groups, bias }
    }

    /// Three samples, parameters, and a gradient of what they make.
    fn case(of: &Conv2d) -> (Array2<f64>, LayerParameters<f64>, Array2<f64>) {
        let bias = of.bias.then(|| reals("convolution", 1, 1, of.filters).row(0).to_owned());
        let weights = reals("convolution", 2, of.filters, of.fan_in());
        (
            reals("convolution", 3, 3 * of.window.pixels(), of.channels),
            LayerParameters { weights, bias },
            reals("convolution", 4, 3 * of.window.count(), of.filters),
        )
    }

    /// Output (b, oy, ox), o by its definition.
    fn direct(of: &Conv2d, x: &Array2<f64>, parameters: &LayerParameters<f64>) -> Array2<f64> {
        let Window { down, along } = of.window;
        let [height, width] = of.window.positions();
        let (per_group, per_filter) = (of.channels / of.groups, of.filters / of.groups);
        Array2::from_shape_fn((3 * height * width, of.filters), |(row, filter)| {
            let (sample, oy, ox) = (row / (height * width), row / width % height, row % width);
            let mut sum = parameters.bias.as_ref().map_or(0.0, |bias| bias[filter]);
            for (ky, kx, c) in (0..down.taps).flat_map(|ky| {
                (0..along.taps).flat_map(move |kx| (0..per_group).map(move |c| (ky, kx, c)))
            }) {
                let y = (oy * down.stride + ky * down.dilation) as isize - down.before as isize;
                let x_at =
                    (ox * along.stride + kx * along.dilation) as isize - along.before as isize;
                let inside = (0..down.extent as isize).contains(&y)
                    && (0..along.extent as isize).contains(&x_at);
                if inside {
                    let pixel = (sample * down.extent + y as usize) * along.extent + x_at as usize;
                    let channel = filter / per_filter * per_group + c;
                    let weight = (ky * along.taps + kx) * per_group + c;
                    sum += x[(pixel, channel)] * parameters.weights[(filter, weight)];
                }
            }
            sum
        })
    }

    fn each(check: impl Fn(Conv2d)) {
        for sizes in SIZES {
            for bias in [false, true] {
                check(convolution(sizes, bias));
            }
        }
    }

    #[test]
    fn what_it_makes_is_that_of_a_direct_loop_in_either_type() {
        each(|of| {
            let (x, parameters, _) = case(&of);
            let expected = direct(&of, &x, &parameters);
            let found = of.forward(&x, &parameters);
            let single = LayerParameters {
                weights: parameters.weights.mapv(|w| w as f32),
                bias: parameters.bias.as_ref().map(|bias| bias.mapv(|b| b as f32)),
            };
            let single = of.forward(&x.mapv(|x| x as f32), &single);
            assert_eq!(found.dim(), expected.dim(), "{of:?}");
            for ((at, found), expected) in found.indexed_iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-13, "{of:?} {at:?}: {found} {expected}");
                assert!((f64::from(single[at]) - expected).abs() < 1e-5, "{of:?} {at:?}");
            }
        });
    }

    #[test]
    fn gradients_equal_finite_differences() {
        each(|of| {
            let (x, parameters, dz) = case(&of);
            let dx = of.input_gradient(&dz, &parameters);
            check_gradient(&dx, &x, &dz, |x| direct(&of, x, &parameters));
            let found = of.parameter_gradient(&x, &dz, 2.0);
            let with = |weights: &Array2<f64>| LayerParameters {
                weights: weights.clone(),
                bias: parameters.bias.clone(),
            };
            check_gradient(&(found.weights * 2.0), &parameters.weights, &dz, |weights| {
                direct(&of, &x, &with(weights))
            });
            assert_eq!(found.bias.is_some(), of.bias);
            if let (Some(db), Some(bias)) = (found.bias, &parameters.bias) {
                let (db, bias) = (db.insert_axis(Axis(0)), bias.clone().insert_axis(Axis(0)));
                check_gradient(&(db * 2.0), &bias, &dz, |bias| {
                    let bias = Some(bias.row(0).to_owned());
                    direct(&of, &x, &LayerParameters { weights: parameters.weights.clone(), bias })
                });
            }
        });
    }

    #[test]
    fn what_products_read_makes_what_they_make() {
        each(|of| {
            let of = Conv2d { bias: false, ..of };
            if of.groups > 1 {
                return;
            }
            let (x, parameters, dz) = case(&of);
            let rows = of.rows_read(&x);
            let close = |a: Array2<f64>, b: Array2<f64>| {
                assert_eq!(a.dim(), b.dim());
                assert!((a - b).iter().all(|difference| difference.abs() < 1e-12), "{of:?}");
            };
            close(rows.dot(&parameters.weights.t()), of.forward(&x, &parameters));
            close(dz.t().dot(&rows), of.parameter_gradient(&x, &dz, 1.0).weights);
            let [held, turned] = of.input_gradient_operands(&dz, &parameters.weights);
            close(held.dot(&turned), of.input_gradient(&dz, &parameters));
        });
    }

    #[test]
    fn many_samples_are_summed_run_by_run() {
        let of = convolution(([[20, 5, 1, 1, 2, 2], [20, 5, 1, 1, 2, 2]], [8, 2, 1]), false);
        let samples = 2 * PATCH_ELEMENTS / (400 * 200) + 1;
        assert_eq!(of.runs(samples).map(|run| run.len()).collect::<Vec<_>>(), [13, 13, 1]);
        let x = reals("convolution", 5, samples * 400, 8);
        let dz = reals("convolution", 6, samples * 400, 2);
        let whole = of.weight_gradient(&x, dz.view(), 0..samples);
        let parts =
            (0..samples).map(|sample| of.weight_gradient(&x, dz.view(), sample..sample + 1));
        let parts = parts.reduce(|sum, part| sum + part).unwrap();
        assert!((whole - parts).iter().all(|difference| difference.abs() < 1e-9));
    }
}
