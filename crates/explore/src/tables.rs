//! Results as CSV, for spreadsheets and data frames.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use systoliq_hardware::csv::quoted;
use systoliq_nn::Extended;
use systoliq_study::drop::Judgement;

use crate::{Analysis, CostKind, Lines, Lost, MeanCosts, RunKey, RunOutcome, Sweep};

/// `results.csv`: a row per point.
pub fn results_csv(analysis: &Analysis) -> String {
    let mut text = heading(analysis);
    text.push_str("seeds_done,seeds_failed,seeds_diverged");
    for part in ["validation", "test"] {
        for column in ["loss", "ci95", "fixed", "golden"] {
            write!(text, ",{part}_{column}").expect("writing to a string");
        }
    }
    text.push_str(",seeds_failing,failing_at_most,worst_loss,verdict");
    text += COSTS;
    text.push_str(",on_energy_front,on_cycles_front,on_bits_front,on_area_front\n");
    for (at, point) in analysis.points.iter().enumerate() {
        text += &settings(analysis, &point.settings);
        let failed = point.failed.len();
        let done = if point.costs.is_some() { point.keys.len() } else { 0 };
        write!(text, "{done},{failed},{}", point.diverged.len()).expect("writing to a string");
        for lost in [&point.validation, &point.test] {
            for value in columns(lost.as_ref()) {
                text.push(',');
                text += &value.map_or(String::new(), number);
            }
        }
        text += &judged(point.test.as_ref().and_then(|lost| lost.judged.as_ref()));
        text += &costs(point.costs.as_ref());
        for cost in CostKind::ALL {
            let on = analysis.fronts.get(&cost).is_some_and(|front| front.contains(&at));
            write!(text, ",{}", u8::from(on)).expect("writing to a string");
        }
        text.push('\n');
    }
    text
}

/// `runs.csv`: a row per point and seed. `keys` are those of [`Sweep::runs`], in their order.
pub fn runs_csv(sweep: &Sweep, analysis: &Analysis, keys: &[RunKey], lines: &Lines) -> String {
    let mut text = heading(analysis);
    text.push_str("seed,key,failed,diverged_at_epoch");
    for network in ["fixed", "golden"] {
        for column in ["validation_error_rate", "test_error_rate", "test_loss"] {
            write!(text, ",{network}_{column}").expect("writing to a string");
        }
    }
    text += COSTS;
    text.push('\n');
    for ((point, seed), &key) in sweep.runs().zip(keys) {
        let Some(line) = lines.get(key) else { continue };
        text += &settings(analysis, &sweep.settings(point));
        let found = match &line.outcome {
            RunOutcome::Failed(reason) => {
                writeln!(text, "{seed},{key},{}{}", quoted(reason), ",".repeat(13))
                    .expect("writing to a string");
                continue;
            }
            RunOutcome::Stopped(_) => continue,
            RunOutcome::Done(found) => found,
        };
        let epoch = found.fixed.diverged_at_epoch.map_or(String::new(), |epoch| epoch.to_string());
        write!(text, "{seed},{key},,{epoch}").expect("writing to a string");
        for learning in [&found.fixed, &found.golden] {
            let validation = learning.validation.as_ref().and_then(|part| part.final_error_rate());
            let test = &learning.test;
            for value in [validation, test.final_error_rate(), test.final_loss()] {
                text.push(',');
                text += &value.map_or(String::new(), number);
            }
        }
        text += &costs(Some(&MeanCosts::new(&[found])));
        text.push('\n');
    }
    text
}

/// What is judged on the test part.
fn judged(judged: Option<&Judgement>) -> String {
    let Some(judged) = judged else { return ",".repeat(4) };
    let Judgement { failing, failing_at_most, worst, samples, verdict, .. } = judged;
    format!(",{},{failing_at_most},{},{}", failing.len(), worst.lost(*samples), verdict.name())
}

/// The names of the columns of [`costs`].
const COSTS: &str = ",energy_unit,energy_pj,float32_energy_pj,cycles,step_bits,area_mm2";

/// What a point or a run costs, if that is known.
fn costs(costs: Option<&MeanCosts>) -> String {
    let Some(MeanCosts { energy_unit, energy_pj, float32_energy_pj, cycles, step_bits, area_mm2 }) =
        costs
    else {
        return ",".repeat(6);
    };
    format!(",{energy_unit},{energy_pj},{float32_energy_pj},{cycles},{step_bits},{area_mm2}")
}

/// The names of the axes.
fn heading(analysis: &Analysis) -> String {
    analysis.axes.iter().map(|axis| quoted(&axis.name) + ",").collect()
}

/// The values on the axes, in their order.
fn settings(analysis: &Analysis, settings: &BTreeMap<String, Value>) -> String {
    let cell = |axis: &crate::AnalysedAxis| match &settings[&axis.name] {
        Value::String(text) => quoted(text) + ",",
        value => quoted(&value.to_string()) + ",",
    };
    analysis.axes.iter().map(cell).collect()
}

fn columns(lost: Option<&Lost>) -> [Option<f64>; 4] {
    let Some(lost) = lost else { return [None; 4] };
    let real = |value: Extended| Some(value.0);
    [real(lost.mean), lost.ci95.map(|ci95| ci95.0), real(lost.fixed), real(lost.golden)]
}

fn number(value: f64) -> String {
    if value.is_nan() { "nan".to_owned() } else { value.to_string() }
}
