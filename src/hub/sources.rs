//! Registered descriptors: who waits for what, and whose turn it is.
//!
//! An epoll set knows a descriptor once. Two registrations of one descriptor (a reader and a writer)
//! therefore share its entry, which waits for both; the entry's token is the key of one of them, its
//! *leader*, and the other is the leader's *twin*. Every event is split by interest.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Registry, Token};

use super::{Hub, Interest, Key, Mode, Next, Ready};
use crate::util::slots::Slots;

/// What a registration owns: whatever holds the descriptor open.
pub type Source = Box<dyn AsFd>;

type Handler<C> = Box<dyn FnMut(&mut C, &mut Hub<C>, Ready) -> Next>;

/// A key is a token, both ways; on 32 bits the generation would not fit.
const _: () = assert!(usize::BITS == 64, "the Hub needs 64-bit tokens");

/// All registrations, and the queue of those that have something to hear.
pub(super) struct Sources<C> {
    registrations: Slots<Registration<C>>,
    /// The poller's entry of each registered descriptor. Sources keep their descriptors open, so no
    /// number here can have been reused.
    entries: HashMap<RawFd, PollEntry>,
    /// Who is to be called, in this order. A key that was removed meanwhile finds nothing.
    queue: VecDeque<Key>,
}

struct Registration<C> {
    fd: RawFd,
    source: Source,
    /// Taken out while it runs.
    handler: Option<Handler<C>>,
    interest: Interest,
    mode: Mode,
    /// The other registration of this descriptor.
    twin: Option<Key>,
    /// What was reported and not yet told to the handler; the registration is in the queue while
    /// this is not empty.
    reported: Ready,
}

struct PollEntry {
    leader: Key,
    /// Whether the poller has it: an entry that waits for nothing is taken out.
    armed: bool,
}

impl<C> Hub<C> {
    /// Calls `handler` when `source` is ready for what `interest` says, until it is removed.
    ///
    /// The registration owns `source`; share the descriptor with your own state by handing over a
    /// [`SharedFd`](crate::sys::fd::SharedFd), an `Rc<TcpStream>` or the like. The descriptor should
    /// be nonblocking.
    ///
    /// A descriptor may be registered twice, once for each direction, with a handler each. They
    /// share one entry in the poller; re-arming one (see [`Mode::Level`]) can report the other again.
    ///
    /// # Errors
    /// - `AlreadyExists`: the descriptor has a handler for that direction;
    /// - `InvalidInput`: it is a regular file or directory, which no kernel polls;
    /// - whatever the kernel says, a closed descriptor among it.
    pub fn add(
        &mut self,
        source: impl AsFd + 'static,
        interest: Interest,
        mode: Mode,
        handler: impl FnMut(&mut C, &mut Self, Ready) -> Next + 'static,
    ) -> io::Result<Key> {
        let registration = Registration {
            fd: source.as_fd().as_raw_fd(),
            source: Box::new(source),
            handler: Some(Box::new(handler)),
            interest,
            mode,
            twin: None,
            reported: Ready::default(),
        };
        self.sources.insert(self.poll.registry(), registration)
    }

    /// Calls `handler` whenever `source` can be read: [`add`](Self::add) with [`Mode::Level`].
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_reader(
        &mut self,
        source: impl AsFd + 'static,
        handler: impl FnMut(&mut C, &mut Self, Ready) -> Next + 'static,
    ) -> io::Result<Key> {
        self.add(source, Interest::READ, Mode::Level, handler)
    }

