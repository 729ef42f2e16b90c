//! The publishing connection: results and retries leave here, each confirmed by the broker.
//!
//! It is a connection of its own, so that a broker that stops reading publications (`connection.blocked`)
//! does not stop acknowledgements. It reconnects by itself; what is not confirmed waits in the
//! [`Outbox`]. What may be lost (events, replies to remote control) leaves on a second channel without confirms.

use std::time::{Duration, Instant};

use super::events::Dispatcher;
use super::gather::Gather;
use super::notices::{Notice, Notices};
use super::outbox::{Fate, Outbox};
use super::patience::{Patience, UNANSWERED};
use super::publication::Publication;
use super::wiring::{Wire, earliest};
use crate::amqp::connection::Event;
use crate::amqp::method::{Method, confirm, exchange};
use crate::amqp::props::Properties;
use crate::link::{Link, LinkEvent, Retry, Turn};

/// Octets queued on the connection beyond which publications wait in the outbox.
const OUTPUT_LIMIT: usize = 1 << 20;

/// How long a busy worker gathers what it publishes at the most.
const GATHER: Duration = Duration::from_millis(1);

/// So many publications leave together even while more results are to be expected at once.
const ENOUGH: usize = 32;

/// So many events leave together even while more are to be expected at once.
const ENOUGH_EVENTS: usize = 200;

/// How long events are gathered at the most: nobody waits for them, and they cost the broker by the message.
const GATHER_EVENTS: Duration = Duration::from_millis(10);

/// Publications in the outbox beyond which the worker starts no more tasks.
const CONGESTED: usize = 10_000;

/// Octets of their bodies beyond which it does not either.
const CONGESTED_OCTETS: usize = 64 << 20;

/// The publishing connection of a worker.
#[derive(Debug)]
pub(super) struct Producer {
    pub(super) link: Link,
    pub(super) wire: Wire,
    outbox: Outbox<Publication>,
    /// The bodies in the outbox, in octets.
    octets: usize,
    gather: Gather,
    gather_events: Gather,
    channel: Channel,
    notices: Notices,
    /// The channel of notices.
    side: Channel,
    /// When that was asked for last, so that a broker that closes it again and again is not kept busy.
    side_opened: Option<Instant>,
    /// What this worker tells monitors.
    pub(super) events: Dispatcher,
    blocked: bool,
    patience: Patience,
    /// The connection was closed for good.
    pub(super) closed: bool,
    settled: Vec<(Publication, Fate)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    None,
    Opening(u16),
    /// Open, and the broker has been asked to confirm.
    Selecting(u16),
    Ready(u16),
}

impl Producer {
    /// A producer over `link`, which its owner connects.
    pub(super) fn new(link: Link, events: Dispatcher, patience: Patience) -> Self {
        Self {
            link,
            wire: Wire::default(),
            outbox: Outbox::new(),
            octets: 0,
            gather: Gather::new(GATHER),
            gather_events: Gather::new(GATHER_EVENTS),
            channel: Channel::None,
            notices: Notices::default(),
            side: Channel::None,
            side_opened: None,
            events,
            blocked: false,
            patience,
            closed: false,
            settled: Vec::new(),
        }
    }

    /// Sends what may be lost, when there is a connection.
    pub(super) fn notify(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Takes a message in charge.
    pub(super) fn publish(&mut self, publication: Publication) {
        self.octets += publication.body.len();
        self.outbox.push(publication);
    }

    /// Closes the connection in order; what is not confirmed by now stays here.
    pub(super) fn close(&mut self, now: Instant) {
        self.take_events(); // the last says that the worker goes
        self.fill_side(now);
        (self.channel, self.side) = (Channel::None, Channel::None);
        self.link.close(now);
    }

    /// Whether everything has been confirmed, refused or given up.
    pub(super) fn is_idle(&self) -> bool {
        self.outbox.is_empty() && self.settled.is_empty()
    }

    /// The octets of publications that are not settled, and of what may be lost.
    pub(super) fn octets(&self) -> (usize, usize) {
        (self.octets, self.notices.octets())
    }

    /// How many publications are not settled.
    pub(super) fn backlog(&self) -> usize {
        self.outbox.len()
    }

    /// Whether the broker takes no publications.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// What is due here is done.
    pub(super) fn handle_deadline(&mut self, now: Instant) {
        self.link.handle_deadline(now);
        if self.patience.is_over(now) {
            self.link.abandon(UNANSWERED, now);
        }
    }

    /// Whether so much waits that no new task should start.
    pub(super) fn is_congested(&self) -> bool {
        self.outbox.len() >= CONGESTED || self.octets >= CONGESTED_OCTETS
    }

    /// How many events and replies were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.notices.dropped_ever()
    }

