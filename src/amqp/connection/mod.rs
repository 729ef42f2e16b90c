//! The client's side of a connection, as a machine without I/O and without a clock.
//!
//! A [`Connection`] has four kinds of functions:
//!
//! * **inputs** `handle_*`: octets that were received, the end of the socket, a deadline that came;
//! * **commands**: open a channel, call a method, publish, acknowledge. They append frames to the
//!   output and never wait;
//! * **outputs** `poll_*`: events, octets to send, the next deadline;
//! * questions: [`state`](Connection::state), [`negotiated`](Connection::negotiated) and the like.
//!
//! After any input, drain [`poll_event`](Connection::poll_event), send what
//! [`poll_transmit`](Connection::poll_transmit) has, and arm a timer for
//! [`poll_timeout`](Connection::poll_timeout).
//!
//! ```text
//!  recv_space   +-------------+  poll_event
//! ------------> | InBuf       | ------------> Event, borrows from InBuf
//! handle_*      |   Core      |
//!  commands     |     OutBuf  |  poll_transmit
//! ------------> +-------------+ ------------> octets
//! ```
//!
//! Invariants: an event borrows from the receive buffer until the next call, and is not copied; a
//! message is reported when all of it is there; nothing is reported for a channel after it was closed;
//! [`Event::Closed`] comes exactly once and last; a delivery tag of an earlier connection or channel
//! acknowledges nothing.
//!
//! What it does not do: it does not reconnect, limit its output (see
//! [`pending_output`](Connection::pending_output)), or know what messages mean.

mod channels;
mod command;
mod content;
mod error;
mod event;
mod handshake;
mod heartbeat;
mod options;
mod receive;

use std::fmt;
use std::time::Instant;

use self::channels::Channels;
use self::content::Assembly;
pub use self::error::{CommandError, ConnectionError, MessageError};
pub use self::event::{CloseReason, Delivery, DeliveryTag, Event, Malformed, Returned};
use self::heartbeat::Heartbeat;
pub use self::options::Options;
use self::receive::Step;
use super::frame;
use super::method::Method;
use super::method::connection::Close;
pub use super::method::connection::Tune;
use super::table::{Table, TableBuf};
use super::wire::ShortStr;
use crate::util::buffer::{InBuf, OutBuf};

/// The least room that is offered for one read, in octets.
const READ_SIZE: usize = 16 * 1024;

/// How far a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The protocol header is out; the server has not spoken.
    Starting,
    /// The credentials are out.
    Authenticating,
    /// The virtual host is asked for.
    Opening,
    /// Everything works.
    Open,
    /// We asked to close.
    Closing,
    /// Nothing more will happen.
    Closed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Authenticating => "logging in",
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        })
    }
}

/// A client's connection; see the [module page](self).
///
/// ```
/// use std::time::Instant;
/// use celeriac::amqp::connection::{Connection, Options, State};
///
/// # #[allow(clippy::disallowed_methods)]
/// let now = Instant::now();
/// let mut connection = Connection::new(Options::default(), 1, now);
/// assert_eq!(connection.poll_transmit(), b"AMQP\x00\x00\x09\x01");
/// connection.transmitted(8, now);
/// assert!(connection.poll_event().is_none());
/// assert_eq!(connection.state(), State::Starting);
/// ```
pub struct Connection {
    input: InBuf,
    /// Octets at the start of `input` that are dealt with. The last event may borrow from them.
    read: usize,
    /// The message that the last event borrows from, if it came in pieces.
    assembled: Option<Box<Assembly>>,
    core: Core,
}

/// Everything but the receive buffer, so that it can change while an event borrows from that.
struct Core {
    options: Options,
    epoch: u32,
    state: State,
    /// Why it ended, until that is reported.
    ended: Option<CloseReason>,
    /// The socket will bring nothing more.
    eof: bool,
    /// When the handshake, or the close, must be over.
    deadline: Option<Instant>,
    heartbeat: Heartbeat,
    /// As negotiated; before that, what is taken from the server during the handshake.
    tune: Tune,
    server_properties: TableBuf,
    channels: Channels,
    /// How many update-secret are not answered.
    secrets_pending: usize,
    out: OutBuf,
}

/// Inputs.
impl Connection {
    /// Begins a connection over a socket that is new. The `epoch` is the owner's number for it; it
    /// tells this connection's delivery tags from those of others.
    pub fn new(options: Options, epoch: u32, now: Instant) -> Self {
        let mut core = Core {
            deadline: Some(now + options.handshake_timeout),
            options,
            epoch,
            state: State::Starting,
            ended: None,
            eof: false,
            heartbeat: Heartbeat::new(now),
            tune: Tune {
                channel_max: 0,
                frame_max: handshake::DEFAULT_FRAME_MAX,
                heartbeat: 0,
            },
            server_properties: TableBuf::new(),
            channels: Channels::default(),
            secrets_pending: 0,
            out: OutBuf::new(),
        };
        core.greet();
        Self {
            input: InBuf::new(),
            read: 0,
            assembled: None,
            core,
        }
    }

    /// Room for octets from the socket; say with [`handle_received`](Self::handle_received) how many
    /// came.
    pub fn recv_space(&mut self) -> &mut [u8] {
        self.release();
        self.input.space(READ_SIZE)
    }

