//! What widths take on the experiment's accelerator: a step with a plan, and the accumulators of each product by
//! how products are rounded before they are added.
//!
//! Rounding in the PE to nearest takes a second adder as wide as the product, stochastically a random word
//! beside it; by floor it is free, but needs more low bits for the same noise, as its error is the same in
//! every product of a sum. Nothing is trained: events are closed forms.

use serde::Serialize;
use systoliq_energy::Picojoules;
use systoliq_fxp::Rounding;
use systoliq_hardware::cost::Arithmetic;
use systoliq_hardware::prices::Prices;
use systoliq_program::{Pass, PrecisionSpec, Work};
use systoliq_run::{Error, Experiment, Prepared};

use super::forward::offsets;
use super::{Allocation, Assignment, PlannedSum, Study, SumBudget};

/// The accumulators of one product, by how its products are rounded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PricedSums {
    /// The layer with weights.
    pub layer: usize,
    /// The pass.
    pub pass: Pass,
    /// Rounded to nearest, stochastically, by floor, and not at all.
    pub roundings: Vec<PricedRounding>,
}

/// The accumulators of one product, rounded in one way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PricedRounding {
    /// How; nothing where no bit is dropped.
    pub rounding: Option<Rounding>,
    /// Low bits of each product that are not kept.
    pub drop: u32,
    /// Width of the register.
    pub bits: u32,
    /// What the product takes, multipliers and memories included, for each multiplication.
    pub energy_pj_per_mac: Picojoules,
}

/// The least width at which the energy of a bit is taken.
const WEIGHED_BITS: u32 = 8;

/// The ways to round.
const ROUNDINGS: [Option<Rounding>; 4] =
    [Some(Rounding::NearestEven), Some(Rounding::Stochastic), Some(Rounding::Floor), None];

impl Study<'_> {
    /// The accumulators of every product under the same budget, rounded in every way.
    ///
    /// # Errors
    ///
    /// As [`spec`](Self::spec), or if an event has no price.
    pub fn priced_sums(&self, assignment: &Assignment) -> Result<Vec<PricedSums>, Error> {
        let mut priced: Vec<PricedSums> = Vec::new();
        for rounding in ROUNDINGS {
            let planned = self.planned_sums(assignment, SumBudget { rounding, ..self.sums })?;
            let prepared = self.with_precision(self.spec_with(assignment, &planned)?)?;
            let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
            let accelerator = &prepared.experiment.accelerator;
            let prices = prepared.prices_by(accelerator.profile()?, &costs)?;
            for (at, sum) in planned.iter().enumerate() {
                let energy = product_energy(&prepared, sum, &prices)?;
                let one = PricedRounding {
                    rounding,
                    drop: sum.drop,
                    bits: sum.bits,
                    energy_pj_per_mac: energy,
                };
                match priced.get_mut(at) {
                    Some(priced) => priced.roundings.push(one),
                    None => {
                        let (layer, pass) = (sum.layer, sum.pass);
                        priced.push(PricedSums { layer, pass, roundings: vec![one] });
                    }
                }
            }
        }
        Ok(priced)
    }

    /// The energy of a training step on a full batch with this plan.
    ///
    /// # Errors
    ///
    /// As [`spec`](Self::spec), or if an event has no price.
    pub fn step_energy(&self, assignment: &Assignment) -> Result<Picojoules, Error> {
        Ok(self.with_precision(self.spec(assignment)?)?.step_energy(Arithmetic::Fixed)?.total())
    }

    /// The bits beyond the least of each tensor of the forward pass with which one more bit of any of them
    /// lowers the bound by about the same for each joule of a step.
    pub(super) fn weighed(&self) -> Result<Vec<u32>, Error> {
        let balanced = (0..=WEIGHED_BITS).rev().find_map(|b_min| {
            self.assign(Allocation::Balanced, b_min)
                .filter(|of| of.bits.iter().all(|&bits| bits < 32))
        });
        let Some(base) = balanced else { return Ok(vec![0; self.tensors.len()]) };
        let mut sums = self.planned_sums(&base, self.sums)?;
        // Room for one more bit of an operand, without which they would have to grow with it.
        sums.iter_mut().for_each(|sum| sum.bits = (sum.bits + 1).min(64));
        let energy = |assignment: &Assignment| {
            let prepared = self.with_precision(self.spec_with(assignment, &sums)?)?;
            Ok::<_, Error>(prepared.step_energy(Arithmetic::Fixed)?.total().0)
        };
        let before = energy(&base)?;
        let mut noise = Vec::new();
        for (at, tensor) in self.tensors.iter().enumerate() {
            let mut wider = base.clone();
            wider.bits[at] += 1;
            let joules = energy(&wider)? - before;
            // A bit that takes nothing is worth any joule.
            noise.push(tensor.noise() / joules.max(1e-3 * before / f64::from(base.b_min)));
        }
        Ok(offsets(&noise))
    }

    /// The experiment with these formats.
    fn with_precision(&self, precision: PrecisionSpec) -> Result<Prepared, Error> {
        Prepared::new(Experiment { precision, ..self.prepared.experiment.clone() })
    }
}

/// What a product takes on a full batch, for each multiplication.
fn product_energy(
    prepared: &Prepared,
    sum: &PlannedSum,
    prices: &Prices<'_>,
) -> Result<Picojoules, Error> {
    let costs = prepared.costs(Arithmetic::Fixed, prepared.batches(None));
    let is_product = |command: &systoliq_program::Command| {
        command.entry.number() == Some(sum.layer)
            && command.pass == sum.pass
            && command.operation.product().is_some()
    };
    let (at, ..) = (prepared.program.all_writes())
        .find(|(.., command)| is_product(command))
        .expect("a product of the plan");
    let work = prepared.program.work(at, prepared.experiment.training.batch);
    let Work::Gemm(shape) = work else { unreachable!("a product is a GEMM") };
    let cost = costs.of(at, work, costs.may_take_second_pass(at))?;
    let macs = shape.m as f64 * shape.k as f64 * shape.n as f64;
    Ok(Picojoules(cost.tally.energy(prices)?.total().0 / macs))
}
