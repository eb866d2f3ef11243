//! Registers, cycle by cycle, and folds that cannot start earlier.

use systoliq_array::activity::accumulator_toggles;
use systoliq_array::register::{Clock, Hazard, step};
use systoliq_array::{
    Activity, Array, FoldSchedule, Mapping, Overlap, PartialFolds, Register, Stationary,
};
use systoliq_fxp::{Accumulator, Adder, Format, Overflow, Rounding, Tensor};
use systoliq_keyed_random::Key;
use systoliq_program::{GemmTask, Operand};

fn tensor(rows: usize, cols: usize) -> Tensor {
    let codes: Vec<i64> = (1..=(rows * cols) as i64).collect();
    Tensor::from_codes(Format::new(16, 0, true).unwrap(), rows, cols, &codes)
}

fn task<'a>(a: &'a Tensor, b: &'a Tensor) -> GemmTask<'a> {
    let accumulator = Accumulator::new(32, None, Rounding::Floor, Overflow::Wrap).unwrap();
    let operand = |tensor| Operand::new(tensor, false);
    let adder = Adder::new(&accumulator, 0, Key::new(0));
    GemmTask::new(operand(a), operand(b), adder, None)
}

#[test]
fn registers_are_those_drawn_by_hand() {
    // A = B = [1 2; 3 4] on 2 x 2, cycle by cycle: the operand that moves right, the other one and
    // the sum of the PEs (0,0), (0,1), (1,0), (1,1) after each clock edge.
    let (a, b) = (tensor(2, 2), tensor(2, 2));
    type Row = ([i64; 4], [i64; 4], [i64; 4]);
    let output: [Row; 6] = [
        ([1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]),
        ([2, 1, 3, 0], [3, 2, 1, 0], [7, 2, 3, 0]),
        ([0, 2, 4, 3], [0, 4, 3, 2], [7, 10, 15, 6]),
        // The first column begins to drain while the last PE still adds.
        ([0, 0, 0, 4], [0, 0, 0, 4], [0, 10, 7, 22]),
        ([0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 10]),
        ([0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]),
    ];
    let weight: [Row; 6] = [
        // The last row of B comes first.
        ([0, 0, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [1, 4, 3, 0], [0, 0, 0, 0]),
        ([1, 0, 0, 0], [1, 2, 3, 4], [1, 0, 0, 0]),
        ([3, 1, 2, 0], [1, 2, 3, 4], [3, 2, 7, 0]),
        ([0, 3, 4, 2], [1, 2, 3, 4], [0, 6, 15, 10]),
        ([0, 0, 0, 4], [1, 2, 3, 4], [0, 0, 0, 22]),
    ];
    for (stationary, expected) in [(Stationary::Output, output), (Stationary::Weight, weight)] {
        let mut engine = Register::new(Array::new(2, 2).unwrap(), stationary).unwrap();
        let mut seen = Vec::new();
        let sums = engine.observe(&task(&a, &b), &mut |clock| {
            let registers = clock.registers;
            let codes = |at: fn(&Clock<'_>, usize) -> i64| std::array::from_fn(|pe| at(clock, pe));
            assert_eq!(registers.right.len(), 4);
            seen.push((
                codes(|clock, pe| clock.registers.right[pe].code),
                codes(|clock, pe| clock.registers.other[pe].code),
                codes(|clock, pe| clock.registers.sums[pe].sum.value),
            ));
        });
        assert_eq!(seen, expected, "{stationary:?}");
        assert_eq!(sums.values, [7, 10, 15, 22]);
    }
}

#[test]
fn toggles_are_those_counted_by_hand() {
    // The registers drawn above, [1 2; 3 4] squared: A, B, and sums with their way out.
    let (a, b) = (tensor(2, 2), tensor(2, 2));
    let task = task(&a, &b);
    for (stationary, expected) in [
        (Stationary::Output, [2 * (4 + 6), 2 * (4 + 4), (3 + 2 + 4 + 3) + (6 + 1) + (4 + 3)]),
        // The last PE still holds 4 of A, and the sum 22.
        (Stationary::Weight, [2 * (4 + 4) - 1, (4 + 1) + (2 + 2), 4 + 4 + 8 + (8 - 3)]),
    ] {
        let mapping = Mapping::new(&Array::new(2, 2).unwrap(), task.shape(), stationary);
        let activity = Activity::of(&mapping, &task);
        let sums = accumulator_toggles(&mapping, &task);
        assert_eq!([activity.a_toggles, activity.b_toggles, sums], expected, "{stationary:?}");
        assert_eq!(activity.zero_operand_macs, 0);
    }
}

#[test]
fn registers_are_empty_after_a_gemm_with_stationary_outputs() {
    for (rows, cols) in [(1, 1), (1, 3), (3, 1), (2, 3)] {
        for overlap in [Overlap::None, Overlap::DoubleBuffered, Overlap::Pipelined] {
            let (a, b) = (tensor(2 * rows, 4), tensor(4, 2 * cols));
            let array = Array { overlap, ..Array::new(rows, cols).unwrap() };
            let mut last = None;
            let mut engine = Register::new(array, Stationary::Output).unwrap();
            engine.observe(&task(&a, &b), &mut |clock| last = Some(clock.registers.clone()));
            let last = last.unwrap();
            assert!(last.right.iter().chain(&last.other).all(|latch| !latch.valid));
            let sums = if overlap == Overlap::None { &last.sums } else { &last.sum_shadow };
            assert!(sums.iter().all(|cell| !cell.valid), "{rows} x {cols}, {overlap:?}");
        }
    }
}

#[test]
fn no_fold_can_start_earlier_when_pipelined() {
    let mut found = std::collections::BTreeSet::new();
    for (rows, cols) in [(1, 1), (2, 3), (3, 2), (4, 4), (5, 2)] {
        for (m, k, n) in [(1, 9, 9), (9, 1, 9), (9, 9, 1), (5, 6, 7), (9, 4, 3), (2, 9, 3)] {
            for stationary in Stationary::ALL {
                for partial_folds in [PartialFolds::Full, PartialFolds::Trimmed] {
                    let (a, b) = (tensor(m, k), tensor(k, n));
                    let task = task(&a, &b);
                    let array = Array {
                        overlap: Overlap::Pipelined,
                        partial_folds,
                        ..Array::new(rows, cols).unwrap()
                    };
                    let mapping = Mapping::new(&array, task.shape(), stationary);
                    let folds: Vec<_> = FoldSchedule::new(&mapping).unwrap().folds().collect();
                    step(&task, &mapping, &folds, None).unwrap();
                    for early in 1..folds.len() {
                        let mut folds = folds.clone();
                        for fold in &mut folds[early..] {
                            fold.start -= 1;
                            fold.chain -= 1;
                        }
                        let outcome = step(&task, &mapping, &folds, None);
                        let hazard = outcome.expect_err("a fold that starts too early");
                        found.insert(format!("{hazard:?}"));
                    }
                }
            }
        }
    }
    for hazard in [Hazard::Entry, Hazard::Chain, Hazard::Exit, Hazard::PartialSum] {
        assert!(found.contains(&format!("{hazard:?}")), "{hazard:?} among {found:?}");
    }
}

#[test]
fn a_chain_that_takes_a_sum_that_still_grows_is_a_hazard() {
    let (a, b) = (tensor(3, 4), tensor(4, 2));
    let task = task(&a, &b);
    for (rows, cols) in [(3, 2), (1, 1), (2, 2)] {
        let mapping =
            Mapping::new(&Array::new(rows, cols).unwrap(), task.shape(), Stationary::Output);
        let mut folds: Vec<_> = FoldSchedule::new(&mapping).unwrap().folds().collect();
        step(&task, &mapping, &folds, None).unwrap();
        // The last row adds its last product as the row above hands its sum on.
        folds[0].chain -= 1;
        let hazard = step(&task, &mapping, &folds, None).unwrap_err();
        assert_eq!(hazard, Hazard::Chain, "{rows} x {cols}");
    }
}
