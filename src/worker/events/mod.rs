//! What a worker tells monitors about itself and its tasks.
//!
//! Events are encoded when they happen and leave by the producer, as notices that may be lost. Those of tasks are
//! gathered and leave as one list, which is what makes them cheap.

mod audience;
pub(in crate::worker) mod gossip;
pub(in crate::worker) mod heart;
pub(in crate::worker) mod mingle;
mod tasks;

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use audience::Audience;

use super::notices::Notice;
use super::settings::Settings;
use crate::amqp::connection::Returned;
use crate::amqp::table::TableBuf;
use crate::message::channels::Channels;
use crate::message::event::{self, Field, Sender};
use crate::sys::{clock, process};
use crate::util::lamport::Lamport;

/// So many events of tasks travel in one message at most.
const BATCH: usize = 200;

/// The event that says again that the worker is there.
pub(in crate::worker) const HEARTBEAT: &str = "worker-heartbeat";

/// What runs here, in events of the worker.
pub(in crate::worker) const SOFTWARE: [(&str, Field<'_>); 3] = [
    ("sw_ident", Field::Text("celeriac")),
    ("sw_ver", Field::Text(env!("CARGO_PKG_VERSION"))),
    ("sw_sys", Field::Text("Linux")),
];

/// The events of one worker, and its logical clock, which each of them moves.
#[derive(Debug)]
pub(in crate::worker) struct Dispatcher {
    /// Celery's `app.clock`.
    pub(in crate::worker) clock: Lamport,
    node: String,
    channels: Channels,
    sender: Sender,
    /// The time zone may change its offset while we run.
    utcoffset: f64,
    /// Somebody asked for events of some kind: there is something to enable and disable.
    available: bool,
    /// Who listens to heartbeats; nothing when they are wanted anyway.
    audience: Option<Audience>,
    /// `[event, event` of tasks.
    batch: Vec<u8>,
    batched: usize,
    ready: VecDeque<Notice>,
}

impl Dispatcher {
    pub(in crate::worker) fn new(settings: &Settings) -> Self {
        let monitoring = &settings.monitoring;
        let now = clock::wall();
        let utcoffset = utcoffset(now);
        Self {
            clock: Lamport::new(seed(now)),
            node: settings.node_name.clone(),
            channels: monitoring.channels.clone(),
            sender: sender(&settings.node_name, utcoffset),
            utcoffset,
            available: monitoring.task_events
                || monitoring.gossip
                || monitoring.heartbeat.is_some(),
            // With `-E` somebody has said that this worker is watched.
            audience: (!monitoring.task_events).then(Audience::default),
            batch: Vec::new(),
            batched: 0,
            ready: VecDeque::new(),
        }
    }

    /// Whether a heartbeat that is due is to be sent (T16.3).
    pub(in crate::worker) fn wants_heartbeat(&mut self) -> bool {
        self.audience.as_mut().is_none_or(Audience::wants_one)
    }

    /// Somebody listens from now on, or may.
    pub(in crate::worker) fn expect_audience(&mut self) {
        if let Some(audience) = &mut self.audience {
            audience.expect();
        }
    }

    /// A message was given back, as no queue takes it. Whether it was a heartbeat.
    pub(in crate::worker) fn came_back(&mut self, returned: &Returned<'_>) -> bool {
        let is_heartbeat = returned.exchange == self.channels.event_exchange.as_str()
            && returned.routing_key == event::routing_key(HEARTBEAT).as_str();
        if is_heartbeat && let Some(audience) = &mut self.audience {
            audience.came_back();
        }
        is_heartbeat
    }

    /// Whether it sends anything at all.
    pub(in crate::worker) fn is_available(&self) -> bool {
        self.available
    }

    /// An event of a task: its type, and its fields after `uuid`.
    fn task(&mut self, kind: &str, at: SystemTime, fields: &[(&str, Field<'_>)]) {
        let open: &[u8] = if self.batched == 0 { b"[" } else { b", " };
        self.batch.extend_from_slice(open);
        let clock = self.clock.forward();
        let timestamp = seconds(at);
        self.sender
            .write(&mut self.batch, kind, clock, timestamp, fields);
        self.batched += 1;
        if self.batched >= BATCH {
            self.close_batch();
        }
    }

    /// An event of the worker itself.
    pub(in crate::worker) fn worker(&mut self, kind: &str, fields: &[(&str, Field<'_>)]) {
        if !self.available {
            return;
        }
        self.close_batch();
        let now = clock::wall();
        self.adapt(now);
        let mut body = Vec::with_capacity(256);
        let clock = self.clock.forward();
        self.sender
            .write(&mut body, kind, clock, seconds(now), fields);
        let notice = Notice {
            mandatory: kind == HEARTBEAT && self.audience.is_some(),
            ..self.notice(event::routing_key(kind), body)
        };
        self.ready.push_back(notice);
    }

    /// The exchanges that events and replies go to.
    pub(in crate::worker) fn exchanges(&self) -> [(String, &'static str, bool); 3] {
        self.channels.exchanges()
    }

    /// How many events wait to be sent.
    pub(in crate::worker) fn pending(&self) -> usize {
        self.batched + self.ready.len()
    }

    /// The next message to send.
    pub(in crate::worker) fn poll_notice(&mut self) -> Option<Notice> {
        if self.ready.is_empty() {
            self.close_batch();
        }
        self.ready.pop_front()
    }

    fn close_batch(&mut self) {
        if self.batched == 0 {
            return;
        }
        self.batched = 0;
        let mut body = std::mem::take(&mut self.batch);
        body.push(b']');
        let notice = self.notice(event::MULTI.to_owned(), body);
        self.ready.push_back(notice);
    }

    fn notice(&self, routing_key: String, body: Vec<u8>) -> Notice {
        let mut headers = TableBuf::new();
        // The key is short, and a text of any length fits a table.
        let _ = headers.insert("hostname", self.node.as_str());
        Notice {
            exchange: self.channels.event_exchange.clone(),
            routing_key,
            delivery_mode: 1,
            mandatory: false,
            headers,
            body,
        }
    }

    fn adapt(&mut self, now: SystemTime) {
        let utcoffset = utcoffset(now);
        if utcoffset.to_bits() != self.utcoffset.to_bits() {
            self.utcoffset = utcoffset;
            self.sender = sender(&self.node, utcoffset);
        }
    }
}

fn sender(node: &str, utcoffset: f64) -> Sender {
    Sender::new(node, utcoffset, process::current().raw())
}

/// Where the logical clock starts: at the microseconds of the wall clock, which are beyond what an earlier life of
/// this worker has counted to. Monitors take a clock that was set back for events of the past.
fn seed(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

/// Seconds since 1970.
pub(in crate::worker) fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Hours by which local time is behind UTC.
fn utcoffset(now: SystemTime) -> f64 {
    let zone = jiff::tz::TimeZone::system();
    let offset = jiff::Timestamp::try_from(now).map(|at| zone.to_offset(at).seconds());
    let hours = -f64::from(offset.unwrap_or(0)) / 3600.0;
    hours + 0.0 // no minus before zero
}
