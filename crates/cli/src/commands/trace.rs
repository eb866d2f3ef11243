//! `systoliq trace`: the registers of the array over one matrix product of a run, or the commands and
//! transfers of a step.

use std::io::{self, BufWriter, Write as _};
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Error, anyhow};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use systoliq_array::trace::{TEXT_COLS_MAX, check_pes};
use systoliq_array::{self as array, FoldSchedule, Instants, Mapping, Trace};
use systoliq_import::{scalesim::trace::Matrix, scalesim::trace::scratchpad};
use systoliq_nn::DataSet;
use systoliq_program::WriteId;
use systoliq_run::Prepared;
use systoliq_run::step_trace::StepTrace;
use systoliq_run::{capture::capture, capture::find_gemm, capture::mapping_in_step};

use crate::durable::make_folder;
use crate::failure::{Failure, one_line};
use crate::load::{ExperimentArguments, Loaded};
use crate::whole::{check_place, write_whole};

/// Writes what happens in which cycle: every register over one matrix product, or the commands,
/// stalls and transfers of a training step.
///
/// For registers the network is trained up to the step that is asked for, and the matrix product is
/// traced with the operands that it has there.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  systoliq trace models/digits-mlp.json --op 0.forward --format vcd -o y0.vcd
  systoliq trace models/digits-mlp.json --op 1.weight_gradient --step 36 --format fst -o dw1.fst
  systoliq trace models/digits-mlp.json --op 1.forward --fold 7 --format text
  systoliq trace models/digits-mlp.json --op 0.forward --cycles 100..120 --rows 0..2 --format text
  systoliq trace models/digits-mlp.json --format perfetto -o step.json
  systoliq trace models/digits-mlp.json --op 0.forward --format scalesim -o y0
  systoliq trace models/digits-mlp.json --op 0.update --format dramsim3 -o update.trc

In a trace, a and b are an element of each operand, acc is a sum, in two's complement. GTKWave and
Surfer show vcd and fst; in fst, show the signal `phase` as ASCII.")]
pub struct TraceCommand {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// The matrix product, as `systoliq list` names it: `0.forward`. perfetto, dramsim3 and
    /// ramulator2 take any command, or without it the whole step.
    #[arg(long, value_name = "NAME")]
    op: Option<String>,

    /// The training step, counted from 0.
    #[arg(long, value_name = "S", default_value_t = 0)]
    step: u64,

    /// Traces fold I alone, counted from 0: from the first cycle of its preload or stream to the
    /// last in which it is in the grid.
    #[arg(long, value_name = "I", conflicts_with = "cycles")]
    fold: Option<u64>,

    /// Traces cycles A to B - 1 alone, counted from 0.
    #[arg(long, value_name = "A..B", value_parser = range)]
    cycles: Option<Range<u64>>,

    /// Traces rows A to B - 1 of the array alone.
    #[arg(long, value_name = "A..B", value_parser = range)]
    rows: Option<Range<u64>>,

    /// Traces columns A to B - 1 of the array alone.
    #[arg(long, value_name = "A..B", value_parser = range)]
    cols: Option<Range<u64>>,

    /// The clock period in picoseconds [default: 1 ns].
    #[arg(long, value_name = "PS")]
    period_ps: Option<NonZero<u32>>,

    /// What is written.
    #[arg(long, value_enum)]
    format: TraceFormat,

    /// The file; text may do without, and is printed.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What a trace is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TraceFormat {
    /// A value change dump, for every viewer of waves.
    Vcd,
    /// The same as a fast signal trace, several times smaller.
    Fst,
    /// A picture of the grid after each clock edge.
    Text,
    /// A timeline of the step for the Perfetto UI: passes, commands, folds, stalls, transfers.
    Perfetto,
    /// Every burst of DRAM with address and cycle, as DRAMsim3 replays it.
    Dramsim3,
    /// Every burst of DRAM as a load or store, as Ramulator 2 replays it.
    Ramulator2,
    /// The addresses of each cycle in SCALE-Sim's layout, at the scratchpads and at DRAM: a folder of
    /// six files.
    Scalesim,
}

