//! The command line: one file per sub-command, with the options, texts and exit codes of Celery's.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | done |
//! | 1 | the worker or the task failed, or the configuration makes no sense |
//! | 2 | the command line makes no sense |
//! | 69 | the broker cannot be reached |

mod banner;
mod broker;
mod call;
mod daemon;
mod dev;
mod environment;
mod events;
mod health;
mod http;
mod json_log;
mod list;
pub mod log;
mod log_file;
mod log_format;
mod monitoring;
mod old_names;
mod own;
mod pidfile;
mod program;
mod purge;
mod python;
mod remote;
mod render;
mod result;
mod usage;
mod values;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};

use crate::app::{App, Channels};
use crate::worker::Left;
use program::Program;

/// What `--version` prints and the banner shows, in the form of Celery's `5.7.0 (collider)`.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (celeriac)");

/// A configuration that makes no sense, or a failed task.
const FAILURE: u8 = 1;
/// A command line that makes no sense.
const USAGE: u8 = 2;
/// The broker cannot be reached (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;

/// The `celeriac` command: an app without tasks of its own.
pub fn main() -> ExitCode {
    run(App::new("celeriac"))
}

/// The same command line around the tasks of `app`.
pub(crate) fn run(app: App) -> ExitCode {
    let code = obey(app);
    log::finish();
    code
}

fn obey(app: App) -> ExitCode {
    let program = Program::of_this_process();
    let line = old_names::modern(std::env::args_os().collect());
    if let Some(invocation) = python::claim(line.get(1..).unwrap_or_default(), &app) {
        return invocation.run(program);
    }
    match Cli::try_parse_from(&line) {
        Ok(cli) => execute(cli, &line, app, program),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{error}");
            ExitCode::from(USAGE)
        }
        Err(error) => {
            eprint!("{}", usage::text(&Cli::command(), &line, &error));
            ExitCode::from(USAGE)
        }
    }
}

/// Runs a Celery worker and talks to one.
#[derive(Debug, Parser)]
#[command(
    name = "celeriac",
    disable_version_flag = true,
    args_override_self = true,
    disable_help_subcommand = true,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  Try it, with a broker of its own and nothing to install:
    celeriac dev

  Serve the demonstration tasks from a broker on this machine:
    celeriac worker --demo --result-backend rpc:// -l info

  Call one of them and wait for what it returns:
    celeriac call demo.add -a '[2, 3]' --wait";

/// Options of every sub-command; they may stand before it, as Celery wants them, or after it.
#[derive(Debug, clap::Args)]
struct Global {
    /// A Python app: its module, or module:attribute. Its own Celery reads the rest of the command line
    #[arg(short = 'A', long, global = true, value_name = "TEXT")]
    app: Option<String>,

    /// The broker's URL [env: BROKER_URL, CELERY_BROKER, CELERY_BROKER_URL] [default: amqp://guest@localhost//]
    #[arg(short, long, global = true, value_name = "URL")]
    broker: Option<String>,

    /// Where results go; rpc:// sends them to who asked [env: RESULT_BACKEND, CELERY_RESULT_BACKEND] [default: rpc://]
    #[arg(long, global = true, value_name = "URL")]
    result_backend: Option<String>,

    /// Change to this directory first
    #[arg(
        long,
        global = true,
        env = "CELERY_WORKDIR",
        hide_env_values = true,
        value_name = "PATH"
    )]
    workdir: Option<PathBuf>,

    /// Print without colours [env: NO_COLOR, CELERY_NO_COLOR]
    #[arg(short = 'C', long, global = true)]
    no_color: bool,

    /// Print no banner
    #[arg(short, long, global = true, env = "CELERY_QUIET", hide_env_values = true,
          value_parser = clap::builder::FalseyValueParser::new(), action = ArgAction::SetTrue)]
    quiet: bool,

    /// Print the version and exit
    #[arg(long)]
    version: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Worker(Box<worker::Arguments>),
    Call(call::Arguments),
    Broker(broker::Arguments),
    Status(remote::StatusArguments),
    Inspect(remote::InspectArguments),
    Control(remote::ControlArguments),
    Purge(purge::Arguments),
    Result(result::Arguments),
    List(list::Arguments),
    Events(events::Arguments),
    Health(health::Arguments),
    Report(ReportArguments),
    Dev(dev::Arguments),
}

