//! One isolated GEMM: its cycles and energy, without values.

use std::collections::BTreeMap;

use serde::Serialize;
use systoliq_array::{ArrayCounts, CyclesByCause, Stationary};
use systoliq_fxp::{Accumulator, Format, Overflow, Rounding, Scale, SoftmaxFormat};
use systoliq_program::command::Learning;
use systoliq_program::command::{BatchGradient, LossUnit, Schedule};
use systoliq_program::operation::Product;
use systoliq_program::tensor::{OperandRef, Rows};
use systoliq_program::view::Repeats;
use systoliq_program::{
    Factor, Finish, GemmShape, Operation, Pass, Program, Role, TensorDecl, TensorId, TensorPlan,
    Work, WriteId,
};

use crate::cost::{Arithmetic, Costs};
use crate::efficiency::HardwareReport;
use crate::events::{EnergyByComponent, ScratchpadRows, Tally};
use crate::memory::Moved;
use crate::prices::Prices;
use crate::roofline::Roofline;
use crate::{Accelerator, Error};
use systoliq_energy::Picojoules;
use systoliq_program::im2col::Im2col;

/// Widths of a GEMM's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmWidths {
    /// Of an element of A.
    pub a: u32,
    /// Of an element of B.
    pub b: u32,
    /// Of an accumulator.
    pub accumulator: u32,
    /// Of a result as it is stored.
    pub output: u32,
}

/// What one isolated GEMM takes.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct GemmReport {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// What stays in the array: of `auto`, the dataflow that was chosen.
    pub dataflow: Stationary,
    /// Cycles in each dataflow that can run it, stalls included; of a product by itself.
    pub cycles_by_dataflow: BTreeMap<Stationary, u64>,
    pub folds: u64,
    pub cycles: GemmCycles,
    /// MACs / (PEs × cycles).
    pub utilization: f64,
    pub macs: u64,
    pub energy_pj: Option<GemmEnergy>,
    /// Area, peak and efficiency.
    pub hardware: Option<HardwareReport>,
    /// Events by component.
    #[serde(skip)]
    pub tally: Tally,
    /// Bytes moved from and to DRAM, whole bursts.
    pub dram_bytes: u64,
    /// The same by matrix.
    pub dram_bytes_by_matrix: ByMatrix,
    /// Stall cycles by the matrix that was waited for.
    pub stall_cycles_by_matrix: ByMatrix,
    /// What bounds it.
    pub roofline: Option<Roofline>,
    /// Events in the array, in elements.
    pub counts: ArrayCounts,
    /// Rows of the scratchpads, fills and results on their way out included.
    pub scratchpad_rows: ScratchpadRows,
}

/// Bytes, or cycles, by matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ByMatrix {
    pub a: u64,
    pub b: u64,
    pub c: u64,
}

/// Clock cycles.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct GemmCycles {
    pub total: u64,
    pub by_cause: CyclesByCause,
}

/// Energy.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct GemmEnergy {
    pub total: Picojoules,
    pub by_component: EnergyByComponent,
    /// The same on float32 hardware.
    pub float32_total: Picojoules,
}

impl GemmReport {
    /// `C[m, n] = A[m, k] · B[k, n]` with both operands stored row by row, no bias, and
    /// nearest-even conversion of the results.
    ///
    /// # Errors
    ///
    /// If a width is impossible, the GEMM too large to count, or an event has no price.
    pub fn new(
        accelerator: &Accelerator,
        shape: GemmShape,
        widths: GemmWidths,
    ) -> Result<Self, Error> {
        let (report, unpriced) = Self::viewing(accelerator, shape, widths, [None; 2])?;
        if let Some(unpriced) = unpriced {
            return Err(unpriced);
        }
        let program = program(shape, widths)?;
        let costs = Costs::new(&program, accelerator, Arithmetic::Fixed, shape.m);
        Ok(Self { cycles_by_dataflow: costs.cycles_by_dataflow(WriteId(0), shape), ..report })
    }

    /// The same, where A and B may be views of images, of which DRAM and scratchpads hold the pixels;
    /// without energy, and with the reason, where an event has no price.
    ///
    /// # Errors
    ///
    /// All others of [`new`](Self::new), or if a view has not the sizes of its matrix.
    pub fn viewing(
        accelerator: &Accelerator,
        shape: GemmShape,
        widths: GemmWidths,
        views: [Option<Im2col>; 2],
    ) -> Result<(Self, Option<Error>), Error> {
        accelerator.validate()?;
        for (view, size) in views.iter().zip([[shape.m, shape.k], [shape.k, shape.n]]) {
            if let Some(found) = view.map(|view| [view.windows.positions(), view.taps()])
                && found != size
            {
                let problem = format!("a view of {found:?}: expected a matrix of {size:?}");
                return Err(Error::at("GEMM", problem));
            }
        }
        let program = program(shape, widths)?;
        let cost = |arithmetic| {
            let costs = Costs::viewing(&program, accelerator, arithmetic, shape.m, views);
            costs.of(WriteId(0), Work::Gemm(shape), false)
        };
        let (fixed, float32) = (cost(Arithmetic::Fixed)?, cost(Arithmetic::FLOAT32)?);
        let total = fixed.cycles.total().0;
        let counts = fixed.counts;
        let by_matrix = |count| ByMatrix::of(&fixed.moved, count);
        let bytes = by_matrix(|moved| moved.bytes);
        let dram_bytes = bytes.a + bytes.b + bytes.c;
        let energy = || {
            let priced = |tally: &Tally| {
                let prices = Prices::new(accelerator, accelerator.profile()?, tally)?;
                Ok::<_, Error>((tally.energy(&prices)?, prices))
            };
            let (by_component, prices) = priced(&fixed.tally)?;
            let (total, (float32, _)) = (by_component.total(), priced(&float32.tally)?);
            let cycles = fixed.cycles.total().0;
            let hardware = HardwareReport::new(accelerator, &prices, counts.macs, cycles, total)?;
            let float32_total = float32.total();
            Ok((GemmEnergy { total, by_component, float32_total }, hardware))
        };
        let (energy_pj, hardware, unpriced) = match energy() {
            Ok((energy, hardware)) => (Some(energy), Some(hardware), None),
            Err(error) => (None, None, Some(error)),
        };
        let report = Self {
            m: shape.m,
            n: shape.n,
            k: shape.k,
            dataflow: fixed.dataflow.expect("the array worked"),
            cycles_by_dataflow: BTreeMap::new(),
            folds: counts.folds,
            cycles: GemmCycles { total, by_cause: fixed.cycles },
            utilization: counts.macs as f64 / (accelerator.array.pes() as f64 * total as f64),
            macs: counts.macs,
            energy_pj,
            hardware,
            tally: fixed.tally.clone(),
            dram_bytes,
            dram_bytes_by_matrix: bytes,
            stall_cycles_by_matrix: by_matrix(|moved| moved.stall),
            roofline: Roofline::new(accelerator, counts.macs, dram_bytes, total),
            counts,
            scratchpad_rows: ScratchpadRows::of(&fixed.tally),
        };
        Ok((report, unpriced))
    }
}

