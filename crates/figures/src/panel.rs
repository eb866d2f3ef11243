//! In which machines conclusions hold, and which figures of the energy profile move them.

use systoliq_energy::shown;
use systoliq_study::panel::{
    Claim, Conclusion, MachineAxis, MachinePanel, SWING_MIN, Swing, TRIED, values, words,
};

use crate::PageFigure;
use crate::chart::{DotColumn, DotMark, HeatCell, HeatMap, Row, rows};
use crate::number::percent;
use crate::page::Table;
use crate::scale::{AxisScale, ChartAxis};

/// The conclusions, as facts of a page.
pub(crate) fn facts(panel: &MachinePanel) -> Vec<(String, String)> {
    let said = words::sentences(panel).into_iter();
    let facts = said.map(|said| ("In which machines".to_owned(), said));
    [("Machines".to_owned(), words::machines(panel))].into_iter().chain(facts).collect()
}

/// The figures that there is something to show in.
pub(crate) fn figures(panel: &MachinePanel) -> Vec<PageFigure> {
    let float32 = panel.conclusion(Claim::LessThanFloat32);
    let machines = float32.map(|conclusion| machines(panel, conclusion));
    machines.into_iter().chain(tornado(&panel.swings)).collect()
}

/// Axes that stand above each other or side by side, without those of one value.
fn combined(axes: &[&MachineAxis]) -> Vec<Vec<usize>> {
    let sizes: Vec<usize> = axes.iter().map(|axis| axis.values.len()).collect();
    (0..sizes.iter().product()).map(|number| values(&sizes, number)).collect()
}

/// Their values in words.
fn named(axes: &[&MachineAxis], of: &[usize]) -> String {
    let several = axes.iter().zip(of).filter(|(axis, _)| axis.values.len() > 1);
    let several: Vec<&str> = several.map(|(axis, &at)| axis.values[at].as_str()).collect();
    several.join(", ")
}

/// What float32 takes on every machine over what fixed point takes.
fn machines(panel: &MachinePanel, float32: &Conclusion) -> PageFigure {
    let is_column = |axis: &&MachineAxis| axis.name == "profile";
    let columns: Vec<&MachineAxis> = panel.axes.iter().filter(is_column).collect();
    let lines: Vec<&MachineAxis> = panel.axes.iter().filter(|axis| !is_column(axis)).collect();
    let (across, down) = (combined(&columns), combined(&lines));
    let names = |axes: &[&MachineAxis], of: &[Vec<usize>]| -> Vec<String> {
        of.iter().map(|values| named(axes, values)).collect()
    };
    let (column_names, row_names) = (names(&columns, &across), names(&lines, &down));
    let sizes: Vec<usize> = panel.axes.iter().map(|axis| axis.values.len()).collect();
    let place = |of: &[usize], on: &[Vec<usize>], is: &dyn Fn(&&MachineAxis) -> bool| {
        let of = panel.axes.iter().zip(of).filter(|(axis, _)| is(axis)).map(|(_, &at)| at);
        let of: Vec<usize> = of.collect();
        on.iter().position(|known| *known == of).expect("every combination is there")
    };
    let cell = |(number, figure): (usize, &Option<f64>)| {
        let value = (*figure)?;
        let machine = values(&sizes, number);
        let at = [
            place(&machine, &across, &is_column),
            place(&machine, &down, &|axis| !is_column(axis)),
        ];
        let of: Vec<&MachineAxis> = panel.axes.iter().collect();
        let answers = panel.conclusions.iter().filter_map(|conclusion| {
            let figure = conclusion.figures.get(number).copied().flatten()?;
            Some(format!("{}: {}", question(conclusion.claim), said(conclusion, &machine, figure)))
        });
        let title: Vec<String> = [named(&of, &machine)].into_iter().chain(answers).collect();
        let chosen = number == panel.own;
        Some(HeatCell { at, value, text: words::times(value), title: title.join("\n"), chosen })
    };
    let cells: Vec<HeatCell> = float32.figures.iter().enumerate().filter_map(cell).collect();
    let known = || cells.iter().map(|cell| cell.value);
    let (low, high) = (known().fold(f64::INFINITY, f64::min), known().fold(1.0, f64::max));
    let low = low.min(high);
    let map = HeatMap {
        names: ["energy profile", "machine"],
        columns: &column_names,
        rows: &row_names,
        shade: ChartAxis::around(AxisScale::Log, [low, high]),
        ends: [low, high].map(words::times),
        cells: &cells,
    };
    let mut table = Table::new(&["machine"]);
    table.head.extend(column_names.iter().cloned());
    for (at, name) in row_names.iter().enumerate() {
        let cell = |column: usize| {
            let found = cells.iter().find(|cell| cell.at == [column, at]);
            found.map_or("-".to_owned(), |cell| cell.text.clone())
        };
        table.row([name.clone()].into_iter().chain((0..column_names.len()).map(cell)));
    }
    PageFigure {
        name: "machines".to_owned(),
        title: "float32's energy over that in fixed point, machine by machine".to_owned(),
        caption: format!(
            "{}. The frame is around the machine of the run; under the pointer stands what else is concluded \
             of each.",
            words::machines(panel)
        ),
        drawing: map.drawing(),
        table,
    }
}

