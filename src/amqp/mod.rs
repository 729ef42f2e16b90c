//! AMQP 0-9-1 without I/O: bytes and the time come in, events and bytes go out.
//!
//! From the bottom up:
//!
//! * [`wire`]: strings, and the errors of reading and writing;
//! * [`table`]: field tables, read lazily from the octets they came in;
//! * [`method`]: every method of every class, [`props`]: message properties, [`sasl`]: logging in;
//! * [`frame`]: the envelope of all of them;
//! * [`connection`]: the client's side of a connection, with channels, heartbeats and tuning.
//!
//! The codec knows both directions of every method, so a server speaks through it as well. Decoding
//! borrows: a message's strings, headers and body point into the receive buffer. No size that a peer
//! declares is believed before its octets are there, and nothing a peer sends can make this panic.
//!
//! What it does not do: sockets, name resolution, TLS and reconnecting are `link`'s;
//! the meaning of a message is `message`'s.

pub mod connection;
mod cursor;
pub mod frame;
#[doc(hidden)]
pub mod fuzz;
pub mod method;
pub mod props;
pub mod reply;
pub mod sasl;
pub mod table;
pub mod wire;

pub use connection::{Connection, Event};
pub use method::Method;
pub use props::Properties;
pub use reply::ReplyCode;
pub use table::{Table, Value};
pub use wire::ShortStr;
