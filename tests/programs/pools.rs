//! Pooling and its gradient against plain loops over windows, by definition.

use systoliq_fxp::{ActivationCurve, Conversion, Format, Multiplier, Overflow, Rounding, Scale};
use systoliq_keyed_random::Key;
use systoliq_program::operation::{Pool, PoolKind, PoolSpread, Select, SpreadKind};
use systoliq_program::tensor::Rows;
use systoliq_program::view::{Sliding, Windows};
use systoliq_program::{Edge, EntryName, Pass, Program, Role, TensorDecl, TensorId, TensorPlan};

use super::*;

const CASES: u64 = 400;

/// A window along one axis: taps, step, padding before and after, extent.
fn axis(draws: &mut Draws) -> Sliding {
    loop {
        // Windows of many sizes at the edges have multipliers that are far apart.
        let most = draws.of(&[4, 4, 4, 9]);
        let [taps, step, extent] =
            [1 + draws.below(most), 1 + draws.below(3), 1 + draws.below(most + 3)];
        let [taps, step, extent] = [taps, step, extent].map(|size| size as usize);
        let [pad, after] = [0, 1].map(|_| draws.below(taps as u64) as usize);
        if let Some(room) = (extent + pad + after).checked_sub(taps) {
            let positions = room / step + 1;
            let pad = pad as isize;
            let axis = Sliding { positions, taps, step, tap_step: 1, spread: 1, pad, extent };
            // No window without a pixel.
            if (0..positions).all(|at| (0..taps).any(|tap| axis.meets(at, tap).is_some())) {
                return axis;
            }
        }
    }
}

fn plan(draws: &mut Draws, signed: bool) -> TensorPlan {
    let most = if draws.below(5) == 0 { 31 } else { 9 };
    let bits = 2 + draws.below(most) as u32;
    TensorPlan {
        format: Format::new(bits, draws.below(9) as i32, signed).unwrap(),
        scale: draws.of(&[Scale::Static, Scale::Dynamic, Scale::History { window: 2 }]),
        rounding: draws.of(&Rounding::ALL),
        overflow: draws.of(&Overflow::ALL),
    }
}

/// The images under the windows, what windows make, and the gradients of both.
struct Case {
    windows: Windows,
    channels: usize,
    counts_padding: bool,
    program: Program,
}

const X: TensorId = TensorId(0);
const Y: TensorId = TensorId(1);
const WINNERS: TensorId = TensorId(2);
const DY: TensorId = TensorId(3);
const DX: TensorId = TensorId(4);
const DX_OF_MEAN: TensorId = TensorId(5);
const MEAN: TensorId = TensorId(6);

fn case(draws: &mut Draws) -> Case {
    let windows = Windows { down: axis(draws), along: axis(draws) };
    let channels = 1 + draws.below(3) as usize;
    let counts_padding = draws.below(2) == 0;
    let statics =
        |draws: &mut Draws, signed| TensorPlan { scale: Scale::Static, ..plan(draws, signed) };
    let (x, dy) = (statics(draws, true), statics(draws, true));
    let winners = TensorPlan {
        format: Format::new(8, 0, false).unwrap(),
        rounding: Rounding::Floor,
        overflow: Overflow::Saturate,
        ..x
    };
    let decl = |name: &str, role, rows: usize, plan| TensorDecl {
        name: name.into(),
        role,
        entry: EntryName::Place(0),
        stands_for: None,
        rows: Rows::Batch { per_sample: rows },
        cols: channels,
        plan,
    };
    let (of_image, of_windows) = (windows.pixels(), windows.positions());
    let tensors = vec![
        decl("x", Role::Input, of_image, x),
        decl("y", Role::Activations, of_windows, x),
        decl("p", Role::Winners, of_windows, winners),
        decl("dy", Role::Gradients, of_windows, dy),
        decl("dx", Role::Gradients, of_image, plan(draws, true)),
        decl("dm", Role::Gradients, of_image, plan(draws, true)),
        decl("m", Role::Activations, of_windows, plan(draws, true)),
    ];
    let mut program = Program::over(tensors, X, Y);
    let edge = |draws: &mut Draws, of| match draws.below(4) {
        0 => vec![Edge::Positive(of)],
        1 => vec![Edge::Slope {
            of,
            curve: draws.of(&[ActivationCurve::Sigmoid, ActivationCurve::Tanh]),
        }],
        _ => Vec::new(),
    };
    let forward = draws.of(&[None, Some(Edge::Relu), Some(Edge::Curve(ActivationCurve::Tanh))]);
    let entry = EntryName::Place(0);
    let kind = PoolKind::Largest { winners: Some(WINNERS) };
    let pool = Pool { input: X, windows, kind, edges: Vec::new(), output: Y };
    program.push(entry, Pass::Forward, Operation::Pool(pool));
    let kind = PoolKind::Mean { counts_padding };
    let edges = forward.into_iter().collect();
    let pool = Pool { input: X, windows, kind, edges, output: MEAN };
    program.push(EntryName::Place(1), Pass::Forward, Operation::Pool(pool));
    // Any tensor of the shape is a gradient.
    let select = Select { input: Y, edges: Vec::new(), output: DY, place: 0 };
    program.push(EntryName::Place(3), Pass::InputGradient, Operation::Select(select));
    let kind = SpreadKind::Winner(WINNERS);
    let spread = PoolSpread { gradient: DY, windows, kind, edges: edge(draws, X), output: DX };
    program.push(entry, Pass::InputGradient, Operation::Spread(spread));
    let kind = SpreadKind::Share { counts_padding };
    let edges = edge(draws, X);
    let spread = PoolSpread { gradient: DY, windows, kind, edges, output: DX_OF_MEAN };
    program.push(EntryName::Place(1), Pass::InputGradient, Operation::Spread(spread));
    Case { windows, channels, counts_padding, program }
}

