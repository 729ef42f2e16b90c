//! Exceptions in results, and those that main itself reports.

use std::borrow::Cow;
use std::time::Duration;

use super::Members;
use crate::message::json::{self, Raw, push_string, python_float};

/// An exception as results carry it: a type, where Python finds it, and the constructor's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception<'a> {
    /// The type's name.
    pub type_name: Cow<'a, str>,
    /// The module that defines it; a client that has not imported it makes a type up.
    pub module: Option<Cow<'a, str>>,
    /// The text of a JSON list.
    pub args: Cow<'a, str>,
}

impl Exception<'static> {
    /// The child that ran the job ended; the text says how.
    pub fn worker_lost(text: &str) -> Self {
        Self::known("WorkerLostError", BILLIARD, &quoted(text))
    }

    /// The child was killed because the task ran longer than its hard limit.
    pub fn time_limit_exceeded(limit: Duration) -> Self {
        Self::known("TimeLimitExceeded", BILLIARD, &seconds(limit))
    }

    /// No task has this name.
    pub fn not_registered(name: &str) -> Self {
        Self::known("NotRegistered", CELERY, &quoted(name))
    }

    /// The task was not run, or not to its end: `revoked`, `terminated` or `expired`.
    pub fn task_revoked(reason: &str) -> Self {
        Self::known("TaskRevokedError", CELERY, &quoted(reason))
    }

    fn known(type_name: &'static str, module: &'static str, arg: &str) -> Self {
        let (type_name, module) = (type_name.into(), Some(module.into()));
        Self {
            type_name,
            module,
            args: format!("[{arg}]").into(),
        }
    }
}

const BILLIARD: &str = "billiard.exceptions";
const CELERY: &str = "celery.exceptions";

impl Exception<'_> {
    /// The mapping that stands as `result` in a [`ResultMeta`](super::ResultMeta).
    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(128);
        let mut members = Members(&mut out);
        members.text("{\"exc_type\": ", Some(&self.type_name));
        members.raw(", \"exc_message\": ", Some(&self.args));
        members.text(", \"exc_module\": ", self.module.as_deref());
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default() // ASCII, and the text given
    }

    /// As Python shows it in logs and events: `ValueError('boom')`.
    pub fn repr(&self) -> String {
        let args = Raw::parse(&self.args).map(|args| match args.elements().nth(1) {
            Some(_) => json::repr_tuple(args, usize::MAX),
            None => match args.elements().next() {
                Some(arg) => format!("({})", json::repr(arg, usize::MAX)),
                None => "()".into(),
            },
        });
        format!("{}{}", self.type_name, args.unwrap_or_else(|_| "()".into()))
    }
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default() // only ASCII was written
}

/// Whole seconds as an integer, as settings usually give them.
fn seconds(limit: Duration) -> String {
    if limit.subsec_nanos() == 0 {
        limit.as_secs().to_string()
    } else {
        python_float(limit.as_secs_f64())
    }
}
