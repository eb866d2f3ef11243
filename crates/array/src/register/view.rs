//! The registers of the grid as they are seen from outside, and what passes the edges.

use systoliq_fxp::Sum;

use crate::Mapping;

/// An operand register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latch {
    /// Its code; 0 where it is not valid.
    pub code: i64,
    /// Whether it holds an element.
    pub valid: bool,
    /// Whether it came with the first step of its fold.
    pub first: bool,
    /// The fold that it belongs to.
    pub fold: usize,
}

/// A register that holds a sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SumRegister {
    /// The sum; 0 where it is not valid.
    pub sum: Sum,
    /// Whether it holds one.
    pub valid: bool,
    /// How many products are in it.
    pub additions: u64,
    /// The fold that it belongs to.
    pub fold: usize,
    /// The step in time that it belongs to, where sums move.
    pub time: usize,
}

/// All registers of the grid, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The operands that move right.
    pub right: Vec<Latch>,
    /// The other operands: those that move down, or that stay.
    pub other: Vec<Latch>,
    /// The sums: those that stay, or that move down.
    pub sums: Vec<SumRegister>,
    /// With overlap, the second register of an operand that stays.
    pub other_shadow: Vec<Latch>,
    /// With overlap, the second register of a sum that stays.
    pub sum_shadow: Vec<SumRegister>,
}

impl Registers {
    /// The registers of a grid after reset: all are empty.
    pub fn reset(mapping: &Mapping) -> Self {
        let pes = mapping.rows * mapping.cols;
        let shadows = if mapping.has_shadow() { pes } else { 0 };
        let output_stays = mapping.output_stays();
        Self {
            right: vec![BUBBLE; pes],
            other: vec![BUBBLE; pes],
            sums: vec![SumRegister::default(); pes],
            other_shadow: vec![BUBBLE; if output_stays { 0 } else { shadows }],
            sum_shadow: vec![SumRegister::default(); if output_stays { shadows } else { 0 }],
        }
    }
}

/// Why a cycle passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CycleCause {
    Preload,
    Stream,
    Skew,
    Drain,
}

impl CycleCause {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preload => "preload",
            Self::Stream => "stream",
            Self::Skew => "skew",
            Self::Drain => "drain",
        }
    }
}

/// Two folds in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hazard {
    /// At the edge where operands enter.
    Entry,
    /// In the chain of a column.
    Chain,
    /// At the port at the bottom of a column, or not in the order of folds.
    Exit,
    /// A partial sum is read before it is written.
    PartialSum,
}

/// A sum that leaves the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The column of the grid.
    pub column: usize,
    /// The place of the output in C, row by row.
    pub index: usize,
    /// The sum.
    pub cell: SumRegister,
}

/// One cycle as it is seen from outside.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    /// Its number, from 0.
    pub cycle: u64,
    /// Why it passes.
    pub cause: CycleCause,
    /// All registers after its clock edge.
    pub registers: &'a Registers,
    /// What leaves in it, by column.
    pub left: &'a [Left],
}

/// A bubble: an operand register that was fed nothing.
pub(crate) const BUBBLE: Latch = Latch { code: 0, valid: false, first: false, fold: usize::MAX };
