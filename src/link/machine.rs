//! The link itself: the connection, the socket under it, and what its owner calls.

use std::fmt;
use std::io;
use std::mem;
use std::time::Instant;

use crate::amqp::connection::{Connection, DeliveryTag, Event, Tune};
use crate::amqp::table::Table;
use crate::sys::fd::SharedFd;

use super::life::{Life, Notice, Phase};
use super::loss::Loss;
use super::retry::Retry;
use super::settings::Settings;
use super::transport::Transport;
use super::url::BrokerUrl;

/// The most that is read or written in one call, so that a flood on one connection leaves the rest
/// their turn.
const BUDGET: usize = 256 * 1024;

/// Keeps one connection to one of several brokers. See the [module page](super) for how to drive
/// it.
pub struct Link {
    /// There from a connected socket until its end was reported.
    connection: Option<Connection>,
    /// The end was reported: the connection goes with the next call.
    over: bool,
    epoch: u32,
    life: Life,
}

/// Whether a call has done all there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "after Again no readiness is reported: the owner has to call by itself"]
pub enum Turn {
    /// Call when the descriptor is ready again.
    Wait,
    /// The budget is used up: call in the next turn, without waiting.
    Again,
}

/// What a link reports.
#[derive(Debug)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant)] // the large one is the frequent one, and is never stored
pub enum LinkEvent<'a> {
    /// This URL is tried now.
    Connecting {
        /// The broker.
        url: &'a BrokerUrl,
    },
    /// The connection is open: channels can be opened.
    Up {
        /// The broker.
        url: &'a BrokerUrl,
        /// The generation, which delivery tags carry.
        epoch: u32,
        /// What the server says of itself.
        server: Table<'a>,
        /// The limits that both sides keep.
        tune: Tune,
    },
    /// Something happened on the open connection; never [`Event::Open`] or [`Event::Closed`].
    Amqp(Event<'a>),
    /// A message came on a socket that was gone before the message could be reported. The broker
    /// still has it and delivers it again.
    Discarded(DeliveryTag),
    /// There is no connection, or there is none any more.
    Lost {
        /// The broker that was tried or in use.
        url: &'a BrokerUrl,
        /// Why.
        reason: Loss,
        /// The login was refused for a reason that stays: wrong password, no such virtual host,
        /// another protocol.
        permanent: bool,
        /// Whether the connection had been open: its loss, not a failed try.
        was_up: bool,
        /// What the link does about it, unless it is closed.
        retry: Retry,
    },
    /// As `Lost`, and no try is left: the link is idle.
    GaveUp {
        /// The broker that was tried last.
        url: &'a BrokerUrl,
        /// Why it failed.
        reason: Loss,
        /// As in `Lost`.
        permanent: bool,
        /// How many tries there were after pauses.
        attempts: u32,
    },
    /// The close that was asked for is done: the link is idle.
    Closed,
}

impl Link {
    /// A link that does nothing yet. `seed` makes the jitter differ between processes.
    pub fn new(mut settings: Settings, seed: u64, now: Instant) -> Self {
        if settings.urls.is_empty() {
            settings.urls.push(BrokerUrl::default());
        }
        Self {
            connection: None,
            over: false,
            epoch: 0,
            life: Life::new(settings, seed, now),
        }
    }

    /// Starts to connect, unless that is already under way. After [`LinkEvent::GaveUp`] or
    /// [`LinkEvent::Closed`] the count of tries starts over.
    pub fn connect(&mut self, now: Instant) {
        self.enter(now);
        if matches!(self.life.phase, Phase::Idle) {
            self.life.start_over();
        }
    }

    /// The broker is known to be there: a pause between two tries ends now.
    pub fn hurry(&mut self, now: Instant) {
        self.enter(now);
        if matches!(self.life.phase, Phase::Pause { .. }) {
            self.life.attempt();
        }
    }

