//! What to do about a close, by its level and code: the one place that decides.
//!
//! Celery leaves this to the classes of py-amqp's exceptions, and dies of a mistake on one channel ("Unrecoverable
//! error"). Here a close of a channel is answered on that channel, and only a broker that refuses *us*, rather than
//! what we asked for, is a matter of configuration.

use crate::amqp::method::{MethodId, exchange, queue};
use crate::amqp::reply::ReplyCode;

/// What the broker has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One channel; the connection stands.
    Channel,
    /// The connection.
    Connection,
}

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The channel is opened again, after a pause.
    RetryChannel,
    /// The same broker is asked again.
    RetryConnection,
    /// The next broker of the list is asked: this one is leaving, or has run out of something.
    RotateHost,
    /// Nothing helps until somebody changes something: at the start that is the end, later it is tried slowly.
    WrongConfiguration,
}

impl Remedy {
    /// What to do about this code. Codes that AMQP does not know count as a passing trouble.
    ///
    /// ```
    /// use celeriac::link::{Level, Remedy};
    ///
    /// assert_eq!(Remedy::of(Level::Channel, 406), Remedy::RetryChannel);
    /// assert_eq!(Remedy::of(Level::Connection, 320), Remedy::RotateHost);
    /// assert_eq!(Remedy::of(Level::Connection, 403), Remedy::WrongConfiguration);
    /// ```
    pub fn of(level: Level, code: u16) -> Self {
        use ReplyCode as Code;
        let Some(code) = Code::from_number(code) else {
            return match level {
                Level::Channel => Self::RetryChannel,
                Level::Connection => Self::RetryConnection,
            };
        };
        match (level, code) {
            // Permissions, and what belongs to somebody else: a second worker of our name, for one.
            (Level::Channel, Code::AccessRefused | Code::ResourceLocked) => {
                Self::WrongConfiguration
            }
            // A missing queue may be declared by others, 406 is mostly a timeout, and the rest a broker seldom says of a
            // channel.
            (Level::Channel, _) => Self::RetryChannel,
            // Credentials, the virtual host.
            (Level::Connection, Code::AccessRefused | Code::NotAllowed | Code::InvalidPath) => {
                Self::WrongConfiguration
            }
            // A node that is stopped, or out of memory, or whose virtual host is down.
            (
                Level::Connection,
                Code::ConnectionForced | Code::ResourceError | Code::InternalError,
            ) => Self::RotateHost,
            (Level::Connection, _) => Self::RetryConnection,
        }
    }
}

/// What the broker has, and otherwise than it was to be declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// An exchange.
    Exchange,
    /// A queue.
    Queue,
}

impl Otherwise {
    /// What a close of a channel, by its code and the method that it is about, says that there is.
    pub fn of(code: u16, method: MethodId) -> Option<Self> {
        match ReplyCode::from_number(code) {
            Some(ReplyCode::PreconditionFailed) if method == queue::Declare::ID => {
                Some(Self::Queue)
            }
            Some(ReplyCode::PreconditionFailed) if method == exchange::Declare::ID => {
                Some(Self::Exchange)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T23: an acknowledgement that is overdue is a 406 too, and says nothing of queues.
    #[test]
    fn t23_what_is_otherwise_is_what_was_declared() {
        let overdue = MethodId {
            class: 0,
            method: 0,
        };
        let of = Otherwise::of;
        assert_eq!(of(406, queue::Declare::ID), Some(Otherwise::Queue));
        assert_eq!(of(406, exchange::Declare::ID), Some(Otherwise::Exchange));
        assert_eq!(of(406, overdue), None);
        assert_eq!(of(404, queue::Declare::ID), None);
    }

    /// T23, the table: every code, at each level.
    #[test]
    fn t23_every_close_code_has_its_remedy_by_level() {
        use Remedy::{RetryChannel, RetryConnection, RotateHost, WrongConfiguration};
        let table = [
            (200, RetryChannel, RetryConnection),
            (311, RetryChannel, RetryConnection),
            (312, RetryChannel, RetryConnection),
            (313, RetryChannel, RetryConnection),
            (320, RetryChannel, RotateHost),
            (402, RetryChannel, WrongConfiguration),
            (403, WrongConfiguration, WrongConfiguration),
            (404, RetryChannel, RetryConnection),
            (405, WrongConfiguration, RetryConnection),
            (406, RetryChannel, RetryConnection),
            (501, RetryChannel, RetryConnection),
            (502, RetryChannel, RetryConnection),
            (503, RetryChannel, RetryConnection),
            (504, RetryChannel, RetryConnection),
            (505, RetryChannel, RetryConnection),
            (506, RetryChannel, RotateHost),
            (530, RetryChannel, WrongConfiguration),
            (540, RetryChannel, RetryConnection),
            (541, RetryChannel, RotateHost),
        ];
        let known = (0..=u16::MAX).filter(|number| ReplyCode::from_number(*number).is_some());
        assert!(
            known.eq(table.iter().map(|(code, ..)| *code)),
            "all of them"
        );
        for code in 0..=u16::MAX {
            let row = table.iter().find(|(known, ..)| *known == code);
            let (_, channel, connection) = *row.unwrap_or(&(code, RetryChannel, RetryConnection));
            assert_eq!(Remedy::of(Level::Channel, code), channel, "{code}");
            assert_eq!(Remedy::of(Level::Connection, code), connection, "{code}");
        }
    }
}
