//! What a training step keeps from its forward pass for its backward pass.

use serde::Serialize;
use systoliq_program::command::Edge;
use systoliq_program::{Operation, Pass, Program, TensorId};

/// What is kept of one tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The tensor.
    pub tensor: String,
    /// Bytes of its elements at their width, if a later pass reads them.
    pub bytes: u64,
    /// Bytes of its ReLU mask, one bit an element, if a later pass reads that.
    pub mask_bytes: u64,
}

/// What is kept of a full batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stash {
    /// The most bytes kept at any time.
    pub peak_bytes: u64,
    /// Bytes of these that are written to DRAM and read again, because nothing stays on chip from
    /// the forward pass to the backward pass.
    pub spilled_bytes: u64,
    /// By tensor.
    pub kept: Vec<Kept>,
}

impl Stash {
    /// Of a step on `batch` samples.
    ///
    /// The forward pass keeps everything until the backward pass begins, which frees one tensor
    /// after the other: so the peak is all of it.
    pub fn new(program: &Program, batch: usize) -> Self {
        let backward = || program.commands.iter().filter(|c| c.pass != Pass::Forward);
        let read = |id: TensorId| {
            backward().any(|command| match &command.operation {
                // A mask is kept by itself.
                Operation::Gemm(gemm) => [gemm.a.tensor, gemm.b.tensor].contains(&id),
                other => other.inputs().contains(&id),
            })
        };
        let masks = |id: TensorId| {
            backward().any(|command| match &command.operation {
                Operation::Gemm(gemm) => gemm.edge == Edge::Mask(id),
                _ => false,
            })
        };
        let made = |id: TensorId| {
            let forward = program.commands.iter().filter(|c| c.pass == Pass::Forward);
            id == program.input
                || forward
                    .filter(|c| matches!(c.operation, Operation::Gemm(_)))
                    .any(|c| c.operation.output() == id)
        };
        let kept: Vec<Kept> = (0..program.tensors.len())
            .map(TensorId)
            .filter(|&id| made(id) && (read(id) || masks(id)))
            .map(|id| {
                let decl = program.tensor(id);
                let elements = decl.rows.count(batch) as u64 * decl.cols as u64;
                let bytes = |is: bool, bits: u32| match is {
                    true => (elements * u64::from(bits)).div_ceil(8),
                    false => 0,
                };
                Kept {
                    tensor: decl.name.clone(),
                    bytes: bytes(read(id), decl.plan.format.bits()),
                    mask_bytes: bytes(masks(id), 1),
                }
            })
            .collect();
        let peak_bytes = kept.iter().map(|kept| kept.bytes + kept.mask_bytes).sum();
        // The input lies in DRAM already.
        let input = &program.tensor(program.input).name;
        let spilled = kept.iter().filter(|kept| kept.tensor != *input);
        let spilled_bytes = spilled.map(|kept| kept.bytes + kept.mask_bytes).sum();
        Self { peak_bytes, spilled_bytes, kept }
    }
}
