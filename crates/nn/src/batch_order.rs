//! The order in which an epoch visits its samples.

use systoliq_keyed_random::Key;

/// The rows of a training part of `count` samples in the order in which epoch `epoch` (from 0)
/// visits them: a permutation keyed by seed and epoch. Batches are its consecutive chunks; a
/// short last one is kept.
///
/// # Panics
///
/// If `count` exceeds `u32::MAX`.
pub fn epoch_order(seed: u64, epoch: u32, count: usize) -> Vec<u32> {
    let count = u32::try_from(count).expect("a part holds fewer than 2^32 rows");
    Key::new(seed).with_name("batch order").with(u64::from(epoch)).permutation(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_visits_every_sample_once_in_its_own_order() {
        let orders: Vec<_> = (0..4).map(|epoch| epoch_order(1, epoch, 100)).collect();
        for (epoch, order) in orders.iter().enumerate() {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..100).collect::<Vec<_>>(), "epoch {epoch}");
            assert!(orders[..epoch].iter().all(|earlier| earlier != order), "epoch {epoch}");
        }
        assert_ne!(orders[0], epoch_order(2, 0, 100));
        assert_eq!(orders[0], epoch_order(1, 0, 100));
    }
}
