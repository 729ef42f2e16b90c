//! The owner of a link: an edge-triggered poll, as the worker's loop is one, and a clock that goes
//! only when told to.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use celeriac::amqp::connection::Event;
use celeriac::link::{BrokerUrl, Link, LinkEvent, Retry, Settings, Turn};
use celeriac::sys::clock;
use celeriac::sys::fd::SharedFd;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::broker::Broker;

/// What a condition may take in real time before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The link's token; brokers have those after it.
const LINK: Token = Token(0);

/// What a link reported, without borrowing from it.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Connecting(String),
    Up(u32),
    ChannelOpen,
    /// A message of this many octets.
    Message(usize),
    Discarded(u64),
    Other(String),
    Lost {
        reason: String,
        permanent: bool,
        was_up: bool,
        retry: Retry,
    },
    GaveUp {
        reason: String,
        attempts: u32,
    },
    Closed,
}

pub(crate) struct Driver {
    poll: Poll,
    events: Events,
    pub(crate) link: Link,
    pub(crate) now: Instant,
    pub(crate) seen: Vec<Seen>,
    pub(crate) brokers: Vec<Broker>,
    registered: Option<(SharedFd, u64)>,
    again: bool,
}

/// `amqp://` URLs of these addresses.
pub(crate) fn urls(addresses: &[SocketAddr]) -> Vec<BrokerUrl> {
    let url = |address| {
        format!("amqp://bob:secret@{address}/v")
            .parse()
            .expect("a URL")
    };
    addresses.iter().map(url).collect()
}

impl Driver {
    /// A link to brokers that listen.
    pub(crate) fn with_brokers(count: usize) -> Self {
        let mut driver = Self::new(Settings::new(Vec::new(), "test"));
        for _ in 0..count {
            driver.listen(SocketAddr::from(([127, 0, 0, 1], 0)));
        }
        let addresses: Vec<SocketAddr> = driver.brokers.iter().map(Broker::address).collect();
        driver.link = Link::new(Settings::new(urls(&addresses), "test"), 1, driver.now);
        driver
    }

    pub(crate) fn new(settings: Settings) -> Self {
        let now = clock::now();
        Self {
            poll: Poll::new().expect("a poll"),
            events: Events::with_capacity(16),
            link: Link::new(settings, 1, now),
            now,
            seen: Vec::new(),
            brokers: Vec::new(),
            registered: None,
            again: false,
        }
    }

    /// One more broker.
    pub(crate) fn listen(&mut self, address: SocketAddr) -> &mut Broker {
        let token = 1 + 2 * self.brokers.len();
        self.brokers
            .push(Broker::listen(address, &self.poll, token));
        self.brokers.last_mut().expect("just pushed")
    }

    /// Connects, and forgets what was seen on the way.
    #[track_caller]
    pub(crate) fn come_up(&mut self) {
        self.link.connect(self.now);
        self.run_until(|driver| driver.link.is_up());
        self.seen.clear();
    }

    /// Lets everybody work until the condition holds.
    #[track_caller]
    pub(crate) fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let give_up = clock::now() + PATIENCE;
        while !done(self) {
            assert!(
                clock::now() < give_up,
                "no progress; seen so far: {:#?}",
                self.seen
            );
            self.turn(give_up);
        }
    }

    /// Lets everybody work until the link has reported something that passes.
    #[track_caller]
    pub(crate) fn run_until_seen(&mut self, passes: impl Fn(&Seen) -> bool) {
        self.run_until(|driver| driver.seen.iter().any(&passes));
    }

    /// Moves the clock to the link's deadline.
    #[track_caller]
    pub(crate) fn expire(&mut self) -> Duration {
        let deadline = self.link.deadline().expect("a deadline");
        let passed = deadline.saturating_duration_since(self.now);
        self.now = self.now.max(deadline);
        self.link.handle_deadline(self.now);
        self.collect();
        passed
    }

    /// One turn of the loop; waits for a descriptor when nobody has anything to do.
    fn turn(&mut self, give_up: Instant) {
        let busy = self
            .brokers
            .iter_mut()
            .fold(false, |busy, broker| broker.work(&self.poll) | busy);
        if self
            .link
            .deadline()
            .is_some_and(|deadline| deadline <= self.now)
        {
            self.link.handle_deadline(self.now);
            self.collect();
        }
        let unfinished = self.link.flush(self.now) == Turn::Again;
        self.collect();
        self.register();
        let due = self
            .link
            .deadline()
            .is_some_and(|deadline| deadline <= self.now);
        let wait = match busy || unfinished || due || self.again {
            true => Duration::ZERO,
            false => give_up.saturating_duration_since(clock::now()),
        };
        self.poll
            .poll(&mut self.events, Some(wait))
            .expect("polled");
        let event = self.events.iter().find(|event| event.token() == LINK);
        let closed = event.is_some_and(|event| event.is_read_closed() || event.is_error());
        if event.is_some() || self.again {
            self.ready(closed);
        }
    }

    /// Lets a broker write all it has and then hang up, before the link looks.
    pub(crate) fn finish_broker(&mut self, index: usize) {
        while self.brokers[index].work(&self.poll) {}
        self.brokers[index].drop_client();
    }

    /// Tells the link that its descriptor is ready.
    fn ready(&mut self, closed: bool) {
        self.again = self.link.handle_ready(closed, self.now) == Turn::Again;
        self.collect();
        self.register();
    }

    fn register(&mut self) {
        let wanted = self.link.registration();
        let id = |registration: &Option<(SharedFd, u64)>| registration.as_ref().map(|(_, id)| *id);
        if id(&wanted) == id(&self.registered) {
            return;
        }
        if let Some((old, _)) = self.registered.take() {
            let fd = old.as_fd().as_raw_fd();
            self.poll
                .registry()
                .deregister(&mut SourceFd(&fd))
                .expect("deregistered");
        }
        if let Some((new, _)) = &wanted {
            let fd = new.as_fd().as_raw_fd();
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut SourceFd(&fd), LINK, interest)
                .expect("registered");
        }
        self.registered = wanted;
    }

    pub(crate) fn collect(&mut self) {
        while let Some(event) = self.link.poll_event() {
            self.seen.push(match event {
                LinkEvent::Connecting { url } => Seen::Connecting(url.to_string()),
                LinkEvent::Up { epoch, .. } => Seen::Up(epoch),
                LinkEvent::Amqp(Event::ChannelOpen { .. }) => Seen::ChannelOpen,
                LinkEvent::Amqp(Event::Deliver(delivery)) => Seen::Message(delivery.body.len()),
                LinkEvent::Discarded(tag) => Seen::Discarded(tag.number),
                LinkEvent::Lost {
                    reason,
                    permanent,
                    was_up,
                    retry,
                    ..
                } => Seen::Lost {
                    reason: reason.to_string(),
                    permanent,
                    was_up,
                    retry,
                },
                LinkEvent::GaveUp {
                    reason, attempts, ..
                } => Seen::GaveUp {
                    reason: reason.to_string(),
                    attempts,
                },
                LinkEvent::Closed => Seen::Closed,
                other => Seen::Other(format!("{other:?}")),
            });
        }
    }
}
