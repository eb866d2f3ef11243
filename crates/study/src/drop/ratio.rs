//! What fixed point loses of a regression: a ratio of losses, and whether samples tell it from 1.
//!
//! A sample's squared errors in both networks make a difference d = e²_fixed − e²_golden. A paired
//! t-test asks whether its mean is 0: t = d̄ · √(n / s²) with n − 1 degrees of freedom, two-sided, s² the
//! variance of the n differences. It assumes samples that are independent given both networks, and a
//! finite variance of d; from 30 samples on, heavy tails do not make it reject more often than 5 %
//! (W. S. Gosset, "The Probable Error of a Mean", Biometrika 6, 1908, for the test). Overlapping samples,
//! as a delay line makes them, are not independent, and get no p-value. Over several seeds, the same test
//! is of ln(L_fixed / L_golden), seed by seed.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::interval::of_values;
use systoliq_nn::Extended;

/// The fewest samples that are judged.
pub const SAMPLES_MIN: usize = 30;

/// The p-value below which a ratio is not put down to chance.
pub const SIGNIFICANT: f64 = 0.05;

/// A ratio that differs from 1 by less is called small.
const SMALL: f64 = 0.05;

/// What two networks are called in a sentence about their losses.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    /// The loss that is judged.
    pub loss: &'static str,
    /// Whose loss it is divided by, with what follows: `float's`.
    pub of: &'static str,
    /// The network with that loss.
    pub reference: &'static str,
}

/// Fixed point against golden.
const FIXED: Sides = Sides { loss: "fixed loss", of: "float's", reference: "golden" };

/// The loss of a regression in fixed point over golden's, on the samples of one part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossRatio {
    /// Samples.
    pub samples: u64,
    /// The mean squared error in fixed point over that of the golden model.
    pub ratio: Extended,
    /// The chance of a mean difference at least as large were there none; nothing where that cannot be
    /// judged.
    pub p_value: Option<f64>,
    /// Why it cannot be.
    pub unjudged: Option<Unjudged>,
}

/// Why a ratio is not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unjudged {
    /// Golden's loss ended above that of its initial weights, or not finite.
    GoldenDiverged,
    /// There are fewer than [`SAMPLES_MIN`] samples.
    FewSamples,
    /// Samples share inputs, and are not independent.
    Overlapping,
    /// An error is not finite.
    NotFinite,
}

/// Losses over golden's, seed by seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatioOverSeeds {
    /// The geometric mean of the ratios of `seeds`; nothing if there are none.
    pub ratio: Option<f64>,
    /// Its 95 % interval, for seeds drawn anew; nothing for one seed.
    pub ci95: Option<(f64, f64)>,
    /// The seeds with which no network diverged.
    pub seeds: Vec<u64>,
    /// The seeds with which fixed point alone diverged.
    pub diverged: Vec<u64>,
    /// The seeds with which golden did.
    pub golden_diverged: Vec<u64>,
}

/// What one seed of a regression ended with.
#[derive(Clone, Copy, Debug)]
pub struct SeedRatio {
    /// The seed.
    pub seed: u64,
    /// Losses of golden and in fixed point.
    pub losses: [f64; 2],
    /// Whether each of these is above that of the initial weights, or not finite.
    pub diverged: [bool; 2],
}

