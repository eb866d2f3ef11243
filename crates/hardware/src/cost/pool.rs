//! What pooling and its gradient take.

use systoliq_program::operation::{Pool, PoolKind, PoolSpread, SpreadKind};
use systoliq_program::view::Windows;

use super::*;

/// How many windows images of so many rows have.
pub(super) fn windows_of(windows: Windows, rows: u64) -> u64 {
    rows / windows.pixels() as u64 * windows.positions() as u64
}

/// How many pairs of a window and a pixel in it images of so many rows have.
fn pairs_of(windows: Windows, rows: u64) -> u64 {
    let Windows { down, along } = windows;
    rows / windows.pixels() as u64 * down.meetings() * along.meetings()
}

/// The length of a count.
fn carries(count: usize) -> u32 {
    count.next_power_of_two().ilog2()
}

impl Bill<'_, '_, '_> {
    /// Pooling over an image of so many rows and columns: passes, the width of a result before it is
    /// converted, and how many there are. The taps of winners go out with the largest.
    pub(super) fn pool(
        &mut self,
        pool: &Pool,
        output: TensorId,
        (rows, cols): (u64, u64),
    ) -> (u64, u32, u64) {
        if output != pool.output {
            return (0, self.costs.bits(output), rows * cols);
        }
        let bits = self.costs.bits(pool.input);
        let (outputs, pairs) =
            (windows_of(pool.windows, rows) * cols, pairs_of(pool.windows, rows) * cols);
        match pool.kind {
            PoolKind::Largest { .. } => {
                self.event(Component::Activation, Event::Maximum { bits }, pairs);
                (1, bits, outputs)
            }
            PoolKind::Mean { .. } => {
                let sum = bits + carries(pool.windows.taps());
                self.add(Component::Adder, sum, pairs);
                self.multiply(Component::Requantizer, sum, FACTOR_BITS, outputs);
                (1, sum, outputs)
            }
        }
    }

    /// The gradient of pooling, of an image of so many rows and columns: passes, the width of a result
    /// before it is converted, and how many there are.
    pub(super) fn spread(
        &mut self,
        spread: &PoolSpread,
        (rows, cols): (u64, u64),
    ) -> (u64, u32, u64) {
        let Windows { down, along } = spread.windows;
        let over = |axis: systoliq_program::view::Sliding| axis.taps.div_ceil(axis.step);
        let sum = self.costs.bits(spread.gradient) + carries(over(down) * over(along));
        let pairs = pairs_of(spread.windows, rows) * cols;
        match spread.kind {
            // The tap of each pixel is compared with that of the winner.
            SpreadKind::Winner(winners) => {
                let bits = self.costs.bits(winners);
                self.event(Component::Activation, Event::Relu { bits }, pairs);
                if over(down) * over(along) > 1 {
                    self.add(Component::Adder, sum, pairs);
                }
            }
            SpreadKind::Share { .. } => {
                let bits = self.costs.bits(spread.gradient);
                let shares = windows_of(spread.windows, rows) * cols;
                self.multiply(Component::Requantizer, bits, FACTOR_BITS, shares);
                self.add(Component::Adder, sum, pairs);
            }
        }
        (1, sum, rows * cols)
    }
}
