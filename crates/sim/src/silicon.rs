//! The circuits that a program needs: their area and what they leak.
//!
//! A machine is built for the widest of each kind of event that it sees. So its circuits follow from
//! the same counts as its energy: a PE has the widest multiplier, adder and registers of all GEMMs; each
//! column of the array's edge, and each lane of the vector unit, has the widest converter. What an event
//! of another width costs is still the price of its own width: what is wider than needed is taken not
//! to toggle.
//!
//! *Absent:* control, the network to the scratchpads, pads, DRAM.

use std::mem::discriminant;

use serde::Serialize;

use crate::accelerator::Layout;
use crate::energy::{self, Milliwatts, Profile};
use crate::events::{Buffer, Component, Event, Tally};
use crate::prices::TABLE_BYTES;
use crate::{Accelerator, Error};

/// Areas in µm², and what all of it leaks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Silicon {
    /// What each circuit of a PE does in a multiply-accumulate.
    #[serde(skip)]
    pe: Vec<Event>,
    /// One PE: multiplier, adder and registers.
    pub pe_um2: f64,
    /// All PEs.
    pub array_um2: f64,
    /// Per column one bias adder, one ReLU and one converter, with its multiplier for 1/B, its
    /// comparators and its generator of random words; and the transposer.
    pub edge_um2: f64,
    /// The lanes of the vector unit, each with a converter like those of columns, and its table.
    pub vector_um2: f64,
    /// The scratchpad of A.
    pub a_um2: f64,
    /// The scratchpad of B.
    pub b_um2: f64,
    /// The scratchpad of C.
    pub c_um2: f64,
    /// The stash.
    pub stash_um2: f64,
    /// What leaks.
    #[serde(rename = "leakage_mw")]
    pub leakage: Milliwatts,
}

impl Silicon {
    /// The circuits for everything in `tally` on `accelerator`.
    ///
    /// # Errors
    ///
    /// If a scratchpad is outside the range of the profile's table.
    pub fn new(accelerator: &Accelerator, profile: &Profile, tally: &Tally) -> Result<Self, Error> {
        let widest = Widest { profile, tally };
        let array = &accelerator.array;
        let pe = widest
            .circuits(&[Component::Multiplier, Component::Adder, Component::Registers], |event| {
                is_arithmetic(event) || matches!(event, Event::RegisterClock { .. })
            });
        let pe_um2 = pe.iter().map(|&event| widest.area(event)).sum();
        let convert = widest.of(&[Component::Requantizer, Component::Random], |_| true);
        let column = widest.of(&[Component::Adder, Component::Activation], |_| true) + convert;
        let side = array.rows.max(array.cols) as f64;
        let transposer = match accelerator.layout {
            Layout::Transposer => {
                widest.of(&[Component::Registers], |event| matches!(event, Event::Transpose { .. }))
            }
            Layout::TwoCopies => 0.0,
        };
        let lane = widest.of(&[Component::Update, Component::Loss], |_| true) + convert;
        let is_table = |event: Event| matches!(event, Event::TableRead { .. });
        let has_table = tally.iter().any(|(_, event, _)| is_table(event));
        let table = if has_table { widest.table()? } else { 0.0 };
        let memory = |buffer: Buffer| -> Result<(f64, Milliwatts), Error> {
            let (key, bytes) = accelerator.scratchpad.of(buffer);
            if bytes == 0 && buffer == Buffer::Stash {
                return Ok((0.0, Milliwatts(0.0)));
            }
            let refused =
                |error: energy::Error| Error::at(format!("accelerator.scratchpad.{key}"), error);
            let area = profile.sram_area(bytes).map_err(refused)?;
            Ok((area, profile.sram_leakage(bytes).map_err(refused)?))
        };
        let [a, b, c, stash] = [Buffer::A, Buffer::B, Buffer::C, Buffer::Stash].map(memory);
        let [(a_um2, a), (b_um2, b), (c_um2, c), (stash_um2, stash)] = [a?, b?, c?, stash?];
        let array_um2 = pe_um2 * array.pes() as f64;
        let edge_um2 = column * array.cols as f64 + transposer * side * side;
        let vector_um2 = lane * array.vector_lanes() as f64 + table;
        let logic = profile.logic_leakage(array_um2 + edge_um2 + vector_um2);
        let leakage = Milliwatts(logic.0 + a.0 + b.0 + c.0 + stash.0);
        Ok(Self {
            pe,
            pe_um2,
            array_um2,
            edge_um2,
            vector_um2,
            a_um2,
            b_um2,
            c_um2,
            stash_um2,
            leakage,
        })
    }

    /// All of it, in mm².
    pub fn total_mm2(&self) -> f64 {
        let memories = self.a_um2 + self.b_um2 + self.c_um2 + self.stash_um2;
        (self.array_um2 + self.edge_um2 + self.vector_um2 + memories) / 1e6
    }

