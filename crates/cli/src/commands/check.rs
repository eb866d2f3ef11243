//! `systoliq check`: is this an experiment, and which formats follow from it?

mod network;

use std::fmt::Write as _;
use std::num::NonZero;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use systoliq_fxp::Scale;
use systoliq_hardware::buffer::BufferReport;
use systoliq_hardware::cost::Arithmetic;
use systoliq_hardware::{stash::Stash, stash::StashedTensor};
use systoliq_nn::{DataSet, EdgeFunction, Operator, Schedule, Training, WeightedLayer};
use systoliq_program::tensor::Rows;
use systoliq_program::{EntryName, Program, TensorDecl, WriteId};
use systoliq_run::{Experiment, Prepared};
use systoliq_study::network::{EntrySummary, entries};

use super::buffer;
use super::table::Columns;
use crate::failure::Failure;
use crate::failure::one_line;
use crate::load::ExperimentArguments;

/// Validates an experiment, with its data, and prints its precision plan as resolved, layer by
/// layer.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  systoliq check models/digits-mlp.json
  systoliq check models/digits-mlp.json --set precision.weights.bits=4 --json")]
pub struct CheckCommand {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// Prints JSON instead of text.
    #[arg(long)]
    json: bool,
}

impl CheckCommand {
    /// What was found.
    pub fn run(&self) -> Result<String, Failure> {
        let loaded = self.experiment.load()?;
        let data = loaded.data(loaded.prepared.experiment.seed)?;
        loaded.warn(&data);
        let found = ResolvedExperiment::new(&loaded.prepared, &data);
        if self.json {
            let json = serde_json::to_string_pretty(&found).expect("no map has keys but strings");
            return Ok(json + "\n");
        }
        Ok(found.text())
    }
}

/// What a valid experiment comes to.
#[derive(Serialize)]
struct ResolvedExperiment<'a> {
    experiment: &'a Experiment,
    data: Data<'a>,
    parameters: u64,
    /// What a step on a full batch keeps for its backward pass.
    stash: Stash,
    /// What lives in the global buffer, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    buffer: Option<BufferReport>,
    /// Entry by entry.
    network: Vec<EntrySummary>,
    layers: Vec<ResolvedLayer<'a>>,
}

/// A data set that has been loaded.
#[derive(Serialize)]
struct Data<'a> {
    name: &'a str,
    features: usize,
    outputs: usize,
    classes: Option<usize>,
    train: usize,
    validation: usize,
    test: usize,
}

/// A layer with weights.
#[derive(Serialize)]
struct ResolvedLayer<'a> {
    layer: usize,
    operator: &'static str,
    inputs: usize,
    units: usize,
    bias: bool,
    relu: bool,
    /// What a clipped ReLU clips at.
    #[serde(skip_serializing_if = "Option::is_none")]
    clipped_at: Option<f64>,
    parameters: u64,
    tensors: Vec<ResolvedTensor<'a>>,
    accumulators: Vec<ResolvedSum<'a>>,
}

/// A tensor and how it is converted to.
#[derive(Serialize)]
struct ResolvedTensor<'a> {
    name: &'a str,
    role: &'static str,
    /// Rows and columns; no rows means that samples have them.
    shape: (Option<usize>, usize),
    /// How many a sample has, where samples have them.
    #[serde(skip_serializing_if = "is_one")]
    rows_per_sample: usize,
    /// In Q notation; the width alone where the scale moves.
    format: String,
    scale: String,
    rounding: String,
    overflow: String,
}

/// What serde skips needs a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_one(value: &usize) -> bool {
    *value == 1
}

/// The accumulators of a command.
#[derive(Serialize)]
struct ResolvedSum<'a> {
    command: &'a str,
    bits: u32,
    /// Left out: they follow those of the product.
    frac: Option<i32>,
    /// How many of these are not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<u32>,
    rounding: String,
    overflow: String,
    overflow_at: String,
    chunk: Option<NonZero<u32>>,
    /// Bits at which no operands overflow; nothing where no width is enough.
    safe_bits: Option<u32>,
    safe_bits_count_bias: bool,
}

impl<'a> ResolvedExperiment<'a> {
    fn new(prepared: &'a Prepared, data: &'a DataSet) -> Self {
        let layers = prepared.graph.weighted().iter();
        let layers: Vec<_> = layers.map(|layer| ResolvedLayer::new(layer, prepared)).collect();
        let data = Data {
            name: &data.name,
            features: data.features,
            outputs: data.outputs,
            classes: data.classes,
            train: data.train.len(),
            validation: data.validation.len(),
            test: data.test.len(),
        };
        let parameters = layers.iter().map(|layer| layer.parameters).sum();
        let batches = prepared.batches(Some(data.train));
        let costs = prepared.costs(Arithmetic::Fixed, batches);
        let (stash, buffer) = (Stash::new(&costs), BufferReport::new(&costs));
        let network = entries(prepared);
        let experiment = &prepared.experiment;
        Self { experiment, data, parameters, stash, buffer, network, layers }
    }

