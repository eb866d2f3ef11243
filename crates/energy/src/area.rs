//! Areas of circuits and scratchpads, and what they leak.

use super::error::Error;
use super::figures::{FloatFormat, Rule};
use super::profile::Profile;
use super::synthesis::Column;
use super::{Milliwatts, NANOWATTS_PER_MILLIWATT};

/// Areas are in um², of cells alone, at the profile's node.
impl Profile {
    /// A multiplier of `bits_a` × `bits_b`: `p·b₁·b₂ + m·(b₁ + b₂)/2`, which in `horowitz45` is
    /// exact at the 8- and 32-bit multipliers of the 45 nm table in Dally's NIPS 2015 tutorial; or
    /// from the table of synthesized ones, as [`multiply`](Self::multiply).
    pub fn multiply_area(&self, bits_a: u32, bits_b: u32) -> f64 {
        if bits_a.min(bits_b) == 0 {
            return 0.0;
        }
        let (a, b) = (f64::from(bits_a), f64::from(bits_b));
        let unscaled = match &self.figures.area.multiplier {
            Rule::Law(law) => law.product.value * (a * b) + law.mean.value * (a + b) / 2.0,
            Rule::Table(table) => table.name.table().multiplier(Column::Area, bits_a, bits_b),
        };
        unscaled * self.scaling.area()
    }

    /// An adder of `bits` bits: `slope·b + intercept`, exact at the 8- and 32-bit adders of the same
    /// table; or from the table of synthesized ones.
    pub fn add_area(&self, bits: u32) -> f64 {
        if bits == 0 {
            return 0.0;
        }
        let unscaled = match &self.figures.area.adder {
            Rule::Law(law) => law.slope.value * f64::from(bits) + law.intercept.value,
            Rule::Table(table) => table.name.table().adder(Column::Area, bits),
        };
        unscaled * self.scaling.area()
    }

    /// A register of `bits` bits.
    pub fn register_area(&self, bits: u32) -> f64 {
        self.figures.area.register.value * f64::from(bits) * self.scaling.area()
    }

    /// What converts `bits_in` bits; see [`requantize`](Self::requantize).
    pub fn requantize_area(&self, bits_in: u32, stochastic: bool, barrel: bool) -> f64 {
        let area = &self.figures.area.requantizer;
        let rounding = if stochastic { area.stochastic.value } else { area.nearest.value };
        let shift = if barrel { area.barrel.value } else { 0.0 };
        (rounding + shift) * f64::from(bits_in) * self.scaling.area()
    }

    /// A generator of random words: a 32-bit linear-feedback shift register.
    pub fn random_area(&self) -> f64 {
        self.figures.area.lfsr32.value * self.scaling.area()
    }

    /// A ReLU of `bits` bits.
    pub fn relu_area(&self, bits: u32) -> f64 {
        self.figures.area.relu.value * f64::from(bits) * self.scaling.area()
    }

    /// What finds the larger of two values of `bits` bits.
    pub fn maximum_area(&self, bits: u32) -> f64 {
        self.figures.area.maximum.value * f64::from(bits) * self.scaling.area()
    }

    /// A floating-point multiplier.
    pub fn float_multiply_area(&self, format: FloatFormat) -> f64 {
        self.figures.area.float(format).multiply.value * self.scaling.area()
    }

    /// A floating-point adder.
    pub fn float_add_area(&self, format: FloatFormat) -> f64 {
        self.figures.area.float(format).add.value * self.scaling.area()
    }

    /// A scratchpad of `bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::ScratchpadSize`] where it cannot be priced.
    pub fn sram_area(&self, bytes: u64) -> Result<f64, Error> {
        self.scratchpads.area_um2(bytes)
    }

    /// What logic of `area_um2` um² leaks. The same per area at every node, which is an assumption.
    pub fn logic_leakage(&self, area_um2: f64) -> Milliwatts {
        Milliwatts(self.figures.leakage.value * area_um2 / NANOWATTS_PER_MILLIWATT)
    }

    /// What a scratchpad of `bytes` bytes leaks at 350 K.
    ///
    /// # Errors
    ///
    /// [`Error::ScratchpadSize`] where it cannot be priced.
    pub fn sram_leakage(&self, bytes: u64) -> Result<Milliwatts, Error> {
        self.scratchpads.leakage(bytes)
    }
}
