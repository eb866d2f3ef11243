//! The widths of an experiment, each of which can be lowered by itself.
//!
//! A width belongs to a role in a layer: to all tensors that `precision.layers.LAYER.ROLE` decides.
//! Lowering it drops low bits: a format whose fraction bits are stated keeps its range, and a scale
//! that follows the range goes on to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use systoliq_fxp::Scale;
use systoliq_program::{EntryName, Role, TensorDecl, TensorPlan};
use systoliq_run::{Error, Experiment, Prepared, path};

/// The fewest bits that are tried.
const BITS_MIN: u32 = 2;

/// What accumulators have in the place of a role.
const ACCUMULATOR: &str = "accumulator";

/// What has a width of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The layer with weights, from 0.
    pub layer: usize,
    /// The role as the `precision` section names it, or `accumulator`.
    pub role: String,
}

/// One width of an experiment.
#[derive(Clone, Debug, PartialEq)]
struct Width {
    place: Place,
    /// As the experiment has it.
    bits: u32,
    /// The fraction bits that go with them, if they have to be stated with fewer bits.
    frac: Option<i32>,
}

/// An experiment whose widths can be lowered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Adjustable {
    experiment: Value,
    widths: Vec<Width>,
}

impl Adjustable {
    /// The widths of every tensor of a step and of every layer's accumulators, in the order of the
    /// program; of accumulators that differ within a layer, the widest. Weights have a width also where
    /// they are the master, as they have one format.
    ///
    /// # Errors
    ///
    /// If the experiment is impossible.
    pub(super) fn new(experiment: &Experiment) -> Result<Self, Error> {
        let prepared = Prepared::new(experiment.clone())?;
        let mut widths: Vec<Width> = Vec::new();
        for decl in &prepared.program.tensors {
            // What has no number has no settings of its own.
            let Some(layer) = decl.entry.number() else { continue };
            let weights = (decl.role == Role::Master).then_some(Role::Weights);
            for role in [decl.role].into_iter().chain(weights) {
                let place = Place { layer, role: role.name().to_owned() };
                if widths.iter().all(|width| width.place != place) {
                    let plan = plan_of(&prepared, &place).expect("a tensor of the program");
                    widths.push(Width { place, bits: plan.format.bits(), frac: None });
                }
            }
        }
        let mut sums = BTreeMap::new();
        for command in &prepared.program.commands {
            let accumulator = command.operation.accumulator();
            if let (Some(accumulator), Some(layer)) = (accumulator, command.entry.number()) {
                let bits = sums.entry(layer).or_insert(0);
                *bits = accumulator.bits().max(*bits);
            }
        }
        for (layer, bits) in sums {
            let place = Place { layer, role: ACCUMULATOR.to_owned() };
            widths.push(Width { place, bits, frac: None });
        }
        let json = serde_json::to_value(experiment).expect("an experiment can be written as JSON");
        let mut adjustable = Self { experiment: json, widths };
        for at in 0..adjustable.widths.len() {
            adjustable.widths[at].frac = adjustable.frac_to_state(&prepared, at);
        }
        Ok(adjustable)
    }

    /// The fraction bits of a static format that a width alone would move the range of.
    fn frac_to_state(&self, prepared: &Prepared, at: usize) -> Option<i32> {
        let mut fewer = self.bits();
        fewer[at] = fewer[at].checked_sub(1).filter(|&bits| bits >= BITS_MIN)?;
        let plan = |prepared: &Prepared| plan_of(prepared, &self.widths[at].place);
        let stated = plan(prepared).filter(|plan| plan.scale == Scale::Static)?.format;
        let narrowed = self.lowered(&fewer).and_then(|experiment| Prepared::new(experiment).ok());
        let range = narrowed.and_then(|narrowed| Some(plan(&narrowed)?.format));
        let kept = range.is_some_and(|format| format.frac() == stated.frac() - 1);
        (!kept).then_some(stated.frac())
    }

    /// What has a width.
    pub(super) fn place(&self, at: usize) -> &Place {
        &self.widths[at].place
    }

    /// The width at a place.
    pub(super) fn bits_at(&self, place: &Place) -> Option<u32> {
        self.widths.iter().find(|width| width.place == *place).map(|width| width.bits)
    }

    /// The widths as the experiment has them.
    pub(super) fn bits(&self) -> Vec<u32> {
        self.widths.iter().map(|width| width.bits).collect()
    }

    /// The fewest bits of a width: two, or as many as there are.
    pub(super) fn bits_min(&self, at: usize) -> u32 {
        BITS_MIN.min(self.widths[at].bits)
    }

    /// The experiment with these widths; nothing if they are impossible.
    ///
    /// # Panics
    ///
    /// If there are not as many as widths.
    pub(super) fn with_bits(&self, bits: &[u32]) -> Option<Experiment> {
        self.lowered(bits).filter(|experiment| Prepared::new(experiment.clone()).is_ok())
    }

    fn lowered(&self, bits: &[u32]) -> Option<Experiment> {
        assert_eq!(bits.len(), self.widths.len(), "a number of bits for each width");
        let mut json = self.experiment.clone();
        for (width, &bits) in self.widths.iter().zip(bits) {
            if bits == width.bits {
                continue;
            }
            let Place { layer, role } = &width.place;
            let layer = layer.to_string();
            let mut put = |key: &str, value: Value| {
                path::put(&mut json, &["precision", "layers", &layer, role, key], value).ok()
            };
            put("bits", json!(bits))?;
            if let Some(frac) = width.frac {
                put("frac", json!(frac + bits as i32 - width.bits as i32))?;
            }
        }
        serde_json::from_value(json).ok()
    }
}

