//! An AMQP 0-9-1 broker in memory, for development and tests.
//!
//! It speaks RabbitMQ's dialect, with RabbitMQ's limits, error codes and texts, so that Celery and
//! its clients cannot tell the difference until it is stopped: then everything is gone. There is no
//! disk, no cluster, no TLS. For production, use RabbitMQ.
//!
//! ```text
//!            octets                     model, pure: takes `now`, no I/O
//!  Broker ── Session ── methods ──>  Vhost ┬─ exchanges: which queues a key means
//!    │          ^                          ├─ queues: messages, limits, whose turn it is
//!    │          └──── deliveries ────────  └─ channels: what is unacknowledged
//!    └─ listener, timers, one flush a turn
//! ```
//!
//! Invariants:
//!
//! - A message is one allocation and has one owner: the publishing session, then a queue's list,
//!   then the list of unacknowledged messages of a channel.
//! - A method never delivers. It marks a queue as having something to do; deliveries are made before
//!   the next method that could see the difference, or at the end of the turn, and written with one
//!   system call per session.
//! - Memory is bounded per session: a session is read a limited number of octets a turn, not read
//!   at all while it does not take its answers, and given no deliveries while its output is full.
//!
//! ```no_run
//! use celeriac::broker::{Broker, Settings};
//! use celeriac::hub::Hub;
//!
//! let mut hub = Hub::new()?;
//! let mut broker = Broker::new(Settings::default());
//! let address = broker.listen(&mut hub, "127.0.0.1:0")?;
//! println!("amqp://guest:guest@{address}//");
//! hub.run(&mut broker)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Misbehaviour on purpose is in [`faults`]; a broker on a thread of its own, for tests of clients, in
//! [`harness`].

mod arguments;
mod channel;
mod death;
mod engine;
mod exchange;
pub mod faults;
mod fuzz;
pub mod harness;
mod keys;
mod message;
mod overview;
mod queue;
mod refusal;
mod server;
mod session;
mod settings;
mod vhost;

#[doc(hidden)]
pub use fuzz::fuzz_broker;
pub use overview::{OVERVIEW_QUEUE, QueueOverview};
pub use server::Broker;
pub use settings::{Rules, Settings, User};
