//! The three products that train a convolution, as views of what is stored.
//!
//! The image, the output and their gradients are `[batch · height · width, channels]`, the weights
//! `[out, (ky, kx, c)]`; none of the matrices that are multiplied is. `docs/numerics.md`, section 5,
//! has the sums that they stand for.

use std::num::NonZero;

use crate::gemm::{GemmShape, GemmTask, Operand, Reading};
use crate::view::Cut::{Columns, Rows};
use crate::view::{Repeats, Sliding, View, Windows};
use systoliq_fxp::{Adder, Tensor};

/// The sizes of a convolution; down the image, then along its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConvolutionShape {
    /// Images.
    pub batch: usize,
    /// Height and width of an image.
    pub image: [usize; 2],
    /// Channels of the image, C.
    pub channels: usize,
    /// Channels of the output, O.
    pub filters: usize,
    /// Taps of a filter, KH and KW.
    pub kernel: [usize; 2],
    /// From one output to the next.
    pub stride: [usize; 2],
    /// From one tap to the next.
    pub dilation: [usize; 2],
    /// Zeros at the top and on the left, where images begin.
    pub padding: [usize; 2],
    /// Zeros at the bottom and on the right, where they end.
    pub end_padding: [usize; 2],
    /// Equal parts of channels and filters that have to do with each other alone.
    pub groups: NonZero<usize>,
}

/// A product of two stored matrices, or several on parts of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewedGemm {
    /// The sizes of each.
    pub shape: GemmShape,
    /// How A and B are read.
    pub read: [Reading; 2],
    /// Which parts each product takes.
    pub repeats: Repeats,
}

impl ViewedGemm {
    /// Product `at` of stored matrices.
    pub fn task<'a>(
        &self,
        [a, b]: [&'a Tensor; 2],
        adder: Adder,
        bias: Option<&'a Tensor>,
        at: usize,
    ) -> GemmTask<'a> {
        let [a, b] = [(a, self.read[0]), (b, self.read[1])]
            .map(|(tensor, reading)| Operand::read(tensor, reading));
        GemmTask::new(a, b, adder, bias).repeat(&self.repeats, at)
    }

    /// Multiply-accumulates of all products: without structural zeros.
    pub fn macs(&self) -> u64 {
        let each = self.shape.macs() - self.shape.structural_zeros(self.read);
        each * self.repeats.count.get() as u64
    }
}

impl GemmShape {
    /// The three products that train a dense layer, of which this is the forward pass:
    /// `Z[m, n] = X[m, k] · W[n, k]ᵀ`, `dX = dZ · W` and `dW = dZᵀ · X`.
    pub fn dense(self) -> [ViewedGemm; 3] {
        let Self { m, k, n } = self;
        let [stored, transposed] =
            [false, true].map(|transposed| Reading { view: View::Stored, transposed });
        let repeats = Repeats::ONCE;
        [
            ViewedGemm { shape: self, read: [stored, transposed], repeats },
            ViewedGemm { shape: Self { m, k: n, n: k }, read: [stored; 2], repeats },
            ViewedGemm { shape: Self { m: n, k: m, n: k }, read: [transposed, stored], repeats },
        ]
    }
}

impl ConvolutionShape {
    /// The product that its forward pass is where each window is a run of stored pixels and each pixel
    /// in one window: a dense layer.
    ///
    /// ```
    /// # use systoliq_program::{ConvolutionShape, GemmShape};
    /// # let of = |image, kernel, stride| ConvolutionShape {
    /// #     batch: 2, image, channels: 3, filters: 5, kernel, stride, dilation: [1; 2],
    /// #     padding: [0; 2], end_padding: [0; 2], groups: std::num::NonZero::<usize>::MIN,
    /// # };
    /// // A filter as large as its map, rows as SCALE-Sim writes those of a matrix, and single pixels.
    /// assert_eq!(of([6, 4], [6, 4], [1, 1]).dense(), Some(GemmShape { m: 2, k: 72, n: 5 }));
    /// assert_eq!(of([6, 4], [1, 4], [1, 1]).dense(), Some(GemmShape { m: 12, k: 12, n: 5 }));
    /// assert_eq!(of([6, 4], [1, 1], [1, 1]).dense(), Some(GemmShape { m: 48, k: 3, n: 5 }));
    /// // Windows that overlap, that leave out pixels, and that take parts of several rows.
    /// assert_eq!(of([6, 4], [2, 4], [1, 1]).dense(), None);
    /// assert_eq!(of([6, 4], [1, 1], [2, 2]).dense(), None);
    /// assert_eq!(of([6, 4], [2, 2], [2, 2]).dense(), None);
    /// ```
    pub fn dense(&self) -> Option<GemmShape> {
        let Self { image, kernel, stride, .. } = *self;
        let covers = |axis: usize| {
            let step = if kernel[axis] == image[axis] { kernel[axis] } else { stride[axis] };
            step == kernel[axis] && image[axis].is_multiple_of(step)
        };
        let plain = self.padding == [0; 2]
            && self.end_padding == [0; 2]
            && [0, 1].into_iter().all(|axis| self.dilation[axis] == 1 || kernel[axis] == 1)
            && self.groups.get() == 1;
        let in_runs = kernel[0] == 1 || kernel[1] == image[1];
        (plain && in_runs && covers(0) && covers(1)).then(|| GemmShape {
            m: self.batch * (image[0] / kernel[0]) * (image[1] / kernel[1]),
            k: self.taps() * self.channels,
            n: self.filters,
        })
    }