impl LossRatio {
    /// Of the squared errors of `[golden, fixed]`, sample by sample.
    ///
    /// # Panics
    ///
    /// If there are not as many of one as of the other, or none.
    pub fn new(errors: &[Vec<f64>; 2], golden_diverged: bool, overlapping: bool) -> Self {
        let [golden, fixed] = errors;
        assert!(!golden.is_empty() && golden.len() == fixed.len(), "unpaired samples");
        let sums = [golden, fixed].map(|errors| errors.iter().sum::<f64>());
        let differences: Vec<f64> = fixed.iter().zip(golden).map(|(f, g)| f - g).collect();
        let unjudged = if golden_diverged {
            Some(Unjudged::GoldenDiverged)
        } else if overlapping {
            Some(Unjudged::Overlapping)
        } else if golden.len() < SAMPLES_MIN {
            Some(Unjudged::FewSamples)
        } else if !differences.iter().all(|d| d.is_finite()) {
            Some(Unjudged::NotFinite)
        } else {
            None
        };
        // Two networks without any error lose nothing against each other.
        let ratio = if sums == [0.0, 0.0] { 1.0 } else { sums[1] / sums[0] };
        let p_value = unjudged.is_none().then(|| paired_p(&differences));
        Self { samples: golden.len() as u64, ratio: Extended(ratio), p_value, unjudged }
    }

    /// Whether fixed point loses more than golden by more than chance.
    pub fn is_worse(&self) -> bool {
        self.ratio.0 > 1.0 && self.p_value.is_some_and(|p| p < SIGNIFICANT)
    }

    /// What is said of it.
    pub fn sentence(&self) -> String {
        self.sentence_of(FIXED)
    }

    /// What is said of it, where the networks are others.
    pub fn sentence_of(&self, Sides { loss, of, reference }: Sides) -> String {
        let times = format!("{loss} is {} x {of}", times(self.ratio.0));
        let samples = self.samples;
        let Some(p) = self.p_value else {
            return match self.unjudged.unwrap_or(Unjudged::NotFinite) {
                Unjudged::GoldenDiverged => {
                    format!("{reference} diverged: its loss is no reference, and nothing is judged")
                }
                Unjudged::FewSamples => {
                    format!(
                        "{times}; it cannot be judged with {samples} test samples, {SAMPLES_MIN} would do"
                    )
                }
                Unjudged::Overlapping => {
                    format!("{times}; it is not judged, since samples of a delay line overlap")
                }
                Unjudged::NotFinite => {
                    format!("{times}; it is not judged, since errors are not finite")
                }
            };
        };
        let ratio = self.ratio.0;
        let (small, p_said) = ((ratio - 1.0).abs() < SMALL, p_value(p));
        if p >= SIGNIFICANT {
            format!("{times} ({p_said}): these {samples} test samples do not tell them apart")
        } else if small {
            format!("{times} ({p_said}): real, and small")
        } else {
            format!("{times} ({p_said})")
        }
    }
}

impl RatioOverSeeds {
    /// Of what some seeds ended with.
    pub fn new(seeds: &[SeedRatio]) -> Self {
        let of = |is: &dyn Fn(&[bool; 2]) -> bool| -> Vec<u64> {
            seeds.iter().filter(|seed| is(&seed.diverged)).map(|seed| seed.seed).collect()
        };
        let judged = seeds.iter().filter(|seed| seed.diverged == [false, false]);
        let logs: Vec<f64> =
            judged.map(|seed| libm::log(seed.losses[1] / seed.losses[0])).collect();
        let finite = !logs.is_empty() && logs.iter().all(|log| log.is_finite());
        let interval = finite.then(|| of_values(&logs));
        let ends = |(mean, half): (f64, Option<f64>)| {
            half.map(|half| (libm::exp(mean - half), libm::exp(mean + half)))
        };
        Self {
            ratio: interval.map(|(mean, _)| libm::exp(mean)),
            ci95: interval.and_then(ends),
            seeds: of(&|diverged| *diverged == [false, false]),
            diverged: of(&|diverged| *diverged == [false, true]),
            golden_diverged: of(&|[golden, _]| *golden),
        }
    }

    /// Whether fixed point loses more than golden with seeds like these.
    pub fn is_worse(&self) -> bool {
        self.ci95.is_some_and(|(low, _)| low > 1.0)
    }

    /// What is said of it.
    pub fn sentence(&self) -> String {
        self.sentence_of(FIXED)
    }

