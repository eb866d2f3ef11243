//! From a topology to a program: each layer reads an input of its own.
//!
//! Topologies leave out pools and shortcuts, so that what one layer writes has not the sizes of what
//! the next one reads. Layers of one shape are one in the program.

use std::collections::BTreeMap;

use serde::Serialize;
use systoliq_fxp::Accumulator;
use systoliq_hardware::single::{GemmWidths, tensor};
use systoliq_import::scalesim::topology::{OutputSize, Topology};
use systoliq_program::convolution::ViewedGemm;
use systoliq_program::operation::{Product, Update};
use systoliq_program::tensor::OperandRef;
use systoliq_program::{
    EntryName, Factor, Finish, GemmShape, Operation, Pass, Program, Role, TensorDecl, TensorId,
    WriteId,
};
use systoliq_run::Error;

use super::of_layer;

/// What a layer does in one pass: a matrix product, or the step of its weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerWork {
    /// The name of the layer.
    pub layer: String,
    /// The pass.
    pub pass: Pass,
    /// Rows of A and C, or of the weights.
    pub m: usize,
    /// Columns of B and C, or of the weights.
    pub n: usize,
    /// Columns of A, rows of B; nothing of weights.
    pub k: Option<usize>,
    /// How many products are made, each of other operands: one a group.
    pub repeats: u64,
    /// What of the program it is.
    #[serde(skip)]
    writes: (usize, usize),
}

impl LayerWork {
    /// The sizes of each product, if it is one.
    pub fn product(&self) -> Option<GemmShape> {
        self.k.map(|k| GemmShape { m: self.m, k, n: self.n })
    }

    /// What of the program it is.
    pub fn writes(&self) -> impl Iterator<Item = WriteId> + use<> {
        (self.writes.0..self.writes.1).map(WriteId)
    }
}

/// A network given layer by layer, as a program.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The program: commands of each layer of another shape.
    pub program: Program,
    /// What each layer does, in the order of the file.
    pub work: Vec<LayerWork>,
    /// Whether it trains.
    pub training: bool,
}

/// The widest number.
const MASTER_BITS_MAX: u32 = 32;

/// Mantissa bits of the rate: those of precision plans that state none.
const RATE_BITS: u32 = 16;

impl Workload {
    /// Of a topology whose numbers have these widths: A those of activations and their gradients, B
    /// of weights, the output those of all that products write. Training adds the gradients of weights,
    /// of all inputs but the first layer's, and the step of the weights against mean gradients: without
    /// momentum, on masters of twice their width, or of 32 bits. There are no activation functions, biases or losses.
    ///
    /// # Errors
    ///
    /// If a width is impossible.
    pub fn new(
        topology: &Topology,
        size: OutputSize,
        training: bool,
        widths: GemmWidths,
    ) -> Result<Self, Error> {
        let mut tensors = Vec::new();
        // Layers of one shape, and whether they are the first, whose input has no gradient.
        let mut shapes = BTreeMap::new();
        let mut layers = Vec::new();
        let mut of_layers = Vec::new();
        for (at, layer) in topology.layers.iter().enumerate() {
            let shape = (layer.products(size), at == 0);
            let place = *shapes.entry(shape).or_insert(layers.len());
            if place == layers.len() {
                let lowered = LoweredLayer::new(place, shape, widths, training, &mut tensors);
                layers.push(lowered.map_err(|error| of_layer(layer.name(), error))?);
            }
            of_layers.push((layer.name(), place));
        }
        let mut program = Program::over(tensors, layers[0].input, layers[0].output);
        let work: Vec<_> = layers.iter().map(|layer| layer.push(&mut program)).collect();
        let named = |(name, place): (&str, usize)| {
            let named = |work: &LayerWork| LayerWork { layer: name.to_owned(), ..work.clone() };
            work[place].iter().map(named).collect::<Vec<_>>()
        };
        Ok(Self { work: of_layers.into_iter().flat_map(named).collect(), program, training })
    }
}

/// The tensors of a layer, and what it makes of them.
struct LoweredLayer {
    layer: usize,
    products: [ViewedGemm; 3],
    input: TensorId,
    weights: TensorId,
    output: TensorId,
    accumulator: Accumulator,
    backward: Option<Backward>,
}

