//! One isolated GEMM: its cycles and energy, without values.

use serde::Serialize;
use systoliq_array::CyclesByCause;
use systoliq_fxp::{Accumulator, Format, Overflow, Rounding, Scale};
use systoliq_nn::{BatchGradient, LossUnit};
use systoliq_program::command::{BatchScale, Edge, Gemm, Learning, OperandRef, Rows, TensorDecl};
use systoliq_program::{
    Command, GemmShape, Operation, Pass, Program, Role, TensorId, TensorPlan, Work,
};

use crate::cost::{Arithmetic, Costs};
use crate::energy::Picojoules;
use crate::events::{EnergyByComponent, Prices};
use crate::{Accelerator, Error};

/// Widths of a GEMM's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
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
    pub folds: u64,
    pub cycles: CyclesReport,
    /// MACs / (PEs × cycles).
    pub utilization: f64,
    pub macs: u64,
    pub energy_pj: EnergyReport,
    /// Bytes moved from and to DRAM, whole bursts.
    pub dram_bytes: u64,
}

/// Clock cycles.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct CyclesReport {
    pub total: u64,
    pub by_cause: CyclesByCause,
}

/// Energy.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct EnergyReport {
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
    pub fn new(accelerator: &Accelerator, shape: GemmShape, widths: Widths) -> Result<Self, Error> {
        accelerator.validate()?;
        if shape.m == 0 || shape.n == 0 || shape.k == 0 {
            let GemmShape { m, k, n } = shape;
            return Err(Error::at(
                "GEMM",
                format!("m = {m}, k = {k}, n = {n}: expected at least 1"),
            ));
        }
        let program = program(shape, widths)?;
        let command = &program.commands[0];
        let cost = |arithmetic| {
            Costs::new(&program, accelerator, arithmetic).of(command, Work::Gemm(shape), false)
        };
        let prices = Prices::new(accelerator);
        let (fixed, float32) = (cost(Arithmetic::Fixed)?, cost(Arithmetic::Float32)?);
        let total = fixed.cycles.total().0;
        let by_component = fixed.tally.energy(&prices)?;
        Ok(Self {
            m: shape.m,
            n: shape.n,
            k: shape.k,
            folds: fixed.folds,
            cycles: CyclesReport { total, by_cause: fixed.cycles },
            utilization: fixed.macs as f64 / (accelerator.array.pes() as f64 * total as f64),
            macs: fixed.macs,
            energy_pj: EnergyReport {
                total: by_component.total(),
                by_component,
                float32_total: float32.tally.energy(&prices)?.total(),
            },
            dram_bytes: fixed.traffic.iter().map(|transfer| transfer.bytes).sum(),
        })
    }
}

/// A program of one GEMM.
fn program(shape: GemmShape, widths: Widths) -> Result<Program, Error> {
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
            rows: Rows::Fixed(rows),
            cols,
            plan,
        })
    };
    let GemmShape { m, k, n } = shape;
    let tensors = vec![
        tensor("a", Role::Input, m, k, widths.a)?,
        tensor("b", Role::Weights, k, n, widths.b)?,
        tensor("c", Role::Logits, m, n, widths.output)?,
    ];
    let accumulator = Accumulator::new(widths.accumulator, None, Rounding::Floor, Overflow::Wrap)
        .map_err(|error| Error::at("accumulator", error))?;
    let [a, b, c] = [0, 1, 2].map(TensorId);
    let gemm = Gemm {
        a: OperandRef { tensor: a, transposed: false },
        b: OperandRef { tensor: b, transposed: false },
        accumulator,
        bias: None,
        edge: Edge::Pass,
        scale: BatchScale::One,
        output: c,
    };
    let operation = Operation::Gemm(gemm);
    let command = Command { name: "gemm".into(), layer: 0, pass: Pass::Forward, operation };
    let learning = Learning {
        rate: 1.0,
        batch_gradient: BatchGradient::Mean,
        loss_unit: LossUnit::Bits,
        loss_scale_log2: 0,
    };
    let commands = vec![command];
    Ok(Program { tensors, commands, input: a, targets: None, logits: c, outputs: n, learning })
}
