//! A training step of one convolution, by hand: its three products over views, in groups, with bias,
//! ReLU, mask, column sums, squared error and update.

use std::num::NonZero;

use systoliq_fxp::{Accumulator, Format, Overflow, Rounding, Scale};
use systoliq_hardware::Accelerator;
use systoliq_nn::Answers;
use systoliq_program::operation::{BatchLoss, Product, Reduce, Update};
use systoliq_program::tensor::{OperandRef, Rows};
use systoliq_program::{
    ConvolutionShape, Edge, EntryName, Factor, Finish, Pass, Role, TensorDecl, TensorId, TensorPlan,
};

use super::*;

const CONVOLUTIONS: u64 = 600;

/// A convolution of a few pixels.
fn shape(draws: &mut Draws) -> ConvolutionShape {
    loop {
        let groups = draws.of(&[1, 1, 2, 3]);
        let mut two =
            |low: u64, high: u64| [(); 2].map(|()| (low + draws.below(high - low + 1)) as usize);
        let (image, kernel, stride, dilation) = (two(1, 5), two(1, 3), two(1, 3), two(1, 2));
        let (padding, end_padding) = (two(0, 3), two(0, 3));
        let [batch, channels, filters] = [(); 3].map(|()| 1 + draws.below(3) as usize);
        let convolution = ConvolutionShape {
            batch,
            image,
            channels: groups * channels,
            filters: groups * filters,
            kernel,
            stride,
            dilation,
            padding,
            end_padding,
            groups: NonZero::new(groups).expect("at least one"),
        };
        if convolution.outputs().is_some() {
            return convolution;
        }
    }
}

fn plan(draws: &mut Draws, scales: &[Scale]) -> TensorPlan {
    let bits = 2 + draws.below(15) as u32;
    TensorPlan {
        format: Format::new(bits, draws.below(u64::from(bits)) as i32, true).expect("a format"),
        scale: draws.of(scales),
        rounding: draws.of(&Rounding::ALL),
        overflow: draws.of(&Overflow::ALL),
    }
}

/// Its tensors, in the order of their ids.
const X: TensorId = TensorId(0);
const W: TensorId = TensorId(1);
const BIAS: TensorId = TensorId(2);
const Y: TensorId = TensorId(3);
const TARGETS: TensorId = TensorId(4);
const DY: TensorId = TensorId(5);
const DX: TensorId = TensorId(6);
const DW: TensorId = TensorId(7);
const DB: TensorId = TensorId(8);

fn program(draws: &mut Draws, convolution: &ConvolutionShape) -> Program {
    let [height, width] = convolution.outputs().expect("a window");
    let image = Rows::Batch { per_sample: convolution.image.iter().product() };
    let output = Rows::Batch { per_sample: height * width };
    let groups = convolution.groups.get();
    let (channels, filters) = (convolution.channels, convolution.filters);
    let taps: usize = convolution.kernel.iter().product::<usize>() * channels / groups;
    let moving = [Scale::Static, Scale::Dynamic, Scale::History { window: 2 }];
    let mut tensor = |name: &str, role, rows, cols, scales: &[Scale]| {
        let (name, plan) = (name.to_owned(), plan(draws, scales));
        TensorDecl { name, role, entry: EntryName::Number(0), stands_for: None, rows, cols, plan }
    };
    let tensors = vec![
        tensor("x", Role::Input, image, channels, &moving),
        tensor("w", Role::Master, Rows::Fixed(filters), taps, &[Scale::Static]),
        tensor("b", Role::Bias, Rows::Fixed(1), filters, &[Scale::Static]),
        tensor("y", Role::Logits, output, filters, &moving),
        tensor("t", Role::Targets, output, filters, &moving),
        tensor("dy", Role::Error, output, filters, &moving),
        tensor("dx", Role::Gradients, image, channels, &moving),
        tensor("dw", Role::WeightGradients, Rows::Fixed(filters), taps, &moving),
        tensor("db", Role::WeightGradients, Rows::Fixed(1), filters, &moving),
    ];
    let mut program = Program::over(tensors, X, Y);
    program.targets = Some(TARGETS);
    program.learning.rate = 0.25;
    let operands = [[X, W], [DY, W], [DY, X]];
    let outputs = [Y, DX, DW];
    let products = convolution.products().expect("a window");
    for (at, pass) in Pass::ALL.into_iter().take(3).enumerate() {
        let of = |side: usize| OperandRef {
            tensor: operands[at][side],
            reading: products[at].read[side],
        };
        let (bits, frac) = (8 + draws.below(57) as u32, draws.below(20) as i32 - 4);
        let frac = (draws.below(2) == 0).then_some(frac);
        let (rounding, overflow) = (draws.of(&Rounding::ALL), draws.of(&Overflow::ALL));
        let accumulator = Accumulator::new(bits, frac, rounding, overflow).expect("a register");
        let accumulator = match NonZero::new(draws.below(4) as u32) {
            Some(chunk) => accumulator.in_chunks(chunk),
            None => accumulator,
        };
        let edges = match pass {
            Pass::Forward => draws.of(&[None, Some(Edge::Relu)]),
            Pass::InputGradient => draws.of(&[None, Some(Edge::Positive(X))]),
            Pass::WeightGradient | Pass::Update => None,
        };
        let finish = Finish {
            bias: (pass == Pass::Forward).then_some(BIAS),
            edges: edges.into_iter().collect(),
            factor: if pass == Pass::WeightGradient { Factor::Mean } else { Factor::One },
            output: outputs[at],
        };
        let product =
            Product { a: of(0), b: of(1), repeats: products[at].repeats, accumulator, finish };
        program.push(EntryName::Number(0), pass, Operation::Product(product.into()));
        if pass == Pass::Forward {
            let loss = BatchLoss { outputs: Y, targets: Some(TARGETS), error: DY };
            program.push(EntryName::Number(0), pass, Operation::Loss(loss));
        }
        if pass == Pass::WeightGradient {
            let finish = Finish { bias: None, edges: Vec::new(), factor: Factor::Mean, output: DB };
            let reduce = Reduce { input: DY, accumulator, product_with: X, finish };
            program.push(EntryName::Number(0), pass, Operation::Reduce(reduce));
        }
    }
    for (written, gradient) in [(W, DW), (BIAS, DB)] {
        let update = Update {
            gradient,
            momentum: None,
            written,
            residual: None,
            working: None,
            decay: false,
            rate_bits: 16,
        };
        program.push(EntryName::Number(0), Pass::Update, Operation::Update(update));
    }
    program
}

