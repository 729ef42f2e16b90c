//! The blocking client of the commands: one socket, one channel, one deadline.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::amqp::connection::{CloseReason, CommandError, Delivery};
use crate::amqp::method::{basic, confirm, exchange, queue};
use crate::amqp::sasl::Mechanism;
use crate::amqp::table::{Table, TableBuf};
use crate::amqp::{Connection, Event, Method, Properties};
use crate::link::{BrokerUrl, UrlError};
use crate::message::channels::OwnQueue;
use crate::sys::clock;
use crate::sys::wait::Waiter;

/// How long a connection attempt may take when the URL says nothing, as Celery's `broker_connection_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the broker may take to answer a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a broker with one channel in confirm mode.
pub(crate) struct Client {
    socket: Waiter<TcpStream>,
    connection: Connection,
    channel: u16,
    /// Messages that came while something else was waited for: a result may be faster than the confirm of its task.
    inbox: VecDeque<Message>,
}

/// A message that came.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its body.
    pub(crate) body: Vec<u8>,
    /// Its headers.
    pub(crate) headers: TableBuf,
}

impl Message {
    fn new(delivery: &Delivery<'_>) -> Self {
        Self {
            body: delivery.body.to_vec(),
            headers: delivery.properties.headers.unwrap_or_default().into(),
        }
    }
}

