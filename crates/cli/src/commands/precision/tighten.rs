//! `--tighten`: how many bits the plan has to spare, by training it with fewer.

use std::num::NonZero;
use std::path::PathBuf;

use anyhow::{Error, anyhow};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use systoliq_energy::Picojoules;
use systoliq_explore::{
    Explorer, Lines, PlanVerdict, SearchEvent, SpareBits, Tightening, TighteningReport, Trial,
    TriedOffset,
};
use systoliq_run::Experiment;
use systoliq_study::drop::MARGIN;
use systoliq_study::precision::{GradientNoise, PrecisionReport, Study};

use crate::commands::margin::margin;
use crate::commands::search::SeedsArgument;
use crate::commands::table::{Columns, joules};
use crate::failure::Failure;
use crate::interrupt;
use crate::load::Loaded;
use crate::run_folder::{FolderKind, RunFolder};
use systoliq_load::files;

/// The folder of a tightening.
const TIGHTENING: FolderKind = FolderKind {
    what: "tightening",
    manifest: "plan-request.json",
    beforehand: None,
    results: &[RESULT],
    page_of: RESULT,
};

/// What was found.
const RESULT: &str = "tightening.json";

/// How a plan is trained with fewer bits.
#[derive(Clone, Debug, Args)]
pub(super) struct TightenArguments {
    /// Trains the plan with fewer bits, all together and class by class, and says how many are to spare.
    /// Runs are kept in DIR.
    #[arg(long, value_name = "DIR")]
    pub(super) tighten: Option<PathBuf>,

    /// What the plan with fewer bits may lose against float in the mean, as a fraction: 0.005 is half a point.
    #[arg(long, value_name = "X", default_value_t = MARGIN, value_parser = margin, allow_negative_numbers = true, requires = "tighten")]
    margin: f64,

    /// The seeds that it is trained with: how many, from the experiment's own up; or A..=B; or A,B,C.
    #[arg(long, value_name = "SEEDS", default_value = "29", requires = "tighten")]
    seeds: SeedsArgument,

    /// Goes on with the runs in DIR; starts afresh where there are none.
    #[arg(long, requires = "tighten")]
    resume: bool,

    /// Runs at a time, each in one thread; the results are the same for any number [default: all cores].
    #[arg(long, value_name = "N", requires = "tighten")]
    jobs: Option<NonZero<u16>>,
}

/// A plan that is to be trained with fewer bits, and the folder that its runs are kept in.
pub(super) struct OpenedTightening {
    experiment: Experiment,
    tightening: Tightening,
    path: PathBuf,
    folder: RunFolder,
    lines: Lines,
}

impl TightenArguments {
    /// Refuses a folder that no tightening can be kept in, and seeds that there are not, before anything is
    /// computed.
    pub(super) fn check(&self, loaded: &Loaded) -> Result<(), Failure> {
        let Some(path) = &self.tighten else { return Ok(()) };
        self.seeds(&loaded.prepared.experiment)?;
        RunFolder::check(path, &TIGHTENING, self.resume).map_err(Failure::input)
    }

    fn seeds(&self, experiment: &Experiment) -> Result<Vec<u64>, Failure> {
        let seeds = self.seeds.from(Some(experiment.seed));
        seeds.map_err(|problem| Failure::input(anyhow!("--seeds: {problem}")))
    }

    /// Opens the folder for a plan; nothing unless it is asked for.
    pub(super) fn open(
        &self,
        loaded: &Loaded,
        report: &PrecisionReport,
    ) -> Result<Option<OpenedTightening>, Failure> {
        let Some(path) = &self.tighten else { return Ok(None) };
        let precision = report.precision.clone();
        let experiment = Experiment { precision, ..loaded.prepared.experiment.clone() };
        let seeds = self.seeds(&experiment)?;
        let subject = json!({ "experiment": &experiment, "margin": self.margin, "seeds": &seeds });
        let tightening = Tightening::new(experiment.clone(), self.margin, seeds);
        let tightening = tightening.map_err(|error| loaded.refuse(error))?;
        let (folder, lines) = RunFolder::open(path, &TIGHTENING, &subject, self.resume)?;
        Ok(Some(OpenedTightening { experiment, tightening, path: path.clone(), folder, lines }))
    }

