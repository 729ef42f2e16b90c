//! What may be lost: events, and replies to remote control. They wait here while the broker is away, so many that
//! nothing grows without bound, and the oldest go first. Pure.

use std::collections::VecDeque;

use crate::amqp::table::TableBuf;

/// Octets of bodies that may wait.
const LIMIT: usize = 4 << 20;

/// A message that nobody waits for a confirm of.
#[derive(Debug)]
pub(super) struct Notice {
    /// The exchange.
    pub(super) exchange: String,
    /// The routing key.
    pub(super) routing_key: String,
    /// 1: it goes with the broker. Celery's requests are 2 all the same.
    pub(super) delivery_mode: u8,
    /// Whether the broker gives it back when no queue takes it.
    pub(super) mandatory: bool,
    /// The headers.
    pub(super) headers: TableBuf,
    /// The body: JSON.
    pub(super) body: Vec<u8>,
}

/// Notices in order.
#[derive(Debug, Default)]
pub(super) struct Notices {
    waiting: VecDeque<Notice>,
    octets: usize,
    dropped: u64,
    /// How many were dropped in all.
    dropped_ever: u64,
}

impl Notices {
    /// Adds a notice; drops the oldest when there are too many.
    pub(super) fn push(&mut self, notice: Notice) {
        self.octets += notice.body.len();
        self.waiting.push_back(notice);
        while self.octets > LIMIT && self.pop().is_some() {
            self.dropped += 1;
            self.dropped_ever += 1;
        }
    }

    /// Takes the oldest.
    pub(super) fn pop(&mut self) -> Option<Notice> {
        let notice = self.waiting.pop_front()?;
        self.octets -= notice.body.len();
        Some(notice)
    }

    /// Whether none wait.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The octets that wait.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// How many were ever dropped.
    pub(super) fn dropped_ever(&self) -> u64 {
        self.dropped_ever
    }

    /// How many were dropped since this was asked last.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(size: usize, key: usize) -> Notice {
        Notice {
            exchange: String::new(),
            routing_key: key.to_string(),
            delivery_mode: 1,
            mandatory: false,
            headers: TableBuf::new(),
            body: vec![0; size],
        }
    }

    /// T13.2: events that cannot leave do not pile up.
    #[test]
    fn the_oldest_are_dropped_and_the_rest_stay_in_order() {
        let mut notices = Notices::default();
        (0..10).for_each(|key| notices.push(notice(LIMIT / 4, key)));
        assert_eq!(notices.take_dropped(), 6);
        let keys: Vec<String> = std::iter::from_fn(|| notices.pop())
            .map(|notice| notice.routing_key)
            .collect();
        assert_eq!(keys, ["6", "7", "8", "9"]);
        assert_eq!(notices.octets, 0);
        notices.push(notice(LIMIT + 1, 0));
        assert!(notices.is_empty(), "one that is too large alone");
    }
}
