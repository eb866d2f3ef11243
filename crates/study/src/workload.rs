//! A network given layer by layer: what each of its layers takes in each pass.
//!
//! [`Workload`] lowers a topology to a program, and that is asked what everything takes. Of a convolution
//! memory holds the image, of which each tile needs its pixels once. Training adds the gradients of
//! inputs (none for the first layer) and of weights, and the step of the weights.

mod lowering;
pub mod reports;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Serialize;
use systoliq_array::{Stationary, mapping::Axis};
use systoliq_energy::{EnergyUnit, Picojoules};
use systoliq_hardware::Accelerator;
use systoliq_hardware::actions::Actions;
use systoliq_hardware::cost::{Arithmetic, Cost, Costs};
use systoliq_hardware::events::Tally;
use systoliq_hardware::prices::Prices;
use systoliq_hardware::roofline::Roofline;
use systoliq_import::scalesim::ScaleSimReport;
use systoliq_program::WriteId;
use systoliq_run::Error;

pub use lowering::{LayerWork, Workload};

/// What a layer takes in one pass, over all repeats.
#[derive(Clone, Debug, Serialize)]
pub struct ProductReport {
    /// What it does.
    #[serde(flatten)]
    pub work: LayerWork,
    /// What stays in the array; nothing where the vector unit works.
    pub dataflow: Option<Stationary>,
    /// Folds.
    pub folds: u64,
    /// Clock cycles.
    pub cycles: u64,
    /// Of these, stalls.
    pub stall_cycles: u64,
    /// Multiply-accumulates, without structural zeros.
    pub macs: u64,
    /// MACs / (PEs × cycles).
    pub utilization: f64,
    /// The share of the PEs that folds fill: Sr·Sc / (tiles·R·C).
    pub mapping_efficiency: f64,
    /// Elements of A read from its scratchpad.
    pub a_reads: u64,
    /// Elements of B read from its scratchpad.
    pub b_reads: u64,
    /// Partial sums read back from the scratchpad of C.
    pub c_reads: u64,
    /// Sums written to the scratchpad of C, partial ones included.
    pub c_writes: u64,
    /// Bytes moved from and to DRAM for A, B and C, whole bursts; of a step for master, gradient and
    /// all that is written.
    pub dram_bytes: [u64; 3],
    /// Energy; nothing where a scratchpad has no price.
    pub energy_pj: Option<Picojoules>,
    /// What bounds it.
    pub roofline: Option<Roofline>,
}

/// Sums over all layers and passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct WorkloadTotals {
    pub cycles: u64,
    pub stall_cycles: u64,
    pub macs: u64,
    pub utilization: f64,
    pub dram_bytes: u64,
    pub energy_pj: Option<Picojoules>,
}

/// What a network takes, layer by layer.
#[derive(Clone, Debug, Serialize)]
pub struct WorkloadReport {
    /// In the order of the layers; of each its passes.
    pub products: Vec<ProductReport>,
    /// All of them together.
    pub total: WorkloadTotals,
    /// What energy is counted in.
    pub energy_unit: EnergyUnit,
    /// What is taken to be of training, if it is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumed: Option<&'static str>,
    /// Why there is no energy, if there is none.
    #[serde(skip)]
    pub unpriced: Option<String>,
    /// How often what happened.
    #[serde(skip)]
    pub actions: Actions,
}

/// What a topology does not say of training.
pub const ASSUMED: &str = "no activation functions, biases or loss; SGD without momentum on masters of \
                           twice the width of the weights";

