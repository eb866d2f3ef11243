//! Integers of any size, of which short ones take no memory of their own.

use std::fmt;
use std::ops::{AddAssign, MulAssign, ShlAssign, ShrAssign};
use std::str::FromStr;

use num_bigint::{BigInt, ParseBigIntError};
use num_traits::{Signed, ToPrimitive};

/// An integer of any size. What 128 bits hold is held in 128 bits.
///
/// ```
/// use systoliq_fxp::ExactInteger;
/// let mut sum = ExactInteger::from(i128::MAX);
/// sum += 1;
/// assert_eq!(sum.to_string(), "170141183460469231731687303715884105728");
/// sum += -1;
/// assert_eq!(sum, ExactInteger::from(i128::MAX));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactInteger(Size);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Size {
    Short(i128),
    /// Never what 128 bits hold, so that equal integers are equal.
    Long(BigInt),
}

impl ExactInteger {
    /// Whether it is 0.
    #[inline]
    pub fn is_zero(&self) -> bool {
        self.0 == Size::Short(0)
    }

    /// Whether it is less than 0.
    #[inline]
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Size::Short(value) => *value < 0,
            Size::Long(value) => value.is_negative(),
        }
    }

    /// The length of its magnitude.
    #[inline]
    pub fn bits(&self) -> u64 {
        match &self.0 {
            Size::Short(value) => u64::from(128 - value.unsigned_abs().leading_zeros()),
            Size::Long(value) => value.bits(),
        }
    }

    /// The zero bits below its lowest one; none of 0.
    pub fn trailing_zeros(&self) -> u64 {
        match &self.0 {
            Size::Short(0) => 0,
            Size::Short(value) => value.trailing_zeros().into(),
            Size::Long(value) => value.trailing_zeros().unwrap_or(0),
        }
    }

    /// The nearest float; infinite beyond the range of floats.
    pub fn to_f64(&self) -> f64 {
        match &self.0 {
            Size::Short(value) => *value as f64,
            Size::Long(value) => value.to_f64().expect("a float for every integer"),
        }
    }

    fn long(self) -> BigInt {
        match self.0 {
            Size::Short(value) => value.into(),
            Size::Long(value) => value,
        }
    }
}

impl Default for ExactInteger {
    fn default() -> Self {
        Self(Size::Short(0))
    }
}

impl From<BigInt> for ExactInteger {
    fn from(value: BigInt) -> Self {
        Self(match i128::try_from(&value) {
            Ok(value) => Size::Short(value),
            Err(_) => Size::Long(value),
        })
    }
}

impl From<u128> for ExactInteger {
    fn from(value: u128) -> Self {
        match i128::try_from(value) {
            Ok(value) => value.into(),
            Err(_) => BigInt::from(value).into(),
        }
    }
}

macro_rules! short {
    ($($type:ty)*) => {$(
        impl From<$type> for ExactInteger {
            fn from(value: $type) -> Self {
                Self(Size::Short(value.into()))
            }
        }
    )*};
}

short!(i32 i64 i128 u32 u64);

impl<T: Into<Self>> AddAssign<T> for ExactInteger {
    #[inline]
    fn add_assign(&mut self, other: T) {
        let other = other.into();
        let short = match (&self.0, &other.0) {
            (Size::Short(a), Size::Short(b)) => a.checked_add(*b),
            _ => None,
        };
        let long = |this: &mut Self| (std::mem::take(this).long() + other.long()).into();
        *self = short.map_or_else(|| long(self), Self::from);
    }
}

impl<T: Into<Self>> MulAssign<T> for ExactInteger {
    #[inline]
    fn mul_assign(&mut self, other: T) {
        let other = other.into();
        let short = match (&self.0, &other.0) {
            (Size::Short(a), Size::Short(b)) => a.checked_mul(*b),
            _ => None,
        };
        let long = |this: &mut Self| (std::mem::take(this).long() * other.long()).into();
        *self = short.map_or_else(|| long(self), Self::from);
    }
}

impl ShlAssign<u32> for ExactInteger {
    #[inline]
    fn shl_assign(&mut self, zeros: u32) {
        if zeros == 0 {
            return;
        }
        if self.bits() + u64::from(zeros) >= 127 && !self.is_zero() {
            *self = (std::mem::take(self).long() << zeros).into();
        } else if let Size::Short(value) = &mut self.0 {
            *value = value.checked_shl(zeros).unwrap_or(0);
        }
    }
}

/// Towards less.
impl ShrAssign<u32> for ExactInteger {
    fn shr_assign(&mut self, bits: u32) {
        match &mut self.0 {
            Size::Short(value) => *value >>= bits.min(127),
            Size::Long(_) => *self = (std::mem::take(self).long() >> bits).into(),
        }
    }
}

impl fmt::Display for ExactInteger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Size::Short(value) => value.fmt(f),
            Size::Long(value) => value.fmt(f),
        }
    }
}

impl FromStr for ExactInteger {
    type Err = ParseBigIntError;

    fn from_str(text: &str) -> Result<Self, ParseBigIntError> {
        text.parse::<BigInt>().map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Integers around the ends of 128 bits, and short ones.
    fn integers() -> impl Strategy<Value = BigInt> {
        (any::<i128>(), 0u32..=127, 0u32..=80, any::<bool>()).prop_map(
            |(value, dropped, zeros, long)| {
                let value = BigInt::from(value >> dropped);
                if long { value << zeros } else { value }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 20_000, ..Default::default() })]

        #[test]
        fn whole_numbers_are_those_of_any_size(a in integers(), b in integers(), bits in 0u32..200) {
            let of = |value: &BigInt| ExactInteger::from(value.clone());
            let (mut sum, mut product, mut left, mut right) = (of(&a), of(&a), of(&a), of(&a));
            sum += of(&b);
            product *= of(&b);
            left <<= bits;
            right >>= bits;
            let expected = [&a + &b, &a * &b, &a << bits, &a >> bits];
            for (found, expected) in [sum, product, left, right].into_iter().zip(expected) {
                prop_assert_eq!(found.is_zero(), expected == BigInt::ZERO);
                prop_assert_eq!(found.is_negative(), expected.is_negative());
                prop_assert_eq!(found.bits(), expected.bits());
                prop_assert_eq!(found.to_f64(), expected.to_f64().unwrap());
                prop_assert_eq!(found.to_string().parse::<ExactInteger>().unwrap(), found.clone());
                prop_assert_eq!(found.to_string(), expected.to_string());
                prop_assert_eq!(found, ExactInteger::from(expected));
            }
        }
    }
}
