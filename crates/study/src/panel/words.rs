//! A panel in sentences.

use super::{Claim, Conclusion, Domain, Flip, MachineAxis, MachinePanel, SURE};

/// How many domains of a flip are said.
const DOMAINS_SAID: usize = 4;

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
    format!("{} machines: {}{left_out}", panel.machines, axes.join("; "))
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
        said.push_str(&otherwise(panel, *claim, flip));
    }
    said
}

/// Where something else holds.
fn otherwise(panel: &MachinePanel, claim: Claim, flip: &Flip) -> String {
    let Flip { answer, machines, between, domain } = flip;
    let what = match claim {
        Claim::LessThanFloat32 | Claim::LessThanBfloat16 => "false",
        Claim::BitWorthMost | Claim::LeastDataflow | Claim::CheapestPoint => answer,
    };
    let wherever = match domain.as_slice() {
        few if few.len() <= DOMAINS_SAID => {
            let domains: Vec<String> = few.iter().map(|of| with(&panel.axes, of)).collect();
            domains.join(", or ")
        }
        many => format!("in {} corners of the panel", many.len()),
    };
    format!("{what} {wherever} ({machines}: {})", figures(claim, *between))
}

/// The machines of a domain: `with no buffer and (HBM2 or DDR4)`, `with any DRAM but HBM2`.
pub fn with(axes: &[MachineAxis], domain: &Domain) -> String {
    let named: Vec<_> = axes.iter().zip(&domain.0).filter(|(_, of)| !of.is_empty()).collect();
    let part = |(axis, values): &(&MachineAxis, &Vec<usize>)| {
        let missing: Vec<usize> =
            (0..axis.values.len()).filter(|value| !values.contains(value)).collect();
        match (values.as_slice(), missing.as_slice()) {
            ([one], _) => axis.values[*one].clone(),
            (_, &[but]) if axis.values[but].starts_with("no ") => format!("any {}", axis.name),
            (_, &[but]) if !axis.values.iter().any(|value| value.starts_with("no ")) => {
                format!("any {} but {}", axis.name, axis.values[but])
            }
            _ => {
                let values: Vec<&str> =
                    values.iter().map(|&value| axis.values[value].as_str()).collect();
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
        Claim::LessThanFloat32 | Claim::LessThanBfloat16 => {
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
