//! Events that cost energy, how often they happened, and what that adds up to.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::energy::{self, FloatFormat, Picojoules};
use crate::{Accelerator, Error};

/// A part of the machine that energy is charged to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// Multipliers of the PEs.
    Multiplier,
    /// Adders of the PEs.
    Adder,
    /// Operand and accumulator registers of the PEs, and the transposers at the array's edge.
    Registers,
    /// Bias, ReLU, 1/B and conversion where results leave the array.
    Edge,
    /// The vector unit.
    Vector,
    /// The scratchpads.
    Scratchpad,
    /// The memory off chip.
    Dram,
}

impl Component {
    /// Every component, in the order of reports.
    pub const ALL: [Self; 7] = [
        Self::Multiplier,
        Self::Adder,
        Self::Registers,
        Self::Edge,
        Self::Vector,
        Self::Scratchpad,
        Self::Dram,
    ];

    /// The key in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Multiplier => "multiplier",
            Self::Adder => "adder",
            Self::Registers => "registers",
            Self::Edge => "edge",
            Self::Vector => "vector",
            Self::Scratchpad => "scratchpad",
            Self::Dram => "dram",
        }
    }
}

/// A memory on chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Buffer {
    /// Left operands.
    A,
    /// Right operands.
    B,
    /// Results, and operands of the vector unit.
    C,
    /// What the backward pass reads of the forward pass.
    Stash,
}

/// One event, with the widths that decide its energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Event {
    /// A product of two integers.
    Multiply { bits_a: u32, bits_b: u32 },
    /// A sum of two integers.
    Add { bits: u32 },
    /// A float32 product.
    FloatMultiply,
    /// A float32 sum.
    FloatAdd,
    /// A cycle in which registers of so many bits are clocked.
    RegisterClock { bits: u32 },
    /// A value written into a register.
    RegisterWrite { bits: u32 },
    /// Bits dropped and the result limited; with a barrel shifter where the scale moves.
    Requantize { bits: u32, stochastic: bool, barrel: bool },
    /// A random word drawn.
    RandomWord,
    /// A value compared with 0.
    Relu { bits: u32 },
    /// The larger of two values.
    Maximum { bits: u32 },
    /// An entry read from a table of 1 KB.
    TableRead { bits: u32 },
    /// A row read from a scratchpad.
    ScratchpadRead { buffer: Buffer, row_bits: u32 },
    /// A row written to a scratchpad.
    ScratchpadWrite { buffer: Buffer, row_bits: u32 },
    /// A bit moved from or to DRAM.
    DramBit,
}

/// Prices events on one accelerator.
#[derive(Clone, Copy, Debug)]
pub struct Prices<'a> {
    accelerator: &'a Accelerator,
}

/// The dearest event, so that sums of 2^64 of them stay finite.
const PRICE_MAX: f64 = 1e200;

/// Bytes of a table of the softmax and log₂ unit: 257 entries of 32 bits, of which the last is a
/// constant.
const TABLE_BYTES: u64 = 1024;

impl<'a> Prices<'a> {
    /// The prices on `accelerator`.
    pub fn new(accelerator: &'a Accelerator) -> Self {
        Self { accelerator }
    }

    /// What one event costs.
    ///
    /// # Errors
    ///
    /// If a scratchpad is outside the range of the energy profile's table.
    pub fn price(&self, event: Event) -> Result<Picojoules, Error> {
        let profile = self.accelerator.energy.profile();
        let dram = self.accelerator.dram.kind;
        let price = match event {
            Event::Multiply { bits_a, bits_b } => profile.multiply(bits_a, bits_b),
            Event::Add { bits } => profile.add(bits),
            Event::FloatMultiply => profile.float_multiply(FloatFormat::Float32),
            Event::FloatAdd => profile.float_add(FloatFormat::Float32),
            Event::RegisterClock { bits } => profile.register_clock(bits),
            Event::RegisterWrite { bits } => profile.register_write(bits),
            Event::Requantize { bits, stochastic, barrel } => {
                profile.requantize(bits, stochastic, barrel)
            }
            Event::RandomWord => profile.random_word(),
            Event::Relu { bits } => profile.relu(bits),
            Event::Maximum { bits } => profile.maximum(bits),
            Event::TableRead { bits } => profile
                .sram_read(TABLE_BYTES, bits)
                .map_err(|error| Error::at("accelerator.energy", error))?,
            Event::ScratchpadRead { buffer, row_bits } => {
                self.scratchpad(buffer, |bytes| profile.sram_read(bytes, row_bits))?
            }
            Event::ScratchpadWrite { buffer, row_bits } => {
                self.scratchpad(buffer, |bytes| profile.sram_write(bytes, row_bits))?
            }
            Event::DramBit => profile.dram_bit(dram),
        };
        if price.0 <= PRICE_MAX {
            return Ok(price);
        }
        let problem = format!("{event:?} costs {} pJ: expected at most {PRICE_MAX:e}", price.0);
        Err(Error::at("accelerator.energy", problem))
    }