    /// What is said of it, where the networks are others.
    pub fn sentence_of(&self, Sides { loss, of, reference }: Sides) -> String {
        let mut said = match (self.ratio, self.ci95) {
            (Some(ratio), Some((low, high))) => format!(
                "{loss} is {} x {of}, {} to {} for seeds like these (95 %)",
                times(ratio),
                times(low),
                times(high)
            ),
            (Some(ratio), None) => {
                format!("{loss} is {} x {of} with one seed", times(ratio))
            }
            (None, _) => "there is no ratio of losses".to_owned(),
        };
        let all = self.seeds.len() + self.diverged.len() + self.golden_diverged.len();
        if !self.diverged.is_empty() {
            said += &format!("; {} of {all} diverged and count apart", self.diverged.len());
        }
        if !self.golden_diverged.is_empty() {
            said += &format!("; {reference} diverged with {} of {all}", self.golden_diverged.len());
        }
        said
    }
}

/// The two-sided p-value of a mean of 0.
fn paired_p(differences: &[f64]) -> f64 {
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let squares: f64 = differences.iter().map(|d| (d - mean) * (d - mean)).sum();
    if mean == 0.0 {
        return 1.0;
    }
    let deviation = (squares / (n - 1.0) / n).sqrt();
    let t = StudentsT::new(0.0, 1.0, n - 1.0).expect("degrees of freedom");
    if deviation == 0.0 { 0.0 } else { 2.0 * t.sf((mean / deviation).abs()) }
}

/// `p < 0.001`, `p = 0.045` or `p = 0.31`: on its side of [`SIGNIFICANT`].
fn p_value(p: f64) -> String {
    match p {
        p if p < 0.001 => "p < 0.001".to_owned(),
        p if p < 0.1 => format!("p = {p:.3}"),
        p => format!("p = {p:.2}"),
    }
}

