//! The file with the worker's process id, which is there as long as the worker is.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::sys::process;
use crate::worker::node_name;

/// Another worker has the pid file (`EX_CANTCREAT`).
const CANNOT_CREATE: u8 = 73;

/// A pid file of ours; removed when it is dropped.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
}

/// Why there is none.
#[derive(Debug)]
enum Refusal {
    /// The process in it lives.
    Taken(String),
    /// It cannot be written.
    Io(io::Error),
}

impl PidFile {
    /// Writes one. A file whose process is gone, or that holds no process id, is stale and replaced, as in Celery; so
    /// is one of this process, from before it was executed anew.
    fn create(path: PathBuf) -> Result<Self, Refusal> {
        match write_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            written => return written.map(|()| Self { path }).map_err(Refusal::Io),
        }
        let holder = holder(&path);
        if let Some(pid) = holder.filter(|pid| is_another(*pid)) {
            return Err(Refusal::Taken(format!(
                "ERROR: Pidfile ({}) already exists.\nSeems we're already running? (pid: {pid})",
                path.display()
            )));
        }
        if holder != Some(process::current().raw()) {
            eprintln!("Stale pidfile exists - Removing it.");
        }
        let written = fs::remove_file(&path).and_then(|()| write_new(&path));
        written.map(|()| Self { path }).map_err(Refusal::Io)
    }
}

/// The pid file of a node, if one is wanted; the exit status where another worker has it.
pub(super) fn of(
    pattern: Option<&str>,
    node: &str,
) -> Result<Result<Option<PidFile>, ExitCode>, String> {
    let Some(pattern) = pattern else {
        return Ok(Ok(None));
    };
    let path =
        node_name::expand_file(pattern, node, 0).map_err(|error| format!("pid file: {error}"))?;
    match PidFile::create(PathBuf::from(&path)) {
        Ok(file) => Ok(Ok(Some(file))),
        Err(Refusal::Taken(text)) => {
            eprintln!("{text}");
            Ok(Err(ExitCode::from(CANNOT_CREATE)))
        }
        Err(Refusal::Io(error)) => Err(format!("pid file {path}: {error}")),
    }
}

fn write_new(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    writeln!(file, "{}", process::current())
}

/// The process id in a file.
fn holder(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether this is a live process other than ours.
fn is_another(pid: i32) -> bool {
    pid != process::current().raw() && Path::new(&format!("/proc/{pid}")).exists()
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if holder(&self.path) == Some(process::current().raw()) {
            let _ = fs::remove_file(&self.path); // it may have been removed by hand
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_respected() {
        let path = std::env::temp_dir().join(format!("celeriac-{}.pid", process::current()));
        for stale in [
            "",
            "nonsense",
            "999999999\n",
            &process::current().to_string(),
        ] {
            fs::write(&path, stale).unwrap();
            let file = PidFile::create(path.clone()).unwrap();
            assert_eq!(holder(&path), Some(process::current().raw()), "{stale:?}");
            drop(file);
            assert!(!path.exists(), "removed with its worker");
        }
        fs::write(&path, "1\n").unwrap();
        assert!(
            matches!(PidFile::create(path.clone()), Err(Refusal::Taken(text)) if text.contains("(pid: 1)"))
        );
        fs::remove_file(path).unwrap();
    }
}
