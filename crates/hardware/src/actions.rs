//! Raw counts of what costs energy, for those who bring their own energies.
//!
//! One line per component, action, layer, pass and width, as action counts are given to Accelergy.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use systoliq_program::Pass;

use crate::csv::quoted;
use crate::events::{Buffer, Component, Event, Tally};

impl Event {
    /// What happens, as a word.
    pub fn action(self) -> String {
        let on = |what: &str, buffer: Buffer| format!("{what}_{}", buffer.name());
        match self {
            Self::Multiply { .. } => "multiply".into(),
            Self::Add { .. } => "add".into(),
            Self::FloatMultiply { format } => format!("{}_multiply", format.name()),
            Self::FloatAdd { format } => format!("{}_add", format.name()),
            Self::RegisterClock { .. } => "clock".into(),
            Self::RegisterWrite { .. } => "write".into(),
            Self::Transpose { .. } => "transpose".into(),
            Self::Hop { .. } => "hop".into(),
            Self::ClockTree { .. } => "clock".into(),
            Self::Requantize { stochastic, barrel, .. } => {
                let rounding = if stochastic { "stochastic" } else { "nearest" };
                format!("{rounding}{}", if barrel { "_barrel" } else { "" })
            }
            Self::RandomWord => "random_word".into(),
            Self::Relu { .. } => "relu".into(),
            Self::Maximum { .. } => "maximum".into(),
            Self::TableRead { .. } => "table_read".into(),
            Self::ScratchpadRead { buffer, .. } => on("read", buffer),
            Self::ScratchpadWrite { buffer, .. } => on("write", buffer),
            Self::DramBit => "bit".into(),
            Self::RowActivation => "activate_row".into(),
            Self::Cycle => "cycle".into(),
        }
    }

    /// Its width in bits, of a product as `8x8`; nothing where it has none.
    pub fn width(self) -> String {
        match self {
            Self::Multiply { bits_a, bits_b } => format!("{bits_a}x{bits_b}"),
            Self::RowActivation | Self::Cycle => String::new(),
            _ => self.bits().to_string(),
        }
    }
}

/// Counts by layer and pass.
#[derive(Clone, Debug, Default)]
pub struct Actions {
    tallies: BTreeMap<(String, Pass), Tally>,
}

impl Actions {
    /// Adds everything in a tally, so many times; nothing where a count leaves 64 bits.
    pub fn add(&mut self, layer: String, pass: Pass, tally: &Tally, times: u64) -> Option<()> {
        self.tallies.entry((layer, pass)).or_default().checked_add_times(tally, times)
    }

    /// `component,action,layer,pass,width,count`, a line each.
    pub fn csv(&self) -> String {
        let mut text = String::from("component,action,layer,pass,width,count\n");
        for component in Component::ALL {
            for ((layer, pass), tally) in &self.tallies {
                for (_, event, count) in tally.iter().filter(|(of, ..)| *of == component) {
                    let (name, action, width) = (component.name(), event.action(), event.width());
                    let (layer, pass) = (quoted(layer), pass.name());
                    writeln!(text, "{name},{action},{layer},{pass},{width},{count}")
                        .expect("writing to a string");
                }
            }
        }
        text
    }
}