    fn scratchpad(
        &self,
        buffer: Buffer,
        price: impl Fn(u64) -> Result<Picojoules, energy::Error>,
    ) -> Result<Picojoules, Error> {
        let (key, bytes) = self.accelerator.scratchpad.of(buffer);
        price(bytes).map_err(|error| Error::at(format!("accelerator.scratchpad.{key}"), error))
    }
}

/// How often each event happened, by component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<(Component, Event), u64>,
}

impl Tally {
    /// Counts `count` events.
    pub fn add(&mut self, component: Component, event: Event, count: u64) {
        if count > 0 {
            let entry = self.counts.entry((component, event)).or_default();
            *entry = entry.checked_add(count).expect("counts fit 64 bits");
        }
    }

    /// Counts everything in `other`, `times` times.
    pub fn add_times(&mut self, other: &Self, times: u64) {
        for (&(component, event), &count) in &other.counts {
            let count = count.checked_mul(times).expect("counts fit 64 bits");
            self.add(component, event, count);
        }
    }

    /// Every event with its component and count.
    pub fn iter(&self) -> impl Iterator<Item = (Component, Event, u64)> + '_ {
        self.counts.iter().map(|(&(component, event), &count)| (component, event, count))
    }

    /// Events of `event`'s kind that `component` had.
    pub fn count(&self, component: Component, event: Event) -> u64 {
        self.counts.get(&(component, event)).copied().unwrap_or(0)
    }

    /// Energy by component, each the sum of count times price in the order of events.
    ///
    /// # Errors
    ///
    /// If an event has no price.
    pub fn energy(&self, prices: &Prices<'_>) -> Result<EnergyByComponent, Error> {
        let mut energy = EnergyByComponent::default();
        for (component, event, count) in self.iter() {
            *energy.of_mut(component) += prices.price(event)? * count;
        }
        Ok(energy)
    }
}

/// Rows of one scratchpad that were read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowCounts {
    /// Rows read.
    pub reads: u64,
    /// Rows written.
    pub writes: u64,
}

/// Rows of the scratchpads and of the stash; a row holds as many elements as the grid takes or gives
/// in a cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ScratchpadRows {
    pub a: RowCounts,
    pub b: RowCounts,
    pub c: RowCounts,
    pub stash: RowCounts,
}

impl ScratchpadRows {
    /// Those of a tally.
    pub fn of(tally: &Tally) -> Self {
        let mut rows = Self::default();
        for (_, event, count) in tally.iter() {
            let (buffer, write) = match event {
                Event::ScratchpadRead { buffer, .. } => (buffer, false),
                Event::ScratchpadWrite { buffer, .. } => (buffer, true),
                _ => continue,
            };
            let of = match buffer {
                Buffer::A => &mut rows.a,
                Buffer::B => &mut rows.b,
                Buffer::C => &mut rows.c,
                Buffer::Stash => &mut rows.stash,
            };
            *(if write { &mut of.writes } else { &mut of.reads }) += count;
        }
        rows
    }
}

/// Energy in picojoules by component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct EnergyByComponent {
    pub multiplier: Picojoules,
    pub adder: Picojoules,
    pub registers: Picojoules,
    pub edge: Picojoules,
    pub vector: Picojoules,
    pub scratchpad: Picojoules,
    pub dram: Picojoules,
}

impl EnergyByComponent {
    /// The energy of one component.
    pub fn of(&self, component: Component) -> Picojoules {
        let mut copy = *self;
        *copy.of_mut(component)
    }

    fn of_mut(&mut self, component: Component) -> &mut Picojoules {
        match component {
            Component::Multiplier => &mut self.multiplier,
            Component::Adder => &mut self.adder,
            Component::Registers => &mut self.registers,
            Component::Edge => &mut self.edge,
            Component::Vector => &mut self.vector,
            Component::Scratchpad => &mut self.scratchpad,
            Component::Dram => &mut self.dram,
        }
    }

    /// The sum over components, in the order of [`Component::ALL`].
    pub fn total(&self) -> Picojoules {
        Component::ALL.into_iter().map(|component| self.of(component)).sum()
    }
}
