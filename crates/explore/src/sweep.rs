//! A sweep that has been checked: its axes, and the points of its grid that run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use systoliq_keyed_random::Key;
use systoliq_run::path;

use crate::Error;
use crate::known::KnownPaths;
use crate::spec::{AxisSpec, Mode, Paths, Seeds, SweepSpec};

/// The most runs of a sweep whose size nobody has confirmed.
pub const RUNS_MAX: u64 = 1_000_000;

/// The most runs of any sweep.
const RUNS_EVER: u64 = 1 << 28;

/// The most seeds of a point.
const SEEDS_MAX: u64 = 100_000;

/// A sweep that can be run.
#[derive(Clone, Debug)]
pub struct Sweep {
    spec: SweepSpec,
    seeds: Vec<u64>,
    axes: Vec<SweepAxis>,
    /// Places in the grid, in its order.
    points: Vec<u64>,
}

/// One that varies.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepAxis {
    /// What tables and figures call it.
    pub name: String,
    /// The paths that it sets, names joined by dots.
    pub paths: Vec<String>,
    /// What it can be set to.
    pub levels: Vec<AxisLevel>,
}

/// One value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisLevel {
    /// The value, or the name of the bundle.
    pub value: Value,
    /// Values by the names that lead to them.
    set: Vec<(Vec<String>, Value)>,
}

impl AxisLevel {
    /// The value as a table shows it.
    ///
    /// ```text
    /// "Q2.6" -> Q2.6        8 -> 8
    /// ```
    pub fn label(&self) -> String {
        shown(&self.value)
    }
}

/// A value as tables and figures show it: texts without quotes, whole numbers without a point.
///
/// ```
/// use serde_json::json;
/// use systoliq_explore::shown;
/// let values = [json!("Q2.6"), json!(8), json!(1e6), json!(0.5)];
/// assert_eq!(values.each_ref().map(shown), ["Q2.6", "8", "1000000", "0.5"]);
/// ```
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(real) if number.is_f64() && real.fract() == 0.0 && real.abs() < 1e15 => {
                format!("{real}")
            }
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

impl Sweep {
    /// Checks a sweep. `many` allows more than [`RUNS_MAX`] runs.
    ///
    /// Whether the experiments of its points are possible is not checked: those that are not fail by
    /// themselves.
    ///
    /// # Errors
    ///
    /// If an axis is empty, sets a path that experiments do not have, or one that another sets, too;
    /// a name or a seed stands twice; there are too many runs; or the centre is none.
    pub fn new(spec: SweepSpec, many: bool) -> Result<Self, Error> {
        if spec.name.is_empty() {
            return Err(Error::spec("name", "empty, expected what reports call the sweep"));
        }
        if !spec.experiment.is_object() {
            return Err(Error::spec("experiment", "expected an object, or the path of its file"));
        }
        let seeds = seeds(&spec)?;
        if spec.axes.is_empty() {
            return Err(Error::spec("axes", "none, expected at least one"));
        }
        Self::check_size(&spec, many)?;
        let known = KnownPaths::new();
        let axis =
            |(at, axis): (usize, &AxisSpec)| SweepAxis::new(at, axis, &known, &spec.experiment);
        let axes = spec.axes.iter().enumerate().map(axis).collect::<Result<Vec<_>, _>>()?;
        check_apart(&axes)?;
        let points = points(&spec.mode, &axes)?;
        Ok(Self { spec, seeds, axes, points })
    }

    /// Checks how many runs a sweep has, from the lengths of its lists alone. `many` allows more than
    /// [`RUNS_MAX`].
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub fn check_size(spec: &SweepSpec, many: bool) -> Result<(), Error> {
        let size = |axis: &AxisSpec| match (&axis.values, &axis.bundles) {
            (Some(values), _) => values.0.len() as u64,
            (None, Some(bundles)) => bundles.len() as u64,
            (None, None) => 1,
        };
        let sizes: Vec<u64> = spec.axes.iter().map(size).collect();
        let seeds = match &spec.seeds {
            Seeds::Count(count) => *count,
            Seeds::List(list) => list.len() as u64,
        };
        check_size(&spec.mode, &sizes, seeds, many)
    }

    /// As its file states it, with files in place of their paths.
    pub fn spec(&self) -> &SweepSpec {
        &self.spec
    }

    /// The axes; the last varies fastest.
    pub fn axes(&self) -> &[SweepAxis] {
        &self.axes
    }

