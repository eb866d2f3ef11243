//! Events that cost energy, how often they happened, and what that adds up to.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::prices::Prices;
use systoliq_energy::{FloatFormat, Picojoules};

/// A part of the machine that energy is charged to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// Multipliers of the PEs.
    Multiplier,
    /// Adders of the PEs, of the bias and of its gradient.
    Adder,
    /// Operand and accumulator registers of the PEs, and the transposers at the array's edge.
    Registers,
    /// Wires from PE to PE.
    Wires,
    /// What brings the clock to the registers of the PEs.
    ClockTree,
    /// The memories on chip: scratchpads, stash and global buffer.
    Scratchpad,
    /// Conversions, wherever bits are dropped: rounding, limits, 1/B, and the search for a scale.
    Requantizer,
    /// Random words for stochastic rounding.
    Random,
    /// ReLU and its mask.
    Activation,
    /// Softmax, log₂ and squared error, with their tables.
    Loss,
    /// Products and sums of the update: rate, momentum, weight decay, residual.
    Update,
    /// The memory off chip.
    Dram,
    /// What flows whether anything happens or not.
    Leakage,
}

impl Component {
    /// Every component, in the order of reports.
    pub const ALL: [Self; 13] = [
        Self::Multiplier,
        Self::Adder,
        Self::Registers,
        Self::Wires,
        Self::ClockTree,
        Self::Scratchpad,
        Self::Requantizer,
        Self::Random,
        Self::Activation,
        Self::Loss,
        Self::Update,
        Self::Dram,
        Self::Leakage,
    ];

    /// The key in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Multiplier => "multiplier",
            Self::Adder => "adder",
            Self::Registers => "registers",
            Self::Wires => "wires",
            Self::ClockTree => "clock_tree",
            Self::Scratchpad => "scratchpad",
            Self::Requantizer => "requantizer",
            Self::Random => "random",
            Self::Activation => "activation",
            Self::Loss => "loss",
            Self::Update => "update",
            Self::Dram => "dram",
            Self::Leakage => "leakage",
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
    /// State, and what one command leaves for another.
    Global,
}

impl Buffer {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::Stash => "stash",
            Self::Global => "buffer",
        }
    }
}

/// One event, with the widths that decide its energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Event {
    /// A product of two integers.
    Multiply { bits_a: u32, bits_b: u32 },
    /// A sum of two integers.
    Add { bits: u32 },
    /// A floating-point product.
    FloatMultiply { format: FloatFormat },
    /// A floating-point sum.
    FloatAdd { format: FloatFormat },
    /// A cycle in which the registers of a PE are clocked: of its operands, of its sums, and the second
    /// one of what stays.
    RegisterClock { bits_a: u32, bits_b: u32, bits_sum: u32, bits_shadow: u32 },
    /// A value written into a register.
    RegisterWrite { bits: u32 },
    /// A value through a register transposer: written once and read once.
    Transpose { bits: u32 },
    /// A value over the wire between two PEs.
    Hop { bits: u32 },
    /// A cycle in which the clock is brought to registers of so many bits.
    ClockTree { bits: u32 },
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
    /// A row of the DRAM opened.
    RowActivation,
    /// A cycle of the whole machine, in which it leaks.
    Cycle,
}

impl Event {
    /// Its width in bits: of an operation on two numbers the sum of theirs; 0 where it has none.
    pub fn bits(self) -> u32 {
        match self {
            Self::Multiply { bits_a, bits_b } => bits_a + bits_b,
            Self::FloatMultiply { format } | Self::FloatAdd { format } => format.bits(),
            Self::RegisterClock { bits_a, bits_b, bits_sum, bits_shadow } => {
                bits_a + bits_b + bits_sum + bits_shadow
            }
            Self::Add { bits }
            | Self::RegisterWrite { bits }
            | Self::Transpose { bits }
            | Self::Hop { bits }
            | Self::ClockTree { bits }
            | Self::Requantize { bits, .. }
            | Self::Relu { bits }
            | Self::Maximum { bits }
            | Self::TableRead { bits } => bits,
            Self::ScratchpadRead { row_bits, .. } | Self::ScratchpadWrite { row_bits, .. } => {
                row_bits
            }
            Self::RandomWord => 32,
            Self::DramBit => 1,
            Self::RowActivation | Self::Cycle => 0,
        }
    }

