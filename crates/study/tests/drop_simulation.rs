//! Whether what is said of accuracy drops is true, in simulated sweeps; the tables of `docs/explore.md`:
//!
//! ```text
//! cargo test --release -p systoliq-study --test drop_simulation -- --nocapture
//! ```
//!
//! A seed's true loss is d; of n samples golden alone gets each right with probability (δ + d)/2 and fixed
//! point alone with (δ − d)/2, δ the discordance, or |d| where that is larger.

use std::fmt::Write as _;

use rayon::prelude::*;
use systoliq_keyed_random::Key;
use systoliq_run::Right;
use systoliq_study::drop::{
    DropVerdict, Judgement, Level, MARGIN, SeedLoss, Spread, looks, new_samples,
};

const SAMPLES: u64 = 300;
const SWEEPS: u64 = 20_000;
const SPREADS: [f64; 4] = [0.0, 0.0025, 0.005, 0.02];
const DISCORDANCES: [f64; 3] = [0.005, 0.02, 0.06];
const SEEDS: [usize; 5] = [2, 3, 5, 10, 29];

/// Random draws, one after another.
struct Draws {
    key: Key,
    at: u64,
}

impl Draws {
    fn new(key: Key) -> Self {
        Self { key, at: 0 }
    }

    /// Between 0 and 1.
    fn uniform(&mut self) -> f64 {
        self.at += 1;
        (f64::from(self.key.word(self.at)) + 0.5) / 2f64.powi(32)
    }

    /// By Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// How many of `trials` with a chance of `p` each, by inversion.
    fn binomial(&mut self, trials: u64, p: f64) -> u64 {
        if p > 0.5 {
            return trials - self.binomial(trials, 1.0 - p);
        }
        let mut left = self.uniform();
        let odds = p / (1.0 - p);
        let mut chance = (1.0 - p).powi(trials as i32);
        for found in 0..trials {
            left -= chance;
            if left < 0.0 {
                return found;
            }
            chance *= (trials - found) as f64 / (found + 1) as f64 * odds;
        }
        trials
    }

    /// A seed that truly loses `d`.
    fn seed(&mut self, d: f64, discordance: f64) -> SeedLoss {
        let delta = discordance.max(d.abs());
        let discordant = self.binomial(SAMPLES, delta);
        let only_golden_right = self.binomial(discordant, (1.0 + d / delta) / 2.0);
        let only_fixed_right = discordant - only_golden_right;
        SeedLoss { seed: 1, only_golden_right, only_fixed_right, diverged: false }
    }
}

/// What seeds truly lose: normal about a drop, and one in ten may lose 8 points.
#[derive(Clone, Copy)]
struct World {
    drop: f64,
    spread: f64,
    discordance: f64,
    one_in_ten: bool,
}

impl World {
    fn sweep(&self, draws: &mut Draws, seeds: usize) -> Vec<SeedLoss> {
        let one = |_| {
            let bad = self.one_in_ten && draws.uniform() < 0.1;
            let noise = if self.spread > 0.0 { self.spread * draws.normal() } else { 0.0 };
            draws.seed(if bad { 0.08 } else { self.drop + noise }, self.discordance)
        };
        (0..seeds).map(one).collect()
    }

    fn key(&self) -> Key {
        let parts = [self.drop, self.spread, self.discordance].map(f64::to_bits);
        let key = parts.into_iter().fold(Key::new(1).with_name("drop"), Key::with);
        key.with(u64::from(self.one_in_ten))
    }
}

/// How often something held, or was said, in the sweeps of one cell.
#[derive(Clone, Copy, Default)]
struct Cell {
    holds: u64,
    within: u64,
    confirmed: u64,
    beyond: u64,
}

