//! What the saved bits are worth: the same program on float hardware, and how sure the ratios are.
//!
//! Ratios of one profile are good to about 15 %, and profiles differ
//! by more than that: a ratio is given with its span over all of them, each with both kinds of SRAM. Those with
//! and without glitches in the multipliers are two.
//!
//! Float hardware is charged with the published energies of its operations. The registers inside a
//! pipelined float adder and the cycles until it is done are not: each PE is taken to add once per cycle, as
//! interleaved sums would let it. So it is, if anything, flattered.

use std::collections::BTreeMap;

use serde::Serialize;
use systoliq_array::{Array, SIDE_MAX};

use systoliq_energy::{Cell, FloatFormat, Picojoules, Profile};
use systoliq_hardware::buffer::BufferReport;
use systoliq_hardware::efficiency::HardwareReport;
use systoliq_hardware::{cost::Arithmetic, cost::Costs};
use systoliq_hardware::{events::Component, events::EnergyByComponent};
use systoliq_run::{Error, Prepared};
use systoliq_run::{timeline::Timeline, timeline::Totals};

/// What float hardware has the same of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Equal {
    /// As many rows and columns of PEs.
    Array,
    /// As many PEs as fit, with their edge and vector unit, the area of the fixed-point ones with theirs; at
    /// least one.
    Area,
}

/// The same program on float hardware.
#[derive(Clone, Debug, Serialize)]
pub struct FloatHardware {
    /// What products are made of; sums of bfloat16 are float32.
    pub format: FloatFormat,
    /// What master weights are made of: `format`, or float32 beside weights of `format`.
    pub master: FloatFormat,
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
    /// What lives in its global buffer, if there is one: as many bytes, laid out for its widths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<BufferReport>,
}

/// What a run takes in fixed point, and everything it is compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Savings {
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
    /// The least and the most with any profile that can price the machine, the own one included.
    pub between: Option<[f64; 2]>,
    /// With each of these profiles, and with the other kind of SRAM; `own` is that of the experiment, at its
    /// node.
    pub by_profile: BTreeMap<String, f64>,
}

