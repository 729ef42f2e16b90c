//! How many messages the broker may give out at once, and what it takes to change that.
//!
//! `basic.qos` limits a channel, or each consumer of it; which of the two a server does depends on its version and on the
//! kind of queue. Where it is each consumer's own limit, a change reaches only consumers that start later: so they are
//! replaced, each by a fresh one under a new tag, and no message is handed back for that.
//!
//! A limit for the channel costs RabbitMQ a good part of its time, since every delivery asks a process of its own for
//! leave. So as long as there is but one consumer, the limit is that consumer's, which comes to the same; it becomes the
//! channel's with the second queue, and with the first change of the window.

use super::frames::{cancel, consume, declare};
use super::subscription::{State, Subscription};
use crate::amqp::Connection;
use crate::amqp::connection::CommandError;
use crate::amqp::method::basic;
use crate::amqp::table::Table;

#[derive(Debug)]
pub(super) struct Window {
    /// 0 is no limit.
    pub(super) size: u16,
    /// What the broker was told last.
    pub(super) told: u16,
    /// `basic.qos` can limit the channel as a whole.
    pub(super) global: bool,
    /// It does so on this channel.
    pub(super) shared: bool,
    /// This broker has refused a limit for the channel.
    pub(super) never_global: bool,
    /// Where the limit is each consumer's own: messages that were held when the consumers began, and do not count
    /// against them.
    pub(super) let_off: usize,
    /// Beyond this the window does not grow with messages that wait for their time (`worker_eta_task_limit`).
    pub(super) most: Option<u16>,
}

impl Window {
    pub(super) const fn new(size: u16) -> Self {
        Self {
            size,
            told: 0,
            global: false,
            shared: false,
            never_global: false,
            let_off: 0,
            most: None,
        }
    }
}

impl Subscription {
    /// What `basic.qos` means to this server: before version 4, RabbitMQ's `global` is the channel;
    /// elsewhere, and in later versions, it is no help (spec of `qos_semantics_matches_spec` in Celery).
    pub(in crate::worker) fn adapt_to(&mut self, server: Table<'_>) {
        let text = |key| {
            server
                .find(key)
                .ok()
                .flatten()
                .and_then(|value| value.as_str())
        };
        let version = text("version").map(numbers);
        let quorum = self.queues().any(|queue| {
            let kind = queue
                .arguments
                .as_table()
                .find("x-queue-type")
                .ok()
                .flatten();
            kind.and_then(|value| value.as_str()) == Some("quorum")
        });
        if let Some(window) = &mut self.window {
            window.global = text("product") == Some("RabbitMQ")
                && version.is_some_and(|version| ((3, 3)..(4, 0)).contains(&version))
                && !quorum
                && !window.never_global;
        }
    }

    /// The broker has closed the connection over a limit for the whole channel: one of the queues is a quorum queue
    /// that somebody else has declared. Whether that is news.
    pub(in crate::worker) fn refuse_global(&mut self) -> bool {
        let window = self.window.as_mut();
        window.is_some_and(|window| {
            window.global && !std::mem::replace(&mut window.never_global, true)
        })
    }

    /// Widens the window by `held` messages that are in hand but only wait for their time, as Celery does; `others` are
    /// in hand as well. On a server where the limit is each consumer's own a change reaches only consumers that start
    /// later: there consumers are replaced, once held messages have taken up half of what they may have.
    ///
    /// With a limit there are never more in hand than that while any is held, even if that narrows the window (Celery).
    pub(in crate::worker) fn hold(
        &mut self,
        held: usize,
        others: usize,
        connection: &mut Connection,
    ) {
        let (Some(window), State::Consuming { channel } | State::Declaring { channel, .. }) =
            (&mut self.window, self.state)
        else {
            return;
        };
        let size = usize::from(window.size);
        let most = window.most.map_or(usize::MAX, usize::from);
        if size > 0 && !window.global {
            let held = held.min(most.saturating_sub(size));
            window.let_off = window.let_off.min(held);
            let is_used_up = 2 * (held - window.let_off) >= size && 2 * others <= size;
            if window.told != window.size || is_used_up {
                window.let_off = held;
                self.replace_consumers(connection);
            }
            return;
        }
        let wanted = match size {
            0 => 0,
            _ if held == 0 => window.size,
            size => u16::try_from(size.saturating_add(held).min(most)).unwrap_or(0),
        };
        if wanted == window.told {
            return;
        }
        if self.is_alone() {
            self.replace_consumers(connection);
        }
        match self.limit(channel, wanted, connection) {
            Ok(_) => log::debug!("basic.qos: prefetch_count->{wanted}"),
            Err(error) => log::error!("consumer: basic.qos: {error}"),
        }
        if let State::Declaring { answers, .. } = &mut self.state {
            *answers += 1;
        }
    }