/// Why the broker could not do its part.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// This is no URL of a broker.
    Url(UrlError),
    /// No broker could be reached; this is the last URL, without its password, and why not there.
    Unreachable(String, io::Error),
    /// The socket failed.
    Socket(io::Error),
    /// The connection ended.
    Closed(CloseReason),
    /// The broker refused a request.
    Refused {
        /// Its code.
        code: u16,
        /// Its words.
        text: String,
    },
    /// The broker could not take charge of the message.
    NotTaken,
    /// A request that cannot be put on the wire.
    Command(CommandError),
    /// A message that cannot be put on the wire.
    Unsendable(String),
    /// The deadline passed.
    TimedOut,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => write!(f, "broker: {error}"),
            Self::Unreachable(url, error) => write!(f, "{url}: {error}"),
            Self::Socket(error) => error.fmt(f),
            Self::Closed(reason) => reason.fmt(f),
            Self::Refused { code, text } => write!(f, "{code} {text}"),
            Self::NotTaken => f.write_str("the broker could not take the message"),
            Self::Command(error) => error.fmt(f),
            Self::Unsendable(reason) => f.write_str(reason),
            Self::TimedOut => f.write_str("timed out"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<CommandError> for ClientError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl From<UrlError> for ClientError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl Client {
    /// Connects to the first of `urls` that answers.
    ///
    /// # Errors
    /// The last address's error when none does, or the broker's reason to refuse us.
    pub(crate) fn connect(urls: &[BrokerUrl]) -> Result<Self, ClientError> {
        let mut last = None;
        for url in urls {
            match reach(url) {
                Ok(socket) => return Self::open(socket, url),
                Err(error) => last = Some(ClientError::Unreachable(url.to_string(), error)),
            }
        }
        Err(last.unwrap_or(ClientError::TimedOut)) // there is always a URL
    }

    fn open(socket: TcpStream, url: &BrokerUrl) -> Result<Self, ClientError> {
        let mut options = url.options(Duration::ZERO, Mechanism::Plain);
        options.connection_name = Some("celeriac call".to_owned());
        let socket = Waiter::new(socket).map_err(ClientError::Socket)?;
        let connection = Connection::new(options, 0, clock::now());
        let mut client = Self {
            socket,
            connection,
            channel: 0,
            inbox: VecDeque::new(),
        };
        client.answer(|event| matches!(event, Event::Open { .. }).then_some(()))?;
        client.channel = client.connection.open_channel()?;
        client.answer(|event| matches!(event, Event::ChannelOpen { .. }).then_some(()))?;
        client.request(confirm::Select { nowait: false })?;
        Ok(client)
    }

    /// Declares a task queue as Celery's publishers do: a direct exchange of its name, the queue, the binding.
    pub(crate) fn declare_task_queue(&mut self, name: &str) -> Result<(), ClientError> {
        self.request(exchange::Declare {
            exchange: name.into(),
            kind: "direct".into(),
            passive: false,
            durable: true,
            auto_delete: false,
            internal: false,
            nowait: false,
            arguments: Table::default(),
        })?;
        self.declare_queue(name, false, &TableBuf::new())?;
        self.request(queue::Bind {
            queue: name.into(),
            exchange: name.into(),
            routing_key: name.into(),
            nowait: false,
            arguments: Table::default(),
        })
    }

    /// Declares a reply queue as the rpc backend does, and consumes from it.
    pub(crate) fn consume_replies(&mut self, name: &str) -> Result<(), ClientError> {
        /// Milliseconds after which the broker drops a queue nobody consumes from: Celery's `result_expires`.
        const EXPIRES: i64 = 86_400_000;
        let mut arguments = TableBuf::new();
        arguments
            .insert("x-expires", EXPIRES)
            .map_err(CommandError::from)?;
        self.declare_queue(name, true, &arguments)?;
        self.request(basic::Consume {
            queue: name.into(),
            consumer_tag: "".into(),
            no_local: false,
            no_ack: true,
            exclusive: false,
            nowait: false,
            arguments: Table::default(),
        })
    }

    fn declare_queue(
        &mut self,
        name: &str,
        auto_delete: bool,
        arguments: &TableBuf,
    ) -> Result<(), ClientError> {
        self.request(queue::Declare {
            queue: name.into(),
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete,
            nowait: false,
            arguments: arguments.as_table(),
        })
    }

    /// Publishes to a queue through the default exchange and waits until the broker has taken charge.
    pub(crate) fn publish(
        &mut self,
        queue: &str,
        properties: &Properties<'_>,
        body: &[u8],
    ) -> Result<(), ClientError> {
        self.publish_to("", queue, properties, body)
    }

    /// Publishes to an exchange and waits until the broker has taken charge.
    pub(crate) fn publish_to(
        &mut self,
        exchange: &str,
        routing_key: &str,
        properties: &Properties<'_>,
        body: &[u8],
    ) -> Result<(), ClientError> {
        let sent = self.connection.publish(
            self.channel,
            exchange,
            routing_key,
            false,
            properties,
            body,
        )?;
        let taken = self.answer(|event| match event {
            Event::Confirm {
                number,
                multiple,
                acked,
                ..
            } => sent
                .filter(|sent| sent == number || (*multiple && sent < number))
                .map(|_| *acked),
            _ => None,
        })?;
        if taken {
            Ok(())
        } else {
            Err(ClientError::NotTaken)
        }
    }

    /// Waits for a message that `wanted` takes.
    pub(crate) fn receive<T>(
        &mut self,
        deadline: Option<Instant>,
        wanted: impl Fn(&Message) -> Option<T>,
    ) -> Result<T, ClientError> {
        loop {
            while let Some(message) = self.inbox.pop_front() {
                if let Some(found) = wanted(&message) {
                    return Ok(found);
                }
            }
            let message = self.wait(deadline, |event| match event {
                Event::Deliver(delivery) => Some(Message::new(delivery)),
                _ => None,
            })?;
            self.inbox.push_back(message);
        }
    }

    /// Declares an exchange of its kind.
    pub(crate) fn declare_exchange(
        &mut self,
        name: &str,
        kind: &str,
        durable: bool,
    ) -> Result<(), ClientError> {
        self.request(exchange::Declare {
            exchange: name.into(),
            kind: kind.into(),
            durable,
            ..exchange::Declare::default()
        })
    }

    /// Consumes from a queue that is ours alone and goes with us.
    pub(crate) fn consume_own(
        &mut self,
        queue: &str,
        exchange: &str,
        routing_key: &str,
        flags: &OwnQueue,
    ) -> Result<(), ClientError> {
        let arguments = flags.arguments();
        self.request(queue::Declare {
            queue: queue.into(),
            durable: flags.durable,
            exclusive: flags.exclusive,
            auto_delete: !flags.durable,
            arguments: arguments.as_table(),
            ..queue::Declare::default()
        })?;
        self.request(queue::Bind {
            queue: queue.into(),
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            ..queue::Bind::default()
        })?;
        self.request(basic::Consume {
            queue: queue.into(),
            no_ack: true,
            ..basic::Consume::default()
        })
    }

    /// Removes all messages that wait in a queue; how many there were. There are none in a queue that is not there.
    pub(crate) fn purge(&mut self, queue: &str) -> Result<u32, ClientError> {
        const NOT_FOUND: u16 = 404;
        let purge = queue::Purge {
            queue: queue.into(),
            nowait: false,
        };
        self.connection.call(self.channel, purge)?;
        let purged = self.answer(|event| match event {
            Event::Reply {
                method: Method::QueuePurgeOk(purged),
                ..
            } => Some(purged.message_count),
            _ => None,
        });
        match purged {
            Err(ClientError::Refused { code, .. }) if code == NOT_FOUND => {
                self.channel = self.connection.open_channel()?; // the broker has closed the other
                self.answer(|event| matches!(event, Event::ChannelOpen { .. }).then_some(()))?;
                Ok(0)
            }
            purged => purged,
        }
    }

    /// Takes the next message of a queue without waiting for one, and acknowledges it.
    pub(crate) fn fetch(&mut self, queue: &str) -> Result<Option<Vec<u8>>, ClientError> {
        self.connection.call(
            self.channel,
            basic::Get {
                queue: queue.into(),
                no_ack: true,
            },
        )?;
        self.answer(|event| match event {
            Event::GetOk { delivery, .. } => Some(Some(delivery.body.to_vec())),
            Event::GetEmpty { .. } => Some(None),
            _ => None,
        })
    }

    /// Says goodbye, so that the broker need not note a lost connection. Nobody cares whether it is heard.
    pub(crate) fn close(mut self) {
        self.connection.close(200, "", clock::now());
        let _ = self.answer(|_| None::<()>);
    }

    /// Calls a method and waits for its answer.
    fn request<'m>(&mut self, method: impl Into<Method<'m>>) -> Result<(), ClientError> {
        self.connection.call(self.channel, method)?;
        self.answer(|event| matches!(event, Event::Reply { .. }).then_some(()))
    }

    fn answer<T>(&mut self, wanted: impl FnMut(&Event<'_>) -> Option<T>) -> Result<T, ClientError> {
        self.wait(Some(clock::now() + ANSWER_TIMEOUT), wanted)
    }

    /// Exchanges octets until `wanted` takes an event. Messages that come meanwhile are kept, other events dropped: a
    /// client that does one thing at a time has no use for them.
    fn wait<T>(
        &mut self,
        deadline: Option<Instant>,
        mut wanted: impl FnMut(&Event<'_>) -> Option<T>,
    ) -> Result<T, ClientError> {
        loop {
            while let Some(event) = self.connection.poll_event() {
                match event {
                    Event::Closed(reason) => return Err(ClientError::Closed(reason)),
                    Event::ChannelClosed { code, text, .. } => {
                        let text = text.to_string_lossy().into_owned();
                        return Err(ClientError::Refused { code, text });
                    }
                    event => {
                        if let Some(found) = wanted(&event) {
                            return Ok(found);
                        }
                        if let Event::Deliver(delivery) = event {
                            self.inbox.push_back(Message::new(&delivery));
                        }
                    }
                }
            }
            if deadline.is_some_and(|deadline| deadline <= clock::now()) {
                return Err(ClientError::TimedOut);
            }
            self.exchange(deadline).map_err(ClientError::Socket)?;
        }
    }

    /// Sends what is to be sent, then waits for the socket or the next deadline and takes what came.
    fn exchange(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        self.send()?;
        let until = deadline
            .into_iter()
            .chain(self.connection.poll_timeout())
            .min();
        let timeout = until.map(|until| until.saturating_duration_since(clock::now()));
        self.socket
            .wait(!self.connection.poll_transmit().is_empty(), timeout)?;
        self.receive_octets()?;
        self.connection.handle_timeout(clock::now());
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.connection.poll_transmit().is_empty() {
            match self.socket.source().write(self.connection.poll_transmit()) {
                Ok(count) => self.connection.transmitted(count, clock::now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The broker may have said why before it closed: what it said is read first.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive_octets(&mut self) -> io::Result<()> {
        match self.socket.source().read(self.connection.recv_space()) {
            Ok(0) => self.connection.handle_eof(),
            Ok(count) => self.connection.handle_received(count, clock::now()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A socket to the first address of the URL's host that accepts.
fn reach(url: &BrokerUrl) -> io::Result<TcpStream> {
    let timeout = url.connect_timeout().unwrap_or(CONNECT_TIMEOUT);
    let mut last = io::Error::other(format!("{}: no address", url.host()));
    for address in (url.host(), url.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
