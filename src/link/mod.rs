//! A socket under an [`amqp::Connection`](crate::amqp): resolve, connect, fail over, back off.

mod fuzz;
mod url;

#[doc(hidden)]
pub use fuzz::fuzz_broker_url;
pub use url::{BrokerUrl, LoginMethod, UrlError};
