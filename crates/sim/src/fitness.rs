//! Whether the formats that are given once and for all keep anything of the data and of the initial
//! weights.

use systoliq_fxp::{ConversionStatistics, Scale};
use systoliq_nn::{DataSet, initial_weights};
use systoliq_program::{Machine, Program, Step, TensorId};

use crate::Prepared;

/// Below this ratio of signal to error, the error has half the power of the signal.
const SQNR_DB_MIN: f64 = 3.0;

/// The most batches of training data that are looked at.
const BATCHES_MAX: usize = 100;

/// A sentence for each format that keeps so little of the values that it is for.
pub fn warnings(prepared: &Prepared, data: &DataSet, seed: u64) -> Vec<String> {
    let Prepared { experiment, graph, program, .. } = prepared;
    let initial: Vec<_> =
        (0..graph.layers.len()).map(|layer| initial_weights(graph, layer, seed)).collect();
    let mut machine = Machine::new(program, &initial, seed);
    let mut found: Vec<(TensorId, ConversionStatistics)> = machine.initial_statistics().to_vec();
    for (at, batch) in data.train.batches(experiment.training.batch).take(BATCHES_MAX).enumerate() {
        let step = Step::evaluation(seed, "fitness", 0, at as u64);
        for (id, statistics) in machine.load(&batch, &step) {
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
        (decl.plan.scale == Scale::Static).then(|| {
            format!(
                "precision: {format} keeps next to nothing of {} `{}` in layer {}: of {elements} values \
                 {underflowed} round to 0 and {overflowed} leave the range {} to {} (SQNR {sqnr:.1} dB)",
                decl.role,
                decl.name,
                decl.layer,
                format.min_raw() as f64 * format.ulp(),
                format.max_raw() as f64 * format.ulp(),
            )
        })
    });
    useless.chain(softmax_warning(program)).collect()
}

/// Whether logits that differ by an ulp have the same exponent in the softmax unit.
fn softmax_warning(program: &Program) -> Option<String> {
    let logits = program.targets.is_none().then(|| &program.tensor(program.logits).plan)?;
    let exponent = logits.format.ulp() * std::f64::consts::LOG2_E;
    let exponent_frac = program.softmax.exponent_frac;
    let step = 2f64.powi(-(exponent_frac as i32));
    (logits.scale == Scale::Static && exponent < step / 2.0).then(|| {
        format!(
            "precision.softmax: exponents step by {step} (exponent_frac {exponent_frac}), logits in {} by \
             {exponent:.3e}: neighbours are equally probable",
            logits.format
        )
    })
}
