//! Kinds of charts, and what they share: drawings, panels with axes, legends, marks.

mod areas;
mod bars;
mod dots;
mod heat;
mod histograms;
mod lines;

pub(crate) use areas::{Area, areas};
pub(crate) use bars::{Stack, stacks};
pub(crate) use dots::{DotColumn, DotMark, Row, rows};
pub(crate) use heat::{HeatCell, HeatMap};
pub(crate) use histograms::{Bins, histograms};
pub(crate) use lines::{LineChart, LinePoint, LineSeries, spread};

use crate::scale::ChartAxis;
use crate::style::COLOURS;
use crate::xml::{Element, place};

/// The width of every drawing, in pixels.
pub(crate) const WIDTH: f64 = 760.0;

/// The height of a line of text.
const LINE: f64 = 18.0;

/// A drawing of [`WIDTH`].
#[derive(Clone, Debug)]
pub(crate) struct Drawing {
    height: f64,
    content: Vec<Element>,
}

impl Drawing {
    fn new(height: f64, content: Vec<Element>) -> Self {
        Self { height, content }
    }

    /// As an element; by itself, with its style and a ground.
    pub(crate) fn svg(&self, title: &str, style: Option<&str>) -> Element {
        let size = [WIDTH, self.height].map(place);
        let mut svg = Element::new("svg")
            .with("xmlns", "http://www.w3.org/2000/svg")
            .with("class", "figure")
            .with("viewBox", format!("0 0 {} {}", size[0], size[1]))
            .with("role", "img")
            .with("aria-label", title);
        if let Some(style) = style {
            svg = svg.with("width", &size[0]).with("height", &size[1]).holding([
                Element::new("title").text(title),
                Element::new("style").text(style),
                Element::new("rect")
                    .with("class", "surface")
                    .with("width", &size[0])
                    .with("height", &size[1]),
            ]);
        }
        svg.holding(self.content.iter().cloned())
    }
}

/// About how wide a text is, in the widest of common fonts: no font is asked.
fn text_width(text: &str) -> f64 {
    7.2 * text.chars().count() as f64
}

/// A text that takes so much room at most, cut where it does not.
fn short(text: &str, room: f64) -> String {
    if text_width(text) <= room {
        return text.to_owned();
    }
    let fits = (room / text_width("x")).floor().max(2.0) as usize - 1;
    text.chars().take(fits).chain(['…']).collect()
}

/// The most room for a name beside a row.
const NAME: f64 = 300.0;

/// Whether a name has room beside a row.
pub(crate) fn fits_beside(name: &str) -> bool {
    text_width(name) <= NAME
}

/// The widest of some texts.
fn widest<'a>(texts: impl IntoIterator<Item = &'a str>) -> f64 {
    texts.into_iter().map(text_width).fold(0.0, f64::max)
}

fn text(x: f64, y: f64, anchor: &'static str, class: &'static str, text: &str) -> Element {
    Element::new("text")
        .at("x", x)
        .at("y", y)
        .with("text-anchor", anchor)
        .with("class", class)
        .text(text)
}

fn line(from: [f64; 2], to: [f64; 2], class: &str) -> Element {
    Element::new("line")
        .at("x1", from[0])
        .at("y1", from[1])
        .at("x2", to[0])
        .at("y2", to[1])
        .with("class", class)
}

fn rect(corner: [f64; 2], size: [f64; 2], class: &str) -> Element {
    Element::new("rect")
        .at("x", corner[0])
        .at("y", corner[1])
        .at("width", size[0])
        .at("height", size[1])
        .with("class", class)
}

/// Shapes that tell under the pointer what they stand for.
fn mark(title: &str, shapes: impl IntoIterator<Item = Element>) -> Element {
    let title = Element::new("title").text(title);
    Element::new("g").with("class", "mark").holding([title]).holding(shapes)
}

/// Shapes of markers.
pub(crate) const MARKERS: usize = 6;

