//! What each event costs, and whence.

use super::Picojoules;
use super::error::Error;
use super::figure::{Certainty, EnergyUnit, Figure};
use super::figures::{DramKind, FloatFormat, LineFigures, Rule, ScratchpadFigures};
use super::profile::Profile;
use super::sram::{self, Access};

/// One event at its widths: what it costs, and whence.
#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// The event.
    pub event: &'static str,
    /// The widths or sizes that it is priced at, as a person reads them.
    pub widths: String,
    /// What one costs.
    pub price: Picojoules,
    /// The unit of `price`.
    pub unit: EnergyUnit,
    /// The least certainty of the figures that the price is of.
    pub certainty: Certainty,
    /// Where these figures come from, each source once.
    pub source: String,
}

/// The widths and sizes that events are priced at.
#[derive(Clone, Debug, PartialEq)]
pub struct PricedAt {
    /// Widths of operands.
    pub bits: Vec<u32>,
    /// Width of accumulators.
    pub accumulator_bits: u32,
    /// Pitch of PEs in um.
    pub pitch_um: f64,
    /// Size of a scratchpad.
    pub scratchpad_bytes: u64,
    /// Elements in a row of it.
    pub row_elements: u32,
}

impl Default for PricedAt {
    /// 2, 4, 8, 16 and 32 bits, accumulators of 32, PEs 40 um apart, rows of 8 elements in 32 KB.
    fn default() -> Self {
        Self {
            bits: vec![2, 4, 8, 16, 32],
            accumulator_bits: 32,
            pitch_um: 40.0,
            scratchpad_bytes: 32 << 10,
            row_elements: 8,
        }
    }
}

/// Whence a number is, and how sure it is.
type Origin<'a> = (Certainty, &'a str);

impl Figure {
    fn origin(&self) -> Origin<'_> {
        (self.certainty, &self.source)
    }
}

/// Rows of one profile as they are gathered.
struct ProvenanceRows<'a> {
    profile: &'a Profile,
    rows: Vec<Provenance>,
}

impl ProvenanceRows<'_> {
    /// Adds a row, unless that event is there at these widths.
    fn push(
        &mut self,
        event: &'static str,
        widths: String,
        price: Picojoules,
        origins: &[Origin<'_>],
    ) {
        if self.rows.iter().any(|row| row.event == event && row.widths == widths) {
            return;
        }
        let certainty = origins.iter().map(|origin| origin.0).max().unwrap_or(Certainty::Assumed);
        let mut sources: Vec<&str> = vec![];
        for (_, source) in origins {
            if !sources.contains(source) {
                sources.push(source);
            }
        }
        let (unit, source) = (self.profile.unit(), sources.join("; "));
        self.rows.push(Provenance { event, widths, price, unit, certainty, source });
    }

    /// A row of logic, whose factor to the profile's node is one more origin.
    fn push_logic(
        &mut self,
        event: &'static str,
        widths: String,
        price: Picojoules,
        mut origins: Vec<Origin<'_>>,
    ) {
        if self.profile.figures.scaled_to_nm.is_some() {
            origins.push(self.profile.scaling.energy_origin());
        }
        self.push(event, widths, price, &origins);
    }
}

