//! Products over views are what the definition of convolution, and its gradients, say.

mod cases;

use cases::{Case, Draw, any_case, product, shapes};
use systoliq_fxp::{Adder, Sum, Tensor};
use systoliq_keyed_random::Key;
use systoliq_program::{ConvolutionShape, Engine, Reference, Sums};

/// Places row by row of what an output, a pixel and a weight have to do with each other.
struct Triple {
    input: usize,
    weight: usize,
    output: usize,
    /// The place in the sums of the three passes.
    k: [usize; 3],
}

/// z[b, oy, ox, o] = Σ x[b, oy·s + ky·d − p, ox·s + kx·d − p, c] · w[o, ky, kx, c] over all pixels that
/// there are: a sum over triples, of which each gradient is another sum.
fn triples(convolution: &ConvolutionShape) -> Vec<Triple> {
    let ConvolutionShape { batch, image, channels, filters, kernel, .. } = *convolution;
    let [out_height, out_width] = convolution.outputs().unwrap();
    let groups = convolution.groups.get();
    let (channels_each, filters_each) = (channels / groups, filters / groups);
    let pixel = |axis: usize, position: usize, tap: usize| {
        let place = position * convolution.stride[axis] + tap * convolution.dilation[axis];
        let place = place.checked_sub(convolution.padding[axis])?;
        (place < image[axis]).then_some(place)
    };
    let mut found = Vec::new();
    let mut see = |b: usize, [oy, ox]: [usize; 2], [ky, kx]: [usize; 2], o: usize| {
        let (Some(y), Some(x)) = (pixel(0, oy, ky), pixel(1, ox, kx)) else { return };
        let window = (b * out_height + oy) * out_width + ox;
        let pixel = (b * image[0] + y) * image[1] + x;
        let tap = ky * kernel[1] + kx;
        let turned = (kernel[0] - 1 - ky) * kernel[1] + (kernel[1] - 1 - kx);
        for c in 0..channels_each {
            found.push(Triple {
                input: pixel * channels + o / filters_each * channels_each + c,
                weight: (o * kernel[0] * kernel[1] + tap) * channels_each + c,
                output: window * filters + o,
                k: [tap * channels_each + c, turned * filters_each + o % filters_each, window],
            });
        }
    };
    for b in 0..batch {
        for place in places([out_height, out_width]) {
            for tap in places(kernel) {
                (0..filters).for_each(|o| see(b, place, tap, o));
            }
        }
    }
    found
}

fn places([height, width]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..height).flat_map(move |y| (0..width).map(move |x| [y, x]))
}

/// The sums of a pass by its triples: products that nothing is stored for are not even added.
fn expected(
    triples: &[Triple],
    pass: usize,
    [a, b]: [&Tensor; 2],
    bias: Option<&Tensor>,
    (adder, outputs, count): (&Adder, usize, usize),
) -> Sums {
    let [a, b] = [a, b]
        .map(|tensor| -> Vec<i128> { tensor.to_codes().into_iter().map(i128::from).collect() });
    let mut products = vec![Vec::new(); outputs];
    for Triple { input, weight, output, k } in triples {
        let (at, product) = match pass {
            0 => (*output, a[*input] * b[*weight]),
            1 => (*input, a[*output] * b[*weight]),
            _ => (*weight, a[*output] * b[*input]),
        };
        products[at].push((k[pass], product));
    }
    let mut sums = Sums { values: Vec::new(), overflowed: 0 };
    for (index, products) in products.iter_mut().enumerate() {
        products.sort_unstable();
        let mut products = products.iter().copied().peekable();
        let mut sum = Sum::default();
        for k in 0..count {
            if let Some((_, product)) = products.next_if(|&(at, _)| at == k) {
                adder.add_product(&mut sum, product, index as u64, k as u64);
            }
            if adder.ends_run(k as u64, count as u64) {
                adder.end_chunk(&mut sum);
            }
        }
        assert_eq!(products.next(), None, "a product of every k");
        let bias = bias.map(|bias| (bias.code(0, index % bias.cols()), bias.format().frac()));
        sums.overflowed += u64::from(adder.finish(&mut sum, bias, index as u64, count as u64));
        sums.values.push(sum.value);
    }
    sums
}

/// The sums of all groups by the reference.
fn by_views(
    convolution: &ConvolutionShape,
    pass: usize,
    operands: [&Tensor; 2],
    bias: Option<&Tensor>,
    (adder, outputs): (&Adder, usize),
) -> Sums {
    let product = product(convolution, pass);
    let mut sums = Sums { values: vec![0; outputs], overflowed: 0 };
    for group in 0..convolution.groups.get() {
        let task = product.task(operands, *adder, bias, group);
        assert_eq!(task.shape(), product.shape);
        let found = Reference.gemm(&task);
        for (at, &value) in found.values.iter().enumerate() {
            let (row, col) = task.place(at);
            sums.values[task.output.index(row, col)] = value;
        }
        sums.overflowed += found.overflowed;
    }
    sums
}

