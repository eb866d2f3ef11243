//! A profile: the energy of every event at any width.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Picojoules;
use super::error::Error;
use super::figure::{EnergyUnit, Figure};
use super::figures::{
    DramKind, Figures, FloatFormat, MultiplierFigures, Rule, ScratchpadFigures, SynthesisName,
};
use super::node::{BASE_NM, CircuitOperation, NODE_MAX_NM, NODE_MIN_NM, Scaling, tpuv4i};
use super::scratchpad::ScratchpadPrices;
use super::sram::{Access, Cell, Sram, SramTable};
use super::synthesis::{Column, Synthesis, mac_45nm};

/// The figures of one technology and the laws that carry them to any width.
///
/// A circuit of 0 bits does not exist and costs nothing. Energies are in the profile's
/// [unit](Self::unit), also where they are called [`Picojoules`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Figures", into = "Figures")]
#[schemars(with = "Figures")]
pub struct Profile {
    pub(crate) figures: Figures,
    pub(crate) scratchpads: ScratchpadPrices,
    pub(crate) scaling: Scaling,
}

/// The profile of published operations at 7 nm, which no other node is known of.
const TPUV4I: &str = "tpuv4i-7";

/// One weight's update, as [`Profile::update`] prices it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightUpdate {
    /// Width of the rate's mantissa.
    pub rate_bits: u32,
    /// Width of a weight gradient.
    pub gradient_bits: u32,
    /// Width of a master weight.
    pub master_bits: u32,
    /// Whether the result is rounded stochastically.
    pub stochastic: bool,
    /// Whether the shift varies from step to step, as it does where the gradient's scale does.
    pub barrel: bool,
}

impl TryFrom<Figures> for Profile {
    type Error = Error;

    fn try_from(figures: Figures) -> Result<Self, Error> {
        figures.check()?;
        let own_nm = figures.node.value;
        let scaling = match figures.scaled_to_nm {
            None => Scaling::none(),
            Some(_) if own_nm != BASE_NM => {
                return Err(Error::Base { name: figures.name, node_nm: own_nm });
            }
            Some(found) if !(NODE_MIN_NM..=NODE_MAX_NM).contains(&found) => {
                return Err(Error::Node { found });
            }
            Some(node_nm) => Scaling::to(node_nm),
        };
        let node_nm = figures.scaled_to_nm.unwrap_or(own_nm);
        let scratchpads = ScratchpadPrices::new(&figures.scratchpad, node_nm, scaling)?;
        Ok(Self { figures, scratchpads, scaling })
    }
}

impl From<Profile> for Figures {
    fn from(profile: Profile) -> Self {
        profile.figures
    }
}

impl Profile {
    /// The names that [`named`](Self::named) knows.
    pub const NAMES: [&str; 5] =
        ["horowitz45", "nangate45", "nangate45-glitch", "tpuv4i-7", "eyeriss-rel"];

    /// The default, `models/energy/horowitz45.json`: 45 nm at 0.9 V, exact at the published 8- and
    /// 32-bit operations of Horowitz, "Computing's energy problem", ISSCC 2014; blocks that he does
    /// not list from gate-level synthesis, brought to his scale by kappa.
    pub fn horowitz45() -> Self {
        embedded(include_str!("../../../models/energy/horowitz45.json"))
    }

    /// A profile that is part of the program, if it has this name:
    ///
    /// - `horowitz45`: [the default](Self::horowitz45).
    /// - `nangate45`, `models/energy/nangate45.json`: gate-level synthesis on
    ///   NangateOpenCellLibrary, 45 nm at 1.1 V; multipliers and adders from the table of
    ///   synthesized ones, without glitches. Floating-point units are Horowitz's over kappa.
    /// - `nangate45-glitch`: the same, with the glitches of multipliers and adders whose gates have
    ///   delays and whose timing nobody optimised, which is an upper bound.
    /// - `tpuv4i-7`: `horowitz45` [at 7 nm](Self::at_node), which meets the operations that Jouppi
    ///   et al. published (ISCA 2021, Table 2), at the clock of a TPUv4i.
    /// - `eyeriss-rel`, `models/energy/eyeriss_rel.json`: the relative costs of Chen et al., ISCA
    ///   2016, in multiply-accumulates of 16 bits.
    pub fn named(name: &str) -> Option<Self> {
        let nangate45 = include_str!("../../../models/energy/nangate45.json");
        Some(match name {
            "horowitz45" => Self::horowitz45(),
            "nangate45" => embedded(nangate45),
            "nangate45-glitch" => {
                let mut profile = embedded(nangate45);
                profile.figures.name = name.to_owned();
                profile.figures.glitches = true;
                profile
            }
            TPUV4I => {
                let mut profile = Self::horowitz45().at_node(NODE_MIN_NM).expect("7 nm is known");
                let measured = tpuv4i();
                profile.figures.name.clone_from(&measured.name);
                profile.figures.about.clone_from(&measured.about);
                profile.figures.clock = measured.clock.clone();
                profile
            }
            "eyeriss-rel" => embedded(include_str!("../../../models/energy/eyeriss_rel.json")),
            _ => return None,
        })
    }