/// What a claim asks.
fn question(claim: Claim) -> &'static str {
    match claim {
        Claim::LessThanFloat32 => "float32 over fixed",
        Claim::LessThanBfloat16 => "bfloat16 over fixed",
        Claim::LessThanBfloat16Master => "bfloat16 with master over fixed",
        Claim::BitWorthMost => "a bit is worth most of",
        Claim::LeastDataflow => "least energy in",
        Claim::CheapestPoint => "cheapest point",
    }
}

/// What is concluded of one on a machine.
fn said(conclusion: &Conclusion, machine: &[usize], figure: f64) -> String {
    match conclusion.claim {
        Claim::LessThanFloat32 | Claim::LessThanBfloat16 | Claim::LessThanBfloat16Master => {
            words::times(figure)
        }
        Claim::BitWorthMost => format!("{}, {}", conclusion.answer_on(machine), percent(figure)),
        Claim::LeastDataflow => conclusion.answer_on(machine).to_owned(),
        Claim::CheapestPoint => {
            format!("{}, {} of float32's", conclusion.answer_on(machine), percent(figure))
        }
    }
}

/// What figures of the profile do to both ratios; nothing where none does much.
fn tornado(swings: &[Swing]) -> Option<PageFigure> {
    if swings.is_empty() {
        return None;
    }
    let names = ["figure", "range", "certainty", "float32 over fixed", "bfloat16 over fixed"];
    let mut table = Table::new(&names);
    let mut lines = Vec::new();
    for swing in swings {
        let Swing { figure, range, stated, unit, certainty, float32, bfloat16, moves, .. } = swing;
        let ends = [float32, bfloat16].map(|of| of.map(words::times).join(" to "));
        let range = match stated {
            true => format!("{} to {} {unit}", shown(range[0]), shown(range[1])),
            false => format!("± {}", percent(TRIED)),
        };
        let [first, second] = ends.clone();
        table.row([figure.clone(), range, certainty.to_string(), first, second]);
        let dots = |of: &[f64; 2], name: &str| -> Vec<DotMark> {
            let ends = of.iter().zip(swing.range).enumerate();
            let dot = |(style, (&value, at)): (usize, (&f64, f64))| DotMark {
                value,
                half: None,
                style,
                title: format!("{figure} of {} {unit}: {name} {}", shown(at), words::times(value)),
            };
            ends.map(dot).collect()
        };
        lines.push(Row {
            label: figure.clone(),
            begins: false,
            cells: vec![
                dots(float32, question(Claim::LessThanFloat32)),
                dots(bfloat16, question(Claim::LessThanBfloat16)),
            ],
            note: percent(*moves),
        });
    }
    let column = |name: &str, of: fn(&Swing) -> [f64; 2]| DotColumn {
        name: name.to_owned(),
        axis: ChartAxis::around(AxisScale::Log, swings.iter().flat_map(of)),
        stem: None,
    };
    let columns = [
        column(question(Claim::LessThanFloat32), |swing| swing.float32),
        column(question(Claim::LessThanBfloat16), |swing| swing.bfloat16),
    ];
    Some(PageFigure {
        name: "tornado".to_owned(),
        title: "What the ratios depend on".to_owned(),
        caption: format!(
            "Figures of the energy profile that move a ratio of this run by more than {} over the ranges of \
             their sources, one at a time; at the end of each line by how much at most. Assumed and derived \
             ones without a range are tried {} lower and higher.",
            percent(SWING_MIN),
            percent(TRIED)
        ),
        drawing: rows(&columns, &lines, &["low end of the range", "high end"]),
        table,
    })
}
