//! Why the broker will not do something: RabbitMQ's codes and RabbitMQ's words.

use std::fmt::{self, Display};

use crate::amqp::reply::ReplyCode;

/// A refusal, as the peer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ReplyCode,
    /// Starts with the code's name, as RabbitMQ writes it.
    pub(super) text: String,
}

/// Octets of a name as text for people.
pub(super) struct Name<'a>(pub(super) &'a [u8]);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

/// A queue or exchange with its virtual host, as RabbitMQ words it.
#[derive(Clone, Copy)]
pub(super) struct Resource<'a> {
    pub(super) kind: &'static str,
    pub(super) name: &'a [u8],
    pub(super) vhost: &'a str,
}

impl Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, vhost } = self;
        write!(f, "{kind} '{}' in vhost '{vhost}'", Name(name))
    }
}

impl Refusal {
    pub(super) fn new(code: ReplyCode, why: impl Display) -> Self {
        Self {
            code,
            text: format!("{} - {why}", code.name()),
        }
    }

    /// Whether it ends the connection and not only the channel: the specification's hard errors.
    pub(super) const fn closes_connection(&self) -> bool {
        !matches!(
            self.code,
            ReplyCode::ContentTooLarge
                | ReplyCode::NoRoute
                | ReplyCode::NoConsumers
                | ReplyCode::AccessRefused
                | ReplyCode::NotFound
                | ReplyCode::ResourceLocked
                | ReplyCode::PreconditionFailed
        )
    }

    pub(super) fn precondition(why: impl Display) -> Self {
        Self::new(ReplyCode::PreconditionFailed, why)
    }

    pub(super) fn access(why: impl Display) -> Self {
        Self::new(ReplyCode::AccessRefused, why)
    }

    pub(super) fn not_implemented(why: impl Display) -> Self {
        Self::new(ReplyCode::NotImplemented, why)
    }

    pub(super) fn unexpected(why: impl Display) -> Self {
        Self::new(ReplyCode::UnexpectedFrame, why)
    }

    pub(super) fn missing(resource: Resource<'_>) -> Self {
        Self::new(ReplyCode::NotFound, format_args!("no {resource}"))
    }

    pub(super) fn locked(resource: Resource<'_>) -> Self {
        Self::new(
            ReplyCode::ResourceLocked,
            format_args!(
                "cannot obtain exclusive access to locked {resource}. It could be originally declared \
                 on another connection or the exclusive property value does not match that of the \
                 original declaration."
            ),
        )
    }

    /// An entity exists and is not as described.
    pub(super) fn inequivalent(
        argument: &str,
        resource: Resource<'_>,
        received: impl Display,
        current: impl Display,
    ) -> Self {
        Self::precondition(format_args!(
            "inequivalent arg '{argument}' for {resource}: received {received} but current is {current}"
        ))
    }

    pub(super) fn invalid_argument(
        argument: &str,
        resource: Resource<'_>,
        why: impl Display,
    ) -> Self {
        Self::precondition(format_args!(
            "invalid arg '{argument}' for {resource}: {why}"
        ))
    }

    pub(super) fn default_exchange() -> Self {
        Self::access("operation not permitted on the default exchange")
    }

    pub(super) fn unknown_tag(tag: u64) -> Self {
        Self::precondition(format_args!("unknown delivery tag {tag}"))
    }
}
