//! What can be wrong with a format or a number that enters.

/// An impossible format or number.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A width outside what tensors can hold.
    #[error(
        "a format of {bits} bits, {}: expected {} to 32",
        if *signed { "signed" } else { "unsigned" },
        if *signed { 2 } else { 1 }
    )]
    Bits {
        /// The width asked for.
        bits: i64,
        /// Whether the format is signed.
        signed: bool,
    },
    /// A number of fraction bits outside −64 … 64.
    #[error("{frac} fraction bits: expected -64 to 64")]
    Frac {
        /// The number asked for.
        frac: i64,
    },
    /// A string that is no format in Q notation.
    #[error(
        "format {text:?}: expected Q notation such as \"Q2.6\" (8 bits signed, 6 of them \
         fraction) or \"UQ1.7\" (8 bits unsigned)"
    )]
    Notation {
        /// The string found.
        text: String,
    },
    /// An accumulator's width outside 2 … 64.
    #[error("an accumulator of {bits} bits: expected 2 to 64")]
    AccumulatorBits {
        /// The width asked for.
        bits: i64,
    },
    /// Softmax tables of a size that is no power of two from 2 to 4096.
    #[error("softmax tables of {entries} entries: expected a power of two from 2 to 4096")]
    SoftmaxEntries {
        /// The number asked for.
        entries: u32,
    },
    /// Fraction bits that a softmax unit cannot have.
    #[error("softmax with {what} {found}: expected {least} to {most}")]
    SoftmaxFrac {
        /// The setting.
        what: &'static str,
        /// The number asked for.
        found: u32,
        /// The least: an entry's number must fit.
        least: u32,
        /// The most.
        most: u32,
    },
    /// A number of fraction bits of an accumulator outside −128 … 128.
    #[error("an accumulator with {frac} fraction bits: expected -128 to 128")]
    AccumulatorFrac {
        /// The number asked for.
        frac: i64,
    },
    /// A multiplier that is not finite and positive, or has too many or too few mantissa bits.
    #[error(
        "a multiplier of {value} with a mantissa of {bits} bits: expected a value from 2^-512 to 2^512 and 1 to 16 bits"
    )]
    Multiplier {
        /// The value asked for.
        value: f64,
        /// The width of the mantissa asked for.
        bits: u32,
    },
}
