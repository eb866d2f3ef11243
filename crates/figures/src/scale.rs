//! Axes: from values to places, and the values that get a tick.

use std::f64::consts::LN_2;

use crate::number::digits;

/// The least positive number.
const LEAST: f64 = f64::from_bits(1);

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum AxisScale {
    /// Evenly.
    Linear,
    /// By their logarithms; all are positive.
    Log,
    /// Linear near zero, logarithmic far from it: by asinh(value / this).
    SymmetricLog(f64),
    /// So many rows or columns of equal size, of which value `i` is the centre of number `i`.
    Bands(usize),
}

/// Ends of an axis that are nearer than this share of the larger, or than this at all, are one value.
const APART: (f64, f64) = (1e-9, 1e-300);

/// A scale between two values on two places. Every finite value has a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ChartAxis {
    scale: AxisScale,
    /// Where the ends lie on the scale, which spreads the finite values over finite numbers.
    ends: [f64; 2],
    places: [f64; 2],
    /// Whether only whole numbers get a tick.
    whole: bool,
}

impl ChartAxis {
    /// An axis whose ends are these values, which differ, or are made to.
    pub(crate) fn new(scale: AxisScale, low: f64, high: f64) -> Self {
        let scale = match scale {
            AxisScale::SymmetricLog(linear) => {
                AxisScale::SymmetricLog(linear.clamp(f64::MIN_POSITIVE, f64::MAX))
            }
            other => other,
        };
        let [low, high] = [low, high].map(|end| end.clamp(f64::MIN, f64::MAX));
        let size = low.abs().max(high.abs());
        let apart = high / 2.0 - low / 2.0 > (APART.0 * size).max(APART.1) / 2.0;
        let half = if size < 1e6 { 0.5 } else { 0.05 * size };
        let (low, high) = match scale {
            AxisScale::Bands(count) => (-0.5, count.max(1) as f64 - 0.5),
            AxisScale::Log if low * (1.0 + APART.0) < high => (low, high),
            AxisScale::Log => (low / 2.0, low * 2.0),
            _ if apart => (low, high),
            _ => (low - half, low + half),
        };
        let mut axis = Self { scale, ends: [0.0, 1.0], places: [0.0, 1.0], whole: false };
        axis.ends = [low, high].map(|end| axis.spread(end.clamp(f64::MIN, f64::MAX)));
        axis
    }

    /// Rows or columns.
    pub(crate) fn bands(count: usize) -> Self {
        Self::new(AxisScale::Bands(count), 0.0, 0.0)
    }

    /// An axis that has all these values and a little room beyond; what is not finite is left out.
    pub(crate) fn around(scale: AxisScale, values: impl IntoIterator<Item = f64>) -> Self {
        let usable = |value: &f64| value.is_finite() && (scale != AxisScale::Log || *value > 0.0);
        let ends = values.into_iter().filter(usable).fold(None, |ends, value| match ends {
            None => Some((value, value)),
            Some((low, high)) => Some((value.min(low), value.max(high))),
        });
        let (low, high) = ends.unwrap_or((1.0, 1.0));
        let axis = Self::new(scale, low, high);
        let [low, high] = axis.ends;
        let room = 0.06 * high - 0.06 * low;
        // No end lies beyond the largest number.
        let ends = [low - room, high + room].map(|end| axis.spread(axis.gather(end)));
        Self { ends, ..axis }
    }

    /// The same from zero on, or to zero if all is below.
    pub(crate) fn from_zero(scale: AxisScale, values: impl IntoIterator<Item = f64>) -> Self {
        let (mut below, mut above) = (false, false);
        let values = values.into_iter().inspect(|value| {
            below |= value.is_finite() && *value < 0.0;
            above |= value.is_finite() && *value > 0.0;
        });
        let mut axis = Self::around(scale, values.chain([0.0]));
        let zero = axis.spread(0.0);
        if !below {
            axis.ends[0] = zero;
        } else if !above {
            axis.ends[1] = zero;
        }
        axis
    }

