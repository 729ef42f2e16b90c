//! The client's side of a connection, as a machine without I/O and without a clock.

mod error;
mod event;
mod options;

use std::fmt;
use std::time::Instant;

pub use self::error::{CommandError, ConnectionError, MessageError};
pub use self::event::{CloseReason, Delivery, DeliveryTag, Event, Malformed, Returned};
pub use self::options::Options;
use super::method::Method;
pub use super::method::connection::Tune;
use super::props::Properties;
use super::table::Table;
use super::wire::ShortStr;

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

/// A client's connection.
#[derive(Debug)]
pub struct Connection {}

#[allow(
    missing_docs,
    unused_variables,
    clippy::todo,
    clippy::needless_pass_by_ref_mut
)]
impl Connection {
    pub fn new(options: Options, epoch: u32, now: Instant) -> Self {
        todo!()
    }
    pub fn recv_space(&mut self) -> &mut [u8] {
        todo!()
    }
    pub fn handle_received(&mut self, count: usize, now: Instant) {
        todo!()
    }
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        todo!()
    }
    pub fn handle_eof(&mut self) {
        todo!()
    }
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        todo!()
    }
    pub fn poll_transmit(&self) -> &[u8] {
        todo!()
    }
    pub fn transmitted(&mut self, count: usize, now: Instant) {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
    pub fn open_channel(&mut self) -> Result<u16, CommandError> {
        todo!()
    }
    /// After channel.close-ok comes as a [`Event::Reply`], the number is free.
    pub fn close_channel(&mut self, channel: u16) -> Result<(), CommandError> {
        todo!()
    }
    pub fn call<'m>(
        &mut self,
        channel: u16,
        method: impl Into<Method<'m>>,
    ) -> Result<(), CommandError> {
        todo!()
    }
    pub fn publish<'m>(
        &mut self,
        channel: u16,
        exchange: impl Into<ShortStr<'m>>,
        routing_key: impl Into<ShortStr<'m>>,
        mandatory: bool,
        properties: &Properties<'_>,
        body: &[u8],
    ) -> Result<Option<u64>, CommandError> {
        todo!()
    }
    pub fn ack(&mut self, tag: DeliveryTag, multiple: bool) -> bool {
        todo!()
    }
    pub fn reject(&mut self, tag: DeliveryTag, requeue: bool) -> bool {
        todo!()
    }
    pub fn nack(&mut self, tag: DeliveryTag, multiple: bool, requeue: bool) -> bool {
        todo!()
    }
    pub fn close<'m>(&mut self, code: u16, text: impl Into<ShortStr<'m>>, now: Instant) {
        todo!()
    }
    pub fn state(&self) -> State {
        todo!()
    }
    pub fn epoch(&self) -> u32 {
        todo!()
    }
    pub fn negotiated(&self) -> Tune {
        todo!()
    }
    pub fn server_properties(&self) -> Table<'_> {
        todo!()
    }
    pub fn pending_output(&self) -> usize {
        todo!()
    }
}
