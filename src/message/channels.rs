//! Where requests, replies and events go: the names of exchanges and queues, and what becomes of the queues.
//!
//! The defaults are Celery's. Who talks to workers must have the same names as the workers; the rest is each one's own.

use std::time::Duration;

use crate::amqp::table::TableBuf;

/// What becomes of a queue that one listener has to itself. It goes with its listener unless it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnQueue {
    /// How long a message waits in it; without one, for ever.
    pub ttl: Option<Duration>,
    /// How long the broker keeps it while nobody reads; without one, for ever.
    pub expires: Option<Duration>,
    /// It survives the broker, and its listener.
    pub durable: bool,
    /// Nobody else may use it.
    pub exclusive: bool,
}

impl OwnQueue {
    const fn new(ttl: u64, expires: u64) -> Self {
        Self {
            ttl: Some(Duration::from_secs(ttl)),
            expires: Some(Duration::from_secs(expires)),
            durable: false,
            exclusive: true,
        }
    }

    /// The arguments it is declared with.
    pub fn arguments(&self) -> TableBuf {
        let mut arguments = TableBuf::new();
        for (key, time) in [("x-expires", self.expires), ("x-message-ttl", self.ttl)] {
            if let Some(time) = time {
                // As Celery writes them: in four octets where they fit. The keys are short.
                let _ = match i32::try_from(time.as_millis()) {
                    Ok(milliseconds) => arguments.insert(key, milliseconds),
                    Err(_) => {
                        let longer = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
                        arguments.insert(key, longer)
                    }
                };
            }
        }
        arguments
    }
}

/// The channels of remote control and of events.
///
/// ```
/// use celeriac::message::channels::Channels;
/// let channels = Channels::default();
/// assert_eq!(channels.requests(), "celery.pidbox");
/// assert_eq!(channels.mailbox("w1@host"), "w1@host.celery.pidbox");
/// assert_eq!(channels.event_exchange, "celeryev");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels {
    /// What the exchanges of remote control are named after (`control_exchange`).
    pub control_exchange: String,
    /// The mailboxes of nodes and of clients (`control_queue_*`).
    pub control_queue: OwnQueue,
    /// The exchange of events (`event_exchange`).
    pub event_exchange: String,
    /// What the queues of listeners to events are named after (`event_queue_prefix`).
    pub event_prefix: String,
    /// Those queues (`event_queue_*`).
    pub event_queue: OwnQueue,
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            control_exchange: "celery".to_owned(),
            control_queue: OwnQueue::new(300, 10),
            event_exchange: "celeryev".to_owned(),
            event_prefix: "celeryev".to_owned(),
            event_queue: OwnQueue::new(5, 60),
        }
    }
}

impl Channels {
    /// The exchange that requests go to.
    pub fn requests(&self) -> String {
        format!("{}.pidbox", self.control_exchange)
    }

    /// The exchange that replies go to.
    pub fn replies(&self) -> String {
        format!("reply.{}.pidbox", self.control_exchange)
    }

    /// The name of a node's mailbox.
    pub fn mailbox(&self, node: &str) -> String {
        format!("{node}.{}", self.requests())
    }

    /// The name of the queue in which a client finds replies.
    pub fn reply_queue(&self, client: &str) -> String {
        format!("{client}.{}", self.replies())
    }

    /// The name of the queue of one listener to events.
    pub fn event_listener(&self, id: &str) -> String {
        format!("{}.{id}", self.event_prefix)
    }

    /// The exchanges: their names, types, and whether they survive the broker.
    pub fn exchanges(&self) -> [(String, &'static str, bool); 3] {
        [
            (self.replies(), "direct", false),
            (self.requests(), "fanout", false),
            (self.event_exchange.clone(), "topic", true),
        ]
    }

    /// What makes no sense, in Celery's words.
    pub fn contradiction(&self) -> Option<&'static str> {
        let both = |queue: &OwnQueue| queue.durable && queue.exclusive;
        if both(&self.control_queue) {
            return Some(
                "control_queue_durable and control_queue_exclusive cannot both be True \
                 (exclusive queues are automatically deleted and cannot be durable).",
            );
        }
        both(&self.event_queue).then_some(
            "Queue cannot be both exclusive and durable, choose one or the other \
             (event_queue_exclusive, event_queue_durable).",
        )
    }
}
