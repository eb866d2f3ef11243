//! `output = convert(edge(Σ tensor))`: the sum of tensors of one shape, element by element, exactly, and
//! rounded once. A sum of one is a change of format, or an activation function by itself.

use smallvec::SmallVec;
use systoliq_fxp::Multiplier;

use super::What;
use crate::command::Program;
use crate::engine::Outcome;
use crate::finish::{self, Edge};
use crate::store::exact::TermSums;
use crate::store::{Running, Store};
use crate::tensor::TensorId;

/// An exact sum of tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Combine {
    /// What is added, at least one.
    pub terms: Vec<TensorId>,
    /// What follows the sum, in this order.
    pub edges: Vec<Edge>,
    /// The result.
    pub output: TensorId,
}

impl Combine {
    pub(super) fn reads(&self) -> Vec<(TensorId, What)> {
        let elements = self.terms.iter().map(|&term| (term, What::Elements));
        elements.chain(finish::masks(&self.edges)).collect()
    }

    pub(super) fn describe(&self, program: &Program) -> String {
        let name_of = |id: &TensorId| program.tensor(*id).name.as_str();
        let sum = self.terms.iter().map(name_of).collect::<Vec<_>>().join(" + ");
        let made = finish::describe(sum, &self.edges, program);
        format!("{} = {made}", name_of(&self.output))
    }

    pub(super) fn run(&self, store: &mut Store, running: &Running<'_>) -> Outcome {
        let terms: SmallVec<[_; 4]> =
            self.terms.iter().map(|&term| (Multiplier::ONE, term)).collect();
        let sum = TermSums { added: &terms, taken: &[] };
        store.write_exact(self.output, &sum, &self.edges, None, running).into()
    }
}
