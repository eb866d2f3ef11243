//! What lives in the global buffer, as a table for a person.

use systoliq_hardware::buffer::{BufferReport, BufferedTensor};

use super::table::{Columns, grouped};

/// Some lines with what is where.
pub(super) fn text(report: &BufferReport) -> String {
    let BufferReport { capacity_bytes, step_bytes, state_bytes, worth_bytes, .. } = report;
    let first = report.peak_bytes - (step_bytes + state_bytes);
    let first = match first {
        0 => String::new(),
        _ => format!(", {} for what the first step alone writes", grouped(first)),
    };
    let mut table = Columns::new(&["buffer", "bytes", "worth", "address", "first", "last"]);
    for tensor in &report.tensors {
        let BufferedTensor { bytes, worth_bytes, address, first, last, .. } = tensor;
        let name = if tensor.mask { "mask of " } else { "" }.to_owned() + &tensor.tensor;
        let command = |of: &Option<String>| of.clone().unwrap_or("state".to_owned());
        table.line([
            name,
            grouped(*bytes),
            grouped(*worth_bytes),
            address.map_or("DRAM".to_owned(), grouped),
            command(first),
            command(last),
        ]);
    }
    let [capacity, step, state, worth] =
        [capacity_bytes, step_bytes, state_bytes, worth_bytes].map(|&bytes| grouped(bytes));
    table.text()
        + &format!(
            " buffer of {capacity} bytes: {step} for a step, {state} for state{first}; DRAM moves {worth} bytes less an \
             epoch,\n second passes apart; the vector unit moves {} rows of it a cycle\n",
            report.rows_per_cycle
        )
}
