//! The signals of the array, by name: one walk declares them and reads their values.

use std::fmt;
use std::ops::Range;

use systoliq_fxp::accumulator::Widths;
use systoliq_program::GemmTask;

use crate::instant::Instant;
use crate::register::{CycleCause, Latch, Registers, SumRegister};
use crate::{Mapping, Stationary};

use super::Trace;

/// The name of a scope or a signal; text is made of it only where it is declared.
#[derive(Clone, Copy, Debug)]
pub(super) enum Label {
    Plain(&'static str),
    Row(usize, &'static str),
    Col(usize, &'static str),
    Pe(usize, usize),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(name) => f.write_str(name),
            Self::Row(row, suffix) => write!(f, "row{row}{suffix}"),
            Self::Col(col, suffix) => write!(f, "col{col}{suffix}"),
            Self::Pe(row, col) => write!(f, "pe_{row}_{col}"),
        }
    }
}

/// What a signal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalKind {
    /// So many bits.
    Bits(u32),
    /// The [word](CycleCause::name) for a cause, in ASCII, the last letter in the lowest byte.
    Word,
}

/// Bits of the longest word.
pub(super) const WORD_BITS: u32 = 7 * 8;

/// Sees scopes and signals in their order, which is always the same.
pub(super) trait Visitor {
    fn open(&mut self, label: Label);
    fn close(&mut self);
    fn signal(&mut self, label: Label, kind: SignalKind, value: u64);
}

/// A letter of C = A · B.
#[derive(Clone, Copy)]
enum MatrixLetter {
    A,
    B,
}

/// What the signals are called, and how wide they are.
pub(super) struct Signals {
    rows: Range<usize>,
    cols: Range<usize>,
    grid_cols: usize,
    /// The operand that moves right, and the other one.
    right: MatrixLetter,
    other: MatrixLetter,
    a_bits: u32,
    b_bits: u32,
    sum_widths: Widths,
    cycle_bits: u32,
    fold_bits: u32,
}

/// The fewest bits that hold a number.
fn bits_of(number: u64) -> u32 {
    (64 - number.leading_zeros()).max(1)
}

/// The low bits of a code: two's complement.
fn low(code: i64, bits: u32) -> u64 {
    code as u64 & (u64::MAX >> (64 - bits))
}

impl Signals {
    pub(super) fn new(trace: &Trace<'_, '_>) -> Self {
        let instants = trace.instants;
        let task @ GemmTask { a, b, .. } = instants.task();
        let Mapping { cols: grid_cols, stationary, .. } = *instants.mapping();
        let (right, other) = match stationary {
            Stationary::Output | Stationary::Weight => (MatrixLetter::A, MatrixLetter::B),
            Stationary::Input => (MatrixLetter::B, MatrixLetter::A),
        };
        Self {
            rows: trace.rows.clone(),
            cols: trace.cols.clone(),
            grid_cols,
            right,
            other,
            a_bits: a.tensor.format().bits(),
            b_bits: b.tensor.format().bits(),
            sum_widths: task.widths(),
            cycle_bits: bits_of(instants.cycles()),
            fold_bits: bits_of(instants.schedule().count()),
        }
    }

    /// Goes through all signals with their values in one cycle.
    pub(super) fn walk(&self, instant: &Instant, visitor: &mut impl Visitor) {
        visitor.open(Label::Plain("array"));
        visitor.signal(Label::Plain("cycle"), SignalKind::Bits(self.cycle_bits), instant.cycle);
        visitor.signal(Label::Plain("fold"), SignalKind::Bits(self.fold_bits), instant.fold as u64);
        visitor.signal(Label::Plain("phase"), SignalKind::Word, word(instant.cause.name()));
        visitor.open(Label::Plain("phases"));
        for cause in [CycleCause::Preload, CycleCause::Stream, CycleCause::Skew, CycleCause::Drain]
        {
            bit(visitor, Label::Plain(cause.name()), instant.cause == cause);
        }
        visitor.close();
        self.edge(instant, visitor);
        for row in self.rows.clone() {
            visitor.open(Label::Row(row, ""));
            for col in self.cols.clone() {
                visitor.open(Label::Pe(row, col));
                self.pe(&instant.registers, row * self.grid_cols + col, visitor);
                visitor.close();
            }
            visitor.close();
        }
        visitor.close();
    }

