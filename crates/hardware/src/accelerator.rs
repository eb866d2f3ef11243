//! The accelerator: array, scratchpads, DRAM and the energy of their events.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use systoliq_array::{Array, Mapping, Stationary};
use systoliq_program::GemmShape;

use crate::Error;
use crate::events::Buffer;
use systoliq_energy::{Cell, DramKind, Profile, shown};

/// The `accelerator` section of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Accelerator {
    /// The grid of PEs and the vector unit.
    pub array: Array,
    /// The on-chip buffers.
    #[serde(default)]
    pub scratchpad: Scratchpads,
    /// The memory off chip.
    #[serde(default)]
    pub dram: Dram,
    /// How operands are read against their layout.
    #[serde(default)]
    pub layout: Layout,
    /// What stays on chip.
    #[serde(default)]
    pub residency: Residency,
    /// When weights are updated.
    #[serde(default, skip_serializing_if = "UpdateOrder::is_separate")]
    pub update: UpdateOrder,
    /// What events cost: the name of an energy profile, or a profile.
    #[serde(default)]
    pub energy: EnergyModel,
    /// Scales a profile of 45 nm to another node, in nm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 7, max = 130))]
    pub node_nm: Option<f64>,
    /// The transistors of all memories on chip: `lop`, which leak little, or `hp`, which are fast; left
    /// out, those of the energy profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sram: Option<Cell>,
    /// The clock; left out, that of the energy profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub clock_mhz: Option<f64>,
    /// Whether energy is given for the data at hand, too.
    #[serde(default)]
    pub activity: Dependence,
    /// Which bits that flip are counted while training.
    #[serde(default)]
    pub toggles: Toggles,
}

/// Sizes of the memories on chip: three double-buffered scratchpads, of which each half holds what
/// the array works on while the other is filled; and one that keeps what is needed later, of two
/// kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scratchpads {
    /// Left operands.
    pub a_bytes: u64,
    /// Right operands.
    pub b_bytes: u64,
    /// Results and operands of the vector unit.
    pub c_bytes: u64,
    /// What the backward pass reads of the forward pass, if there is such a memory.
    pub stash_bytes: u64,
    /// The global buffer, if there is one: state, and what one command leaves for another.
    #[serde(skip_serializing_if = "is_zero")]
    pub buffer_bytes: u64,
}

/// What serde skips needs a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

impl Scratchpads {
    /// The key in JSON of a memory, and its bytes.
    pub(crate) fn of(&self, buffer: Buffer) -> (&'static str, u64) {
        match buffer {
            Buffer::A => ("a_bytes", self.a_bytes),
            Buffer::B => ("b_bytes", self.b_bytes),
            Buffer::C => ("c_bytes", self.c_bytes),
            Buffer::Stash => ("stash_bytes", self.stash_bytes),
            Buffer::Global => ("buffer_bytes", self.buffer_bytes),
        }
    }
}

impl Default for Scratchpads {
    fn default() -> Self {
        let pad = 32 << 10;
        Self { a_bytes: pad, b_bytes: pad, c_bytes: pad, stash_bytes: 0, buffer_bytes: 0 }
    }
}

/// The memory off chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dram {
    /// The kind, which decides the energy of a bit.
    pub kind: DramKind,
    /// Transfers are padded to a multiple of this.
    pub burst_bytes: u64,
    /// Bytes moved per clock cycle of the array; left out, any number: nothing waits for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub bytes_per_cycle: Option<u64>,
    /// Cycles from the start of a transfer until its first byte arrives.
    #[schemars(range(max = 1_048_576))]
    pub latency_cycles: u64,
}

impl Default for Dram {
    fn default() -> Self {
        Self { kind: DramKind::Lpddr4, burst_bytes: 32, bytes_per_cycle: None, latency_cycles: 0 }
    }
}

impl Dram {
    /// Whether the array may have to wait for it.
    pub fn is_ideal(&self) -> bool {
        self.bytes_per_cycle.is_none() && self.latency_cycles == 0
    }

    /// Cycles of a transfer.
    pub(crate) fn cycles(&self, bytes: u64) -> u128 {
        if bytes == 0 {
            return 0;
        }
        let moved = self.bytes_per_cycle.map_or(0, |per_cycle| bytes.div_ceil(per_cycle));
        u128::from(self.latency_cycles) + u128::from(moved)
    }
}

