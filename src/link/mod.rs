//! A socket under an [`amqp::Connection`](crate::amqp): resolve, connect, log in, fail over, back
//! off.
//!
//! A [`Link`] keeps one connection to one of several brokers, and starts again when it is lost. It
//! never blocks and registers nothing: it shows its descriptor and its deadline, and its owner
//! calls it when one of them is due.
//!
//! # What the owner does
//!
//! ```text
//! descriptor ready  -> link.handle_ready(closed, now)      Turn::Again: call me next turn as well
//! deadline reached  -> link.handle_deadline(now)
//! after either      -> while let Some(event) = link.poll_event() { .. }
//! before each poll  -> link.flush(now)
//! then              -> register link.registration() anew if its id changed; wait until link.deadline()
//! ```
//!
//! The descriptor is to be watched for reading *and* writing, edge-triggered: the link reads and
//! writes until the kernel says to wait, or a budget is used up, which it reports as
//! [`Turn::Again`]. A name lookup, a socket and its successor are different registrations under
//! different ids, never two at a time; a call for one that is gone is harmless. The old
//! registration keeps its descriptor open until the owner removes it.
//!
//! # Generations
//!
//! Each connection has an [`epoch`](Link::epoch), which its delivery tags carry. When the socket is
//! gone, what had arrived before is still reported (a confirm among it saves publishing twice),
//! except messages: those could no longer be acknowledged and will come again, so they become
//! [`LinkEvent::Discarded`]. Then comes [`LinkEvent::Lost`], with which the connection is dropped,
//! and nothing of it is heard again.
//!
//! # Retrying
//!
//! See [`RetryPolicy`] for the pace, [`Failover`] for the order of brokers, and [`Remedy`] for what a code means. Only
//! the policy makes a link give up by itself. A refusal that is not going to change (wrong password, no such virtual host) is retried
//! slowly and marked `permanent`: Celery exits with "Unrecoverable error" for the first of these,
//! spins on the second, and which of all this is wanted is the owner's decision; it calls
//! [`Link::close`].
//!
//! What this module does not do: declare or consume anything, remember what was unacknowledged,
//! log.

mod fuzz;
mod life;
mod loss;
mod machine;
mod remedy;
mod resolve;
mod retry;
mod settings;
mod transport;
mod url;

#[doc(hidden)]
pub use fuzz::fuzz_broker_url;
pub use loss::{Loss, Stage};
pub use machine::{Link, LinkEvent, Turn};
pub use remedy::{Level, Otherwise, Remedy};
pub use retry::{Failover, Retry, RetryPolicy};
pub use settings::Settings;
pub use url::{BrokerUrl, UrlError};
