//! What a broker is to be like.

use std::fmt;

/// The settings of one broker.
///
/// ```
/// use celeriac::broker::{Settings, User};
///
/// let settings = Settings {
///     users: vec![User::new("ann", "secret")],
///     ..Settings::default()
/// };
/// assert_eq!(settings.virtual_hosts, ["/"]);
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may log in; `guest` with password `guest` by default. A user of that name may only come
    /// from this machine, as with RabbitMQ.
    pub users: Vec<User>,
    /// The virtual hosts; `/` by default. Every user may use all of them.
    pub virtual_hosts: Vec<String>,
    /// Which server's restrictions to keep.
    pub rules: Rules,
    /// The interval that is proposed for heartbeats, in seconds; 60 by default, 0 for none.
    pub heartbeat: u16,
    /// The largest frame, in octets; 128 KiB by default.
    pub frame_max: u32,
    /// The highest channel number; 2047 by default.
    pub channel_max: u16,
    /// How many octets of messages may be held before publishers are blocked; 2 GiB by default.
    pub memory_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            users: vec![User::new("guest", "guest")],
            virtual_hosts: vec!["/".into()],
            rules: Rules::Lenient,
            heartbeat: 60,
            frame_max: 128 * 1024,
            channel_max: 2047,
            memory_limit: 2 << 30,
        }
    }
}

/// A user and a password. The password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

impl User {
    /// A user of this name.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
        }
    }

    /// A user written as `name:password`; nothing when there is no colon or no name.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some((name, password)) if !name.is_empty() => Some(Self::new(name, password)),
            _ => None,
        }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:**", self.name)
    }
}

/// Which server's restrictions a broker keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// What RabbitMQ 3.10 allows, with a prefetch count that takes effect at once.
    #[default]
    Lenient,
    /// What RabbitMQ 4.3 refuses by default: queues that are neither durable nor exclusive (541),
    /// messages over 16 MiB, more than 20 deliveries of a message of a quorum queue. A prefetch count
    /// for the whole channel counts for each consumer instead, and only for those that come later.
    RabbitMq43,
}

impl Rules {
    /// The largest message, in octets.
    pub(super) const fn max_message_size(self) -> u64 {
        match self {
            Self::Lenient => 128 << 20,
            Self::RabbitMq43 => 16 << 20,
        }
    }

    /// How often a message of a quorum queue comes back when the queue does not say.
    pub(super) const fn delivery_limit(self) -> Option<u32> {
        match self {
            Self::Lenient => None,
            Self::RabbitMq43 => Some(20),
        }
    }
}

impl std::str::FromStr for Rules {
    type Err = UnknownRules;

    /// `rabbitmq-4.3`, or `rabbitmq-3.10` for the default.
    fn from_str(text: &str) -> Result<Self, UnknownRules> {
        match text {
            "rabbitmq-3.10" => Ok(Self::Lenient),
            "rabbitmq-4.3" => Ok(Self::RabbitMq43),
            _ => Err(UnknownRules(text.into())),
        }
    }
}

/// There are no rules of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRules(String);

impl fmt::Display for UnknownRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no rules {:?}; there are rabbitmq-3.10 and rabbitmq-4.3",
            self.0
        )
    }
}

impl std::error::Error for UnknownRules {}