    /// The ports at the edges.
    fn edge(&self, instant: &Instant, visitor: &mut impl Visitor) {
        visitor.open(Label::Plain("edge"));
        visitor.open(Label::Plain("left"));
        for row in self.rows.clone() {
            let names = [Label::Row(row, ""), Label::Row(row, "_valid")];
            let entered = &instant.registers.right[row * self.grid_cols];
            self.operand(names, self.right, entered, visitor);
        }
        visitor.close();
        visitor.open(Label::Plain("top"));
        for col in self.cols.clone() {
            let names = [Label::Col(col, ""), Label::Col(col, "_valid")];
            self.operand(names, self.other, &instant.top_operands[col], visitor);
            if let Some(cell) = instant.top_sums.get(col) {
                let names = ["_acc", "_acc_chunk", "_acc_valid"];
                self.sum(names.map(|name| Label::Col(col, name)), cell, visitor);
            }
        }
        visitor.close();
        visitor.open(Label::Plain("bottom"));
        let mut left = instant.left.iter().peekable();
        for col in self.cols.clone() {
            while left.next_if(|left| left.column < col).is_some() {}
            let leaves = left.next_if(|left| left.column == col);
            let cell = leaves.map_or(SumRegister::default(), |left| left.cell);
            let names = ["", "_chunk", "_valid"].map(|name| Label::Col(col, name));
            self.sum(names, &cell, visitor);
        }
        visitor.close();
        visitor.close();
    }

    /// The registers of a PE.
    #[inline]
    fn pe(&self, registers: &Registers, pe: usize, visitor: &mut impl Visitor) {
        let (right, other) = (&registers.right[pe], &registers.other[pe]);
        let (a, b) = match self.right {
            MatrixLetter::A => (right, other),
            MatrixLetter::B => (other, right),
        };
        self.operand([Label::Plain("a"), Label::Plain("a_valid")], MatrixLetter::A, a, visitor);
        self.operand([Label::Plain("b"), Label::Plain("b_valid")], MatrixLetter::B, b, visitor);
        let names = ["acc", "acc_chunk", "acc_valid"].map(Label::Plain);
        self.sum(names, &registers.sums[pe], visitor);
        // Operands of one fold meet: their product is added in this cycle.
        let meet = right.valid && other.valid && right.fold == other.fold;
        bit(visitor, Label::Plain("valid"), meet);
        if let Some(shadow) = registers.other_shadow.get(pe) {
            let names = match self.other {
                MatrixLetter::A => ["a_shadow", "a_shadow_valid"],
                MatrixLetter::B => ["b_shadow", "b_shadow_valid"],
            };
            self.operand(names.map(Label::Plain), self.other, shadow, visitor);
        }
        if let Some(shadow) = registers.sum_shadow.get(pe) {
            let [name, valid] = ["acc_shadow", "acc_shadow_valid"].map(Label::Plain);
            self.whole_sum([name, valid], shadow, visitor);
        }
    }

    fn operand(
        &self,
        [name, valid]: [Label; 2],
        matrix: MatrixLetter,
        latch: &Latch,
        visitor: &mut impl Visitor,
    ) {
        let bits = match matrix {
            MatrixLetter::A => self.a_bits,
            MatrixLetter::B => self.b_bits,
        };
        visitor.signal(name, SignalKind::Bits(bits), low(latch.code, bits));
        bit(visitor, valid, latch.valid);
    }

