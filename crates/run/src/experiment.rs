//! An experiment: what is trained, on what, in which formats, on which machine.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use systoliq_fxp::bounds::{Alignment, SumBounds};
use systoliq_fxp::{Overflow, Scale};
use systoliq_nn::data::Open;
use systoliq_nn::{DataSet, DataSpec, Graph, Loss, Network, Training};
use systoliq_program::{AccumulatorPart, Plan, PrecisionSpec, Program, TensorDecl, TensorPlan};

use crate::Error;
use systoliq_energy::Profile;
use systoliq_hardware::Accelerator;
use systoliq_hardware::accelerator::UpdateOrder;
use systoliq_hardware::cost::{Arithmetic, Costs, EpochBatches};
use systoliq_hardware::events::{EnergyByComponent, Tally};
use systoliq_hardware::prices::Prices;

/// One experiment, as its JSON file states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What reports call it.
    pub name: String,
    /// Decides initial weights, batch order, generated data and stochastic rounding.
    pub seed: u64,
    /// The data.
    pub dataset: DataSpec,
    /// The layers and the loss.
    pub network: Network,
    /// How it is trained.
    pub training: Training,
    /// Formats by role; what is left out has the defaults.
    #[serde(default)]
    pub precision: PrecisionSpec,
    /// The machine.
    pub accelerator: Accelerator,
}

/// An experiment that has been checked and lowered, all but its data.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The experiment.
    pub experiment: Experiment,
    /// The network's shapes.
    pub graph: Graph,
    /// The formats of every layer.
    pub plan: Plan,
    /// The commands of a training step.
    pub program: Arc<Program>,
}

/// Longest name of an experiment.
const NAME_MAX: usize = 200;

impl Prepared {
    /// The most elements of all tensors of a step together.
    pub const ELEMENTS_MAX: u64 = 1 << 27;

    /// Checks and lowers an experiment.
    ///
    /// # Errors
    ///
    /// If anything in it is impossible; no data is read and no memory taken for it.
    pub fn new(experiment: Experiment) -> Result<Self, Error> {
        let length = experiment.name.chars().count();
        if length == 0 || length > NAME_MAX {
            let problem = format!("{length} characters: expected 1 to {NAME_MAX}");
            return Err(Error::at("name", problem));
        }
        experiment.dataset.validate()?;
        experiment.training.validate()?;
        experiment.accelerator.validate()?;
        let graph = Graph::new(&experiment.network)?;
        if graph.loss == Loss::Mse && experiment.training.target_error_rate.is_some() {
            let problem = "a regression has no error rate; expected none with the loss \"mse\"";
            return Err(Error::at("training.target_error_rate", problem));
        }
        if let Some(shape) = experiment.dataset.shape() {
            shape.check(&graph, &experiment.training)?;
        }
        let plan = Plan::resolve(&graph, &experiment.precision)?;
        let program = Arc::new(Program::lower(&graph, &plan, &experiment.training)?);
        let prepared = Self { experiment, graph, plan, program };
        prepared.check_accumulators()?;
        prepared.check_sizes()?;
        prepared.check_fused()?;
        prepared.check_costs()?;
        Ok(prepared)
    }

    /// Checks that every accumulator of the array holds one product, where the formats tell: an
    /// accumulator of stated fraction bits under moving scales may drop any number of bits.
    fn check_accumulators(&self) -> Result<(), Error> {
        for (_, write, command) in self.program.all_writes() {
            let Some(gemm) = command.operation.product() else { continue };
            let [a, b] = [gemm.a.tensor, gemm.b.tensor].map(|id| &self.program.tensor(id).plan);
            let accumulator = &gemm.accumulator;
            let is_static = a.scale == Scale::Static && b.scale == Scale::Static;
            let product = is_static.then(|| a.format.frac() + b.format.frac());
            let Some(dropped) = accumulator.shift_for(product) else { continue };
            let ends = |plan: &TensorPlan| (plan.format.min_raw(), plan.format.max_raw());
            let alignment = Alignment { shift: dropped, rounding: accumulator.rounding };
            let needed =
                SumBounds::of_products(ends(a), ends(b), 1, alignment).bits(Overflow::Wrap);
            if needed > accumulator.bits() {
                let lowest = match accumulator.dropped() {
                    None => "fewer fraction bits",
                    Some(_) => "more dropped",
                };
                let enough = match (needed, accumulator.dropped()) {
                    (..=64, Some(0)) => format!("at least {needed}"),
                    (..=64, _) => format!("at least {needed}, or {lowest}"),
                    _ => lowest.to_owned(),
                };
                let problem = format!(
                    "{} bits cannot hold one product of {} x {} in `{}`: expected {enough}",
                    accumulator.bits(),
                    a.format,
                    b.format,
                    write.name
                );
                let layer = command.entry.number().expect("a product of a layer with weights");
                let (plan, range) = (&self.plan.layers[layer], AccumulatorPart::Range);
                return Err(plan.accumulator_problem(command.pass, range, problem).into());
            }
        }
        Ok(())
    }

