//! `celeriac dev`: a broker and a worker under one command, for trying things out with nothing installed.
//!
//! This process is the broker; the worker is its child, in a process group of its own, so that Ctrl-C in the terminal
//! reaches only this process. That passes it on, and the broker stays until the worker has finished: a worker that
//! shuts down still has results to deliver and messages to give back.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::mpsc::{self, Sender};

use super::log::{self, Level};
use super::{FAILURE, Setting};
use crate::broker::{Broker, Settings};
use crate::hub::{Hub, Next};
use crate::sys::process::{self, Pid};
use crate::sys::signal::{self, Signal, SignalFd};

/// The port that every client tries when it is told nothing.
const USUAL_PORT: u16 = 5672;

/// Run a broker and a worker together, to try things out
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub(super) struct Arguments {
    /// The broker's port; 5672, or any free one when that is taken
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// How many child processes run tasks; 0 or auto for one a processor
    #[arg(short, long, default_value = "0", value_name = "N")]
    concurrency: String,

    /// What to log: DEBUG, INFO, WARNING, ERROR, CRITICAL or FATAL, in any case
    #[arg(short, long, default_value = "INFO", value_name = "LEVEL")]
    loglevel: String,

    /// Queues to serve, joined by commas
    #[arg(short = 'Q', long, value_name = "LIST")]
    queues: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  The demonstration tasks:
    celeriac dev

  A Python app, from the directory it is in:
    celeriac -A proj dev";

pub(super) fn run(arguments: &Arguments, setting: &Setting<'_>) -> ExitCode {
    match serve(arguments, setting) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("Error: {reason}");
            ExitCode::from(FAILURE)
        }
    }
}

fn serve(arguments: &Arguments, setting: &Setting<'_>) -> Result<ExitCode, String> {
    let log = log::Settings {
        level: Level::Warning,
        file: None,
        colour: setting.colour(),
        zone: None,
        format: log::Format::Celery,
    };
    log::start(&log, "Broker").map_err(|error| format!("cannot log: {error}"))?;
    let mut hub = Hub::new().map_err(|error| error.to_string())?;
    let mut broker = Broker::new(Settings::default());
    let address = listen(&mut broker, &mut hub, arguments.port)
        .map_err(|error| format!("the broker cannot listen: {error}"))?;
    // Before the worker starts: a signal must not find its default disposition in between.
    let signals = [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGQUIT,
        Signal::SIGCHLD,
    ];
    let signals = SignalFd::new(&signals).map_err(|error| error.to_string())?;
    let program = env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    if !setting.global.quiet {
        print!("{}", greeting(&Shown::new(&program, address, setting)));
        let _ = io::stdout().flush(); // a closed terminal is no reason not to work
    }
    let mut command = Command::new(&program);
    command
        .args(worker_line(arguments, setting, address))
        .process_group(0);
    let worker = process::spawn_bound(&mut command, Signal::SIGTERM)
        .map_err(|error| format!("the worker cannot start: {error}"))?;
    let (ended, end) = mpsc::channel();
    supervise(&mut hub, signals, worker, ended).map_err(|error| error.to_string())?;
    hub.run(&mut broker).map_err(|error| error.to_string())?;
    Ok(end
        .try_recv()
        .map_or_else(|_| ExitCode::from(FAILURE), End::exit_code))
}

/// Takes the port that was asked for, or the usual one, or any.
fn listen(broker: &mut Broker, hub: &mut Hub<Broker>, port: Option<u16>) -> io::Result<SocketAddr> {
    let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match (port, broker.listen(hub, here(port.unwrap_or(USUAL_PORT)))) {
        (None, Err(error)) if error.kind() == io::ErrorKind::AddrInUse => {
            broker.listen(hub, here(0))
        }
        (_, result) => result,
    }
}

/// Passes signals on to the worker, and ends the Hub when the worker has ended.
fn supervise(
    hub: &mut Hub<Broker>,
    signals: SignalFd,
    mut worker: Child,
    ended: Sender<End>,
) -> io::Result<()> {
    let source = signals.clone();
    let mut asked = false;
    hub.add_reader(source, move |broker: &mut Broker, hub, _| {
        while let Ok(Some(signal)) = signals.read() {
            if signal == Signal::SIGCHLD {
                continue; // looked at below, whatever came
            }
            asked = true;
            let pid = i32::try_from(worker.id()).ok().and_then(Pid::new);
            if let Some(pid) = pid {
                let _ = signal::kill(pid, signal); // it may have ended just now
            }
        }
        if let Ok(Some(status)) = worker.try_wait() {
            let _ = ended.send(End { status, asked });
            broker.close(hub);
            hub.stop();
        }
        Next::Wait
    })?;
    Ok(())
}

/// How the worker has ended.
struct End {
    status: ExitStatus,
    /// Whether somebody wanted it to.
    asked: bool,
}

