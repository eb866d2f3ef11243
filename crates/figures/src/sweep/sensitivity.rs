//! What lowering each axis by one step does.

use systoliq_explore::{Analysis, Sensitivity};

use super::{axis_name, loss_scale, part};
use crate::PageFigure;
use crate::chart::{DotColumn, DotMark, Row, rows};
use systoliq_explore::shown;

use crate::number::{difference, loss_unit, signed};
use crate::page::Table;
use crate::scale::{AxisScale, ChartAxis};

/// The most steps that are drawn.
const ROWS_MAX: usize = 60;

/// The figure; nothing where no two points differ in one step.
pub(super) fn figure(analysis: &Analysis) -> Option<PageFigure> {
    if analysis.sensitivity.is_empty() {
        return None;
    }
    let unit = loss_unit(analysis.measure);
    let mut table = Table::new(&["axis", "from", "to", "pairs", "lost by the step", "energy"]);
    let (mut lines, mut before) = (Vec::new(), None);
    for step in &analysis.sensitivity {
        let Sensitivity { from, to, pairs, energy_factor, .. } = step;
        let [from, to] = [from, to].map(shown);
        let lost = difference(step.loss.0, step.loss_ci95.map(|half| half.0), analysis.measure);
        let growth = energy_factor.map(|factor| 100.0 * (factor - 1.0));
        let energy = growth.map_or("-".to_owned(), |growth| format!("{} %", signed(growth, 1)));
        let axis = analysis.axes.iter().find(|axis| axis.name == step.axis);
        let name = axis.map_or(step.axis.as_str(), |axis| axis_name(analysis, axis));
        let label = format!("{name} {from} → {to}");
        let title =
            format!("{label}\nlost: {lost}\nenergy: {energy}\nmean of {pairs} pairs of points");
        table.row([step.axis.clone(), from, to, pairs.to_string(), lost, energy]);
        let dot = |style, value, half| DotMark { value, half, style, title: title.clone() };
        let half = step.loss_ci95.map(|half| half.0 / unit.size);
        let cells = vec![
            vec![dot(0, step.loss.0 / unit.size, half)],
            growth.map(|growth| dot(1, growth, None)).into_iter().collect(),
        ];
        let begins = before.replace(&step.axis) != Some(&step.axis);
        lines.push(Row { label, begins, cells, note: String::new() });
    }
    let all = lines.len();
    if all > ROWS_MAX {
        let mut losses: Vec<f64> = analysis.sensitivity.iter().map(|step| step.loss.0).collect();
        losses.sort_by(|a, b| b.total_cmp(a));
        let least = losses[ROWS_MAX - 1];
        let mut losses = analysis.sensitivity.iter().map(|step| step.loss.0);
        lines.retain(|_| losses.next().is_some_and(|lost| lost.total_cmp(&least).is_ge()));
        lines.truncate(ROWS_MAX);
    }
    let shown = match all > lines.len() {
        true => format!(" Of {all} steps, the {} that lose most are drawn.", lines.len()),
        false => String::new(),
    };
    let ends = |at: usize| {
        let dots = lines.iter().flat_map(move |row: &Row| &row.cells[at]);
        dots.flat_map(|dot| {
            let half = dot.half.unwrap_or(0.0);
            [dot.value - half, dot.value + half]
        })
    };
    let (scale, name) = loss_scale(analysis.measure, "growth of the loss", ends(0));
    let lost = ChartAxis::around(scale, ends(0).chain([0.0]));
    let energy = ChartAxis::from_zero(AxisScale::Linear, ends(1));
    let columns = [
        DotColumn { name, axis: lost, stem: None },
        DotColumn { name: "energy (%)".to_owned(), axis: energy, stem: Some(0.0) },
    ];
    Some(PageFigure {
        name: "sensitivity".to_owned(),
        title: "What one step down each axis costs and saves".to_owned(),
        caption: format!(
            "The growth of the loss on the {} part with its 95 % interval, and that of the energy, \
             over all pairs of points that differ in this step alone.{shown}",
            part(analysis.selected_on)
        ),
        drawing: rows(&columns, &lines, &[]),
        table,
    })
}
