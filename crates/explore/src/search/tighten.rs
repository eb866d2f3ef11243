//! How many bits a plan has to spare: of all widths together, and of one class of them at a time.
//!
//! A class is lowered by one offset: by 1, 2, 4, … bits as long as the plan stays within the budget of a
//! [search](super), and then by halves between what is within it and what is not. No width goes below its least, and the other
//! classes stay as the plan has them. Beside what training says stands a [`NoiseForecast`], for which nothing is
//! trained.
//!
//! *Invariant:* what is asked next depends on lines of the store alone.

use serde::Serialize;
use systoliq_energy::EnergyUnit;
use systoliq_nn::Extended;
use systoliq_program::Pass;
use systoliq_run::{Error as SimError, Experiment};

use super::bench::{Bench, Tried};
use super::{Adjustable, Place, PlanVerdict, SearchEvent, SearchSpec};
use crate::{CostKind, Error, Explorer, RunKey};

/// Widths that are lowered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WidthClass {
    /// Every width.
    All,
    /// Weights as the array reads them.
    Weights,
    /// Input, activations and logits.
    Activations,
    /// Gradients of activations and the error.
    Gradients,
    /// Gradients of weights and biases.
    WeightGradients,
    /// What updates write: masters, biases, residuals and momentum.
    Masters,
    /// Accumulators of every product.
    Accumulators,
    /// Those of the forward pass.
    ForwardSums,
    /// Those of gradients of activations.
    InputGradientSums,
    /// Those of gradients of weights and biases.
    WeightGradientSums,
}

impl WidthClass {
    /// Every class, all widths first.
    pub const ALL: [Self; 10] = [
        Self::All,
        Self::Weights,
        Self::Activations,
        Self::Gradients,
        Self::WeightGradients,
        Self::Masters,
        Self::Accumulators,
        Self::ForwardSums,
        Self::InputGradientSums,
        Self::WeightGradientSums,
    ];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Weights => "weights",
            Self::Activations => "activations",
            Self::Gradients => "gradients",
            Self::WeightGradients => "weight gradients",
            Self::Masters => "masters",
            Self::Accumulators => "accumulators",
            Self::ForwardSums => "of forward products",
            Self::InputGradientSums => "of input gradients",
            Self::WeightGradientSums => "of weight gradients",
        }
    }

    /// Whether a width is of this class.
    pub fn has(self, place: &Place) -> bool {
        let role = place.role.as_str();
        match self {
            Self::All => true,
            Self::Weights => role == "weights",
            Self::Activations => ["input", "activations", "logits"].contains(&role),
            Self::Gradients => ["gradients", "error"].contains(&role),
            Self::WeightGradients => role == "weight_gradients",
            Self::Masters => ["master", "bias", "residual", "momentum"].contains(&role),
            Self::Accumulators => place.is_sums(),
            Self::ForwardSums => place.is_sums_of(Pass::Forward),
            Self::InputGradientSums => place.is_sums_of(Pass::InputGradient),
            Self::WeightGradientSums => place.is_sums_of(Pass::WeightGradient),
        }
    }
}

/// Everything that a tightening found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TighteningReport {
    /// The version of the layout.
    pub schema_version: u32,
    /// The name of the experiment.
    pub name: String,
    /// What a plan may lose.
    pub margin: f64,
    /// Quantization noise in the weight gradients of the plan, as a share of their noise from batch to batch.
    pub noise_ratio: Extended,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// What energy is counted in; nothing if no run was trained to its end.
    pub energy_unit: Option<EnergyUnit>,
    /// The plan as it is.
    pub plan: TriedOffset,
    /// What each class that the plan has widths of has to spare; nothing where the plan itself is beyond the
    /// budget.
    pub spare: Vec<SpareBits>,
    /// How many runs it took.
    pub trainings: usize,
}

/// What a class has to spare.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpareBits {
    /// The class.
    pub class: WidthClass,
    /// By how many bits all of it was lowered within the budget.
    pub bits: u32,
    /// By how many bits, without training, quantization noise in the weight gradients stays below their noise
    /// from batch to batch; nothing if the class adds none to it.
    pub free: Option<u32>,
    /// With these.
    pub within: TriedOffset,
    /// With the next, if there were widths to lower and they are possible: beyond the budget.
    pub beyond: Option<TriedOffset>,
    /// Why the next are impossible, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A plan, lowered by an offset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TriedOffset {
    /// The offset.
    pub bits: u32,
    /// What came of it.
    pub verdict: PlanVerdict,
    /// With how many seeds it was tried.
    pub seeds: usize,
    /// The mean loss with these on the part that is selected on.
    pub lost: Extended,
    /// The standard error of that mean; nothing for one seed.
    pub lost_error: Option<Extended>,
    /// The mean of what was lost after the latest epochs.
    pub lost_lately: Extended,
    /// The mean energy, in picojoules or their unit; nothing unless all runs were trained to their end.
    pub energy_pj: Option<f64>,
}

impl TriedOffset {
    fn new(bits: u32, tried: &Tried) -> Self {
        let [lost_error, _] = tried.standard_errors().map(|error| error.map(Extended));
        Self {
            bits,
            verdict: tried.verdict,
            seeds: tried.lost.len(),
            lost: Extended(tried.mean()),
            lost_error,
            lost_lately: Extended(tried.mean_lately()),
            energy_pj: tried.cost,
        }
    }
}

/// What noise says of spare bits.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseForecast {
    /// The noise of the plan as it is.
    plan: f64,
    /// The bits of each of [`WidthClass::ALL`] with which it stays below 1.
    free: Vec<Option<u32>>,
}

