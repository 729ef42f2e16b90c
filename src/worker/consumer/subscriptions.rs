//! All subscriptions of a worker: each on a channel of its own, side by side on the consuming connection.
//!
//! There are two to tasks where some run long (`--long-tasks`), so that a broker that loses patience with one of those
//! takes only their channel. The window is Celery's count for both together: of it the long tasks have one message for
//! each child, since nothing need be in reserve behind them, and the others what is left; but no less than one for each
//! child, or children would be idle.

use std::collections::BTreeSet;

use super::subscription::{Purpose, Subscription};
use crate::amqp::Connection;
use crate::amqp::connection::CommandError;
use crate::worker::control::mailbox;
use crate::worker::settings::{Queue, Settings};

/// Queues of long tasks are counted from here on; far more than others are ever listed.
const LONG_PLACES: u32 = 1_000_000;

/// One subscription for each [`Purpose`].
#[derive(Debug)]
pub(in crate::worker) struct Subscriptions {
    tasks: Subscription,
    long_tasks: Subscription,
    control: Subscription,
    gossip: Subscription,
    mingle: Subscription,
    /// The names of queues whose tasks run long.
    long: BTreeSet<String>,
    window: Share,
}

/// What the windows are cut from.
#[derive(Debug)]
struct Share {
    children: i64,
    /// For each of them; 0 is no limit.
    multiplier: i64,
    /// Celery's `prefetch_count`, which `pool_grow` and its like change.
    total: i64,
}

impl Share {
    fn of(settings: &Settings) -> Self {
        let most = settings.autoscale.as_ref().map(|it| it.max);
        let children = most.unwrap_or(settings.concurrency).max(1);
        Self {
            children: i64::try_from(children).unwrap_or(i64::MAX),
            multiplier: settings.prefetch_multiplier.into(),
            total: settings.prefetch_count().into(),
        }
    }

    /// The windows of tasks and of long tasks, where there are any; 0 is no limit.
    fn cut(&self, any_long: bool) -> (u16, u16) {
        let size = |size: i64| u16::try_from(size.max(1)).unwrap_or(0);
        match self.total {
            0 => (0, 0),
            total if any_long => (
                size((total - self.children).max(self.children)),
                size(self.children),
            ),
            total => (size(total), 0),
        }
    }
}

impl Subscriptions {
    pub(super) fn new(settings: &Settings) -> Self {
        let long = settings.broker.long_tasks.clone();
        let is_unknown = |name: &&String| settings.queues.iter().all(|queue| queue.name != **name);
        if let Some(name) = long.iter().find(is_unknown) {
            log::warn!("--long-tasks: {name} is not consumed yet");
        }
        let queues = settings.queues.iter().cloned();
        let (apart, together) = queues.partition(|queue| long.contains(&queue.name));
        let mut made = Self {
            tasks: Subscription::new(together, 0).holding_at_most(settings.eta_task_limit),
            long_tasks: Subscription::new(apart, 0)
                .holding_at_most(settings.eta_task_limit)
                .numbered_after(LONG_PLACES),
            control: Subscription::unacknowledged(vec![mailbox(
                &settings.monitoring.channels,
                &settings.node_name,
            )]),
            gossip: Subscription::unacknowledged(vec![]),
            mingle: Subscription::unacknowledged(vec![]),
            long,
            window: Share::of(settings),
        };
        made.share();
        made
    }

    /// The one for a purpose.
    pub(in crate::worker) fn of(&self, purpose: Purpose) -> &Subscription {
        match purpose {
            Purpose::Tasks => &self.tasks,
            Purpose::LongTasks => &self.long_tasks,
            Purpose::Control => &self.control,
            Purpose::Gossip => &self.gossip,
            Purpose::Mingle => &self.mingle,
        }
    }

    /// The one for a purpose, to change.
    pub(in crate::worker) fn of_mut(&mut self, purpose: Purpose) -> &mut Subscription {
        match purpose {
            Purpose::Tasks => &mut self.tasks,
            Purpose::LongTasks => &mut self.long_tasks,
            Purpose::Control => &mut self.control,
            Purpose::Gossip => &mut self.gossip,
            Purpose::Mingle => &mut self.mingle,
        }
    }

    /// Those to tasks: one, or two where there are queues of long tasks.
    pub(in crate::worker) fn to_tasks(&self) -> impl Iterator<Item = &Subscription> {
        let any_long = self.long_tasks.queues().next().is_some();
        std::iter::once(&self.tasks).chain(any_long.then_some(&self.long_tasks))
    }

    /// The same, to change.
    pub(in crate::worker) fn to_tasks_mut(&mut self) -> impl Iterator<Item = &mut Subscription> {
        let any_long = self.long_tasks.queues().next().is_some();
        std::iter::once(&mut self.tasks).chain(any_long.then_some(&mut self.long_tasks))
    }