/// A ratio with the digits that tell it from 1.
fn times(ratio: f64) -> String {
    match ratio {
        ratio if !ratio.is_finite() || ratio >= 1e6 => format!("{ratio:.1e}"),
        ratio if ratio >= 10.0 => format!("{ratio:.1}"),
        ratio if (0.9..1.1).contains(&ratio) => format!("{ratio:.3}"),
        ratio => format!("{ratio:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use systoliq_keyed_random::Key;

    use super::*;

    #[test]
    fn p_values_are_those_of_the_textbook() {
        // Differences 1 to 5: mean 3, s² = 2.5, t = 3 / √0.5 = 4.243 with 4 degrees of freedom. With an
        // even number of degrees, P(|T| > t) is a polynomial in t / √(4 + t²): 0.01324.
        let p = paired_p(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        let x: f64 = 4.242_640_687 / (4.0 + 18.0f64).sqrt();
        let exact = 1.0 - x * (1.0 + (1.0 - x * x) / 2.0);
        assert!((p - exact).abs() < 1e-6, "{p}, {exact}");
        assert_eq!(paired_p(&[0.0; 40]), 1.0);
        assert_eq!(paired_p(&[2.0; 40]), 0.0);
    }

    /// Squared errors of 300 samples, of fixed point with noise of its own and a bias.
    fn errors(seed: u64, samples: u64, noise: f64, bias: f64) -> [Vec<f64>; 2] {
        let key = Key::new(seed).with_name("errors");
        // Sums of four uniform numbers are nearly normal, of variance 1/3.
        let draw = |i: u64| {
            (0..4).map(|k| f64::from(key.word(4 * i + k)) / 2f64.powi(32) - 0.5).sum::<f64>()
        };
        let golden: Vec<f64> = (0..samples).map(draw).collect();
        let fixed = (0..samples).map(|i| golden[i as usize] + noise * draw(samples + i) + bias);
        let fixed: Vec<f64> = fixed.map(|e| e * e).collect();
        [golden.iter().map(|e| e * e).collect(), fixed]
    }

    #[test]
    fn a_ratio_that_is_chance_is_told_from_1_in_one_of_twenty() {
        // Errors of the same size, drawn apart: E d = 0.
        let same_size = |seed: u64| {
            let [golden, _] = errors(seed, 300, 0.0, 0.0);
            let [fixed, _] = errors(seed + 10_000, 300, 0.0, 0.0);
            LossRatio::new(&[golden, fixed], false, false)
        };
        let rejected = (0..2000).filter(|&seed| same_size(seed).p_value.unwrap() < SIGNIFICANT);
        let rejected = rejected.count() as f64 / 2000.0;
        // 5 %, with a standard deviation of 0.5 points.
        assert!((0.035..0.065).contains(&rejected), "{rejected}");
    }

    #[test]
    fn each_sentence_is_said_where_it_is_right() {
        let said = |errors: &[Vec<f64>; 2]| LossRatio::new(errors, false, false).sentence();
        let worse = said(&errors(1, 300, 0.0, 1.8));
        assert!(worse.contains(" x float's (p < 0.001)") && !worse.contains("small"), "{worse}");
        let equal = said(&errors(1, 300, 0.0, 0.0));
        assert_eq!(
            equal,
            "fixed loss is 1.000 x float's (p = 1.00): these 300 test samples do not tell them apart"
        );
        let [golden, _] = errors(1, 300, 0.0, 0.0);
        let slightly: Vec<f64> = golden.iter().map(|e| e * 1.002).collect();
        let small = said(&[golden.clone(), slightly]);
        assert_eq!(small, "fixed loss is 1.002 x float's (p < 0.001): real, and small");
        let few = said(&errors(1, 12, 0.0, 1.8));
        assert!(few.ends_with("it cannot be judged with 12 test samples, 30 would do"), "{few}");
        let overlap = LossRatio::new(&errors(1, 300, 0.0, 1.8), false, true);
        assert_eq!((overlap.p_value, overlap.unjudged), (None, Some(Unjudged::Overlapping)));
        assert!(!overlap.is_worse());
        let diverged = LossRatio::new(&errors(1, 300, 0.0, 1.8), true, false);
        assert!(diverged.sentence().starts_with("golden diverged: its loss is no reference"));
        let nothing = LossRatio::new(&[vec![0.0; 40], vec![0.0; 40]], false, false);
        assert_eq!(nothing.ratio.0, 1.0);
        let infinite = LossRatio::new(&[golden, vec![f64::INFINITY; 300]], false, false);
        assert_eq!((infinite.p_value, infinite.is_worse()), (None, false));
    }

    #[test]
    fn seeds_that_diverged_are_counted_apart() {
        let seed = |seed, ratio, diverged| SeedRatio { seed, losses: [2.0, 2.0 * ratio], diverged };
        let apart = [
            seed(1, 1.1, [false, false]),
            seed(2, 1.2, [false, false]),
            seed(3, 50.0, [false, true]),
            seed(4, 0.1, [true, true]),
        ];
        let found = RatioOverSeeds::new(&apart);
        assert!((found.ratio.unwrap() - (1.1f64 * 1.2).sqrt()).abs() < 1e-12);
        assert_eq!((&found.seeds[..], &found.diverged[..]), (&[1, 2][..], &[3][..]));
        assert_eq!(found.golden_diverged, [4]);
        assert!(!found.is_worse(), "two seeds: {:?}", found.ci95);
        let said = found.sentence();
        assert!(
            said.ends_with("; 1 of 4 diverged and count apart; golden diverged with 1 of 4"),
            "{said}"
        );
        let many: Vec<SeedRatio> =
            (0..8).map(|at| seed(at, 1.2 + 0.01 * at as f64, [false, false])).collect();
        assert!(RatioOverSeeds::new(&many).is_worse());
        assert_eq!(
            RatioOverSeeds::new(&apart[2..]).sentence().split(';').next(),
            Some("there is no ratio of losses")
        );
    }
}
