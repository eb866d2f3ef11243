//! The ReLU's mask, which moves with the results, and the bias.

use std::ops::Range;

use systoliq_fxp::{Accumulator, Overflow, Rounding};
use systoliq_hardware::single;
use systoliq_hardware::{cost::Arithmetic, cost::Cost, cost::Costs};
use systoliq_hardware::{memory::Moment, memory::Moved, memory::Stored, memory::Transfer};
use systoliq_program::operation::Product;
use systoliq_program::tensor::OperandRef;
use systoliq_program::view::Repeats;
use systoliq_program::{
    Edge, EntryName, Factor, Finish, GemmShape, Operation, Pass, Program, Role, TensorId, Work,
    WriteId,
};

use super::burst_by_burst::{Work as Step, follow};
use super::steps::{self, Given};
use super::{Case, Draws, large_enough};

const A: TensorId = TensorId(0);
const B: TensorId = TensorId(1);
const C: TensorId = TensorId(2);
const BIAS: TensorId = TensorId(3);
const ACTIVATION: TensorId = TensorId(4);

/// The bits of a bias.
const BIAS_BITS: u32 = 16;

/// C = edge(A · B + bias).
fn program(case: &Case, edge: Option<Edge>, has_bias: bool) -> Program {
    let GemmShape { m, k, n } = case.shape;
    let widths = case.widths;
    let tensor = |name: &str, role, (rows, cols), bits| {
        single::tensor(name, role, 0, [rows, cols], bits).expect("a format")
    };
    let tensors = vec![
        tensor("a", Role::Input, case.read[0].stored(m, k), widths.a),
        tensor("b", Role::Weights, case.read[1].stored(k, n), widths.b),
        tensor("c", Role::Activations, (m, n), widths.output),
        tensor("bias", Role::Bias, (1, n), BIAS_BITS),
        tensor("activation", Role::Activations, (m, n), 8),
    ];
    let accumulator =
        Accumulator::new(widths.accumulator, None, Rounding::Floor, Overflow::Wrap).expect("one");
    let [a, b] = [(A, case.read[0]), (B, case.read[1])]
        .map(|(tensor, reading)| OperandRef { tensor, reading });
    let bias = has_bias.then_some(BIAS);
    let edges = edge.into_iter().collect();
    let finish = Finish { bias, edges, factor: Factor::One, output: C };
    let operation =
        Operation::Product(Product { a, b, repeats: Repeats::ONCE, accumulator, finish }.into());
    let mut program = Program::over(tensors, A, C);
    program.push(EntryName::Number(0), Pass::Forward, operation);
    program
}

/// Steps whose results have consecutive tiles of one row of tiles, no more than fill a burst by their
/// bits, or one tile; pieces of tiles each by themselves.
fn groups(given: &[(usize, Given)], burst_bits: u64) -> Vec<Vec<(usize, Given)>> {
    let first = given[0].1.tile;
    let in_pieces = given.windows(2).any(|pair| pair[0].1.tile == pair[1].1.tile);
    // The first tile is as large as any.
    let tile_bits = given[0].1.elements;
    // Along the row, one of the two places changes from the first tile to the next.
    let next = given.iter().map(|(_, given)| given.tile).find(|tile| *tile != first);
    let row = usize::from(next.is_some_and(|next| next[0] != first[0]));
    let mut groups: Vec<Vec<(usize, Given)>> = Vec::new();
    for &(step, given) in given {
        let joins = groups.last().is_some_and(|group| {
            let same_row = group[0].1.tile[row] == given.tile[row];
            !in_pieces && same_row && (group.len() as u64 + 1) * tile_bits <= burst_bits
        });
        match groups.last_mut() {
            Some(group) if joins => group.push((step, given)),
            _ => groups.push(vec![(step, given)]),
        }
    }
    groups
}

