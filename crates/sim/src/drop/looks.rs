//! Looking at a plan until its margin is decided.

use super::{DropVerdict, Judgement, Level};

/// After so many seeds a plan is looked at. Each look is at [`Level::ThreeLooks`]: looks after every seed
/// would call a loss of the margin itself within in some 15 % of sweeps (docs/explore.md, section 7).
pub const LOOKS: [usize; 3] = [29, 58, 116];

/// How often each look's interval holds the truth.
pub const LEVEL: Level = Level::ThreeLooks;

/// The number of seeds to look after next, if the looks so far have not decided; nothing after the last.
pub fn next(so_far: Option<&Judgement>, seeds: usize) -> Option<usize> {
    if so_far.is_some_and(|judgement| judgement.verdict != DropVerdict::CannotTell) {
        return None;
    }
    LOOKS.into_iter().find(|&look| look > seeds)
}
