//! The widths of an experiment, each of which can be lowered by itself.
//!
//! A width belongs to a role in a layer: to all tensors that `precision.layers.LAYER.ROLE` decides; or to
//! the accumulators of one of its products. Lowering it drops low bits: a format whose fraction bits are
//! stated keeps its range, and a scale that follows the range goes on to. An accumulator that drops bits of
//! its products keeps its range, too, and its lowest bit where only its operands are lowered. One that keeps
//! all loses range.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use systoliq_fxp::Scale;
use systoliq_program::spec::AccumulatorSettings;
use systoliq_program::{EntryName, Pass, Program, Role, TensorDecl, TensorPlan};
use systoliq_run::{Error, Experiment, Prepared, path};

/// The fewest bits that are tried.
const BITS_MIN: u32 = 2;

/// What has a width of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The layer with weights, from 0.
    pub layer: usize,
    /// The role as the `precision` section names it; or `accumulator.PASS`.
    pub role: String,
}

impl Place {
    /// That of the accumulators of a pass.
    fn of_sums(layer: usize, pass: Pass) -> Self {
        Self { layer, role: format!("accumulator.{pass}") }
    }

    /// That of a tensor that a product reads.
    fn of_operand(decl: &TensorDecl) -> Option<Self> {
        let role = if decl.role == Role::Master { Role::Weights } else { decl.role };
        Some(Self { layer: decl.entry.number()?, role: role.name().to_owned() })
    }

    /// Whether it is one of accumulators.
    pub(super) fn is_sums(&self) -> bool {
        AccumulatorSettings::PASSES.into_iter().any(|pass| self.is_sums_of(pass))
    }

    /// Whether it is that of the accumulators of a pass.
    pub(super) fn is_sums_of(&self, pass: Pass) -> bool {
        self.role.strip_prefix("accumulator.") == Some(pass.name())
    }
}

/// One width of an experiment.
#[derive(Clone, Debug, PartialEq)]
struct Width {
    place: Place,
    /// As the experiment has it.
    bits: u32,
    /// The fraction bits that go with them, if they have to be stated with fewer bits.
    frac: Option<i32>,
    /// Of accumulators that drop bits.
    dropped: Option<DroppedBits>,
}

/// The bits of its products that an accumulator drops.
#[derive(Clone, Debug, PartialEq)]
struct DroppedBits {
    /// How many.
    drop: u32,
    /// Whose products they are.
    operands: [Option<Place>; 2],
}

/// An experiment whose widths can be lowered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Adjustable {
    experiment: Value,
    widths: Vec<Width>,
}

