//! A profile as its JSON has it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::figure::{Certainty, EnergyUnit, Figure, Unit, check_source};
use super::sram::Cell;

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

impl DramKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Hbm2, Self::Lpddr4, Self::Lpddr3, Self::Ddr4, Self::Ddr3, Self::Gddr5];

    /// The kind's name in the files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hbm2 => "hbm2",
            Self::Lpddr4 => "lpddr4",
            Self::Lpddr3 => "lpddr3",
            Self::Ddr4 => "ddr4",
            Self::Ddr3 => "ddr3",
            Self::Gddr5 => "gddr5",
        }
    }
}

/// Format of a floating-point unit.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum FloatFormat {
    /// IEEE 754 binary32, the default.
    #[default]
    Float32,
    /// The upper half of binary32: 8 bits of exponent, 7 of fraction.
    Bfloat16,
    /// IEEE 754 binary16.
    Float16,
}

impl FloatFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Float32, Self::Bfloat16, Self::Float16];

    /// Bits of a number.
    pub fn bits(self) -> u32 {
        match self {
            Self::Float32 => 32,
            Self::Bfloat16 | Self::Float16 => 16,
        }
    }

    /// Bits of its significand, the leading one included.
    pub fn significand_bits(self) -> u32 {
        match self {
            Self::Float32 => 24,
            Self::Bfloat16 => 8,
            Self::Float16 => 11,
        }
    }

    /// The format's name in the files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Bfloat16 => "bfloat16",
            Self::Float16 => "float16",
        }
    }
}

impl fmt::Display for FloatFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A table of synthesized circuits that is embedded in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum SynthesisName {
    /// `models/energy/mac_45nm.json`.
    #[serde(rename = "mac_45nm")]
    Mac45nm,
}

/// A table of scratchpads that is embedded in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum SramName {
    /// `models/energy/sram_cacti.json`.
    #[serde(rename = "sram_cacti")]
    Cacti,
}

macro_rules! group {
    ($(#[$doc:meta])* $name:ident { $($(#[$key:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name { $($(#[$key])* pub(crate) $field: $type,)* }
    };
}

/// Either an equation in the width, or a table of circuits that were synthesized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rule<T> {
    /// Parameters of the equation.
    Law(T),
    /// The table.
    Table(SynthesisFigures),
}

/// What prices scratchpads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ScratchpadFigures {
    /// A table of macros by size and width.
    Table(SramFigures),
    /// The same for every bit of a row, whatever the size.
    Flat(FlatFigures),
}

group! {
    /// A whole profile.
    Figures {
        name: String,
        about: String,
        /// What all energies are multiples of.
        #[serde(default)]
        unit: EnergyUnit,
        /// The node that the figures, which are of 45 nm, are scaled to: 7 to 130 nm.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scaled_to_nm: Option<f64>,
        /// Whether energies from tables of synthesized circuits include glitches.
        #[serde(default)]
        glitches: bool,
        node: Figure,
        supply: Figure,
        clock: Figure,
        multiplier: Rule<MultiplierFigures>,
        adder: Rule<LineFigures>,
        kappa: Figure,
        register: RegisterFigures,
        clock_tree: Figure,
        wire: WireFigures,
        requantizer: RequantizerFigures,
        lfsr32: Figure,
        relu: Figure,
        maximum: Figure,
        float32: FloatFigures,
        bfloat16: FloatFigures,
        float16: FloatFigures,
        scratchpad: ScratchpadFigures,
        dram: DramFigures,
        area: AreaFigures,
        leakage: Figure,
    }
}
group! {
    /// Law of the multiplier.
    MultiplierFigures { alpha: Figure, beta: Figure, gamma: Figure, lambda2: Figure, lambda3: Figure, }
}
group! {
    /// Linear in the width.
    LineFigures { slope: Figure, intercept: Figure, }
}
group! {
    /// A table of synthesized circuits.
    SynthesisFigures { name: SynthesisName, certainty: Certainty, source: String, }
}
group! {
    /// A flip-flop, before kappa.
    RegisterFigures { clock: Figure, data: Figure, }
}
group! {
    /// A wire from a PE to the next.
    WireFigures { per_bit: Figure, per_bit_um: Figure, }
}
group! {
    /// Rounding and fitting into a format; energies are before kappa.
    RequantizerFigures { nearest: Figure, stochastic: Figure, barrel: Figure, }
}
group! {
    /// A floating-point unit.
    FloatFigures { multiply: Figure, add: Figure, }
}
group! {
    /// Which table prices scratchpads.
    SramFigures { name: SramName, cell: Cell, certainty: Certainty, source: String, }
}
group! {
    /// A scratchpad of any size.
    FlatFigures { bit: Figure, leakage: Figure, area: Figure, }
}
group! {
    /// Kinds of DRAM.
    DramFigures { hbm2: ChannelFigures, lpddr4: ChannelFigures, lpddr3: ChannelFigures, ddr4: ChannelFigures, ddr3: ChannelFigures, gddr5: ChannelFigures, }
}
group! {
    /// One kind of DRAM: a bit, the activation of a row, and bytes of a row.
    ChannelFigures { bit: Figure, activate: Figure, row: Figure, }
}
group! {
    /// Areas of circuits.
    AreaFigures {
        multiplier: Rule<ProductFigures>,
        adder: Rule<LineFigures>,
        register: Figure,
        requantizer: RequantizerFigures,
        lfsr32: Figure,
        relu: Figure,
        maximum: Figure,
        float32: FloatFigures,
        bfloat16: FloatFigures,
        float16: FloatFigures,
    }
}
group! {
    /// Area of a multiplier, by the product and by the mean of its widths.
    ProductFigures { product: Figure, mean: Figure, }
}