/// How an operand is read that lies across the order in which the array takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Through a register transposer at the array's edge.
    #[default]
    Transposer,
    /// From a second copy, which was written when the tensor was.
    TwoCopies,
}

/// What stays on chip from one command to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Residency {
    /// Nothing.
    #[default]
    None,
    /// What the next command reads, if it fits half the scratchpad of C.
    KeepIfNext,
}

/// When weights are updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// Once their gradient is written to memory, by commands of their own.
    #[default]
    Separate,
    /// Tile by tile as their gradient leaves the array, which waits meanwhile: the gradient is written to
    /// the scratchpad of C, read from it, and goes nowhere else. A step that chooses the gradient's scale
    /// from itself is separate.
    Fused,
}

impl UpdateOrder {
    /// What serde skips needs a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_separate(&self) -> bool {
        *self == Self::Separate
    }
}

/// The most bytes per cycle, and cycles of latency: a megabyte.
const RATE_MAX: u64 = 1 << 20;

/// The largest scratchpad: a tebibyte.
const PAD_MAX: u64 = 1 << 40;

/// An energy profile, by the name of one that is part of the program, or in full.
#[derive(Clone, Debug, PartialEq)]
pub struct EnergyModel {
    profile: Arc<Profile>,
    by_name: bool,
}

impl From<Profile> for EnergyModel {
    fn from(profile: Profile) -> Self {
        Self { profile: profile.into(), by_name: false }
    }
}

impl Default for EnergyModel {
    fn default() -> Self {
        Self { profile: Profile::horowitz45().into(), by_name: true }
    }
}

impl Serialize for EnergyModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.by_name {
            self.profile.name().serialize(serializer)
        } else {
            Profile::serialize(&self.profile, serializer)
        }
    }
}

impl<'de> Deserialize<'de> for EnergyModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
        struct EnergyModelVisitor;

        impl<'de> Visitor<'de> for EnergyModelVisitor {
            type Value = EnergyModel;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(
                    f,
                    "one of {}, the path of an energy profile, or a profile",
                    Profile::NAMES.join(", ")
                )
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<EnergyModel, E> {
                let unknown = || E::invalid_value(de::Unexpected::Str(name), &self);
                let profile = Profile::named(name).ok_or_else(unknown)?;
                Ok(EnergyModel { profile: profile.into(), by_name: true })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EnergyModel, A::Error> {
                let profile = Profile::deserialize(MapAccessDeserializer::new(map))?;
                Ok(EnergyModel { profile: profile.into(), by_name: false })
            }
        }

        deserializer.deserialize_any(EnergyModelVisitor)
    }
}

impl JsonSchema for EnergyModel {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EnergyModel".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let profile = generator.subschema_for::<Profile>();
        schemars::json_schema!({ "anyOf": [{ "enum": Profile::NAMES }, profile] })
    }
}

/// Which toggles are counted while training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Toggles {
    /// None.
    Off,
    /// Those of operands in every step, and those of accumulators in one step of 64.
    #[default]
    Sampled,
    /// All.
    Exact,
}

/// What energy is given for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dependence {
    /// Data of which half the bits flip, and none is zero.
    #[default]
    Average,
    /// Also for the data at hand, by the bits that flipped and the operands that were zero.
    Toggles,
}

