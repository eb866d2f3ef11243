//! Registers as arrays: one for each field, with an element for each PE, row by row.
//!
//! What a register knows of its fold is its *tag*: the number of the fold above some flags.

use systoliq_program::panels::Word;

use super::rule::{SumRule, flips};
use super::view::{BUBBLE, Latch, SumRegister};

/// The flag of a register that holds something.
pub(super) const VALID: u32 = 1;
/// The flag of an operand that came with the first step of its fold.
pub(super) const FIRST: u32 = 2;
/// The flag of an operand that is stored, and not a structural zero.
pub(super) const STORED: u32 = 4;
/// How many bits flags have.
const FLAGS: u32 = 3;
/// The tag of an operand register that was fed nothing.
const NOTHING: u32 = u32::MAX << FLAGS;
/// How many folds tags can tell apart.
pub(super) const FOLDS_MAX: usize = (NOTHING >> FLAGS) as usize;

/// The tag of a register of a fold.
pub(super) fn tag(fold: usize, flags: u32) -> u32 {
    (fold as u32) << FLAGS | flags
}

/// The fold of a tag, as a tag has it.
#[inline(always)]
pub(super) fn fold(tag: u32) -> u32 {
    tag >> FLAGS
}

/// An operand register.
#[derive(Clone, Copy)]
pub(super) struct OperandFields<C> {
    pub(super) code: C,
    pub(super) tag: u32,
}

impl<C: Word> OperandFields<C> {
    pub(super) fn nothing() -> Self {
        Self { code: C::zero(), tag: NOTHING }
    }

    pub(super) fn is_valid(self) -> bool {
        self.tag & VALID != 0
    }

    pub(super) fn fold(self) -> usize {
        fold(self.tag) as usize
    }
}

/// An operand register of every PE.
#[derive(Clone)]
pub(super) struct OperandArrays<C> {
    pub(super) codes: Vec<C>,
    pub(super) tags: Vec<u32>,
    /// The codes before the last clock edge at which any moved.
    pub(super) before: Vec<C>,
}

impl<C: Word> OperandArrays<C> {
    /// Of so many PEs, after reset.
    pub(super) fn reset(pes: usize) -> Self {
        let codes = vec![C::zero(); pes];
        Self { before: codes.clone(), codes, tags: vec![NOTHING; pes] }
    }

    pub(super) fn get(&self, pe: usize) -> OperandFields<C> {
        OperandFields { code: self.codes[pe], tag: self.tags[pe] }
    }

    /// Loads a register.
    #[inline(always)]
    pub(super) fn load(&mut self, pe: usize, element: OperandFields<C>) {
        (self.codes[pe], self.tags[pe]) = (element.code, element.tag);
    }

    /// Moves all codes on by so many PEs; those of the first are to be loaded.
    pub(super) fn advance(&mut self, pes: usize) {
        let kept = self.codes.len() - pes;
        std::mem::swap(&mut self.before, &mut self.codes);
        self.codes[pes..].copy_from_slice(&self.before[..kept]);
        self.tags.copy_within(..kept, pes);
    }

    /// How many bits flipped at the last edge, of those in a mask, and how many registers hold
    /// something.
    #[inline(always)]
    pub(super) fn count(&self, mask: C) -> (u32, u32) {
        let mut flipped = 0u32;
        for (&before, &after) in self.before.iter().zip(&self.codes) {
            flipped = flipped.wrapping_add(flips(before, after, mask));
        }
        let valid = self.tags.iter().fold(0u32, |sum, tag| sum.wrapping_add(tag & VALID));
        (flipped, valid)
    }

    /// All of them as they are seen from outside.
    pub(super) fn view(&self, latches: &mut [Latch]) {
        for (pe, latch) in latches.iter_mut().enumerate() {
            let element = self.get(pe);
            *latch = Latch {
                code: element.code.as_(),
                valid: element.is_valid(),
                first: element.tag & FIRST != 0,
                fold: if fold(element.tag) == fold(NOTHING) { BUBBLE.fold } else { element.fold() },
            };
        }
    }
}

