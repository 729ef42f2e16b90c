//! `-A`: a Python app. Its own interpreter and its own Celery read the command line; main does the rest.
//!
//! | command | what happens |
//! |---|---|
//! | `worker` | the worker, with Rust's main and Python's children |
//! | `check` | says what in the app would act differently here, and starts nothing |
//! | any other | the app's own `celery` takes over |

mod convert;
mod line;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use super::daemon::{self, Daemon};
use super::log::{self, Format, Level};
use super::log_format::LineFormat;
use super::own::{LogFormat, Own};
use super::pidfile;
use super::program::Program;
use super::{FAILURE, environment};
use crate::app::App;
use crate::pool::python::{self, Host, LogReport, Report, StartError};
use crate::pool::zygote::Zygote;
use crate::sys::process::Exit;
use crate::worker::{self, Settings, node_name};
use line::Line;

/// Pools that run tasks beside each other in one process.
const UNSERVED_POOLS: [&str; 3] = ["eventlet", "gevent", "threads"];

/// Commands that Celery does not have; they may be about a Python app all the same.
const OURS: [&str; 3] = ["broker", "dev", "health"];

/// The command line of a Python app, if `words` (those after the program's name) is one.
pub(super) fn claim(words: &[OsString], app: &App) -> Option<Invocation> {
    let line = Line::read(words)?;
    if OURS.contains(&line.command.as_str()) {
        return None;
    }
    let named = line.app.is_some() || line.configured || environment_names_app(&line, app);
    named.then_some(Invocation(line))
}

/// A program with tasks of its own takes no app from the environment.
fn environment_names_app(line: &Line, app: &App) -> bool {
    let named = [
        "APP",
        "CELERY_APP",
        "CELERY_CONFIG",
        "CELERY_CONFIG_MODULE",
        "CELERY_LOADER",
    ]
    .iter()
    .any(|name| environment::variable(name).is_some());
    named
        && line.command == "worker"
        && app.registry().names().next().is_none()
        && !line.arguments.iter().any(|word| word == "--demo")
}

/// What is asked of a Python app.
pub(super) struct Invocation(Line);

impl Invocation {
    /// Does it.
    pub(super) fn run(self, program: Program) -> ExitCode {
        let Line {
            command,
            python,
            pool,
            arguments,
            own,
            ..
        } = self.0;
        let own = match Own::read(&own) {
            Ok(own) => own,
            Err(reason) => return fail(&reason),
        };
        if let Some(pool) = pool.filter(|pool| UNSERVED_POOLS.contains(&pool.as_str())) {
            return fail(&unserved(&pool));
        }
        let interpreter = match python::find_interpreter(python) {
            Ok(interpreter) => interpreter,
            Err(error) => return fail(&error.to_string()),
        };
        match command.as_str() {
            "worker" => begin(interpreter, arguments, program, &own),
            "check" => {
                let as_worker = |word: OsString| {
                    if word == "check" {
                        "worker".into()
                    } else {
                        word
                    }
                };
                let arguments = arguments.into_iter().map(as_worker).collect();
                start(interpreter, arguments, false)
                    .map_or_else(|code| code, |started| check(&started.report))
            }
            _ => hand_over(interpreter, &arguments),
        }
    }
}

/// Starts the app's zygote, then the worker. The zygote gives up its rights itself, as Celery does.
fn begin(interpreter: PathBuf, arguments: Vec<OsString>, program: Program, own: &Own) -> ExitCode {
    let daemon = match Daemon::read(&arguments) {
        Ok(daemon) => daemon,
        Err(reason) => return fail(&reason),
    };
    if let Err(reason) = daemon::leave_terminal(&daemon) {
        return fail(&reason);
    }
    let json_log = own.log_format == LogFormat::Json;
    let started = match start(interpreter, arguments, json_log) {
        Ok(started) => started,
        Err(code) => return code,
    };
    let daemon = daemon.like(started.report.user, started.report.group);
    match daemon::give_up_rights(&daemon) {
        Ok(()) => serve(started, program, own),
        Err(reason) => fail(&reason),
    }
}

fn start(
    interpreter: PathBuf,
    arguments: Vec<OsString>,
    json_log: bool,
) -> Result<Started, ExitCode> {
    let arguments = arguments
        .into_iter()
        // A flag of main's.
        .filter(|word| word != "-D" && word != "--detach")
        .map(OsString::into_string)
        .collect::<Result<_, _>>()
        .map_err(|word| fail(&format!("{} is not UTF-8", word.display())))?;
    let host = Host {
        interpreter,
        directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        arguments,
        json_log,
    };
    let (zygote, report) = python::start(&host).map_err(|error| match error {
        // It has said why itself.
        StartError::Ended(Exit::Code(code)) => {
            ExitCode::from(u8::try_from(code).unwrap_or(FAILURE))
        }
        error => fail(&error.to_string()),
    })?;
    Ok(Started {
        host,
        zygote,
        report,
    })
}

/// A zygote, what it has reported, and how it was started.
struct Started {
    host: Host,
    zygote: Zygote,
    report: Report,
}

