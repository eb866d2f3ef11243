//! Area, peak and efficiency of a machine at some work.

use serde::Serialize;
use systoliq_array::{Array, Stationary};

use crate::prices::Prices;
use crate::silicon::Silicon;
use crate::{Accelerator, Error};
use systoliq_energy::{EnergyUnit, Picojoules};

/// What a machine is, and how well it did its work. An operation is a product or a sum, so that a
/// multiply-accumulate is two.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HardwareReport {
    /// The energy profile.
    pub profile: String,
    /// What it counts energy in: picojoules, or multiply-accumulates of 16 bits.
    pub energy_unit: EnergyUnit,
    /// Its node.
    pub node_nm: f64,
    /// The clock.
    pub clock_mhz: f64,
    /// Areas.
    pub area: Silicon,
    /// All of it.
    pub area_mm2: f64,
    /// Time at this clock.
    pub seconds: f64,
    /// 10^12 operations per second with every PE at work.
    pub peak_tops: f64,
    /// The same as it was.
    pub tops: f64,
    /// 10^12 operations per joule of PEs that are all at work, leakage of theirs included and all else
    /// left out; nothing where energy is not in picojoules. With `auto`, outputs are taken to stay.
    pub peak_tops_per_watt: Option<f64>,
    /// The same of everything, as it was.
    pub tops_per_watt: Option<f64>,
    /// Energy times time, in joule-seconds.
    pub energy_delay_js: Option<f64>,
}

impl HardwareReport {
    /// Of a machine that made `macs` multiply-accumulates in `cycles` cycles with this energy.
    ///
    /// # Errors
    ///
    /// If an event of a PE has no price.
    pub fn new(
        accelerator: &Accelerator,
        prices: &Prices<'_>,
        macs: u64,
        cycles: u64,
        Picojoules(energy_pj): Picojoules,
    ) -> Result<Self, Error> {
        let (profile, silicon) = (prices.profile(), prices.silicon());
        let clock_mhz = accelerator.clock_mhz();
        let seconds = cycles as f64 / (clock_mhz * 1e6);
        let operations = 2.0 * macs as f64;
        let pes = accelerator.array.pes() as f64;
        let stationary = accelerator.array.dataflow.stationary().unwrap_or(Stationary::Output);
        let mac = silicon.mac(stationary).into_iter().map(|event| prices.price(event));
        let mac: Picojoules = mac.collect::<Result<Vec<_>, _>>()?.iter().sum();
        let leak = profile.logic_leakage(silicon.array_um2).over_cycles(1, clock_mhz).0 / pes;
        let is_energy = profile.unit() == EnergyUnit::Picojoule;
        // Operations per picojoule are 10^12 operations per joule.
        let per_watt = |operations: f64, pj: f64| {
            (is_energy && operations > 0.0 && pj > 0.0).then(|| operations / pj)
        };
        Ok(Self {
            profile: profile.name().to_owned(),
            energy_unit: profile.unit(),
            node_nm: profile.node_nm(),
            clock_mhz,
            area: silicon.clone(),
            area_mm2: silicon.total_mm2(),
            seconds,
            peak_tops: peak_tops(&accelerator.array, clock_mhz),
            tops: if seconds > 0.0 { operations / seconds / 1e12 } else { 0.0 },
            peak_tops_per_watt: per_watt(2.0, mac.0 + leak),
            tops_per_watt: per_watt(operations, energy_pj),
            energy_delay_js: is_energy.then_some(energy_pj * 1e-12 * seconds),
        })
    }
}

/// 10^12 operations per second with every PE at work.
///
/// ```
/// use systoliq_array::Array;
/// use systoliq_hardware::efficiency::peak_tops;
/// // 256 x 256 PEs at 700 MHz:
/// assert!((peak_tops(&Array::new(256, 256)?, 700.0) - 91.75).abs() < 0.005);
/// # Ok::<(), systoliq_array::Error>(())
/// ```
pub fn peak_tops(array: &Array, clock_mhz: f64) -> f64 {
    2.0 * array.pes() as f64 * clock_mhz / 1e6
}