impl Cell {
    fn new(world: World, seeds: usize, sweeps: u64) -> Self {
        let one = |sweep: u64| {
            let key = world.key().with(seeds as u64).with(sweep);
            let by_seed = world.sweep(&mut Draws::new(key), seeds);
            let spread = Spread::new(&by_seed, SAMPLES);
            let half = spread.half_width(seeds as u64, SAMPLES, Level::Once);
            let failing = by_seed.iter().filter(|seed| seed.fails(SAMPLES, MARGIN)).count();
            let verdict = DropVerdict::new(spread.mean, half, MARGIN, seeds as u64, failing as u64);
            Self {
                holds: u64::from((spread.mean - world.drop).abs() <= half),
                within: u64::from(verdict == DropVerdict::Within),
                confirmed: u64::from(verdict == DropVerdict::Confirmed),
                beyond: u64::from(verdict == DropVerdict::Beyond),
            }
        };
        let sum = |a: Self, b: Self| Self {
            holds: a.holds + b.holds,
            within: a.within + b.within,
            confirmed: a.confirmed + b.confirmed,
            beyond: a.beyond + b.beyond,
        };
        (0..sweeps).into_par_iter().map(one).reduce(Self::default, sum)
    }

    /// Below the margin, confirmed or not.
    fn below(&self) -> u64 {
        self.within + self.confirmed
    }
}

fn percent(count: u64, of: u64) -> f64 {
    100.0 * count as f64 / of as f64
}

/// Every spread and discordance.
fn worlds(drop: f64) -> impl Iterator<Item = World> {
    SPREADS.into_iter().flat_map(move |spread| {
        let world = move |discordance| World { drop, spread, discordance, one_in_ten: false };
        DISCORDANCES.into_iter().map(world)
    })
}

/// The first cells of a row: what a world is.
fn row(world: &World) -> String {
    format!("| {} | {} |", 100.0 * world.spread, 100.0 * world.discordance)
}

/// How often the interval holds the true drop.
fn coverage(text: &mut String) {
    writeln!(text, "| drop | spread | discordance % | S = 2 | 3 | 5 | 10 | 29 |").unwrap();
    writeln!(text, "| --- | --- | --- | --- | --- | --- | --- | --- |").unwrap();
    for world in [0.0, 0.003, 0.01].into_iter().flat_map(worlds) {
        write!(text, "| {} {}", 100.0 * world.drop, row(&world)).unwrap();
        for seeds in SEEDS {
            let holds = percent(Cell::new(world, seeds, SWEEPS).holds, SWEEPS);
            write!(text, " {holds:.1} |").unwrap();
            let of = format!(
                "drop {}, spread {}, discordance {}, {seeds} seeds: {holds} %",
                world.drop, world.spread, world.discordance
            );
            assert!(holds >= 93.0, "{of}");
            assert!(seeds != 10 || world.discordance < 0.02 || holds <= 98.0, "{of}");
        }
        text.push('\n');
    }
}

/// At most 2 % are wrong at a drop of 0.6, and three standard errors of a share of 2 % in [`SWEEPS`]. The
/// worst cell, of five seeds with spread 2 and discordance 0.5, has 2.02 % of two million.
const WRONG_MAX: f64 = 2.0 + 0.3;

/// How often a drop is said to be within half a point, where it is 0 and where it is 0.6.
fn verdicts(text: &mut String) {
    writeln!(
        text,
        "| spread | discordance % | S = 2 | 3 | 5 | 10 | 29: confirmed | \
         confirmed where one seed in ten loses 8 points |"
    )
    .unwrap();
    writeln!(text, "| --- | --- | --- | --- | --- | --- | --- | --- |").unwrap();
    for (right, wrong) in worlds(0.0).zip(worlds(0.006)) {
        text.push_str(&row(&right));
        for seeds in SEEDS {
            let [right, wrong] = [right, wrong].map(|world| Cell::new(world, seeds, SWEEPS));
            let said = if seeds == 29 { right.confirmed } else { right.below() };
            let (said, below) = (percent(said, SWEEPS), percent(wrong.below(), SWEEPS));
            write!(text, " {said:.1} / {below:.1} |").unwrap();
            assert!(below <= WRONG_MAX, "{seeds} seeds: within at 0.6 in {below} %");
        }
        let mixed = Cell::new(World { one_in_ten: true, ..right }, 29, SWEEPS);
        let confirmed = percent(mixed.confirmed, SWEEPS);
        writeln!(text, " {confirmed:.1} |").unwrap();
        assert!(confirmed <= 5.0, "one in ten loses 8 points: confirmed in {confirmed} %");
    }
}

