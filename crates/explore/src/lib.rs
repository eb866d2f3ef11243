//! Many runs of one experiment: sweeps over its settings, a durable store of what each run found,
//! and what follows from all of them.
//!
//! A [`Sweep`] is an experiment, axes and seeds; it has [points](Sweep::point), each of which is an
//! experiment. A [`Trial`] is one experiment with one seed under the [`RunKey`] that its settings have.
//! An [`Explorer`] evaluates trials: from its [`RunStore`] where they are done, else by a run in fixed
//! point beside a golden model that all runs of the seed share. [`Analysis`] is a pure function of a
//! sweep and its store.
//!
//! *Invariant:* the same experiment has the same [`Line`] in the store, whoever ran it, when, and
//! beside how many others. Nothing here opens a file.

mod analysis;
mod error;
mod explorer;
mod key;
mod known;
mod panel;
mod record;
mod search;
mod spec;
mod store;
mod sweep;
mod tables;

pub use analysis::{
    AnalysedAxis, Analysis, CostKind, LookedAt, Lost, MeanCosts, Measure, PointAnalysis,
    SelectedOn, Sensitivity, Within,
};
pub use error::Error;
pub use explorer::{Explorer, Trial};
pub use key::RunKey;
pub use record::{
    Found, FoundTensor, GiveUp, Initial, LearningCurves, Line, RunOutcome, Scores, Stopped,
};
pub use search::{
    FoundPlan, FoundWidth, HeldBack, How, NoiseForecast, NothingWithin, Place, PlanVerdict, Search,
    SearchEvent, SearchReport, SearchSpec, SearchStep, SpareBits, Start, StartName, Tightening,
    TighteningReport, Trainings, TriedOffset, WidthChange, WidthClass,
};
pub use spec::{AxisSpec, AxisValues, Bundle, Mode, Paths, Seeds, SweepSpec};
pub use store::{Journal, Lines, RunStore};
pub use sweep::{AxisLevel, RUNS_MAX, Sweep, SweepAxis, shown};
pub use tables::{results_csv, runs_csv};