    /// The first `count` octets of [`recv_space`](Self::recv_space) were received.
    ///
    /// # Panics
    /// When there was not that much room.
    pub fn handle_received(&mut self, count: usize, now: Instant) {
        self.input.filled(count);
        if count > 0 {
            self.core.heartbeat.received(now);
        }
    }

    /// These octets were received. Copies them: for tests, and for owners whose octets come from
    /// elsewhere.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.release();
        self.input.space(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.handle_received(bytes.len(), now);
    }

    /// The socket ended, orderly or not. What was received before still counts, then comes
    /// [`Event::Closed`].
    pub fn handle_eof(&mut self) {
        self.core.eof = true;
    }

    /// The deadline of [`poll_timeout`](Self::poll_timeout) may have come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let core = &mut self.core;
        if core.state == State::Closed {
            return;
        }
        if core.deadline.is_some_and(|deadline| deadline <= now) {
            core.end(CloseReason::TimedOut { during: core.state });
        } else if let Some(silence) = core.heartbeat.silence(now) {
            core.end(CloseReason::HeartbeatLost { silence });
        } else if core.heartbeat.is_send_due(now) {
            // What waits to be sent will be a sign of life itself.
            if core.out.is_empty() {
                frame::put_heartbeat(core.out.writer());
            }
            core.heartbeat.sent(now);
        }
    }
}

/// Outputs.
impl Connection {
    /// What happened next. Call it until it has nothing more.
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        self.release();
        let data = self.input.data();
        while self.core.state != State::Closed {
            match self.core.step(data.get(self.read..).unwrap_or_default()) {
                Ok(Step::Wait) => {
                    if self.core.eof {
                        self.core.end(CloseReason::Dropped {
                            during: self.core.state,
                        });
                    }
                    break;
                }
                Ok(Step::Quiet { size }) => self.read += size,
                Ok(Step::Tell { size, event }) => {
                    self.read += size;
                    return Some(event);
                }
                Ok(Step::Opened { size }) => {
                    self.read += size;
                    let server = self.core.server_properties.as_table();
                    return Some(Event::Open {
                        server,
                        tune: self.core.tune,
                    });
                }
                Ok(Step::Assembled {
                    size,
                    origin,
                    message,
                }) => {
                    self.read += size;
                    return self.assembled.insert(message).event(origin);
                }
                Err(error) => self.core.fail(error),
            }
        }
        self.core.ended.take().map(Event::Closed)
    }

    /// What is to be sent. Also after the end: the server may still wait for a close or close-ok.
    pub fn poll_transmit(&self) -> &[u8] {
        self.core.out.data()
    }

    /// The first `count` octets of [`poll_transmit`](Self::poll_transmit) were sent.
    ///
    /// # Panics
    /// When there were not that many.
    pub fn transmitted(&mut self, count: usize, now: Instant) {
        self.core.out.sent(count);
        if count > 0 {
            self.core.heartbeat.sent(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.core.state == State::Closed {
            return None;
        }
        self.core
            .deadline
            .into_iter()
            .chain(self.core.heartbeat.deadline())
            .min()
    }
}

/// Questions.
impl Connection {
    /// How far it is.
    pub const fn state(&self) -> State {
        self.core.state
    }

    /// The owner's number for this connection.
    pub const fn epoch(&self) -> u32 {
        self.core.epoch
    }

    /// The limits that both sides keep, once it is open.
    pub const fn negotiated(&self) -> Tune {
        self.core.tune
    }

    /// What the server says of itself; empty before it spoke.
    pub fn server_properties(&self) -> Table<'_> {
        self.core.server_properties.as_table()
    }

    /// How many octets wait to be sent. An owner that publishes more than the server reads sees this
    /// grow, and stops.
    pub fn pending_output(&self) -> usize {
        self.core.out.len()
    }

    /// Forgets what the last event borrowed, and after the end everything.
    fn release(&mut self) {
        self.assembled = None;
        let done = match self.core.state {
            State::Closed => self.input.len(),
            _ => self.read,
        };
        self.read = 0;
        self.input.consume(done);
    }
}

/// Leaves out the buffers: credentials pass through them.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("epoch", &self.core.epoch)
            .field("state", &self.core.state)
            .field("options", &self.core.options)
            .field("tune", &self.core.tune)
            .field("pending_output", &self.core.out.len())
            .finish_non_exhaustive()
    }
}

impl Core {
    /// Appends a method that always fits.
    fn send<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        let sent = frame::put_method(self.out.writer(), channel, &method.into(), 0);
        debug_assert!(sent.is_ok(), "{sent:?}");
    }

    /// Nothing more will happen but the report of it.
    fn end(&mut self, reason: CloseReason) {
        self.state = State::Closed;
        self.ended = Some(reason);
    }

    /// The server broke the protocol. It is told so if it can understand that.
    fn fail(&mut self, error: ConnectionError) {
        if matches!(self.state, State::Opening | State::Open) {
            let text = error.to_string();
            let reply_code = error.reply_code().number();
            let reply_text = ShortStr::from(&text).cut();
            self.send(
                0,
                Close {
                    reply_code,
                    reply_text,
                    ..Close::default()
                },
            );
        }
        self.end(CloseReason::Protocol(error));
    }
}
