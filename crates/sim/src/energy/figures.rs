//! The figures of a profile as its JSON has them: every number with unit, source and certainty.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::sram::Cell;

/// A number, what it measures, where it comes from, and how sure it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The number, in `unit`.
    pub value: f64,
    /// The unit; each figure has one that its law needs.
    pub unit: Unit,
    /// Lowest and highest value found in the sources, where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// How sure it is.
    pub certainty: Certainty,
    /// Publication, tool and settings it comes from.
    pub source: String,
}

/// Unit of a [`Figure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Unit {
    /// Picojoules per event.
    #[serde(rename = "pJ")]
    Picojoule,
    /// Picojoules per event and bit of width.
    #[serde(rename = "pJ/bit")]
    PicojoulePerBit,
    /// Picojoules per event and product of two widths.
    #[serde(rename = "pJ/bit^2")]
    PicojoulePerBitSquared,
    /// A pure number.
    #[serde(rename = "ratio")]
    Ratio,
    /// Nanometres.
    #[serde(rename = "nm")]
    Nanometre,
    /// Volts.
    #[serde(rename = "V")]
    Volt,
    /// Megahertz.
    #[serde(rename = "MHz")]
    Megahertz,
}

impl fmt::Display for Unit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Unit::Picojoule => "pJ",
            Unit::PicojoulePerBit => "pJ/bit",
            Unit::PicojoulePerBitSquared => "pJ/bit^2",
            Unit::Ratio => "ratio",
            Unit::Nanometre => "nm",
            Unit::Volt => "V",
            Unit::Megahertz => "MHz",
        })
    }
}

/// How sure a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Read at the source, or two transcriptions agree.
    High,
    /// Recalled from the publication it cites.
    Medium,
    /// Computed or measured with the tools its source names.
    Derived,
    /// Chosen without a source.
    Assumed,
}

/// Kind of DRAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DramKind {
    /// Second-generation high-bandwidth memory.
    Hbm2,
    /// Low-power DDR4, the default.
    #[default]
    Lpddr4,
    /// Low-power DDR3.
    Lpddr3,
    /// DDR4.
    Ddr4,
    /// DDR3.
    Ddr3,
    /// Graphics DDR5.
    Gddr5,
}

/// A table of scratchpads that is embedded in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TableName {
    /// `models/energy/sram_45nm.json`.
    #[serde(rename = "sram_45nm")]
    Sram45nm,
}

macro_rules! group {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name { $(pub(super) $field: $type,)* }
    };
}

group! {
    /// A whole profile.
    Figures {
        name: String,
        about: String,
        node: Figure,
        supply: Figure,
        clock: Figure,
        multiplier: MultiplierFigures,
        adder: AdderFigures,
        kappa: Figure,
        register: RegisterFigures,
        requantizer: RequantizerFigures,
        lfsr32: Figure,
        relu: Figure,
        maximum: Figure,
        float32: FloatFigures,
        float16: FloatFigures,
        scratchpad: ScratchpadFigures,
        dram: DramFigures,
    }
}
group! {
    /// Law of the multiplier.
    MultiplierFigures { alpha: Figure, beta: Figure, gamma: Figure, lambda2: Figure, lambda3: Figure, }
}
group! {
    /// Law of the adder.
    AdderFigures { slope: Figure, intercept: Figure, }
}
group! {
    /// A flip-flop, before kappa.
    RegisterFigures { clock: Figure, data: Figure, }
}
group! {
    /// Rounding and fitting into a format, before kappa.
    RequantizerFigures { nearest: Figure, stochastic: Figure, barrel: Figure, }
}
group! {
    /// A floating-point unit.
    FloatFigures { multiply: Figure, add: Figure, }
}
group! {
    /// Which table prices scratchpads.
    ScratchpadFigures { table: TableName, cell: Cell, certainty: Certainty, source: String, }
}
group! {
    /// One bit to or from DRAM.
    DramFigures { hbm2: Figure, lpddr4: Figure, lpddr3: Figure, ddr4: Figure, ddr3: Figure, gddr5: Figure, }
}

