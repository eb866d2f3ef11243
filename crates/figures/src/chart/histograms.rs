//! Small histograms, four in a row, with counts on a logarithmic axis.

use super::{Drawing, LINE, Panel, WIDTH, line, mark, rect, text};
use crate::scale::{AxisScale, ChartAxis};

/// One histogram.
#[derive(Clone, Debug)]
pub(crate) struct Bins {
    /// What stands above it.
    pub(crate) label: String,
    /// The ends of its axis.
    pub(crate) ends: [f64; 2],
    /// Width of a bin.
    pub(crate) width: f64,
    /// Bins that are not empty: where each starts, how often, and what it tells.
    pub(crate) bins: Vec<(f64, u64, String)>,
    /// Colour.
    pub(crate) style: usize,
}

const COLUMNS: usize = 4;

/// Draws them.
pub(crate) fn histograms(all: &[Bins], axis_name: &str) -> Drawing {
    let (left, gap) = (52.0, 18.0);
    let width = (WIDTH - left - 8.0 - gap * (COLUMNS - 1) as f64) / COLUMNS as f64;
    let (height, step) = (84.0, 84.0 + 50.0);
    let most = all.iter().flat_map(|one| &one.bins).map(|bin| bin.1).max().unwrap_or(1);
    let y = ChartAxis::new(AxisScale::Log, 0.5, (most.max(10) as f64) * 1.5);
    let mut drawn = Vec::new();
    for (at, one) in all.iter().enumerate() {
        let corner =
            [left + (at % COLUMNS) as f64 * (width + gap), 24.0 + (at / COLUMNS) as f64 * step];
        let x = ChartAxis::new(AxisScale::Linear, one.ends[0], one.ends[1]);
        let panel = Panel::new(corner, [width, height], x, y);
        drawn.push(text(panel.left(), panel.top() - 8.0, "start", "small strong", &one.label));
        for (value, label) in y.whole().ticks(4) {
            let place = panel.y.place(value);
            drawn.push(line([panel.left(), place], [panel.right(), place], "grid"));
            if at % COLUMNS == 0 {
                drawn.push(text(panel.left() - 6.0, place + 4.0, "end", "small muted", &label));
            }
        }
        for &(start, count, ref title) in &one.bins {
            let [from, to] = [start, start + one.width].map(|value| panel.x.place(value));
            let upper = panel.y.place(count as f64);
            let size = [(to - from).max(0.6), panel.bottom() - upper];
            let bar = rect([from, upper], size, &format!("f{}", one.style));
            drawn.push(mark(title, [bar]));
        }
        drawn.extend(x_ends(&panel, one));
    }
    let lines = all.len().div_ceil(COLUMNS) as f64;
    let bottom = 24.0 + lines * step;
    drawn.push(super::sideways(10.0, 24.0 + (lines * step - 50.0) / 2.0, "occurrences"));
    drawn.push(text(left + (WIDTH - left) / 2.0, bottom - 8.0, "middle", "", axis_name));
    Drawing::new(bottom + LINE / 4.0, drawn)
}

/// The axis below: zero where it is inside, and both ends.
fn x_ends(panel: &Panel, one: &Bins) -> Vec<crate::xml::Element> {
    let bottom = panel.bottom();
    let mut drawn = vec![line([panel.left(), bottom], [panel.right(), bottom], "axis")];
    let [low, high] = one.ends;
    let inside = (low < 0.0 && high > 0.0).then_some((0.0, "middle"));
    for (value, anchor) in [(low, "start"), (high, "end")].into_iter().chain(inside) {
        let x = panel.x.place(value);
        drawn.push(line([x, bottom], [x, bottom + 4.0], "axis"));
        // The last code, not the one behind it.
        let shown = if value == high { high - 1.0 } else { value };
        drawn.push(text(x, bottom + 16.0, anchor, "small muted", &format!("{shown}")));
    }
    drawn
}
