//! Pixels: bytes that stand for real values between 0 and 1.

use std::sync::OnceLock;

/// Bytes that stand for `byte / full_scale`.
#[derive(Clone, Debug)]
pub struct Pixels {
    pub(super) bytes: Vec<u8>,
    pub(super) full_scale: u8,
    /// How many bytes have each value, once somebody has asked.
    times: OnceLock<Box<[u64; 256]>>,
}

impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        (&self.bytes, self.full_scale) == (&other.bytes, other.full_scale)
    }
}

impl Pixels {
    pub(super) fn new(bytes: Vec<u8>, full_scale: u8) -> Self {
        assert_ne!(full_scale, 0);
        Self { bytes, full_scale, times: OnceLock::new() }
    }

    /// Keeps the first bytes.
    pub(super) fn truncate(&mut self, count: usize) {
        self.bytes.truncate(count);
        self.times = OnceLock::new();
    }

    /// The bytes, one sample after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes that there are, in ascending order, each with what it stands for.
    pub fn values(&self) -> Vec<(u8, f64)> {
        self.times().map(|(byte, _)| (byte, self.value(byte))).collect()
    }

    /// What a byte stands for.
    pub(super) fn value(&self, byte: u8) -> f64 {
        f64::from(byte) / f64::from(self.full_scale)
    }

    /// The bytes that there are, in ascending order, and how many of each.
    pub(super) fn times(&self) -> impl Iterator<Item = (u8, u64)> {
        let times = self.times.get_or_init(|| Box::new(count(&self.bytes)));
        (0..=u8::MAX).zip(times.iter().copied()).filter(|&(_, times)| times > 0)
    }
}

/// How many bytes have each value.
fn count(bytes: &[u8]) -> [u64; 256] {
    // Neighbours are often equal: they are counted apart, so as not to wait for each other.
    let mut apart = [[0u64; 256]; 8];
    let (groups, rest) = bytes.as_chunks::<8>();
    for group in groups {
        for (times, &byte) in apart.iter_mut().zip(group) {
            times[usize::from(byte)] += 1;
        }
    }
    rest.iter().for_each(|&byte| apart[0][usize::from(byte)] += 1);
    std::array::from_fn(|value| apart.iter().map(|times| times[value]).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_by_their_values_and_anew_when_some_are_gone() {
        for length in [0, 1, 7, 8, 9, 1000] {
            let bytes: Vec<u8> = (0..length).map(|at: usize| (at * at / 3) as u8).collect();
            let mut pixels = Pixels::new(bytes.clone(), 255);
            for kept in [length, length / 2] {
                pixels.truncate(kept);
                let of = |value| bytes[..kept].iter().filter(|&&byte| byte == value).count() as u64;
                let expected = (0..=u8::MAX).map(|value| (value, of(value)));
                assert!(pixels.times().eq(expected.filter(|&(_, times)| times > 0)), "{kept}");
            }
        }
    }
}
