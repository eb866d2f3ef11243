//! Packed copies of tensors that outlast a step: weights are packed once for all batches of an
//! evaluation.
//!
//! A copy is good for as long as its tensor has the version that was packed. Versions are unique in the
//! process, so that a clone of a store, whose tensors have the same ids, never meets a copy of
//! other codes.

use std::collections::HashMap;
use std::sync::Arc;

use systoliq_program::panels::{Side, words_of_panels};
use systoliq_program::store::Version;
use systoliq_program::view::Submatrix;
use systoliq_program::{Operand, Reading, TensorId, Workers};

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

/// Panels without a source whose memory is kept for others.
const LOOSE_MAX: usize = 16;

/// The copies of one engine, for its kernels.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackedCopies {
    kept: HashMap<CopyKey, (Version, Arc<Panels>)>,
    /// Those without a source: one that nobody else holds gives its memory to the next of its length.
    loose: Vec<Arc<Panels>>,
}

impl PackedCopies {
    /// The right operand for a kernel; kept if it has a source.
    pub(crate) fn panels(
        &mut self,
        (operand, source): (&Operand<'_>, Option<PackedSource>),
        kernel: &dyn Kernel,
        coding: Coding,
        workers: &Workers,
    ) -> Arc<Panels> {
        let pack = |spare| Arc::new(Panels::of(operand, kernel, coding, (spare, workers)));
        let Some((tensor, version)) = source else {
            let panels = pack(self.spare(operand, kernel));
            self.loose.push(Arc::clone(&panels));
            return panels;
        };
        let Operand { part, reading, .. } = *operand;
        let key = CopyKey { tensor, part, reading, coding };
        let spare = match self.kept.remove(&key) {
            Some((packed, panels)) if packed == version => {
                self.kept.insert(key, (version, Arc::clone(&panels)));
                return panels;
            }
            found => found.and_then(|(_, panels)| Arc::into_inner(panels)),
        };
        let panels = pack(spare);
        self.kept.insert(key, (version, Arc::clone(&panels)));
        panels
    }

    /// Panels that nobody holds, of the length of this operand if there are such.
    fn spare(&mut self, operand: &Operand<'_>, kernel: &dyn Kernel) -> Option<Panels> {
        let count = words_of_panels(operand, Side::B, kernel.lanes(), kernel.codes());
        let free = |panels: &&Arc<Panels>| Arc::strong_count(panels) == 1;
        let as_long =
            self.loose.iter().position(|panels| free(&panels) && panels.words().len() == count);
        let taken = match as_long {
            None if self.loose.len() < LOOSE_MAX => return None,
            None => self.loose.remove(0),
            Some(at) => self.loose.remove(at),
        };
        Arc::into_inner(taken)
    }
}
