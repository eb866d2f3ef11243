//! Exact results that are converted into a tensor some elements at a time.

use std::ops::Range;

use systoliq_fxp::{Combination, ConversionStatistics, scale};

use super::{Running, Store};
use crate::engine::Written;
use crate::tensor::TensorId;

/// Elements that are computed at once.
pub(crate) const STRIP: usize = 1 << 12;

/// The places of so many elements, some at once.
pub(crate) fn strips(elements: usize, at_once: usize) -> impl Iterator<Item = Range<usize>> {
    (0..elements).step_by(at_once.max(1)).map(move |first| first..elements.min(first + at_once))
}

impl Store {
    /// Converts exact values, which `exact` gives by their places, into a tensor without blocks; `seen`
    /// sees them in order. Where the scale of the tensor asks for their range, they are computed twice.
    pub(crate) fn write_exact(
        &mut self,
        id: TensorId,
        exact: impl Fn(&Self, Range<usize>) -> Combination,
        mut seen: impl FnMut(&Combination),
        running: &Running<'_>,
    ) -> Written {
        let (rows, cols) = self.shape(id);
        let all = || {
            let ranges = strips(rows * cols, STRIP).map(|places| exact(self, places).range());
            ranges.reduce(scale::Range::and).expect("a tensor has elements")
        };
        let training = running.step.is_training();
        let range = self.looks_at_range(id, training).then(all);
        let range = || range.expect("the range that the scale asked for");
        let key = running.output_key(id);
        let (conversion, second_pass) = self.conversion(id, range, key, training);
        let mut after = self.spare_room(conversion.to, (rows, cols));
        let mut statistics = ConversionStatistics::default();
        for places in strips(rows * cols, STRIP) {
            let values = exact(self, places.clone());
            statistics.merge(&values.write(&conversion, &mut after, places.start));
            seen(&values);
        }
        self.observe(id, &statistics, training);
        self.replace(id, after);
        Written::converted(id, statistics, second_pass)
    }
}
