//! Energy, area and efficiency of a run, and what the saved bits are worth.

use systoliq_energy::{FloatFormat, Picojoules};
use systoliq_hardware::efficiency::HardwareReport;
use systoliq_hardware::{events::Component, events::EnergyByComponent};
use systoliq_study::Report;
use systoliq_study::panel::words;
use systoliq_study::savings::{Equal, FloatHardware, Ratio};

use crate::commands::hardware;
use crate::commands::table::{Columns, grouped, joules, percent, time};

/// All of it.
pub(super) fn tables(report: &Report) -> String {
    let parts = [by_component, savings, machines, float_hardware, machine];
    parts.map(|part| part(report)).concat()
}

/// In which machines that holds.
fn machines(report: &Report) -> String {
    let Some(panel) = &report.panel else { return String::new() };
    let sentences: String =
        words::sentences(panel).iter().map(|said| format!("   {said}\n")).collect();
    format!(" over {}:\n{sentences}\n", words::machines(panel))
}

fn by_component(report: &Report) -> String {
    let energy = &report.energy_pj;
    let mut names = vec!["energy", "fixed"];
    names.extend(energy.data_dependent.as_ref().map(|_| "for its data"));
    names.extend(["float32", "float32 / fixed"]);
    let mut table = Columns::new(&names);
    let unit = report.hardware.energy_unit;
    let mut row = |name: &str, of: &dyn Fn(&EnergyByComponent) -> Picojoules| {
        let (fixed, float32) = (of(&energy.by_component), of(&energy.float32_by_component));
        let ratio = if fixed.0 > 0.0 { format!("{:.2}", float32.0 / fixed.0) } else { "-".into() };
        let data = energy.data_dependent.as_ref().map(|data| joules(of(&data.by_component), unit));
        let line = [name.replace('_', " "), joules(fixed, unit)].into_iter().chain(data);
        table.line(line.chain([joules(float32, unit), ratio]));
    };
    for component in Component::ALL {
        row(component.name(), &|energy| energy.of(component));
    }
    row("total", &EnergyByComponent::total);
    format!("{}\n", table.text())
}

/// What the bits save, with what is sure of it.
fn savings(report: &Report) -> String {
    let part = |of: &str| report.savings.ratios.iter().find(|ratio| ratio.of == of);
    let share = |ratio: &Ratio| {
        let (value, [low, high]) = (ratio.value?, ratio.between?);
        Some((format!("1/{value:.1}"), format!("1/{low:.1} to 1/{high:.1}")))
    };
    let of = |name: &str| {
        let (value, span) = part(name).and_then(share)?;
        Some(format!("{value} ({span})"))
    };
    let named = [("multipliers", "multiplier"), ("PEs", "array"), ("memory", "memory")];
    let parts: Vec<String> = named
        .into_iter()
        .filter_map(|(words, name)| Some(format!("{words} {}", of(name)?)))
        .collect();
    let Some((total, span)) = part("total").and_then(share) else { return String::new() };
    format!(
        " this run cost {total} of float32 training (over all energy profiles and kinds of SRAM {span}), of which\n   {}\n \
         how far absolute energies are from published ones: docs/energy.md, component by component\n\n",
        parts.join(", "),
    )
}

fn float_hardware(report: &Report) -> String {
    let mut table =
        Columns::new(&["instead", "equal", "PEs", "cycles / fixed", "energy", "energy / fixed"]);
    for hardware in &report.savings.float_hardware {
        let FloatHardware { format, master, equal, rows, cols, energy_pj, .. } = hardware;
        table.line([
            match format == master {
                true => format.name().to_owned(),
                false => format!("{format}, {master} master"),
            },
            match equal {
                Equal::Array => "array".to_owned(),
                Equal::Area => "area".to_owned(),
            },
            format!("{rows} x {cols}"),
            format!("{:.2}", hardware.cycles_ratio),
            joules(*energy_pj, report.hardware.energy_unit),
            format!("{:.2}", hardware.energy_ratio),
        ]);
    }
    format!("{}{}\n", table.text(), buffers(report).unwrap_or_default())
}

/// How much of what may live in the buffer does, in fixed point and on float32 hardware of the same array.
fn buffers(report: &Report) -> Option<String> {
    let fixed = report.buffer.as_ref()?.share();
    let mut others = report.savings.float_hardware.iter();
    let float32 =
        others.find(|of| (of.format, of.equal) == (FloatFormat::Float32, Equal::Array))?;
    let float32 = float32.buffer.as_ref()?.share();
    let why = if float32 < fixed {
        ":\n part of what that takes more is what does not fit, and not what its bits cost"
    } else {
        ""
    };
    let [fixed, float32] = [fixed, float32].map(percent);
    Some(format!(
        " {fixed} of what DRAM would move of state and between commands stays in the buffer, {float32} on float32 \
         hardware{why}\n"
    ))
}

fn machine(report: &Report) -> String {
    let HardwareReport { energy_unit, seconds, .. } = &report.hardware;
    let cost = &report.training_cost;
    let adders = cost.full_adders.map_or(String::new(), |adders| {
        format!("; {} full adders in any technology", grouped(adders))
    });
    format!(
        "{} {} for a sample, {} for an epoch, in {} for {} samples{adders}\n\n",
        hardware::text(&report.hardware),
        joules(cost.per_sample_pj, *energy_unit),
        joules(cost.per_epoch_pj, *energy_unit),
        time(*seconds),
        grouped(cost.samples),
    )
}
