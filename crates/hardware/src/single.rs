//! One isolated GEMM: its cycles and energy, without values.

use std::collections::BTreeMap;

use serde::Serialize;
use systoliq_array::{Array, ArrayCounts, CyclesByCause, Stationary};
use systoliq_fxp::{Accumulator, Format, Overflow, Rounding, Scale};
use systoliq_program::operation::Product;
use systoliq_program::tensor::{OperandRef, Rows};
use systoliq_program::view::Repeats;
use systoliq_program::{
    EntryName, Factor, Finish, GemmShape, Operation, Pass, Program, Role, TensorDecl, TensorId,
    TensorPlan, Work, WriteId,
};

use crate::cost::{Arithmetic, Costs};
use crate::efficiency::HardwareReport;
use crate::events::{EnergyByComponent, ScratchpadRows, Tally};
use crate::memory::Moved;
use crate::prices::Prices;
use crate::roofline::Roofline;
use crate::{Accelerator, Error};
use systoliq_energy::Picojoules;

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

impl GemmWidths {
    /// The accumulator, which wraps.
    ///
    /// # Errors
    ///
    /// If its width is impossible, or no product of an element of A and one of B fits it.
    pub fn accumulator(self) -> Result<Accumulator, Error> {
        let Self { a, b, accumulator, .. } = self;
        let product = a + b;
        if accumulator < product {
            let problem = format!(
                "{accumulator} bits cannot hold one product of {a} x {b} bits: expected at least \
                 {product}"
            );
            return Err(Error::at("accumulator", problem));
        }
        Accumulator::new(accumulator, None, Rounding::Floor, Overflow::Wrap)
            .map_err(|error| Error::at("accumulator", error))
    }
}

/// A tensor of signed codes of so many bits that do not move, to which values convert nearest even.
///
/// # Errors
///
/// If there is no such format.
pub fn tensor(
    name: impl Into<String>,
    role: Role,
    layer: usize,
    [rows, cols]: [usize; 2],
    bits: u32,
) -> Result<TensorDecl, Error> {
    let name = name.into();
    let format = Format::new(bits, 0, true).map_err(|error| Error::at(&name, error))?;
    let plan = TensorPlan {
        format,
        scale: Scale::Static,
        rounding: Rounding::NearestEven,
        overflow: Overflow::Saturate,
    };
    let entry = EntryName::Number(layer);
    Ok(TensorDecl { name, role, entry, stands_for: None, rows: Rows::Fixed(rows), cols, plan })
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
    pub energy_pj: GemmEnergy,
    /// Area, peak and efficiency.
    pub hardware: HardwareReport,
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

/// The cycles of a product in each dataflow that can run it.
fn cycles_by_dataflow(
    program: &Program,
    accelerator: &Accelerator,
    shape: GemmShape,
) -> BTreeMap<Stationary, u64> {
    let cycles = |flow: Stationary| {
        let array = Array { dataflow: flow.into(), ..accelerator.array };
        let machine = Accelerator { array, ..accelerator.clone() };
        let costs = Costs::apart(program, &machine, Arithmetic::Fixed, shape.m);
        let cost = costs.of(WriteId(0), Work::Gemm(shape), false).ok()?;
        Some((flow, cost.cycles.total().0))
    };
    Stationary::ALL.into_iter().filter_map(cycles).collect()
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
        accelerator.validate()?;
        let program = program(shape, widths)?;
        let costs = |arithmetic| Costs::apart(&program, accelerator, arithmetic, shape.m);
        let cost = |costs: &Costs<'_>| costs.of(WriteId(0), Work::Gemm(shape), false);
        let costs_fixed = costs(Arithmetic::Fixed);
        let (fixed, float32) = (cost(&costs_fixed)?, cost(&costs(Arithmetic::FLOAT32))?);
        let total = fixed.cycles.total().0;
        let counts = fixed.counts;
        let by_matrix = |count| ByMatrix::of(&fixed.moved, count);
        let bytes = by_matrix(|moved| moved.bytes);
        let dram_bytes = bytes.a + bytes.b + bytes.c;
        let priced = |tally: &Tally| {
            let prices = Prices::new(accelerator, accelerator.profile()?, tally)?;
            Ok::<_, Error>((tally.energy(&prices)?, prices))
        };
        let (by_component, prices) = priced(&fixed.tally)?;
        let energy = by_component.total();
        let hardware = HardwareReport::new(accelerator, &prices, counts.macs, total, energy)?;
        let float32_total = priced(&float32.tally)?.0.total();
        let utilization = counts.macs as f64 / (accelerator.array.pes() as f64 * total as f64);
        Ok(Self {
            m: shape.m,
            n: shape.n,
            k: shape.k,
            dataflow: fixed.dataflow.expect("the array worked"),
            cycles_by_dataflow: cycles_by_dataflow(&program, accelerator, shape),
            folds: counts.folds,
            cycles: GemmCycles { total, by_cause: fixed.cycles },
            utilization,
            macs: counts.macs,
            energy_pj: GemmEnergy { total: energy, by_component, float32_total },
            hardware,
            tally: fixed.tally.clone(),
            dram_bytes,
            dram_bytes_by_matrix: bytes,
            stall_cycles_by_matrix: by_matrix(|moved| moved.stall),
            roofline: Roofline::new(accelerator, counts.macs, dram_bytes, total),
            counts,
            scratchpad_rows: ScratchpadRows::of(&fixed.tally),
        })
    }
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
    let tensors = vec![
        tensor("a", Role::Input, 0, [m, k], widths.a)?,
        tensor("b", Role::Weights, 0, [k, n], widths.b)?,
        tensor("c", Role::Logits, 0, [m, n], widths.output)?,
    ];
    let accumulator = widths.accumulator()?;
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
    let mut program = Program::over(tensors, a, c);
    program.push(EntryName::Number(0), Pass::Forward, operation);
    Ok(program)
}
