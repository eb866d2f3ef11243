//! Multipliers and adders that were synthesized: energy and area at any width.

use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Certainty;
use super::interpolate::{enclosing, log_interpolate};

/// What is known of a synthesized circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// pJ of one operation without glitches.
    Zero,
    /// pJ of one operation with the glitches of gates that have delays and no timing optimisation.
    Glitch,
    /// Area in um^2.
    Area,
}

/// `models/energy/mac_45nm.json`: Booth multipliers and adders, synthesized with Yosys 0.70 on
/// NangateOpenCellLibrary.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "every key is required, some are for the reader and for tests alone")]
pub(crate) struct Synthesis {
    name: String,
    what: String,
    source: String,
    certainty: Certainty,
    node_nm: f64,
    width_bits: Vec<u32>,
    booth: Multipliers,
    array_square: IgnoredAny,
    adder: Adders,
    registers: IgnoredAny,
    macs: IgnoredAny,
    blocks: IgnoredAny,
}

/// `[wider][narrower]`, for widths up to the wider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "leakage is for tests alone")]
struct Multipliers {
    area_um2: Vec<Vec<f64>>,
    leak_uw: IgnoredAny,
    zero_pj: Vec<Vec<f64>>,
    glitch_pj: Vec<Vec<f64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adders {
    width_bits: Vec<u32>,
    area_um2: Vec<f64>,
    zero_pj: Vec<f64>,
    glitch_pj: Vec<f64>,
}

/// The embedded table.
pub(crate) fn mac_45nm() -> &'static Synthesis {
    static TABLE: LazyLock<Synthesis> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../../../models/energy/mac_45nm.json"))
            .expect("the embedded table is valid")
    });
    &TABLE
}

impl Synthesis {
    /// One multiplier of `bits_a` × `bits_b`, at least 1 bit each.
    ///
    /// Synthesized pairs, 2 to 32 bits, are met exactly, where the wider operand is the recoded
    /// one. (The other order of a pair costs 12 % more on average, from 4 bits on.) Between them
    /// the logarithm is linear in the logarithms of both widths. A width of 1 is as 2; beyond 32
    /// bits it goes with the product of the widths.
    pub(crate) fn multiplier(&self, column: Column, bits_a: u32, bits_b: u32) -> f64 {
        let grid = match column {
            Column::Zero => &self.booth.zero_pj,
            Column::Glitch => &self.booth.glitch_pj,
            Column::Area => &self.booth.area_um2,
        };
        let widths = &self.width_bits;
        let (narrowest, widest) = (widths[0], widths[widths.len() - 1]);
        let within = |bits: u32| bits.clamp(narrowest, widest);
        let beyond = |bits: u32| f64::from(bits.max(widest)) / f64::from(widest);
        let beyond = beyond(bits_a) * beyond(bits_b);
        let (wider, narrower) = (within(bits_a.max(bits_b)), within(bits_a.min(bits_b)));
        let (low, high) = enclosing(widths, narrower);
        let (from, to) = enclosing(widths, wider);
        let at = |wide: usize| {
            let entry = |narrow: usize| grid[wide.max(narrow)][wide.min(narrow)];
            let point = |narrow: usize| (f64::from(widths[narrow]), entry(narrow));
            log_interpolate(f64::from(narrower), point(low), point(high))
        };
        let point = |wide: usize| (f64::from(widths[wide]), at(wide));
        let inside = log_interpolate(f64::from(wider), point(from), point(to));
        inside * beyond
    }

    /// One adder of `bits` bits, at least 1. Synthesized widths, 4 to 64 bits, are met exactly;
    /// between them the logarithm is linear in that of the width, beyond them it goes with the
    /// width.
    pub(crate) fn adder(&self, column: Column, bits: u32) -> f64 {
        let Adders { width_bits: widths, area_um2, zero_pj, glitch_pj } = &self.adder;
        let line = match column {
            Column::Zero => zero_pj,
            Column::Glitch => glitch_pj,
            Column::Area => area_um2,
        };
        let within = bits.clamp(widths[0], widths[widths.len() - 1]);
        let (low, high) = enclosing(widths, within);
        let point = |at: usize| (f64::from(widths[at]), line[at]);
        let inside = log_interpolate(f64::from(within), point(low), point(high));
        inside * (f64::from(bits) / f64::from(within))
    }
}
