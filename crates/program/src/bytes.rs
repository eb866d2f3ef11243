//! Numbers as bytes, the lowest first, one after the other: tensors as a run keeps them.

use num_traits::{FromBytes, ToBytes};

/// Appends numbers.
pub fn put<T: ToBytes>(bytes: &mut Vec<u8>, numbers: impl IntoIterator<Item = T>) {
    numbers.into_iter().for_each(|number| bytes.extend_from_slice(number.to_le_bytes().as_ref()));
}

/// Takes so many numbers off the front; `None` if there are fewer.
///
/// ```
/// use systoliq_program::bytes::{put, take};
/// let mut bytes = Vec::new();
/// put(&mut bytes, [-2i16, 258]);
/// assert_eq!(bytes, [0xfe, 0xff, 2, 1]);
/// let mut rest = &bytes[..];
/// assert!(take::<i16>(&mut rest, 1).unwrap().eq([-2]));
/// assert!(take::<i16>(&mut rest, usize::MAX).is_none());
/// assert_eq!(rest, [2, 1]);
/// ```
pub fn take<'b, T: FromBytes<Bytes: Default>>(
    bytes: &mut &'b [u8],
    count: usize,
) -> Option<impl ExactSizeIterator<Item = T> + use<'b, T>> {
    let length = count.checked_mul(size_of::<T>())?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    let number = |bytes: &'b [u8]| {
        let mut own = T::Bytes::default();
        own.as_mut().copy_from_slice(bytes);
        T::from_le_bytes(&own)
    };
    Some(taken.chunks_exact(size_of::<T>()).map(number))
}