#[test]
fn products_over_views_are_the_convolution_and_its_gradients() {
    // Cut-off gradients, kernels larger than their images, and groups are among them.
    let mut seen = [0; 4];
    for seed in 0..1200 {
        let mut draw = Draw::new(seed);
        let convolution = draw.convolution(7);
        let triples = triples(&convolution);
        let reach = |axis: usize| convolution.dilation[axis] * (convolution.kernel[axis] - 1);
        seen[0] += usize::from((0..2).any(|axis| convolution.padding[axis] > reach(axis)));
        seen[1] += usize::from((0..2).any(|axis| convolution.image[axis] < reach(axis) + 1));
        seen[2] += usize::from(convolution.groups.get() > 1);
        seen[3] += usize::from(convolution.kernel == [1, 1]);
        for pass in 0..3 {
            let case = Case { blocks: None, ..any_case(seed, 9) };
            let [a, b, bias] = shapes(&convolution, pass);
            let a = draw.tensor(case.formats[0], a.0, a.1);
            let b = draw.tensor(case.formats[1], b.0, b.1);
            let bias = case.bias.map(|format| draw.tensor(format, bias.0, bias.1));
            let frac = case.formats[0].frac() + case.formats[1].frac();
            let accumulator = case.accumulator(frac - case.shift);
            let adder = Adder::new(&accumulator, frac, Key::new(seed));
            let product = product(&convolution, pass);
            let outputs = product.shape.m * product.shape.n * convolution.groups.get();
            let (operands, bias) = ([&a, &b], bias.as_ref());
            let of = (&adder, outputs, product.shape.k);
            let expected = expected(&triples, pass, operands, bias, of);
            let found = by_views(&convolution, pass, operands, bias, (&adder, outputs));
            assert_eq!(found, expected, "pass {pass} of {convolution:?}, seed {seed}");
            assert_eq!(product.macs(), triples.len() as u64, "pass {pass} of {convolution:?}");
        }
    }
    assert!(seen.into_iter().all(|count| count > 20), "{seen:?}");
}

/// Pairs of an output and a tap that meet a pixel, along one axis: P of `docs/numerics.md`.
fn pairs(convolution: &ConvolutionShape, axis: usize) -> i64 {
    let of = |sizes: [usize; 2]| sizes[axis] as i64;
    let (side, stride) = (of(convolution.image), of(convolution.stride));
    let out = of(convolution.outputs().unwrap());
    let of_tap = |tap: i64| {
        let before = of(convolution.padding) - tap * of(convolution.dilation);
        let last = (out - 1).min((side - 1 + before).div_euclid(stride));
        let first = (before + stride - 1).div_euclid(stride).max(0);
        (last - first + 1).max(0)
    };
    (0..of(convolution.kernel)).map(of_tap).sum()
}

#[test]
fn all_three_passes_have_the_macs_of_the_closed_form() {
    for seed in 0..1000 {
        let mut draw = Draw::new(seed ^ 0xfac);
        let convolution = ConvolutionShape {
            batch: draw.size(1, 64),
            channels: 48 * draw.size(1, 8),
            filters: 48 * draw.size(1, 8),
            groups: draw.pick(&[1, 2, 48]).try_into().unwrap(),
            ..draw.convolution(60)
        };
        let counted = |axis: usize| {
            let at = |(position, tap): (usize, usize)| {
                let place = position * convolution.stride[axis] + tap * convolution.dilation[axis];
                let image =
                    convolution.padding[axis]..convolution.padding[axis] + convolution.image[axis];
                u64::from(image.contains(&place))
            };
            let positions = 0..convolution.outputs().unwrap()[axis];
            let taps = 0..convolution.kernel[axis];
            positions
                .flat_map(|position| taps.clone().map(move |tap| (position, tap)))
                .map(at)
                .sum::<u64>()
        };
        let ConvolutionShape { batch, channels, filters, groups, .. } = convolution;
        let each = (batch * filters * channels / groups) as u64;
        let macs = each * pairs(&convolution, 0) as u64 * pairs(&convolution, 1) as u64;
        assert_eq!(macs, each * counted(0) * counted(1), "{convolution:?}");
        let products = convolution.products().unwrap();
        assert_eq!(products.map(|product| product.macs()), [macs; 3], "{convolution:?}");
    }
}