/// The marker of a series, in its colour: one of [`MARKERS`] shapes.
fn marker(style: usize, [x, y]: [f64; 2], size: f64) -> Element {
    let class = format!("f{}", style % COLOURS);
    let polygon = |corners: &[[f64; 2]]| {
        let corners = corners
            .iter()
            .map(|[dx, dy]| format!("{},{}", place(x + dx * size), place(y + dy * size)));
        let corners: Vec<String> = corners.collect();
        Element::new("polygon").with("points", corners.join(" ")).with("class", &class)
    };
    match style % MARKERS {
        0 => Element::new("circle").at("cx", x).at("cy", y).at("r", size).with("class", class),
        1 => polygon(&[[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]),
        2 => polygon(&[[0.0, -1.2], [1.15, 0.9], [-1.15, 0.9]]),
        3 => polygon(&[[0.0, -1.3], [1.3, 0.0], [0.0, 1.3], [-1.3, 0.0]]),
        4 => polygon(&[[0.0, 1.2], [1.15, -0.9], [-1.15, -0.9]]),
        _ => polygon(&cross()),
    }
}

/// The corners of a cross.
fn cross() -> [[f64; 2]; 12] {
    const ARM: [[f64; 2]; 3] = [[-0.45, -1.35], [0.45, -1.35], [0.45, -0.45]];
    let mut corners = [[0.0; 2]; 12];
    for (at, corner) in corners.iter_mut().enumerate() {
        // Arm by arm, each a quarter turn from the one before.
        let [x, y] = ARM[at % 3];
        *corner = match at / 3 {
            0 => [x, y],
            1 => [-y, x],
            2 => [-x, -y],
            _ => [y, -x],
        };
    }
    corners
}

/// What stands for a value that has no place, at the upper edge: a hollow arrow up.
fn beyond(style: usize, [x, y]: [f64; 2]) -> Element {
    let corners = [[0.0, 0.0], [6.0, 9.0], [-6.0, 9.0]];
    let corners = corners.map(|[dx, dy]| format!("{},{}", place(x + dx), place(y + dy)));
    Element::new("polygon")
        .with("points", corners.join(" "))
        .with("class", format!("hollow l{}", style % COLOURS))
}

/// An area that feels the pointer around a small mark.
fn hit([x, y]: [f64; 2]) -> Element {
    Element::new("circle").at("cx", x).at("cy", y).with("r", 8).with("class", "hit")
}

/// A whisker along one axis, with its ends across.
fn whisker(from: [f64; 2], to: [f64; 2], style: usize) -> Element {
    let across = if from[0] == to[0] { [3.0, 0.0] } else { [0.0, 3.0] };
    let stroke = |from: [f64; 2], to: [f64; 2]| {
        format!("M{},{}L{},{}", place(from[0]), place(from[1]), place(to[0]), place(to[1]))
    };
    let end =
        |[x, y]: [f64; 2]| stroke([x - across[0], y - across[1]], [x + across[0], y + across[1]]);
    Element::new("path")
        .with("d", stroke(from, to) + &end(from) + &end(to))
        .with("class", format!("whisker l{}", style % COLOURS))
}

/// An entry of a legend: what it looks like, and its name.
#[derive(Clone, Debug)]
enum LegendEntry {
    /// A filled area of this style.
    Area(usize, String),
    /// A line, perhaps dashed, perhaps with markers.
    Line { style: usize, dashed: bool, markers: bool, name: String },
    /// Markers alone, perhaps faint.
    Marker { style: usize, faint: bool, name: String },
    /// A dotted line.
    Rule(String),
    /// A ring around a point.
    Ring(String),
    /// Values that have no place.
    Beyond(usize),
}

impl LegendEntry {
    fn name(&self) -> &str {
        match self {
            Self::Area(_, name)
            | Self::Line { name, .. }
            | Self::Marker { name, .. }
            | Self::Rule(name)
            | Self::Ring(name) => name,
            Self::Beyond(_) => "no finite value, at the upper edge",
        }
    }

    fn symbol(&self, x: f64, y: f64) -> Vec<Element> {
        match self {
            Self::Area(style, _) => {
                vec![rect([x + 4.0, y - 5.0], [12.0, 10.0], &format!("f{}", style % COLOURS))]
            }
            Self::Line { style, dashed, markers, .. } => {
                let dashed = if *dashed { " dashed" } else { "" };
                let class = format!("line l{}{dashed}", style % COLOURS);
                let stroke = line([x, y], [x + 20.0, y], &class);
                let marker = markers.then(|| marker(*style, [x + 10.0, y], 3.2));
                [stroke].into_iter().chain(marker).collect()
            }
            Self::Marker { style, faint, .. } => {
                let marker = marker(*style, [x + 10.0, y], 3.6);
                vec![if *faint {
                    Element::new("g").with("class", "faint").holding([marker])
                } else {
                    marker
                }]
            }
            Self::Rule(_) => vec![line([x, y], [x + 20.0, y], "rule")],
            Self::Ring(_) => {
                let ring = Element::new("circle").at("cx", x + 10.0).at("cy", y).with("r", 6);
                vec![ring.with("class", "ring")]
            }
            Self::Beyond(style) => vec![beyond(*style, [x + 10.0, y - 5.0])],
        }
    }
}

/// A legend between two places, from `top` on; with the height that it takes.
fn legend(entries: &[LegendEntry], [left, right]: [f64; 2], top: f64) -> (Vec<Element>, f64) {
    let (mut x, mut y, mut drawn) = (left, top + LINE / 2.0, Vec::new());
    for entry in entries {
        let name = short(entry.name(), right - left - 30.0);
        let width = 26.0 + text_width(&name) + 14.0;
        if x > left && x + width > right + 14.0 {
            (x, y) = (left, y + LINE);
        }
        drawn.extend(entry.symbol(x, y));
        drawn.push(text(x + 26.0, y + 4.0, "start", "small", &name));
        x += width;
    }
    let height = if entries.is_empty() { 0.0 } else { y + LINE / 2.0 + 6.0 - top };
    (drawn, height)
}

/// An area between two axes.
#[derive(Clone, Copy, Debug)]
struct Panel {
    x: ChartAxis,
    y: ChartAxis,
}

impl Panel {
    /// A panel from its left upper corner, with y going up.
    fn new(corner: [f64; 2], size: [f64; 2], x: ChartAxis, y: ChartAxis) -> Self {
        let ([left, top], [width, height]) = (corner, size);
        Self { x: x.between(left, left + width), y: y.between(top + height, top) }
    }

    fn left(&self) -> f64 {
        self.x.places()[0]
    }

    fn right(&self) -> f64 {
        self.x.places()[1]
    }

    fn top(&self) -> f64 {
        self.y.places()[0].min(self.y.places()[1])
    }

    fn bottom(&self) -> f64 {
        self.y.places()[0].max(self.y.places()[1])
    }

    fn place(&self, x: f64, y: f64) -> [f64; 2] {
        [self.x.place(x), self.y.place(y)]
    }

    /// About so many ticks at round numbers, and the name of the axis below; with lines over the height of
    /// the panel, if asked for.
    fn x_axis(&self, name: &str, wanted: usize, grid: bool) -> Vec<Element> {
        self.x_axis_at(name, &self.x.ticks(wanted), grid)
    }

    /// The same with these ticks. Texts that would touch the one before are left out.
    fn x_axis_at(&self, name: &str, ticks: &[(f64, String)], grid: bool) -> Vec<Element> {
        let (top, bottom) = (self.top(), self.bottom());
        let (mut drawn, mut taken) = (Vec::new(), f64::NEG_INFINITY);
        for (value, label) in ticks {
            let x = self.x.place(*value);
            if grid {
                drawn.push(line([x, top], [x, bottom], "grid"));
            }
            drawn.push(line([x, bottom], [x, bottom + 4.0], "axis"));
            let half = text_width(label) / 2.0;
            if x - half > taken {
                drawn.push(text(x, bottom + 17.0, "middle", "small muted", label));
                taken = x + half + 4.0;
            }
        }
        drawn.push(line([self.left(), bottom], [self.right(), bottom], "axis"));
        drawn.push(self.x_name(name));
        drawn
    }

    /// The name of the axis below.
    fn x_name(&self, name: &str) -> Element {
        let middle = (self.left() + self.right()) / 2.0;
        let room = 2.0 * middle.min(WIDTH - middle);
        text(middle, self.bottom() + 36.0, "middle", "", &short(name, room))
    }

    /// Columns of bands and their names, and the name of the axis.
    fn x_bands(&self, labels: &[String], name: &str) -> Vec<Element> {
        let bottom = self.bottom();
        let mut drawn = vec![line([self.left(), bottom], [self.right(), bottom], "axis")];
        let every = (widest(["00"]) / self.x.band()).ceil().max(1.0) as usize;
        for (at, label) in labels.iter().enumerate().step_by(every) {
            let x = self.x.place(at as f64);
            let label = short(label, every as f64 * self.x.band());
            drawn.push(text(x, bottom + 17.0, "middle", "small muted", &label));
        }
        drawn.push(self.x_name(name));
        drawn
    }

    /// Ticks and name of the axis on the left, with lines over the width of the panel.
    fn y_axis(&self, name: &str, wanted: usize) -> Vec<Element> {
        let mut drawn = Vec::new();
        let ticks = self.y.ticks(wanted);
        for (value, label) in &ticks {
            let y = self.y.place(*value);
            drawn.push(line([self.left(), y], [self.right(), y], "grid"));
            drawn.push(text(self.left() - 7.0, y + 4.0, "end", "small muted", label));
        }
        if !name.is_empty() {
            drawn.push(sideways(14.0, (self.top() + self.bottom()) / 2.0, name));
        }
        drawn
    }
}

/// The room that names and ticks of an axis on the left take.
fn y_room(axis: &ChartAxis, wanted: usize) -> f64 {
    let ticks = axis.ticks(wanted);
    30.0 + widest(ticks.iter().map(|(_, label)| label.as_str())).max(14.0)
}

/// A text that reads upwards around a place.
fn sideways(x: f64, y: f64, name: &str) -> Element {
    text(x, y, "middle", "", name)
        .with("transform", format!("rotate(-90 {} {})", place(x), place(y)))
}