    /// Closes the connection in order: a last frame each way, or [`Settings::close_timeout`] at
    /// most. Without an open connection everything is dropped at once. Either way
    /// [`LinkEvent::Closed`] follows, and nothing is retried.
    pub fn close(&mut self, now: Instant) {
        self.enter(now);
        match (
            mem::replace(&mut self.life.phase, Phase::Idle),
            &mut self.connection,
        ) {
            (Phase::Up { transport, .. }, Some(connection)) => {
                connection.close(200, "Goodbye", now);
                let until = now + self.life.settings.close_timeout;
                self.life.phase = Phase::Closing { transport, until };
            }
            (closing @ Phase::Closing { .. }, _) => self.life.phase = closing,
            _ => self.drop_everything(),
        }
    }

    /// Gives an open connection up as if it had been lost, for a reason that the owner knows.
    pub fn abandon(&mut self, reason: &str, now: Instant) {
        self.enter(now);
        if self.is_up() {
            self.hung_up(Some(io::Error::other(reason.to_owned())));
        }
    }

    /// The descriptor to watch (for reading and writing, edge-triggered) and a number that changes
    /// with it. `None` while there is nothing to wait for but the deadline.
    pub fn registration(&self) -> Option<(SharedFd, u64)> {
        Some((self.life.phase.fd()?.clone(), self.life.registration))
    }

    /// When [`Link::handle_deadline`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let protocol = self.connection.as_ref().and_then(Connection::poll_timeout);
        self.life.phase.until().into_iter().chain(protocol).min()
    }

    /// The connection, from the first byte of the login until its end was reported. Its commands
    /// are refused while it is not open.
    pub fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Whether the connection is open.
    pub fn is_up(&self) -> bool {
        matches!(self.life.phase, Phase::Up { .. })
    }

    /// The generation of the latest connection, from 1; 0 before the first.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The descriptor is ready. `closed` says that the peer closed its side or that the socket
    /// failed (a read that fills less than the space it was given is then no proof that the socket
    /// is empty).
    pub fn handle_ready(&mut self, closed: bool, now: Instant) -> Turn {
        self.enter(now);
        match &self.life.phase {
            Phase::Lookup { until, .. } => {
                let until = *until;
                self.life.look_up(until);
            }
            Phase::Dial(_) => self.finish_dial(now),
            _ => {}
        }
        self.life.peer_closed |= closed;
        self.read(now)
    }

    /// The deadline is reached; harmless when it is not.
    pub fn handle_deadline(&mut self, now: Instant) {
        self.enter(now);
        if let Some(connection) = &mut self.connection
            && connection.poll_timeout().is_some_and(|due| due <= now)
        {
            connection.handle_timeout(now);
        }
        if self.life.phase.until().is_none_or(|until| until > now) {
            return;
        }
        match &self.life.phase {
            Phase::Pause { .. } => self.life.attempt(),
            Phase::Lookup { .. } => self.life.lookup_timed_out(),
            Phase::Dial(_) => self.finish_dial(now),
            Phase::Closing { .. } => self.drop_everything(),
            Phase::Idle | Phase::Handshake { .. } | Phase::Up { .. } => {}
        }
    }

    /// Writes out what the connection has queued, as far as the kernel takes it.
    pub fn flush(&mut self, now: Instant) -> Turn {
        self.enter(now);
        let (Some(connection), Some(transport)) = (&mut self.connection, self.life.socket()) else {
            return Turn::Wait;
        };
        match write_out(transport, connection, now) {
            Ok(turn) => turn,
            Err(error) => {
                // What the broker said before it hung up, its reason for instance, may still be
                // there to be read.
                self.life.peer_closed = true;
                let turn = self.read(now);
                self.hung_up(Some(error));
                turn
            }
        }
    }

    /// The next thing to report. To be called until there is none, after every other call.
    pub fn poll_event(&mut self) -> Option<LinkEvent<'_>> {
        self.bury();
        let life = &mut self.life;
        if life.notices.is_empty()
            && let Some(connection) = &mut self.connection
        {
            match connection.poll_event()? {
                Event::Open { server, tune } => {
                    life.opened();
                    let url = &life.settings.urls[life.url];
                    return Some(LinkEvent::Up {
                        url,
                        epoch: self.epoch,
                        server,
                        tune,
                    });
                }
                Event::Deliver(delivery) if life.hung_up => {
                    return Some(LinkEvent::Discarded(delivery.tag));
                }
                Event::Closed(reason) => {
                    self.over = true;
                    life.ended(reason);
                }
                event => return Some(LinkEvent::Amqp(event)),
            }
        }
        life.notices
            .pop_front()
            .map(|notice| notice.into_event(&life.settings.urls))
    }

    /// Every call that tells the time begins with this.
    fn enter(&mut self, now: Instant) {
        self.life.set_now(now);
        self.bury();
    }

    /// Lets go of a connection whose end was reported, after its last words: it may owe the broker
    /// a `close-ok`.
    fn bury(&mut self) {
        if !mem::take(&mut self.over) {
            return;
        }
        if let (Some(mut connection), Some(transport)) =
            (self.connection.take(), self.life.retired.take())
        {
            // If they cannot be said at once they stay unsaid.
            let _ = write_out(&transport, &mut connection, self.life.now());
        }
    }

    /// If the socket is connected now, the login begins.
    fn finish_dial(&mut self, now: Instant) {
        if self.life.dial_answered() {
            self.epoch += 1;
            let options = self.life.settings.options(self.life.url());
            self.connection = Some(Connection::new(options, self.epoch, now));
        }
    }

    /// Reads what has come, straight into the connection's buffer. Usually one call to the kernel:
    /// a read that leaves space has emptied the socket, unless the end of the stream is behind it.
    fn read(&mut self, now: Instant) -> Turn {
        let mut budget = BUDGET;
        while budget > 0 {
            let (Some(connection), Some(transport)) = (&mut self.connection, self.life.socket())
            else {
                return Turn::Wait;
            };
            let space = connection.recv_space();
            let room = space.len();
            match transport.read(space) {
                Ok(None) => return Turn::Wait,
                Ok(Some(0)) => {
                    self.hung_up(None);
                    return Turn::Wait;
                }
                Ok(Some(count)) => {
                    connection.handle_received(count, now);
                    if count < room && !self.life.peer_closed {
                        return Turn::Wait;
                    }
                    budget = budget.saturating_sub(count);
                }
                Err(error) => {
                    self.hung_up(Some(error));
                    return Turn::Wait;
                }
            }
        }
        Turn::Again
    }

    /// Nothing more comes from the socket. The connection says so after what had come before.
    fn hung_up(&mut self, error: Option<io::Error>) {
        if let Some(connection) = &mut self.connection
            && !mem::replace(&mut self.life.hung_up, true)
        {
            self.life.broken = error;
            connection.handle_eof();
        }
    }

    /// Ends at once, whatever is under way.
    fn drop_everything(&mut self) {
        self.connection = None;
        self.life.phase = Phase::Idle;
        self.life.notices.push_back(Notice::Closed);
    }
}