macro_rules! by_format {
    ($group:ident) => {
        impl $group {
            /// The figures of a floating-point unit.
            pub(crate) fn float(&self, format: FloatFormat) -> &FloatFigures {
                match format {
                    FloatFormat::Float32 => &self.float32,
                    FloatFormat::Bfloat16 => &self.bfloat16,
                    FloatFormat::Float16 => &self.float16,
                }
            }
        }
    };
}

by_format!(Figures);
by_format!(AreaFigures);

impl DramFigures {
    /// As [`Figures::rows`].
    fn push_rows<'a>(&'a self, rows: &mut Vec<(&'static str, &'a Figure, Unit)>) {
        use Unit::*;
        macro_rules! channel {
            ($kind:ident) => {
                rows.extend([
                    (concat!("dram.", stringify!($kind), ".bit"), &self.$kind.bit, PicojoulePerBit),
                    (
                        concat!("dram.", stringify!($kind), ".activate"),
                        &self.$kind.activate,
                        Picojoule,
                    ),
                    (concat!("dram.", stringify!($kind), ".row"), &self.$kind.row, Byte),
                ])
            };
        }
        channel!(hbm2);
        channel!(lpddr4);
        channel!(lpddr3);
        channel!(ddr4);
        channel!(ddr3);
        channel!(gddr5);
    }

    /// The figures of one kind.
    pub(crate) fn of(&self, kind: DramKind) -> &ChannelFigures {
        match kind {
            DramKind::Hbm2 => &self.hbm2,
            DramKind::Lpddr4 => &self.lpddr4,
            DramKind::Lpddr3 => &self.lpddr3,
            DramKind::Ddr4 => &self.ddr4,
            DramKind::Ddr3 => &self.ddr3,
            DramKind::Gddr5 => &self.gddr5,
        }
    }
}

impl Figures {
    /// Every figure with its path and the unit of its law, in the order of the file.
    pub(crate) fn rows(&self) -> Vec<(&'static str, &Figure, Unit)> {
        use Unit::*;
        let Self { register, wire, requantizer, float32, bfloat16, float16, dram, area, .. } = self;
        let mut rows = vec![
            ("node", &self.node, Nanometre),
            ("supply", &self.supply, Volt),
            ("clock", &self.clock, Megahertz),
        ];
        if let Rule::Law(law) = &self.multiplier {
            rows.extend([
                ("multiplier.law.alpha", &law.alpha, PicojoulePerBitSquared),
                ("multiplier.law.beta", &law.beta, PicojoulePerBit),
                ("multiplier.law.gamma", &law.gamma, Ratio),
                ("multiplier.law.lambda2", &law.lambda2, Ratio),
                ("multiplier.law.lambda3", &law.lambda3, Ratio),
            ]);
        }
        if let Rule::Law(law) = &self.adder {
            rows.extend([
                ("adder.law.slope", &law.slope, PicojoulePerBit),
                ("adder.law.intercept", &law.intercept, Picojoule),
            ]);
        }
        rows.extend([
            ("kappa", &self.kappa, Ratio),
            ("register.clock", &register.clock, PicojoulePerBit),
            ("register.data", &register.data, PicojoulePerBit),
            ("clock_tree", &self.clock_tree, Ratio),
            ("wire.per_bit", &wire.per_bit, PicojoulePerBit),
            ("wire.per_bit_um", &wire.per_bit_um, PicojoulePerBitMicrometre),
            ("requantizer.nearest", &requantizer.nearest, PicojoulePerBit),
            ("requantizer.stochastic", &requantizer.stochastic, PicojoulePerBit),
            ("requantizer.barrel", &requantizer.barrel, PicojoulePerBit),
            ("lfsr32", &self.lfsr32, Picojoule),
            ("relu", &self.relu, PicojoulePerBit),
            ("maximum", &self.maximum, PicojoulePerBit),
            ("float32.multiply", &float32.multiply, Picojoule),
            ("float32.add", &float32.add, Picojoule),
            ("bfloat16.multiply", &bfloat16.multiply, Picojoule),
            ("bfloat16.add", &bfloat16.add, Picojoule),
            ("float16.multiply", &float16.multiply, Picojoule),
            ("float16.add", &float16.add, Picojoule),
        ]);
        if let ScratchpadFigures::Flat(flat) = &self.scratchpad {
            rows.extend([
                ("scratchpad.flat.bit", &flat.bit, PicojoulePerBit),
                ("scratchpad.flat.leakage", &flat.leakage, NanowattPerByte),
                ("scratchpad.flat.area", &flat.area, SquareMicrometrePerByte),
            ]);
        }
        dram.push_rows(&mut rows);
        area.push_rows(&mut rows);
        rows.push(("leakage", &self.leakage, NanowattPerSquareMicrometre));
        rows
    }

