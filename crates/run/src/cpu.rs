//! What the parts of a run take of processors.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use serde::Serialize;
use systoliq_program::Workers;

/// Seconds of processor time that the parts of a run have taken, each apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CpuSeconds {
    /// Steps in fixed point.
    pub fixed_training: f64,
    /// Steps of the golden model.
    pub golden_training: f64,
    /// Evaluations of both.
    pub evaluation: f64,
    /// Comparing tensors of both.
    pub comparison: f64,
    /// Counting toggles and operands that are zero.
    pub counting: f64,
}

impl CpuSeconds {
    /// Takes what counting took out of the training of which it is a part.
    pub(crate) fn set_counting_apart(&mut self, seconds: f64) {
        self.counting += seconds;
        self.fixed_training -= seconds;
    }
}

impl AddAssign for CpuSeconds {
    fn add_assign(&mut self, other: Self) {
        let Self { fixed_training, golden_training, evaluation, comparison, counting } = other;
        self.fixed_training += fixed_training;
        self.golden_training += golden_training;
        self.evaluation += evaluation;
        self.comparison += comparison;
        self.counting += counting;
    }
}

/// Measures what a thread and its helpers take, beside the time that passes.
pub(crate) struct Stopwatch<'w> {
    cpu: ThreadTime,
    wall: Instant,
    workers: Option<&'w Workers>,
    /// What helpers had taken at the start.
    helped: Duration,
}

/// Pieces of the time that a stopwatch measures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MeasuredPieces {
    /// The time that passed in those without helpers: a look at that clock costs a step little.
    passed: Duration,
    /// What those took whose thread may have waited for helpers at other times.
    taken: f64,
}

impl MeasuredPieces {
    /// Does something as a piece of them.
    pub(crate) fn add<T>(&mut self, workers: &Workers, run: impl FnOnce() -> T) -> T {
        if workers.threads() == 1 {
            let start = Instant::now();
            let given = run();
            self.passed += start.elapsed();
            return given;
        }
        let stopwatch = Stopwatch::of(workers);
        let given = run();
        self.taken += stopwatch.seconds();
        given
    }
}

impl<'w> Stopwatch<'w> {
    /// Of a thread that has no helpers.
    pub(crate) fn start() -> Self {
        let (cpu, wall) = (ThreadTime::now(), Instant::now());
        Self { cpu, wall, workers: None, helped: Duration::ZERO }
    }

    /// Of a thread that runs commands with workers.
    pub(crate) fn of(workers: &'w Workers) -> Self {
        Self { workers: Some(workers), helped: workers.helped(), ..Self::start() }
    }

    /// Seconds of processor time since the start.
    pub(crate) fn seconds(&self) -> f64 {
        let helped = self.workers.map_or(Duration::ZERO, Workers::helped) - self.helped;
        (self.cpu.elapsed() + helped).as_secs_f64()
    }

    /// The part of these that pieces have: where only time has passed, as they have of that.
    pub(crate) fn seconds_of(&self, MeasuredPieces { passed, taken }: MeasuredPieces) -> f64 {
        let share = passed.as_secs_f64() / self.wall.elapsed().as_secs_f64().max(1e-9);
        taken + self.seconds() * share.min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works for some processor time.
    fn work(time: Duration) {
        let start = ThreadTime::now();
        while start.elapsed() < time {}
    }

    #[test]
    fn seconds_are_those_of_a_thread_and_its_helpers_and_pieces_a_part_of_them() {
        let unit = Duration::from_millis(20);
        let is = |seconds: f64, units: f64| {
            let found = seconds / unit.as_secs_f64();
            assert!((found - units).abs() < 0.7, "{found} instead of {units}");
        };
        let (workers, mut pieces) = (Workers::new(3), MeasuredPieces::default());
        // What was before the start does not count.
        let share = |times: [Duration; 3]| workers.each(times.into_iter(), work, |()| {});
        share([unit; 3]);
        let stopwatch = Stopwatch::of(&workers);
        share([unit; 3]);
        is(stopwatch.seconds(), 3.0);
        pieces.add(&workers, || share([Duration::ZERO, unit, unit]));
        is(stopwatch.seconds(), 5.0);
        is(stopwatch.seconds_of(pieces), 2.0);
        let (alone, mut pieces) = (Workers::default(), MeasuredPieces::default());
        let stopwatch = Stopwatch::of(&alone);
        pieces.add(&alone, || work(2 * unit));
        work(unit);
        assert!(stopwatch.seconds_of(pieces) < stopwatch.seconds());
        is(stopwatch.seconds(), 3.0);
    }
}