/// What training adds.
struct Backward {
    gradient: TensorId,
    /// Nothing for the first layer.
    input_gradient: Option<TensorId>,
    weight_gradient: TensorId,
    /// Of weights and activations, of which the latter are as wide as gradients.
    accumulator: Accumulator,
    /// The same tensor as the weights where they are as wide as can be.
    master: TensorId,
}

impl LoweredLayer {
    /// Declares its tensors.
    fn new(
        layer: usize,
        (products, is_first): ([ViewedGemm; 3], bool),
        widths: GemmWidths,
        training: bool,
        tensors: &mut Vec<TensorDecl>,
    ) -> Result<Self, systoliq_hardware::Error> {
        let GemmWidths { a, b, output: out, .. } = widths;
        let [ViewedGemm { shape: GemmShape { m, k, n }, read, repeats }, ..] = products;
        let groups = repeats.count.get();
        let (pixels, channels) = read[0].stored(m, k);
        let x = [pixels, channels * groups];
        let (w, z) = ([n * groups, k], [m, n * groups]);
        let mut add = |letters: &str, role, sizes, bits| {
            tensors.push(tensor(format!("{letters}{layer}"), role, layer, sizes, bits)?);
            Ok::<_, systoliq_hardware::Error>(TensorId(tensors.len() - 1))
        };
        let input = add("x", Role::Input, x, a)?;
        let weights = add("w", Role::Weights, w, b)?;
        let output = add("z", Role::Logits, z, out)?;
        let master_bits = MASTER_BITS_MAX.min(2 * b);
        let backward = match training {
            false => None,
            true => Some(Backward {
                gradient: add("dz", Role::Error, z, a)?,
                input_gradient: match is_first {
                    true => None,
                    false => Some(add("dx", Role::Gradients, x, out)?),
                },
                weight_gradient: add("dw", Role::WeightGradients, w, out)?,
                accumulator: GemmWidths { b: a, ..widths }.accumulator()?,
                master: match master_bits == b {
                    true => weights,
                    false => add("m", Role::Master, w, master_bits)?,
                },
            }),
        };
        let accumulator = widths.accumulator()?;
        Ok(Self { layer, products, input, weights, output, accumulator, backward })
    }

    /// Appends its commands.
    fn push(&self, program: &mut Program) -> Vec<LayerWork> {
        let Self { layer, products: [forward, back, weights], input, output, .. } = *self;
        let (rows, cols) = program.tensor(self.weights).shape(0);
        let mut all = Vec::new();
        let mut push = |pass, operation, (m, n, k), repeats| {
            let first = program.writes.len();
            program.push(EntryName::Number(layer), pass, operation);
            let writes = (first, program.writes.len());
            all.push(LayerWork { layer: String::new(), pass, m, n, k, repeats, writes });
        };
        let mut product = |pass, of: ViewedGemm, tensors: [TensorId; 3], accumulator, factor| {
            let [a, b, output] = tensors;
            let operand = |tensor, reading| OperandRef { tensor, reading };
            let [a, b] = [operand(a, of.read[0]), operand(b, of.read[1])];
            let finish = Finish { bias: None, edges: Vec::new(), factor, output };
            let product = Product { a, b, repeats: of.repeats, accumulator, finish };
            let GemmShape { m, k, n } = of.shape;
            let repeats = of.repeats.count.get() as u64;
            push(pass, Operation::Product(product.into()), (m, n, Some(k)), repeats);
        };
        product(
            Pass::Forward,
            forward,
            [input, self.weights, output],
            self.accumulator,
            Factor::One,
        );
        let Some(backward) = &self.backward else { return all };
        let Backward { gradient, weight_gradient, master, .. } = *backward;
        if let Some(output) = backward.input_gradient {
            let tensors = [gradient, self.weights, output];
            product(Pass::InputGradient, back, tensors, self.accumulator, Factor::One);
        }
        let tensors = [gradient, input, weight_gradient];
        product(Pass::WeightGradient, weights, tensors, backward.accumulator, Factor::Mean);
        let update = Update {
            gradient: weight_gradient,
            momentum: None,
            written: master,
            residual: None,
            working: Some(self.weights).filter(|working| *working != master),
            decay: false,
            rate_bits: RATE_BITS,
        };
        push(Pass::Update, Operation::Update(update), (rows, cols, None), 1);
        all
    }
}
