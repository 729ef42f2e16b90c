//! celeriac: the [Celery](https://docs.celeryq.dev) worker, rebuilt in Rust.
//!
//! Three ways to use it:
//!
//! 1. **The binary.** `celeriac -A proj worker` runs a Python Celery app; the app, its producers and its monitors stay
//!    as they are.
//! 2. **The library.** A program registers Rust functions as Celery tasks, and has the whole command line:
//!
//! ```no_run
//! use celeriac::app::{App, Context, TaskResult};
//! use serde::Deserialize;
//! use std::process::ExitCode;
//!
//! #[derive(Deserialize)]
//! struct Add {
//!     x: i64,
//!     y: i64,
//! }
//!
//! fn add(_: &Context, args: Add) -> TaskResult<i64> {
//!     Ok(args.x + args.y)
//! }
//!
//! fn main() -> ExitCode {
//!     App::new("tasks").task("tasks.add", add).main()
//! }
//! ```
//!
//! 3. **The [`Hub`](hub::Hub).** The event loop on its own, for programs that bring their own descriptors and timers.
//!
//! # The modules, from the ground up
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 0 | [`sys`] | the only unsafe code, the only `fork`, the only clock |
//! | 0 | [`util`] | pure helpers |
//! | 1 | [`hub`] | the event loop and the timer wheel |
//! | 1 | [`amqp`], [`message`] | AMQP and Celery's messages: octets in, values out |
//! | 2 | [`boot`] | steps and blueprints |
//! | 2 | [`link`], [`mod@pool`] | a connection that heals; child processes |
//! | 3 | [`worker`], [`broker`] | the worker; the broker for development and tests |
//! | 4 | [`client`] | remote control of workers from another program |
//! | 4 | [`app`], [`cli`] | the public face |
//!
//! The [`manual`] has the design, how to embed and operate it, and where it differs from Celery on purpose.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod amqp;
pub mod app;
pub mod boot;
pub mod broker;
pub mod cli;
pub mod client;
pub mod hub;
pub mod link;
pub mod manual;
pub mod message;
#[cfg(target_os = "linux")]
pub mod pool;
pub mod sys;
pub mod util;
pub mod worker;

/// Bodies of the fuzz targets, one per target; ordinary code so that `cargo test` replays the seeds.
#[doc(hidden)]
pub mod fuzzing;
