//! Everything about a link but its connection: phases, retries, what there is to report.
//!
//! Apart from the connection, so that it can change while an event borrows from there.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use std::vec;

use crate::amqp::connection::{CloseReason, ConnectionError};
use crate::sys::fd::SharedFd;

use super::loss::{Loss, Stage};
use super::remedy::{Level, Remedy};
use super::resolve::{Progress, Resolver};
use super::retry::{Failure, Retry, SETTLED, Schedule};
use super::settings::Settings;
use super::transport::Transport;
use super::url::BrokerUrl;

/// How long one address of several may take to accept; the last has the whole connect timeout.
const OTHERS_WAIT: Duration = Duration::from_secs(1);

pub(super) struct Life {
    pub(super) settings: Settings,
    pub(super) phase: Phase,
    /// What the link itself has to report, oldest first.
    pub(super) notices: VecDeque<Notice>,
    /// Counts what the owner has to register.
    pub(super) registration: u64,
    /// The index of the URL in use, or to try next. There is at least one.
    pub(super) url: usize,
    /// The owner was told that the peer sends no more, so a short read does not prove the socket
    /// empty.
    pub(super) peer_closed: bool,
    /// Nothing more comes from the socket, and the connection knows.
    pub(super) hung_up: bool,
    /// How the socket failed; the connection then reports that it was dropped.
    pub(super) broken: Option<io::Error>,
    /// The socket of a connection that has ended, for its last words.
    pub(super) retired: Option<Transport>,
    schedule: Schedule,
    resolver: Resolver,
    /// The time of the latest call that told it.
    now: Instant,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing to do until the owner says so.
    Idle,
    /// Between two tries.
    Pause { until: Instant },
    /// A name is being looked up.
    Lookup { done: SharedFd, until: Instant },
    /// An address was asked; the rest are for when it does not answer.
    Dial(Dial),
    /// Logging in. The connection keeps the time.
    Handshake { transport: Transport },
    /// In use.
    Up {
        transport: Transport,
        since: Instant,
    },
    /// Our close is on its way.
    Closing {
        transport: Transport,
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Dial {
    pub(super) transport: Transport,
    pub(super) until: Instant,
    address: SocketAddr,
    rest: vec::IntoIter<SocketAddr>,
}

pub(super) enum Notice {
    Connecting {
        url: usize,
    },
    Lost {
        url: usize,
        reason: Loss,
        permanent: bool,
        was_up: bool,
        retry: Retry,
    },
    GaveUp {
        url: usize,
        reason: Loss,
        permanent: bool,
        attempts: u32,
    },
    Closed,
}

impl Phase {
    /// The socket under the protocol, once it is connected.
    pub(super) fn transport(&self) -> Option<&Transport> {
        match self {
            Self::Idle | Self::Pause { .. } | Self::Lookup { .. } | Self::Dial(_) => None,
            Self::Handshake { transport }
            | Self::Up { transport, .. }
            | Self::Closing { transport, .. } => Some(transport),
        }
    }

    /// The descriptor to wait on.
    pub(super) fn fd(&self) -> Option<&SharedFd> {
        match self {
            Self::Lookup { done, .. } => Some(done),
            Self::Dial(dial) => Some(dial.transport.fd()),
            _ => self.transport().map(Transport::fd),
        }
    }

    /// When this phase is over if nothing else ends it.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Self::Idle | Self::Handshake { .. } | Self::Up { .. } => None,
            Self::Dial(dial) => Some(dial.until),
            Self::Pause { until } | Self::Lookup { until, .. } | Self::Closing { until, .. } => {
                Some(*until)
            }
        }
    }
}