/// Sweeps of a cell of [`three_looks`] and tables of a cell of [`crossed`].
const FEWER: u64 = 4_000;

/// Looks at sweeps until they are decided; how often that says within, confirmed or not, and confirmed.
fn looked_at(world: World) -> [u64; 2] {
    let one = |sweep: u64| {
        let draws = &mut Draws::new(world.key().with_name("looks").with(sweep));
        let (mut by_seed, mut so_far) = (Vec::new(), None);
        while let Some(look) = looks::next(so_far.as_ref(), by_seed.len()) {
            by_seed.extend(world.sweep(draws, look - by_seed.len()));
            let judgement =
                Judgement::new(by_seed.clone(), Vec::new(), SAMPLES, MARGIN, looks::LEVEL);
            so_far = judgement;
        }
        let verdict = so_far.map(|judgement| judgement.verdict);
        let confirmed = verdict == Some(DropVerdict::Confirmed);
        [confirmed || verdict == Some(DropVerdict::Within), confirmed].map(u64::from)
    };
    let sum = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
    (0..FEWER).into_par_iter().map(one).reduce(|| [0; 2], sum)
}

/// How often a drop of the margin is said to be within it by 95 % intervals after every seed to the 116th.
fn looked_at_after_every_seed(world: World) -> u64 {
    let one = |sweep: u64| {
        let draws = &mut Draws::new(world.key().with_name("every").with(sweep));
        let by_seed = world.sweep(draws, 116);
        let below = |seeds: usize| {
            let spread = Spread::new(&by_seed[..seeds], SAMPLES);
            let half = spread.half_width(seeds as u64, SAMPLES, Level::Once);
            spread.mean + half < MARGIN
        };
        u64::from((2..=116).any(below))
    };
    (0..FEWER).into_par_iter().map(one).sum()
}

/// What three looks say at a drop of half a point, where within is wrong in at most 2.5 %, and of 0; bounds
/// have two standard errors of shares in [`FEWER`] beside.
fn three_looks(text: &mut String) {
    writeln!(
        text,
        "| spread | discordance % | within at 0.5 | confirmed at 0 | \
         confirmed where one seed in ten loses 8 points |"
    )
    .unwrap();
    writeln!(text, "| --- | --- | --- | --- | --- |").unwrap();
    for (world, none) in worlds(MARGIN).zip(worlds(0.0)) {
        let within = percent(looked_at(world)[0], FEWER);
        let confirmed = percent(looked_at(none)[1], FEWER);
        let mixed = percent(looked_at(World { one_in_ten: true, ..none })[1], FEWER);
        writeln!(text, "{} {within:.1} | {confirmed:.1} | {mixed:.1} |", row(&world)).unwrap();
        assert!(within <= 3.0 && mixed <= 6.0, "{within} % within, {mixed} % confirmed: {text}");
    }
    let world = World { drop: MARGIN, spread: 0.005, discordance: 0.02, one_in_ten: false };
    let every = percent(looked_at_after_every_seed(world), FEWER);
    writeln!(text, "\nAfter every seed from 2 to 116, at 95 %, with spread 0.5: {every:.1}")
        .unwrap();
    assert!(every >= 10.0, "{every} %");
}

/// Φ, by Simpson's rule on its density.
fn normal_below(z: f64) -> f64 {
    let steps = 1000;
    let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let width = z / f64::from(steps);
    let weight = |at: i32| if at == 0 || at == steps { 1.0 } else { 2.0 + 2.0 * f64::from(at % 2) };
    let sum: f64 = (0..=steps).map(|at| weight(at) * density(width * f64::from(at))).sum();
    0.5 + sum * width / 3.0
}

/// A table of what seeds lose on samples: golden alone is right where a normal sum of an effect of the seed,
/// one of the sample and a rest, in these shares of its variance, exceeds a threshold, and fixed point alone
/// where it is below the negative of that.
#[derive(Clone, Copy, Debug)]
struct Crossed {
    seeds: usize,
    of_seeds: f64,
    of_samples: f64,
    threshold: f64,
    shift: f64,
}

