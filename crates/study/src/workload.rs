//! A network given layer by layer: what each of its matrix products takes.
//!
//! A convolution is the product of its im2col matrix, output pixels by filter elements, with its
//! filters; memory holds the image, of which each tile needs its pixels once. Training adds two products to
//! each layer: the gradient of its input, dX = dZ · W over the padded input's pixels (none for the
//! first layer), and of its weights, dW = dZᵀ · X.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZero;

use serde::Serialize;
use systoliq_array::{Stationary, mapping::Axis};
use systoliq_program::{ConvolutionShape, GemmShape, Pass};

use systoliq_energy::{EnergyUnit, Picojoules};
use systoliq_hardware::Accelerator;
use systoliq_hardware::actions::Actions;
use systoliq_hardware::roofline::Roofline;
use systoliq_hardware::{single::GemmReport, single::GemmWidths};
use systoliq_import::scalesim::ScaleSimReport;
use systoliq_import::{
    scalesim::topology::Convolution, scalesim::topology::Layer, scalesim::topology::LayerShape,
    scalesim::topology::OutputSize, scalesim::topology::Topology,
};
use systoliq_program::im2col::Im2col;
use systoliq_run::Error;

/// One product of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerProduct {
    /// The name of the layer.
    pub layer: String,
    /// The pass that it belongs to.
    pub pass: Pass,
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// How often it is made: once per channel of a depthwise convolution.
    pub repeats: u64,
    /// The images of which A and B are views.
    #[serde(skip)]
    pub views: [Option<Im2col>; 2],
}

/// The products of a topology, layer by layer.
pub fn products(topology: &Topology, size: OutputSize, training: bool) -> Vec<LayerProduct> {
    let mut products = Vec::new();
    for (at, layer) in topology.layers.iter().enumerate() {
        let all = of_passes(layer, size).into_iter().zip(Pass::ALL);
        let asked = all.filter(|(_, pass)| match pass {
            Pass::Forward => true,
            Pass::InputGradient => training && at > 0,
            Pass::WeightGradient | Pass::Update => training,
        });
        products.extend(asked.map(|((GemmShape { m, k, n }, views), pass)| LayerProduct {
            layer: layer.name().to_owned(),
            pass,
            m,
            n,
            k,
            repeats: layer.repeats(),
            views,
        }));
    }
    products
}

/// The forward product of a layer, its input gradient and its weight gradient, each with the images
/// of which A and B are views.
fn of_passes(layer: &Layer, size: OutputSize) -> [(GemmShape, [Option<Im2col>; 2]); 3] {
    let LayerShape::Convolution(convolution) = layer.shape() else {
        let GemmShape { m, k, n } = layer.gemm(size);
        let shapes =
            [GemmShape { m, k, n }, GemmShape { m, k: n, n: k }, GemmShape { m: n, k: m, n: k }];
        return shapes.map(|shape| (shape, [None; 2]));
    };
    let Convolution { ifmap, filter, channels, filters, strides } = convolution;
    // Where sizes are rounded up, the last windows reach beyond the image.
    let end_padding = [0, 1].map(|axis| {
        let outputs = size.along(ifmap[axis], filter[axis], strides[axis]);
        ((outputs - 1) * strides[axis] + filter[axis]).saturating_sub(ifmap[axis])
    });
    let convolution = ConvolutionShape {
        batch: 1,
        image: ifmap,
        channels,
        filters,
        kernel: filter,
        stride: strides,
        dilation: [1; 2],
        padding: [0; 2],
        end_padding,
        groups: NonZero::<usize>::MIN,
    };
    let products = convolution.products().expect("a window fits an image that was checked");
    products.map(|product| (product.shape, product.images()))
}

/// What one product takes, over all its repeats.
#[derive(Clone, Debug, Serialize)]
pub struct ProductReport {
    /// The product.
    #[serde(flatten)]
    pub product: LayerProduct,
    /// What stays in the array.
    pub dataflow: Stationary,
    /// Folds.
    pub folds: u64,
    /// Clock cycles.
    pub cycles: u64,
    /// Of these, stalls.
    pub stall_cycles: u64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// MACs / (PEs × cycles).
    pub utilization: f64,
    /// The share of the PEs that folds fill: Sr·Sc / (tiles·R·C).
    pub mapping_efficiency: f64,
    /// Elements of A read from its scratchpad.
    pub a_reads: u64,
    /// Elements of B read from its scratchpad.
    pub b_reads: u64,
    /// Partial sums read back from the scratchpad of C.
    pub c_reads: u64,
    /// Sums written to the scratchpad of C, partial ones included.
    pub c_writes: u64,
    /// Bytes moved from and to DRAM for A, B and C, whole bursts.
    pub dram_bytes: [u64; 3],
    /// Energy; nothing where a scratchpad has no price.
    pub energy_pj: Option<Picojoules>,
    /// What bounds it.
    pub roofline: Option<Roofline>,
}

/// Sums over all products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct WorkloadTotals {
    pub cycles: u64,
    pub stall_cycles: u64,
    pub macs: u64,
    pub utilization: f64,
    pub dram_bytes: u64,
    pub energy_pj: Option<Picojoules>,
}

/// What a network takes, product by product.
#[derive(Clone, Debug, Serialize)]
pub struct WorkloadReport {
    /// In the order of the layers.
    pub products: Vec<ProductReport>,
    /// All of them together.
    pub total: WorkloadTotals,
    /// What energy is counted in.
    pub energy_unit: EnergyUnit,
    /// Why there is no energy, if there is none.
    #[serde(skip)]
    pub unpriced: Option<String>,
    /// How often what happened.
    #[serde(skip)]
    pub actions: Actions,
}

