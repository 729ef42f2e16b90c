//! The public Rust API: an [`App`] is a set of named tasks, and [`App::main`] is the whole command line around them.
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
//! A Python client calls it as any task: `app.send_task("tasks.add", (2,), {"y": 3})`.
//!
//! | file | holds |
//! |---|---|
//! | `arguments` | binding of positional and keyword arguments to a `Deserialize` type, with Python's errors |
//! | `binder` | the serde side of it |
//! | `signature` | which arguments a type cannot do without, for those errors |
//! | `context` | what a running task may know about its call |
//! | `error` | how a task ends when it does not return a value: failure, retry, ignore, reject |
//! | `registry` | the tasks by name |
//! | `runner` | the life of one call in a child process: find the task, bind, run |
//! | `ending` | how it ended: the log line, the result, the answer to main |
//! | `demo` | the demonstration tasks of `celeriac worker --demo` |

mod arguments;
mod binder;
mod context;
pub(crate) mod demo;
mod ending;
mod error;
mod registry;
pub(crate) mod runner;
mod signature;

#[cfg(test)]
mod binding_tests;

use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use context::{Context, DeliveryInfo};
pub use error::{Exception, Retry, TaskError, TaskResult};
pub use registry::Registry;

pub use crate::message::channels::{Channels, OwnQueue};

pub use crate::worker::TaskOptions;
pub use crate::worker::control::Command;

/// A set of named tasks and the settings they come with.
///
/// The command line beats the environment, which beats what the program sets here.
#[derive(Debug)]
pub struct App {
    name: String,
    broker: Option<String>,
    result_backend: Option<String>,
    registry: Registry,
    commands: Vec<Command>,
    channels: Channels,
}

impl App {
    /// An app without tasks; `name` is what the worker's banner shows.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            broker: None,
            result_backend: None,
            registry: Registry::default(),
            commands: Vec::new(),
            channels: Channels::default(),
        }
    }

    /// Sets the broker's URL, `amqp://guest@localhost//` when nobody gives one.
    #[must_use]
    pub fn broker(mut self, url: impl Into<String>) -> Self {
        self.broker = Some(url.into());
        self
    }

    /// Sets where results go: `rpc://`, to who asked, which is the default; or `disabled://`, nowhere.
    #[must_use]
    pub fn result_backend(mut self, url: impl Into<String>) -> Self {
        self.result_backend = Some(url.into());
        self
    }

    /// Sets where remote control and events go, where that is not Celery's default: names and flags of exchanges and
    /// queues, as Celery's `control_*` and `event_*` settings. They hold for the worker and for this program's
    /// `inspect`, `control`, `status` and `events`.
    #[must_use]
    pub fn channels(mut self, channels: Channels) -> Self {
        self.channels = channels;
        self
    }

    /// Registers a task with default options; see [`App::task_with`].
    #[must_use]
    pub fn task<F, A, R>(self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn(&Context, A) -> TaskResult<R> + 'static,
        A: DeserializeOwned,
        R: Serialize,
    {
        self.task_with(name, function, TaskOptions::default())
    }

    /// Registers a task under the name callers use. A second task of the same name replaces the first.
    ///
    /// The arguments of a call are bound to `A`: a struct takes them by position and by name, a tuple by position,
    /// a plain value takes one, `()` none. What the task returns must be a value that JSON can hold.
    #[must_use]
    pub fn task_with<F, A, R>(
        mut self,
        name: impl Into<String>,
        function: F,
        options: TaskOptions,
    ) -> Self
    where
        F: Fn(&Context, A) -> TaskResult<R> + 'static,
        A: DeserializeOwned,
        R: Serialize,
    {
        self.registry.insert(name.into(), function, options);
        self
    }

    /// Adds a command of remote control: the worker carries it out, and `inspect` or `control` of this program's
    /// command line know it. It goes before one of Celery's of the same name.
    #[must_use]
    pub fn command(mut self, command: Command) -> Self {
        self.commands.push(command);
        self
    }

    /// The commands that were added so far.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Where remote control and events go.
    pub(crate) fn own_channels(&self) -> &Channels {
        &self.channels
    }

    /// The app's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the tasks out, for the children to run.
    pub(crate) fn into_registry(self) -> Registry {
        self.registry
    }

    /// The tasks registered so far.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The broker's URL, if the program set one.
    pub fn broker_url(&self) -> Option<&str> {
        self.broker.as_deref()
    }

    /// Where results go, if the program said so.
    pub fn result_backend_url(&self) -> Option<&str> {
        self.result_backend.as_deref()
    }

    /// Runs the command line of this program: `worker`, `call` and what else `--help` lists.
    ///
    /// To be called first thing in `main`: the process that children are forked from is made here, and a process with
    /// threads, or with files that children must not have, is not fit for that. The profile must not set
    /// `panic = "abort"`, or a task's panic takes its child process with it.
    pub fn main(self) -> ExitCode {
        crate::cli::run(self)
    }
}
