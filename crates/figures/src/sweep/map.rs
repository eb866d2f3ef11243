//! What is lost over two axes of a sweep.

use std::collections::BTreeMap;

use systoliq_explore::{AnalysedAxis, Analysis, PointAnalysis};

use super::{axis_name, loss_scale, loss_title, part, told};
use crate::PageFigure;
use crate::chart::{HeatCell, HeatMap};
use systoliq_explore::shown;

use crate::number::{UnitSize, loss_unit, signed};
use crate::page::Table;
use crate::scale::ChartAxis;

/// A loss with its sign, as short as a cell needs it.
fn brief(value: f64, unit: UnitSize) -> String {
    if value.is_nan() {
        return "none".to_owned();
    }
    let text = signed(value, if unit.name.is_empty() { 4 } else { 1 });
    let zero = text.trim_start_matches(['+', '-']);
    if zero.chars().all(|digit| "0.".contains(digit)) { zero.to_owned() } else { text }
}

/// The two axes with the most values, numbers before others: that with fewer values of these first.
fn axes(analysis: &Analysis) -> Option<[&AnalysedAxis; 2]> {
    let mut axes: Vec<&AnalysedAxis> =
        analysis.axes.iter().filter(|axis| axis.values.len() > 1).collect();
    axes.sort_by_key(|axis| {
        (
            !axis.values.iter().all(serde_json::Value::is_number),
            std::cmp::Reverse(axis.values.len()),
        )
    });
    let [a, b] = axes.get(..2)?.try_into().expect("two axes");
    Some(if a.values.len() < b.values.len() { [a, b] } else { [b, a] })
}

/// The point of each pair of values that loses least on the part that points are selected on.
fn best<'a>(
    analysis: &'a Analysis,
    pair: [&AnalysedAxis; 2],
) -> Vec<([usize; 2], usize, &'a PointAnalysis)> {
    let level = |axis: &AnalysedAxis, point: &PointAnalysis| {
        axis.values.iter().position(|one| Some(one) == point.settings.get(&axis.name))
    };
    let lost =
        |point: &PointAnalysis| analysis.selecting(point).map_or(f64::INFINITY, |lost| lost.mean.0);
    let mut best: BTreeMap<[usize; 2], (usize, &PointAnalysis)> = BTreeMap::new();
    for (number, point) in analysis.points.iter().enumerate() {
        let [Some(a), Some(b)] = pair.map(|axis| level(axis, point)) else { continue };
        let better =
            |before: &(usize, &PointAnalysis)| lost(point).total_cmp(&lost(before.1)).is_lt();
        if point.test.is_some() && best.get(&[a, b]).is_none_or(better) {
            best.insert([a, b], (number, point));
        }
    }
    best.into_iter().map(|(at, (number, point))| (at, number, point)).collect()
}

/// The figure; nothing for a sweep of a single axis, or of which no point is done.
pub(super) fn figure(analysis: &Analysis) -> Option<PageFigure> {
    let [rows, columns] = axes(analysis)?;
    let unit = loss_unit(analysis.measure);
    let chosen = analysis.within.cheapest.get(&systoliq_explore::CostKind::EnergyPj);
    let cell = |([row, column], number, point): ([usize; 2], usize, &PointAnalysis)| {
        let value = point.test.as_ref()?.mean.0 / unit.size;
        Some(HeatCell {
            // Values go up.
            at: [column, rows.values.len() - 1 - row],
            value,
            text: brief(value, unit),
            title: told(analysis, point),
            chosen: Some(&number) == chosen,
        })
    };
    let cells: Vec<HeatCell> =
        best(analysis, [rows, columns]).into_iter().filter_map(cell).collect();
    if cells.is_empty() {
        return None;
    }
    let column_names: Vec<String> = columns.values.iter().map(shown).collect();
    let row_names: Vec<String> = rows.values.iter().rev().map(shown).collect();
    let values = || cells.iter().map(|cell| cell.value);
    let (scale, _) = loss_scale(analysis.measure, "", values());
    let finite = || values().filter(|value| value.is_finite());
    let ends = [finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max)];
    let map = HeatMap {
        names: [axis_name(analysis, columns), axis_name(analysis, rows)],
        columns: &column_names,
        rows: &row_names,
        shade: ChartAxis::around(scale, values()),
        ends: ends
            .map(|value| format!("{} {}", brief(value, unit), unit.name).trim_end().to_owned()),
        cells: &cells,
    };
    let mut table = Table::new(&[&rows.name]);
    table.head.extend(column_names.iter().cloned());
    for (at, name) in row_names.iter().enumerate() {
        let cell = |column: usize| {
            let found = cells.iter().find(|cell| cell.at == [column, at]);
            found.map_or("-".to_owned(), |cell| match cell.value.is_nan() {
                true => "undefined".to_owned(),
                false => signed(cell.value, 2),
            })
        };
        table.row([name.clone()].into_iter().chain((0..column_names.len()).map(cell)));
    }
    let others = match analysis.axes.len() {
        2 => String::new(),
        _ => format!(
            "Of the points with the same two values, that which loses least on the {} part. ",
            part(analysis.selected_on)
        ),
    };
    Some(PageFigure {
        name: "lost-map".to_owned(),
        title: format!(
            "{} over {} and {}",
            loss_title(analysis.measure),
            axis_name(analysis, columns),
            axis_name(analysis, rows)
        ),
        caption: format!(
            "What fixed point loses against float on the test part{}; means of the seeds. {others}The \
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