impl WorkloadReport {
    /// Of a network on an accelerator.
    ///
    /// # Errors
    ///
    /// The first layer that cannot be run, by its name, or sums beyond 64 bits.
    pub fn new(accelerator: &Accelerator, workload: &Workload) -> Result<Self, Error> {
        accelerator.validate()?;
        let costs = workload.costs(accelerator);
        let mut all = Tally::default();
        let mut known: BTreeMap<Option<WriteId>, (ProductReport, Tally)> = BTreeMap::new();
        for work in &workload.work {
            if let Entry::Vacant(place) = known.entry(work.writes().next()) {
                let found = ProductReport::new(&costs, work);
                let (row, tally) = found.map_err(|error| of_layer(&work.layer, error))?;
                all.checked_add_times(&tally, 1).ok_or_else(too_much)?;
                place.insert((row, tally));
            }
        }
        let prices = Prices::new(accelerator, accelerator.profile()?, &all);
        let energy = |tally: &Tally| match &prices {
            Ok(prices) => tally.energy(prices).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let mut unpriced = None;
        for (row, tally) in known.values_mut() {
            match energy(tally) {
                Ok(energy) => row.energy_pj = Some(energy.total()),
                Err(reason) => unpriced = unpriced.or(Some(reason)),
            }
        }
        let mut products = Vec::new();
        let mut total =
            WorkloadTotals { energy_pj: Some(Picojoules::default()), ..WorkloadTotals::default() };
        let mut actions = Actions::default();
        for work in &workload.work {
            let (row, tally) = &known[&work.writes().next()];
            actions.add(work.layer.clone(), work.pass, tally, 1).ok_or_else(too_much)?;
            let row = ProductReport { work: work.clone(), ..row.clone() };
            total = total.and(&row).ok_or_else(too_much)?;
            products.push(row);
        }
        let pe_cycles = accelerator.array.pes() as f64 * total.cycles as f64;
        total.utilization = if total.cycles == 0 { 0.0 } else { total.macs as f64 / pe_cycles };
        let energy_unit = accelerator.profile()?.unit();
        let assumed = workload.training.then_some(ASSUMED);
        Ok(Self { products, total, energy_unit, assumed, unpriced, actions })
    }
}

impl Workload {
    /// What its commands take on an accelerator. The stash has nothing to keep: no layer reads what
    /// another one wrote.
    fn costs<'w>(&'w self, accelerator: &'w Accelerator) -> Costs<'w> {
        Costs::apart(&self.program, accelerator, Arithmetic::Fixed, 1)
    }
}

fn too_much() -> Error {
    Error::at(
        "workload",
        "all layers together have more cycles, bytes or events than 64 bits count",
    )
}

fn of_layer(layer: &str, error: impl Into<Error>) -> Error {
    match error.into() {
        Error::Invalid { path, problem } => Error::at(format!("layer `{layer}`: {path}"), problem),
        other => other,
    }
}

impl WorkloadTotals {
    fn and(self, row: &ProductReport) -> Option<Self> {
        let moved = row.dram_bytes.iter().try_fold(0u64, |sum, &bytes| sum.checked_add(bytes))?;
        Some(Self {
            cycles: self.cycles.checked_add(row.cycles)?,
            stall_cycles: self.stall_cycles.checked_add(row.stall_cycles)?,
            macs: self.macs.checked_add(row.macs)?,
            utilization: 0.0,
            dram_bytes: self.dram_bytes.checked_add(moved)?,
            energy_pj: self.energy_pj.zip(row.energy_pj).map(|(a, b)| [a, b].into_iter().sum()),
        })
    }
}

impl ProductReport {
    /// What some work takes, with its events, before these have prices.
    fn new(costs: &Costs<'_>, work: &LayerWork) -> Result<(Self, Tally), Error> {
        let Costs { program, accelerator, .. } = *costs;
        let (mut tally, mut row) = (Tally::default(), Self::nothing(work));
        for at in work.writes() {
            let cost = costs.of(at, program.work(at, 1), false)?;
            row.add(costs, at, &cost).ok_or_else(too_much)?;
            tally.checked_add_times(&cost.tally, 1).ok_or_else(too_much)?;
        }
        row.utilization = row.macs as f64 / (accelerator.array.pes() as f64 * row.cycles as f64);
        let bytes = row.dram_bytes.iter().try_fold(0u64, |sum, &bytes| sum.checked_add(bytes));
        row.roofline =
            Roofline::new(accelerator, row.macs, bytes.ok_or_else(too_much)?, row.cycles);
        if let Some((shape, dataflow)) = work.product().zip(row.dataflow) {
            let at = work.writes().next().expect("a product writes");
            let mapping = costs.mapping(at, shape);
            assert_eq!(mapping.stationary, dataflow, "the flow of {work:?}");
            let extents = mapping.extents();
            let tiles = [Axis::Rows, Axis::Cols].map(|axis| mapping.pieces(axis).count() as u64);
            let used = extents.rows as f64 * extents.cols as f64;
            let filled = (tiles[0] * tiles[1]) as f64 * accelerator.array.pes() as f64;
            row.mapping_efficiency = used / filled;
        }
        Ok((row, tally))
    }