/// A name, and whether a component belongs to what it names.
type MachinePart = (&'static str, fn(Component) -> bool);

/// Parts of the machine that are compared.
const PARTS: [MachinePart; 5] = [
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

/// Products and master weights of float hardware.
const FORMATS: [[FloatFormat; 2]; 5] = {
    use FloatFormat::{Bfloat16, Float16, Float32};
    [
        [Float32, Float32],
        [Bfloat16, Bfloat16],
        [Bfloat16, Float32],
        [Float16, Float16],
        [Float16, Float32],
    ]
};

impl Savings {
    /// Of everything in a timeline, from what commands take on the machine at hand and on float32
    /// hardware.
    ///
    /// # Errors
    ///
    /// If a count leaves 64 bits, or an event has no price.
    pub fn new(
        prepared: &Prepared,
        timeline: &Timeline,
        [on_fixed, on_float32]: [&Costs<'_>; 2],
    ) -> Result<Self, Error> {
        let totals = |costs| Ok::<_, Error>(Totals::of(&timeline.entries(costs)?));
        let (fixed, float32) = (totals(on_fixed)?, totals(on_float32)?);
        let accelerator = &prepared.experiment.accelerator;
        let own = accelerator.profile()?;
        let priced = |profile: &Profile| {
            let energy = |totals: &Totals, costs| {
                let prices = prepared.prices_by(profile.clone(), costs)?;
                Ok::<_, Error>(totals.tally.energy(&prices)?)
            };
            let fixed = energy(&fixed, on_fixed)?;
            Ok::<_, Error>((fixed, energy(&float32, on_float32)?))
        };
        let (fixed_energy, float32_energy) = priced(&own)?;
        let mut by_profile = vec![("own".to_owned(), fixed_energy, float32_energy)];
        let named = Profile::NAMES.iter().filter_map(|name| Profile::named(name));
        let named = named.map(|profile| (profile.name().to_owned(), profile));
        for (name, profile) in [("own".to_owned(), own)].into_iter().chain(named) {
            let others = Cell::ALL.into_iter().filter(|&cell| profile.cell() != Some(cell));
            let others = others.filter_map(|cell| {
                let profile = profile.clone().with_cell(cell).ok()?;
                Some((format!("{name}, {}", cell.name()), profile))
            });
            let itself = (name != "own").then(|| (name.clone(), profile.clone()));
            for (name, profile) in itself.into_iter().chain(others) {
                // Not every profile knows scratchpads of every size.
                if let Ok((fixed, float32)) = priced(&profile) {
                    by_profile.push((name, fixed, float32));
                }
            }
        }
        let own = by_profile[0].1.total();
        let ratio = |(of, is_part): MachinePart| {
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
        for formats in FORMATS {
            for equal in [Equal::Array, Equal::Area] {
                let cycles = fixed.cycles.total().0;
                let hardware = FloatHardware::new(prepared, timeline, on_fixed, formats, equal);
                float_hardware.push(hardware?.against(own, cycles));
            }
        }
        Ok(Self { ratios: PARTS.into_iter().map(ratio).collect(), float_hardware })
    }
}

impl FloatHardware {
    fn new(
        prepared: &Prepared,
        timeline: &Timeline,
        on_fixed: &Costs<'_>,
        [format, master]: [FloatFormat; 2],
        equal: Equal,
    ) -> Result<Self, Error> {
        let arithmetic = match format == master {
            true => Arithmetic::Float(format),
            false => Arithmetic::Mixed(format),
        };
        let mut prepared = prepared.clone();
        let profile = prepared.experiment.accelerator.profile()?;
        if equal == Equal::Area {
            let area = prepared.prices_by(profile.clone(), on_fixed)?.silicon().logic_um2();
            let costs = prepared.costs(arithmetic, on_fixed.batches);
            let float = prepared.prices_by(profile.clone(), &costs)?.silicon().clone();
            let array = &mut prepared.experiment.accelerator.array;
            *array = largest(array, |array| float.logic_um2_on(array) <= area);
        }
        let costs = prepared.costs(arithmetic, on_fixed.batches);
        let totals = Totals::of(&timeline.entries(&costs)?);
        let prices = prepared.prices_by(profile, &costs)?;
        let by_component = totals.tally.energy(&prices)?;
        let (cycles, energy_pj) = (totals.cycles.total().0, by_component.total());
        let accelerator = &prepared.experiment.accelerator;
        let macs = totals.counts.macs;
        Ok(Self {
            format,
            master,
            equal,
            rows: accelerator.array.rows,
            cols: accelerator.array.cols,
            cycles,
            energy_pj,
            by_component,
            energy_ratio: 0.0,
            cycles_ratio: 0.0,
            hardware: HardwareReport::new(accelerator, &prices, macs, cycles, energy_pj)?,
            buffer: BufferReport::new(&costs),
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

/// Of the arrays that fit, one with the most PEs; of those with nine tenths as many, the one whose sides
/// are to each other most like those of `array`. One PE if none fits.
fn largest(array: &Array, fits: impl Fn(&Array) -> bool) -> Array {
    let sized = |rows: usize, cols: usize| Array { rows, cols, ..*array };
    let widest = |rows: usize| {
        let (mut fitting, mut beyond) = (0, SIDE_MAX + 1);
        while fitting + 1 < beyond {
            let middle = usize::midpoint(fitting, beyond);
            if fits(&sized(rows, middle)) { fitting = middle } else { beyond = middle }
        }
        fitting
    };
    let widest: Vec<usize> = (1..=SIDE_MAX).map(widest).take_while(|&cols| cols > 0).collect();
    let most = (1..).zip(&widest).map(|(rows, cols)| rows * cols).max().unwrap_or(1);
    let unlike = |&(rows, cols): &(usize, usize)| {
        let (ours, theirs) = (rows * array.cols, cols * array.rows);
        ours.max(theirs) as f64 / ours.min(theirs) as f64
    };
    let shapes = (1..).zip(&widest).flat_map(|(rows, &cols)| {
        let fewest = (9 * most).div_ceil(10 * rows).max(1);
        (fewest..=cols).map(move |cols| (rows, cols))
    });
    let better = |a: &(usize, usize), b: &(usize, usize)| {
        unlike(a).total_cmp(&unlike(b)).then((b.0 * b.1).cmp(&(a.0 * a.1)))
    };
    let (rows, cols) = shapes.min_by(better).unwrap_or((1, 1));
    sized(rows, cols)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_less_area_fill_it_and_keep_their_shape() {
        for (rows, cols) in [(8, 8), (16, 16), (4, 16), (1, 1), (3, 5)] {
            let array = Array::new(rows, cols).unwrap();
            for pes in 1..=(rows * cols) as u64 {
                let found = largest(&array, |array| array.pes() <= pes);
                let case = format!("{rows} x {cols}, {pes} PEs: {found:?}");
                assert!(found.pes() <= pes && 10 * found.pes() >= 9 * pes, "{case}");
            }
            let whole = largest(&array, |array| array.pes() <= (rows * cols) as u64);
            assert_eq!((whole.rows, whole.cols), (rows, cols));
            assert_eq!(largest(&array, |_| false).pes(), 1);
            assert!(10 * largest(&array, |_| true).pes() >= 9 << 20);
        }
    }
}
