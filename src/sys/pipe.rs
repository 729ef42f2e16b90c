//! Pipes and socket pairs between this process and its children, and descriptors sent through them.

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};

use super::retry;

/// The most descriptors one message can carry.
pub const MAX_FDS: usize = 8;

/// A new pipe as `(read end, write end)`, both nonblocking and close-on-exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

/// The longest write that is one packet of [`packets`] (`PIPE_BUF`).
pub const PACKET: usize = libc::PIPE_BUF;

/// A new pipe that keeps writes of up to [`PACKET`] octets apart (`O_DIRECT`): each is written whole or not at all,
/// and one read gives one of them. The reader's buffer must hold a [`PACKET`]. A longer write arrives in several.
/// Otherwise as [`pipe`].
pub fn packets() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_DIRECT;
    Ok(nix::unistd::pipe2(flags)?)
}

/// Two connected sockets that keep message boundaries (`SOCK_SEQPACKET`), both nonblocking and
/// close-on-exec. Each reads the end of the file when every copy of the other is closed.
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        flags,
    )?)
}

/// Sends one message of `bytes` and copies of `fds` over a socket of [`socket_pair`].
///
/// # Errors
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for an empty message (the peer would take it for
/// the end of the file) or more than [`MAX_FDS`] descriptors;
/// [`WouldBlock`](io::ErrorKind::WouldBlock) when the peer's queue is full: nothing was sent;
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the peer is gone, without a SIGPIPE, or
/// [`ConnectionReset`](io::ErrorKind::ConnectionReset) the first time if it left messages unread.
pub fn send_with_fds(sock: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.is_empty() || fds.len() > MAX_FDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[] } else { &rights[..] };
    let iov = [IoSlice::new(bytes)];
    let fd = sock.as_fd().as_raw_fd();
    retry(|| sendmsg::<()>(fd, &iov, control, MsgFlags::MSG_NOSIGNAL, None))?;
    Ok(())
}

/// Receives one message into `buffer`: its length, and the descriptors that came with it
/// (close-on-exec, now owned here). A length of `0` is the end of the file.
///
/// # Errors
/// [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing waits;
/// [`InvalidData`](io::ErrorKind::InvalidData) when the message was longer than `buffer` or
/// carried more than [`MAX_FDS`] descriptors. Whatever descriptors did arrive are closed then.
#[allow(unsafe_code)]
pub fn receive_with_fds(sock: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let fd = sock.as_fd().as_raw_fd();
    let mut control = Control::new();
    let mut iov = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: a msghdr is plain data for which all zeroes means "no name, no buffers".
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>() as _;

    let length = retry(|| {
        // SAFETY: `message` points at `iov`, `buffer` and `control`, which outlive the call and
        // are not otherwise borrowed; the lengths are theirs.
        let length = unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        nix::Error::result(length)
    })?;
    // Own what came before judging the message: an error must not leak it.
    let fds = received_fds(&message);
    if message.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "message too long, or too many fds",
        ));
    }
    Ok((usize::try_from(length).unwrap_or(0), fds))
}

/// Room for the control message of [`MAX_FDS`] descriptors, aligned as `cmsghdr` asks.
#[repr(align(8))]
struct Control([u8; Self::LENGTH]);

impl Control {
    #[allow(unsafe_code)]
    const LENGTH: usize =
        // SAFETY: CMSG_SPACE only computes a number.
        unsafe { libc::CMSG_SPACE((MAX_FDS * size_of::<RawFd>()) as u32) as usize };

    fn new() -> Self {
        Self([0; Self::LENGTH])
    }
}

/// Takes ownership of every descriptor in the control messages of a received `message`.
#[allow(unsafe_code)]
fn received_fds(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel filled msg_control and set msg_controllen to what it used; the CMSG
    // functions stay inside that, and a truncated message has its cmsg_len cut to fit. The numbers
    // of an SCM_RIGHTS message are descriptors installed for us just now: nobody else owns them.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let bytes = end_of(control) - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for i in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    fds
}

/// A control message's length, which glibc counts in `usize` and musl in `u32`.
#[allow(clippy::unnecessary_cast)]
fn end_of(control: &libc::cmsghdr) -> usize {
    control.cmsg_len as usize
}
