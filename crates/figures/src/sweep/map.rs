//! What is lost over both axes of a sweep that has two.

use systoliq_explore::Analysis;

use super::{loss_scale, loss_title, told};
use crate::Figure;
use crate::chart::{Cell, HeatMap};
use crate::number::{Unit, loss_unit, setting};
use crate::page::Table;

/// A loss with its sign, as short as a cell needs it.
fn signed(value: f64, unit: Unit) -> String {
    let text = format!("{value:+.*}", if unit.name.is_empty() { 3 } else { 1 });
    let zero = text.trim_start_matches(['+', '-']);
    if zero.chars().all(|digit| "0.".contains(digit)) { zero.to_owned() } else { text }
}

/// The figure; nothing for a sweep of another number of axes, or of which no point is done.
pub(super) fn figure(analysis: &Analysis) -> Option<Figure> {
    let [rows, columns] = match analysis.axes.as_slice() {
        [a, b] if a.values.len() <= b.values.len() => [a, b],
        [a, b] => [b, a],
        _ => return None,
    };
    if rows.values.len() < 2 {
        return None;
    }
    let unit = loss_unit(analysis.measure);
    let chosen = analysis.within.cheapest.get(&systoliq_explore::Cost::EnergyPj);
    let cell = |(number, point): (usize, &systoliq_explore::PointAnalysis)| {
        let level = |axis: &systoliq_explore::AnalysedAxis| {
            axis.values.iter().position(|one| Some(one) == point.settings.get(&axis.name))
        };
        let value = point.test.as_ref()?.mean.0 / unit.size;
        Some(Cell {
            at: [level(columns)?, level(rows)?],
            value,
            text: signed(value, unit),
            title: told(analysis, point),
            chosen: Some(&number) == chosen,
        })
    };
    let cells: Vec<Cell> = analysis.points.iter().enumerate().filter_map(cell).collect();
    if cells.is_empty() {
        return None;
    }
    let [row_names, column_names] =
        [rows, columns].map(|axis| axis.values.iter().map(setting).collect::<Vec<_>>());
    let (scale, _) = loss_scale(analysis, "", cells.iter().map(|cell| cell.value));
    let map = HeatMap {
        names: [&columns.name, &rows.name],
        columns: &column_names,
        rows: &row_names,
        scale,
        cells: &cells,
    };
    let mut table = Table::new(&[&rows.name]);
    table.head.extend(column_names.iter().cloned());
    for (at, name) in row_names.iter().enumerate() {
        let cell = |column: usize| {
            let found = cells.iter().find(|cell| cell.at == [column, at]);
            found.map_or("-".to_owned(), |cell| format!("{:+.2}", cell.value))
        };
        table.row([name.clone()].into_iter().chain((0..column_names.len()).map(cell)));
    }
    Some(Figure {
        name: "lost-map".to_owned(),
        title: format!("{} over {} and {}", loss_title(analysis), columns.name, rows.name),
        caption: format!(
            "What fixed point loses against float on the test part{}; means of the seeds. The \
             frame is around the point of least energy that loses little enough.",
            match unit.name {
                "" => String::new(),
                name => format!(", in {name}"),
            }
        ),
        drawing: map.drawing(),
        table,
    })
}
