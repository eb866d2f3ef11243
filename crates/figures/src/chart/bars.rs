//! Bars of stacked parts, side by side in rows.

use super::{
    Drawing, LINE, LegendEntry, NAME, Panel, WIDTH, legend, mark, rect, short, text, widest,
};
use crate::scale::{AxisScale, ChartAxis};
use crate::style::COLOURS;

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    /// Its name.
    pub(crate) label: String,
    /// Its parts: number of the key, size, and what it tells.
    pub(crate) parts: Vec<(usize, f64, String)>,
    /// What stands at its end.
    pub(crate) total: String,
}

/// Bars of the parts that `keys` names, in rows, on an axis of this name.
pub(crate) fn stacks(keys: &[String], bars: &[Stack], axis_name: &str) -> Drawing {
    let left = 12.0 + widest(bars.iter().map(|bar| bar.label.as_str())).min(NAME);
    let ends = widest(bars.iter().map(|bar| bar.total.as_str())) + 14.0;
    let used = |key: usize| {
        bars.iter().flat_map(|bar| &bar.parts).any(|part| part.0 == key && part.1 > 0.0)
    };
    let entries: Vec<LegendEntry> = (0..keys.len())
        .filter(|&key| used(key))
        .map(|key| LegendEntry::Area(key, keys[key].clone()))
        .collect();
    let (mut drawn, top) = legend(&entries, [left, WIDTH - 8.0], 2.0);
    let top = top + 6.0;
    let sums = bars.iter().map(|bar| bar.parts.iter().map(|part| part.1).sum::<f64>());
    let most = sums.fold(0.0, f64::max);
    let x = ChartAxis::new(AxisScale::Linear, 0.0, if most > 0.0 { most } else { 1.0 });
    let row = if bars.len() > 8 { 24.0 } else { 34.0 };
    let size = [WIDTH - left - ends, row * bars.len() as f64];
    let mut panel = Panel::new([left, top], size, x, ChartAxis::bands(bars.len()));
    panel.y = panel.y.between(top, top + size[1]);
    drawn.extend(panel.x_axis(axis_name, 6, true));
    for (at, bar) in bars.iter().enumerate() {
        let middle = panel.y.place(at as f64);
        let height = 0.62 * row;
        drawn.push(text(left - 8.0, middle + 4.0, "end", "", &short(&bar.label, NAME)));
        let mut reached = 0.0;
        for (key, value, title) in bar.parts.iter().filter(|part| part.1 > 0.0) {
            let [start, end] = [reached, reached + value].map(|value| panel.x.place(value));
            reached += value;
            let class = format!("f{} edge", key % COLOURS);
            let part = rect([start, middle - height / 2.0], [end - start, height], &class);
            drawn.push(mark(title, [part]));
        }
        let end = panel.x.place(reached) + 6.0;
        drawn.push(text(end, middle + 4.0, "start", "small", &bar.total));
    }
    Drawing::new(top + size[1] + 2.5 * LINE, drawn)
}