impl Life {
    pub(super) fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        Self {
            schedule: Schedule::new(settings.retry.clone(), settings.urls.len(), seed),
            settings,
            phase: Phase::Idle,
            notices: VecDeque::new(),
            registration: 0,
            url: 0,
            peer_closed: false,
            hung_up: false,
            broken: None,
            retired: None,
            resolver: Resolver::default(),
            now,
        }
    }

    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// The URL in use, or to try next.
    pub(super) fn url(&self) -> &BrokerUrl {
        &self.settings.urls[self.url]
    }

    /// The socket under the protocol while it works.
    pub(super) fn socket(&self) -> Option<&Transport> {
        if self.hung_up {
            None
        } else {
            self.phase.transport()
        }
    }

    /// Forgets what failed before.
    pub(super) fn start_over(&mut self) {
        self.schedule.restart();
        self.attempt();
    }

    /// Tries the current URL.
    pub(super) fn attempt(&mut self) {
        self.notices.push_back(Notice::Connecting { url: self.url });
        let until = self.now + self.connect_timeout();
        self.registration += 1;
        self.look_up(until);
    }

    /// Asks for the addresses of the current URL's host, or whether they have come.
    pub(super) fn look_up(&mut self, until: Instant) {
        let url = &self.settings.urls[self.url];
        match self.resolver.resolve(url.host(), url.port()) {
            Progress::Pending(done) => self.phase = Phase::Lookup { done, until },
            Progress::Ready(Ok(addresses)) => self.dial(addresses.into_iter(), None),
            Progress::Ready(Err(error)) => self.lost(Loss::Lookup(error)),
        }
    }

    /// The host's name was not found in time. Its lookup goes on, and is joined by the next try.
    pub(super) fn lookup_timed_out(&mut self) {
        self.lost(Loss::TimedOut(Stage::Lookup));
    }

    /// Asks the first of these addresses that lets itself be asked. `failure` is the one before
    /// them.
    fn dial(&mut self, mut rest: vec::IntoIter<SocketAddr>, mut failure: Option<Loss>) {
        while let Some(address) = rest.next() {
            match Transport::dial(address) {
                Ok(transport) => {
                    let patience = self.connect_timeout();
                    let until = self.now + share(patience, rest.len());
                    self.phase = Phase::Dial(Dial {
                        transport,
                        until,
                        address,
                        rest,
                    });
                    self.registration += 1;
                    self.peer_closed = false;
                    self.hung_up = false;
                    return;
                }
                Err(error) => failure = Some(Loss::Connect(address, error)),
            }
        }
        // A lookup never answers with no address at all.
        self.lost(failure.unwrap_or(Loss::TimedOut(Stage::Lookup)));
    }

    /// The address asked last answered, or did not answer in time. Says whether it is connected
    /// now.
    pub(super) fn dial_answered(&mut self) -> bool {
        let Phase::Dial(dial) = mem::replace(&mut self.phase, Phase::Idle) else {
            return false;
        };
        match dial.transport.is_connected() {
            Ok(true) => {
                self.phase = Phase::Handshake {
                    transport: dial.transport,
                };
                return true;
            }
            Ok(false) if dial.until > self.now => self.phase = Phase::Dial(dial),
            Ok(false) => self.dial(dial.rest, Some(Loss::TimedOut(Stage::Connect))),
            Err(error) => self.dial(dial.rest, Some(Loss::Connect(dial.address, error))),
        }
        false
    }

    /// The login is done.
    pub(super) fn opened(&mut self) {
        self.phase = match mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Handshake { transport } => Phase::Up {
                transport,
                since: self.now,
            },
            other => other,
        };
    }

    /// The connection has reported its end.
    pub(super) fn ended(&mut self, reason: CloseReason) {
        let reason = match (reason, self.broken.take()) {
            (CloseReason::Dropped { .. }, Some(error)) => Loss::Broken(error),
            (reason, _) => Loss::Closed(reason),
        };
        self.lost(reason);
    }

    /// There is no connection: decides when to try again.
    fn lost(&mut self, reason: Loss) {
        let was_up = matches!(self.phase, Phase::Up { .. });
        let permanent = !was_up && is_permanent(&reason);
        let failure = match mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Closing { transport, .. } => {
                self.retired = Some(transport);
                return self.notices.push_back(Notice::Closed);
            }
            Phase::Up { transport, since } => {
                self.retired = Some(transport);
                match self.now.saturating_duration_since(since) >= SETTLED {
                    true => Failure::Settled,
                    false => Failure::Unsettled,
                }
            }
            Phase::Handshake { transport } => {
                self.retired = Some(transport);
                if permanent {
                    Failure::Permanent
                } else {
                    Failure::Attempt
                }
            }
            _ => Failure::Attempt,
        };
        let url = self.url;
        self.url = self.schedule.after(url, failure, stays(&reason));
        self.notices.push_back(match self.schedule.next(failure) {
            Some((retry, pause)) => {
                self.phase = Phase::Pause {
                    until: self.now + pause,
                };
                Notice::Lost {
                    url,
                    reason,
                    permanent,
                    was_up,
                    retry,
                }
            }
            None => {
                let attempts = self.schedule.attempts();
                Notice::GaveUp {
                    url,
                    reason,
                    permanent,
                    attempts,
                }
            }
        });
    }

    fn connect_timeout(&self) -> Duration {
        self.url()
            .connect_timeout()
            .unwrap_or(self.settings.connect_timeout)
    }
}