    /// A sum, and that of the present chunk or block, where there are any.
    fn sum(
        &self,
        [name, chunk, valid]: [Label; 3],
        cell: &SumRegister,
        visitor: &mut impl Visitor,
    ) {
        self.whole_sum([name, valid], cell, visitor);
        if self.sum_widths.chunk > 0 {
            code(visitor, chunk, cell.sum.chunk as i64, self.sum_widths.chunk);
        }
    }

    /// A sum that is no part of a chunk.
    fn whole_sum(&self, [name, valid]: [Label; 2], cell: &SumRegister, visitor: &mut impl Visitor) {
        code(visitor, name, cell.sum.value, self.sum_widths.sum);
        bit(visitor, valid, cell.valid);
    }
}

/// A register in two's complement; of more than 64 bits, the low 64.
fn code(visitor: &mut impl Visitor, label: Label, code: i64, bits: u32) {
    let bits = bits.min(u64::BITS);
    visitor.signal(label, SignalKind::Bits(bits), low(code, bits));
}

fn bit(visitor: &mut impl Visitor, label: Label, is: bool) {
    visitor.signal(label, SignalKind::Bits(1), is.into());
}

/// A word of at most eight letters as a number.
fn word(letters: &str) -> u64 {
    letters.bytes().fold(0, |word, letter| word << 8 | u64::from(letter))
}

/// The values of all signals, to tell which have changed.
pub(super) struct SignalValues {
    last: Vec<u64>,
}

impl SignalValues {
    /// Values that nothing has been compared with, of so many signals.
    pub(super) fn new(count: usize) -> Self {
        Self { last: vec![0; count] }
    }

    /// Reads all signals, and hands over those that have changed, by their place in the walk; or
    /// `all` of them.
    pub(super) fn changes(
        &mut self,
        signals: &Signals,
        instant: &Instant,
        all: bool,
        change: impl FnMut(usize, SignalKind, u64),
    ) {
        let mut reader = Reader { last: &mut self.last, at: 0, all, change };
        signals.walk(instant, &mut reader);
        assert_eq!(reader.at, reader.last.len(), "signals read and declared");
    }
}

struct Reader<'v, F> {
    last: &'v mut [u64],
    at: usize,
    all: bool,
    change: F,
}

impl<F: FnMut(usize, SignalKind, u64)> Visitor for Reader<'_, F> {
    fn open(&mut self, _label: Label) {}

    fn close(&mut self) {}

    #[inline]
    fn signal(&mut self, _label: Label, kind: SignalKind, value: u64) {
        let last = &mut self.last[self.at];
        if self.all || *last != value {
            *last = value;
            (self.change)(self.at, kind, value);
        }
        self.at += 1;
    }
}

/// The eight bits of each byte as ASCII, the highest first.
const BITS_OF_BYTE: [[u8; 8]; 256] = {
    let mut table = [[b'0'; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut at = 0;
        while at < 8 {
            table[byte][at] += (byte >> (7 - at) & 1) as u8;
            at += 1;
        }
        byte += 1;
    }
    table
};

/// The 64 bits of a number as ASCII, the highest first.
#[inline]
pub(super) fn ascii_bits(value: u64) -> [u8; 64] {
    let mut bits = [0; 64];
    for (eight, byte) in bits.chunks_exact_mut(8).zip(value.to_be_bytes()) {
        eight.copy_from_slice(&BITS_OF_BYTE[usize::from(byte)]);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_that_formatting_writes() {
        for value in [0, 1, 0x80, u64::MAX, 0x0123_4567_89ab_cdef, 1 << 63] {
            assert_eq!(ascii_bits(value).as_slice(), format!("{value:064b}").as_bytes());
        }
    }

    #[test]
    fn words_are_read_from_their_bytes() {
        assert_eq!(word("skew"), u64::from_be_bytes(*b"\0\0\0\0skew"));
        assert!(CycleCause::Preload.name().len() as u32 * 8 == WORD_BITS);
    }
}
