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
use crate::lent::ProductMemory;
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
    kept: HashMap<CopyKey, (Option<Version>, Arc<Panels>)>,
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
        (workers, memory): (&Workers, &ProductMemory),
    ) -> Arc<Panels> {
        let pack = |panels: &mut Arc<Panels>| {
            if Arc::get_mut(panels).is_none() {
                *panels = Arc::new(Panels::new(&memory.narrow));
            }
            let own = Arc::get_mut(panels).expect("panels that nobody else holds");
            own.pack(operand, kernel, coding, workers);
            Arc::clone(panels)
        };
        let Some((tensor, version)) = source else {
            return pack(self.loose(words_of(operand, kernel), memory));
        };
        let Operand { part, reading, .. } = *operand;
        let key = CopyKey { tensor, part, reading, coding };
        let kept =
            self.kept.entry(key).or_insert_with(|| (None, Arc::new(Panels::new(&memory.narrow))));
        if kept.0 == Some(version) {
            return Arc::clone(&kept.1);
        }
        kept.0 = Some(version);
        pack(&mut kept.1)
    }

    /// Panels that nobody holds, of so many words if there are such, as the last of the loose ones.
    fn loose(&mut self, count: usize, memory: &ProductMemory) -> &mut Arc<Panels> {
        let fits =
            |panels: &Arc<Panels>| Arc::strong_count(panels) == 1 && panels.words().len() == count;
        let taken = match self.loose.iter().position(fits) {
            None if self.loose.len() < LOOSE_MAX => Arc::new(Panels::new(&memory.narrow)),
            None => self.loose.remove(0),
            Some(at) => self.loose.remove(at),
        };
        self.loose.push(taken);
        self.loose.last_mut().expect("what was pushed")
    }
}

/// How many words an operand has, packed for a kernel.
fn words_of(operand: &Operand<'_>, kernel: &dyn Kernel) -> usize {
    words_of_panels(operand, Side::B, kernel.lanes(), kernel.codes())
}
