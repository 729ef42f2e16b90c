//! The life of one call in a child process: find the task, bind, run, tell main.
//!
//! What a child logs is what Celery's children log, and what it answers is complete: the result as clients read it, and
//! for a retry the message that is to be published. Main adds nothing and need not read either.

use std::time::Duration;

use super::arguments::Arguments;
use super::ending::Ending;
use super::error::{Exception, TaskResult};
use super::registry::{Registry, function_name};
use super::{Context, TaskOptions};
use crate::message::body;
use crate::message::record::{Done, JobHead};
use crate::pool::ChildName;
use crate::pool::native::{Main, NativeChild, Panic};
use crate::sys::clock;

/// Runs the tasks of a registry in the children of this program.
pub(crate) struct Runner<S> {
    registry: Registry,
    /// Runs first in each child, with its name: the child's log is set up there.
    started: S,
}

impl<S: FnMut(ChildName)> Runner<S> {
    pub(crate) fn new(registry: Registry, started: S) -> Self {
        Self { registry, started }
    }

    /// Binds and calls, and gives the returned value's JSON.
    fn call(&self, context: &Context, body: &[u8]) -> TaskResult<String> {
        let name = context.name();
        let Some(task) = self.registry.task(name) else {
            let exception = Exception::new("NotRegistered", name).module("celery.exceptions");
            return Err(exception.into());
        };
        let scanned = body::Arguments::scan(body)?;
        let arguments = Arguments::new(scanned.args, scanned.kwargs);
        if scanned.oddity.is_some() {
            arguments.refuse_oddities(function_name(name))?;
        }
        (task.function)(context, &arguments)
    }

    /// The options of the task that is called.
    fn options(&self, context: &Context) -> TaskOptions {
        let task = self.registry.task(context.name());
        task.map(|task| task.options.clone()).unwrap_or_default()
    }

    fn ending<'a>(&self, job: &'a JobHead<'a>, body: &'a [u8], runtime: Duration) -> Ending<'a> {
        let context = Context::new(job);
        Ending {
            options: self.options(&context),
            context,
            job,
            body,
            runtime: runtime.as_secs_f64(),
            now: clock::wall(),
        }
    }
}

impl<S: FnMut(ChildName)> NativeChild for Runner<S> {
    fn start(&mut self, name: ChildName) {
        (self.started)(name);
    }

    fn run_job(&mut self, job: &JobHead<'_>, body: &[u8], main: &mut Main<'_>) -> Done {
        let context = Context::new(job);
        if self.options(&context).track_started {
            main.started();
        }
        let begun = clock::now();
        let result = self.call(&context, body);
        let runtime = clock::now().saturating_duration_since(begun);
        self.ending(job, body, runtime).of(result)
    }

    fn panicked(&mut self, job: &JobHead<'_>, panic: Panic) -> Done {
        let exception = Exception::panic(panic.message);
        let traceback = format!(
            "Traceback (most recent call last):\n{}\n{exception}\n",
            panic.backtrace.trim_end()
        );
        self.ending(job, &[], panic.runtime)
            .failure(&exception, &traceback)
    }
}