impl Figures {
    /// Every figure with its path and the unit of its law, in the order of the file.
    pub(super) fn rows(&self) -> Vec<(&'static str, &Figure, Unit)> {
        use Unit::*;
        let Self { multiplier, adder, register, requantizer, float32, float16, dram, .. } = self;
        vec![
            ("node", &self.node, Nanometre),
            ("supply", &self.supply, Volt),
            ("clock", &self.clock, Megahertz),
            ("multiplier.alpha", &multiplier.alpha, PicojoulePerBitSquared),
            ("multiplier.beta", &multiplier.beta, PicojoulePerBit),
            ("multiplier.gamma", &multiplier.gamma, Ratio),
            ("multiplier.lambda2", &multiplier.lambda2, Ratio),
            ("multiplier.lambda3", &multiplier.lambda3, Ratio),
            ("adder.slope", &adder.slope, PicojoulePerBit),
            ("adder.intercept", &adder.intercept, Picojoule),
            ("kappa", &self.kappa, Ratio),
            ("register.clock", &register.clock, PicojoulePerBit),
            ("register.data", &register.data, PicojoulePerBit),
            ("requantizer.nearest", &requantizer.nearest, PicojoulePerBit),
            ("requantizer.stochastic", &requantizer.stochastic, PicojoulePerBit),
            ("requantizer.barrel", &requantizer.barrel, PicojoulePerBit),
            ("lfsr32", &self.lfsr32, Picojoule),
            ("relu", &self.relu, PicojoulePerBit),
            ("maximum", &self.maximum, PicojoulePerBit),
            ("float32.multiply", &float32.multiply, Picojoule),
            ("float32.add", &float32.add, Picojoule),
            ("float16.multiply", &float16.multiply, Picojoule),
            ("float16.add", &float16.add, Picojoule),
            ("dram.hbm2", &dram.hbm2, PicojoulePerBit),
            ("dram.lpddr4", &dram.lpddr4, PicojoulePerBit),
            ("dram.lpddr3", &dram.lpddr3, PicojoulePerBit),
            ("dram.ddr4", &dram.ddr4, PicojoulePerBit),
            ("dram.ddr3", &dram.ddr3, PicojoulePerBit),
            ("dram.gddr5", &dram.gddr5, PicojoulePerBit),
        ]
    }

    /// Checks units, signs, ranges and sources.
    ///
    /// The adder's intercept alone may be negative (gate-level fits have one), as long as one bit
    /// costs no less than nothing.
    pub(super) fn check(&self) -> Result<(), Error> {
        for (path, figure, expected) in self.rows() {
            let Figure { value, unit, range, source, .. } = figure;
            let value = *value;
            if *unit != expected {
                return Err(Error::Unit { path, found: *unit, expected });
            }
            if source.trim().is_empty() {
                return Err(Error::Source { path });
            }
            if path == "adder.intercept" {
                if !(value.is_finite() && value >= -self.adder.slope.value) {
                    let expected = "a finite number, at least minus adder.slope";
                    return Err(Error::Value { path, value, expected });
                }
            } else if matches!(unit, Unit::Nanometre | Unit::Volt | Unit::Megahertz)
                || path == "kappa"
            {
                if !(value.is_finite() && value > 0.0) {
                    return Err(Error::Value { path, value, expected: "a finite number above 0" });
                }
            } else if !(value.is_finite() && value >= 0.0) {
                return Err(Error::Value { path, value, expected: "a finite number, at least 0" });
            }
            if let Some([low, high]) = *range
                && !(low <= value && value <= high)
            {
                return Err(Error::Range { path, value, low, high });
            }
        }
        if self.scratchpad.source.trim().is_empty() {
            return Err(Error::Source { path: "scratchpad" });
        }
        Ok(())
    }
}