    /// The same between two places.
    pub(crate) fn between(self, start: f64, end: f64) -> Self {
        Self { places: [start, end], ..self }
    }

    /// The same with ticks at whole numbers alone.
    pub(crate) fn whole(self) -> Self {
        Self { whole: true, ..self }
    }

    /// Its first and last place.
    pub(crate) fn places(&self) -> [f64; 2] {
        self.places
    }

    /// Its first and last value.
    pub(crate) fn values(&self) -> [f64; 2] {
        self.ends.map(|end| self.gather(end))
    }

    /// The place of a value; values beyond an end are put there.
    pub(crate) fn place(&self, value: f64) -> f64 {
        // Halves, as the distance of two numbers may be beyond the largest.
        let [low, high] = self.ends.map(|end| end / 2.0);
        let [start, end] = self.places;
        let share = ((self.spread(value) / 2.0 - low) / (high - low)).clamp(0.0, 1.0);
        start + share * (end - start)
    }

    /// The size of a band.
    pub(crate) fn band(&self) -> f64 {
        let [start, end] = self.places;
        let [low, high] = self.ends;
        ((end - start) / (high - low)).abs()
    }

    fn spread(&self, value: f64) -> f64 {
        match self.scale {
            AxisScale::Linear | AxisScale::Bands(_) => value,
            AxisScale::Log => value.max(LEAST).log10(),
            AxisScale::SymmetricLog(linear) => match (value / linear).abs() {
                ratio if ratio < 1e9 => (value / linear).asinh(),
                // asinh x = ln 2x to the last digit, also where the ratio is beyond the largest number.
                _ => (value.abs().ln() - linear.ln() + LN_2).copysign(value),
            },
        }
    }

    /// The value at some place of the scale, at most the largest number.
    fn gather(&self, spread: f64) -> f64 {
        let value = match self.scale {
            AxisScale::Linear | AxisScale::Bands(_) => spread,
            AxisScale::Log => 10f64.powf(spread).max(LEAST),
            AxisScale::SymmetricLog(linear) => match spread.abs() {
                short if short < 20.0 => spread.sinh() * linear,
                long => (long + linear.ln() - LN_2).exp().copysign(spread),
            },
        };
        value.clamp(f64::MIN, f64::MAX)
    }

    /// Values that get a tick, with their texts: about `wanted` of them.
    pub(crate) fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let [low, high] = self.values();
        let values = match self.scale {
            AxisScale::Linear => linear_ticks(low, high, wanted),
            AxisScale::Log => log_ticks(low, high, wanted),
            AxisScale::SymmetricLog(linear) => symmetric_ticks(low, high, linear, wanted),
            AxisScale::Bands(_) => Vec::new(),
        };
        let allowed = |value: &f64| {
            value.is_finite() && (!self.whole || (value - value.round()).abs() < 1e-9)
        };
        values.into_iter().filter(allowed).map(|value| (value, tick_text(value))).collect()
    }
}

/// A tick's number, as short as it can be.
pub(crate) fn tick_text(value: f64) -> String {
    let text = digits(value, 6);
    if text.contains('e') {
        let (mantissa, exponent) = text.split_once('e').expect("an exponent");
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        return format!("{mantissa}e{exponent}");
    }
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// Multiples of 1, 2 or 5 times a power of ten: of the largest of which there are three quarters of
/// those wanted, at least.
fn linear_ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let share = 0.75 * wanted.max(1) as f64;
    let rough = high / share - low / share;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|step| step * power);
    let step = *steps.iter().find(|step| **step <= rough).unwrap_or(&power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|at| at as f64 * step).collect()
}

