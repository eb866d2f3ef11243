//! Looking at a winner with more seeds until its margin is decided.

use serde::{Deserialize, Serialize};
use systoliq_study::drop::{Judgement, looks};

use super::{Analysis, Lost};
use crate::{Error, Explorer, Line, Lines, RunKey, Sweep, Trial};

/// A point with seeds that took no part in choosing it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookedAt {
    /// The number of the point.
    pub point: usize,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// What it lost on the test part; nothing if a run failed.
    pub test: Option<Lost>,
}

impl Analysis {
    /// Looks at a point with the first 29, 58 and 116 of other seeds, as long as these do not decide the
    /// margin. `trial` is the point with a seed; `done` sees each line.
    ///
    /// # Errors
    ///
    /// Those of [`Explorer::evaluate`].
    pub fn look_at(
        &mut self,
        point: usize,
        seeds: &[u64],
        (explorer, trial): (&Explorer<'_>, &dyn Fn(u64) -> Trial),
        done: &(dyn Fn(&Line) + Sync),
    ) -> Result<(), Error> {
        let (measure, margin) = (self.measure, self.within.margin);
        let mut looked = 0;
        let test = until_decided(
            |look| {
                looked = look.min(seeds.len());
                let trials: Vec<Trial> = seeds[..looked].iter().map(|&seed| trial(seed)).collect();
                let lines = explorer.lines_of(&trials, done)?;
                let runs =
                    seeds.iter().zip(&lines).map(|(&seed, line)| Some((seed, line.found()?)));
                let runs = runs.collect::<Option<Vec<_>>>();
                Ok(runs.and_then(|runs| Lost::new(&runs, measure, false, (margin, looks::LEVEL))))
            },
            |lost| lost.judged.as_ref(),
        )?;
        self.looked_at.push(LookedAt { point, seeds: seeds[..looked].to_vec(), test });
        Ok(())
    }
}

impl Analysis {
    /// What follows from the lines of a store for a sweep, with the margin and the looks of this analysis;
    /// it is this one, unless one of the two was changed. `key` is that of a point with a seed.
    pub fn again(&self, sweep: &Sweep, lines: &Lines, key: &dyn Fn(usize, u64) -> RunKey) -> Self {
        let keys: Vec<RunKey> = sweep.runs().map(|(point, seed)| key(point, seed)).collect();
        let margin = self.within.margin;
        let mut again = Self::new(sweep, &keys, lines, margin);
        let possible = self.looked_at.iter().filter(|looked| looked.point < again.points.len());
        let looked_at = possible.map(|looked| {
            let run = |&seed: &u64| Some((seed, lines.get(key(looked.point, seed))?.found()?));
            let runs: Option<Vec<_>> = looked.seeds.iter().map(run).collect();
            let judged = (margin, looks::LEVEL);
            let test = runs.and_then(|runs| Lost::new(&runs, again.measure, false, judged));
            LookedAt { test, ..looked.clone() }
        });
        let looked_at = looked_at.collect();
        again.looked_at = looked_at;
        again
    }
}

/// Has `run` train with 29, 58 and 116 seeds, as long as what is `judged` of them is not decided; returns
/// what it returned last. Nothing is to be decided where nothing is judged.
///
/// # Errors
///
/// Those of `run`.
pub(crate) fn until_decided<T>(
    mut run: impl FnMut(usize) -> Result<Option<T>, Error>,
    judged: impl Fn(&T) -> Option<&Judgement>,
) -> Result<Option<T>, Error> {
    let Some(mut look) = looks::next(None, 0) else { return Ok(None) };
    loop {
        let Some(seen) = run(look)? else { return Ok(None) };
        match judged(&seen).and_then(|judgement| looks::next(Some(judgement), look)) {
            Some(next) => look = next,
            None => return Ok(Some(seen)),
        }
    }
}
