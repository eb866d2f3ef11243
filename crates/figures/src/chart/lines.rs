//! Lines and points over two axes.

use super::{
    Drawing, Entry, LINE, Panel, WIDTH, hit, legend, line, mark, marker, short, text, text_width,
    whisker, y_room,
};
use crate::scale::{Axis, Scale};
use crate::style::COLOURS;
use crate::xml::{Element, place};

/// Points of one kind, joined by a line or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
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
    pub(crate) points: Vec<Point>,
}

/// A point.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    pub(crate) x: f64,
    /// What is not finite stands at the upper edge.
    pub(crate) y: f64,
    /// Half the height of its interval.
    pub(crate) half: Option<f64>,
    /// What it tells.
    pub(crate) title: String,
    /// What stands beside it in the drawing; then it has a ring.
    pub(crate) label: Option<String>,
}

/// Lines and points over two axes.
#[derive(Clone, Debug)]
pub(crate) struct LineChart<'a> {
    pub(crate) x_name: &'a str,
    pub(crate) y_name: &'a str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    /// Names of the columns, where x has bands.
    pub(crate) columns: &'a [String],
    pub(crate) height: f64,
    pub(crate) series: &'a [Series],
    /// A value of y at which there is a dotted line, and what that means.
    pub(crate) rule: Option<(f64, String)>,
}

impl Series {
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
pub(crate) fn spread(values: impl IntoIterator<Item = f64>, linear: f64) -> Scale {
    let finite = values.into_iter().filter(|value| value.is_finite());
    let most = finite.map(f64::abs).fold(0.0, f64::max);
    if most > 10.0 * linear { Scale::SymmetricLog(linear) } else { Scale::Linear }
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
        match self.columns {
            [] => drawn.extend(panel.x_axis(self.x_name, 10, false)),
            columns => drawn.extend(panel.x_bands(columns, self.x_name)),
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
        drawn.extend(self.labels(&panel));
        Drawing::new(top + self.height + 2.5 * LINE, drawn)
    }

    fn legend(&self) -> Vec<Entry> {
        let named = self.series.iter().filter(|s| !s.points.is_empty() && !s.name.is_empty());
        let entry = |series: &Series| {
            let Series { style, dashed, markers, faint, .. } = *series;
            let name = series.name.clone();
            match series.line {
                true => Entry::Line { style, dashed, markers, name },
                false => Entry::Marker { style, faint, name },
            }
        };
        let rule = self.rule.iter().map(|(_, name)| Entry::Rule(name.clone()));
        named.map(entry).chain(rule).collect()
    }

    fn labels(&self, panel: &Panel) -> Vec<Element> {
        let mut drawn = Vec::new();
        for point in self.series.iter().flat_map(|series| &series.points) {
            let Some(label) = point.label.as_ref().map(|label| short(label, 0.6 * WIDTH)) else {
                continue;
            };
            let [x, y] = panel.place(point.x, shown(point.y));
            let ring = Element::new("circle").at("cx", x).at("cy", y).with("r", 8);
            drawn.push(ring.with("class", "ring"));
            let fits = x + 14.0 + text_width(&label) < panel.right();
            let (x, anchor) = if fits { (x + 10.0, "start") } else { (x - 10.0, "end") };
            drawn.push(text(x, (y - 14.0).max(panel.top() + 10.0), anchor, "strong halo", &label));
        }
        drawn
    }
}

/// Where a point is.
fn at_place(series: &Series, point: &Point, panel: &Panel) -> [f64; 2] {
    let [x, y] = panel.place(point.x, shown(point.y));
    [x + series.shift, y]
}

/// A value that has a place: what is no number is as bad as it can be.
fn shown(y: f64) -> f64 {
    if y.is_nan() { f64::INFINITY } else { y }
}

fn joined(series: &Series, panel: &Panel) -> Element {
    let mut path = String::new();
    for (at, point) in series.points.iter().enumerate() {
        let [x, y] = at_place(series, point, panel).map(place);
        path += &match (at, series.steps) {
            (0, _) => format!("M{x},{y}"),
            (_, true) => format!("H{x}V{y}"),
            (_, false) => format!("L{x},{y}"),
        };
    }
    let dashed = if series.dashed { " dashed" } else { "" };
    Element::new("path")
        .with("d", path)
        .with("class", format!("line l{}{dashed}", series.style % COLOURS))
}

fn points(series: &Series, panel: &Panel) -> Element {
    let one = |point: &Point| {
        let at = at_place(series, point, panel);
        let mut shapes = Vec::new();
        if let Some(half) = point.half.filter(|half| half.is_finite() && point.y.is_finite()) {
            let [low, high] = [-half, half].map(|by| [at[0], panel.y.place(point.y + by)]);
            shapes.push(whisker(low, high, series.style));
        }
        if series.markers {
            shapes.push(marker(series.style, at, 3.2));
        }
        shapes.push(hit(at));
        mark(&point.title, shapes)
    };
    let told = series.points.iter().filter(|point| !point.title.is_empty());
    let group = Element::new("g").holding(told.map(one));
    if series.faint { group.with("class", "faint") } else { group }
}
