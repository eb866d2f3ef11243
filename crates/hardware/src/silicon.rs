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
use systoliq_array::{Array, Stationary};

use crate::accelerator::Layout;
use crate::events::{Buffer, Component, Event, Tally};
use crate::prices::TABLE_BYTES;
use crate::{Accelerator, Error};
use systoliq_energy::{Milliwatts, Profile};

/// Areas in µm², and what all of it leaks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Silicon {
    /// One of each circuit.
    #[serde(skip)]
    circuits: Circuits,
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
    /// The global buffer.
    #[serde(skip_serializing_if = "is_none")]
    pub buffer_um2: f64,
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
        let circuits = Circuits::new(accelerator, profile, tally)?;
        let memory = |buffer: Buffer| -> Result<(f64, Milliwatts), Error> {
            let (key, bytes) = accelerator.scratchpad.of(buffer);
            if bytes == 0 && matches!(buffer, Buffer::Stash | Buffer::Global) {
                return Ok((0.0, Milliwatts(0.0)));
            }
            let refused = |error: systoliq_energy::Error| {
                Error::at(format!("accelerator.scratchpad.{key}"), error)
            };
            let area = profile.sram_area(bytes).map_err(refused)?;
            Ok((area, profile.sram_leakage(bytes).map_err(refused)?))
        };
        let [a, b, c] = [Buffer::A, Buffer::B, Buffer::C].map(memory);
        let [stash, global] = [Buffer::Stash, Buffer::Global].map(memory);
        let [(a_um2, a), (b_um2, b), (c_um2, c)] = [a?, b?, c?];
        let [(stash_um2, stash), (buffer_um2, global)] = [stash?, global?];
        let [array_um2, edge_um2, vector_um2] = circuits.on(&accelerator.array);
        let logic = profile.logic_leakage(array_um2 + edge_um2 + vector_um2);
        let leakage = Milliwatts(logic.0 + a.0 + b.0 + c.0 + stash.0 + global.0);
        Ok(Self {
            pe_um2: circuits.pe_um2,
            circuits,
            array_um2,
            edge_um2,
            vector_um2,
            a_um2,
            b_um2,
            c_um2,
            stash_um2,
            buffer_um2,
            leakage,
        })
    }

    /// All of it, in mm².
    pub fn total_mm2(&self) -> f64 {
        (self.logic_um2() + self.memories_um2()) / 1e6
    }

    /// The memories.
    pub fn memories_um2(&self) -> f64 {
        self.a_um2 + self.b_um2 + self.c_um2 + self.stash_um2 + self.buffer_um2
    }

    /// All but the memories.
    pub fn logic_um2(&self) -> f64 {
        self.array_um2 + self.edge_um2 + self.vector_um2
    }

    /// The same of another array with these circuits.
    pub fn logic_um2_on(&self, array: &Array) -> f64 {
        self.circuits.on(array).iter().sum()
    }

    /// What a PE does in a cycle in which it multiplies and accumulates, registers and wires included,
    /// with `stationary` at rest.
    pub fn mac(&self, stationary: Stationary) -> Vec<Event> {
        let mut events = self.circuits.pe.clone();
        for event in &self.circuits.pe {
            let Event::RegisterClock { bits_a, bits_b, bits_sum, .. } = *event else { continue };
            events.push(Event::ClockTree { bits: event.bits() });
            let (written, hopped) = match stationary {
                Stationary::Output => (bits_a + bits_b + bits_sum, bits_a + bits_b),
                Stationary::Weight => (bits_a + bits_sum, bits_a + bits_sum),
                Stationary::Input => (bits_b + bits_sum, bits_b + bits_sum),
            };
            events.push(Event::RegisterWrite { bits: written });
            events.push(Event::Hop { bits: hopped });
        }
        events
    }

    /// From one PE to the next, in µm: PEs are squares.
    pub fn pitch_um(&self) -> f64 {
        self.pe_um2.sqrt()
    }
}

/// Whether there is no such area; what serde skips needs a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_none(um2: &f64) -> bool {
    *um2 == 0.0
}

/// One of each circuit, with its area in µm².
#[derive(Clone, Debug, Default, PartialEq)]
struct Circuits {
    /// What those of a PE do in a multiply-accumulate.
    pe: Vec<Event>,
    pe_um2: f64,
    /// Of the edge, per column.
    column_um2: f64,
    /// The registers of a transposer for one element.
    transposer_um2: f64,
    /// Of the vector unit, per lane.
    lane_um2: f64,
    /// The table of the vector unit.
    table_um2: f64,
}

impl Circuits {
    fn new(accelerator: &Accelerator, profile: &Profile, tally: &Tally) -> Result<Self, Error> {
        let widest = Widest { profile, tally };
        let pe = widest.circuits(
            &[Component::Multiplier, Component::Adder, Component::Registers],
            |event| {
                matches!(
                    event,
                    Event::Multiply { .. }
                        | Event::Add { .. }
                        | Event::FloatMultiply { .. }
                        | Event::FloatAdd { .. }
                        | Event::RegisterClock { .. }
                )
            },
        );
        let convert = widest.of(&[Component::Requantizer, Component::Random], |_| true);
        let is_table = |event: Event| matches!(event, Event::TableRead { .. });
        let has_table = tally.iter().any(|(_, event, _)| is_table(event));
        Ok(Self {
            pe_um2: pe.iter().map(|&event| widest.area(event)).sum(),
            pe,
            column_um2: widest.of(&[Component::Adder, Component::Activation], |_| true) + convert,
            transposer_um2: match accelerator.layout {
                Layout::Transposer => widest
                    .of(&[Component::Registers], |event| matches!(event, Event::Transpose { .. })),
                Layout::TwoCopies => 0.0,
            },
            lane_um2: widest.of(&[Component::Update, Component::Loss], |_| true) + convert,
            table_um2: if has_table { widest.table()? } else { 0.0 },
        })
    }

    /// Those of all PEs, of the edge and of the vector unit.
    fn on(&self, array: &Array) -> [f64; 3] {
        let side = array.rows.max(array.cols) as f64;
        [
            self.pe_um2 * array.pes() as f64,
            self.column_um2 * array.cols as f64 + self.transposer_um2 * side * side,
            self.lane_um2 * array.vector_lanes() as f64 + self.table_um2,
        ]
    }
}

/// The widest circuit of each kind.
struct Widest<'a> {
    profile: &'a Profile,
    tally: &'a Tally,
}

impl Widest<'_> {
    /// Of each kind of event of some components, the one that can do the work of all.
    fn circuits(&self, components: &[Component], is: impl Fn(Event) -> bool) -> Vec<Event> {
        let mut widest: Vec<Event> = Vec::new();
        for (component, event, _) in self.tally.iter() {
            if !components.contains(&component) || !is(event) {
                continue;
            }
            match widest.iter_mut().find(|known| discriminant(*known) == discriminant(&event)) {
                Some(known) => *known = known.covering(event),
                None => widest.push(event),
            }
        }
        widest
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
            Event::RegisterClock { .. } | Event::Transpose { .. } => {
                profile.register_area(event.bits())
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
