//! Memory that products borrow from the engine, and give back.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory that one borrower gives back for the next.
type Free<T> = Arc<Mutex<Vec<Vec<T>>>>;

/// Lends memory for elements of a type.
#[derive(Debug)]
pub(crate) struct Lender<T>(Free<T>);

/// All that products borrow: whoever has a clone borrows of the same memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProductMemory {
    /// Of 32 bits.
    pub(crate) narrow: Lender<i32>,
    /// Of 64 bits.
    pub(crate) wide: Lender<i64>,
}

/// Elements in memory that is given back when they are dropped.
#[derive(Debug)]
pub(crate) struct Lent<T> {
    elements: Vec<T>,
    from: Free<T>,
}

impl<T> Default for Lender<T> {
    fn default() -> Self {
        Self(Free::default())
    }
}

impl<T> Clone for Lender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

fn lock<T>(free: &Free<T>) -> MutexGuard<'_, Vec<Vec<T>>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Copy + Default> Lender<T> {
    /// So many zeros, in the smallest memory that holds them, or in the largest that there is.
    pub(crate) fn zeros(&self, count: usize) -> Lent<T> {
        let mut free = lock(&self.0);
        let places = free.iter().enumerate().map(|(at, memory)| (memory.capacity(), at));
        let enough = places.clone().filter(|&(capacity, _)| capacity >= count).min();
        let taken = enough.or_else(|| places.max()).map(|(_, at)| free.swap_remove(at));
        drop(free);
        let mut elements = taken.unwrap_or_default();
        elements.clear();
        elements.resize(count, T::default());
        Lent { elements, from: Arc::clone(&self.0) }
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        lock(&self.from).push(std::mem::take(&mut self.elements));
    }
}

impl<T> Deref for Lent<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.elements
    }
}

impl<T> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.elements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_given_back_is_lent_again_as_zeros() {
        let lender = Lender::default();
        let (mut long, short) = (lender.zeros(100), lender.zeros(3));
        long.fill(7);
        let place = long.as_ptr();
        drop((long, short));
        assert_eq!(lender.zeros(3).len(), 3);
        let again = lender.clone().zeros(90);
        assert_eq!((again.as_ptr(), &*again), (place, &[0; 90][..]));
        assert_ne!(lender.zeros(90).as_ptr(), place, "memory that is lent");
    }
}
