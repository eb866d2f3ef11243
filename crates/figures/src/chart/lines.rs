//! Lines and points over two axes.

use super::{
    Drawing, LINE, LegendEntry, Panel, WIDTH, beyond, hit, legend, line, mark, marker, whisker,
    y_room,
};
use crate::scale::{AxisScale, ChartAxis};
use crate::style::COLOURS;
use crate::xml::{Element, place};

/// Points of one kind, joined by a line or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineSeries {
    /// What the legend calls it; not in the legend without.
    pub(crate) name: String,
    /// Colour and marker.
    pub(crate) style: usize,
    /// Whether its line is dashed.
    pub(crate) dashed: bool,
    /// Whether there is a line.
    pub(crate) line: bool,
    /// Whether that goes in steps, along x first.
    pub(crate) steps: bool,
    /// By how many pixels it is moved to the right, so that intervals do not hide one another.
    pub(crate) shift: f64,
    /// Whether its points have markers.
    pub(crate) markers: bool,
    /// Whether they stand back.
    pub(crate) faint: bool,
    /// Its points, from left to right where there is a line.
    pub(crate) points: Vec<LinePoint>,
}

/// A point.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinePoint {
    pub(crate) x: f64,
    /// What is not finite stands at the upper edge, and breaks the line.
    pub(crate) y: f64,
    /// Half the height of its interval.
    pub(crate) half: Option<f64>,
    /// What it tells.
    pub(crate) title: String,
    /// What the legend calls it; then it has a ring.
    pub(crate) label: Option<String>,
}

/// Lines and points over two axes.
#[derive(Clone, Debug)]
pub(crate) struct LineChart<'a> {
    pub(crate) x_name: &'a str,
    pub(crate) y_name: &'a str,
    pub(crate) x: ChartAxis,
    pub(crate) y: ChartAxis,
    /// Names of the columns, where x has bands.
    pub(crate) columns: &'a [String],
    /// Values of x that have ticks; without, round numbers have.
    pub(crate) ticks: &'a [(f64, String)],
    pub(crate) height: f64,
    pub(crate) series: &'a [LineSeries],
    /// A value of y at which there is a dotted line, and what that means.
    pub(crate) rule: Option<(f64, String)>,
}

impl LineSeries {
    /// The room that its values take on the axis of y, with their intervals.
    pub(crate) fn extent(&self) -> impl Iterator<Item = f64> + '_ {
        self.points.iter().flat_map(|point| {
            let half = point.half.unwrap_or(0.0);
            [point.y - half, point.y + half]
        })
    }
}

/// A scale for errors that are near zero or far from it: linear up to `linear`, then logarithmic, if
/// the largest is far.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>, linear: f64) -> AxisScale {
    let finite = values.into_iter().filter(|value| value.is_finite());
    let most = finite.map(f64::abs).fold(0.0, f64::max);
    if most > 10.0 * linear { AxisScale::SymmetricLog(linear) } else { AxisScale::Linear }
}

