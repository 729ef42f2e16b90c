//! What a handler waits for, what it is told, and what it answers.

use std::fmt;
use std::ops::{BitAnd, BitOr};

use mio::event::Event;

/// What a handler waits for on its descriptor.
///
/// [`Interest::NONE`] parks a registration: it keeps its place and its source and hears nothing,
/// not even a hang-up. That is how to stop reading from a peer that sends too fast.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interest(u8);

impl Interest {
    /// Nothing, for now.
    pub const NONE: Self = Self(0);
    /// A read will not block.
    pub const READ: Self = Self(1);
    /// A write will not block.
    pub const WRITE: Self = Self(2);
    /// Both.
    pub const BOTH: Self = Self(3);

    /// Whether a read is waited for.
    pub const fn is_read(self) -> bool {
        self.0 & Self::READ.0 != 0
    }

    /// Whether a write is waited for.
    pub const fn is_write(self) -> bool {
        self.0 & Self::WRITE.0 != 0
    }

    /// As the poller has it; `None` if there is nothing to poll for.
    pub(super) fn to_mio(self) -> Option<mio::Interest> {
        match (self.is_read(), self.is_write()) {
            (true, true) => Some(mio::Interest::READABLE | mio::Interest::WRITABLE),
            (true, false) => Some(mio::Interest::READABLE),
            (false, true) => Some(mio::Interest::WRITABLE),
            (false, false) => None,
        }
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Interest {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.is_read(), self.is_write()) {
            (true, true) => "BOTH",
            (true, false) => "READ",
            (false, true) => "WRITE",
            (false, false) => "NONE",
        })
    }
}

/// How a registration hears of readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// For descriptors and handlers that know nothing of the Hub: the handler is called in every turn
    /// in which its descriptor is ready, however little it does. Costs one more system call per
    /// handler call (the poller beneath is edge-triggered and is armed anew).
    Level,
    /// For handlers that play along: called when readiness changes, the handler goes on until the
    /// kernel says `WouldBlock`, or returns [`Next::Again`] to go on in the next turn. A handler that
    /// stops early without saying so is not called again before the peer acts.
    Drain,
}

/// What a handler wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Next {
    /// Call me when the descriptor is ready.
    Wait,
    /// I stopped early (a budget used up): call me in the next turn with the same readiness. That
    /// turn does not sleep, others have their go before me, and no system call is spent on it.
    Again,
    /// Forget me: deregisters the descriptor and drops its source.
    Remove,
}

/// Why a handler is called. Only directions it is interested in are ever set.
///
/// A call may be spurious; a handler must take `WouldBlock` for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// A read will not block: there is data, an end of file, or an error to collect.
    pub readable: bool,
    /// A write will not block: there is room, or an error to collect.
    pub writable: bool,
    /// The peer will send nothing more; there may still be data to read before the end of file.
    pub read_closed: bool,
    /// Nothing written arrives any more.
    pub write_closed: bool,
    /// The descriptor is in an error state, which the next read or write reports.
    pub error: bool,
}

impl Ready {
    /// What the poller reports. An end or an error makes the direction ready: a read or write will
    /// not block then, it will say so.
    #[inline]
    pub(super) fn from_event(event: &Event) -> Self {
        let (read_closed, write_closed) = (event.is_read_closed(), event.is_write_closed());
        let error = event.is_error();
        Self {
            readable: event.is_readable() || read_closed || error,
            writable: event.is_writable() || write_closed || error,
            read_closed,
            write_closed,
            error,
        }
    }

    /// The part of it that somebody with this interest should hear.
    #[inline]
    pub(super) fn masked(self, interest: Interest) -> Self {
        let (read, write) = (interest.is_read(), interest.is_write());
        Self {
            readable: self.readable && read,
            writable: self.writable && write,
            read_closed: self.read_closed && read,
            write_closed: self.write_closed && write,
            error: self.error && (read || write),
        }
    }

    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl BitOr for Ready {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            readable: self.readable || other.readable,
            writable: self.writable || other.writable,
            read_closed: self.read_closed || other.read_closed,
            write_closed: self.write_closed || other.write_closed,
            error: self.error || other.error,
        }
    }
}
