//! What the saved bits are worth: the same program on float hardware, and how sure the ratios are.
//!
//! Ratios of one profile are good to about 15 %, absolute energies to a factor of 2, and profiles differ
//! by more than that: a ratio is given with its span over all of them. Those with and without glitches
//! in the multipliers are two.
//!
//! Float hardware is charged with the published energies of its operations. The registers inside a
//! pipelined float adder and the cycles until it is done are not: each PE is taken to add once per cycle, as
//! interleaved sums would let it. So it is, if anything, flattered.

use std::collections::BTreeMap;

use serde::Serialize;
use systoliq_array::{Array, SIDE_MAX};

use crate::cost::Arithmetic;
use crate::energy::{FloatFormat, Picojoules, Profile};
use crate::events::{Component, EnergyByComponent};
use crate::hardware::HardwareReport;
use crate::timeline::{Timeline, Totals};
use crate::{Error, Prepared};

/// What float hardware has the same of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Equal {
    /// As many rows and columns of PEs.
    Array,
    /// As many PEs as fit the area of the fixed-point ones, at least one.
    Area,
}

/// The same program on float hardware.
#[derive(Clone, Debug, Serialize)]
pub struct FloatHardware {
    /// What products are made of; sums of bfloat16 are float32.
    pub format: FloatFormat,
    /// What it has the same of.
    pub equal: Equal,
    /// Rows of PEs.
    pub rows: usize,
    /// Columns of PEs.
    pub cols: usize,
    /// Clock cycles.
    pub cycles: u64,
    /// Energy.
    pub energy_pj: Picojoules,
    /// The same by component.
    pub by_component: EnergyByComponent,
    /// Its energy over that in fixed point.
    pub energy_ratio: f64,
    /// Its cycles over those in fixed point.
    pub cycles_ratio: f64,
    /// Area, peak and efficiency.
    pub hardware: HardwareReport,
}

/// What a run takes in fixed point, and everything it is compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Savings {
    /// Half and twice the total: absolute energies are no surer.
    pub total_pj_between: [Picojoules; 2],
    /// float32 over fixed, at equal arrays.
    pub ratios: Vec<Ratio>,
    /// Each float format, at equal arrays and at equal areas.
    pub float_hardware: Vec<FloatHardware>,
}

/// float32 over fixed.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// What of the energy: `total`, `multiplier`, `array`, `memory` or `on_chip`.
    pub of: &'static str,
    /// With the experiment's own profile; nothing where fixed point takes none.
    pub value: Option<f64>,
    /// The least and the most with any profile, the own one included.
    pub between: Option<[f64; 2]>,
    /// With each profile.
    pub by_profile: BTreeMap<String, f64>,
}

