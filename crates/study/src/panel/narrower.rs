//! A program with one bit less of something, as it would be priced: nothing is trained.

use std::sync::Arc;

use systoliq_fxp::Format;
use systoliq_program::{Operation, Program, Role};
use systoliq_run::Prepared;

/// What may have one bit less, by the names of the `precision` section.
pub(super) const PARTS: [(&str, Option<Role>); 6] = [
    ("weights", Some(Role::Weights)),
    ("activations", Some(Role::Activations)),
    ("gradients", Some(Role::Gradients)),
    ("weight_gradients", Some(Role::WeightGradients)),
    ("master", Some(Role::Master)),
    ("accumulator", None),
];

/// The same with one bit less of every tensor of a role, or of every accumulator; nothing where there is
/// none, or one that has no bit to spare.
pub(super) fn narrower(prepared: &Prepared, role: Option<Role>) -> Option<Prepared> {
    let mut program = Program::clone(&prepared.program);
    let mut narrowed = false;
    match role {
        Some(role) => {
            for decl in program.tensors.iter_mut().filter(|decl| decl.role == role) {
                let format = decl.plan.format;
                let fewer = Format::new(format.bits() - 1, format.frac(), format.is_signed());
                decl.plan.format = fewer.ok()?;
                narrowed = true;
            }
        }
        None => {
            for command in &mut program.commands {
                let accumulator = match &mut command.operation {
                    Operation::Product(product) => &mut product.accumulator,
                    Operation::Reduce(reduce) => &mut reduce.accumulator,
                    Operation::Combine(_)
                    | Operation::Select(_)
                    | Operation::Pool(_)
                    | Operation::Spread(_)
                    | Operation::Loss(_)
                    | Operation::Update(_) => continue,
                };
                *accumulator = accumulator.narrower()?;
                narrowed = true;
            }
        }
    }
    narrowed.then(|| Prepared { program: Arc::new(program), ..prepared.clone() })
}