    fn nothing(work: &LayerWork) -> Self {
        Self {
            work: work.clone(),
            dataflow: None,
            folds: 0,
            cycles: 0,
            stall_cycles: 0,
            macs: 0,
            utilization: 0.0,
            mapping_efficiency: 0.0,
            a_reads: 0,
            b_reads: 0,
            c_reads: 0,
            c_writes: 0,
            dram_bytes: [0; 3],
            energy_pj: None,
            roofline: None,
        }
    }

    /// Adds what a write takes; `None` beyond 64 bits.
    fn add(&mut self, costs: &Costs<'_>, at: WriteId, cost: &Cost) -> Option<()> {
        let add = |sum: &mut u64, more: u64| {
            *sum = sum.checked_add(more)?;
            Some(())
        };
        self.dataflow = self.dataflow.or(cost.dataflow);
        add(&mut self.folds, cost.counts.folds)?;
        add(&mut self.cycles, cost.cycles.total().0)?;
        add(&mut self.stall_cycles, cost.cycles.stall.0)?;
        add(&mut self.macs, cost.counts.macs)?;
        add(&mut self.a_reads, cost.counts.a_reads)?;
        add(&mut self.b_reads, cost.counts.b_reads)?;
        add(&mut self.c_reads, cost.counts.partial_sum_reads)?;
        add(&mut self.c_writes, cost.counts.sum_writes)?;
        for (sum, more) in self.dram_bytes.iter_mut().zip(dram_bytes(costs, at, cost)?) {
            add(sum, more)?;
        }
        Some(())
    }
}

/// Bytes moved for a write: reads of the first and of the second tensor that is read for it, and the
/// rest.
fn dram_bytes(costs: &Costs<'_>, at: WriteId, cost: &Cost) -> Option<[u64; 3]> {
    let read = costs.program.reads(at);
    let mut bytes = [0u64; 3];
    for moved in &cost.moved {
        let place = read.iter().take(2).position(|&id| id == moved.tensor && !moved.write);
        let sum = &mut bytes[place.unwrap_or(2)];
        *sum = sum.checked_add(moved.bytes)?;
    }
    Some(bytes)
}

/// SCALE-Sim's figures of one product.
#[derive(Clone, Debug, Serialize)]
pub struct ScaleSimRow {
    /// The product.
    #[serde(flatten)]
    pub work: LayerWork,
    /// What SCALE-Sim says of one of its repeats.
    pub scalesim: ScaleSimReport,
}

/// SCALE-Sim's figures of the products of a network.
///
/// # Errors
///
/// If a figure does not fit 64 bits.
pub fn scalesim(accelerator: &Accelerator, workload: &Workload) -> Result<Vec<ScaleSimRow>, Error> {
    let products = workload.work.iter().filter_map(|work| Some((work, work.product()?)));
    let row = |(work, shape): (&LayerWork, _)| {
        let scalesim = ScaleSimReport::new(accelerator, shape);
        let scalesim = scalesim.map_err(|error| of_layer(&work.layer, error))?;
        Ok(ScaleSimRow { work: work.clone(), scalesim })
    };
    products.map(row).collect()
}

/// Bytes moved from and to DRAM for A, B and C by one repeat of each product, in the dataflow of
/// SCALE-Sim's figures.
///
/// # Errors
///
/// The first product that cannot be run, with the name of its layer.
pub fn traffic(
    accelerator: &Accelerator,
    workload: &Workload,
    rows: &[ScaleSimRow],
) -> Result<Vec<[u64; 3]>, Error> {
    accelerator.validate()?;
    let in_flow = Stationary::ALL.map(|flow| {
        let mut accelerator = accelerator.clone();
        accelerator.array.dataflow = flow.into();
        accelerator
    });
    let costs = [0, 1, 2].map(|at| (Stationary::ALL[at], workload.costs(&in_flow[at])));
    let bytes = |row: &ScaleSimRow| {
        let (_, costs) = costs.iter().find(|(flow, _)| *flow == row.scalesim.dataflow)?;
        let at = row.work.writes().next()?;
        let work = costs.program.work(at, 1);
        let bytes = costs.of(at, work, false).map(|cost| dram_bytes(costs, at, &cost));
        Some(bytes.map_err(|error| of_layer(&row.work.layer, error)).and_then(|bytes| {
            Ok(bytes.ok_or_else(too_much)?.map(|bytes| bytes / row.work.repeats))
        }))
    };
    rows.iter().filter_map(bytes).collect()
}