    /// What has been settled since the last call.
    pub(super) fn poll_settled(&mut self) -> Option<(Publication, Fate)> {
        let settled = self.settled.pop()?;
        self.octets -= settled.0.body.len();
        Some(settled)
    }

    /// Hands publications to the connection and writes them out; a `busy` worker gathers a few.
    pub(super) fn flush(&mut self, busy: bool, now: Instant) -> Turn {
        let channel = match self.channel {
            Channel::Ready(channel) if !self.blocked => Some(channel),
            _ => None,
        };
        let waiting = channel.map_or(0, |_| self.outbox.waiting()); // what cannot leave is not waited for
        let enough = if busy { ENOUGH } else { 1 }; // somebody waits for a result
        if self.gather.is_due(waiting, enough, now)
            && let Some(channel) = channel
        {
            self.fill(channel);
        }
        let events = self.events.pending();
        if self.gather_events.is_due(events, ENOUGH_EVENTS, now) {
            self.take_events();
        }
        self.fill_side(now);
        let asked = matches!(self.channel, Channel::Opening(_) | Channel::Selecting(_));
        self.patience.watch(asked && !self.blocked, now);
        self.link.flush(now)
    }

    /// When something is due here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waits = self.side == Channel::None && !self.notices.is_empty();
        let reopened = self
            .side_opened
            .filter(|_| waits && !self.blocked && self.link.is_up());
        earliest([
            self.link.deadline(),
            self.patience.deadline(),
            self.gather.deadline(),
            self.gather_events.deadline(),
            reopened.map(|opened| opened + super::REOPEN_PAUSE),
        ])
    }

    fn take_events(&mut self) {
        while let Some(notice) = self.events.poll_notice() {
            self.notices.push(notice);
        }
    }

    /// Hands notices to the connection.
    fn fill_side(&mut self, now: Instant) {
        if self.notices.is_empty() || self.blocked {
            return;
        }
        let Channel::Ready(channel) = self.side else {
            return self.open_side(now);
        };
        let Some(connection) = self.link.connection() else {
            return;
        };
        match self.notices.take_dropped() {
            0 => {}
            count => log::warn!("producer: {count} messages of events and replies were dropped"),
        }
        while connection.pending_output() < OUTPUT_LIMIT
            && let Some(notice) = self.notices.pop()
        {
            let properties = Properties {
                content_type: Some("application/json".into()),
                content_encoding: Some("utf-8".into()),
                headers: Some(notice.headers.as_table()),
                delivery_mode: Some(notice.delivery_mode),
                priority: Some(0),
                ..Properties::default()
            };
            let (exchange, key) = (notice.exchange.as_str(), notice.routing_key.as_str());
            let (mandatory, body) = (notice.mandatory, &notice.body);
            let result = connection.publish(channel, exchange, key, mandatory, &properties, body);
            if let Err(error) = result {
                log::error!(
                    "producer: cannot publish to exchange {exchange:?} with key {key:?}: {error}"
                );
            }
        }
    }

    /// Opens the channel of notices and declares the exchanges that they go to. What is published before the
    /// broker has agreed waits in line behind that.
    fn open_side(&mut self, now: Instant) {
        let recent = |opened: Instant| now < opened + super::REOPEN_PAUSE;
        if self.side != Channel::None || self.side_opened.is_some_and(recent) {
            return;
        }
        let Some(connection) = self.link.connection() else {
            return;
        };
        let opened = connection.open_channel().and_then(|channel| {
            for (exchange, kind, durable) in self.events.exchanges() {
                let declare = exchange::Declare {
                    exchange: exchange.as_str().into(),
                    kind: kind.into(),
                    durable,
                    ..exchange::Declare::default()
                };
                connection.call(channel, declare)?;
            }
            Ok(channel)
        });
        match opened {
            Ok(channel) => {
                self.side = Channel::Ready(channel);
                self.side_opened = Some(now);
                self.fill_side(now);
            }
            Err(error) => log::debug!("producer: cannot open a channel: {error}"),
        }
    }

    fn fill(&mut self, channel: u16) {
        let Some(connection) = self.link.connection() else {
            return;
        };
        while connection.pending_output() < OUTPUT_LIMIT {
            let Some(next) = self.outbox.next() else {
                break;
            };
            let result = connection.publish(
                channel,
                next.exchange.as_str(),
                next.routing_key.as_str(),
                next.mandatory,
                &next.properties(),
                &next.body,
            );
            match result {
                Ok(number) => self.outbox.sent(number.unwrap_or_default()),
                Err(error) => {
                    if let Some(publication) = self.outbox.give_up() {
                        log::error!("cannot publish {publication}: {error}");
                        self.settled.push((publication, Fate::Refused));
                    }
                }
            }
        }
    }

    /// Deals with what the link has to report. Whether there was anything.
    pub(super) fn handle_events(&mut self) -> bool {
        let Self {
            link,
            outbox,
            channel,
            side,
            blocked,
            closed,
            settled,
            events,
            ..
        } = self;
        let (mut any, mut open, mut select) = (false, false, None);
        while let Some(event) = link.poll_event() {
            any = true;
            match event {
                LinkEvent::Up { .. } => open = true,
                LinkEvent::Amqp(event) => match event {
                    Event::ChannelOpen { channel: number }
                        if *channel == Channel::Opening(number) =>
                    {
                        *channel = Channel::Selecting(number);
                        select = Some(number);
                    }
                    Event::Reply {
                        channel: number,
                        method: Method::ConfirmSelectOk(_),
                    } => {
                        *channel = Channel::Ready(number);
                    }
                    Event::Confirm {
                        number,
                        multiple,
                        acked,
                        ..
                    } => {
                        outbox.confirmed(number, multiple, acked, |publication, fate| {
                            settled.push((publication, fate));
                        });
                    }
                    Event::Return(returned) if events.came_back(&returned) => {}
                    Event::Return(returned) => outbox.returned(|sent| sent.is(&returned)),
                    Event::ChannelClosed {
                        channel: number,
                        code,
                        text,
                        ..
                    } if *side == Channel::Ready(number) => {
                        log::error!("producer: events and replies are lost: {code} {text}");
                        *side = Channel::None;
                    }
                    Event::ChannelClosed { code, text, .. } => {
                        log::error!("producer: the broker closed the channel: {code} {text}");
                        if let Some(publication) = outbox.channel_closed() {
                            log::error!("cannot publish {publication}: {text}");
                            settled.push((publication, Fate::Refused));
                        }
                        open = true;
                    }
                    Event::Blocked { reason } => {
                        log::warn!("producer: the broker takes no publications: {reason}");
                        *blocked = true;
                    }
                    Event::Unblocked => {
                        log::info!("producer: the broker takes publications again");
                        *blocked = false;
                    }
                    _ => {}
                },
                LinkEvent::Lost {
                    url,
                    reason,
                    was_up,
                    retry,
                    ..
                } => {
                    (*channel, *side) = (Channel::None, Channel::None);
                    *blocked = false;
                    (open, select) = (false, None);
                    outbox.connection_lost();
                    match retry {
                        _ if was_up => log::warn!("producer: Connection to {url} lost: {reason}"),
                        Retry::Later { .. } => log::debug!("producer: {url}: {reason}. {retry}"),
                        _ => {}
                    }
                }
                LinkEvent::GaveUp { url, reason, .. } => {
                    (*channel, *side) = (Channel::None, Channel::None);
                    log::error!("producer: Cannot connect to {url}: {reason}.");
                }
                LinkEvent::Closed => {
                    (*channel, *side) = (Channel::None, Channel::None);
                    *closed = true;
                }
                _ => {}
            }
        }
        if open {
            self.open_channel();
        } else if let Some(number) = select {
            self.select(number);
        }
        any
    }

    /// Everything that waits to be published, as if the broker had confirmed it.
    #[cfg(test)]
    pub(super) fn confirm_all(&mut self) -> Vec<Publication> {
        let mut number = 0;
        while self.outbox.next().is_some() {
            number += 1;
            self.outbox.sent(number);
        }
        let mut confirmed = vec![];
        self.outbox.confirmed(number, true, true, |publication, _| {
            confirmed.push(publication)
        });
        confirmed
    }

    fn open_channel(&mut self) {
        let opened = self
            .link
            .connection()
            .map(|connection| connection.open_channel());
        self.channel = match opened {
            Some(Ok(number)) => Channel::Opening(number),
            _ => Channel::None,
        };
    }

    fn select(&mut self, channel: u16) {
        if let Some(connection) = self.link.connection()
            && let Err(error) = connection.call(channel, confirm::Select { nowait: false })
        {
            log::error!("producer: no confirms: {error}");
            self.channel = Channel::None;
        }
    }
}

#[cfg(test)]
#[path = "producer_tests.rs"]
mod tests;