    /// Reads a profile from the text of a JSON file.
    ///
    /// # Errors
    ///
    /// Where the text is not JSON of the schema ([`Error::Json`], with line and column), or a
    /// figure's unit, value, range or source is not acceptable (with its path).
    pub fn parse(json: &str) -> Result<Self, Error> {
        serde_json::from_str::<Figures>(json)?.try_into()
    }

    /// The profile with another table of scratchpads.
    ///
    /// # Errors
    ///
    /// [`Error::NoSramTable`] where the profile prices scratchpads of all sizes alike.
    pub fn with_sram(self, sram: SramTable) -> Result<Self, Error> {
        match self.scratchpads {
            ScratchpadPrices::Table(cell, _) => {
                Ok(Self { scratchpads: ScratchpadPrices::Table(cell, sram), ..self })
            }
            ScratchpadPrices::Flat(..) => Err(Error::NoSramTable),
        }
    }

    /// The profile at another node, 7 to 130 nm: from its figures, which must be of 45 nm, whatever
    /// node it was scaled to before.
    ///
    /// Below 45 nm, energies follow operations that were published at 45 and at 7 nm; that these
    /// became 2.1 to 4.3 times cheaper, and not the 14.6 times of Stillmaker & Baas, is why their
    /// equations are never used there. Above 45 nm, energies of logic follow these equations. So do
    /// areas everywhere. Leakage per area and the energy of DRAM stay. Scratchpads follow CACTI
    /// from 22 to 90 nm; see [`SramTables::cacti`](super::SramTables::cacti). The clock and all figures that
    /// [`figures`](Self::figures) lists stay as they are.
    ///
    /// ```
    /// use systoliq_energy::Profile;
    ///
    /// let seven = Profile::horowitz45().at_node(7.0).unwrap();
    /// // Jouppi et al., ISCA 2021, Table 2:
    /// assert!((seven.multiply(8, 8).0 - 0.07).abs() < 1e-6);
    /// assert!((seven.multiply(32, 32).0 - 1.48).abs() < 1e-6);
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Base`] where the figures are of another node than 45 nm, or published at 7 nm,
    /// [`Error::Node`] outside 7 to 130 nm.
    pub fn at_node(mut self, node_nm: f64) -> Result<Self, Error> {
        let (name, here) = (&self.figures.name, self.node_nm());
        if name == TPUV4I && here == NODE_MIN_NM && node_nm != here {
            return Err(Error::Base { name: name.clone(), node_nm: here });
        }
        self.figures.scaled_to_nm = Some(node_nm).filter(|&nm| nm != self.figures.node.value);
        self.figures.try_into()
    }

    /// The profile's name.
    pub fn name(&self) -> &str {
        &self.figures.name
    }

    /// What it is, in a sentence.
    pub fn about(&self) -> &str {
        &self.figures.about
    }

    /// What its energies are multiples of.
    pub fn unit(&self) -> EnergyUnit {
        self.figures.unit
    }

    /// The node in nm that its prices are of.
    pub fn node_nm(&self) -> f64 {
        self.figures.scaled_to_nm.unwrap_or(self.figures.node.value)
    }

    /// Every figure with its path in the file (`multiplier.law.alpha`), in the file's order.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, &Figure)> {
        self.figures.rows().into_iter().map(|(path, figure, _)| (path, figure))
    }

    /// Where the energies of scratchpads come from.
    pub fn scratchpad_source(&self) -> &str {
        match &self.figures.scratchpad {
            ScratchpadFigures::Table(table) => &table.source,
            ScratchpadFigures::Flat(flat) => &flat.bit.source,
        }
    }

    /// Clock that the profile assumes, in MHz. No energy of an event depends on it.
    pub fn clock_mhz(&self) -> f64 {
        self.figures.clock.value
    }

    /// One integer product of `bits_a` × `bits_b`, by a law or from a table.
    ///
    /// The law: `λ(min)·(α·b₁·b₂ + β·(b₁ + b₂)/2)·(1 + γ·|b₁ − b₂|/(b₁ + b₂))`. In `horowitz45`, α
    /// and β meet the 8- and 32-bit multipliers of Horowitz, ISSCC 2014, exactly. γ, the excess of
    /// unequal widths, and λ, 1 from 4 bits on and less below, are fitted to synthesized Booth
    /// multipliers. A 1-bit operand takes the λ of 2 bits.
    ///
    /// The table: synthesized Booth multipliers, the wider operand recoded. Pairs of 2, 3, 4, 5, 6,
    /// 8, 10, 12, 16, 20, 24 and 32 bits are met exactly; between them the logarithm is linear in
    /// the logarithms of both widths; beyond 32 bits it goes with the product of widths. A 1-bit
    /// operand is as one of 2.
    ///
    /// ```
    /// # let profile = systoliq_energy::Profile::horowitz45();
    /// assert!((profile.multiply(8, 8).0 - 0.2).abs() < 1e-8);
    /// // Half the bits cost a little more than a quarter; an unequal pair more than its product.
    /// assert!((profile.multiply(4, 4).0 - 0.0521).abs() < 1e-4);
    /// assert!(profile.multiply(4, 16).0 > profile.multiply(8, 8).0);
    /// ```
    pub fn multiply(&self, bits_a: u32, bits_b: u32) -> Picojoules {
        if bits_a.min(bits_b) == 0 {
            return Picojoules(0.0);
        }
        let unscaled = match &self.figures.multiplier {
            Rule::Law(law) => law.energy(bits_a, bits_b),
            Rule::Table(table) => {
                table.name.table().multiplier(self.energy_column(), bits_a, bits_b)
            }
        };
        Picojoules(unscaled * self.scaling.integer(CircuitOperation::Multiply, bits_a, bits_b))
    }