/// Powers of ten, all or every few of them; where there are too few, also 2 and 5 times these.
fn log_ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let within = |value: &f64| (low * 0.999_999..=high * 1.000_001).contains(value);
    let decades = high.log10() - low.log10();
    let mantissas: &[f64] = if decades < 1.0 {
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0]
    } else if decades < 2.5 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let every = if mantissas.len() > 1 { 1 } else { every(decades, wanted) };
    let powers = (first..=last).filter(|power| power.rem_euclid(every) == 0);
    let all = powers.flat_map(|power| mantissas.iter().map(move |m| m * power_of_ten(power)));
    let found: Vec<f64> = all.filter(within).collect();
    if found.len() < 2 { linear_ticks(low, high, wanted) } else { found }
}

/// Zero, and to both sides 1 and 3 times powers of ten, or every few powers alone.
fn symmetric_ticks(low: f64, high: f64, linear: f64, wanted: usize) -> Vec<f64> {
    let decades = low.abs().max(high.abs()).log10() - linear.log10();
    let mantissas: &[f64] = if decades <= 6.0 { &[1.0, 3.0] } else { &[1.0] };
    let every = if decades <= 6.0 { 1 } else { every(2.0 * decades, wanted) };
    let powers = (0..=decades.ceil() as i32).filter(|power| power % every == 0);
    let up = powers.flat_map(|power| mantissas.iter().map(move |m| m * power_of_ten(power)));
    let up: Vec<f64> = up.map(|value| value * linear).collect();
    let mut all: Vec<f64> = up.iter().map(|value| -value).chain([0.0]).chain(up.clone()).collect();
    all.retain(|value| (low..=high).contains(value));
    all.sort_by(f64::total_cmp);
    all
}

/// Every which power of ten gets a tick, of so many.
fn every(decades: f64, wanted: usize) -> i32 {
    (decades / wanted.max(1) as f64).ceil().max(1.0) as i32
}

