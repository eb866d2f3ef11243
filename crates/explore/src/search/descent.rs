//! Lowers the widths of one start.

use systoliq_nn::Extended;

use super::bench::{Bench, Tried};
use super::{Adjustable, How, PlanVerdict, SearchStep, StartName, WidthChange};
use crate::Error;

/// A width is left alone whose step saves less than this share of the cost.
const SAVING_MIN: f64 = 5e-3;

/// What a width could lose, in parts.
const PARTS: u32 = 16;

/// A width is first lowered by this share of the bits that it could lose.
const FIRST_STEP: u32 = 3;

/// All widths of a start, lowered.
pub(super) struct Descent<'b, 'a> {
    bench: &'b mut Bench<'a>,
    name: StartName,
    start: &'b Adjustable,
}

/// A plan that is within the budget.
pub(super) struct ReachedPlan {
    pub(super) bits: Vec<u32>,
    pub(super) cost: f64,
}

/// A width that lost little enough when it was lowered alone.
struct Candidate {
    at: usize,
    /// By how much the loss grew with the first seeds, at least by nothing.
    growth: f64,
    /// What it saved with these.
    saving: f64,
}

impl<'b, 'a> Descent<'b, 'a> {
    pub(super) fn new(bench: &'b mut Bench<'a>, name: StartName, start: &'b Adjustable) -> Self {
        Self { bench, name, start }
    }

    /// Lowers all widths by one share of the bits that each could lose, as far as that goes: by 2, 4, 8 and
    /// 16 [parts](PARTS), and then by halves. Nothing if not even the start is within the budget.
    pub(super) fn all_together(&mut self) -> Result<Option<ReachedPlan>, Error> {
        let own = self.start.bits();
        let Some(mut reached) = self.judge(&own, &own, How::Start)? else { return Ok(None) };
        // Lowering by `good` is within the budget; by `bad`, once it is known, it is not.
        let (mut good, mut bad) = (0, None);
        loop {
            let by = match bad {
                None if good == 0 => 2,
                None => 2 * good,
                Some(bad) => good + (bad - good) / 2,
            };
            let by = by.min(PARTS);
            if by == good || !self.bench.can_judge() {
                return Ok(Some(reached));
            }
            let lower = |at: usize| own[at] - (own[at] - self.start.bits_min(at)) * by / PARTS;
            let bits: Vec<u32> = (0..own.len()).map(lower).collect();
            match self.judge(&own, &bits, How::Uniform)? {
                Some(further) if further.cost <= reached.cost => (good, reached) = (by, further),
                _ => bad = Some(by),
            }
        }
    }

    /// Lowers single widths, until none goes any further or the runs are at an end.
    pub(super) fn one_by_one(&mut self, from: ReachedPlan) -> Result<Vec<u32>, Error> {
        let ReachedPlan { mut bits, mut cost } = from;
        let room = |at: usize, bits: &[u32]| bits[at] - self.start.bits_min(at);
        let first = |at: usize| room(at, &bits).div_ceil(FIRST_STEP);
        // By how much each is lowered next; not at all by nothing.
        let mut by: Vec<u32> = (0..bits.len()).map(first).collect();
        loop {
            let open = by.iter().filter(|&&by| by > 0).count();
            if open == 0 || !self.bench.can_try_first(open) {
                return Ok(bits);
            }
            let mut groups = vec![self.alone(&bits, &mut by)?];
            while let Some(mut group) = groups.pop() {
                if group.is_empty() {
                    continue;
                }
                if !self.bench.can_judge() {
                    return Ok(bits);
                }
                let lowered = lowered(&bits, &group, &by);
                match self.judge(&bits, &lowered, How::Together)? {
                    Some(further) if further.cost < cost => {
                        ReachedPlan { bits, cost } = further;
                        for &at in &group {
                            by[at] = by[at].min(bits[at] - self.start.bits_min(at));
                        }
                    }
                    _ if group.len() == 1 => by[group[0]] /= 2,
                    _ => {
                        // The half that lost less is tried first.
                        let rest = group.split_off(group.len().div_ceil(2));
                        groups.extend([rest, group]);
                    }
                }
            }
        }
    }

