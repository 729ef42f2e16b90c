//! The consuming connection and what hangs on it: Celery's Consumer, a blueprint of its own that starts again
//! whenever the connection was lost. Children and their tasks do not notice.

mod connection;
mod control;
mod event_loop;
mod events;
mod frames;
mod gossip;
mod heart;
mod mingle;
pub(in crate::worker) mod subscription;
mod subscriptions;
mod tasks;
mod watchdog;
mod window;
pub(in crate::worker) mod wishes;

use std::time::{Duration, Instant};

use super::Worker;
use super::acks::{Acks, Settle};
use super::gather::Gather;
use super::patience::{Patience, UNANSWERED};
use super::settings::{Queue, Settings};
use super::wiring::{Wire, earliest};
use crate::amqp::ShortStr;
use crate::amqp::connection::{Delivery, Event};
use crate::boot::{Blueprint, BlueprintError};
use crate::link::{Level, Link, LinkEvent, Otherwise, Remedy, Retry, Turn};
use crate::message::pidbox;
use subscription::{Purpose, Subscription};
use subscriptions::Subscriptions;
use watchdog::{Verdict, Watchdog};

/// The steps of the Consumer blueprint.
pub(super) fn blueprint() -> Result<Blueprint<Worker>, BlueprintError> {
    Blueprint::new(
        "Consumer",
        vec![
            Box::new(connection::Connection),
            Box::new(events::Events),
            Box::new(mingle::Mingle),
            Box::new(tasks::Tasks),
            Box::new(control::Control),
            Box::new(gossip::Gossip),
            Box::new(heart::Heart),
            Box::new(event_loop::EventLoop),
        ],
    )
}

/// How long acknowledgements are gathered at the most.
const GATHER: Duration = Duration::from_millis(3);

/// How many acknowledgements leave at once where the broker needs none to go on.
const ENOUGH: usize = 200;

/// The consuming connection of a worker.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) link: Link,
    pub(super) wire: Wire,
    pub(super) acks: Acks,
    gather: Gather,
    pub(super) subscriptions: Subscriptions,
    pub(super) watchdog: Watchdog,
    patience: Patience,
    pub(super) counts: Counts,
    /// There is no broker since.
    lost_since: Option<Instant>,
    /// The connection was closed for good.
    pub(super) closed: bool,
    /// `ready.` was logged: it is, once in a worker's life.
    ready_said: bool,
}

/// How often what went wrong with a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// The connection was lost.
    pub(super) connections_lost: u64,
    /// The broker closed a channel.
    pub(super) channels_closed: u64,
    /// The broker cancelled a consumer.
    pub(super) consumers_cancelled: u64,
    /// A message came by a connection that was gone already.
    pub(super) late_deliveries: u64,
    /// The subscription was silent for no reason.
    pub(super) silences_broken: u64,
}

/// What an event of the connection asks of the worker, beyond what the consumer does itself.
#[derive(Debug)]
pub(super) enum Wish {
    /// The connection is open.
    Up,
    /// The channel is open.
    Declare(Purpose),
    /// Every queue is consumed.
    Consuming(Purpose),
    /// The broker cancelled the consumer of this tag.
    Consume(Purpose, String),
    /// The broker closed the channel.
    Reopen {
        /// Its number.
        channel: u16,
        /// What it was for.
        purpose: Purpose,
        /// The broker's code.
        code: u16,
        /// Its words.
        text: String,
    },
    /// A message that is no task.
    Read(Letter),
    /// The channel of the watchdog is open.
    Ask,
    /// It has an answer.
    Judge,
    /// It has found a queue missing.
    Missing,
    /// The connection is lost, or could not be had.
    Restart {
        /// There was one.
        was_up: bool,
    },
    /// There is no use in trying on.
    GiveUp(String),
    /// The connection was closed on our request.
    Closed,
}

/// A message that is no task: of remote control, or an event.
#[derive(Debug)]
pub(super) struct Letter {
    /// What came it for.
    pub(super) purpose: Purpose,
    /// Its body.
    pub(super) body: Vec<u8>,
    /// Its content type, if it has one.
    pub(super) content_type: Option<String>,
    /// The header `clock`: Lamport's, of its sender's mailboxes.
    pub(super) clock: u64,
    /// The header `ticket`: which call a reply belongs to.
    pub(super) ticket: Option<String>,
    /// It has the header `nodes`: its sender would like to know how many there are.
    pub(super) asks_for_nodes: bool,
}

impl Letter {
    pub(super) fn new(purpose: Purpose, delivery: &Delivery<'_>) -> Self {
        let headers = delivery.properties.headers.unwrap_or_default();
        let header = |name| headers.find(name).ok().flatten();
        let clock = header("clock").and_then(|value| value.as_i64());
        let text = |value: ShortStr<'_>| value.to_string_lossy().into_owned();
        Self {
            purpose,
            body: delivery.body.to_vec(),
            content_type: delivery.properties.content_type.map(text),
            clock: clock
                .and_then(|clock| u64::try_from(clock).ok())
                .unwrap_or(0),
            ticket: header("ticket").and_then(|value| value.as_str().map(str::to_owned)),
            asks_for_nodes: header(pidbox::NODES).is_some(),
        }
    }
}

