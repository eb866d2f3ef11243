//! What the commands of a training step move.

use systoliq_hardware::cost::Arithmetic;
use systoliq_hardware::{memory::Moment, memory::Stored, memory::Transfer};
use systoliq_program::{TensorId, WriteId};
use systoliq_run::Prepared;

use super::properties::experiment;

/// What is read and written for a write, in the order of the channel.
fn transfers(prepared: &Prepared, at: WriteId) -> Vec<Transfer> {
    let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
    let work = prepared.program.work(at, 32);
    let mut moved = Vec::new();
    let mut see = |moment: Moment| moved.extend(moment.transfers.into_iter().map(|(of, _)| of));
    costs.watch(at, work, false, &mut see).expect("a cost");
    moved
}

/// Which operands of X · Wᵀ, dZ · W and dZᵀ · X are read against their layout: the table of
/// `docs/energy.md` for stationary outputs, its rules where an operand stays.
const AGAINST: [(&str, [[bool; 2]; 3]); 3] = [
    ("os", [[true, true], [true, false], [false, false]]),
    ("ws", [[false, true], [false, false], [true, false]]),
    ("is", [[true, false], [true, true], [false, true]]),
];

#[test]
fn an_operand_that_is_read_across_its_layout_comes_from_its_second_copy() {
    for (dataflow, against) in AGAINST {
        let array = format!(r#"{{"rows": 8, "cols": 8, "dataflow": "{dataflow}"}}"#);
        let with = |layout: &str| {
            experiment(&[("accelerator.array", array.as_str()), ("accelerator.layout", layout)])
        };
        let (one, two) = (with("transposer"), with("two-copies"));
        let mut products = 0;
        for (at, _, command) in two.program.all_writes() {
            let reads = |prepared: &Prepared| -> Vec<Transfer> {
                transfers(prepared, at).into_iter().filter(|transfer| !transfer.write).collect()
            };
            let (plain, found) = (reads(&one), reads(&two));
            let elements = |of: &Transfer| match of.stored {
                Stored::Copy => Transfer { stored: Stored::Elements, ..*of },
                _ => *of,
            };
            assert_eq!(found.iter().map(elements).collect::<Vec<_>>(), plain, "{command:?}");
            let copies = |tensor: TensorId| -> Vec<bool> {
                let of_tensor = found.iter().filter(|of| of.tensor == tensor);
                of_tensor.map(|of| of.stored == Stored::Copy).collect()
            };
            let Some(gemm) = command.operation.product() else {
                assert!(found.iter().all(|of| of.stored != Stored::Copy), "{command:?}");
                continue;
            };
            let product = match (gemm.a.reading.transposed, gemm.b.reading.transposed) {
                (false, true) => 0,
                (false, false) => 1,
                (true, _) => 2,
            };
            for (operand, against) in [gemm.a, gemm.b].into_iter().zip(against[product]) {
                let copies = copies(operand.tensor);
                assert!(!copies.is_empty(), "{command:?}");
                assert!(copies.iter().all(|&copy| copy == against), "{dataflow}: {command:?}");
            }
            products += 1;
        }
        assert_eq!(products, 5);
    }
}