#[test]
fn engines_equal_the_reference_on_random_convolutions_in_groups() {
    let (mut zeros, mut overflowed, mut grouped) = (0, 0, 0);
    let [one, three] = workers();
    for number in 0..CONVOLUTIONS {
        let mut draws = Draws::new("convolutions", number);
        let convolution = shape(&mut draws);
        let program = Arc::new(program(&mut draws, &convolution));
        let batches = [(); 2].map(|()| {
            let mut matrix = |tensor: TensorId| {
                let shape = program.tensor(tensor).shape(convolution.batch);
                Array2::from_shape_fn(shape, |_| draws.below(4000) as f64 / 1000.0 - 2.0)
            };
            Batch { inputs: matrix(X), answers: Answers::Targets(matrix(TARGETS)) }
        });
        let (filters, taps) = program.tensor(W).shape(0);
        let initial =
            Array2::from_shape_fn((filters, taps), |_| draws.below(2000) as f64 / 1000.0 - 1.0);
        let initial = [initial];
        let expected = run(&program, &initial, number, &batches, (&mut Reference, &one));
        let accelerator: Accelerator = serde_json::from_value(json!({ "array": {
            "rows": 1 + draws.below(5),
            "cols": 1 + draws.below(5),
            "dataflow": draws.of(&["os", "ws", "is"]),
        } }))
        .expect("an accelerator");
        let batch = convolution.batch;
        let costs = Costs::new(&program, &accelerator, Arithmetic::Fixed, EpochBatches::one(batch));
        let (mut fast, mut shared) = (Fast::default(), Fast::default());
        let mut clocked = Clocked(costs);
        let engines: [(&str, (&mut dyn Engine, _)); 3] = [
            ("fast", (&mut fast, &one)),
            ("fast in three threads", (&mut shared, &three)),
            ("clocked", (&mut clocked, &one)),
        ];
        for (name, engine) in engines {
            let found = run(&program, &initial, number, &batches, engine);
            for (ours, theirs) in found.iter().zip(&expected) {
                let write = &program.tensor(theirs.0.written[0].tensor).name;
                assert_eq!(ours, theirs, "{name}, {number}: {write}, {convolution:?}");
            }
        }
        let products = convolution.products().expect("a window");
        zeros += usize::from(products.iter().any(|of| of.shape.structural_zeros(of.read) > 0));
        overflowed += usize::from(expected.iter().any(|(of, _)| of.written[0].overflowed_sums > 0));
        grouped += usize::from(convolution.groups.get() > 1);
    }
    println!("{zeros} with structural zeros, {overflowed} that overflow, {grouped} in groups");
    assert!(zeros > 300 && overflowed > 100 && grouped > 200, "{zeros} {overflowed} {grouped}");
}
