//! One request over HTTP, for the commands that ask a server of their own machine's kind: a worker, or RabbitMQ's
//! management plugin.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer longer than this is none that we ask for.
const LONGEST: u64 = 16 << 20;

/// The status and the body of an answer. `head` is more of the request's head, each line with its end.
pub(super) fn get(
    address: SocketAddr,
    path: &str,
    head: &str,
    timeout: Duration,
) -> io::Result<(u16, String)> {
    let timeout = timeout.max(Duration::from_millis(1)); // zero would be none
    let mut socket = TcpStream::connect_timeout(&address, timeout)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))?;
    // 1.0, so that no answer comes in chunks.
    write!(
        socket,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n{head}\r\n"
    )?;
    let mut answer = String::new();
    let read = socket.take(LONGEST).read_to_string(&mut answer);
    match read {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "it does not answer",
            ));
        }
        read => read?,
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "that is no answer in HTTP");
    Ok((status.ok_or_else(odd)?, body.to_owned()))
}
