//! What exact sums of tensors take.

use systoliq_program::operation::Combine;

use super::*;

impl Bill<'_, '_, '_> {
    /// The sum of tensors of so many elements: passes, one for each addition and at least one; the width
    /// of a sum; and how many there are.
    pub(super) fn combine(&mut self, combine: &Combine, elements: u64) -> (u64, u32, u64) {
        let terms = combine.terms.len();
        let longest = combine.terms.iter().map(|&term| self.costs.bits(term)).max();
        let carries = terms.next_power_of_two().ilog2();
        let width = longest.expect("a term") + carries;
        let additions = terms as u64 - 1;
        self.add(Component::Adder, width, additions * elements);
        (additions.max(1), width, elements)
    }
}
