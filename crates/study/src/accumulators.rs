//! How wide the accumulators of a run are, and how wide they have to be.

use serde::Serialize;
use systoliq_program::{Command, EntryName, Pass, SafeWidth, Work, Write, WriteId};

use systoliq_run::Prepared;
use systoliq_run::trainer::Record;

/// The accumulators of one command.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccumulatorReport {
    /// The layer with weights.
    pub layer: EntryName,
    /// The pass.
    pub pass: Pass,
    /// The tensor that is made.
    pub output: String,
    /// How many terms each sums, in a full batch.
    pub k: usize,
    /// Bits that it has.
    pub bits: u32,
    /// Bits at which none overflows, whatever operands of the planned formats hold; nothing where
    /// stated fraction bits meet a scale that moves.
    pub safe_bits: Option<u32>,
    /// Whether the bias, if there is one, is part of these; not where its alignment moves.
    pub safe_bits_count_bias: bool,
    /// Bits at which none overflows with the weights as trained, whatever the other operand holds in
    /// its last format; nothing where no weights are summed.
    pub bits_for_weights: Option<u32>,
    /// Share of elements in training whose accumulator left its range.
    pub overflow_rate: f64,
}

/// One row per command that sums.
pub(crate) fn accumulators(prepared: &Prepared, record: &Record) -> Vec<AccumulatorReport> {
    let program = &prepared.program;
    let batch = prepared.experiment.training.batch;
    let row = |(at, write, command): (WriteId, &Write, &Command)| {
        let accumulator = command.operation.accumulator()?;
        let output = &program.tensor(write.tensor).name;
        let safe = program.safe_width(at, batch);
        Some(AccumulatorReport {
            layer: command.entry,
            pass: command.pass,
            output: output.clone(),
            k: match program.work(at, batch) {
                Work::Gemm(shape) => shape.k,
                Work::Vector { rows, .. } => rows,
            },
            bits: accumulator.bits(),
            safe_bits: safe.map(|SafeWidth { bits, .. }| bits),
            safe_bits_count_bias: safe.is_some_and(|safe| safe.counts_bias),
            bits_for_weights: record.widths_for_weights.get(at.0).copied().flatten(),
            overflow_rate: record
                .tensors
                .get(output)
                .map_or(0.0, |found| found.total().accumulator_overflow_rate()),
        })
    };
    program.all_writes().filter_map(row).collect()
}
