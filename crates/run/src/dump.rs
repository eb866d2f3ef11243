//! Every tensor of one training step as raw integers, and how each came from the others.
//!
//! Each tensor is an `.npy` file of its codes, in the store integer that holds its format.
//! `manifest.json` names format, shape and role of each file, and for every command its operands,
//! the order of its sums, its accumulator and its conversion, so that anyone can recompute each
//! result from its inputs. Where a command overwrites a tensor, the new one has a file of its own.

use std::io;
use std::sync::Arc;

use ndarray::{Array1, Array2};
use ndarray_npy::WriteNpyExt;
use serde_json::{Value, json};
use systoliq_fxp::{Accumulator, ActivationCurve, Along, Multiplier, Tensor, with_codes};
use systoliq_nn::Batch;
use systoliq_program::finish::CLIP_FRAC;
use systoliq_program::operation::{PoolKind, SpreadKind, UpdateOutput};
use systoliq_program::tensor::OperandRef;
use systoliq_program::view::{Cut, Sliding, View, Windows};
use systoliq_program::{
    CommandId, Edge, Finish, Operation, Outcome, Program, Step, Store, TensorDecl, TensorId, Write,
};

use crate::Error;
use crate::observer::Observer;

/// Writes a file of the dump: its name and its bytes.
pub type Sink<'s> = dyn FnMut(&str, &[u8]) -> io::Result<()> + Send + 's;

/// A dump of one step.
pub struct Dump<'s> {
    /// The training step that is dumped, from 0.
    pub step: u64,
    sink: &'s mut Sink<'s>,
    tensors: Vec<Value>,
    commands: Vec<Value>,
    /// The file that holds the present codes of each tensor.
    files: Vec<Option<String>>,
    complete: bool,
}

impl<'s> Dump<'s> {
    /// A dump of step `step` into `sink`.
    pub fn new(step: u64, sink: &'s mut Sink<'s>) -> Self {
        let (tensors, commands, files) = (Vec::new(), Vec::new(), Vec::new());
        Self { step, sink, tensors, commands, files, complete: false }
    }

    /// Whether the step has come and everything is written.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Writes what the step starts from: the batch, weights and biases.
    pub(crate) fn begin(&mut self, store: &Store, batch: &Batch, step: &Step) -> Result<(), Error> {
        self.files = vec![None; store.program().tensors.len()];
        self.write("inputs", &npy(&batch.inputs))?;
        match &batch.answers {
            systoliq_nn::Answers::Labels(labels) => {
                self.write("labels", &npy(&Array1::from_vec(labels.clone())))?;
            }
            systoliq_nn::Answers::Targets(targets) => self.write("targets", &npy(targets))?,
        }
        let inputs = Some((store.program().input, "inputs.npy"));
        let targets = store.program().targets.map(|id| (id, "targets.npy"));
        for (id, from) in inputs.into_iter().chain(targets) {
            let decl = store.program().tensor(id);
            self.commands.push(json!({
                "operation": "load", "from": from, "output": format!("{}.npy", decl.name),
                "conversion": {
                    "rounding": decl.plan.rounding,
                    "overflow": decl.plan.overflow,
                    "key": hex(step.key(&decl.load_id()).value()),
                },
            }));
        }
        let written = |id: &TensorId| store.tensor(*id).is_some();
        let program = store.program();
        let read: Vec<TensorId> =
            (0..program.tensors.len()).map(TensorId).filter(written).collect();
        // What commands overwrite before reading is left over from another step.
        let starts = |id: &TensorId| {
            let first = program.all_writes().find_map(|(at, write, _)| {
                if program.reads(at).contains(id) {
                    Some(true)
                } else {
                    (write.tensor == *id).then_some(false)
                }
            });
            first == Some(true)
        };
        for id in read.into_iter().filter(starts) {
            self.tensor(store, id)?;
        }
        Ok(())
    }

