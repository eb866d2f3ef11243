//! The sentences of a [`Judgement`].

use super::{DropVerdict, Judgement, Level, Needs};

/// A difference of shares in points.
///
/// ```
/// assert_eq!(systoliq_sim::drop::words::points(-0.0123), "-1.23 points");
/// ```
pub fn points(share: f64) -> String {
    format!("{:+.2} points", 100.0 * share)
}

/// A mean and half the width of its interval, in points; nothing for one.
pub fn interval(mean: f64, half_width: Option<f64>) -> String {
    match half_width {
        Some(half) => format!("{:+.2} +- {:.2} points", 100.0 * mean, 100.0 * half),
        None => points(mean),
    }
}

/// A margin in points.
fn margin(judgement: &Judgement) -> String {
    points(judgement.margin).trim_start_matches('+').to_owned()
}

/// Seeds, by their number: `the one seed`, `these 5 seeds`.
fn these(seeds: u64) -> String {
    if seeds == 1 { "this one seed".to_owned() } else { format!("these {seeds} seeds") }
}

/// Everything that is said, a line each: what was lost, who fails, the verdict, and who is left out.
pub fn lines(judgement: &Judgement) -> Vec<String> {
    let mut lines = vec![lost(judgement)];
    lines.extend(judged(judgement));
    lines
}

/// The same without what was lost.
pub fn judged(judgement: &Judgement) -> Vec<String> {
    let who = format!("{}; {}", failures(judgement), extremes(judgement));
    let told = [who, verdict(judgement)].into_iter();
    told.chain(left_out(&judgement.golden_diverged)).collect()
}

/// What was lost, on this part and on samples drawn anew:
/// `+0.07 +- 0.68 points on these 300 samples; +- 0.95 on new ones`.
pub fn lost(judgement: &Judgement) -> String {
    let Judgement { mean, half_width, samples, level, .. } = judgement;
    let lost = interval(*mean, Some(*half_width));
    let level = match level {
        Level::Once => "",
        Level::ThreeLooks => ", by 98.3 % intervals",
    };
    if judgement.seeds() == 1 {
        return format!("{lost} on samples like these {samples}{level}");
    }
    let anew = judgement.half_width_new_samples;
    let anew = anew.map_or(String::new(), |half| format!("; +- {:.2} on new ones", 100.0 * half));
    format!("{lost} on these {samples} samples{anew}{level}")
}

/// What an interval is of: the line below a table.
pub fn legend(seeds: usize) -> &'static str {
    if seeds == 1 {
        "+-: 95 % interval for samples like these, of this one seed"
    } else {
        "+-: 95 % interval of the mean over seeds like these, on these samples"
    }
}

/// The share of seeds that may fail.
fn may(judgement: &Judgement) -> String {
    format!("up to {:.0} %", 100.0 * judgement.failing_at_most)
}

/// How many seeds fail: `no seed of 5 fails; up to 45 % may`.
pub fn failures(judgement: &Judgement) -> String {
    let (seeds, may) = (judgement.seeds(), may(judgement));
    match judgement.failing.len() {
        0 => format!("no seed of {seeds} fails; {may} may"),
        1 => format!("1 seed of {seeds} fails; {may} may"),
        failing => format!("{failing} seeds of {seeds} fail; {may} may"),
    }
}

/// What the worst seed and the one in the middle lost: `worst +1.00 points (seed 3), median +0.33`.
pub fn extremes(judgement: &Judgement) -> String {
    let Judgement { worst, samples, median, .. } = judgement;
    let (lost, diverged) = (worst.lost(*samples), if worst.diverged { ", diverged" } else { "" });
    format!("worst {} (seed {}{diverged}), median {:+.2}", points(lost), worst.seed, 100.0 * median)
}

/// What is said of the margin. *Within* never stands without how many seeds may fail.
pub fn verdict(judgement: &Judgement) -> String {
    let (margin, seeds) = (margin(judgement), judgement.seeds());
    let these = these(seeds);
    match (judgement.verdict, judgement.failing.len()) {
        (DropVerdict::Confirmed, _) => {
            format!(
                "confirmed: within {margin} on {these}, none of which fails; {} may",
                may(judgement)
            )
        }
        (DropVerdict::Within, 0) => {
            format!("within {margin} on {these}; {} of seeds may fail", may(judgement))
        }
        (DropVerdict::Within, failing) => format!(
            "within {margin} on {these} by their mean, but {failing} of them {}; {} of seeds may fail",
            if failing == 1 { "fails" } else { "fail" },
            may(judgement)
        ),
        (DropVerdict::Beyond, _) => format!("beyond {margin} on {these}"),
        (DropVerdict::CannotTell, _) => {
            format!("cannot tell on {these} whether within {margin}: {}", needs(judgement))
        }
    }
}

/// What would decide.
fn needs(judgement: &Judgement) -> String {
    let samples = judgement.samples;
    match judgement.needs {
        Some(Needs::Seeds(seeds)) => format!("{seeds} seeds like them would"),
        Some(Needs::Samples(needed)) => format!("{needed} samples like these {samples} would"),
        Some(Needs::More) | None if judgement.seeds() == 1 => {
            "more samples would not, more seeds may".to_owned()
        }
        Some(Needs::More) | None => {
            "neither 1,000 seeds nor more samples like these would".to_owned()
        }
    }
}

/// Which seeds are left out, and why; nothing if none is.
pub fn left_out(golden_diverged: &[u64]) -> Option<String> {
    let seeds: Vec<String> = golden_diverged.iter().map(u64::to_string).collect();
    match seeds.as_slice() {
        [] => None,
        [seed] => Some(format!("golden diverged with seed {seed}, which is left out")),
        seeds => {
            Some(format!("golden diverged with seeds {}, which are left out", seeds.join(", ")))
        }
    }
}