    /// Trains, and writes what was found.
    pub(super) fn run(
        &self,
        loaded: &Loaded,
        study: &Study<'_>,
        opened: OpenedTightening,
    ) -> Result<TighteningReport, Failure> {
        let OpenedTightening { experiment, tightening, path, folder, lines } = opened;
        let explorer = Explorer::new(folder.store(lines)?, &files::open_data);
        explorer
            .check(&Trial::new(experiment))
            .map_err(|problem| loaded.refuse(anyhow!(problem)))?;
        let all = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let jobs = self.jobs.map_or_else(all, |jobs| usize::from(jobs.get()));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build();
        let bar = ProgressBar::new_spinner();
        let keeps = || {
            interrupt::says(format!(
                "{} runs are kept in {}; the same command with --resume goes on from them",
                explorer.with_lines(Lines::count),
                path.display()
            ));
        };
        keeps();
        let noise = |experiment: &Experiment| -> Result<f64, systoliq_run::Error> {
            let noise = study.gradient_noise(&experiment.precision)?;
            Ok(noise.iter().map(GradientNoise::ratio).fold(0.0, f64::max))
        };
        let forecast = tightening.forecast(&noise).map_err(|error| loaded.refuse(error))?;
        let watch = |event: SearchEvent<'_>| {
            if let SearchEvent::Run(_) = event {
                bar.inc(1);
                bar.set_message(format!("{} runs", bar.position()));
                keeps();
            }
        };
        let found =
            pool.map_err(Failure::run)?.install(|| tightening.run(&forecast, &explorer, &watch));
        bar.finish_and_clear();
        let (report, keys) = found.map_err(|error| match error {
            systoliq_explore::Error::Store { .. } => Failure::run(error),
            _ => Failure::input(error),
        })?;
        let json = serde_json::to_string_pretty(&report).map_err(Failure::run)? + "\n";
        let write = || -> Result<(), Error> {
            folder.finish_store(&explorer.into_lines().in_order(keys))?;
            folder.write(RESULT, &json)
        };
        write().map_err(Failure::run)?;
        Ok(report)
    }
}

/// Where no width has a bit more to lose.
const NONE: [&str; 2] = ["-", "-"];

fn points(lost: f64) -> String {
    if lost.is_nan() { "undefined".to_owned() } else { format!("{:+.2} points", 100.0 * lost) }
}

/// What was found, as a table.
pub(super) fn summary(report: &TighteningReport) -> String {
    let names =
        ["lowered", "spare", "free", "lost + s.e.", "lately", "energy", "one more loses", "seeds"];
    let mut table = Columns::new(&names);
    table.line(line(report, "nothing", [None, None], (&report.plan, NONE.map(str::to_owned))));
    let is_within = report.plan.verdict == PlanVerdict::Within;
    let mut refusals = String::new();
    for SpareBits { class, bits, free, within, beyond, refused } in &report.spare {
        let next = match (beyond, refused) {
            (Some(beyond), _) => {
                let worse = beyond.lost.0.max(beyond.lost_lately.0);
                [points(worse), beyond.seeds.to_string()]
            }
            (None, None) => NONE.map(str::to_owned),
            (None, Some(problem)) => {
                let (name, by) = (class.name(), bits + 1);
                refusals.push_str(&format!(" refused: {name}, {by} lower: {problem}\n"));
                ["refused", "-"].map(str::to_owned)
            }
        };
        table.line(line(report, class.name(), [Some(*bits), *free], (within, next)));
    }
    let (seeds, margin) = (report.seeds.len(), 100.0 * report.margin);
    if !is_within {
        let runs = report.trainings;
        return format!(
            "{} the plan itself is not within {margin:.2} points: nothing was lowered; {runs} runs\n",
            table.text()
        );
    }
    format!(
        "{} spare: bits by which every width of a class can be lowered for a mean loss, with its standard \
         error, of at most {margin:.2} points over {seeds} seeds, in the end and lately; {} runs\n \
         free: those with which quantization noise in dW stays below batch noise, without training; of the \
         plan it is {:.2} of that\n one more loses, seeds: what one bit more lost, in the end or lately, whichever is more, with so many seeds; its \
         standard error comes on top; -: no width of the class has a bit more to lose\n{refusals}",
        table.text(),
        report.trainings,
        report.noise_ratio.0
    )
}

fn line(
    report: &TighteningReport,
    name: &str,
    bits: [Option<u32>; 2],
    (within, [loses, seeds]): (&TriedOffset, [String; 2]),
) -> [String; 8] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let lost = match within.lost_error {
        Some(error) => format!("{:+.2} + {:.2} points", 100.0 * within.lost.0, 100.0 * error.0),
        None => points(within.lost.0),
    };
    let energy = within.energy_pj.zip(report.energy_unit);
    let [spare, free] = bits.map(|bits| or_none(bits.map(|bits| bits.to_string())));
    [
        name.to_owned(),
        spare,
        free,
        lost,
        points(within.lost_lately.0),
        or_none(energy.map(|(energy, unit)| joules(Picojoules(energy), unit))),
        loses,
        seeds,
    ]
}
