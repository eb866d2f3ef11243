//! The network as a graph: operators, the values that they read and make, and their shapes.
//!
//! A chain of layers is a graph in which every operator reads what the one before it makes. Any graph
//! without cycles can be held.

use std::collections::BTreeMap;
use std::fmt;

use ndarray::Array2;
use systoliq_keyed_random::Key;

use crate::Error;
use crate::network::{Loss, Network};
use crate::operator::{EdgeFunction, Operator, WeightShape, Window};

mod build;
mod name;

pub use name::EntryName;

/// A value of a network: the input, or what an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub usize);

impl ValueId {
    /// The input.
    pub const INPUT: Self = Self(0);

    /// What entry `entry` of the network makes.
    pub const fn made_by(entry: usize) -> Self {
        Self(entry + 1)
    }

    /// The entry that makes it; none makes the input.
    pub fn entry(self) -> Option<usize> {
        self.0.checked_sub(1)
    }
}

/// The shape of a value, per sample. Values are stored as matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `[features]`, one row.
    Features(usize),
    /// Channels last: one row for each place, row-major.
    Image {
        /// Places downwards.
        height: usize,
        /// Places along.
        width: usize,
        /// Columns.
        channels: usize,
    },
}

impl Shape {
    /// Rows per sample.
    pub const fn rows(self) -> usize {
        match self {
            Self::Features(_) => 1,
            Self::Image { height, width, .. } => height * width,
        }
    }

    /// Columns.
    pub const fn columns(self) -> usize {
        match self {
            Self::Features(features) => features,
            Self::Image { channels, .. } => channels,
        }
    }

    /// Elements per sample.
    pub const fn elements(self) -> usize {
        self.rows() * self.columns()
    }
}

/// As networks write it: `[features]` or `[channels, height, width]`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Features(features) => write!(f, "[{features}]"),
            Self::Image { height, width, channels } => write!(f, "[{channels}, {height}, {width}]"),
        }
    }
}

/// An entry of a network, in its graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is called.
    pub name: EntryName,
    /// What it does.
    pub operator: Operator,
    /// The values that it reads, those behind views themselves.
    pub reads: Vec<ValueId>,
    /// The shape of the value that it makes.
    pub shape: Shape,
}

/// A layer with weights, and where it stands in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedLayer {
    /// Its number among the layers with weights, from 0.
    pub number: usize,
    /// Its place among the nodes.
    pub entry: usize,
    /// Its weights.
    pub weights: WeightShape,
    /// What it reads.
    pub reads: ValueId,
    /// What is stored of it: what leaves its edge.
    pub output: ValueId,
}

/// A network whose shapes fit: what a [`Golden`](crate::Golden) model trains and what is lowered
/// to a program.
///
/// ```
/// use systoliq_nn::{EdgeFunction, Graph, ValueId};
/// let network = serde_json::from_str(r#"{
///     "input": [64], "layers": [{"dense": {"units": 16}}, "relu", {"dense": {"units": 10}}],
///     "loss": "mse"
/// }"#).unwrap();
/// let graph = Graph::new(&network)?;
/// // The ReLU is fused into the edge of the first layer: what that makes is not stored.
/// assert!(graph.stored().eq([ValueId(0), ValueId(2), ValueId(3)]));
/// assert_eq!(graph.maker(ValueId(2)), Some(0));
/// assert_eq!(graph.edge(ValueId(2)), [EdgeFunction::Relu]);
/// # Ok::<(), systoliq_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Graph {
    /// The shape of a sample.
    pub input: Shape,
    /// The operators, in the order of the network's layers; at least one. Each reads what those
    /// before it make.
    pub nodes: Vec<Node>,
    /// The loss, which reads what the last one makes.
    pub loss: Loss,
    /// By value: the entries that read it, in their order.
    readers: Vec<Vec<usize>>,
    /// By number.
    weighted: Vec<WeightedLayer>,
    /// Entries by the names that they were given.
    labels: BTreeMap<String, usize>,
}

impl Graph {
    /// The most entries of a network.
    pub const LAYERS_MAX: usize = 1 << 10;
    /// The most weights of all layers together.
    pub const WEIGHTS_MAX: usize = 1 << 28;
    /// The most inputs, and the most units of a layer.
    pub const EXTENT_MAX: usize = 1 << 24;

