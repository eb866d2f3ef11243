//! Looking at a plan until its margin is decided.

use super::{DropVerdict, Judgement, Level, SEEDS_CONFIRMED};

/// After so many seeds a plan is looked at. Each look is at [`Level::ThreeLooks`]: looks after every seed
/// would call a loss of the margin itself within in some 15 % of sweeps (docs/explore.md, section 7).
pub const LOOKS: [usize; 3] = [29, 58, 116];

/// How often each look's interval holds the truth.
pub const LEVEL: Level = Level::ThreeLooks;

/// The number of seeds to look after next, if the looks so far have not decided; nothing after the last.
/// Seeds that are left out, as golden diverged with them, may leave too few to confirm a plan that is
/// within and of which none fails: that is not decided.
pub fn next(so_far: Option<&Judgement>, seeds: usize) -> Option<usize> {
    let too_few = |judgement: &Judgement| {
        judgement.verdict == DropVerdict::Within
            && judgement.failing.is_empty()
            && judgement.seeds() < SEEDS_CONFIRMED
    };
    let decided =
        |judgement: &Judgement| judgement.verdict != DropVerdict::CannotTell && !too_few(judgement);
    if so_far.is_some_and(decided) {
        return None;
    }
    LOOKS.into_iter().find(|&look| look > seeds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drop::tests::seeds;

    #[test]
    fn seeds_that_are_left_out_are_made_up_for() {
        let judgement = |counts: &[(u64, u64)], left_out: Vec<u64>| {
            Judgement::new(seeds(counts), left_out, 10_000, 0.005, LEVEL).expect("seeds")
        };
        assert_eq!(next(None, 0), Some(29));
        let confirmed = judgement(&[(5, 5); 29], vec![]);
        assert_eq!((confirmed.verdict, next(Some(&confirmed), 29)), (DropVerdict::Confirmed, None));
        let few = judgement(&[(5, 5); 27], vec![28, 29]);
        assert_eq!((few.verdict, next(Some(&few), 29)), (DropVerdict::Within, Some(58)));
        let mut counts = vec![(5, 5); 27];
        counts[3] = (900, 10);
        let failing = judgement(&counts, vec![28, 29]);
        assert_eq!(failing.failing.len(), 1);
        let beyond = judgement(&[(600, 5); 27], vec![28, 29]);
        assert_eq!((beyond.verdict, next(Some(&beyond), 29)), (DropVerdict::Beyond, None));
        assert_eq!(next(Some(&few), 116), None);
    }
}
