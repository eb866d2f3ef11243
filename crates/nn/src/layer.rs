//! One entry of a network, as JSON has it: a name alone, `"relu"`, or an object with one operator as its
//! key and, if wanted, `"name"` and `"reads"`.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One entry of a [`Network`](crate::Network).
///
/// ```
/// use systoliq_nn::layer::{LayerSpec, OperatorSpec};
/// let read = |json| serde_json::from_str::<LayerSpec>(json);
/// assert_eq!(read(r#""relu""#)?.operator, OperatorSpec::Relu);
/// let add = read(r#"{ "add": {}, "reads": ["stem", "-"], "name": "sum" }"#)?;
/// assert_eq!(add.reads, Some(vec!["stem".to_owned(), "-".to_owned()]));
/// let both = read(r#"{ "add": {}, "relu": {} }"#).unwrap_err().to_string();
/// assert!(both.contains("`add` and `relu`"), "{both}");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// What others call it.
    pub name: Option<String>,
    /// The names of what it reads: of entries above it, `"x"` for the input, `"-"` for the entry just above.
    /// Unless stated, that.
    pub reads: Option<Vec<String>>,
    /// What it does.
    pub operator: OperatorSpec,
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq)]
pub enum OperatorSpec {
    /// `Z = X·Wᵀ + b`.
    Dense(DenseSpec),
    /// Windows of an image times filters.
    Conv2d(Conv2dSpec),
    /// The largest of each window.
    MaxPool(MaxPoolSpec),
    /// The mean of each window.
    AvgPool(AvgPoolSpec),
    /// The mean of all places, channel by channel.
    GlobalAvgPool,
    /// The sum of what it reads.
    Add,
    /// An image as features, in the order (y, x, channel).
    Flatten,
    /// `max(0, ·)`.
    Relu,
    /// `min(max(0, ·), max)`.
    ClippedRelu(ClippedReluSpec),
    /// `1 / (1 + e^-z)`.
    Sigmoid,
    /// `tanh z`.
    Tanh,
}

/// A dense (fully connected) layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DenseSpec {
    /// Number of outputs.
    pub units: usize,
    /// Whether a bias is added. Default true.
    #[serde(default = "yes")]
    pub bias: bool,
}

/// A convolution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conv2dSpec {
    /// Number of output channels.
    pub filters: usize,
    /// Taps down and along.
    pub kernel: AxisSizes,
    /// From window to window. Default 1.
    #[serde(default = "AxisSizes::one", skip_serializing_if = "AxisSizes::is_one")]
    pub stride: AxisSizes,
    /// Zeros around the image. Default 0.
    #[serde(default, skip_serializing_if = "Padding::is_none")]
    pub padding: Padding,
    /// From tap to tap. Default 1.
    #[serde(default = "AxisSizes::one", skip_serializing_if = "AxisSizes::is_one")]
    pub dilation: AxisSizes,
    /// Parts of channels and filters that have to do with each other alone. Default 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// Whether a bias is added. Default true.
    #[serde(default = "yes")]
    pub bias: bool,
}

/// Max pooling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxPoolSpec {
    /// Pixels of a window, down and along.
    pub kernel: AxisSizes,
    /// From window to window. Default the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<AxisSizes>,
    /// Places around the image, which never win. Default 0.
    #[serde(default, skip_serializing_if = "Padding::is_none")]
    pub padding: Padding,
}

/// Average pooling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AvgPoolSpec {
    /// Pixels of a window, down and along.
    pub kernel: AxisSizes,
    /// From window to window. Default the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<AxisSizes>,
    /// Zeros around the image. Default 0.
    #[serde(default, skip_serializing_if = "Padding::is_none")]
    pub padding: Padding,
    /// Whether the zeros of the padding are counted. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub count_padding: bool,
}

/// A ReLU that is clipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClippedReluSpec {
    /// What values are clipped at, more than 0; it is rounded to 16 fraction bits.
    pub max: f64,
}

/// Nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

const fn yes() -> bool {
    true
}

const fn one() -> usize {
    1
}

/// What serde skips needs a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_one(value: &usize) -> bool {
    *value == 1
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Two extents, down and along: `3`, or `[3, 5]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "NumberOrNumbers")]
pub struct AxisSizes(pub [usize; 2]);

impl AxisSizes {
    const fn one() -> Self {
        Self([1; 2])
    }

    fn is_one(&self) -> bool {
        *self == Self::one()
    }
}

/// Places around an image: `1`, `[y, x]`, or `[top, left, bottom, right]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(with = "NumberOrNumbers")]
pub struct Padding(pub [usize; 4]);