impl Adjustable {
    /// The widths of every tensor of a step and of the accumulators of every product, in the order of the
    /// program. Weights have a width also where they are the master, as they have one format.
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
                    let bits = plan.format.bits();
                    widths.push(Width { place, bits, frac: None, dropped: None });
                }
            }
        }
        widths.extend(sums(&prepared.program));
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
        let narrowed =
            self.lowered(&fewer).ok().and_then(|experiment| Prepared::new(experiment).ok());
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

    /// The experiment with these widths.
    ///
    /// # Errors
    ///
    /// Why they are impossible, if they are.
    ///
    /// # Panics
    ///
    /// If there are not as many as widths.
    pub(super) fn with_bits(&self, bits: &[u32]) -> Result<Experiment, String> {
        let experiment = self.lowered(bits)?;
        Prepared::new(experiment.clone()).map_err(|error| error.to_string())?;
        Ok(experiment)
    }

    fn lowered(&self, bits: &[u32]) -> Result<Experiment, String> {
        assert_eq!(bits.len(), self.widths.len(), "a number of bits for each width");
        let mut json = self.experiment.clone();
        for (at, width) in self.widths.iter().enumerate() {
            let Place { layer, role } = &width.place;
            let layer = layer.to_string();
            let mut path = vec!["precision", "layers", &layer];
            path.extend(role.split('.'));
            let mut put = |key: &str, value: Value| {
                let path: Vec<&str> = path.iter().copied().chain([key]).collect();
                path::put(&mut json, &path, value)
            };
            let (mut now, mut drop) = (bits[at], None);
            if let Some(dropped) = &width.dropped {
                (now, drop) = self.register(width, dropped, bits, now)?;
            }
            if now != width.bits {
                put("bits", json!(now))?;
                if let Some(frac) = width.frac {
                    put("frac", json!(frac + now as i32 - width.bits as i32))?;
                }
            }
            if let Some(drop) = drop {
                put("drop", json!(drop))?;
            }
        }
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    /// The bits of a register of so many, and what it drops if that differs, where operands have lost the low
    /// bits that these widths say: its lowest bit stays, unless products end above it.
    fn register(
        &self,
        width: &Width,
        dropped: &DroppedBits,
        bits: &[u32],
        now: u32,
    ) -> Result<(u32, Option<u32>), String> {
        let lost = |place: &Place| {
            let at = self.widths.iter().position(|width| width.place == *place);
            at.map_or(0, |at| i64::from(self.widths[at].bits) - i64::from(bits[at]))
        };
        let lost: i64 = dropped.operands.iter().flatten().map(lost).sum();
        let drop = i64::from(dropped.drop) + i64::from(width.bits) - i64::from(now) - lost;
        let left = i64::from(now) + drop.min(0);
        let Place { layer, role } = &width.place;
        let now = u32::try_from(left).map_err(|_| {
            format!("precision.layers.{layer}.{role}: {left} bits, expected at least 2")
        })?;
        let drop = drop.max(0) as u32;
        Ok((now, (drop != dropped.drop).then_some(drop)))
    }
}

/// The widths of the accumulators of every product.
fn sums(program: &Program) -> impl Iterator<Item = Width> {
    program.commands.iter().filter_map(|command| {
        let (layer, product) = (command.entry.number()?, command.operation.product()?);
        let accumulator = &product.accumulator;
        let operands =
            [product.a, product.b].map(|operand| Place::of_operand(program.tensor(operand.tensor)));
        let drop = accumulator.dropped().filter(|&drop| drop > 0);
        Some(Width {
            place: Place::of_sums(layer, command.pass),
            bits: accumulator.bits(),
            frac: None,
            dropped: drop.map(|drop| DroppedBits { drop, operands }),
        })
    })
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
    use std::collections::BTreeMap;

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
        // Of registers that drop bits, the place of the top one above that of the operands'.
        let sums = prepared.program.all_writes().filter_map(|(_, write, command)| {
            let product = command.operation.product()?;
            let place = Place::of_sums(number(command.entry), command.pass);
            let accumulator = &product.accumulator;
            let bits = |id| prepared.program.tensor(id).plan.format.bits();
            let products = bits(product.a.tensor) + bits(product.b.tensor);
            let drop = accumulator.dropped().filter(|&drop| drop > 0);
            let top = drop.map(|drop| (accumulator.bits() + drop) as i32 - products as i32);
            Some(((place, write.name.clone()), (accumulator.bits(), top)))
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
            json!({ "weights": "Q1.9", "accumulator": {
                "bits": 32, "forward": { "bits": 12, "drop": 9 }, "weight_gradient": { "drop": 12 } } }),
        ] {
            let experiment = experiment(precision.clone());
            let adjustable = Adjustable::new(&experiment).unwrap();
            let before = formats(&experiment);
            assert_eq!(adjustable.with_bits(&adjustable.bits()), Ok(experiment));
            let mut lowered = 0;
            for at in 0..adjustable.widths.len() {
                for drop in 1..=3 {
                    let mut bits = adjustable.bits();
                    bits[at] -= drop;
                    let place = adjustable.place(at);
                    let narrowed = match adjustable.with_bits(&bits) {
                        Ok(narrowed) => narrowed,
                        Err(problem) => {
                            // Accumulators that no product of theirs fits are refused, at their place.
                            assert!(place.is_sums(), "{precision}");
                            let path = format!("precision.layers.{}.{}: ", place.layer, place.role);
                            assert!(problem.starts_with(&path), "{precision}: {problem}");
                            assert!(problem.contains("cannot hold one product"), "{problem}");
                            continue;
                        }
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
