//! What a point lost.

use serde::{Deserialize, Serialize};
use systoliq_nn::Extended;
use systoliq_study::drop::ratio::SeedRatio;
use systoliq_study::drop::{Judgement, Level, MARGIN, Networks, RatioOverSeeds, of_values, words};

use super::Measure;
use crate::{Found, LearningCurves};

/// What a point lost against the golden model; means are of the seeds with which golden did not diverge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// The mean over the seeds; no number where golden diverged with each.
    pub mean: Extended,
    /// Half the width of the 95 % interval of the mean on this part; of a regression, nothing for one seed,
    /// and where one diverged.
    pub ci95: Option<Extended>,
    /// By seed; no number where golden diverged.
    pub by_seed: Vec<Extended>,
    /// The mean error rate, or loss, in fixed point.
    pub fixed: Extended,
    /// The same of the golden model.
    pub golden: Extended,
    /// What seeds and samples say of the margin; nothing for a regression.
    pub judged: Option<Judgement>,
    /// How many times golden's loss a regression ends with; nothing for a classifier.
    pub ratio: Option<RatioOverSeeds>,
}

impl Lost {
    /// What runs, by their seeds, lost on a part of their data, judged by a margin; nothing if one has no
    /// such part.
    pub(crate) fn new(
        found: &[(u64, &Found)],
        measure: Measure,
        validation: bool,
        (margin, level): (f64, Level),
    ) -> Option<Self> {
        let last = |learning: &LearningCurves| learning.part(validation)?.last(measure);
        let triple = |&(_, found): &(u64, &Found)| {
            let lost = found.lost_in(measure, validation)?;
            Some([lost, last(&found.fixed)?, last(&found.golden)?])
        };
        let all = found.iter().map(triple).collect::<Option<Vec<_>>>()?;
        let references = all.iter().zip(found).filter(|(_, (_, run))| !run.golden.ended_worse());
        let known: Vec<[f64; 3]> = references.map(|(one, _)| *one).collect();
        let said = if known.is_empty() { &all } else { &known };
        let mean =
            |at: usize| Extended(said.iter().map(|one| one[at]).sum::<f64>() / said.len() as f64);
        let networks = networks(found, validation);
        let judged = |level| Judgement::of(networks.as_deref()?, margin, level);
        let ratio = (measure == Measure::Loss).then(|| ratio(found, validation));
        let diverged = ratio.as_ref().is_some_and(|ratio| !ratio.diverged.is_empty());
        let ci95 = match judged(Level::Once) {
            Some(judged) => Some(judged.half_width),
            None if known.is_empty() || diverged => None,
            None => of_values(&known.iter().map(|one| one[0]).collect::<Vec<_>>()).1,
        };
        let quoted = |judged: Judgement| match networks.as_deref() {
            Some(networks) if !validation => judged.quoted(networks),
            _ => judged,
        };
        (!all.is_empty()).then(|| Self {
            mean: mean(0),
            ci95: ci95.map(Extended),
            by_seed: all.iter().map(|one| Extended(one[0])).collect(),
            fixed: mean(1),
            golden: mean(2),
            judged: judged(level).map(quoted),
            ratio,
        })
    }

    /// What one run lost on a part of its data, judged by the usual margin; nothing where it has no such
    /// part.
    pub fn of_run(seed: u64, found: &Found, validation: bool) -> Option<Self> {
        Self::new(&[(seed, found)], found.measure(), validation, (MARGIN, Level::Once))
    }

    /// What is said of it beside its mean, a line each.
    pub fn said(&self) -> Vec<String> {
        match (&self.judged, &self.ratio) {
            (Some(judged), _) => words::judged(judged),
            (None, Some(ratio)) => vec![ratio.sentence()],
            (None, None) => vec![words::NO_REFERENCE.to_owned()],
        }
    }
}

/// How many times golden's loss fixed point ends with on a part.
fn ratio(found: &[(u64, &Found)], validation: bool) -> RatioOverSeeds {
    let of_run = |&(seed, found): &(u64, &Found)| {
        let both = [&found.golden, &found.fixed];
        let loss = |learning: &LearningCurves| learning.part(validation)?.final_loss();
        SeedRatio {
            seed,
            losses: both.map(|learning| loss(learning).unwrap_or(f64::NAN)),
            diverged: both.map(LearningCurves::ended_worse),
        }
    };
    RatioOverSeeds::new(&found.iter().map(of_run).collect::<Vec<_>>())
}

/// What the networks of each run get right on a part; nothing for a regression.
fn networks<'f>(found: &[(u64, &'f Found)], validation: bool) -> Option<Vec<Networks<'f>>> {
    let of_run = |&(seed, found): &(u64, &'f Found)| {
        Some(Networks {
            seed,
            golden: found.golden.part(validation)?.right.as_ref()?,
            fixed: found.fixed.part(validation)?.right.as_ref()?,
            golden_diverged: found.golden.ended_worse(),
            diverged: found.fixed.ended_worse(),
        })
    };
    found.iter().map(of_run).collect()
}