impl Consumer {
    /// A consumer over `link`, which its blueprint connects.
    pub(super) fn new(link: Link, settings: &Settings, now: Instant) -> Self {
        Self {
            link,
            wire: Wire::default(),
            acks: Acks::new(),
            gather: Gather::new(GATHER),
            subscriptions: Subscriptions::new(settings),
            watchdog: Watchdog::new(settings.broker.silence, now),
            patience: Patience::new(settings.broker.silence),
            counts: Counts::default(),
            lost_since: None,
            closed: false,
            ready_said: false,
        }
    }

    /// When something is due here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let watch = self.watchdog.deadline().filter(|_| self.has_room());
        earliest([
            self.link.deadline(),
            self.gather.deadline(),
            self.patience.deadline(),
            watch,
        ])
    }

    /// What is due here is done.
    pub(super) fn handle_deadline(&mut self, now: Instant) {
        self.link.handle_deadline(now);
        if self.patience.is_over(now) {
            self.link.abandon(UNANSWERED, now);
        }
        if self.has_room()
            && let Some(connection) = self.link.connection()
        {
            self.watchdog.handle_deadline(now, connection);
        }
    }

    /// Messages may come, and one more would be taken.
    fn has_room(&self) -> bool {
        self.subscriptions.to_tasks().any(|it| self.leaves_room(it))
    }

    fn leaves_room(&self, tasks: &Subscription) -> bool {
        let channel = tasks.channel();
        tasks.has_room(channel.map_or(0, |channel| self.acks.outstanding_on(channel)))
    }

    /// Silence counts only where messages may come, or an answer.
    pub(super) fn watch(&mut self, now: Instant) {
        let awaited = self.subscriptions.await_answers() || self.watchdog.awaits();
        self.patience.watch(awaited, now);
        if !self.has_room() {
            self.watchdog.heard(now);
        }
    }

    /// The watchdog asks.
    fn ask(&mut self) {
        let tasks = self.subscriptions.to_tasks();
        let tasks = tasks.filter(|it| self.leaves_room(it));
        let queues: Vec<Queue> = tasks.flat_map(|it| it.queues().cloned()).collect();
        if let Some(connection) = self.link.connection() {
            self.watchdog.opened(&queues, connection);
        }
    }

    /// What the watchdog makes of the answers.
    fn judge(&mut self, now: Instant) {
        let Some(connection) = self.link.connection() else {
            return;
        };
        if let Verdict::Subscribe(messages) = self.watchdog.judge(now, connection) {
            log::warn!(
                "consumer: {messages} messages wait and none of them comes: subscribing again"
            );
            self.counts.silences_broken += 1;
            for tasks in self.subscriptions.to_tasks_mut() {
                tasks.replace_consumers(connection);
            }
        }
    }

    /// A queue is gone and nobody has said so.
    fn declare_missing(&mut self) {
        self.watchdog.reset();
        if let Some(connection) = self.link.connection() {
            self.counts.silences_broken += 1;
            for tasks in self.subscriptions.to_tasks_mut() {
                tasks.replace_consumers(connection);
            }
        }
    }

    /// Takes account of messages that only wait for their time: they do not count against the window. Gives the
    /// window.
    pub(super) fn adapt_prefetch(&mut self, held_on: impl Fn(u16) -> usize) -> usize {
        if let Some(connection) = self.link.connection() {
            for tasks in self.subscriptions.to_tasks_mut() {
                let Some(channel) = tasks.channel() else {
                    continue;
                };
                let held = held_on(channel);
                let others = self.acks.outstanding_on(channel).saturating_sub(held);
                tasks.hold(held, others, connection);
            }
        }
        self.subscriptions.prefetch_count()
    }

    /// Tells the broker what has been decided about its messages, and writes it out. Where it is not said how many are
    /// `ready` to be run, nothing is kept back.
    pub(super) fn flush(&mut self, ready: Option<usize>, now: Instant) -> Turn {
        let pending = self.acks.pending();
        let enough = ready.map_or(1, |ready| self.enough(ready));
        if self.gather.is_due(pending, enough, now)
            && let Some(connection) = self.link.connection()
        {
            self.acks.flush(ready.is_none(), |settle| {
                // False only for a tag of a channel that is gone: its message comes again.
                let _ = match settle {
                    Settle::Ack { tag, multiple } => connection.ack(tag, multiple),
                    Settle::Reject { tag, requeue } => connection.reject(tag, requeue),
                };
            });
        }
        self.link.flush(now)
    }

    /// How many decisions are worth telling at once, where so many messages in hand are `ready` to be run: a quarter of
    /// what the broker may give out besides those that nothing can be done about but to wait. The rest keeps the children
    /// going.
    fn enough(&self, ready: usize) -> usize {
        let quarter = |tasks: &Subscription| match usize::from(tasks.prefetch_count()) {
            0 => None,
            window => {
                let stuck = self.acks.open_on(tasks.channel()?).saturating_sub(ready);
                Some(window.saturating_sub(stuck) / 4)
            }
        };
        let quarters = self.subscriptions.to_tasks().filter_map(quarter);
        quarters.min().unwrap_or(ENOUGH)
    }
}

