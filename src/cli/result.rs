//! `celeriac result`: what a task has returned, where results are kept.
//!
//! Results of a Rust program go to who asked (`rpc://`) and are kept nowhere, so that there is nothing to read later; for
//! a Python app its own `celery` answers, before this is reached.

use std::process::ExitCode;

use super::{FAILURE, Setting};

/// Print the return value for a given task id
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub(super) struct Arguments {
    /// The task's id
    #[arg(value_name = "TASK_ID")]
    task_id: String,

    /// Name of the task (if it has a backend of its own)
    #[arg(short, long, value_name = "NAME")]
    task: Option<String>,

    /// Show the traceback instead
    #[arg(long)]
    traceback: bool,

    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, setting: &Setting<'_>) -> ExitCode {
    let Arguments { task_id, .. } = arguments;
    let backend = setting.result_backend();
    let why = match backend.as_deref() {
        None | Some("rpc://") => {
            "rpc:// sends results to who called, and keeps none. Use `celeriac call --wait`"
                .to_owned()
        }
        Some("disabled://") => "disabled:// keeps no results".to_owned(),
        Some(url) => {
            let kind = url.split("://").next().unwrap_or_default();
            format!("{kind} is read by a Python app's own Celery. Name the app with -A")
        }
    };
    eprintln!("Error: no result of {task_id}: {why}.");
    ExitCode::from(FAILURE)
}
