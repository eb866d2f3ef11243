//! A panel in sentences.

use super::{Claim, Conclusion, Domain, Flip, MachineAxis, MachinePanel, SURE, values};

/// How many domains of a flip are said one by one.
const DOMAINS_SAID: usize = 8;

/// Which machines: `45 machines: LPDDR4, DDR4 or HBM2; no buffer or a 64 KB buffer; 5 profiles`.
pub fn machines(panel: &MachinePanel) -> String {
    let axis = |axis: &MachineAxis| match (axis.name.as_str(), axis.values.len()) {
        (_, 1) => None,
        ("profile", several) => Some(format!("{several} profiles")),
        _ => Some(any_of(&axis.values)),
    };
    let axes: Vec<String> = panel.axes.iter().filter_map(axis).collect();
    let left_out = match panel.left_out {
        0 => String::new(),
        several => format!("; {several} more cannot be priced"),
    };
    let untrained = match panel.untrained.as_slice() {
        [] => String::new(),
        batches => {
            let batches = any_of(batches);
            format!("; without {batches}, with which the cheapest point was not trained to its end")
        }
    };
    format!("{} machines: {}{left_out}{untrained}", panel.machines, axes.join("; "))
}

/// One sentence for each conclusion, in their order.
pub fn sentences(panel: &MachinePanel) -> Vec<String> {
    panel.conclusions.iter().map(|conclusion| sentence(panel, conclusion)).collect()
}

/// A conclusion with its domain.
pub fn sentence(panel: &MachinePanel, conclusion: &Conclusion) -> String {
    let Conclusion { claim, answer, holds, machines, between, close, flips, .. } = conclusion;
    let what = match claim {
        Claim::LessThanFloat32 => format!("{answer} energy than float32 hardware takes"),
        Claim::LessThanBfloat16 => format!("{answer} energy than bfloat16 hardware takes"),
        Claim::LessThanBfloat16Master => {
            format!("{answer} energy than bfloat16 hardware with a float32 master takes")
        }
        Claim::BitWorthMost => format!("one bit less of {answer} saves most"),
        Claim::LeastDataflow => format!("dataflow {answer} takes least energy"),
        Claim::CheapestPoint => {
            let within = panel.within.as_ref().map_or(String::new(), |of| format!(" within {of}"));
            format!("{answer} takes least energy{within}")
        }
    };
    let span = figures(*claim, *between);
    let close = match close {
        0 => String::new(),
        some => format!("; in {some} by less than {:.0} %", 100.0 * SURE),
    };
    let mut said = format!("{what}: holds in {holds} of {machines} ({span}{close})");
    for flip in flips {
        said.push_str("; ");
        said.push_str(&otherwise(panel, conclusion, flip));
    }
    said + &nothing(panel, conclusion)
}

/// On which machines nothing is concluded, where something is on others.
fn nothing(panel: &MachinePanel, conclusion: &Conclusion) -> String {
    let silent = panel.machines - conclusion.machines;
    let batches = panel.axes.last().map_or(&[][..], |axis| &axis.values);
    let (mut said, mut explained) = (String::new(), 0);
    if conclusion.claim == Claim::CheapestPoint && !panel.without_points.is_empty() {
        let named: Vec<&String> = panel.without_points.iter().map(|&at| &batches[at]).collect();
        said = format!("; with {} no point loses so little", any_of(&named));
        let priced = panel.conclusion(Claim::LessThanFloat32).map_or(&[][..], |of| &of.figures);
        let of_batch = |(number, figure): &(usize, &Option<f64>)| {
            figure.is_some() && panel.without_points.contains(&(number % batches.len()))
        };
        explained = priced.iter().enumerate().filter(of_batch).count();
    }
    match silent.saturating_sub(explained) {
        0 => said,
        others if explained > 0 => format!("{said}; on {others} others nothing is concluded"),
        others => format!("{said}; on {others} nothing is concluded"),
    }
}

/// Where something else holds.
fn otherwise(panel: &MachinePanel, conclusion: &Conclusion, flip: &Flip) -> String {
    let Flip { answer, machines, between, domain } = flip;
    let claim = conclusion.claim;
    let what = match claim {
        Claim::LessThanFloat32 | Claim::LessThanBfloat16 | Claim::LessThanBfloat16Master => "false",
        Claim::BitWorthMost | Claim::LeastDataflow | Claim::CheapestPoint => answer,
    };
    let said = &domain[..domain.len().min(DOMAINS_SAID)];
    let mut wherever = any_domain(&panel.axes, said);
    if said.len() < domain.len() {
        let sizes: Vec<usize> = panel.axes.iter().map(|axis| axis.values.len()).collect();
        let is_said = |number: usize| {
            let machine = values(&sizes, number);
            conclusion.figures[number].is_some() && said.iter().any(|of| of.has(&machine))
        };
        let others = machines - (0..conclusion.figures.len()).filter(|&at| is_said(at)).count();
        wherever.push_str(&format!(", or on {others} more, of which --tables has each"));
    }
    format!("{what} {wherever} ({machines}: {})", figures(claim, *between))
}