/// Reads an event that is not a message.
pub(super) fn heed(
    event: LinkEvent<'_>,
    acks: &mut Acks,
    subscriptions: &mut Subscriptions,
    watchdog: &mut Watchdog,
    counts: &mut Counts,
) -> Option<Wish> {
    match event {
        LinkEvent::Up { url, server, .. } => {
            log::info!("Connected to {url}");
            for tasks in subscriptions.to_tasks_mut() {
                tasks.adapt_to(server);
            }
            Some(Wish::Up)
        }
        LinkEvent::Amqp(event) => heed_broker(event, acks, subscriptions, watchdog, counts),
        LinkEvent::Discarded(_) => {
            counts.late_deliveries += 1;
            None
        }
        LinkEvent::Lost {
            url,
            reason,
            permanent,
            was_up,
            retry,
        } => {
            let first = !subscriptions.of(Purpose::Tasks).is_proven();
            if reason.is_not_implemented()
                && subscriptions
                    .to_tasks_mut()
                    .any(Subscription::refuse_global)
            {
                log::info!("consumer: a queue takes no limit for the whole channel: {reason}");
            }
            acks.reset();
            subscriptions.reset();
            watchdog.reset();
            if permanent && first && retry != Retry::NextUrl {
                return Some(Wish::GiveUp(reason.to_string()));
            }
            if was_up {
                counts.connections_lost += 1;
                log::warn!(
                    "consumer: Connection to broker lost. \
                     Trying to re-establish the connection... ({reason})"
                );
            } else {
                log::error!("consumer: Cannot connect to {url}: {reason}.\n{retry}\n");
            }
            Some(Wish::Restart { was_up })
        }
        LinkEvent::GaveUp { url, reason, .. } => {
            acks.reset();
            subscriptions.reset();
            Some(Wish::GiveUp(format!("Cannot connect to {url}: {reason}")))
        }
        LinkEvent::Closed => Some(Wish::Closed),
        _ => None,
    }
}

/// Reads what the broker has to say on the open connection.
fn heed_broker(
    event: Event<'_>,
    acks: &mut Acks,
    subscriptions: &mut Subscriptions,
    watchdog: &mut Watchdog,
    counts: &mut Counts,
) -> Option<Wish> {
    match event {
        Event::ChannelOpen { channel } if watchdog.owns(channel) => Some(Wish::Ask),
        Event::ChannelOpen { channel } => subscriptions.purpose(channel).map(Wish::Declare),
        Event::Reply { channel, method } if watchdog.owns(channel) => {
            watchdog.answered(&method);
            Some(Wish::Judge)
        }
        Event::Reply { channel, .. } => {
            let purpose = subscriptions.purpose(channel)?;
            let complete = subscriptions.of_mut(purpose).answered();
            complete.then_some(Wish::Consuming(purpose))
        }
        Event::ConsumerCancelled {
            channel,
            consumer_tag,
        } => {
            let purpose = subscriptions.purpose(channel)?;
            counts.consumers_cancelled += 1;
            Some(Wish::Consume(purpose, consumer_tag.to_string()))
        }
        Event::ChannelClosed {
            channel,
            code,
            text,
            ..
        } if watchdog.owns(channel) => {
            if Remedy::of(Level::Channel, code) == Remedy::WrongConfiguration {
                log::info!("consumer: the length of a queue is not ours to know: {text}");
                watchdog.retire();
                return None;
            }
            log::warn!("consumer: a queue is gone: {text}");
            Some(Wish::Missing)
        }
        Event::ChannelClosed {
            channel,
            code,
            text,
            method,
        } => {
            let purpose = subscriptions.purpose(channel)?;
            counts.channels_closed += 1;
            acks.forget(channel);
            let text = text.to_string_lossy().into_owned();
            let otherwise = Otherwise::of(code, method);
            let subscription = subscriptions.of_mut(purpose);
            for queue in subscription.adapt_to_close(otherwise, &text) {
                log::error!(
                    "consumer: {queue} is there, but not as it would be declared here: it is consumed as it is"
                );
            }
            for queue in subscription.refused() {
                log::error!("consumer: {queue} is not consumed: ({code}) {text}");
            }
            Some(Wish::Reopen {
                channel,
                purpose,
                code,
                text,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link;
    use crate::sys::clock;

    /// A deadline that has passed and stays would keep the Hub from ever sleeping.
    #[test]
    fn what_was_gathered_for_a_connection_that_is_lost_is_not_waited_for() {
        let now = clock::now();
        let link = Link::new(link::Settings::new(vec![], "test"), 1, now);
        let mut consumer = Consumer::new(link, &Settings::of_tests(), now);
        assert!(consumer.gather.is_due(1, 9, now));
        assert!(!consumer.gather.is_due(1, 9, now));
        assert!(consumer.deadline().is_some());
        let later = now + GATHER;
        assert_eq!(consumer.flush(Some(0), later), Turn::Wait);
        assert_eq!(consumer.deadline(), None);
    }
}
