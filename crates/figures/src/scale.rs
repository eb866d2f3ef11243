//! Axes: from values to places, and the values that get a tick.

use crate::number::digits;

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithms; all are positive.
    Log,
    /// Linear near zero, logarithmic far from it: by asinh(value / this).
    SymmetricLog(f64),
    /// So many rows or columns of equal size, of which value `i` is the centre of number `i`.
    Bands(usize),
}

/// A scale between two values on two places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Axis {
    scale: Scale,
    values: [f64; 2],
    places: [f64; 2],
    /// Whether only whole numbers get a tick.
    whole: bool,
}

impl Axis {
    /// An axis whose ends are these values, which differ, or are made to.
    pub(crate) fn new(scale: Scale, low: f64, high: f64) -> Self {
        let (low, high) = match scale {
            Scale::Bands(count) => (-0.5, count.max(1) as f64 - 0.5),
            Scale::Log if low >= high => (low / 2.0, low * 2.0),
            _ if low >= high => (low - 0.5, low + 0.5),
            _ => (low, high),
        };
        Self { scale, values: [low, high], places: [0.0, 1.0], whole: false }
    }

    /// Rows or columns.
    pub(crate) fn bands(count: usize) -> Self {
        Self::new(Scale::Bands(count), 0.0, 0.0)
    }

    /// An axis that has all these values and a little room beyond; what is not finite is left out.
    pub(crate) fn around(scale: Scale, values: impl IntoIterator<Item = f64>) -> Self {
        let usable = |value: &f64| value.is_finite() && (scale != Scale::Log || *value > 0.0);
        let ends = values.into_iter().filter(usable).fold(None, |ends, value| match ends {
            None => Some((value, value)),
            Some((low, high)) => Some((value.min(low), value.max(high))),
        });
        let (low, high) = ends.unwrap_or((1.0, 1.0));
        let axis = Self::new(scale, low, high);
        let [low, high] = axis.values.map(|value| axis.spread(value));
        let room = 0.06 * (high - low);
        Self { values: [axis.gather(low - room), axis.gather(high + room)], ..axis }
    }

    /// The same from zero on, or to zero if all is below.
    pub(crate) fn from_zero(scale: Scale, values: impl IntoIterator<Item = f64>) -> Self {
        let (mut below, mut above) = (false, false);
        let values = values.into_iter().inspect(|value| {
            below |= value.is_finite() && *value < 0.0;
            above |= value.is_finite() && *value > 0.0;
        });
        let mut axis = Self::around(scale, values.chain([0.0]));
        if !below {
            axis.values[0] = 0.0;
        } else if !above {
            axis.values[1] = 0.0;
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
        self.values
    }

    /// The place of a value; values beyond an end are put there.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let [low, high] = self.values.map(|end| self.spread(end));
        let [start, end] = self.places;
        let share = ((self.spread(value) - low) / (high - low)).clamp(0.0, 1.0);
        start + share * (end - start)
    }

    /// The size of a band.
    pub(crate) fn band(&self) -> f64 {
        let [start, end] = self.places;
        let [low, high] = self.values;
        ((end - start) / (high - low)).abs()
    }

    fn spread(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear | Scale::Bands(_) => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::SymmetricLog(linear) => (value / linear).asinh(),
        }
    }

    fn gather(&self, spread: f64) -> f64 {
        match self.scale {
            Scale::Linear | Scale::Bands(_) => spread,
            Scale::Log => 10f64.powf(spread),
            Scale::SymmetricLog(linear) => spread.sinh() * linear,
        }
    }

    /// Values that get a tick, with their texts: about `wanted` of them.
    pub(crate) fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let [low, high] = self.values;
        let values = match self.scale {
            Scale::Linear => linear_ticks(low, high, wanted),
            Scale::Log => log_ticks(low, high, wanted),
            Scale::SymmetricLog(linear) => {
                let up = (0..12).flat_map(|power| [1.0, 3.0].map(|m| m * 10f64.powi(power)));
                let up = up.map(|value| value * linear);
                let below = up.clone().map(|value| -value);
                let mut all: Vec<f64> = below.chain([0.0]).chain(up).collect();
                all.retain(|value| (low..=high).contains(value));
                all.sort_by(f64::total_cmp);
                all
            }
            Scale::Bands(_) => Vec::new(),
        };
        let allowed = |value: &f64| !self.whole || (value - value.round()).abs() < 1e-9;
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
    let rough = (high - low) / (0.75 * wanted.max(1) as f64);
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
    let decades = (high / low).log10();
    let mantissas: &[f64] = if decades < 1.0 {
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0]
    } else if decades < 2.5 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let every =
        if mantissas.len() > 1 { 1 } else { (decades / wanted as f64).ceil().max(1.0) as i32 };
    let powers = (first..=last).filter(|power| power.rem_euclid(every) == 0);
    let all = powers.flat_map(|power| mantissas.iter().map(move |m| m * 10f64.powi(power)));
    let found: Vec<f64> = all.filter(within).collect();
    if found.len() < 2 { linear_ticks(low, high, wanted) } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: Axis, wanted: usize) -> Vec<String> {
        axis.ticks(wanted).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(texts(Axis::new(Scale::Linear, 0.0, 20.0), 5), ["0", "5", "10", "15", "20"]);
        assert_eq!(
            texts(Axis::new(Scale::Linear, -0.1, 0.31), 4),
            ["-0.1", "0", "0.1", "0.2", "0.3"]
        );
        assert_eq!(texts(Axis::new(Scale::Linear, 2.7, 5.3).whole(), 10), ["3", "4", "5"]);
        assert_eq!(texts(Axis::new(Scale::Log, 1.0, 1e4), 5), ["1", "10", "100", "1000", "10000"]);
        let symmetric = Axis::new(Scale::SymmetricLog(1.0), -2.0, 40.0);
        assert_eq!(texts(symmetric, 5), ["-1", "0", "1", "3", "10", "30"]);
    }

    #[test]
    fn places_grow_with_values_on_every_scale() {
        for scale in [Scale::Linear, Scale::Log, Scale::SymmetricLog(1.0)] {
            let axis = Axis::around(scale, [0.5, 3.0, 200.0, f64::NAN]).between(10.0, 110.0);
            let places = [0.5, 1.0, 3.0, 200.0].map(|value| axis.place(value));
            assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{scale:?}: {places:?}");
            assert!(places[0] > 10.0 && places[3] < 110.0, "{scale:?}: {places:?}");
            assert!(axis.ticks(5).len() >= 3, "{scale:?}: {:?}", axis.ticks(5));
        }
        let bands = Axis::bands(4).between(0.0, 80.0);
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
            let [low, high] = Axis::from_zero(Scale::Linear, values.clone()).values();
            assert!(low < high && values.iter().all(|v| (low..=high).contains(v)), "{values:?}");
            assert_eq!([low, high].iter().position(|end| *end == 0.0), zero, "{values:?}");
        }
    }

    #[test]
    fn an_axis_of_one_value_or_none_still_has_room() {
        for values in [vec![], vec![3.0], vec![3.0, 3.0]] {
            for scale in [Scale::Linear, Scale::Log, Scale::SymmetricLog(1.0)] {
                let [low, high] = Axis::around(scale, values.clone()).values();
                assert!(low < high, "{scale:?} of {values:?}: {low} to {high}");
            }
        }
    }
}
