//! What figures of the energy profile do to the ratios of a run over their ranges.
//!
//! One figure at a time is at either end of its range, the others as they are. Assumed and derived figures whose
//! source leaves no range are tried 20 % lower and higher, and told as such. *Absent:* the scratchpads' table,
//! whose macros are an axis of the panel; and the clock, which is taken not to depend on the width of the
//! accumulators: assumed.

use serde::{Deserialize, Serialize};
use systoliq_energy::{Certainty, Figure, Profile, Unit};
use systoliq_hardware::cost::Arithmetic;

use super::machines::ARITHMETICS;
use super::priced::{MachineCounts, PanelRun};

/// A figure that moves a ratio by more than this share over its range is told.
pub const SWING_MIN: f64 = 0.05;

/// How far figures without a range are tried.
pub const TRIED: f64 = 0.2;

/// What one figure does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swing {
    /// Its path in the profile.
    pub figure: String,
    /// Its value.
    pub value: f64,
    /// The ends of its range.
    pub range: [f64; 2],
    /// Whether its source leaves that range; else it is [`TRIED`] to either side.
    pub stated: bool,
    /// What all three are counted in.
    pub unit: Unit,
    /// How sure it is.
    pub certainty: Certainty,
    /// float32 over fixed, with the figure at the low and the high end.
    pub float32: [f64; 2],
    /// bfloat16 over fixed, likewise.
    pub bfloat16: [f64; 2],
    /// By how much the ratio that it moves most changes: the largest over the least, less 1.
    pub moves: f64,
}

/// The figures that move a ratio by more than [`SWING_MIN`], the ones that move most first; and how many were
/// tried that have no range.
pub(super) fn swings(run: &PanelRun) -> (Vec<Swing>, usize) {
    let counts: Option<Vec<MachineCounts>> =
        ARITHMETICS.into_iter().map(|arithmetic: Arithmetic| run.counts(arithmetic).ok()).collect();
    let accelerator = run.accelerator();
    let profile = accelerator.profile().expect("the profile of a checked experiment");
    let ratios = |profile: Profile| {
        let profile = profile.into();
        let energy = |counts: &MachineCounts| {
            Some(counts.energy(&profile, &[accelerator.dram.kind]).ok()?[0])
        };
        let energies: Vec<f64> = counts.as_ref()?.iter().map(energy).collect::<Option<_>>()?;
        (energies[0] > 0.0).then(|| [energies[1] / energies[0], energies[2] / energies[0]])
    };
    let Some(ours) = ratios(profile.clone()) else { return (Vec::new(), 0) };
    let swing = |(path, figure): (&str, &Figure)| {
        let range = range_of(figure)?;
        let ends = range.map(|value| ratios(profile.with_figure(path, value).ok()?));
        let [low, high] = [ends[0]?, ends[1]?];
        let moves = |of: usize| {
            let all = [low[of], ours[of], high[of]];
            let most = all.into_iter().fold(f64::NEG_INFINITY, f64::max);
            most / all.into_iter().fold(f64::INFINITY, f64::min) - 1.0
        };
        Some(Swing {
            figure: path.to_owned(),
            value: figure.value,
            range,
            stated: figure.range.is_some(),
            unit: figure.unit,
            certainty: figure.certainty,
            float32: [low[0], high[0]],
            bfloat16: [low[1], high[1]],
            moves: moves(0).max(moves(1)),
        })
    };
    let kind = format!("dram.{}.", accelerator.dram.kind.name());
    let figures = || {
        let of_others = |path: &str| path.starts_with("dram.") && !path.starts_with(&kind);
        profile.figures().filter(move |(path, _)| !of_others(path))
    };
    let mut swings: Vec<Swing> = figures().filter_map(swing).collect();
    swings.retain(|swing| swing.moves > SWING_MIN);
    swings.sort_by(|a, b| b.moves.total_cmp(&a.moves));
    let tried = figures().filter(|(_, of)| of.range.is_none() && range_of(of).is_some());
    (swings, tried.count())
}

/// The range of a figure, or that in which it is tried; nothing of one that is sure, or 0.
fn range_of(figure: &Figure) -> Option<[f64; 2]> {
    let unsure = matches!(figure.certainty, Certainty::Assumed | Certainty::Derived);
    let value = figure.value;
    let tried = [value * (1.0 - TRIED), value * (1.0 + TRIED)];
    figure.range.or((unsure && value > 0.0 && figure.unit != Unit::Byte).then_some(tried))
}
