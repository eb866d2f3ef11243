//! A profile: the energy of every event at any width.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Picojoules;
use super::error::Error;
use super::figures::{DramKind, Figure, Figures, TableName};
use super::sram::{Access, Banked, SramTable};

/// The figures of one technology and the laws that carry them to any width.
///
/// A circuit of 0 bits does not exist and costs nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Figures", into = "Figures")]
#[schemars(with = "Figures")]
pub struct Profile {
    figures: Figures,
    sram: SramTable,
}

/// One weight's update, as [`Profile::update`] prices it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
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
        let sram = match figures.scratchpad.table {
            TableName::Sram45nm => SramTable::cacti45(),
        };
        sram.require(figures.scratchpad.cell)?;
        Ok(Self { figures, sram })
    }
}

impl From<Profile> for Figures {
    fn from(profile: Profile) -> Self {
        profile.figures
    }
}

impl Profile {
    /// The default, `models/energy/horowitz45.json`: 45 nm at 0.9 V, exact at the published 8- and
    /// 32-bit operations of Horowitz, "Computing's energy problem", ISSCC 2014; blocks that he does
    /// not list from gate-level synthesis, brought to his scale by kappa.
    pub fn horowitz45() -> Self {
        Self::parse(include_str!("../../../../models/energy/horowitz45.json"))
            .expect("the embedded profile is valid")
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
    /// [`Error::Cell`] where the table lacks the cells that the profile names.
    pub fn with_sram(self, sram: SramTable) -> Result<Self, Error> {
        sram.require(self.figures.scratchpad.cell)?;
        Ok(Self { sram, ..self })
    }

    /// The profile's name.
    pub fn name(&self) -> &str {
        &self.figures.name
    }

    /// Every figure with its path in the file (`multiplier.alpha`), in the file's order.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, &Figure)> {
        self.figures.rows().into_iter().map(|(path, figure, _)| (path, figure))
    }

    /// Where the energies of scratchpads come from.
    pub fn scratchpad_source(&self) -> &str {
        &self.figures.scratchpad.source
    }

    /// Clock that the profile assumes, in MHz. No energy of an event depends on it.
    pub fn clock_mhz(&self) -> f64 {
        self.figures.clock.value
    }

    /// One integer product of `bits_a` × `bits_b`:
    /// `λ(min)·(α·b₁·b₂ + β·(b₁ + b₂)/2)·(1 + γ·|b₁ − b₂|/(b₁ + b₂))`.
    ///
    /// α and β meet the 8- and 32-bit multipliers of Horowitz, ISSCC 2014, exactly. γ, the excess
    /// of unequal widths, and λ, 1 from 4 bits on and less below, are fitted to synthesized Booth
    /// multipliers. A 1-bit operand takes the λ of 2 bits.
    ///
    /// ```
    /// # let profile = systoliq_sim::energy::Profile::horowitz45();
    /// assert!((profile.multiply(8, 8).0 - 0.2).abs() < 1e-8);
    /// // Half the bits cost a little more than a quarter; an unequal pair more than its product.
    /// assert!((profile.multiply(4, 4).0 - 0.0521).abs() < 1e-4);
    /// assert!(profile.multiply(4, 16).0 > profile.multiply(8, 8).0);
    /// ```
    pub fn multiply(&self, bits_a: u32, bits_b: u32) -> Picojoules {
        let narrower = bits_a.min(bits_b);
        if narrower == 0 {
            return Picojoules(0.0);
        }
        let law = &self.figures.multiplier;
        let lambda = match narrower {
            1 | 2 => law.lambda2.value,
            3 => law.lambda3.value,
            _ => 1.0,
        };
        let (a, b) = (f64::from(bits_a), f64::from(bits_b));
        let square = law.alpha.value * (a * b) + law.beta.value * (a + b) / 2.0;
        let unequal = 1.0 + law.gamma.value * (a - b).abs() / (a + b);
        Picojoules(lambda * square * unequal)
    }

    /// One integer addition, or one accumulation, of `bits` bits: `slope·b + intercept`, exact at
    /// the 8- and 32-bit adders of Horowitz, ISSCC 2014, and 6.7 % above his 16-bit one.
    pub fn add(&self, bits: u32) -> Picojoules {
        if bits == 0 {
            return Picojoules(0.0);
        }
        let law = &self.figures.adder;
        Picojoules(law.slope.value * f64::from(bits) + law.intercept.value)
    }

