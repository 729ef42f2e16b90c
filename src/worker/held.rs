//! Jobs that wait for their ETA, and how many of them each channel has brought: they do not count against its window.

use std::time::{Instant, SystemTime};

use crate::hub::{Timer, TimerKey};
use crate::pool::Job;

/// The priority of an ETA in the timer, as Celery's.
const ETA_PRIORITY: u8 = 6;

/// A job that waits for its ETA.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) job: Job,
    pub(super) eta: SystemTime,
    /// The channel that its message came on.
    pub(super) channel: u16,
}

/// All of them.
#[derive(Debug)]
pub(super) struct HeldJobs {
    timer: Timer<Held>,
    /// How many of each channel; few channels, and none without a job.
    channels: Vec<(u16, usize)>,
}

impl HeldJobs {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            timer: Timer::new(now),
            channels: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, deadline: Instant, held: Held) -> TimerKey {
        let mut channels = self.channels.iter_mut();
        match channels.find(|(channel, _)| *channel == held.channel) {
            Some((_, count)) => *count += 1,
            None => self.channels.push((held.channel, 1)),
        }
        self.timer.insert(deadline, ETA_PRIORITY, held)
    }

    pub(super) fn cancel(&mut self, key: TimerKey) -> Option<Held> {
        let held = self.timer.cancel(key);
        self.uncount(held)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Held> {
        let held = self.timer.pop_due(now);
        self.uncount(held)
    }

    fn uncount(&mut self, held: Option<Held>) -> Option<Held> {
        let held = held?;
        self.channels.retain_mut(|(channel, count)| {
            *count -= usize::from(*channel == held.channel);
            *count > 0
        });
        Some(held)
    }

    pub(super) fn clear(&mut self) {
        self.timer.clear();
        self.channels.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.timer.len()
    }

    /// How many of a channel.
    pub(super) fn len_on(&self, channel: u16) -> usize {
        let mut channels = self.channels.iter();
        let found = channels.find(|(number, _)| *number == channel);
        found.map_or(0, |(_, count)| *count)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timer.next_deadline()
    }

    /// With their deadlines and priorities.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Instant, u8, &Held)> {
        self.timer.iter()
    }
}
