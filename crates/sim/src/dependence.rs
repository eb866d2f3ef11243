//! Energy for the data at hand, by the bits that flipped and the operands that were zero.
//!
//! Prices are those of data of which half the bits flip. Per GEMM, with z the share of
//! multiply-accumulates of which an operand is zero:
//!
//! - Registers that are written, and the wires that lead to them, cost in proportion to the bits that
//!   flipped, against half of all bits written.
//! - A PE whose operand is zero neither multiplies nor adds, and its registers are clocked all the same.
//!   So adders cost 1 − z of the average.
//! - Multipliers cost r / (1 + z) of the average, r being the bits that flipped in operand registers against
//!   half of those written: the inputs of a multiplier hold their values while an operand is zero, so that
//!   1 − z of the products are made, each after ρ of the average's flips; and r = ρ (1 − z²), since of
//!   neighbours in time, if zeros lie anywhere, a share of z² are both zero and flip nothing.
//!
//! All else costs its average.

use crate::Error;
use crate::activity::Observed;
use crate::energy::Picojoules;
use crate::events::{Component, EnergyByComponent, Event};
use crate::prices::Prices;
use crate::timeline::Entry;

/// The energy of some runs for their data, by component; of those that were not looked at, the average.
///
/// # Errors
///
/// If an event has no price.
pub fn energy<'e>(
    entries: impl IntoIterator<Item = &'e Entry>,
    prices: &Prices<'_>,
) -> Result<EnergyByComponent, Error> {
    let mut energy = EnergyByComponent::default();
    for entry in entries {
        let shares = entry.observed.map(|observed| Shares::new(entry, &observed));
        for (component, event, count) in entry.once.tally.iter() {
            let average = prices.price(event)? * count * entry.calls;
            let share = shares.as_ref().map_or(1.0, |shares| shares.of(component, event));
            energy.add(component, Picojoules(average.0 * share));
        }
    }
    Ok(energy)
}

/// What the data cost against the average.
struct Shares {
    multiplier: f64,
    adder: f64,
    registers: f64,
}

impl Shares {
    fn new(entry: &Entry, observed: &Observed) -> Self {
        let Observed { operands, accumulator_toggles, accumulator_macs } = *observed;
        let counts = &entry.once.counts;
        let calls = entry.calls as f64;
        let macs = counts.macs as f64 * calls;
        if macs == 0.0 {
            return Self { multiplier: 1.0, adder: 1.0, registers: 1.0 };
        }
        let operand_toggles = (operands.a_toggles + operands.b_toggles) as f64;
        let sums = accumulator_toggles as f64 * (macs / (accumulator_macs as f64).max(1.0));
        let half_of_bits = |is: &dyn Fn(Component, Event) -> Option<u32>| {
            let tally = entry.once.tally.iter();
            let bits = tally.map(|(component, event, count)| {
                is(component, event).map_or(0.0, |bits| f64::from(bits) * count as f64)
            });
            0.5 * bits.sum::<f64>() * calls
        };
        let written = half_of_bits(&|component, event| match (component, event) {
            (Component::Registers, Event::RegisterWrite { bits }) => Some(bits),
            _ => None,
        });
        let (bits_a, bits_b) = entry
            .once
            .tally
            .iter()
            .find_map(|(component, event, _)| match (component, event) {
                (Component::Multiplier, Event::Multiply { bits_a, bits_b }) => {
                    Some((f64::from(bits_a), f64::from(bits_b)))
                }
                _ => None,
            })
            .unwrap_or((0.0, 0.0));
        let [a, b] = [counts.a_register_writes, counts.b_register_writes];
        let operands_written = 0.5 * (bits_a * a as f64 + bits_b * b as f64) * calls;
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 1.0 };
        let zeros = operands.zero_operand_macs as f64 / macs;
        Self {
            multiplier: share(operand_toggles, operands_written) / (1.0 + zeros),
            adder: 1.0 - zeros,
            registers: share(operand_toggles + sums, written),
        }
    }

    fn of(&self, component: Component, event: Event) -> f64 {
        match (component, event) {
            (Component::Multiplier, _) => self.multiplier,
            (Component::Adder, _) => self.adder,
            (Component::Registers, Event::RegisterWrite { .. }) | (Component::Wires, _) => {
                self.registers
            }
            _ => 1.0,
        }
    }
}
