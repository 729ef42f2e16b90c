//! The Python zygote and its children: an existing Celery app behind a Rust main.
//!
//! Main starts the app's own interpreter on the scripts of this folder, which are part of the binary. The
//! interpreter runs the installed Celery's command line up to the point where its worker would start,
//! answers with a [`Report`] on the app, and is then the [`zygote`](super::zygote) of the pool.
//!
//! ```text
//!   main ── stdin: scripts, arguments ──▶ boot.py ─▶ zygote.py ─ fork ─▶ child.py   one per pool process
//!        ◀── report pipe: report.py ────             │        └─ fork ─▶ clerk.py   one
//!        ◀─▶ seqpacket socket: fork N, forked N P ──▶┘
//! ```
//!
//! Whatever goes wrong in between (no such app, an exception while it is imported, an option that Celery
//! refuses) is told on stderr by the interpreter in Celery's own words, with the traceback, and it ends with
//! Celery's exit status: [`StartError::Ended`].

pub mod clerk;
mod interpreter;
mod report;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use serde::Serialize;

pub use interpreter::find as find_interpreter;
pub use report::{
    Binding, Broker, Exchange, LogReport, Queue, Report, Results, Settings, TaskReport, Version,
    WorkerReport,
};

use super::zygote::Zygote;
use crate::sys::fd::{self, SharedFd};
use crate::sys::pipe;
use crate::sys::process::{self, Exit, Pid};

const BOOT: &str = include_str!("boot.py");

/// The modules by the names they are imported under.
const SOURCES: [(&str, &str); 8] = [
    ("celeriac_child", include_str!("child.py")),
    ("celeriac_clerk", include_str!("clerk.py")),
    ("celeriac_consumer", include_str!("consumer.py")),
    ("celeriac_differences", include_str!("differences.py")),
    ("celeriac_log", include_str!("log.py")),
    ("celeriac_report", include_str!("report.py")),
    ("celeriac_spawned", include_str!("spawned.py")),
    ("celeriac_zygote", include_str!("zygote.py")),
];

/// What to start.
#[derive(Clone, Debug)]
pub struct Host {
    /// The app's interpreter, as [`find_interpreter`] finds it.
    pub interpreter: PathBuf,
    /// Where to start it, before `--workdir` moves it on.
    pub directory: PathBuf,
    /// The command line of `celery`, from its first option on, such as `-A proj worker -c 4`.
    pub arguments: Vec<String>,
    /// Whether the processes of the app log as JSON, unless it sets its log up itself.
    pub json_log: bool,
}

/// What the zygote reads before anything else.
#[derive(Serialize)]
struct Letter<'a> {
    boot: &'static str,
    sources: std::collections::BTreeMap<&'static str, &'static str>,
    arguments: &'a [String],
    json_log: bool,
    main: i32,
    socket: i32,
    report: i32,
}

/// Starts the app's interpreter, waits until it has read the app, and returns the zygote with what it has
/// reported. This takes as long as the app takes to import, without a limit: a user may be in a debugger.
///
/// To be called in `main` before anything else, as [`native::start`](super::native::start): the process
/// becomes a sub-reaper, and the interpreter inherits what is open and not close-on-exec.
///
/// # Errors
/// [`StartError`].
pub fn start(host: &Host) -> Result<(Zygote, Report), StartError> {
    process::become_subreaper().map_err(StartError::System)?;
    let mut starting = Starting::begin(host)?;
    fd::set_nonblocking(&starting.answer, false).map_err(StartError::System)?;
    loop {
        if starting.read().map_err(StartError::System)? == Answer::Complete {
            break;
        }
    }
    if starting.text.is_empty() {
        return Err(match process::wait_for(starting.pid) {
            Ok(exit) => StartError::Ended(exit),
            Err(error) => StartError::System(error),
        });
    }
    starting.finish()
}

/// An interpreter that reads its app.
///
/// For a main that has other things to do meanwhile: the successor of a zygote that was lost.
#[derive(Debug)]
pub struct Starting {
    socket: OwnedFd,
    pid: Pid,
    answer: SharedFd,
    text: Vec<u8>,
}

