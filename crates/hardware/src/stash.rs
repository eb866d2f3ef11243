//! What a training step keeps from its forward pass for its backward pass, and where.
//!
//! The stash is laid out once, for a full batch: masks and activations in the order in which the
//! program makes them, each as a whole, until one does not fit. That one and all after it are spilled
//! to DRAM. So a larger stash keeps all that a smaller one does, and a short batch keeps what a
//! full one does.

use std::collections::BTreeSet;

use serde::Serialize;
use systoliq_program::{Pass, TensorId, What};

use crate::cost::Costs;
use crate::memory::Stored;

/// What is kept of one tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StashedTensor {
    /// The tensor.
    pub tensor: String,
    /// Bytes of its elements at their width, of both copies if there are two, if a later pass reads
    /// them.
    pub bytes: u64,
    /// Of these, bytes in the stash: all or none.
    pub on_chip_bytes: u64,
    /// Bytes of its ReLU mask, one bit an element, if a later pass reads that.
    pub mask_bytes: u64,
    /// Of these, bytes in the stash: all or none.
    pub mask_on_chip_bytes: u64,
}

/// What is kept of a full batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stash {
    /// The most bytes kept at any time.
    pub peak_bytes: u64,
    /// Bytes that the stash has.
    pub capacity_bytes: u64,
    /// Bytes that it keeps.
    pub on_chip_bytes: u64,
    /// Bytes that are written to DRAM and read again. The input, which lies in DRAM already, is
    /// neither among these nor on chip.
    pub spilled_bytes: u64,
    /// By tensor.
    pub kept: Vec<StashedTensor>,
}

/// What the backward pass reads of the forward pass: all elements of a tensor, or its mask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) tensor: TensorId,
    pub(crate) stored: Stored,
    bytes: u64,
    pub(crate) on_chip: bool,
}

/// What a batch of `batch` samples keeps: the input first, then all else as it is made, a mask before
/// its activations.
pub(crate) fn items(costs: &Costs<'_>, batch: usize) -> Vec<Item> {
    let program = costs.program;
    let later: BTreeSet<(TensorId, What)> = program
        .all_writes()
        .filter(|(.., command)| command.pass != Pass::Forward)
        .flat_map(|(_, write, command)| command.operation.reads(write.tensor))
        .collect();
    let is_read = |tensor: TensorId, stored: Stored| {
        let what = if stored == Stored::Mask { What::Mask } else { What::Elements };
        later.contains(&(tensor, what))
    };
    let item = |tensor: TensorId, stored: Stored| {
        let decl = program.tensor(tensor);
        let elements = decl.rows.count(batch) as u64 * decl.cols as u64;
        let bits = if stored == Stored::Mask { 1 } else { costs.bits(tensor) };
        let twice = stored == Stored::Elements && costs.has_second_copy(tensor);
        let bytes = (elements * u64::from(bits)).div_ceil(8) * if twice { 2 } else { 1 };
        Item { tensor, stored, bytes, on_chip: false }
    };
    let forward = program.inference.iter().flat_map(|&id| program.writes_of(id));
    let made = forward.map(|(_, write)| write.tensor);
    let made = made.flat_map(|tensor| [(tensor, Stored::Mask), (tensor, Stored::Elements)]);
    let mut free = Some(costs.accelerator.scratchpad.stash_bytes);
    let placed =
        made.filter(|&(tensor, stored)| is_read(tensor, stored)).map(|(tensor, stored)| {
            let item = item(tensor, stored);
            free = free.and_then(|free| free.checked_sub(item.bytes));
            Item { on_chip: free.is_some(), ..item }
        });
    let input = (program.input, Stored::Elements);
    let input = Some(input).filter(|&(tensor, stored)| is_read(tensor, stored));
    input.map(|(tensor, stored)| item(tensor, stored)).into_iter().chain(placed).collect()
}

impl Stash {
    /// Of a step on a full batch.
    ///
    /// The forward pass keeps everything until the backward pass begins, which frees one tensor
    /// after the other: so the peak is all of it.
    pub fn new(costs: &Costs<'_>) -> Self {
        let program = costs.program;
        let items = items(costs, costs.batches.size);
        let sum = |is: &dyn Fn(&Item) -> bool| {
            items.iter().filter(|item| is(item)).map(|item| item.bytes).sum()
        };
        let of = |tensor: TensorId| StashedTensor {
            tensor: program.tensor(tensor).name.clone(),
            bytes: sum(&|i| i.tensor == tensor && i.stored == Stored::Elements),
            on_chip_bytes: sum(&|i| {
                i.tensor == tensor && i.stored == Stored::Elements && i.on_chip
            }),
            mask_bytes: sum(&|i| i.tensor == tensor && i.stored == Stored::Mask),
            mask_on_chip_bytes: sum(&|i| {
                i.tensor == tensor && i.stored == Stored::Mask && i.on_chip
            }),
        };
        let mut tensors: Vec<TensorId> = items.iter().map(|item| item.tensor).collect();
        tensors.dedup();
        Self {
            peak_bytes: sum(&|_| true),
            capacity_bytes: costs.accelerator.scratchpad.stash_bytes,
            on_chip_bytes: sum(&|item| item.on_chip),
            spilled_bytes: sum(&|item| !item.on_chip && item.tensor != program.input),
            kept: tensors.into_iter().map(of).collect(),
        }
    }
}
