//! `output = input where masks let it pass`, and 0 elsewhere: codes move, and nothing is converted.

use systoliq_fxp::{Conversion, Overflow, Rounding};
use systoliq_keyed_random::Key;

use super::What;
use crate::command::Program;
use crate::engine::{Outcome, Written};
use crate::finish::{self, Edge};
use crate::store::Store;
use crate::tensor::TensorId;

/// The codes of a tensor behind masks. Format and scale are those of the tensor.
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

    pub(super) fn describe(&self, program: &Program) -> String {
        let name_of = |id: TensorId| program.tensor(id).name.as_str();
        let made = finish::describe(name_of(self.input).to_owned(), &self.edges, program);
        format!("{} = codes of {made}", name_of(self.output))
    }

    pub(super) fn run(&self, store: &mut Store) -> Outcome {
        let input = store.read(self.input);
        let format = input.format();
        let (gates, _) = store.gates(&self.edges, format.frac());
        let mut codes = input.to_codes();
        gates.iter().for_each(|gate| gate.pass(&mut codes, 0));
        let (rows, cols) = (input.rows(), input.cols());
        // To the same format, so that nothing is rounded and no word is drawn.
        let conversion = Conversion {
            from_frac: format.frac(),
            scale: 1,
            to: format,
            rounding: Rounding::Floor,
            overflow: Overflow::Saturate,
            key: Key::new(0),
            squares: true,
        };
        let (tensor, statistics) = conversion.tensor(rows, cols, &codes);
        store.put(self.output, tensor);
        Written::converted(self.output, statistics, false).into()
    }
}