/// A name, and whether a component belongs to what it names.
type Part = (&'static str, fn(Component) -> bool);

/// Parts of the machine that are compared.
const PARTS: [Part; 5] = [
    ("total", |_| true),
    ("multiplier", |part| part == Component::Multiplier),
    ("array", |part| {
        matches!(
            part,
            Component::Multiplier
                | Component::Adder
                | Component::Registers
                | Component::Wires
                | Component::ClockTree
        )
    }),
    ("memory", |part| matches!(part, Component::Scratchpad | Component::Dram)),
    ("on_chip", |part| part != Component::Dram),
];

impl Savings {
    /// Of everything in a timeline.
    ///
    /// # Errors
    ///
    /// If a count leaves 64 bits, or an event has no price.
    pub fn new(prepared: &Prepared, timeline: &Timeline) -> Result<Self, Error> {
        let totals =
            |arithmetic| Ok::<_, Error>(Totals::of(&timeline.entries(prepared, arithmetic)?));
        let (fixed, float32) = (totals(Arithmetic::Fixed)?, totals(Arithmetic::FLOAT32)?);
        let own = prepared.experiment.accelerator.profile()?;
        let mut profiles = vec![own.clone()];
        let others = Profile::NAMES.iter().filter_map(|name| Profile::named(name));
        profiles.extend(others.filter(|other| *other != own));
        let mut by_profile = Vec::new();
        for profile in profiles {
            let name = format!("{} at {} nm", profile.name(), profile.node_nm());
            let energy = |totals: &Totals, arithmetic| {
                totals.tally.energy(&prepared.prices_by(profile.clone(), arithmetic)?)
            };
            let fixed = energy(&fixed, Arithmetic::Fixed)?;
            by_profile.push((name, fixed, energy(&float32, Arithmetic::FLOAT32)?));
        }
        let own = by_profile[0].1.total();
        let ratio = |(of, is_part): Part| {
            let sum = |energy: &EnergyByComponent| -> f64 {
                let parts = Component::ALL.into_iter().filter(|&part| is_part(part));
                parts.map(|part| energy.of(part).0).sum()
            };
            let ratios = by_profile.iter().filter(|(_, fixed, _)| sum(fixed) > 0.0);
            let ratios: Vec<(String, f64)> = ratios
                .map(|(name, fixed, float32)| (name.clone(), sum(float32) / sum(fixed)))
                .collect();
            let value = (sum(&by_profile[0].1) > 0.0).then(|| ratios[0].1);
            let ends = |(low, high): (f64, f64), ratio: f64| (low.min(ratio), high.max(ratio));
            let (low, high) = ratios
                .iter()
                .map(|(_, ratio)| *ratio)
                .fold((f64::INFINITY, f64::NEG_INFINITY), ends);
            let between = (!ratios.is_empty()).then_some([low, high]);
            Ratio { of, value, between, by_profile: ratios.into_iter().collect() }
        };
        let mut float_hardware = Vec::new();
        for format in FloatFormat::ALL {
            for equal in [Equal::Array, Equal::Area] {
                let cycles = fixed.cycles.total().0;
                let hardware = FloatHardware::new(prepared, timeline, format, equal);
                float_hardware.push(hardware?.against(own, cycles));
            }
        }
        Ok(Self {
            total_pj_between: [Picojoules(own.0 / 2.0), Picojoules(own.0 * 2.0)],
            ratios: PARTS.into_iter().map(ratio).collect(),
            float_hardware,
        })
    }
}

impl FloatHardware {
    fn new(
        prepared: &Prepared,
        timeline: &Timeline,
        format: FloatFormat,
        equal: Equal,
    ) -> Result<Self, Error> {
        let arithmetic = Arithmetic::Float(format);
        let fixed = prepared.prices(Arithmetic::Fixed)?;
        let pe = prepared.prices(arithmetic)?.silicon().pe_um2;
        let mut prepared = prepared.clone();
        let accelerator = &mut prepared.experiment.accelerator;
        if equal == Equal::Area {
            accelerator.array = within(&accelerator.array, fixed.silicon().array_um2 / pe);
        }
        let totals = Totals::of(&timeline.entries(&prepared, arithmetic)?);
        let prices = prepared.prices(arithmetic)?;
        let by_component = totals.tally.energy(&prices)?;
        let (cycles, energy_pj) = (totals.cycles.total().0, by_component.total());
        let accelerator = &prepared.experiment.accelerator;
        let macs = totals.counts.macs;
        Ok(Self {
            format,
            equal,
            rows: accelerator.array.rows,
            cols: accelerator.array.cols,
            cycles,
            energy_pj,
            by_component,
            energy_ratio: 0.0,
            cycles_ratio: 0.0,
            hardware: HardwareReport::new(accelerator, &prices, macs, cycles, energy_pj)?,
        })
    }

    fn against(self, energy: Picojoules, cycles: u64) -> Self {
        let over = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        Self {
            energy_ratio: over(self.energy_pj.0, energy.0),
            cycles_ratio: over(self.cycles as f64, cycles as f64),
            ..self
        }
    }
}

/// The largest array of at most so many PEs, whose sides are to each other as those of `array` within a
/// factor of 2 if that is possible; of equally large ones, the one most like it.
fn within(array: &Array, pes: f64) -> Array {
    let pes = (pes as usize).clamp(1, SIDE_MAX * SIDE_MAX);
    let aspect = |rows: usize, cols: usize| (rows * array.cols) as f64 / (cols * array.rows) as f64;
    let unlike = |rows: usize, cols: usize| aspect(rows, cols).max(1.0 / aspect(rows, cols));
    let sides = (1..=pes.min(SIDE_MAX)).map(|rows| (rows, (pes / rows).min(SIDE_MAX)));
    let alike = sides.clone().filter(|&(rows, cols)| unlike(rows, cols) <= 2.0);
    let best = |(rows, cols): (usize, usize), (r, c): (usize, usize)| {
        let better =
            rows * cols > r * c || rows * cols == r * c && unlike(rows, cols) < unlike(r, c);
        if better { (rows, cols) } else { (r, c) }
    };
    let found = alike.reduce(|a, b| best(b, a)).or_else(|| sides.reduce(|a, b| best(b, a)));
    let (rows, cols) = found.expect("one PE is an array");
    Array { rows, cols, ..*array }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_less_area_stay_within_it_and_keep_their_shape() {
        for (rows, cols) in [(8, 8), (16, 16), (4, 16), (1, 1), (3, 5)] {
            let array = Array::new(rows, cols).unwrap();
            for pes in 1..=(rows * cols) {
                let found = within(&array, pes as f64 + 0.5);
                assert!(found.pes() as usize <= pes, "{rows} x {cols}, {pes} PEs: {found:?}");
                assert!(2 * found.pes() as usize > pes, "{rows} x {cols}, {pes} PEs: {found:?}");
            }
            let whole = within(&array, (rows * cols) as f64);
            assert_eq!((whole.rows, whole.cols), (rows, cols));
            assert_eq!(within(&array, 0.2).pes(), 1);
        }
    }
}
