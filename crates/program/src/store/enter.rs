//! Real values that enter: initial weights, those of a model in floating point, and batches.

use std::sync::Arc;

use ndarray::{Array1, Array2, Axis};
use systoliq_fxp::scale::Range;
use systoliq_fxp::{Combination, ConversionStatistics, Multiplier, Tensor};
use systoliq_keyed_random::Key;
use systoliq_nn::golden::Real;
use systoliq_nn::{EntryName, Parameters};

use super::exact::STRIP;
use super::{Occasion, Step, Store};
use crate::command::Program;
use crate::role::Role;
use crate::tensor::{TensorDecl, TensorId};
use crate::workers::in_strips;

impl Store {
    /// A store whose weights are converted from `initial`, one matrix `[units, inputs]` a layer,
    /// with what they do not hold in their residuals, and whose biases and momenta are 0.
    ///
    /// # Panics
    ///
    /// If `initial` does not fit the program.
    pub fn new(program: &Arc<Program>, initial: &[Array2<f64>], seed: u64) -> Self {
        let step = Step::initial(seed);
        let mut store = Self::blank(program);
        let weights: Vec<&Array2<f64>> = initial.iter().collect();
        let key = |entry: EntryName, role: Role| step.key(&format!("{entry}/initial/{role}"));
        store.initial = store.enter(&weights, key);
        store
    }

    /// Replaces the bias of a layer, which is 0 at first.
    ///
    /// # Panics
    ///
    /// If the layer has no bias, or one of another size.
    pub fn set_bias(&mut self, layer: usize, bias: &Array1<f64>, seed: u64) {
        let entry = EntryName::Number(layer);
        let is_bias = |decl: &TensorDecl| decl.role == Role::Bias && decl.entry == entry;
        let at = self.program.tensors.iter().position(is_bias);
        let id = TensorId(at.unwrap_or_else(|| panic!("layer {layer} has no bias")));
        let key = Step::initial(seed).key(&format!("{layer}/initial/{}", Role::Bias));
        let statistics =
            self.write_reals(id, &bias.clone().insert_axis(Axis(0)), Occasion::aside(key));
        self.initial.push((id, statistics));
    }

    /// What the conversions of the initial weights did.
    pub fn initial_statistics(&self) -> &[(TensorId, ConversionStatistics)] {
        &self.initial
    }

    /// A store with given parameters, whose scales remember nothing.
    ///
    /// # Panics
    ///
    /// As [`set_parameters`](Self::set_parameters).
    pub fn with_parameters<F: Real>(
        program: &Arc<Program>,
        parameters: &Parameters<F>,
        step: &Step,
    ) -> Self {
        let mut store = Self::blank(program);
        store.set_parameters(parameters, step);
        store
    }

    /// Converts `parameters` into weights and biases, each exactly and under the rules of its role,
    /// as initial weights are. Random words have the ids `entry/teaching/role` of `step`. Scales of
    /// weights remember nothing of it; momenta stay what they are.
    ///
    /// # Panics
    ///
    /// If `parameters` are of another network, or one is not finite.
    pub fn set_parameters<F: Real>(&mut self, parameters: &Parameters<F>, step: &Step) {
        let key = |entry: EntryName, role: Role| step.key(&format!("{entry}/teaching/{role}"));
        let weights: Vec<_> = parameters.layers.iter().map(|layer| &layer.weights).collect();
        self.enter(&weights, key);
        let program = Arc::clone(&self.program);
        for (id, decl) in program.tensors.iter().enumerate() {
            if decl.role == Role::Bias {
                let bias = parameters.layers[number(decl.entry)].bias.clone();
                let bias = bias.expect("a bias where the program has one").insert_axis(Axis(0));
                let occasion = Occasion::aside(key(decl.entry, decl.role));
                self.write_reals(TensorId(id), &bias, occasion);
            }
        }
    }

