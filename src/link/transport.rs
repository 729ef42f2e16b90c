//! The stream under the protocol. A further variant is where TLS goes: it, too, takes bytes and
//! gives bytes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::sys::fd::SharedFd;
use crate::sys::tcp;

/// Celery's keepalive: after a minute of silence a probe every 10 s, nine of them.
#[cfg(target_os = "linux")]
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(10), 9);

/// How long the broker's kernel may leave our bytes unacknowledged. Celery's 1 s ends a connection
/// for a hiccup of the network, and Linux counts a closed receive window as well: a blocked broker
/// closes it on purpose, for as long as it is blocked. Heartbeats find a dead broker anyway; this
/// is for connections that have none.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connected or connecting stream. The socket closes with the last clone of its descriptor.
#[derive(Debug)]
pub(super) enum Transport {
    /// TCP as it is.
    Plain(SharedFd),
}

impl Transport {
    /// Starts to connect.
    pub(super) fn dial(address: SocketAddr) -> io::Result<Self> {
        tcp::connect(address).map(|socket| Self::Plain(SharedFd::new(socket)))
    }

    /// Whether the stream is ready for the protocol; an error is the end of this attempt.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        let Self::Plain(socket) = self;
        if !tcp::is_connected(socket)? {
            return Ok(false);
        }
        // A connection without these works just as well until its network fails, so an error here
        // is no reason to refuse.
        let _ = tcp::set_nodelay(socket);
        #[cfg(target_os = "linux")]
        {
            let (idle, interval, count) = KEEPALIVE;
            let _ = tcp::set_keepalive(socket, idle, interval, count);
            let _ = tcp::set_user_timeout(socket, USER_TIMEOUT);
        }
        Ok(true)
    }

    /// The descriptor to wait on.
    pub(super) fn fd(&self) -> &SharedFd {
        let Self::Plain(socket) = self;
        socket
    }

    /// Reads once; `None` when nothing has come, `Some(0)` at the end of the stream.
    pub(super) fn read(&self, space: &mut [u8]) -> io::Result<Option<usize>> {
        let Self::Plain(socket) = self;
        unless_blocked(socket.read(space))
    }

    /// Writes once; `None` when the kernel's buffer is full.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let Self::Plain(socket) = self;
        unless_blocked(socket.write(bytes))
    }
}

fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