/// A plan whose widths are lowered class by class.
pub struct Tightening {
    spec: SearchSpec,
    plan: Adjustable,
}

impl Tightening {
    /// Of the plan of an experiment, which may lose so much with these seeds in the mean.
    ///
    /// # Errors
    ///
    /// If the experiment is impossible.
    ///
    /// # Panics
    ///
    /// If there are no seeds.
    pub fn new(experiment: Experiment, margin: f64, seeds: Vec<u64>) -> Result<Self, SimError> {
        assert!(!seeds.is_empty(), "seeds");
        let plan = Adjustable::new(&experiment)?;
        let (cost, held_back, runs_max) = (CostKind::EnergyPj, Vec::new(), usize::MAX);
        let spec =
            SearchSpec { experiment, margin, cost, seeds, held_back, confirm: false, runs_max };
        Ok(Self { spec, plan })
    }

    /// By how many bits each class can be lowered with what `noise` says of an experiment below 1.
    ///
    /// # Errors
    ///
    /// Those of `noise`.
    pub fn forecast<E>(
        &self,
        noise: &dyn Fn(&Experiment) -> Result<f64, E>,
    ) -> Result<NoiseForecast, E> {
        let plan = noise(&self.spec.experiment)?;
        let mut free = Vec::new();
        for class in WidthClass::ALL {
            let (mut bits, mut matters) = (0, false);
            for by in 1..=self.room(class) {
                let Ok(lowered) = self.plan.with_bits(&self.lowered(class, by)) else { break };
                let found = noise(&lowered)?;
                matters |= found != plan;
                if found >= 1.0 || found.is_nan() {
                    break;
                }
                bits = by;
            }
            free.push(matters.then_some(bits));
        }
        Ok(NoiseForecast { plan, free })
    }

    /// Lowers every class, in the present thread pool, and has `watch` see runs. Also returns the keys of all
    /// runs in the order in which they were first asked for.
    ///
    /// # Errors
    ///
    /// Those of [`Explorer::evaluate`].
    pub fn run(
        &self,
        forecast: &NoiseForecast,
        explorer: &Explorer<'_>,
        watch: &(dyn Fn(SearchEvent<'_>) + Sync),
    ) -> Result<(TighteningReport, Vec<RunKey>), Error> {
        let mut bench = Bench::new(&self.spec, explorer, watch);
        let plan = TriedOffset::new(0, &bench.judge_in_full(&self.spec.experiment)?);
        let mut spare = Vec::new();
        if plan.verdict == PlanVerdict::Within {
            for (class, &free) in WidthClass::ALL.into_iter().zip(&forecast.free) {
                if self.has_widths(class) {
                    spare.push(self.spare(class, free, &plan, &mut bench)?);
                }
            }
        }
        let (trainings, energy_unit) = (bench.trainings(), bench.energy_unit());
        let report = TighteningReport {
            schema_version: 1,
            name: self.spec.experiment.name.clone(),
            margin: self.spec.margin,
            noise_ratio: Extended(forecast.plan),
            seeds: self.spec.seeds.clone(),
            energy_unit,
            plan,
            spare,
            trainings,
        };
        Ok((report, bench.into_asked()))
    }

    /// The most bits within the budget, and with one more what is beyond it or impossible.
    fn spare(
        &self,
        class: WidthClass,
        free: Option<u32>,
        plan: &TriedOffset,
        bench: &mut Bench<'_>,
    ) -> Result<SpareBits, Error> {
        let (mut within, mut beyond, mut refused) = (plan.clone(), None, None);
        // What is known to be too much, tried or impossible.
        let mut too_much = self.room(class) + 1;
        let mut doubling = true;
        while within.bits + 1 < too_much {
            let between = within.bits + (too_much - within.bits) / 2;
            let by = if doubling { (2 * within.bits).max(1).min(too_much - 1) } else { between };
            let lowered = match self.plan.with_bits(&self.lowered(class, by)) {
                Ok(lowered) => lowered,
                Err(problem) => {
                    (too_much, doubling, refused) = (by, false, Some((by, problem)));
                    continue;
                }
            };
            let tried = TriedOffset::new(by, &bench.judge(&lowered)?);
            if tried.verdict == PlanVerdict::Within {
                within = tried;
            } else {
                (too_much, doubling) = (by, false);
                beyond = Some(tried);
            }
        }
        let bits = within.bits;
        let beyond = beyond.filter(|tried: &TriedOffset| tried.bits == bits + 1);
        let refused = refused.filter(|&(by, _)| by == bits + 1).map(|(_, problem)| problem);
        Ok(SpareBits { class, bits, free, within, beyond, refused })
    }

    /// Whether any width is of a class.
    fn has_widths(&self, class: WidthClass) -> bool {
        (0..self.plan.bits().len()).any(|at| class.has(self.plan.place(at)))
    }

    /// The most bits that any width of a class can lose.
    fn room(&self, class: WidthClass) -> u32 {
        let bits = self.plan.bits().into_iter().enumerate();
        let of_class = bits.filter(|&(at, _)| class.has(self.plan.place(at)));
        of_class.map(|(at, bits)| bits - self.plan.bits_min(at)).max().unwrap_or(0)
    }

    fn lowered(&self, class: WidthClass, by: u32) -> Vec<u32> {
        let bits = self.plan.bits().into_iter().enumerate();
        let lower = |(at, bits): (usize, u32)| match class.has(self.plan.place(at)) {
            true => bits.saturating_sub(by).max(self.plan.bits_min(at)),
            false => bits,
        };
        bits.map(lower).collect()
    }
}
