//! Why there is no connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::amqp::connection::CloseReason;
use crate::amqp::reply::ReplyCode;

/// Why an attempt failed or a connection ended. `Display` words it as Celery's log does, `[Errno
/// 111] Connection refused` for example; which URL it was about is told beside it, by the event.
#[derive(Debug)]
#[non_exhaustive]
pub enum Loss {
    /// The host's name could not be looked up.
    Lookup(io::Error),
    /// No address accepted; this is what the last of them had to say.
    Connect(SocketAddr, io::Error),
    /// The kernel reported the connection as broken.
    Broken(io::Error),
    /// Something took longer than it may.
    TimedOut(Stage),
    /// The connection ended: the broker said so, hung up, broke a rule, fell silent, or did not
    /// finish the login.
    Closed(CloseReason),
}

impl Loss {
    /// The broker has closed the connection over something that it does not do, such as a limit for a whole channel with
    /// a quorum queue on it.
    pub fn is_not_implemented(&self) -> bool {
        matches!(self, Self::Closed(CloseReason::Server { code, .. })
            if *code == ReplyCode::NotImplemented.number())
    }
}

/// What a timeout was set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Looking up the host's name.
    Lookup,
    /// Connecting to an address.
    Connect,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup(error) | Self::Connect(_, error) | Self::Broken(error) => {
                f.write_str(&as_python(error))
            }
            Self::TimedOut(Stage::Lookup) => f.write_str("timed out (looking up the host)"),
            Self::TimedOut(Stage::Connect) => f.write_str("timed out"),
            Self::Closed(CloseReason::Server { code, text, method }) => {
                write!(f, "{method}: ({code}) {text}")
            }
            Self::Closed(CloseReason::HeartbeatLost { silence }) => {
                let seconds = silence.as_secs();
                write!(
                    f,
                    "Too many heartbeats missed (nothing came for {seconds} s)"
                )
            }
            Self::Closed(CloseReason::Dropped { during }) => {
                write!(f, "Server unexpectedly closed connection ({during})")
            }
            Self::Closed(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for Loss {}

/// `[Errno 111] Connection refused`, where Rust would say `Connection refused (os error 111)`.
fn as_python(error: &io::Error) -> String {
    let text = error.to_string();
    if let Some(number) = error.raw_os_error() {
        let reason = text.split(" (os error").next().unwrap_or_default();
        return format!("[Errno {number}] {reason}");
    }
    let Some(reason) = text.strip_prefix("failed to lookup address information: ") else {
        return text;
    };
    // The numbers of getaddrinfo, which std keeps to itself.
    match reason {
        "Name or service not known" => format!("[Errno -2] {reason}"),
        "Temporary failure in name resolution" => format!("[Errno -3] {reason}"),
        "No address associated with hostname" => format!("[Errno -5] {reason}"),
        _ => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::method::MethodId;

    #[test]
    fn errors_read_as_in_celerys_log() {
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let address = "127.0.0.1:1".parse().expect("an address");
        assert_eq!(
            Loss::Connect(address, refused).to_string(),
            format!("[Errno {}] Connection refused", libc::ECONNREFUSED)
        );
        let unknown = "failed to lookup address information: Name or service not known".to_owned();
        assert_eq!(
            Loss::Lookup(io::Error::other(unknown)).to_string(),
            "[Errno -2] Name or service not known"
        );
        let closed = |code, text: &str, class, method| {
            let (text, method) = (text.to_owned(), MethodId { class, method });
            Loss::Closed(CloseReason::Server { code, text, method }).to_string()
        };
        assert_eq!(
            closed(403, "ACCESS_REFUSED - no", 0, 0),
            "(0, 0): (403) ACCESS_REFUSED - no"
        );
        assert_eq!(
            closed(530, "NOT_ALLOWED", 10, 40),
            "connection.open: (530) NOT_ALLOWED"
        );
    }
}