    /// Whether all task queues are consumed.
    pub(in crate::worker) fn consume_tasks(&self) -> bool {
        self.to_tasks().all(Subscription::is_consuming)
    }

    /// How many unsettled messages of tasks the broker may give out, as it was told last; 0 is no limit.
    pub(in crate::worker) fn prefetch_count(&self) -> usize {
        let counts = self.to_tasks().map(|it| usize::from(it.prefetch_count()));
        counts.sum()
    }

    /// The queue of a consumer that is or was one of tasks, by its place.
    pub(in crate::worker) fn name_of(&self, place: u32) -> Option<&str> {
        let long = || self.long_tasks.name_of(place);
        self.tasks.name_of(place).or_else(long)
    }

    /// Consumes another task queue. Nothing when it is consumed already, else what for.
    pub(in crate::worker) fn add(
        &mut self,
        queue: Queue,
        connection: Option<&mut Connection>,
    ) -> Result<Option<Purpose>, CommandError> {
        let purpose = self.purpose_of(&queue.name);
        let added = self.of_mut(purpose).add(queue, connection)?;
        self.share();
        Ok(added.then_some(purpose))
    }

    /// Consumes a task queue no longer. False when it was not consumed.
    pub(in crate::worker) fn remove(
        &mut self,
        name: &str,
        connection: Option<&mut Connection>,
    ) -> Result<bool, CommandError> {
        let purpose = self.purpose_of(name);
        let removed = self.of_mut(purpose).remove(name, connection)?;
        self.share();
        Ok(removed)
    }

    fn purpose_of(&self, queue: &str) -> Purpose {
        match self.long.contains(queue) {
            true => Purpose::LongTasks,
            false => Purpose::Tasks,
        }
    }

    /// So many more children may have tasks, or fewer: the windows follow, as far as there are limits.
    pub(in crate::worker) fn grow(&mut self, change: i64) {
        let share = &mut self.window;
        share.children = share.children.saturating_add(change).max(1);
        let change = change.saturating_mul(share.multiplier);
        self.widen(change);
    }

    /// So many more messages may be in hand, or fewer; without a limit it stays so.
    pub(in crate::worker) fn widen(&mut self, change: i64) {
        let total = &mut self.window.total;
        if *total > 0 {
            *total = total.saturating_add(change).max(1);
        }
        self.share();
    }

    fn share(&mut self) {
        let any_long = self.long_tasks.queues().next().is_some();
        let (tasks, long_tasks) = self.window.cut(any_long);
        self.tasks.resize(tasks);
        self.long_tasks.resize(long_tasks);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::settings::BrokerSettings;

    fn windows(subscriptions: &Subscriptions) -> Vec<(usize, u16)> {
        let all = subscriptions.to_tasks();
        all.map(|it| (it.queues().count(), it.size())).collect()
    }

    /// T2.5: both windows together are Celery's count, and every child may have a task of either kind.
    #[test]
    fn t2_5_long_tasks_have_a_part_of_the_window() {
        let settings = |concurrency, prefetch_multiplier, long: &[&str]| Settings {
            queues: vec![Queue::named("a"), Queue::named("b"), Queue::named("c")],
            concurrency,
            prefetch_multiplier,
            broker: BrokerSettings {
                long_tasks: long.iter().map(|name| (*name).to_owned()).collect(),
                ..BrokerSettings::default()
            },
            ..Settings::of_tests()
        };
        let shares = |settings: &Settings| windows(&Subscriptions::new(settings));
        assert_eq!(shares(&settings(2, 4, &[])), [(3, 8)]);
        assert_eq!(shares(&settings(2, 4, &["b", "z"])), [(2, 6), (1, 2)]);
        assert_eq!(shares(&settings(2, 1, &["b"])), [(2, 2), (1, 2)]);
        assert_eq!(shares(&settings(2, 0, &["b"])), [(2, 0), (1, 0)]);

        let mut grown = Subscriptions::new(&settings(2, 4, &["b"]));
        grown.grow(3);
        assert_eq!(windows(&grown), [(2, 15), (1, 5)]);
        grown.grow(-9);
        assert_eq!(windows(&grown), [(2, 1), (1, 1)]);
        assert!(grown.remove("b", None).expect("nobody was asked"));
        assert_eq!(windows(&grown), [(2, 1)]);
        let added = |it: &mut Subscriptions, name| it.add(Queue::named(name), None).ok().flatten();
        assert_eq!(added(&mut grown, "z"), Some(Purpose::Tasks));
        assert_eq!(added(&mut grown, "b"), Some(Purpose::LongTasks));
        assert_eq!(added(&mut grown, "b"), None, "it is consumed already");
        assert_eq!(windows(&grown), [(3, 1), (1, 1)]);
    }
}