    /// Writes the manifest.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        let manifest = json!({
            "schema_version": 1,
            "step": self.step,
            "random_words": "word i of a key is that of systoliq-keyed-random's table; addition k draws word i of key.with(k)",
            "order": "each sum starts at 0 and adds k = 0, 1, 2, ... in that order, the bias last; with a chunk of c, c products at a time are summed from 0, and then that sum is added; with a block of b, b products at a time are summed exactly, and then that sum is aligned from the fraction bits of its blocks, drawing the word of its last k, and added",
            "tensors": self.tensors,
            "commands": self.commands,
        });
        let text = format!("{manifest:#}\n");
        (self.sink)("manifest.json", text.as_bytes())
            .map_err(|error| failed("manifest.json", &error))?;
        self.complete = true;
        Ok(())
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let file = format!("{name}.npy");
        (self.sink)(&file, bytes).map_err(|error| failed(&file, &error))
    }

    fn tensor(&mut self, store: &Store, id: TensorId) -> Result<(), Error> {
        let decl = store.program().tensor(id);
        let name = match self.files[id.0] {
            None => decl.name.clone(),
            Some(_) => format!("{}.updated", decl.name),
        };
        for copy in store.copies(id) {
            self.copy(decl, copy, copy_name(&name, store, id, copy))?;
        }
        self.files[id.0] = Some(name);
        Ok(())
    }

    fn copy(&mut self, decl: &TensorDecl, tensor: &Tensor, name: String) -> Result<(), Error> {
        self.write(&name, &codes(tensor))?;
        let format = tensor.format();
        let mut entry = json!({
            "file": format!("{name}.npy"),
            "name": decl.name,
            "role": decl.role.name(),
            "layer": decl.entry,
            "shape": [tensor.rows(), tensor.cols()],
            "plan": decl.plan.format_name(),
            "format": { "bits": format.bits(), "frac": format.frac(), "signed": format.is_signed() },
        });
        if let Some(blocks) = tensor.blocks() {
            let fracs = format!("{name}.fracs");
            let array = Array2::from_shape_vec(blocks.shape(), blocks.fracs().to_vec());
            self.write(&fracs, &npy(&array.expect("a number per block")))?;
            entry["format"]["frac"] = Value::Null;
            entry["blocks"] = json!({
                "along": along_name(blocks.along()),
                "size": blocks.size(),
                "fracs": format!("{fracs}.npy"),
            });
        }
        self.tensors.push(entry);
        Ok(())
    }

    /// How a command makes one of the tensors that it writes, of those that have files.
    fn describe(&self, write: &Write, store: &Store, step: &Step) -> Value {
        let program = store.program();
        let name = |id: TensorId| self.files[id.0].as_ref();
        let file = |id: TensorId| name(id).map(|name| format!("{name}.npy"));
        let file_along = |id: TensorId, along: Along| {
            let copies = store.copies(id).iter();
            let lies =
                |copy: &&Arc<Tensor>| copy.blocks().is_none_or(|blocks| blocks.along() == along);
            let copy = copies.clone().find(lies)?;
            Some(format!("{}.npy", copy_name(name(id)?, store, id, copy)))
        };
        let operand = |operand: OperandRef, is_a: bool| {
            let file = file_along(operand.tensor, operand.summed_along(is_a));
            json!({
                "file": file,
                "transposed": operand.reading.transposed,
                "view": view(operand.reading.view),
            })
        };
        let windows = |Windows { down, along }| json!([axis(down), axis(along)]);
        let accumulator = |accumulator: &Accumulator, a: TensorId, b: TensorId| {
            let frac = |id| store.tensor(id).expect("an operand").format().frac();
            json!({
                "bits": accumulator.bits(),
                "frac": accumulator.frac_for(frac(a) + frac(b)),
                "rounding": accumulator.rounding,
                "overflow": accumulator.overflow,
                "overflow_at": accumulator.overflow_at,
                "chunk": accumulator.chunk,
                "key": hex(step.key(program.accumulator_id(write.command)).value()),
            })
        };
        let scale = |finish: &Finish| factor(finish.factor.multiplier(store.batch()));
        match &program.command(write.command).operation {
            Operation::Product(product) => {
                let finish = &product.finish;
                let mut entry = json!({
                    "operation": "gemm",
                    "a": operand(product.a, true), "b": operand(product.b, false),
                    "block": program.block_of(product),
                    "repeats": {
                        "count": product.repeats.count,
                        "a": cut(product.repeats.a),
                        "b": cut(product.repeats.b),
                        "output": cut(product.repeats.output),
                    },
                    "bias": finish.bias.map(file),
                    "accumulator":
                        accumulator(&product.accumulator, product.a.tensor, product.b.tensor),
                    "scale": scale(finish),
                });
                put_edges(&mut entry, &finish.edges, file);
                entry
            }
            Operation::Combine(combine) => {
                let terms: Vec<_> = combine.terms.iter().map(|&term| file(term)).collect();
                let mut entry = json!({ "operation": "sum", "terms": terms });
                put_edges(&mut entry, &combine.edges, file);
                entry
            }
            Operation::Select(select) => {
                let mut entry = json!({ "operation": "select", "input": file(select.input) });
                put_edges(&mut entry, &select.edges, file);
                entry
            }
            Operation::Pool(pool) => {
                let (operation, counts_padding) = match pool.kind {
                    PoolKind::Largest { .. } if write.tensor != pool.output => ("winners", None),
                    PoolKind::Largest { .. } => ("largest", None),
                    PoolKind::Mean { counts_padding } => ("mean", Some(counts_padding)),
                };
                let mut entry = json!({
                    "operation": operation, "input": file(pool.input),
                    "windows": windows(pool.windows), "counts_padding": counts_padding,
                });
                put_edges(&mut entry, &pool.edges, file);
                entry
            }
            Operation::Spread(spread) => {
                let (winners, counts_padding) = match spread.kind {
                    SpreadKind::Winner(winners) => (Some(file(winners)), None),
                    SpreadKind::Share { counts_padding } => (None, Some(counts_padding)),
                };
                let mut entry = json!({
                    "operation": "spread", "gradient": file(spread.gradient),
                    "winners": winners, "windows": windows(spread.windows),
                    "counts_padding": counts_padding, "moves": spread.moves(),
                });
                put_edges(&mut entry, &spread.edges, file);
                entry
            }
            Operation::Reduce(reduce) => json!({
                "operation": "sum_rows", "input": file_along(reduce.input, Along::Column),
                "block": program.tensor(reduce.input).plan.block(),
                "accumulator": accumulator(&reduce.accumulator, reduce.input, reduce.product_with),
                "scale": scale(&reduce.finish),
            }),
            Operation::Loss(loss) => match loss.targets {
                None => json!({
                    "operation": "softmax_cross_entropy", "logits": file(loss.outputs),
                    "labels": "labels.npy", "loss_unit": program.learning.loss_unit,
                    "softmax": program.softmax,
                    "loss_scale_log2": program.learning.loss_scale_log2,
                }),
                Some(targets) => json!({
                    "operation": "squared_error",
                    "outputs": file(loss.outputs), "targets": file(targets),
                    "loss_scale_log2": program.learning.loss_scale_log2,
                }),
            },
            Operation::Update(update) => match update.output(write.tensor) {
                UpdateOutput::Momentum => {
                    let factors = update.gathering(store);
                    json!({
                        "operation": "momentum", "momentum": file(write.tensor),
                        "gradient": file(update.gradient),
                        "weights": update.decay.then(|| file(update.written)),
                        "factors": {
                            "momentum": factor(factors.momentum),
                            "gradient": factor(factors.gradient),
                            "weights": factors.decay.map(factor),
                        },
                    })
                }
                UpdateOutput::Written => json!({
                    "operation": "update", "weights": file(update.written),
                    "gradient": file(update.multiplied()),
                    "residual": update.residual.map(file),
                    "rate": factor(update.rate(store, step)),
                    "decay": update.decay_rate(store, step).map(factor),
                }),
                // What the update before it made, not rounded, less the weights that it wrote.
                UpdateOutput::Residual => {
                    json!({ "operation": "residual", "weights": file(update.written) })
                }
                UpdateOutput::Working => {
                    json!({ "operation": "convert", "from": file(update.written) })
                }
            },
        }
    }

    /// Writes one of the tensors that a command has just made, and says how.
    fn made(&mut self, write: &Write, store: &Store, step: &Step) -> Result<(), Error> {
        let program = store.program();
        let mut entry = self.describe(write, store, step);
        let (command, output) = (program.command(write.command), program.tensor(write.tensor));
        entry["command"] = json!(write.name);
        entry["layer"] = json!(command.entry);
        entry["pass"] = json!(command.pass);
        entry["conversion"] = json!({
            "rounding": output.plan.rounding,
            "overflow": output.plan.overflow,
            "key": hex(step.key(program.output_id(write.command, write.tensor)).value()),
        });
        self.tensor(store, write.tensor)?;
        let file = &self.files[write.tensor.0];
        entry["output"] = json!(file.as_ref().map(|name| format!("{name}.npy")));
        self.commands.push(entry);
        Ok(())
    }
}