    /// What the circuit does that can do both this and `other`, which is of the same kind.
    pub(crate) fn covering(self, other: Self) -> Self {
        match (self, other) {
            (Self::Multiply { bits_a: a, bits_b: b }, Self::Multiply { bits_a, bits_b }) => {
                Self::Multiply { bits_a: a.max(bits_a), bits_b: b.max(bits_b) }
            }
            (
                Self::RegisterClock { bits_a: a, bits_b: b, bits_sum: sum, bits_shadow: shadow },
                Self::RegisterClock { bits_a, bits_b, bits_sum, bits_shadow },
            ) => Self::RegisterClock {
                bits_a: a.max(bits_a),
                bits_b: b.max(bits_b),
                bits_sum: sum.max(bits_sum),
                bits_shadow: shadow.max(bits_shadow),
            },
            (
                Self::Requantize { bits: own, stochastic: random, barrel: shifts },
                Self::Requantize { bits, stochastic, barrel },
            ) => Self::Requantize {
                bits: own.max(bits),
                stochastic: random || stochastic,
                barrel: shifts || barrel,
            },
            _ if other.bits() > self.bits() => other,
            _ => self,
        }
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
    ///
    /// # Panics
    ///
    /// If a count leaves 64 bits.
    pub fn add_times(&mut self, other: &Self, times: u64) {
        self.checked_add_times(other, times).expect("counts fit 64 bits");
    }

    /// The same; nothing, with some of it counted, where a count leaves 64 bits.
    pub fn checked_add_times(&mut self, other: &Self, times: u64) -> Option<()> {
        for (key, &count) in &other.counts {
            let entry = self.counts.entry(*key).or_default();
            *entry = entry.checked_add(count.checked_mul(times)?)?;
        }
        Some(())
    }

    /// Bits of the widest row that is read of a memory or written to it, 0 where none is.
    pub(crate) fn widest_row(&self, of: Buffer) -> u32 {
        let rows = self.iter().filter_map(|(_, event, _)| match event {
            Event::ScratchpadRead { buffer, row_bits }
            | Event::ScratchpadWrite { buffer, row_bits } => (buffer == of).then_some(row_bits),
            _ => None,
        });
        rows.max().unwrap_or(0)
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
            energy.add(component, prices.price(event)? * count);
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

/// Rows of the memories on chip; a row holds as many elements as the grid takes or gives
/// in a cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ScratchpadRows {
    pub a: RowCounts,
    pub b: RowCounts,
    pub c: RowCounts,
    pub stash: RowCounts,
    #[serde(skip_serializing_if = "RowCounts::is_none")]
    pub buffer: RowCounts,
}

impl RowCounts {
    /// Whether there are none.
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
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
                Buffer::Global => &mut rows.buffer,
            };
            *(if write { &mut of.writes } else { &mut of.reads }) += count;
        }
        rows
    }
}

/// Energy by component, each of [`Component::ALL`] with its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EnergyByComponent(BTreeMap<Component, Picojoules>);

impl Default for EnergyByComponent {
    fn default() -> Self {
        Self(Component::ALL.into_iter().map(|component| (component, Picojoules(0.0))).collect())
    }
}

impl EnergyByComponent {
    /// The energy of one component.
    pub fn of(&self, component: Component) -> Picojoules {
        self.0.get(&component).copied().unwrap_or_default()
    }

    /// Adds to the energy of one component.
    pub fn add(&mut self, component: Component, energy: Picojoules) {
        *self.0.entry(component).or_default() += energy;
    }

    /// The sum over components, in the order of [`Component::ALL`].
    pub fn total(&self) -> Picojoules {
        self.0.values().sum()
    }
}
