//! A broker that does as it is told: the server's side of the login, and of nothing else. It never
//! blocks; the test lets it work from the same loop as the link.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use celeriac::amqp::frame::{FrameKind, PROTOCOL_HEADER, decode, put_message, put_method};
use celeriac::amqp::method::{Method, basic, channel, connection};
use celeriac::amqp::props::Properties;
use celeriac::amqp::table::Table;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

/// What the broker does with its clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    /// It says nothing, whatever comes.
    pub(crate) silent: bool,
    /// It closes the connection with this code instead of answering this method.
    pub(crate) refuse: Option<(&'static str, u16)>,
    /// The heartbeat it proposes, in seconds.
    pub(crate) heartbeat: u16,
    /// The most it writes at once.
    pub(crate) write_at_most: usize,
    /// The most it reads at once.
    pub(crate) read_at_most: usize,
}

impl Default for Script {
    fn default() -> Self {
        let (write_at_most, read_at_most) = (usize::MAX, 64 * 1024);
        Self {
            silent: false,
            refuse: None,
            heartbeat: 60,
            write_at_most,
            read_at_most,
        }
    }
}

/// Listens on a port of its own; talks to its latest client.
pub(crate) struct Broker {
    listener: TcpListener,
    token: usize,
    client: Option<Client>,
    pub(crate) script: Script,
    /// Names of the methods that came, over all clients.
    pub(crate) heard: Vec<String>,
    /// What the latest login said.
    pub(crate) login: Vec<u8>,
    /// What the latest connection.open asked for.
    pub(crate) vhost: String,
    /// Body octets that came.
    pub(crate) body: usize,
}

struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    greeted: bool,
}

/// A closed descriptor leaves the poll by itself.
fn watch(fd: RawFd, poll: &Poll, token: usize) {
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry()
        .register(&mut SourceFd(&fd), Token(token), interest)
        .expect("registered");
}

impl Broker {
    /// `address` may have port 0. `token` and the one after it are for this broker alone.
    pub(crate) fn listen(address: SocketAddr, poll: &Poll, token: usize) -> Self {
        let listener = TcpListener::bind(address).expect("a port to listen on");
        listener.set_nonblocking(true).expect("nonblocking");
        watch(listener.as_raw_fd(), poll, token);
        Self {
            listener,
            token,
            client: None,
            script: Script::default(),
            heard: Vec::new(),
            login: Vec::new(),
            vhost: String::new(),
            body: 0,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    /// Ends the connection as a crash does.
    pub(crate) fn drop_client(&mut self) {
        self.client = None;
    }

    /// Queues a method for the client.
    pub(crate) fn send<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        if let Some(client) = &mut self.client {
            put_method(&mut client.output, channel, &method.into(), 0).expect("a method");
        }
    }

    /// Queues a message for the client's channel 1.
    pub(crate) fn deliver(&mut self, number: u64, body: &[u8]) {
        let deliver = basic::Deliver {
            consumer_tag: "1".into(),
            delivery_tag: number,
            routing_key: "celery".into(),
            ..Default::default()
        };
        if let Some(client) = &mut self.client {
            let (method, properties) = (deliver.into(), Properties::default());
            put_message(&mut client.output, 1, &method, &properties, body, 131_072)
                .expect("a message");
        }
    }

    /// Accepts, reads, answers, writes, as far as that goes without waiting. Whether anything was
    /// done.
    pub(crate) fn work(&mut self, poll: &Poll) -> bool {
        let mut busy = self.accept(poll);
        busy |= self.read();
        if !self.script.silent {
            busy |= self.answer();
        }
        busy | self.write()
    }

    fn accept(&mut self, poll: &Poll) -> bool {
        let Ok((stream, _)) = self.listener.accept() else {
            return false;
        };
        stream.set_nonblocking(true).expect("nonblocking");
        watch(stream.as_raw_fd(), poll, self.token + 1);
        let (input, output) = (Vec::new(), Vec::new());
        self.client = Some(Client {
            stream,
            input,
            output,
            greeted: false,
        });
        true
    }

    fn read(&mut self) -> bool {
        let Some(client) = &mut self.client else {
            return false;
        };
        let mut bytes = vec![0; self.script.read_at_most];
        match client.stream.read(&mut bytes) {
            Ok(0) => self.client = None,
            Ok(count) => client.input.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => self.client = None,
        }
        true
    }

    fn write(&mut self) -> bool {
        let Some(client) = &mut self.client else {
            return false;
        };
        let count = client.output.len().min(self.script.write_at_most);
        if count == 0 {
            return false;
        }
        match client.stream.write(&client.output[..count]) {
            Ok(written) => drop(client.output.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => self.client = None,
        }
        true
    }

    /// Answers all that came whole.
    fn answer(&mut self) -> bool {
        let mut busy = false;
        while let Some(input) = self.next_frame() {
            busy = true;
            let Some(input) = input else { continue };
            let method = Method::decode(&input).expect("a method");
            self.hear(&method);
        }
        busy
    }

    /// Takes the next frame, or the greeting; `Some(None)` for one that is not a method.
    fn next_frame(&mut self) -> Option<Option<Vec<u8>>> {
        let client = self.client.as_mut()?;
        if !client.greeted && client.input.len() >= PROTOCOL_HEADER.len() {
            assert_eq!(
                client.input.drain(..8).collect::<Vec<u8>>(),
                PROTOCOL_HEADER
            );
            client.greeted = true;
            self.send(
                0,
                connection::Start {
                    version_major: 0,
                    version_minor: 9,
                    server_properties: Table::default(),
                    mechanisms: b"AMQPLAIN PLAIN",
                    locales: b"en_US",
                },
            );
            return Some(None);
        }
        let (frame, length) = decode(&client.input, 0).expect("a frame")?;
        let payload = (frame.kind == FrameKind::Method).then(|| frame.payload.to_vec());
        if frame.kind == FrameKind::Body {
            self.body += frame.payload.len();
        }
        client.input.drain(..length);
        Some(payload)
    }

    fn hear(&mut self, method: &Method<'_>) {
        let name = method.id().name().unwrap_or("?");
        self.heard.push(name.to_owned());
        if let Some((refused, code)) = self.script.refuse
            && refused == name
        {
            let reply_text = "REFUSED - as the script says".into();
            let close = connection::Close {
                reply_code: code,
                reply_text,
                class_id: 0,
                method_id: 0,
            };
            return self.send(0, close);
        }
        match method {
            Method::ConnectionStartOk(start) => {
                self.login = start.response.to_vec();
                let heartbeat = self.script.heartbeat;
                self.send(
                    0,
                    connection::Tune {
                        channel_max: 2047,
                        frame_max: 131_072,
                        heartbeat,
                    },
                );
            }
            Method::ConnectionOpen(open) => {
                self.vhost = open.virtual_host.to_string_lossy().into_owned();
                self.send(0, connection::OpenOk {});
            }
            Method::ConnectionClose(_) => self.send(0, connection::CloseOk {}),
            Method::ChannelOpen(_) => self.send(1, channel::OpenOk {}),
            Method::BasicConsume(_) => {
                self.send(
                    1,
                    basic::ConsumeOk {
                        consumer_tag: "1".into(),
                    },
                );
            }
            _ => {}
        }
    }
}
