//! Energy of a run, as `report.json` holds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use systoliq_program::{Pass, Work};

use super::Float32;
use crate::dependence;
use crate::precision::Complexity;
use systoliq_energy::{EnergyUnit, Picojoules};
use systoliq_hardware::accelerator::Dependence;
use systoliq_hardware::events::EnergyByComponent;
use systoliq_hardware::prices::Prices;
use systoliq_run::trainer::Record;
use systoliq_run::{Error, Prepared};
use systoliq_run::{timeline::Entry, timeline::Totals};

/// Energy of the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnergyReport {
    /// What it is counted in.
    pub unit: EnergyUnit,
    /// All of it, on average data.
    pub total: Picojoules,
    /// By part of the machine.
    pub by_component: EnergyByComponent,
    /// By pass.
    pub by_pass: BTreeMap<Pass, Picojoules>,
    /// The same program on float32 hardware.
    pub float32_total: Picojoules,
    /// That, by part of the machine.
    pub float32_by_component: EnergyByComponent,
    /// That, by pass.
    pub float32_by_pass: BTreeMap<Pass, Picojoules>,
    /// The same for the data at hand, where `accelerator.activity` asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dependent: Option<DataDependent>,
}

/// Energy by the bits that flipped and the operands that were zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataDependent {
    /// All of it.
    pub total: Picojoules,
    /// By part of the machine.
    pub by_component: EnergyByComponent,
    /// By pass.
    pub by_pass: BTreeMap<Pass, Picojoules>,
}

/// Energy for a sample and an epoch of training, and what that takes in any technology.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TrainingCost {
    /// Samples trained on.
    pub samples: u64,
    /// Energy per sample.
    pub per_sample_pj: Picojoules,
    /// Energy per epoch.
    pub per_epoch_pj: Picojoules,
    /// One-bit full adders of all products and their sums, by C. Sakr and N. Shanbhag, ICML 2017:
    /// `D b₁ b₂ + (D − 1)(b₁ + b₂ + ⌈log₂ D⌉ − 1)` for a sum of `D` products; nothing beyond 64 bits.
    pub full_adders: Option<u64>,
}

impl EnergyReport {
    /// Of the runs in `entries`, and of the same runs on float32 hardware.
    pub(super) fn new(
        prepared: &Prepared,
        entries: &[Entry],
        prices: &Prices<'_>,
        float32: &Float32<'_>,
    ) -> Result<Self, Error> {
        let by_pass = |entries: &[Entry], prices: &Prices<'_>| {
            let of = |pass| {
                let of_pass = Totals::of_pass(entries, prepared, pass);
                Ok::<_, Error>((pass, of_pass.tally.energy(prices)?.total()))
            };
            Pass::ALL.into_iter().map(of).collect::<Result<BTreeMap<_, _>, _>>()
        };
        let by_component = Totals::of(entries).tally.energy(prices)?;
        let float32_by_component = Totals::of(&float32.entries).tally.energy(&float32.prices)?;
        let asked = prepared.experiment.accelerator.activity == Dependence::Toggles;
        let data_dependent = asked.then(|| DataDependent::new(prepared, entries, prices));
        Ok(Self {
            unit: prices.profile().unit(),
            total: by_component.total(),
            by_component,
            by_pass: by_pass(entries, prices)?,
            float32_total: float32_by_component.total(),
            float32_by_component,
            float32_by_pass: by_pass(&float32.entries, &float32.prices)?,
            data_dependent: data_dependent.transpose()?,
        })
    }
}

impl DataDependent {
    fn new(prepared: &Prepared, entries: &[Entry], prices: &Prices<'_>) -> Result<Self, Error> {
        let program = &prepared.program;
        let mut by_pass = BTreeMap::new();
        for pass in Pass::ALL {
            let of_pass =
                entries.iter().filter(|entry| program.command_of(entry.run.write).pass == pass);
            by_pass.insert(pass, dependence::energy(of_pass, prices)?.total());
        }
        let by_component = dependence::energy(entries, prices)?;
        Ok(Self { total: by_component.total(), by_component, by_pass })
    }
}

impl TrainingCost {
    /// Of a run that took `total`.
    pub(super) fn new(
        prepared: &Prepared,
        record: &Record,
        entries: &[Entry],
        total: Picojoules,
    ) -> Self {
        let program = &prepared.program;
        let products = entries.iter().filter_map(|entry| match entry.run.work {
            Work::Gemm(shape) => Some((entry, shape)),
            Work::Vector { .. } => None,
        });
        let mut writes = program.all_writes();
        let first = writes.find(|(.., command)| command.operation.product().is_some());
        let first = first.map(|(at, ..)| at);
        let forward = products.clone().filter(|(entry, _)| Some(entry.run.write) == first);
        let samples: u64 = forward.map(|(entry, shape)| entry.calls * shape.m as u64).sum();
        let full_adders = products.map(|(entry, shape)| {
            let gemm = program.command_of(entry.run.write).operation.product()?;
            let [a, b] =
                [gemm.a, gemm.b].map(|operand| program.tensor(operand.tensor).plan.format.bits());
            let sums = (shape.m as u64).checked_mul(shape.n as u64)?.checked_mul(entry.calls)?;
            Complexity::dot_product(shape.k as u64, a, b)?.checked_mul(sums)
        });
        let sum = |sum: u64, adders: Option<u64>| sum.checked_add(adders?);
        let per = |count: f64| Picojoules(if count > 0.0 { total.0 / count } else { 0.0 });
        Self {
            samples,
            per_sample_pj: per(samples as f64),
            per_epoch_pj: per(record.fixed.epochs.len() as f64),
            full_adders: full_adders.into_iter().try_fold(0, sum),
        }
    }
}
