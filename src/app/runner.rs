//! The life of one call in a child process: find the task, bind, run, tell main.
//!
//! What a child logs is what Celery's children log, and what it answers is complete: the result as clients read it, and
//! for a retry the message that is to be published. Main adds nothing and need not read either.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value;

use super::arguments::Arguments;
use super::ending::{Ending, Report};
use super::error::{Exception, TaskResult};
use super::registry::{Registry, function_name};
use super::{Context, TaskOptions};
use crate::message::body::{self, BodyError};
use crate::message::json::JsonError;
use crate::message::record::{Done, JobHead, Outcome};
use crate::pool::ChildName;
use crate::pool::native::{Main, NativeChild, Panic};
use crate::sys::clock;
use crate::worker::{CRITICAL, OfTask};

/// Runs the tasks of a registry in the children of this program.
pub(crate) struct Runner<S> {
    registry: Registry,
    /// For a task that is not in the registry.
    no_options: TaskOptions,
    /// Runs first in each child, with its name: the child's log is set up there.
    started: S,
}

impl<S: FnMut(ChildName)> Runner<S> {
    pub(crate) fn new(registry: Registry, started: S) -> Self {
        Self {
            registry,
            no_options: TaskOptions::default(),
            started,
        }
    }

    /// Binds and calls, and gives the returned value's JSON.
    fn call(
        &self,
        context: &Context,
        scanned: Result<body::Arguments<'_>, BodyError>,
    ) -> TaskResult<String> {
        let name = context.name();
        let Some(task) = self.registry.task(name) else {
            let exception = Exception::new("NotRegistered", name).module("celery.exceptions");
            return Err(exception.into());
        };
        if let Some(how) = compression(context) {
            let text = format!("the body is compressed ({how}), which native tasks do not read");
            return Err(Exception::new("DecodeError", text)
                .module("kombu.exceptions")
                .into());
        }
        let scanned = scanned?;
        let arguments = Arguments::new(scanned.args, scanned.kwargs);
        if scanned.oddity.is_some() {
            arguments.refuse_oddities(function_name(name))?;
        }
        (task.function)(context, &arguments)
    }

    fn options(&self, context: &Context) -> &TaskOptions {
        let task = self.registry.task(context.name());
        task.map_or(&self.no_options, |task| &task.options)
    }

    /// Runs a job, if its body can be read; `begins` is called when it has been. Main has not checked a body that is large.
    fn run(
        &self,
        job: &JobHead<'_>,
        body: &[u8],
        context: &Context,
        begins: impl FnOnce(),
    ) -> Result<Report, JsonError> {
        let begun = clock::now();
        let scanned = body::Arguments::scan(body);
        match scanned {
            Err(BodyError::NotJson(error)) if compression(context).is_none() => return Err(error),
            Err(_) => {}
            Ok(_) => begins(),
        }
        let result = self.call(context, scanned);
        let runtime = clock::now().saturating_duration_since(begun);
        Ok(self.ending(job, body, context, runtime).report(result))
    }

    fn ending<'a>(
        &'a self,
        job: &'a JobHead<'a>,
        body: &'a [u8],
        context: &'a Context,
        runtime: Duration,
    ) -> Ending<'a> {
        Ending {
            job,
            body,
            context,
            options: self.options(context),
            runtime: runtime.as_secs_f64(),
            now: clock::wall(),
        }
    }
}

fn compression(context: &Context) -> Option<Value> {
    context.header("compression").filter(|how| !how.is_null())
}

/// The call that runs in this process. Not a thread's own: tasks log from threads of theirs as well.
static RUNNING: RwLock<Option<Arc<Context>>> = RwLock::new(None);

/// Calls `f` with the call that runs in this process, if one does.
pub(crate) fn with_running<T>(f: impl FnOnce(Option<&Context>) -> T) -> T {
    let running = RUNNING.read().unwrap_or_else(PoisonError::into_inner);
    f(running.as_deref())
}

fn set_running(context: Option<Arc<Context>>) {
    *RUNNING.write().unwrap_or_else(PoisonError::into_inner) = context;
}

fn logged(report: Report, context: &Context) -> Done {
    set_running(None);
    let task = OfTask {
        traceback: report.traceback.as_deref(),
        ..context.log_line()
    };
    task.log(report.level, format_args!("{}", report.line));
    report.done
}

impl<S: FnMut(ChildName)> NativeChild for Runner<S> {
    fn start(&mut self, name: ChildName) {
        (self.started)(name);
    }

    fn run_job(&mut self, job: &JobHead<'_>, body: &[u8], main: &mut Main<'_>) -> Done {
        let context = Arc::new(Context::new(job));
        set_running(Some(context.clone()));
        let begins = || {
            if context.is_told_of() {
                main.started();
            }
        };
        match self.run(job, body, &context, begins) {
            Ok(report) => logged(report, &context),
            Err(error) => {
                let (name, id) = (context.display_name(), context.id());
                log::error!(target: CRITICAL, "Can't decode message body: {error} [task {name}[{id}]]");
                set_running(None);
                Done::new(job.job, Outcome::Undecodable, 0.0)
            }
        }
    }

    fn panicked(&mut self, job: &JobHead<'_>, body: &[u8], panic: Panic) -> Done {
        let context = Context::new(job);
        let exception = Exception::panic(panic.message);
        let stack = panic.backtrace.trim_end();
        let traceback = format!("Traceback (most recent call last):\n{stack}\n{exception}\n");
        let ending = self.ending(job, body, &context, panic.runtime);
        logged(ending.failure(&exception, traceback), &context)
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