/// The steps of a GEMM, with its mask and its bias.
fn spelled_out(case: &Case, edge: Edge, has_bias: bool) -> Vec<Step> {
    let Case { accelerator, shape, widths, .. } = case;
    let flow = accelerator.array.dataflow.stationary().expect("a pinned dataflow");
    let found = steps::with_results(accelerator, flow, *shape, *widths, case.images());
    let burst = accelerator.dram.burst_bytes;
    let given: Vec<(usize, Given)> =
        found.iter().enumerate().filter_map(|(at, (_, given))| Some((at, (*given)?))).collect();
    let mut work: Vec<Step> = found.into_iter().map(|(work, _)| work).collect();
    let transfer = |tensor, stored, write, elements: u64, bits: u32| {
        let bytes = (elements * u64::from(bits)).div_ceil(8).div_ceil(burst) * burst;
        Transfer { tensor, stored, write, elements, bytes, offset: 0, first: true }
    };
    for group in groups(&given, 8 * burst) {
        let elements = group.iter().map(|(_, given)| given.elements).sum();
        let (first, last) = (group[0].0, group[group.len() - 1].0);
        match edge {
            Edge::Relu => work[last].writes.push(transfer(C, Stored::Mask, true, elements, 1)),
            Edge::Clip { .. } => {}
            Edge::Curve(_) | Edge::Slope { .. } => panic!("no mask: {edge:?}"),
            Edge::Positive(of) | Edge::Between { of, .. } => {
                work[first].reads.insert(0, transfer(of, Stored::Mask, false, elements, 1));
            }
        }
    }
    if has_bias {
        let n = shape.n as u64;
        work[0].reads.insert(0, transfer(BIAS, Stored::Elements, false, n, BIAS_BITS));
    }
    work
}

/// What it takes, with every transfer; nothing if a scratchpad is too small for one step.
pub(super) fn cost(
    case: &Case,
    edge: Option<Edge>,
    has_bias: bool,
) -> Option<(Cost, Vec<Transfer>)> {
    let program = program(case, edge, has_bias);
    let Case { accelerator, shape, .. } = case;
    let costs = Costs::apart(&program, accelerator, Arithmetic::Fixed, shape.m);
    let work = Work::Gemm(case.shape);
    let cost = large_enough(costs.of(WriteId(0), work, false))?;
    let mut all = Vec::new();
    let mut see = |moment: Moment| all.extend(moment.transfers.into_iter().map(|(of, _)| of));
    assert_eq!(costs.watch(WriteId(0), work, false, &mut see).expect("a cost"), cost);
    Some((cost, all))
}

fn sorted(mut moved: Vec<Moved>) -> Vec<Moved> {
    moved.sort_unstable_by_key(|moved| (moved.tensor, moved.stored, moved.write));
    moved
}

fn assert_followed(cases: u64, draw: fn(u64) -> Case) {
    let (mut run, mut stalled, mut grouped, mut longest) = (0, 0, 0, 0);
    for number in 0..cases {
        let Some(case) = draw(number).pinned() else { continue };
        let mut draws = Draws::new("edges", number);
        let has_bias = draws.below(2) == 0;
        let mut places = Vec::new();
        for edge in [Edge::Relu, Edge::Positive(ACTIVATION)] {
            let Some((cost, all)) = cost(&case, Some(edge), has_bias) else { continue };
            let shown = || format!("case {number}: {edge:?}, bias {has_bias}, {case:?}");
            let work = spelled_out(&case, edge, has_bias);
            let found = follow(&case.accelerator.dram, &work);
            assert_eq!(cost.cycles.total().0, found.end, "{}", shown());
            assert_eq!(cost.cycles.stall.0, found.stall(), "{}", shown());
            assert_eq!(sorted(cost.moved), sorted(found.moved.clone()), "{}", shown());
            let ranges = |is: &dyn Fn(&Transfer) -> bool| -> Vec<Range<u64>> {
                let some = all.iter().filter(|of| is(of));
                some.map(|of| of.offset..of.offset + of.bytes).collect()
            };
            let is_mask = |of: &Transfer| of.stored == Stored::Mask;
            let mask = ranges(&is_mask);
            // None lies on another, and no result on another.
            for mut ranges in [mask.clone(), ranges(&|of| of.write && !is_mask(of))] {
                ranges.sort_unstable_by_key(|range| range.start);
                assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{}", shown());
            }
            let results = (case.shape.m * case.shape.n) as u64;
            let bits = all.iter().filter(|of| is_mask(of)).map(|of| of.elements);
            assert_eq!(bits.sum::<u64>(), results, "{}", shown());
            run += 1;
            stalled += u64::from(found.stall() > 0);
            let steps = work.iter().filter(|work| !work.writes.is_empty()).count();
            grouped += u64::from(mask.len() < steps);
            longest = longest.max(work.len());
            places.push(mask);
        }
        // It is read from where it was written, in the same order.
        assert!(places.windows(2).all(|pair| pair[0] == pair[1]), "case {number}: {case:?}");
    }
    let counts = format!("{run} run, {stalled} stalled, {grouped} grouped, {longest} steps");
    assert!(run > 1500 && stalled > 1000 && grouped > 300 && longest > 200, "{counts}");
}

#[test]
fn a_mask_moves_with_the_results_as_if_every_burst_were_followed() {
    assert_followed(2000, Case::draw);
}

#[test]
fn a_mask_moves_with_the_results_of_a_convolution() {
    assert_followed(2000, Case::draw_convolution);
}