    /// Works out the shapes of `network`. Takes no memory but for the list of layers.
    ///
    /// # Errors
    ///
    /// If an extent is zero or exceeds [`EXTENT_MAX`](Self::EXTENT_MAX), there are no or too many entries,
    /// an entry cannot read what it is told to, a value is read by none, the last makes no features, or
    /// the weights exceed [`WEIGHTS_MAX`](Self::WEIGHTS_MAX).
    pub fn new(network: &Network) -> Result<Self, Error> {
        Error::check_count("network.layers", network.layers.len(), 1, Self::LAYERS_MAX)?;
        let input = build::input(&network.input, &network.layers)?;
        let mut builder = build::Builder::new(input);
        let entries = network.layers.iter().map(|layer| builder.entry(layer));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        builder.finish(&network.layers)?;
        let graph = Self::connect(input, entries, network.loss);
        Ok(Self { labels: builder.labels, ..graph })
    }

    /// The graph of operators, each with the values that it reads.
    ///
    /// # Panics
    ///
    /// If there are none, one reads a value that is not made above it or has another shape than it
    /// reads, or a value but the last is read by none.
    pub fn connect(input: Shape, entries: Vec<(Operator, Vec<ValueId>)>, loss: Loss) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        let mut readers = vec![Vec::new(); entries.len() + 1];
        // What each value is that may be a view of another.
        let mut viewed = vec![ValueId::INPUT];
        let mut numbers = 0..;
        for (entry, (operator, reads)) in entries.into_iter().enumerate() {
            let resolve = |value: ValueId| {
                assert!(value.0 <= entry, "entry {entry} reads {value:?}, which is not above it");
                viewed[value.0]
            };
            let reads: Vec<ValueId> = reads.into_iter().map(resolve).collect();
            let shape_of =
                |value: &ValueId| value.entry().map_or(input, |maker| nodes[maker].shape);
            let shape = operator.shape(&reads.iter().map(shape_of).collect::<Vec<_>>());
            if operator == Operator::Flatten {
                viewed.push(reads[0]);
            } else {
                viewed.push(ValueId::made_by(entry));
                reads.iter().for_each(|value| readers[value.0].push(entry));
            }
            let number = operator.weights().and_then(|_| numbers.next());
            let name = number.map_or(EntryName::Place(entry), EntryName::Number);
            nodes.push(Node { name, operator, reads, shape });
        }
        let is_unread = |&at: &usize| viewed[at].0 == at && readers[at].is_empty();
        let unread: Vec<usize> = (0..readers.len()).filter(is_unread).collect();
        assert_eq!(unread, [nodes.len()], "the values that nobody reads, and the output");
        let (weighted, labels) = (Vec::new(), BTreeMap::new());
        let mut graph = Self { input, nodes, loss, readers, weighted, labels };
        graph.weighted = graph.find_weighted();
        graph
    }

    /// The place of the entry that was given a name.
    pub fn labelled(&self, label: &str) -> Option<usize> {
        self.labels.get(label).copied()
    }

    /// The name that an entry was given.
    pub fn label(&self, entry: usize) -> Option<&str> {
        self.labels.iter().find_map(|(label, &at)| (at == entry).then_some(&label[..]))
    }

    /// Values that it reads per sample.
    pub fn inputs(&self) -> usize {
        self.input.elements()
    }

    /// Values that it makes per sample.
    pub fn outputs(&self) -> usize {
        self.shape(self.output()).elements()
    }

    /// The value that the loss reads.
    pub fn output(&self) -> ValueId {
        ValueId(self.nodes.len())
    }

    /// The shape of a value.
    pub fn shape(&self, value: ValueId) -> Shape {
        value.entry().map_or(self.input, |entry| self.nodes[entry].shape)
    }

    /// The entries that read a value, in their order; one that reads it twice is there twice.
    pub fn readers(&self, value: ValueId) -> &[usize] {
        &self.readers[value.0]
    }

    /// The value into whose edge the function that stands at `entry` is fused: where it stands directly
    /// behind an operator that has an edge, and nothing else reads what that makes.
    fn fused(&self, entry: usize) -> Option<ValueId> {
        let Node { operator, reads, .. } = &self.nodes[entry];
        operator.function()?;
        let behind = &self.nodes[reads[0].entry()?];
        let fused = behind.operator.has_edge() && self.readers(reads[0]).len() == 1;
        fused.then_some(reads[0])
    }

    /// The entry whose operator makes a value, which may be another than the function that it leaves
    /// last; none makes the input.
    pub fn maker(&self, value: ValueId) -> Option<usize> {
        let entry = value.entry()?;
        self.fused(entry).map_or(Some(entry), |before| self.maker(before))
    }

    /// What is stored of the value that an entry makes: what leaves its edge.
    pub fn stored_of(&self, entry: usize) -> ValueId {
        let value = ValueId::made_by(entry);
        match self.readers(value) {
            &[only] if self.fused(only) == Some(value) => self.stored_of(only),
            _ => value,
        }
    }

    /// The edge of a value: the functions that are fused into the operator that makes it, first to last.
    /// A function that is not fused makes a value by itself, whose edge has this one function.
    pub fn edge(&self, value: ValueId) -> Vec<EdgeFunction> {
        let Some(entry) = value.entry() else { return Vec::new() };
        let mut edge = self.fused(entry).map_or_else(Vec::new, |before| self.edge(before));
        edge.extend(self.nodes[entry].operator.function());
        edge
    }

    /// The values that are stored, in the order of their makers: the input, and of each operator what
    /// leaves its edge.
    pub fn stored(&self) -> impl DoubleEndedIterator<Item = ValueId> {
        let is_stored = |&entry: &usize| {
            self.nodes[entry].operator != Operator::Flatten && self.fused(entry).is_none()
        };
        let makers = (0..self.nodes.len()).filter(is_stored);
        std::iter::once(ValueId::INPUT).chain(makers.map(|maker| self.stored_of(maker)))
    }

    /// Whether weights have part in a value, so that it has a gradient.
    pub fn trains(&self, value: ValueId) -> bool {
        value.entry().is_some_and(|entry| {
            let node = &self.nodes[entry];
            node.operator.weights().is_some() || node.reads.iter().any(|&read| self.trains(read))
        })
    }

    /// Whether nothing negative can be in a value, whatever the weights and the input.
    pub fn is_nonnegative(&self, value: ValueId) -> bool {
        let Some(maker) = self.maker(value) else { return false };
        let Node { operator, reads, .. } = &self.nodes[maker];
        let of_nonnegative = match operator {
            Operator::Add | Operator::MaxPool(_) | Operator::AvgPool(_) => {
                reads.iter().all(|&read| self.is_nonnegative(read))
            }
            Operator::Dense(_)
            | Operator::Conv2d(_)
            | Operator::Flatten
            | Operator::Function(_) => false,
        };
        of_nonnegative || self.edge(value).last().is_some_and(|function| function.is_nonnegative())
    }

    /// Whether a value leaves its operator through a ReLU, clipped or not.
    pub fn has_relu(&self, value: ValueId) -> bool {
        self.edge(value).into_iter().any(|function| match function {
            EdgeFunction::Relu | EdgeFunction::ClippedRelu(_) => true,
            EdgeFunction::Squash(_) => false,
        })
    }

    /// What the entry is called whose operator makes a value; the input has that of the first layer with
    /// weights.
    pub fn name_of(&self, value: ValueId) -> EntryName {
        self.maker(value).map_or(EntryName::Number(0), |maker| self.nodes[maker].name)
    }

    /// The layer with weights that makes a value, if one does.
    pub fn layer_of(&self, value: ValueId) -> Option<&WeightedLayer> {
        let number = self.nodes[self.maker(value)?].name.number()?;
        Some(&self.weighted[number])
    }

    /// The value whose codes this one holds: itself, or what the largest of windows are taken of.
    pub fn source(&self, value: ValueId) -> ValueId {
        let Some(entry) = self.maker(value) else { return value };
        let Node { operator, reads, .. } = &self.nodes[entry];
        match operator {
            Operator::MaxPool(_) => self.source(reads[0]),
            Operator::Dense(_)
            | Operator::Conv2d(_)
            | Operator::AvgPool(_)
            | Operator::Add
            | Operator::Flatten
            | Operator::Function(_) => value,
        }
    }

    /// The operator of a layer with weights.
    pub fn operator_of(&self, layer: &WeightedLayer) -> &Operator {
        &self.nodes[layer.entry].operator
    }

    /// Its sizes in one line, in the notation of the field: `784-8C5-P2-16C5-P2-128-10` are the inputs, two
    /// convolutions of 8 and 16 filters of 5 x 5 taps, each with the largest of 2 x 2, and two dense layers.
    /// Averages are `A`, sums `+`.
    pub fn sizes(&self) -> String {
        let taps = |window: &Window| match (window.down.taps, window.along.taps) {
            (down, along) if down == along => down.to_string(),
            (down, along) => format!("{down}x{along}"),
        };
        let of_node = |node: &Node| match &node.operator {
            Operator::Dense(dense) => Some(dense.units.to_string()),
            Operator::Conv2d(of) => Some(format!("{}C{}", of.filters, taps(&of.window))),
            Operator::MaxPool(of) => Some(format!("P{}", taps(&of.window))),
            Operator::AvgPool(of) if of.global => Some("A".into()),
            Operator::AvgPool(of) => Some(format!("A{}", taps(&of.window))),
            Operator::Add => Some("+".into()),
            Operator::Flatten | Operator::Function(_) => None,
        };
        let sizes = [self.inputs().to_string()].into_iter();
        sizes.chain(self.nodes.iter().filter_map(of_node)).collect::<Vec<_>>().join("-")
    }

    /// The layers with weights, in the order of their numbers.
    pub fn weighted(&self) -> &[WeightedLayer] {
        &self.weighted
    }

    fn find_weighted(&self) -> Vec<WeightedLayer> {
        let layer = |output| {
            let entry = self.maker(output)?;
            let Node { operator, reads, name, .. } = &self.nodes[entry];
            let (weights, number, reads) = (operator.weights()?, name.number()?, reads[0]);
            Some(WeightedLayer { number, entry, weights, reads, output })
        };
        self.stored().filter_map(layer).collect()
    }
}

