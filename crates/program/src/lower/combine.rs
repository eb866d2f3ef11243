//! `add`, and functions with a command of their own: an exact combination of what they read.

use systoliq_nn::ValueId;

use super::{Lowering, edge};
use crate::Error;
use crate::command::{CommandId, Pass};
use crate::operation::{Combine, Operation};
use crate::tensor::TensorId;

impl Lowering<'_> {
    /// A value as the sum of what its operator reads, behind its edge.
    pub(super) fn combination(&mut self, value: ValueId) -> Result<CommandId, Error> {
        let graph = self.graph;
        let node = &graph.nodes[graph.maker(value).expect("a value that is made")];
        let terms: Vec<_> = node.reads.iter().map(|read| self.values[read]).collect();
        let (edges, output) = (edge::forward(graph, value), self.values[&value]);
        self.check_scales(terms.iter().copied().chain([output]))?;
        let combine = Combine { terms, edges, output };
        Ok(self.program.push(node.name, Pass::Forward, Operation::Combine(combine)))
    }

    /// Refuses blocks in tensors that something else than a product reads element by element, or makes.
    pub(super) fn check_scales(
        &self,
        tensors: impl IntoIterator<Item = TensorId>,
    ) -> Result<(), Error> {
        let decls = tensors.into_iter().map(|tensor| self.program.tensor(tensor));
        match decls.into_iter().find(|decl| decl.plan.block().is_some()) {
            None => Ok(()),
            Some(decl) => Err(Error::Role {
                path: self.plan.path(decl.entry, decl.role),
                problem: format!(
                    "scale \"block\": {} is summed or masked by itself, and only products know \
                     blocks: expected another scale",
                    decl.name
                ),
            }),
        }
    }
}