/// A rational `raw · 2^-frac`.
type Exact = (i128, i32);

fn plus((a, a_frac): Exact, (b, b_frac): Exact) -> Exact {
    let frac = a_frac.max(b_frac);
    ((a << (frac - a_frac)) + (b << (frac - b_frac)), frac)
}

impl Case {
    /// By definition: the windows of an image, in order, with the pixels that they meet, in order.
    fn met(&self) -> Vec<Vec<(usize, usize)>> {
        let Windows { down, along } = self.windows;
        let mut all = Vec::new();
        for oy in 0..down.positions {
            for ox in 0..along.positions {
                let mut met = Vec::new();
                for ky in 0..down.taps {
                    for kx in 0..along.taps {
                        if let (Some(y), Some(x)) = (down.meets(oy, ky), along.meets(ox, kx)) {
                            met.push((ky * along.taps + kx, y * along.extent + x));
                        }
                    }
                }
                all.push(met);
            }
        }
        all
    }

    fn mean_factor(&self, met: &[(usize, usize)]) -> Multiplier {
        let count = if self.counts_padding { self.windows.taps() } else { met.len() };
        Multiplier::reciprocal(count as u32)
    }
}

/// Codes of exact values through an edge and the conversion into a tensor; nothing where codes move.
fn converted(
    store: &Store,
    id: TensorId,
    key: Key,
    (edges, values): (&[Edge], Vec<Exact>),
) -> Vec<i64> {
    let plan = store.program().tensor(id).plan;
    let to = store.tensor(id).unwrap().format();
    let passed = values.into_iter().enumerate().map(|(at, (raw, frac))| match edges {
        [] => (raw, frac),
        [Edge::Relu] => (raw.max(0), frac),
        [Edge::Positive(of)] => match store.tensor(*of).unwrap().to_codes()[at] {
            1.. => (raw, frac),
            _ => (0, frac),
        },
        [Edge::Curve(curve)] => {
            // No value here is so long.
            (curve.of(i64::try_from(raw).unwrap(), frac).into(), ActivationCurve::FRAC)
        }
        [Edge::Slope { of, curve }] => {
            let of = store.tensor(*of).unwrap();
            let slope = curve.slope(of.to_codes()[at], of.format().frac()).unwrap();
            (raw * i128::from(slope), frac + curve.slope_frac(of.format().frac()))
        }
        edges => panic!("{edges:?}"),
    });
    let convert = |(at, (raw, from_frac)): (usize, Exact)| {
        let conversion = Conversion {
            from_frac,
            scale: 1,
            to,
            rounding: plan.rounding,
            overflow: plan.overflow,
            key,
            squares: false,
        };
        conversion.convert(raw, at as u64).code
    };
    passed.enumerate().map(convert).collect()
}