/// How long an address may take while so many others wait for their turn: a name with a dead IPv6 address in front
/// costs little more than one without.
fn share(timeout: Duration, others: usize) -> Duration {
    match others {
        0 => timeout,
        _ => timeout.min(OTHERS_WAIT),
    }
}

/// Whether the broker that ended a working connection like this is the one to ask again.
fn stays(reason: &Loss) -> bool {
    matches!(reason, Loss::Closed(CloseReason::Server { code, .. })
        if Remedy::of(Level::Connection, *code) == Remedy::RetryConnection)
}

/// Whether a login that ended like this will end like this again: credentials, virtual host or
/// versions must change.
fn is_permanent(reason: &Loss) -> bool {
    match reason {
        Loss::Closed(CloseReason::Server { code, .. }) => {
            Remedy::of(Level::Connection, *code) == Remedy::WrongConfiguration
        }
        Loss::Closed(CloseReason::Protocol(error)) => matches!(
            error,
            ConnectionError::VersionRefused { .. }
                | ConnectionError::NoMechanism { .. }
                | ConnectionError::FrameMaxTooSmall(_)
                | ConnectionError::Encode(_)
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::sys::clock;

    fn life() -> Life {
        let settings = Settings::new(vec![BrokerUrl::default()], "test");
        Life::new(settings, 1, clock::now())
    }

    /// An address where somebody listens, or nobody does any more.
    fn address(ip: &str) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((ip, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    /// T22: a name has three addresses, and a broker is behind the last: it is found without a word about the others.
    #[test]
    fn t22_every_address_of_a_name_is_tried() {
        let (_, gone) = address("127.0.0.1");
        let (_, other) = address("127.0.0.2");
        let (listener, live) = address("127.0.0.1");
        let mut life = life();
        life.dial(vec![gone, other, live].into_iter(), None);
        let deadline = clock::now() + Duration::from_secs(10);
        while !life.dial_answered() {
            assert!(clock::now() < deadline && life.notices.is_empty());
        }
        listener.accept().expect("a connection");
    }

    /// T22: a try that comes to nothing is one line in the log, however many addresses there were.
    #[test]
    fn t22_a_name_without_a_broker_is_one_failure() {
        let (_, gone) = address("127.0.0.1");
        let (_, other) = address("127.0.0.2");
        let mut life = life();
        life.dial(vec![gone, other].into_iter(), None);
        let deadline = clock::now() + Duration::from_secs(10);
        while life.notices.is_empty() {
            assert!(clock::now() < deadline && !life.dial_answered());
        }
        assert_eq!(life.notices.len(), 1);
        assert!(matches!(life.phase, Phase::Pause { .. }));
    }

    #[test]
    fn t22_an_address_has_a_second_while_others_wait() {
        let seconds = Duration::from_secs;
        assert_eq!(share(seconds(4), 0), seconds(4));
        assert_eq!(share(seconds(4), 3), seconds(1));
        assert_eq!(
            share(Duration::from_millis(300), 3),
            Duration::from_millis(300)
        );
    }
}
