//! Waiting on a single descriptor, for programs without an event loop.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use polling::{Event, Events, Poller};

/// The key of the only source.
const ONLY: usize = 0;

/// A source and the means to wait until it can be read or written. This blocks, so it is for the
/// command-line client; the worker has its Hub.
///
/// Invariant: the source is registered for as long as the waiter lives, and outlives its registration.
#[derive(Debug)]
pub struct Waiter<S: AsFd> {
    // The order matters: the poller is closed before the source is.
    poller: Poller,
    events: Events,
    source: S,
}

impl<S: AsFd> Waiter<S> {
    /// Takes charge of `source`, which should be nonblocking.
    ///
    /// # Errors
    /// The kernel has no more descriptors, or cannot poll such a source.
    #[allow(unsafe_code)]
    pub fn new(source: S) -> io::Result<Self> {
        let waiter = Self {
            poller: Poller::new()?,
            events: Events::new(),
            source,
        };
        // SAFETY: the source must be deleted from the poller before it is dropped. Both live in this
        // value, nothing takes the source out of it, and `Drop` deletes it.
        unsafe {
            waiter
                .poller
                .add(&waiter.source.as_fd(), Event::none(ONLY))?
        };
        Ok(waiter)
    }

    /// What is waited on.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Waits until the source can be read, or written if `to_write`, or until `timeout` is over;
    /// `None` waits for ever. Errors and hang-ups end the wait as well.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub fn wait(&mut self, to_write: bool, timeout: Option<Duration>) -> io::Result<()> {
        let interest = if to_write {
            Event::all(ONLY)
        } else {
            Event::readable(ONLY)
        };
        self.poller.modify(self.source.as_fd(), interest)?;
        self.events.clear();
        self.poller.wait(&mut self.events, timeout)?;
        Ok(())
    }
}

impl<S: AsFd> Drop for Waiter<S> {
    fn drop(&mut self) {
        // The poller goes with us, so a failure changes nothing.
        let _ = self.poller.delete(self.source.as_fd());
    }
}

/// Does nothing for so long: for a command that has nothing else to do, never for what serves others.
#[allow(clippy::disallowed_methods)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_wait_ends_when_there_is_something_to_read() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let mut waiter = Waiter::new(ours.try_clone().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        waiter.wait(false, Some(Duration::ZERO)).unwrap();
        assert!(ours.read(&mut [0; 8]).is_err(), "nothing was sent yet");
        theirs.write_all(b"ready").unwrap();
        waiter.wait(false, None).unwrap();
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 5);
    }

    #[test]
    fn a_wait_ends_when_there_is_room_to_write() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        Waiter::new(ours).unwrap().wait(true, None).unwrap();
    }
}