impl Observer for Dump<'_> {
    fn after(
        &mut self,
        command: CommandId,
        store: &Store,
        step: &Step,
        _: &Outcome,
    ) -> Result<(), Error> {
        let program: &Program = store.program();
        program.writes_of(command).try_for_each(|(_, write)| self.made(write, store, step))
    }
}

/// Says in an entry which edges results pass, with the file of a mask.
fn put_edges(entry: &mut Value, edges: &[Edge], file: impl Fn(TensorId) -> Option<String>) {
    let (edge, mask, most) = match *edges {
        [] => ("pass", None, None),
        [Edge::Relu] => ("relu", None, None),
        [Edge::Relu, Edge::Clip { most }] => ("clipped_relu", None, Some(most)),
        [Edge::Positive(mask)] => ("mask", Some(file(mask)), None),
        [Edge::Between { of, most }] => ("mask_between", Some(file(of)), Some(most)),
        [Edge::Curve(curve)] => (curve.name(), None, None),
        [Edge::Slope { of, curve: ActivationCurve::Sigmoid }] => {
            ("sigmoid_slope", Some(file(of)), None)
        }
        [Edge::Slope { of, curve: ActivationCurve::Tanh }] => ("tanh_slope", Some(file(of)), None),
        _ => panic!("edges that no value has: {edges:?}"),
    };
    entry["edge"] = json!(edge);
    entry["mask"] = json!(mask);
    if let Some(most) = most {
        entry["most"] = json!({ "raw": most, "frac": CLIP_FRAC });
    }
}