/// Machines of any of these domains. What all of them name alike is said once.
fn any_domain(axes: &[MachineAxis], domains: &[Domain]) -> String {
    let all = |domains: &[Domain]| {
        let said: Vec<String> = domains.iter().map(|of| with(axes, of)).collect();
        said.join(", or ")
    };
    let [first, second, ..] = domains else { return all(domains) };
    let is_common = |axis: usize| {
        let named = &first.0[axis];
        !named.is_empty() && domains.iter().all(|domain| domain.0[axis] == *named)
    };
    let split = |domain: &Domain, common: bool| {
        let values = |(axis, values): (usize, &Vec<usize>)| match is_common(axis) == common {
            true => values.clone(),
            false => Vec::new(),
        };
        Domain(domain.0.iter().enumerate().map(values).collect())
    };
    if !(0..first.0.len().min(second.0.len())).any(is_common) {
        return all(domains);
    }
    let apart: Vec<Domain> = domains.iter().map(|domain| split(domain, false)).collect();
    format!("{} and either {}", with(axes, &split(first, true)), all(&apart))
}

/// The machines of a domain: `with no buffer and (HBM2 or DDR4)`, `with any DRAM but HBM2`. What stands behind
/// a value in brackets is not said again.
pub fn with(axes: &[MachineAxis], domain: &Domain) -> String {
    let value = |axis: &MachineAxis, at: usize| {
        let value = axis.values[at].as_str();
        value.split_once(" (").map_or(value, |(name, _)| name).to_owned()
    };
    let named: Vec<_> = axes.iter().zip(&domain.0).filter(|(_, of)| !of.is_empty()).collect();
    let part = |(axis, values): &(&MachineAxis, &Vec<usize>)| {
        let missing: Vec<usize> =
            (0..axis.values.len()).filter(|value| !values.contains(value)).collect();
        match (values.as_slice(), missing.as_slice()) {
            ([one], _) => value(axis, *one),
            (_, &[but]) if axis.values[but].starts_with("no ") => format!("any {}", axis.name),
            (_, &[but]) if !axis.values.iter().any(|value| value.starts_with("no ")) => {
                format!("any {} but {}", axis.name, value(axis, but))
            }
            _ => {
                let values: Vec<String> = values.iter().map(|&at| value(axis, at)).collect();
                let said = any_of(&values);
                if named.len() > 1 { format!("({said})") } else { said }
            }
        }
    };
    let parts: Vec<String> = named.iter().map(part).collect();
    if parts.is_empty() { "everywhere".to_owned() } else { format!("with {}", parts.join(" and ")) }
}

/// `A, B or C`.
fn any_of(values: &[impl AsRef<str>]) -> String {
    let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    match values.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// What the figures of a claim lie between.
fn figures(claim: Claim, [low, high]: [f64; 2]) -> String {
    let percent = |figure: f64| format!("{:.1}", 100.0 * figure);
    let (span, of) = match claim {
        Claim::LessThanFloat32 | Claim::LessThanBfloat16 | Claim::LessThanBfloat16Master => {
            (span(times(low), times(high)), "times as much")
        }
        Claim::BitWorthMost => (span(percent(low), percent(high)), "%"),
        Claim::LeastDataflow => (span(times(low), times(high)), "times as much in the next"),
        Claim::CheapestPoint => (span(percent(low), percent(high)), "% of float32's"),
    };
    format!("{span} {of}")
}

/// A ratio to three digits; near 1 to so many that it is not 1, as far as 12 tell.
pub fn times(ratio: f64) -> String {
    match ratio {
        ..9.995 if (ratio - 1.0).abs() < 0.005 => {
            let written = |digits: usize| format!("{ratio:.digits$}");
            let is_one = |text: &String| text.parse() == Ok(1.0);
            (4..=12).map(written).find(|text| !is_one(text)).unwrap_or_else(|| "1".to_owned())
        }
        ..9.995 => format!("{ratio:.2}"),
        _ => format!("{ratio:.1}"),
    }
}

/// Both ends, or one where they are written alike.
fn span(low: String, high: String) -> String {
    if low == high { low } else { format!("{low} to {high}") }
}