    fn text(&self) -> String {
        let Experiment { name, seed, training, accelerator, .. } = self.experiment;
        let Data { name: data, features, outputs, train, validation, test, .. } = self.data;
        let answers = if self.data.classes.is_some() { "classes" } else { "targets" };
        let array = &accelerator.array;
        let steps = self.data.train.div_ceil(training.batch);
        let mut text = format!("{}: seed {seed}, {} parameters\n", one_line(name), self.parameters);
        let lines = [
            format!("data: {data}, {train} train, {validation} validation, {test} test samples"),
            format!("      of {features} values and {outputs} {answers}"),
            format!(
                "training: {} epochs of {steps} steps, batch {}, rate {}{}",
                training.epochs,
                training.batch,
                training.rate,
                schedule(training)
            ),
            format!(
                "array: {} x {}, {}, overlap {}, partial folds {}",
                array.rows,
                array.cols,
                word(&array.dataflow),
                word(&array.overlap),
                word(&array.partial_folds)
            ),
        ];
        for line in lines {
            writeln!(text, "{line}").expect("writing to a string");
        }
        match &self.buffer {
            Some(buffer) => text += &format!("\n{}", buffer::text(buffer)),
            None => text += &(kept(&self.stash) + "\n"),
        }
        text += &format!("\n{}", network::text(&self.network));
        for layer in &self.layers {
            text.push('\n');
            text.push_str(&layer.text());
        }
        text
    }
}

fn clipped_at(function: EdgeFunction) -> Option<f64> {
    match function {
        EdgeFunction::ClippedRelu(clipped) => Some(clipped.to_f64()),
        EdgeFunction::Relu | EdgeFunction::Squash(_) => None,
    }
}

impl<'a> ResolvedLayer<'a> {
    fn new(at: &WeightedLayer, prepared: &'a Prepared) -> Self {
        let &WeightedLayer { number: layer, weights, output, .. } = at;
        let (program, batch) = (&prepared.program, prepared.experiment.training.batch);
        let entry = EntryName::Number(layer);
        let own = program.tensors.iter().filter(|decl| decl.entry == entry);
        let writes = program.all_writes().filter(|(.., command)| command.entry == entry);
        Self {
            layer,
            operator: match prepared.graph.operator_of(at) {
                Operator::Conv2d(_) => "conv2d",
                Operator::Dense(_)
                | Operator::MaxPool(_)
                | Operator::AvgPool(_)
                | Operator::Add
                | Operator::Flatten
                | Operator::Function(_) => "dense",
            },
            inputs: weights.fan_in,
            units: weights.outputs,
            bias: weights.bias,
            relu: prepared.graph.has_relu(output),
            clipped_at: prepared.graph.edge(output).into_iter().find_map(clipped_at),
            parameters: weights.parameters() as u64,
            tensors: own.map(ResolvedTensor::new).collect(),
            accumulators: writes
                .filter_map(|(at, ..)| ResolvedSum::new(program, at, batch))
                .collect(),
        }
    }

    fn text(&self) -> String {
        let mut tensors =
            Columns::new(&["tensor", "role", "shape", "format", "scale", "rounding", "overflow"]);
        for tensor in &self.tensors {
            let ResolvedTensor { name, role, shape: (rows, cols), .. } = tensor;
            let rows = match (rows, tensor.rows_per_sample) {
                (Some(rows), _) => rows.to_string(),
                (None, 1) => "batch".to_owned(),
                (None, each) => format!("batch * {each}"),
            };
            let ResolvedTensor { format, scale, rounding, overflow, .. } = tensor;
            let modes = [format, scale, rounding, overflow].map(String::clone);
            let first = [(*name).to_owned(), (*role).to_owned(), format!("{rows} x {cols}")];
            tensors.line(first.into_iter().chain(modes));
        }
        let mut sums = Columns::new(&[
            "accumulator of",
            "bits",
            "fraction",
            "rounding",
            "overflow",
            "at",
            "chunk",
            "always enough",
        ]);
        for sum in &self.accumulators {
            let frac = match (sum.frac, sum.drop) {
                (Some(frac), _) => frac.to_string(),
                (None, None) => "of the product".to_owned(),
                (None, Some(drop)) => format!("of the product less {drop}"),
            };
            let first = [sum.command.to_owned(), sum.bits.to_string(), frac];
            let modes = [&sum.rounding, &sum.overflow, &sum.overflow_at].map(String::clone);
            let safe = match sum.safe_bits {
                None => "-".to_owned(),
                Some(bits) if sum.safe_bits_count_bias => bits.to_string(),
                Some(bits) => format!("{bits} and bias"),
            };
            let chunk = sum.chunk.map_or_else(|| "none".to_owned(), |chunk| chunk.to_string());
            sums.line(first.into_iter().chain(modes).chain([chunk, safe]));
        }
        let Self { layer, operator, inputs, units, parameters, .. } = self;
        let bias = if self.bias { "" } else { ", no bias" };
        let relu = match self.clipped_at {
            Some(max) => format!(", relu clipped at {max}"),
            None => if self.relu { ", relu" } else { "" }.to_owned(),
        };
        let head = format!(
            "layer {layer}: {operator} {inputs} -> {units}{bias}{relu}, {parameters} parameters\n"
        );
        head + &tensors.text() + &sums.text()
    }
}

