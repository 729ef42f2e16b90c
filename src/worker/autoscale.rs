//! How many children there should be, between a smallest and a largest number (`--autoscale`).
//!
//! As many as there are tasks for: a task that waits for a child is a reason for another one at once; children that
//! have nothing to do go after a while without growth. The prefetch window is that of the largest number all the time,
//! or a worker with a window of one message a child would never see a reason to grow. A child that has a task is never
//! taken away from it: the pool lets it go when the task has ended.

use std::time::{Duration, Instant};

use super::Worker;
use super::request::State;
use crate::hub::Hub;

/// How long after growth no child goes, unless `AUTOSCALE_KEEPALIVE` says otherwise: Celery's half minute.
pub const KEEPALIVE: Duration = Duration::from_secs(30);

/// The limits of a pool, and when it last grew.
#[derive(Clone, Debug)]
pub struct Autoscale {
    /// No more children than this.
    pub max: usize,
    /// No fewer children than this, unless `max` is lower.
    pub min: usize,
    /// How long after growth no child goes.
    pub keepalive: Duration,
    grown: Option<Instant>,
}

impl Autoscale {
    /// Limits in any order, as Celery takes them.
    pub fn new(one: usize, other: usize, keepalive: Duration) -> Self {
        Self {
            max: one.max(other),
            min: one.min(other),
            keepalive,
            grown: None,
        }
    }

    /// How many of `children` there should be `now` that there are `tasks` in hand.
    ///
    /// ```
    /// use std::time::Duration;
    /// use celeriac::worker::Autoscale;
    ///
    /// let now = std::time::Instant::now();
    /// let mut scale = Autoscale::new(4, 1, Duration::from_secs(30));
    /// assert_eq!(scale.wanted(3, 1, now), 3, "one for each task, at once");
    /// assert_eq!(scale.wanted(9, 3, now), 4, "and no more than that");
    /// assert_eq!(scale.wanted(0, 4, now), 4, "not so soon");
    /// assert_eq!(scale.wanted(0, 4, now + scale.keepalive), 1);
    /// ```
    pub fn wanted(&mut self, tasks: usize, children: usize, now: Instant) -> usize {
        let wanted = tasks.max(self.min).min(self.max);
        let rests = |grown: Instant| now < grown + self.keepalive;
        match wanted {
            more if more > children => {
                self.grown = Some(now);
                more
            }
            // What is above the limit goes in any case.
            fewer if fewer < children && self.grown.is_some_and(rests) => children.min(self.max),
            wanted => wanted,
        }
    }
}

impl Worker {
    /// Tasks that have, or wait for, a child.
    pub(super) fn tasks_in_hand(&self) -> usize {
        let counts = |state| {
            !matches!(
                state,
                State::Held | State::Limited | State::Publishing { .. }
            )
        };
        let requests = self.tasks.requests();
        requests.filter(|request| counts(request.state)).count()
    }

    /// Whether it may be time for another child: looked at once a turn.
    pub(super) fn may_grow(&self) -> bool {
        let (Some(scale), Some(pool)) = (&self.autoscale, &self.pool.pool) else {
            return false;
        };
        let children = pool.stats().concurrency;
        children < scale.max && self.tasks.requests.len() > children
    }

    /// Has as many children as there should be.
    pub(super) fn scale(&mut self, hub: &mut Hub<Self>) {
        let tasks = self.tasks_in_hand();
        let (Some(scale), Some(pool)) = (&mut self.autoscale, &mut self.pool.pool) else {
            return;
        };
        if self.tasks.closing {
            return;
        }
        let children = pool.stats().concurrency;
        let wanted = scale.wanted(tasks, children, hub.now());
        match wanted {
            more if more > children => log::info!("Scaling up {} processes.", more - children),
            fewer if fewer < children => log::info!("Scaling down {} processes.", children - fewer),
            _ => return,
        }
        pool.resize(wanted, hub.now());
        self.handle_pool_events(hub);
    }

    /// Sets other limits. Children come and go at once, and the window follows the largest number.
    pub(super) fn rescale(&mut self, max: Option<usize>, min: Option<usize>, hub: &mut Hub<Self>) {
        let Some(scale) = &mut self.autoscale else {
            return;
        };
        let before = scale.max;
        scale.max = max.unwrap_or(before);
        scale.min = min.unwrap_or(scale.min);
        let change = scale.max as i64 - before as i64;
        self.consumer.subscriptions.grow(change);
        self.scale(hub);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use crate::util::random::Random;

    /// T24: whatever comes, there are never too many and never too few, and none goes soon after one has come.
    #[test]
    fn t24_it_stays_between_its_limits() {
        let mut random = Random::new(7);
        let mut now = clock::now();
        for _ in 0..200 {
            let mut pick = |below: u64| (random.next_u64() % below) as usize;
            let mut scale = Autoscale::new(pick(12), pick(12), KEEPALIVE);
            let (mut children, mut grown) = (scale.min, None);
            for _ in 0..100 {
                now += Duration::from_secs(pick(20) as u64);
                let wanted = scale.wanted(pick(30), children, now);
                assert!((scale.min..=scale.max).contains(&wanted), "{scale:?}");
                if wanted > children {
                    grown = Some(now);
                } else if wanted < children {
                    assert!(grown.is_none_or(|grown| now >= grown + KEEPALIVE));
                }
                children = wanted;
            }
        }
    }
}
