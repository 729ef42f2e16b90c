//! How often tasks have cost their children's lives: a task that does so again and again is not handed back for ever.

use std::collections::VecDeque;

/// How many tasks are remembered.
const MOST: usize = 1000;

/// The tasks that have lost a child, by id. What this worker has seen counts, and what a
/// quorum queue has; that a message was redelivered does not: it has many reasons.
#[derive(Debug)]
pub(super) struct Losses {
    /// Oldest first.
    seen: VecDeque<(String, u32)>,
    most: Option<u32>,
}

impl Losses {
    /// None yet; after `most` losses of one task it is enough.
    pub(super) fn new(most: Option<u32>) -> Self {
        Self {
            seen: VecDeque::new(),
            most,
        }
    }

    /// The task has lost a child once more. Whether that is enough. `delivery_count` is a quorum queue's: how often the
    /// message came back to it before, from whichever worker. A task that takes the whole worker with it, again and
    /// again, is counted nowhere else.
    pub(super) fn is_last(&mut self, id: &str, delivery_count: u32) -> bool {
        let Some(most) = self.most else {
            return false;
        };
        let before = self.forget(id).max(delivery_count);
        let count = before + 1;
        if count >= most {
            return true;
        }
        if self.seen.len() >= MOST {
            self.seen.pop_front();
        }
        self.seen.push_back((id.to_owned(), count));
        false
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// The task has come to an end of its own. How many losses that makes up for.
    pub(super) fn forget(&mut self, id: &str) -> u32 {
        let place = self.seen.iter().position(|(seen, _)| seen == id);
        let entry = place.and_then(|place| self.seen.remove(place));
        entry.map_or(0, |(_, count)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T3.1, the count: a task is handed back twice, and the third time is the last.
    #[test]
    fn the_third_loss_is_the_last_unless_it_ends_in_between() {
        let mut losses = Losses::new(Some(3));
        let mut lose = |id: &str| losses.is_last(id, 0);
        assert_eq!(
            [lose("a"), lose("b"), lose("a"), lose("a")],
            [false, false, false, true]
        );
        assert!(!lose("a"), "it begins anew");
        assert_eq!(losses.forget("a"), 1);
        assert!(!losses.is_last("a", 0));
        assert!(!losses.is_last("a", 0));
        assert!(losses.is_last("a", 0));
    }

    /// T10.5: other workers have lost it before.
    #[test]
    fn t10_5_the_count_of_a_quorum_queue_counts() {
        let mut losses = Losses::new(Some(3));
        assert!(!losses.is_last("a", 1));
        assert!(losses.is_last("b", 2));
        assert!(losses.is_last("a", 0), "and so does our own");
        assert!(!Losses::new(None).is_last("c", 99));
    }

    #[test]
    fn only_so_many_are_remembered_and_none_is_the_last_without_a_limit() {
        let mut losses = Losses::new(Some(2));
        for number in 0..5000 {
            losses.is_last(&number.to_string(), 0);
        }
        assert_eq!(losses.seen.len(), MOST);
        let mut endless = Losses::new(None);
        assert!((0..100).all(|_| !endless.is_last("a", 0)));
    }
}