impl TraceFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Vcd => "vcd",
            Self::Fst => "fst",
            Self::Text => "text",
            Self::Perfetto => "perfetto",
            Self::Dramsim3 => "dramsim3",
            Self::Ramulator2 => "ramulator2",
            Self::Scalesim => "scalesim",
        }
    }

    /// Whether it shows the array over one matrix product, and not all commands and transfers.
    fn is_of_registers(self) -> bool {
        matches!(self, Self::Vcd | Self::Fst | Self::Text | Self::Scalesim)
    }

    /// The most PEs times cycles that are written: some tens of GB of waves, some MB of text.
    fn pe_cycles_max(self) -> u128 {
        match self {
            Self::Text => 1 << 20,
            _ => 1 << 30,
        }
    }
}

/// A range as it is typed.
fn range(text: &str) -> Result<Range<u64>, String> {
    let ends =
        text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match ends {
        Some((from, to)) if from < to => Ok(from..to),
        _ => Err("expected A..B, two numbers of which the first is less".to_owned()),
    }
}

/// Names the option that asks for what there is not.
fn in_options(error: systoliq_run::Error) -> Failure {
    use systoliq_run::Error::{NoSuchCommand, NoSuchGemm};
    match error {
        NoSuchCommand { .. } | NoSuchGemm { .. } => Failure::input(anyhow!("--op: {error}")),
        error => Failure::input(error),
    }
}

/// What of the GEMM is traced.
struct TracedPart {
    cycles: Range<u64>,
    rows: Range<usize>,
    cols: Range<usize>,
}

impl TraceCommand {
    /// Writes the trace; returns it, or what was written.
    pub fn run(&self) -> Result<String, Failure> {
        let loaded = self.experiment.load()?;
        if !self.format.is_of_registers() {
            return self.run_step(&loaded);
        }
        if self.format == TraceFormat::Scalesim {
            self.refuse(&[("--rows", self.rows.is_some()), ("--cols", self.cols.is_some())])?;
            self.refuse(&[("--period-ps", self.period_ps.is_some())])?;
        }
        let name = self.op.as_deref().ok_or_else(|| {
            Failure::input(anyhow!(
                "--format {}: expected --op NAME, a matrix product as `systoliq list` names it",
                self.format.name()
            ))
        })?;
        let op = find_gemm(&loaded.prepared.program, name).map_err(in_options)?;
        self.check_out()?;
        let seed = loaded.prepared.experiment.seed;
        let data = loaded.data(seed)?;
        let at = (op, self.step);
        let mapping = mapping_in_step(&loaded.prepared, &data, at).map_err(in_options)?;
        let part = self.part(&mapping)?;
        loaded.warn(&data);
        if self.format == TraceFormat::Scalesim {
            return self.run_scalesim(&loaded, &data, (op, &mapping), part.cycles);
        }
        let bar = progress_bar("training", self.step, "steps");
        let gemm = capture(&loaded.prepared, &data, seed, at, &|step| bar.set_position(step));
        bar.finish_and_clear();
        let gemm = gemm.map_err(in_options)?;
        let task = gemm.task();
        let instants = Instants::new(&task, &mapping).map_err(Failure::input)?;
        let trace = self.trace(&instants, &part, &self.title(&loaded, op))?;
        match &self.out {
            Some(path) => {
                self.write(&trace, path, part.cycles.end - part.cycles.start)?;
                let Range { start, end } = part.cycles;
                Ok(format!(
                    "{}: {}, cycles {start} to {} of 0 to {}, {} PEs\n",
                    path.display(),
                    self.title(&loaded, op),
                    end - 1,
                    instants.cycles() - 1,
                    part.rows.len() * part.cols.len()
                ))
            }
            None => {
                let mut text = Vec::new();
                trace.text(&mut text, &mut |_| ()).map_err(Failure::run)?;
                String::from_utf8(text).map_err(Failure::run)
            }
        }
    }

    /// Refuses the first option that is given.
    fn refuse(&self, options: &[(&str, bool)]) -> Result<(), Failure> {
        let Some((option, _)) = options.iter().find(|&&(_, given)| given) else { return Ok(()) };
        let format = self.format.name();
        let with = if ["--fold", "--cycles"].contains(option) {
            ", text and scalesim"
        } else {
            " and text"
        };
        Err(Failure::input(anyhow!("{option} goes with vcd, fst{with}, not {format}")))
    }