    /// One integer addition, or one accumulation, of `bits` bits: `slope·b + intercept`, which in
    /// `horowitz45` is exact at the 8- and 32-bit adders of Horowitz, ISSCC 2014, and 6.7 % above
    /// his 16-bit one; or from the table of synthesized adders, 4 to 64 bits.
    pub fn add(&self, bits: u32) -> Picojoules {
        if bits == 0 {
            return Picojoules(0.0);
        }
        let unscaled = match &self.figures.adder {
            Rule::Law(law) => law.slope.value * f64::from(bits) + law.intercept.value,
            Rule::Table(table) => table.name.table().adder(self.energy_column(), bits),
        };
        Picojoules(unscaled * self.scaling.integer(CircuitOperation::Add, bits, bits))
    }

    /// The clock pins of a register of `bits` bits in one cycle in which it is clocked: `κ·ck·b`.
    /// A gated register costs nothing.
    pub fn register_clock(&self, bits: u32) -> Picojoules {
        self.synthesized(&self.figures.register.clock, bits)
    }

    /// The clock tree's share of one cycle of a register of `bits` bits: `f·register_clock(b)`. No
    /// source was found for f; 0.3 is assumed.
    pub fn clock_tree(&self, bits: u32) -> Picojoules {
        Picojoules(self.figures.clock_tree.value * self.register_clock(bits).0)
    }

    /// The wire that `bits` bits pass from a PE to its neighbour, `pitch_um` micrometres away; the
    /// register that they are written to apart: `(w + w'·pitch)·b`.
    pub fn wire(&self, bits: u32, pitch_um: f64) -> Picojoules {
        let wire = &self.figures.wire;
        let per_bit = wire.per_bit.value + wire.per_bit_um.value * pitch_um;
        Picojoules(per_bit * f64::from(bits) * self.scaling.other())
    }