#[test]
fn pools_and_their_gradients_are_those_of_plain_loops() {
    let (mut moved, mut wide) = (0, 0);
    for number in 0..CASES {
        let mut draws = Draws::new("pools", number);
        let case = case(&mut draws);
        let (met, channels) = (case.met(), case.channels);
        let program = Arc::new(case.program.clone());
        let mut store = Store::new(&program, &[], number);
        let (images, pixels) = (2, case.windows.pixels());
        // Half the range of x.
        let format = program.tensor(X).plan.format;
        let largest = 2f64.powi(format.bits() as i32 - 3 - format.frac());
        let reals = ndarray::Array2::from_shape_fn((images, pixels * channels), |_| {
            (draws.below(400) as f64 / 100.0 - 2.0) * largest
        });
        let batch = Batch { inputs: reals, answers: Answers::Labels(vec![0; images]) };
        let step = Step::training(number, 0);
        store.load(&batch, &step);
        let x = store.tensor(X).unwrap().clone();
        let codes = x.to_codes();
        let at =
            |image: usize, pixel: usize, c: usize| codes[(image * pixels + pixel) * channels + c];
        let run = |store: &mut Store, place: usize| {
            let id = program.step[place];
            store.run(id, &step, &mut |_| unreachable!("no product"));
            let write = program.writes_of(id).next().unwrap().1;
            step.key(program.output_id(id, write.tensor))
        };
        run(&mut store, 0);
        let each = |make: &dyn Fn(usize, usize, usize) -> i64| -> Vec<i64> {
            let rows = (0..images).flat_map(|image| (0..met.len()).map(move |at| (image, at)));
            rows.flat_map(|(image, at)| (0..channels).map(move |c| make(image, at, c))).collect()
        };
        let largest = each(&|image, window, c| {
            met[window].iter().map(|&(_, pixel)| at(image, pixel, c)).max().unwrap()
        });
        let winners = each(&|image, window, c| {
            let best = met[window].iter().map(|&(_, pixel)| at(image, pixel, c)).max();
            let first = met[window].iter().find(|&&(_, pixel)| Some(at(image, pixel, c)) == best);
            first.unwrap().0 as i64
        });
        let codes_of = |store: &Store, id| store.tensor(id).unwrap().to_codes();
        assert_eq!(codes_of(&store, Y), largest, "largest of case {number}: {program:?}");
        assert_eq!(codes_of(&store, WINNERS), winners, "winners of case {number}: {program:?}");
        assert_eq!(store.tensor(Y).unwrap().format(), x.format());

        let key = run(&mut store, 1);
        let mean = |image: usize, window: usize, c: usize| {
            let factor = case.mean_factor(&met[window]);
            let sum: i64 = met[window].iter().map(|&(_, pixel)| at(image, pixel, c)).sum();
            (i128::from(sum) * i128::from(factor.mantissa), x.format().frac() + factor.exponent)
        };
        let rows = (0..images).flat_map(|image| (0..met.len()).map(move |at| (image, at)));
        let means = rows.flat_map(|(image, at)| (0..channels).map(move |c| (image, at, c)));
        let means: Vec<Exact> = means.map(|(image, at, c)| mean(image, at, c)).collect();
        let Operation::Pool(pool) = &program.command(program.step[1]).operation else { panic!() };
        let expected = converted(&store, MEAN, key, (&pool.edges, means));
        assert_eq!(codes_of(&store, MEAN), expected, "means of case {number}: {program:?}");

        run(&mut store, 2);
        let dy = codes_of(&store, DY);
        let gradient_frac = store.tensor(DY).unwrap().format().frac();
        for (place, id) in [(3, DX), (4, DX_OF_MEAN)] {
            let key = run(&mut store, place);
            let Operation::Spread(spread) = &program.command(program.step[place]).operation else {
                panic!()
            };
            let mut sums = vec![(0_i128, 0); images * pixels * channels];
            for image in 0..images {
                for (window, met) in met.iter().enumerate() {
                    for (&(tap, pixel), c) in
                        met.iter().flat_map(|one| (0..channels).map(move |c| (one, c)))
                    {
                        let from = (image * case.met().len() + window) * channels + c;
                        let given = match spread.kind {
                            SpreadKind::Winner(_) if winners[from] == tap as i64 => {
                                (dy[from].into(), gradient_frac)
                            }
                            SpreadKind::Winner(_) => continue,
                            SpreadKind::Share { .. } => {
                                let factor = case.mean_factor(met);
                                let raw = i128::from(dy[from]) * i128::from(factor.mantissa);
                                (raw, gradient_frac + factor.exponent)
                            }
                        };
                        let into = &mut sums[(image * pixels + pixel) * channels + c];
                        *into = plus(*into, given);
                    }
                }
            }
            wide += u64::from(sums.iter().any(|(raw, _)| raw.unsigned_abs() >> 40 > 0));
            if spread.moves() {
                moved += 1;
                assert_eq!(store.tensor(id).unwrap().format().frac(), gradient_frac);
                let kept = |(at, &(raw, _)): (usize, &Exact)| match spread.edges[..] {
                    [Edge::Positive(_)] if codes[at] <= 0 => 0,
                    _ => i64::try_from(raw).unwrap(),
                };
                let expected: Vec<i64> = sums.iter().enumerate().map(kept).collect();
                assert_eq!(codes_of(&store, id), expected, "case {number}: {program:?}");
                continue;
            }
            let expected = converted(&store, id, key, (&spread.edges, sums));
            assert_eq!(codes_of(&store, id), expected, "case {number}: {program:?}");
        }
    }
    assert!(moved > 20 && wide > 10, "{moved} cases move codes, {wide} have long sums");
}
