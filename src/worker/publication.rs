//! A message that main wants to publish, and whose fate it wants to know.

use std::fmt;

use crate::amqp::connection::Returned;
use crate::amqp::props::Properties;
use crate::amqp::table::TableBuf;
use crate::message::properties::MessageProperties;
use crate::util::slots::Key;

/// A message to publish.
#[derive(Debug)]
pub(super) struct Publication {
    /// The exchange; empty for the default one.
    pub(super) exchange: String,
    /// The routing key.
    pub(super) routing_key: String,
    /// Whether it has to reach a queue.
    pub(super) mandatory: bool,
    /// The properties, headers apart.
    pub(super) properties: MessageProperties,
    /// The headers.
    pub(super) headers: TableBuf,
    /// The body.
    pub(super) body: Vec<u8>,
    /// The request that waits for its fate.
    pub(super) request: Option<Key>,
}

impl Publication {
    /// All properties, headers among them.
    pub(super) fn properties(&self) -> Properties<'_> {
        self.properties.as_amqp(self.headers.as_table())
    }

    /// Whether it is what the broker has returned: nothing that AMQP returns names it.
    pub(super) fn is(&self, returned: &Returned<'_>) -> bool {
        self.mandatory
            && returned.routing_key == self.routing_key.as_str()
            && returned.exchange == self.exchange.as_str()
            && returned.body == self.body
    }
}

/// Which one it is, in a line of the log.
impl fmt::Display for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.properties.correlation_id.as_deref().unwrap_or("?");
        let (size, exchange, key) = (self.body.len(), &self.exchange, &self.routing_key);
        write!(
            f,
            "{size} octets for {id} to exchange {exchange:?} with key {key:?}"
        )
    }
}