/// How a stored matrix is read.
fn view(view: View) -> Value {
    match view {
        View::Stored => json!("stored"),
        View::Flat { rows_per_row } => json!({ "flat": rows_per_row }),
        View::Windows(Windows { down, along }) => json!({ "windows": [axis(down), axis(along)] }),
        View::Kernel { taps } => json!({ "kernel": taps }),
    }
}

/// A window along one axis: position p and tap t meet pixel (step · p + tap_step · t − pad) / spread.
fn axis(sliding: Sliding) -> Value {
    let Sliding { positions, taps, step, tap_step, spread, pad, extent } = sliding;
    json!({
        "positions": positions, "taps": taps, "step": step, "tap_step": tap_step,
        "spread": spread, "pad": pad, "extent": extent,
    })
}

fn cut(cut: Cut) -> &'static str {
    match cut {
        Cut::Whole => "whole",
        Cut::Rows => "rows",
        Cut::Columns => "columns",
    }
}

fn factor(multiplier: Multiplier) -> Value {
    json!({ "mantissa": multiplier.mantissa, "exponent": multiplier.exponent })
}

/// The name of the file of a copy of a tensor: of the first, that of the tensor.
fn copy_name(name: &str, store: &Store, id: TensorId, copy: &Tensor) -> String {
    match (store.tensor(id), copy.blocks()) {
        (Some(first), Some(blocks)) if first != copy => {
            format!("{name}.{}", along_name(blocks.along()))
        }
        _ => name.to_owned(),
    }
}

fn along_name(along: Along) -> &'static str {
    match along {
        Along::Row => "row",
        Along::Column => "column",
    }
}

fn hex(key: u64) -> String {
    format!("{key:#018x}")
}

fn failed(file: &str, error: &io::Error) -> Error {
    Error::Dump { file: file.to_owned(), problem: error.to_string() }
}

/// An array as the bytes of an `.npy` file.
fn npy(array: &impl WriteNpyExt) -> Vec<u8> {
    let mut bytes = Vec::new();
    array.write_npy(&mut bytes).expect("writing to memory");
    bytes
}

fn codes(tensor: &Tensor) -> Vec<u8> {
    with_codes!(tensor, |codes| npy(codes))
}
