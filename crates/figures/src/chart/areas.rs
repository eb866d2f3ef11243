//! Rectangles over two axes: what takes how much room for how long.

use super::{Drawing, LINE, Panel, WIDTH, mark, rect, text, text_width, y_room};
use crate::scale::ChartAxis;
use crate::style::COLOURS;

/// One rectangle.
#[derive(Clone, Debug)]
pub(crate) struct Area {
    /// Its name, which stands in it where there is room.
    pub(crate) name: String,
    /// Where it begins and ends.
    pub(crate) x: [f64; 2],
    pub(crate) y: [f64; 2],
    pub(crate) style: usize,
    /// What it tells.
    pub(crate) title: String,
}

/// Rectangles over axes of these names; ticks of x have texts.
pub(crate) fn areas(
    areas: &[Area],
    (x, ticks, x_name): (ChartAxis, &[(f64, String)], &str),
    (y, y_name): (ChartAxis, &str),
    height: f64,
) -> Drawing {
    let (left, top) = (y_room(&y, 6), 8.0);
    let panel = Panel::new([left, top], [WIDTH - 16.0 - left, height], x, y);
    let mut drawn = panel.y_axis(y_name, 6);
    drawn.extend(panel.x_axis_at(x_name, ticks, false));
    for area in areas {
        let [from, to] = [0, 1].map(|end| panel.place(area.x[end], area.y[end]));
        let size = [to[0] - from[0], from[1] - to[1]];
        let shape = rect([from[0], to[1]], size, &format!("f{} edge", area.style % COLOURS));
        let fits = size[1] > LINE && text_width(&area.name) + 4.0 < size[0];
        let middle = [(from[0] + to[0]) / 2.0, (from[1] + to[1]) / 2.0];
        let name = fits.then(|| text(middle[0], middle[1] + 4.0, "middle", "small", &area.name));
        drawn.push(mark(&area.title, [shape].into_iter().chain(name)));
    }
    Drawing::new(top + height + 2.5 * LINE, drawn)
}
