//! Where something holds among machines that differ along axes: the shortest true description.
//!
//! Machines are numbered as the digits of a number, the last axis fastest. Some of them may not exist. A
//! [`Domain`] is a conjunction: on each axis some values. A set of machines that is one is said as one, on the
//! fewest axes, with the fewest values; any other as several, each as large as it can be, but without values
//! that the others have already.

use serde::{Deserialize, Serialize};

/// The machines that have one of some values on each axis; on an axis without values any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Domain(pub Vec<Vec<usize>>);

impl Domain {
    /// Whether it has the machine of these values.
    pub fn has(&self, values: &[usize]) -> bool {
        let on_axis =
            |(allowed, value): (&Vec<usize>, &usize)| allowed.is_empty() || allowed.contains(value);
        self.0.iter().zip(values).all(on_axis)
    }

    /// How many axes and how many values it names.
    fn length(&self) -> (usize, usize) {
        let named = || self.0.iter().filter(|allowed| !allowed.is_empty());
        (named().count(), named().map(Vec::len).sum())
    }
}

/// The values of each axis that the machine of a number has, where axes have so many.
pub fn values(sizes: &[usize], mut number: usize) -> Vec<usize> {
    let mut values: Vec<usize> = sizes
        .iter()
        .rev()
        .map(|&size| {
            let value = number % size;
            number /= size;
            value
        })
        .collect();
    values.reverse();
    values
}

/// Machines of which some are to be described.
pub(crate) struct Machines<'a> {
    /// Values of each axis.
    sizes: &'a [usize],
    /// The values of each machine that exists, and whether it is described.
    known: Vec<(Vec<usize>, bool)>,
}

impl<'a> Machines<'a> {
    /// Of all machines by their numbers; nothing where one does not exist.
    pub(crate) fn new(
        sizes: &'a [usize],
        described: impl IntoIterator<Item = Option<bool>>,
    ) -> Self {
        let machine = |(at, is): (usize, Option<bool>)| Some((values(sizes, at), is?));
        Self { sizes, known: described.into_iter().enumerate().filter_map(machine).collect() }
    }

    /// Domains that together have the machines that are described, and no others that exist.
    pub(crate) fn describe(&self) -> Vec<Domain> {
        if let Some(one) = self.as_one() {
            return vec![one];
        }
        let mut domains: Vec<Domain> = Vec::new();
        let left = |domains: &[Domain]| {
            let open = |(values, is): &&(Vec<usize>, bool)| {
                *is && !domains.iter().any(|domain| domain.has(values))
            };
            self.known.iter().filter(open).map(|(values, _)| values).collect::<Vec<_>>()
        };
        loop {
            let left = left(&domains);
            let Some(first) = left.first() else { return self.trimmed(domains) };
            let covers = |domain: &Domain| left.iter().filter(|values| domain.has(values)).count();
            let grown = orders(self.sizes.len()).into_iter().map(|order| self.grown(first, &order));
            let best = grown.reduce(|best, next| {
                let rank = |of: &Domain| (usize::MAX - covers(of), of.length());
                if rank(&next) < rank(&best) { next } else { best }
            });
            domains.extend(best);
        }
    }

    /// The same machines in fewer domains, and in fewer words: without domains, and without values of an axis,
    /// that add nothing to the others.
    fn trimmed(&self, mut domains: Vec<Domain>) -> Vec<Domain> {
        let covers = |domains: &[Domain]| {
            let has = |values: &[usize]| domains.iter().any(|domain| domain.has(values));
            self.known.iter().all(|(values, is)| !is || has(values))
        };
        for at in (0..domains.len()).rev() {
            let mut without = domains.clone();
            without.remove(at);
            if covers(&without) {
                domains = without;
                continue;
            }
            for axis in 0..self.sizes.len() {
                let mut fewer = domains.clone();
                for value in domains[at].0[axis].clone() {
                    let mut less = fewer.clone();
                    less[at].0[axis].retain(|&other| other != value);
                    if !less[at].0[axis].is_empty() && covers(&less) {
                        fewer = less;
                    }
                }
                // All values but one are said as two: any but that.
                let words = |named: &[usize]| match named.len() + 1 == self.sizes[axis] {
                    true => named.len().min(2),
                    false => named.len(),
                };
                if words(&fewer[at].0[axis]) < words(&domains[at].0[axis]) {
                    domains = fewer;
                }
            }
        }
        domains
    }

    /// The described machines as one domain, where they are one.
    fn as_one(&self) -> Option<Domain> {
        let described = self.known.iter().filter(|(_, is)| *is).map(|(values, _)| values);
        let described: Vec<&Vec<usize>> = described.collect();
        let axes = self.sizes.len();
        let tight: Vec<Vec<usize>> = (0..axes).map(|axis| occurring(&described, axis)).collect();
        let with = |named: usize| {
            let values = |axis: usize| {
                if named >> axis & 1 == 1 { tight[axis].clone() } else { Vec::new() }
            };
            Domain((0..axes).map(values).collect())
        };
        let exact = |domain: &Domain| {
            !described.is_empty() && self.known.iter().all(|(values, is)| domain.has(values) == *is)
        };
        (0..1 << axes).map(with).filter(exact).min_by_key(Domain::length)
    }