impl End {
    /// Success when it ended because it was told to (Celery's own code for the first Ctrl-C is 1); otherwise the
    /// worker's code, or a shell's for a death by signal.
    fn exit_code(self) -> ExitCode {
        use std::os::unix::process::ExitStatusExt;
        if self.asked {
            return ExitCode::SUCCESS;
        }
        let code = self
            .status
            .code()
            .or_else(|| Some(128 + self.status.signal()?));
        ExitCode::from(
            code.and_then(|code| u8::try_from(code).ok())
                .unwrap_or(FAILURE),
        )
    }
}

/// The command line of the worker, without the program.
fn worker_line(arguments: &Arguments, setting: &Setting<'_>, address: SocketAddr) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["--broker".into(), url(address).into()];
    let mut option = |name: &str, value: &str| line.extend([name.into(), value.into()]);
    let mut own: Vec<OsString> = vec!["worker".into()];
    match &setting.global.app {
        Some(app) => option("-A", app),
        None => own.push("--demo".into()),
    }
    match (setting.result_backend(), &setting.global.app) {
        (Some(backend), _) => option("--result-backend", &backend),
        (None, None) => option("--result-backend", "rpc://"),
        (None, Some(_)) => {} // the app's own affair
    }
    if setting.global.no_color {
        line.push("--no-color".into());
    }
    if setting.global.quiet {
        line.push("--quiet".into());
    }
    own.extend(["--concurrency".into(), (&arguments.concurrency).into()]);
    own.extend(["--loglevel".into(), (&arguments.loglevel).into()]);
    if let Some(queues) = &arguments.queues {
        own.extend(["--queues".into(), queues.into()]);
    }
    line.extend(own);
    line
}

fn url(address: SocketAddr) -> String {
    format!("amqp://guest:guest@{address}//")
}

/// What the greeting shows.
struct Shown {
    /// As the user has to write it in another terminal.
    program: String,
    address: SocketAddr,
    /// The Python app, if it is one.
    app: Option<String>,
}

impl Shown {
    fn new(program: &Path, address: SocketAddr, setting: &Setting<'_>) -> Self {
        let found = env::var_os("PATH").and_then(|path| found_as(program, env::split_paths(&path)));
        Self {
            program: found.unwrap_or_else(|| quoted(&program.to_string_lossy())),
            address,
            app: setting.global.app.clone(),
        }
    }
}

/// What it is, the URL to export, and three commands that work when they are pasted into another terminal.
fn greeting(shown: &Shown) -> String {
    let Shown {
        program,
        address,
        app,
    } = shown;
    let url = url(*address);
    let commands = match app {
        None => [
            format!("{program} -b {url} call demo.add --args '[2, 3]' --wait"),
            format!("{program} -b {url} call demo.echo --args '[\"hello\"]' --wait"),
            format!("{program} -b {url} broker queues"),
        ],
        Some(app) => {
            let app = quoted(app);
            [
                format!("{program} -b {url} broker queues"),
                format!("celery -A {app} -b {url} status"),
                format!("celery -A {app} -b {url} inspect registered"),
            ]
        }
    };
    format!(
        "celeriac dev: a broker at {address}, in memory, and a worker. For development and tests: what it holds is gone \
         when it stops.\nFor production use RabbitMQ: set broker_url (or CELERY_BROKER_URL) to its address.\n\n\
         Programs that shall use this broker:\n  export CELERY_BROKER_URL={url}\n\n\
         To try in another terminal:\n  {}\n\nCtrl-C stops both.\n\n",
        commands.join("\n  ")
    )
}

/// The program's name, when that alone finds it.
fn found_as(program: &Path, mut path: impl Iterator<Item = PathBuf>) -> Option<String> {
    let name = program.file_name()?;
    let found = path.find_map(|directory| directory.join(name).canonicalize().ok())?;
    (found == program.canonicalize().ok()?).then(|| quoted(&name.to_string_lossy()))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "/._-+:@%".contains(sign);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(app: Option<&str>) -> String {
        greeting(&Shown {
            program: "celeriac".into(),
            address: "127.0.0.1:5672".parse().unwrap(),
            app: app.map(str::to_owned),
        })
    }

    #[test]
    fn the_greeting_has_a_url_and_three_commands() {
        for app in [None, Some("proj")] {
            let text = shown(app);
            let url = "amqp://guest:guest@127.0.0.1:5672//";
            assert!(
                text.contains(&format!("export CELERY_BROKER_URL={url}\n")),
                "{text}"
            );
            assert_eq!(text.matches(&format!("-b {url} ")).count(), 3, "{text}");
            for word in ["in memory", "RabbitMQ"] {
                assert!(text.contains(word), "{text}");
            }
        }
    }

    #[test]
    fn a_program_is_shown_so_that_a_shell_finds_it() {
        let shell = Path::new("/bin/sh").canonicalize().unwrap();
        let directory = shell.parent().unwrap().to_path_buf();
        let name = shell.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(found_as(&shell, [directory].into_iter()), Some(name));
        assert_eq!(found_as(&shell, ["/nowhere".into()].into_iter()), None);
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
