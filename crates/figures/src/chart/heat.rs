//! Cells over the values of two axes, darker where values are larger.

use super::{Drawing, LINE, NAME, Panel, WIDTH, mark, rect, short, text, widest};
use crate::scale::ChartAxis;
use crate::style::HEAT;
use crate::xml::Element;

/// A cell.
#[derive(Clone, Debug)]
pub(crate) struct HeatCell {
    /// Its column and row.
    pub(crate) at: [usize; 2],
    /// What is no number has a colour of its own.
    pub(crate) value: f64,
    /// What stands in it.
    pub(crate) text: String,
    /// What it tells.
    pub(crate) title: String,
    /// Whether it has a frame.
    pub(crate) chosen: bool,
}

/// Cells over the values of two axes.
#[derive(Clone, Debug)]
pub(crate) struct HeatMap<'a> {
    pub(crate) names: [&'a str; 2],
    pub(crate) columns: &'a [String],
    /// From the upper one down.
    pub(crate) rows: &'a [String],
    /// From the lightest to the darkest value.
    pub(crate) shade: ChartAxis,
    /// Their texts.
    pub(crate) ends: [String; 2],
    pub(crate) cells: &'a [HeatCell],
}

impl HeatMap<'_> {
    /// Draws it.
    pub(crate) fn drawing(&self) -> Drawing {
        let left = 14.0 + widest(self.rows.iter().map(String::as_str)).min(NAME);
        let (step, top) = (if self.rows.len() > 12 { 20.0 } else { 30.0 }, 8.0 + LINE);
        let size = [WIDTH - left - 8.0, step * self.rows.len() as f64];
        let (x, y) = (ChartAxis::bands(self.columns.len()), ChartAxis::bands(self.rows.len()));
        // Rows go down.
        let panel = Panel { x: x.between(left, left + size[0]), y: y.between(top, top + size[1]) };
        let shade = self.shade.between(0.0, 1.0);
        let fits = widest(self.cells.iter().map(|cell| cell.text.as_str())) + 4.0
            < x.between(0.0, size[0]).band();
        let mut drawn = panel.x_bands(self.columns, self.names[0]);
        drawn.extend(self.key());
        let room = WIDTH / 2.0;
        drawn.push(text(2.0, 15.0, "start", "", &short(&format!("{} ↓", self.names[1]), room)));
        for (at, label) in self.rows.iter().enumerate() {
            let y = panel.y.place(at as f64) + 4.0;
            drawn.push(text(left - 7.0, y, "end", "small muted", &short(label, NAME)));
        }
        for cell in self.cells {
            let [x, y] = panel.place(cell.at[0] as f64, cell.at[1] as f64);
            let share = if cell.value.is_nan() { 0.0 } else { shade.place(cell.value) };
            let fill = if cell.value.is_nan() { "#c8c8c8".to_owned() } else { colour(share) };
            let band = panel.x.band();
            let area = |inset: f64, class| {
                // Also of cells that are narrower than their gaps.
                let inset = inset.min(band / 4.0);
                let size = [band - 2.0 * inset, step - 2.0 * inset];
                rect([x - size[0] / 2.0, y - size[1] / 2.0], size, class)
            };
            let mut shapes = vec![area(1.0, "").with("fill", fill)];
            if cell.chosen {
                let stroke = if share < DARK { "#1a1a1a" } else { "#ffffff" };
                shapes.push(area(3.0, "frame").with("stroke", stroke));
            }
            if fits {
                let class = if share < DARK { "small on-light" } else { "small on-dark" };
                shapes.push(text(x, y + 4.0, "middle", class, &cell.text));
            }
            drawn.push(mark(&cell.title, shapes));
        }
        Drawing::new(top + size[1] + 2.5 * LINE, drawn)
    }

    /// What the colours stand for, above the cells on the right.
    fn key(&self) -> Vec<Element> {
        const SWATCHES: usize = 32;
        let [least, most] = &self.ends;
        let width = 4.0;
        let right = WIDTH - 12.0 - widest([most.as_str()]);
        let left = right - SWATCHES as f64 * width;
        let swatch = |at: usize| {
            let share = at as f64 / (SWATCHES - 1) as f64;
            rect([left + at as f64 * width, 4.0], [width + 0.5, 12.0], "")
                .with("fill", colour(share))
        };
        let mut drawn: Vec<Element> = (0..SWATCHES).map(swatch).collect();
        drawn.push(text(left - 5.0, 14.0, "end", "small muted", least));
        drawn.push(text(right + 5.0, 14.0, "start", "small muted", most));
        drawn
    }
}

/// From this share on, white is read more easily than black.
const DARK: f64 = 0.6;

/// The colour of a share of the way from light to dark.
fn colour(share: f64) -> String {
    let scaled = share * (HEAT.len() - 1) as f64;
    let at = (scaled as usize).min(HEAT.len() - 2);
    let between = scaled - at as f64;
    let channel = |of: usize| {
        let value = HEAT[at][of] + between * (HEAT[at + 1][of] - HEAT[at][of]);
        (255.0 * value).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", channel(0), channel(1), channel(2))
}

#[cfg(test)]
mod tests {
    use super::colour;

    #[test]
    fn colours_go_from_light_to_dark() {
        assert_eq!(
            ["#f0f5fa", "#6badd6", "#08306b"],
            [0.0, 0.5, 1.0].map(colour).each_ref().map(String::as_str)
        );
    }
}