/// The plan of the tensors at a place; nothing for accumulators.
fn plan_of(prepared: &Prepared, place: &Place) -> Option<TensorPlan> {
    if place.role == Role::Weights.name() {
        return Some(prepared.plan.layers[place.layer].weights);
    }
    let mut tensors = prepared.program.tensors.iter();
    let entry = EntryName::Number(place.layer);
    let here = |decl: &&TensorDecl| decl.entry == entry && decl.role.name() == place.role;
    tensors.find(here).map(|decl| decl.plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment(precision: Value) -> Experiment {
        serde_json::from_value(json!({
            "name": "small",
            "seed": 1,
            "dataset": { "kind": "digits" },
            "network": {
                "input": [64],
                "layers": [{ "dense": { "units": 4 } }, "relu", { "dense": { "units": 10 } }],
                "loss": "softmax_cross_entropy"
            },
            "training": { "epochs": 2, "batch": 64, "rate": 0.5, "momentum": 0.5 },
            "precision": precision,
            "accelerator": { "array": { "rows": 8, "cols": 8 } }
        }))
        .unwrap()
    }

    /// Every tensor's and accumulator's width and, of a static format, range, by its place and name.
    fn formats(experiment: &Experiment) -> BTreeMap<(Place, String), (u32, Option<i32>)> {
        let prepared = Prepared::new(experiment.clone()).unwrap();
        let format = |plan: &TensorPlan| {
            let (bits, frac) = (plan.format.bits(), plan.format.frac());
            (bits, (plan.scale == Scale::Static).then_some(bits as i32 - frac))
        };
        let place = |layer, role: Role| Place { layer, role: role.name().to_owned() };
        let number = |entry: EntryName| entry.number().expect("a chain of layers");
        let tensors = prepared.program.tensors.iter().map(|decl| {
            ((place(number(decl.entry), decl.role), decl.name.clone()), format(&decl.plan))
        });
        // Also where they are the master.
        let weights = prepared.plan.layers.iter().enumerate().map(|(layer, plan)| {
            ((place(layer, Role::Weights), format!("w{layer}")), format(&plan.weights))
        });
        let sums = prepared.program.all_writes().filter_map(|(_, write, command)| {
            let place = Place { layer: number(command.entry), role: ACCUMULATOR.to_owned() };
            let accumulator = command.operation.accumulator()?;
            Some(((place, write.name.clone()), (accumulator.bits(), None)))
        });
        tensors.chain(weights).chain(sums).collect()
    }

    /// However formats are stated: by role, by layer, in Q notation, by width, not at all.
    #[test]
    fn lowering_a_width_drops_low_bits_of_its_place_and_nothing_else() {
        for precision in [
            json!({}),
            json!({
                "input": "UQ1.7",
                "weights": { "bits": 8, "scale": "initial", "spare": 2 },
                "error": { "bits": 8, "frac": 6 },
                "weight_gradients": { "bits": 12, "scale": "dynamic" },
                "accumulator": { "bits": 40 }
            }),
            json!({ "layers": {
                "0": { "weights": "Q1.8", "master": "Q1.12", "activations": "UQ3.5",
                       "accumulator": { "bits": 30 } },
                "1": { "logits": "Q5.4", "bias": "Q1.12", "error": "Q2.9", "weights": "Q3.5",
                       "accumulator": { "bits": 40 } }
            } }),
            json!({ "weights": "Q1.7", "residual": { "bits": 8 } }),
            json!({ "weights": "Q1.9", "master": "Q1.9", "accumulator": { "bits": 40 } }),
            json!({ "weights": "Q1.9", "master": "Q1.11", "accumulator": { "bits": 40 } }),
        ] {
            let experiment = experiment(precision.clone());
            let adjustable = Adjustable::new(&experiment).unwrap();
            let before = formats(&experiment);
            assert_eq!(adjustable.with_bits(&adjustable.bits()), Some(experiment));
            let mut lowered = 0;
            for at in 0..adjustable.widths.len() {
                for drop in 1..=3 {
                    let mut bits = adjustable.bits();
                    bits[at] -= drop;
                    let place = adjustable.place(at);
                    let Some(narrowed) = adjustable.with_bits(&bits) else {
                        // Accumulators that no product of theirs fits are refused.
                        assert_eq!(place.role, ACCUMULATOR, "{precision}");
                        continue;
                    };
                    for ((place_of, name), &(now, range)) in &formats(&narrowed) {
                        let (was, range_was) = before[&(place_of.clone(), name.clone())];
                        let expected = if place_of == place { was - drop } else { was };
                        // A residual has the range that an ulp of the weights has.
                        let follows = place_of.layer == place.layer
                            && place_of.role == "residual"
                            && place.role == "weights";
                        let range_was =
                            if follows { range_was.map(|r| r + drop as i32) } else { range_was };
                        assert_eq!(
                            (now, range),
                            (expected, range_was),
                            "{precision} {name} {place:?}"
                        );
                    }
                    lowered += 1;
                }
            }
            assert!(lowered > 30, "{precision}: {lowered}");
        }
    }
}
