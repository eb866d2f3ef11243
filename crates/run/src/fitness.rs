//! What was read, what is odd about it, and whether the formats that are given once and for all keep
//! anything of the data and of the initial weights.

use systoliq_fxp::{ConversionStatistics, Format, Overflow, Scale};
use systoliq_nn::{DataSet, initial_weights};
use systoliq_program::{Program, Samples, Step, Store, TensorDecl, TensorId};

use crate::Prepared;

/// Below this ratio of signal to error, the error has half the power of the signal.
const SQNR_DB_MIN: f64 = 3.0;

/// The most batches of training data that are looked at.
const BATCHES_MAX: usize = 100;

/// The largest share of inputs outside a static format that is not warned of.
const OUTSIDE_MAX: f64 = 0.01;

/// Up to how many classes their samples are told one by one.
const CLASSES_TOLD: usize = 10;

/// What was read, in one line: samples, classes, the range of inputs, and the share of them that a
/// static input format cuts.
pub fn told(prepared: &Prepared, data: &DataSet) -> String {
    let survey = data.survey();
    let samples: Vec<String> =
        survey.parts.iter().map(|part| format!("{} {}", part.samples, part.name)).collect();
    let (low, high) = survey.inputs;
    let cut = static_input(prepared).map_or(String::new(), |format| {
        let (outside, of) = outside(data, format, |_| true);
        match outside {
            0 => format!(", none outside {format}"),
            _ => format!(", {outside} of {of} outside {format}"),
        }
    });
    let counts = survey.parts.first().and_then(|part| part.by_class.as_ref());
    let classes = counts.map_or(String::new(), |counts| match counts.len() {
        ..=CLASSES_TOLD => {
            let each: Vec<String> = counts.iter().map(ToString::to_string).collect();
            format!("; training samples by class: {}", each.join(", "))
        }
        count => {
            let (least, most) = (counts.iter().min(), counts.iter().max());
            let [least, most] = [least, most].map(|end| end.copied().unwrap_or(0));
            format!("; {count} classes of {least} to {most} training samples")
        }
    });
    format!(
        "{}: samples: {}; {} inputs each from {low} to {high}{cut}{classes}",
        data.name,
        samples.join(", "),
        data.features
    )
}

/// A sentence for whoever trains.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// The name of the tensor whose format it is about, if it is about one.
    pub tensor: Option<String>,
    /// The sentence.
    pub text: String,
}

/// The inputs.
fn input(prepared: &Prepared) -> &TensorDecl {
    prepared.program.tensor(prepared.program.input)
}

/// The format of inputs, if it is given once and for all.
fn static_input(prepared: &Prepared) -> Option<Format> {
    let plan = &input(prepared).plan;
    (plan.scale == Scale::Static).then_some(plan.format)
}

/// How many inputs that `counts` have no code of a format within half an ulp, and of how many.
fn outside(data: &DataSet, format: Format, counts: impl Fn(f64) -> bool) -> (u64, u64) {
    let half = format.ulp() / 2.0;
    let (low, high) = (format.min_real() - half, format.max_real() + half);
    data.count_inputs(|value| (value < low || value >= high) && counts(value))
}

/// A sentence for all that is odd about the data, or about the input format for them.
fn of_data(prepared: &Prepared, data: &DataSet) -> Vec<Warning> {
    let odd = data.survey().remarks().into_iter().map(|remark| format!("{}: {remark}", data.name));
    let odd = data.remarks.iter().cloned().chain(odd);
    let mut found: Vec<Warning> = odd.map(|text| Warning { tensor: None, text }).collect();
    let decl = input(prepared);
    let mut of_input = |text| found.push(Warning { tensor: Some(decl.name.clone()), text });
    let (negative, of) = data.count_inputs(|value| value < 0.0);
    // No scale mends that.
    if negative > 0 && !decl.plan.format.is_signed() {
        let become_of_them = match decl.plan.overflow {
            Overflow::Saturate | Overflow::SaturateSymmetric => "become 0",
            Overflow::Wrap => "wrap to positive ones",
        };
        of_input(format!(
            "precision.input: {negative} of {of} inputs are negative, and {} has no negative values: \
             they {become_of_them}",
            decl.plan.format
        ));
    }
    if let Some(format) = static_input(prepared) {
        let signed = format.is_signed();
        let (beyond, of) = outside(data, format, |value| signed || value >= 0.0);
        if beyond as f64 > OUTSIDE_MAX * of as f64 {
            let (side, low) = match signed {
                true => ("outside", format!("{} and ", format.min_real())),
                false => ("above", String::new()),
            };
            of_input(format!(
                "precision.input: {beyond} of {of} inputs are {side} {format}, which ends at {low}{}",
                format.max_real()
            ));
        }
    }
    found
}

