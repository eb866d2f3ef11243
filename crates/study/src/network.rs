//! A network entry by entry: what it reads and makes, and how much work that is.

use serde::Serialize;
use systoliq_nn::{EdgeFunction, EntryName, Graph, Operator, ValueId};
use systoliq_program::{Operation, Pass, Program, Work};
use systoliq_run::Prepared;

/// An entry of a network.
#[derive(Serialize)]
pub struct EntrySummary {
    /// What results call it.
    pub entry: EntryName,
    /// As the experiment calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it does, with its settings.
    pub operator: String,
    /// The entries whose values it reads; `x` is the input.
    pub reads: Vec<String>,
    /// Per sample: `[features]`, or `[channels, height, width]`.
    pub shape: String,
    /// Weights and biases.
    pub parameters: usize,
    /// Multiply-accumulates of a sample: forward, input gradient, weight gradient.
    pub macs: [u64; 3],
    /// Bits that a sample takes of what is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bits: Option<u64>,
}

/// Every entry, in the order of the network.
pub fn entries(prepared: &Prepared) -> Vec<EntrySummary> {
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
