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

/// How many bytes the codes of an array take.
fn bytes_of<T>(codes: &Array2<T>) -> usize {
    codes.len() * size_of::<T>()
}

/// A tensor in a format of as many codes as an array has, kept in its lanes; `None` if one of them is no
/// code of the format.
fn tensor_like<T: Lane + FromBytes<Bytes: Default>>(
    array: &Array2<T>,
    format: Format,
    mut bytes: &[u8],
) -> Option<Tensor> {
    let codes = take::<T>(&mut bytes, array.len())?.map(Lane::code);
    Tensor::of_codes(format, array.dim(), codes).ok()
}

/// The kept copy of a tensor that has `present` as its copy; `None` if it can be no such.
fn copy_like(present: &Tensor, decl: &TensorDecl, bytes: &mut &[u8]) -> Option<Tensor> {
    let (shape, format) = ((present.rows(), present.cols()), decl.plan.format);
    let (codes, rest) = bytes.split_at_checked(with_codes!(present, |codes| bytes_of(codes)))?;
    *bytes = rest;
    let fracs: Vec<i32> = take(bytes, fracs(present).len())?.collect();
    let tensor = |format| with_codes!(present, |like| tensor_like(like, format, codes));
    if let Some(blocks) = present.blocks() {
        let blocks = Blocks::of(blocks.along(), blocks.size(), shape, fracs)?;
        return Some(tensor(format)?.with_blocks(blocks));
    }
    let possible = Format::FRAC.contains(&fracs[0])
        && (decl.plan.scale != Scale::Static || fracs[0] == format.frac());
    if possible { tensor(format.with_frac(fracs[0])) } else { None }
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
        let mut tensors = Vec::with_capacity(self.carried_bytes());
        self.put_carried(&mut tensors);
        Snapshot { tensors, scales: self.scales.clone() }
    }

    /// Appends the tensors of a [snapshot](Self::snapshot).
    pub fn put_carried(&self, bytes: &mut Vec<u8>) {
        for copy in self.carried().flat_map(|id| self.copies(id)) {
            with_codes!(copy, |codes| put(bytes, codes.iter().copied()));
            put(bytes, fracs(copy));
        }
    }

    /// How many bytes these are.
    pub fn carried_bytes(&self) -> usize {
        let bytes = |copy: &Arc<Tensor>| {
            with_codes!(copy, |codes| bytes_of(codes)) + size_of_val(&*fracs(copy))
        };
        self.carried().flat_map(|id| self.copies(id)).map(bytes).sum()
    }

    /// What the scale of every tensor remembers.
    pub fn scales(&self) -> &[History] {
        &self.scales
    }

    /// Returns to a snapshot of a store of the same program, whose tensors it takes off the front of
    /// `bytes`; `None` if it is of another.
    #[must_use]
    pub fn restore(&mut self, bytes: &mut &[u8], scales: Vec<History>) -> Option<()> {
        let program = Arc::clone(&self.program);
        for id in self.carried() {
            let copies = self.copies(id).iter();
            let mut like = |present: &Arc<Tensor>| copy_like(present, program.tensor(id), bytes);
            let kept = copies.map(|present| like(present).map(Arc::new));
            let kept = kept.collect::<Option<_>>()?;
            self.put_copies(id, kept);
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