impl Accelerator {
    /// Checks sizes.
    ///
    /// # Errors
    ///
    /// If the array is of zero or absurd size, a burst is not a power of two of 1 to 4096 bytes, there is
    /// a stash that the energy profile's table does not know, a node that it cannot be scaled to, an
    /// absurd clock, or energy is asked for by bits that flip where none are counted.
    pub fn validate(&self) -> Result<(), Error> {
        self.array.validate().map_err(|error| Error::at("accelerator.array", error))?;
        self.validate_energy()?;
        let burst = self.dram.burst_bytes;
        if !burst.is_power_of_two() || burst > 4096 {
            let problem = format!("bursts of {burst} bytes: expected a power of two, 1 to 4096");
            return Err(Error::at("accelerator.dram.burst_bytes", problem));
        }
        let Dram { bytes_per_cycle, latency_cycles, .. } = self.dram;
        if let Some(bytes) = bytes_per_cycle.filter(|bytes| !(1..=RATE_MAX).contains(bytes)) {
            let problem = format!("{bytes} bytes per cycle: expected 1 to {RATE_MAX}");
            return Err(Error::at("accelerator.dram.bytes_per_cycle", problem));
        }
        if latency_cycles > RATE_MAX {
            let problem = format!("{latency_cycles} cycles: expected at most {RATE_MAX}");
            return Err(Error::at("accelerator.dram.latency_cycles", problem));
        }
        for buffer in [Buffer::A, Buffer::B, Buffer::C] {
            let (key, bytes) = self.scratchpad.of(buffer);
            if bytes > PAD_MAX {
                let problem = format!("{bytes} bytes: expected at most {PAD_MAX}");
                return Err(Error::at(format!("accelerator.scratchpad.{key}"), problem));
            }
        }
        let Scratchpads { stash_bytes, buffer_bytes, .. } = self.scratchpad;
        if stash_bytes > 0 && buffer_bytes > 0 {
            let problem = format!(
                "a stash of {stash_bytes} bytes beside a buffer of {buffer_bytes}: expected one of \
                 them to be 0, as the buffer keeps what a stash would"
            );
            return Err(Error::at("accelerator.scratchpad.stash_bytes", problem));
        }
        // They may be too small for anything that would be priced.
        for buffer in [Buffer::Stash, Buffer::Global] {
            let (key, bytes) = self.scratchpad.of(buffer);
            if bytes > 0 {
                let price = self.profile()?.sram(bytes, 1);
                let refused = |error| Error::at(format!("accelerator.scratchpad.{key}"), error);
                price.map_err(refused)?;
            }
        }
        Ok(())
    }

    fn validate_energy(&self) -> Result<(), Error> {
        self.profile()?;
        if let Some(clock) = self.clock_mhz.filter(|clock| !(1.0..=1e4).contains(clock)) {
            let problem = format!("{} MHz: expected 1 to 10000", shown(clock));
            return Err(Error::at("accelerator.clock_mhz", problem));
        }
        if self.activity == Dependence::Toggles && self.toggles == Toggles::Off {
            let problem = "\"toggles\" needs bits that flip to be counted: expected \
                           accelerator.toggles to be \"sampled\" or \"exact\"";
            return Err(Error::at("accelerator.activity", problem));
        }
        Ok(())
    }

    /// The energy profile with the accelerator's memories at its node.
    ///
    /// # Errors
    ///
    /// If the profile is not one of 45 nm and another node is asked for, or one that is not known; or if it has
    /// no table of memories, and their transistors are stated.
    pub fn profile(&self) -> Result<Profile, Error> {
        let mut profile = Profile::clone(&self.energy.profile);
        if let Some(node) = self.node_nm {
            let refused = |error| Error::at("accelerator.node_nm", error);
            profile = profile.at_node(node).map_err(refused)?;
        }
        if let Some(cell) = self.sram {
            let refused = |error| Error::at("accelerator.sram", error);
            profile = profile.with_cell(cell).map_err(refused)?;
        }
        Ok(profile)
    }

    /// Bytes of a row of the DRAM, which is opened before any of it is moved.
    pub fn row_bytes(&self) -> u64 {
        self.energy.profile.dram_row_bytes(self.dram.kind)
    }

    /// The clock in MHz.
    pub fn clock_mhz(&self) -> f64 {
        self.clock_mhz.unwrap_or_else(|| self.energy.profile.clock_mhz())
    }

    /// Bits of the half of a scratchpad that the array works on.
    pub fn half_bits(&self, buffer: Buffer) -> u64 {
        4 * self.scratchpad.of(buffer).1
    }

    /// How the array runs a GEMM in a dataflow with accumulators of so many bits: partial sums have
    /// half the scratchpad of C.
    pub fn mapping(&self, shape: GemmShape, sum_bits: u32, stationary: Stationary) -> Mapping {
        let room = self.half_bits(Buffer::C) / u64::from(sum_bits);
        Mapping::new(&self.array, shape, stationary).fitting(room)
    }
}
