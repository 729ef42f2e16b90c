//! Reply codes: why a channel or connection was closed, or a message returned.

use std::fmt;

/// Writes each code once: its meaning, variant, number and name.
macro_rules! reply_codes {
    ($($(#[$meaning:meta])* $variant:ident = $number:literal $name:literal,)*) => {
        /// A reply code of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ReplyCode {
            $($(#[$meaning])* $variant = $number,)*
        }

        impl ReplyCode {
            /// The code with this number; nothing when the protocol has none.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name in upper case, with which RabbitMQ starts its reply texts.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

reply_codes! {
    /// An orderly end.
    Success = 200 "REPLY_SUCCESS",
    /// The message is larger than the server can take now.
    ContentTooLarge = 311 "CONTENT_TOO_LARGE",
    /// A mandatory message has no queue to go to.
    NoRoute = 312 "NO_ROUTE",
    /// An immediate message has no consumer.
    NoConsumers = 313 "NO_CONSUMERS",
    /// An operator closed the connection.
    ConnectionForced = 320 "CONNECTION_FORCED",
    /// No such virtual host.
    InvalidPath = 402 "INVALID_PATH",
    /// Not permitted, or wrong credentials.
    AccessRefused = 403 "ACCESS_REFUSED",
    /// No such queue or exchange.
    NotFound = 404 "NOT_FOUND",
    /// Another connection's exclusive queue.
    ResourceLocked = 405 "RESOURCE_LOCKED",
    /// The entity exists with other properties, or the delivery tag is unknown.
    PreconditionFailed = 406 "PRECONDITION_FAILED",
    /// A malformed frame.
    FrameError = 501 "FRAME_ERROR",
    /// Malformed arguments.
    SyntaxError = 502 "SYNTAX_ERROR",
    /// A method that makes no sense here.
    CommandInvalid = 503 "COMMAND_INVALID",
    /// A channel that is not open.
    ChannelError = 504 "CHANNEL_ERROR",
    /// A frame that does not belong here.
    UnexpectedFrame = 505 "UNEXPECTED_FRAME",
    /// The server ran out of something.
    ResourceError = 506 "RESOURCE_ERROR",
    /// Not allowed by configuration.
    NotAllowed = 530 "NOT_ALLOWED",
    /// A method the server does not implement.
    NotImplemented = 540 "NOT_IMPLEMENTED",
    /// The server's own fault.
    InternalError = 541 "INTERNAL_ERROR",
}

impl ReplyCode {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_code_are_inverse() {
        let known = (0..=u16::MAX).filter_map(|n| Some((n, ReplyCode::from_number(n)?)));
        assert_eq!(
            known
                .filter(|(number, code)| code.number() == *number)
                .count(),
            19
        );
        assert_eq!(ReplyCode::AccessRefused.to_string(), "403 ACCESS_REFUSED");
    }
}
