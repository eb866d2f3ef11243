//! `output = convert(edge(Σ tensor))`: the sum of tensors of one shape, element by element, exactly, and
//! rounded once. A sum of one is a change of format, or an activation function by itself.

use std::ops::Range;

use systoliq_fxp::{Combination, Multiplier};

use super::What;
use crate::command::Program;
use crate::engine::Outcome;
use crate::finish::{self, CLIP_FRAC, Edge};
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
        let exact = |store: &Store, places: Range<usize>| {
            let of =
                |&term| Combination::of_part(Multiplier::ONE, store.read(term), places.clone());
            let sum = self.terms.iter().map(of).reduce(Combination::plus).expect("a term");
            self.edges.iter().fold(sum, |sum, edge| pass(sum, edge, places.start, store))
        };
        store.write_exact(self.output, exact, |_| {}, running).into()
    }
}

/// Exact values of elements from position `first` on behind an edge.
fn pass(values: Combination, edge: &Edge, first: usize, store: &Store) -> Combination {
    match edge {
        Edge::Relu => values.nonnegative(),
        Edge::Clip { most } => values.at_most(*most, CLIP_FRAC),
        Edge::Positive(_) | Edge::Between { .. } => {
            let mut passes = vec![1; values.len()];
            let (gates, _) = store.gates(std::slice::from_ref(edge), 0);
            gates.iter().for_each(|gate| gate.pass(&mut passes, first));
            values.only(|at| passes[at] != 0)
        }
    }
}
