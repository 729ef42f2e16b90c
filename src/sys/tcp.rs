//! TCP without waiting: start to connect, learn how it went, notice a peer that is gone.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect as connect_raw, getpeername,
    getsockname, getsockopt, setsockopt, socket, sockopt,
};

use super::fd::{set_inheritable, set_nonblocking};

/// Starts to connect to `address`: a nonblocking socket that becomes writable when it is decided
/// whether that succeeds, which [`is_connected`] then tells.
///
/// # Errors
/// No socket to be had (out of descriptors), or a refusal that the kernel knows at once (no route).
pub fn connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let fd = socket(family, SockType::Stream, SockFlag::empty(), None)?;
    set_inheritable(&fd, false)?;
    set_nonblocking(&fd, true)?;
    match connect_raw(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        // An interrupted connect goes on in the background as one in progress does.
        Ok(()) | Err(nix::Error::EINPROGRESS | nix::Error::EINTR) => Ok(fd),
        Err(error) => Err(error.into()),
    }
}

/// Whether a socket of [`connect`] is connected by now; `false` while that is still undecided.
///
/// # Errors
/// The attempt failed, for this reason. The socket is of no further use. That includes a socket that
/// has reached itself: the kernel may pick, as the port to call from, the very port that is called,
/// if nobody listens there. It would be answered by its own echo, and keep the port from its owner.
pub fn is_connected(fd: impl AsFd) -> io::Result<bool> {
    let fd = fd.as_fd();
    match getsockopt(&fd, sockopt::SocketError)? {
        0 => {}
        number => return Err(io::Error::from_raw_os_error(number)),
    }
    match getpeername::<SockaddrStorage>(fd.as_raw_fd()) {
        Ok(peer) if peer == getsockname::<SockaddrStorage>(fd.as_raw_fd())? => {
            Err(nix::Error::ECONNREFUSED.into())
        }
        Ok(_) => Ok(true),
        Err(nix::Error::ENOTCONN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sends small writes at once instead of waiting for more to send with them (`TCP_NODELAY`).
pub fn set_nodelay(fd: impl AsFd) -> io::Result<()> {
    Ok(setsockopt(&fd, sockopt::TcpNoDelay, &true)?)
}

/// Has the kernel probe a silent peer: first after `idle`, then every `interval`, and give the
/// connection up after `count` probes without an answer. Durations are cut to whole seconds.
#[cfg(target_os = "linux")]
pub fn set_keepalive(
    fd: impl AsFd,
    idle: Duration,
    interval: Duration,
    count: u32,
) -> io::Result<()> {
    setsockopt(&fd, sockopt::KeepAlive, &true)?;
    setsockopt(&fd, sockopt::TcpKeepIdle, &whole(idle.as_secs()))?;
    setsockopt(&fd, sockopt::TcpKeepInterval, &whole(interval.as_secs()))?;
    Ok(setsockopt(&fd, sockopt::TcpKeepCount, &count)?)
}

/// Has the kernel give the connection up when what was sent stays unacknowledged for so long
/// (`TCP_USER_TIMEOUT`).
#[cfg(target_os = "linux")]
pub fn set_user_timeout(fd: impl AsFd, limit: Duration) -> io::Result<()> {
    Ok(setsockopt(
        &fd,
        sockopt::TcpUserTimeout,
        &whole(limit.as_millis()),
    )?)
}

/// The largest number an option takes where it cannot take this one.
#[cfg(target_os = "linux")]
fn whole<N: TryInto<u32>>(number: N) -> u32 {
    number.try_into().unwrap_or(i32::MAX as u32)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use nix::sys::socket::bind;

    use super::*;

    #[test]
    fn a_listener_is_reached_with_the_options_set() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let fd = connect(listener.local_addr().expect("an address")).expect("a socket");
        listener.accept().expect("the connection");
        assert!(is_connected(&fd).expect("connected"));

        set_nodelay(&fd).expect("nodelay");
        assert!(getsockopt(&fd, sockopt::TcpNoDelay).expect("nodelay"));
        #[cfg(target_os = "linux")]
        {
            set_keepalive(&fd, Duration::from_secs(60), Duration::from_secs(10), 9).expect("set");
            set_user_timeout(&fd, Duration::from_secs(7)).expect("set");
            assert!(getsockopt(&fd, sockopt::KeepAlive).expect("keepalive"));
            assert_eq!(getsockopt(&fd, sockopt::TcpKeepIdle), Ok(60));
            assert_eq!(getsockopt(&fd, sockopt::TcpKeepInterval), Ok(10));
            assert_eq!(getsockopt(&fd, sockopt::TcpKeepCount), Ok(9));
            assert_eq!(getsockopt(&fd, sockopt::TcpUserTimeout), Ok(7000));
        }
    }

    #[test]
    fn a_refusal_names_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let error = match connect(address) {
            Ok(fd) => loop {
                match is_connected(&fd) {
                    Ok(connected) => assert!(!connected, "nobody listens"),
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_socket_that_reached_itself_counts_as_refused() {
        let fd = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::empty(),
            None,
        )
        .expect("a socket");
        let any = SockaddrStorage::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        bind(fd.as_raw_fd(), &any).expect("a port");
        let own = getsockname::<SockaddrStorage>(fd.as_raw_fd()).expect("an address");
        connect_raw(fd.as_raw_fd(), &own).expect("both ends are one");
        let error = is_connected(&fd).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
