//! What two runs say of each other.

use serde::Serialize;
use systoliq_study::drop::ratio::{SeedRatio, Sides};
use systoliq_study::drop::{Judgement, Level, LossRatio, Networks, RatioOverSeeds, words};

use super::run::{FinishedOutcome, FinishedRun};

/// What the sides are called.
const SIDES: Sides = Sides { loss: "right's loss", of: "left's", reference: "left" };

/// What the right run loses against the left, as that one stood for golden: with the seeds that both ran.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LossAgainstLeft {
    /// Seeds that both ran.
    common_seeds: Vec<u64>,
    /// Seeds that one of them ran alone.
    #[serde(skip)]
    others: usize,
    /// Of classifiers; nothing where no seed is common, or the left run diverged with each.
    judged: Option<Judgement>,
    /// Of regressions, with the first seed, where it is the same.
    regression: Option<LossRatio>,
    /// Of regressions, with the seeds that both ran.
    regression_over_seeds: Option<RatioOverSeeds>,
}

/// A seed that both ran, and how each ended.
type CommonSeed<'a> = (u64, &'a FinishedOutcome, &'a FinishedOutcome);

impl LossAgainstLeft {
    pub(super) fn new(left: &FinishedRun, right: &FinishedRun, margin: f64) -> Self {
        let (ours, theirs) = (left.outcomes(), right.outcomes());
        let of = |seed: u64| theirs.iter().find(|(other, _)| *other == seed);
        let pairs: Vec<CommonSeed<'_>> =
            ours.iter().filter_map(|(seed, left)| Some((*seed, left, &of(*seed)?.1))).collect();
        let common_seeds: Vec<u64> = pairs.iter().map(|(seed, ..)| *seed).collect();
        let others = ours.len() + theirs.len() - 2 * pairs.len();
        let classifiers = left.outputs.is_none();
        let over_seeds = (!classifiers && !pairs.is_empty()).then(|| ratio(&pairs));
        let same_first = left.seed() == right.seed();
        Self {
            others,
            judged: classifiers.then(|| judgement(&pairs, margin)).flatten(),
            regression: same_first.then(|| regression(left, right)).flatten(),
            regression_over_seeds: over_seeds.filter(|_| common_seeds.len() > 1),
            common_seeds,
        }
    }

    /// Over the seeds that both ran, of classifiers.
    pub(super) fn drop(&self) -> Option<&Judgement> {
        self.judged.as_ref()
    }

    /// Everything that is said, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        if self.common_seeds.is_empty() {
            return vec![
                "no seed was run by both: what one loses against the other is not judged"
                    .to_owned(),
            ];
        }
        let seeds = match (self.common_seeds.len(), self.others) {
            (1, 0) => "1 seed".to_owned(),
            (seeds, 0) => format!("{seeds} seeds"),
            (1, _) => format!("the one seed that both ran ({})", self.common_seeds[0]),
            (seeds, _) => format!("the {seeds} seeds that both ran"),
        };
        let mut lines: Vec<String> =
            self.regression.iter().map(|found| found.sentence_of(SIDES)).collect();
        if let Some(found) = &self.regression_over_seeds {
            lines.push(format!("over {seeds}, {}", found.sentence_of(SIDES)));
        }
        match &self.judged {
            Some(judged) => {
                lines.push(format!("over {seeds}, right loses {}", words::lost(judged)));
                let said = words::judged_against(SIDES.reference, judged);
                lines.extend(said.into_iter().map(|said| format!("    {said}")));
            }
            None if lines.is_empty() => {
                lines.push(
                    "left diverged: its accuracy is no reference, and nothing is judged".into(),
                );
            }
            None => {}
        }
        lines
    }
}

fn judgement(pairs: &[CommonSeed<'_>], margin: f64) -> Option<Judgement> {
    fn networks<'a>(&(seed, left, right): &CommonSeed<'a>) -> Option<Networks<'a>> {
        Some(Networks {
            seed,
            golden: left.right.as_ref()?,
            fixed: right.right.as_ref()?,
            golden_diverged: left.ended_worse,
            diverged: right.ended_worse,
        })
    }
    let networks = pairs.iter().map(networks).collect::<Option<Vec<_>>>()?;
    Some(Judgement::of(&networks, margin, Level::Once)?.quoted(&networks))
}

fn ratio(pairs: &[CommonSeed<'_>]) -> RatioOverSeeds {
    let seed = |&(seed, left, right): &CommonSeed<'_>| SeedRatio {
        seed,
        losses: [left, right].map(|of| of.loss_bits.map_or(f64::NAN, |loss| loss.0)),
        diverged: [left, right].map(|of| of.ended_worse),
    };
    RatioOverSeeds::new(&pairs.iter().map(seed).collect::<Vec<_>>())
}

/// Nothing for classifiers, and where the runs have other numbers of test samples.
fn regression(left: &FinishedRun, right: &FinishedRun) -> Option<LossRatio> {
    let errors = [left.outputs.as_ref()?, right.outputs.as_ref()?].map(|of| of.squared_errors());
    let paired = !errors[0].is_empty() && errors[0].len() == errors[1].len();
    paired.then(|| LossRatio::new(&errors, left.found.fixed.ended_worse, left.overlaps()))
}
