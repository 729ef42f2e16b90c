//! What there is to see of the queues, and how a client sees it.

use serde_json::{Value, json};

/// A client that fetches (basic.get) from this name gets the queues of all virtual hosts, as the body
/// of one message, if it is on the broker's machine. There is no queue of this name, and none can be
/// declared.
pub const OVERVIEW_QUEUE: &str = "amq.celeriac.queues";

/// What there is to see of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueOverview {
    /// The virtual host it is in.
    pub vhost: String,
    /// Its name.
    pub name: String,
    /// Messages that wait to be given out.
    pub ready: usize,
    /// Messages that were given out and not acknowledged.
    pub unacknowledged: usize,
    /// Consumers it has.
    pub consumers: usize,
    /// Octets of memory that the messages that are ready take.
    pub memory: usize,
}

impl QueueOverview {
    /// All messages, given out or not.
    pub const fn messages(&self) -> usize {
        self.ready + self.unacknowledged
    }

    fn to_json(&self) -> Value {
        json!({
            "vhost": self.vhost,
            "name": self.name,
            "messages": self.messages(),
            "messages_ready": self.ready,
            "messages_unacknowledged": self.unacknowledged,
            "consumers": self.consumers,
            "memory": self.memory,
        })
    }
}

/// The body of the message that [`OVERVIEW_QUEUE`] gives: a JSON array with an object a queue.
pub(super) fn to_json(queues: &[QueueOverview]) -> Vec<u8> {
    let queues: Vec<Value> = queues.iter().map(QueueOverview::to_json).collect();
    Value::Array(queues).to_string().into_bytes()
}
