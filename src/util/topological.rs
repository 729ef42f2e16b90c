//! An order in which everything comes after what it requires.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::fmt;

/// Orders the items `0..count` so that each comes after everything it requires.
///
/// An edge `(a, b)` says "`a` requires `b`". The order is stable: each place goes to the first
/// listed item that may stand there, so it depends on nothing but the arguments, and items without
/// edges keep their places. Repeated edges do no harm.
///
/// # Errors
/// [`Cycle`] when items require each other in a circle (an item may not require itself either).
///
/// # Panics
/// When an edge names an item that is not in `0..count`.
///
/// ```
/// use celeriac::util::topological::sort;
///
/// assert_eq!(sort(3, &[]), Ok(vec![0, 1, 2]));
/// assert_eq!(sort(3, &[(0, 2)]), Ok(vec![1, 2, 0]));
/// assert_eq!(sort(3, &[(0, 1), (1, 0)]).unwrap_err().path, [0, 1]);
/// ```
pub fn sort(count: usize, edges: &[(usize, usize)]) -> Result<Vec<usize>, Cycle> {
    let mut missing = vec![0; count]; // how many requirements of each item are not yet placed
    let mut dependents = vec![Vec::new(); count];
    for &(item, required) in edges {
        missing[item] += 1;
        dependents[required].push(item);
    }

    let mut placeable: BinaryHeap<_> = (0..count)
        .filter(|&item| missing[item] == 0)
        .map(Reverse)
        .collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse(item)) = placeable.pop() {
        order.push(item);
        for &dependent in &dependents[item] {
            missing[dependent] -= 1;
            if missing[dependent] == 0 {
                placeable.push(Reverse(dependent));
            }
        }
    }

    match missing.iter().position(|&count| count > 0) {
        None => Ok(order),
        Some(stuck) => Err(Cycle::through(stuck, edges, &missing)),
    }
}

/// Items that require each other in a circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Each item requires the next one, and the last requires the first.
    pub path: Vec<usize>,
}

impl Cycle {
    /// Walks from `stuck` along requirements that were never placed until an item comes up again.
    /// Every unplaced item has such a requirement, so the walk ends in a circle.
    fn through(stuck: usize, edges: &[(usize, usize)], missing: &[usize]) -> Self {
        let mut required_by = vec![None; missing.len()];
        for &(item, required) in edges.iter().rev() {
            if missing[required] > 0 {
                required_by[item] = Some(required);
            }
        }
        let mut path = Vec::new();
        let mut seen_at = vec![None; missing.len()];
        let mut next = Some(stuck);
        while let Some(item) = next {
            if let Some(start) = seen_at[item] {
                path.drain(..start);
                break;
            }
            seen_at[item] = Some(path.len());
            path.push(item);
            next = required_by[item];
        }
        Self { path }
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "items require each other in a circle: {:?}", self.path)
    }
}

impl Error for Cycle {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn graphs() -> impl Strategy<Value = (usize, Vec<(usize, usize)>)> {
        (1_usize..12).prop_flat_map(|count| {
            (
                Just(count),
                proptest::collection::vec((0..count, 0..count), 0..20),
            )
        })
    }

    /// The law itself, place by place: the first listed item whose requirements all stand before.
    fn naive(count: usize, edges: &[(usize, usize)]) -> Option<Vec<usize>> {
        let mut order = Vec::new();
        while order.len() < count {
            let next = (0..count).find(|item| {
                !order.contains(item) && edges.iter().all(|(a, b)| a != item || order.contains(b))
            })?;
            order.push(next);
        }
        Some(order)
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_law_or_the_cycle_is_real((count, edges) in graphs()) {
            match sort(count, &edges) {
                Ok(order) => prop_assert_eq!(Some(order), naive(count, &edges)),
                Err(Cycle { path }) => {
                    prop_assert_eq!(naive(count, &edges), None);
                    prop_assert!(!path.is_empty());
                    for (i, &item) in path.iter().enumerate() {
                        let next = path[(i + 1) % path.len()];
                        prop_assert!(edges.contains(&(item, next)));
                        prop_assert_eq!(path.iter().filter(|&&other| other == item).count(), 1);
                    }
                }
            }
        }
    }

    #[test]
    fn the_cycle_leaves_out_what_only_leads_into_it() {
        let cycle = sort(4, &[(0, 1), (1, 2), (2, 3), (3, 2)]).unwrap_err();
        assert_eq!(cycle.path, [2, 3]);
        assert_eq!(sort(1, &[(0, 0)]).unwrap_err().path, [0]);
    }
}
