//! The accelerator: array, scratchpads, DRAM and the energy of their events.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use systoliq_array::Array;

use crate::Error;
use crate::activity::Toggles;
use crate::energy::{DramKind, Profile};

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
    /// What events cost: `"horowitz45"`, or an energy profile.
    #[serde(default)]
    pub energy: EnergyModel,
    /// Which bits that flip are counted while training.
    #[serde(default)]
    pub toggles: Toggles,
}

/// Sizes of the three double-buffered scratchpads: each half holds what the array works on while
/// the other is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scratchpads {
    /// Left operands.
    pub a_bytes: u64,
    /// Right operands.
    pub b_bytes: u64,
    /// Results and operands of the vector unit.
    pub c_bytes: u64,
}

impl Default for Scratchpads {
    fn default() -> Self {
        Self { a_bytes: 32 << 10, b_bytes: 32 << 10, c_bytes: 32 << 10 }
    }
}

/// The memory off chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dram {
    /// The kind, which decides the energy of a bit.
    pub kind: DramKind,
    /// Transfers are padded to a multiple of this.
    pub burst_bytes: u64,
}

impl Default for Dram {
    fn default() -> Self {
        Self { kind: DramKind::Lpddr4, burst_bytes: 32 }
    }
}

/// An energy profile, by the name of one that is part of the program, or in full.
#[derive(Clone, Debug, PartialEq)]
pub struct EnergyModel {
    profile: Profile,
    by_name: bool,
}

/// The profile that is part of the program.
const BUILT_IN: &str = "horowitz45";

impl EnergyModel {
    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }
}

impl Default for EnergyModel {
    fn default() -> Self {
        Self { profile: Profile::horowitz45(), by_name: true }
    }
}

impl Serialize for EnergyModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.by_name {
            BUILT_IN.serialize(serializer)
        } else {
            self.profile.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for EnergyModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = EnergyModel;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "\"{BUILT_IN}\", the path of an energy profile, or a profile")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<EnergyModel, E> {
                if name == BUILT_IN {
                    return Ok(EnergyModel::default());
                }
                Err(E::invalid_value(de::Unexpected::Str(name), &self))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EnergyModel, A::Error> {
                let profile = Profile::deserialize(MapAccessDeserializer::new(map))?;
                Ok(EnergyModel { profile, by_name: false })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for EnergyModel {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EnergyModel".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let profile = generator.subschema_for::<Profile>();
        schemars::json_schema!({ "anyOf": [{ "const": BUILT_IN }, profile] })
    }
}

impl Accelerator {
    /// Checks sizes.
    ///
    /// # Errors
    ///
    /// If the array is of zero or absurd size, or a burst is not a power of two of 1 to 4096 bytes.
    pub fn validate(&self) -> Result<(), Error> {
        self.array.validate().map_err(|error| Error::at("accelerator.array", error))?;
        let burst = self.dram.burst_bytes;
        if !burst.is_power_of_two() || burst > 4096 {
            let problem = format!("bursts of {burst} bytes: expected a power of two, 1 to 4096");
            return Err(Error::at("accelerator.dram.burst_bytes", problem));
        }
        Ok(())
    }
}