impl<'a> ResolvedTensor<'a> {
    fn new(decl: &'a TensorDecl) -> Self {
        let plan = &decl.plan;
        let width =
            format!("{}Q{}", if plan.format.is_signed() { "" } else { "U" }, plan.format.bits());
        let (format, scale) = match plan.scale {
            Scale::Static => (plan.format.to_string(), "static".to_owned()),
            Scale::Dynamic => (width, "dynamic".to_owned()),
            Scale::History { window } => (width, format!("history of {window}")),
            Scale::OverflowRate { limit, every_batches } => {
                let (rate, start) = (limit.to_f64(), plan.format);
                (width, format!("overflow-rate {rate} of {every_batches} from {start}"))
            }
            Scale::Block { size } => (width, format!("block of {size}")),
        };
        let rows = match decl.rows {
            Rows::Batch { .. } => None,
            Rows::Fixed(rows) => Some(rows),
        };
        let rows_per_sample = if rows.is_none() { decl.rows.count(1) } else { 1 };
        Self {
            name: &decl.name,
            role: decl.role.name(),
            shape: (rows, decl.cols),
            rows_per_sample,
            format,
            scale,
            rounding: word(&plan.rounding),
            overflow: word(&plan.overflow),
        }
    }
}

impl<'a> ResolvedSum<'a> {
    /// `None` if nothing is summed.
    fn new(program: &'a Program, at: WriteId, batch: usize) -> Option<Self> {
        let accumulator = program.command_of(at).operation.accumulator()?;
        let safe = program.safe_width(at, batch);
        Some(Self {
            command: &program.write(at).name,
            bits: accumulator.bits(),
            frac: accumulator.frac(),
            drop: accumulator.dropped().filter(|&drop| drop > 0),
            rounding: word(&accumulator.rounding),
            overflow: word(&accumulator.overflow),
            overflow_at: word(&accumulator.overflow_at),
            chunk: accumulator.chunk,
            safe_bits: safe.map(|safe| safe.bits),
            safe_bits_count_bias: safe.is_some_and(|safe| safe.counts_bias),
        })
    }
}

/// What is kept for the backward pass, and where.
fn kept(stash: &Stash) -> String {
    let Stash { peak_bytes, capacity_bytes, on_chip_bytes, spilled_bytes, kept } = stash;
    let names =
        |StashedTensor { tensor, on_chip_bytes, mask_on_chip_bytes, .. }: &StashedTensor| {
            let mask = (*mask_on_chip_bytes > 0).then(|| format!("mask of {tensor}"));
            mask.into_iter().chain((*on_chip_bytes > 0).then(|| tensor.clone())).collect::<Vec<_>>()
        };
    let names: Vec<String> = kept.iter().flat_map(names).collect();
    let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    format!(
        "kept for the backward pass: {peak_bytes} bytes, {on_chip_bytes} in a stash of \
         {capacity_bytes}{names}, {spilled_bytes} spilled"
    )
}

/// What becomes of the rate, if it changes.
fn schedule(training: &Training) -> String {
    let kind = match training.schedule {
        Schedule::Constant {} => return String::new(),
        Schedule::Step { .. } => "step",
        Schedule::Exponential { .. } => "exponential",
        Schedule::Cosine { .. } => "cosine",
    };
    format!(", {kind} to {:.4e} in the last epoch", training.rate_in(training.epochs - 1))
}

/// The word that stands for a mode in JSON.
pub(super) fn word(mode: &impl Serialize) -> String {
    match serde_json::to_value(mode) {
        Ok(Value::String(word)) => word,
        other => unreachable!("a mode is a word, not {other:?}"),
    }
}