fn input_values(extents: &[usize]) -> Result<usize, Error> {
    Error::check_count("network.input: number of extents", extents.len(), 1, 8)?;
    let mut values = 1;
    for (at, &extent) in extents.iter().enumerate() {
        Error::check_count(&format!("network.input[{at}]"), extent, 1, Graph::EXTENT_MAX)?;
        values = extent.saturating_mul(values);
        Error::check_count("network.input: product of extents", values, 1, Graph::EXTENT_MAX)?;
    }
    Ok(values)
}

/// The bound `1/√fan_in` of a layer's initial weights, in units of `2^-24`:
/// `⌊2^24 / √fan_in⌋`, by integers.
///
/// ```
/// assert_eq!(systoliq_nn::graph::initial_bound(64), 1 << 21);
/// assert_eq!(systoliq_nn::graph::initial_bound(2), 11_863_283); // 2^24 / 1.41421356 = 11863283.2
/// ```
///
/// # Panics
///
/// If `fan_in` is 0.
pub const fn initial_bound(fan_in: usize) -> u64 {
    ((1_u64 << 48) / fan_in as u64).isqrt()
}

/// The weights `[outputs, fan_in]` that each layer starts with, in the order of their numbers: uniform over
/// the multiples of `2^-24` in ±`1/√fan_in`, so that `f32` holds each exactly. Biases start at 0. Those of a
/// convolution are `[out, (ky, kx, channel)]`.
///
/// With `G =` [`initial_bound`]`(fan_in)`, weight number `i`, row-major, is
/// `(⌊word(i)·(2G + 1) / 2³²⌋ − G)·2^-24`, `word` of the key (seed, "initial weights", number of the
/// layer).
pub fn initial_weights(graph: &Graph, seed: u64) -> Vec<Array2<f64>> {
    let ulp = (-24_f64).exp2();
    let of_layer = |&WeightedLayer { number, weights, .. }: &WeightedLayer| {
        let WeightShape { outputs, fan_in, .. } = weights;
        let bound = initial_bound(fan_in);
        let key = Key::new(seed).with_name("initial weights").with(number as u64);
        Array2::from_shape_fn((outputs, fan_in), |(unit, input)| {
            let index = (unit * fan_in + input) as u64;
            let step = (u64::from(key.word(index)) * (2 * bound + 1)) >> 32;
            (step as i64 - bound as i64) as f64 * ulp
        })
    };
    graph.weighted().iter().map(of_layer).collect()
}

#[cfg(test)]
mod tests;