    /// The domain that grows around a machine, axis by axis in some order, as long as all of it is described.
    fn grown(&self, around: &[usize], order: &[usize]) -> Domain {
        let mut domain = Domain(around.iter().map(|&value| vec![value]).collect());
        let holds =
            |domain: &Domain| self.known.iter().all(|(values, is)| *is || !domain.has(values));
        for &axis in order {
            for value in (0..self.sizes[axis]).filter(|&value| value != around[axis]) {
                let mut larger = domain.clone();
                larger.0[axis].push(value);
                if holds(&larger) {
                    domain = larger;
                }
            }
        }
        let inside = self.known.iter().filter(|(values, _)| domain.has(values));
        let inside: Vec<&Vec<usize>> = inside.map(|(values, _)| values).collect();
        let named = |axis: usize| {
            let values = occurring(&inside, axis);
            if domain.0[axis].len() == self.sizes[axis] { Vec::new() } else { values }
        };
        Domain((0..self.sizes.len()).map(named).collect())
    }
}

/// The values that machines have on an axis, in order.
fn occurring(machines: &[&Vec<usize>], axis: usize) -> Vec<usize> {
    let mut values: Vec<usize> = machines.iter().map(|values| values[axis]).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// Every order of so many axes.
fn orders(axes: usize) -> Vec<Vec<usize>> {
    let Some(last) = axes.checked_sub(1) else { return vec![Vec::new()] };
    let with_last = |order: Vec<usize>| {
        (0..=order.len()).map(move |at| {
            let mut order = order.clone();
            order.insert(at, last);
            order
        })
    };
    orders(last).into_iter().flat_map(with_last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every conjunction of values, by the values of each axis: none that is empty on an axis.
    fn all_domains(sizes: &[usize]) -> Vec<Domain> {
        let Some((&size, others)) = sizes.split_last() else { return vec![Domain::default()] };
        let choices = (0..(1 << size) - 1usize).map(|choice| {
            // The choice of none stands for any.
            (0..size).filter(|value| choice >> value & 1 == 1).collect::<Vec<_>>()
        });
        let choices: Vec<_> = choices.collect();
        let with = |domain: Domain| {
            let added = |choice: &Vec<usize>| {
                Domain([&domain.0[..], std::slice::from_ref(choice)].concat())
            };
            choices.iter().map(added).collect::<Vec<_>>()
        };
        all_domains(others).into_iter().flat_map(with).collect()
    }

    fn check(sizes: &[usize], exists: usize, described: usize) {
        let count: usize = sizes.iter().product();
        let is = |at: usize| (exists >> at & 1 == 1).then_some(described >> at & 1 == 1);
        let machines = Machines::new(sizes, (0..count).map(is));
        let found = machines.describe();
        let case = format!("{sizes:?}, {exists:b}, {described:b}: {found:?}");
        for at in (0..count).filter(|&at| is(at).is_some()) {
            let said = found.iter().any(|domain| domain.has(&values(sizes, at)));
            assert_eq!(Some(said), is(at), "machine {at} of {case}");
        }
        let exact = |domain: &Domain| {
            let same = |at| is(at).is_none_or(|is| is == domain.has(&values(sizes, at)));
            (0..count).all(same)
        };
        let none = described & exists == 0;
        let shortest = all_domains(sizes).into_iter().filter(exact).map(|of| of.length()).min();
        match shortest.filter(|_| !none) {
            Some(length) => {
                assert!(found.len() == 1, "{case}: one of length {length:?} is as true");
                assert_eq!(found[0].length(), length, "{case}");
            }
            None => assert!(found.len() != 1, "{case}"),
        }
    }

    #[test]
    fn descriptions_are_true_of_every_machine_and_one_conjunction_where_that_can_be() {
        for described in 0..1 << 8 {
            check(&[2, 2, 2], (1 << 8) - 1, described);
        }
        for exists in 0..1 << 6 {
            for described in (0..1 << 6).filter(|described| described & !exists == 0) {
                check(&[2, 3], exists, described);
            }
        }
        for described in 0..1 << 9 {
            check(&[3, 3], (1 << 9) - 1, described);
        }
    }

    #[test]
    fn machines_are_numbered_with_the_last_axis_fastest() {
        assert_eq!(values(&[2, 3], 0), [0, 0]);
        assert_eq!(values(&[2, 3], 2), [0, 2]);
        assert_eq!(values(&[2, 3], 5), [1, 2]);
        assert_eq!(orders(4).len(), 24);
    }
}
