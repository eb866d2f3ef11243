//! A network entry by entry, as a table.

use systoliq_study::network::EntrySummary;

use crate::commands::table::Columns;

/// As a table.
pub(super) fn text(entries: &[EntrySummary]) -> String {
    let mut columns = Columns::new(&[
        "entry",
        "operator",
        "reads",
        "makes",
        "parameters",
        "MACs",
        "input gr.",
        "weight gr.",
        "bits",
    ]);
    for of in entries {
        let count = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
        let entry = match &of.name {
            None => of.entry.to_string(),
            Some(name) => format!("{} {name}", of.entry),
        };
        let [forward, input, weight] = of.macs.map(count);
        columns.line([
            entry,
            of.operator.clone(),
            of.reads.join(", "),
            of.shape.clone(),
            count(of.parameters as u64),
            forward,
            input,
            weight,
            of.stored_bits.map_or("-".into(), |bits| bits.to_string()),
        ]);
    }
    let total = |at: usize| entries.iter().map(|entry| entry.macs[at]).sum::<u64>();
    let stored: u64 = entries.iter().filter_map(|entry| entry.stored_bits).sum();
    let [forward, input, weight] = [0, 1, 2].map(total);
    columns.text()
        + &format!(
            " of a sample: {forward} multiply-accumulates forward, {input} for input gradients, {weight} for \
             weight gradients; {} bytes stored by the forward pass\n",
            stored.div_ceil(8)
        )
}
