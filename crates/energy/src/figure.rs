//! One number of a profile: what it measures, where it comes from, how sure it is.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Error;

/// A number, what it measures, where it comes from, and how sure it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The number, in `unit`.
    pub value: f64,
    /// The unit; each figure has one that its law needs.
    pub unit: Unit,
    /// Lowest and highest value found in the sources, where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// How sure it is.
    pub certainty: Certainty,
    /// Publication, tool and settings it comes from.
    pub source: String,
}

/// What a profile's energies are multiples of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EnergyUnit {
    /// A picojoule.
    #[default]
    #[serde(rename = "pJ")]
    Picojoule,
    /// One multiply-accumulate of 16 bits.
    #[serde(rename = "mac16")]
    Mac16,
}

impl fmt::Display for EnergyUnit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            EnergyUnit::Picojoule => "pJ",
            EnergyUnit::Mac16 => "mac16",
        })
    }
}

macro_rules! units {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Unit of a [`Figure`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum Unit {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl fmt::Display for Unit {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(match self { $(Unit::$name => $text,)* })
            }
        }
    };
}

units! {
    /// Picojoules per event.
    Picojoule = "pJ",
    /// Picojoules per event and bit of width.
    PicojoulePerBit = "pJ/bit",
    /// Picojoules per event and product of two widths.
    PicojoulePerBitSquared = "pJ/bit^2",
    /// Picojoules per event, bit of width and micrometre of length.
    PicojoulePerBitMicrometre = "pJ/bit/um",
    /// Multiply-accumulates of 16 bits, per event.
    Mac16 = "mac16",
    /// Multiply-accumulates of 16 bits, per event and bit of width.
    Mac16PerBit = "mac16/bit",
    /// Multiply-accumulates of 16 bits, per event and product of two widths.
    Mac16PerBitSquared = "mac16/bit^2",
    /// Multiply-accumulates of 16 bits, per event, bit of width and micrometre of length.
    Mac16PerBitMicrometre = "mac16/bit/um",
    /// A pure number.
    Ratio = "ratio",
    /// Nanometres.
    Nanometre = "nm",
    /// Volts.
    Volt = "V",
    /// Megahertz.
    Megahertz = "MHz",
    /// Bytes.
    Byte = "byte",
    /// Square micrometres.
    SquareMicrometre = "um^2",
    /// Square micrometres per bit of width.
    SquareMicrometrePerBit = "um^2/bit",
    /// Square micrometres per product of two widths.
    SquareMicrometrePerBitSquared = "um^2/bit^2",
    /// Square micrometres per byte.
    SquareMicrometrePerByte = "um^2/byte",
    /// Nanowatts per square micrometre.
    NanowattPerSquareMicrometre = "nW/um^2",
    /// Nanowatts per byte.
    NanowattPerByte = "nW/byte",
}

impl Unit {
    /// The same with `energy` for picojoules.
    pub(crate) fn with_energy(self, energy: EnergyUnit) -> Self {
        match (energy, self) {
            (EnergyUnit::Mac16, Unit::Picojoule) => Unit::Mac16,
            (EnergyUnit::Mac16, Unit::PicojoulePerBit) => Unit::Mac16PerBit,
            (EnergyUnit::Mac16, Unit::PicojoulePerBitSquared) => Unit::Mac16PerBitSquared,
            (EnergyUnit::Mac16, Unit::PicojoulePerBitMicrometre) => Unit::Mac16PerBitMicrometre,
            _ => self,
        }
    }
}

/// How sure a figure is, the surest first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Read at the source, or two transcriptions agree.
    High,
    /// Recalled from the publication it cites.
    Medium,
    /// Computed or measured with the tools its source names.
    Derived,
    /// Chosen without a source.
    Assumed,
}

impl fmt::Display for Certainty {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Certainty::High => "high",
            Certainty::Medium => "medium",
            Certainty::Derived => "derived",
            Certainty::Assumed => "assumed",
        })
    }
}

impl Figure {
    /// Checks unit, sign, range and source.
    ///
    /// `intercept_of` is the slope of the line that the figure is the intercept of: it alone may be
    /// negative (gate-level fits are), as long as one bit takes no less than nothing.
    pub(crate) fn check(
        &self,
        path: &'static str,
        expected: Unit,
        intercept_of: Option<f64>,
    ) -> Result<(), Error> {
        let Self { value, unit, range, ref source, .. } = *self;
        if unit != expected {
            return Err(Error::Unit { path, found: unit, expected });
        }
        check_source(path, source)?;
        let positive = matches!(unit, Unit::Nanometre | Unit::Volt) || path == "kappa";
        let (accepted, expected) = if let Some(slope) = intercept_of {
            (value >= -slope, "a finite number, at least minus its slope")
        } else if unit == Unit::Byte {
            let whole = value.fract() == 0.0 && (1.0..=4_294_967_296.0).contains(&value);
            (whole, "a whole number of bytes, 1 to 2^32")
        } else if unit == Unit::Megahertz {
            ((1.0..=1e4).contains(&value), "1 to 10000")
        } else if positive {
            (value > 0.0, "a finite number above 0, at most 1e9")
        } else {
            (value >= 0.0, "a finite number, at least 0 and at most 1e9")
        };
        let bound = if unit == Unit::Byte { f64::INFINITY } else { FIGURE_MAX };
        if !(accepted && value <= bound) {
            return Err(Error::Value { path, value, expected });
        }
        match range {
            Some([low, high]) if !(low <= value && value <= high) => {
                Err(Error::Range { path, value, low, high })
            }
            _ => Ok(()),
        }
    }
}

/// The largest figure, so that no price of any width leaves the range of floats.
const FIGURE_MAX: f64 = 1e9;

/// Refuses an empty source.
pub(crate) fn check_source(path: &'static str, source: &str) -> Result<(), Error> {
    match source.trim() {
        "" => Err(Error::Source { path }),
        _ => Ok(()),
    }
}