impl WorkloadReport {
    /// Of some products on an accelerator.
    ///
    /// # Errors
    ///
    /// The first that cannot be run, with the name of its layer, or sums beyond 64 bits.
    pub fn new(
        accelerator: &Accelerator,
        products: Vec<LayerProduct>,
        widths: GemmWidths,
    ) -> Result<Self, Error> {
        // Layers of one size take the same.
        let mut known: BTreeMap<(GemmShape, [Option<Im2col>; 2]), GemmReport> = BTreeMap::new();
        let mut rows = Vec::new();
        let mut total =
            WorkloadTotals { energy_pj: Some(Picojoules::default()), ..WorkloadTotals::default() };
        let (mut unpriced, mut actions) = (None, Actions::default());
        for product in products {
            let shape = GemmShape { m: product.m, k: product.k, n: product.n };
            let once = match known.entry((shape, product.views)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => {
                    let report = GemmReport::viewing(accelerator, shape, widths, product.views);
                    let (report, reason) = report.map_err(|error| of_layer(&product, error))?;
                    unpriced = unpriced.or(reason);
                    place.insert(report)
                }
            };
            let (layer, pass) = (product.layer.clone(), product.pass);
            let counted = actions.add(layer, pass, &once.tally, product.repeats);
            counted.ok_or_else(too_much)?;
            let row = ProductReport::new(accelerator, product, once, widths);
            let row = row.ok_or_else(too_much)?;
            total = total.and(&row).ok_or_else(too_much)?;
            rows.push(row);
        }
        let pe_cycles = accelerator.array.pes() as f64 * total.cycles as f64;
        total.utilization = if total.cycles == 0 { 0.0 } else { total.macs as f64 / pe_cycles };
        let energy_unit = accelerator.profile()?.unit();
        let unpriced = unpriced.map(|reason| reason.to_string());
        Ok(Self { products: rows, total, energy_unit, unpriced, actions })
    }
}

fn too_much() -> Error {
    Error::at(
        "workload",
        "all layers together have more cycles, bytes or events than 64 bits count",
    )
}

fn of_layer(product: &LayerProduct, error: impl Into<Error>) -> Error {
    match error.into() {
        Error::Invalid { path, problem } => {
            Error::at(format!("layer `{}`: {path}", product.layer), problem)
        }
        other => other,
    }
}

impl WorkloadTotals {
    fn and(self, row: &ProductReport) -> Option<Self> {
        let moved = row.dram_bytes.iter().try_fold(0u64, |sum, &bytes| sum.checked_add(bytes))?;
        Some(Self {
            cycles: self.cycles.checked_add(row.cycles)?,
            stall_cycles: self.stall_cycles.checked_add(row.stall_cycles)?,
            macs: self.macs.checked_add(row.macs)?,
            utilization: 0.0,
            dram_bytes: self.dram_bytes.checked_add(moved)?,
            energy_pj: self.energy_pj.zip(row.energy_pj).map(|(a, b)| [a, b].into_iter().sum()),
        })
    }
}

impl ProductReport {
    /// Of a product of which one takes what `once` says; `None` beyond 64 bits.
    fn new(
        accelerator: &Accelerator,
        product: LayerProduct,
        once: &GemmReport,
        widths: GemmWidths,
    ) -> Option<Self> {
        let repeats = product.repeats;
        let times = |count: u64| count.checked_mul(repeats);
        let shape = GemmShape { m: product.m, k: product.k, n: product.n };
        let mapping = accelerator.mapping(shape, widths.accumulator, once.dataflow);
        let extents = mapping.extents();
        let tiles: u64 = [Axis::Rows, Axis::Cols]
            .map(|axis| mapping.pieces(axis).count() as u64)
            .iter()
            .product();
        let used = extents.rows as f64 * extents.cols as f64;
        let bytes = once.dram_bytes_by_matrix;
        Some(Self {
            product,
            dataflow: once.dataflow,
            folds: times(once.folds)?,
            cycles: times(once.cycles.total)?,
            stall_cycles: times(once.cycles.by_cause.stall.0)?,
            macs: times(once.macs)?,
            utilization: once.utilization,
            mapping_efficiency: used / (tiles as f64 * accelerator.array.pes() as f64),
            a_reads: times(once.counts.a_reads)?,
            b_reads: times(once.counts.b_reads)?,
            c_reads: times(once.counts.partial_sum_reads)?,
            c_writes: times(once.counts.sum_writes)?,
            dram_bytes: [times(bytes.a)?, times(bytes.b)?, times(bytes.c)?],
            energy_pj: once.energy_pj.as_ref().map(|energy| energy.total * repeats),
            roofline: once.roofline,
        })
    }
}

/// SCALE-Sim's figures of one product.
#[derive(Clone, Debug, Serialize)]
pub struct ScaleSimRow {
    /// The product.
    #[serde(flatten)]
    pub product: LayerProduct,
    /// What SCALE-Sim says of one of its repeats.
    pub scalesim: ScaleSimReport,
}

/// SCALE-Sim's figures of some products.
///
/// # Errors
///
/// If a figure does not fit 64 bits.
pub fn scalesim(
    accelerator: &Accelerator,
    products: Vec<LayerProduct>,
) -> Result<Vec<ScaleSimRow>, Error> {
    let row = |product: LayerProduct| {
        let shape = GemmShape { m: product.m, k: product.k, n: product.n };
        let scalesim = ScaleSimReport::new(accelerator, shape);
        let scalesim = scalesim.map_err(|error| of_layer(&product, error))?;
        Ok(ScaleSimRow { product, scalesim })
    };
    products.into_iter().map(row).collect()
}