    /// One write of a register of `bits` bits, of which half toggle: `κ·d·b`; the clock apart.
    pub fn register_write(&self, bits: u32) -> Picojoules {
        self.synthesized(&self.figures.register.data, bits)
    }

    /// One multiply-accumulate of a PE in one cycle: product, accumulation, and the registers of
    /// both operands and of the accumulator, clocked and written once.
    ///
    /// ```
    /// # let profile = systoliq_energy::Profile::horowitz45();
    /// // 0.200 multiplier + 0.077 adder + 0.142 registers:
    /// assert!((profile.mac(8, 8, 24).0 - 0.418).abs() < 1e-3);
    /// ```
    pub fn mac(&self, bits_a: u32, bits_b: u32, bits_accumulator: u32) -> Picojoules {
        let registers = bits_a + bits_b + bits_accumulator;
        self.multiply(bits_a, bits_b)
            + self.add(bits_accumulator)
            + self.register_clock(registers)
            + self.register_write(registers)
    }

    /// A memory of `bytes` bytes built for rows of `row_bits` bits; see [`SramTable::banking`]. Where all sizes
    /// are priced alike, any memory of at least 1 byte is one bank.
    ///
    /// # Errors
    ///
    /// Those of [`SramTable::banking`].
    pub fn sram(&self, bytes: u64, row_bits: u32) -> Result<Sram, Error> {
        self.scratchpads.banking(bytes, row_bits)
    }

    /// One access to a row of `row_bits` bits of a [memory](Self::sram).
    ///
    /// # Errors
    ///
    /// Those of [`SramTable::access`].
    pub fn sram_access(
        &self,
        access: Access,
        memory: Sram,
        row_bits: u32,
    ) -> Result<Picojoules, Error> {
        self.scratchpads.access(access, memory, row_bits)
    }

    /// The profile with another kind of transistor in its memories.
    ///
    /// # Errors
    ///
    /// [`Error::NoSramTable`] where the profile prices scratchpads of all sizes alike.
    pub fn with_cell(mut self, cell: Cell) -> Result<Self, Error> {
        match (&mut self.figures.scratchpad, &mut self.scratchpads) {
            (ScratchpadFigures::Table(figures), ScratchpadPrices::Table(priced, _)) => {
                (figures.cell, *priced) = (cell, cell);
                Ok(self)
            }
            _ => Err(Error::NoSramTable),
        }
    }

    /// What transistors its memories have, if they come from a table.
    pub fn cell(&self) -> Option<Cell> {
        match &self.figures.scratchpad {
            ScratchpadFigures::Table(figures) => Some(figures.cell),
            ScratchpadFigures::Flat(_) => None,
        }
    }

    /// One conversion of `bits_in` bits to a narrower format, rounding and saturation included:
    /// `κ·0.0032·b` for nearest, `κ·0.0048·b` for stochastic, whose adder of the random bits is
    /// included and whose [generator](Self::random_word) is not. A `barrel` shifter, needed where
    /// the shift is not wired, adds `κ·0.030·b` and dominates.
    pub fn requantize(&self, bits_in: u32, stochastic: bool, barrel: bool) -> Picojoules {
        let law = &self.figures.requantizer;
        let rounding = if stochastic { &law.stochastic } else { &law.nearest };
        let shift = if barrel { self.synthesized(&law.barrel, bits_in) } else { Picojoules(0.0) };
        self.synthesized(rounding, bits_in) + shift
    }

    /// One random word: one step of a 32-bit linear-feedback shift register, `κ·0.452`. One per
    /// value that is rounded stochastically.
    pub fn random_word(&self) -> Picojoules {
        Picojoules(self.figures.kappa.value * self.figures.lfsr32.value * self.scaling.other())
    }

    /// One ReLU, or one application of its mask, on `bits` bits: `κ·0.0033·b`.
    pub fn relu(&self, bits: u32) -> Picojoules {
        self.synthesized(&self.figures.relu, bits)
    }

    /// The larger of two values of `bits` bits: `κ·0.011·b`.
    pub fn maximum(&self, bits: u32) -> Picojoules {
        self.synthesized(&self.figures.maximum, bits)
    }

