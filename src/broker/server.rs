//! The broker's sockets: a listener, a descriptor per session, one timer, one flush a turn.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Instant;

use super::engine::Engine;
use super::faults::Faults;
use super::keys::SessionKey;
use super::overview::QueueOverview;
use super::session::Phase;
use super::settings::Settings;
use crate::hub::{Hub, Interest, Key, Mode, Next, TimerKey};
use crate::sys::clock;
use crate::sys::fd::SharedFd;
use crate::sys::tcp;

/// How many octets of one session are handled in a turn, before others have their go.
const BUDGET: usize = 128 << 10;

/// How many rounds of giving out and writing a turn has.
const ROUNDS: usize = 8;

/// An AMQP 0-9-1 broker: the context of a [`Hub`]. See the [module page](super).
#[derive(Debug)]
pub struct Broker {
    engine: Engine,
    sockets: HashMap<SessionKey, Socket>,
    listeners: Vec<Key>,
    /// The Hub's timer for the engine's next deadline.
    timer: Option<(Instant, TimerKey)>,
    /// Whether the Hub calls [`end_turn`](Self::end_turn).
    hooked: bool,
}

/// A session's socket and its registration.
#[derive(Debug)]
struct Socket {
    fd: SharedFd,
    registration: Key,
}

impl Broker {
    /// A broker that nobody can reach yet.
    pub fn new(settings: Settings) -> Self {
        let wall = clock::wall();
        let seed = wall
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64);
        Self {
            engine: Engine::new(settings, seed, clock::now(), wall),
            sockets: HashMap::new(),
            listeners: Vec::new(),
            timer: None,
            hooked: false,
        }
    }

    /// Takes connections at `address`, port 0 for any free port, from when `hub` turns. May be called
    /// for several addresses. The address it got.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn listen(
        &mut self,
        hub: &mut Hub<Self>,
        address: impl ToSocketAddrs,
    ) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let accepting = listener.try_clone()?;
        let registration = hub.add_reader(listener, move |broker: &mut Self, hub, _| {
            broker.accept(hub, &accepting)
        })?;
        self.listeners.push(registration);
        if !self.hooked {
            self.hooked = true;
            hub.before_poll(|broker: &mut Self, hub| broker.end_turn(hub));
        }
        Ok(address)
    }

    /// Takes no more connections and ends those there are, without a word, as a crash does.
    pub fn close(&mut self, hub: &mut Hub<Self>) {
        for listener in std::mem::take(&mut self.listeners) {
            hub.remove(listener);
        }
        let sessions: Vec<SessionKey> = self.sockets.keys().copied().collect();
        for key in sessions {
            self.end_session(hub, key);
        }
        if let Some((_, timer)) = self.timer.take() {
            hub.cancel(timer);
        }
    }

    /// How it misbehaves.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.engine.faults
    }

    /// What there is to see of the queues of all virtual hosts.
    pub fn queues(&self) -> Vec<QueueOverview> {
        self.engine.queues()
    }

    /// How many clients are connected.
    pub fn connections(&self) -> usize {
        self.sockets.len()
    }

    /// Closes every connection as an operator does: 320, with this text.
    pub fn close_connections(&mut self, hub: &mut Hub<Self>, text: &str) {
        self.engine.close_all(text, hub.now());
    }

    /// Closes every socket without a word.
    pub fn drop_connections(&mut self) {
        self.engine.drop_all();
    }

    /// Neither reads nor writes for so long.
    pub fn stall(&mut self, hub: &mut Hub<Self>, duration: std::time::Duration) {
        self.engine.stall_all(hub.now() + duration);
    }

    /// Cancels all consumers of a queue as if it had moved elsewhere: they are told, if they
    /// understand. `false` when there is no such queue.
    pub fn cancel_consumers(&mut self, hub: &mut Hub<Self>, vhost: &str, queue: &str) -> bool {
        self.engine.cancel_consumers(vhost, queue, hub.now())
    }

    /// Loses all consumers of a queue and tells nobody. `false` when there is no such queue.
    pub fn forget_consumers(&mut self, hub: &mut Hub<Self>, vhost: &str, queue: &str) -> bool {
        self.engine.forget_consumers(vhost, queue, hub.now())
    }

    /// Gives every unacknowledged message out again, behind the back of those who have it. How many.
    pub fn redeliver(&mut self, vhost: &str) -> usize {
        self.engine.redeliver(vhost)
    }

    fn accept(&mut self, hub: &mut Hub<Self>, listener: &TcpListener) -> Next {
        match listener.accept() {
            Ok((stream, peer)) => {
                let fd = SharedFd::new(stream);
                if let Err(error) = self.start_session(hub, fd, peer) {
                    log::warn!("no connection for {peer}: {error}");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => log::warn!("cannot accept a connection: {error}"),
        }
        Next::Wait
    }

    fn start_session(
        &mut self,
        hub: &mut Hub<Self>,
        fd: SharedFd,
        peer: SocketAddr,
    ) -> io::Result<()> {
        crate::sys::fd::set_nonblocking(&fd, true)?;
        tcp::set_nodelay(&fd)?;
        let key = self
            .engine
            .start_session(peer.ip().to_canonical().is_loopback(), hub.now());
        let added = hub.add(
            fd.clone(),
            Interest::BOTH,
            Mode::Drain,
            move |broker: &mut Self, hub, ready| {
                if ready.writable {
                    broker.engine.flush_later(key);
                }
                if ready.readable {
                    broker.read(hub, key)
                } else {
                    Next::Wait
                }
            },
        );
        match added {
            Ok(registration) => {
                self.sockets.insert(key, Socket { fd, registration });
                Ok(())
            }
            Err(error) => {
                self.engine.end_session(key, hub.now());
                Err(error)
            }
        }
    }

    /// Reads a session's socket until it is empty or the budget is used up, and handles what came.
    fn read(&mut self, hub: &mut Hub<Self>, key: SessionKey) -> Next {
        let mut budget = BUDGET;
        loop {
            let Some((socket, session)) = self
                .sockets
                .get(&key)
                .zip(self.engine.sessions.get_mut(key))
            else {
                return Next::Wait;
            };
            if !session.is_readable() {
                session.held = true; // `flush` goes on when it is
                return Next::Wait;
            }
            let space = session.input.space(BUDGET / 4);
            match socket.fd.read(space) {
                Ok(0) => {
                    self.end_session(hub, key);
                    return Next::Wait;
                }
                Ok(count) => {
                    session.input.filled(count);
                    self.engine.handle_input(key, hub.now());
                    budget = budget.saturating_sub(count);
                    if budget == 0 {
                        return Next::Again;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Wait,
                Err(_) => {
                    self.end_session(hub, key);
                    return Next::Wait;
                }
            }
        }
    }

    fn end_session(&mut self, hub: &mut Hub<Self>, key: SessionKey) {
        self.engine.end_session(key, hub.now());
        if let Some(socket) = self.sockets.remove(&key) {
            hub.remove(socket.registration);
        }
    }

    /// Gives out and writes, as long as one leads to the other, and sets the timer.
    fn end_turn(&mut self, hub: &mut Hub<Self>) {
        self.engine.dispatch(hub.now());
        for _ in 0..ROUNDS {
            if self.engine.to_flush.is_empty() {
                break;
            }
            for key in std::mem::take(&mut self.engine.to_flush) {
                self.flush(hub, key);
            }
            self.engine.dispatch(hub.now());
        }
        if !self.engine.to_flush.is_empty() {
            hub.call_soon(|_, _| {}); // the next turn goes on at once
        }
        self.set_timer(hub);
    }

    /// Writes what a session has to say, as far as the socket takes it.
    fn flush(&mut self, hub: &mut Hub<Self>, key: SessionKey) {
        let at_most = self
            .engine
            .faults
            .write_at_most
            .unwrap_or(usize::MAX)
            .max(1);
        let Some((socket, session)) = self
            .sockets
            .get(&key)
            .zip(self.engine.sessions.get_mut(key))
        else {
            return;
        };
        session.flushing = false;
        if session.stalled_until.is_some() {
            return;
        }
        while !session.output.is_empty() {
            let data = session.output.data();
            match socket.fd.write(data.get(..at_most).unwrap_or(data)) {
                Ok(count) => {
                    session.output.sent(count);
                    session.sent_at = hub.now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return self.end_session(hub, key),
            }
        }
        if session.phase == Phase::Closed && session.output.is_empty() {
            return self.end_session(hub, key);
        }
        let waiting = session.held && session.is_readable();
        session.held &= !waiting;
        self.engine.resume(key);
        if waiting {
            self.read_later(hub, key);
        }
    }

    /// Goes on with a session that was not read for a while: nothing else will wake it.
    fn read_later(&mut self, hub: &mut Hub<Self>, key: SessionKey) {
        hub.call_soon(move |broker: &mut Self, hub| {
            broker.engine.handle_input(key, hub.now());
            if broker.read(hub, key) == Next::Again {
                broker.read_later(hub, key);
            }
        });
    }

    fn set_timer(&mut self, hub: &mut Hub<Self>) {
        let next = self.engine.next_deadline();
        if next == self.timer.map(|(deadline, _)| deadline) {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            hub.cancel(timer);
        }
        if let Some(deadline) = next {
            let timer = hub.call_at_deadline(deadline, 0, |broker: &mut Self, hub| {
                broker.timer = None;
                broker.engine.handle_timeout(hub.now());
            });
            self.timer = Some((deadline, timer));
        }
    }
}