impl LineChart<'_> {
    /// Draws it.
    pub(crate) fn drawing(&self) -> Drawing {
        let left = y_room(&self.y, 6);
        let right = WIDTH - 16.0;
        let (mut drawn, top) = legend(&self.legend(), [left, right], 2.0);
        let top = top + 8.0;
        let mut xs = self.series.iter().flat_map(|series| &series.points).map(|point| point.x);
        let x = if xs.all(|x| x.fract() == 0.0) { self.x.whole() } else { self.x };
        let panel = Panel::new([left, top], [right - left, self.height], x, self.y);
        drawn.extend(panel.y_axis(self.y_name, 6));
        match (self.columns, self.ticks) {
            ([], []) => drawn.extend(panel.x_axis(self.x_name, 10, false)),
            ([], ticks) => drawn.extend(panel.x_axis_at(self.x_name, ticks, false)),
            (columns, _) => drawn.extend(panel.x_bands(columns, self.x_name)),
        }
        if let Some((value, _)) = &self.rule {
            let y = panel.y.place(*value);
            drawn.push(line([panel.left(), y], [panel.right(), y], "rule"));
        }
        drawn.extend(self.series.iter().filter(|series| series.line).map(|s| joined(s, &panel)));
        // Markers lie on every line, and what stands back below what does not.
        let back = self.series.iter().filter(|series| series.faint);
        let front = self.series.iter().filter(|series| !series.faint);
        drawn.extend(back.chain(front).map(|series| points(series, &panel)));
        drawn.extend(self.rings(&panel));
        Drawing::new(top + self.height + 2.5 * LINE, drawn)
    }

    fn legend(&self) -> Vec<LegendEntry> {
        let named = self.series.iter().filter(|s| !s.points.is_empty() && !s.name.is_empty());
        let entry = |series: &LineSeries| {
            let LineSeries { style, dashed, markers, faint, .. } = *series;
            let name = series.name.clone();
            match series.line {
                true => LegendEntry::Line { style, dashed, markers, name },
                false => LegendEntry::Marker { style, faint, name },
            }
        };
        let rule = self.rule.iter().map(|(_, name)| LegendEntry::Rule(name.clone()));
        let points =
            || self.series.iter().flat_map(|s| s.points.iter().map(move |point| (s, point)));
        let rings = points().filter_map(|(_, point)| Some(LegendEntry::Ring(point.label.clone()?)));
        let beyond = points().find(|(_, point)| !point.y.is_finite());
        let beyond = beyond.map(|(series, _)| LegendEntry::Beyond(series.style));
        named.map(entry).chain(rule).chain(rings).chain(beyond).collect()
    }

    fn rings(&self, panel: &Panel) -> Vec<Element> {
        let all = self.series.iter().flat_map(|s| s.points.iter().map(move |point| (s, point)));
        let ring = |(series, point): (&LineSeries, &LinePoint)| {
            let [x, y] = at_place(series, point, panel);
            Element::new("circle").at("cx", x).at("cy", y).with("r", 8).with("class", "ring")
        };
        all.filter(|(_, point)| point.label.is_some()).map(ring).collect()
    }
}

/// Where a point is.
fn at_place(series: &LineSeries, point: &LinePoint, panel: &Panel) -> [f64; 2] {
    let y = if point.y.is_finite() { panel.y.place(point.y) } else { panel.top() };
    [panel.x.place(point.x) + series.shift, y]
}

fn joined(series: &LineSeries, panel: &Panel) -> Element {
    let (mut path, mut begun) = (String::new(), false);
    for point in &series.points {
        let [x, y] = at_place(series, point, panel).map(place);
        path += &match (point.y.is_finite(), begun, series.steps) {
            (false, ..) => String::new(),
            (true, false, _) => format!("M{x},{y}"),
            (true, true, true) => format!("H{x}V{y}"),
            (true, true, false) => format!("L{x},{y}"),
        };
        begun = point.y.is_finite();
    }
    let dashed = if series.dashed { " dashed" } else { "" };
    Element::new("path")
        .with("d", path)
        .with("class", format!("line l{}{dashed}", series.style % COLOURS))
}

fn points(series: &LineSeries, panel: &Panel) -> Element {
    let one = |point: &LinePoint| {
        let at = at_place(series, point, panel);
        let mut shapes = Vec::new();
        if let Some(half) = point.half.filter(|half| half.is_finite() && point.y.is_finite()) {
            let [low, high] = [-half, half].map(|by| [at[0], panel.y.place(point.y + by)]);
            shapes.push(whisker(low, high, series.style));
        }
        if !point.y.is_finite() {
            shapes.push(beyond(series.style, at));
        } else if series.markers {
            shapes.push(marker(series.style, at, 3.2));
        }
        shapes.push(hit(at));
        mark(&point.title, shapes)
    };
    let told = series.points.iter().filter(|point| !point.title.is_empty());
    let group = Element::new("g").holding(told.map(one));
    if series.faint { group.with("class", "faint") } else { group }
}
