//! What events cost on one accelerator.
//!
//! Most prices follow from an event's widths alone; that of a wire also from the size of a PE, and that of
//! a cycle from all that leaks, which is why the [circuits](Silicon) come first.

use std::sync::Arc;

use crate::events::{Buffer, Event, Tally};
use crate::silicon::Silicon;
use crate::{Accelerator, Error};
use systoliq_energy::{Access, Picojoules, Profile};

/// Prices events on one accelerator.
#[derive(Clone, Debug)]
pub struct Prices<'a> {
    accelerator: &'a Accelerator,
    profile: Arc<Profile>,
    silicon: Silicon,
    /// Bits of the rows that A and B give the array, which memories are built for.
    rows: [u32; 2],
    /// What leaks in a cycle.
    leak: Picojoules,
}

/// The dearest event, so that sums of 2^64 of them stay finite.
const PRICE_MAX: f64 = 1e200;

/// Bytes of a table of the softmax and log₂ unit: 257 entries of 32 bits, of which the last is a
/// constant.
pub(crate) const TABLE_BYTES: u64 = 1024;

impl<'a> Prices<'a> {
    /// The prices by `profile` on `accelerator`, with the circuits that everything in `tally` needs, at the clock of
    /// the accelerator or, where it states none, of the profile.
    ///
    /// # Errors
    ///
    /// Those of [`Silicon::new`].
    pub fn new(
        accelerator: &'a Accelerator,
        profile: impl Into<Arc<Profile>>,
        tally: &Tally,
    ) -> Result<Self, Error> {
        let profile = profile.into();
        let silicon = Silicon::new(accelerator, &profile, tally)?;
        let clock_mhz = accelerator.clock_mhz.unwrap_or_else(|| profile.clock_mhz());
        let leak = silicon.leakage.over_cycles(1, clock_mhz);
        let rows = [Buffer::A, Buffer::B].map(|buffer| tally.widest_row(buffer));
        Ok(Self { accelerator, profile, silicon, rows, leak })
    }

    /// The circuits.
    pub fn silicon(&self) -> &Silicon {
        &self.silicon
    }

    /// The profile that they come from.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What one event costs.
    ///
    /// # Errors
    ///
    /// If a scratchpad is outside the range of the energy profile's table.
    pub fn price(&self, event: Event) -> Result<Picojoules, Error> {
        let profile = &self.profile;
        let dram = self.accelerator.dram.kind;
        let price = match event {
            Event::Multiply { bits_a, bits_b } => profile.multiply(bits_a, bits_b),
            Event::Add { bits } => profile.add(bits),
            Event::FloatMultiply { format } => profile.float_multiply(format),
            Event::FloatAdd { format } => profile.float_add(format),
            Event::RegisterClock { .. } => profile.register_clock(event.bits()),
            Event::RegisterWrite { bits } => profile.register_write(bits),
            Event::Transpose { bits } => profile.register_write(bits) * 2,
            Event::Hop { bits } => profile.wire(bits, self.silicon.pitch_um()),
            Event::ClockTree { bits } => profile.clock_tree(bits),
            Event::Requantize { bits, stochastic, barrel } => {
                profile.requantize(bits, stochastic, barrel)
            }
            Event::RandomWord => profile.random_word(),
            Event::Relu { bits } => profile.relu(bits),
            Event::Maximum { bits } => profile.maximum(bits),
            Event::TableRead { bits } => profile
                .sram(TABLE_BYTES, bits)
                .and_then(|table| profile.sram_access(Access::Read, table, bits))
                .map_err(|error| Error::at("accelerator.energy", error))?,
            Event::ScratchpadRead { buffer, row_bits } => {
                self.scratchpad(buffer, Access::Read, row_bits)?
            }
            Event::ScratchpadWrite { buffer, row_bits } => {
                self.scratchpad(buffer, Access::Write, row_bits)?
            }
            Event::DramBit => profile.dram_bit(dram),
            Event::RowActivation => profile.dram_activate(dram),
            Event::Cycle => self.leak,
        };
        if price.0 <= PRICE_MAX {
            return Ok(price);
        }
        let problem = format!("{event:?} costs {} pJ: expected at most {PRICE_MAX:e}", price.0);
        Err(Error::at("accelerator.energy", problem))
    }

    /// One row of a memory that is built for the rows of the array: A and B for their own, the others for the
    /// wider of these.
    fn scratchpad(
        &self,
        buffer: Buffer,
        access: Access,
        row_bits: u32,
    ) -> Result<Picojoules, Error> {
        let (key, bytes) = self.accelerator.scratchpad.of(buffer);
        let [a, b] = self.rows;
        let built_for = match buffer {
            Buffer::A => a,
            Buffer::B => b,
            Buffer::C | Buffer::Stash | Buffer::Global => a.max(b),
        };
        let memory = self.profile.sram(bytes, built_for.max(1));
        memory
            .and_then(|memory| self.profile.sram_access(access, memory, row_bits))
            .map_err(|error| Error::at(format!("accelerator.scratchpad.{key}"), error))
    }
}