    /// One weight's update `w' = fit(round(w − μ·dW))`: a product of rate and gradient, an addition
    /// at the master's width, and one rounding of the product's width, with its random word where
    /// it is stochastic. Bits below the master's ulp pass through the rounding alone. What it moves
    /// in memory is counted there.
    pub fn update(&self, update: WeightUpdate) -> Picojoules {
        let WeightUpdate { rate_bits, gradient_bits, master_bits, stochastic, barrel } = update;
        let random = if stochastic { self.random_word() } else { Picojoules(0.0) };
        self.multiply(rate_bits, gradient_bits)
            + self.add(master_bits)
            + self.requantize(rate_bits + gradient_bits, stochastic, barrel)
            + random
    }

    /// One bit read from or written to DRAM, streaming: the [activation](Self::dram_activate) of
    /// rows is apart.
    pub fn dram_bit(&self, kind: DramKind) -> Picojoules {
        Picojoules(self.figures.dram.of(kind).bit.value)
    }

    /// One activation of a row of DRAM.
    pub fn dram_activate(&self, kind: DramKind) -> Picojoules {
        Picojoules(self.figures.dram.of(kind).activate.value)
    }

    /// Bytes of a row of DRAM.
    pub fn dram_row_bytes(&self, kind: DramKind) -> u64 {
        self.figures.dram.of(kind).row.value as u64
    }

    /// One floating-point product; where a profile has glitches, with as many as an integer product of its
    /// significands has.
    pub fn float_multiply(&self, format: FloatFormat) -> Picojoules {
        let unscaled = self.figures.float(format).multiply.value;
        let bits = format.significand_bits();
        let glitches = match (&self.figures.multiplier, self.figures.glitches) {
            (Rule::Table(_), true) => {
                let significands = |column| mac_45nm().multiplier(column, bits, bits);
                significands(Column::Glitch) / significands(Column::Zero)
            }
            _ => 1.0,
        };
        Picojoules(unscaled * glitches * self.scaling.float(CircuitOperation::Multiply, format))
    }

    /// One floating-point sum, likewise.
    pub fn float_add(&self, format: FloatFormat) -> Picojoules {
        let unscaled = self.figures.float(format).add.value;
        let bits = format.significand_bits();
        let glitches = match (&self.figures.adder, self.figures.glitches) {
            (Rule::Table(_), true) => {
                let significands = |column| mac_45nm().adder(column, bits);
                significands(Column::Glitch) / significands(Column::Zero)
            }
            _ => 1.0,
        };
        Picojoules(unscaled * glitches * self.scaling.float(CircuitOperation::Add, format))
    }

    /// One multiply-accumulate of a `float32` PE in one cycle: product, sum, and 32-bit registers of
    /// both operands and of the accumulator, as in [`mac`](Self::mac).
    pub fn float32_mac(&self) -> Picojoules {
        self.float_multiply(FloatFormat::Float32)
            + self.float_add(FloatFormat::Float32)
            + self.register_clock(3 * 32)
            + self.register_write(3 * 32)
    }

    /// Which energies of synthesized circuits count.
    pub(crate) fn energy_column(&self) -> Column {
        if self.figures.glitches { Column::Glitch } else { Column::Zero }
    }

    /// A block known from synthesis, linear in its width, on the profile's scale.
    fn synthesized(&self, per_bit: &Figure, bits: u32) -> Picojoules {
        let unscaled = self.figures.kappa.value * per_bit.value * f64::from(bits);
        Picojoules(unscaled * self.scaling.other())
    }
}

/// A profile that is part of the program.
fn embedded(json: &str) -> Profile {
    Profile::parse(json).expect("the embedded profile is valid")
}

impl MultiplierFigures {
    /// The law at 1 bit or more each.
    fn energy(&self, bits_a: u32, bits_b: u32) -> f64 {
        let lambda = match bits_a.min(bits_b) {
            1 | 2 => self.lambda2.value,
            3 => self.lambda3.value,
            _ => 1.0,
        };
        let (a, b) = (f64::from(bits_a), f64::from(bits_b));
        let square = self.alpha.value * (a * b) + self.beta.value * (a + b) / 2.0;
        let unequal = 1.0 + self.gamma.value * (a - b).abs() / (a + b);
        lambda * square * unequal
    }
}

impl SynthesisName {
    /// The table of this name.
    pub(crate) fn table(self) -> &'static Synthesis {
        match self {
            Self::Mac45nm => mac_45nm(),
        }
    }
}