    /// Calls `handler` whenever `source` can be written: [`add`](Self::add) with [`Mode::Level`].
    /// That is in every turn while there is room; remove it, or park it with
    /// [`set_interest`](Self::set_interest), when there is nothing to write.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_writer(
        &mut self,
        source: impl AsFd + 'static,
        handler: impl FnMut(&mut C, &mut Self, Ready) -> Next + 'static,
    ) -> io::Result<Key> {
        self.add(source, Interest::WRITE, Mode::Level, handler)
    }

    /// Changes what a registration waits for. What is ready at this moment is reported (again) in
    /// the next turn, in either mode. The same interest as before changes nothing and costs nothing.
    ///
    /// # Errors
    /// - `NotFound`: the key was removed;
    /// - `AlreadyExists`: the other registration of this descriptor has that direction;
    /// - whatever the kernel says.
    pub fn set_interest(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        self.sources
            .set_interest(self.poll.registry(), key, interest)
    }

    /// Ends a registration and gives its source back, deregistered. `None` if it had ended already.
    ///
    /// The handler is never called again, whatever was reported in this turn.
    pub fn remove(&mut self, key: Key) -> Option<Source> {
        self.sources.remove(self.poll.registry(), key)
    }

    /// Calls everybody who is in the queue now, once.
    pub(super) fn run_handlers(&mut self, cx: &mut C) -> usize {
        let mut called = 0;
        for _ in 0..self.sources.queue.len() {
            let Some(key) = self.sources.queue.pop_front() else {
                break;
            };
            let Some((handler, ready)) = self.sources.take(key, &mut self.counters.stale) else {
                continue;
            };
            self.run_handler(cx, key, handler, ready);
            called += 1;
        }
        called
    }

    /// The handler is out of its slot while it runs, so that it can be lent the whole Hub.
    fn run_handler(&mut self, cx: &mut C, key: Key, mut handler: Handler<C>, ready: Ready) {
        match catch_unwind(AssertUnwindSafe(|| handler(cx, self, ready))) {
            Ok(Next::Remove) => drop(self.remove(key)),
            Ok(next) => {
                let again = (next == Next::Again).then_some(ready);
                self.sources
                    .give_back(self.poll.registry(), key, handler, again);
            }
            Err(panic) => {
                self.remove(key);
                resume_unwind(panic);
            }
        }
    }
}

impl<C> Sources<C> {
    pub(super) fn new() -> Self {
        Self {
            registrations: Slots::new(),
            entries: HashMap::new(),
            queue: VecDeque::new(),
        }
    }

    /// Queues whoever an event concerns. An event for a removed registration is counted.
    #[inline]
    pub(super) fn report(&mut self, event: &Event, stale: &mut u64) {
        let leader = Key::from(event.token().0 as u64);
        let Some(registration) = self.registrations.get(leader) else {
            *stale += 1;
            return;
        };
        let twin = registration.twin;
        let ready = Ready::from_event(event);
        self.enqueue(leader, ready);
        if let Some(twin) = twin {
            self.enqueue(twin, ready);
        }
    }

    /// Whether somebody in the queue is still to be called.
    pub(super) fn has_reports(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.registrations.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.registrations.len()
    }

    fn insert(&mut self, registry: &Registry, registration: Registration<C>) -> io::Result<Key> {
        let (fd, interest) = (registration.fd, registration.interest);
        let leader = self.entries.get(&fd).map(|entry| entry.leader);
        let first = leader.and_then(|leader| self.registrations.get(leader));
        let taken = |first: &Registration<C>| {
            first.twin.is_some() || first.interest & interest != Interest::NONE
        };
        if first.is_some_and(taken) {
            return Err(already_registered(fd));
        }
        let key = self.registrations.insert(Registration {
            twin: leader,
            ..registration
        });
        match leader {
            Some(leader) => self.set_twin(leader, Some(key)),
            None => drop(self.entries.insert(
                fd,
                PollEntry {
                    leader: key,
                    armed: false,
                },
            )),
        }
        if let Err(error) = self.arm(registry, fd) {
            self.remove(registry, key);
            return Err(error);
        }
        Ok(key)
    }

    fn remove(&mut self, registry: &Registry, key: Key) -> Option<Source> {
        let Registration {
            fd, source, twin, ..
        } = self.registrations.remove(key)?;
        let entry = self.entries.get_mut(&fd)?;
        match twin {
            Some(twin) => {
                entry.leader = twin;
                self.set_twin(twin, None);
                // Also reports again what the poller may have reported to the old leader's token.
                if let Err(error) = self.arm(registry, fd) {
                    log::warn!("descriptor {fd}: its other handler is deaf from now on: {error}");
                }
            }
            None => {
                if entry.armed {
                    disarm(registry, fd);
                }
                self.entries.remove(&fd);
            }
        }
        Some(source)
    }

