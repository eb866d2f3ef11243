//! Accumulators as they are stated: of all products of a layer, or of one of the three that train it.

use std::num::NonZero;

use systoliq_fxp::{Accumulator, Overflow, Rounding};
use systoliq_nn::EntryName;

use crate::Error;
use crate::command::Pass;
use crate::spec::{AccumulatorSettings, PrecisionSpec};

/// What of an accumulator a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccumulatorPart {
    /// Its width.
    Bits,
    /// Where its lowest bit stands.
    Lowest,
    /// Both.
    Range,
    /// How many products it sums apart.
    Chunk,
}

impl AccumulatorPart {
    fn is_stated(self, settings: &AccumulatorSettings) -> bool {
        let AccumulatorSettings { bits, frac, drop, chunk, .. } = settings;
        match self {
            Self::Bits => bits.is_some(),
            Self::Lowest => frac.is_some() || drop.is_some(),
            Self::Range => bits.is_some() || frac.is_some() || drop.is_some(),
            Self::Chunk => chunk.is_some(),
        }
    }
}

/// What is stated of a layer's accumulators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerAccumulators {
    /// One for each of [`AccumulatorSettings::PASSES`].
    of: [StatedAccumulator; 3],
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct StatedAccumulator {
    settings: AccumulatorSettings,
    /// What is stated where, the most special first.
    stated: Vec<(AccumulatorSettings, String)>,
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
        let problem = |of, problem| self.problem(pass, of, problem);
        let part = |error: &systoliq_fxp::Error| match error {
            systoliq_fxp::Error::AccumulatorBits { .. } => AccumulatorPart::Bits,
            _ => AccumulatorPart::Lowest,
        };
        let accumulator = accumulator
            .map_err(|error| problem(part(&error), error.to_string()))?
            .limited_at(stated.overflow_at.unwrap_or_default());
        let accumulator = match stated.drop {
            None => accumulator,
            Some(drop) if drop < operand_bits => accumulator.dropping(drop),
            Some(drop) => {
                let most = operand_bits.saturating_sub(1);
                let dropped = format!(
                    "{drop} of the {operand_bits} bits of a product dropped: expected at most {most}"
                );
                return Err(problem(AccumulatorPart::Lowest, dropped));
            }
        };
        match stated.chunk.map(NonZero::new) {
            None => Ok(accumulator),
            Some(Some(chunk)) => Ok(accumulator.in_chunks(chunk)),
            Some(None) => {
                let problem_of_chunk = "a chunk of 0 products: expected at least 1".to_owned();
                Err(problem(AccumulatorPart::Chunk, problem_of_chunk))
            }
        }
    }

    /// What is wrong with something of the accumulator of a product, where that is stated last.
    pub(super) fn problem(&self, pass: Pass, of: AccumulatorPart, problem: String) -> Error {
        Error::Role { path: self.of(pass).path(of), problem }
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
        let mut merged = Self { settings: AccumulatorSettings::default(), stated: Vec::new() };
        for (own, place, of_one) in stated {
            if let Some(problem) = contradiction(own, of_one) {
                return Err(Error::Role { path: place, problem });
            }
            merged.settings = over(&merged.settings, own);
            merged.stated.push((own.clone(), place));
        }
        Ok(merged)
    }

    /// The most special place that states something; that of all accumulators if none does.
    fn path(&self, of: AccumulatorPart) -> String {
        let place = self.stated.iter().find(|(settings, _)| of.is_stated(settings));
        place.map_or("precision.accumulator", |(_, place)| place).to_owned()
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
