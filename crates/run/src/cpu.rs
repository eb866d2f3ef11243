//! What the parts of a run take of processors.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use serde::Serialize;

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

/// Measures what a thread takes, beside the time that passes.
pub(crate) struct Stopwatch {
    cpu: ThreadTime,
    wall: Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { cpu: ThreadTime::now(), wall: Instant::now() }
    }

    /// Seconds of processor time since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.cpu.elapsed().as_secs_f64()
    }

    /// The part of these that has a part of the time that has passed: a look at that clock costs a step little.
    pub(crate) fn seconds_of(&self, part: Duration) -> f64 {
        let passed = self.wall.elapsed().as_secs_f64();
        if passed > 0.0 { self.seconds() * (part.as_secs_f64() / passed).min(1.0) } else { 0.0 }
    }
}