impl Profile {
    /// A row for every event at every one of the widths: what it costs, how sure that is, and
    /// whence.
    ///
    /// ```
    /// use systoliq_energy::{Certainty, Profile};
    ///
    /// let rows = Profile::horowitz45().provenance(&Default::default()).unwrap();
    /// let product = rows.iter().find(|row| row.event == "multiply" && row.widths == "8 x 8 bits");
    /// assert_eq!(product.unwrap().certainty, Certainty::High);
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`sram`](Self::sram), for the scratchpad asked for.
    pub fn provenance(&self, at: &PricedAt) -> Result<Vec<Provenance>, Error> {
        let mut rows = ProvenanceRows { profile: self, rows: vec![] };
        self.arithmetic(at, &mut rows);
        self.registers(at, &mut rows);
        self.conversions(at, &mut rows);
        self.memories(at, &mut rows)?;
        Ok(rows.rows)
    }

    fn arithmetic(&self, at: &PricedAt, rows: &mut ProvenanceRows<'_>) {
        for &bits in &at.bits {
            let origins = match &self.figures.multiplier {
                Rule::Law(law) => {
                    let mut figures = vec![&law.alpha, &law.beta];
                    figures.extend(match bits {
                        1 | 2 => Some(&law.lambda2),
                        3 => Some(&law.lambda3),
                        _ => None,
                    });
                    figures.into_iter().map(Figure::origin).collect()
                }
                Rule::Table(table) => vec![(table.certainty, table.source.as_str())],
            };
            let price = self.multiply(bits, bits);
            rows.push_logic("multiply", format!("{bits} x {bits} bits"), price, origins);
        }
        for bits in at.bits.iter().copied().chain([at.accumulator_bits]) {
            rows.push_logic("add", width(bits), self.add(bits), line(&self.figures.adder));
        }
        for format in FloatFormat::ALL {
            let unit = self.figures.float(format);
            let origins = vec![unit.multiply.origin()];
            let name = format.name().to_owned();
            rows.push_logic("float multiply", name.clone(), self.float_multiply(format), origins);
            let origins = vec![unit.add.origin()];
            rows.push_logic("float add", name, self.float_add(format), origins);
        }
    }

    fn registers(&self, at: &PricedAt, rows: &mut ProvenanceRows<'_>) {
        let (register, kappa) = (&self.figures.register, self.figures.kappa.origin());
        let wire = &self.figures.wire;
        for bits in at.bits.iter().copied().chain([at.accumulator_bits]) {
            let clock = vec![register.clock.origin(), kappa];
            let mut tree = clock.clone();
            tree.push(self.figures.clock_tree.origin());
            rows.push_logic("register clock", width(bits), self.register_clock(bits), clock);
            rows.push_logic("clock tree", width(bits), self.clock_tree(bits), tree);
            let write = vec![register.data.origin(), kappa];
            rows.push_logic("register write", width(bits), self.register_write(bits), write);
            let hop = vec![wire.per_bit_um.origin(), wire.per_bit.origin()];
            let place = format!("{bits} bits, {} um", at.pitch_um);
            rows.push_logic("wire", place, self.wire(bits, at.pitch_um), hop);
        }
    }

    fn conversions(&self, at: &PricedAt, rows: &mut ProvenanceRows<'_>) {
        let (law, kappa) = (&self.figures.requantizer, self.figures.kappa.origin());
        let bits = at.accumulator_bits;
        for (event, figures, stochastic, barrel) in [
            ("convert to nearest", vec![&law.nearest], false, false),
            ("convert stochastically", vec![&law.stochastic], true, false),
            ("convert to nearest, barrel", vec![&law.nearest, &law.barrel], false, true),
            ("convert stochastically, barrel", vec![&law.stochastic, &law.barrel], true, true),
        ] {
            let origins = figures.into_iter().map(Figure::origin).chain([kappa]).collect();
            let price = self.requantize(bits, stochastic, barrel);
            rows.push_logic(event, width(bits), price, origins);
        }
        let origins = vec![self.figures.lfsr32.origin(), kappa];
        rows.push_logic("random word", width(32), self.random_word(), origins);
        for &bits in &at.bits {
            let origins = vec![self.figures.relu.origin(), kappa];
            rows.push_logic("relu", width(bits), self.relu(bits), origins);
            let origins = vec![self.figures.maximum.origin(), kappa];
            rows.push_logic("maximum", width(bits), self.maximum(bits), origins);
        }
    }

    fn memories(&self, at: &PricedAt, rows: &mut ProvenanceRows<'_>) -> Result<(), Error> {
        let bytes = at.scratchpad_bytes;
        let mut origins = vec![match &self.figures.scratchpad {
            ScratchpadFigures::Table(table) => (table.certainty, table.source.as_str()),
            ScratchpadFigures::Flat(flat) => flat.bit.origin(),
        }];
        if self.figures.scaled_to_nm.is_some_and(|nm| !sram::CACTI_NM.contains(&nm)) {
            origins.push(self.scaling.energy_origin());
        }
        if self.scratchpads.is_beyond_table(bytes) {
            origins.push((Certainty::Assumed, "above the largest macro as over the last doubling"));
        }
        for &bits in &at.bits {
            let row_bits = bits.saturating_mul(at.row_elements);
            let place = format!("{row_bits} bits of {bytes} bytes");
            let memory = self.sram(bytes, row_bits)?;
            for (event, access) in
                [("scratchpad read", Access::Read), ("scratchpad write", Access::Write)]
            {
                let price = self.sram_access(access, memory, row_bits)?;
                rows.push(event, place.clone(), price, &origins);
            }
        }
        for kind in DramKind::ALL {
            let channel = self.figures.dram.of(kind);
            let place = kind.name().to_owned();
            rows.push("DRAM bit", place, self.dram_bit(kind), &[channel.bit.origin()]);
            let place = format!("{}, {} bytes", kind.name(), self.dram_row_bytes(kind));
            let origins = [channel.activate.origin(), channel.row.origin()];
            rows.push("DRAM activation", place, self.dram_activate(kind), &origins);
        }
        Ok(())
    }
}

fn width(bits: u32) -> String {
    format!("{bits} bits")
}

fn line(rule: &Rule<LineFigures>) -> Vec<Origin<'_>> {
    match rule {
        Rule::Law(law) => vec![law.slope.origin(), law.intercept.origin()],
        Rule::Table(table) => vec![(table.certainty, &table.source)],
    }
}