    /// The seeds that every point runs with.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    /// How many points run.
    pub fn points(&self) -> usize {
        self.points.len()
    }

    /// For each axis, which of its levels a point has.
    ///
    /// # Panics
    ///
    /// If there are not so many points.
    pub fn point(&self, at: usize) -> Vec<usize> {
        let mut place = self.points[at];
        let mut levels = vec![0; self.axes.len()];
        for (level, axis) in levels.iter_mut().zip(&self.axes).rev() {
            let count = axis.levels.len() as u64;
            *level = (place % count) as usize;
            place /= count;
        }
        levels
    }

    /// The values that a point has, by the names of the axes.
    ///
    /// # Panics
    ///
    /// If there are not so many points.
    pub fn settings(&self, at: usize) -> BTreeMap<String, Value> {
        let named = |(axis, level): (&SweepAxis, usize)| {
            (axis.name.clone(), axis.levels[level].value.clone())
        };
        self.axes.iter().zip(self.point(at)).map(named).collect()
    }

    /// The experiment of a point with a seed, as JSON that may be no possible experiment.
    ///
    /// # Panics
    ///
    /// If there are not so many points.
    pub fn experiment(&self, at: usize, seed: u64) -> Value {
        let mut experiment = self.spec.experiment.clone();
        for (axis, level) in self.axes.iter().zip(self.point(at)) {
            for (path, value) in &axis.levels[level].set {
                let put = path::put(&mut experiment, path, value.clone());
                put.expect("a path that was checked");
            }
        }
        experiment["seed"] = seed.into();
        experiment
    }

    /// Every run, as the point and the seed that it has: point by point, all seeds of one together.
    pub fn runs(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        (0..self.points()).flat_map(|point| self.seeds.iter().map(move |&seed| (point, seed)))
    }
}

/// The seeds that every point runs with.
fn seeds(spec: &SweepSpec) -> Result<Vec<u64>, Error> {
    let count = match &spec.seeds {
        Seeds::Count(count) => *count,
        Seeds::List(list) => list.len() as u64,
    };
    if !(1..=SEEDS_MAX).contains(&count) {
        return Err(Error::spec("seeds", format!("{count} seeds: expected 1 to {SEEDS_MAX}")));
    }
    match &spec.seeds {
        Seeds::List(list) => {
            let mut seen = BTreeSet::new();
            match list.iter().find(|seed| !seen.insert(**seed)) {
                Some(seed) => Err(Error::spec("seeds", format!("{seed} stands twice"))),
                None => Ok(list.clone()),
            }
        }
        Seeds::Count(count) => {
            let first = spec.experiment.get("seed").and_then(Value::as_u64).ok_or_else(|| {
                let problem = "a number counts up from the seed of the experiment, which has none: \
                               expected an array of seeds";
                Error::spec("seeds", problem)
            })?;
            let last = first.checked_add(count - 1);
            let last = last.ok_or_else(|| {
                Error::spec("seeds", format!("{count} from seed {first}: past the last seed"))
            })?;
            Ok((first..=last).collect())
        }
    }
}

/// A value, and what it sets by path.
type AxisSetting<'s> = (Value, Vec<(&'s String, &'s Value)>);

impl SweepAxis {
    fn new(at: usize, spec: &AxisSpec, known: &KnownPaths, base: &Value) -> Result<Self, Error> {
        let (key, settings) = settings(at, spec)?;
        let here = format!("axes[{at}].{key}");
        if settings.is_empty() {
            return Err(Error::spec(here, "an empty axis, expected at least one value"));
        }
        // As text, so that many are compared quickly; 1 and 1.0 are one number.
        let text = |value: &Value| match value {
            Value::String(_) => value.to_string(),
            other => shown(other),
        };
        let mut seen = BTreeSet::new();
        if let Some((value, _)) = settings.iter().find(|(value, _)| !seen.insert(text(value))) {
            return Err(Error::spec(here, format!("{value} stands twice")));
        }
        let mut checked = Checked { known, base, paths: Vec::new() };
        let mut levels = Vec::new();
        for (index, (value, set)) in settings.into_iter().enumerate() {
            let here = match key {
                "bundles" => format!("axes[{at}].bundles[{index}].set"),
                _ => format!("axes[{at}].path"),
            };
            levels.push(AxisLevel { value, set: checked.set(&here, set)? });
        }
        let paths: Vec<String> = checked.paths.iter().map(|names| names.join(".")).collect();
        let name = match (&spec.name, &paths[..]) {
            (Some(name), _) if !name.is_empty() => name.clone(),
            (None, [path]) => path.clone(),
            _ => {
                let problem = "no name, expected one where several paths are set";
                return Err(Error::spec(format!("axes[{at}]"), problem));
            }
        };
        Ok(Self { name, paths, levels })
    }
}