/// A power of ten to the last digit, also where its inverse is beyond the largest number.
fn power_of_ten(power: i32) -> f64 {
    format!("1e{power}").parse().expect("a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: ChartAxis, wanted: usize) -> Vec<String> {
        axis.ticks(wanted).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            texts(ChartAxis::new(AxisScale::Linear, 0.0, 20.0), 5),
            ["0", "5", "10", "15", "20"]
        );
        assert_eq!(
            texts(ChartAxis::new(AxisScale::Linear, -0.1, 0.31), 4),
            ["-0.1", "0", "0.1", "0.2", "0.3"]
        );
        assert_eq!(texts(ChartAxis::new(AxisScale::Linear, 2.7, 5.3).whole(), 10), ["3", "4", "5"]);
        assert_eq!(
            texts(ChartAxis::new(AxisScale::Log, 1.0, 1e4), 5),
            ["1", "10", "100", "1000", "10000"]
        );
        let symmetric = ChartAxis::new(AxisScale::SymmetricLog(1.0), -2.0, 40.0);
        assert_eq!(texts(symmetric, 5), ["-1", "0", "1", "3", "10", "30"]);
    }

    #[test]
    fn places_grow_with_values_on_every_scale() {
        for scale in [AxisScale::Linear, AxisScale::Log, AxisScale::SymmetricLog(1.0)] {
            let axis = ChartAxis::around(scale, [0.5, 3.0, 200.0, f64::NAN]).between(10.0, 110.0);
            let places = [0.5, 1.0, 3.0, 200.0].map(|value| axis.place(value));
            assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{scale:?}: {places:?}");
            assert!(places[0] > 10.0 && places[3] < 110.0, "{scale:?}: {places:?}");
            assert!(axis.ticks(5).len() >= 3, "{scale:?}: {:?}", axis.ticks(5));
        }
        let bands = ChartAxis::bands(4).between(0.0, 80.0);
        assert_eq!((bands.place(0.0), bands.place(3.0), bands.band()), (10.0, 70.0, 20.0));
    }

    #[test]
    fn an_axis_from_zero_has_every_value_on_both_sides() {
        for (values, zero) in [
            (vec![2.0, 3.0], Some(0)),
            (vec![-2.0, -3.0], Some(1)),
            (vec![-0.1, 30.0], None),
            (vec![-30.0, 0.1], None),
            (vec![], Some(0)),
        ] {
            let [low, high] = ChartAxis::from_zero(AxisScale::Linear, values.clone()).values();
            assert!(low < high && values.iter().all(|v| (low..=high).contains(v)), "{values:?}");
            assert_eq!([low, high].iter().position(|end| *end == 0.0), zero, "{values:?}");
        }
    }

    #[test]
    fn an_axis_of_one_value_or_none_still_has_room() {
        for values in [vec![], vec![3.0], vec![3.0, 3.0]] {
            for scale in [AxisScale::Linear, AxisScale::Log, AxisScale::SymmetricLog(1.0)] {
                let [low, high] = ChartAxis::around(scale, values.clone()).values();
                assert!(low < high, "{scale:?} of {values:?}: {low} to {high}");
            }
        }
    }

    /// Numbers at the ends of what there is, and ordinary ones.
    const EXTREMES: [f64; 17] = [
        0.0,
        LEAST,
        -LEAST,
        f64::MIN_POSITIVE,
        1e-300,
        -1e-9,
        0.3,
        1.0,
        -1.0,
        1.000_000_000_000_1,
        9e15,
        1e291,
        -1e291,
        f64::MAX,
        f64::MIN,
        f64::INFINITY,
        f64::NAN,
    ];

    #[test]
    fn an_axis_survives_any_numbers() {
        let scales = [
            AxisScale::Linear,
            AxisScale::Log,
            AxisScale::SymmetricLog(1.0),
            AxisScale::SymmetricLog(0.0),
            AxisScale::SymmetricLog(LEAST),
            AxisScale::SymmetricLog(f64::MAX),
        ];
        let check = |axis: ChartAxis, values: &[f64], case: &str| {
            let axis = axis.between(0.0, 1000.0);
            let [low, high] = axis.values();
            assert!(low.is_finite() && high.is_finite() && low < high, "{case}: {axis:?}");
            let ticks = axis.ticks(6);
            assert!(ticks.len() <= 24, "{case}: {} ticks", ticks.len());
            let places: Vec<f64> = ticks.iter().map(|tick| axis.place(tick.0)).collect();
            assert!(places.is_sorted(), "{case}: {ticks:?}");
            assert!(ticks.iter().all(|(_, text)| text.len() < 16), "{case}: {ticks:?}");
            let mut finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
            finite.sort_by(f64::total_cmp);
            let places: Vec<f64> = finite.iter().map(|&value| axis.place(value)).collect();
            let inside = |place: &f64| (0.0..=1000.0).contains(place);
            assert!(places.is_sorted() && places.iter().all(inside), "{case}: {places:?}");
            places
        };
        for scale in scales {
            for a in EXTREMES {
                for b in EXTREMES {
                    for c in EXTREMES {
                        let case = format!("{scale:?} of {a:e}, {b:e}, {c:e}");
                        check(ChartAxis::around(scale, [a, b, c]), &[a, b, c], &case);
                        if scale != AxisScale::Log {
                            check(ChartAxis::from_zero(scale, [a, b, c]), &[a, b, c], &case);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_powers_of_ten_apart_have_places_that_are() {
        let losses = [0.4, 3.0, 1e80, 1e200, 1e291, f64::MAX];
        let axis = ChartAxis::around(AxisScale::Log, losses).between(300.0, 0.0);
        let places = losses.map(|loss| axis.place(loss));
        assert!(places[2] - places[3] > 80.0 && places[0] < 300.0 && places[4] > 0.0, "{places:?}");
        assert!(axis.values()[1] > 1.797e308, "{axis:?}");
        // From 10^-19 to 10^308: 327 powers, every 66th of which gets a tick.
        assert_eq!(texts(axis, 5), ["1", "1e66", "1e132", "1e198", "1e264"]);
    }
}
