//! What lowering each axis by one step does.

use systoliq_explore::{Analysis, Sensitivity};

use super::{loss_scale, part};
use crate::Figure;
use crate::chart::{Column, Dot, Row, rows};
use crate::number::{difference, loss_unit, setting};
use crate::page::Table;
use crate::scale::{Axis, Scale};

/// The figure; nothing where no two points differ in one step.
pub(super) fn figure(analysis: &Analysis) -> Option<Figure> {
    if analysis.sensitivity.is_empty() {
        return None;
    }
    let unit = loss_unit(analysis.measure);
    let mut table = Table::new(&["axis", "from", "to", "pairs", "lost by the step", "energy"]);
    let (mut lines, mut axis) = (Vec::new(), None);
    for step in &analysis.sensitivity {
        let Sensitivity { from, to, pairs, energy_factor, .. } = step;
        let [from, to] = [from, to].map(setting);
        let lost = difference(step.loss.0, step.loss_ci95.map(|half| half.0), analysis.measure);
        let growth = energy_factor.map(|factor| 100.0 * (factor - 1.0));
        let energy = growth.map_or("-".to_owned(), |growth| format!("{growth:+.1} %"));
        let label = format!("{} {from} → {to}", step.axis);
        let title =
            format!("{label}\nlost: {lost}\nenergy: {energy}\nmean of {pairs} pairs of points");
        table.row([step.axis.clone(), from, to, pairs.to_string(), lost, energy]);
        let dot = |style, value, half| Dot { value, half, style, title: title.clone() };
        let half = step.loss_ci95.map(|half| half.0 / unit.size);
        let cells = vec![
            vec![dot(0, step.loss.0 / unit.size, half)],
            growth.map(|growth| dot(1, growth, None)).into_iter().collect(),
        ];
        let begins = axis.replace(&step.axis) != Some(&step.axis);
        lines.push(Row { label, begins, cells, note: String::new() });
    }
    let ends = |at: usize| {
        let dots = lines.iter().flat_map(move |row: &Row| &row.cells[at]);
        dots.flat_map(|dot| {
            let half = dot.half.unwrap_or(0.0);
            [dot.value - half, dot.value + half]
        })
    };
    let (scale, name) = loss_scale(analysis.measure, "growth of the loss", ends(0));
    let lost = Axis::around(scale, ends(0).chain([0.0]));
    let energy = Axis::from_zero(Scale::Linear, ends(1));
    let columns = [
        Column { name, axis: lost, stem: None },
        Column { name: "energy (%)".to_owned(), axis: energy, stem: Some(0.0) },
    ];
    Some(Figure {
        name: "sensitivity".to_owned(),
        title: "What one step down each axis costs and saves".to_owned(),
        caption: format!(
            "The growth of the loss on the {} part with its 95 % interval, and that of the energy, \
             over all pairs of points that differ in this step alone.",
            part(analysis.selected_on)
        ),
        drawing: rows(&columns, &lines, &[]),
        table,
    })
}
