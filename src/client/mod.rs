//! Remote control of workers, Celery's or our own, from another program.
//!
//! [`Control`] tells workers something, [`Inspect`] asks them; both wait for the answers, on the calling thread. The
//! command line uses the same.
//!
//! ```no_run
//! use std::time::Duration;
//! use celeriac::client::Control;
//!
//! let mut control = Control::connect("amqp://guest@localhost//")?.timeout(Duration::from_secs(2));
//! for (node, tasks) in control.inspect().active()? {
//!     match tasks {
//!         Ok(tasks) => println!("{node} runs {} tasks", tasks.len()),
//!         Err(refused) => println!("{node}: {refused}"),
//!     }
//! }
//! // One node alone; the call returns as soon as it has answered.
//! let mut mail = control.destination(["mail@host"]);
//! mail.rate_limit("shop.send", "10/m")?;
//! // What has no method of its own.
//! let replies = mail.call("memsample", &serde_json::json!({}))?;
//! # Ok::<(), celeriac::client::ClientError>(())
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `connection` | the blocking connection to a broker: one socket, one channel, one deadline |
//! | `control` | a request to nodes, and their replies |
//! | `tell` | the commands of `control` |
//! | `inspect` | the commands of `inspect`, and what they answer |

pub(crate) mod connection;
mod control;
mod inspect;
mod tell;

pub(crate) use connection::Client;
pub use connection::ClientError;
pub use control::{Control, NodeReply, Refused};
pub use inspect::{Found, Inspect, Nodes, Scheduled, Stats, TaskInfo};
