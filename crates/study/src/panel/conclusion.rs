//! What is concluded of one training on every machine, where that is otherwise, and how much is at stake.

use serde::{Deserialize, Serialize};

use super::domain::{Domain, Machines};

/// What is concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// Whether it takes less energy than on float32 hardware; the figure is float32's over its own.
    LessThanFloat32,
    /// The same of bfloat16.
    LessThanBfloat16,
    /// The same of bfloat16 with weights, biases and momentum in float32.
    LessThanBfloat16Master,
    /// Of what one bit less saves most; the figure is the share of all energy that this saves.
    BitWorthMost,
    /// In which dataflow it takes least; the figure is what the second takes over that.
    LeastDataflow,
    /// Which of the points that lose little enough takes least; the figure is its share of float32's.
    CheapestPoint,
}

impl Claim {
    /// Every claim.
    pub const ALL: [Self; 6] = [
        Self::LessThanFloat32,
        Self::LessThanBfloat16,
        Self::LessThanBfloat16Master,
        Self::BitWorthMost,
        Self::LeastDataflow,
        Self::CheapestPoint,
    ];
}

/// Ratios of energies under one profile are no surer than this.
pub const SURE: f64 = 0.15;

/// What is concluded on one machine, with its figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) answer: String,
    pub(crate) figure: f64,
}

/// A conclusion with its domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conclusion {
    /// What is asked.
    pub claim: Claim,
    /// What is concluded on the machine of the run.
    pub answer: String,
    /// On how many machines the same is concluded.
    pub holds: usize,
    /// Of how many.
    pub machines: usize,
    /// The least and the largest figure where it holds.
    pub between: [f64; 2],
    /// On how many of these the figure is a ratio of energies within [`SURE`] of 1.
    pub close: usize,
    /// What is concluded elsewhere, the most frequent first.
    pub flips: Vec<Flip>,
    /// The figure on each machine, in the order of their numbers; nothing where nothing is concluded.
    pub figures: Vec<Option<f64>>,
}

/// Another answer, and on which machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flip {
    /// The answer.
    pub answer: String,
    /// On how many machines.
    pub machines: usize,
    /// The least and the largest figure on these.
    pub between: [f64; 2],
    /// On which: those of any of these, and no others.
    pub domain: Vec<Domain>,
}

impl Conclusion {
    /// Of what is concluded on each machine, where the axes have so many values, and the experiment is on the
    /// machine `own`; nothing where nothing is concluded on that.
    pub(crate) fn new(
        claim: Claim,
        sizes: &[usize],
        answers: &[Option<Answer>],
        own: usize,
    ) -> Option<Self> {
        let ours = &answers[own].as_ref()?.answer;
        let given = || answers.iter().flatten();
        let of = |answer: &str| {
            let figures = given().filter(|given| given.answer == answer).map(|given| given.figure);
            let figures: Vec<f64> = figures.collect();
            let ends = |[low, high]: [f64; 2], &figure: &f64| [low.min(figure), high.max(figure)];
            (figures.len(), figures.iter().fold([f64::INFINITY, f64::NEG_INFINITY], ends))
        };
        let mut others: Vec<&String> = Vec::new();
        for given in given() {
            if given.answer != *ours && !others.contains(&&given.answer) {
                others.push(&given.answer);
            }
        }
        let flip = |answer: &String| {
            let is = answers.iter().map(|given| Some(given.as_ref()?.answer == *answer));
            let (machines, between) = of(answer);
            let domain = Machines::new(sizes, is).describe();
            Flip { answer: answer.clone(), machines, between, domain }
        };
        let mut flips: Vec<Flip> = others.into_iter().map(flip).collect();
        flips.sort_by_key(|flip| std::cmp::Reverse(flip.machines));
        let (holds, between) = of(ours);
        let is_ratio = match claim {
            Claim::LessThanFloat32
            | Claim::LessThanBfloat16
            | Claim::LessThanBfloat16Master
            | Claim::LeastDataflow => true,
            Claim::BitWorthMost | Claim::CheapestPoint => false,
        };
        let is_close = |given: &&Answer| {
            is_ratio && given.answer == *ours && (given.figure - 1.0).abs() < SURE
        };
        let figures = answers.iter().map(|given| Some(given.as_ref()?.figure)).collect();
        Some(Self {
            claim,
            answer: ours.clone(),
            holds,
            machines: given().count(),
            between,
            close: given().filter(is_close).count(),
            flips,
            figures,
        })
    }

    /// What is concluded on a machine of these values, if anything is.
    pub fn answer_on(&self, values: &[usize]) -> &str {
        let other = self.flips.iter().find(|flip| flip.domain.iter().any(|of| of.has(values)));
        other.map_or(&self.answer, |flip| &flip.answer)
    }
}
