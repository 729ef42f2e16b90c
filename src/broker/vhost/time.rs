//! Expiry: of messages at the head of a queue, and of queues that nobody uses.

use std::time::Instant;

use super::publish::death_of;
use super::{Sink, Vhost};
use crate::broker::death::Reason;
use crate::broker::keys::QueueKey;

/// What a timer of a virtual host is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A message at a queue's head expires.
    Expiry(QueueKey),
    /// A queue may have gone unused for too long.
    Idle(QueueKey),
}

impl Vhost {
    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub(in crate::broker) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// Does what is due.
    pub(in crate::broker) fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) {
        while let Some(due) = self.timers.pop_due(now) {
            match due {
                Due::Expiry(key) => {
                    if let Some(queue) = self.queues.get_mut(key) {
                        queue.expiry = None;
                    }
                    self.touch(key);
                }
                Due::Idle(key) => self.check_idle(key, now),
            }
        }
        self.dispatch(now, sink);
    }

    fn check_idle(&mut self, key: QueueKey, now: Instant) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        queue.idle = None;
        let Some(expires) = queue.options.expires else {
            return;
        };
        if !queue.consumers.is_empty() {
            return; // watched again when the last of them has gone
        }
        let deadline = queue.used + expires;
        if deadline <= now {
            self.delete_queue_now(key);
        } else {
            self.watch_idle(key, deadline);
        }
    }

    /// Looks at `deadline` whether a queue is still used.
    pub(super) fn watch_idle(&mut self, key: QueueKey, deadline: Instant) {
        if let Some(queue) = self.queues.get_mut(key)
            && queue.idle.is_none()
        {
            queue.idle = Some(self.timers.insert(deadline, 0, Due::Idle(key)));
        }
    }

    /// Gives up what has expired.
    pub(super) fn expire(&mut self, key: QueueKey, now: Instant) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        while let Some(entry) = queue.pop_expired(now) {
            self.ready_memory -= entry.size();
            self.dead
                .extend(death_of(queue, entry.message, Reason::Expired));
        }
    }

    /// Sees to it that the next expiry is noticed.
    pub(super) fn watch_expiry(&mut self, key: QueueKey) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        let Some(next) = queue.next_expiry() else {
            return;
        };
        match queue.expiry {
            // A timer that is too early does no harm.
            Some((armed, _)) if armed <= next => return,
            Some((_, timer)) => drop(self.timers.cancel(timer)),
            None => {}
        }
        let timer = self.timers.insert(next, 0, Due::Expiry(key));
        queue.expiry = Some((next, timer));
    }
}
