//! The zygote, seen from main: the process that makes the pool's children.
//!
//! Main never forks once it has files, sockets and timers. Before that it starts one process, the
//! zygote, and asks it for children over a `SOCK_SEQPACKET` Unix socket. A zygote may be written in any
//! language; this is all it must know.
//!
//! # The protocol
//!
//! Every packet is one line of ASCII text, without a line end.
//!
//! | packet | direction | meaning |
//! |---|---|---|
//! | `fork N` | main → zygote | make child number `N` (decimal). Two descriptors come with it (`SCM_RIGHTS`): the end to read job records from, and the end to write answers to, both blocking. |
//! | `clerk N` | main → zygote | make the app's clerk, with two descriptors as for `fork`. Only a Python zygote knows what that is ([`python::clerk`](super::python::clerk)). There is no reply. |
//! | `forked N P` | zygote → main | child `N` is process `P`. |
//! | `failed N text` | zygote → main | child `N` could not be made, for the reason in the text. |
//!
//! The end of the file on the socket means that main is gone or wants no more: the zygote exits.
//!
//! # The duties of a zygote
//!
//! - **Fork twice.** The process in between sends `forked` (its own fork told it the pid), then exits,
//!   and the zygote waits for it. The child is an orphan then and falls to main, which is a sub-reaper
//!   (`PR_SET_CHILD_SUBREAPER`): main sees its death, and only main. Because `forked` is sent before
//!   the orphan can change hands, main never has to reap a child it cannot name.
//! - **The child waits until its parent is main**, then sets `PR_SET_PDEATHSIG` to `SIGKILL`, then looks
//!   once more: in any other order main could die unnoticed. If the parent is neither the process in
//!   between nor main, main is gone and the child exits.
//! - **A clean start**: empty signal mask, default dispositions (but a child ignores `SIGINT`, and what
//!   its language's runtime ignores, such as `SIGPIPE`), a session of its own, no descriptor but its two
//!   and 0, 1, 2, with 0 from `/dev/null`.
//! - The child says [`Up`](crate::message::record) on its pipe when it is ready for jobs. On the end of
//!   its job pipe it exits with status 0.
//! - The zygote itself is a child of main, in its own session, and dies with main. It ignores `SIGINT`, `SIGTERM`,
//!   `SIGHUP` and `SIGQUIT`: whoever stops a worker by its cgroup means main and the children.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::str;

use crate::sys::fd::SharedFd;
use crate::sys::pipe;
use crate::sys::process::Pid;

/// The longest packet.
pub(super) const MAX_PACKET: usize = 512;

/// How much of a reason fits into a `failed` packet, whatever its characters.
const MAX_REASON: usize = 100;

/// Main's end of a zygote.
#[derive(Debug)]
pub struct Zygote {
    socket: SharedFd,
    pid: Pid,
}

/// What a zygote says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reply {
    /// Child `number` is process `pid`.
    Forked { number: u32, pid: Pid },
    /// Child `number` could not be made.
    Failed { number: u32, reason: String },
}

impl Zygote {
    /// A zygote that runs as process `pid`, a child of this one, behind `socket`.
    pub fn new(socket: OwnedFd, pid: Pid) -> Self {
        Self {
            socket: SharedFd::new(socket),
            pid,
        }
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn socket(&self) -> SharedFd {
        self.socket.clone()
    }

    /// Asks for child `number` with these ends of its pipes.
    pub(super) fn ask(
        &self,
        number: u32,
        jobs: BorrowedFd<'_>,
        results: BorrowedFd<'_>,
    ) -> io::Result<()> {
        pipe::send_with_fds(
            &self.socket,
            format!("fork {number}").as_bytes(),
            &[jobs, results],
        )
    }

    /// Asks for the clerk of the app behind a Python zygote.
    pub(super) fn ask_for_clerk(
        &self,
        notes: BorrowedFd<'_>,
        replies: BorrowedFd<'_>,
    ) -> io::Result<()> {
        pipe::send_with_fds(&self.socket, b"clerk 0", &[notes, replies])
    }

    /// The next reply; `None` when there is none yet.
    ///
    /// # Errors
    /// The zygote is gone, or does not speak the protocol.
    pub(super) fn reply(&self) -> io::Result<Option<Reply>> {
        let mut packet = [0; MAX_PACKET];
        let length = match pipe::receive_with_fds(&self.socket, &mut packet) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((length, _)) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let reply = packet.get(..length).and_then(Reply::parse);
        reply
            .map(Some)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Reply {
    fn parse(packet: &[u8]) -> Option<Self> {
        let (word, rest) = str::from_utf8(packet).ok()?.split_once(' ')?;
        let (number, rest) = rest.split_once(' ')?;
        let number = number.parse().ok()?;
        match word {
            "forked" => {
                let pid = Pid::new(rest.parse().ok()?)?;
                Some(Self::Forked { number, pid })
            }
            "failed" => Some(Self::Failed {
                number,
                reason: rest.to_owned(),
            }),
            _ => None,
        }
    }

    /// The packet, for a zygote to send.
    pub(super) fn packet(&self) -> String {
        match self {
            Self::Forked { number, pid } => format!("forked {number} {pid}"),
            Self::Failed { number, reason } => {
                let reason: String = reason.chars().take(MAX_REASON).collect();
                format!("failed {number} {reason}")
            }
        }
    }
}

/// The number in a `fork` packet, for a zygote to read.
pub(super) fn parse_request(packet: &[u8]) -> Option<u32> {
    str::from_utf8(packet)
        .ok()?
        .strip_prefix("fork ")?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_what_the_protocol_says_and_read_back() {
        let forked = Reply::Forked {
            number: 7,
            pid: Pid::new(4711).unwrap(),
        };
        assert_eq!(forked.packet(), "forked 7 4711");
        let failed = Reply::Failed {
            number: 7,
            reason: "no more processes (os error 11)".into(),
        };
        assert_eq!(failed.packet(), "failed 7 no more processes (os error 11)");
        for reply in [forked, failed] {
            assert_eq!(Reply::parse(reply.packet().as_bytes()), Some(reply));
        }
        assert_eq!(parse_request(b"fork 7"), Some(7));
    }

    #[test]
    fn a_reason_of_any_length_fits() {
        let failed = Reply::Failed {
            number: u32::MAX,
            reason: "\u{1F96C}".repeat(1000),
        };
        assert!(failed.packet().len() <= MAX_PACKET);
        assert!(Reply::parse(failed.packet().as_bytes()).is_some());
    }

    #[test]
    fn anything_else_is_refused() {
        let packets: [&[u8]; 9] = [
            b"",
            b"forked",
            b"forked 7",
            b"forked 7 ",
            b"forked 7 0",
            b"forked 7 -1",
            b"forked x 1",
            b"spooned 7 1",
            b"forked 7 \xff",
        ];
        for packet in packets {
            assert_eq!(Reply::parse(packet), None, "{}", packet.escape_ascii());
        }
        for packet in [
            &b"fork"[..],
            b"fork ",
            b"fork -1",
            b"fork 4294967296",
            b"knife 1",
        ] {
            assert_eq!(parse_request(packet), None, "{}", packet.escape_ascii());
        }
    }
}
