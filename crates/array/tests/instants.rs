//! Any cycle computed directly is the cycle that stepping comes to, in every field.

mod cases;

use std::ops::Range;

use cases::{Case, Draw, any_case, any_convolution, for_each_small_case};
use systoliq_array::instant::Instant;
use systoliq_array::register::{CycleCause, Left, Registers};
use systoliq_array::{Array, ArrayCounts, Error, FoldSchedule, Instants, Mapping, Stationary};
use systoliq_program::GemmTask;
use systoliq_program::gemm::GemmShape;

/// What the register engine shows in each cycle.
type Seen = Vec<(CycleCause, Registers, Vec<Left>)>;

fn stepped(case: &Case, task: &GemmTask<'_>) -> Seen {
    let mut seen = Vec::new();
    case.register().observe(task, &mut |clock| {
        assert_eq!(clock.cycle, seen.len() as u64);
        seen.push((clock.cause, clock.registers.clone(), clock.left.to_vec()));
    });
    seen
}

fn compare(case: &Case, cycle: u64, instant: &Instant, seen: &Seen) {
    let (cause, registers, left) = &seen[cycle as usize];
    assert_eq!(instant.cycle, cycle, "{case:?}");
    assert_eq!(instant.cause, *cause, "cycle {cycle} of {case:?}");
    assert_eq!(instant.registers, *registers, "cycle {cycle} of {case:?}");
    assert_eq!(instant.left, *left, "cycle {cycle} of {case:?}");
}

/// Goes through some cycles and compares each.
fn go_through(case: &Case, instants: &Instants<'_>, cycles: Range<u64>, seen: &Seen) {
    let mut cursor = instants.over(cycles.clone()).unwrap();
    for cycle in cycles {
        compare(case, cycle, cursor.advance().unwrap(), seen);
    }
    assert!(cursor.advance().is_none());
}

/// Compares every cycle, gone to directly and reached from the first and from one in between.
fn check(case: &Case) {
    case.with_task(|task| {
        let seen = stepped(case, task);
        let mapping = case.mapping();
        let instants = Instants::new(task, &mapping).unwrap();
        let cycles = seen.len() as u64;
        assert_eq!(instants.cycles(), cycles, "{case:?}");
        for cycle in 0..cycles {
            compare(case, cycle, &instants.at(cycle).unwrap(), &seen);
        }
        go_through(case, &instants, 0..cycles, &seen);
        let mut draw = Draw::new(case.seed ^ 0x717a);
        let from = draw.size(0, seen.len() - 1) as u64;
        go_through(case, &instants, from..cycles, &seen);
    });
}

#[test]
fn every_cycle_of_every_small_gemm_array_dataflow_and_policy_is_the_stepped_one() {
    for_each_small_case(3, 4, check);
}

#[test]
fn every_cycle_of_random_gemms_is_the_stepped_one() {
    (0..1500).for_each(|seed| check(&any_case(seed, 20)));
}

#[test]
fn every_cycle_of_random_convolutions_is_the_stepped_one() {
    (0..150).for_each(|seed| check(&any_convolution(seed, 4)));
}

#[test]
fn what_enters_at_the_top_becomes_the_registers_of_the_first_row() {
    for seed in 0..200 {
        let case = any_case(seed, 16);
        case.with_task(|task| {
            let mapping = case.mapping();
            let instants = Instants::new(task, &mapping).unwrap();
            let mut register = case.register();
            register.observe(task, &mut |_| ());
            let counts = register.seen().counts;
            let (mut reads, mut partial_sums) = (0, 0);
            let mut cursor = instants.over(0..instants.cycles()).unwrap();
            while let Some(instant) = cursor.advance() {
                reads += instant.top_operands.iter().filter(|latch| latch.valid).count() as u64;
                let entering = instant.top_sums.iter().filter(|cell| cell.valid);
                partial_sums += entering.filter(|cell| cell.additions > 0).count() as u64;
                for (col, cell) in instant.top_sums.iter().enumerate() {
                    let below = instant.registers.sums[col];
                    assert_eq!((cell.valid, cell.time), (below.valid, below.time), "{case:?}");
                    assert_eq!(cell.additions + u64::from(cell.valid), below.additions);
                }
            }
            let of_other = match mapping.stationary {
                Stationary::Output | Stationary::Weight => counts.b_reads,
                Stationary::Input => counts.a_reads,
            };
            assert_eq!((reads, partial_sums), (of_other, counts.partial_sum_reads), "{case:?}");
        });
    }
}