/// How far the answer of an interpreter has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// There is more to come, and nothing now.
    Awaited,
    /// More may be there: read again.
    Some,
    /// It is here: [`Starting::finish`].
    Complete,
}

impl Starting {
    /// Executes the interpreter, and does not wait for it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn begin(host: &Host) -> Result<Self, StartError> {
        let (ours, theirs) = pipe::socket_pair().map_err(StartError::System)?;
        let (answer, report) = pipe::pipe().map_err(StartError::System)?;
        let (letter_end, mut letter) = io::pipe().map_err(StartError::System)?;
        for end in [&theirs, &report] {
            fd::set_nonblocking(end, false).map_err(StartError::System)?;
            fd::set_inheritable(end, true).map_err(StartError::System)?;
        }
        let mut command = Command::new(&host.interpreter);
        command.args(["-c", BOOT]).stdin(letter_end);
        command.current_dir(&host.directory);
        let interpreter =
            process::spawn(&mut command).map_err(|error| StartError::Interpreter {
                path: host.interpreter.clone(),
                error,
            })?;
        drop(command); // with its end of the letter
        let pid = Pid::new(interpreter.id().cast_signed()).ok_or(StartError::NoReport)?;
        let text = serde_json::to_vec(&Letter {
            boot: BOOT,
            sources: SOURCES.into_iter().collect(),
            arguments: &host.arguments,
            json_log: host.json_log,
            main: process::current().raw(),
            socket: theirs.as_raw_fd(),
            report: report.as_raw_fd(),
        });
        // An interpreter that ends without reading says why itself. One that reads does so at once.
        let _ = letter.write_all(&text.map_err(|error| StartError::System(error.into()))?);
        Ok(Self {
            socket: ours,
            pid,
            answer: SharedFd::new(answer),
            text: Vec::new(),
        })
    }

    /// The interpreter's process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The file to watch for reading.
    pub fn answer(&self) -> SharedFd {
        self.answer.clone()
    }

    /// Reads what has come.
    ///
    /// # Errors
    /// When the kernel will not let us read.
    pub fn read(&mut self) -> io::Result<Answer> {
        let mut part = [0; 16 * 1024];
        match self.answer.read(&mut part) {
            Ok(0) => Ok(Answer::Complete),
            Ok(count) => {
                self.text
                    .extend_from_slice(part.get(..count).unwrap_or_default());
                Ok(Answer::Some)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Answer::Awaited),
            Err(error) => Err(error),
        }
    }

    /// The zygote, and what it has reported.
    ///
    /// # Errors
    /// When it has ended without a report, or with one that makes no sense.
    pub fn finish(self) -> Result<(Zygote, Report), StartError> {
        if self.text.is_empty() {
            return Err(StartError::NoReport);
        }
        let report = serde_json::from_slice(&self.text).map_err(StartError::Report)?;
        Ok((Zygote::new(self.socket, self.pid), report))
    }
}

/// Why there is no zygote.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The interpreter has ended, and said why on stderr. Its exit status is Celery's for that case.
    Ended(Exit),
    /// The interpreter cannot be executed.
    Interpreter {
        /// Which one.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// None of the places where an interpreter is looked for has one.
    NoInterpreter,
    /// The interpreter has ended without a report; it has said why on stderr.
    NoReport,
    /// What the interpreter reported makes no sense: the fault of this program.
    Report(serde_json::Error),
    /// The kernel refuses a step.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(exit) => write!(f, "the app's interpreter ended with {exit}"),
            Self::Interpreter { path, error } => write!(
                f,
                "cannot run the interpreter {}: {error}; name that of your app with --python",
                path.display()
            ),
            Self::NoInterpreter => f.write_str(
                "found no Python interpreter; name that of your app with --python, or activate its \
                 virtual environment",
            ),
            Self::NoReport => f.write_str("the app's interpreter ended without a report"),
            Self::Report(error) => write!(f, "the report on the app cannot be read: {error}"),
            Self::System(error) => write!(f, "cannot start the app's interpreter: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The arguments as Celery reads them, or the first that is no text.
///
/// # Errors
/// The argument that is not UTF-8.
pub fn arguments(given: impl IntoIterator<Item = OsString>) -> Result<Vec<String>, OsString> {
    given.into_iter().map(OsString::into_string).collect()
}
