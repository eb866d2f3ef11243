//! What lives in the global buffer, where, and for how long.

use serde::Deserialize;

use crate::PageFigure;
use crate::chart::{Area, areas};
use crate::number::count;
use crate::page::Table;
use crate::scale::{AxisScale, ChartAxis};

/// What lives where.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DrawnBuffer {
    capacity_bytes: u64,
    step_bytes: u64,
    state_bytes: u64,
    worth_bytes: u64,
    tensors: Vec<DrawnBuffered>,
}

/// What may live there.
#[derive(Clone, Debug, Deserialize)]
struct DrawnBuffered {
    tensor: String,
    mask: bool,
    bytes: u64,
    worth_bytes: u64,
    address: Option<u64>,
    first: Option<String>,
    last: Option<String>,
}

/// The buffer over the commands of a step, whose names are in this order.
pub(super) fn figure(buffer: &DrawnBuffer, commands: &[String]) -> PageFigure {
    let mut table = Table::new(&["tensor", "bytes", "worth", "address", "first", "last"]);
    let mut shapes = Vec::new();
    let place = |name: &String| commands.iter().position(|known| known == name);
    for tensor in &buffer.tensors {
        let DrawnBuffered { bytes, worth_bytes, address, first, last, .. } = tensor;
        let name = if tensor.mask { "mask of " } else { "" }.to_owned() + &tensor.tensor;
        let command = |of: &Option<String>| of.clone().unwrap_or("state".to_owned());
        let at = address.map_or("DRAM".to_owned(), count);
        let cells = [count(*bytes), count(*worth_bytes), at.clone()];
        table.row([name.clone()].into_iter().chain(cells).chain([command(first), command(last)]));
        let Some(address) = *address else { continue };
        let ends = [first, last].map(|of| of.as_ref().and_then(place));
        let (state, x) = match ends {
            [Some(first), Some(last)] => {
                (false, [first.min(last) as f64, first.max(last) as f64 + 1.0])
            }
            _ => (true, [0.0, commands.len() as f64]),
        };
        let life = if state {
            "for the run".to_owned()
        } else {
            format!("from {} to {}", command(first), command(last))
        };
        shapes.push(Area {
            x,
            y: [address as f64, address.saturating_add(*bytes) as f64],
            style: usize::from(state),
            title: format!("{name}: {} bytes from {at} on, {life}", count(*bytes)),
            name,
        });
    }
    let used = buffer.step_bytes.saturating_add(buffer.state_bytes).max(1) as f64;
    let ends = shapes.iter().map(|shape| shape.y[1]).fold(used, f64::max);
    let ticks: Vec<(f64, String)> =
        commands.iter().enumerate().map(|(at, name)| (at as f64 + 0.5, name.clone())).collect();
    let x = ChartAxis::new(AxisScale::Linear, 0.0, commands.len().max(1) as f64);
    let y = ChartAxis::new(AxisScale::Linear, 0.0, ends);
    let [capacity, step, state, worth] =
        [buffer.capacity_bytes, buffer.step_bytes, buffer.state_bytes, buffer.worth_bytes]
            .map(count);
    PageFigure {
        name: "buffer".to_owned(),
        title: "What lives in the global buffer".to_owned(),
        caption: format!(
            "Address against the commands of a step: of {capacity} bytes tensors of a step take {step} and \
             state takes {state}, all of it for the run. DRAM moves {worth} bytes an epoch less, second passes \
             apart."
        ),
        drawing: areas(&shapes, (x, &ticks, "command"), (y, "address in bytes"), 300.0),
        table,
    }
}
