//! Packed copies of tensors that outlast a step: weights are packed once for all batches of an
//! evaluation.
//!
//! A copy is good for as long as its tensor has the version that was packed. Versions are unique in the
//! process, so that a clone of a store, whose tensors have the same ids, never meets a copy of
//! other codes.

use std::collections::HashMap;
use std::sync::Arc;

use systoliq_program::store::Version;
use systoliq_program::view::Submatrix;
use systoliq_program::{Operand, Reading, TensorId};

use crate::kernels::Kernel;
use crate::words::{Coding, Panels};

/// Where an operand comes from: a tensor, and what stands for its codes.
pub type PackedSource = (TensorId, Version);

/// What a copy is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CopyKey {
    tensor: TensorId,
    part: Submatrix,
    reading: Reading,
    coding: Coding,
}

/// The copies of one engine, for its kernels.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackedCopies(HashMap<CopyKey, (Version, Arc<Panels>)>);

impl PackedCopies {
    /// The right operand for a kernel; kept if it has a source.
    pub(crate) fn panels(
        &mut self,
        (operand, source): (&Operand<'_>, Option<PackedSource>),
        kernel: &dyn Kernel,
        coding: Coding,
    ) -> Arc<Panels> {
        let pack = || Arc::new(Panels::of(operand, kernel, coding));
        let Some((tensor, version)) = source else { return pack() };
        let Operand { part, reading, .. } = *operand;
        let key = CopyKey { tensor, part, reading, coding };
        match self.0.get(&key) {
            Some((packed, panels)) if *packed == version => Arc::clone(panels),
            _ => {
                let panels = pack();
                self.0.insert(key, (version, Arc::clone(&panels)));
                panels
            }
        }
    }
}
