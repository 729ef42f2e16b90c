//! The command line: one file per sub-command.

use std::process::ExitCode;

use crate::app::App;

/// The `celeriac` command: an app without tasks of its own.
pub fn main() -> ExitCode {
    run(App::new("celeriac"))
}

/// The same command line around the tasks of `app`.
pub(crate) fn run(app: App) -> ExitCode {
    let _ = app;
    todo!()
}