    /// Sets the limit of `worker_eta_task_limit`.
    pub(in crate::worker) fn holding_at_most(mut self, most: Option<u16>) -> Self {
        if let Some(window) = &mut self.window {
            window.most = most;
        }
        self
    }

    /// Begins anew with fresh consumers, and lets go of those before them; queues are declared if they are gone.
    pub(in crate::worker) fn replace_consumers(&mut self, connection: &mut Connection) {
        let Some((channel, awaited)) = self.standing() else {
            return;
        };
        match self.try_replace(channel, connection) {
            Ok(answers) => {
                let answers = awaited + answers;
                self.state = State::Declaring { channel, answers };
            }
            Err(error) => log::error!("consumer: cannot consume anew: {error}"),
        }
    }

    fn try_replace(
        &mut self,
        channel: u16,
        connection: &mut Connection,
    ) -> Result<usize, CommandError> {
        let mut answers = self.share(channel, connection)?;
        let size = self.window.as_ref().map_or(0, |window| window.size);
        answers += self.limit(channel, size, connection)?;
        for consumed in &mut self.consumed {
            let before = consumed.tag();
            consumed.times += 1;
            answers += declare(channel, &consumed.queue, connection)?;
            answers += consume(channel, consumed, self.window.is_none(), connection)?;
            cancel(channel, &before, connection)?;
        }
        log::debug!("basic.qos: prefetch_count->{size}, with new consumers");
        Ok(answers)
    }

    /// From now on the limit is the channel's, where that is possible: consumers that start later have none of their
    /// own. The number of answers to expect.
    fn share(&mut self, channel: u16, connection: &mut Connection) -> Result<usize, CommandError> {
        let window = self.window.as_mut();
        let Some(window) = window.filter(|window| window.global && !window.shared) else {
            return Ok(0);
        };
        window.shared = true;
        connection.call(channel, qos(0, false))?;
        Ok(1)
    }

    /// Whether the one consumer there is has a limit of its own, which more than one could not have.
    pub(super) fn is_alone(&self) -> bool {
        let window = self.window.as_ref();
        window.is_some_and(|window| window.global && !window.shared)
    }

    /// How large the window is to be, apart from messages that are held.
    #[cfg(test)]
    pub(super) fn size(&self) -> u16 {
        self.window.as_ref().map_or(0, |window| window.size)
    }

    /// Makes the window so large, from the next turn on.
    pub(super) fn resize(&mut self, size: u16) {
        if let Some(window) = &mut self.window {
            window.size = size;
        }
    }

    /// Tells the broker the window; the number of answers to expect.
    pub(super) fn limit(
        &mut self,
        channel: u16,
        prefetch_count: u16,
        connection: &mut Connection,
    ) -> Result<usize, CommandError> {
        let Some(window) = &mut self.window else {
            return Ok(0);
        };
        window.told = prefetch_count;
        connection.call(channel, qos(prefetch_count, window.shared))?;
        Ok(1)
    }
}

/// Without a limit in octets, which RabbitMQ does not know.
pub(super) const fn qos(prefetch_count: u16, global: bool) -> basic::Qos {
    basic::Qos {
        prefetch_size: 0,
        prefetch_count,
        global,
    }
}

/// The first two numbers of a version.
fn numbers(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