    /// Whether an energy is taken from a table of synthesized circuits.
    fn is_synthesized(&self) -> bool {
        matches!(self.multiplier, Rule::Table(_)) || matches!(self.adder, Rule::Table(_))
    }

    /// Checks units, signs, ranges and sources.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.name.trim().is_empty() {
            return Err(Error::Name);
        }
        let slope = |rule: &Rule<LineFigures>| match rule {
            Rule::Law(law) => Some(law.slope.value),
            Rule::Table(_) => None,
        };
        for (path, figure, unit) in self.rows() {
            let intercept_of = match path {
                "adder.law.intercept" => slope(&self.adder),
                "area.adder.law.intercept" => slope(&self.area.adder),
                _ => None,
            };
            figure.check(path, unit.with_energy(self.unit), intercept_of)?;
        }
        for (path, table) in [
            ("multiplier.table", self.multiplier.table()),
            ("adder.table", self.adder.table()),
            ("area.multiplier.table", self.area.multiplier.table()),
            ("area.adder.table", self.area.adder.table()),
        ] {
            check_source(path, table.map_or("none", |table| &table.source))?;
        }
        if let ScratchpadFigures::Table(table) = &self.scratchpad {
            check_source("scratchpad.table", &table.source)?;
        }
        if self.unit == EnergyUnit::Mac16 && self.is_priced_by_tables() {
            return Err(Error::TableUnit { unit: self.unit });
        }
        if self.glitches && !self.is_synthesized() {
            return Err(Error::Glitches);
        }
        Ok(())
    }

    fn is_priced_by_tables(&self) -> bool {
        self.is_synthesized() || matches!(self.scratchpad, ScratchpadFigures::Table(_))
    }
}

impl<T> Rule<T> {
    /// The table, if it is one.
    pub(crate) fn table(&self) -> Option<&SynthesisFigures> {
        match self {
            Rule::Law(_) => None,
            Rule::Table(table) => Some(table),
        }
    }
}

impl AreaFigures {
    /// As [`Figures::rows`].
    fn push_rows<'a>(&'a self, rows: &mut Vec<(&'static str, &'a Figure, Unit)>) {
        use Unit::*;
        let Self { requantizer, float32, bfloat16, float16, .. } = self;
        if let Rule::Law(law) = &self.multiplier {
            rows.extend([
                ("area.multiplier.law.product", &law.product, SquareMicrometrePerBitSquared),
                ("area.multiplier.law.mean", &law.mean, SquareMicrometrePerBit),
            ]);
        }
        if let Rule::Law(law) = &self.adder {
            rows.extend([
                ("area.adder.law.slope", &law.slope, SquareMicrometrePerBit),
                ("area.adder.law.intercept", &law.intercept, SquareMicrometre),
            ]);
        }
        rows.extend([
            ("area.register", &self.register, SquareMicrometrePerBit),
            ("area.requantizer.nearest", &requantizer.nearest, SquareMicrometrePerBit),
            ("area.requantizer.stochastic", &requantizer.stochastic, SquareMicrometrePerBit),
            ("area.requantizer.barrel", &requantizer.barrel, SquareMicrometrePerBit),
            ("area.lfsr32", &self.lfsr32, SquareMicrometre),
            ("area.relu", &self.relu, SquareMicrometrePerBit),
            ("area.maximum", &self.maximum, SquareMicrometrePerBit),
            ("area.float32.multiply", &float32.multiply, SquareMicrometre),
            ("area.float32.add", &float32.add, SquareMicrometre),
            ("area.bfloat16.multiply", &bfloat16.multiply, SquareMicrometre),
            ("area.bfloat16.add", &bfloat16.add, SquareMicrometre),
            ("area.float16.multiply", &float16.multiply, SquareMicrometre),
            ("area.float16.add", &float16.add, SquareMicrometre),
        ]);
    }
}
