//! Energy for the data at hand, by the bits that flipped and the operands that were zero.
//!
//! Prices are those of data of which half the bits flip. Per GEMM, with z the share of
//! multiply-accumulates of which an operand is zero:
//!
//! - Registers that are written cost in proportion to the bits that flipped, against half of all bits
//!   written; wires likewise, by the operands and sums that they carry, of which as many bits flip as in
//!   the registers that they lead to.
//! - A PE whose operand is zero neither multiplies nor adds, and its registers are clocked all the same.
//!   So of all additions those are saved.
//! - Multipliers cost r / (1 + z) of the average, r being the bits that flipped in operand registers against
//!   half of those written: the inputs of a multiplier hold their values while an operand is zero, so that
//!   1 − z of the products are made, each after ρ of the average's flips; and r = ρ (1 − z²), since of
//!   neighbours in time, if zeros lie anywhere, a share of z² are both zero and flip nothing.
//! - Sums that were never looked at, of a kind of command that is not among the steps sampled, cost their
//!   average.
//!
//! All else costs its average.

use systoliq_array::Stationary;

use systoliq_energy::Picojoules;
use systoliq_hardware::prices::Prices;
use systoliq_hardware::{events::Component, events::EnergyByComponent, events::Event};
use systoliq_run::Error;
use systoliq_run::activity::Observed;
use systoliq_run::timeline::Entry;

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
    wires: f64,
}

impl Shares {
    fn new(entry: &Entry, observed: &Observed) -> Self {
        let Observed { operands, accumulator_toggles, accumulator_macs } = *observed;
        let (once, calls) = (&entry.once, entry.calls as f64);
        let macs = once.counts.macs as f64 * calls;
        let tally = || once.tally.iter();
        let clock = tally().find_map(|(_, event, _)| match event {
            Event::RegisterClock { bits_a, bits_b, bits_shadow, .. } => {
                Some([bits_a, bits_b, bits_shadow].map(f64::from))
            }
            _ => None,
        });
        let (Some([bits_a, bits_b, bits_shadow]), true) = (clock, macs > 0.0) else {
            return Self { multiplier: 1.0, adder: 1.0, registers: 1.0, wires: 1.0 };
        };
        let half = |bits: f64| 0.5 * bits * calls;
        let sum = |is: fn(Component, Event) -> bool| {
            let bits = tally().filter(|&(component, event, _)| is(component, event));
            half(bits.map(|(_, event, count)| f64::from(event.bits()) * count as f64).sum())
        };
        let written = sum(|component, event| {
            component == Component::Registers && matches!(event, Event::RegisterWrite { .. })
        });
        let hopped = sum(|component, _| component == Component::Wires);
        let counts = &once.counts;
        let [a, b] = [counts.a_register_writes, counts.b_register_writes].map(|count| count as f64);
        // Every operand that is written comes over a wire, but for copies in second registers.
        let operands_hopped = half(bits_a * a + bits_b * b);
        let copies = match once.dataflow {
            Some(Stationary::Weight | Stationary::Input) => counts.shadow_writes as f64,
            Some(Stationary::Output) | None => 0.0,
        };
        let operands_written = operands_hopped + half(bits_shadow * copies);
        let sums_written = written - operands_written;
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 1.0 };
        let operand_toggles = (operands.a_toggles + operands.b_toggles) as f64;
        let of_operands = share(operand_toggles, operands_written);
        // Sums that were never looked at are taken to be average.
        let of_sums = match accumulator_macs {
            0 => 1.0,
            some => share(accumulator_toggles as f64 * (macs / some as f64), sums_written),
        };
        let mixed = |operands: f64, all: f64| {
            share(of_operands * operands + of_sums * (all - operands), all)
        };
        let additions: f64 = tally()
            .filter(|&(component, ..)| component == Component::Adder)
            .map(|(.., count)| count as f64 * calls)
            .sum();
        let zeros = operands.zero_operand_macs as f64;
        Self {
            multiplier: of_operands / (1.0 + zeros / macs),
            adder: 1.0 - share(zeros, additions),
            registers: mixed(operands_written, written),
            wires: mixed(operands_hopped, hopped),
        }
    }

    fn of(&self, component: Component, event: Event) -> f64 {
        match (component, event) {
            (Component::Multiplier, _) => self.multiplier,
            (Component::Adder, _) => self.adder,
            (Component::Registers, Event::RegisterWrite { .. }) => self.registers,
            (Component::Wires, _) => self.wires,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use systoliq_array::{Activity, ArrayCounts};
    use systoliq_program::{GemmShape, Work, WriteId};

    use super::*;
    use systoliq_hardware::cost::Cost;
    use systoliq_run::timeline::Run;

    /// 100 multiply-accumulates of 4 x 6 bits into 16; each operand is written once for each, over a
    /// wire, and `moved` of the sums come over one.
    fn shares(moved: u64, operand_toggles: u64, sum_toggles: u64, zeros: u64) -> Shares {
        let counts = ArrayCounts {
            macs: 100,
            a_register_writes: 100,
            b_register_writes: 100,
            ..ArrayCounts::default()
        };
        let mut once = Cost { counts, ..Cost::default() };
        let clock = Event::RegisterClock { bits_a: 4, bits_b: 6, bits_sum: 16, bits_shadow: 0 };
        once.tally.add(Component::Registers, clock, 100);
        once.tally.add(Component::Adder, Event::Add { bits: 16 }, 100);
        for (bits, hops) in [(4, 100), (6, 100), (16, moved)] {
            once.tally.add(Component::Registers, Event::RegisterWrite { bits }, 100);
            once.tally.add(Component::Wires, Event::Hop { bits }, hops);
        }
        let operands = Activity {
            a_toggles: operand_toggles,
            zero_operand_macs: zeros,
            ..Activity::default()
        };
        let observed =
            Observed { operands, accumulator_toggles: sum_toggles, accumulator_macs: 100 };
        let work = Work::Gemm(GemmShape { m: 10, k: 10, n: 1 });
        let run = Run { write: WriteId(0), work, second: false.into() };
        Shares::new(&Entry { run, calls: 1, observed: Some(observed), once }, &observed)
    }

    #[test]
    fn wires_go_by_the_bits_that_flip_in_what_they_carry() {
        // Half of 1000 operand bits are 500, of 1600 bits of sums 800.
        let stay = shares(0, 250, 80, 0);
        assert_eq!(stay.wires, 0.5);
        assert_eq!(stay.registers, 330.0 / 1300.0);
        let all_move = shares(100, 250, 80, 0);
        assert_eq!(all_move.wires, all_move.registers);
        assert_eq!(shares(50, 250, 80, 0).wires, (250.0 + 40.0) / 900.0);
    }

    #[test]
    fn average_data_cost_the_average_and_zeros_gate_what_they_meet() {
        let average = shares(100, 500, 800, 0);
        let Shares { multiplier, adder, registers, wires } = average;
        assert_eq!([multiplier, adder, registers, wires], [1.0; 4]);
        let half = shares(0, 375, 0, 50);
        assert_eq!((half.adder, half.multiplier), (0.5, 0.75 / 1.5));
    }
}
