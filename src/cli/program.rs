//! This program as it was started, to be executed anew.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::sys::signal;

/// Where it lies, what it was told, and where it was told it: found out before anything changes these.
#[derive(Debug)]
pub(super) struct Program {
    path: io::Result<PathBuf>,
    line: Vec<OsString>,
    directory: io::Result<PathBuf>,
}

impl Program {
    pub(super) fn of_this_process() -> Self {
        Self {
            path: std::env::current_exe(),
            line: std::env::args_os().collect(),
            directory: std::env::current_dir(),
        }
    }

    /// Becomes the program that lies there now, in this process. Every file but the standard three closes of itself.
    /// Comes back only with the reason why it could not.
    pub(super) fn begin_anew(self) -> io::Error {
        let (path, directory) = match (self.path, self.directory) {
            (Ok(path), Ok(directory)) => (path, directory),
            (Err(error), _) | (_, Err(error)) => return error,
        };
        if let Err(error) = signal::restore_defaults() {
            return error;
        }
        let mut command = Command::new(path);
        let mut words = self.line.into_iter();
        if let Some(name) = words.next() {
            command.arg0(name);
        }
        // It is detached already.
        let words = words.filter(|word| word != "-D" && word != "--detach");
        command.args(words).current_dir(directory).exec()
    }
}