/// What an axis can be set to, and the key that says so.
fn settings(at: usize, spec: &AxisSpec) -> Result<(&'static str, Vec<AxisSetting<'_>>), Error> {
    match (&spec.path, &spec.values, &spec.bundles) {
        (Some(paths), Some(values), None) => {
            let paths = match paths {
                Paths::One(path) => std::slice::from_ref(path),
                Paths::Several(paths) => paths,
            };
            if paths.is_empty() {
                let problem = "no path, expected at least one";
                return Err(Error::spec(format!("axes[{at}].path"), problem));
            }
            let set = |value| paths.iter().map(|path| (path, value)).collect();
            Ok(("values", values.0.iter().map(|value| (value.clone(), set(value))).collect()))
        }
        (None, None, Some(bundles)) => {
            let bundles = bundles.iter();
            let named =
                bundles.map(|bundle| (bundle.name.clone().into(), bundle.set.iter().collect()));
            Ok(("bundles", named.collect()))
        }
        _ => {
            let problem = "expected `path` with `values`, or `bundles` alone";
            Err(Error::spec(format!("axes[{at}]"), problem))
        }
    }
}

/// The paths of one axis as they are checked.
struct Checked<'a> {
    known: &'a KnownPaths,
    base: &'a Value,
    /// All so far.
    paths: Vec<Vec<String>>,
}

impl Checked<'_> {
    /// The settings of one level, which stand at `here`.
    fn set(
        &mut self,
        here: &str,
        set: Vec<(&String, &Value)>,
    ) -> Result<Vec<(Vec<String>, Value)>, Error> {
        let mut found: Vec<(Vec<String>, Value)> = Vec::new();
        let mut tried = self.base.clone();
        for (written, value) in set {
            let names = path::split(written).map_err(|problem| Error::spec(here, problem))?;
            if found.iter().any(|(other, _)| *other == names) {
                return Err(Error::spec(here, format!("`{written}` stands twice")));
            }
            if names == ["seed"] {
                return Err(Error::spec(here, "`seed` is set by the sweep's `seeds`"));
            }
            let first = !self.paths.contains(&names);
            if first && !self.known.has(&names) {
                let nearest = self.known.nearest(&names).unwrap_or_default();
                let problem =
                    format!("no path `{written}` in an experiment; the nearest is `{nearest}`");
                return Err(Error::spec(here, problem));
            }
            path::put(&mut tried, &names, value.clone())
                .map_err(|problem| Error::spec(here, format!("`{written}`: {problem}")))?;
            if first {
                self.paths.push(names.clone());
            }
            found.push((names, value.clone()));
        }
        Ok(found)
    }
}