    /// What a PE does in a cycle in which it multiplies and accumulates, registers and wires included.
    pub fn mac(&self) -> Vec<Event> {
        let mut events = self.pe.clone();
        for event in &self.pe {
            match *event {
                Event::RegisterClock { bits } => {
                    events.extend([Event::RegisterWrite { bits }, Event::ClockTree { bits }]);
                }
                Event::Multiply { bits_a, bits_b } => {
                    events.push(Event::Hop { bits: bits_a + bits_b });
                }
                Event::FloatMultiply { format } => {
                    events.push(Event::Hop { bits: 2 * format.bits() });
                }
                _ => {}
            }
        }
        events
    }

    /// From one PE to the next, in µm: PEs are squares.
    pub fn pitch_um(&self) -> f64 {
        self.pe_um2.sqrt()
    }
}

fn is_arithmetic(event: Event) -> bool {
    matches!(
        event,
        Event::Multiply { .. }
            | Event::Add { .. }
            | Event::FloatMultiply { .. }
            | Event::FloatAdd { .. }
    )
}

/// The widest circuit of each kind.
struct Widest<'a> {
    profile: &'a Profile,
    tally: &'a Tally,
}

impl Widest<'_> {
    /// The event with the largest circuit of each kind of event of some components.
    fn circuits(&self, components: &[Component], is: impl Fn(Event) -> bool) -> Vec<Event> {
        let mut largest: Vec<Event> = Vec::new();
        for (component, event, _) in self.tally.iter() {
            if !components.contains(&component) || !is(event) {
                continue;
            }
            match largest.iter_mut().find(|known| discriminant(*known) == discriminant(&event)) {
                Some(known) if self.area(event) > self.area(*known) => *known = event,
                Some(_) => {}
                None => largest.push(event),
            }
        }
        largest
    }

    /// The area of one circuit of each kind.
    fn of(&self, components: &[Component], is: impl Fn(Event) -> bool) -> f64 {
        let circuits = self.circuits(components, is);
        circuits.into_iter().map(|event| self.area(event)).sum()
    }

    /// The circuit that an event needs, in µm²; none of its own for accesses to memories.
    fn area(&self, event: Event) -> f64 {
        let profile = self.profile;
        match event {
            Event::Multiply { bits_a, bits_b } => profile.multiply_area(bits_a, bits_b),
            Event::Add { bits } => profile.add_area(bits),
            Event::FloatMultiply { format } => profile.float_multiply_area(format),
            Event::FloatAdd { format } => profile.float_add_area(format),
            Event::RegisterClock { bits } | Event::Transpose { bits } => {
                profile.register_area(bits)
            }
            Event::Requantize { bits, stochastic, barrel } => {
                profile.requantize_area(bits, stochastic, barrel)
            }
            Event::RandomWord => profile.random_area(),
            Event::Relu { bits } => profile.relu_area(bits),
            Event::Maximum { bits } => profile.maximum_area(bits),
            Event::RegisterWrite { .. }
            | Event::Hop { .. }
            | Event::ClockTree { .. }
            | Event::TableRead { .. }
            | Event::ScratchpadRead { .. }
            | Event::ScratchpadWrite { .. }
            | Event::DramBit
            | Event::RowActivation
            | Event::Cycle => 0.0,
        }
    }

    fn table(&self) -> Result<f64, Error> {
        let area = self.profile.sram_area(TABLE_BYTES);
        area.map_err(|error| Error::at("accelerator.energy", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edge_and_lanes_have_the_widest_circuit_of_each_kind_that_they_use() {
        let array = serde_json::json!({ "array": { "rows": 2, "cols": 3 } });
        let accelerator: Accelerator = serde_json::from_value(array).unwrap();
        let profile = Profile::horowitz45();
        let mut tally = Tally::default();
        let convert = |bits| Event::Requantize { bits, stochastic: false, barrel: false };
        for (component, event) in [
            (Component::Requantizer, convert(24)),
            (Component::Requantizer, convert(16)),
            (Component::Requantizer, Event::Multiply { bits_a: 32, bits_b: 16 }),
            (Component::Requantizer, Event::Maximum { bits: 24 }),
            (Component::Loss, Event::Maximum { bits: 8 }),
            (Component::Loss, Event::Add { bits: 32 }),
            (Component::Update, Event::Multiply { bits_a: 8, bits_b: 8 }),
        ] {
            tally.add(component, event, 1);
        }
        let found = Silicon::new(&accelerator, &profile, &tally).unwrap();
        let converter = profile.requantize_area(24, false, false)
            + profile.multiply_area(32, 16)
            + profile.maximum_area(24);
        let lane = profile.maximum_area(8) + profile.add_area(32) + profile.multiply_area(8, 8);
        let lanes = accelerator.array.vector_lanes() as f64;
        let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-12;
        assert!(close(found.edge_um2, 3.0 * converter), "{found:?}");
        assert!(close(found.vector_um2, lanes * (lane + converter)), "{found:?}");
        assert_eq!(found.array_um2, 0.0);
    }
}
