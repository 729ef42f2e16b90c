//! The event loop: descriptors, timers and callbacks on one thread.
//!
//! A [`Hub`] watches file descriptors (your own as well), runs timers and calls functions; it is the
//! heart of the worker, and knows nothing of it. Everything it calls gets two things lent: `C`, the
//! one value that holds your state, and the Hub itself. So there are no locks, no `Rc`, no `RefCell`.
//!
//! ```
//! use std::io::{PipeReader, Read, Write, pipe};
//! use std::rc::Rc;
//! use std::time::Duration;
//!
//! use celeriac::hub::{Hub, Next};
//!
//! /// Your state; the Hub lends it to whatever it calls.
//! struct Echo {
//!     input: Rc<PipeReader>,
//!     heard: Vec<u8>,
//! }
//!
//! impl Echo {
//!     fn read(&mut self) -> Next {
//!         let mut buffer = [0; 64];
//!         match (&*self.input).read(&mut buffer) {
//!             Ok(0) => Next::Remove, // end of file
//!             Ok(n) => {
//!                 self.heard.extend_from_slice(&buffer[..n]);
//!                 Next::Wait
//!             }
//!             Err(_) => Next::Wait,
//!         }
//!     }
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     let (input, mut output) = pipe()?;
//!     let mut echo = Echo { input: Rc::new(input), heard: Vec::new() };
//!     let mut hub = Hub::new()?;
//!     // The Hub owns one handle on the pipe, Echo another: the pipe cannot close behind its back.
//!     hub.add_reader(echo.input.clone(), |echo: &mut Echo, _, _| echo.read())?;
//!     hub.call_after(Duration::from_millis(5), move |_, _| {
//!         output.write_all(b"hello").expect("the pipe has room");
//!     });
//!     hub.run(&mut echo)?; // returns when nothing is left to wait for
//!     assert_eq!(echo.heard, b"hello");
//!     Ok(())
//! }
//! ```
//!
//! # A turn
//!
//! [`Hub::tick`] is one turn: the [`before_poll`](Hub::before_poll) calls; one wait in the kernel, as
//! long as nothing is due; the handlers of ready descriptors; due timers; the
//! [`call_soon`](Hub::call_soon) calls that were there when their part began. [`Hub::run`] repeats it.
//! A Hub with nothing due sleeps without a timeout: an idle program makes no wake-ups.
//!
//! # Promises
//!
//! - **Nobody starves.** A turn calls each ready descriptor once, at most
//!   [`TIMERS_PER_TURN`] timers, and no callback that was added in the same part of the turn. What
//!   remains goes on in the next turn, which does not sleep.
//! - **Removed is removed.** The moment [`Hub::remove`] returns, the handler is never called again,
//!   even if the kernel had reported its descriptor in the same turn, and even if another descriptor
//!   has its number by now: keys carry generations.
//! - **Nothing stays behind.** A registration owns its source, so a descriptor cannot be closed (and
//!   its number reused) while the poller still knows it. Dropping the Hub drops all sources.
//! - **A timer is never early**; timers run by deadline, then priority, then age.
//! - **A panic passes through** [`Hub::tick`] and takes only the handler that panicked: its
//!   registration, timer or hook is removed. The Hub and everything else in it go on with the next
//!   `tick`, including what was reported and not yet called.
//! - **Handlers may do anything to the Hub**: remove or re-register themselves or a neighbour, add,
//!   cancel, stop. Neither order nor timing of such calls can break it. They must not block.
//!
//! What it does not do: threads (see [`Waker`] for the way in from one), blocking calls, regular files
//! (always ready as far as a kernel is concerned: they are refused with an error), and `fork` (the
//! child would share the poller; the process that owns a Hub must not fork).
//!
//! # In a foreign loop
//!
//! A Hub is a file descriptor ([`AsFd`]) that is readable when one of its own is ready. Watch that,
//! sleep no longer than [`Hub::next_deadline`], and call `tick` with a wait of zero.

mod calls;
#[doc(hidden)]
pub mod fuzz;
mod ready;
mod sources;
mod timer;
mod waker;
mod wall;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Poll};

pub use crate::util::slots::Key;
pub use ready::{Interest, Mode, Next, Ready};
pub use sources::Source;
pub use timer::{Timer, TimerKey};
pub use waker::Waker;

use crate::sys::clock;
use calls::Calls;
use sources::Sources;

/// How many due timers run in one turn. Ten thousand that are due at once take forty turns, and
/// descriptors have their go between them.
pub const TIMERS_PER_TURN: usize = 256;

