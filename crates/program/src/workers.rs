//! Threads that share the work of a command.
//!
//! Work is cut where it does not matter: rows of a product, elements of an update. Every thread has memory of its own, writes
//! [a part](systoliq_fxp::TensorPart) of the output, and counts for itself; counts are added in the order of the
//! parts. Random words are keyed by position. So no bit depends on the number of threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cpu_time::ThreadTime;
use rayon::{ThreadPool, ThreadPoolBuilder};
use smallvec::SmallVec;

/// Neighbouring ranges; as many are in place as a few threads have parts.
pub type Cuts = SmallVec<[Range<usize>; 4]>;

/// Whoever runs a command, and threads that help.
#[derive(Debug, Default)]
pub struct Workers {
    helpers: Option<ThreadPool>,
    /// Whether work is cut however little it is.
    eager: bool,
    /// Nanoseconds of processor time that these have worked.
    helped: AtomicU64,
}

impl Workers {
    /// So many threads, of which one is whoever runs a command; that one alone where the machine does not give as many.
    pub fn new(threads: usize) -> Self {
        let pool = |helpers| ThreadPoolBuilder::new().num_threads(helpers).build().ok();
        let helpers = threads.checked_sub(1).filter(|&helpers| helpers > 0).and_then(pool);
        Self { helpers, ..Self::default() }
    }

    /// The same, who share even work that one would do sooner alone: for tests, of which few are large.
    pub fn eager(threads: usize) -> Self {
        Self { eager: true, ..Self::new(threads) }
    }

    /// How many there are.
    pub fn threads(&self) -> usize {
        1 + self.helpers.as_ref().map_or(0, ThreadPool::current_num_threads)
    }

    /// Processor time that helpers have taken, beside that of whoever ran commands.
    pub fn helped(&self) -> Duration {
        Duration::from_nanos(self.helped.load(Ordering::Relaxed))
    }

    /// Cuts `count` things at multiples of `granularity` into at most one part for each thread, as even as that
    /// allows, and into fewer if a part would have less than `fewest`.
    ///
    /// ```
    /// use systoliq_program::Workers;
    /// let workers = Workers::new(3);
    /// assert_eq!(workers.cut(100, 12, 1)[..], [0..36, 36..72, 72..100]);
    /// assert_eq!(workers.cut(100, 12, 40)[..], [0..48, 48..100]);
    /// assert_eq!(workers.cut(5, 12, 1)[..], [0..5]);
    /// assert_eq!(workers.cut(0, 12, 1)[..], [0..0]);
    /// ```
    pub fn cut(&self, count: usize, granularity: usize, fewest: usize) -> Cuts {
        let fewest = if self.eager { 1 } else { fewest.max(1) };
        let parts = self.threads().min(count / fewest).max(1);
        let granularity = granularity.max(1);
        let end = |part: usize| {
            let nearest = (part * count / parts + granularity / 2) / granularity * granularity;
            if part == parts { count } else { nearest.min(count) }
        };
        let ranges = (0..parts).map(|part| end(part)..end(part + 1));
        ranges.filter(|range| parts == 1 || !range.is_empty()).collect()
    }

    /// Does something with each part of some work, the first in this thread and the others beside, and gathers what
    /// that gives, in the order of the parts. One thread alone takes no memory for it.
    pub fn each<P: Send, T: Send>(
        &self,
        parts: impl Iterator<Item = P>,
        run: impl Fn(P) -> T + Sync,
        mut gather: impl FnMut(T),
    ) {
        let Some(helpers) = &self.helpers else {
            return parts.for_each(|part| gather(run(part)));
        };
        let parts: Vec<P> = parts.collect();
        if parts.len() < 2 {
            return parts.into_iter().for_each(|part| gather(run(part)));
        }
        let mut given: Vec<Option<T>> = parts.iter().map(|_| None).collect();
        let (run, helped) = (&run, &self.helped);
        helpers.in_place_scope(|scope| {
            let mut work = given.iter_mut().zip(parts);
            let own = work.next();
            for (given, part) in work {
                scope.spawn(move |_| {
                    let start = ThreadTime::now();
                    *given = Some(run(part));
                    let took = start.elapsed().as_nanos() as u64;
                    helped.fetch_add(took, Ordering::Relaxed);
                });
            }
            if let Some((given, part)) = own {
                *given = Some(run(part));
            }
        });
        given.into_iter().for_each(|given| gather(given.expect("a part that was worked on")));
    }
}

/// Neighbouring places, so many at once.
pub fn in_strips(places: Range<usize>, at_once: usize) -> impl Iterator<Item = Range<usize>> {
    let (end, at_once) = (places.end, at_once.max(1));
    places.step_by(at_once).map(move |first| first..end.min(first + at_once))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_neighbours_at_multiples_and_nothing_is_left() {
        for threads in 1..=5 {
            let workers = Workers::new(threads);
            assert_eq!(workers.threads(), threads);
            for count in [0, 1, 2, 11, 12, 13, 100, 1000] {
                for granularity in [1, 4, 12, 1024] {
                    for fewest in [0, 1, 7, 500] {
                        let cuts = workers.cut(count, granularity, fewest);
                        let case = format!("{count} by {granularity} for {threads}: {cuts:?}");
                        assert!((1..=threads).contains(&cuts.len()), "{case}");
                        let ends = (cuts[0].start, cuts[cuts.len() - 1].end);
                        assert_eq!(ends, (0, count), "{case}");
                        for pair in cuts.windows(2) {
                            assert_eq!(pair[0].end, pair[1].start, "{case}");
                            assert!(pair[0].end.is_multiple_of(granularity), "{case}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn parts_are_worked_on_at_the_same_time_and_answered_in_order() {
        for threads in 1..=4 {
            let workers = Workers::new(threads);
            // Each waits for all others.
            let barrier = std::sync::Barrier::new(threads);
            let mut given = Vec::new();
            let work = |part| {
                barrier.wait();
                part * part
            };
            workers.each(0..threads, work, |square| given.push(square));
            assert_eq!(given, (0..threads).map(|part| part * part).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_time_of_helpers_is_told() {
        /// Works for some processor time.
        fn work(_: usize) {
            let start = ThreadTime::now();
            while start.elapsed() < Duration::from_millis(20) {}
        }
        let alone = Workers::default();
        alone.each(0..3, work, |()| {});
        assert_eq!((alone.threads(), alone.helped()), (1, Duration::ZERO));
        let three = Workers::new(3);
        three.each(0..3, work, |()| {});
        let helped = three.helped();
        assert!(helped >= Duration::from_millis(40), "{helped:?} of two helpers");
        assert!(helped < Duration::from_millis(80), "{helped:?} of two helpers");
    }
}
