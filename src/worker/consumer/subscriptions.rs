//! All subscriptions of a worker: each on a channel of its own, side by side on the consuming connection.

use super::subscription::{Purpose, Subscription};
use crate::worker::control::mailbox;
use crate::worker::settings::Settings;

/// One subscription for each [`Purpose`].
#[derive(Debug)]
pub(in crate::worker) struct Subscriptions {
    tasks: Subscription,
    control: Subscription,
    gossip: Subscription,
    mingle: Subscription,
}

impl Subscriptions {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            tasks: Subscription::new(settings.queues.clone(), settings.prefetch_count()),
            control: Subscription::unacknowledged(vec![mailbox(&settings.node_name)]),
            gossip: Subscription::unacknowledged(vec![]),
            mingle: Subscription::unacknowledged(vec![]),
        }
    }

    /// The one for a purpose.
    pub(in crate::worker) fn of(&self, purpose: Purpose) -> &Subscription {
        match purpose {
            Purpose::Tasks => &self.tasks,
            Purpose::Control => &self.control,
            Purpose::Gossip => &self.gossip,
            Purpose::Mingle => &self.mingle,
        }
    }

    /// The one for a purpose, to change.
    pub(in crate::worker) fn of_mut(&mut self, purpose: Purpose) -> &mut Subscription {
        match purpose {
            Purpose::Tasks => &mut self.tasks,
            Purpose::Control => &mut self.control,
            Purpose::Gossip => &mut self.gossip,
            Purpose::Mingle => &mut self.mingle,
        }
    }

    /// Whether the broker has still to answer.
    pub(super) fn await_answers(&self) -> bool {
        Purpose::ALL.into_iter().any(|it| self.of(it).awaits())
    }

    /// What a channel is for.
    pub(in crate::worker) fn purpose(&self, channel: u16) -> Option<Purpose> {
        Purpose::ALL
            .into_iter()
            .find(|purpose| self.of(*purpose).channel() == Some(channel))
    }

    /// The connection is gone, and all channels with it.
    pub(super) fn reset(&mut self) {
        for purpose in Purpose::ALL {
            self.of_mut(purpose).reset();
        }
    }
}