impl Padding {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What a schema says of extents and padding.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum NumberOrNumbers {
    Number(usize),
    Numbers(Vec<usize>),
}

/// Reads a number, or an array of at most four.
struct NumberVisitor(&'static str);

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Vec<usize>, E> {
        let number = de::Unexpected::Unsigned(value);
        let value = usize::try_from(value);
        value.map(|value| vec![value]).map_err(|_| E::invalid_value(number, &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Vec<usize>, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<usize>, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = sequence.next_element()? {
            numbers.push(number);
            if numbers.len() > 4 {
                return Err(de::Error::invalid_length(numbers.len(), &self));
            }
        }
        Ok(numbers)
    }
}

impl<'de> Deserialize<'de> for AxisSizes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a whole number or two, down and along";
        match deserializer.deserialize_any(NumberVisitor(EXPECTED))?[..] {
            [both] => Ok(Self([both; 2])),
            [down, along] => Ok(Self([down, along])),
            ref other => Err(de::Error::invalid_length(other.len(), &EXPECTED)),
        }
    }
}

impl<'de> Deserialize<'de> for Padding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str =
            "a whole number, two, down and along, or four: top, left, bottom and right";
        match deserializer.deserialize_any(NumberVisitor(EXPECTED))?[..] {
            [all] => Ok(Self([all; 4])),
            [down, along] => Ok(Self([down, along, down, along])),
            [top, left, bottom, right] => Ok(Self([top, left, bottom, right])),
            ref other => Err(de::Error::invalid_length(other.len(), &EXPECTED)),
        }
    }
}

impl Serialize for AxisSizes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [down, along] if down == along => down.serialize(serializer),
            both => both.serialize(serializer),
        }
    }
}

impl Serialize for Padding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [top, left, bottom, right] = self.0;
        match (top == bottom && left == right, top == left) {
            (true, true) => top.serialize(serializer),
            (true, false) => [top, left].serialize(serializer),
            _ => self.0.serialize(serializer),
        }
    }
}

/// An entry as an object.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct WrittenLayer {
    #[serde(skip_serializing_if = "Option::is_none")]
    dense: Option<DenseSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conv2d: Option<Conv2dSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pool: Option<MaxPoolSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avg_pool: Option<AvgPoolSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    global_avg_pool: Option<NoSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add: Option<NoSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flatten: Option<NoSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relu: Option<NoSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clipped_relu: Option<ClippedReluSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sigmoid: Option<NoSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tanh: Option<NoSettings>,
    /// What others call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The names of what it reads: of entries above, `"x"` for the input, `"-"` for the one just above.
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<Vec<String>>,
}

impl OperatorSpec {
    /// The key that it has in JSON.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Dense(_) => "dense",
            Self::Conv2d(_) => "conv2d",
            Self::MaxPool(_) => "max_pool",
            Self::AvgPool(_) => "avg_pool",
            Self::GlobalAvgPool => "global_avg_pool",
            Self::Add => "add",
            Self::Flatten => "flatten",
            Self::Relu => "relu",
            Self::ClippedRelu(_) => "clipped_relu",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
        }
    }
}

/// Operators of which there is nothing to set, so that their name alone is enough.
const PLAIN: [OperatorSpec; 6] = [
    OperatorSpec::GlobalAvgPool,
    OperatorSpec::Add,
    OperatorSpec::Flatten,
    OperatorSpec::Relu,
    OperatorSpec::Sigmoid,
    OperatorSpec::Tanh,
];

/// The keys of all operators, of which the first have settings.
const OPERATORS: &[&str] = &[
    "dense",
    "conv2d",
    "max_pool",
    "avg_pool",
    "clipped_relu",
    "global_avg_pool",
    "add",
    "flatten",
    "relu",
    "sigmoid",
    "tanh",
];

impl From<OperatorSpec> for LayerSpec {
    fn from(operator: OperatorSpec) -> Self {
        Self { name: None, reads: None, operator }
    }
}

impl WrittenLayer {
    /// What it is called, what it reads, and the operators that it has as keys.
    fn parts(self) -> (Option<String>, Option<Vec<String>>, Vec<OperatorSpec>) {
        let plain = |written: Option<NoSettings>, operator| written.map(|NoSettings {}| operator);
        let found = [
            self.dense.map(OperatorSpec::Dense),
            self.conv2d.map(OperatorSpec::Conv2d),
            self.max_pool.map(OperatorSpec::MaxPool),
            self.avg_pool.map(OperatorSpec::AvgPool),
            plain(self.global_avg_pool, OperatorSpec::GlobalAvgPool),
            plain(self.add, OperatorSpec::Add),
            plain(self.flatten, OperatorSpec::Flatten),
            plain(self.relu, OperatorSpec::Relu),
            self.clipped_relu.map(OperatorSpec::ClippedRelu),
            plain(self.sigmoid, OperatorSpec::Sigmoid),
            plain(self.tanh, OperatorSpec::Tanh),
        ];
        (self.name, self.reads, found.into_iter().flatten().collect())
    }

    fn of(layer: &LayerSpec) -> Self {
        let LayerSpec { name, reads, operator } = layer.clone();
        let mut written = Self { name, reads, ..Self::default() };
        let plain = Some(NoSettings {});
        match operator {
            OperatorSpec::Dense(dense) => written.dense = Some(dense),
            OperatorSpec::Conv2d(convolution) => written.conv2d = Some(convolution),
            OperatorSpec::MaxPool(pool) => written.max_pool = Some(pool),
            OperatorSpec::AvgPool(pool) => written.avg_pool = Some(pool),
            OperatorSpec::GlobalAvgPool => written.global_avg_pool = plain,
            OperatorSpec::Add => written.add = plain,
            OperatorSpec::Flatten => written.flatten = plain,
            OperatorSpec::Relu => written.relu = plain,
            OperatorSpec::ClippedRelu(clipped) => written.clipped_relu = Some(clipped),
            OperatorSpec::Sigmoid => written.sigmoid = plain,
            OperatorSpec::Tanh => written.tanh = plain,
        }
        written
    }
}