/// How many events one wait in the kernel fetches; more wait for the next turn.
const EVENTS_PER_TURN: usize = 1024;

/// A single-threaded event loop. `C` is the one value lent to everything it calls.
/// See the [module page](self).
pub struct Hub<C> {
    poll: Poll,
    events: Events,
    sources: Sources<C>,
    calls: Calls<C>,
    /// The time of this turn, once somebody has asked.
    now: Cell<Option<Instant>>,
    wall: fn() -> SystemTime,
    stopping: bool,
    counters: Counters,
}

/// What a Hub has done so far: for metrics, and for tests that it does not spin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Turns of the loop, that is, waits in the kernel.
    pub turns: u64,
    /// Handlers of descriptors called.
    pub handlers: u64,
    /// Timers and callbacks called, [`Hub::before_poll`] not counted.
    pub calls: u64,
    /// Reports for a source that was removed between report and call. None of them was dispatched.
    pub stale: u64,
}

impl<C> Hub<C> {
    /// A Hub with nothing in it.
    ///
    /// # Errors
    /// If the process may not open another descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_PER_TURN),
            sources: Sources::new(),
            calls: Calls::new(clock::now()),
            now: Cell::new(None),
            wall: clock::wall,
            stopping: false,
            counters: Counters::default(),
        })
    }

    /// One turn, sleeping at most `max_wait` (`None`: as long as nothing happens).
    /// Returns how many handlers, timers and callbacks ran.
    ///
    /// A signal that interrupts the wait ends it; that is no error.
    ///
    /// # Errors
    /// If the kernel refuses to wait, which would be a defect of the Hub.
    pub fn tick(&mut self, cx: &mut C, max_wait: Option<Duration>) -> io::Result<usize> {
        self.counters.turns += 1;
        self.run_before_poll(cx);
        let timeout = self.timeout(max_wait);
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            other => other?,
        }
        self.now.set(None);
        for event in &self.events {
            self.sources.report(event, &mut self.counters.stale);
        }
        let handlers = self.run_handlers(cx);
        let calls = self.run_timers(cx) + self.run_soon(cx);
        self.counters.handlers += handlers as u64;
        self.counters.calls += calls as u64;
        Ok(handlers + calls)
    }

    /// Turns until [`stop`](Self::stop), or until nothing is left to wait for: no registration, no
    /// timer, no callback.
    ///
    /// # Errors
    /// As [`tick`](Self::tick).
    pub fn run(&mut self, cx: &mut C) -> io::Result<()> {
        while !self.stopping && !self.is_idle() {
            self.tick(cx, None)?;
        }
        self.stopping = false;
        Ok(())
    }

    /// Ends [`run`](Self::run) after the turn in progress; before `run`, ends the next one at once.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// The time of this turn: read when somebody first asks for it after the wait in the kernel, and
    /// the same until the next wait.
    pub fn now(&self) -> Instant {
        let now = self.now.get().unwrap_or_else(clock::now);
        self.now.set(Some(now));
        now
    }

    /// When the Hub wants a turn even if none of its descriptors is ready; `None` if never.
    ///
    /// With a [`call_at`](Self::call_at) waiting this is at most a second away, because the wall
    /// clock may be set at any time.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.sources.has_reports() {
            return Some(clock::now());
        }
        self.calls.next_deadline(self.wall)
    }

    /// What this Hub has done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether nothing can happen any more unless something is added: no registration, no timer, no
    /// callback. Hooks of [`before_poll`](Self::before_poll) do not count.
    pub fn is_idle(&self) -> bool {
        self.sources.is_empty() && self.calls.is_empty()
    }

    /// How long this turn may sleep. Reads the clock only if somebody waits for it.
    fn timeout(&self, max_wait: Option<Duration>) -> Option<Duration> {
        if self.sources.has_reports() {
            return Some(Duration::ZERO);
        }
        let Some(deadline) = self.calls.next_deadline(self.wall) else {
            return max_wait;
        };
        let wait = deadline.saturating_duration_since(clock::now());
        Some(max_wait.map_or(wait, |max_wait| wait.min(max_wait)))
    }
}

/// The poller's descriptor: readable when a registered descriptor is ready. It says nothing of
/// timers; those are in [`Hub::next_deadline`].
impl<C> AsFd for Hub<C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl<C> fmt::Debug for Hub<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("sources", &self.sources.len())
            .field("calls", &self.calls.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
