//! A program written down for a person.

use std::fmt::Write as _;

use systoliq_fxp::OverflowAt;

use crate::command::{
    BatchScale, Command, Edge, Gemm, OperandRef, Operation, Program, Rows, TensorId,
};
use crate::plan::name;

/// The tensors and the commands of a program as plain text, one a line.
pub fn listing(program: &Program) -> String {
    let mut text = String::from("tensors\n");
    for decl in &program.tensors {
        let rows = match decl.rows {
            Rows::Batch => "batch".to_owned(),
            Rows::Fixed(rows) => rows.to_string(),
        };
        let shape = format!("[{rows}, {}]", decl.cols);
        let role = decl.role.name();
        writeln!(text, "  {:<5} {role:<17} {shape:<13} {}", decl.name, decl.plan)
            .expect("writing to a string");
    }
    text.push_str("\none training step\n");
    for command in &program.commands {
        let place = format!("{}.{}", command.layer, command.pass);
        writeln!(text, "  {place:<18} {}", describe(program, command))
            .expect("writing to a string");
    }
    text
}

fn describe(program: &Program, command: &Command) -> String {
    let name_of = |id: TensorId| program.tensor(id).name.as_str();
    let operand = |operand: OperandRef| {
        format!("{}{}", name_of(operand.tensor), if operand.transposed { "'" } else { "" })
    };
    match &command.operation {
        Operation::Gemm(gemm) => {
            let Gemm { a, b, bias, edge, scale, output, .. } = gemm;
            let mut product = format!("{} * {}", operand(*a), operand(*b));
            if let Some(bias) = bias {
                product = format!("{product} + {}", name_of(*bias));
            }
            let product = match edge {
                Edge::Pass => product,
                Edge::Relu => format!("relu({product})"),
                Edge::Mask(mask) => format!("{product} where {} > 0", name_of(*mask)),
            };
            let output = name_of(*output);
            format!("{output} = {product}{}  [{}]", scaled(*scale), registers(&gemm.accumulator))
        }
        Operation::SumRows { input, accumulator, scale, output, .. } => format!(
            "{} = sum of rows of {}{}  [{}]",
            name_of(*output),
            name_of(*input),
            scaled(*scale),
            registers(accumulator)
        ),
        Operation::SoftmaxCrossEntropy { logits, error } => {
            format!(
                "{} = gradient of softmax cross-entropy of {}",
                name_of(*error),
                name_of(*logits)
            )
        }
        Operation::SquaredError { outputs, targets, error } => {
            format!("{} = {} - {}", name_of(*error), name_of(*outputs), name_of(*targets))
        }
        Operation::Momentum { momentum, gradient, weights, decay } => {
            let (momentum, gradient) = (name_of(*momentum), name_of(*gradient));
            let decay = decaying(*decay, "+ decay", name_of(*weights));
            format!("{momentum} = momentum * {momentum} + {gradient}{decay}")
        }
        Operation::Update { weights, gradient, residual, decay, .. } => {
            let (weights, gradient) = (name_of(*weights), name_of(*gradient));
            let residual = residual.map(|id| format!(" + {}", name_of(id))).unwrap_or_default();
            let decay = decaying(*decay, "- rate * decay", weights);
            format!("{weights} = {weights}{residual} - rate * {gradient}{decay}")
        }
        Operation::Residual { residual, weights } => {
            format!("{} = what {} does not hold of that", name_of(*residual), name_of(*weights))
        }
        Operation::Convert { from, to } => format!("{} = {}", name_of(*to), name_of(*from)),
    }
}

fn decaying(decay: bool, factor: &str, weights: &str) -> String {
    if decay { format!(" {factor} * {weights}") } else { String::new() }
}

fn scaled(scale: BatchScale) -> &'static str {
    match scale {
        BatchScale::One => "",
        BatchScale::Mean => " / batch",
    }
}

fn registers(accumulator: &systoliq_fxp::Accumulator) -> String {
    let frac = accumulator.frac().map(|frac| format!(" with {frac} fraction")).unwrap_or_default();
    let at_end = match accumulator.overflow_at {
        OverflowAt::Each => "",
        OverflowAt::End => " at the end",
    };
    let chunks = accumulator.chunk.map(|chunk| format!(", chunks of {chunk}")).unwrap_or_default();
    format!(
        "{} bits{frac}, {}, {}{at_end}{chunks}",
        accumulator.bits(),
        name(&accumulator.rounding),
        name(&accumulator.overflow)
    )
}
