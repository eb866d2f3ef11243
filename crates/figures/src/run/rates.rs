//! What rounding did to each tensor over the epochs.

use super::report::{DrawnReport, DrawnTensor, DrawnTensorByEpoch};
use crate::PageFigure;
use crate::chart::{HeatCell, HeatMap, spread};
use crate::number::percent;
use crate::page::Table;
use crate::scale::ChartAxis;

/// The most epochs that are drawn; of more, only every so many.
const EPOCHS_SHOWN: usize = 60;

/// A share that is counted in each epoch.
struct Rate {
    name: &'static str,
    title: &'static str,
    /// What is counted.
    of: &'static str,
    series: fn(&DrawnTensorByEpoch) -> Option<&[f64]>,
}

const RATES: [Rate; 3] = [
    Rate {
        name: "saturation",
        title: "Saturation",
        of: "elements that left the range of their format",
        series: |epochs| Some(&epochs.saturation_rate),
    },
    Rate {
        name: "underflow",
        title: "Underflow",
        of: "elements that rounded to zero without being zero",
        series: |epochs| Some(&epochs.underflow_rate),
    },
    Rate {
        name: "stalled",
        title: "Stalled updates",
        of: "updates asked for that changed nothing",
        series: |epochs| epochs.stalled_rate.as_deref(),
    },
];

pub(super) fn figures(report: &DrawnReport) -> Vec<PageFigure> {
    RATES.iter().filter_map(|rate| figure(report, rate)).collect()
}

/// The figure of one rate; nothing where it is 0 in every tensor and epoch.
fn figure(report: &DrawnReport, rate: &Rate) -> Option<PageFigure> {
    let all = report.precision.iter();
    let all = all.filter_map(|tensor| Some((tensor, (rate.series)(&tensor.by_epoch)?)));
    let (some, none): (Vec<_>, Vec<_>) =
        all.partition(|(_, rates)| rates.iter().any(|&rate| rate > 0.0));
    let epochs = some.iter().map(|(_, rates)| rates.len()).max()?;
    let every = epochs.div_ceil(EPOCHS_SHOWN);
    // The last epoch is always one of them.
    let shown: Vec<usize> =
        (0..epochs).rev().step_by(every).collect::<Vec<_>>().into_iter().rev().collect();
    let mut cells = Vec::new();
    for (row, (tensor, rates)) in some.iter().enumerate() {
        let DrawnTensor { name, role, format, .. } = tensor;
        for (column, &epoch) in shown.iter().enumerate() {
            let Some(&found) = rates.get(epoch) else { continue };
            let (epoch, title) = (epoch + 1, rate.title.to_lowercase());
            cells.push(HeatCell {
                at: [column, row],
                value: 100.0 * found,
                text: in_short(100.0 * found),
                title: format!(
                    "{name}, {role}, {format}\nepoch {epoch}: {title} {}",
                    percent(found)
                ),
                chosen: false,
            });
        }
    }
    let values = || cells.iter().map(|cell| cell.value);
    let most = values().fold(0.0, f64::max);
    let columns: Vec<String> = shown.iter().map(|epoch| (epoch + 1).to_string()).collect();
    let rows: Vec<String> = some.iter().map(|(tensor, _)| tensor.name.clone()).collect();
    let map = HeatMap {
        names: ["epoch", "tensor"],
        columns: &columns,
        rows: &rows,
        shade: ChartAxis::new(spread(values(), 1.0), 0.0, most),
        ends: ["0 %".to_owned(), percent(most / 100.0)],
        cells: &cells,
    };
    let mut table = Table::new(&["epoch"]);
    table.head.extend(rows.iter().cloned());
    for epoch in 0..epochs {
        let cell = |rates: &[f64]| rates.get(epoch).map_or("-".to_owned(), |&rate| percent(rate));
        let cells = some.iter().map(|(_, rates)| cell(rates));
        table.row([(epoch + 1).to_string()].into_iter().chain(cells));
    }
    let thinned =
        if every > 1 { format!("; one epoch of {every} is drawn") } else { String::new() };
    let rest = match none.len() {
        0 => String::new(),
        1 => " It is zero throughout in one other tensor.".to_owned(),
        others => format!(" It is zero throughout in {others} other tensors."),
    };
    Some(PageFigure {
        name: format!("rates-{}", rate.name),
        title: format!("{} over the epochs", rate.title),
        caption: format!(
            "Share of {} in the steps of each epoch, in percent{thinned}.{rest}",
            rate.of
        ),
        drawing: map.drawing(),
        table,
    })
}

/// A percentage as short as a cell needs it; nothing for nothing.
fn in_short(percentage: f64) -> String {
    match percentage {
        0.0 => String::new(),
        small if small < 0.095 => "<.1".to_owned(),
        small if small < 9.95 => format!("{small:.1}"),
        large => format!("{large:.0}"),
    }
}