/// A register that holds a sum.
pub(super) struct SumFields<R: SumRule> {
    pub(super) value: R::Value,
    pub(super) exact: R::Exact,
    pub(super) tag: u32,
    pub(super) additions: u32,
    pub(super) time: u32,
    /// Where sums move: the rows that multiply, and those until it leaves.
    pub(super) rows: [u32; 2],
}

impl<R: SumRule> Clone for SumFields<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: SumRule> Copy for SumFields<R> {}

impl<R: SumRule> Default for SumFields<R> {
    fn default() -> Self {
        let (value, exact) = Default::default();
        Self { value, exact, tag: 0, additions: 0, time: 0, rows: [0; 2] }
    }
}

impl<R: SumRule> SumFields<R> {
    pub(super) fn is_valid(&self) -> bool {
        self.tag & VALID != 0
    }

    pub(super) fn fold(&self) -> usize {
        fold(self.tag) as usize
    }

    /// The register as it is seen from outside.
    pub(super) fn view(&self, rule: R) -> SumRegister {
        SumRegister {
            sum: rule.sum(self.value, self.exact),
            valid: self.is_valid(),
            additions: self.additions.into(),
            fold: self.fold(),
            time: self.time as usize,
        }
    }
}

/// A register that holds a sum, of every PE.
pub(super) struct SumArrays<R: SumRule> {
    pub(super) values: Vec<R::Value>,
    pub(super) exacts: Vec<R::Exact>,
    pub(super) tags: Vec<u32>,
    pub(super) additions: Vec<u32>,
    pub(super) times: Vec<u32>,
    pub(super) rows: [Vec<u32>; 2],
    /// The values before the last clock edge at which any moved.
    pub(super) before: Vec<R::Value>,
}

impl<R: SumRule> SumArrays<R> {
    /// Of so many PEs, after reset.
    pub(super) fn reset(pes: usize) -> Self {
        let SumFields { value, exact, .. } = SumFields::<R>::default();
        let zeros = vec![0; pes];
        Self {
            values: vec![value; pes],
            exacts: vec![exact; pes],
            tags: zeros.clone(),
            additions: zeros.clone(),
            times: zeros.clone(),
            rows: [zeros.clone(), zeros],
            before: vec![value; pes],
        }
    }

    pub(super) fn get(&self, pe: usize) -> SumFields<R> {
        SumFields {
            value: self.values[pe],
            exact: self.exacts[pe],
            tag: self.tags[pe],
            additions: self.additions[pe],
            time: self.times[pe],
            rows: [self.rows[0][pe], self.rows[1][pe]],
        }
    }

    /// Loads a register, and tells what it held before.
    pub(super) fn load(&mut self, pe: usize, cell: SumFields<R>) -> R::Value {
        self.exacts[pe] = cell.exact;
        self.tags[pe] = cell.tag;
        self.additions[pe] = cell.additions;
        self.times[pe] = cell.time;
        (self.rows[0][pe], self.rows[1][pe]) = cell.rows.into();
        std::mem::replace(&mut self.values[pe], cell.value)
    }

    /// Moves all sums on by so many PEs; those of the first are to be loaded.
    pub(super) fn advance(&mut self, pes: usize) {
        let kept = ..self.values.len() - pes;
        std::mem::swap(&mut self.before, &mut self.values);
        self.values[pes..].copy_from_slice(&self.before[kept]);
        self.exacts.copy_within(kept, pes);
        let [multiply, pass] = &mut self.rows;
        for each in [&mut self.tags, &mut self.additions, &mut self.times, multiply, pass] {
            each.copy_within(kept, pes);
        }
    }

    /// All of them as they are seen from outside.
    pub(super) fn view(&self, rule: R, registers: &mut [SumRegister]) {
        for (pe, register) in registers.iter_mut().enumerate() {
            *register = self.get(pe).view(rule);
        }
    }
}
