//! `output = input where masks let it pass`, and 0 elsewhere: codes move, and nothing is converted. Behind
//! the slope of a curve, which is a factor, it is one conversion.

use std::ops::Range;

use systoliq_fxp::Multiplier;

use super::What;
use crate::command::Program;
use crate::engine::Outcome;
use crate::finish::{self, Edge};
use crate::store::exact::TermSums;
use crate::store::{Running, Store};
use crate::tensor::TensorId;

/// The codes of a tensor behind masks. Where these only select, format and scale are those of the tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// Where the codes come from.
    pub input: TensorId,
    /// Masks.
    pub edges: Vec<Edge>,
    /// The result.
    pub output: TensorId,
    /// For which of the values that the entry reads it is made, from 0.
    pub place: usize,
}

impl Select {
    pub(super) fn reads(&self) -> Vec<(TensorId, What)> {
        let elements = [(self.input, What::Elements)].into_iter();
        elements.chain(finish::masks(&self.edges)).collect()
    }

    /// Whether codes move, so that nothing is converted.
    pub fn moves(&self) -> bool {
        self.edges.iter().all(Edge::selects)
    }

    pub(super) fn describe(&self, program: &Program) -> String {
        let name_of = |id: TensorId| program.tensor(id).name.as_str();
        let made = finish::describe(name_of(self.input).to_owned(), &self.edges, program);
        let moved = if self.moves() { "codes of " } else { "" };
        format!("{} = {moved}{made}", name_of(self.output))
    }

    pub(super) fn run(&self, store: &mut Store, running: &Running<'_>) -> Outcome {
        if !self.moves() {
            let terms = [(Multiplier::ONE, self.input)];
            let sum = TermSums { added: &terms, taken: &[] };
            return store.write_exact(self.output, &sum, &self.edges, None, running).into();
        }
        let (gates, _) = store.gates(&self.edges, 0);
        let make = |store: &Store, places: Range<usize>, codes: &mut [i64]| {
            let first = places.start;
            store.read(self.input).widen(places, codes);
            gates.iter().for_each(|gate| gate.pass(codes, first));
        };
        store.move_codes(self.output, self.input, make).into()
    }
}