    /// Converts real weights into what updates write, and that into what the array reads and what is
    /// left in residuals, under the keys of entry and role. Other tensors that outlast a step and have
    /// no value yet start at 0. Says what the conversions did.
    fn enter<F: Real>(
        &mut self,
        weights: &[&Array2<F>],
        key: impl Fn(EntryName, Role) -> Key,
    ) -> Vec<(TensorId, ConversionStatistics)> {
        let program = Arc::clone(&self.program);
        let mut entered = Vec::new();
        for (id, decl) in program.tensors.iter().enumerate() {
            let id = TensorId(id);
            if is_updated(&program, decl) {
                let occasion = Occasion::aside(key(decl.entry, decl.role));
                entered.push((id, self.write_reals(id, weights[number(decl.entry)], occasion)));
            } else if decl.role.outlasts_a_step() && self.tensor(id).is_none() {
                self.put(id, Tensor::zeros(decl.plan.format, decl.rows.count(0), decl.cols));
            }
        }
        for command in &program.commands {
            let Some(update) = command.operation.update() else { continue };
            let entry = command.entry;
            if let Some(residual) = update.residual {
                let key = key(entry, Role::Residual);
                let left = self.leave(residual, update.written, weights[number(entry)], key);
                entered.push((residual, left));
            }
            if let Some(working) = update.working {
                let key = key(entry, Role::Weights);
                let written = self.convert(update.written, working, Occasion::aside(key));
                entered.push((working, written.conversion));
            }
        }
        entered
    }

    /// Writes what real weights leave to their residual.
    fn leave<F: Real>(
        &mut self,
        residual: TensorId,
        weights: TensorId,
        reals: &Array2<F>,
        key: Key,
    ) -> ConversionStatistics {
        let reals = reals.as_standard_layout();
        let reals = reals.as_slice().expect("values row by row");
        let conversion = self.program.tensor(residual).plan.conversion(key, true);
        let weights = self.read(weights);
        let mut tensor = Tensor::zeros(conversion.to, weights.rows(), weights.cols());
        let mut statistics = ConversionStatistics::default();
        for places in in_strips(0..reals.len(), STRIP) {
            let held = Combination::of_part(Multiplier::ONE, weights, places.clone());
            let left = Combination::of_reals(&reals[places.clone()]).minus(held);
            statistics.merge(&left.write(&conversion, tensor.whole_mut().at(places)));
        }
        self.put(residual, tensor);
        statistics
    }

    /// Converts real values, row by row, into a tensor.
    pub(super) fn write_reals<F: Real>(
        &mut self,
        id: TensorId,
        values: &Array2<F>,
        occasion: Occasion,
    ) -> ConversionStatistics {
        let program = Arc::clone(&self.program);
        let decl = program.tensor(id);
        // A sample may be one row of values or the rows of an image.
        let whole_rows = values.ncols().is_multiple_of(decl.cols);
        assert!(whole_rows, "{} columns for {} of {}", values.ncols(), decl.name, decl.cols);
        let values_by_row = values.as_standard_layout();
        let values_by_row = values_by_row.as_slice().expect("values row by row");
        let shape = (values.len() / decl.cols, decl.cols);
        if decl.plan.block().is_some() {
            return self.write_blocks(id, occasion, |conversion, along, size| {
                conversion.real_blocks(shape, values_by_row, along, size)
            });
        }
        let range = || range_of_reals(values_by_row);
        let (conversion, _) = self.conversion(id, range, occasion);
        let (tensor, statistics) = conversion.reals(shape.0, shape.1, values_by_row);
        self.observe(id, &statistics, occasion.training);
        self.put(id, tensor);
        statistics
    }
}

/// The number of a layer with weights.
fn number(entry: EntryName) -> usize {
    entry.number().expect("a layer with weights")
}

/// Whether real weights are converted into a tensor: a master or, where there is none, weights.
fn is_updated(program: &Program, decl: &TensorDecl) -> bool {
    match decl.role {
        Role::Master => true,
        Role::Weights => program.find(Role::Master, decl.entry).is_none(),
        _ => false,
    }
}

/// The range of real values, each exactly.
fn range_of_reals<F: Real>(values: &[F]) -> Range {
    let ends = values.iter().fold(None, |ends: Option<(f64, f64)>, value| {
        let value = value.widen();
        Some(ends.map_or((value, value), |(min, max)| (min.min(value), max.max(value))))
    });
    let (min, max) = ends.unwrap_or_default();
    let exact = |value| systoliq_fxp::real::decompose(value).expect("a finite value");
    Range::between(exact(min), exact(max))
}