/// Print what a bug report needs
#[derive(Debug, clap::Args)]
struct ReportArguments {
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

fn report(arguments: &ReportArguments, setting: &Setting<'_>) -> ExitCode {
    let urls = crate::link::BrokerUrl::parse_list(&setting.broker()).unwrap_or_default();
    let results = setting.result_backend();
    let results = results.as_deref().unwrap_or("rpc://");
    let conf = monitoring::conf(urls.first(), results);
    if arguments.json {
        println!("{conf}");
    } else {
        println!(
            "{}",
            monitoring::report(setting.app.name(), "amqp", results, &conf)
        );
    }
    ExitCode::SUCCESS
}

/// What every sub-command is given.
struct Setting<'a> {
    global: Global,
    line: &'a [OsString],
    app: App,
    program: Program,
}

impl Setting<'_> {
    fn broker(&self) -> String {
        let option = self.global.broker.as_deref();
        environment::broker(option, &environment::variable, &self.app)
    }

    fn result_backend(&self) -> Option<String> {
        let option = self.global.result_backend.as_deref();
        environment::result_backend(option, &environment::variable, &self.app)
    }

    fn channels(&self) -> Channels {
        environment::channels(&environment::variable, &self.app)
    }

    fn colour(&self) -> bool {
        let asked = ["NO_COLOR", "CELERY_NO_COLOR"];
        !self.global.no_color
            && asked
                .iter()
                .all(|name| environment::variable(name).is_none())
    }

    /// Says what is wrong with the command line, as clap's own findings are said.
    fn usage_error(&self, reason: &str) -> ExitCode {
        eprint!("{}", usage::refusal(&Cli::command(), self.line, reason));
        ExitCode::from(USAGE)
    }
}

fn execute(cli: Cli, line: &[OsString], app: App, program: Program) -> ExitCode {
    let setting = Setting {
        global: cli.global,
        line,
        app,
        program,
    };
    if setting.global.version {
        println!("{VERSION}");
        return ExitCode::SUCCESS;
    }
    if let Some(directory) = &setting.global.workdir
        && let Err(error) = std::env::set_current_dir(directory)
    {
        let shown = directory.display();
        return setting.usage_error(&format!("Invalid value for '--workdir': {shown}: {error}"));
    }
    match cli.command {
        Some(Command::Worker(arguments)) => worker::run(*arguments, setting),
        Some(Command::Call(arguments)) => call::run(arguments, setting),
        Some(Command::Broker(arguments)) => broker::run(arguments, &setting),
        Some(Command::Status(arguments)) => remote::status(&arguments, &setting),
        Some(Command::Inspect(arguments)) => remote::inspect(&arguments, &setting),
        Some(Command::Control(arguments)) => remote::control(&arguments, &setting),
        Some(Command::Purge(arguments)) => purge::run(&arguments, &setting),
        Some(Command::Result(arguments)) => result::run(&arguments, &setting),
        Some(Command::List(arguments)) => list::run(&arguments, &setting),
        Some(Command::Events(arguments)) => events::run(&arguments, &setting),
        Some(Command::Health(arguments)) => health::run(&arguments),
        Some(Command::Report(arguments)) => report(&arguments, &setting),
        Some(Command::Dev(arguments)) => dev::run(&arguments, &setting),
        None => {
            let _ = Cli::command().print_help();
            ExitCode::SUCCESS
        }
    }
}

/// Ends the command of a worker that has left: with its status, or by beginning anew.
fn leave(left: Left, program: Program) -> ExitCode {
    if left.restart {
        log::finish();
        let error = program.begin_anew();
        eprintln!("Error: cannot be executed anew: {error}");
        return ExitCode::from(FAILURE);
    }
    ExitCode::from(left.status)
}
