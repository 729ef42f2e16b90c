//! Tasks in Rust, and the event loop on its own.
//!
//! # Tasks
//!
//! An [`App`](crate::app::App) is a set of functions under the names that callers use. Its
//! [`main`](crate::app::App::main) is the whole command line: `worker`, `call`, and what `--help` lists.
//!
//! ```no_run
//! use celeriac::app::{App, Context, TaskError, TaskOptions, TaskResult};
//! use serde::Deserialize;
//! use std::process::ExitCode;
//! use std::time::Duration;
//!
//! #[derive(Deserialize)]
//! struct Fetch {
//!     url: String,
//!     #[serde(default)]
//!     verbose: bool,
//! }
//!
//! fn fetch(context: &Context, args: Fetch) -> TaskResult<usize> {
//!     if args.verbose {
//!         log::info!("{} was asked for {}", context.hostname(), args.url);
//!     }
//!     match std::fs::read(&args.url) {
//!         Ok(bytes) => Ok(bytes.len()),
//!         // Not there yet: try again in five seconds, at most ten times, then fail with this error.
//!         Err(error) => Err(context
//!             .retry()
//!             .countdown(Duration::from_secs(5))
//!             .max_retries(Some(10))
//!             .because(&error)
//!             .into()),
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     App::new("files")
//!         .task_with("files.fetch", fetch, TaskOptions::new().acks_late(true))
//!         .main()
//! }
//! ```
//!
//! **Arguments** are bound to a plain type that implements `serde::Deserialize`, with Python's rules and Python's words
//! when they do not fit: a struct takes them by position and by name, and a field with a default may be left out; a tuple
//! takes them by position; a single value takes one; `()` takes none.
//!
//! **The value** is anything that implements `serde::Serialize`, as JSON.
//!
//! **Failing**: any [`std::error::Error`] becomes the task's failure by `?`, under the name of its type;
//! [`TaskError::new`](crate::app::TaskError::new) names one, for example a `ValueError`. A panic is a failure, with the
//! place where it happened. [`Context::retry`](crate::app::Context::retry) asks for another run.
//!
//! A task that may take long asks now and then whether it should end: `context.check_soft_limit()?` fails it with
//! `SoftTimeLimitExceeded` once its soft time limit has passed (`--soft-time-limit`,
//! [`TaskOptions::soft_time_limit`](crate::worker::TaskOptions::soft_time_limit), or what the caller said), and
//! [`Context::time_left`](crate::app::Context::time_left) tells how long it has. The hard limit asks nobody: the child is
//! killed.
//!
//! **What a child may do**: whatever a process may, since it is one. It has a session of its own, an empty signal mask,
//! nothing open but its two pipes and the standard three, and one job at a time. It must not write to standard output
//! what is not meant for the log, and it dies when the worker's main process does.
//!
//! What runs before `main` of the app belongs to main and the zygote alike: start threads and open connections inside
//! tasks (a `OnceLock` keeps them for the next job of the same child), not before, since a process with threads cannot
//! safely fork.
//!
//! # The event loop on its own
//!
//! [`Hub`](crate::hub::Hub) knows nothing of workers. Its module page has the first example and its promises. Three
//! more uses:
//!
//! ## Timers
//!
//! ```
//! use celeriac::hub::Hub;
//! use std::time::Duration;
//!
//! #[derive(Default)]
//! struct Clock {
//!     ticks: u32,
//! }
//!
//! let mut clock = Clock::default();
//! let mut hub = Hub::new()?;
//! let ticking = hub.call_repeatedly(Duration::from_millis(2), |clock: &mut Clock, _| clock.ticks += 1);
//! hub.call_after(Duration::from_millis(20), move |_, hub| {
//!     hub.cancel(ticking);
//! });
//! hub.run(&mut clock)?; // ends when nothing is left to wait for
//! assert!(clock.ticks >= 1);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! ## Inside another loop
//!
//! A Hub is a descriptor that is readable when it has something to do. Here `polling` is the outer loop:
//!
//! ```
//! use celeriac::hub::Hub;
//! use polling::{Event, Events, Poller};
//! use std::os::fd::AsFd;
//! use std::time::{Duration, Instant};
//!
//! let mut done = false;
//! let mut hub = Hub::new()?;
//! hub.call_after(Duration::from_millis(5), |done: &mut bool, _| *done = true);
//!
//! let poller = Poller::new()?;
//! // SAFETY: the Hub lives longer than its registration, which `delete` ends below.
//! unsafe { poller.add(&hub.as_fd(), Event::readable(0))? };
//! let mut events = Events::new();
//! while !done {
//!     let wait = hub.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
//!     events.clear();
//!     poller.wait(&mut events, wait)?;
//!     hub.tick(&mut done, Some(Duration::ZERO))?;
//!     poller.modify(hub.as_fd(), Event::readable(0))?; // `polling` reports once
//! }
//! poller.delete(hub.as_fd())?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! ## A step of one's own
//!
//! See [`boot`](crate::boot): a [`Step`](crate::boot::Step) has a name, what it requires, and a start and a stop that
//! never wait. Any program may order its parts with a [`Blueprint`](crate::boot::Blueprint).
