//! Rows of dots, in one column of values or several side by side.

use super::{
    Drawing, LINE, LegendEntry, NAME, Panel, WIDTH, hit, legend, line, mark, marker, short, text,
    whisker, widest,
};
use crate::scale::ChartAxis;
use crate::style::COLOURS;

/// What is shown of one row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) label: String,
    /// Whether a group of rows begins with it.
    pub(crate) begins: bool,
    /// Dots by column.
    pub(crate) cells: Vec<Vec<DotMark>>,
    /// What stands at its end.
    pub(crate) note: String,
}

/// A value in a row.
#[derive(Clone, Debug)]
pub(crate) struct DotMark {
    pub(crate) value: f64,
    /// Half the width of its interval.
    pub(crate) half: Option<f64>,
    /// Colour and marker.
    pub(crate) style: usize,
    /// What it tells.
    pub(crate) title: String,
}

/// A column of values.
#[derive(Clone, Debug)]
pub(crate) struct DotColumn {
    pub(crate) name: String,
    pub(crate) axis: ChartAxis,
    /// A value that dots are tied to by a line; else, they are tied to each other.
    pub(crate) stem: Option<f64>,
}

/// Rows of dots. `styles` are named in a legend.
pub(crate) fn rows(columns: &[DotColumn], rows: &[Row], styles: &[&str]) -> Drawing {
    let labels = 12.0 + widest(rows.iter().map(|row| row.label.as_str())).min(NAME);
    let notes = widest(rows.iter().map(|row| row.note.as_str())).min(NAME / 2.0) + 12.0;
    let marker = |(style, name): (usize, &&str)| LegendEntry::Marker {
        style,
        faint: false,
        name: (*name).to_owned(),
    };
    let entries: Vec<LegendEntry> = styles.iter().enumerate().map(marker).collect();
    let (mut drawn, top) = legend(&entries, [labels, WIDTH - 8.0], 2.0);
    let top = top + 6.0;
    let step = if rows.len() > 8 { 21.0 } else { 28.0 };
    let gap = 28.0;
    let width = (WIDTH - labels - notes - gap * (columns.len() - 1) as f64) / columns.len() as f64;
    let height = step * rows.len() as f64;
    for (at, column) in columns.iter().enumerate() {
        let left = labels + at as f64 * (width + gap);
        let bands = ChartAxis::bands(rows.len());
        let mut panel = Panel::new([left, top], [width, height], column.axis, bands);
        panel.y = bands.between(top, top + height);
        drawn.extend(panel.x_axis(&column.name, (width / 45.0) as usize, true));
        let [low, high] = column.axis.values();
        if low < 0.0 && high > 0.0 {
            let zero = panel.x.place(0.0);
            drawn.push(line([zero, top], [zero, top + height], "axis"));
        }
        for (number, row) in rows.iter().enumerate() {
            let y = panel.y.place(number as f64);
            if row.begins && number > 0 {
                drawn.push(line([left, y - step / 2.0], [left + width, y - step / 2.0], "axis"));
            }
            drawn.extend(cell(&row.cells[at], column, &panel, y));
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let y = ChartAxis::bands(rows.len()).between(top, top + height).place(number as f64) + 4.0;
        drawn.push(text(labels - 8.0, y, "end", "", &short(&row.label, NAME)));
        drawn.push(text(WIDTH - notes + 8.0, y, "start", "small", &short(&row.note, NAME / 2.0)));
    }
    Drawing::new(top + height + 2.5 * LINE, drawn)
}

fn cell(dots: &[DotMark], column: &DotColumn, panel: &Panel, y: f64) -> Vec<crate::xml::Element> {
    let shown: Vec<&DotMark> = dots.iter().filter(|dot| !dot.value.is_nan()).collect();
    let places = shown.iter().map(|dot| panel.x.place(dot.value));
    let tied = column.stem.map(|value| panel.x.place(value));
    let (low, high) = places
        .chain(tied)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |ends, x| (ends.0.min(x), ends.1.max(x)));
    let mut drawn = Vec::new();
    if low < high {
        let class = match (column.stem, shown.first()) {
            (Some(_), Some(dot)) => format!("line l{}", dot.style % COLOURS),
            _ => "axis".to_owned(),
        };
        drawn.push(line([low, y], [high, y], &class));
    }
    for dot in shown {
        let at = [panel.x.place(dot.value), y];
        let mut shapes = Vec::new();
        if let Some(half) = dot.half.filter(|half| half.is_finite() && dot.value.is_finite()) {
            let [low, high] = [-half, half].map(|by| [panel.x.place(dot.value + by), y]);
            shapes.push(whisker(low, high, dot.style));
        }
        shapes.extend([marker(dot.style, at, 4.0), hit(at)]);
        drawn.push(mark(&dot.title, shapes));
    }
    drawn
}