    /// Checks that the tensors of a step fit memory: about 40 bytes an element while it is converted.
    fn check_sizes(&self) -> Result<(), Error> {
        let batch = self.experiment.training.batch;
        let elements = |decl: &TensorDecl| decl.rows.count(batch) as u64 * decl.cols as u64;
        let total: u64 = self.program.tensors.iter().map(elements).sum();
        if total <= Self::ELEMENTS_MAX {
            return Ok(());
        }
        let (decl, most) = self
            .program
            .tensors
            .iter()
            .map(|decl| (decl, elements(decl)))
            .max_by_key(|&(_, elements)| elements)
            .expect("a program has tensors");
        let problem = format!(
            "the tensors of a step have {total} elements, {most} of them in {} of layer {}: \
             expected at most {}; take a smaller batch or smaller layers",
            decl.role,
            decl.entry,
            Self::ELEMENTS_MAX
        );
        Err(Error::at("network", problem))
    }

    /// Checks that no scale of a gradient that is to be taken tile by tile waits for all of it.
    fn check_fused(&self) -> Result<(), Error> {
        if self.experiment.accelerator.update == UpdateOrder::Separate {
            return Ok(());
        }
        for update in self.program.commands.iter().filter_map(|of| of.operation.update()) {
            let decl = self.program.tensor(update.gradient);
            let scale = match decl.plan.scale {
                Scale::Dynamic => "dynamic",
                Scale::Block { .. } => "block",
                _ => continue,
            };
            let path = self.plan.path(decl.entry, decl.role);
            let problem = format!(
                "\"fused\", and {} has scale \"{scale}\", which waits for more than a tile: expected \
                 \"separate\", or {path} with scale \"history\", \"overflow-rate\" or \"static\"",
                decl.name
            );
            return Err(Error::at("accelerator.update", problem));
        }
        Ok(())
    }

    /// Checks that a full batch can be counted in 64 bits and that every event has a price.
    fn check_costs(&self) -> Result<(), Error> {
        for arithmetic in [Arithmetic::Fixed, Arithmetic::FLOAT32] {
            self.step_energy(arithmetic)?;
        }
        Ok(())
    }

    /// The energy of a step on a full batch, whose scales that follow their range take a second pass, on its
    /// accelerator with PEs of `arithmetic`.
    ///
    /// # Errors
    ///
    /// If a count leaves 64 bits, or an event has no price.
    pub fn step_energy(&self, arithmetic: Arithmetic) -> Result<EnergyByComponent, Error> {
        let accelerator = &self.experiment.accelerator;
        let step = self.step(&self.costs(arithmetic, self.batches(None)))?;
        Ok(step.energy(&Prices::new(accelerator, accelerator.profile()?, &step)?)?)
    }

    /// The batches of an epoch over so many samples, or a full batch where nobody knows how many.
    pub fn batches(&self, samples: Option<usize>) -> EpochBatches {
        let size = self.experiment.training.batch;
        samples.map_or(EpochBatches::one(size), |samples| EpochBatches::of(samples, size))
    }

    /// What its commands take on its accelerator with PEs of `arithmetic` and memories that are laid out for
    /// these batches.
    pub fn costs(&self, arithmetic: Arithmetic, batches: EpochBatches) -> Costs<'_> {
        Costs::new(&self.program, &self.experiment.accelerator, arithmetic, batches)
    }

    /// The events of a step on a full batch, whose scales that follow their range take a second pass: what
    /// circuits are built for.
    ///
    /// # Errors
    ///
    /// If a count leaves 64 bits.
    pub fn step(&self, costs: &Costs<'_>) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        for (at, ..) in self.program.all_writes() {
            let work = self.program.work(at, self.experiment.training.batch);
            tally.add_times(&costs.of(at, work, costs.may_take_second_pass(at))?.tally, 1);
        }
        Ok(tally)
    }

    /// What events cost by a profile, and the circuits of a step on a full batch.
    ///
    /// # Errors
    ///
    /// If a count leaves 64 bits, or an event has no price.
    pub fn prices_by(&self, profile: Profile, costs: &Costs<'_>) -> Result<Prices<'_>, Error> {
        Ok(Prices::new(&self.experiment.accelerator, profile, &self.step(costs)?)?)
    }

    /// Loads the data of the run with `seed`, and checks that it fits the network.
    ///
    /// # Errors
    ///
    /// If a file is missing or malformed, or the data does not fit.
    pub fn load(&self, seed: u64, open: &mut Open<'_>) -> Result<DataSet, Error> {
        let data = self.experiment.dataset.load(seed, open)?;
        data.check(&self.graph, &self.experiment.training)?;
        Ok(data.arranged(&self.experiment.network.input))
    }
}
