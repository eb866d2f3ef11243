//! What of a store is carried from step to step, to be kept and returned to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use systoliq_fxp::{Along, Blocks, History, Scale, Tensor};

use super::Store;
use crate::tensor::{TensorDecl, TensorId};

/// What of a store outlasts a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// All copies of what is carried from step to step; nothing of other tensors.
    tensors: Vec<Vec<Kept>>,
    scales: Vec<History>,
}

/// One copy of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    codes: Vec<i64>,
    /// Those of each block, or of all.
    fracs: Vec<i32>,
}

impl Kept {
    fn of(tensor: &Tensor) -> Self {
        let fracs = tensor.blocks().map(|blocks| blocks.fracs().to_vec());
        let fracs = fracs.unwrap_or_else(|| vec![tensor.format().frac()]);
        Self { codes: tensor.to_codes(), fracs }
    }

    /// The copy of a tensor of this declaration with blocks along an axis; `None` if it is of
    /// another.
    fn tensor(&self, decl: &TensorDecl, along: Option<Along>) -> Option<Tensor> {
        let Self { codes, fracs } = self;
        let (rows, cols, format) = (decl.rows.count(0), decl.cols, decl.plan.format);
        let range = format.min_raw()..=format.max_raw();
        if codes.len() != rows * cols || !codes.iter().all(|code| range.contains(code)) {
            return None;
        }
        if let (Some(along), Some(size)) = (along, decl.plan.block()) {
            let blocks = Blocks::of(along, size.get() as usize, (rows, cols), fracs.clone())?;
            return Some(Tensor::from_codes(format, rows, cols, codes).with_blocks(blocks));
        }
        let &[frac] = &fracs[..] else { return None };
        let possible = systoliq_fxp::Format::FRAC.contains(&frac)
            && (decl.plan.scale != Scale::Static || frac == format.frac());
        possible.then(|| Tensor::from_codes(format.with_frac(frac), rows, cols, codes))
    }
}

impl Store {
    /// What outlasts a step.
    pub fn snapshot(&self) -> Snapshot {
        let kept = |(at, decl): (usize, &TensorDecl)| {
            let copies = self.copies(TensorId(at)).iter();
            copies.filter(|_| decl.role.outlasts_a_step()).map(|copy| Kept::of(copy)).collect()
        };
        let tensors = self.program.tensors.iter().enumerate().map(kept).collect();
        Snapshot { tensors, scales: self.scales.clone() }
    }

    /// Returns to a snapshot of a store of the same program; `None` if it is of another.
    #[must_use]
    pub fn restore(&mut self, snapshot: &Snapshot) -> Option<()> {
        let program = Arc::clone(&self.program);
        let count = program.tensors.len();
        if snapshot.tensors.len() != count || snapshot.scales.len() != count {
            return None;
        }
        for (at, (decl, kept)) in program.tensors.iter().zip(&snapshot.tensors).enumerate() {
            if !decl.role.outlasts_a_step() {
                if !kept.is_empty() {
                    return None;
                }
                continue;
            }
            let axes = program.block_axes(TensorId(at)).into_iter().map(Some);
            let axes: Vec<_> =
                if decl.plan.block().is_some() { axes.collect() } else { vec![None] };
            if kept.len() != axes.len() {
                return None;
            }
            let copies = kept.iter().zip(axes).map(|(kept, along)| kept.tensor(decl, along));
            self.put(TensorId(at), copies.collect::<Option<_>>()?);
        }
        let possible = |(decl, history): (&TensorDecl, &History)| {
            // A step converts fewer elements of a tensor than memory holds.
            history.is_possible(decl.plan.scale, u64::from(u32::MAX))
        };
        if !program.tensors.iter().zip(&snapshot.scales).all(possible) {
            return None;
        }
        self.scales.clone_from(&snapshot.scales);
        Some(())
    }
}
