//! Fixed-point arithmetic: the only place of the project where bits are dropped.
//!
//! A number is a raw integer code and a [`Format`]: `real = raw · 2^-frac`. Codes live in
//! [`Tensor`]s. Wherever a code changes its format, one [`Conversion`] does it: it shifts, rounds
//! as told ([`Rounding`]), fits the result into the format's range ([`Overflow`]) and says what
//! that cost ([`ConversionStatistics`]). Sums of products live in accumulators ([`Adder`]), which
//! round at every addition and are limited there or at the end, in the order of the additions.
//!
//! *Invariant:* every result is as if integers had no width. Where a machine integer does not
//! suffice, shifts are shortened to a length that provably gives the same code, or the sum is
//! kept in a big integer.
//!
//! Absent: floating point, except to read a real value in ([`real::decompose`]) and to state
//! ratios of exact sums in decibels.

pub mod accumulator;
pub mod block;
pub mod bounds;
pub mod coded;
pub mod combination;
pub mod convert;
pub mod curve;
pub mod error;
pub mod format;
pub mod integer;
pub mod linear;
pub mod part;
pub mod real;
pub mod rounding;
pub mod scale;
mod shifts;
pub mod softmax;
pub mod squared_error;
pub mod statistics;
pub mod tensor;
pub mod update;
pub mod vectors;

pub use accumulator::{Accumulator, Adder, OverflowAt, Sum};
pub use block::{Along, Blocks};
pub use coded::CodedRows;
pub use combination::Combination;
pub use convert::{Conversion, Converted, Converter, Overflow, Raw};
pub use curve::ActivationCurve;
pub use error::Error;
pub use format::Format;
pub use integer::ExactInteger;
pub use linear::{Exact, LinearForm};
pub use part::TensorPart;
pub use rounding::{Rounding, shift_right_round};
pub use scale::{History, Scale};
pub use softmax::{Interpolation, Softmax, SoftmaxFormat, SoftmaxUnit};
pub use squared_error::SquaredError;
pub use statistics::{ConversionStatistics, ExactSum};
pub use tensor::{Codes, Lane, Tensor};
pub use update::{Change, Multiplier, UpdateStatistics};
