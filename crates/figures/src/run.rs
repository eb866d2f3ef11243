//! The figures of one run.

mod buffer;
mod cost;
mod learning;
mod rates;
mod report;
mod tensors;

use systoliq_study::drop::words;
use systoliq_study::report::check::{check, check_layout};

use crate::number::{count, decimal, difference, energy, percent, plural};
use crate::{Error, Page, PageFigure, panel};
pub(crate) use cost::energy_stack;
use report::DrawnReport;
pub(crate) use report::Named;
use systoliq_explore::Measure;

/// The page of a run, from the text of its `report.json`.
///
/// # Errors
///
/// If the text is no report, or one of another layout.
pub fn of_run(text: &str) -> Result<Page, Error> {
    let layout: serde_json::Value = serde_json::from_str(text)?;
    check_layout(&layout).map_err(Error::Layout)?;
    let report: DrawnReport = serde_json::from_str(text)?;
    check(&layout).map_err(Error::Impossible)?;
    let figures = [
        learning::figures(&report),
        cost::figures(&report),
        report.panel.iter().flat_map(panel::figures).collect(),
        report.buffer.iter().map(|of| buffer::figure(of, &commands(&report))).collect(),
        tensors::figures(&report),
        rates::figures(&report),
        tensors::codes(&report).into_iter().collect(),
    ];
    let figures: Vec<PageFigure> = figures.into_iter().flatten().collect();
    Ok(Page {
        title: report.experiment.name.clone(),
        note: note(&report),
        facts: facts(&report),
        figures,
    })
}

/// The names of the commands of a step, in their order.
fn commands(report: &DrawnReport) -> Vec<String> {
    let name = |work: &report::DrawnWork| format!("{}.{}.{}", work.layer, work.pass, work.output);
    let mut names: Vec<String> = report.layers.iter().map(name).collect();
    names.dedup();
    names
}

fn note(report: &DrawnReport) -> String {
    let experiment = &report.experiment;
    let seed = match report.seeds.len() {
        0 => format!("seed {}", experiment.seed),
        several => format!("seed {}, the first of {several}", experiment.seed),
    };
    let array = &experiment.accelerator.array;
    let forced = if experiment.training.teacher_forced {
        " Teacher-forced: every step starts from the weights of that model."
    } else {
        ""
    };
    format!(
        "One run in fixed point beside its floating-point model: {}, {seed}, on an array of {} × {}.{forced}",
        plural(report.fixed.loss_bits.len(), "epoch"),
        array.rows,
        array.cols
    )
}

fn facts(report: &DrawnReport) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    let last = |rates: &[Option<f64>]| rates.last().copied().flatten();
    let rates = [&report.golden, &report.fixed].map(|curve| last(&curve.error_rate));
    if let [Some(golden), Some(fixed)] = rates {
        let seed = match report.seeds.len() {
            0 => String::new(),
            _ => format!(", seed {}", report.experiment.seed),
        };
        fact(
            &format!("Error rate{seed}, float → fixed"),
            format!("{} → {}", percent(golden), percent(fixed)),
        );
    }
    let points = Measure::ErrorRate;
    if let Some(judged) = &report.judged {
        let of = if judged.seeds() > 1 { ", mean of the seeds" } else { "" };
        let lost = difference(judged.mean, Some(judged.half_width), points);
        fact(&format!("Accuracy lost{of}"), lost);
        words::judged(judged).into_iter().for_each(|said| fact("What that says", said));
    } else if report.accuracy_loss.is_some() {
        fact("Accuracy lost", words::NO_REFERENCE.to_owned());
    }
    let ratios = [
        report.regression.map(|found| found.sentence()),
        report
            .regression_over_seeds
            .as_ref()
            .map(|found| format!("over {} seeds: {}", report.seeds.len(), found.sentence())),
    ];
    ratios.into_iter().flatten().for_each(|said| fact("Loss against float", said));
    for (name, curve) in [("Float", &report.golden), ("Fixed point", &report.fixed)] {
        let Some(epoch) = curve.diverged_at_epoch else { continue };
        if curve.ended_worse {
            fact(&format!("{name} diverged"), format!("at epoch {epoch}"));
        } else {
            let recovered = format!("at epoch {epoch}; it ended below its initial loss");
            fact(&format!("{name} was above its initial loss"), recovered);
        }
    }
    let spent = &report.energy_pj;
    fact("Energy", energy(spent.total, spent.unit));
    if spent.total > 0.0 {
        fact(
            "Energy on float32 hardware",
            format!(
                "{} ({} ×)",
                energy(spent.float32_total, spent.unit),
                decimal(spent.float32_total / spent.total, 2)
            ),
        );
    }
    facts.extend(report.panel.iter().flat_map(panel::facts));
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    fact("Cycles", count(report.cycles.total));
    fact("Utilization of the array", percent(report.utilization));
    facts
}