/// Checks that no two axes have one name, or set one path or a part of it.
fn check_apart(axes: &[SweepAxis]) -> Result<(), Error> {
    for (at, axis) in axes.iter().enumerate() {
        for other in &axes[..at] {
            if axis.name == other.name {
                let problem = format!("a second axis of the name `{}`", axis.name);
                return Err(Error::spec(format!("axes[{at}]"), problem));
            }
            let within = |one: &str, whole: &str| {
                one.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            for (ours, theirs) in axis
                .paths
                .iter()
                .flat_map(|ours| other.paths.iter().map(move |theirs| (ours, theirs)))
            {
                if within(ours, theirs) || within(theirs, ours) {
                    let problem =
                        format!("sets `{ours}`, and the axis `{}` sets `{theirs}`", other.name);
                    return Err(Error::spec(format!("axes[{at}]"), problem));
                }
            }
        }
    }
    Ok(())
}

/// The points of the whole grid.
fn grid(sizes: &[u64]) -> Result<u64, Error> {
    let grid = sizes.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
    grid.filter(|&grid| grid <= 1 << 62).ok_or_else(|| {
        Error::spec("axes", "more than 2^62 points in the grid: expected fewer values")
    })
}

/// Checks how many points run, of axes of these sizes.
fn check_size(mode: &Mode, sizes: &[u64], seeds: u64, many: bool) -> Result<(), Error> {
    let grid = grid(sizes)?;
    let (key, count) = match mode {
        Mode::Grid => ("axes", grid),
        Mode::Random(draw) => ("mode.random.points", draw.points),
        Mode::OneAtATime(_) => {
            ("axes", sizes.iter().map(|size| size.saturating_sub(1)).sum::<u64>() + 1)
        }
    };
    if let Mode::Random(draw) = mode
        && (draw.points == 0 || draw.points > grid)
    {
        let problem = format!("{} points of a grid of {grid}: expected 1 to {grid}", draw.points);
        return Err(Error::spec(key, problem));
    }
    let found = match seeds {
        1 => format!("{count} points"),
        _ => format!("{count} points with {seeds} seeds each"),
    };
    let runs = count.saturating_mul(seeds);
    if runs > RUNS_EVER {
        return Err(Error::spec(key, format!("{found}: expected at most {RUNS_EVER} runs")));
    }
    if runs > RUNS_MAX && !many {
        let problem = format!(
            "{found}: expected at most {RUNS_MAX} runs, or --yes to run as many, or the mode \"random\" \
             to run some of them"
        );
        return Err(Error::spec(key, problem));
    }
    Ok(())
}

/// The places in the grid of the points that run.
fn points(mode: &Mode, axes: &[SweepAxis]) -> Result<Vec<u64>, Error> {
    let sizes: Vec<u64> = axes.iter().map(|axis| axis.levels.len() as u64).collect();
    let grid = grid(&sizes)?;
    match mode {
        Mode::Grid => Ok((0..grid).collect()),
        Mode::Random(draw) => Ok(sample(draw.seed, draw.points, grid).into_iter().collect()),
        Mode::OneAtATime(around) => {
            let center = center(&around.center, axes)?;
            let mut points = BTreeSet::new();
            for (axis, &size) in sizes.iter().enumerate() {
                points.extend((0..size).map(|level| {
                    let mut levels = center.clone();
                    levels[axis] = level;
                    let places = levels.iter().zip(&sizes);
                    places.fold(0, |place, (level, size)| place * size + level)
                }));
            }
            Ok(points.into_iter().collect())
        }
    }
}

/// The level of each axis at the centre.
fn center(center: &BTreeMap<String, Value>, axes: &[SweepAxis]) -> Result<Vec<u64>, Error> {
    let at = "mode.one_at_a_time.center";
    // An axis that is called by its path may be named by any spelling of that.
    let named = |name: &String| match path::split(name) {
        Ok(names) if axes.iter().all(|axis| axis.name != *name) => names.join("."),
        _ => name.clone(),
    };
    let center: BTreeMap<String, &Value> =
        center.iter().map(|(name, value)| (named(name), value)).collect();
    if let Some(name) = center.keys().find(|name| axes.iter().all(|axis| axis.name != **name)) {
        let names: Vec<_> = axes.iter().map(|axis| format!("`{}`", axis.name)).collect();
        let problem = format!("no axis `{name}`: expected {}", names.join(", "));
        return Err(Error::spec(at, problem));
    }
    let level = |axis: &SweepAxis| {
        let value = center.get(&axis.name).ok_or_else(|| {
            Error::spec(at, format!("no value for the axis `{}`: expected one of its", axis.name))
        })?;
        let level = axis.levels.iter().position(|level| level.value == **value);
        let level = level.ok_or_else(|| {
            let values: Vec<_> = axis.levels.iter().map(|level| level.value.to_string()).collect();
            let problem = format!(
                "{value} on the axis `{}`: expected one of {}",
                axis.name,
                values.join(", ")
            );
            Error::spec(at, problem)
        })?;
        Ok(level as u64)
    };
    axes.iter().map(level).collect()
}

/// `count` of the numbers below `of`, all subsets equally likely: R. W. Floyd's algorithm, in Bentley
/// and Floyd, "A sample of brilliance", Communications of the ACM 30(9), 1987.
fn sample(seed: u64, count: u64, of: u64) -> BTreeSet<u64> {
    let key = Key::new(seed).with_name("sweep");
    let below = |index: u64, bound: u64| {
        let [high, low] = [2 * index, 2 * index + 1].map(|index| u64::from(key.word(index)));
        ((u128::from(high << 32 | low) * u128::from(bound)) >> 64) as u64
    };
    let mut drawn = BTreeSet::new();
    for last in of - count..of {
        let number = below(last, last + 1);
        if !drawn.insert(number) {
            drawn.insert(last);
        }
    }
    drawn
}

#[cfg(test)]
mod tests;