    fn set_interest(
        &mut self,
        registry: &Registry,
        key: Key,
        interest: Interest,
    ) -> io::Result<()> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no registration {key}"));
        let Registration {
            fd,
            interest: before,
            twin,
            ..
        } = *self.registrations.get(key).ok_or_else(missing)?;
        if interest == before {
            return Ok(());
        }
        let taken = twin.and_then(|twin| self.registrations.get(twin));
        if taken.is_some_and(|twin| twin.interest & interest != Interest::NONE) {
            return Err(already_registered(fd));
        }
        if let Some(registration) = self.registrations.get_mut(key) {
            registration.interest = interest;
        }
        self.arm(registry, fd)
    }

    fn set_twin(&mut self, key: Key, twin: Option<Key>) {
        if let Some(registration) = self.registrations.get_mut(key) {
            registration.twin = twin;
        }
    }

    /// Makes the poller's entry of a descriptor what its registrations want, and fresh: what is ready
    /// now is reported by the next wait, although the poller is edge-triggered.
    fn arm(&mut self, registry: &Registry, fd: RawFd) -> io::Result<()> {
        let Some(entry) = self.entries.get_mut(&fd) else {
            return Ok(());
        };
        let Some(leader) = self.registrations.get(entry.leader) else {
            return Ok(());
        };
        let twin = leader.twin.and_then(|twin| self.registrations.get(twin));
        let interest = leader.interest | twin.map_or(Interest::NONE, |twin| twin.interest);
        let token = Token(u64::from(entry.leader) as usize);
        match (interest.to_mio(), entry.armed) {
            (Some(interest), true) => registry.reregister(&mut SourceFd(&fd), token, interest)?,
            (Some(interest), false) => {
                let done = registry.register(&mut SourceFd(&fd), token, interest);
                done.map_err(|error| explain(fd, error))?;
            }
            (None, true) => disarm(registry, fd),
            (None, false) => {}
        }
        entry.armed = interest != Interest::NONE;
        Ok(())
    }

    #[inline]
    fn enqueue(&mut self, key: Key, ready: Ready) {
        let Some(registration) = self.registrations.get_mut(key) else {
            return;
        };
        let ready = ready.masked(registration.interest);
        if ready.is_empty() {
            return;
        }
        if registration.reported.is_empty() {
            self.queue.push_back(key);
        }
        registration.reported = registration.reported | ready;
    }

    /// Takes a handler out of its slot, with what there is to tell it. `None` if the registration is
    /// gone, if its interest is, or if it is running (a turn within a turn).
    #[inline]
    fn take(&mut self, key: Key, stale: &mut u64) -> Option<(Handler<C>, Ready)> {
        let Some(registration) = self.registrations.get_mut(key) else {
            *stale += 1;
            return None;
        };
        let reported = std::mem::take(&mut registration.reported);
        let ready = reported.masked(registration.interest);
        if ready.is_empty() {
            return None;
        }
        Some((registration.handler.take()?, ready))
    }

    /// Puts a handler back after its call, if its registration is still there.
    fn give_back(
        &mut self,
        registry: &Registry,
        key: Key,
        handler: Handler<C>,
        again: Option<Ready>,
    ) {
        let Some(registration) = self.registrations.get_mut(key) else {
            return;
        };
        registration.handler = Some(handler);
        let (fd, mode) = (registration.fd, registration.mode);
        match again {
            Some(ready) => self.enqueue(key, ready),
            None if mode == Mode::Level => {
                if let Err(error) = self.arm(registry, fd) {
                    log::warn!("descriptor {fd} was closed while registered: {error}");
                    self.remove(registry, key);
                }
            }
            None => {}
        }
    }
}

/// Takes a descriptor out of the poller. That it is not there is no error: then somebody closed it
/// behind the registration's back, and the kernel has forgotten it already.
fn disarm(registry: &Registry, fd: RawFd) {
    if let Err(error) = registry.deregister(&mut SourceFd(&fd)) {
        log::debug!("descriptor {fd} was closed while registered: {error}");
    }
}

fn already_registered(fd: RawFd) -> io::Error {
    let text = format!("descriptor {fd} has a handler for this direction already");
    io::Error::new(io::ErrorKind::AlreadyExists, text)
}

/// What the kernel means when it refuses a descriptor.
fn explain(fd: RawFd, error: io::Error) -> io::Error {
    // epoll says EPERM: the file has no notion of readiness.
    if error.kind() == io::ErrorKind::PermissionDenied {
        let text = format!(
            "descriptor {fd} is a regular file or a directory: always ready, so it cannot be \
             waited for"
        );
        return io::Error::new(io::ErrorKind::InvalidInput, text);
    }
    error
}