/// Bytes moved from and to DRAM for one isolated GEMM, whole bursts, by matrix: those of its
/// [report](GemmReport::dram_bytes_by_matrix), also where scratchpads have no price.
///
/// # Errors
///
/// If the accelerator is at fault, a width is impossible, or the GEMM too large to count.
pub fn dram_bytes(
    accelerator: &Accelerator,
    shape: GemmShape,
    widths: GemmWidths,
    views: [Option<Im2col>; 2],
    flow: Stationary,
) -> Result<ByMatrix, Error> {
    accelerator.validate()?;
    let program = program(shape, widths)?;
    let mut accelerator = accelerator.clone();
    accelerator.array.dataflow = flow.into();
    let costs = Costs::viewing(&program, &accelerator, Arithmetic::Fixed, shape.m, views);
    let cost = costs.of(WriteId(0), Work::Gemm(shape), false)?;
    Ok(ByMatrix::of(&cost.moved, |moved| moved.bytes))
}

impl ByMatrix {
    /// Sums over what was moved for the program of one GEMM.
    fn of(moved: &[Moved], count: fn(&Moved) -> u64) -> Self {
        let of = |at| {
            let moved = moved.iter().filter(|moved| moved.tensor == TensorId(at));
            moved.map(count).sum()
        };
        Self { a: of(0), b: of(1), c: of(2) }
    }
}

/// A program of one GEMM.
fn program(shape: GemmShape, widths: GemmWidths) -> Result<Program, Error> {
    let GemmShape { m, k, n } = shape;
    if m == 0 || n == 0 || k == 0 {
        return Err(Error::at("GEMM", format!("m = {m}, k = {k}, n = {n}: expected at least 1")));
    }
    let tensor = |name: &str, role, rows, cols, bits| {
        let format = Format::new(bits, 0, true).map_err(|error| Error::at(name, error))?;
        let plan = TensorPlan {
            format,
            scale: Scale::Static,
            rounding: Rounding::NearestEven,
            overflow: Overflow::Saturate,
        };
        Ok::<_, Error>(TensorDecl {
            name: name.into(),
            role,
            layer: 0,
            stands_for: None,
            rows: Rows::Fixed(rows),
            cols,
            plan,
        })
    };
    let tensors = vec![
        tensor("a", Role::Input, m, k, widths.a)?,
        tensor("b", Role::Weights, k, n, widths.b)?,
        tensor("c", Role::Logits, m, n, widths.output)?,
    ];
    let accumulator = Accumulator::new(widths.accumulator, None, Rounding::Floor, Overflow::Wrap)
        .map_err(|error| Error::at("accumulator", error))?;
    if widths.accumulator < widths.a + widths.b {
        let GemmWidths { a, b, accumulator, .. } = widths;
        let product = a + b;
        let problem = format!(
            "{accumulator} bits cannot hold one product of {a} x {b} bits: expected at least {product}"
        );
        return Err(Error::at("accumulator", problem));
    }
    let [a, b, c] = [0, 1, 2].map(TensorId);
    let finish = Finish { bias: None, edges: Vec::new(), factor: Factor::One, output: c };
    let product = Product {
        a: OperandRef::stored(a),
        b: OperandRef::stored(b),
        repeats: Repeats::ONCE,
        accumulator,
        finish,
    };
    let operation = Operation::Product(product.into());
    let learning = Learning {
        rate: 1.0,
        schedule: Schedule::default(),
        momentum: 0.0,
        weight_decay: 0.0,
        batch_gradient: BatchGradient::Mean,
        loss_unit: LossUnit::Bits,
        loss_scale_log2: 0,
    };
    let softmax = SoftmaxFormat::default();
    let mut program = Program {
        tensors,
        commands: Vec::new(),
        writes: Vec::new(),
        step: Vec::new(),
        inference: Vec::new(),
        input: a,
        targets: None,
        logits: c,
        outputs: n,
        learning,
        softmax,
    };
    program.push(0, Pass::Forward, operation);
    Ok(program)
}