fn serve(started: Started, program: Program, own: &Own) -> ExitCode {
    let Started {
        host,
        zygote,
        report,
    } = started;
    if UNSERVED_POOLS.contains(&report.pool.as_str()) {
        return fail(&unserved(&report.pool));
    }
    if let Err(error) = std::env::set_current_dir(&report.directory) {
        return fail(&format!("cannot work in {}: {error}", report.directory));
    }
    let converted = convert::settings(&report).and_then(|mut settings| {
        own.apply(&mut settings);
        let registry = convert::registry(&report);
        start_log(&report, own.log_format).map(|()| (settings, registry))
    });
    let (settings, registry) = match converted {
        Ok((settings, registry)) => {
            let host = Some(host);
            (Settings { host, ..settings }, registry)
        }
        Err(reason) => return fail(&reason),
    };
    let pidfile = match pidfile::of(report.worker.pidfile.as_deref(), &report.node) {
        Ok(Ok(pidfile)) => pidfile,
        Ok(Err(code)) => return code,
        Err(reason) => return fail(&reason),
    };
    if let Some(banner) = &report.banner {
        println!("{banner}");
        let _ = std::io::stdout().flush(); // a closed terminal is no reason not to work
    }
    if !report.differences.is_empty() {
        ::log::warn!(
            "This app has what celeriac does differently from Celery:\n- {}",
            report.differences.join("\n- ")
        );
    }
    let left = worker::run(settings, registry, zygote);
    drop(pidfile);
    match left {
        Ok(left) => super::leave(left, program),
        Err(error) => fail(&error.to_string()),
    }
}

/// Celery's form of a line, which is the log's own.
const CELERYS_FORMAT: &str = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s";

/// Main's own log, as the app's is written, or as JSON.
fn start_log(report: &Report, format: LogFormat) -> Result<(), String> {
    let worker = report.worker.logfile.as_ref();
    let expand = |pattern: &String| {
        node_name::expand_file(pattern, &report.node, 0)
            .map_err(|error| format!("log file: {error}"))
    };
    let file = match report.worker.custom_logging {
        true => report.log.file.clone(),
        false => worker.map(expand).transpose()?,
    };
    let utc = report.log.utc.then(|| "UTC".to_owned());
    let settings = log::Settings {
        level: level(report.log.level.or(report.worker.loglevel)),
        file: file.map(PathBuf::from),
        colour: report.colour && !report.worker.custom_logging,
        zone: utc.or_else(|| report.zone.clone()),
        format: match format {
            LogFormat::Json => Format::Json,
            LogFormat::Text => line_format(&report.log),
        },
    };
    log::start(&settings, "MainProcess").map_err(|error| format!("cannot log: {error}"))
}

/// The form of a line, as the app has it.
fn line_format(log: &LogReport) -> Format {
    let own = log.format.as_deref();
    let own = own.filter(|format| *format != CELERYS_FORMAT || log.datefmt.is_some());
    let own = own.and_then(|format| LineFormat::parse(format, log.datefmt.as_deref()));
    own.map_or(Format::Celery, Format::Own)
}

/// Python's numbers for log levels.
fn level(number: Option<f64>) -> Level {
    match number.unwrap_or(30.0) {
        number if number <= 10.0 => Level::Debug,
        number if number <= 20.0 => Level::Info,
        number if number <= 30.0 => Level::Warning,
        number if number <= 40.0 => Level::Error,
        _ => Level::Critical,
    }
}

/// `check`: 0 when nothing would act differently, else 1.
fn check(report: &Report) -> ExitCode {
    let problems = convert::settings(report).err();
    let unserved = UNSERVED_POOLS
        .contains(&report.pool.as_str())
        .then(|| unserved(&report.pool));
    let all: Vec<&String> = problems
        .iter()
        .chain(&unserved)
        .chain(&report.differences)
        .collect();
    for sentence in &all {
        println!("- {sentence}");
    }
    println!(
        "{} tasks, {} queues, Celery {}: {}.",
        report.tasks.len(),
        report.queues.len(),
        report.celery.version,
        match all.len() {
            0 => "nothing acts differently".to_owned(),
            1 => "one difference".to_owned(),
            count => format!("{count} differences"),
        }
    );
    ExitCode::from(u8::from(!all.is_empty()))
}

/// Becomes the app's own `celery`.
fn hand_over(interpreter: PathBuf, arguments: &[OsString]) -> ExitCode {
    let mut celery = Command::new(&interpreter);
    let error = celery.args(["-m", "celery"]).args(arguments).exec();
    fail(
        &StartError::Interpreter {
            path: interpreter,
            error,
        }
        .to_string(),
    )
}

fn unserved(pool: &str) -> String {
    format!(
        "the {pool} pool runs tasks beside each other in one process, and celeriac runs each in a process of its own: \
         use -P prefork, with as many children (-c) as the memory allows, or keep this worker on celery"
    )
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("Error: {reason}");
    ExitCode::from(FAILURE)
}
