//! The `precision` section of an experiment, as it is written.
//!
//! Every setting is optional: a layer's override falls back on the plan of all layers, that on the
//! defaults of the role.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use systoliq_fxp::{Format, Interpolation, Overflow, OverflowAt, Rounding};
use systoliq_nn::EntryName;

use crate::command::Pass;

/// The kinds of [`Scale`](systoliq_fxp::Scale) by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleKind {
    /// `frac` is given.
    Static,
    /// `frac` follows from the bound of the initial weights, with `spare` bits to spare.
    Initial,
    /// `frac` is chosen from the tensor itself, at each step.
    Dynamic,
    /// `frac` is chosen from the `window` steps before.
    History,
    /// `frac` moves by one where more than `max_overflow_rate` of the elements of `every_batches` steps
    /// overflow, or would not with half the range.
    OverflowRate,
    /// `frac` is chosen for each `block` of elements along the axis that products sum over.
    Block,
}

/// The settings of one role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TensorSettings {
    /// Width of a code, sign bit included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<u32>,
    /// Fraction bits; implies a static scale. With an overflow rate: those of the first steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frac: Option<i32>,
    /// Whether codes are two's complement. Left out: yes where `bits` and `frac` are stated and the
    /// scale is static, else as the role has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
    /// How the number of fraction bits is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleKind>,
    /// With an initial scale: how many times the range may double.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spare: Option<u32>,
    /// With a history scale: steps remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// With an overflow rate: the share of elements that may overflow, between 0 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_overflow_rate: Option<f64>,
    /// With an overflow rate: steps between decisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_batches: Option<u32>,
    /// With a block scale: elements of a block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
    /// How bits are dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// What happens outside the range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
}

/// The settings of accumulators: of all products that train a layer, and of one of them, which goes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccumulatorSettings {
    /// Width of the register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<u32>,
    /// Fraction bits; those of the product if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frac: Option<i32>,
    /// How many low bits of each product are not kept, in the place of `frac`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<u32>,
    /// How a product with more fraction bits is aligned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// What happens to a sum that leaves the range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
    /// When it happens: at each addition, or once after the bias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow_at: Option<OverflowAt>,
    /// So many consecutive products are summed from zero, and then their sum is added.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub chunk: Option<u32>,
    /// What differs for the outputs of layers; it holds no further products.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Box<Self>>,
    /// The same for gradients of activations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_gradient: Option<Box<Self>>,
    /// The same for gradients of weights and of the bias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_gradient: Option<Box<Self>>,
}

impl AccumulatorSettings {
    /// The passes that have products.
    pub const PASSES: [Pass; 3] = [Pass::Forward, Pass::InputGradient, Pass::WeightGradient];

    /// What is stated of the product of one pass.
    pub fn of(&self, pass: Pass) -> Option<&Self> {
        match pass {
            Pass::Forward => self.forward.as_deref(),
            Pass::InputGradient => self.input_gradient.as_deref(),
            Pass::WeightGradient => self.weight_gradient.as_deref(),
            Pass::Update => None,
        }
    }
}

/// The settings of the learning rate's multiplier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateSettings {
    /// Width of the mantissa, 1 to 16; 1 makes every rate a power of two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<u32>,
}

/// The settings of the softmax unit; see [`SoftmaxFormat`](systoliq_fxp::SoftmaxFormat).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SoftmaxSettings {
    /// Fraction bits of the exponents of 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponent_frac: Option<u32>,
    /// Intervals of its tables, a power of two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u32>,
    /// Fraction bits of the tables' entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_frac: Option<u32>,
    /// What is taken between two entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// Fraction bits of probabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability_frac: Option<u32>,
}

/// Settings that may also be written as a format in Q notation.
pub trait FromFormat {
    /// The settings that the notation stands for.
    fn from_format(format: Format) -> Self;
}

impl FromFormat for TensorSettings {
    fn from_format(format: Format) -> Self {
        Self {
            bits: Some(format.bits()),
            frac: Some(format.frac()),
            signed: Some(format.is_signed()),
            scale: Some(ScaleKind::Static),
            ..Self::default()
        }
    }
}

/// Settings as written: a format in Q notation, or an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsWritten<T>(pub T);

impl<T: Serialize> Serialize for AsWritten<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: FromFormat + Deserialize<'de>> Deserialize<'de> for AsWritten<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);

        impl<'de, T: FromFormat + Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a format such as \"Q2.6\", or an object such as {\"bits\": 8}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
                text.parse().map(T::from_format).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(Either(std::marker::PhantomData)).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for AsWritten<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Written{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (format, object) =
            (generator.subschema_for::<Format>(), generator.subschema_for::<T>());
        json_schema!({ "anyOf": [format, object] })
    }
}

/// The `precision` section: settings by role, and overrides per layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrecisionSpec {
    /// Samples as the first layer reads them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<AsWritten<TensorSettings>>,
    /// Weights as the array reads them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<AsWritten<TensorSettings>>,
    /// Weights as the update writes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<AsWritten<TensorSettings>>,
    /// Biases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<AsWritten<TensorSettings>>,
    /// Outputs of hidden layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activations: Option<AsWritten<TensorSettings>>,
    /// Outputs of the last layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logits: Option<AsWritten<TensorSettings>>,
    /// Targets of a regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<AsWritten<TensorSettings>>,
    /// Gradient of the loss with respect to the outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<AsWritten<TensorSettings>>,
    /// Gradients with respect to pre-activations of hidden layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradients: Option<AsWritten<TensorSettings>>,
    /// Gradients with respect to weights and biases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_gradients: Option<AsWritten<TensorSettings>>,
    /// What momentum gathers of gradients with respect to weights and biases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<AsWritten<TensorSettings>>,
    /// What the weights' format cannot hold of the weights; stated, it takes the place of the master.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual: Option<AsWritten<TensorSettings>>,
    /// Accumulators of the array and of the bias gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accumulator: Option<AccumulatorSettings>,
    /// The multiplier of the learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateSettings>,
    /// The softmax unit of a classifier; not in overrides of layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub softmax: Option<SoftmaxSettings>,
    /// Overrides of single layers with weights, numbered from 0; they hold no further `layers`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub layers: BTreeMap<usize, PrecisionSpec>,
}

impl PrecisionSpec {
    /// What overrides it for an entry of the network, if something does.
    pub fn of(&self, entry: EntryName) -> Option<&Self> {
        self.layers.get(&entry.number()?)
    }
}
