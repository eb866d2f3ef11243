//! What of a store is carried from step to step, to be kept and returned to.

use std::sync::Arc;

use ndarray::Array2;
use num_traits::FromBytes;
use systoliq_fxp::{Blocks, Format, History, Lane, Scale, Tensor, with_codes};

use super::Store;
use crate::bytes::{put, take};
use crate::tensor::{TensorDecl, TensorId};

/// What of a store outlasts a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Of every copy of each tensor that outlasts a step, the codes row by row, each as the narrowest
    /// integer that holds its format, and the fraction bits of each block, or of all, as 32 bits. How
    /// many bytes there are follows from the program.
    pub tensors: Vec<u8>,
    /// What the scale of every tensor remembers.
    pub scales: Vec<History>,
}

/// The fraction bits of each block of a tensor, or of all its codes.
fn fracs(tensor: &Tensor) -> Vec<i32> {
    let fracs = tensor.blocks().map(|blocks| blocks.fracs().to_vec());
    fracs.unwrap_or_else(|| vec![tensor.format().frac()])
}

/// As many codes as an array has, in its lanes.
fn codes_like<T: Lane + FromBytes<Bytes: Default>>(
    array: &Array2<T>,
    bytes: &mut &[u8],
) -> Option<Vec<i64>> {
    Some(take::<T>(bytes, array.len())?.into_iter().map(Lane::code).collect())
}

/// The kept copy of a tensor that has `present` as its copy; `None` if it can be no such.
fn copy_like(present: &Tensor, decl: &TensorDecl, bytes: &mut &[u8]) -> Option<Tensor> {
    let (rows, cols, format) = (present.rows(), present.cols(), decl.plan.format);
    let codes = with_codes!(present, |codes| codes_like(codes, bytes))?;
    let range = format.min_raw()..=format.max_raw();
    if !codes.iter().all(|code| range.contains(code)) {
        return None;
    }
    let fracs = take::<i32>(bytes, fracs(present).len())?;
    if let Some(blocks) = present.blocks() {
        let blocks = Blocks::of(blocks.along(), blocks.size(), (rows, cols), fracs)?;
        return Some(Tensor::from_codes(format, rows, cols, &codes).with_blocks(blocks));
    }
    let possible = Format::FRAC.contains(&fracs[0])
        && (decl.plan.scale != Scale::Static || fracs[0] == format.frac());
    possible.then(|| Tensor::from_codes(format.with_frac(fracs[0]), rows, cols, &codes))
}

impl Store {
    /// The tensors that outlast a step.
    fn carried(&self) -> impl Iterator<Item = TensorId> + use<> {
        let program = Arc::clone(&self.program);
        let all = (0..program.tensors.len()).map(TensorId);
        all.filter(move |&id| program.tensor(id).role.outlasts_a_step())
    }

    /// What outlasts a step.
    pub fn snapshot(&self) -> Snapshot {
        let mut tensors = Vec::new();
        for copy in self.carried().flat_map(|id| self.copies(id)) {
            with_codes!(copy, |codes| put(&mut tensors, codes.iter().copied()));
            put(&mut tensors, fracs(copy));
        }
        Snapshot { tensors, scales: self.scales.clone() }
    }

    /// Returns to a snapshot of a store of the same program, whose tensors it takes off the front of
    /// `bytes`; `None` if it is of another.
    #[must_use]
    pub fn restore(&mut self, bytes: &mut &[u8], scales: Vec<History>) -> Option<()> {
        let program = Arc::clone(&self.program);
        for id in self.carried() {
            let copies = self.copies(id).iter();
            let kept = copies.map(|present| copy_like(present, program.tensor(id), bytes));
            let kept = kept.collect::<Option<_>>()?;
            self.put(id, kept);
        }
        let possible = |(decl, history): (&TensorDecl, &History)| {
            // A step converts fewer elements of a tensor than memory holds.
            history.is_possible(decl.plan.scale, u64::from(u32::MAX))
        };
        let as_many = scales.len() == program.tensors.len();
        if !(as_many && program.tensors.iter().zip(&scales).all(possible)) {
            return None;
        }
        self.scales = scales;
        Some(())
    }
}
