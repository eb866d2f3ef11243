//! Where the gradients of values come from.
//!
//! The gradient of a value is stored behind the mask of its edge. Where one operator reads the value,
//! its backward command makes it. Where several do, what each contributes is converted by itself, and
//! one command adds these exactly, in the order of the readers. What needs no arithmetic is not
//! converted: an addition, and a function with a command of its own, pass on their gradient as it is; and
//! the gradient of largest elements, whose windows do not overlap, moves to these.

use systoliq_nn::{Graph, Operator, Quantity, ValueId};

use super::{Lowering, edge, of_batch};
use crate::Error;
use crate::command::Pass;
use crate::finish::{Edge, Factor, Finish};
use crate::operation::{Combine, Operation, Select};
use crate::plan::TensorPlan;
use crate::role::Role;
use crate::tensor::{TensorDecl, TensorId};

/// What makes the gradient of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GradientSource {
    /// The loss.
    Loss,
    /// The backward command of the one operator that reads the value.
    Reader,
    /// The sum of what its readers contribute.
    Sum,
    /// The gradient of another value is passed on.
    Passed(ValueId),
}

impl GradientSource {
    /// Of a value that is stored; nothing of one that no weights have part in.
    pub(super) fn of(graph: &Graph, value: ValueId) -> Option<Self> {
        if !graph.trains(value) {
            return None;
        }
        Some(match graph.readers(value) {
            [] => Self::Loss,
            &[reader] => passes_on(graph, reader).map_or(Self::Reader, Self::Passed),
            _ => Self::Sum,
        })
    }

    /// Whether a conversion makes it.
    pub(super) fn converts(self) -> bool {
        match self {
            Self::Loss | Self::Reader | Self::Sum => true,
            Self::Passed(_) => false,
        }
    }
}

/// The value whose gradient an entry passes on as it is to what it reads, if it does.
fn passes_on(graph: &Graph, entry: usize) -> Option<ValueId> {
    match graph.nodes[entry].operator {
        Operator::Dense(_) | Operator::Conv2d(_) | Operator::MaxPool(_) | Operator::AvgPool(_) => {
            None
        }
        Operator::Flatten => unreachable!("a view reads nothing by itself"),
        Operator::Add | Operator::Function(_) => Some(graph.stored_of(entry)),
    }
}

/// The declaration of the gradient of a value.
pub(super) fn gradient_of(
    graph: &Graph,
    value: ValueId,
    role: Role,
    plan: TensorPlan,
) -> TensorDecl {
    let (entry, (rows, cols)) = (graph.name_of(value), of_batch(graph, value));
    let stands_for = Some(Quantity::Gradient(value));
    TensorDecl { name: format!("dz{entry}"), role, entry, stands_for, rows, cols, plan }
}

impl Lowering<'_> {
    /// Makes the gradient of a value where nothing before did.
    pub(super) fn gradient(&mut self, value: ValueId) -> Result<(), Error> {
        match GradientSource::of(self.graph, value).expect("a value that is trained") {
            GradientSource::Loss | GradientSource::Reader => Ok(()),
            GradientSource::Sum => self.sum_of_contributions(value),
            GradientSource::Passed(from) => self.pass_on(from, value),
        }
    }

    /// How what the backward command of a reader makes for a value leaves: as its gradient behind its
    /// mask, or as a contribution to that.
    pub(super) fn made_by_reader(&mut self, value: ValueId, reader: usize) -> Finish {
        let graph = self.graph;
        let finish = |edges, output| Finish { bias: None, edges, factor: Factor::One, output };
        if GradientSource::of(graph, value) == Some(GradientSource::Reader) {
            let edges = edge::backward(graph, value, self.values[&value]);
            return finish(edges, self.gradients[&value]);
        }
        let place = graph.readers(value).iter().position(|&entry| entry == reader);
        let place = place.expect("an entry that reads the value");
        let (rows, cols) = of_batch(graph, value);
        let contribution = self.declare(TensorDecl {
            name: format!("dy{}", graph.nodes[reader].name),
            role: Role::Gradients,
            entry: graph.name_of(value),
            stands_for: Some(Quantity::Contribution(value, place)),
            rows,
            cols,
            plan: self.plan.values[&value].gradient,
        });
        self.contributions.insert((value, reader), contribution);
        finish(Vec::new(), contribution)
    }

    fn sum_of_contributions(&mut self, value: ValueId) -> Result<(), Error> {
        let graph = self.graph;
        let contribution = |&reader: &usize| match passes_on(graph, reader) {
            Some(from) => self.gradients[&from],
            None => self.contributions[&(value, reader)],
        };
        let readers = graph.readers(value);
        let terms: Vec<_> = readers.iter().map(contribution).collect();
        let edges = edge::backward(graph, value, self.values[&value]);
        let output = self.gradients[&value];
        self.check_scales(terms.iter().copied().chain([output]))?;
        let sum = Operation::Combine(Combine { terms, edges, output });
        self.program.push(graph.name_of(value), Pass::InputGradient, sum);
        Ok(())
    }

    /// The gradient of one value as that of another: the tensor itself, or its codes behind a mask.
    fn pass_on(&mut self, from: ValueId, value: ValueId) -> Result<(), Error> {
        let graph = self.graph;
        let input: TensorId = self.gradients[&from];
        let edges = edge::backward(graph, value, self.values[&value]);
        if edges.is_empty() {
            self.gradients.insert(value, input);
            return Ok(());
        }
        // A slope is a factor, behind which it is converted.
        let plan = match edges.iter().all(Edge::selects) {
            true => self.program.tensor(input).plan,
            false => self.plan.values[&value].gradient,
        };
        let output = self.declare(gradient_of(graph, value, Role::Gradients, plan));
        self.check_scales([input, output])?;
        self.gradients.insert(value, output);
        let reader = &graph.nodes[graph.maker(from).expect("a value that is made")];
        let place = reader.reads.iter().position(|&read| read == value);
        let place = place.expect("a value that the entry reads");
        let select = Select { input, edges, output, place };
        self.program.push(reader.name, Pass::InputGradient, Operation::Select(select));
        Ok(())
    }
}
