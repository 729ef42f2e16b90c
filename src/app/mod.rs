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
//! | `context` | what a running task may know about its call |
//! | `error` | how a task ends when it does not return a value: failure, retry, ignore, reject |
//! | `options` | what a task says about itself, and what main reads before it schedules a call |
//! | `registry` | the tasks by name |
//! | `demo` | the demonstration tasks of `celeriac worker --demo` |

mod context;
mod error;
mod options;
mod registry;

use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use context::{Context, DeliveryInfo};
pub use error::{Exception, Retry, TaskError, TaskResult};
pub use options::TaskOptions;
pub use registry::Registry;

/// A set of named tasks and the settings they come with.
///
/// The command line beats the environment, which beats what the program sets here.
#[derive(Debug)]
pub struct App {
    name: String,
    broker: Option<String>,
    result_backend: Option<String>,
    registry: Registry,
}

impl App {
    /// An app without tasks; `name` is what the worker's banner shows.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            broker: None,
            result_backend: None,
            registry: Registry::default(),
        }
    }

    /// Sets the broker's URL, `amqp://guest@localhost//` when nobody gives one.
    #[must_use]
    pub fn broker(mut self, url: impl Into<String>) -> Self {
        self.broker = Some(url.into());
        self
    }

    /// Sets where results go, for example `rpc://`; without it results are not kept.
    #[must_use]
    pub fn result_backend(mut self, url: impl Into<String>) -> Self {
        self.result_backend = Some(url.into());
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

    /// The app's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tasks registered so far.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Runs the command line of this program: `worker`, `call` and what else `--help` lists.
    pub fn main(self) -> ExitCode {
        crate::cli::run(self)
    }
}