    /// Writes commands and transfers of a step.
    fn run_step(&self, loaded: &Loaded) -> Result<String, Failure> {
        let of_registers = [
            ("--fold", self.fold.is_some()),
            ("--cycles", self.cycles.is_some()),
            ("--rows", self.rows.is_some()),
            ("--cols", self.cols.is_some()),
            ("--period-ps", self.period_ps.is_some()),
        ];
        self.refuse(&of_registers)?;
        self.check_out()?;
        let path = self.out.as_deref().expect("a file that was checked");
        let Loaded { prepared, .. } = loaded;
        let data = loaded.data(prepared.experiment.seed)?;
        let trace = StepTrace::new(prepared, &data, self.step, self.op.as_deref());
        let trace = trace.map_err(in_options)?;
        loaded.warn(&data);
        write_whole(path, |file| {
            let mut file = BufWriter::new(file);
            match self.format {
                TraceFormat::Perfetto => trace.perfetto(&mut file)?,
                TraceFormat::Dramsim3 => trace.dramsim3(&mut file)?,
                _ => trace.ramulator2(&mut file)?,
            }
            file.flush()
        })
        .map_err(Failure::run::<Error>)?;
        let (name, step) = (one_line(&prepared.experiment.name), self.step);
        Ok(format!("{}: {name}, step {step}, {}\n", path.display(), self.format.name()))
    }

    /// Writes the addresses of one matrix product, six files in a folder.
    fn run_scalesim(
        &self,
        loaded: &Loaded,
        data: &DataSet,
        (op, mapping): (WriteId, &Mapping),
        cycles: Range<u64>,
    ) -> Result<String, Failure> {
        let folder = self.out.as_deref().expect("a folder that was checked");
        let Prepared { program, .. } = &loaded.prepared;
        let gemm = program.command_of(op).operation.product().expect("a GEMM was found");
        let step = StepTrace::new(&loaded.prepared, data, self.step, Some(&program.write(op).name));
        let step = step.map_err(in_options)?;
        make_folder(folder).map_err(|error| {
            Failure::input(anyhow!("cannot make {}: {error}", folder.display()))
        })?;
        let file = |matrix: Matrix, memory: &str| {
            folder.join(format!("{}_{memory}_TRACE.csv", matrix.name()))
        };
        let tensors = [(gemm.a.tensor, false), (gemm.b.tensor, false), (gemm.finish.output, true)];
        for (matrix, (tensor, write)) in Matrix::ALL.into_iter().zip(tensors) {
            write_whole(&file(matrix, "SRAM"), |out| {
                let mut out = BufWriter::new(out);
                scratchpad(&mut out, mapping, cycles.clone(), matrix)?;
                out.flush()
            })
            .map_err(Failure::run::<Error>)?;
            write_whole(&file(matrix, "DRAM"), |out| {
                let mut out = BufWriter::new(out);
                step.scalesim(&mut out, tensor, write)?;
                out.flush()
            })
            .map_err(Failure::run::<Error>)?;
        }
        Ok(format!("{}: {}, six files\n", folder.display(), self.title(loaded, op)))
    }

    /// Checks that the file can be written where it is to be.
    fn check_out(&self) -> Result<(), Failure> {
        let Some(path) = &self.out else {
            return match self.format {
                TraceFormat::Text => Ok(()),
                _ => Err(Failure::input(anyhow!(
                    "--format {}: expected -o FILE; only text is printed",
                    self.format.name()
                ))),
            };
        };
        if self.format == TraceFormat::Scalesim {
            return match path.exists() && !path.is_dir() {
                true => Err(Failure::input(anyhow!(
                    "cannot write {}: it is a file, expected a folder",
                    path.display()
                ))),
                false => Ok(()),
            };
        }
        check_place(path).map_err(Failure::input)
    }