    /// Lowers every width alone, with the first seeds. Those that lost too much are to be lowered by
    /// less, those that save nothing to speak of not at all; returns the others, from the one that
    /// loses least for what it saves.
    fn alone(&mut self, bits: &[u32], by: &mut [u32]) -> Result<Vec<usize>, Error> {
        let mut plans = vec![self.start.with_bits(bits).expect("a plan that has been trained")];
        let mut lowering = Vec::new();
        for at in 0..bits.len() {
            // Widths that are impossible, as of an accumulator that holds no product, lose all.
            while by[at] > 0 {
                match self.start.with_bits(&lowered(bits, &[at], by)) {
                    Ok(plan) => {
                        plans.push(plan);
                        lowering.push(at);
                        break;
                    }
                    Err(_) => by[at] /= 2,
                }
            }
        }
        let mut tried = self.bench.try_first(&plans)?.into_iter();
        let before = tried.next().expect("the plan itself");
        let cost = before.cost.expect("a plan within the budget");
        let limit = before.worse().max(self.bench.margin());
        let mut candidates = Vec::new();
        for (at, tried) in lowering.into_iter().zip(tried) {
            self.keep(bits, &lowered(bits, &[at], by), How::Alone, &tried);
            let saving = tried.cost.map_or(0.0, |lower| cost - lower);
            if tried.verdict == PlanVerdict::GivenUp || tried.worse() > limit {
                by[at] /= 2;
            } else if saving < SAVING_MIN * cost {
                by[at] = 0;
            } else {
                let growth = (tried.worse() - before.worse()).max(0.0);
                candidates.push(Candidate { at, growth, saving });
            }
        }
        candidates.sort_by(|a, b| {
            let price = |candidate: &Candidate| candidate.growth / candidate.saving;
            price(a).total_cmp(&price(b)).then(b.saving.total_cmp(&a.saving)).then(a.at.cmp(&b.at))
        });
        Ok(candidates.into_iter().map(|candidate| candidate.at).collect())
    }

    /// Tries a plan; returns it if it is within the budget.
    fn judge(
        &mut self,
        from: &[u32],
        bits: &[u32],
        how: How,
    ) -> Result<Option<ReachedPlan>, Error> {
        let Ok(plan) = self.start.with_bits(bits) else { return Ok(None) };
        let tried = match how {
            How::Start => self.bench.judge_in_full(&plan)?,
            _ => self.bench.judge(&plan)?,
        };
        self.keep(from, bits, how, &tried);
        let cost = tried.cost.filter(|_| tried.verdict == PlanVerdict::Within);
        Ok(cost.map(|cost| ReachedPlan { bits: bits.to_vec(), cost }))
    }

    fn keep(&mut self, from: &[u32], bits: &[u32], how: How, tried: &Tried) {
        let changed = (0..bits.len()).filter(|&at| from[at] != bits[at]);
        let change = |at: usize| WidthChange {
            place: self.start.place(at).clone(),
            from: from[at],
            to: bits[at],
        };
        let [lost_error, lost_lately_error] =
            tried.standard_errors().map(|error| error.map(Extended));
        let step = SearchStep {
            start: self.name,
            how,
            changes: changed.map(change).collect(),
            seeds: tried.lost.len(),
            verdict: tried.verdict,
            lost: Extended(tried.mean()),
            lost_error,
            lost_lately: Extended(tried.mean_lately()),
            lost_lately_error,
            cost: tried.cost,
            trainings: self.bench.trainings(),
        };
        self.bench.step(step);
    }
}

/// The widths with those of a group lowered by their steps.
fn lowered(bits: &[u32], group: &[usize], by: &[u32]) -> Vec<u32> {
    let mut bits = bits.to_vec();
    group.iter().for_each(|&at| bits[at] -= by[at]);
    bits
}