impl Crossed {
    /// Whether the interval on this part, and that for new seeds and samples, hold the true loss.
    fn holds(&self, table: u64) -> [bool; 2] {
        let &Self { seeds, of_seeds, of_samples, threshold, shift } = self;
        let key = Key::new(2).with(seeds as u64).with(of_seeds.to_bits());
        let key = key.with(of_samples.to_bits()).with(threshold.to_bits()).with(shift.to_bits());
        let draws = &mut Draws::new(key.with(table));
        let rest = (1.0 - of_seeds - of_samples).sqrt();
        let of_sample: Vec<f64> =
            (0..SAMPLES).map(|_| of_samples.sqrt() * draws.normal()).collect();
        let mut networks = Vec::new();
        for _ in 0..seeds {
            let of_seed = shift + of_seeds.sqrt() * draws.normal();
            let sums =
                of_sample.iter().map(|of_sample| of_seed + of_sample + rest * draws.normal());
            let sums: Vec<f64> = sums.collect();
            let golden: Right = sums.iter().map(|&sum| sum >= -threshold).collect();
            let fixed: Right = sums.iter().map(|&sum| sum <= threshold).collect();
            networks.push((golden, fixed));
        }
        let of_pair = |(golden, fixed): &(Right, Right)| SeedLoss::new(1, golden, fixed, false);
        let by_seed: Vec<SeedLoss> = networks.iter().map(of_pair).collect();
        let spread = Spread::new(&by_seed, SAMPLES);
        let half = spread.half_width(seeds as u64, SAMPLES, Level::Once);
        let golden: Vec<&Right> = networks.iter().map(|(golden, _)| golden).collect();
        let fixed: Vec<&Right> = networks.iter().map(|(_, fixed)| fixed).collect();
        let anew =
            new_samples(&golden, &fixed, half, Level::Once).expect("several seeds and samples");
        let off = (spread.mean - self.truth()).abs();
        [off <= half, off <= anew]
    }

    fn truth(&self) -> f64 {
        normal_below(self.shift - self.threshold) - normal_below(-self.shift - self.threshold)
    }
}

/// How often the intervals hold the loss for seeds and samples drawn anew.
fn crossed(text: &mut String) {
    writeln!(text, "| variance of seeds | of samples | discordance % | drop | S = 3 | 5 | 10 |")
        .unwrap();
    writeln!(text, "| --- | --- | --- | --- | --- | --- | --- |").unwrap();
    for (of_seeds, of_samples) in [(0.0, 0.5), (0.0, 0.9), (0.01, 0.5), (0.1, 0.8)] {
        for (threshold, shift) in [(2.3263, 0.0), (1.8808, 0.0), (1.8808, 0.08)] {
            let of = |shift, seeds| Crossed { seeds, of_seeds, of_samples, threshold, shift };
            let discordance = 200.0 * normal_below(-threshold);
            let drop = 100.0 * of(shift, 3).truth();
            write!(text, "| {of_seeds} | {of_samples} | {discordance:.0} | {drop:.2} |").unwrap();
            for seeds in [3, 5, 10] {
                let cell = of(shift, seeds);
                let one = |table| cell.holds(table).map(u64::from);
                let sum = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
                let held = (0..FEWER).into_par_iter().map(one).reduce(|| [0; 2], sum);
                let [on_this_part, anew] = held.map(|held| percent(held, FEWER));
                write!(text, " {anew:.1} ({on_this_part:.1}) |").unwrap();
                assert!(anew >= 93.0, "{cell:?}: {anew} %");
            }
            text.push('\n');
        }
    }
}

/// What `docs/explore.md` shows is what is simulated.
#[test]
#[allow(clippy::print_stdout)] // Only shown with `--nocapture`.
fn what_is_said_of_a_drop_is_true_as_often_as_it_claims() {
    let shown = include_str!("../../../docs/explore.md");
    let tables = [coverage, verdicts, three_looks, crossed].map(|table| {
        let mut text = String::new();
        table(&mut text);
        println!("{text}");
        text
    });
    for table in tables {
        assert!(shown.contains(&table), "docs/explore.md does not have\n{table}");
    }
}
