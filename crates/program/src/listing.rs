//! A program written down for a person.

use std::fmt::Write as _;

use systoliq_fxp::{Accumulator, OverflowAt};

use crate::command::Program;
use crate::finish::Factor;
use crate::plan::name;
use crate::tensor::{OperandRef, Rows};
use crate::view::View;

/// The tensors and the commands of a program as plain text, one a line.
pub fn listing(program: &Program) -> String {
    let mut text = String::from("tensors\n");
    for decl in &program.tensors {
        let rows = match decl.rows {
            Rows::Batch { per_sample: 1 } => "batch".to_owned(),
            Rows::Batch { per_sample } => format!("batch * {per_sample}"),
            Rows::Fixed(rows) => rows.to_string(),
        };
        let shape = format!("[{rows}, {}]", decl.cols);
        let role = decl.role.name();
        writeln!(text, "  {:<5} {role:<17} {shape:<13} {}", decl.name, decl.plan)
            .expect("writing to a string");
    }
    text.push_str("\none training step\n");
    for (_, write, command) in program.all_writes() {
        let place = format!("{}.{}", command.entry, command.pass);
        writeln!(text, "  {place:<18} {}", command.operation.describe(program, write.tensor))
            .expect("writing to a string");
    }
    text
}

/// An operand by name, as what it is read, with a prime where it is transposed.
pub(crate) fn operand(program: &Program, operand: OperandRef) -> String {
    let name = &program.tensor(operand.tensor).name;
    let name = match operand.reading.view {
        View::Stored => name.clone(),
        View::Flat { .. } => format!("flat({name})"),
        View::Windows(_) => format!("windows({name})"),
        View::Kernel { .. } => format!("turned({name})"),
    };
    format!("{name}{}", if operand.reading.transposed { "'" } else { "" })
}

/// What a factor does to a result.
pub(crate) fn scaled(factor: Factor) -> &'static str {
    match factor {
        Factor::One => "",
        Factor::Mean => " / batch",
    }
}

/// An accumulator in words.
pub(crate) fn registers(accumulator: &Accumulator) -> String {
    let lowest = match (accumulator.frac(), accumulator.dropped()) {
        (Some(frac), _) => format!(" with {frac} fraction"),
        (None, None | Some(0)) => String::new(),
        (None, Some(drop)) => format!(" without {drop} of the product"),
    };
    let at_end = match accumulator.overflow_at {
        OverflowAt::Each => "",
        OverflowAt::End => " at the end",
    };
    let chunks = accumulator.chunk.map(|chunk| format!(", chunks of {chunk}")).unwrap_or_default();
    format!(
        "{} bits{lowest}, {}, {}{at_end}{chunks}",
        accumulator.bits(),
        name(&accumulator.rounding),
        name(&accumulator.overflow)
    )
}
