//! The consuming connection and what hangs on it: Celery's Consumer, a blueprint of its own that starts again
//! whenever the connection was lost. Children and their tasks do not notice.

mod connection;
mod event_loop;
pub(crate) mod subscription;
mod tasks;

use std::time::Instant;

use super::Worker;
use super::acks::{Acks, Settle};
use super::gather::Gather;
use super::settings::Settings;
use super::wiring::{Wire, earliest};
use crate::amqp::ReplyCode;
use crate::amqp::connection::{self as amqp_connection, CloseReason, Event};
use crate::boot::{Blueprint, BlueprintError};
use crate::link::{Link, LinkEvent, Loss, Turn};
use subscription::Subscription;

/// The steps of the Consumer blueprint.
pub(super) fn blueprint() -> Result<Blueprint<Worker>, BlueprintError> {
    Blueprint::new(
        "Consumer",
        vec![
            Box::new(connection::Connection),
            Box::new(tasks::Tasks),
            Box::new(event_loop::EventLoop),
        ],
    )
}

/// The consuming connection of a worker.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) link: Link,
    pub(super) wire: Wire,
    pub(super) acks: Acks,
    gather: Gather,
    pub(super) subscription: Subscription,
    /// The connection was closed for good.
    pub(super) closed: bool,
    /// `ready.` was logged: it is, once in a worker's life.
    ready_said: bool,
}

/// What an event of the connection asks of the worker, beyond what the consumer does itself.
#[derive(Debug)]
pub(super) enum Wish {
    /// The connection is open.
    Up,
    /// The channel is open.
    Declare(u16),
    /// Every queue is consumed.
    Consuming,
    /// The broker cancelled the consumer of this tag.
    Consume(String),
    /// The broker closed the channel.
    Reopen {
        /// Its code and words.
        reason: String,
    },
    /// The connection is lost, or could not be had.
    Restart,
    /// There is no use in trying on.
    GiveUp(String),
    /// The connection was closed on our request.
    Closed,
}

impl Consumer {
    /// A consumer over `link`, which its blueprint connects.
    pub(super) fn new(link: Link, settings: &Settings) -> Self {
        Self {
            link,
            wire: Wire::default(),
            acks: Acks::new(),
            gather: Gather::default(),
            subscription: Subscription::new(settings.queues.clone(), settings.prefetch_count()),
            closed: false,
            ready_said: false,
        }
    }

    /// When something is due here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        earliest([self.link.deadline(), self.gather.deadline()])
    }

    /// Takes account of messages that only wait for their time: they do not count against the window.
    pub(super) fn adapt_prefetch(&mut self, held: usize) {
        if let Some(connection) = self.link.connection() {
            self.subscription.hold(held, connection);
        }
    }

    /// Tells the broker what has been decided about its messages, and writes it out. While the worker is `busy`,
    /// half the window is gathered: the other half keeps the broker delivering.
    pub(super) fn flush(&mut self, busy: bool, now: Instant) -> Turn {
        let enough = self.acks.outstanding() / 2;
        if let Some(connection) = self.link.connection()
            && self.gather.is_due(self.acks.pending(), enough, busy, now)
        {
            self.acks.flush(|settle| {
                // False only for a tag of a channel that is gone: its message comes again.
                let _ = match settle {
                    Settle::Ack { tag, multiple } => connection.ack(tag, multiple),
                    Settle::Reject { tag, requeue } => connection.reject(tag, requeue),
                };
            });
        }
        self.link.flush(now)
    }
}

/// Reads an event that is not a message.
pub(super) fn heed(
    event: LinkEvent<'_>,
    acks: &mut Acks,
    subscription: &mut Subscription,
) -> Option<Wish> {
    match event {
        LinkEvent::Up { url, server, .. } => {
            log::info!("Connected to {url}");
            subscription.adapt_to(server);
            Some(Wish::Up)
        }
        LinkEvent::Amqp(Event::ChannelOpen { channel }) => Some(Wish::Declare(channel)),
        LinkEvent::Amqp(Event::Reply { .. }) => subscription.answered().then_some(Wish::Consuming),
        LinkEvent::Amqp(Event::ConsumerCancelled { consumer_tag, .. }) => {
            Some(Wish::Consume(consumer_tag.to_string()))
        }
        LinkEvent::Amqp(Event::ChannelClosed { code, text, .. }) => {
            acks.reset();
            subscription.reset();
            Some(Wish::Reopen {
                reason: format!("({code}) {text}"),
            })
        }
        LinkEvent::Lost {
            url,
            reason,
            permanent,
            was_up,
            retry,
        } => {
            let first = !subscription.is_proven();
            acks.reset();
            subscription.reset();
            if permanent && first && is_refused_login(&reason) {
                return Some(Wish::GiveUp(reason.to_string()));
            }
            if was_up {
                log::warn!(
                    "consumer: Connection to broker lost. \
                     Trying to re-establish the connection... ({reason})"
                );
            } else {
                log::error!("consumer: Cannot connect to {url}: {reason}.\n{retry}\n");
            }
            Some(Wish::Restart)
        }
        LinkEvent::GaveUp { url, reason, .. } => {
            Some(Wish::GiveUp(format!("Cannot connect to {url}: {reason}")))
        }
        LinkEvent::Closed => Some(Wish::Closed),
        _ => None,
    }
}

/// Whether the credentials are wrong, as far as the broker says so.
fn is_refused_login(reason: &Loss) -> bool {
    let Loss::Closed(reason) = reason else {
        return false;
    };
    match reason {
        CloseReason::Server { code, .. } => *code == ReplyCode::AccessRefused.number(),
        CloseReason::Dropped { during } => *during == amqp_connection::State::Authenticating,
        _ => false,
    }
}