    /// Height and width of the output; `None` where not even one window fits the padded image.
    ///
    /// ```
    /// use systoliq_program::ConvolutionShape;
    /// let convolution = ConvolutionShape {
    ///     batch: 1,
    ///     image: [7, 8],
    ///     channels: 4,
    ///     filters: 6,
    ///     kernel: [3, 3],
    ///     stride: [2, 2],
    ///     dilation: [1, 2],
    ///     padding: [1, 0],
    ///     end_padding: [1, 0],
    ///     groups: 2.try_into()?,
    /// };
    /// assert_eq!(convolution.outputs(), Some([4, 2]));
    /// let [forward, back, weights] = convolution.products().unwrap();
    /// assert_eq!((forward.shape.m, forward.shape.k, forward.shape.n), (4 * 2, 9 * 2, 3));
    /// // Down, 3 + 4 + 3 pairs of a position and a tap meet a pixel, the others padding.
    /// let macs = 6 * 2 * (3 + 4 + 3) * (2 * 3);
    /// assert_eq!([forward, back, weights].map(|product| product.macs()), [macs; 3]);
    /// # Ok::<(), std::num::TryFromIntError>(())
    /// ```
    pub fn outputs(&self) -> Option<[usize; 2]> {
        let side = |axis: usize| {
            let padded = self.image[axis] + self.padding[axis] + self.end_padding[axis];
            Some(padded.checked_sub(self.reach(axis))? / self.stride[axis] + 1)
        };
        Some([side(0)?, side(1)?])
    }

    /// Places from the first tap to the last.
    pub fn reach(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    /// The forward pass, the input gradient and the weight gradient; `None` where no window fits.
    ///
    /// # Panics
    ///
    /// If channels or filters do not divide by groups.
    pub fn products(&self) -> Option<[ViewedGemm; 3]> {
        let outputs = self.outputs()?;
        Some([self.forward(outputs), self.input_gradient(outputs), self.weight_gradient(outputs)])
    }

    /// `Z[(b, oy, ox), o] = X[(b, oy, ox), (ky, kx, c)] · W[o, (ky, kx, c)]ᵀ`.
    fn forward(&self, outputs: [usize; 2]) -> ViewedGemm {
        let [channels, filters] = self.of_group();
        let shape = GemmShape {
            m: self.batch * outputs[0] * outputs[1],
            k: self.taps() * channels,
            n: filters,
        };
        let weights = Reading { view: View::Stored, transposed: true };
        ViewedGemm {
            shape,
            read: [self.image_windows(outputs), weights],
            repeats: Repeats { count: self.groups, a: Columns, b: Rows, output: Columns },
        }
    }

    /// `dX[(b, y, x), c] = dZ[(b, y, x), (wy, wx, o)] · W[(wy, wx, o), c]`: windows of the spread and
    /// padded gradient, and the kernel turned.
    fn input_gradient(&self, outputs: [usize; 2]) -> ViewedGemm {
        let [channels, filters] = self.of_group();
        let shape = GemmShape {
            m: self.batch * self.image[0] * self.image[1],
            k: self.taps() * filters,
            n: channels,
        };
        let [down, along] = [0, 1].map(|axis| Sliding {
            positions: self.image[axis],
            taps: self.kernel[axis],
            step: 1,
            tap_step: self.dilation[axis],
            spread: self.stride[axis],
            pad: self.reach(axis) as isize - 1 - self.padding[axis] as isize,
            extent: outputs[axis],
        });
        let windows = View::Windows(Windows { down, along });
        let read = [windows, View::Kernel { taps: self.kernel }]
            .map(|view| Reading { view, transposed: false });
        ViewedGemm {
            shape,
            read,
            repeats: Repeats { count: self.groups, a: Columns, b: Rows, output: Columns },
        }
    }

    /// `dW[o, (ky, kx, c)] = dZ[(b, oy, ox), o]ᵀ · X[(b, oy, ox), (ky, kx, c)]`.
    fn weight_gradient(&self, outputs: [usize; 2]) -> ViewedGemm {
        let GemmShape { m, k, n } = self.forward(outputs).shape;
        let gradient = Reading { view: View::Stored, transposed: true };
        ViewedGemm {
            shape: GemmShape { m: n, k: m, n: k },
            read: [gradient, self.image_windows(outputs)],
            repeats: Repeats { count: self.groups, a: Columns, b: Columns, output: Rows },
        }
    }

    fn image_windows(&self, outputs: [usize; 2]) -> Reading {
        let [down, along] = [0, 1].map(|axis| Sliding {
            positions: outputs[axis],
            taps: self.kernel[axis],
            step: self.stride[axis],
            tap_step: self.dilation[axis],
            spread: 1,
            pad: self.padding[axis] as isize,
            extent: self.image[axis],
        });
        Reading { view: View::Windows(Windows { down, along }), transposed: false }
    }

    /// Channels and filters of one group.
    fn of_group(&self) -> [usize; 2] {
        let groups = self.groups.get();
        let divides = self.channels.is_multiple_of(groups) && self.filters.is_multiple_of(groups);
        assert!(divides, "{groups} groups of {} and {}", self.channels, self.filters);
        [self.channels / groups, self.filters / groups]
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}
