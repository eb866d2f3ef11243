//! The sentences of a [`Judgement`].

use super::{DropVerdict, Judgement, Level, Needs};

/// What is said where golden ended above the loss of its initial weights: there is no judgement.
pub const NO_REFERENCE: &str =
    "golden diverged: its accuracy is no reference, and nothing is judged";

/// A difference of shares in points.
///
/// ```
/// assert_eq!(systoliq_study::drop::words::points(-0.0123), "-1.23 points");
/// ```
pub fn points(share: f64) -> String {
    format!("{:+.2} points", 100.0 * share)
}

/// A mean and half the width of its interval, in points; nothing for one. A width that two decimals would
/// round to nothing has two digits, and so has its mean.
///
/// ```
/// use systoliq_study::drop::words::interval;
/// assert_eq!(interval(0.001, Some(0.0068)), "+0.10 +- 0.68 points");
/// assert_eq!(interval(0.0, Some(0.000_022)), "+0.0000 +- 0.0022 points");
/// ```
pub fn interval(mean: f64, half_width: Option<f64>) -> String {
    let Some(half) = half_width else { return points(mean) };
    let decimals = decimals(half);
    format!("{:+.decimals$} +- {:.decimals$} points", 100.0 * mean, 100.0 * half)
}

/// A margin in points, without a sign.
pub fn margin(share: f64) -> String {
    let decimals = decimals(share);
    format!("{:.decimals$} points", 100.0 * share)
}

/// The decimals of points that show a share: two, or as many as two digits of it need.
pub fn decimals(share: f64) -> usize {
    let points = 100.0 * share;
    if points > 0.0 && points < 0.005 {
        (1.0 - libm::floor(libm::log10(points))) as usize
    } else {
        2
    }
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
    judged_against("golden", judgement)
}

/// The same, where what stands for golden has another name.
pub fn judged_against(reference: &str, judgement: &Judgement) -> Vec<String> {
    let who = format!("{}; {}", failures(judgement), extremes(judgement));
    let told = [who, verdict(judgement)].into_iter();
    told.chain(left_out(reference, &judgement.golden_diverged)).collect()
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
    let anew = anew.map_or(String::new(), |half| {
        format!("; +- {:.1$} on new ones", 100.0 * half, decimals(half))
    });
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
    let (margin, seeds) = (margin(judgement.margin), judgement.seeds());
    let these = these(seeds);
    let failing = judgement.failing.len();
    let alone = seeds == 1 && failing == 1;
    match (judgement.verdict, failing) {
        (DropVerdict::Within, _) if alone => {
            format!("within {margin} on {these}, which fails; {} of seeds may", may(judgement))
        }
        (DropVerdict::Beyond, _) if alone => format!("beyond {margin} on {these}, which fails"),
        (DropVerdict::CannotTell, _) if alone => {
            let needs = needs(judgement);
            format!("cannot tell on {these}, which fails, whether within {margin}: {needs}")
        }
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

/// Which seeds are left out, as the reference diverged with them; nothing if none is.
pub fn left_out(reference: &str, diverged: &[u64]) -> Option<String> {
    let seeds: Vec<String> = diverged.iter().map(u64::to_string).collect();
    match seeds.as_slice() {
        [] => None,
        [seed] => Some(format!("{reference} diverged with seed {seed}, which is left out")),
        seeds => Some(format!(
            "{reference} diverged with seeds {}, which are left out",
            seeds.join(", ")
        )),
    }
}
