//! A client that may say anything: frames are written by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use celeriac::amqp::Properties;
use celeriac::amqp::frame::{FrameKind, PROTOCOL_HEADER, decode, put_message, put_method};
use celeriac::amqp::method::{Method, basic, channel, connection};
use celeriac::amqp::table::TableBuf;

use crate::client::PATIENCE;

/// What a broker has to say to a client in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Fine,
    /// A message came back.
    Returned(u16, String),
    /// Code, text, class and method.
    ChannelClosed(u16, String, u16, u16),
    /// Code, text, class and method.
    ConnectionClosed(u16, String, u16, u16),
    /// The socket was closed; these were the last octets.
    Dropped(Vec<u8>),
}

/// A socket and what came from it.
pub(crate) struct Raw {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Raw {
    pub(crate) fn reach(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a broker");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            stream,
            input: Vec::new(),
        }
    }

    /// Logged in to a virtual host, with channel 1.
    pub(crate) fn open(address: SocketAddr, vhost: &str) -> Self {
        let mut raw = Self::reach(address);
        raw.log_in(vhost, b"\0guest\0guest");
        raw.send(1, channel::Open {});
        raw
    }

    /// All of the handshake, whatever the broker thinks of it.
    pub(crate) fn log_in(&mut self, vhost: &str, response: &[u8]) {
        let mut capabilities = TableBuf::new();
        capabilities
            .insert("authentication_failure_close", true)
            .expect("short");
        let mut properties = TableBuf::new();
        properties
            .insert("capabilities", capabilities.as_table())
            .expect("short");
        self.write(&PROTOCOL_HEADER);
        self.send(
            0,
            connection::StartOk {
                client_properties: properties.as_table(),
                mechanism: "PLAIN".into(),
                response,
                locale: "en_US".into(),
            },
        );
        self.send(
            0,
            connection::TuneOk {
                channel_max: 2047,
                frame_max: 131_072,
                heartbeat: 0,
            },
        );
        self.send(
            0,
            connection::Open {
                virtual_host: vhost.into(),
            },
        );
    }

    pub(crate) fn send<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        let mut bytes = Vec::new();
        put_method(&mut bytes, channel, &method.into(), 0).expect("a method");
        self.write(&bytes);
    }

    pub(crate) fn publish(&mut self, publish: basic::Publish<'_>, properties: &Properties<'_>) {
        let mut bytes = Vec::new();
        put_message(&mut bytes, 1, &publish.into(), properties, b"x", 0).expect("a message");
        self.write(&bytes);
    }

    /// A frame by hand; the end is right.
    pub(crate) fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&channel.to_be_bytes());
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes.push(0xce);
        self.write(&bytes);
    }

    /// The broker may have closed already, which shows when its verdict is read.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Asks for a sign of life behind everything that was sent, and waits for it or for worse.
    pub(crate) fn verdict(&mut self) -> Verdict {
        self.send(1, channel::Flow { active: true });
        loop {
            let mut buffer = [0; 4096];
            while let Ok(Some((frame, size))) = decode(&self.input, 0) {
                let method = match frame.kind {
                    FrameKind::Method => Some(Method::decode(frame.payload).expect("a method")),
                    _ => None,
                };
                let verdict = method.and_then(|method| verdict(&method));
                self.input.drain(..size);
                if let Some(verdict) = verdict {
                    return verdict;
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Verdict::Dropped(std::mem::take(&mut self.input)),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Verdict::Dropped(std::mem::take(&mut self.input));
                }
                Err(error) => panic!("no verdict: {error}"),
            }
        }
    }
}

fn verdict(method: &Method<'_>) -> Option<Verdict> {
    Some(match method {
        Method::ChannelFlowOk(_) => Verdict::Fine,
        Method::BasicReturn(back) => {
            Verdict::Returned(back.reply_code, back.reply_text.to_string())
        }
        Method::ChannelClose(close) => Verdict::ChannelClosed(
            close.reply_code,
            close.reply_text.to_string(),
            close.class_id,
            close.method_id,
        ),
        Method::ConnectionClose(close) => Verdict::ConnectionClosed(
            close.reply_code,
            close.reply_text.to_string(),
            close.class_id,
            close.method_id,
        ),
        _ => return None,
    })
}