/// Leaves out the connection, whose buffers may hold a password.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("epoch", &self.epoch)
            .field("url", self.life.url())
            .field("phase", &self.life.phase)
            .finish_non_exhaustive()
    }
}

/// Writes what is queued until the kernel's buffer or the budget is full.
fn write_out(transport: &Transport, connection: &mut Connection, now: Instant) -> io::Result<Turn> {
    let mut budget = BUDGET;
    while budget > 0 {
        let bytes = connection.poll_transmit();
        if bytes.is_empty() {
            return Ok(Turn::Wait);
        }
        let Some(count) = transport.write(bytes)? else {
            return Ok(Turn::Wait);
        };
        connection.transmitted(count, now);
        budget = budget.saturating_sub(count);
    }
    Ok(Turn::Again)
}

impl Notice {
    /// As the owner sees it.
    fn into_event(self, urls: &[BrokerUrl]) -> LinkEvent<'_> {
        match self {
            Self::Connecting { url } => LinkEvent::Connecting { url: &urls[url] },
            Self::Lost {
                url,
                reason,
                permanent,
                was_up,
                retry,
            } => LinkEvent::Lost {
                url: &urls[url],
                reason,
                permanent,
                was_up,
                retry,
            },
            Self::GaveUp {
                url,
                reason,
                permanent,
                attempts,
            } => LinkEvent::GaveUp {
                url: &urls[url],
                reason,
                permanent,
                attempts,
            },
            Self::Closed => LinkEvent::Closed,
        }
    }
}