#[test]
fn folds_are_found_by_their_number_and_their_cycles_cover_the_gemm() {
    for seed in 0..300 {
        let case = any_case(seed, 40);
        let mapping = case.mapping();
        let schedule = FoldSchedule::new(&mapping).unwrap();
        let (mut end, mut reached) = (0, 0);
        for (number, fold) in schedule.folds().enumerate() {
            assert_eq!(schedule.nth(number as u64), Some(fold), "{case:?}");
            let cycles = schedule.cycles_of(&fold);
            assert!(cycles.start <= reached, "no gap: {case:?}");
            (end, reached) = (cycles.end.max(end), cycles.end);
        }
        assert_eq!(schedule.nth(schedule.count()), None);
        assert_eq!(end, schedule.cycles().unwrap().total().0, "{case:?}");
    }
}

#[test]
fn what_is_not_there_is_refused_with_its_numbers() {
    let case = any_case(3, 8);
    case.with_task(|task| {
        let instants = Instants::new(task, &case.mapping()).unwrap();
        let cycles = instants.cycles();
        for (from, to) in [(0, cycles + 1), (cycles, cycles + 1), (1, 1), (u64::MAX, u64::MAX)] {
            let error = instants.over(from..to).unwrap_err();
            assert_eq!(error, Error::NoSuchCycles { from, to, cycles });
            assert!(error.to_string().contains(&cycles.to_string()));
        }
        assert!(instants.at(u64::MAX).is_err());
        let mapping = Mapping { rows: 0, ..*instants.mapping() };
        assert_eq!(
            Instants::new(task, &mapping).unwrap_err(),
            Error::ArraySize { rows: 0, cols: mapping.cols }
        );
    });
}

#[test]
fn a_gemm_without_products_has_no_cycle() {
    for shape in [(0, 2, 3), (2, 0, 3), (2, 3, 0)] {
        let (m, k, n) = shape;
        let case = Case { shape: GemmShape { m, k, n }, bias: None, ..any_case(1, 4) };
        case.with_task(|task| {
            let mapping = Mapping::new(&Array::new(2, 2).unwrap(), task.shape(), case.stationary);
            let instants = Instants::new(task, &mapping).unwrap();
            assert_eq!(instants.cycles(), 0);
            assert!(instants.at(0).is_err());
        });
    }
}

/// What passes the edges, from the demands of a case and from its registers as they are stepped.
#[test]
fn demands_are_what_passes_the_edges_while_stepping() {
    use systoliq_array::demand::{Demand, Demands};
    for seed in 0..600 {
        let case = any_case(seed, 14);
        let mapping = case.mapping();
        let counts = ArrayCounts::of(&mapping).unwrap();
        let total = counts.cycles.total().0;
        let all = |cycles: std::ops::Range<u64>| {
            let mut demands = Demands::new(&mapping, cycles).unwrap();
            let (mut demand, mut all) = (Demand::default(), Vec::new());
            while demands.advance(&mut demand) {
                all.push(demand.clone());
            }
            all
        };
        let found = all(0..total);
        let passed = |of: fn(&Demand) -> &Vec<Option<u64>>| {
            found.iter().flat_map(of).flatten().count() as u64
        };
        let all_passed = [passed(|d| &d.a), passed(|d| &d.b), passed(|d| &d.c)];
        assert_eq!(all_passed, [counts.a_reads, counts.b_reads, counts.sum_writes], "{case:?}");
        let later = seed % total;
        assert_eq!(all(later..total), found[later as usize..], "{case:?}");
        case.with_task(|task| {
            let shape = task.shape();
            case.register().observe(task, &mut |clock| {
                let demand = &found[clock.cycle as usize];
                let left: Vec<_> =
                    clock.left.iter().map(|left| (left.column, left.index as u64)).collect();
                let leaves = demand.c.iter().enumerate();
                let leaves: Vec<_> = leaves.filter_map(|(col, &c)| Some((col, c?))).collect();
                assert_eq!(leaves, left, "cycle {} of {case:?}", clock.cycle);
                // What has just entered the first column is what was asked for.
                let a_moves_right = mapping.stationary != Stationary::Input;
                let asked = if a_moves_right { &demand.a } else { &demand.b };
                for (row, &element) in asked.iter().enumerate() {
                    let latch = clock.registers.right[row * mapping.cols];
                    let code = element.map(|at| match a_moves_right {
                        true => task.a.code(at as usize / shape.k, at as usize % shape.k),
                        false => task.b.code(at as usize / shape.n, at as usize % shape.n),
                    });
                    assert_eq!(code, latch.valid.then_some(latch.code), "{case:?}");
                }
            });
        });
    }
}