struct LayerVisitor;

impl<'de> Visitor<'de> for LayerVisitor {
    type Value = LayerSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("string or map")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<LayerSpec, E> {
        let plain = PLAIN.into_iter().find(|operator| operator.key() == key);
        match plain {
            Some(operator) => Ok(operator.into()),
            None if OPERATORS.contains(&key) => Err(E::custom(format!(
                "a name alone, expected an object with `{key}` as its key and settings as its value"
            ))),
            None => Err(E::unknown_variant(key, OPERATORS)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LayerSpec, A::Error> {
        let written = WrittenLayer::deserialize(MapAccessDeserializer::new(map))?;
        let (name, reads, operators) = written.parts();
        match <[OperatorSpec; 1]>::try_from(operators) {
            Ok([operator]) => Ok(LayerSpec { name, reads, operator }),
            Err(found) => {
                let found: Vec<_> =
                    found.iter().map(|operator| format!("`{}`", operator.key())).collect();
                let found = match &found[..] {
                    [] => "no operator".to_owned(),
                    several => several.join(" and "),
                };
                let expected = OPERATORS.join("`, `");
                Err(de::Error::custom(format!("{found}, expected one key of `{expected}`")))
            }
        }
    }
}

impl<'de> Deserialize<'de> for LayerSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LayerVisitor)
    }
}

impl Serialize for LayerSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.name.is_none() && self.reads.is_none() && PLAIN.contains(&self.operator) {
            return self.operator.key().serialize(serializer);
        }
        WrittenLayer::of(self).serialize(serializer)
    }
}

/// What a schema says of an entry.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum LayerForms {
    /// The name of an operator of which there is nothing to set.
    Name(PlainName),
    /// One operator as a key, with its settings; and what it is called and reads.
    Object(Box<WrittenLayer>),
}

/// An operator of which there is nothing to set.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
enum PlainName {
    GlobalAvgPool,
    Add,
    Flatten,
    Relu,
    Sigmoid,
    Tanh,
}

impl JsonSchema for LayerSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LayerSpec".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        LayerForms::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_written_as_they_are_read() {
        for json in [
            r#""relu""#,
            r#""global_avg_pool""#,
            r#"{"dense":{"units":3,"bias":true}}"#,
            r#"{"conv2d":{"filters":8,"kernel":5,"bias":false},"name":"stem"}"#,
            r#"{"conv2d":{"filters":8,"kernel":[5,3],"stride":2,"padding":[1,0,2,0],"dilation":[2,1],"groups":2,"bias":true}}"#,
            r#"{"max_pool":{"kernel":2,"stride":[2,1],"padding":[1,0]}}"#,
            r#"{"avg_pool":{"kernel":3,"count_padding":true}}"#,
            r#"{"add":{},"reads":["stem","-"]}"#,
            r#"{"clipped_relu":{"max":6.0}}"#,
        ] {
            let read: LayerSpec = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
        }
        let empty: LayerSpec = serde_json::from_str(r#"{"relu": {}}"#).unwrap();
        assert_eq!(empty, OperatorSpec::Relu.into());
    }

    #[test]
    fn what_is_no_entry_is_refused_with_what_was_found() {
        for (json, said) in [
            (r#""dense""#, "a name alone, expected an object with `dense`"),
            (r#""conv3d""#, "unknown variant `conv3d`"),
            (r#"{"name": "a"}"#, "no operator, expected one key of `dense`"),
            (r#"{"relu": {}, "add": {}}"#, "`add` and `relu`, expected one key of"),
            (r#"{"relu": 1}"#, "invalid type: integer `1`"),
            (r#"{"relu": {"max": 1}}"#, "unknown field `max`"),
            (r#"{"max_pool": {}}"#, "missing field `kernel`"),
            (r#"{"max_pool": {"kernel": -1}}"#, "integer `-1`, expected a whole number or two"),
            (r#"{"max_pool": {"kernel": [1, 2, 3]}}"#, "length 3, expected a whole number or two"),
            (r#"{"conv2d": {"filters": 1, "kernel": 1, "padding": [1, 2, 3]}}"#, "length 3"),
            (r#"{"conv2d": {"filters": 1, "kernel": 1, "padding": [1, 2, 3, 4, 5]}}"#, "length 5"),
            (r#"{"conv2d": {"filters": 1, "kernel": 1.5}}"#, "floating point `1.5`"),
            ("3", "integer `3`, expected string or map"),
        ] {
            let message = serde_json::from_str::<LayerSpec>(json).unwrap_err().to_string();
            assert!(message.contains(said), "{json}: {message}");
        }
    }
}
