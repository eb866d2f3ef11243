//! Accumulators as they are stated: of all products of a layer, or of one of the three that train it.

use std::num::NonZero;

use systoliq_fxp::{Accumulator, Overflow, Rounding};
use systoliq_nn::EntryName;

use crate::Error;
use crate::command::Pass;
use crate::spec::{AccumulatorSettings, PrecisionSpec};

/// What is stated of a layer's accumulators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerAccumulators {
    /// One for each of [`AccumulatorSettings::PASSES`].
    of: [StatedAccumulator; 3],
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct StatedAccumulator {
    settings: AccumulatorSettings,
    /// Of the most special that states anything.
    path: String,
}

impl LayerAccumulators {
    /// What the general plan and the override of an entry say. What is said of one product goes
    /// before what is said of all at the same place, and an override before the general plan.
    pub(super) fn stated(
        general: &PrecisionSpec,
        special: Option<&PrecisionSpec>,
        entry: EntryName,
    ) -> Result<Self, Error> {
        let place = format!("precision.layers.{entry}.accumulator");
        let levels = [(special, place), (Some(general), "precision.accumulator".to_owned())];
        let levels = levels
            .into_iter()
            .filter_map(|(spec, place)| Some((spec?.accumulator.as_ref()?, place)));
        let levels: Vec<_> = levels.collect();
        let of = AccumulatorSettings::PASSES.map(|pass| {
            let products = levels.iter().flat_map(|(stated, place)| {
                let own = stated.of(pass).map(|own| (own, format!("{place}.{pass}"), true));
                own.into_iter().chain([(*stated, place.clone(), false)])
            });
            StatedAccumulator::merged(products)
        });
        let [forward, input_gradient, weight_gradient] = of;
        Ok(Self { of: [forward?, input_gradient?, weight_gradient?] })
    }

    /// The accumulator of a product whose operands have `operand_bits` bits together.
    pub(super) fn accumulator(&self, pass: Pass, operand_bits: u32) -> Result<Accumulator, Error> {
        let default_bits = match operand_bits {
            ..=16 => 32,
            17..=32 => 48,
            _ => 64,
        };
        let stated = &self.of(pass).settings;
        let accumulator = Accumulator::new(
            stated.bits.unwrap_or(default_bits),
            stated.frac,
            stated.rounding.unwrap_or(Rounding::Floor),
            stated.overflow.unwrap_or(Overflow::Wrap),
        );
        let problem = |problem| self.problem(pass, problem);
        let accumulator = accumulator
            .map_err(|error| problem(error.to_string()))?
            .limited_at(stated.overflow_at.unwrap_or_default());
        let accumulator = match stated.drop {
            None => accumulator,
            Some(drop) if drop < operand_bits => accumulator.dropping(drop),
            Some(drop) => {
                return Err(problem(format!(
                    "{drop} of the {operand_bits} bits of a product dropped: expected at most {}",
                    operand_bits.saturating_sub(1)
                )));
            }
        };
        match stated.chunk.map(NonZero::new) {
            None => Ok(accumulator),
            Some(Some(chunk)) => Ok(accumulator.in_chunks(chunk)),
            Some(None) => Err(problem("a chunk of 0 products: expected at least 1".into())),
        }
    }

    /// What is wrong with the accumulator of a product, at its path.
    pub(super) fn problem(&self, pass: Pass, problem: String) -> Error {
        Error::Role { path: self.of(pass).path.clone(), problem }
    }

    fn of(&self, pass: Pass) -> &StatedAccumulator {
        let at = AccumulatorSettings::PASSES.iter().position(|&one| one == pass);
        &self.of[at.expect("a pass with products")]
    }
}

impl StatedAccumulator {
    /// What is stated at these places, of one product or of all, the most special first.
    fn merged<'s>(
        stated: impl Iterator<Item = (&'s AccumulatorSettings, String, bool)>,
    ) -> Result<Self, Error> {
        let mut merged = AccumulatorSettings::default();
        let mut path = None;
        for (own, place, of_one) in stated {
            if let Some(problem) = contradiction(own, of_one) {
                return Err(Error::Role { path: place, problem });
            }
            merged = over(&merged, own);
            path.get_or_insert(place);
        }
        let path = path.unwrap_or_else(|| "precision.accumulator".to_owned());
        Ok(Self { settings: merged, path })
    }
}

/// What cannot stand in one object.
fn contradiction(stated: &AccumulatorSettings, of_one: bool) -> Option<String> {
    let further = AccumulatorSettings::PASSES.into_iter().find(|&pass| stated.of(pass).is_some());
    if let Some(pass) = further.filter(|_| of_one) {
        return Some(format!("settings of one product; expected no further \"{pass}\" in them"));
    }
    let (frac, drop) = (stated.frac?, stated.drop?);
    Some(format!(
        "\"frac\" is {frac} and \"drop\" {drop}: expected one of them, as each says where the lowest bit \
         stands"
    ))
}

/// Settings where they state something, else those below. Whatever says where the lowest bit stands
/// does not take the other way to say it from below.
fn over(special: &AccumulatorSettings, general: &AccumulatorSettings) -> AccumulatorSettings {
    let lowest = match special {
        AccumulatorSettings { frac: None, drop: None, .. } => general,
        _ => special,
    };
    AccumulatorSettings {
        bits: special.bits.or(general.bits),
        frac: lowest.frac,
        drop: lowest.drop,
        rounding: special.rounding.or(general.rounding),
        overflow: special.overflow.or(general.overflow),
        overflow_at: special.overflow_at.or(general.overflow_at),
        chunk: special.chunk.or(general.chunk),
        ..AccumulatorSettings::default()
    }
}
