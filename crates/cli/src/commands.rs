//! What the command can do. Each command returns what it has to say on standard output.

mod buffer;
mod check;
mod compare;
mod energy_table;
mod finished;
mod gemm;
mod hardware;
mod list;
mod margin;
mod panel;
mod point;
mod precision;
mod report;
mod schema;
mod search;
mod sweep;
mod table;
mod trace;
mod train;
mod waiting;
mod without_effect;
mod workload;

use crate::failure::Failure;

/// A command with its arguments.
#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Trains a network in fixed point beside its golden model.
    Train(train::TrainCommand),
    /// Two runs side by side.
    Compare(compare::CompareCommand),
    /// An experiment over values of its settings, every point against float.
    Sweep(sweep::SweepCommand),
    /// The cheapest widths of every tensor within a loss, by training.
    ///
    /// From the plan of `systoliq precision` and from the experiment's own, widths are lowered layer by
    /// layer and role by role as long as the mean loss against float over --seeds stays within
    /// --margin on the validation part. The plan that is found is trained with other seeds, and what it
    /// loses with these on the test part is the answer.
    Search(search::SearchCommand),
    /// One run of a sweep as one process, done once.
    Point(point::PointCommand),
    /// Figures of a run or of a sweep, as one page and as SVG.
    Report(report::ReportCommand),
    /// In which machines the conclusions of a run or of a sweep hold.
    Panel(panel::PanelCommand),
    /// Cycles and energy of one isolated matrix product.
    Gemm(gemm::GemmCommand),
    /// Bit widths of every tensor by analysis, from one run in floating point.
    ///
    /// The widths of inputs, activations, logits and weights are the least for which a bound of the
    /// mismatch, the share of decisions that differ from those in floating point, stays below
    /// --mismatch. Gradients and master weights follow from how widely gradients spread in the float
    /// run. Beside the bound stands the mismatch as the integer machine measures it on the test part
    /// with the trained weights, and what the widths cost in full adders and bits, also for equal widths
    /// under the same bound. The experiment's own precision section is not used.
    Precision(precision::PrecisionCommand),
    /// Validates an experiment and prints its precision plan as resolved, layer by layer.
    Check(check::CheckCommand),
    /// Prints the integer program of a training step: its tensors and its commands.
    List(list::ListCommand),
    /// Writes what happens in which cycle: registers of one matrix product, or a step's transfers.
    Trace(trace::TraceCommand),
    /// Cycles, traffic and energy of a network given as a SCALE-Sim topology, layer by layer.
    Workload(workload::WorkloadCommand),
    /// What each event costs, how sure that is, and whence.
    EnergyTable(energy_table::EnergyTableCommand),
    /// Prints the JSON Schema of an experiment or of a part of one.
    Schema(schema::SchemaCommand),
}

impl Subcommand {
    /// Runs it; returns the text for standard output.
    ///
    /// # Errors
    ///
    /// If the input is bad, or the run fails.
    pub fn run(&self) -> Result<String, Failure> {
        match self {
            Self::Train(train) => train.run(),
            Self::Compare(compare) => compare.run(),
            Self::Sweep(sweep) => sweep.run(),
            Self::Search(search) => search.run(),
            Self::Point(point) => point.run(),
            Self::Report(report) => report.run(),
            Self::Panel(panel) => panel.run(),
            Self::Gemm(gemm) => gemm.run(),
            Self::Precision(precision) => precision.run(),
            Self::Check(check) => check.run(),
            Self::List(list) => list.run(),
            Self::Trace(trace) => trace.run(),
            Self::Workload(workload) => workload.run(),
            Self::EnergyTable(table) => table.run(),
            Self::Schema(schema) => Ok(schema.run()),
        }
    }
}
