//! A network entry by entry: what it reads and makes, and how much work that is.

use serde::Serialize;
use systoliq_nn::{EdgeFunction, EntryName, Graph, Operator, ValueId};
use systoliq_program::{Operation, Pass, Program, Work};
use systoliq_run::Prepared;

use crate::commands::table::Columns;

/// An entry of a network.
#[derive(Serialize)]
pub(super) struct EntrySummary {
    entry: EntryName,
    /// As the experiment calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    operator: String,
    /// The entries whose values it reads; `x` is the input.
    reads: Vec<String>,
    /// Per sample: `[features]`, or `[channels, height, width]`.
    shape: String,
    parameters: usize,
    /// Multiply-accumulates of a sample: forward, input gradient, weight gradient.
    macs: [u64; 3],
    /// Bits that a sample takes of what is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_bits: Option<u64>,
}

/// Every entry, in the order of the network.
pub(super) fn entries(prepared: &Prepared) -> Vec<EntrySummary> {
    let (graph, program) = (&prepared.graph, &prepared.program);
    let entry = |at: usize| {
        let node = &graph.nodes[at];
        let value = ValueId::made_by(at);
        let is_stored = graph.stored().any(|stored| stored == value);
        let stored = is_stored.then(|| {
            let shape = graph.shape(value).elements() as u64;
            shape * u64::from(prepared.plan.values[&value].stored.format.bits())
        });
        EntrySummary {
            entry: node.name,
            name: graph.label(at).map(str::to_owned),
            operator: said(&node.operator),
            reads: node.reads.iter().map(|&read| called(graph, read)).collect(),
            shape: node.shape.to_string(),
            parameters: node.operator.weights().map_or(0, |weights| weights.parameters()),
            macs: macs(program, node.name),
            stored_bits: stored,
        }
    };
    (0..graph.nodes.len()).map(entry).collect()
}

fn called(graph: &Graph, value: ValueId) -> String {
    match value.entry() {
        None => "x".into(),
        Some(entry) => match graph.label(entry) {
            Some(label) => label.to_owned(),
            None => graph.nodes[entry].name.to_string(),
        },
    }
}

fn said(operator: &Operator) -> String {
    let taps = |window: &systoliq_nn::operator::Window| {
        let (down, along) = (window.down, window.along);
        let mut said = format!("{} x {}", down.taps, along.taps);
        if (down.stride, along.stride) != (1, 1) {
            said += &format!(", stride {} x {}", down.stride, along.stride);
        }
        if down.dilation.max(along.dilation) > 1 {
            said += &format!(", dilation {} x {}", down.dilation, along.dilation);
        }
        let padding = [down.before, along.before, down.after, along.after];
        if padding != [0; 4] {
            said += &format!(", padding {padding:?}");
        }
        said
    };
    match operator {
        Operator::Dense(dense) => format!("dense {} -> {}", dense.inputs, dense.units),
        Operator::Conv2d(of) => {
            let groups =
                if of.groups > 1 { format!(", {} groups", of.groups) } else { String::new() };
            format!("conv2d {} -> {}, {}{groups}", of.channels, of.filters, taps(&of.window))
        }
        Operator::MaxPool(of) => format!("max_pool {}", taps(&of.window)),
        Operator::AvgPool(of) if of.global => "global_avg_pool".into(),
        Operator::AvgPool(of) => format!("avg_pool {}", taps(&of.window)),
        Operator::Add => "add".into(),
        Operator::Flatten => "flatten".into(),
        Operator::Function(EdgeFunction::Relu) => "relu".into(),
        Operator::Function(EdgeFunction::ClippedRelu(of)) => {
            format!("clipped_relu at {}", of.to_f64())
        }
        Operator::Function(EdgeFunction::Squash(of)) => format!("{of:?}").to_lowercase(),
    }
}

/// Multiply-accumulates of the three products of an entry, of one sample.
fn macs(program: &Program, entry: EntryName) -> [u64; 3] {
    let of_pass = |pass: Pass| {
        let writes = program
            .all_writes()
            .filter(|(.., command)| command.entry == entry && command.pass == pass);
        let count = |(id, _, command): (_, _, &systoliq_program::Command)| match &command.operation
        {
            Operation::Product(product) => match program.work(id, 1) {
                Work::Gemm(shape) => {
                    let each = shape.macs() - shape.structural_zeros(product.readings());
                    each * product.repeats.count.get() as u64
                }
                Work::Vector { .. } => 0,
            },
            Operation::Reduce(_)
            | Operation::Combine(_)
            | Operation::Select(_)
            | Operation::Pool(_)
            | Operation::Spread(_)
            | Operation::Loss(_)
            | Operation::Update(_) => 0,
        };
        writes.map(count).sum()
    };
    [Pass::Forward, Pass::InputGradient, Pass::WeightGradient].map(of_pass)
}

/// As a table.
pub(super) fn text(entries: &[EntrySummary]) -> String {
    let mut columns = Columns::new(&[
        "entry",
        "operator",
        "reads",
        "makes",
        "parameters",
        "MACs",
        "input gr.",
        "weight gr.",
        "bits",
    ]);
    for of in entries {
        let count = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
        let entry = match &of.name {
            None => of.entry.to_string(),
            Some(name) => format!("{} {name}", of.entry),
        };
        let [forward, input, weight] = of.macs.map(count);
        columns.line([
            entry,
            of.operator.clone(),
            of.reads.join(", "),
            of.shape.clone(),
            count(of.parameters as u64),
            forward,
            input,
            weight,
            of.stored_bits.map_or("-".into(), |bits| bits.to_string()),
        ]);
    }
    let total = |at: usize| entries.iter().map(|entry| entry.macs[at]).sum::<u64>();
    let stored: u64 = entries.iter().filter_map(|entry| entry.stored_bits).sum();
    let [forward, input, weight] = [0, 1, 2].map(total);
    columns.text()
        + &format!(
            " of a sample: {forward} multiply-accumulates forward, {input} for input gradients, {weight} for \
             weight gradients; {} bytes stored by the forward pass\n",
            stored.div_ceil(8)
        )
}