/// A sentence for all that is odd about the data, and for each format that keeps so little of the
/// values that it is for.
pub fn warnings(prepared: &Prepared, data: &DataSet, seed: u64) -> Vec<String> {
    by_tensor(prepared, data, seed).into_iter().map(|warning| warning.text).collect()
}

/// The same, with the tensors that they are about.
pub fn by_tensor(prepared: &Prepared, data: &DataSet, seed: u64) -> Vec<Warning> {
    let mut found = of_data(prepared, data);
    found.extend(of_formats(prepared, data, seed));
    found
}

/// A sentence for each format that keeps so little of the values that it is for.
fn of_formats(prepared: &Prepared, data: &DataSet, seed: u64) -> Vec<Warning> {
    let Prepared { experiment, graph, program, .. } = prepared;
    let mut store = Store::new(program, &initial_weights(graph, seed), seed);
    let mut found: Vec<(TensorId, ConversionStatistics)> = store.initial_statistics().to_vec();
    let batch = experiment.training.batch;
    let looked_at = data.train.len().min(BATCHES_MAX.saturating_mul(batch)) as u32;
    let part = data.train.select(&(0..looked_at).collect::<Vec<_>>());
    let samples = Samples::new(program, &part);
    for (at, rows) in part.rows(batch).enumerate() {
        let step = Step::evaluation(seed, "fitness", 0, at as u64);
        for (id, statistics) in store.load_samples(&samples, &rows, &step) {
            match found.iter_mut().find(|(known, _)| *known == id) {
                Some((_, sum)) => sum.merge(&statistics),
                None => found.push((id, statistics)),
            }
        }
    }
    let useless = found.into_iter().filter_map(|(id, statistics)| {
        let decl = program.tensor(id);
        let sqnr = statistics.sqnr_db().filter(|&sqnr| sqnr < SQNR_DB_MIN)?;
        let ConversionStatistics { elements, overflowed, underflowed, .. } = statistics;
        let format = decl.plan.format;
        (decl.plan.scale == Scale::Static).then(|| Warning {
            tensor: Some(decl.name.clone()),
            text: format!(
                "precision: {format} keeps next to nothing of {} `{}` in layer {}: of {elements} values \
                 {underflowed} round to 0 and {overflowed} leave the range {} to {} (SQNR {sqnr:.1} dB)",
                decl.role,
                decl.name,
                decl.entry,
                format.min_real(),
                format.max_real(),
            ),
        })
    });
    useless.chain(softmax_warning(program)).collect()
}

/// Whether logits that differ by an ulp have the same exponent in the softmax unit.
fn softmax_warning(program: &Program) -> Option<Warning> {
    let logits = program.targets.is_none().then(|| &program.tensor(program.logits).plan)?;
    let exponent = logits.format.ulp() * std::f64::consts::LOG2_E;
    let exponent_frac = program.softmax.exponent_frac;
    let step = 2f64.powi(-(exponent_frac as i32));
    (logits.scale == Scale::Static && exponent < step / 2.0).then(|| Warning {
        tensor: None,
        text: format!(
            "precision.softmax: exponents step by {step} (exponent_frac {exponent_frac}), logits in {} by \
             {exponent:.3e}: neighbours are equally probable",
            logits.format
        ),
    })
}
