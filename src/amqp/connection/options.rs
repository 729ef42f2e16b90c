//! What a client wants of a connection before it is made.

use std::fmt;
use std::time::Duration;

use crate::amqp::sasl::Mechanism;
use crate::amqp::table::TableBuf;

/// The settings of one client connection.
///
/// ```
/// use celeriac::amqp::connection::Options;
///
/// let options = Options { virtual_host: "shop".into(), ..Options::default() };
/// assert_eq!(options.user, "guest");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// User name; `guest` by default.
    pub user: String,
    /// Password; `guest` by default. Never shown.
    pub password: String,
    /// How to log in; PLAIN by default. Nothing means the first of EXTERNAL, AMQPLAIN and PLAIN
    /// that the server has, which is kombu's order.
    pub mechanism: Option<Mechanism>,
    /// Virtual host; `/` by default.
    pub virtual_host: String,
    /// Wanted heartbeat interval in seconds; zero for none, whatever the server says. 60 by default.
    pub heartbeat: u16,
    /// Largest frame in octets that we want; zero leaves it to the server. 128 KiB by default.
    pub frame_max: u32,
    /// Highest channel number that we want; zero leaves it to the server, as does the default.
    pub channel_max: u16,
    /// Largest message body that is received, in octets. What is larger is skipped and reported as
    /// [`Malformed`](super::Event::Malformed). 128 MiB by default, RabbitMQ's own limit.
    pub max_message_size: u64,
    /// Time for the whole handshake, and again for an orderly close. 10 s by default, as
    /// RabbitMQ gives its clients.
    pub handshake_timeout: Duration,
    /// Shown in the server's list of connections.
    pub connection_name: Option<String>,
    /// Client properties beyond the usual ones (product, version, capabilities, name).
    pub properties: TableBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user: "guest".into(),
            password: "guest".into(),
            mechanism: Some(Mechanism::Plain),
            virtual_host: "/".into(),
            heartbeat: 60,
            frame_max: 128 * 1024,
            channel_max: 0,
            max_message_size: 128 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            connection_name: None,
            properties: TableBuf::new(),
        }
    }
}

/// Shows everything but the password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("user", &self.user)
            .field("mechanism", &self.mechanism)
            .field("virtual_host", &self.virtual_host)
            .field("heartbeat", &self.heartbeat)
            .field("frame_max", &self.frame_max)
            .field("channel_max", &self.channel_max)
            .field("max_message_size", &self.max_message_size)
            .field("connection_name", &self.connection_name)
            .finish_non_exhaustive()
    }
}