    /// The clock pins of a register of `bits` bits in one cycle in which it is clocked: `κ·ck·b`.
    /// A gated register costs nothing.
    pub fn register_clock(&self, bits: u32) -> Picojoules {
        self.synthesized(&self.figures.register.clock, bits)
    }

    /// One write of a register of `bits` bits, of which half toggle: `κ·d·b`; the clock apart.
    pub fn register_write(&self, bits: u32) -> Picojoules {
        self.synthesized(&self.figures.register.data, bits)
    }

    /// One multiply-accumulate of a PE in one cycle: product, accumulation, and the registers of
    /// both operands and of the accumulator, clocked and written once.
    ///
    /// ```
    /// # let profile = systoliq_sim::energy::Profile::horowitz45();
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

    /// One read of a row of `row_bits` bits from a scratchpad of `bytes` bytes, in the banking that
    /// makes a read cheapest; see [`SramTable::banked`].
    ///
    /// # Errors
    ///
    /// Those of [`SramTable::banked`].
    pub fn sram_read(&self, bytes: u64, row_bits: u32) -> Result<Picojoules, Error> {
        Ok(self.sram_banked(Access::Read, bytes, row_bits)?.energy)
    }

    /// One write of a row of `row_bits` bits to a scratchpad of `bytes` bytes, in the banking that
    /// makes a write cheapest; see [`SramTable::banked`].
    ///
    /// # Errors
    ///
    /// Those of [`SramTable::banked`].
    pub fn sram_write(&self, bytes: u64, row_bits: u32) -> Result<Picojoules, Error> {
        Ok(self.sram_banked(Access::Write, bytes, row_bits)?.energy)
    }

    /// One access to a scratchpad, with the banks it is priced at.
    ///
    /// # Errors
    ///
    /// Those of [`SramTable::banked`].
    pub fn sram_banked(&self, access: Access, bytes: u64, row_bits: u32) -> Result<Banked, Error> {
        self.sram.banked(self.figures.scratchpad.cell, access, bytes, row_bits)
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
        Picojoules(self.figures.kappa.value * self.figures.lfsr32.value)
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
    pub fn update(&self, update: Update) -> Picojoules {
        let Update { rate_bits, gradient_bits, master_bits, stochastic, barrel } = update;
        let random = if stochastic { self.random_word() } else { Picojoules(0.0) };
        self.multiply(rate_bits, gradient_bits)
            + self.add(master_bits)
            + self.requantize(rate_bits + gradient_bits, stochastic, barrel)
            + random
    }

    /// One bit read from or written to DRAM, streaming: row activations are not apart.
    pub fn dram_bit(&self, kind: DramKind) -> Picojoules {
        let law = &self.figures.dram;
        let figure = match kind {
            DramKind::Hbm2 => &law.hbm2,
            DramKind::Lpddr4 => &law.lpddr4,
            DramKind::Lpddr3 => &law.lpddr3,
            DramKind::Ddr4 => &law.ddr4,
            DramKind::Ddr3 => &law.ddr3,
            DramKind::Gddr5 => &law.gddr5,
        };
        Picojoules(figure.value)
    }

    /// One product of two `float32` (Horowitz, ISSCC 2014).
    pub fn float32_multiply(&self) -> Picojoules {
        Picojoules(self.figures.float32.multiply.value)
    }

    /// One sum of two `float32` (Horowitz, ISSCC 2014).
    pub fn float32_add(&self) -> Picojoules {
        Picojoules(self.figures.float32.add.value)
    }

    /// One multiply-accumulate of a `float32` PE in one cycle: product, sum, and 32-bit registers of
    /// both operands and of the accumulator, as in [`mac`](Self::mac).
    pub fn float32_mac(&self) -> Picojoules {
        self.float32_multiply()
            + self.float32_add()
            + self.register_clock(3 * 32)
            + self.register_write(3 * 32)
    }

    /// One product of two `float16` (Horowitz, ISSCC 2014).
    pub fn float16_multiply(&self) -> Picojoules {
        Picojoules(self.figures.float16.multiply.value)
    }

    /// One sum of two `float16` (Horowitz, ISSCC 2014).
    pub fn float16_add(&self) -> Picojoules {
        Picojoules(self.figures.float16.add.value)
    }

    /// A block known from synthesis, linear in its width, on the profile's scale.
    fn synthesized(&self, per_bit: &Figure, bits: u32) -> Picojoules {
        Picojoules(self.figures.kappa.value * per_bit.value * f64::from(bits))
    }
}