    /// What of the GEMM is asked for, if it has that.
    fn part(&self, mapping: &Mapping) -> Result<TracedPart, Failure> {
        let schedule = FoldSchedule::new(mapping);
        let cycles = array::timing::gemm(mapping).map_err(Failure::input)?.total().0;
        let whole = 0..cycles;
        let wanted = match (&self.cycles, self.fold) {
            (Some(wanted), _) => wanted.clone(),
            (None, None) => whole,
            (None, Some(number)) => {
                let schedule = schedule.expect("a GEMM whose cycles fit 64 bits");
                let fold = schedule.nth(number).ok_or_else(|| {
                    let (op, folds) = (self.name(), schedule.count());
                    Failure::input(anyhow!(
                        "--fold {number}: {op} has {folds} folds, numbered 0 to {}",
                        folds - 1
                    ))
                })?;
                schedule.cycles_of(&fold)
            }
        };
        if wanted.end > cycles {
            return Err(Failure::input(anyhow!(
                "--cycles {}..{}: {} takes {cycles} cycles, numbered 0 to {}",
                wanted.start,
                wanted.end,
                self.name(),
                cycles - 1
            )));
        }
        let side = |wanted: &Option<Range<u64>>, side: usize| match wanted {
            None => 0..side,
            Some(Range { start, end }) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                index(*start)..index(*end)
            }
        };
        let (rows, cols) = (side(&self.rows, mapping.rows), side(&self.cols, mapping.cols));
        check_pes(mapping, &rows, &cols).map_err(Failure::input)?;
        if self.format == TraceFormat::Text && cols.len() > TEXT_COLS_MAX {
            let wide = array::Error::TraceTooWide { cols: cols.len() };
            return Err(Failure::input(anyhow!("{wide}; take a part with --cols")));
        }
        let part = TracedPart { cycles: wanted, rows, cols };
        self.check_size(&part)?;
        Ok(part)
    }

    /// Checks that what is asked for is not absurdly large.
    fn check_size(&self, part: &TracedPart) -> Result<(), Failure> {
        let (pes, cycles) =
            (part.rows.len() * part.cols.len(), part.cycles.end - part.cycles.start);
        let most = self.format.pe_cycles_max();
        if pes as u128 * u128::from(cycles) <= most {
            return Ok(());
        }
        Err(Failure::input(anyhow!(
            "{pes} PEs over {cycles} cycles: expected at most {most} PEs times cycles as {}; take a \
             part with --fold, --cycles, --rows or --cols",
            self.format.name()
        )))
    }

    fn name(&self) -> &str {
        self.op.as_deref().unwrap_or_default()
    }

    fn title(&self, loaded: &Loaded, op: WriteId) -> String {
        let (experiment, program) = (&loaded.prepared.experiment, &loaded.prepared.program);
        let (name, op) = (one_line(&experiment.name), &program.write(op).name);
        format!("{name}, seed {}: {op} of step {}", experiment.seed, self.step)
    }

    fn trace<'i, 'a>(
        &self,
        instants: &'i Instants<'a>,
        part: &TracedPart,
        title: &str,
    ) -> Result<Trace<'i, 'a>, Failure> {
        let make = || {
            let trace = Trace::new(instants, part.cycles.clone())?;
            let mut trace = trace.of_pes(part.rows.clone(), part.cols.clone())?.titled(title);
            if let Some(period) = self.period_ps {
                trace = trace.with_period_ps(period)?;
            }
            Ok(trace)
        };
        make().map_err(|error: array::Error| Failure::input(error))
    }

    fn write(&self, trace: &Trace<'_, '_>, path: &Path, cycles: u64) -> Result<(), Failure> {
        let bar = progress_bar("tracing", cycles, "cycles");
        let mut progress = |cycle| bar.set_position(cycle);
        let written = write_whole(path, |file| -> io::Result<()> {
            match self.format {
                TraceFormat::Vcd => trace.vcd(file, &mut progress),
                TraceFormat::Fst => trace.fst(BufWriter::new(file), &mut progress),
                _ => trace.text(&mut BufWriter::new(file), &mut progress),
            }
        });
        bar.finish_and_clear();
        written.map_err(Failure::run::<Error>)
    }
}

/// A bar on standard error, if that is a terminal.
fn progress_bar(what: &'static str, count: u64, unit: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(count).with_message(what).with_prefix(unit);
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {prefix}, {eta} left");
    bar.set_style(style.expect("a template that indicatif reads").progress_chars("=> "));
    bar
}
